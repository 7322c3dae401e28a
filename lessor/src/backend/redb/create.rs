//! The creation of a store, alone or while others create the same one.
//!
//! Each attempt makes a whole store under a name of its own, locks it, and then tries to give it the
//! store's name, which works for one of them only. Whoever has not got it removes what it has made.
//!
//! What an attempt that was cut short leaves is tidied up by the next that succeeds. A left-over is
//! removed by who has locked it and has seen, afterwards, that the name still is that file; so one
//! that somebody is working on stays, and who was too slow to lock its own sees that and begins anew.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Builder, Database};

use super::error::{io_error, redb_error};
use super::file::{Identity, StoreFile};
use super::tables::initialize;
use super::{BackendError, RedbBackend};
use crate::chance;

/// Creates the store; `None` if something has its name by now.
pub(super) fn create(path: &Path) -> Result<Option<RedbBackend>, BackendError> {
    create_with(path, |new, path| fs::hard_link(new, path))
}

/// How a file gets a second name, which must be free.
type Link = fn(&Path, &Path) -> io::Result<()>;

fn create_with(path: &Path, link: Link) -> Result<Option<RedbBackend>, BackendError> {
    let failed = |error| io_error(path, "create", error);
    if path.file_name().is_none() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")));
    }
    let folder = folder_of(path);
    if folder.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let text = format!("its folder {} does not exist; make it first", folder.display());
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, text)));
    }
    // Also a link to nowhere, for which nothing needs to be made.
    if fs::symlink_metadata(path).is_ok() {
        return Ok(None);
    }
    let attempt = Attempt::make(path)?;
    // Its lock is held from here until the backend is dropped.
    let named = give_name(&attempt.name, path, link);
    if !matches!(named, Ok(true)) {
        // Before its lock is let go. The error that is reported matters more than one of tidying up.
        let _ = fs::remove_file(&attempt.name);
    }
    if !named.map_err(failed)? {
        return Ok(None);
    }
    sync_folder(folder).map_err(failed)?;
    // It is made and its name is durable, whatever else lies beside it.
    let _ = tidy_up(path);
    RedbBackend::new(attempt.database, path.into(), Some(attempt.file), None).map(Some)
}

/// A whole store under a name of its own, which is locked.
struct Attempt {
    name: PathBuf,
    file: StoreFile,
    database: Database,
}

impl Attempt {
    fn make(path: &Path) -> Result<Self, BackendError> {
        loop {
            let name = own_name(path);
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&name);
            let file = match file {
                Ok(file) => file,
                // Of somebody whose process has the same number, in another container or long ago.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(io_error(path, "create", error)),
            };
            let failed = |error| redb_error(path, "create", error);
            let file = StoreFile::new(file, path).map_err(failed)?;
            let database = Builder::new()
                .create_with_backend(file.clone())
                .map_err(redb::Error::from)
                .and_then(|database| {
                    initialize(&database, Some(chance::draw())).map(|()| database)
                });
            match database {
                Ok(database) if file.is_at(&name) => return Ok(Self { name, file, database }),
                // Somebody has taken it for a left-over before it was locked.
                Ok(_) | Err(redb::Error::DatabaseAlreadyOpen) => {}
                Err(error) => {
                    if file.is_at(&name) {
                        let _ = fs::remove_file(&name);
                    }
                    return Err(failed(error));
                }
            }
        }
    }
}

/// A name beside the store that this process has not used yet.
#[expect(
    clippy::disallowed_methods,
    reason = "keeps the names of two processes apart; nothing shows it"
)]
fn own_name(path: &Path) -> PathBuf {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    beside(path, &format!("{}.{attempt}", process::id()))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(NEW);
    name.push(".");
    name.push(end);
    path.with_file_name(name)
}

/// What stands behind the store's name in that of one that is being made.
const NEW: &str = ".new";

/// Gives it this name and takes away its own; false if something has this name.
fn give_name(new: &Path, path: &Path, link: Link) -> io::Result<bool> {
    match link(new, path) {
        Ok(()) => fs::remove_file(new).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // No hard links on this file system.
        Err(_) => rename_alone(new, path),
    }
}

