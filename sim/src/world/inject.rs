//! What a fault does to the world.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each part of the world is met by a few kinds of faults"
)]

use std::time::Duration;

use lessor::MemberId;
use rand_chacha::rand_core::Rng;

use super::{Action, Crashing, Due, World};
use crate::env::disk::PowerCut;
use crate::model::text;
use crate::record::coverage::Mark;
use crate::scenario::{Crash, CrashWhen, Fault};

/// Whether a fault has met something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Met {
    Yes,
    /// It waits for something, and counts when that comes.
    Later,
    Nothing,
}

impl World {
    pub(super) fn fault(&mut self, now: Duration, place: usize, fault: &Fault) {
        let times = match fault {
            Fault::Lose { count, .. }
            | Fault::Repeat { count, .. }
            | Fault::FailSync { count, .. } => u64::from(*count),
            _ => 1,
        };
        self.faults.entry(fault.name()).or_default().ordered += times;
        let met = match fault {
            Fault::Elect(_) | Fault::Depose | Fault::Lose { .. } | Fault::Repeat { .. } => {
                self.fault_of_log(now, fault)
            }
            Fault::Crash(crash) => self.crash(now, place, *crash),
            Fault::SlowDisk { .. }
            | Fault::FullDisk { .. }
            | Fault::FailSync { .. }
            | Fault::Rot { .. }
            | Fault::ReplaceDisk(_)
            | Fault::CopyDisk(_)
            | Fault::PutBack(_) => self.fault_of_disk(now, place, fault),
            Fault::Abort(_)
            | Fault::OpenAgain(_)
            | Fault::Observe { .. }
            | Fault::HoldStore { .. } => self.fault_of_host(now, place, fault),
            Fault::Jump { .. } | Fault::Drift { .. } => self.fault_of_clock(now, place, fault),
            Fault::Kill(_) | Fault::Restart(_) | Fault::Stop(_) | Fault::Pause { .. } => {
                self.fault_of_process(now, fault)
            }
            Fault::Isolate { .. }
            | Fault::Partition { .. }
            | Fault::Block { .. }
            | Fault::Delay { .. }
            | Fault::Noise { .. }
            | Fault::Heal(_) => self.fault_of_links(now, place, fault),
        };
        match met {
            Met::Yes => self.has_effect(fault.name()),
            Met::Later => {}
            Met::Nothing => {
                let step = &self.scenario.steps[place];
                let what = format!("{}: {} meets nothing", step.place(), step.action_in_words());
                self.without_effect.push(what);
            }
        }
        if let Some(span) = fault.span() {
            self.plan(now + span, Due::Over(place));
        }
    }

    /// Notes that a fault of this kind has met something.
    pub(super) fn has_effect(&mut self, kind: &'static str) {
        self.faults.entry(kind).or_default().effective += 1;
    }

    /// Notes that these of the faults that last have met something.
    pub(super) fn meets(&mut self, which: impl Fn(&Fault) -> bool) {
        for kind in self.lasting.meet(which) {
            self.has_effect(kind);
        }
    }

    /// A fault that lasts has lasted long enough.
    pub(super) fn over(&mut self, now: Duration, place: usize) {
        if let Some(fault) = self.lasting.end(place) {
            self.stable_since = now;
            self.record(now, None, "fault", format!("{} is over", fault.name()));
            self.weather_changed(now);
        }
    }

    /// A process that stood still goes on.
    pub(super) fn resume(&mut self, now: Duration, member: MemberId, process: u64) {
        let machine = &self.machines[&member];
        if machine.process == process && machine.up && machine.paused {
            self.stable_since = now;
            self.machine(member).paused = false;
            self.record(now, Some(member), "fault", "goes on".to_owned());
            self.actions.push_back(Action::Resume(member));
            let clock = self.clock(member).read(now);
            self.oracle.resumed(now, member, clock);
            self.raft.pause(now, member, false);
        }
    }

    /// Makes of links, disks and clocks what the lasting faults say.
    pub(super) fn weather_changed(&mut self, now: Duration) {
        self.raft.reconnected(now);
        for member in self.raft.members() {
            let full = self.lasting.disk_is_full(member);
            let ppm = self.scenario.clocks.drift_ppm(member);
            let ppm = ppm.saturating_add(self.lasting.drift_ppm(member));
            let machine = self.machine(member);
            machine.disk.set_full(full);
            machine.clock.set_rate(now, ppm);
            let bound = i64::from(self.scenario.clocks.bound_ppm);
            if i64::from(ppm).abs() > bound {
                self.oracle.clock_unsteady(i64::from(ppm) > bound);
            }
        }
    }

    fn fault_of_log(&mut self, now: Duration, fault: &Fault) -> Met {
        match fault {
            Fault::Elect(member) => self.raft.elect(now, *member),
            Fault::Depose if self.raft.leader().is_some() => {
                self.raft.depose(now);
                return Met::Yes;
            }
            Fault::Lose { member, loss, count } => {
                let words = format!("{} to be lost: {count}", loss.words());
                self.record(now, Some(*member), "fault", words);
                self.raft.lose(*member, *loss, u64::from(*count));
            }
            Fault::Repeat { member, count } => {
                let words = format!("appends to come twice: {count}");
                self.record(now, Some(*member), "fault", words);
                self.raft.repeat(*member, u64::from(*count));
            }
            _ => return Met::Nothing,
        }
        Met::Later
    }

