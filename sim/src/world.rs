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

use crate::clock::Clock;
use crate::consensus::{Consensus, Envelope};
use crate::coverage::{Coverage, Mark};
use crate::disk::{FaultyDisk, Fuse, FuseAt, Met, Unsynced};
use crate::fault::Lasting;
use crate::inside;
use crate::invariant::Violation;
use crate::lessee::{Lessee, Whom};
use crate::oracle::Oracle;
use crate::report::{Injected, Panic, Report};
use crate::scenario::{
    self, AnswerKind, CRASH, CrashWhen, Expectation, FAIL_SYNC, Fault, OPEN_AGAIN, Scenario,
    StoreKind,
};
use crate::trace::{Focus, Trace};
use crate::words;

mod calls;
mod ending;
mod expect;
mod fault;
mod guard;
mod mail;
mod say;

/// A scenario that is being replayed.
pub struct World {
    scenario: Scenario,
    config: Config,
    consensus: Consensus,
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
    slow_mail: BTreeMap<u64, Envelope>,
    agreed: usize,
    /// Whether all members were up once, so that the first leader was elected.
    founded: bool,
    losses: u32,
    stable_since: Duration,
    disappointments: Vec<String>,
    ineffective: Vec<String>,
    /// Faults that last.
    lasting: Lasting,
    /// Whether the ending has begun.
    quiet: bool,
    /// Since when nobody leads a majority.
    unled_since: Option<Duration>,
    /// How often each kind of fault was ordered, and met something.
    faults: BTreeMap<&'static str, Injected>,
    acknowledged: u64,
    coverage: Coverage,
    broken: Vec<Violation>,
    panic: Option<Panic>,
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
#[derive(Clone, Copy, Debug)]
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
    Send(u64),
    Ending,
    Elect,
    Revive(MemberId),
}

/// A member's computer.
struct Machine {
    disk: FaultyDisk,
    clock: Clock,
    /// Whether bits have flipped on its disk, and whether its store was refused since.
    harmed: bool,
    refused: bool,
    /// What its disk is, if it was exchanged and not opened yet.
    exchanged: Option<Mark>,
    /// What was copied of its disk, and whether bits had flipped there.
    copy: Option<(Vec<u8>, bool)>,
    /// How many of its commits are on their way.
    committing: u32,
    /// Whether one of them has failed, of which its engine does not know yet.
    write_failed: bool,
    /// Whether its process was asked to stop.
    stopping: bool,
    /// When it last began to start or to stop.
    since: Duration,
    /// Whether its process has started, whether it takes requests, and how many it had.
    started: bool,
    up: bool,
    process: u64,
    paused: bool,
    trip: Option<Trip>,
}

/// A power cut that waits for the next commit.
#[derive(Clone, Copy, Debug)]
struct Trip {
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
        let random = stream(scenario.seed, CONSENSUS);
        let compact_every = scenario.upkeep.compact_every;
        let consensus = Consensus::new(scenario.members, scenario.log, compact_every, random);
        let mut world = Self {
            machines: consensus.members().map(|id| (id, Machine::new(scenario, id))).collect(),
            oracle: Oracle::new(&config, &scenario.clocks, scenario.seed.is_multiple_of(TWINS)),
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
            slow_mail: BTreeMap::new(),
            agreed: 0,
            founded: false,
            losses: 0,
            stable_since: Duration::ZERO,
            disappointments: Vec::new(),
            ineffective: Vec::new(),
            lasting: Lasting::default(),
            quiet: false,
            unled_since: None,
            faults: BTreeMap::new(),
            acknowledged: 0,
            coverage: Coverage::default(),
            broken: Vec::new(),
            panic: None,
            focus: Focus::default(),
            until: None,
            ended: false,
            scenario: scenario.clone(),
            consensus,
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
        for member in world.consensus.members() {
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
                Due::Send(number) => self.send_late(number),
                Due::Ending => self.begin_ending(now),
                Due::Elect => self.hold_election(now),
                Due::Revive(member) => self.revive(now, member),
            }
        }
        self.consensus.advance(now);
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
        let next = agenda.into_iter().chain(self.consensus.poll_timeout());
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

    /// What the members keep their leases in.
    #[must_use]
    pub fn store(&self) -> StoreKind {
        self.scenario.store
    }

