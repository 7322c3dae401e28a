//! What the oracle knows of a member.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lessor::{Command, Entry, Instant, LeaseId, LogIndex, Member, Request, Response, Ticket};

use crate::model::{Applied, State, Store};

/// What the oracle knows of a member.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// A second member that is told the same.
    pub(super) twin: Option<Member>,
    /// Whether its current input is its timer.
    pub(super) timer: bool,
    /// The latest that its process has seen on its clock.
    pub(super) latest: Instant,
    /// What it has applied in memory.
    pub(super) state: State,
    /// What the log says at the index where its store stands, and what was written there.
    pub(super) durable: State,
    pub(super) store: Store,
    pub(super) primary: bool,
    pub(super) asked: BTreeMap<Ticket, (Duration, Instant, Request)>,
    /// The latest of those that were answered, in case one is answered again.
    pub(super) answered: VecDeque<(Ticket, Request)>,
    /// Of each success that it has not told yet, the last index of the log that it speaks of.
    pub(super) decided: BTreeMap<Ticket, LogIndex>,
    /// What it has applied and its store has not said to be durable.
    pub(super) undurable: Undurable,
    /// Up to where its store has said that everything is durable.
    pub(super) persisted: LogIndex,
    /// The barrier of its latest reign.
    pub(super) barrier: LogIndex,
    /// In the current delivery of entries: leases whose checkpoint was taken back, and those of them that
    /// were revoked afterwards.
    pub(super) unset: BTreeSet<LeaseId>,
    pub(super) renewed_and_gone: BTreeSet<LeaseId>,
    /// How many outputs were queued and how many were taken; commits are not counted.
    pub(super) queued: usize,
    pub(super) taken: usize,
    /// How many of those that are queued are about each request: they go if nobody waits for it.
    pub(super) queued_of: BTreeMap<Ticket, usize>,
}

/// Where leases were changed last.
#[derive(Debug, Default)]
pub(super) struct Undurable {
    pub(super) leases: BTreeMap<LeaseId, LogIndex>,
    /// Where any lease lost an item.
    pub(super) losses: LogIndex,
    /// Where a whole state was installed.
    pub(super) installed: LogIndex,
}

impl Undurable {
    /// Notes which leases the next entry changes; `state` has not applied it.
    pub(super) fn note(&mut self, state: &State, entry: &Entry) {
        let Some(proposal) = &entry.proposal else { return };
        let mut changed: Vec<LeaseId> = Vec::new();
        match &proposal.command {
            Command::Grant { id, .. } | Command::Claim { id, .. } => changed.push(*id),
            Command::Revoke { id } | Command::Detach { id, .. } => {
                changed.push(*id);
                self.losses = entry.index;
            }
            Command::Attach { id, items } => {
                changed.push(*id);
                if state.leases.contains_key(id) {
                    changed.extend(items.iter().filter_map(|item| state.holders.get(item)));
                }
            }
            Command::Checkpoint { checkpoints } => {
                changed.extend(checkpoints.iter().map(|checkpoint| checkpoint.id));
            }
        }
        self.leases.extend(changed.into_iter().map(|id| (id, entry.index)));
    }

    pub(super) fn persisted(&mut self, applied: LogIndex) {
        self.leases.retain(|_, at| *at > applied);
    }

    /// The last index that a success speaks of, of a member that stands at `applied`.
    pub(super) fn of(&self, request: &Request, response: &Response, applied: LogIndex) -> LogIndex {
        let lease = |id: &LeaseId| self.leases.get(id).copied().unwrap_or_default();
        let last = match (request, response) {
            (
                Request::Renew { id }
                | Request::Lookup { id }
                | Request::TimeToLive { id }
                | Request::Items { id, .. },
                _,
            )
            | (_, Response::LeaseOf(Some(id))) => lease(id),
            (_, Response::LeaseOf(None)) => self.losses,
            // A role is not stored.
            (Request::Promote | Request::Demote, _) => return LogIndex::default(),
            (
                Request::Grant { .. }
                | Request::GrantOnce { .. }
                | Request::Revoke { .. }
                | Request::Attach { .. }
                | Request::Detach { .. }
                | Request::Claim { .. }
                | Request::Leases { .. }
                | Request::LeaseOf { .. },
                _,
            ) => applied,
        };
        last.max(self.installed)
    }
}

impl Watched {
    /// The request of one of the tickets that were answered last.
    pub(super) fn answered_with(&self, ticket: Ticket) -> Option<&Request> {
        self.answered.iter().find(|(of, _)| *of == ticket).map(|(_, request)| request)
    }

    pub(super) fn pass(&mut self, clock: Instant) {
        self.latest = self.latest.max(clock);
    }

    pub(super) fn note_unset(&mut self, entry: &Entry, applied: &Applied) {
        if let Some(proposal) = &entry.proposal
            && let Command::Checkpoint { checkpoints } = &proposal.command
        {
            let unset = checkpoints.iter().filter(|checkpoint| checkpoint.remaining.is_none());
            self.unset.extend(unset.map(|checkpoint| checkpoint.id));
        }
        if let Some((id, _)) = &applied.revoked
            && self.unset.contains(id)
        {
            self.renewed_and_gone.insert(*id);
        }
    }
}
