//! The store on redb: one file with three tables, one durable redb transaction a commit.
//!
//! The one invariant: a file is written to only after everything in it was found whole. Whatever is
//! refused is left as it was, byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, StorageBackend, WriteTransaction};

use self::error::{io_error, redb_error, replaced};
use self::file::StoreFile;
use self::open::{discard_half_created, is_bare, open_file};
use self::read::{Meta, begin_read, read, read_meta};
use self::tables::{META, Tables, begin_write, check_meta, initialize, write_meta};
use super::{Backend, BackendError, Stored, Undeleted};
use crate::{Change, Digest, LeaseId, LogIndex, RangeDelete, Transaction, Write};

mod create;
mod error;
mod file;
mod open;
mod overlay;
mod read;
mod tables;
mod undeleted;

/// A durable [`Backend`] in one file of the embedded store [redb](redb).
///
/// The tables `lessor.meta`, `lessor.leases`, `lessor.items` and, if it was ever needed,
/// `lessor.undeleted` belong to this crate. A host may keep its own tables in the same file, through
/// [`database`](Self::database), and have its rows deleted together with their lease, through
/// [`range_deleter`](Self::range_deleter).
///
/// After a commit failed, for any reason except [`BackendError::OutOfOrder`], every call fails. Only
/// opening the store again shows whether the transaction is stored.
///
/// ```
/// use lessor::LogIndex;
/// use lessor::backend::{Backend, RedbBackend};
///
/// let folder = tempfile::tempdir()?;
/// let mut backend = RedbBackend::open(folder.path().join("leases.redb"))?;
/// assert_eq!(backend.load()?.applied, LogIndex(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedbBackend {
    database: Arc<Database>,
    path: PathBuf,
    /// Its file, unless it is in storage of the host.
    file: Option<StoreFile>,
    /// What was written to `lessor.meta` last.
    applied: LogIndex,
    digest: Digest,
    /// A store of an earlier version has none in its file.
    id_salt: Option<u64>,
    /// Whether the file has it; if not, it gets it with the next commit.
    has_id_salt: bool,
    /// What was read to open it, for the first load; a commit makes it old.
    stored: Option<Stored>,
    /// Set while a commit runs, so that one that fails or panics leaves it set.
    poisoned: bool,
    undeleted: undeleted::Pending,
    /// The lease whose items were tried again last.
    tried: Option<LeaseId>,
    /// Behind the database, so that who sees it dropped finds the file released.
    range_deleter: Option<RangeDeleter>,
}

