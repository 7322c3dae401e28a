//! A host of the core that believes nothing: `check()` after each call, a twin that is given the
//! same calls, a follower that is given the commands only, a store, and the tickets that are open.
//!
//! It knows no more of a lease than the earliest moment at which it may expire; what exactly must
//! happen is for the model in `tests/it/random.rs` to say.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::time::Duration;

use arbitrary::Arbitrary;
use lessor::backend::{Backend, MemoryBackend};
use lessor::{
    Change, Checkpoint, Command, Config, Effect, Error, ExpiredBatch, Input, Instant, LeaseId,
    Lessor, LogIndex, Ticket, Transaction, Ttl, Write,
};

use crate::Planted;
use crate::choices::{Id, Order, Pass, Settings, Span};

/// What happens to a lessor.
#[derive(Arbitrary, Debug)]
pub struct Life {
    settings: Settings,
    steps: Vec<(Pass, Act)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Act {
    Apply(Order),
    /// Grants every id that is free.
    GrantAll(Span),
    /// Applies the oldest checkpoints that were proposed, or loses them.
    Arrive,
    Lose,
    /// Revokes the oldest batch.
    RevokeExpired,
    Renew(Id),
    /// A renew that was asked for some milliseconds ago.
    RenewAsked(Id, u16),
    /// Gives up one of the renews that are open.
    Forget(u8),
    Promote(Option<Span>),
    Demote,
    Hold(bool),
    Timeout,
    /// Restarts from what is stored.
    Recover,
}

pub(crate) fn run(life: &Life, planted: Planted) {
    let mut host = Host::new(&life.settings.config(), planted);
    for (pass, act) in &life.steps {
        host.clock = pass.from(host.clock, host.lessor.poll_timeout());
        host.act(*act);
    }
    host.call(&Input::Demote);
    assert!(host.open.is_empty(), "renews without an answer after a demotion: {:?}", host.open);
    assert_eq!(host.lessor.poll_timeout(), None, "who is not primary waits for nothing");
}

struct Host {
    lessor: Lessor,
    /// Is given all calls but the early ones; its hash index has another key. When it wants to be
    /// called may differ: what looks early makes that more exact.
    twin: Lessor,
    /// Is never primary, and has other settings.
    follower: Lessor,
    store: MemoryBackend,
    clock: Instant,
    /// The latest time that the lessor was told.
    now: Instant,
    tickets: u64,
    open: BTreeMap<Ticket, LeaseId>,
    /// When each lease may expire at the earliest, on a primary.
    not_before: BTreeMap<LeaseId, Instant>,
    proposed: VecDeque<Vec<Checkpoint>>,
    batches: VecDeque<Vec<LeaseId>>,
    planted: Planted,
}

impl Host {
    fn new(config: &Config, planted: Planted) -> Self {
        let twin = config.clone().with_hash_key(u128::MAX / 3);
        Self {
            lessor: Lessor::new(config),
            twin: Lessor::new(&twin),
            follower: Lessor::new(&Config::default()),
            store: MemoryBackend::new(),
            clock: Instant::ZERO,
            now: Instant::ZERO,
            tickets: 0,
            open: BTreeMap::new(),
            not_before: BTreeMap::new(),
            proposed: VecDeque::new(),
            batches: VecDeque::new(),
            planted,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Apply(order) => self.call(&Input::Apply(order.command())),
            Act::GrantAll(span) => {
                for id in Id::all() {
                    if self.lessor.lookup(id).is_some() {
                        continue;
                    }
                    self.call(&Input::Apply(Command::Grant { id, ttl: span.ttl() }));
                }
            }
            Act::Arrive => {
                if let Some(checkpoints) = self.proposed.pop_front() {
                    self.call(&Input::Apply(Command::Checkpoint { checkpoints }));
                }
            }
            Act::Lose => drop(self.proposed.pop_front()),
            Act::RevokeExpired => {
                for id in self.batches.pop_front().unwrap_or_default() {
                    self.call(&Input::Apply(Command::Revoke { id }));
                }
            }
            Act::Renew(id) => {
                let id = id.lease();
                let ticket = self.open(id);
                self.call(&Input::Renew { ticket, id });
            }
            Act::RenewAsked(id, millis) => {
                let id = id.lease();
                let ticket = self.open(id);
                let ago = u64::from(millis) * 1_000_000;
                let asked = Instant::from_nanos(self.now.as_nanos().saturating_sub(ago));
                self.call(&Input::RenewAsked { asked, ticket, id });
            }
            Act::Forget(position) => {
                let position = usize::from(position) % self.open.len().max(1);
                let renew = self.open.iter().nth(position).map(|(ticket, id)| (*ticket, *id));
                if let Some((ticket, id)) = renew {
                    self.open.remove(&ticket);
                    if self.planted != Planted::ForgottenAnswer {
                        self.call(&Input::ForgetRenew { ticket, id });
                    }
                }
            }
            Act::Promote(extend) => {
                let extend = extend.map_or(Duration::ZERO, |span| span.ttl().as_duration());
                self.call(&Input::Promote { extend });
            }
            Act::Demote => self.call(&Input::Demote),
            Act::Hold(hold) => self.call(&Input::HoldExpired(hold)),
            Act::Timeout => self.call(&Input::Timeout),
            Act::Recover => self.recover(),
        }
    }

