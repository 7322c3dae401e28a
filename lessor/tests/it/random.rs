//! Random calls of the core, against the slow [model](super::model).
//!
//! The same harness is run with bugs planted between it and the core, and must find each of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{
    Checkpoint, Command, Config, Effect, Error, Input, Instant, Item, LeaseId, LeaseOrder,
    LeaseRecord, Lessor, RangeDelete, Snapshot, SnapshotError, Ticket, Ttl, Write,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::model::{Expected, MILLI, Model, SECOND, nanos};
use super::seed::{explore, failures};

#[test]
fn random_calls_do_what_the_slow_model_says() {
    let seen = RefCell::new(Seen::default());
    explore(CASES, &case(), |case| {
        let mut harness = Harness::new(&case, Planted::Nothing);
        let outcome = harness.run(&case.steps);
        seen.borrow_mut().add(&harness.seen);
        outcome
    });
    let seen = seen.into_inner();
    println!("{} random cases of the core, {} steps", seen.cases, seen.steps);
    assert!(
        [seen.batches, seen.long_batches, seen.again, seen.granted_renews, seen.late_renews]
            .into_iter()
            .chain([seen.refused_renews, seen.range_deletes, seen.smoothed, seen.checkpoints])
            .chain([seen.held, seen.behind_a_checkpoint])
            .all(|times| times >= 3),
        "the cases reach everything: {seen:?}"
    );
}

#[test]
fn every_planted_bug_is_found_by_the_rule_against_it() {
    for (planted, rule) in Planted::BUGS {
        let cases = case();
        let mut failures = failures(CASES, &cases, |case| {
            let mut harness = Harness::new(&case, planted);
            harness.asks_the_model = rule == THE_MODEL;
            harness.run(&case.steps)
        });
        assert!(failures.any(|why| why.contains(rule)), "{planted:?} is found, by «{rule}»");
    }
}

#[test]
fn a_log_that_is_split_anywhere_by_a_snapshot_folds_to_the_same_state() {
    let logs = (rate(), vec(command(), 0..40));
    explore(CASES, &logs, |(rate, log)| {
        let whole = fold(Lessor::new(&Config::default()), &log);
        for position in 0..=log.len() {
            let (prefix, suffix) = log.split_at(position);
            let mut primary = Lessor::new(&Config::default());
            primary.promote(Instant::from_secs(1), Duration::from_secs(position as u64 % 3));
            let before = fold(primary, prefix);
            let mut recovered = Lessor::new(&Config::default().with_revoke_rate(rate));
            recovered.recover(Instant::from_secs(5), &before.snapshot).expect("its own snapshot");
            prop_assert_eq!(recovered.digest(), before.digest);
            let after = fold(recovered, suffix);
            prop_assert_eq!(&after.snapshot, &whole.snapshot, "split at {}", position);
            prop_assert_eq!(after.digest, whole.digest, "split at {}", position);
            let changes: Vec<_> = before.changes.iter().chain(&after.changes).collect();
            prop_assert_eq!(changes, whole.changes.iter().collect::<Vec<_>>());
        }
        Ok(())
    });
}

struct Folded {
    snapshot: Snapshot,
    digest: lessor::Digest,
    /// What each command answered, and what it had written.
    changes: Vec<(Result<(), Error>, Vec<Effect>)>,
}

fn fold(mut lessor: Lessor, log: &[Command]) -> Folded {
    let mut changes = Vec::new();
    for (second, command) in (10..).zip(log) {
        let result = lessor.apply(Instant::from_secs(second), command.clone());
        let effects = std::iter::from_fn(|| lessor.poll_effect());
        changes.push((result, effects.collect()));
        lessor.check();
    }
    Folded { snapshot: lessor.snapshot(), digest: lessor.digest(), changes }
}

// The cases

#[derive(Clone, Debug)]
struct Case {
    rate: NonZeroU32,
    retry: Duration,
    interval: Duration,
    /// Whether the calls are made as data.
    as_data: bool,
    steps: Vec<(Pass, Act)>,
}

/// How the host's clock moves before a call.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Stay,
    Ahead(Duration),
    Back(Duration),
    /// To the moment that the lessor asks for, or a nanosecond before it.
    ToTimeout,
    AlmostToTimeout,
}

