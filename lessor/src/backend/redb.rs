//! The store on redb: one file with three tables, one durable redb transaction a commit.
//!
//! The one invariant: a file is written to only after everything in it was found whole. Whatever is
//! refused is left as it was, byte for byte.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, Table, TableDefinition, TableError, TableHandle, WriteTransaction,
};

use self::file::StoreFile;
use self::overlay::{BLOCK, Overlay};
use super::{Backend, BackendError, Stored, Undeleted};
use crate::{
    Change, Digest, Item, LeaseId, LeaseRecord, LogIndex, RangeDelete, Snapshot, Transaction, Ttl,
    Write, chance,
};

mod create;
mod file;
mod overlay;
mod undeleted;

/// A durable [`Backend`] in one file of the embedded store [redb](redb).
///
/// The tables `lessor.meta`, `lessor.leases`, `lessor.items` and, if it was ever needed,
/// `lessor.undeleted` are the crate's own. A host may keep tables of its own beside them, through [`database`](Self::database), and have its rows
/// deleted together with the lease that held them, through [`range_deleter`](Self::range_deleter).
///
/// After a commit failed, for whatever reason but [`BackendError::OutOfOrder`], everything fails:
/// whether the transaction is stored is known only after the store was opened again.
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
    /// An existing file is read as a whole first, and whatever redb would repair is repaired in
    /// memory only; so opening takes time and memory for its size, and a file that is refused stays
    /// as it was. What was read is kept for the first [`load`](Backend::load), which costs nothing
    /// then. A file redb stumbles over is refused as well, though with the message of a panic
    /// on standard error; with `panic = "abort"` it ends the process.
    ///
    /// A new store is made beside it, in `<file>.new.<process>.<number>`, and gets its name only when
    /// it is whole. What an attempt that was cut short has left there is removed then. Of several that
    /// create the same store at once, in one process or in many, one gets it, and all others find it
    /// [locked](BackendError::Locked).
    ///
    /// # Errors
    ///
    /// - [`BackendError::Foreign`]: the file is something else; also if it is empty.
    /// - [`BackendError::Newer`]: its format is newer than this version's.
    /// - [`BackendError::Damaged`]: it is a lease store, but not what was written.
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

    /// Opens the store in storage that the host provides, or creates it if that is empty.
    ///
    /// Unlike [`open`](Self::open) this lets redb repair, and so write, before the content is
    /// validated, and it does not catch redb's panics. A creation that lost its power half-way is
    /// begun anew. Messages call the storage `<storage>`.
    ///
    /// # Errors
    ///
    /// The same as of [`open`](Self::open), except that rows are validated by
    /// [`load`](Backend::load) only.
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

    /// Gives this salt to a store that has none, with the next commit: see [`Stored::id_salt`].
    ///
    /// A store that [`open`](Self::open) creates draws one from the system, and so does one of an
    /// earlier version when it is opened; in [storage of the host](Self::with_storage) nothing is drawn.
    #[must_use]
    pub fn with_id_salt(mut self, id_salt: u64) -> Self {
        self.id_salt = self.id_salt.or(Some(id_salt));
        self
    }

    /// Has the host delete what it keeps under the items of a revoked lease, in the same transaction.
    ///
    /// It is called once for each [`Change::RangeDelete`], in order, before the rows of the items are
    /// removed, and may use every table but `lessor.*`. What it does is done if and only if the whole
    /// commit is. It must do the same on every member (etcd: `RangeDeleter`).
    ///
    /// If it returns an error or panics, what it has done is undone, and the commit is done without it:
    /// the lease ends as the log says, and its items are kept in `lessor.undeleted`, listed by
    /// [`undeleted`](Backend::undeleted) and tried again by [`delete_again`](Backend::delete_again), also
    /// after a restart. So it can be called again for the same items, or later for some of them; an
    /// item that was attached to a lease meanwhile is not among them any more. Delete by the items: the
    /// id of the lease may have been granted anew by then. After three failures in one commit the
    /// others in it are kept untried.
    ///
    /// A later deleter takes the place of an earlier one; the default does nothing.
    #[must_use]
    pub fn range_deleter(
        mut self,
        deleter: impl FnMut(&WriteTransaction, &RangeDelete) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.range_deleter = Some(Box::new(deleter));
        self
    }

    /// The redb database, for tables of the host's own in the same file, also while a driver has the
    /// store. The file is released when this and the store are gone.
    ///
    /// A host that changes the tables `lessor.*` damages the store. While it has a write transaction
    /// open, a commit waits. While it has a read transaction open, nothing that this could read is freed,
    /// so the file grows with each commit and does not shrink again by itself: end them soon.
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
        for (place, change) in transaction.changes.iter().enumerate() {
            if let (Change::RangeDelete(delete), Some(deleter)) = (change, &mut *range_deleter) {
                // Closed meanwhile: the deleter can use the transaction as if it were its own.
                drop(tables);
                match given_up.get(&place) {
                    Some(reason) => undeleted_then.keep(&write, delete, reason).map_err(failed)?,
                    None => undeleted::call(deleter, &write, delete)
                        .map_err(|reason| Unwritten::Undeleted { place, reason })?,
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
                Err(Unwritten::Undeleted { place, reason }) => {
                    given_up.insert(place, reason);
                    if given_up.len() == MOST_FAILURES {
                        // Were each tried, a deleter that is broken would cost the square of them.
                        for (place, change) in transaction.changes.iter().enumerate() {
                            if matches!(change, Change::RangeDelete(_)) {
                                let reason = "not tried, because too many others failed".to_owned();
                                given_up.entry(place).or_insert(reason);
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
    /// The deleter has failed for the change at this place.
    Undeleted {
        place: usize,
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

/// The newest format that is read, and the one that is written.
const FORMAT: u64 = 1;
/// `format`, `applied`, `digest` and, except in stores of earlier versions, `id_salt`; that of a newer format must have its `format` here as well.
const META: TableDefinition<&str, u64> = TableDefinition::new("lessor.meta");
/// By id: the ttl, and what remained of it at the last checkpoint, both in milliseconds.
const LEASES: TableDefinition<i64, (u64, u64)> = TableDefinition::new("lessor.leases");
/// By key: the lease that holds the item.
const ITEMS: TableDefinition<&[u8], i64> = TableDefinition::new("lessor.items");
/// Stands for a lease that has no checkpoint; no ttl is that long.
const NONE: u64 = u64::MAX;
/// The length of the magic number that a redb file begins with.
const MAGIC_LEN: usize = 9;
/// The file format of redb 4 (redb: `FILE_FORMAT_VERSION3`).
const REDB_FORMAT: u8 = 3;

/// How often an opening is begun anew when the name of the store is given and taken under it.
const ATTEMPTS: usize = 16;

/// Opens the store that has this name; `None` if there is none, or another one meanwhile.
fn open_file(path: &Path) -> Result<Option<RedbBackend>, BackendError> {
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

/// The tables of leases and items in a write transaction, each opened when it is needed: that costs as
/// much as some rows.
struct Tables<'t> {
    write: &'t WriteTransaction,
    leases: Option<Table<'t, i64, (u64, u64)>>,
    items: Option<Table<'t, &'static [u8], i64>>,
}

impl<'t> Tables<'t> {
    fn of(write: &'t WriteTransaction) -> Self {
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

    fn clear(&mut self) -> Result<(), redb::Error> {
        self.leases()?.retain(|_, _| false)?;
        Ok(self.items()?.retain(|_, _| false)?)
    }

    fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
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

/// Empties storage in which redb was creating a database when it lost its power.
///
/// redb writes its magic number last, and a database without it was never committed to.
fn discard_half_created(storage: &impl StorageBackend, path: &Path) -> Result<(), BackendError> {
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
fn is_half_created(storage: &impl StorageBackend) -> io::Result<bool> {
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

/// Whether this is a database that has no table at all, as redb makes one.
fn is_bare(database: &Database) -> Result<bool, redb::Error> {
    let read = database.begin_read()?;
    Ok(read.list_tables()?.next().is_none() && read.list_multimap_tables()?.next().is_none())
}

/// Makes the tables of an empty store.
fn initialize(database: &Database, id_salt: Option<u64>) -> Result<(), redb::Error> {
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

/// Begins a transaction as all of this backend are.
fn begin_write(database: &Database, path: &Path) -> Result<WriteTransaction, BackendError> {
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

/// The table of what the store says of itself, in a write transaction.
type MetaTable<'t> = Table<'t, &'static str, u64>;

/// Whether the tables are where the last commit has put them.
fn check_meta(
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

fn told(number: Option<impl fmt::Display>) -> String {
    number.map_or_else(|| "nothing".into(), |number| number.to_string())
}

fn meta_of(meta: &MetaTable<'_>) -> Result<(Option<LogIndex>, Option<Digest>), redb::StorageError> {
    let applied = meta.get("applied")?.map(|value| LogIndex(value.value()));
    let digest = meta.get("digest")?.map(|value| Digest::from_u64(value.value()));
    Ok((applied, digest))
}

fn write_meta(
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

/// Reads and validates everything in this file, and writes nothing.
fn probe(file: &StoreFile, path: &Path) -> Result<Stored, BackendError> {
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
fn open_in_memory(file: &StoreFile, path: &Path, verify: bool) -> Result<Database, BackendError> {
    Builder::new()
        .set_check_integrity_on_open(verify)
        .create_with_backend(Overlay::new(file.clone()))
        .map_err(|error| redb_error(path, "open", error))
}

fn begin_read(database: &Database, path: &Path) -> Result<ReadTransaction, BackendError> {
    database.begin_read().map_err(|error| redb_error(path, "read", error))
}

/// Reads and validates everything.
fn read(database: &Database, path: &Path) -> Result<Stored, BackendError> {
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

struct Meta {
    applied: LogIndex,
    digest: Digest,
    /// Stores of earlier versions have none.
    id_salt: Option<u64>,
}

fn read_meta(read: &ReadTransaction, path: &Path) -> Result<Meta, BackendError> {
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

fn open_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
    path: &Path,
) -> Result<redb::ReadOnlyTable<K, V>, BackendError> {
    read.open_table(table).map_err(|error| redb_error(path, "read", error))
}

fn lease_record(id: i64, ttl: u64, remaining: u64) -> Result<LeaseRecord, String> {
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

/// Takes redb's lock of a whole file; false if somebody has it.
fn lock_whole(storage: &impl StorageBackend) -> Result<bool, redb::Error> {
    storage
        .try_lock_range(Bound::Unbounded, Bound::Unbounded)
        .map_err(|error| redb::StorageError::from(error).into())
}

fn redb_error(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> BackendError {
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

fn io_error(path: &Path, doing: &'static str, error: io::Error) -> BackendError {
    BackendError::Io { path: path.into(), doing, error }
}

fn foreign(path: &Path, found: impl Into<String>) -> BackendError {
    BackendError::Foreign { path: path.into(), found: found.into() }
}

fn replaced(path: &Path, what: impl Into<String>) -> BackendError {
    BackendError::Replaced { path: path.into(), what: what.into() }
}

fn damaged(path: &Path, what: impl Into<String>) -> BackendError {
    BackendError::Damaged { path: path.into(), what: what.into() }
}

/// The message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked")
}
