//! Laws of the stores: redb holds what memory holds, and no other bytes pass for a store.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use lessor::backend::{Backend, BackendError, MemoryBackend, RedbBackend, Stored};
use lessor::{Change, Config, Digest, Entry, Instant, Lessor, LogIndex, Transaction, Write};
use quickcheck::{Arbitrary, Gen};

use super::any::{Any, Draw, any, below, few, pick};
use super::split::transactions;
use super::{Outcome, ensure, equal, holds, refuted};
use crate::redb_backend::{FlakyDisk, Store};

#[test]
fn redb_stores_what_memory_stores() {
    holds(CASES, |commits| same_as_memory(std::convert::identity, commits));
}

#[test]
fn bytes_that_nobody_stored_are_no_store_and_stay_as_they_are() {
    holds(CASES, |bytes| is_refused(|path| RedbBackend::open(path), bytes));
}

#[test]
fn a_store_with_other_bytes_in_it_is_refused_or_unharmed() {
    holds(CASES, |damage| is_refused_or_unharmed(|path| RedbBackend::open(path), damage));
}

#[test]
fn a_store_that_loses_something_or_believes_anything_is_refuted() {
    let other = "is not what memory holds";
    refuted(CASES, other, |commits| same_as_memory(without_checkpoints, commits));
    refuted(CASES, other, |commits| same_as_memory(in_reverse, commits));
    refuted(CASES, other, |commits| same_as_memory(without_reset, commits));
    refuted(CASES, "where memory says", |commits| same_as_memory(one_entry_ahead, commits));

    refuted(CASES, "is taken for a store", |bytes| is_refused(anew, bytes));
    refuted(CASES, "was written to", |bytes| is_refused(tidied, bytes));
    refuted(CASES, "is loaded as", |damage| is_refused_or_unharmed(anew, damage));
}

// Commits

/// Those of a member, and some that no member would make.
#[derive(Clone, Debug)]
struct Commits {
    log: Vec<Entry>,
    wild: Vec<Transaction>,
}

