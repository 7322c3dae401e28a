//! A store that ends with its process: for tests, and for hosts that need no more.

use std::collections::BTreeMap;

use super::{Backend, BackendError, Stored};
use crate::{Change, Digest, Item, LeaseId, LeaseRecord, LogIndex, Snapshot, Transaction, Write};

/// A [`Backend`] in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryBackend {
    applied: LogIndex,
    digest: Digest,
    id_salt: u64,
    leases: BTreeMap<LeaseId, LeaseRecord>,
    items: BTreeMap<Item, LeaseId>,
}

impl MemoryBackend {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Stored::id_salt`], which is zero by default.
    #[must_use]
    pub fn with_id_salt(mut self, id_salt: u64) -> Self {
        self.id_salt = id_salt;
        self
    }
}

impl Backend for MemoryBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        Ok(Stored {
            applied: self.applied,
            digest: self.digest,
            id_salt: self.id_salt,
            snapshot: Snapshot {
                leases: self.leases.values().copied().collect(),
                items: self.items.iter().map(|(item, id)| (item.clone(), *id)).collect(),
            },
        })
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        if transaction.after != self.applied {
            let (after, stored) = (transaction.after, self.applied);
            return Err(BackendError::OutOfOrder { after, stored });
        }
        if transaction.reset {
            self.leases.clear();
            self.items.clear();
        }
        for change in transaction.changes {
            match change {
                Change::Write(Write::PutLease(record)) => {
                    self.leases.insert(record.id, record);
                }
                Change::Write(Write::DeleteLease(id)) => {
                    self.leases.remove(&id);
                }
                Change::Write(Write::PutItem(item, id)) => {
                    self.items.insert(item, id);
                }
                Change::Write(Write::DeleteItem(item)) => {
                    self.items.remove(&item);
                }
                Change::RangeDelete(delete) => {
                    for item in &delete.items {
                        self.items.remove(item);
                    }
                }
            }
        }
        self.applied = transaction.applied;
        self.digest = transaction.digest;
        Ok(())
    }
}
