//! What is said of leases: what a command does to them, and their deadlines on each member.

use std::collections::{BTreeMap, BTreeSet};

use lessor::{Command, Entry, Instant, LeaseId, LeaseOrder, Lessor, Ttl};

use crate::model::{Applied, text};

/// What an entry asks for, and of which leases.
pub(super) fn asked(entry: &Entry) -> (&'static str, BTreeSet<LeaseId>) {
    match entry.proposal.as_ref().map(|proposal| &proposal.command) {
        None => ("open-term", BTreeSet::new()),
        Some(command) => (text::name_of_command(command), text::leases_of_command(command)),
    }
}

/// The term and the sequence of its proposal, if it has one.
pub(super) fn key(entry: &Entry) -> Option<(u64, u64)> {
    entry.proposal.as_ref().map(|proposal| (proposal.term.0, proposal.sequence))
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
