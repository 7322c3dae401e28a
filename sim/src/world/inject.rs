//! What a fault does to the world.

use std::time::Duration;

use lessor::MemberId;
use rand_chacha::rand_core::Rng;

use super::agenda::Due;
use super::machine::{Crashing, Medium, Process};
use super::{HostAction, World};
use crate::env::raft::Raft;
use crate::judge::{Exchange, Kind, OverBy};
use crate::model::text;
use crate::record::coverage::Mark;
use crate::scenario::{Crash, CrashWhen, Fault, FaultKind, Loss, Signed, Span, Then, Unsynced};

/// Whether a fault has met something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Met {
    Yes,
    /// It waits for something, and counts when that comes.
    Later,
    Nothing,
}

impl World {
    /// A fault that a step orders.
    pub(super) fn fault(&mut self, step: usize, fault: &Fault) {
        self.injected.ordered(fault.kind(), fault.times());
        self.emit(None, Kind::Ordered { step, fault });
        let met = match fault {
            Fault::Elect { member } => self.elect(*member),
            Fault::Depose {} => self.depose(),
            Fault::Crash(crash) => self.crash(step, fault, *crash),
            Fault::Kill { member } => self.kill(fault, *member),
            Fault::Restart { member } => self.restart_if_down(*member),
            Fault::Stop { member } => self.stop(fault, *member),
            Fault::Pause { member, span } => self.pause(fault, *member, span.0),
            Fault::Isolate { member, .. } => {
                self.disturb_links(step, fault, &format!("member {member} is cut off"))
            }
            Fault::Partition { side, .. } => {
                let side = text::list(side, "nobody");
                let words = format!("members {side} are cut off from the others");
                self.disturb_links(step, fault, &words)
            }
            Fault::Block { from, to, .. } => {
                let words = format!("nothing passes from member {from} to {to}");
                self.disturb_links(step, fault, &words)
            }
            Fault::Delay { from, to, by, .. } => {
                let by = text::span(by.0);
                let words = format!("messages from member {from} to {to} take {by} longer");
                self.disturb_links(step, fault, &words)
            }
            Fault::Noise { loss_ppm, duplicate_ppm, .. } => {
                let (lost, doubled) = (percent(*loss_ppm), percent(*duplicate_ppm));
                let words = format!("{lost} of all messages are lost, {doubled} come twice");
                self.disturb_links(step, fault, &words)
            }
            Fault::Heal { member } => self.heal(fault, *member),
            Fault::SlowDisk { member, by, .. } => self.slow_disk(step, fault, *member, by.0),
            Fault::FullDisk { member, .. } => {
                self.begin(step, Some(*member), fault, "its disk is full")
            }
            Fault::FailSync { member, count, unsynced } => {
                self.fail_syncs(fault, *member, *count, *unsynced)
            }
            Fault::Rot { member, pages } => self.rot(fault, *member, *pages),
            Fault::ReplaceDisk { member } => self.replace_disk(*member),
            Fault::CopyDisk { member } => self.copy_disk(fault, *member),
            Fault::PutBack { member } => self.put_back(*member),
            Fault::Abort { member } => self.abort(fault, *member),
            Fault::OpenAgain { member } => self.open_again(*member),
            Fault::Observe { member, then, .. } => self.observe(step, fault, *member, *then),
            Fault::HoldStore { member, .. } => self.hold_store(step, fault, *member),
            Fault::LoseRequests { member, .. } => {
                self.begin(step, Some(*member), fault, "requests of lessees do not come to it")
            }
            Fault::LoseAnswers { member, .. } => {
                self.begin(step, Some(*member), fault, "its answers do not come to lessees")
            }
            Fault::Jump { member, by } => self.jump(fault, *member, *by),
            Fault::Drift { member, ppm, .. } => self.drift(step, fault, *member, *ppm),
            Fault::Repeat { member, count } => {
                let words = format!("appends to come twice: {count}");
                self.tell(Some(*member), fault, &words);
                self.order(|raft, _| raft.repeat(*member, u64::from(*count)));
                Met::Later
            }
            Fault::Lose { member, loss, count } => self.lose(fault, *member, *loss, *count),
        };
        match met {
            Met::Yes => self.injected.has_effect(fault.kind()),
            Met::Later => {}
            Met::Nothing => {
                let step = &self.scenario.steps[step];
                let what = format!("{}: {} meets nothing", step.location(), step.action_in_words());
                self.without_effect.push(what);
            }
        }
        if let Some(Span(span)) = fault.span() {
            self.agenda.plan(self.now + span, Due::Over(step));
        }
    }

