//! What is said of leases: what a command does to them, and their deadlines on each member.

use std::collections::{BTreeMap, BTreeSet};

use lessor::{Command, Entry, Instant, LeaseId, LeaseOrder, Lessor, Request, Ttl};

use crate::model::{Applied, text};

/// What an entry asks for, and of which leases.
pub(super) fn op(entry: &Entry) -> (&'static str, BTreeSet<LeaseId>) {
    match &entry.proposal {
        None => ("open-term", BTreeSet::new()),
        Some(proposal) => {
            let command = &proposal.command;
            (op_of_command(command), text::leases_of_command(command))
        }
    }
}

/// What a command is.
pub(super) fn op_of_command(command: &Command) -> &'static str {
    match command {
        Command::Grant { .. } => "grant",
        Command::Revoke { .. } => "revoke",
        Command::Attach { .. } => "attach",
        Command::Detach { .. } => "detach",
        Command::Claim { .. } => "claim",
        Command::Checkpoint { .. } => "checkpoint",
    }
}

/// What a request is.
pub(super) fn op_of_request(request: &Request) -> &'static str {
    match request {
        Request::Grant { .. } => "grant",
        Request::GrantOnce { .. } => "grant-once",
        Request::Revoke { .. } => "revoke",
        Request::Renew { .. } => "renew",
        Request::Attach { .. } => "attach",
        Request::Detach { .. } => "detach",
        Request::Claim { .. } => "claim",
        Request::Lookup { .. } => "lookup",
        Request::TimeToLive { .. } => "time-to-live",
        Request::Items { .. } => "items",
        Request::Leases { .. } => "leases",
        Request::LeaseOf { .. } => "lease-of",
        Request::Promote => "promote",
        Request::Demote => "demote",
    }
}

/// The lease that a request names, and the ttl that it asks for.
pub(super) fn named(request: &Request) -> (Option<LeaseId>, Option<Ttl>) {
    let ttl = match request {
        Request::Grant { ttl, .. } | Request::GrantOnce { ttl, .. } => Some(*ttl),
        Request::Revoke { .. }
        | Request::Renew { .. }
        | Request::Attach { .. }
        | Request::Detach { .. }
        | Request::Claim { .. }
        | Request::Lookup { .. }
        | Request::TimeToLive { .. }
        | Request::Items { .. }
        | Request::Leases { .. }
        | Request::LeaseOf { .. }
        | Request::Promote
        | Request::Demote => None,
    };
    (text::leases_of_request(request).first().copied(), ttl)
}

/// What an entry does.
pub(super) fn effect(entry: &Entry, applied: &Applied) -> &'static str {
    let Some(proposal) = &entry.proposal else { return "nothing" };
    if proposal.term != entry.term {
        return "fenced";
    }
    let some = !applied.leases.is_empty() || !applied.items.is_empty();
    match &proposal.command {
        Command::Grant { .. } if some => "granted",
        Command::Grant { .. } => "exists",
        Command::Revoke { .. } if some => "revoked",
        Command::Revoke { .. } => "gone",
        Command::Checkpoint { .. } if some => "noted",
        Command::Attach { .. } | Command::Detach { .. } | Command::Claim { .. } if some => "done",
        Command::Checkpoint { .. }
        | Command::Attach { .. }
        | Command::Detach { .. }
        | Command::Claim { .. } => "nothing",
    }
}

/// The deadlines of a member's leases, as they were last written.
#[derive(Default)]
pub(super) struct Deadlines(BTreeMap<LeaseId, Known>);

/// A lease as a member has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) ttl: Ttl,
    /// When it ends on the member's clock, if the member is primary.
    pub(super) due: Option<Instant>,
}

impl Deadlines {
    /// What has changed of these leases, or of all up to a limit: each that changed, `None` if it is gone.
    pub(super) fn changed(
        &mut self,
        lessor: &Lessor,
        of: Option<&BTreeSet<LeaseId>>,
    ) -> Vec<(LeaseId, Known, bool)> {
        let mut now = BTreeMap::new();
        let mut know = |lease: lessor::Lease| {
            let (id, ttl) = (lease.record.id, lease.record.ttl);
            now.insert(id, Known { ttl, due: lease.expiry });
        };
        match of {
            Some(leases) => leases.iter().filter_map(|id| lessor.lookup(*id)).for_each(&mut know),
            None => lessor.leases(LeaseOrder::Id, None, MOST).into_iter().for_each(&mut know),
        }
        let mut changed = Vec::new();
        let asked = |id: &LeaseId| of.is_none_or(|leases| leases.contains(id));
        let gone: Vec<_> =
            self.0.keys().filter(|id| asked(id) && !now.contains_key(id)).copied().collect();
        for id in gone {
            changed.extend(self.0.remove(&id).map(|known| (id, known, true)));
        }
        for (id, known) in now {
            if self.0.insert(id, known) != Some(known) {
                changed.push((id, known, false));
            }
        }
        changed
    }

    /// The leases that are followed, if they are not too many.
    pub(super) fn known(&self) -> impl Iterator<Item = LeaseId> {
        self.0.keys().copied().filter(|_| self.0.len() <= MOST)
    }

    /// They are forgotten: the process has ended, or its state is another one.
    pub(super) fn forget(&mut self) -> Vec<LeaseId> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}

/// Of more leases at once deadlines are only followed where inputs name them.
const MOST: usize = 256;