#[derive(Clone, Debug)]
enum Act {
    Apply(Command),
    /// Grants every id that is free.
    GrantAll(Ttl),
    /// Applies the oldest checkpoint that was proposed and is on its way, or loses it.
    Arrive,
    Lose,
    /// Revokes what came in the oldest batch.
    RevokeExpired,
    Renew(LeaseId),
    /// A renew that came so long ago, and was not worked off until now.
    RenewAsked(LeaseId, Duration),
    /// Gives up the latest renew but so many.
    ForgetRenew(usize),
    Promote(Duration),
    Demote,
    Hold(bool),
    Timeout,
    Recover,
    RecoverBroken,
}

const CASES: u32 = 400;

fn case() -> impl Strategy<Value = Case> {
    let retry = prop::sample::select(&[0, 1, 200, 700, 3_000][..]).prop_map(Duration::from_millis);
    let interval = prop_oneof![
        4 => prop::sample::select(&[0, 50, 1_000, 4_000][..]).prop_map(Duration::from_millis),
        1 => Just(Duration::MAX),
    ];
    // Most cases begin as a primary, many of them with leases.
    let start =
        prop_oneof![1 => Just(None), 4 => (extend(), prop::option::of(ttl())).prop_map(Some)];
    (rate(), retry, interval, any::<bool>(), start, vec((pass(), act()), 1..=80)).prop_map(
        |(rate, retry, interval, as_data, start, mut steps)| {
            if let Some((extend, ttl)) = start {
                if let Some(ttl) = ttl {
                    steps.insert(0, (Pass::Stay, Act::GrantAll(ttl)));
                }
                steps.insert(0, (Pass::Stay, Act::Promote(extend)));
            }
            Case { rate, retry, interval, as_data, steps }
        },
    )
}

fn rate() -> impl Strategy<Value = NonZeroU32> {
    prop::sample::select(&[1, 2, 3, 10][..]).prop_map(|rate| NonZeroU32::new(rate).unwrap())
}

fn pass() -> impl Strategy<Value = Pass> {
    prop_oneof![
        60 => Just(Pass::Stay),
        10 => (0_u64..3).prop_map(|nanos| Pass::Ahead(Duration::from_nanos(nanos))),
        60 => (0_u64..1_200).prop_map(|millis| Pass::Ahead(Duration::from_millis(millis))),
        20 => prop::sample::select(&[500, 1_000, 5_000][..])
            .prop_map(|millis| Pass::Ahead(Duration::from_millis(millis))),
        2 => (10_u64..100_000).prop_map(|secs| Pass::Ahead(Duration::from_secs(secs))),
        1 => (1_u64..300).prop_map(|years| Pass::Ahead(Duration::from_secs(years * 31_557_600))),
        10 => (0_u64..3_000).prop_map(|millis| Pass::Back(Duration::from_millis(millis))),
        1 => Just(Pass::Back(Duration::MAX)),
        40 => Just(Pass::ToTimeout),
        10 => Just(Pass::AlmostToTimeout),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => command().prop_map(Act::Apply),
        5 => ttl().prop_map(Act::GrantAll),
        10 => Just(Act::Arrive),
        3 => Just(Act::Lose),
        5 => Just(Act::RevokeExpired),
        20 => id().prop_map(Act::Renew),
        6 => (id(), 0_u64..2_000)
            .prop_map(|(id, millis)| Act::RenewAsked(id, Duration::from_millis(millis))),
        2 => (0_usize..4).prop_map(Act::ForgetRenew),
        4 => extend().prop_map(Act::Promote),
        1 => Just(Act::Demote),
        2 => any::<bool>().prop_map(Act::Hold),
        30 => Just(Act::Timeout),
        1 => Just(Act::Recover),
        1 => Just(Act::RecoverBroken),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let checkpoint = (id(), prop::option::weighted(0.7, ttl()))
        .prop_map(|(id, remaining)| Checkpoint { id, remaining });
    prop_oneof![
        8 => (id(), ttl()).prop_map(|(id, ttl)| Command::Grant { id, ttl }),
        3 => id().prop_map(|id| Command::Revoke { id }),
        6 => (id(), vec(item(), 0..4)).prop_map(|(id, items)| Command::Attach { id, items }),
        3 => (id(), vec(item(), 0..4)).prop_map(|(id, items)| Command::Detach { id, items }),
        4 => (id(), vec(item(), 0..4)).prop_map(|(id, items)| Command::Claim { id, items }),
        1 => vec(checkpoint, 0..4).prop_map(|checkpoints| Command::Checkpoint { checkpoints }),
    ]
}

fn id() -> impl Strategy<Value = LeaseId> {
    // A few come often, so that much happens to the same lease.
    let often = prop::sample::select(&IDS[2..4]);
    prop_oneof![2 => often, 1 => prop::sample::select(&IDS[..])]
        .prop_map(|id| LeaseId::new(id).unwrap())
}

fn item() -> impl Strategy<Value = Item> {
    prop::sample::select(&ITEMS[..]).prop_map(Item::from)
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![
        1 => Just(Ttl::MIN),
        10 => (1_u64..3_000).prop_map(Ttl::from_millis),
        10 => (1_u64..10).prop_map(Ttl::from_secs),
        1 => Just(Ttl::MAX),
        1 => Just(Ttl::from_millis(Ttl::MAX.as_millis() + 1)),
    ]
}

fn extend() -> impl Strategy<Value = Duration> {
    prop_oneof![
        20 => prop::sample::select(&[0, 1, 1_000][..]).prop_map(Duration::from_millis),
        1 => Just(Duration::MAX),
    ]
}

const IDS: [i64; 12] = [i64::MIN, -2, -1, 1, 2, 3, 4, 5, 6, 7, 1 << 40, i64::MAX];
const ITEMS: [&str; 6] = ["", "a", "b", "c", "long/enough/for/two", "long/enough/for/two words"];

// The adapter

/// A bug between the harness and the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    Nothing,
    FastClock,
    SlowClock,
    LateWake,
    LostAnswer,
    SecondAnswer,
    EarlyAnswer,
    WrongAnswer,
    LostWrite,
    SecondWrite,
    LostBatch,
    SecondBatch,
    EmptyBatch,
    LongBatch,
    ReversedBatch,
    LostRangeDelete,
    LateRangeDelete,
    EmptyRangeDelete,
    StrayRangeDelete,
    ReversedRangeDelete,
    LostCheckpoint,
    ShortExtension,
    LostHold,
    AcceptedSnapshot,
    WriteOfARecovery,
    OtherDigest,
    ConstantDigest,
}

