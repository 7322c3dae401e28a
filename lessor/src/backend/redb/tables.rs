//! The tables of a store, and the transactions that write to them.

use std::fmt;
use std::path::Path;

use redb::{Database, Durability, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::BackendError;
use super::error::{redb_error, replaced};
use crate::{Change, Digest, LeaseRecord, LogIndex, Ttl, Write};

/// The newest format that is read, and the one that is written.
pub(super) const FORMAT: u64 = 1;
/// `format`, `applied`, `digest` and, except in stores of earlier versions, `id_salt`; that of a newer format must have its `format` here as well.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("lessor.meta");
/// By id: the ttl, and what remained of it at the last checkpoint, both in milliseconds.
pub(super) const LEASES: TableDefinition<i64, (u64, u64)> = TableDefinition::new("lessor.leases");
/// By key: the lease that holds the item.
pub(super) const ITEMS: TableDefinition<&[u8], i64> = TableDefinition::new("lessor.items");
/// Stands for a lease that has no checkpoint; no ttl is that long.
pub(super) const NONE: u64 = u64::MAX;

/// The tables of leases and items in a write transaction, each opened when it is needed: that costs as
/// much as some rows.
pub(super) struct Tables<'t> {
    write: &'t WriteTransaction,
    leases: Option<Table<'t, i64, (u64, u64)>>,
    items: Option<Table<'t, &'static [u8], i64>>,
}

impl<'t> Tables<'t> {
    pub(super) fn of(write: &'t WriteTransaction) -> Self {
        Self { write, leases: None, items: None }
    }

    fn leases(&mut self) -> Result<&mut Table<'t, i64, (u64, u64)>, redb::TableError> {
        match &mut self.leases {
            Some(leases) => Ok(leases),
            none => Ok(none.insert(self.write.open_table(LEASES)?)),
        }
    }

    fn items(&mut self) -> Result<&mut Table<'t, &'static [u8], i64>, redb::TableError> {
        match &mut self.items {
            Some(items) => Ok(items),
            none => Ok(none.insert(self.write.open_table(ITEMS)?)),
        }
    }

    pub(super) fn clear(&mut self) -> Result<(), redb::Error> {
        self.leases()?.retain(|_, _| false)?;
        Ok(self.items()?.retain(|_, _| false)?)
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
        match change {
            Change::Write(Write::PutLease(LeaseRecord { id, ttl, remaining })) => {
                let remaining = remaining.map_or(NONE, Ttl::as_millis);
                self.leases()?.insert(id.get(), (ttl.as_millis(), remaining))?;
            }
            Change::Write(Write::DeleteLease(id)) => {
                self.leases()?.remove(id.get())?;
            }
            Change::Write(Write::PutItem(item, id)) => {
                self.items()?.insert(item.key(), id.get())?;
            }
            Change::Write(Write::DeleteItem(item)) => {
                self.items()?.remove(item.key())?;
            }
            Change::RangeDelete(delete) => {
                for item in &delete.items {
                    self.items()?.remove(item.key())?;
                }
            }
        }
        Ok(())
    }
}

/// Begins a transaction as all of this backend are.
pub(super) fn begin_write(
    database: &Database,
    path: &Path,
) -> Result<WriteTransaction, BackendError> {
    let failed = |error: redb::Error| redb_error(path, "write", error);
    let mut write = database.begin_write().map_err(|error| failed(error.into()))?;
    write.set_durability(Durability::Immediate).map_err(|error| failed(error.into()))?;
    // Two phases, though redb's single one is safe in a loss of power as well: there a commit
    // whose pages do not verify may be a torn one, which never was answered, or a damaged one,
    // which was; redb takes the commit before it in both cases, and answered leases are gone
    // without a word. With two phases the pages are durable before one byte makes them the
    // commit, so what does not verify is damaged, and is refused. It costs a second sync.
    // What cannot be found is a flip of that one bit in the file of a crash: redb has no
    // checksum of it, and takes the commit before.
    write.set_two_phase_commit(true);
    // No quick repair: it would write the allocator's state with every commit to save a walk
    // through the file after a crash, and that walk verifies all checksums, which is wanted.
    write.set_quick_repair(false);
    Ok(write)
}

/// Makes the tables of an empty store.
pub(super) fn initialize(database: &Database, id_salt: Option<u64>) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    write.set_two_phase_commit(true);
    write.open_table(LEASES)?;
    write.open_table(ITEMS)?;
    let mut meta = write.open_table(META)?;
    meta.insert("format", FORMAT)?;
    write_meta(&mut meta, LogIndex::default(), Digest::default(), id_salt)?;
    drop(meta);
    write.commit()?;
    Ok(())
}

/// The table of what the store says of itself, in a write transaction.
pub(super) type MetaTable<'t> = Table<'t, &'static str, u64>;

/// Whether the tables are where the last commit has put them.
pub(super) fn check_meta(
    meta: &MetaTable<'_>,
    path: &Path,
    applied: LogIndex,
    digest: Digest,
) -> Result<(), BackendError> {
    let found = meta_of(meta).map_err(|error| redb_error(path, "write", error))?;
    if found == (Some(applied), Some(digest)) {
        return Ok(());
    }
    let stands = format!("it stands at {}, digest {}", told(found.0), told(found.1));
    let was = format!("{applied} with {digest} was committed last");
    let host = "has the host restored a savepoint, or written to a table `lessor.*`?";
    Err(replaced(path, format!("{stands}, but {was}; {host}")))
}

pub(super) fn told(number: Option<impl fmt::Display>) -> String {
    number.map_or_else(|| "nothing".into(), |number| number.to_string())
}

pub(super) fn meta_of(
    meta: &MetaTable<'_>,
) -> Result<(Option<LogIndex>, Option<Digest>), redb::StorageError> {
    let applied = meta.get("applied")?.map(|value| LogIndex(value.value()));
    let digest = meta.get("digest")?.map(|value| Digest::from_u64(value.value()));
    Ok((applied, digest))
}

pub(super) fn write_meta(
    meta: &mut MetaTable<'_>,
    applied: LogIndex,
    digest: Digest,
    id_salt: Option<u64>,
) -> Result<(), redb::StorageError> {
    meta.insert("applied", applied.0)?;
    meta.insert("digest", digest.as_u64())?;
    if let Some(id_salt) = id_salt {
        meta.insert("id_salt", id_salt)?;
    }
    Ok(())
}