    fn open(&mut self, id: LeaseId) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.open.insert(ticket, id);
        ticket
    }

    fn call(&mut self, input: &Input) {
        self.call_early();
        let was_primary = self.lessor.is_primary();
        self.set_clock();
        self.promise(input, was_primary);
        let result = self.lessor.handle_input(self.time_told(input), input.clone());
        let effects = effects_of(&mut self.lessor);
        self.lessor.check();
        self.ask_the_twin(input, result, &effects);
        self.ask_the_follower(input, result, &effects);
        if let (Input::Apply(Command::Grant { id, ttl }), Ok(()), true) =
            (input, result, was_primary)
        {
            self.not_before.insert(*id, self.now.saturating_add(ttl.as_duration()));
        }
        self.obey(input, effects);
        if *input == Input::Timeout {
            let stuck = self.planted == Planted::StuckTimeout && self.lessor.is_primary();
            let next = if stuck { Some(self.now) } else { self.lessor.poll_timeout() };
            assert!(next.is_none_or(|at| at > self.now), "{next:?} comes next at {}", self.now);
        }
    }

    /// A timeout that comes early changes nothing; the twin has none, and must not part by it.
    fn call_early(&mut self) {
        let timeout = self.lessor.poll_timeout();
        let late = timeout.filter(|_| self.planted == Planted::EarlyIsLate);
        let now = late.unwrap_or(self.now);
        if timeout.is_none_or(|at| at > self.now) {
            self.lessor.handle_timeout(now);
            let effect = self.lessor.poll_effect();
            assert_eq!(effect, None, "a timeout at {now} is early, {timeout:?} is asked for");
            // The wheel may know it more exactly, if a limit of the rate is what it stood for.
            let next = self.lessor.poll_timeout();
            assert!(
                next >= timeout && next.is_some() == timeout.is_some(),
                "{next:?}, {timeout:?}"
            );
        }
    }

    /// Notes before a call when leases may expire behind it.
    fn promise(&mut self, input: &Input, was_primary: bool) {
        match input {
            Input::Promote { extend } => {
                for record in self.lessor.snapshot().leases {
                    let left = self.lessor.remaining(self.now, record.id);
                    if was_primary && left == Some(Duration::ZERO) {
                        continue;
                    }
                    let span = record.remaining.unwrap_or(record.ttl).as_duration();
                    let due = self.now.saturating_add(*extend).saturating_add(span);
                    let before = self.not_before.entry(record.id).or_insert(due);
                    *before = if was_primary { due.max(*before) } else { due };
                }
            }
            Input::Demote => self.not_before.clear(),
            Input::Apply(Command::Revoke { id }) => drop(self.not_before.remove(id)),
            Input::Apply(_)
            | Input::Renew { .. }
            | Input::RenewAsked { .. }
            | Input::ForgetRenew { .. }
            | Input::HoldExpired(_)
            | Input::Timeout => {}
        }
    }

    fn ask_the_twin(&mut self, input: &Input, result: Result<(), Error>, effects: &[Effect]) {
        let mut same = input.clone();
        if let (Planted::UnequalTwin, Input::Apply(Command::Grant { ttl, .. })) =
            (self.planted, &mut same)
        {
            *ttl = Ttl::from_millis(ttl.as_millis().saturating_add(1));
        }
        assert_eq!(self.twin.handle_input(self.time_told(input), same), result);
        assert_eq!(effects_of(&mut self.twin), effects, "the twin's at {}: {input:?}", self.now);
        assert_eq!(self.twin.digest(), self.lessor.digest(), "the twin's digest");
    }

    /// Nothing that is replicated depends on a role, a clock or a configuration.
    fn ask_the_follower(&mut self, input: &Input, result: Result<(), Error>, effects: &[Effect]) {
        let Input::Apply(command) = input else { return };
        if self.planted == Planted::DeafFollower && matches!(command, Command::Attach { .. }) {
            return;
        }
        assert_eq!(self.follower.apply(Instant::ZERO, command.clone()), result);
        let writes = effects_of(&mut self.follower);
        assert!(writes.iter().eq(effects.iter().filter(|effect| is_change(effect))), "{input:?}");
        assert_eq!(self.follower.digest(), self.lessor.digest(), "the follower's digest");
    }

