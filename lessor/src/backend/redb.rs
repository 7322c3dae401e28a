//! The store on redb: one file with three tables, one durable redb transaction a commit.
//!
//! The one invariant: a file is written to only after everything in it was found whole. Whatever is
//! refused is left as it was, byte for byte.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, Table, TableDefinition, TableError, TableHandle, WriteTransaction,
};

use super::{Backend, BackendError, Stored};
use crate::{
    Change, Digest, Item, LeaseId, LeaseRecord, LogIndex, RangeDelete, Snapshot, Transaction, Ttl,
    Write,
};

/// A durable [`Backend`] in one file of the embedded store [redb](redb).
///
/// Three tables are the crate's own, `lessor.meta`, `lessor.leases` and `lessor.items`. A host may
/// keep tables of its own beside them, through [`database`](Self::database), and have its rows
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
    /// What `lessor.meta` holds, so that a commit reads nothing.
    applied: LogIndex,
    /// What was read to open it, for the first load; a commit makes it old.
    stored: Option<Stored>,
    /// Set while a commit runs, so that one that fails or panics leaves it set.
    poisoned: bool,
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
    /// A new store is made in `<file>.new` beside it, where what an earlier attempt left is removed,
    /// and gets its name only when it is whole.
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
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return create(path),
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
        let stored = probe(&file, path)?;
        let storage = file_storage(file, path, "open")?;
        let database = Builder::new()
            .create_with_backend(storage)
            .map_err(|error| redb_error(path, "open", error))?;
        Self::new(database, path.into(), Some(stored))
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
            initialize(&database).map_err(|error| redb_error(path, "create", error))?;
        }
        Self::new(database, path.into(), None)
    }

    /// Has the host delete what it keeps under the items of a revoked lease, in the same transaction.
    ///
    /// It is called once for each [`Change::RangeDelete`], in order, before the rows of the items are
    /// removed, and may use every table but `lessor.*`. What it does is done if and only if the whole
    /// commit is. If it returns an error, nothing at all is, and the commit fails with
    /// [`BackendError::RangeDeleter`]. It must do the same on every member (etcd: `RangeDeleter`).
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
    /// open, a commit waits.
    #[must_use]
    pub fn database(&self) -> Arc<Database> {
        self.database.clone()
    }

    fn new(
        database: Database,
        path: PathBuf,
        stored: Option<Stored>,
    ) -> Result<Self, BackendError> {
        let Meta { applied, digest } = read_meta(&begin_read(&database, &path)?, &path)?;
        // Unless somebody has written to the file since it was read.
        let stored = stored.filter(|stored| (stored.applied, stored.digest) == (applied, digest));
        let database = Arc::new(database);
        Ok(Self { database, path, applied, stored, poisoned: false, range_deleter: None })
    }

    fn check_poisoned(&self, doing: &'static str) -> Result<(), BackendError> {
        if !self.poisoned {
            return Ok(());
        }
        let error = io::Error::other("an earlier write failed; open the store again");
        Err(io_error(&self.path, doing, error))
    }

    fn write(&mut self, transaction: &Transaction) -> Result<(), BackendError> {
        let Self { database, path, range_deleter, .. } = self;
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

        let mut tables = Tables::open(&write).map_err(failed)?;
        if transaction.reset {
            tables.clear().map_err(|error| failed(error.into()))?;
        }
        for change in &transaction.changes {
            if let (Change::RangeDelete(delete), Some(deleter)) = (change, &mut *range_deleter) {
                // Closed meanwhile: the deleter can use the transaction as if it were its own.
                drop(tables);
                deleter(&write, delete).map_err(BackendError::RangeDeleter)?;
                tables = Tables::open(&write).map_err(failed)?;
            }
            tables.apply(change).map_err(|error| failed(error.into()))?;
        }
        drop(tables);
        write_meta(&write, transaction.applied, transaction.digest).map_err(failed)?;
        write.commit().map_err(|error| failed(error.into()))
    }
}

impl Backend for RedbBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.check_poisoned("read")?;
        match self.stored.take() {
            Some(stored) => Ok(stored),
            None => read(&self.database, &self.path),
        }
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.check_poisoned("write")?;
        if transaction.after != self.applied {
            let (after, stored) = (transaction.after, self.applied);
            return Err(BackendError::OutOfOrder { after, stored });
        }
        let applied = transaction.applied;
        self.stored = None;
        self.poisoned = true;
        self.write(&transaction)?;
        self.poisoned = false;
        self.applied = applied;
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