impl Arbitrary for Commits {
    fn arbitrary(g: &mut Gen) -> Self {
        Self { log: any(g), wild: few(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let lists = (Any(self.log.clone()), Any(self.wild.clone())).shrink();
        Box::new(lists.map(|(log, wild)| Self { log: log.0, wild: wild.0 }))
    }
}

fn same_as_memory(stored: fn(Transaction) -> Transaction, commits: &Commits) -> Outcome {
    let disk = FlakyDisk::default();
    let mut memory = MemoryBackend::new();
    let mut redb = RedbBackend::with_storage(disk.clone()).expect("it is empty");
    let wild = commits.wild.iter().cloned();
    for transaction in transactions(&commits.log).into_iter().chain(wild) {
        let transaction = follow(&memory, transaction);
        let (one, other) = (memory.commit(transaction.clone()), redb.commit(stored(transaction)));
        let (one, other) = (format!("{one:?}"), format!("{other:?}"));
        ensure(one == other, || format!("redb says {other} where memory says {one}"))?;
        holds_the_same(&mut redb, &mut memory)?;
    }
    drop(redb);
    holds_the_same(&mut RedbBackend::with_storage(disk).expect("it is whole"), &mut memory)
}

/// Most transactions follow the one before, and have the digest of what is then stored.
fn follow(memory: &MemoryBackend, transaction: Transaction) -> Transaction {
    let mut memory = memory.clone();
    let stands_at = memory.load().expect("memory can be read").applied;
    let after = if transaction.after.0 % 5 == 4 { transaction.after } else { stands_at };
    let applied = LogIndex(stands_at.0 + 1 + transaction.applied.0 % 2);
    let transaction = Transaction { after: stands_at, applied, ..transaction };
    memory.commit(transaction.clone()).expect("it follows");
    let stored = memory.load().expect("memory can be read");
    let digest = digest_of(&stored).filter(|_| transaction.digest.as_u64() % 7 != 6);
    Transaction { after, digest: digest.unwrap_or(transaction.digest), ..transaction }
}

fn holds_the_same(redb: &mut RedbBackend, memory: &mut MemoryBackend) -> Outcome {
    let expected = memory.load().expect("memory can be read");
    let is_a_state = digest_of(&expected) == Some(expected.digest);
    match redb.load() {
        Ok(found) if is_a_state => {
            equal(&found, &expected, "what is stored is not what memory holds")
        }
        Err(error) if is_a_state => {
            Err(format!("what is stored is not what memory holds: {error}"))
        }
        Err(BackendError::Damaged { .. }) => Ok(()),
        other => Err(format!("{other:?} of a store that contradicts itself: {expected:?}")),
    }
}

/// If it is a state at all.
fn digest_of(stored: &Stored) -> Option<Digest> {
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(Instant::ZERO, &stored.snapshot).ok()?;
    Some(lessor.digest())
}

// What the law of commits refutes

fn without_checkpoints(mut transaction: Transaction) -> Transaction {
    for change in &mut transaction.changes {
        if let Change::Write(Write::PutLease(record)) = change {
            record.remaining = None;
        }
    }
    transaction
}

fn in_reverse(mut transaction: Transaction) -> Transaction {
    transaction.changes.reverse();
    transaction
}

fn without_reset(transaction: Transaction) -> Transaction {
    Transaction { reset: false, ..transaction }
}

fn one_entry_ahead(transaction: Transaction) -> Transaction {
    Transaction { after: LogIndex(transaction.after.0.wrapping_add(1)), ..transaction }
}

// Bytes

/// A file of noise behind a beginning that is known.
#[derive(Clone, Copy, Debug)]
struct Noise {
    /// How much of it is the beginning of a store.
    head: usize,
    len: usize,
    seed: u64,
}

impl Arbitrary for Noise {
    fn arbitrary(g: &mut Gen) -> Self {
        // The magic number of redb, its header, or its first page.
        let head = pick(g, &[0, 9, 320, PAGE]);
        let len = if bool::arbitrary(g) { STORE.0.len() } else { usize::arbitrary(g) % 20_000 };
        Self { head, len, seed: u64::arbitrary(g) }
    }
}

impl Noise {
    fn bytes(self) -> Vec<u8> {
        let mut g = Gen::from_size_and_seed(0, self.seed);
        let noise = std::iter::repeat_with(|| u8::arbitrary(&mut g));
        STORE.0.iter().copied().take(self.head).chain(noise).take(self.len).collect()
    }
}

type Open = fn(&Path) -> Result<RedbBackend, BackendError>;

fn is_refused(open: Open, noise: &Noise) -> Outcome {
    let bytes = noise.bytes();
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("leases.redb");
    fs::write(&path, &bytes).expect("the folder is ours");
    match open(&path) {
        Ok(_) => return Err("noise is taken for a store".into()),
        Err(error) => means_the_bytes(&error)?,
    }
    ensure(fs::read(&path).expect("it is there") == bytes, || "it was written to".into())
}

fn means_the_bytes(error: &BackendError) -> Outcome {
    let known = matches!(
        error,
        BackendError::Damaged { .. } | BackendError::Foreign { .. } | BackendError::Newer { .. }
    );
    ensure(known, || format!("refused for another reason: {error}"))
}

/// A store that is closed, and what it holds.
static STORE: LazyLock<(Vec<u8>, Stored)> = LazyLock::new(|| {
    let (store, stored) = Store::filled();
    (fs::read(&store.path).expect("it was written"), stored)
});

/// What may happen to a page of a disk.
#[derive(Clone, Debug)]
enum Damage {
    /// Bytes of it are others.
    Noise { at: usize, bytes: Vec<u8> },
    /// It was never written.
    Zeros { page: usize },
    /// It was written to the place of another.
    Misplaced { page: usize, to: usize },
}

impl Draw for Damage {
    fn draw(g: &mut Gen) -> Self {
        let page = |g: &mut Gen| pick(g, USED.as_slice());
        match below(g, 3) {
            0 => Self::Noise { at: page(g) + usize::arbitrary(g) % PAGE, bytes: few(g) },
            1 => Self::Zeros { page: page(g) },
            _ => Self::Misplaced { page: page(g), to: page(g) },
        }
    }
}

impl Damage {
    fn strike(&self, file: &mut [u8]) {
        match self {
            Self::Noise { at, bytes } => {
                file.iter_mut().skip(*at).zip(bytes).for_each(|(byte, noise)| *byte = *noise);
            }
            Self::Zeros { page } => file[*page..page + PAGE].fill(0),
            Self::Misplaced { page, to } => file.copy_within(*page..page + PAGE, *to),
        }
    }
}

impl Draw for u8 {
    fn draw(g: &mut Gen) -> Self {
        Arbitrary::arbitrary(g)
    }
}

fn is_refused_or_unharmed(open: Open, Any(damage): &Any<Vec<Damage>>) -> Outcome {
    let (mut bytes, stored) = STORE.clone();
    damage.iter().for_each(|damage| damage.strike(&mut bytes));
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("leases.redb");
    fs::write(&path, &bytes).expect("the folder is ours");
    match open(&path) {
        Ok(mut backend) => {
            let found = backend.load().map_err(|error| format!("it was opened: {error}"))?;
            ensure(found == stored, || format!("it is loaded as {found:?}"))
        }
        Err(error) => {
            means_the_bytes(&error)?;
            ensure(fs::read(&path).expect("it is there") == bytes, || "it was written to".into())
        }
    }
}

// What the laws of bytes refute

/// What cannot be read is begun anew.
fn anew(path: &Path) -> Result<RedbBackend, BackendError> {
    RedbBackend::open(path).or_else(|_| {
        fs::remove_file(path).expect("the folder is ours");
        RedbBackend::open(path)
    })
}

/// What cannot be read is cut off behind its last whole page.
fn tidied(path: &Path) -> Result<RedbBackend, BackendError> {
    RedbBackend::open(path).inspect_err(|_| {
        let bytes = fs::read(path).expect("it is there");
        fs::write(path, &bytes[..bytes.len() - bytes.len() % PAGE]).expect("the folder is ours");
    })
}

/// Where pages begin in which something is.
static USED: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let bytes = &STORE.0;
    let is_used = |page: &usize| bytes[*page..].iter().take(PAGE).any(|byte| *byte != 0);
    (0..=bytes.len() - PAGE).step_by(PAGE).filter(is_used).collect()
});
const PAGE: usize = 4_096;
const CASES: usize = 300;