impl Planted {
    /// Each with the words of the rule that must find it, without the model unless it is [`THE_MODEL`].
    const BUGS: [(Self, &str); 26] = [
        (Self::FastClock, "early at"),
        (Self::SlowClock, "comes one at"),
        (Self::LateWake, "wants to be called"),
        (Self::LostAnswer, "renews wait for ever"),
        (Self::SecondAnswer, "is answered once"),
        (Self::EarlyAnswer, "cuts the promise"),
        (Self::WrongAnswer, THE_MODEL),
        (Self::LostWrite, "the writes fold to the state"),
        (Self::SecondWrite, "was written already"),
        (Self::LostBatch, THE_MODEL),
        (Self::SecondBatch, "one batch at a time"),
        (Self::EmptyBatch, "a batch is never empty"),
        (Self::LongBatch, "leave in the window"),
        (Self::ReversedBatch, THE_MODEL),
        (Self::LostRangeDelete, "the writes fold to the state"),
        (Self::LateRangeDelete, "items go first"),
        (Self::EmptyRangeDelete, "there is something to delete"),
        (Self::StrayRangeDelete, "only a revoke deletes"),
        (Self::ReversedRangeDelete, "in ascending order"),
        (Self::LostCheckpoint, THE_MODEL),
        (Self::ShortExtension, "what is left of lease"),
        (Self::LostHold, THE_MODEL),
        (Self::AcceptedSnapshot, "that contradicts itself is refused"),
        (Self::WriteOfARecovery, "recovering writes nothing"),
        (Self::OtherDigest, "the same state has the same digest"),
        (Self::ConstantDigest, "another state has another digest"),
    ];
}

/// The rule that what a call answers and emits is what the model says.
const THE_MODEL: &str = "the model says otherwise";

struct Adapter {
    core: Lessor,
    as_data: bool,
    /// By the renew that is being made.
    asked: Option<Ticket>,
    planted: Planted,
}

