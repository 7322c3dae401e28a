//! The file of a store: locked once for the whole of an opening, and watched while it is open.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// The file of a store; clones share its locks.
///
/// redb opens a file that is looked at first more than once. Were the locks let go in between, two
/// that open a store at once could each meet the other's, and nobody would get it.
#[derive(Clone, Debug)]
pub(super) struct StoreFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Another handle of the same open file, to ask the system which one it is.
    handle: File,
    file: FileBackend,
    /// Whole, because the program may change its folder.
    path: PathBuf,
    /// What is locked, so that it can be asked for again.
    locks: Mutex<Vec<Range>>,
    /// What was last written to the head of the file, once that is watched.
    head: Mutex<Option<[u8; HEAD]>>,
}

type Range = (Bound<u64>, Bound<u64>);

/// So much of the file, from its beginning, changes with each commit of redb, and never twice to the
/// same: in its header are the numbers and checksums of the last two transactions.
const HEAD: usize = 320;

impl StoreFile {
    pub(super) fn new(file: File, path: &Path) -> Result<Self, redb::Error> {
        Ok(Self(Arc::new(Inner {
            handle: file.try_clone()?,
            file: FileBackend::new(file)?,
            path: std::path::absolute(path)?,
            locks: Mutex::default(),
            head: Mutex::default(),
        })))
    }

    /// Locks it as a whole, for who has not the wish to open it; false if somebody has it open.
    pub(super) fn lock_whole(&self) -> Result<bool, redb::Error> {
        super::lock_whole(self)
    }

    /// From now on nobody else may write to it.
    pub(super) fn watch(&self) -> io::Result<()> {
        let mut head = [0; HEAD];
        self.0.file.read(0, &mut head)?;
        *self.head() = Some(head);
        Ok(())
    }

    /// What has become of it, if that is no longer what this process made of it.
    pub(super) fn replaced(&self) -> io::Result<Option<&'static str>> {
        if let Some(what) = self.renamed() {
            return Ok(Some(what));
        }
        let head = self.head();
        self.overwritten(head.as_ref())
    }

    /// Whether its name is no longer its own. Where the system does not let us look, it is.
    pub(super) fn renamed(&self) -> Option<&'static str> {
        match names(&self.0.path, &self.0.handle) {
            Ok(true) => None,
            Ok(false) => Some("another file has its name"),
            Err(error) if is_missing(&error) => Some("its file was removed or renamed"),
            // For instance a program that has given up the right to look into the folder.
            Err(_) => None,
        }
    }

    /// Whether this path names this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        names(path, &self.0.handle).is_ok_and(|same| same)
    }

    fn overwritten(&self, head: Option<&[u8; HEAD]>) -> io::Result<Option<&'static str>> {
        let Some(head) = head else { return Ok(None) };
        let mut found = [0; HEAD];
        match self.0.file.read(0, &mut found) {
            Ok(()) if found == *head => Ok(None),
            Ok(()) => Ok(Some(OVERWRITTEN)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(OVERWRITTEN)),
            Err(error) => Err(error),
        }
    }

    fn head(&self) -> MutexGuard<'_, Option<[u8; HEAD]>> {
        self.0.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, Vec<Range>> {
        self.0.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const OVERWRITTEN: &str = "something else was written to its file";

impl StorageBackend for StoreFile {
    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.file.sync_data()
    }

    /// Before the head is written to it must be what was written last: what somebody else has put
    /// there would be overwritten, and nobody would notice.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut head = self.head();
        let within = usize::try_from(offset).unwrap_or(HEAD).min(HEAD);
        let part = data.len().min(HEAD - within);
        if part > 0 && self.overwritten(head.as_ref())?.is_some() {
            return Err(io::Error::other(OVERWRITTEN));
        }
        self.0.file.write(offset, data)?;
        if let Some(head) = &mut *head {
            head[within..within + part].copy_from_slice(&data[..part]);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.locks().clear();
        self.0.file.close()
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        let mut locks = self.locks();
        if locks.contains(&(start, end)) {
            return Ok(true);
        }
        let locked = self.0.file.try_lock_range(start, end)?;
        if locked {
            locks.push((start, end));
        }
        Ok(locked)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<(), redb::BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.locks().retain(|range| *range != (start, end));
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether this path names this open file.
#[cfg(unix)]
pub(super) fn names(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let named = fs::metadata(path)?;
    let open = file.metadata()?;
    Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
}

/// Elsewhere std cannot tell one file from another; that there is one is all it can say.
#[cfg(not(unix))]
pub(super) fn names(path: &Path, _: &File) -> io::Result<bool> {
    fs::metadata(path).map(|named| named.is_file())
}