    /// A fault that lasts has lasted long enough.
    pub(super) fn over(&mut self, step: usize) {
        if let Some(fault) = self.injected.lasting.end(step) {
            self.stable_since = self.now;
            self.emit(None, Kind::Over { step, fault: &fault, why: OverBy::Time });
            self.weather_changed();
        }
    }

    /// Faults that lasted are over.
    pub(super) fn are_over(&mut self, faults: &[(usize, Fault)], why: OverBy) {
        for (step, fault) in faults {
            self.emit(None, Kind::Over { step: *step, fault, why });
        }
    }

    /// A process that stood still goes on.
    pub(super) fn resume(&mut self, member: MemberId, process: u64) {
        let machine = self.machines.of_mut(member);
        if machine.processes == process && machine.is_up() && machine.paused {
            machine.paused = false;
            self.stable_since = self.now;
            self.emit(Some(member), Kind::Resumed);
            self.actions.push_back(HostAction::Resume(member));
            self.order(|raft, now| raft.pause(now, member, false));
        }
    }

    /// Makes of links, disks and clocks what the lasting faults say.
    pub(super) fn weather_changed(&mut self) {
        self.order(Raft::reconnected);
        for member in self.members() {
            let full = self.injected.lasting.has(FaultKind::FullDisk, member);
            let ppm = self.scenario.clocks.drift_ppm(member);
            let ppm = ppm.saturating_add(self.injected.lasting.drift_ppm(member));
            let machine = self.machines.of_mut(member);
            machine.disk.set_full(full);
            if machine.clock.set_rate(self.now, ppm) {
                self.emit(Some(member), Kind::ClockSet { ppm });
            }
            let bound = i64::from(self.scenario.clocks.bound_ppm);
            if i64::from(ppm).abs() > bound {
                let ahead = i64::from(ppm) > bound;
                self.emit(Some(member), Kind::ClockUnsteady { ahead });
            }
        }
    }

    pub(super) fn restart(&mut self, member: MemberId) {
        self.emit(Some(member), Kind::Restarted);
        self.machines.of_mut(member).power_on();
        self.boot(member);
    }

    /// A member's machine gets another disk.
    pub(super) fn exchange_disk(&mut self, member: MemberId, exchange: Exchange) {
        self.machines.of_mut(member).exchanged = Some(exchange);
        self.emit(Some(member), Kind::Exchanged(exchange));
        if exchange == Exchange::Empty {
            let machine = self.machines.of_mut(member);
            machine.disk.replace();
            machine.medium = Medium::Sound;
        }
    }

    /// Tells of a fault, in words.
    fn tell(&mut self, member: Option<MemberId>, fault: &Fault, words: &str) {
        self.emit(member, Kind::Fault { fault, words });
    }

    /// Tells of a fault that lasts and begins, of links, disks or clocks.
    fn begin(&mut self, step: usize, member: Option<MemberId>, fault: &Fault, words: &str) -> Met {
        self.tell(member, fault, words);
        self.injected.lasting.begin(step, fault.clone());
        self.weather_changed();
        Met::Later
    }

    // The log.

    fn elect(&mut self, member: MemberId) -> Met {
        self.order(|raft, now| raft.elect(now, member));
        Met::Later
    }

    fn depose(&mut self) -> Met {
        if self.log.leader().is_none() {
            return Met::Nothing;
        }
        self.order(Raft::depose);
        Met::Yes
    }

    fn lose(&mut self, fault: &Fault, member: MemberId, loss: Loss, count: u32) -> Met {
        self.tell(Some(member), fault, &format!("{} to be lost: {count}", loss.words()));
        self.order(|raft, _| raft.lose(member, loss, u64::from(count)));
        Met::Later
    }

    // Processes.

