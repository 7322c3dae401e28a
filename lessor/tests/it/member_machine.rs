//! Random groups of members against [their model](super::group): every answer, proposal, commit,
//! question and deadline is the one that the model gives.
//!
//! What users and other members rely on is judged once more without the model, so that a mistake
//! that is in both is found. Each of these rules, and the comparison, must find planted bugs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::rc::Rc;

use lessor::backend::{Backend, MemoryBackend};
use lessor::{
    Command, Digest, LeaseId, LeaseOrder, LogIndex, MemberInput, Output, Proposal, Request,
    RequestError, Response, StateAt, Term, Transaction,
};
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseResult};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use super::group::{Act, Group, Pass, Step, What};
use super::history::is_picked;
use super::member_host::Host;
use super::member_model::{Said, in_order, picked};
use super::member_planted::{Adapter, Planted};
use super::seed::{explore, failures};

#[test]
fn a_group_does_what_the_model_says() {
    let seen = Rc::new(RefCell::new(BTreeMap::new()));
    explore(CASES, &Bench::sequential_strategy(STEPS), |(mut bench, steps, counter)| {
        bench.seen = Rc::clone(&seen);
        Machine::test_sequential(RunnerConfig::default(), bench, steps, counter);
        Ok(())
    });
    let seen = seen.take();
    println!("{} random groups of members, {} steps", seen["cases"], seen["steps"]);
    for what in REACHED {
        assert!(seen.get(what).is_some_and(|times| *times >= 3), "{what} is reached: {seen:?}");
    }
}

#[test]
fn every_planted_bug_is_found_by_the_rule_against_it() {
    for (planted, rule) in Planted::BUGS {
        let strategy = Bench::sequential_strategy(STEPS);
        // Without the counter, which is of use for shrinking only.
        let mut failures = failures(CASES, &strategy, |(mut bench, steps, _)| {
            bench.planted = planted;
            Machine::test_sequential(RunnerConfig::default(), bench, steps, None);
            Ok(())
        });
        assert!(failures.any(|why| why.contains(rule)), "{planted:?} is found, by «{rule}»");
    }
}

const CASES: u32 = 2_000;
const STEPS: std::ops::RangeInclusive<usize> = 60..=120;

/// A group, and with what it is run.
#[derive(Clone)]
struct Bench {
    group: Group,
    planted: Planted,
    /// How often the cases came to what matters.
    seen: Rc<RefCell<BTreeMap<&'static str, u32>>>,
}

impl ReferenceStateMachine for Bench {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let bench = |group| Self { group, planted: Planted::Nothing, seen: Rc::default() };
        Group::any().prop_map(bench).boxed()
    }

    fn transitions(bench: &Self) -> BoxedStrategy<Step> {
        bench.group.next().boxed()
    }

    fn apply(mut bench: Self, step: &Step) -> Self {
        bench.group.step(step);
        bench
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.fmt(f)
    }
}

struct Machine;

impl StateMachineTest for Machine {
    type SystemUnderTest = World;
    type Reference = Bench;

    fn init_test(bench: &Bench) -> World {
        World::new(bench)
    }

    fn apply(mut world: World, bench: &Bench, step: Step) -> World {
        let outcome = world.step(&bench.group);
        let clock = bench.group.peers[bench.group.did.member].clock;
        or_fail(outcome.map_err(|error| format!("{error}\nat {clock} ns in {step:?}")));
        world
    }

    /// Lets all patience end, and then stops all members: whoever asked has an answer.
    fn teardown(mut world: World, mut bench: Bench) {
        let members = 0..bench.group.peers.len();
        let mut make = |world, pass, act: Act| {
            members.clone().fold(world, |world, member| {
                let step = Step { member, pass, act: act.clone() };
                bench.group.step(&step);
                Self::apply(world, &bench, step)
            })
        };
        world = make(world, Pass::PastPatience, Act::Timeout);
        world = make(world, Pass::Stay, Act::Durable);
        world = make(world, Pass::Stay, Act::Durable);
        or_fail(world.owes(|request| !matches!(request, Request::Renew { .. })));
        world = make(world, Pass::Stay, Act::Stop);
        world = make(world, Pass::Stay, Act::Durable);
        world = make(world, Pass::Stay, Act::Durable);
        or_fail(world.owes(|_| true));
        world.count("cases");
    }
}

