//! A scenario as it unfolds: its steps and herds, the log, the disks, the oracle and the trace.
//!
//! It decides everything that happens and does nothing of it: it is told the time and what it asked
//! for, and says what must be done as [`HostAction`]s. No clock, no thread, no madsim.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lessor::{Config, Entry, Instant, MemberId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::env::consensus::{Consensus, OwnLog};
use crate::env::disk::FaultyDisk;
use crate::env::lessee::Lessee;
use crate::env::packet::Packet;
use crate::env::raft::{Note, Raft};
use crate::judge::{Event, Kind, OverBy, Violation};
use crate::model::clock::Clock;
use crate::model::text;
use crate::record::coverage::Mark;
use crate::record::events::{Detail, EventLog};
use crate::record::recorder::WithRole;
use crate::record::report::{Panic, Report};
use crate::record::trace::Focus;
use crate::scenario::{self, Expectation, FaultKind, PartName, Scenario};

use self::agenda::{Agenda, Due};
use self::calls::Calls;
use self::guard::Herds;
use self::injected::Injected;
use self::links::Links;
use self::machine::{Machines, Process};
use self::watch::Watch;

mod action;
mod agenda;
mod calls;
mod ending;
mod expect;
mod guard;
mod inject;
mod injected;
mod links;
mod machine;
mod member;
mod process;
mod recorded;
#[cfg(test)]
mod tests;
mod watch;

pub use self::action::HostAction;
pub use self::recorded::{Recorded, Recording};

/// A scenario that is being replayed.
pub struct World {
    scenario: Arc<Scenario>,
    config: Config,
    /// Virtual time since the start, as it was told last.
    now: Duration,
    phase: Phase,
    /// When it is stopped, before its end.
    until: Option<Duration>,
    /// After which moment chance is that of another seed, until it is.
    fork: Option<Fork>,
    agenda: Agenda,
    actions: VecDeque<HostAction>,

    log: Consensus,
    /// How many entries of the log the oracle has seen.
    agreed: usize,
    machines: Machines,
    links: Links,
    herds: Herds,
    calls: Calls,
    injected: Injected,
    /// Chance of disks, of elections, and of logs of somebody else's.
    random: ChaCha8Rng,
    elections: ChaCha8Rng,
    logs: ChaCha8Rng,

    /// Whether all members were up once, so that the first leader was elected.
    all_were_up: bool,
    /// Since when nobody leads a majority.
    unled_since: Option<Duration>,
    /// Since when nothing has happened to a member, a link or the leadership.
    stable_since: Duration,
    losses: u32,
    acknowledged: u64,
    unmet: Vec<String>,
    without_effect: Vec<String>,

    watch: Watch,
    panic: Option<Panic>,
    /// What the hosts of the members do not show.
    unseen: BTreeSet<Unseen>,
}

/// What a host need not show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Unseen {
    /// What goes in and out of its member.
    Inside,
    /// What its log says: it takes none.
    Log,
    /// A handle of the product.
    Handle,
}

/// A moment after which a run goes on with the chance of another seed.
#[expect(missing_docs, reason = "the names say it all")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fork {
    pub at: Duration,
    pub seed: u64,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Faults happen.
    Faulty,
    /// The ending has begun: faults are over for its core.
    Healed,
    /// It has ended, or was stopped.
    Over,
}