    /// Does what the effects say, and judges each.
    fn obey(&mut self, input: &Input, mut effects: Vec<Effect>) {
        self.plant(input, &mut effects);
        let applies = matches!(input, Input::Apply(_));
        let mut changes = Vec::new();
        for effect in effects {
            match effect {
                Effect::Write(write) => changes.push(Change::Write(write)),
                Effect::RangeDelete(delete) => changes.push(Change::RangeDelete(delete)),
                Effect::Expired(batch) => {
                    assert!(self.lessor.is_primary(), "only a primary sends {batch:?}");
                    assert_eq!(*input, Input::Timeout, "{batch:?} is sent by a timeout");
                    assert!(!batch.leases.is_empty(), "a batch is not empty");
                    for id in &batch.leases {
                        let bound = self.not_before.get(id);
                        assert!(
                            bound.is_some_and(|at| *at <= self.now),
                            "lease {id} expires at {}, but not before {bound:?}",
                            self.now
                        );
                    }
                    self.batches.push_back(batch.leases);
                }
                Effect::Checkpoint(checkpoints) => {
                    assert!(self.lessor.is_primary(), "only a primary sends {checkpoints:?}");
                    assert!(!applies, "an apply proposes nothing: {checkpoints:?}");
                    assert!(checkpoints.len() <= Checkpoint::MAX_BATCH && !checkpoints.is_empty());
                    self.proposed.push_back(checkpoints);
                }
                Effect::Renewed { ticket, result } => self.renewed(ticket, result),
            }
        }
        assert!(changes.is_empty() || applies, "only an apply changes what is stored: {changes:?}");
        if applies {
            self.commit(changes);
        }
    }

    fn renewed(&mut self, ticket: Ticket, result: Result<Ttl, Error>) {
        let Some(id) = self.open.remove(&ticket) else {
            panic!("{ticket:?} is answered though it is not open: {result:?}");
        };
        match result {
            Ok(ttl) => {
                assert!(self.lessor.is_primary(), "only a primary renews {ticket:?}");
                let record = self.lessor.lookup(id).map(|lease| lease.record);
                assert_eq!(record.map(|record| record.ttl), Some(ttl), "lease {id} is promised");
                let due = self.now.saturating_add(ttl.as_duration());
                let before = self.not_before.entry(id).or_insert(due);
                *before = due.max(*before);
            }
            Err(Error::NotPrimary) => assert!(!self.lessor.is_primary(), "a primary renews"),
            Err(Error::LeaseNotFound) => assert_eq!(self.lessor.lookup(id), None, "{id} is there"),
            Err(
                error @ (Error::LeaseExists
                | Error::ItemHeld(_)
                | Error::TtlTooLarge
                | Error::EmptyItem),
            ) => {
                panic!("a renew is not refused with {error:?}")
            }
        }
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let after = self.store.load().expect("it is in memory").applied;
        let (applied, digest) = (after.next(), self.lessor.digest());
        let transaction = Transaction { after, applied, digest, reset: false, changes };
        self.store.commit(transaction).expect("it follows");
        let stored = self.store.load().expect("it is in memory");
        assert_eq!(stored.snapshot, self.lessor.snapshot(), "the writes add up to the state");
        assert!(stored.applied > LogIndex(0));
    }

    fn recover(&mut self) {
        self.set_clock();
        let snapshot = self.store.load().expect("it is in memory").snapshot;
        for lessor in [&mut self.lessor, &mut self.twin] {
            assert_eq!(lessor.recover(self.clock, &snapshot), Ok(()));
            lessor.check();
        }
        assert_eq!(self.lessor.digest(), self.follower.digest(), "recovering changes nothing");
        self.not_before.clear();
        let effects = effects_of(&mut self.lessor);
        assert_eq!(effects_of(&mut self.twin), effects, "the twin's after a recovery");
        self.obey(&Input::Demote, effects);
        assert!(self.open.is_empty(), "renews without an answer after a recovery: {:?}", self.open);
    }

    /// The core's clock does not go back, and does not reach the end of time.
    fn set_clock(&mut self) {
        self.now = self.now.max(self.clock.min(Instant::from_nanos(u64::MAX - 1)));
    }

    fn time_told(&self, input: &Input) -> Instant {
        match (self.planted, input) {
            (Planted::FastClock, Input::Timeout) => {
                self.clock.saturating_add(Duration::from_secs(1))
            }
            (_, _) => self.clock,
        }
    }

    fn plant(&self, input: &Input, effects: &mut Vec<Effect>) {
        let is_answer = |effect: &Effect| matches!(effect, Effect::Renewed { .. });
        match (self.planted, input) {
            (Planted::LostAnswers, Input::Demote) => effects.retain(|effect| !is_answer(effect)),
            (Planted::SecondAnswer, _) => {
                let answers = effects.iter().filter(|effect| is_answer(effect)).cloned();
                effects.extend(answers.collect::<Vec<_>>());
            }
            (Planted::LateBatch, _) if !self.lessor.is_primary() => {
                let leases = self.batches.back().cloned();
                let batch = leases.map(|leases| ExpiredBatch { leases });
                effects.extend(batch.map(Effect::Expired));
            }
            (Planted::LostWrite, _) => {
                let is_item = |e: &Effect| matches!(e, Effect::Write(Write::PutItem(..)));
                effects.retain(|effect| !is_item(effect));
            }
            (_, _) => {}
        }
    }
}

fn effects_of(lessor: &mut Lessor) -> Vec<Effect> {
    iter::from_fn(|| lessor.poll_effect()).collect()
}

fn is_change(effect: &Effect) -> bool {
    matches!(effect, Effect::Write(_) | Effect::RangeDelete(_))
}
