//! The reading of a store, which validates all of it.

use std::path::Path;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    TableHandle,
};

use super::BackendError;
use super::error::{damaged, foreign, redb_error};
use super::tables::{FORMAT, ITEMS, LEASES, META, NONE};
use crate::backend::Stored;
use crate::{Digest, Item, LeaseId, LeaseRecord, LogIndex, Snapshot, Ttl};

/// Reads and validates everything.
pub(super) fn read(database: &Database, path: &Path) -> Result<Stored, BackendError> {
    let failed = |error| redb_error(path, "read", redb::Error::from(error));
    let read = begin_read(database, path)?;
    let Meta { applied, digest, id_salt } = read_meta(&read, path)?;
    let mut computed = Digest::default();
    let mut snapshot = Snapshot::default();
    for row in open_table(&read, LEASES, path)?.iter().map_err(failed)? {
        let (id, value) = row.map_err(failed)?;
        let (id, (ttl, remaining)) = (id.value(), value.value());
        let record = lease_record(id, ttl, remaining)
            .map_err(|what| damaged(path, format!("{}, key {id}: {what}", LEASES.name())))?;
        computed.add_lease(&record);
        snapshot.leases.push(record);
    }
    for row in open_table(&read, ITEMS, path)?.iter().map_err(failed)? {
        let (key, holder) = row.map_err(failed)?;
        let (item, number) = (Item::new(key.value()), holder.value());
        let holder = LeaseId::new(number)
            .filter(|id| snapshot.leases.binary_search_by_key(id, |record| record.id).is_ok());
        let Some(holder) = holder else {
            let what =
                format!("{}, key \"{item}\": its lease {number} does not exist", ITEMS.name());
            return Err(damaged(path, what));
        };
        computed.add_item(&item, holder);
        snapshot.items.push((item, holder));
    }
    if computed != digest {
        let what = format!(
            "{}, key \"digest\": {digest} is stored, but the leases and items give {computed}",
            META.name()
        );
        return Err(damaged(path, what));
    }
    Ok(Stored { applied, digest, id_salt: id_salt.unwrap_or_default(), snapshot })
}

pub(super) struct Meta {
    pub(super) applied: LogIndex,
    pub(super) digest: Digest,
    /// Stores of earlier versions have none.
    pub(super) id_salt: Option<u64>,
}

pub(super) fn read_meta(read: &ReadTransaction, path: &Path) -> Result<Meta, BackendError> {
    let table = match read.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(foreign(path, "a redb file without the table lessor.meta"));
        }
        Err(error) => return Err(redb_error(path, "read", error)),
    };
    let number = |key| match table.get(key) {
        Ok(Some(value)) => Ok(value.value()),
        Ok(None) => Err(damaged(path, format!("{}, key \"{key}\": missing", META.name()))),
        Err(error) => Err(redb_error(path, "read", error)),
    };
    match number("format")? {
        FORMAT => {}
        0 => return Err(damaged(path, format!("{}, key \"format\": 0 is no format", META.name()))),
        found => {
            return Err(BackendError::Newer { path: path.into(), found, supported: FORMAT });
        }
    }
    let id_salt = table.get("id_salt").map_err(|error| redb_error(path, "read", error))?;
    Ok(Meta {
        applied: LogIndex(number("applied")?),
        digest: Digest::from_u64(number("digest")?),
        id_salt: id_salt.map(|value| value.value()),
    })
}

pub(super) fn lease_record(id: i64, ttl: u64, remaining: u64) -> Result<LeaseRecord, String> {
    let id = LeaseId::new(id).ok_or("no lease has the id 0")?;
    let max = Ttl::MAX.as_millis();
    if ttl == 0 || ttl > max {
        return Err(format!("its ttl of {ttl} ms is not within 1 and {max}"));
    }
    if remaining != NONE && (remaining == 0 || remaining > ttl) {
        return Err(format!("its remaining {remaining} ms are not within 1 and its ttl of {ttl}"));
    }
    let ttl = Ttl::from_millis(ttl);
    let remaining = (remaining != NONE).then(|| Ttl::from_millis(remaining));
    Ok(LeaseRecord { id, ttl, remaining })
}

pub(super) fn begin_read(
    database: &Database,
    path: &Path,
) -> Result<ReadTransaction, BackendError> {
    database.begin_read().map_err(|error| redb_error(path, "read", error))
}

pub(super) fn open_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
    path: &Path,
) -> Result<redb::ReadOnlyTable<K, V>, BackendError> {
    read.open_table(table).map_err(|error| redb_error(path, "read", error))
}