impl RedbBackend {
    /// Opens the store in this file, or creates it if there is no such file.
    ///
    /// An existing file is first read completely, and redb's repairs are kept in memory. So opening costs
    /// time and memory for the size of the file, and a refused file is not changed. The first
    /// [`load`](Backend::load) returns what was read and costs nothing. If redb panics on a damaged file,
    /// the file is refused too, but the message of the panic appears on standard error; with
    /// `panic = "abort"` the process ends.
    ///
    /// A new store is created as `<file>.new.<process>.<number>` and renamed when it is complete. Leftovers
    /// of interrupted attempts are removed then. If several create the same store at once, in one process
    /// or in many, one gets it, and all others find it [locked](BackendError::Locked).
    ///
    /// # Errors
    ///
    /// - [`BackendError::Foreign`]: the file is something else, or empty.
    /// - [`BackendError::Newer`]: its format is newer than this version's.
    /// - [`BackendError::Damaged`]: it is a lease store, but not with the content that was written.
    /// - [`BackendError::Locked`]: it is open already, in this process or another.
    /// - [`BackendError::Io`]: the system refuses to open, create, read or write it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        let path = path.as_ref();
        for _ in 0..ATTEMPTS {
            if let Some(store) = open_file(path)? {
                return Ok(store);
            }
            if let Some(store) = create::create(path)? {
                return Ok(store);
            }
        }
        let text = "something else takes or loses its name each time, or it is a link to nowhere; look, and open it again";
        Err(io_error(path, "create", io::Error::new(io::ErrorKind::AlreadyExists, text)))
    }

    /// Opens the store in storage of the host, or creates it if the storage is empty.
    ///
    /// Unlike [`open`](Self::open) it lets redb repair, and so write, before the content is validated, and
    /// it does not catch redb's panics. A creation that was interrupted by a loss of power is started
    /// again. Error messages call the storage `<storage>`.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), except that only [`load`](Backend::load) validates rows.
    pub fn with_storage(storage: impl StorageBackend) -> Result<Self, BackendError> {
        let path = Path::new("<storage>");
        discard_half_created(&storage, path)?;
        // The file that a crash leaves is verified in any case; this verifies a closed one as well,
        // because redb panics on some damage that it meets later.
        let database = Builder::new()
            .set_check_integrity_on_open(true)
            .create_with_backend(storage)
            .map_err(|error| redb_error(path, "open", error))?;
        if is_bare(&database).map_err(|error| redb_error(path, "read", error))? {
            initialize(&database, None).map_err(|error| redb_error(path, "create", error))?;
        }
        Self::new(database, path.into(), None, None)
    }

    /// Gives a salt to a store that has none, with the next commit. See [`Stored::id_salt`].
    ///
    /// [`open`](Self::open) draws one from the system when it creates a store, and when it opens a store of
    /// an earlier version. [`with_storage`](Self::with_storage) draws none.
    #[must_use]
    pub fn with_id_salt(mut self, id_salt: u64) -> Self {
        self.id_salt = self.id_salt.or(Some(id_salt));
        self
    }

    /// Sets a function of the host that deletes the keys of a revoked lease, in the same transaction.
    ///
    /// It is called once for each [`Change::RangeDelete`], in order, before the rows of the items are
    /// removed. It may use every table except `lessor.*`, and must do the same on every member. Its changes
    /// are committed together with the rest, or not at all (etcd: `RangeDeleter`).
    ///
    /// If it returns an error or panics, its changes are undone and the commit goes on without them. The
    /// lease ends as the log says, and its items are kept in `lessor.undeleted`.
    /// [`undeleted`](Backend::undeleted) lists them, and [`delete_again`](Backend::delete_again) tries
    /// again, also after a restart. So the function may be called again for the same items, or for some of
    /// them: an item that was attached to a lease meanwhile is left out. Delete by the items, because the
    /// id of the lease may have been granted again. After three failures in one commit the other deletions
    /// in it are kept without an attempt.
    ///
    /// A second function replaces the first. The default does nothing.
    #[must_use]
    pub fn range_deleter(
        mut self,
        deleter: impl FnMut(&WriteTransaction, &RangeDelete) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.range_deleter = Some(Box::new(deleter));
        self
    }

    /// The redb database, for the host's own tables in the same file. It can be used while a driver has the
    /// store. The file is released when both this and the store are dropped.
    ///
    /// Do not change the tables `lessor.*`, which would damage the store. End transactions soon: while a
    /// write transaction is open, commits wait; while a read transaction is open, redb frees nothing that
    /// it could read, so the file grows with each commit and does not shrink by itself.
    #[must_use]
    pub fn database(&self) -> Arc<Database> {
        self.database.clone()
    }

    fn new(
        database: Database,
        path: PathBuf,
        file: Option<StoreFile>,
        stored: Option<Stored>,
    ) -> Result<Self, BackendError> {
        if let Some(file) = &file {
            file.watch().map_err(|error| io_error(&path, "read", error))?;
        }
        let Meta { applied, digest, id_salt } = read_meta(&begin_read(&database, &path)?, &path)?;
        let undeleted = undeleted::Pending::read(&begin_read(&database, &path)?)
            .map_err(|error| redb_error(&path, "read", error))?;
        // Unless somebody has written to the file since it was read.
        let stored = stored.filter(|stored| (stored.applied, stored.digest) == (applied, digest));
        let database = Arc::new(database);
        Ok(Self {
            database,
            path,
            file,
            applied,
            digest,
            id_salt,
            has_id_salt: id_salt.is_some(),
            stored,
            poisoned: false,
            undeleted,
            tried: None,
            range_deleter: None,
        })
    }

    fn check_poisoned(&self, doing: &'static str) -> Result<(), BackendError> {
        if !self.poisoned {
            return Ok(());
        }
        let error = io::Error::other("an earlier write failed; open the store again");
        Err(io_error(&self.path, doing, error))
    }

    /// Writes the transaction. What the deleter is known to fail for is kept for later.
    fn write(
        &mut self,
        transaction: &Transaction,
        given_up: &BTreeMap<usize, String>,
    ) -> Result<(), Unwritten> {
        let Self { database, path, id_salt, range_deleter, undeleted, .. } = self;
        let failed = |error: redb::Error| redb_error(path, "write", error);
        let write = begin_write(database, path)?;
        let mut meta = write.open_table(META).map_err(|error| failed(error.into()))?;
        check_meta(&meta, path, self.applied, self.digest)?;
        let id_salt = id_salt.filter(|_| !self.has_id_salt);
        write_meta(&mut meta, transaction.applied, transaction.digest, id_salt)
            .map_err(|error| failed(error.into()))?;
        drop(meta);
        let mut undeleted_then = undeleted.clone();
        let mut tables = Tables::of(&write);
        if transaction.reset {
            tables.clear().map_err(failed)?;
            undeleted_then.clear(&write).map_err(failed)?;
        }
        for (position, change) in transaction.changes.iter().enumerate() {
            if let (Change::RangeDelete(delete), Some(deleter)) = (change, &mut *range_deleter) {
                // Closed meanwhile: the deleter can use the transaction as if it were its own.
                drop(tables);
                match given_up.get(&position) {
                    Some(reason) => undeleted_then.keep(&write, delete, reason).map_err(failed)?,
                    None => undeleted::call(deleter, &write, delete)
                        .map_err(|reason| Unwritten::Undeleted { position, reason })?,
                }
                tables = Tables::of(&write);
            }
            if let Change::Write(Write::PutItem(item, _)) = change {
                undeleted_then.forget(&write, item).map_err(failed)?;
            }
            tables.apply(change).map_err(failed)?;
        }
        drop(tables);
        write.commit().map_err(|error| failed(error.into()))?;
        *undeleted = undeleted_then;
        Ok(())
    }

    /// Writes the transaction, and if the deleter fails for a lease, begins anew without that one.
    fn write_what_can_be(&mut self, transaction: &Transaction) -> Result<(), BackendError> {
        let mut given_up = BTreeMap::new();
        loop {
            match self.write(transaction, &given_up) {
                Ok(()) => return Ok(()),
                Err(Unwritten::Failed(error)) => return Err(error),
                Err(Unwritten::Undeleted { position, reason }) => {
                    given_up.insert(position, reason);
                    if given_up.len() == MOST_FAILURES {
                        // Were each tried, a deleter that is broken would cost the square of them.
                        for (position, change) in transaction.changes.iter().enumerate() {
                            if matches!(change, Change::RangeDelete(_)) {
                                let reason = "not tried, because too many others failed".to_owned();
                                given_up.entry(position).or_insert(reason);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Tries again to delete the items of one lease, in a transaction of its own.
    fn delete_again_of(&mut self, lease: LeaseId) -> Result<(), BackendError> {
        let Self { database, path, range_deleter, undeleted, .. } = self;
        let Some(deleter) = range_deleter else { return Ok(()) };
        let failed = |error: redb::Error| redb_error(path, "write", error);
        let write = begin_write(database, path)?;
        let meta = write.open_table(META).map_err(|error| failed(error.into()))?;
        check_meta(&meta, path, self.applied, self.digest)?;
        drop(meta);
        let delete = undeleted::Pending::take(&write, lease).map_err(failed)?;
        let deleted = undeleted::call(deleter, &write, &delete);
        if deleted.is_ok() {
            write.commit().map_err(|error| failed(error.into()))?;
        }
        undeleted.note(lease, deleted);
        Ok(())
    }

    /// Does this unless the file was taken away, before or meanwhile.
    ///
    /// Before, because what was put in its place would be written over, which a new file under its name
    /// is not. After, because what is written to a file that has lost its name meanwhile must not be
    /// acknowledged. After a failure both, because it is better told by its cause.
    fn watched(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        self.check_file(StoreFile::overwritten)?;
        let done = work(self);
        self.check_file(|file| Ok(file.renamed()))?;
        if done.is_err() {
            self.check_file(StoreFile::overwritten)?;
        }
        done
    }

    /// Whether the file still is what this backend has made of it.
    fn check_file(
        &self,
        look: impl FnOnce(&StoreFile) -> io::Result<Option<&'static str>>,
    ) -> Result<(), BackendError> {
        match self.file.as_ref().map_or(Ok(None), look) {
            Ok(None) => Ok(()),
            Ok(Some(what)) => Err(replaced(&self.path, what)),
            Err(error) => Err(io_error(&self.path, "read", error)),
        }
    }
}

impl Backend for RedbBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.check_poisoned("read")?;
        let stored = match self.stored.take() {
            Some(stored) => stored,
            None => read(&self.database, &self.path)?,
        };
        Ok(Stored { id_salt: self.id_salt.unwrap_or_default(), ..stored })
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.check_poisoned("write")?;
        if transaction.after != self.applied {
            let (after, stored) = (transaction.after, self.applied);
            return Err(BackendError::OutOfOrder { after, stored });
        }
        self.stored = None;
        self.poisoned = true;
        self.watched(|store| store.write_what_can_be(&transaction))?;
        self.poisoned = false;
        self.applied = transaction.applied;
        self.digest = transaction.digest;
        self.has_id_salt = self.id_salt.is_some();
        Ok(())
    }

    fn undeleted(&self) -> Vec<Undeleted> {
        self.undeleted.all()
    }

    fn delete_again(&mut self) -> Result<(), BackendError> {
        self.check_poisoned("write")?;
        self.poisoned = true;
        self.watched(|store| {
            for lease in store.undeleted.behind(store.tried, MOST_TRIED) {
                store.delete_again_of(lease)?;
                store.tried = Some(lease);
            }
            Ok(())
        })?;
        self.poisoned = false;
        Ok(())
    }
}

impl fmt::Debug for RedbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbBackend")
            .field("path", &self.path)
            .field("applied", &self.applied)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// Why a transaction is not written.
enum Unwritten {
    /// The deleter has failed for the change at this position.
    Undeleted {
        position: usize,
        reason: String,
    },
    Failed(BackendError),
}

impl From<BackendError> for Unwritten {
    fn from(error: BackendError) -> Self {
        Self::Failed(error)
    }
}

/// After so many failures in one commit the deleter is not asked any more.
const MOST_FAILURES: usize = 3;
/// The most leases whose items are tried again at a time, so that no commit waits for long.
const MOST_TRIED: usize = 16;

type RangeDeleter =
    Box<dyn FnMut(&WriteTransaction, &RangeDelete) -> Result<(), String> + Send + 'static>;

/// How often an opening is begun anew when the name of the store is given and taken under it.
const ATTEMPTS: usize = 16;
