//! A scenario as it unfolds: its steps and herds, the log, the disks, the oracle and the trace.
//!
//! It decides everything that happens and does nothing of it: it is told the time and what it asked
//! for, and says what must be done as [`Action`]s. No clock, no thread, no madsim.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lessor::backend::Stored;
use lessor::driver::LogEvent;
use lessor::{
    Config, Confirmation, Entry, Instant, LeaseId, LogIndex, Member, MemberId, MemberInput, Output,
    Proposal, Request, Role,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::env::active_faults::Lasting;
use crate::env::disk::{FaultyDisk, Fuse, FuseAt, Met};
use crate::env::lessee::{Lessee, Whom};
use crate::env::raft::{Envelope, Raft};
use crate::judge::Violation;
use crate::judge::oracle::Oracle;
use crate::model::clock::Clock;
use crate::model::text;
use crate::record::coverage::{Coverage, Mark};
use crate::record::debug_text;
use crate::record::report::{Injected, Panic, Report};
use crate::record::trace::{Focus, Trace};
use crate::scenario::Unsynced;
use crate::scenario::{
    self, AnswerKind, CRASH, CrashWhen, Expectation, FAIL_SYNC, Fault, OBSERVE, OPEN_AGAIN,
    Scenario,
};

mod calls;
mod ending;
mod expect;
mod guard;
mod inject;
mod machine;
mod mail;
mod member;
mod process;
mod record;
#[cfg(test)]
mod tests;

use self::machine::Machine;

/// A scenario that is being replayed.
pub struct World {
    scenario: Scenario,
    config: Config,
    raft: Raft,
    machines: BTreeMap<MemberId, Machine>,
    oracle: Oracle,
    trace: Trace,
    /// What happens when, in order; equal times in the order in which they were planned.
    agenda: BTreeMap<(Duration, u64), Due>,
    planned: u64,
    lessees: Vec<Lessee>,
    /// The leases of herds, whose events are gathered in the trace.
    herds: Vec<(LeaseId, LeaseId)>,
    calls: BTreeMap<u64, Pending>,
    /// The guard of each lessee that has one.
    guards: BTreeMap<usize, guard::Guard>,
    /// The answer of each step that asks.
    answers: BTreeMap<usize, AnswerKind>,
    /// Whom each step with patience asks next.
    errands: BTreeMap<usize, Whom>,
    actions: VecDeque<Action>,
    random: ChaCha8Rng,
    elections: ChaCha8Rng,
    network: ChaCha8Rng,
    agreed: usize,
    /// Whether all members were up once, so that the first leader was elected.
    all_were_up: bool,
    losses: u32,
    stable_since: Duration,
    unmet: Vec<String>,
    without_effect: Vec<String>,
    /// Faults that last.
    lasting: Lasting,
    /// Whether the ending has begun.
    healed: bool,
    /// Since when nobody leads a majority.
    unled_since: Option<Duration>,
    /// How often each kind of fault was ordered, and met something.
    faults: BTreeMap<&'static str, Injected>,
    acknowledged: u64,
    coverage: Coverage,
    broken: Vec<Violation>,
    panic: Option<Panic>,
    /// Whether a host has shown its member's inputs, and whether one has no handle to give.
    tapped: bool,
    no_handle: bool,
    /// What is shown besides what always is.
    focus: Focus,
    /// When it is stopped, before its end.
    until: Option<Duration>,
    ended: bool,
}

/// What the world wants done.
#[derive(Debug)]
pub enum Action {
    /// Start this member's process.
    Boot(MemberId),
    /// End this member's process at once.
    Kill(MemberId),
    /// Drop this member's driver, and nothing else of its process.
    Abort(MemberId),
    /// Open this member's store once more.
    OpenAgain(MemberId),
    /// Open the stream of this member's expired batches, read nothing while the fault of a step lasts, and
    /// then drop it or read on.
    Observe {
        /// Whose.
        member: MemberId,
        /// Which step.
        place: usize,
        /// Whether to drop it.
        leaves: bool,
    },
    /// Stop this member's driver, gracefully.
    Stop(MemberId),
    /// Let this member's process stand still.
    Pause(MemberId),
    /// Let it go on.
    Resume(MemberId),
    /// Hand this to the member's log.
    Deliver(MemberId, LogEvent),
    /// Carry this over the network.
    Send(Envelope),
    /// Wait no more for the answer to the call of this number, and drop the guard that came of it.
    GiveUp(u64),
    /// Ask a member, and tell the answer under this number.
    Call {
        /// The number.
        call: u64,
        /// Whom.
        member: MemberId,
        /// What.
        request: Request,
    },
    /// Have a member's handle keep a lease alive, and tell under this number that the guard lives, why it does
    /// not, and when it has lost its lease.
    KeepAlive {
        /// The number.
        call: u64,
        /// Whom.
        member: MemberId,
        /// The lease.
        lease: LeaseId,
        /// By whose clock.
        lessee: usize,
    },
}

/// Something on the agenda.
#[derive(Clone, Debug)]
enum Due {
    Step(usize),
    Expect(usize),
    Lessee(usize),
    /// The request of a step goes to another member.
    Again(usize),
    /// Somebody has waited long enough for an answer.
    GiveUp(u64),
    Resume(MemberId, u64),
    /// A fault that lasts is over.
    Over(usize),
    /// A message that was slowed down.
    Send(Envelope),
    Ending,
    Elect,
    Revive(MemberId),
}

/// A power cut that waits for the next commit.
#[derive(Clone, Copy, Debug)]
struct Crashing {
    step: usize,
    when: CrashWhen,
    unsynced: Unsynced,
    seed: u64,
}

/// A request on its way.
#[derive(Debug)]
struct Pending {
    asker: Asker,
    request: Request,
    member: MemberId,
    process: u64,
    sent: Duration,
    /// Where on the agenda it is given up, if it ever is.
    given_up: Option<(Duration, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Asker {
    Step(usize),
    Lessee(usize),
    Expect(usize),
}

impl World {
    /// The world before the first moment of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let config = scenario.config.clone();
        let random = stream(scenario.seed, RAFT);
        let compact_every = scenario.upkeep.compact_every;
        let raft = Raft::new(scenario.members, scenario.log, compact_every, random);
        let mut world = Self {
            machines: raft.members().map(|id| (id, Machine::new(scenario, id))).collect(),
            oracle: Oracle::new(&config, &scenario.clocks, scenario.twins),
            trace: Trace::default(),
            agenda: BTreeMap::new(),
            planned: 0,
            lessees: Vec::new(),
            herds: scenario
                .herds
                .iter()
                .map(|herd| (herd.first_lease, herd.last_lease()))
                .collect(),
            calls: BTreeMap::new(),
            guards: BTreeMap::new(),
            answers: BTreeMap::new(),
            errands: BTreeMap::new(),
            actions: VecDeque::new(),
            random: stream(scenario.seed, DISKS),
            elections: stream(scenario.seed, ELECTIONS),
            network: stream(scenario.seed, NETWORK),
            agreed: 0,
            all_were_up: false,
            losses: 0,
            stable_since: Duration::ZERO,
            unmet: Vec::new(),
            without_effect: Vec::new(),
            lasting: Lasting::default(),
            healed: false,
            unled_since: None,
            faults: BTreeMap::new(),
            acknowledged: 0,
            coverage: Coverage::default(),
            broken: Vec::new(),
            panic: None,
            tapped: false,
            no_handle: false,
            focus: Focus::default(),
            until: None,
            ended: false,
            scenario: scenario.clone(),
            raft,
            config,
        };
        for (place, step) in scenario.steps.iter().enumerate() {
            world.plan(step.at, Due::Step(place));
        }
        for (place, expect) in scenario.expects.iter().enumerate() {
            if let Expectation::At { at, .. } = expect.what {
                world.plan(at, Due::Expect(place));
            }
        }
        let rate = scenario.clocks.lessees_ppm;
        let herds = scenario.herds.iter();
        for (at, lessee) in herds.flat_map(|herd| Lessee::herd(herd, rate)) {
            world.plan(at, Due::Lessee(world.lessees.len()));
            world.lessees.push(lessee);
        }
        if let Some(ending) = &scenario.ending {
            world.plan(ending.at, Due::Ending);
        }
        for member in world.raft.members() {
            world.boot(Duration::ZERO, member);
        }
        world
    }

    /// The settings of all members.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Has it show more than what is always shown.
    pub fn look_at(&mut self, focus: &Focus) {
        self.focus.clone_from(focus);
        for (member, machine) in &self.machines {
            machine.disk.note_operations(focus.sees_disk(*member));
        }
    }

    /// Has it stop at a moment, before its end if that is later. Nothing of the end is judged then.
    pub fn stop_at(&mut self, until: Duration) {
        self.until = Some(until).filter(|until| *until < self.scenario.duration);
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Duration) {
        while !self.has_ended()
            && let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Due::Step(place) => self.step(now, place),
                Due::Expect(place) => self.expect(now, place),
                Due::Lessee(place) => self.act(now, place),
                Due::Again(place) => self.ask_again(now, place),
                Due::GiveUp(call) => self.give_up(now, call),
                Due::Resume(member, process) => self.resume(now, member, process),
                Due::Over(place) => self.over(now, place),
                Due::Send(envelope) => self.actions.push_back(Action::Send(envelope)),
                Due::Ending => self.begin_ending(now),
                Due::Elect => self.hold_election(now),
                Due::Revive(member) => self.revive(now, member),
            }
        }
        self.raft.advance(now);
        self.settle(now);
        if self.until.is_some_and(|until| now >= until) && !self.has_ended() {
            self.ended = true;
            self.trace.finish(now);
        }
        if now >= self.scenario.duration && !self.has_ended() {
            self.end(now);
        }
    }

    /// When to call [`advance`](Self::advance) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        let next = agenda.into_iter().chain(self.raft.poll_timeout());
        next.chain([self.scenario.duration]).chain(self.until).min().unwrap_or_default()
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether the scenario is over, or something was wrong: what would follow proves nothing.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended || self.violations().next().is_some()
    }

    /// A member's clock: each has an epoch and a rate of its own.
    #[must_use]
    pub fn clock(&self, member: MemberId) -> Clock {
        self.machines[&member].clock
    }

    /// A member's disk.
    #[must_use]
    pub fn disk(&self, member: MemberId) -> FaultyDisk {
        self.machines[&member].disk.clone()
    }

    /// Whether a member's machine has lost its power.
    #[must_use]
    pub fn power_is_off(&self, member: MemberId) -> bool {
        self.machines[&member].disk.power_is_off()
    }

    // What the members' processes tell.

    /// How it went.
    #[must_use]
    pub fn report(&self) -> Report {
        let first = self.violations().map(|violation| Duration::from_millis(violation.at_ms)).min();
        Report {
            name: self.scenario.name.clone(),
            seed: self.scenario.seed,
            may_miss: self.scenario.may_miss,
            stopped_at: self.until.filter(|_| self.violations().next().is_none()),
            virtual_time: first.or(self.until).unwrap_or(self.scenario.duration),
            violations: self.violations().map(|violation| self.with_lessee(violation)).collect(),
            unmet: self.unmet.clone(),
            without_effect: self.without_effect.clone(),
            faults: self.faults.clone(),
            acknowledged: self.acknowledged,
            marks: self.coverage.counts(),
            hidden: self.hidden(),
            panic: self.panic.clone(),
            judged: self.oracle.judged().clone(),
            trace: self.trace.clone(),
        }
    }

    /// What cannot be judged, because the host of the members does not show it.
    fn hidden(&self) -> BTreeSet<&'static str> {
        let judged = self.oracle.judged().iter();
        let unseen = judged.filter(|(_, count)| !self.tapped && *count == 0);
        let unseen = unseen.map(|(property, _)| property.id());
        unseen.chain(NEEDS_HANDLE.into_iter().filter(|_| self.no_handle)).collect()
    }

    /// A violation, with the name of the lessee whose lease it is about.
    fn with_lessee(&self, violation: &Violation) -> Violation {
        let of_herd = |herd: &scenario::Herd, id| {
            (herd.first_lease..=herd.last_lease())
                .contains(&id)
                .then(|| format!("{}/{id}", herd.name))
        };
        let of_step = |step: &scenario::Step, id| match &step.action {
            scenario::Action::Ask { request, lessee: Some(lessee), .. } => {
                text::leases_of_request(request).contains(&id).then(|| lessee.clone())
            }
            scenario::Action::Ask { lessee: None, .. } | scenario::Action::Fault(_) => None,
        };
        let Violation { property, what, at_ms, member, .. } = violation;
        let mut named = Violation::new(property, what.clone(), *at_ms, *member);
        named.lessee = named.lease.and_then(LeaseId::new).and_then(|id| {
            let herds = self.scenario.herds.iter().find_map(|herd| of_herd(herd, id));
            herds.or_else(|| self.scenario.steps.iter().find_map(|step| of_step(step, id)))
        });
        named
    }

    fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.broken.iter().chain(self.oracle.violations())
    }

    /// Plans something, and says where on the agenda.
    fn plan(&mut self, at: Duration, due: Due) -> (Duration, u64) {
        self.planned += 1;
        let place = (at, self.planned);
        self.agenda.insert(place, due);
        place
    }

    fn step(&mut self, now: Duration, place: usize) {
        match self.scenario.steps[place].action.clone() {
            scenario::Action::Ask { request, .. } => {
                self.record_of_step(now, place, request.to_string());
                self.ask_of_step(now, place);
            }
            scenario::Action::Fault(fault) => {
                self.stable_since = now;
                self.fault(now, place, &fault);
            }
        }
        self.settle(now);
    }

    fn boot(&mut self, now: Duration, member: MemberId) {
        let machine = self.machine(member);
        machine.since = now;
        machine.stopping = false;
        machine.started = true;
        machine.process += 1;
        self.actions.push_back(Action::Boot(member));
    }

    fn down(&mut self, now: Duration, member: MemberId) {
        let machine = self.machine(member);
        machine.started = false;
        machine.up = false;
        machine.paused = false;
        self.lasting.process_ended(member);
        let all_down = self.machines.values().all(|machine| !machine.started);
        self.coverage.mark_if(all_down && self.machines.len() > 1, Mark::AllDown);
        self.stable_since = now;
        self.oracle.ended(now, member);
        self.raft.crash(now, member);
        if self.healed {
            self.plan(now + REVIVAL, Due::Revive(member));
        }
    }

    /// Takes what the log has to say, and hands on what it has for the members.
    fn settle(&mut self, now: Duration) {
        for note in self.raft.take_notes() {
            self.record_note(now, &note);
        }
        let entries: Vec<Entry> = self.raft.committed_behind(self.agreed).cloned().collect();
        self.agreed += entries.len();
        self.coverage.mark_if(self.raft.leaders() > 1, Mark::TwoLeaders);
        for entry in &entries {
            self.coverage.agreed(self.oracle.agreed_state(), entry);
            self.oracle.agreed(now, entry);
        }
        while let Some((member, event)) = self.raft.poll_event() {
            self.actions.push_back(Action::Deliver(member, event));
        }
        while let Some(envelope) = self.raft.poll_message() {
            self.post(now, envelope);
        }
        self.watch_leader(now);
    }

    /// Whether a member's machine or process is gone, while its driver does not know yet.
    fn is_dead(&self, member: MemberId) -> bool {
        !self.machines[&member].started
    }

    /// A number below `end`, of the elections' own chance; 0 if that is 0.
    fn draw(&mut self, end: u64) -> u64 {
        self.elections.next_u64() % end.max(1)
    }

    fn machine(&mut self, member: MemberId) -> &mut Machine {
        self.machines.get_mut(&member).expect("a scenario names only its own members")
    }
}

/// A named stream of chance from a scenario's seed.
fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The streams of chance.
const RAFT: u64 = 1;
const DISKS: u64 = 2;
const ELECTIONS: u64 = 3;
const NETWORK: u64 = 4;
/// A commit that takes so long is one in which leases can end.
const STALL: Duration = Duration::from_secs(5);
/// One that takes so long is longer than what a guard of a short lease waits between two renews.
const SLOW: Duration = Duration::from_secs(1);
/// After this time a member of the core that ended is started again.
const REVIVAL: Duration = Duration::from_millis(500);

/// What is judged of guards and of observers, who need a handle of the product.
const NEEDS_HANDLE: [&str; 7] =
    ["S18", "S18a", OBSERVE, "guard-lost", "guard-outlived", "held-by-observer", "missed"];