impl Adapter {
    fn input(&mut self, now: u64, mut input: Input) -> Result<(), Error> {
        let mut at = Instant::from_nanos(now);
        match (self.planted, &mut input) {
            (Planted::FastClock, Input::Timeout) => {
                at = at.saturating_add(Duration::from_millis(1));
            }
            (Planted::SlowClock, Input::Timeout) => {
                at = Instant::from_nanos(now.saturating_sub(MILLI));
            }
            (Planted::ShortExtension, Input::Promote { extend }) => {
                *extend = extend.saturating_sub(Duration::from_millis(1));
            }
            (Planted::LostHold, Input::HoldExpired(hold)) => *hold = false,
            (
                Planted::EarlyAnswer,
                Input::Renew { ticket, .. } | Input::RenewAsked { ticket, .. },
            ) => self.asked = Some(*ticket),
            (_, _) => {}
        }
        if self.as_data {
            return self.core.handle_input(at, input);
        }
        match input {
            Input::Apply(command) => return self.core.apply(at, command),
            Input::Renew { ticket, id } => self.core.renew(at, ticket, id),
            Input::RenewAsked { asked, ticket, id } => self.core.renew_asked(at, asked, ticket, id),
            Input::ForgetRenew { ticket, id } => self.core.forget_renew(at, ticket, id),
            Input::Promote { extend } => self.core.promote(at, extend),
            Input::Demote => self.core.demote(at),
            Input::HoldExpired(hold) => self.core.hold_expired(at, hold),
            Input::Timeout => self.core.handle_timeout(at),
        }
        Ok(())
    }

    fn recover(&mut self, now: u64, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let result = self.core.recover(Instant::from_nanos(now), snapshot);
        if self.planted == Planted::AcceptedSnapshot { Ok(()) } else { result }
    }

    fn digest(&self, lessor: &Lessor) -> u64 {
        let digest = lessor.digest().as_u64();
        if self.planted == Planted::ConstantDigest {
            0
        } else if self.planted == Planted::OtherDigest && lessor.is_primary() {
            !digest
        } else {
            digest
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        let late = u64::from(self.planted == Planted::LateWake);
        self.core.poll_timeout().map(|at| at.as_nanos().saturating_add(late))
    }

    fn drain(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(mut effect) = self.core.poll_effect() {
            match (self.planted, &mut effect) {
                (Planted::LostAnswer, Effect::Renewed { .. })
                | (Planted::LostWrite, Effect::Write(_))
                | (Planted::LostBatch, Effect::Expired(_))
                | (Planted::LostRangeDelete, Effect::RangeDelete(_))
                | (Planted::LostCheckpoint, Effect::Checkpoint(_)) => continue,
                (Planted::SecondAnswer, Effect::Renewed { .. })
                | (Planted::SecondWrite, Effect::Write(_))
                | (Planted::SecondBatch, Effect::Expired(_)) => effects.push(effect.clone()),
                (Planted::EmptyRangeDelete, Effect::Write(Write::DeleteLease(lease)))
                    if effects.is_empty() =>
                {
                    effects.push(Effect::RangeDelete(RangeDelete { lease: *lease, items: vec![] }));
                }
                (Planted::StrayRangeDelete, Effect::Write(Write::PutLease(record))) => {
                    let (lease, items) = (record.id, vec![]);
                    effects.push(Effect::RangeDelete(RangeDelete { lease, items }));
                }
                (Planted::EmptyBatch, Effect::Expired(batch)) => batch.leases.clear(),
                (Planted::LongBatch, Effect::Expired(batch)) => {
                    batch.leases.extend(batch.leases.clone());
                }
                (Planted::WrongAnswer, Effect::Renewed { result, .. }) => {
                    *result = result.map(|ttl| Ttl::from_millis(ttl.as_millis() + 1));
                }
                (Planted::ReversedBatch, Effect::Expired(batch)) => batch.leases.reverse(),
                (Planted::ReversedRangeDelete, Effect::RangeDelete(delete)) => {
                    delete.items.reverse();
                }
                (_, _) => {}
            }
            effects.push(effect);
        }
        if let (Planted::EarlyAnswer, Some(ticket)) = (self.planted, self.asked.take())
            && !effects.iter().any(|effect| matches!(effect, Effect::Renewed { .. }))
        {
            effects.push(Effect::Renewed { ticket, result: Ok(Ttl::from_secs(1)) });
        }
        let items_go = |effect: &Effect| matches!(effect, Effect::RangeDelete(_));
        if self.planted == Planted::LateRangeDelete && effects.first().is_some_and(items_go) {
            effects.rotate_left(1);
        }
        effects
    }
}

// The harness

/// How often the cases came to what matters.
#[derive(Default, Debug)]
struct Seen {
    cases: u32,
    steps: usize,
    batches: u32,
    long_batches: u32,
    again: u32,
    granted_renews: u32,
    /// Answered by a later call than they were made by.
    late_renews: u32,
    forgotten: u32,
    refused_renews: u32,
    range_deletes: u32,
    smoothed: u32,
    checkpoints: u32,
    held: u32,
    /// Unsets that came while a later checkpoint was on its way.
    behind_a_checkpoint: u32,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.steps += other.steps;
        self.batches += other.batches;
        self.long_batches += other.long_batches;
        self.again += other.again;
        self.granted_renews += other.granted_renews;
        self.late_renews += other.late_renews;
        self.forgotten += other.forgotten;
        self.refused_renews += other.refused_renews;
        self.range_deletes += other.range_deletes;
        self.smoothed += other.smoothed;
        self.checkpoints += other.checkpoints;
        self.held += other.held;
        self.behind_a_checkpoint += other.behind_a_checkpoint;
    }
}

