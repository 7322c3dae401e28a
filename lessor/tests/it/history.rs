//! What a log has committed, and what it so says at each index: every member, every store and every
//! answer is compared with it.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use lessor::{
    Command, Entry, Error, Input, Item, LeaseId, LogIndex, Proposal, Request, RequestError,
    RequestId, Response, Snapshot, StateAt, Term,
};

use super::member_model::Answer;
use super::model::Model;

#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The entry at index 1 is the first.
    entries: Vec<Entry>,
    /// What became of each that was to be applied.
    results: Vec<Option<Result<(), Error>>>,
    /// The state at each index, and the fold that leads there.
    states: Vec<Snapshot>,
    fold: Model,
}

impl History {
    pub(crate) fn new() -> Self {
        let states = vec![Snapshot::default()];
        // Nothing that is replicated depends on these settings.
        let fold = Model::new(NonZeroU32::MIN, Duration::MAX, Duration::MAX);
        Self { entries: Vec::new(), results: Vec::new(), states, fold }
    }

    pub(crate) fn append(&mut self, term: Term, proposal: Option<Proposal>) {
        // What was proposed in another term is not applied.
        let counts = proposal.as_ref().filter(|proposal| proposal.term == term);
        self.results
            .push(counts.map(|proposal| {
                self.fold.input(0, &Input::Apply(proposal.command.clone())).result
            }));
        self.states.push(self.fold.snapshot());
        self.entries.push(Entry { index: LogIndex(self.len() + 1), term, proposal });
    }

    /// Forgets what is after an index, as a log does that keeps nothing.
    pub(crate) fn truncate(&mut self, len: u64) {
        self.entries.truncate(position(len));
        self.results.truncate(position(len));
        self.states.truncate(position(len) + 1);
        self.fold.restore(0, &self.states[position(len)]);
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entries after an index.
    pub(crate) fn behind(&self, index: u64) -> &[Entry] {
        &self.entries[position(index)..]
    }

    pub(crate) fn state(&self, index: u64) -> &Snapshot {
        &self.states[position(index)]
    }

    pub(crate) fn state_at(&self, index: u64) -> StateAt {
        StateAt { applied: LogIndex(index), snapshot: self.state(index).clone() }
    }
}

/// A request, and how long the log was when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) since: u64,
}

impl Asked {
    /// The first index since the request, up to `until`, at which the log makes this answer right.
    /// An answer that says nothing of the log is right before all of it.
    pub(crate) fn reason(&self, answer: &Answer, history: &History, until: u64) -> Option<u64> {
        let request = &self.request;
        match (request, answer) {
            (_, Err(RequestError::NotPrimary { .. } | RequestError::Unknown)) => Some(0),
            (_, Err(RequestError::Stopped)) => Some(0),
            (Request::Promote | Request::Demote, Ok(Response::Done)) => Some(0),
            (
                Request::Grant { ttl, .. } | Request::GrantOnce { ttl, .. },
                Err(RequestError::Refused(Error::TtlTooLarge)),
            ) => (ttl.as_millis() > 9_000_000_000_000).then_some(0),
            (
                Request::Attach { items, .. } | Request::Claim { items, .. },
                Err(RequestError::Refused(Error::EmptyItem)),
            ) => items.iter().any(|item| item.key().is_empty()).then_some(0),
            // Granted at that index, or found there; and the index is durable.
            (Request::GrantOnce { request, .. }, Ok(Response::Granted { id, ttl, index })) => {
                let is_it = |state: &Snapshot| {
                    state.leases.iter().any(|record| (record.id, record.ttl) == (*id, *ttl))
                };
                let known = (self.since..=until).contains(&index.0);
                let right = known && *id == request.lease() && is_it(history.state(index.0));
                right.then_some(index.0)
            }
            (
                Request::Grant { id: Some(id), .. },
                Err(RequestError::Refused(Error::LeaseExists)),
            ) => self.index_with(history, until, |state| is_granted(state, *id)),
            (Request::Renew { id }, Err(RequestError::Refused(Error::LeaseNotFound))) => {
                self.index_with(history, until, |state| !is_granted(state, *id))
            }
            (_, Ok(Response::Granted { index, .. } | Response::Applied { index })) => {
                let indexes = index.0.saturating_sub(1)..index.0.min(until);
                self.index_of(history, indexes, Ok(()))
            }
            (_, Err(RequestError::Refused(error))) => self.index_of(history, 0..until, Err(*error)),
            (_, Ok(response)) => {
                self.index_with(history, until, |state| is_right(request, response, state))
            }
        }
    }

