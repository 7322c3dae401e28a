//! The opening of a store that is there. Nothing is written before everything in it was found whole.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use redb::{Builder, Database, ReadableDatabase, StorageBackend};

use super::error::{damaged, foreign, io_error, redb_error, text_of};
use super::file::StoreFile;
use super::overlay::{BLOCK, Overlay};
use super::read::read;
use super::{BackendError, RedbBackend};
use crate::backend::Stored;
use crate::chance;

/// Opens the store that has this name; `None` if there is none, or another one meanwhile.
pub(super) fn open_file(path: &Path) -> Result<Option<RedbBackend>, BackendError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            let text = "it is a folder; name a file in it";
            return Err(io_error(path, "open", io::Error::new(error.kind(), text)));
        }
        Err(error) => return Err(io_error(path, "open", error)),
    };
    let metadata = file.metadata().map_err(|error| io_error(path, "open", error))?;
    if !metadata.is_file() {
        return Err(foreign(path, "no regular file"));
    }
    let file = StoreFile::new(file, path).map_err(|error| redb_error(path, "open", error))?;
    let stored = probe(&file, path)?;
    // It is locked by now; before that its name could have been taken from it.
    if file.renamed().is_some() {
        return Ok(None);
    }
    let database = Builder::new()
        .create_with_backend(file.clone())
        .map_err(|error| redb_error(path, "open", error))?;
    let store = RedbBackend::new(database, path.into(), Some(file), Some(stored))?;
    // A no-op but for a store of an earlier version.
    Ok(Some(store.with_id_salt(chance::draw())))
}

/// Reads and validates everything in this file, and writes nothing.
pub(super) fn probe(file: &StoreFile, path: &Path) -> Result<Stored, BackendError> {
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| {
        // First every page of every table is verified, so that no damage can show up later. This
        // takes another way through redb than an ordinary opening, which comes next: it meets the
        // very bytes that the one afterwards will.
        drop(open_in_memory(file, path, true)?);
        if file.len().map_err(|error| io_error(path, "read", error))? == 0 {
            return Err(foreign(path, "an empty file"));
        }
        read(&open_in_memory(file, path, false)?, path)
    }));
    match verdict {
        Ok(stored) => stored,
        Err(panic) => Err(damaged(path, format!("redb cannot read it: {}", text_of(&*panic)))),
    }
}

/// Opens the database in this file with all that redb writes to it kept in memory.
pub(super) fn open_in_memory(
    file: &StoreFile,
    path: &Path,
    verify: bool,
) -> Result<Database, BackendError> {
    Builder::new()
        .set_check_integrity_on_open(verify)
        .create_with_backend(Overlay::new(file.clone()))
        .map_err(|error| redb_error(path, "open", error))
}

/// Empties storage in which redb was creating a database when it lost its power.
///
/// redb writes its magic number last, and a database without it was never committed to.
pub(super) fn discard_half_created(
    storage: &impl StorageBackend,
    path: &Path,
) -> Result<(), BackendError> {
    let failed = |error| io_error(path, "open", error);
    let unlocked = match lock_whole(storage) {
        Ok(true) => false,
        Ok(false) => return Err(BackendError::Locked { path: path.into() }),
        Err(redb::Error::Unsupported) => true,
        Err(error) => return Err(redb_error(path, "open", error)),
    };
    if is_half_created(storage).map_err(failed)? {
        storage.set_len(0).map_err(failed)?;
    }
    if unlocked {
        return Ok(());
    }
    storage
        .unlock_range(Bound::Unbounded, Bound::Unbounded)
        .map_err(|error| redb_error(path, "open", redb::StorageError::from(error)))
}

/// Whether this may be the beginning of a creation: no magic number, and nothing but a header.
pub(super) fn is_half_created(storage: &impl StorageBackend) -> io::Result<bool> {
    let len = storage.len()?;
    let mut bytes = [0; BLOCK];
    for block in (0..len).step_by(BLOCK) {
        let part = usize::try_from(len - block).unwrap_or(BLOCK).min(BLOCK);
        let part = &mut bytes[..part];
        storage.read(block, part)?;
        let end = if block == 0 { part.len().min(MAGIC_LEN) } else { part.len() };
        if part[..end].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The length of the magic number that a redb file begins with.
pub(super) const MAGIC_LEN: usize = 9;

/// Whether this is a database that has no table at all, as redb makes one.
pub(super) fn is_bare(database: &Database) -> Result<bool, redb::Error> {
    let read = database.begin_read()?;
    Ok(read.list_tables()?.next().is_none() && read.list_multimap_tables()?.next().is_none())
}

/// Takes redb's lock of a whole file; false if somebody has it.
pub(super) fn lock_whole(storage: &impl StorageBackend) -> Result<bool, redb::Error> {
    storage
        .try_lock_range(Bound::Unbounded, Bound::Unbounded)
        .map_err(|error| redb::StorageError::from(error).into())
}
