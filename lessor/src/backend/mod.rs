//! Stores of leases: a trait with a load and an atomic, durable commit, and two implementations.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::{Digest, LeaseId, LogIndex, Snapshot, Transaction};

mod memory;
#[cfg(feature = "redb")]
mod redb;
mod retry;

pub use self::memory::MemoryBackend;
#[cfg(feature = "redb")]
pub use self::redb::RedbBackend;
pub use self::retry::DeletionRetry;

/// A durable store of one member's leases.
///
/// Its calls may block. The [driver](crate::driver) makes them through
/// [`Runtime::run_blocking`](crate::driver::Runtime::run_blocking), one at a time.
///
/// A store that keeps all transactions, and reads the state back from them:
///
/// ```
/// use std::collections::BTreeMap;
///
/// use lessor::backend::{Backend, BackendError, Stored};
/// use lessor::{Change, LogIndex, Snapshot, Transaction, Write};
///
/// #[derive(Default)]
/// struct Journal(Vec<Transaction>);
///
/// impl Backend for Journal {
///     fn load(&mut self) -> Result<Stored, BackendError> {
///         let Some(last) = self.0.last() else { return Ok(Stored::default()) };
///         let (mut leases, mut items) = (BTreeMap::new(), BTreeMap::new());
///         for transaction in &self.0 {
///             if transaction.reset {
///                 leases.clear();
///                 items.clear();
///             }
///             for change in &transaction.changes {
///                 match change {
///                     Change::Write(Write::PutLease(record)) => {
///                         leases.insert(record.id, *record);
///                     }
///                     Change::Write(Write::DeleteLease(id)) => {
///                         leases.remove(id);
///                     }
///                     Change::Write(Write::PutItem(item, id)) => {
///                         items.insert(item.clone(), *id);
///                     }
///                     Change::Write(Write::DeleteItem(item)) => {
///                         items.remove(item);
///                     }
///                     Change::RangeDelete(delete) => {
///                         items.retain(|item, _| !delete.items.contains(item));
///                     }
///                 }
///             }
///         }
///         let snapshot = Snapshot {
///             leases: leases.into_values().collect(),
///             items: items.into_iter().collect(),
///         };
///         Ok(Stored { applied: last.applied, digest: last.digest, id_salt: 0, snapshot })
///     }
///
///     fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
///         let stored = self.0.last().map_or(LogIndex(0), |last| last.applied);
///         if transaction.after != stored {
///             return Err(BackendError::OutOfOrder { after: transaction.after, stored });
///         }
///         self.0.push(transaction); // A durable one writes and syncs here.
///         Ok(())
///     }
/// }
///
/// let mut journal = Journal::default();
/// assert_eq!(journal.load()?, Stored::default());
/// # Ok::<(), BackendError>(())
/// ```
pub trait Backend: Send + 'static {
    /// Reads the whole store.
    ///
    /// # Errors
    ///
    /// Any fault that prevents reading all of it. Nothing stored was changed.
    fn load(&mut self) -> Result<Stored, BackendError>;

    /// Stores all of the transaction or nothing, and returns when it would survive a loss of power.
    ///
    /// # Errors
    ///
    /// [`BackendError::OutOfOrder`] if the store is not at [`Transaction::after`]. After any error it is
    /// unknown whether the transaction is stored, and the caller must commit nothing more.
    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError>;

    /// The ended leases whose keys could not be deleted from the host's tables, in the order of their ids.
    /// The default is an empty list.
    fn undeleted(&self) -> Vec<Undeleted> {
        Vec::new()
    }

    /// Tries again to delete some of the [undeleted](Self::undeleted) keys, and returns when that is
    /// durable. If a key still cannot be deleted, that is no error.
    ///
    /// # Errors
    ///
    /// Those of a [commit](Self::commit), with the same consequences.
    fn delete_again(&mut self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Allows the choice of a backend at run time.
impl<B: Backend + ?Sized> Backend for Box<B> {
    fn load(&mut self) -> Result<Stored, BackendError> {
        (**self).load()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        (**self).commit(transaction)
    }

    fn undeleted(&self) -> Vec<Undeleted> {
        (**self).undeleted()
    }

    fn delete_again(&mut self) -> Result<(), BackendError> {
        (**self).delete_again()
    }
}

/// The items of an ended lease whose keys are still in the host's tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undeleted {
    /// The ended lease. A new lease may have the same id by now.
    pub lease: LeaseId,
    /// The number of items.
    pub items: usize,
    /// Why the last attempt to delete them failed.
    pub reason: String,
}

/// The content of a [`Backend`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// The index of the last log entry that it includes.
    pub applied: LogIndex,
    /// The digest that was stored with the state. The reader must compare it with its own.
    pub digest: Digest,
    /// The salt of the ids that are picked on this store, unless
    /// [`Config::id_salt`](crate::Config::id_salt) is set. Zero if the store keeps none.
    pub id_salt: u64,
    /// All leases and items.
    pub snapshot: Snapshot,
}

/// Why a store cannot be used.
///
/// Each message is one sentence: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The file is not a lease store.
    #[error("{}: not a lease store ({found}); name another file, or move this one away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The kind of file that was found.
        found: String,
    },
    /// The store was written by a newer version of this crate.
    #[error(
        "{}: lease store of format {found}, but this version reads up to format {supported}; use a newer lessor",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version reads.
        supported: u64,
    },
    /// The file is a lease store, but not with the content that was written.
    #[error("{}: damaged lease store ({what}); restore it from a copy, nothing was changed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        what: String,
    },
    /// While the store was open, its file was removed, renamed, overwritten or restored from a copy, so
    /// further commits would be lost at the next opening. A commit notices this and fails. Earlier commits
    /// succeeded, but may be gone with the file.
    #[error(
        "{}: the lease store was taken away while it was open ({what}); find out by whom, and open it again",
        path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        what: String,
    },
    /// Somebody else has the store open.
    #[error("{}: the lease store is open elsewhere; stop the other process first", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot {doing} the lease store: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation that failed: open, create, read or write.
        doing: &'static str,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The transaction does not follow the last one, which is a bug of the caller.
    #[error("transaction after {after} refused: the lease store stands at {stored}")]
    OutOfOrder {
        /// The index that the transaction starts at.
        after: LogIndex,
        /// The index that the store is at.
        stored: LogIndex,
    },
    /// An error of a host's own backend, made by [`BackendError::other`].
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl BackendError {
    /// Wraps an error of a host's own backend: any error, or a sentence.
    ///
    /// ```
    /// use lessor::backend::BackendError;
    ///
    /// let error = BackendError::other("node 3 has no quorum; start another one");
    /// assert_eq!(error.to_string(), "node 3 has no quorum; start another one");
    /// ```
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}
