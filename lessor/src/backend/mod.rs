//! Where leases are kept: a trait with one load and one atomic, durable commit, and two stores.

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
/// Both calls may block; the [driver](crate::driver) makes them through
/// [`Runtime::run_blocking`](crate::driver::Runtime::run_blocking), one at a time.
///
/// One that keeps all transactions, and reads the state back from them:
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
    /// Reads everything that is stored.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from being read as a whole. Nothing stored was changed.
    fn load(&mut self) -> Result<Stored, BackendError>;

    /// Does all of the transaction or nothing, and returns when it would survive a loss of power.
    ///
    /// # Errors
    ///
    /// [`BackendError::OutOfOrder`] if the store does not stand at [`Transaction::after`]. After any
    /// error it is unknown whether the transaction is stored; the caller must commit nothing more.
    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError>;

    /// The leases that have ended although what the host keeps under their items could not be deleted,
    /// in the order of their ids. A backend that has none need not say so.
    fn undeleted(&self) -> Vec<Undeleted> {
        Vec::new()
    }

    /// Tries again to delete some of what is [undeleted](Self::undeleted); returns when that is durable.
    /// What cannot be deleted this time either is no error.
    ///
    /// # Errors
    ///
    /// As after a commit.
    fn delete_again(&mut self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// So that which backend it is can be decided while the program runs.
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

/// Items of a lease that has ended that are still there in the tables of the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undeleted {
    /// The lease that has ended; its id may be that of a new one by now.
    pub lease: LeaseId,
    /// How many items.
    pub items: usize,
    /// Why the last attempt to delete them failed.
    pub reason: String,
}

/// What a [`Backend`] holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// The last entry of the log that is in it.
    pub applied: LogIndex,
    /// The digest that was stored with it, which the reader must compare with its own.
    pub digest: Digest,
    /// What tells the ids that are picked on this store from those of other stores, if
    /// [`Config::id_salt`](crate::Config::id_salt) does not: see there. Zero if there is none.
    pub id_salt: u64,
    /// All leases and items.
    pub snapshot: Snapshot,
}

/// Why a store cannot be used.
///
/// Each message is one sentence that says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The file is no lease store.
    #[error("{}: not a lease store ({found}); name another file, or move this one away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found instead.
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
        /// The format it has.
        found: u64,
        /// The newest format that this version reads.
        supported: u64,
    },
    /// The store is a lease store, but its content is not what was written.
    #[error("{}: damaged lease store ({what}); restore it from a copy, nothing was changed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// While it was open, the store was removed, renamed, overwritten or put back by somebody else, so
    /// what is committed would be gone at the next opening. It is noticed by a commit, which fails;
    /// what was committed before it was done, and may be gone with the file.
    #[error(
        "{}: the lease store was taken away while it was open ({what}); find out by whom, and open it again",
        path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// What has become of it.
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
        /// What was tried, as a verb: open, create, read, write.
        doing: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A transaction that does not follow the last one: a bug of the caller.
    #[error("transaction after {after} refused: the lease store stands at {stored}")]
    OutOfOrder {
        /// Where the transaction starts.
        after: LogIndex,
        /// Where the store stands.
        stored: LogIndex,
    },
    /// What the backend of a host says, by [`BackendError::other`].
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl BackendError {
    /// An error of a backend that has other things to say than these: any error, or a sentence.
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
