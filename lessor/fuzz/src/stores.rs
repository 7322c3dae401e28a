//! Stores that are given anything. What a damaged one holds was once committed to it, and it goes
//! on from there; all else it refuses, and leaves as it is. All kinds of stores hold the same.

use std::fs;
use std::panic;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use arbitrary::{Arbitrary, Unstructured};
use lessor::backend::{Backend, BackendError, MemoryBackend, RedbBackend, Stored};
use lessor::{
    Change, Command, Config, Digest, Effect, Instant, Item, LeaseId, Lessor, LogIndex, Transaction,
    Ttl, Write,
};
use lessor_sim::env::disk::FaultyDisk;
use lessor_sim::env::journal::JournalBackend;
use redb::StorageBackend as _;
use redb::backends::InMemoryBackend;

use crate::{Planted, records};

/// What is wrong with the content of a store.
#[derive(Arbitrary, Debug)]
struct Damage {
    /// Whether it was closed, or left open by a crash.
    closed: bool,
    /// From which byte on it is missing, counted from its end.
    missing: Option<u32>,
    patches: Vec<Patch>,
}

/// Some bytes are others, from one on that was not zero.
#[derive(Arbitrary, Debug)]
struct Patch {
    position: u32,
    xor: Vec<u8>,
}

/// The content of a store, and all that it ever held, in order.
struct Original {
    bytes: Vec<u8>,
    used: Vec<usize>,
    history: Vec<Stored>,
}

impl Original {
    fn new(bytes: Vec<u8>, history: Vec<Stored>) -> Self {
        let used = (0..bytes.len()).filter(|position| bytes[*position] != 0).collect();
        Self { bytes, used, history }
    }

    fn damaged(&self, damage: &Damage) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for Patch { position, xor } in &damage.patches {
            let start = self.used[*position as usize % self.used.len()];
            for (byte, other) in bytes[start..].iter_mut().zip(xor) {
                *byte ^= other;
            }
        }
        if let Some(missing) = damage.missing {
            bytes.truncate(bytes.len() - missing as usize % bytes.len());
        }
        bytes
    }
}

/// Any transactions into every kind of store. A digest of 0 stands for the right one.
pub(crate) fn same_in_all(transactions: Vec<Transaction>, planted: Planted) {
    let (mut memory, disk) = (MemoryBackend::new(), FaultyDisk::new());
    let mut journal = journal_on(&disk);
    journal.load().expect("the disk is empty");
    let mut redb = RedbBackend::with_storage(InMemoryBackend::new()).expect("it is empty");
    for mut transaction in transactions {
        let before = memory.clone();
        let committed = memory.commit(transaction.clone()).is_ok();
        assert!(committed || memory == before, "what is refused changes nothing");
        if transaction.digest == Digest::default() {
            transaction.digest = digest_of(&mut memory).unwrap_or_default();
            memory = before;
            assert_eq!(memory.commit(transaction.clone()).is_ok(), committed);
        }
        assert_eq!(journal.commit(transaction.clone()).is_ok(), committed, "the journal");
        if planted == Planted::LostWrite {
            transaction
                .changes
                .retain(|change| !matches!(change, Change::Write(Write::PutItem(..))));
        }
        assert_eq!(redb.commit(transaction).is_ok(), committed, "redb");
    }
    let stored = memory.load().expect("it is in memory");
    let digest = digest_of(&mut memory);
    let right = digest == Some(stored.digest);
    judge(redb.load(), right, &stored);
    // The journal takes what stands at the beginning of the log for empty, and asks for no digest.
    let right = right || digest.is_some() && stored.applied == LogIndex(0);
    drop(journal);
    judge(journal_on(&disk).load(), right, &stored);
    records::recover(&stored.snapshot, planted);
}

/// The digest of what is stored, if it is a state.
fn digest_of(backend: &mut MemoryBackend) -> Option<Digest> {
    let snapshot = backend.load().expect("it is in memory").snapshot;
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(Instant::ZERO, &snapshot).ok().map(|()| lessor.digest())
}

