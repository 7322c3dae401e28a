//! A scenario as it unfolds: its steps and herds, the log, the disks, the oracle and the trace.
//!
//! It decides everything that happens and does nothing of it: it is told the time and what it asked
//! for, and says what must be done as [`Action`]s. No clock, no thread, no madsim.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lessor::backend::Stored;
use lessor::driver::{CallError, LogEvent};
use lessor::{
    Change, Command, Config, Confirmation, Entry, Instant, LeaseId, LogIndex, Member, MemberId,
    MemberInput, Output, Proposal, Request, RequestError, Response, Role, Transaction, Write,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::consensus::{Consensus, Note};
use crate::disk::{FaultyDisk, Fuse, FuseAt, PowerCut, Unsynced};
use crate::invariant::{End, Violation};
use crate::lessee::Lessee;
use crate::oracle::Oracle;
use crate::report::{Injected, Panic, Report};
use crate::scenario::{
    self, AnswerKind, AtMoment, CRASH, Crash, CrashWhen, ELECT, Expectation, Fault, LOSE, Scenario,
};
use crate::trace::{Line, Trace};
use crate::words;

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
    /// The answer of each step that asks.
    answers: BTreeMap<usize, AnswerKind>,
    actions: VecDeque<Action>,
    random: ChaCha8Rng,
    agreed: usize,
    /// Whether all members were up once, so that the first leader was elected.
    founded: bool,
    losses: u32,
    stable_since: Duration,
    disappointments: Vec<String>,
    ineffective: Vec<String>,
    /// How often each kind of fault was ordered, and met something.
    faults: BTreeMap<&'static str, Injected>,
    acknowledged: u64,
    broken: Vec<Violation>,
    panic: Option<Panic>,
    ended: bool,
}

/// What the world wants done.
#[derive(Debug)]
pub enum Action {
    /// Start this member's process.
    Boot(MemberId),
    /// End this member's process at once.
    Kill(MemberId),
    /// Stop this member's driver, gracefully.
    Stop(MemberId),
    /// Let this member's process stand still.
    Pause(MemberId),
    /// Let it go on.
    Resume(MemberId),
    /// Hand this to the member's log.
    Deliver(MemberId, LogEvent),
    /// Ask a member, and tell the answer under this number.
    Call {
        /// The number.
        call: u64,
        /// Whom.
        member: MemberId,
        /// What.
        request: Request,
    },
}

/// Something on the agenda.
#[derive(Clone, Copy, Debug)]
enum Due {
    Step(usize),
    Expect(usize),
    Lessee(usize),
    Resume(MemberId, u64),
}

/// A member's computer.
#[derive(Default)]
struct Machine {
    disk: FaultyDisk,
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
        let consensus = Consensus::new(scenario.members, scenario.log, random);
        let mut world = Self {
            machines: consensus.members().map(|id| (id, Machine::default())).collect(),
            oracle: Oracle::new(&config),
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
            answers: BTreeMap::new(),
            actions: VecDeque::new(),
            random: stream(scenario.seed, DISKS),
            agreed: 0,
            founded: false,
            losses: 0,
            stable_since: Duration::ZERO,
            disappointments: Vec::new(),
            ineffective: Vec::new(),
            faults: BTreeMap::new(),
            acknowledged: 0,
            broken: Vec::new(),
            panic: None,
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
        for (at, lessee) in scenario.herds.iter().flat_map(Lessee::herd) {
            world.plan(at, Due::Lessee(world.lessees.len()));
            world.lessees.push(lessee);
        }
        for member in world.consensus.members() {
            world.boot(member);
        }
        world
    }

