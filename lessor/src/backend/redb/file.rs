//! The file of a store: locked once for the whole of an opening, and watched while it is open.

use std::fs::{self, File, Metadata};
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
    identity: Identity,
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
            identity: Identity::of_file(&file)?,
            file: FileBackend::new(file)?,
            path: std::path::absolute(path)?,
            locks: Mutex::default(),
            head: Mutex::default(),
        })))
    }

    /// Locks it as a whole, for who has not the wish to open it; false if somebody has it open.
    pub(super) fn lock_whole(&self) -> Result<bool, redb::Error> {
        super::open::lock_whole(self)
    }

    /// From now on nobody else may write to it.
    pub(super) fn watch(&self) -> io::Result<()> {
        let mut head = [0; HEAD];
        self.0.file.read(0, &mut head)?;
        *self.head() = Some(head);
        Ok(())
    }

    /// Whether somebody else has written to it.
    pub(super) fn overwritten(&self) -> io::Result<Option<&'static str>> {
        self.differs_from(self.head().as_ref())
    }

    /// Whether its name is no longer its own. Where the system does not let us look, it is.
    pub(super) fn renamed(&self) -> Option<&'static str> {
        match Identity::of(&self.0.path) {
            Ok(found) if found == self.0.identity => None,
            Ok(_) => Some("another file has its name"),
            Err(error) if is_missing(&error) => Some("its file was removed or renamed"),
            // For instance a program that has given up the right to look into the folder.
            Err(_) => None,
        }
    }

    /// Whether this path names this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        Identity::of(path).is_ok_and(|found| found == self.0.identity)
    }

    fn differs_from(&self, head: Option<&[u8; HEAD]>) -> io::Result<Option<&'static str>> {
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
        if part > 0 && self.differs_from(head.as_ref())?.is_some() {
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

/// Which file of all that there are one is, for as long as somebody has it open: its device and its inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity(u64, u64);

impl Identity {
    /// Of the file that this path names.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(identity) = linux::identity(rustix::fs::CWD, path)? {
            return Ok(identity);
        }
        fs::metadata(path).map(|metadata| Self::in_metadata(&metadata))
    }

    /// Of this open file.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(identity) = linux::identity(file, Path::new(""))? {
            return Ok(identity);
        }
        file.metadata().map(|metadata| Self::in_metadata(&metadata))
    }

    #[cfg(unix)]
    fn in_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// Elsewhere std cannot tell one file from another; that there is one is all it can say.
    #[cfg(not(unix))]
    fn in_metadata(metadata: &Metadata) -> Self {
        Self(metadata.is_file().into(), 0)
    }
}

/// Without asking for the times of the file, as std does: since version 6.13 Linux then gives the next
/// write a new time, which the next sync has to write too, at half its price once more.
#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsFd;

    use rustix::fs::{AtFlags, StatxFlags, statx};
    use rustix::io::Errno;

    use super::{Identity, Path, io};

    /// `None` if the system cannot be asked so.
    pub(super) fn identity(at: impl AsFd, path: &Path) -> io::Result<Option<Identity>> {
        match statx(at, path, AtFlags::EMPTY_PATH, StatxFlags::INO) {
            Ok(found) => {
                let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
                Ok(Some(Identity(device, found.stx_ino)))
            }
            Err(Errno::NOSYS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
