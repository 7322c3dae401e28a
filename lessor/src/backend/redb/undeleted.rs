//! What the host's range deleter could not delete yet: the items of leases that have ended.
//!
//! They are no part of what the store holds for its reader: the lease is gone, and its items with it.
//! An item that is attached again is no longer here, because it is somebody's.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::RangeDeleter;
use super::error::text_of;
use crate::backend::Undeleted;
use crate::{Item, LeaseId, RangeDelete};

/// By key and former lease.
const UNDELETED: TableDefinition<(&[u8], i64), ()> = TableDefinition::new("lessor.undeleted");

/// What is in the table, and why, by the lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending(BTreeMap<LeaseId, Undeleted>);

impl Pending {
    /// What an earlier opening has left.
    pub(super) fn read(read: &ReadTransaction) -> Result<Self, redb::Error> {
        let table = match read.open_table(UNDELETED) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let mut pending = Self::default();
        for row in table.iter()? {
            let (_, number) = row?.0.value();
            let lease = LeaseId::new(number).ok_or_else(|| {
                redb::Error::Corrupted(format!("{UNDELETED} has an item of a lease 0"))
            })?;
            pending.add(lease, 1, "it was not tried since the store was opened");
        }
        Ok(pending)
    }

    pub(super) fn all(&self) -> Vec<Undeleted> {
        self.0.values().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many leases behind this one, and again from the first one on.
    pub(super) fn behind(&self, last: Option<LeaseId>, count: usize) -> Vec<LeaseId> {
        let behind = self.0.keys().filter(|lease| Some(**lease) > last);
        let rest = self.0.keys().filter(|lease| Some(**lease) <= last);
        behind.chain(rest).take(count).copied().collect()
    }

    /// Keeps the items of a lease for later.
    pub(super) fn keep(
        &mut self,
        write: &WriteTransaction,
        delete: &RangeDelete,
        reason: &str,
    ) -> Result<(), redb::Error> {
        let mut table = write.open_table(UNDELETED)?;
        for item in &delete.items {
            let new = table.insert((item.key(), delete.lease.get()), ())?.is_none();
            self.add(delete.lease, usize::from(new), reason);
        }
        Ok(())
    }

    /// Forgets an item that somebody has attached: it is to be deleted when *that* lease ends.
    pub(super) fn forget(
        &mut self,
        write: &WriteTransaction,
        item: &Item,
    ) -> Result<(), redb::Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut table = write.open_table(UNDELETED)?;
        let rows = table.range((item.key(), i64::MIN)..=(item.key(), i64::MAX))?;
        let leases: Vec<i64> =
            rows.map(|row| row.map(|row| row.0.value().1)).collect::<Result<_, _>>()?;
        for lease in leases {
            table.remove((item.key(), lease))?;
            self.subtract(lease);
        }
        Ok(())
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, write: &WriteTransaction) -> Result<(), redb::Error> {
        if !self.is_empty() {
            write.open_table(UNDELETED)?.retain(|_, ()| false)?;
            self.0.clear();
        }
        Ok(())
    }

    /// Takes the items of a lease out of the table.
    pub(super) fn take(
        write: &WriteTransaction,
        lease: LeaseId,
    ) -> Result<RangeDelete, redb::Error> {
        let mut table = write.open_table(UNDELETED)?;
        let mut items = Vec::new();
        for row in table.extract_if(|(_, holder), ()| holder == lease.get())? {
            items.push(Item::new(row?.0.value().0));
        }
        Ok(RangeDelete { lease, items })
    }

    /// Notes that the items of a lease are deleted, or why they are not.
    pub(super) fn note(&mut self, lease: LeaseId, result: Result<(), String>) {
        match (result, self.0.get_mut(&lease)) {
            (Ok(()), _) => drop(self.0.remove(&lease)),
            (Err(reason), Some(undeleted)) => undeleted.reason = reason,
            (Err(_), None) => {}
        }
    }

    fn add(&mut self, lease: LeaseId, items: usize, reason: &str) {
        let undeleted =
            self.0.entry(lease).or_insert(Undeleted { lease, items: 0, reason: String::new() });
        undeleted.items += items;
        if undeleted.reason != reason {
            undeleted.reason = reason.to_owned();
        }
    }

    fn subtract(&mut self, lease: i64) {
        let Some(lease) = LeaseId::new(lease) else { return };
        let Some(undeleted) = self.0.get_mut(&lease) else { return };
        undeleted.items -= 1;
        if undeleted.items == 0 {
            self.0.remove(&lease);
        }
    }
}

/// Has the host delete; if it panics it has failed.
pub(super) fn call(
    deleter: &mut RangeDeleter,
    write: &WriteTransaction,
    delete: &RangeDelete,
) -> Result<(), String> {
    let result = panic::catch_unwind(AssertUnwindSafe(|| deleter(write, delete)));
    result.unwrap_or_else(|panic| Err(format!("it panicked: {}", text_of(&*panic))))
}