    /// Whether a member's machine has lost its power.
    #[must_use]
    pub fn power_is_off(&self, member: MemberId) -> bool {
        self.machines[&member].disk.power_is_off()
    }

    /// How long a member's disk takes for what it is asked.
    pub fn disk_latency(&mut self, now: Duration, member: MemberId) -> Duration {
        let slower = self.lasting.slower_disk(member);
        let stalled = slower >= STALL && self.oracle.is_primary(member);
        self.coverage.mark_if(stalled, Mark::Stalled);
        if slower >= SLOW && self.oracle.is_primary(member) {
            self.stalls_guards(member, now + slower);
        }
        if !slower.is_zero() {
            self.meets(
                |fault| matches!(fault, Fault::SlowDisk { member: of, .. } if *of == member),
            );
        }
        self.scenario.disks.latency + slower
    }

    // What the members' processes tell.

    /// A member has read its store.
    pub fn loaded(&mut self, now: Duration, member: MemberId, stored: &Stored) {
        let clock = self.clock(member).read(now);
        let behind = self.oracle.applied(member).is_some_and(|was| was.applied > stored.applied);
        let exchanged = self.machine(member).exchanged.take();
        let harmed = self.machines[&member].harmed;
        self.coverage.mark_if(behind && exchanged.is_none(), Mark::StoreBehind);
        if let Some(mark) = exchanged {
            self.coverage.mark(mark);
        }
        self.coverage.mark_if(harmed, Mark::RotHarmless);
        self.oracle.opened(now, member, clock, stored, harmed);
        self.show_disk(now, member);
        let (applied, leases) = (stored.applied, stored.snapshot.leases.len());
        self.say(now, Some(member), "boot", format!("store opened at {applied}, {leases} leases"));
    }

    /// A member could not read its store.
    pub fn unreadable(&mut self, now: Duration, member: MemberId) {
        self.oracle.unreadable(now, member);
    }

    /// A member's driver takes its place in the log.
    pub fn log_started(&mut self, now: Duration, member: MemberId, applied: LogIndex) {
        self.consensus.start(now, member, applied);
        self.settle(now);
    }

    /// A member takes requests.
    pub fn booted(&mut self, now: Duration, member: MemberId) {
        self.machine(member).up = true;
        let all_up = self.machines.values().all(|machine| machine.up);
        if all_up && !std::mem::replace(&mut self.founded, all_up) {
            self.consensus.elect(now, MemberId(1));
        }
        self.settle(now);
    }

    /// A member's process has ended by itself.
    pub fn process_ended(&mut self, now: Duration, member: MemberId, outcome: Result<(), String>) {
        if self.is_dead(member) {
            return;
        }
        self.show_disk(now, member);
        match outcome {
            Ok(()) => self.say(now, Some(member), "stop", "stopped".to_owned()),
            Err(error) => {
                let what = format!("the member failed: {error}");
                self.say(now, Some(member), "stop", what.clone());
                let machine = self.machine(member);
                machine.refused = machine.harmed && !machine.up;
                let met = machine.disk.take_met();
                let refused = self.machines[&member].refused;
                self.coverage.mark_if(met.failed_syncs > 0, Mark::FailedSync);
                self.coverage.mark_if(met.refused > 0, Mark::FullDisk);
                self.coverage.mark_if(refused, Mark::RotRefused);
                if refused {
                    self.oracle.refused(now, member);
                }
                for _ in 0..met.failed_syncs {
                    self.has_effect(FAIL_SYNC);
                }
                if met.refused > 0 {
                    self.meets(|fault| matches!(fault, Fault::FullDisk { member: of, .. } if *of == member));
                }
                if met == Met::default() && !self.machines[&member].harmed {
                    let at_ms = millis(now);
                    self.broken.push(Violation::new("S4", what, at_ms, member.0));
                }
            }
        }
        self.machine(member).disk.kill_process();
        self.down(now, member);
        self.settle(now);
    }