fn judge(loaded: Result<Stored, BackendError>, right: bool, stored: &Stored) {
    match loaded {
        Ok(loaded) => {
            assert_eq!(&loaded, stored, "stores that were told the same hold the same");
            assert!(right, "what is wrong is loaded: {stored:?}");
        }
        Err(error) => assert!(!right, "what is right is refused: {error}"),
    }
}

/// A redb file with damage.
pub(crate) fn damaged_redb(bytes: &[u8], planted: Planted) {
    static CLOSED: LazyLock<Original> = LazyLock::new(|| redb_file(true));
    static OPEN: LazyLock<Original> = LazyLock::new(|| redb_file(false));
    let Ok(damage) = Damage::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let original = if damage.closed { &*CLOSED } else { &*OPEN };
    let damaged = original.damaged(&damage);
    // In the file of a crash redb takes the commit before for valid if one bit says so, and has no
    // checksum of it.
    let switched = !damage.closed && original.bytes.get(SWITCH) != damaged.get(SWITCH);
    let last = original.history.len() - 1;
    let history = &original.history[if switched { 0 } else { last }..];

    let path = file("damaged");
    fs::write(&path, &damaged).expect("there is a folder for temporary files");
    match open(&path) {
        Ok(mut backend) => {
            let stored = accepted(&mut backend, history, planted);
            drop(backend);
            let again = open(&path).and_then(|mut backend| backend.load());
            reopened(&stored, again, planted);
        }
        Err(error) => {
            refused(&error);
            if planted == Planted::TouchedFile {
                fs::write(&path, b"touched").expect("it was written before");
            }
            let left = fs::read(&path).expect("it was written before");
            assert!(left == damaged, "a refused file was changed: {error}");
        }
    }
}

/// The simulator's journal with damage.
pub(crate) fn damaged_journal(bytes: &[u8], planted: Planted) {
    static JOURNAL: LazyLock<Original> = LazyLock::new(journal);
    let Ok(damage) = Damage::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let disk = disk_with(&JOURNAL.damaged(&damage));
    let mut backend = journal_on(&disk);
    match backend.load() {
        Ok(_) => {
            // What is broken at its end is torn, as far as a journal can know.
            let stored = accepted(&mut backend, &JOURNAL.history, planted);
            drop(backend);
            reopened(&stored, journal_on(&disk).load(), planted);
        }
        Err(error) => refused(&error),
    }
}

/// A journal of any bytes.
pub(crate) fn any_journal(bytes: &[u8], planted: Planted) {
    let disk = disk_with(bytes);
    match journal_on(&disk).load() {
        Ok(stored) => records::recover(&stored.snapshot, planted),
        Err(error) => refused(&error),
    }
}

/// Lets panics pass that [`RedbBackend::open`] catches: libFuzzer's hook ends the process by every
/// one. Call it once the hook is there.
pub fn let_open_catch_panics() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !OPENING.load(Ordering::Relaxed) {
            hook(panic);
        }
    }));
}

/// Whether a file is being opened.
static OPENING: AtomicBool = AtomicBool::new(false);

fn open(path: &PathBuf) -> Result<RedbBackend, BackendError> {
    OPENING.store(true, Ordering::Relaxed);
    let opened = RedbBackend::open(path);
    OPENING.store(false, Ordering::Relaxed);
    opened
}

/// What a damaged store holds, after it has taken one more transaction.
fn accepted(backend: &mut impl Backend, history: &[Stored], planted: Planted) -> Stored {
    let mut stored = backend.load().expect("it was read before");
    if planted == Planted::SilentLoss && stored.applied > LogIndex(2) {
        stored = Stored::default();
    }
    let known = history.contains(&stored);
    assert!(known, "it holds what it never held since {}: {stored:?}", history[0].applied);
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(Instant::ZERO, &stored.snapshot).expect("it was valid once");
    let (id, ttl) = (LeaseId::new(99).expect("it is not 0"), Ttl::from_secs(9));
    let transaction = transaction(&mut lessor, stored.applied, Command::Grant { id, ttl });
    stored = Stored {
        applied: transaction.applied,
        digest: transaction.digest,
        id_salt: stored.id_salt,
        snapshot: lessor.snapshot(),
    };
    backend.commit(transaction).expect("what is accepted can be written to");
    stored
}

