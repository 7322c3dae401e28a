//! What a log means: the replicated state as a plain fold over the entries, written from
//! docs/SEMANTICS.md, slow and simple, sharing no logic with the lessor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lessor::{
    Change, Command, Entry, Item, LeaseId, LeaseRecord, LogIndex, RangeDelete, Snapshot,
    Transaction, Ttl, Write,
};

/// The replicated state at one place of the log.
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
    /// Applies the next entry. A refused command changes nothing but the place.
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

/// What was written to a member's store: the transactions and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Store {
    /// The records.
    pub leases: BTreeMap<LeaseId, (Ttl, Option<Ttl>)>,
    /// The rows of the items.
    pub items: BTreeMap<Item, LeaseId>,
}

/// Where a store and the log part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// A record is not what the log says.
    Lease {
        /// Which.
        id: LeaseId,
        /// As stored.
        stored: Option<(Ttl, Option<Ttl>)>,
        /// As the log has it.
        log: Option<(Ttl, Option<Ttl>)>,
    },
    /// An item is held by another lease than the log says.
    Item {
        /// Which.
        item: Item,
        /// As stored.
        stored: Option<LeaseId>,
        /// As the log has it.
        log: Option<LeaseId>,
    },
}

impl Difference {
    /// Whether something is gone that the log still has.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Lease { stored, log, .. } => stored.is_none() && log.is_some(),
            Self::Item { stored, log, .. } => stored.is_none() && log.is_some(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = |lease: &Option<(Ttl, Option<Ttl>)>| match lease {
            None => "no record".to_owned(),
            Some((ttl, None)) => format!("ttl {ttl}"),
            Some((ttl, Some(left))) => format!("ttl {ttl}, {left} left at its checkpoint"),
        };
        let holder = |holder: &Option<LeaseId>| {
            holder.map_or("no lease".to_owned(), |holder| format!("lease {holder}"))
        };
        match self {
            Self::Lease { id, stored, log } => {
                write!(f, "lease {id}: {} in the store, {} by the log", lease(stored), lease(log))
            }
            Self::Item { item, stored, log } => {
                write!(
                    f,
                    "item {item}: {} in the store, {} by the log",
                    holder(stored),
                    holder(log)
                )
            }
        }
    }
}

impl Store {
    /// Does what a transaction says, and returns the range deletes in it.
    pub fn commit<'a>(&mut self, transaction: &'a Transaction) -> Vec<&'a RangeDelete> {
        if transaction.reset {
            *self = Self::default();
        }
        let mut deletes = Vec::new();
        for change in &transaction.changes {
            match change {
                Change::Write(Write::PutLease(record)) => {
                    self.leases.insert(record.id, (record.ttl, record.remaining));
                }
                Change::Write(Write::DeleteLease(id)) => {
                    self.leases.remove(id);
                }
                Change::Write(Write::PutItem(item, id)) => {
                    self.items.insert(item.clone(), *id);
                }
                Change::Write(Write::DeleteItem(item)) => {
                    self.items.remove(item);
                }
                Change::RangeDelete(delete) => {
                    for item in &delete.items {
                        self.items.remove(item);
                    }
                    deletes.push(delete);
                }
            }
        }
        deletes
    }

    /// The first difference to a state among these leases and items.
    pub fn compare<'a>(
        &self,
        state: &State,
        leases: impl IntoIterator<Item = &'a LeaseId>,
        items: impl IntoIterator<Item = &'a Item>,
    ) -> Option<Difference> {
        for id in leases {
            let stored = self.leases.get(id).copied();
            let log = state.leases.get(id).map(|lease| (lease.ttl, lease.remaining));
            if stored != log {
                return Some(Difference::Lease { id: *id, stored, log });
            }
        }
        for item in items {
            let stored = self.items.get(item).copied();
            let log = state.holders.get(item).copied();
            if stored != log {
                return Some(Difference::Item { item: item.clone(), stored, log });
            }
        }
        None
    }
}

/// Every lease and item that a transaction names.
pub fn named(transaction: &Transaction) -> (BTreeSet<LeaseId>, BTreeSet<Item>) {
    let (mut leases, mut items) = (BTreeSet::new(), BTreeSet::new());
    for change in &transaction.changes {
        match change {
            Change::Write(Write::PutLease(record)) => {
                leases.insert(record.id);
            }
            Change::Write(Write::DeleteLease(id)) => {
                leases.insert(*id);
            }
            Change::Write(Write::PutItem(item, _) | Write::DeleteItem(item)) => {
                items.insert(item.clone());
            }
            Change::RangeDelete(delete) => items.extend(delete.items.iter().cloned()),
        }
    }
    (leases, items)
}