    fn crash(&mut self, now: Duration, place: usize, crash: Crash) -> Met {
        let Crash { member, when, unsynced } = crash;
        if !self.machines[&member].started {
            return Met::Nothing;
        }
        let seed = self.random.next_u64();
        if when == CrashWhen::Now {
            self.machine(member).disk.cut_power(unsynced, seed);
            self.power_lost(now, member);
        } else {
            let words = format!("is to lose its power {}", when_in_words(when));
            self.record(now, Some(member), "fault", words);
            self.machine(member).crashing = Some(Crashing { step: place, when, unsynced, seed });
        }
        Met::Later
    }

    fn fault_of_process(&mut self, now: Duration, fault: &Fault) -> Met {
        match *fault {
            Fault::Kill(member) if self.machines[&member].started => {
                self.record(now, Some(member), "fault", "process killed".to_owned());
                self.machine(member).disk.kill_process();
                self.machine(member).loses_its_process();
                self.actions.push_back(Action::Kill(member));
                self.down(now, member);
            }
            Fault::Stop(member) if self.machines[&member].up => {
                self.record(now, Some(member), "fault", "asked to stop".to_owned());
                self.actions.push_back(Action::Stop(member));
                self.machine(member).since = now;
                self.machine(member).stopping = true;
            }
            Fault::Restart(member) if !self.machines[&member].started => {
                self.restart(now, member);
            }
            Fault::Pause { member, span } if self.machines[&member].up => {
                let words = format!("stands still for {}", text::span(span));
                self.record(now, Some(member), "fault", words);
                self.machine(member).paused = true;
                let primary = self.oracle.is_primary(member);
                self.coverage.mark_if(primary, Mark::PrimaryPaused);
                self.raft.pause(now, member, true);
                self.actions.push_back(Action::Pause(member));
                let process = self.machines[&member].process;
                self.plan(now + span, Due::Resume(member, process));
            }
            _ => return Met::Nothing,
        }
        Met::Yes
    }

    /// What a host does to its own engine.
    fn fault_of_host(&mut self, now: Duration, place: usize, fault: &Fault) -> Met {
        match fault {
            Fault::Abort(member) if self.machines[member].up && !self.machines[member].paused => {
                self.record(now, Some(*member), "fault", "its engine is aborted".to_owned());
                let committing = self.machines[member].committing > 0;
                self.coverage.mark_if(committing, Mark::AbortedInCommit);
                self.actions.push_back(Action::Abort(*member));
                self.down(now, *member);
                Met::Yes
            }
            Fault::OpenAgain(member) if self.machines[member].up => {
                self.actions.push_back(Action::OpenAgain(*member));
                Met::Later
            }
            Fault::Observe { member, leaves, .. } if self.machines[member].up => {
                let words = "somebody watches it for expired leases, and reads nothing".to_owned();
                self.record(now, Some(*member), "fault", words);
                self.lasting.begin(place, fault.clone());
                let (member, leaves) = (*member, *leaves);
                self.actions.push_back(Action::Observe { member, place, leaves });
                Met::Later
            }
            Fault::HoldStore { member, .. } if self.machines[member].up => {
                let words = "its host has a transaction of its own open".to_owned();
                self.record(now, Some(*member), "fault", words);
                self.lasting.begin(place, fault.clone());
                Met::Later
            }
            _ => Met::Nothing,
        }
    }

    pub(super) fn restart(&mut self, now: Duration, member: MemberId) {
        self.record(now, Some(member), "fault", "restarted".to_owned());
        self.machine(member).disk.power_on();
        self.boot(now, member);
    }

    fn fault_of_links(&mut self, now: Duration, place: usize, fault: &Fault) -> Met {
        if let Fault::Heal(member) = fault {
            self.lasting.heal(*member);
            let who = member.map_or("all links work".to_owned(), |member| {
                format!("the links of member {member} work")
            });
            self.record(now, None, "fault", who);
            self.weather_changed(now);
            return Met::Yes;
        }
        self.record(now, None, "fault", links(fault));
        self.lasting.begin(place, fault.clone());
        self.weather_changed(now);
        Met::Later
    }