impl World {
    /// The world before the first moment of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let log = if scenario.log_name == PartName::MODELLED {
            let compact_every = scenario.upkeep.compact_every;
            let random = stream(scenario.seed, RAFT);
            let raft = Raft::new(scenario.members, scenario.log, compact_every, random);
            Consensus::Modelled(Box::new(raft))
        } else {
            Consensus::Own(OwnLog::default())
        };
        let mut world = Self {
            config: scenario.config.clone(),
            now: Duration::ZERO,
            phase: Phase::Faulty,
            until: None,
            fork: None,
            agenda: Agenda::default(),
            actions: VecDeque::new(),
            agreed: 0,
            machines: Machines::new(scenario),
            links: Links::new(scenario.network, stream(scenario.seed, NETWORK)),
            herds: Herds::default(),
            calls: Calls::default(),
            injected: Injected::default(),
            random: stream(scenario.seed, DISKS),
            elections: stream(scenario.seed, ELECTIONS),
            logs: stream(scenario.seed, LOGS),
            all_were_up: false,
            unled_since: None,
            stable_since: Duration::ZERO,
            losses: 0,
            acknowledged: 0,
            unmet: Vec::new(),
            without_effect: Vec::new(),
            watch: Watch::new(scenario),
            panic: None,
            // Until a host shows it.
            unseen: BTreeSet::from([Unseen::Inside, Unseen::Log]),
            scenario: Arc::new(scenario.clone()),
            log,
        };
        world.plan_scenario();
        for member in world.members() {
            world.boot(member);
        }
        world
    }

    fn plan_scenario(&mut self) {
        let scenario = self.scenario.clone();
        for (number, step) in scenario.steps.iter().enumerate() {
            self.agenda.plan(step.at, Due::Step(number));
        }
        for (number, expect) in scenario.expects.iter().enumerate() {
            if let Expectation::At { at, .. } = expect.what {
                self.agenda.plan(at, Due::Expect(number));
            }
        }
        let rate = scenario.clocks.lessees_ppm;
        let lessees = scenario.herds.iter().flat_map(|herd| Lessee::herd(herd, rate));
        for (number, (at, lessee)) in lessees.enumerate() {
            self.agenda.plan(at, Due::Lessee(number));
            self.herds.lessees.push(lessee);
        }
        if let Some(ending) = &scenario.ending {
            self.agenda.plan(ending.at, Due::Ending);
        }
    }

    /// The settings of all members.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Has it show more than what is always shown.
    pub fn look_at(&mut self, focus: &Focus) {
        self.watch.recorder.look_at(focus);
        for (member, machine) in self.machines.iter() {
            machine.disk.note_operations(focus.sees_disk(member));
        }
    }

    /// Has it write its events as data.
    pub fn record_events(&mut self, detail: &Detail) {
        self.watch.events = Some(Box::new(EventLog::new(&self.scenario, detail.clone())));
    }

    /// Has it stop at a moment, before its end if that is later. Nothing of the end is judged then.
    pub fn stop_at(&mut self, until: Duration) {
        self.until = Some(until).filter(|until| *until < self.scenario.duration);
    }

    /// Has chance be that of another seed after a moment.
    pub fn fork(&mut self, fork: Fork) {
        self.fork = Some(fork);
    }

    /// How many numbers the executor is to draw and forget, so that its chance is another one too.
    pub fn poll_fork(&mut self) -> Option<u64> {
        let Fork { seed, .. } = self.fork.take_if(|fork| self.now > fork.at)?;
        self.random = stream(seed, DISKS);
        self.elections = stream(seed, ELECTIONS);
        self.logs = stream(seed, LOGS);
        self.links.draw_from(stream(seed, NETWORK));
        self.order(|raft, _| raft.draw_from(stream(seed, RAFT)));
        Some(1 + seed % 1_009)
    }

    /// Tells it the time, which whatever it is told next happens at.
    pub fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// Does what is due.
    pub fn advance(&mut self) {
        while !self.has_ended()
            && let Some(due) = self.agenda.pop_due(self.now)
        {
            match due {
                Due::Step(step) => self.step(step),
                Due::Expect(position) => self.expect(position),
                Due::Lessee(number) => self.act(number),
                Due::AskAgain(step) => self.ask_of_step(step, true),
                Due::GiveUp(call) => self.give_up(call),
                Due::Resume(member, process) => self.resume(member, process),
                Due::Over(step) => self.over(step),
                Due::Send(packet) => self.actions.push_back(HostAction::Send(packet)),
                Due::Ending => self.begin_ending(),
                Due::Elect => self.hold_election(),
                Due::Revive(member) => self.revive(member),
            }
        }
        self.log.advance(self.now);
        self.settle();
        if self.until.is_some_and(|until| self.now >= until) && !self.has_ended() {
            self.phase = Phase::Over;
            self.watch.recorder.finish(self.now);
        }
        if self.now >= self.scenario.duration && !self.has_ended() {
            self.end();
        }
    }

    /// When to call [`advance`](Self::advance) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        let next = self.agenda.poll_timeout().into_iter().chain(self.log.poll_timeout());
        next.chain([self.scenario.duration]).chain(self.until).min().unwrap_or_default()
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<HostAction> {
        self.actions.pop_front()
    }

    /// Whether the scenario is over, or something was wrong: what would follow proves nothing.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Over || !self.watch.oracle.violations().is_empty()
    }

    /// A member's clock: each has an epoch and a rate of its own.
    #[must_use]
    pub fn clock(&self, member: MemberId) -> Clock {
        self.machines.of(member).clock
    }

    /// A member's disk.
    #[must_use]
    pub fn disk(&self, member: MemberId) -> FaultyDisk {
        self.machines.of(member).disk.clone()
    }

    /// Where a member's log keeps itself, if it is somebody else's.
    #[must_use]
    pub fn log_disk(&self, member: MemberId) -> FaultyDisk {
        self.machines.of(member).log_disk.clone()
    }

    /// The numbers of all members.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        (1..=self.scenario.members.into()).map(MemberId)
    }

    /// Whether a member's machine has lost its power.
    #[must_use]
    pub fn power_is_off(&self, member: MemberId) -> bool {
        self.machines.of(member).disk.power_is_off()
    }

    /// How it went.
    #[must_use]
    pub fn report(&self) -> Report {
        let violations = self.watch.oracle.violations();
        let first = violations.iter().map(|violation| violation.at).min();
        Report {
            name: self.scenario.name.clone(),
            seed: self.scenario.seed,
            may_miss: self.scenario.may_miss,
            stopped_at: self.until.filter(|_| violations.is_empty()),
            virtual_time: first.or(self.until).unwrap_or(self.scenario.duration),
            violations: violations.iter().map(|violation| self.with_lessee(violation)).collect(),
            unmet: self.unmet.clone(),
            without_effect: self.without_effect.clone(),
            faults: self.injected.counts(),
            acknowledged: self.acknowledged,
            marks: self.watch.coverage.counts(),
            hidden: self.hidden(),
            panic: self.panic.clone(),
            judged: self.watch.oracle.judged().clone(),
            trace: self.watch.recorder.trace().clone(),
            events: None,
        }
    }

    /// The events as data, if they were wanted, of a run that went so.
    pub fn take_events(&mut self, report: &Report) -> Option<String> {
        Some(self.watch.events.take()?.finish(&self.scenario, report))
    }

    /// What cannot be judged, because the host of the members does not show it.
    fn hidden(&self) -> BTreeSet<&'static str> {
        let shown = !self.unseen.contains(&Unseen::Inside) && !self.unseen.contains(&Unseen::Log);
        let judged = self.watch.oracle.judged().iter();
        let unseen = judged.filter(|(_, count)| !shown && *count == 0);
        let unseen = unseen.map(|(property, _)| property.id());
        let no_handle = self.unseen.contains(&Unseen::Handle);
        unseen.chain(NEEDS_HANDLE.into_iter().filter(|_| no_handle)).collect()
    }

    /// A violation, with the name of the lessee whose lease it is about.
    fn with_lessee(&self, violation: &Violation) -> Violation {
        let of_herd =
            |herd: &scenario::Herd, id| herd.has(id).then(|| format!("{}/{id}", herd.name));
        let of_step = |step: &scenario::Step, id| match &step.action {
            scenario::Action::Ask { request, lessee: Some(lessee), .. } => {
                text::leases_of_request(request).contains(&id).then(|| lessee.clone())
            }
            scenario::Action::Ask { lessee: None, .. } | scenario::Action::Fault(_) => None,
        };
        let lessee = violation.lease.and_then(|id| {
            let herds = self.scenario.herds.iter().find_map(|herd| of_herd(herd, id));
            herds.or_else(|| self.scenario.steps.iter().find_map(|step| of_step(step, id)))
        });
        Violation { lessee, ..violation.clone() }
    }

    /// Tells all that judge, count and write that something happens.
    fn emit(&mut self, member: Option<MemberId>, kind: Kind<'_>) {
        let clock = member.map_or(Instant::ZERO, |member| self.clock(member).read(self.now));
        self.emit_event(&Event { now: self.now, member, clock, kind });
    }

    /// The same of a member, at a moment of its clock.
    fn emit_at(&mut self, clock: Instant, member: MemberId, kind: Kind<'_>) {
        self.emit_event(&Event { now: self.now, member: Some(member), clock, kind });
    }

    fn emit_event(&mut self, event: &Event<'_>) {
        self.watch.judge(event);
        let member = event.member.map(|member| self.with_role(member));
        let clock = event.member.map(|member| self.machines.of(member).clock);
        self.watch.write(event, member, clock);
    }

    /// A member, with the letter of its role.
    fn with_role(&self, member: MemberId) -> WithRole {
        let role = if !self.machines.is_up(member) {
            '-'
        } else if self.watch.oracle.is_primary(member) {
            'P'
        } else if self.log.leader() == Some(member) {
            'L'
        } else {
            'F'
        };
        (member, role)
    }

    fn step(&mut self, step: usize) {
        match self.scenario.steps[step].action.clone() {
            scenario::Action::Ask { .. } => self.ask_of_step(step, false),
            scenario::Action::Fault(fault) => {
                self.stable_since = self.now;
                self.fault(step, &fault);
            }
        }
        self.settle();
    }

    fn boot(&mut self, member: MemberId) {
        let machine = self.machines.of_mut(member);
        machine.since = self.now;
        machine.process = Process::Opening;
        machine.processes += 1;
        self.actions.push_back(HostAction::Boot(member));
    }

    fn down(&mut self, member: MemberId) {
        let machine = self.machines.of_mut(member);
        machine.process = Process::Down;
        machine.paused = false;
        let ended = self.injected.lasting.process_ended(member);
        self.are_over(&ended, OverBy::Process);
        self.stable_since = self.now;
        let all_down = self.machines.iter().all(|(_, machine)| !machine.is_started());
        self.emit(Some(member), Kind::Down { all: all_down && self.machines.len() > 1 });
        self.log.crash(self.now, member);
        if self.phase != Phase::Faulty {
            self.agenda.plan(self.now + REVIVAL, Due::Revive(member));
        }
    }

    /// Takes what the log has to say, and hands on what it has for the members.
    fn settle(&mut self) {
        for note in self.log.take_notes() {
            self.note(&note);
        }
        let entries: Vec<Entry> = self.log.committed_after(self.agreed).cloned().collect();
        self.agreed += entries.len();
        self.watch.coverage.mark_if(self.log.leaders() > 1, Mark::TwoLeaders);
        for entry in &entries {
            self.emit(None, Kind::Committed(entry));
        }
        while let Some((member, event)) = self.log.poll_event() {
            self.actions.push_back(HostAction::Deliver(member, event));
        }
        while let Some(envelope) = self.log.poll_message() {
            self.post(Packet::Raft(envelope));
        }
        self.watch_leader();
    }

    /// Orders the modelled log about, if the scenario has that.
    fn order(&mut self, order: impl FnOnce(&mut Raft, Duration)) {
        if let Some(raft) = self.log.modelled() {
            order(raft, self.now);
        }
    }

    /// Something happened to the log.
    fn note(&mut self, note: &Note) {
        let member = match note {
            Note::Elected { .. } => {
                self.injected.has_effect(FaultKind::Elect);
                self.stable_since = self.now;
                None
            }
            Note::Deposed { .. } => {
                self.stable_since = self.now;
                None
            }
            Note::Lost { member, .. } => {
                self.losses += 1;
                self.injected.has_effect(FaultKind::Lose);
                Some(*member)
            }
            Note::Repeated => {
                self.injected.has_effect(FaultKind::Repeat);
                None
            }
            Note::NotElected { .. } => None,
            Note::Overwritten { member, .. }
            | Note::Installed { member, .. }
            | Note::Fenced { member, .. } => Some(*member),
        };
        self.emit(member, Kind::Log(note));
    }

    /// Whether a member's machine or process is gone, while its driver does not know yet.
    fn is_dead(&self, member: MemberId) -> bool {
        !self.machines.of(member).is_started()
    }

    /// A number below `end`, of the elections' own chance; 0 if that is 0.
    fn draw(&mut self, end: u64) -> u64 {
        self.elections.next_u64() % end.max(1)
    }
}

/// A named stream of chance from a scenario's seed.
fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// The streams of chance.
const RAFT: u64 = 1;
const DISKS: u64 = 2;
const ELECTIONS: u64 = 3;
const NETWORK: u64 = 4;
const LOGS: u64 = 5;
/// After this time a member of the core that ended is started again.
const REVIVAL: Duration = Duration::from_millis(500);

/// What is judged of guards and of observers, who need a handle of the product.
const NEEDS_HANDLE: [&str; 7] =
    ["S18", "S18a", "observe", "guard-lost", "guard-outlived", "held-by-observer", "missed"];