/// Fails without the noise that a panic makes in each case that is tried while shrinking.
fn or_fail(outcome: Result<(), impl ToString>) {
    if let Err(error) = outcome {
        resume_unwind(Box::new(error.to_string()));
    }
}

/// The real members with their hosts.
struct World {
    hosts: Vec<Host>,
    planted: Planted,
    /// Ids that members picked, and what stands for each in the log.
    picks: BTreeMap<LeaseId, LeaseId>,
    digests: BTreeMap<u64, Digest>,
    seen: Rc<RefCell<BTreeMap<&'static str, u32>>>,
}

impl World {
    fn new(bench: &Bench) -> Self {
        let mut world = Self {
            hosts: Vec::new(),
            planted: bench.planted,
            picks: BTreeMap::new(),
            digests: BTreeMap::new(),
            seen: Rc::clone(&bench.seen),
        };
        for _ in &bench.group.peers {
            let adapter = Adapter::new(bench.planted, &bench.group, &StateAt::default());
            world.hosts.push(Host::new(adapter, LogIndex(0), MemoryBackend::new()));
        }
        world
    }

    /// Makes a real member do what the model of the group did last.
    fn step(&mut self, group: &Group) -> TestCaseResult {
        self.count("steps");
        self.note(group);
        let (number, quick) = (group.did.member, group.peers[group.did.member].quick);
        let before = decided(&self.hosts[number]).count();
        match &group.did.what {
            What::Nothing => return Ok(()),
            What::Input(input) => {
                let host = &mut self.hosts[number];
                host.hear(input, group.history.len());
                host.adapter.input(group.peers[number].clock, input.clone(), &group.history);
                self.judge_new(group, before)?;
            }
            What::Durable => {
                let commit = self.hosts[number].committing.take();
                self.commit(group, commit.expect("as in the model"))?;
            }
            What::Restart { kept } => {
                let commit = self.hosts[number].committing.take().filter(|_| *kept);
                commit.map_or(Ok(()), |commit| self.commit(group, commit))?;
                let mut store = std::mem::take(&mut self.hosts[number].store);
                let stored = store.load().expect("it is in memory");
                let state = StateAt { applied: stored.applied, snapshot: stored.snapshot };
                let adapter = Adapter::new(self.planted, group, &state);
                self.hosts[number] = Host::new(adapter, state.applied, store);
            }
        }
        let done = self.host(group, quick)?;
        self.judge_state(group)?;
        if self.planted.is_compared() { self.compare(group, done) } else { Ok(()) }
    }

    /// Counts what the latest step comes to.
    fn note(&self, group: &Group) {
        let member = &self.hosts[group.did.member].adapter.member;
        match &group.did.what {
            What::Restart { .. } => self.count("restart"),
            What::Input(MemberInput::Committed(entries)) => {
                for entry in entries {
                    let own = entry.proposal.as_ref().map_or(entry.term, |own| own.term);
                    if own != entry.term {
                        self.count("stale entry");
                    }
                    if entry.index <= member.applied() {
                        self.count("entry again");
                    }
                }
            }
            What::Input(MemberInput::Confirmed { committed: Some(_), .. }) => {
                let leads = group.leads && group.election.member == group.did.member;
                if !leads {
                    self.count("late confirmation");
                }
            }
            What::Input(MemberInput::Forget(ticket)) => {
                if self.hosts[group.did.member].asked.contains_key(ticket) {
                    self.count("left");
                }
            }
            What::Nothing | What::Durable | What::Input(_) => {}
        }
        if self.hosts.iter().filter(|host| host.adapter.member.is_primary()).count() > 1 {
            self.count("two primaries");
        }
    }