    /// The settings of all members.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now
            && !self.ended
        {
            match entry.remove() {
                Due::Step(place) => self.step(now, place),
                Due::Expect(place) => self.expect(now, place),
                Due::Lessee(place) => self.act(now, place),
                Due::Resume(member, process) => self.resume(now, member, process),
            }
        }
        self.consensus.advance(now);
        self.settle(now);
        if now >= self.scenario.duration && !self.ended {
            self.end(now);
        }
    }

    /// When to call [`advance`](Self::advance) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        let next = agenda.into_iter().chain(self.consensus.poll_timeout());
        next.chain([self.scenario.duration]).min().unwrap_or_default()
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether the scenario is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// A member's clock: each has an epoch of its own.
    #[must_use]
    pub fn clock(&self, now: Duration, member: MemberId) -> Instant {
        Instant::from_secs(3_600 * member.0).saturating_add(now)
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

    /// How long a disk takes for what it is asked.
    #[must_use]
    pub fn disk_latency(&self) -> Duration {
        DISK_LATENCY
    }

    // What the members' processes tell.

    /// A member has read its store.
    pub fn loaded(&mut self, now: Duration, member: MemberId, stored: &Stored) {
        let clock = self.clock(now, member);
        self.oracle.opened(now, member, clock, stored);
        let (applied, leases) = (stored.applied, stored.snapshot.leases.len());
        self.say(now, Some(member), "boot", format!("store opened at {applied}, {leases} leases"));
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
        match outcome {
            Ok(()) => self.say(now, Some(member), "stop", "stopped".to_owned()),
            Err(error) => {
                let what = format!("the member failed: {error}");
                self.say(now, Some(member), "stop", what.clone());
                let at_ms = millis(now);
                self.broken.push(Violation { property: "S4", what, at_ms, member: member.0 });
            }
        }
        self.down(now, member);
        self.settle(now);
    }

    /// A member proposes.
    pub fn proposed(&mut self, now: Duration, member: MemberId, proposal: Proposal) {
        self.hide(now, member, || format!("propose {proposal:?}"));
        self.consensus.propose(now, member, proposal);
        self.settle(now);
    }

    /// A member asks whether it leads.
    pub fn confirm_asked(&mut self, now: Duration, member: MemberId, confirmation: Confirmation) {
        self.hide(now, member, || format!("confirm {confirmation:?}"));
        self.consensus.confirm(now, member, confirmation);
        self.settle(now);
    }

    /// A member wants to lead.
    pub fn campaigned(&mut self, now: Duration, member: MemberId) {
        self.consensus.campaign(now, member);
        self.settle(now);
    }

    /// A member gives up leading.
    pub fn resigned(&mut self, now: Duration, member: MemberId) {
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
            CrashWhen::AfterCommit | CrashWhen::Now => {}
        }
    }

    /// A member's commit is done, and its power may go before anybody learns of it.
    pub fn after_commit(&mut self, member: MemberId) {
        let machine = self.machine(member);
        if let Some(trip) = machine.trip
            && trip.when == CrashWhen::AfterCommit
        {
            machine.disk.cut_power(trip.unsynced, trip.seed);
        }
        machine.disk.remove_fuse();
    }

    /// A member's machine has lost its power.
    pub fn power_lost(&mut self, now: Duration, member: MemberId) {
        self.machine(member).trip = None;
        self.has_effect(CRASH);
        let cut = self.machine(member).disk.last_cut();
        self.say(now, Some(member), "fault", power_cut_in_words(cut));
        self.actions.push_back(Action::Kill(member));
        self.down(now, member);
        self.settle(now);
    }

    /// A member is about to handle an input.
    pub fn before(&mut self, now: Duration, member: MemberId, clock: Instant, input: &MemberInput) {
        self.oracle.before(now, member, clock, input);
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
            MemberInput::Request { .. }
            | MemberInput::Confirmed { committed: Some(_), .. }
            | MemberInput::Installed(_)
            | MemberInput::HoldExpired(_)
            | MemberInput::Timeout
            | MemberInput::Stop => self.hide(now, member, || format!("input {input:?}")),
        }
    }

    /// A member has handled an input.
    pub fn after(&mut self, now: Duration, id: MemberId, clock: Instant, member: &Member) {
        let was = self.oracle.is_primary(id);
        self.oracle.after(now, id, clock, member);
        match (was, member.is_primary()) {
            (false, true) => {
                let leases = member.lessor().len();
                self.say(now, Some(id), "role", format!("promoted, {leases} leases"));
            }
            (true, false) => self.say(now, Some(id), "role", "demoted".to_owned()),
            (true, true) | (false, false) => {}
        }
    }

    /// A member's host is about to do an output.
    pub fn output(&mut self, now: Duration, member: MemberId, clock: Instant, output: &Output) {
        self.oracle.output(now, member, clock, output);
        match output {
            Output::Commit(transaction) => self.say_commit(now, member, transaction),
            Output::Expired(batch) => {
                let words = format!("expired: {}", words::ids_in_words(&batch.leases));
                self.say(now, Some(member), "expire", words);
            }
            Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Answer { .. } => self.hide(now, member, || format!("output {output:?}")),
        }
    }

    /// A call was answered, or nobody was there to answer it.
    pub fn answered(
        &mut self,
        now: Duration,
        call: u64,
        answer: Option<Result<Response, CallError>>,
    ) {
        let Some(pending) = self.calls.remove(&call) else { return };
        let machine = &self.machines[&pending.member];
        let died = !machine.up || machine.process != pending.process;
        let answer = match answer {
            Some(Ok(response)) => Ok(response),
            // A process that ends tells nobody what became of a request.
            None | Some(Err(_)) if died => Err(RequestError::Unknown),
            None => Err(RequestError::Unknown),
            Some(Err(CallError::Request(error))) => Err(error),
            Some(Err(CallError::Failed(_))) => Err(RequestError::Unknown),
        };
        self.acknowledged += u64::from(answer.is_ok());
        self.oracle.answered(now, pending.sent, &pending.request, &answer);
        match pending.asker {
            Asker::Step(place) => {
                let asked = words::request(&pending.request);
                let words = format!("{asked}: {}", words::answer(&answer));
                self.say_of_step(now, place, words);
                self.answers.insert(place, AnswerKind::of(&answer));
            }
            Asker::Expect(place) => self.judge_remaining(now, place, &answer),
            Asker::Lessee(place) => {
                let next = self.lessees[place].answered(
                    now,
                    pending.sent,
                    Some((pending.member, &answer)),
                );
                let words = format!("{} {:?}", words::request(&pending.request), answer);
                self.gather(now, None, "lessees", words, next.label);
                if let Some(at) = next.at {
                    self.plan(at, Due::Lessee(place));
                }
            }
        }
        self.settle(now);
    }

    /// The run has ended in a panic.
    pub fn panicked(&mut self, panic: Panic) {
        self.panic = Some(panic);
    }

    /// How it went.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut violations = self.broken.clone();
        violations.extend(self.oracle.violations().iter().cloned());
        Report {
            name: self.scenario.name.clone(),
            seed: self.scenario.seed,
            virtual_time: self.scenario.duration,
            violations,
            disappointments: self.disappointments.clone(),
            ineffective: self.ineffective.clone(),
            faults: self.faults.clone(),
            acknowledged: self.acknowledged,
            panic: self.panic.clone(),
            judged: self.oracle.judged(),
            trace: self.trace.clone(),
        }
    }

    fn plan(&mut self, at: Duration, due: Due) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), due);
    }

    fn step(&mut self, now: Duration, place: usize) {
        match self.scenario.steps[place].action.clone() {
            scenario::Action::Ask { request, member, .. } => {
                self.say_of_step(now, place, words::request(&request));
                self.ask(now, Asker::Step(place), member, request);
            }
            scenario::Action::Fault(fault) => {
                self.stable_since = now;
                self.fault(now, place, fault);
            }
        }
        self.settle(now);
    }

    /// Sends a request to a member, by default to whoever leads.
    fn ask(&mut self, now: Duration, asker: Asker, to: Option<MemberId>, request: Request) {
        self.oracle.asked(now, &request);
        let member = to.or(self.consensus.leader());
        self.planned += 1;
        let call = self.planned;
        let asked = member.unwrap_or(MemberId(1));
        let process = self.machines[&asked].process;
        let pending =
            Pending { asker, request: request.clone(), member: asked, process, sent: now };
        self.calls.insert(call, pending);
        match member {
            Some(member) if self.machines[&member].up => {
                self.actions.push_back(Action::Call { call, member, request });
            }
            Some(_) => self.answered(now, call, None),
            None => {
                let error = CallError::Request(RequestError::NotPrimary { leader: None });
                self.answered(now, call, Some(Err(error)));
            }
        }
    }

    fn fault(&mut self, now: Duration, place: usize, fault: Fault) {
        let times = if let Fault::Lose { count, .. } = fault { count.into() } else { 1 };
        self.faults.entry(fault.name()).or_default().ordered += times;
        match fault {
            Fault::Elect(member) => self.consensus.elect(now, member),
            Fault::Depose if self.consensus.leader().is_some() => {
                self.has_effect(fault.name());
                self.consensus.depose(now);
            }
            Fault::Crash(Crash { member, when, unsynced }) if self.machines[&member].started => {
                let seed = self.random.next_u64();
                if when == CrashWhen::Now {
                    self.machine(member).disk.cut_power(unsynced, seed);
                    return self.power_lost(now, member);
                }
                let words = format!("is to lose its power {}", when_in_words(when));
                self.say(now, Some(member), "fault", words);
                self.machine(member).trip = Some(Trip { step: place, when, unsynced, seed });
            }
            Fault::Kill(member) if self.machines[&member].started => {
                self.has_effect(fault.name());
                self.say(now, Some(member), "fault", "process killed".to_owned());
                self.machine(member).disk.kill_process();
                self.actions.push_back(Action::Kill(member));
                self.down(now, member);
            }
            Fault::Stop(member) if self.machines[&member].up => {
                self.has_effect(fault.name());
                self.say(now, Some(member), "fault", "asked to stop".to_owned());
                self.actions.push_back(Action::Stop(member));
            }
            Fault::Restart(member) if !self.machines[&member].started => {
                self.has_effect(fault.name());
                self.say(now, Some(member), "fault", "restarted".to_owned());
                self.machine(member).disk.power_on();
                self.boot(member);
            }
            Fault::Pause { member, span } if self.machines[&member].up => {
                self.has_effect(fault.name());
                let words = format!("stands still for {}", words::span(span));
                self.say(now, Some(member), "fault", words);
                self.machine(member).paused = true;
                self.consensus.pause(now, member, true);
                self.actions.push_back(Action::Pause(member));
                let process = self.machines[&member].process;
                self.plan(now + span, Due::Resume(member, process));
            }
            Fault::Isolate(member) => {
                if self.machines[&member].up {
                    self.has_effect(fault.name());
                }
                self.say(now, Some(member), "fault", "cut off".to_owned());
                self.consensus.isolate(now, member, true);
            }
            Fault::Heal(member) => {
                self.has_effect(fault.name());
                for healed in self.consensus.members() {
                    if member.is_none_or(|member| member == healed) {
                        self.say(now, Some(healed), "fault", "cut off no more".to_owned());
                        self.consensus.isolate(now, healed, false);
                    }
                }
            }
            Fault::Lose { member, loss, count } => {
                let words = format!("{} to be lost: {count}", loss.words());
                self.say(now, Some(member), "fault", words);
                self.consensus.lose(member, loss, count.into());
            }
            Fault::Depose
            | Fault::Crash(_)
            | Fault::Kill(_)
            | Fault::Stop(_)
            | Fault::Restart(_)
            | Fault::Pause { .. } => {
                let line = self.scenario.steps[place].line;
                self.ineffective.push(format!("line {line}: the fault meets nothing, {fault:?}"));
            }
        }
    }

    /// Notes that a fault of this kind has met something.
    fn has_effect(&mut self, kind: &'static str) {
        self.faults.entry(kind).or_default().effective += 1;
    }

    fn resume(&mut self, now: Duration, member: MemberId, process: u64) {
        if self.machines[&member].process == process && self.machines[&member].up {
            self.stable_since = now;
            self.machine(member).paused = false;
            self.say(now, Some(member), "fault", "goes on".to_owned());
            self.actions.push_back(Action::Resume(member));
            self.consensus.pause(now, member, false);
        }
    }

    fn boot(&mut self, member: MemberId) {
        let machine = self.machine(member);
        machine.started = true;
        machine.process += 1;
        self.actions.push_back(Action::Boot(member));
    }

    fn down(&mut self, now: Duration, member: MemberId) {
        let machine = self.machine(member);
        machine.started = false;
        machine.up = false;
        machine.paused = false;
        self.stable_since = now;
        self.oracle.ended(now, member);
        self.consensus.crash(now, member);
    }

    fn act(&mut self, now: Duration, place: usize) {
        let Some(request) = self.lessees[place].ask(now) else { return };
        let primary = self.lessees[place].primary().or(self.consensus.leader());
        let leader = primary.filter(|leader| self.machines[leader].up);
        if leader.is_some() {
            return self.ask(now, Asker::Lessee(place), leader, request);
        }
        let next = self.lessees[place].answered(now, now, None);
        self.gather(now, None, "lessees", words::request(&request), next.label);
        if let Some(at) = next.at {
            self.plan(at, Due::Lessee(place));
        }
    }

    fn expect(&mut self, now: Duration, place: usize) {
        let Expectation::At { member, what, .. } = self.scenario.expects[place].what.clone() else {
            return;
        };
        let primary = self.consensus.members().find(|member| self.oracle.is_primary(*member));
        let member = member.or(self.consensus.leader()).or(primary).unwrap_or(MemberId(1));
        let state = self.oracle.stored(member);
        let lease = |id: &LeaseId| state.and_then(|state| state.leases.get(id));
        let (met, found) = match &what {
            AtMoment::Remaining { lease, .. } => {
                let request = Request::Lookup { id: *lease };
                return self.ask(now, Asker::Expect(place), Some(member), request);
            }
            AtMoment::Present(id, present) => {
                let found = if lease(id).is_some() { "present" } else { "absent" };
                (lease(id).is_some() == *present, format!("lease {id} is {found}"))
            }
            AtMoment::Items(id, items) => {
                let held: Vec<_> = lease(id).iter().flat_map(|l| l.items.iter().cloned()).collect();
                (held == *items, format!("lease {id} holds {}", words::keys(&held)))
            }
            AtMoment::Holder(item, holder) => {
                let found = state.and_then(|state| state.holders.get(item)).copied();
                let words = found.map_or("no lease".to_owned(), |id| format!("lease {id}"));
                (found == *holder, format!("{item} is held by {words}"))
            }
            AtMoment::Primary(expected) => {
                // A deposed one that is cut off does not know; the log does.
                let leader =
                    self.consensus.leader().filter(|leader| self.oracle.is_primary(*leader));
                let words = leader.map_or("nobody".to_owned(), |leader| format!("member {leader}"));
                (leader == *expected, format!("{words} is primary"))
            }
            AtMoment::Leases(count) => {
                let found = state.map_or(0, |state| state.leases.len());
                (found == *count, format!("there are {found} leases"))
            }
        };
        self.judge_expectation(now, place, met, &found);
    }

    fn judge_remaining(
        &mut self,
        now: Duration,
        place: usize,
        answer: &Result<Response, RequestError>,
    ) {
        let Expectation::At { what: AtMoment::Remaining { at_least, at_most, .. }, .. } =
            self.scenario.expects[place].what
        else {
            return;
        };
        let met = match answer {
            Ok(Response::Lookup(Some(status))) => {
                at_least.is_none_or(|least| status.remaining >= least)
                    && at_most.is_none_or(|most| status.remaining <= most)
            }
            Ok(_) | Err(_) => false,
        };
        self.judge_expectation(now, place, met, &words::answer(answer));
    }

    fn judge_expectation(&mut self, now: Duration, place: usize, met: bool, found: &str) {
        let line = self.scenario.expects[place].line;
        let verdict = if met { "as expected" } else { "NOT as expected" };
        self.say(now, None, "expect", format!("{found}: {verdict} in line {line}"));
        if !met {
            let (secs, millis) = (now.as_secs(), now.subsec_millis());
            let what =
                format!("line {line}: at {secs}.{millis:03} {found}, which was not expected");
            self.disappointments.push(what);
        }
    }

    /// Takes what the log has to say, and hands on what it has for the members.
    fn settle(&mut self, now: Duration) {
        for note in self.consensus.take_notes() {
            self.say_note(now, &note);
        }
        let entries: Vec<Entry> = self.consensus.committed_behind(self.agreed).cloned().collect();
        self.agreed += entries.len();
        for entry in &entries {
            self.oracle.agreed(now, entry);
        }
        while let Some((member, event)) = self.consensus.poll_event() {
            self.actions.push_back(Action::Deliver(member, event));
        }
    }

    fn end(&mut self, now: Duration) {
        self.ended = true;
        let leader = self.consensus.leader();
        let leads = |leader: &MemberId| {
            self.consensus.reaches(*leader)
                && self.consensus.majority()
                && self.oracle.is_primary(*leader)
        };
        let log = self.scenario.log;
        let end = End {
            primary: leader.filter(leads),
            connected: self.consensus.members().filter(|m| self.consensus.reaches(*m)).collect(),
            stable_since: self.stable_since,
            losses: self.losses,
            unanswered: Vec::new(),
            latency: 4 * (log.commit + log.apply + log.confirm + DISK_LATENCY),
        };
        self.oracle.finish(now, end);
        for (place, step) in self.scenario.steps.iter().enumerate() {
            if let scenario::Action::Ask { request, answer: Some(expected), .. } = &step.action {
                let answer = self.answers.get(&place).copied().unwrap_or(AnswerKind::None);
                if answer != *expected {
                    let (line, asked) = (step.line, words::request(request));
                    let (answer, expected) = (answer.word(), expected.word());
                    let what =
                        format!("line {line}: {asked} was answered {answer}, not {expected}");
                    self.disappointments.push(what);
                }
            }
        }
        for expect in &self.scenario.expects {
            if let Expectation::Expired { from, to, every, at_least, at_most } = expect.what {
                let mut start = from;
                while start < to {
                    let end = (start + every).min(to);
                    let expired = self.oracle.expired().values();
                    let count = expired.filter(|at| (start..end).contains(*at)).count();
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    if at_least.is_some_and(|least| count < least)
                        || at_most.is_some_and(|most| count > most)
                    {
                        let (line, start, end) =
                            (expect.line, words::span(start), words::span(end));
                        let what =
                            format!("line {line}: {count} leases expired from {start} to {end}");
                        self.disappointments.push(what);
                    }
                    start = end;
                }
            }
        }
        for machine in self.machines.values() {
            if let Some(trip) = machine.trip {
                let line = self.scenario.steps[trip.step].line;
                self.ineffective
                    .push(format!("line {line}: the crash never came, for want of a commit"));
            }
        }
        let left = self.consensus.losses_left();
        if left > 0 {
            self.ineffective.push(format!("{left} proposals that were to be lost were never made"));
        }
        self.trace.finish(now);
    }

    fn machine(&mut self, member: MemberId) -> &mut Machine {
        self.machines.get_mut(&member).expect("a scenario names only its own members")
    }

    fn say_note(&mut self, now: Duration, note: &Note) {
        let (member, words) = match note {
            Note::Elected { leader, term, barrier, in_flight, survived } => {
                self.has_effect(ELECT);
                self.stable_since = now;
                let lost = if *in_flight == 0 {
                    String::new()
                } else {
                    format!(", {survived} of {in_flight} proposals on their way survive")
                };
                (None, format!("member {leader} is elected for term {term} behind {barrier}{lost}"))
            }
            Note::NotElected { candidate, why } => {
                (None, format!("member {candidate} is not elected: {why}"))
            }
            Note::Deposed { leader, term } => {
                self.stable_since = now;
                (None, format!("member {leader} leads term {term} no more"))
            }
            Note::Lost { member, proposal } => {
                self.losses += 1;
                self.has_effect(LOSE);
                (Some(*member), format!("lost: {}", words::command(&proposal.command)))
            }
            Note::Fenced { member, proposal } => {
                let command = words::command(&proposal.command);
                (Some(*member), format!("refused in term {}: {command}", proposal.term))
            }
        };
        self.say(now, member, "log", words);
    }

    fn say_applied(&mut self, now: Duration, member: MemberId, entry: &Entry) {
        let Some(proposal) = &entry.proposal else {
            let words = format!("{} opens term {}", entry.index, entry.term);
            return self.say(now, Some(member), "apply", words);
        };
        let words = format!("{} {}", entry.index, words::command(&proposal.command));
        let of_herd = match &proposal.command {
            Command::Grant { id, .. }
            | Command::Revoke { id }
            | Command::Attach { id, .. }
            | Command::Detach { id, .. } => self.is_of_herd(*id),
            Command::Checkpoint { checkpoints } => {
                checkpoints.iter().all(|checkpoint| self.is_of_herd(checkpoint.id))
            }
        };
        if of_herd {
            self.gather(now, Some(member), "apply", words, words::label(&proposal.command));
        } else {
            self.say(now, Some(member), "apply", words);
        }
    }

    fn say_commit(&mut self, now: Duration, member: MemberId, transaction: &Transaction) {
        let words = format!("{} {}", transaction.applied, words::changes(&transaction.changes));
        let of_herd = transaction.changes.iter().all(|change| match change {
            Change::Write(Write::PutLease(record)) => self.is_of_herd(record.id),
            Change::Write(Write::DeleteLease(id) | Write::PutItem(_, id)) => self.is_of_herd(*id),
            Change::Write(Write::DeleteItem(_)) => false,
            Change::RangeDelete(delete) => self.is_of_herd(delete.lease),
        });
        if of_herd && !self.herds.is_empty() {
            self.gather(now, Some(member), "commit", words, "commits");
        } else {
            self.say(now, Some(member), "commit", words);
        }
    }

    fn is_of_herd(&self, lease: LeaseId) -> bool {
        self.herds.iter().any(|(first, last)| (*first..=*last).contains(&lease))
    }

    fn say_of_step(&mut self, now: Duration, place: usize, words: String) {
        let step = &self.scenario.steps[place];
        let words = match &step.action {
            scenario::Action::Ask { lessee: Some(lessee), .. } => format!("{lessee}: {words}"),
            scenario::Action::Ask { member: Some(member), .. } => {
                format!("{words} [of member {member}]")
            }
            scenario::Action::Ask { .. } | scenario::Action::Fault(_) => words,
        };
        self.say(now, None, "lessee", words);
    }

    fn say(&mut self, at: Duration, member: Option<MemberId>, kind: &'static str, words: String) {
        let line = self.line(at, member, kind, words);
        self.trace.line(line);
    }

    /// Notes one of many like it.
    fn gather(
        &mut self,
        at: Duration,
        member: Option<MemberId>,
        kind: &'static str,
        words: String,
        label: &str,
    ) {
        let line = self.line(at, member, kind, words);
        self.trace.gather(&line, label);
    }

    /// Notes what only the hash need know.
    fn hide(&mut self, at: Duration, member: MemberId, words: impl FnOnce() -> String) {
        let line = self.line(at, Some(member), "inside", words());
        self.trace.hide(&line);
    }

    fn line(
        &self,
        at: Duration,
        member: Option<MemberId>,
        kind: &'static str,
        words: String,
    ) -> Line {
        let member = member.map(|member| {
            let role = if !self.machines[&member].up {
                '-'
            } else if self.oracle.is_primary(member) {
                'P'
            } else if self.consensus.leader() == Some(member) {
                'L'
            } else {
                'F'
            };
            (member, role)
        });
        Line { at, member, kind, words }
    }
}

/// A named stream of chance from a scenario's seed.
fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

fn when_in_words(when: CrashWhen) -> String {
    match when {
        CrashWhen::Now => "now".to_owned(),
        CrashWhen::BeforeCommit => "before its next commit".to_owned(),
        CrashWhen::DuringCommit { disk_operation } => {
            format!("at operation {disk_operation} of the disk in its next commit")
        }
        CrashWhen::AfterCommit => "right after its next commit".to_owned(),
    }
}

fn power_cut_in_words(cut: Option<PowerCut>) -> String {
    let Some(cut) = cut else { return "power lost".to_owned() };
    format!(
        "power lost; writes not synced: {}, of these kept {}, dropped {}, torn {}",
        cut.unsynced, cut.kept, cut.dropped, cut.torn
    )
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The streams of chance.
const CONSENSUS: u64 = 1;
const DISKS: u64 = 2;
/// How long a disk takes, whatever it is asked.
const DISK_LATENCY: Duration = Duration::from_millis(1);