    fn crash(&mut self, step: usize, fault: &Fault, crash: Crash) -> Met {
        let Crash { member, when, disk_operation: _, unsynced } = crash;
        if !self.machines.of(member).is_started() {
            return Met::Nothing;
        }
        let seed = self.random.next_u64();
        if when == CrashWhen::Now {
            self.machines.of_mut(member).cut_power(unsynced, seed);
            self.power_lost(member);
        } else {
            let words = format!("is to lose its power {}", when_in_words(crash));
            self.tell(Some(member), fault, &words);
            let crashing = Crashing { step, crash, seed };
            self.machines.of_mut(member).crashing = Some(crashing);
        }
        Met::Later
    }

    fn kill(&mut self, fault: &Fault, member: MemberId) -> Met {
        if !self.machines.of(member).is_started() {
            return Met::Nothing;
        }
        self.tell(Some(member), fault, "process killed");
        let machine = self.machines.of_mut(member);
        machine.kill_process();
        machine.loses_its_process();
        self.actions.push_back(HostAction::Kill(member));
        self.down(member);
        Met::Yes
    }

    fn restart_if_down(&mut self, member: MemberId) -> Met {
        if self.machines.of(member).is_started() {
            return Met::Nothing;
        }
        self.restart(member);
        Met::Yes
    }

    fn stop(&mut self, fault: &Fault, member: MemberId) -> Met {
        if !self.machines.is_up(member) {
            return Met::Nothing;
        }
        self.tell(Some(member), fault, "asked to stop");
        self.actions.push_back(HostAction::Stop(member));
        let machine = self.machines.of_mut(member);
        machine.since = self.now;
        machine.process = Process::Stopping;
        Met::Yes
    }

    fn pause(&mut self, fault: &Fault, member: MemberId, span: Duration) -> Met {
        if !self.machines.is_up(member) {
            return Met::Nothing;
        }
        self.tell(Some(member), fault, &format!("is paused for {}", text::span(span)));
        self.machines.of_mut(member).paused = true;
        self.order(|raft, now| raft.pause(now, member, true));
        self.actions.push_back(HostAction::Pause(member));
        let process = self.machines.of(member).processes;
        self.agenda.plan(self.now + span, Due::Resume(member, process));
        Met::Yes
    }

    // What a host does to its own engine.

    fn abort(&mut self, fault: &Fault, member: MemberId) -> Met {
        let machine = self.machines.of(member);
        if !machine.is_up() || machine.paused {
            return Met::Nothing;
        }
        self.watch.coverage.mark_if(machine.committing > 0, Mark::AbortedInCommit);
        self.tell(Some(member), fault, "its engine is aborted");
        self.actions.push_back(HostAction::Abort(member));
        self.down(member);
        Met::Yes
    }

    fn open_again(&mut self, member: MemberId) -> Met {
        if !self.machines.is_up(member) {
            return Met::Nothing;
        }
        self.actions.push_back(HostAction::OpenAgain(member));
        Met::Later
    }

    fn observe(&mut self, step: usize, fault: &Fault, member: MemberId, then: Then) -> Met {
        if !self.machines.is_up(member) {
            return Met::Nothing;
        }
        let words = "somebody watches it for expired leases, and reads nothing";
        self.tell(Some(member), fault, words);
        self.injected.lasting.begin(step, fault.clone());
        self.actions.push_back(HostAction::Observe { member, step, leaves: then == Then::Leave });
        Met::Later
    }

    fn hold_store(&mut self, step: usize, fault: &Fault, member: MemberId) -> Met {
        if !self.machines.is_up(member) {
            return Met::Nothing;
        }
        self.tell(Some(member), fault, "its host has a transaction of its own open");
        self.injected.lasting.begin(step, fault.clone());
        Met::Later
    }

    // Links.

    fn disturb_links(&mut self, step: usize, fault: &Fault, words: &str) -> Met {
        match fault.span() {
            Some(Span(span)) => {
                let words = format!("{words} for {}", text::span(span));
                self.begin(step, None, fault, &words)
            }
            None => self.begin(step, None, fault, words),
        }
    }

