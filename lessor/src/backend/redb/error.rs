//! What redb and the system say, as errors of a backend.

use std::any::Any;
use std::io;
use std::path::Path;

use super::BackendError;

pub(super) fn redb_error(
    path: &Path,
    doing: &'static str,
    error: impl Into<redb::Error>,
) -> BackendError {
    use redb::Error;
    let error = error.into();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "redb has many errors that only a bug leads to, and gets more"
    )]
    match error {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => {
            BackendError::Locked { path: path.into() }
        }
        Error::Corrupted(what) => damaged(path, format!("redb: {what}")),
        Error::UpgradeRequired(found) if found > REDB_FORMAT => BackendError::Newer {
            path: path.into(),
            found: found.into(),
            supported: REDB_FORMAT.into(),
        },
        Error::UpgradeRequired(found) => {
            foreign(path, format!("a redb file of the old format {found}"))
        }
        Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TypeDefinitionChanged { .. }
        | Error::TableDoesNotExist(_) => damaged(path, format!("redb: {error}")),
        // redb says so of a file that does not begin with its magic number.
        Error::Io(error) if doing == "open" && error.kind() == io::ErrorKind::InvalidData => {
            foreign(path, "no redb file")
        }
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged(path, "the file ends too early")
        }
        Error::Io(error) => io_error(path, doing, error),
        error => io_error(path, doing, io::Error::other(error)),
    }
}

/// The file format of redb 4 (redb: `FILE_FORMAT_VERSION3`).
pub(super) const REDB_FORMAT: u8 = 3;

pub(super) fn io_error(path: &Path, doing: &'static str, error: io::Error) -> BackendError {
    BackendError::Io { path: path.into(), doing, error }
}

pub(super) fn foreign(path: &Path, found: impl Into<String>) -> BackendError {
    BackendError::Foreign { path: path.into(), found: found.into() }
}

pub(super) fn replaced(path: &Path, what: impl Into<String>) -> BackendError {
    BackendError::Replaced { path: path.into(), what: what.into() }
}

pub(super) fn damaged(path: &Path, what: impl Into<String>) -> BackendError {
    BackendError::Damaged { path: path.into(), what: what.into() }
}

/// The message of a panic.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked")
}