    /// A member proposes.
    pub fn proposed(&mut self, now: Duration, member: MemberId, proposal: Proposal) {
        if self.is_dead(member) {
            return;
        }
        if let Some(Trip { when: CrashWhen::BeforePropose, unsynced, seed, .. }) =
            self.machines[&member].trip
        {
            self.machine(member).disk.cut_power(unsynced, seed);
            return self.power_lost(now, member);
        }
        self.hide(now, member, format_args!("propose {}", inside::proposal(&proposal)));
        let leases = || words::leases_of_command(&proposal.command);
        self.also(now, Some(member), "log", leases, |_| {
            format!("takes proposal {}", words::proposal(&proposal))
        });
        self.consensus.propose(now, member, proposal);
        self.settle(now);
    }

    /// A member asks whether it leads.
    pub fn confirm_asked(&mut self, now: Duration, member: MemberId, confirmation: Confirmation) {
        if self.is_dead(member) {
            return;
        }
        self.hide(now, member, format_args!("confirm {confirmation:?}"));
        self.also(now, Some(member), "log", BTreeSet::new, |_| {
            format!("is asked whether it leads (question {})", confirmation.0)
        });
        self.consensus.confirm(now, member, confirmation);
        self.settle(now);
    }

    /// A member wants to lead.
    pub fn campaigned(&mut self, now: Duration, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        self.consensus.campaign(now, member);
        self.settle(now);
    }

    /// A member gives up leading.
    pub fn resigned(&mut self, now: Duration, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        self.consensus.resign(now, member);
        self.settle(now);
    }

    /// A member is about to commit to its disk, and its power may go right now or on the way.
    pub fn before_commit(&mut self, member: MemberId) {
        let machine = self.machine(member);
        let Some(trip) = machine.trip else { return };
        match trip.when {
            CrashWhen::BeforeCommit => {
                machine.disk.cut_power(trip.unsynced, trip.seed);
            }
            CrashWhen::DuringCommit { disk_operation } => {
                let at = FuseAt::Operation(disk_operation);
                machine.disk.set_fuse(Fuse { at, unsynced: trip.unsynced, seed: trip.seed });
            }
            CrashWhen::AfterCommit | CrashWhen::BeforePropose | CrashWhen::Now => {}
        }
    }

    /// A member's commit is done or has failed, and its power may go before anybody learns of it.
    pub fn after_commit(&mut self, now: Duration, member: MemberId, worked: bool) {
        if !worked && !self.machines[&member].disk.power_is_off() {
            self.machine(member).write_failed = true;
        }
        self.show_disk(now, member);
        let machine = self.machine(member);
        if let Some(trip) = machine.trip
            && trip.when == CrashWhen::AfterCommit
        {
            machine.disk.cut_power(trip.unsynced, trip.seed);
        }
        machine.disk.remove_fuse();
    }

    /// Whether a commit has to wait for a transaction of the member's host. It cannot begin meanwhile: what
    /// redb's own lock does when a host has [`database`](lessor::backend::RedbBackend::database) and writes.
    pub fn store_is_held(&mut self, member: MemberId) -> bool {
        let held = self.lasting.store_is_held(member);
        if held {
            self.coverage.mark(Mark::HeldByHost);
            self.meets(
                |fault| matches!(fault, Fault::HoldStore { member: of, .. } if *of == member),
            );
        }
        held
    }

    /// Work that blocks has begun on a member's machine, or has ended: it goes on without its engine.
    pub fn blocked(&mut self, now: Duration, member: MemberId, begins: bool) {
        let committing = &mut self.machine(member).committing;
        *committing = if begins { *committing + 1 } else { committing.saturating_sub(1) };
        if !begins && std::mem::take(&mut self.machine(member).write_failed) {
            self.oracle.write_failed(now, member);
        }
    }

    /// A member that starts finds its store open: the engine before it was aborted, and its commit is on its
    /// way. Its host tries again.
    pub fn locked_out(&mut self, now: Duration, member: MemberId) {
        self.coverage.mark(Mark::LockedOut);
        self.say(now, Some(member), "boot", "the store is open elsewhere, tries again".to_owned());
    }

    /// Somebody has opened a member's store a second time, and was let in or was not.
    pub fn opened_again(&mut self, now: Duration, member: MemberId, refusal: Option<String>) {
        let Some(refusal) = refusal else {
            let what = "the store was opened a second time while an engine had it".to_owned();
            let at_ms = millis(now);
            return self.broken.push(Violation::new("S4", what, at_ms, member.0));
        };
        self.coverage.mark(Mark::LockedOut);
        self.has_effect(OPEN_AGAIN);
        self.say(now, Some(member), "fault", format!("a second engine is refused: {refusal}"));
    }