    fn heal(&mut self, fault: &Fault, member: Option<MemberId>) -> Met {
        let healed = self.injected.lasting.heal(member);
        self.are_over(&healed, OverBy::Heal);
        let words = member.map_or("all links work".to_owned(), |member| {
            format!("the links of member {member} work")
        });
        self.tell(None, fault, &words);
        self.weather_changed();
        Met::Yes
    }

    // Disks.

    fn slow_disk(&mut self, step: usize, fault: &Fault, member: MemberId, by: Duration) -> Met {
        let words = format!("its disk takes {} longer", text::span(by));
        self.tell(Some(member), fault, &words);
        self.injected.lasting.begin(step, fault.clone());
        Met::Later
    }

    fn fail_syncs(
        &mut self,
        fault: &Fault,
        member: MemberId,
        count: u32,
        unsynced: Unsynced,
    ) -> Met {
        self.tell(Some(member), fault, &format!("syncs to fail: {count}"));
        let seed = self.random.next_u64();
        self.machines.of_mut(member).disk.fail_syncs(count, unsynced, seed);
        Met::Later
    }

    fn rot(&mut self, fault: &Fault, member: MemberId, pages: u32) -> Met {
        if !self.machines.of(member).disk_is_free() {
            return Met::Nothing;
        }
        let seed = self.random.next_u64();
        let flipped = self.machines.of_mut(member).disk.rot(pages, seed);
        self.tell(Some(member), fault, &format!("its disk rots: {flipped} bits flipped"));
        if flipped == 0 {
            return Met::Nothing;
        }
        let machine = self.machines.of_mut(member);
        if machine.medium == Medium::Sound {
            machine.medium = Medium::Rotten;
        }
        Met::Yes
    }

    fn replace_disk(&mut self, member: MemberId) -> Met {
        if !self.machines.of(member).disk_is_free() {
            return Met::Nothing;
        }
        self.exchange_disk(member, Exchange::Empty);
        Met::Yes
    }

    fn copy_disk(&mut self, fault: &Fault, member: MemberId) -> Met {
        self.tell(Some(member), fault, "its disk is copied");
        let machine = self.machines.of_mut(member);
        machine.copy = Some((machine.disk.copy(), machine.medium));
        Met::Yes
    }

    fn put_back(&mut self, member: MemberId) -> Met {
        let machine = self.machines.of_mut(member);
        if !machine.disk_is_free() {
            return Met::Nothing;
        }
        let Some((copy, medium)) = machine.copy.clone() else { return Met::Nothing };
        machine.disk.put_back(&copy);
        machine.medium = medium;
        self.exchange_disk(member, Exchange::Older);
        Met::Yes
    }

    // Clocks.

    fn jump(&mut self, fault: &Fault, member: MemberId, by: Signed) -> Met {
        let Signed { span: Span(by), back } = by;
        let (way, span) = (if back { "back" } else { "ahead" }, text::span(by));
        self.tell(Some(member), fault, &format!("its clock steps {way} by {span}"));
        let clock = &mut self.machines.of_mut(member).clock;
        clock.step(self.now, by, back);
        let ppm = clock.ppm();
        self.emit(Some(member), Kind::ClockSet { ppm });
        self.emit(Some(member), Kind::ClockUnsteady { ahead: !back });
        if self.machines.is_up(member) { Met::Yes } else { Met::Nothing }
    }

    fn drift(&mut self, step: usize, fault: &Fault, member: MemberId, ppm: i32) -> Met {
        let words = format!("its clock runs {ppm} ppm faster");
        let met = self.begin(step, Some(member), fault, &words);
        if self.machines.is_up(member) {
            self.injected.meets(|begun| begun == fault);
        }
        met
    }
}

fn when_in_words(crash: Crash) -> String {
    match crash.when {
        CrashWhen::Now => "now".to_owned(),
        CrashWhen::BeforePropose => "before its next proposal".to_owned(),
        CrashWhen::BeforeCommit => "before its next commit".to_owned(),
        CrashWhen::DuringCommit => {
            format!("at operation {} of the disk in its next commit", crash.disk_operation)
        }
        CrashWhen::AfterCommit => "right after its next commit".to_owned(),
    }
}

fn percent(ppm: u32) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}