    /// Judges what the member has said to its latest input, before anybody hears it.
    fn judge_new(&mut self, group: &Group, before: usize) -> TestCaseResult {
        let host = &mut self.hosts[group.did.member];
        let new: Vec<Output> = decided(host).skip(before).collect();
        for output in new {
            host.judge(&output, group)?;
            if let Output::Propose(Proposal { term, sequence, command }) = output
                && let Command::Grant { id, .. } = command
                && is_picked(id)
            {
                let before = self.picks.insert(id, picked(term.0, sequence));
                prop_assert!(before.is_none(), "the id {} was picked before", id);
            }
        }
        Ok(())
    }

    /// Does what the member says, in order.
    fn host(&mut self, group: &Group, quick: bool) -> Result<Vec<Said>, TestCaseError> {
        let mut done = Vec::new();
        loop {
            let host = &mut self.hosts[group.did.member];
            let Some(outputs) = host.adapter.poll() else { return Ok(done) };
            for output in outputs {
                let said = self.translate(Said::from(&output));
                self.count(kind(&said));
                done.push(said);
                let host = &mut self.hosts[group.did.member];
                match output {
                    Output::Commit(transaction) if quick => self.commit(group, transaction)?,
                    Output::Commit(transaction) => host.committing = Some(transaction),
                    Output::Answer { ticket, answer } => {
                        host.answer(ticket, &answer, &group.history)?;
                    }
                    Output::Waits(_)
                    | Output::Propose(_)
                    | Output::Confirm(_)
                    | Output::Campaign
                    | Output::Resign
                    | Output::Expired(_) => {}
                }
            }
        }
    }

    fn commit(&mut self, group: &Group, transaction: Transaction) -> TestCaseResult {
        let host = &mut self.hosts[group.did.member];
        host.store.commit(transaction).expect("it follows the last one");
        let stored = host.store.load().expect("it is in memory");
        let LogIndex(applied) = stored.applied;
        host.stored = applied;
        let state = group.history.state(applied);
        prop_assert_eq!(&stored.snapshot, state, "the store holds what the log says");
        let digest = *self.digests.entry(applied).or_insert(stored.digest);
        prop_assert_eq!(stored.digest, digest, "one digest for one index of the log");
        let clock = group.peers[group.did.member].clock;
        let persisted = MemberInput::Persisted(stored.applied);
        self.hosts[group.did.member].adapter.input(clock, persisted, &group.history);
        Ok(())
    }

    fn judge_state(&mut self, group: &Group) -> TestCaseResult {
        let member = &self.hosts[group.did.member].adapter.member;
        let LogIndex(applied) = member.applied();
        member.lessor().check();
        let state = group.history.state(applied);
        prop_assert_eq!(&member.lessor().snapshot(), state, "the member holds what the log says");
        let found = member.lessor().digest();
        let digest = *self.digests.entry(applied).or_insert(found);
        prop_assert_eq!(found, digest, "one digest for one index of the log");
        Ok(())
    }

    fn compare(&mut self, group: &Group, done: Vec<Said>) -> TestCaseResult {
        let peer = &group.peers[group.did.member];
        let (model, adapter) = (&peer.member, &self.hosts[group.did.member].adapter);
        let said = adapter.outputs();
        let said = said.iter().map(|output| self.translate(Said::from(output)));
        prop_assert_eq!(in_order(done), in_order(group.did.done.clone()), "what the model says");
        prop_assert_eq!(in_order(said), in_order(model.outputs()), "what the model says");
        let member = &adapter.member;
        prop_assert_eq!(member.applied(), LogIndex(model.applied));
        prop_assert_eq!(member.term(), model.reign.map(|reign| Term(reign.term)));
        prop_assert_eq!(member.is_primary(), model.is_primary());
        prop_assert_eq!(member.is_stopped(), model.stopped);
        prop_assert_eq!(member.is_idle(), model.is_idle());
        let order = LeaseOrder::Expiry;
        let leases = member.lessor().leases(order, None, usize::MAX);
        prop_assert_eq!(leases, model.leases(order), "the deadlines are what the model says");
        let timeout = adapter.poll_timeout();
        let next = model.next();
        prop_assert!(
            next.is_none_or(|next| timeout.is_some_and(|at| at <= next)),
            "something is due at {next:?}, and the member wants to be called at {timeout:?}"
        );
        if matches!(group.did.what, What::Input(MemberInput::Timeout)) {
            let busy = timeout.is_some_and(|at| at <= peer.clock);
            prop_assert!(!busy, "after a timeout at {} comes one at {timeout:?}", peer.clock);
        }
        Ok(())
    }