/// Renames it unless something has that name, while nobody else who creates this store does the same.
fn rename_alone(new: &Path, path: &Path) -> io::Result<bool> {
    let lock_path = beside(path, "lock");
    let held = lock_file(&lock_path)?;
    let free =
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let renamed = if free { fs::rename(new, path).map(|()| true) } else { Ok(false) };
    // Where one file cannot be told from another it stays, so that all go on to mean the same one.
    if cfg!(unix) {
        let _ = fs::remove_file(&lock_path);
    }
    drop(held);
    renamed
}

/// Waits until this file is locked, and still is the one with this name.
fn lock_file(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.lock() {
            Ok(()) => {
                let own = Identity::of_file(&file)?;
                if Identity::of(path).is_ok_and(|found| found == own) {
                    return Ok(file);
                }
            }
            // Then nothing keeps two from opening the same store either.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
            Err(error) => return Err(error),
        }
    }
}

/// Removes what attempts to create this store have left that were cut short.
fn tidy_up(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        if is_left_over(&entry.file_name(), path) {
            // One that cannot be removed does not keep the others.
            let _ = remove_if_dead(&entry.path());
        }
    }
    Ok(())
}

/// Whether this is a name of such a left-over: `leases.redb.new.` and two numbers, or that of
/// earlier versions, `leases.redb.new`.
fn is_left_over(name: &OsStr, path: &Path) -> bool {
    let store = path.file_name().unwrap_or_default().as_encoded_bytes();
    let end = name.as_encoded_bytes().strip_prefix(store);
    let Some(end) = end.and_then(|end| end.strip_prefix(NEW.as_bytes())) else { return false };
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let mut parts = end.split(|byte| *byte == b'.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(b""), None, None, None) => true,
        (Some(b""), Some(process), Some(attempt), None) => number(process) && number(attempt),
        _ => false,
    }
}

fn remove_if_dead(left_over: &Path) -> Result<(), redb::Error> {
    let file = OpenOptions::new().read(true).write(true).open(left_over)?;
    let file = StoreFile::new(file, left_over)?;
    // In this order: who has locked it may remove it, so what has the name now keeps it.
    if file.lock_whole()? && file.is_at(left_over) {
        fs::remove_file(left_over)?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file, and the system keeps its names durable.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::backend::Backend;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "races threads, and demands the same of all orders"
    )]
    fn where_there_are_no_hard_links_one_of_three_creates_it() {
        let folder = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(3);
        for round in 0..100 {
            let folder = folder.path().join(round.to_string());
            fs::create_dir(&folder).unwrap();
            let path = folder.join("leases.redb");
            let race = || {
                barrier.wait();
                create_with(&path, no_links).unwrap()
            };
            let mut created: Vec<_> = thread::scope(|scope| {
                let threads = [(); 3].map(|()| scope.spawn(race));
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(created.len(), 1, "round {round}");
            assert!(created[0].file.as_ref().unwrap().is_at(&path));
            let stored = created[0].load().unwrap();
            created[0].commit(empty_after(&stored)).unwrap();
            let entries = fs::read_dir(&folder).unwrap();
            let entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            assert_eq!(entries, [path], "round {round}");
        }
    }

    #[test]
    fn only_names_of_its_own_are_left_overs() {
        let path = Path::new("folder/leases.redb");
        for name in ["leases.redb.new", "leases.redb.new.1.0", "leases.redb.new.4711.12"] {
            assert!(is_left_over(OsStr::new(name), path), "{name}");
        }
        for name in [
            "leases.redb",
            "leases.redb.old",
            "leases.redb.new.old",
            "leases.redb.new.1",
            "leases.redb.new.1.",
            "leases.redb.new.1.x",
            "leases.redb.new.1.0.bak",
            "leases.redb.new.lock",
            "other.redb.new",
            "leases.redb.newer",
        ] {
            assert!(!is_left_over(OsStr::new(name), path), "{name}");
        }
    }

    #[test]
    fn a_left_over_goes_only_if_nobody_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases.redb");
        let attempt = Attempt::make(&path).unwrap();
        remove_if_dead(&attempt.name).unwrap();
        assert!(attempt.file.is_at(&attempt.name));
        let Attempt { name, file, database } = attempt;
        drop((file, database));
        remove_if_dead(&name).unwrap();
        assert!(!name.exists());
    }

    fn no_links(_: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn empty_after(stored: &crate::backend::Stored) -> crate::Transaction {
        crate::Transaction {
            after: stored.applied,
            applied: stored.applied.next(),
            digest: stored.digest,
            reset: false,
            changes: Vec::new(),
        }
    }
}