/// A host that believes nothing: it keeps a model, a store, and the way of proposals to the log.
struct Harness {
    adapter: Adapter,
    model: Model,
    clock: u64,
    leases: BTreeMap<LeaseId, LeaseRecord>,
    items: BTreeMap<Item, LeaseId>,
    /// Proposed checkpoints that are on their way, and batches whose revoke is.
    proposed: VecDeque<Vec<Checkpoint>>,
    expired: VecDeque<Vec<LeaseId>>,
    tickets: BTreeMap<Ticket, LeaseId>,
    answers: BTreeMap<Ticket, Result<Ttl, Error>>,
    /// Renews that nobody waits for any more.
    forgotten: BTreeSet<Ticket>,
    /// Whether a checkpoint came in this reign that this primary had not proposed.
    noisy: bool,
    /// Whether what is answered and emitted is compared with the model.
    asks_the_model: bool,
    left: Vec<u64>,
    digests: BTreeMap<u64, Snapshot>,
    seen: Seen,
}

impl Harness {
    fn new(case: &Case, planted: Planted) -> Self {
        let config = Config::default()
            .with_revoke_rate(case.rate)
            .with_retry_interval(case.retry)
            .with_checkpoint_interval(case.interval);
        Self {
            adapter: Adapter {
                core: Lessor::new(&config),
                as_data: case.as_data,
                asked: None,
                planted,
            },
            model: Model::new(case.rate, case.retry, case.interval),
            clock: 0,
            leases: BTreeMap::new(),
            items: BTreeMap::new(),
            proposed: VecDeque::new(),
            expired: VecDeque::new(),
            tickets: BTreeMap::new(),
            answers: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            noisy: false,
            left: Vec::new(),
            asks_the_model: true,
            digests: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    fn run(&mut self, steps: &[(Pass, Act)]) -> TestCaseResult {
        self.seen.cases += 1;
        self.seen.steps += steps.len();
        for (pass, act) in steps {
            self.pass(*pass);
            self.act(act)?;
        }
        self.finish()
    }

    fn pass(&mut self, pass: Pass) {
        let timeout = self.adapter.poll_timeout();
        self.clock = match pass {
            Pass::Stay => self.clock,
            Pass::Ahead(span) => self.clock.saturating_add(nanos(span)),
            Pass::Back(span) => self.clock.saturating_sub(nanos(span)),
            Pass::ToTimeout => timeout.unwrap_or(0).max(self.clock),
            Pass::AlmostToTimeout => timeout.unwrap_or(0).saturating_sub(1).max(self.clock),
        };
    }

    fn act(&mut self, act: &Act) -> TestCaseResult {
        match act {
            Act::Apply(command) => {
                let checkpoint = matches!(command, Command::Checkpoint { .. });
                self.noisy |= checkpoint && self.model.primary;
                self.call(&Input::Apply(command.clone()))
            }
            Act::GrantAll(ttl) => {
                for id in IDS.map(|id| LeaseId::new(id).unwrap()) {
                    if !self.model.leases.contains_key(&id) {
                        self.call(&Input::Apply(Command::Grant { id, ttl: *ttl }))?;
                    }
                }
                Ok(())
            }
            Act::Arrive => self.arrive(),
            Act::Lose => {
                self.proposed.pop_front();
                Ok(())
            }
            Act::RevokeExpired => self.revoke_expired(),
            Act::Renew(id) => {
                let ticket = Ticket(self.tickets.len() as u64);
                self.tickets.insert(ticket, *id);
                self.call(&Input::Renew { ticket, id: *id })
            }
            Act::RenewAsked(id, ago) => {
                let ticket = Ticket(self.tickets.len() as u64);
                self.tickets.insert(ticket, *id);
                let asked = Instant::from_nanos(self.clock.saturating_sub(nanos(*ago)));
                self.call(&Input::RenewAsked { asked, ticket, id: *id })
            }
            Act::ForgetRenew(back) => {
                let waits = |ticket: &&Ticket| !self.answers.contains_key(ticket);
                let open = self.tickets.keys().rev().filter(waits);
                let Some(ticket) = open.copied().nth(*back) else { return Ok(()) };
                let id = self.tickets[&ticket];
                self.forgotten.insert(ticket);
                self.seen.forgotten += 1;
                self.call(&Input::ForgetRenew { ticket, id })
            }
            Act::Promote(extend) => {
                if !self.model.primary {
                    // The host must have applied every entry of earlier terms before.
                    self.proposed.clear();
                    self.noisy = false;
                }
                self.seen.smoothed += u32::from(self.model.leases.len() >= self.model.rate);
                self.call(&Input::Promote { extend: *extend })
            }
            Act::Demote => self.call(&Input::Demote),
            Act::Hold(hold) => self.call(&Input::HoldExpired(*hold)),
            Act::Timeout => self.call(&Input::Timeout),
            Act::Recover => self.recover(),
            Act::RecoverBroken => self.recover_broken(),
        }
    }

    fn arrive(&mut self) -> TestCaseResult {
        let Some(checkpoints) = self.proposed.pop_front() else { return Ok(()) };
        let overtaken = checkpoints
            .iter()
            .any(|checkpoint| checkpoint.remaining.is_none() && self.is_on_its_way(checkpoint.id));
        self.seen.behind_a_checkpoint += u32::from(overtaken);
        self.call(&Input::Apply(Command::Checkpoint { checkpoints }))
    }

    fn revoke_expired(&mut self) -> TestCaseResult {
        for id in self.expired.pop_front().unwrap_or_default() {
            self.call(&Input::Apply(Command::Revoke { id }))?;
        }
        Ok(())
    }

    /// Whether a checkpoint that would cut a renew short is on its way.
    fn is_on_its_way(&self, id: LeaseId) -> bool {
        self.proposed
            .iter()
            .flatten()
            .any(|checkpoint| checkpoint.id == id && checkpoint.remaining.is_some())
    }

    fn call(&mut self, input: &Input) -> TestCaseResult {
        let timeout = self.adapter.poll_timeout();
        let expected = self.model.input(self.clock, input);
        let result = self.adapter.input(self.clock, input.clone());
        let effects = self.adapter.drain();
        if *input == Input::Timeout {
            let early = timeout.is_none_or(|at| self.model.now < at);
            prop_assert!(!early || effects.is_empty(), "early at {}: {effects:?}", self.model.now);
            let timeout = self.adapter.poll_timeout();
            prop_assert!(
                timeout.is_none_or(|at| at > self.model.now),
                "after a timeout at {} comes one at {timeout:?}",
                self.model.now
            );
            self.seen.held += u32::from(self.model.held && expected.expired.is_empty());
        }
        let revoked = match input {
            Input::Apply(Command::Revoke { id }) => Some(*id),
            Input::Apply(_)
            | Input::Renew { .. }
            | Input::RenewAsked { .. }
            | Input::ForgetRenew { .. }
            | Input::Promote { .. }
            | Input::Demote
            | Input::HoldExpired(_)
            | Input::Timeout => None,
        };
        if let Some(id) = revoked {
            // It was proposed later than these, so they have come or never will.
            for checkpoints in &mut self.proposed {
                checkpoints.retain(|checkpoint| checkpoint.id != id);
            }
        }
        self.judge(&expected, result, effects, revoked, input)
    }

    fn recover(&mut self) -> TestCaseResult {
        let snapshot = self.model.snapshot();
        let expected = self.model.recover(self.clock);
        let result = self.adapter.recover(self.clock, &snapshot);
        prop_assert_eq!(result, Ok(()));
        let mut effects = self.adapter.drain();
        if self.adapter.planted == Planted::WriteOfARecovery {
            let records = snapshot.leases.iter().copied();
            effects.extend(records.map(|record| Effect::Write(Write::PutLease(record))));
        }
        let changes = |effect: &Effect| matches!(effect, Effect::Write(_) | Effect::RangeDelete(_));
        prop_assert!(!effects.iter().any(changes), "recovering writes nothing: {effects:?}");
        self.judge(&expected, Ok(()), effects, None, &Input::Demote)
    }

    fn recover_broken(&mut self) -> TestCaseResult {
        let mut snapshot = self.model.snapshot();
        if let Some(record) = snapshot.leases.first().copied() {
            snapshot.leases.push(record);
        } else {
            snapshot.items.push((Item::from("a"), LeaseId::new(1).unwrap()));
        }
        let result = self.adapter.recover(self.clock, &snapshot);
        prop_assert!(result.is_err(), "a snapshot that contradicts itself is refused");
        let effects = self.adapter.drain();
        self.judge(&Expected::nothing(), Ok(()), effects, None, &Input::Demote)
    }

    /// Takes what a call answered and emitted, and compares everything that can be seen.
    fn judge(
        &mut self,
        expected: &Expected,
        result: Result<(), Error>,
        effects: Vec<Effect>,
        revoked: Option<LeaseId>,
        input: &Input,
    ) -> TestCaseResult {
        let mut found = Expected { result, ..Expected::nothing() };
        for effect in effects {
            match effect {
                Effect::Write(write) => {
                    let changes = self.write(write.clone());
                    prop_assert!(changes, "{write:?} was written already");
                }
                Effect::RangeDelete(delete) => {
                    self.seen.range_deletes += 1;
                    prop_assert_eq!(Some(delete.lease), revoked, "only a revoke deletes");
                    prop_assert!(self.leases.contains_key(&delete.lease), "items go first");
                    let held =
                        |(item, id): (&Item, &LeaseId)| (*id == delete.lease).then(|| item.clone());
                    let held: Vec<Item> = self.items.iter().filter_map(held).collect();
                    prop_assert_eq!(&delete.items, &held, "all items, in ascending order");
                    prop_assert!(!held.is_empty(), "there is something to delete");
                    self.items.retain(|_, id| *id != delete.lease);
                }
                Effect::Expired(batch) => {
                    prop_assert!(found.expired.is_empty(), "one batch at a time");
                    prop_assert!(!batch.leases.is_empty(), "a batch is never empty");
                    self.left.extend(batch.leases.iter().map(|_| self.model.now));
                    self.seen.batches += 1;
                    self.seen.long_batches += u32::from(batch.leases.len() > 1);
                    let came = |id: &LeaseId| self.expired.iter().flatten().any(|old| old == id);
                    self.seen.again += u32::from(batch.leases.iter().any(came));
                    self.expired.push_back(batch.leases.clone());
                    found.expired = batch.leases;
                }
                Effect::Checkpoint(checkpoints) => {
                    self.seen.checkpoints += 1;
                    found.proposals.extend(checkpoints.iter().map(|c| (c.id, c.remaining)));
                    self.proposed.push_back(checkpoints);
                }
                Effect::Renewed { ticket, result } => {
                    let before = self.answers.insert(ticket, result);
                    prop_assert_eq!(before, None, "{:?} is answered once", ticket);
                    found.answers.insert(ticket, result);
                }
            }
        }
        found.proposals.sort_unstable();
        if self.asks_the_model {
            let now = self.model.now;
            prop_assert_eq!(&found, expected, "{} of {:?} at {}", THE_MODEL, input, now);
        }
        for (ticket, result) in &found.answers {
            let own = matches!(input,
                Input::Renew { ticket: own, .. } | Input::RenewAsked { ticket: own, .. }
                    if own == ticket);
            self.seen.granted_renews += u32::from(result.is_ok() && own);
            self.seen.late_renews += u32::from(result.is_ok() && !own);
            self.seen.refused_renews += u32::from(result.is_err());
            let cut = result.is_ok() && !self.noisy && self.is_on_its_way(self.tickets[ticket]);
            prop_assert!(!cut, "no checkpoint on its way cuts the promise to {ticket:?} short");
        }
        self.compare()
    }

    /// Stores it, and says whether that makes a difference.
    fn write(&mut self, write: Write) -> bool {
        match write {
            Write::PutLease(record) => self.leases.insert(record.id, record) != Some(record),
            Write::DeleteLease(id) => self.leases.remove(&id).is_some(),
            Write::PutItem(item, id) => self.items.insert(item, id) != Some(id),
            Write::DeleteItem(item) => self.items.remove(&item).is_some(),
        }
    }

    fn compare(&mut self) -> TestCaseResult {
        let (core, model) = (&self.adapter.core, &self.model);
        core.check();
        let snapshot = core.snapshot();
        prop_assert_eq!(&snapshot, &model.snapshot());
        let stored = Snapshot {
            leases: self.leases.values().copied().collect(),
            items: self.items.iter().map(|(item, id)| (item.clone(), *id)).collect(),
        };
        prop_assert_eq!(&snapshot, &stored, "the writes fold to the state");
        prop_assert_eq!(core.len(), model.leases.len());
        prop_assert_eq!(core.is_empty(), model.leases.is_empty());
        prop_assert_eq!(core.is_primary(), model.primary);
        for item in ITEMS.map(Item::from) {
            prop_assert_eq!(core.lease_of(&item), model.items.get(&item).copied());
        }
        for id in IDS.map(|id| LeaseId::new(id).unwrap()) {
            let row = model.leases.get(&id);
            let expiry = row.filter(|_| model.primary).map(|row| row.expiry);
            for at in [self.clock, model.now.saturating_add(SECOND)] {
                let left = expiry.map(|expiry| expiry.saturating_sub(at.max(model.now)));
                let remaining = core.remaining(Instant::from_nanos(at), id);
                let left = left.map(Duration::from_nanos);
                prop_assert_eq!(remaining, left, "what is left of lease {}", id);
            }
            let lease = core.lookup(id);
            prop_assert_eq!(lease.map(|lease| lease.record), row.map(|row| row.record(id)));
            let expiry = expiry.map(Instant::from_nanos);
            prop_assert_eq!(lease.and_then(|lease| lease.expiry), expiry);
            let items = model.items.iter().filter(|(_, holder)| **holder == id);
            prop_assert!(core.items(id).eq(items.map(|(item, _)| item)), "items of lease {id}");
        }
        let mut listed: Vec<_> = model.leases.iter().map(|(id, row)| (row.expiry, *id)).collect();
        if model.primary {
            listed.sort_unstable();
        }
        let listed: Vec<LeaseId> = listed.into_iter().map(|(_, id)| id).collect();
        let found = core.leases(LeaseOrder::Expiry, None, usize::MAX);
        prop_assert_eq!(found.iter().map(|lease| lease.record.id).collect::<Vec<_>>(), listed);

        if let Some(next) = model.next() {
            let timeout = self.adapter.poll_timeout();
            prop_assert!(
                timeout.is_some_and(|at| at <= next),
                "something is due at {next}, and the lessor wants to be called at {timeout:?}"
            );
        }
        let mut fresh = Lessor::new(&Config::default());
        prop_assert_eq!(fresh.recover(Instant::ZERO, &snapshot), Ok(()));
        let digest = self.adapter.digest(core);
        prop_assert_eq!(self.adapter.digest(&fresh), digest, "the same state has the same digest");
        let other = self.digests.entry(digest).or_insert_with(|| snapshot.clone());
        prop_assert_eq!(&*other, &snapshot, "another state has another digest");
        Ok(())
    }

    /// Lets everything come to its end: then no renew waits, and the rate was never exceeded.
    fn finish(&mut self) -> TestCaseResult {
        self.call(&Input::HoldExpired(false))?;
        let mut rounds = 0;
        while self.model.primary && self.answers.len() + self.forgotten.len() < self.tickets.len() {
            if self.model.now > u64::MAX / 2 {
                // Time may end before they do.
                self.call(&Input::Demote)?;
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 300, "renews wait for ever");
            let timeout = self.adapter.poll_timeout().unwrap_or(0).min(u64::MAX / 2 + 1);
            // Long enough for a retry, and for the rate to let another batch go.
            let pause = self.model.retry.max(self.model.window());
            self.clock = timeout.max(self.model.now.saturating_add(pause));
            self.call(&Input::Timeout)?;
            while !self.proposed.is_empty() {
                self.arrive()?;
            }
            while !self.expired.is_empty() {
                self.revoke_expired()?;
            }
        }
        let mut answered: BTreeSet<Ticket> = self.answers.keys().copied().collect();
        for ticket in &self.forgotten {
            prop_assert!(answered.insert(*ticket), "{ticket:?} was forgotten, and is answered");
        }
        prop_assert!(answered.iter().eq(self.tickets.keys()), "every renew is answered");
        let (limit, window) = (self.model.limit(), self.model.window());
        for (first, at) in self.left.iter().enumerate() {
            let together = self.left[first..].iter().take_while(|left| *left - at < window).count();
            prop_assert!(together <= limit, "{together} leave in the window from {at}");
        }
        Ok(())
    }
}
