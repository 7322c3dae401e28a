//! What a member has stored, as its transactions say, and how that differs from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lessor::{Change, Item, LeaseId, RangeDelete, Transaction, Ttl, Write};

use super::State;

/// What was written to a member's store: the transactions and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Store {
    /// The records.
    pub leases: BTreeMap<LeaseId, (Ttl, Option<Ttl>)>,
    /// The rows of the items.
    pub items: BTreeMap<Item, LeaseId>,
}

/// Where a store and the log part.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// A record is not what the log says.
    Lease {
        id: LeaseId,
        /// As stored.
        stored: Option<(Ttl, Option<Ttl>)>,
        /// As the log has it.
        log: Option<(Ttl, Option<Ttl>)>,
    },
    /// An item is held by another lease than the log says.
    Item {
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

    /// The lease that it is about; of an item, the one that holds it in the store, or else by the log.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Lease { id, .. } => Some(*id),
            Self::Item { stored, log, .. } => stored.or(*log),
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