    fn fault_of_disk(&mut self, now: Duration, place: usize, fault: &Fault) -> Met {
        match fault {
            Fault::SlowDisk { member, by, .. } => {
                let words = format!("its disk takes {} longer", text::span(*by));
                self.record(now, Some(*member), "fault", words);
                self.lasting.begin(place, fault.clone());
                Met::Later
            }
            Fault::FullDisk { member, .. } => {
                self.record(now, Some(*member), "fault", "its disk is full".to_owned());
                self.lasting.begin(place, fault.clone());
                self.weather_changed(now);
                Met::Later
            }
            Fault::FailSync { member, count, unsynced } => {
                self.record(now, Some(*member), "fault", format!("syncs to fail: {count}"));
                let seed = self.random.next_u64();
                self.machine(*member).disk.fail_syncs(*count, *unsynced, seed);
                Met::Later
            }
            Fault::Rot { member, pages } if self.is_free(*member) => {
                let seed = self.random.next_u64();
                let flipped = self.machine(*member).disk.rot(*pages, seed);
                let words = format!("its disk rots: {flipped} bits flipped");
                self.record(now, Some(*member), "fault", words);
                self.machine(*member).rotten |= flipped > 0;
                if flipped > 0 { Met::Yes } else { Met::Nothing }
            }
            Fault::ReplaceDisk(member) if self.is_free(*member) => {
                self.replace_disk(now, *member);
                Met::Yes
            }
            Fault::CopyDisk(member) => {
                self.record(now, Some(*member), "fault", "its disk is copied".to_owned());
                let machine = self.machine(*member);
                machine.copy = Some((machine.disk.copy(), machine.rotten));
                Met::Yes
            }
            Fault::PutBack(member) if self.is_free(*member) => {
                let machine = self.machine(*member);
                let Some((copy, rotten)) = machine.copy.clone() else { return Met::Nothing };
                machine.disk.put_back(&copy);
                machine.rotten = rotten;
                machine.exchanged = Some(Mark::OldDisk);
                self.record(now, Some(*member), "fault", "gets back an older disk".to_owned());
                self.oracle.replaced(now, *member);
                Met::Yes
            }
            _ => Met::Nothing,
        }
    }

    /// Whether nobody uses a member's disk: it has no engine, nor a commit that one has left behind.
    fn is_free(&self, member: MemberId) -> bool {
        let machine = &self.machines[&member];
        !machine.started && machine.committing == 0
    }

    /// A member's machine gets an empty disk.
    pub(super) fn replace_disk(&mut self, now: Duration, member: MemberId) {
        self.record(now, Some(member), "fault", "gets an empty disk".to_owned());
        self.machine(member).disk.replace();
        self.machine(member).rotten = false;
        self.machine(member).exchanged = Some(Mark::EmptyDisk);
        self.oracle.replaced(now, member);
    }

    fn fault_of_clock(&mut self, now: Duration, place: usize, fault: &Fault) -> Met {
        match fault {
            Fault::Jump { member, by, back } => {
                let (way, span) = (if *back { "back" } else { "ahead" }, text::span(*by));
                self.record(
                    now,
                    Some(*member),
                    "fault",
                    format!("its clock steps {way} by {span}"),
                );
                self.machine(*member).clock.step(now, *by, *back);
                let mark = if *back { Mark::PrimaryBack } else { Mark::PrimaryAhead };
                self.coverage.mark_if(self.oracle.is_primary(*member), mark);
                self.oracle.clock_unsteady(!back);
                if self.machines[member].up { Met::Yes } else { Met::Nothing }
            }
            Fault::Drift { member, ppm, .. } => {
                let words = format!("its clock runs {ppm} ppm faster");
                self.record(now, Some(*member), "fault", words);
                self.lasting.begin(place, fault.clone());
                self.weather_changed(now);
                let still = *ppm == -1_000_000 && self.oracle.is_primary(*member);
                self.coverage.mark_if(still, Mark::PrimaryStill);
                if self.machines[member].up {
                    self.meets(|begun| begun == fault);
                }
                Met::Later
            }
            _ => Met::Nothing,
        }
    }
}

fn when_in_words(when: CrashWhen) -> String {
    match when {
        CrashWhen::Now => "now".to_owned(),
        CrashWhen::BeforePropose => "before its next proposal".to_owned(),
        CrashWhen::BeforeCommit => "before its next commit".to_owned(),
        CrashWhen::DuringCommit { disk_operation } => {
            format!("at operation {disk_operation} of the disk in its next commit")
        }
        CrashWhen::AfterCommit => "right after its next commit".to_owned(),
    }
}

pub(super) fn power_cut_in_words(cut: Option<PowerCut>) -> String {
    let Some(cut) = cut else { return "power lost".to_owned() };
    format!(
        "power lost; writes not synced: {}, of these kept {}, dropped {}, torn {}",
        cut.unsynced, cut.kept, cut.dropped, cut.torn
    )
}

/// A fault of links, as it begins.
fn links(fault: &Fault) -> String {
    let ppm = |ppm: &u32| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
    let words = match fault {
        Fault::Isolate { member, .. } => format!("member {member} is cut off"),
        Fault::Partition { side, .. } => {
            let side = text::list(side, "nobody");
            format!("members {side} are cut off from the others")
        }
        Fault::Block { from, to, .. } => format!("nothing passes from member {from} to {to}"),
        Fault::Delay { from, to, by, .. } => {
            format!("from member {from} to {to} it takes {} longer", text::span(*by))
        }
        Fault::Noise { loss_ppm, duplicate_ppm, .. } => {
            format!("{} of all messages are lost, {} come twice", ppm(loss_ppm), ppm(duplicate_ppm))
        }
        other => format!("{} begins", other.name()),
    };
    match fault.span() {
        Some(lasts) => format!("{words} for {}", text::span(lasts)),
        None => words,
    }
}