    /// The index of the entry that asked for the same and had this result.
    fn index_of(
        &self,
        history: &History,
        indexes: Range<u64>,
        result: Result<(), Error>,
    ) -> Option<u64> {
        let found = (self.since.max(indexes.start)..indexes.end).find(|before| {
            let proposal = history.entries[position(*before)].proposal.as_ref();
            history.results[position(*before)] == Some(result)
                && proposal.is_some_and(|proposal| asks_for(&self.request, &proposal.command))
        });
        found.map(|before| before + 1)
    }

    fn index_with(
        &self,
        history: &History,
        until: u64,
        is_right: impl Fn(&Snapshot) -> bool,
    ) -> Option<u64> {
        (self.since.min(until)..=until).find(|index| is_right(history.state(*index)))
    }
}

fn asks_for(request: &Request, command: &Command) -> bool {
    match (request, command) {
        (Request::Grant { id: wanted, .. }, Command::Grant { id, .. }) => {
            wanted.is_none_or(|wanted| wanted == *id)
        }
        (Request::Revoke { id: wanted }, Command::Revoke { id }) => wanted == id,
        (Request::Attach { id: wanted, items: all }, Command::Attach { id, items })
        | (Request::Detach { id: wanted, items: all }, Command::Detach { id, items })
        | (Request::Claim { id: wanted, items: all }, Command::Claim { id, items }) => {
            (wanted, all) == (id, items)
        }
        (_, _) => false,
    }
}

/// Whether a renew or a read says what a state says, apart from times.
fn is_right(request: &Request, response: &Response, state: &Snapshot) -> bool {
    let record = |id: LeaseId| state.leases.iter().find(|record| record.id == id);
    let items = |id: LeaseId| {
        state.items.iter().filter(move |(_, holder)| *holder == id).map(|(item, _)| item)
    };
    match (request, response) {
        (Request::Renew { id }, Response::Renewed { ttl }) => {
            record(*id).is_some_and(|record| record.ttl == *ttl)
        }
        (Request::Lookup { id }, Response::Lookup(None)) => record(*id).is_none(),
        (Request::Lookup { id }, Response::Lookup(Some(status))) => {
            record(*id) == Some(&status.record) && items(*id).eq(&status.items)
        }
        (Request::TimeToLive { id }, Response::TimeToLive(found)) => {
            let found = found.map(|found| (found.record, found.items));
            record(*id).map(|record| (*record, items(*id).count())) == found
        }
        (Request::Items { id, after, limit }, Response::Items(found)) => {
            let behind = |item: &&Item| after.as_ref().is_none_or(|after| *item > after);
            let page = || items(*id).filter(behind).take(*limit).cloned().collect();
            record(*id).map(|_| page()) == *found
        }
        (Request::Leases { limit, .. }, Response::Leases(leases)) => {
            let known = |lease: &lessor::Lease| {
                let id = lease.record.id;
                record(id) == Some(&lease.record) && items(id).count() == lease.items
            };
            leases.len() <= *limit && leases.iter().all(known)
        }
        (Request::LeaseOf { item }, Response::LeaseOf(holder)) => {
            let found = state.items.iter().find(|(held, _)| held == item);
            found.map(|(_, holder)| *holder) == *holder
        }
        (_, _) => false,
    }
}

fn is_granted(state: &Snapshot, id: LeaseId) -> bool {
    state.leases.iter().any(|record| record.id == id)
}

/// As a position in a `Vec`.
fn position(index: u64) -> usize {
    usize::try_from(index).expect("logs are short")
}

/// Whether a member has picked this id.
pub(crate) fn is_picked(id: LeaseId) -> bool {
    id.get() > 1 << 32 && REQUESTS.iter().all(|request| request.lease() != id)
}

/// The wishes that are made, each many times.
pub(crate) const REQUESTS: [RequestId; 3] = [RequestId(0), RequestId(1), RequestId(u64::MAX)];