type RangeDeleter =
    Box<dyn FnMut(&WriteTransaction, &RangeDelete) -> Result<(), String> + Send + 'static>;

/// The newest format that is read, and the one that is written.
const FORMAT: u64 = 1;
/// `format`, `applied` and `digest`; that of a newer format must have its `format` here as well.
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

/// The tables of leases and items in a write transaction.
struct Tables<'t> {
    leases: Table<'t, i64, (u64, u64)>,
    items: Table<'t, &'static [u8], i64>,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self { leases: write.open_table(LEASES)?, items: write.open_table(ITEMS)? })
    }

    fn clear(&mut self) -> Result<(), redb::StorageError> {
        self.leases.retain(|_, _| false)?;
        self.items.retain(|_, _| false)
    }

    fn apply(&mut self, change: &Change) -> Result<(), redb::StorageError> {
        match change {
            Change::Write(Write::PutLease(LeaseRecord { id, ttl, remaining })) => {
                let remaining = remaining.map_or(NONE, Ttl::as_millis);
                self.leases.insert(id.get(), (ttl.as_millis(), remaining))?;
            }
            Change::Write(Write::DeleteLease(id)) => {
                self.leases.remove(id.get())?;
            }
            Change::Write(Write::PutItem(item, id)) => {
                self.items.insert(item.key(), id.get())?;
            }
            Change::Write(Write::DeleteItem(item)) => {
                self.items.remove(item.key())?;
            }
            Change::RangeDelete(delete) => {
                for item in &delete.items {
                    self.items.remove(item.key())?;
                }
            }
        }
        Ok(())
    }
}

/// Creates the store under another name, and gives it its own when it is durable.
fn create(path: &Path) -> Result<RedbBackend, BackendError> {
    let failed = |error| io_error(path, "create", error);
    let Some(name) = path.file_name() else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let text = format!("its folder {} does not exist; make it first", parent.display());
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, text)));
    }
    let mut new_name = OsString::from(name);
    new_name.push(".new");
    let new = path.with_file_name(new_name);
    remove_left_over(&new, path)?;

    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&new);
    let storage = file_storage(file.map_err(failed)?, path, "create")?;
    // redb's lock is held from here until the backend is dropped, so nobody takes the file away.
    let backend = Builder::new()
        .create_with_backend(storage)
        .map_err(redb::Error::from)
        .and_then(|database| initialize(&database).map(|()| database))
        .map_err(|error| redb_error(path, "create", error))
        .and_then(|database| {
            rename_without_overwriting(&new, path)
                .and_then(|()| sync_folder(parent))
                .map_err(failed)?;
            RedbBackend::new(database, path.into(), None)
        });
    if backend.is_err() {
        // The error that is reported matters more than one of tidying up.
        let _ = fs::remove_file(&new);
    }
    backend
}

/// Removes what a creation that was cut short left, unless one is under way.
fn remove_left_over(new: &Path, path: &Path) -> Result<(), BackendError> {
    let file = match OpenOptions::new().read(true).write(true).open(new) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(path, "create", error)),
    };
    let storage = file_storage(file, path, "create")?;
    if !lock_whole(&storage).map_err(|error| redb_error(path, "create", error))? {
        return Err(BackendError::Locked { path: path.into() });
    }
    fs::remove_file(new).map_err(|error| io_error(path, "create", error))
}

fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(name_taken()),
        // No hard links on this file system; the next best thing overwrites only what came to be
        // between these two calls.
        Err(_) if !fs::exists(to)? => fs::rename(from, to),
        Err(_) => Err(name_taken()),
    }
}

fn name_taken() -> io::Error {
    let text =
        "something took its name meanwhile, or it is a link to nowhere; look, and open it again";
    io::Error::new(io::ErrorKind::AlreadyExists, text)
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
fn initialize(database: &Database) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    write.set_two_phase_commit(true);
    drop(Tables::open(&write)?);
    write.open_table(META)?.insert("format", FORMAT)?;
    write_meta(&write, LogIndex::default(), Digest::default())?;
    write.commit()?;
    Ok(())
}

fn write_meta(
    write: &WriteTransaction,
    applied: LogIndex,
    digest: Digest,
) -> Result<(), redb::Error> {
    let mut meta = write.open_table(META)?;
    meta.insert("applied", applied.0)?;
    meta.insert("digest", digest.as_u64())?;
    Ok(())
}

