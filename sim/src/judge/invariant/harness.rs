//! A hand-made history for the canaries: one invariant, one state for each member, a clock that the
//! test sets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{
    Checkpoint, Command, Config, Digest, Entry, ExpiredBatch, Instant, LeaseId, LogIndex, MemberId,
    Proposal, Request, Response, Term, Transaction, Ttl,
};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};
use crate::model::State;

/// What came of a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judged {
    /// A property was judged by it, and holds.
    Holds,
    /// No property was judged by it.
    NotConcerned,
}

pub(crate) struct History<I> {
    invariant: I,
    pub(crate) config: Config,
    states: BTreeMap<MemberId, State>,
    member: MemberId,
    now: Duration,
    pub(crate) renewed_and_gone: BTreeSet<LeaseId>,
    pub(crate) clocks_hold: bool,
    pub(crate) healed: Option<Duration>,
    pub(crate) bound_ppm: u32,
    pub(crate) latest: Instant,
}

impl<I: Default> Default for History<I> {
    fn default() -> Self {
        let states = BTreeMap::from([(MemberId(1), State::default())]);
        let member = MemberId(1);
        Self {
            invariant: I::default(),
            config: Config::default(),
            states,
            member,
            now: Duration::ZERO,
            renewed_and_gone: BTreeSet::new(),
            clocks_hold: true,
            healed: None,
            bound_ppm: 0,
            latest: Instant::ZERO,
        }
    }
}

impl<I: Invariant> History<I> {
    pub(crate) fn at(&mut self, millis: u64) {
        self.now = Duration::from_millis(millis);
    }

    pub(crate) fn on(&mut self, member: u64) {
        self.member = MemberId(member);
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.states.entry(self.member).or_default()
    }

    #[expect(clippy::needless_pass_by_value, reason = "a literal reads better without a borrow")]
    pub(crate) fn see(&mut self, fact: Fact<'_>) -> Result<Judged, Broken> {
        let state = self.states.entry(self.member).or_default();
        let (now, member, config) = (self.now, self.member, &self.config);
        let clock = Instant::ZERO.saturating_add(now);
        let renewed_and_gone = &self.renewed_and_gone;
        let bound_ppm = self.bound_ppm;
        let latest = self.latest.max(clock);
        let scene = Scene {
            now,
            lessees: now,
            clocks_hold: self.clocks_hold,
            clocks_steady: self.clocks_hold,
            healed: self.healed,
            bound_ppm,
            member,
            clock,
            latest,
            renewed_and_gone,
            state,
            config,
        };
        let mut judged = Judgements::default();
        let verdict = self.invariant.observe(&scene, &fact, &mut judged);
        match verdict {
            Err(broken) if blind() != Some(broken.property) => Err(broken),
            Err(_) | Ok(()) if judged.iter().any(|(_, count)| count > 0) => Ok(Judged::Holds),
            Err(_) | Ok(()) => Ok(Judged::NotConcerned),
        }
    }

    pub(crate) fn holds(&mut self, fact: Fact<'_>) {
        self.see(fact).expect("nothing is wrong yet");
    }

    /// Commits an entry and applies it on the member.
    pub(crate) fn try_log(&mut self, index: u64, command: Command) -> Result<Judged, Broken> {
        let entry = entry(index, command);
        let applied = self.state().apply(&entry);
        let agreed = self.see(Fact::Agreed { entry: &entry, applied: &applied })?;
        let judged = self.see(Fact::Applied { entry: &entry, applied: &applied })?;
        Ok(if agreed == Judged::Holds { agreed } else { judged })
    }

    pub(crate) fn log(&mut self, index: u64, command: Command) {
        self.try_log(index, command).expect("nothing is wrong yet");
    }
}

pub(crate) fn promoted() -> Fact<'static> {
    Fact::Promoted { again: false, barrier: LogIndex(0) }
}

pub(crate) fn lease(id: i64) -> LeaseId {
    LeaseId::new(id).expect("not zero")
}

pub(crate) fn millis(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub(crate) fn granted(id: i64, ttl_ms: u64) -> Command {
    Command::Grant { id: lease(id), ttl: Ttl::from_millis(ttl_ms) }
}

pub(crate) fn revoked(id: i64) -> Command {
    Command::Revoke { id: lease(id) }
}

pub(crate) fn checkpointed(id: i64, left_ms: u64) -> Command {
    let checkpoint = Checkpoint { id: lease(id), remaining: Some(Ttl::from_millis(left_ms)) };
    Command::Checkpoint { checkpoints: vec![checkpoint] }
}

pub(crate) fn renew(id: i64) -> Request {
    Request::Renew { id: lease(id) }
}

pub(crate) fn renewed(ttl_ms: u64) -> Response {
    Response::Renewed { ttl: Ttl::from_millis(ttl_ms) }
}

pub(crate) fn batch(ids: &[i64]) -> ExpiredBatch {
    ExpiredBatch { leases: ids.iter().map(|id| lease(*id)).collect() }
}

pub(crate) fn entry(index: u64, command: Command) -> Entry {
    let term = Term(1);
    let proposal = Some(Proposal { term, sequence: index, command });
    Entry { index: LogIndex(index), term, proposal }
}

pub(crate) fn transaction(after: u64, applied: u64) -> Transaction {
    let (after, applied) = (LogIndex(after), LogIndex(applied));
    Transaction { after, applied, digest: Digest::default(), reset: false, changes: Vec::new() }
}

/// The property whose objections are ignored, to see that its canaries notice.
#[expect(clippy::disallowed_methods, reason = "a test asks for it, and decides what no run does")]
fn blind() -> Option<Property> {
    let id = std::env::var(BLIND).ok()?;
    Property::of_id(&id)
}

/// The variable that names it.
pub(crate) const BLIND: &str = "LESSOR_SIM_TEST_BLIND";