    /// Whether an observer that takes nothing goes on doing so.
    #[must_use]
    pub fn observer_sleeps(&self, place: usize) -> bool {
        self.lasting.lasts(place)
    }

    /// An observer has taken a batch, or is told that it missed some.
    pub fn observed(&mut self, now: Duration, member: MemberId, missed: bool) {
        self.coverage.mark_if(missed, Mark::Missed);
        self.hide(now, member, format_args!("observed, missed: {missed}"));
    }

    /// Whether each commit is to be handed to the stores twice.
    #[must_use]
    pub fn repeats_commits(&self) -> bool {
        self.scenario.seed % TWINS == 1
    }

    /// A member's store was handed its last transaction once more.
    pub fn repeated(&mut self, now: Duration, member: MemberId, refused: bool) {
        self.oracle.repeated(now, member, refused);
    }

    /// A member's machine has lost its power.
    pub fn power_lost(&mut self, now: Duration, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        if let Some(trip) = self.machine(member).trip.take() {
            self.coverage.mark(match trip.when {
                CrashWhen::BeforePropose => Mark::CutBeforePropose,
                CrashWhen::AfterCommit => Mark::CutAfterCommit,
                CrashWhen::DuringCommit { .. } => Mark::CutDuringCommit,
                CrashWhen::BeforeCommit | CrashWhen::Now => Mark::CutBeforeCommit,
            });
        }
        self.has_effect(CRASH);
        self.show_disk(now, member);
        let cut = self.machine(member).disk.last_cut();
        self.coverage.power_cut(cut.unwrap_or_default());
        self.say(now, Some(member), "fault", fault::power_cut_in_words(cut));
        self.machine(member).loses_its_process();
        self.actions.push_back(Action::Kill(member));
        self.down(now, member);
        self.settle(now);
    }

    /// A member is about to handle an input.
    pub fn before(&mut self, now: Duration, member: MemberId, clock: Instant, input: &MemberInput) {
        if self.is_dead(member) {
            return;
        }
        let primary = self.oracle.is_primary(member);
        self.coverage.before(now, member, primary, self.oracle.applied(member), input);
        self.oracle.before(now, member, clock, input);
        let places = usize::try_from(self.config.queue.get()).unwrap_or(usize::MAX);
        let crowded = self.oracle.unanswered(member) >= places;
        self.coverage.mark_if(crowded, Mark::Crowded);
        match input {
            MemberInput::Committed(entries) => {
                for entry in entries {
                    self.say_applied(now, member, entry);
                }
            }
            MemberInput::Role(Role::Leader { term, barrier }) => {
                let words = format!("leads term {term}, to promote behind {barrier}");
                self.say(now, Some(member), "role", words);
            }
            MemberInput::Role(Role::Follower { leader: Some(leader) }) => {
                self.say(now, Some(member), "role", format!("follows member {leader}"));
            }
            MemberInput::Role(Role::Follower { leader: None }) => {
                self.say(now, Some(member), "role", "follows nobody".to_owned());
            }
            MemberInput::Confirmed { committed: None, .. } => {
                self.say(now, Some(member), "role", "learns that it does not lead".to_owned());
            }
            MemberInput::HoldExpired(true) => {
                self.coverage.mark(Mark::HeldByObserver);
                self.meets(
                    |fault| matches!(fault, Fault::Observe { member: of, .. } if *of == member),
                );
                self.hide(now, member, format_args!("input {}", inside::input(input)));
            }
            MemberInput::Request { .. }
            | MemberInput::Confirmed { committed: Some(_), .. }
            | MemberInput::Installed(_)
            | MemberInput::GoOn
            | MemberInput::Persisted(_)
            | MemberInput::Forget(_)
            | MemberInput::HoldExpired(false)
            | MemberInput::Timeout
            | MemberInput::Stop => {
                self.hide_input(now, member, input);
            }
        }
    }