/// Reads and validates everything in this file, and writes nothing.
fn probe(file: &File, path: &Path) -> Result<Stored, BackendError> {
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| {
        // First every page of every table is verified, so that no damage can show up later. This
        // takes another way through redb than an ordinary opening, which comes next: it meets the
        // very bytes that the one afterwards will.
        drop(open_in_memory(file, path, true)?);
        if file.metadata().map_err(|error| io_error(path, "read", error))?.len() == 0 {
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
fn open_in_memory(file: &File, path: &Path, verify: bool) -> Result<Database, BackendError> {
    let file = file.try_clone().map_err(|error| io_error(path, "open", error))?;
    let overlay = Overlay { file: file_storage(file, path, "open")?, image: Mutex::default() };
    Builder::new()
        .set_check_integrity_on_open(verify)
        .create_with_backend(overlay)
        .map_err(|error| redb_error(path, "open", error))
}

fn begin_read(database: &Database, path: &Path) -> Result<ReadTransaction, BackendError> {
    database.begin_read().map_err(|error| redb_error(path, "read", error))
}

/// Reads and validates everything.
fn read(database: &Database, path: &Path) -> Result<Stored, BackendError> {
    let failed = |error| redb_error(path, "read", redb::Error::from(error));
    let read = begin_read(database, path)?;
    let Meta { applied, digest } = read_meta(&read, path)?;
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
    Ok(Stored { applied, digest, snapshot })
}

struct Meta {
    applied: LogIndex,
    digest: Digest,
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
    Ok(Meta { applied: LogIndex(number("applied")?), digest: Digest::from_u64(number("digest")?) })
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

/// A file whose writes stay in memory; locks are those of the file itself.
#[derive(Debug)]
struct Overlay {
    file: FileBackend,
    /// Made by the first use, which is after redb has taken its lock.
    image: Mutex<Option<Image>>,
}

impl Overlay {
    fn with_image<T>(&self, f: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let mut image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        if image.is_none() {
            let len = self.file.len()?;
            *image = Some(Image { len, base: len, blocks: BTreeMap::new() });
        }
        f(image.as_mut().expect("made if it was not there"))
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        self.with_image(|image| Ok(image.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with_image(|image| image.read(&self.file, offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_image(|image| {
            image.set_len(len);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_image(|image| image.write(&self.file, offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<(), redb::BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// What an [`Overlay`] looks like.
#[derive(Debug)]
struct Image {
    len: u64,
    /// How much of the file shows through; what is beyond and not written is zero.
    base: u64,
    /// What was written, by the offset of the block.
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

/// The size of a page of redb, which is what it mostly writes.
const BLOCK: usize = 4096;

impl Image {
    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, part) in split(offset, out.len()) {
            let out = &mut out[part];
            match self.blocks.get(&block) {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + out.len()]),
                None => self.read_base(file, block + within as u64, out)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &FileBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        for (block, within, part) in split(offset, data.len()) {
            if !self.blocks.contains_key(&block) {
                let mut bytes = Box::new([0; BLOCK]);
                self.read_base(file, block, &mut bytes[..])?;
                self.blocks.insert(block, bytes);
            }
            let bytes = self.blocks.get_mut(&block).expect("inserted if it was not there");
            bytes[within..within + part.len()].copy_from_slice(&data[part]);
        }
        self.len = self.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.base = self.base.min(len);
        self.blocks.retain(|block, _| *block < len);
        let within = usize::try_from(len % BLOCK as u64).expect("less than a block");
        if let Some(bytes) = self.blocks.get_mut(&(len - within as u64)) {
            bytes[within..].fill(0);
        }
        self.len = len;
    }

    fn read_base(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let left = usize::try_from(self.base.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (shown, rest) = out.split_at_mut(left.min(out.len()));
        rest.fill(0);
        file.read(offset, shown)
    }
}

/// Splits a range of bytes into parts of one block each: block, place within it, place in the range.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % BLOCK as u64).expect("less than a block");
        let part = done..len.min(done + BLOCK - within);
        done = part.end;
        (!part.is_empty()).then_some((at - within as u64, within, part))
    })
}

fn file_storage(file: File, path: &Path, doing: &'static str) -> Result<FileBackend, BackendError> {
    FileBackend::new(file).map_err(|error| redb_error(path, doing, error))
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