fn reopened(stored: &Stored, again: Result<Stored, BackendError>, planted: Planted) {
    let mut again = again.expect("what is accepted stays readable");
    if planted == Planted::LostCommit {
        again = Stored::default();
    }
    assert_eq!(&again, stored, "what was committed behind the damage is there");
}

fn refused(error: &BackendError) {
    let text = error.to_string();
    assert!(text.lines().count() == 1 && text.len() > 20, "no sentence: {text:?}");
    assert!(!matches!(error, BackendError::Other(_) | BackendError::Locked { .. }), "{error:?}");
}

/// A few leases come, change and go.
fn write_history(backend: &mut impl Backend) -> Vec<Stored> {
    let mut lessor = Lessor::new(&Config::default());
    let mut history = vec![backend.load().expect("it is new")];
    let ids = [1, 2, i64::MIN, i64::MAX, 3].map(|id| LeaseId::new(id).expect("it is not 0"));
    let grants = ids.map(|id| Command::Grant { id, ttl: Ttl::from_secs(60) });
    let attaches = ids.map(|id| {
        let items = [format!("a/{id}"), format!("b/{id}/{}", "long".repeat(9))];
        Command::Attach { id, items: items.into_iter().map(Item::from).collect() }
    });
    let checkpoint = lessor::Checkpoint { id: ids[1], remaining: Some(Ttl::from_secs(30)) };
    let rest = [
        Command::Revoke { id: ids[0] },
        Command::Checkpoint { checkpoints: vec![checkpoint] },
        Command::Detach { id: ids[2], items: vec![Item::from(format!("a/{}", ids[2]))] },
    ];
    for command in grants.into_iter().chain(attaches).chain(rest) {
        let applied = history.last().expect("it has a beginning").applied;
        backend.commit(transaction(&mut lessor, applied, command)).expect("it follows");
        history.push(backend.load().expect("it is whole"));
    }
    history
}

/// The transaction of one command, after an index of the log.
fn transaction(lessor: &mut Lessor, after: LogIndex, command: Command) -> Transaction {
    lessor.apply(Instant::ZERO, command).expect("it is allowed");
    let mut changes = Vec::new();
    while let Some(effect) = lessor.poll_effect() {
        match effect {
            Effect::Write(write) => changes.push(Change::Write(write)),
            Effect::RangeDelete(delete) => changes.push(Change::RangeDelete(delete)),
            Effect::Expired(_) | Effect::Checkpoint(_) | Effect::Renewed { .. } => {
                unreachable!("it is not primary")
            }
        }
    }
    let (applied, digest) = (after.next(), lessor.digest());
    Transaction { after, applied, digest, reset: false, changes }
}

fn redb_file(closed: bool) -> Original {
    let path = file("original");
    let _not_there = fs::remove_file(&path);
    let mut backend = RedbBackend::open(&path).expect("there is a folder for temporary files");
    let history = write_history(&mut backend);
    if closed {
        drop(backend);
        return Original::new(fs::read(&path).expect("it is closed"), history);
    }
    // What a process has written when it is killed.
    let bytes = fs::read(&path).expect("locks are advisory");
    Original::new(bytes, history)
}

fn journal() -> Original {
    let disk = FaultyDisk::new();
    let history = write_history(&mut journal_on(&disk));
    let mut bytes = disk.platter();
    // Some zeros at the end are kept, they mean something.
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty");
    bytes.truncate(end + 40);
    Original::new(bytes, history)
}

/// The journal on a disk that nobody has open.
fn journal_on(disk: &FaultyDisk) -> JournalBackend {
    JournalBackend::new(disk.mount()).expect("nobody has it open")
}

fn disk_with(bytes: &[u8]) -> FaultyDisk {
    let (disk, failed) = (FaultyDisk::new(), "the disk is fine");
    let mount = disk.mount();
    mount.set_len(bytes.len() as u64).expect(failed);
    mount.write(0, bytes).expect(failed);
    mount.sync_data().expect(failed);
    disk
}

/// A file of this process.
#[expect(clippy::disallowed_methods, reason = "several processes may fuzz at once")]
fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lessor-fuzz-{}-{name}", std::process::id()))
}

/// The byte of a redb file that says which of its two commits is valid.
const SWITCH: usize = 9;
