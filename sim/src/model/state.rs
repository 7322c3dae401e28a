//! What a log means: the replicated state as a plain fold over the entries, written from
//! docs/SEMANTICS.md, slow and simple, sharing no logic with the lessor.

use std::collections::{BTreeMap, BTreeSet};

use lessor::{Command, Entry, Item, LeaseId, LeaseRecord, LogIndex, Snapshot, Ttl};

use super::{Difference, Store};

/// The replicated state at one index of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The last entry that is in it.
    pub applied: LogIndex,
    /// The leases by id.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// The holder of each item.
    pub holders: BTreeMap<Item, LeaseId>,
}

/// A lease as the log knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The ttl it was granted with.
    pub ttl: Ttl,
    /// What its last checkpoint noted, unless that was taken back.
    pub remaining: Option<Ttl>,
    /// Its items.
    pub items: BTreeSet<Item>,
}

/// What one entry did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The lease that it revoked, with the items that it ended, in ascending order.
    pub revoked: Option<(LeaseId, Vec<Item>)>,
    /// Leases that may have changed.
    pub leases: BTreeSet<LeaseId>,
    /// Items that may have changed hands.
    pub items: BTreeSet<Item>,
}

impl State {
    /// Applies the next entry. A refused command changes nothing but the index.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        self.applied = entry.index;
        let mut applied = Applied::default();
        let proposal = entry.proposal.as_ref().filter(|proposal| proposal.term == entry.term);
        match proposal.map(|proposal| &proposal.command) {
            None => {}
            Some(Command::Grant { id, ttl })
                if *ttl <= Ttl::MAX && !self.leases.contains_key(id) =>
            {
                let lease = Lease { ttl: *ttl, remaining: None, items: BTreeSet::new() };
                self.leases.insert(*id, lease);
                applied.leases.insert(*id);
            }
            Some(Command::Revoke { id }) => {
                if let Some(lease) = self.leases.remove(id) {
                    for item in &lease.items {
                        self.holders.remove(item);
                    }
                    applied.leases.insert(*id);
                    applied.items.clone_from(&lease.items);
                    applied.revoked = Some((*id, lease.items.into_iter().collect()));
                }
            }
            Some(Command::Attach { id, items }) if self.leases.contains_key(id) => {
                for item in items {
                    if let Some(old) = self.holders.insert(item.clone(), *id)
                        && let Some(old) = self.leases.get_mut(&old)
                    {
                        old.items.remove(item);
                    }
                    if let Some(lease) = self.leases.get_mut(id) {
                        lease.items.insert(item.clone());
                    }
                    applied.items.insert(item.clone());
                }
            }
            Some(Command::Claim { id, items })
                if self.leases.contains_key(id)
                    && items
                        .iter()
                        .all(|item| self.holders.get(item).is_none_or(|holder| holder == id)) =>
            {
                for item in items {
                    self.holders.insert(item.clone(), *id);
                    if let Some(lease) = self.leases.get_mut(id) {
                        lease.items.insert(item.clone());
                    }
                    applied.items.insert(item.clone());
                }
            }
            Some(Command::Detach { id, items }) => {
                for item in items {
                    if self.holders.get(item) == Some(id) {
                        self.holders.remove(item);
                        if let Some(lease) = self.leases.get_mut(id) {
                            lease.items.remove(item);
                        }
                        applied.items.insert(item.clone());
                    }
                }
            }
            // Refused.
            Some(Command::Grant { .. } | Command::Attach { .. } | Command::Claim { .. }) => {}
            Some(Command::Checkpoint { checkpoints }) => {
                for checkpoint in checkpoints {
                    if let Some(lease) = self.leases.get_mut(&checkpoint.id) {
                        lease.remaining = checkpoint.remaining.map(|left| left.min(lease.ttl));
                        applied.leases.insert(checkpoint.id);
                    }
                }
            }
        }
        applied
    }

    /// All of it, as a member takes it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let record = |(id, lease): (&LeaseId, &Lease)| LeaseRecord {
            id: *id,
            ttl: lease.ttl,
            remaining: lease.remaining,
        };
        Snapshot {
            leases: self.leases.iter().map(record).collect(),
            items: self.holders.iter().map(|(item, id)| (item.clone(), *id)).collect(),
        }
    }

    /// The lease with everything that differs between this state and a snapshot, in words; `None` if
    /// they are equal.
    #[must_use]
    pub fn difference(&self, snapshot: &Snapshot) -> Option<Difference> {
        let mut store = Store::default();
        for record in &snapshot.leases {
            store.leases.insert(record.id, (record.ttl, record.remaining));
        }
        for (item, holder) in &snapshot.items {
            store.items.insert(item.clone(), *holder);
        }
        let leases = self.leases.keys().chain(store.leases.keys());
        let items = self.holders.keys().chain(store.items.keys());
        store.compare(self, leases, items)
    }
}