    /// As the log has it: with other ids in place of those that members pick.
    fn translate(&self, mut said: Said) -> Said {
        if let Said::Propose(Proposal { command: Command::Grant { id, .. }, .. })
        | Said::Answer(_, Ok(Response::Granted { id, .. })) = &mut said
        {
            *id = self.picks.get(id).copied().unwrap_or(*id);
        }
        said
    }

    fn owes(&self, whom: impl Fn(&Request) -> bool) -> TestCaseResult {
        for host in &self.hosts {
            let open = host.asked.values().find(|(asked, _)| whom(&asked.request));
            prop_assert!(open.is_none(), "it owes an answer to {:?}", open);
        }
        Ok(())
    }

    fn count(&self, what: &'static str) {
        *self.seen.borrow_mut().entry(what).or_default() += 1;
    }
}

/// What a member has decided, and its host has not taken. A commit goes on growing until it is.
fn decided(host: &Host) -> impl Iterator<Item = Output> {
    let outputs = host.adapter.outputs().into_iter();
    outputs.filter(|output| !matches!(output, Output::Commit(_)))
}

/// What the cases must come to.
const REACHED: [&str; 27] = [
    "left",
    "waits",
    "granted",
    "renewed",
    "applied",
    "held by another",
    "done",
    "found",
    "refused",
    "not primary",
    "unknown",
    "stopped",
    "proposed",
    "checkpoint",
    "unset",
    "question",
    "campaign",
    "resigns",
    "commit",
    "install",
    "expired",
    "restart",
    "two primaries",
    "stale entry",
    "entry again",
    "late confirmation",
    "many at once",
];

fn kind(said: &Said) -> &'static str {
    match said {
        Said::Propose(Proposal { command: Command::Checkpoint { checkpoints }, .. }) => {
            if checkpoints[0].remaining.is_some() {
                "checkpoint"
            } else {
                "unset"
            }
        }
        Said::Propose(_) => "proposed",
        Said::Confirm(_) => "question",
        Said::Campaign => "campaign",
        Said::Resign => "resigns",
        Said::Commit { reset: true, .. } => "install",
        Said::Commit { after, applied, .. } if applied - after > 1 => "many at once",
        Said::Commit { .. } => "commit",
        Said::Expired(_) => "expired",
        Said::Waits(_) => "waits",
        Said::Answer(_, answer) => match answer {
            Ok(Response::Granted { .. }) => "granted",
            Ok(Response::Renewed { .. }) => "renewed",
            Ok(Response::Applied { .. }) => "applied",
            Ok(Response::Done) => "done",
            Ok(
                Response::Lookup(_)
                | Response::TimeToLive(_)
                | Response::Items(_)
                | Response::Leases(_)
                | Response::LeaseOf(_),
            ) => "found",
            Err(RequestError::Refused(lessor::Error::ItemHeld(_))) => "held by another",
            Err(RequestError::Refused(_)) => "refused",
            Err(RequestError::NotPrimary { .. }) => "not primary",
            Err(RequestError::Unknown) => "unknown",
            Err(RequestError::Stopped) => "stopped",
        },
    }
}