    /// A member has handled an input.
    pub fn after(&mut self, now: Duration, id: MemberId, clock: Instant, member: &Member) {
        if self.is_dead(id) {
            return;
        }
        let was = self.oracle.is_primary(id);
        let shows = self.clock(id).read(now);
        self.oracle.after(now, id, clock, shows, member);
        match (was, member.is_primary()) {
            (false, true) => {
                self.coverage.promoted(self.oracle.applied(id));
                let leases = member.lessor().len();
                self.say(now, Some(id), "role", format!("promoted, {leases} leases"));
            }
            (true, false) => self.say(now, Some(id), "role", "demoted".to_owned()),
            (true, true) | (false, false) => {}
        }
    }

    /// A member's host is about to do an output.
    pub fn output(&mut self, now: Duration, member: MemberId, clock: Instant, output: &Output) {
        if self.is_dead(member) {
            return;
        }
        let asked = self.asked_of(member, output);
        self.oracle.output(now, member, clock, output);
        let most = self.config.revoke_rate.get().div_ceil(2) as usize;
        self.coverage.output(now, member, most, output);
        match output {
            Output::Commit(transaction) => self.say_commit(now, member, transaction),
            Output::Expired(batch) => self.say_expired(now, member, &batch.leases),
            Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Waits(_)
            | Output::Answer { .. } => {
                self.hide_output(now, member, output, asked.as_ref());
            }
        }
    }

    /// The run has ended in a panic.
    pub fn panicked(&mut self, panic: Panic) {
        if !panic.is_of_testbed() {
            let now = self.trace.lines().last().map_or(Duration::ZERO, |line| line.at);
            self.oracle.panicked(now, &panic.to_string());
        }
        self.panic = Some(panic);
    }

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
            disappointments: self.disappointments.clone(),
            ineffective: self.ineffective.clone(),
            faults: self.faults.clone(),
            acknowledged: self.acknowledged,
            marks: self.coverage.counts(),
            panic: self.panic.clone(),
            judged: self.oracle.judged().clone(),
            trace: self.trace.clone(),
        }
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
                words::leases_of_request(request).contains(&id).then(|| lessee.clone())
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
                self.say_of_step(now, place, request.to_string());
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
        self.consensus.crash(now, member);
        if self.quiet {
            self.plan(now + REVIVAL, Due::Revive(member));
        }
    }

    /// Takes what the log has to say, and hands on what it has for the members.
    fn settle(&mut self, now: Duration) {
        for note in self.consensus.take_notes() {
            self.say_note(now, &note);
        }
        let entries: Vec<Entry> = self.consensus.committed_behind(self.agreed).cloned().collect();
        self.agreed += entries.len();
        self.coverage.mark_if(self.consensus.leaders() > 1, Mark::TwoLeaders);
        for entry in &entries {
            self.coverage.agreed(self.oracle.agreed_state(), entry);
            self.oracle.agreed(now, entry);
        }
        while let Some((member, event)) = self.consensus.poll_event() {
            self.actions.push_back(Action::Deliver(member, event));
        }
        while let Some(envelope) = self.consensus.poll_message() {
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

impl Machine {
    /// What its process had begun does not go on.
    fn loses_its_process(&mut self) {
        self.committing = 0;
        self.write_failed = false;
    }

    fn new(scenario: &Scenario, member: MemberId) -> Self {
        let clocks = &scenario.clocks;
        Self {
            disk: FaultyDisk::default(),
            clock: Clock::new(clocks.offset(member), clocks.drift_ppm(member)),
            harmed: false,
            refused: false,
            exchanged: None,
            copy: None,
            committing: 0,
            write_failed: false,
            stopping: false,
            since: Duration::ZERO,
            started: false,
            up: false,
            process: 0,
            paused: false,
            trip: None,
        }
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
const CONSENSUS: u64 = 1;
const DISKS: u64 = 2;
const ELECTIONS: u64 = 3;
const NETWORK: u64 = 4;
/// In one seed of so many each member has a twin, and in another its store is handed all things twice.
const TWINS: u64 = 4;
/// A commit that takes so long is one in which leases can end.
const STALL: Duration = Duration::from_secs(5);
/// One that takes so long is longer than what a guard of a short lease waits between two renews.
const SLOW: Duration = Duration::from_secs(1);
/// After this time a member of the core that ended is started again.
const REVIVAL: Duration = Duration::from_millis(500);
