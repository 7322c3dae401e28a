//! A cheap store for most seeds: a journal of transactions, one write and one sync a commit, on the
//! same disk that loses power as redb has.
//!
//! A record is its length, a checksum and the transaction as JSON. What follows the last whole record
//! may be torn, and is cut off; a record that is whole behind one that is not means damage.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;

use lessor::backend::{Backend, BackendError, MemoryBackend, Stored};
use lessor::{Config, Instant, Lessor, LogIndex, Transaction};
use redb::StorageBackend as _;

use crate::env::disk::Mount;

/// A lease store that is a journal.
pub struct JournalBackend {
    mount: Mount,
    /// Where the next record goes, and how much room there is.
    end: u64,
    room: u64,
    applied: LogIndex,
}

impl JournalBackend {
    /// The journal on a disk, which may be empty. [`load`](Backend::load) it before all else.
    ///
    /// # Errors
    ///
    /// [`BackendError::Locked`] if somebody has it open, [`BackendError::Io`] if the disk refuses.
    pub fn new(mount: Mount) -> Result<Self, BackendError> {
        match mount.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(true) => Ok(Self { mount, end: 0, room: 0, applied: LogIndex(0) }),
            Ok(false) => Err(BackendError::Locked { path: path() }),
            Err(error) => Err(failed("lock", io::Error::other(error.to_string()))),
        }
    }
}

/// Whoever opens it next finds it free.
impl Drop for JournalBackend {
    fn drop(&mut self) {
        // One whose process was killed holds nothing.
        let _ = self.mount.close();
    }
}

impl Backend for JournalBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.room = self.mount.len().map_err(|error| failed("read", error))?;
        let mut bytes = vec![0; usize::try_from(self.room).unwrap_or(usize::MAX)];
        self.mount.read(0, &mut bytes).map_err(|error| failed("read", error))?;
        let (mut rest, mut store) = (&*bytes, MemoryBackend::new());
        while let Some((transaction, behind)) = record(rest) {
            store.commit(transaction)?;
            rest = behind;
        }
        let end = bytes.len() - rest.len();
        // A record has a length, so zeros have none in them.
        let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if let Some(position) = (1..written).find(|position| record(&rest[*position..]).is_some()) {
            return Err(damaged(format!(
                "a whole record at byte {} behind a broken one",
                end + position
            )));
        }
        self.end = end as u64;
        let stored = store.load()?;
        self.applied = stored.applied;
        let mut lessor = Lessor::new(&Config::default());
        let recovered = lessor.recover(Instant::ZERO, &stored.snapshot);
        recovered.map_err(|error| damaged(error.to_string()))?;
        if stored.applied > LogIndex(0) && lessor.digest() != stored.digest {
            let (computed, digest) = (lessor.digest(), stored.digest);
            return Err(damaged(format!("the digest is {digest}, but the leases give {computed}")));
        }
        Ok(stored)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        if transaction.after != self.applied {
            let (after, stored) = (transaction.after, self.applied);
            return Err(BackendError::OutOfOrder { after, stored });
        }
        let applied = transaction.applied;
        let record = bytes_of(&transaction);
        let end = self.end + record.len() as u64;
        let write = || {
            // Zeros behind the last record mark the end of the journal.
            let needed = end + HEAD as u64;
            if needed > self.room {
                self.mount.set_len(needed.next_multiple_of(GROWTH))?;
            }
            self.mount.write(self.end, &record)?;
            self.mount.sync_data()
        };
        write().map_err(|error| failed("write", error))?;
        self.room = self.room.max((end + HEAD as u64).next_multiple_of(GROWTH));
        (self.end, self.applied) = (end, applied);
        Ok(())
    }
}

fn bytes_of(transaction: &Transaction) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, transaction).expect("a transaction has only text as keys");
    let length = (bytes.len() - HEAD) as u64;
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes[HEAD..]);
    bytes[8..HEAD].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The record that bytes begin with, and what is behind it.
fn record(bytes: &[u8]) -> Option<(Transaction, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length > 0)?;
    let (body, behind) = rest.split_at_checked(length)?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    Some((serde_json::from_slice(body).ok()?, behind))
}

/// FNV-1a, over eight bytes at a time.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    })
}

fn failed(doing: &'static str, error: io::Error) -> BackendError {
    BackendError::Io { path: path(), doing, error }
}

fn damaged(what: String) -> BackendError {
    BackendError::Damaged { path: path(), what }
}

fn path() -> PathBuf {
    PathBuf::from("<journal>")
}

/// The length and the checksum of a record.
const HEAD: usize = 16;
/// A journal grows by so much, in bytes.
const GROWTH: u64 = 64 * 1_024;

#[cfg(test)]
mod tests {
    use lessor::backend::RedbBackend;
    use lessor::{Change, LeaseId, LeaseRecord, RangeDelete, Ttl, Write};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::env::disk::{FaultyDisk, Fuse, FuseAt};
    use crate::scenario::Unsynced;

    fn id(number: u64) -> LeaseId {
        LeaseId::new(i64::try_from(number).expect("small")).expect("not 0")
    }

    /// Transactions in order: leases come, change, and go with their items.
    fn history(seed: u64, length: u64) -> Vec<Transaction> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut model, mut transactions) = (MemoryBackend::new(), Vec::new());
        for index in 1..=length {
            let lease = id(1 + random.next_u64() % 6);
            let snapshot = model.load().expect("it is in memory").snapshot;
            let exists = snapshot.leases.iter().any(|record| record.id == lease);
            let items: Vec<_> = snapshot
                .items
                .iter()
                .filter(|(_, of)| *of == lease)
                .map(|(i, _)| i.clone())
                .collect();
            let changes = match random.next_u64() % 4 {
                0 if exists => vec![
                    Change::RangeDelete(RangeDelete { lease, items }),
                    Change::Write(Write::DeleteLease(lease)),
                ],
                1 if exists => vec![Change::Write(Write::PutItem("k\"\u{0}".into(), lease))],
                2 => Vec::new(),
                _ => {
                    let remaining = (random.next_u64() % 2 == 0).then_some(Ttl::from_millis(7));
                    let record = LeaseRecord { id: lease, ttl: Ttl::from_secs(index), remaining };
                    vec![Change::Write(Write::PutLease(record))]
                }
            };
            let (after, applied) = (LogIndex(index - 1), LogIndex(index));
            let digest = lessor::Digest::default();
            let mut next = Transaction { after, applied, digest, reset: false, changes };
            let mut probe = model.clone();
            probe.commit(next.clone()).expect("it follows");
            let mut lessor = Lessor::new(&Config::default());
            let snapshot = probe.load().expect("it is in memory").snapshot;
            lessor.recover(Instant::ZERO, &snapshot).expect("it is well-formed");
            next.digest = lessor.digest();
            model.commit(next.clone()).expect("it follows");
            transactions.push(next);
        }
        transactions
    }

    fn open(disk: &FaultyDisk) -> (JournalBackend, Stored) {
        let mut journal = JournalBackend::new(disk.mount()).expect("nobody has it open");
        let stored = journal.load().expect("the disk is fine");
        (journal, stored)
    }

    #[test]
    fn it_stores_what_redb_stores() {
        for seed in 0..20 {
            let (one, other) = (FaultyDisk::new(), FaultyDisk::new());
            let mut redb = RedbBackend::with_storage(other.mount()).expect("it is empty");
            let (mut journal, _) = open(&one);
            for transaction in history(seed, 40) {
                journal.commit(transaction.clone()).expect("the disk is fine");
                redb.commit(transaction).expect("the disk is fine");
            }
            drop(journal);
            assert_eq!(open(&one).1, redb.load().expect("the disk is fine"), "seed {seed}");
        }
    }

    #[test]
    fn a_power_cut_leaves_a_commit_whole_or_not_at_all() {
        let mut torn = 0;
        for seed in 0..60 {
            for operation in 1..=3 {
                for unsynced in [Unsynced::Keep, Unsynced::Drop, Unsynced::Tear] {
                    let (disk, transactions) = (FaultyDisk::new(), history(seed, 12));
                    let (mut journal, _) = open(&disk);
                    for transaction in &transactions[..11] {
                        journal.commit(transaction.clone()).expect("the disk is fine");
                    }
                    disk.set_fuse(Fuse { at: FuseAt::Operation(operation), unsynced, seed });
                    let done = journal.commit(transactions[11].clone()).is_ok();
                    let cut = disk.cut_power(unsynced, seed);
                    torn += cut.torn;
                    disk.power_on();
                    let applied = open(&disk).1.applied.0;
                    assert!(applied == 12 || (!done && applied == 11), "{seed} {operation}");
                }
            }
        }
        assert!(torn < 60, "a record of one sector is not torn, but some are longer");
    }

    #[test]
    fn canary_a_bit_that_flips_behind_the_first_page_is_noticed() {
        let (mut refused, mut intact) = (0, 0);
        for seed in 0..60 {
            let disk = FaultyDisk::new();
            let (mut journal, _) = open(&disk);
            for transaction in history(seed, 150) {
                journal.commit(transaction).expect("the disk is fine");
            }
            drop(journal);
            let before = open(&disk).1;
            if disk.rot(1, seed) == 0 {
                continue;
            }
            match JournalBackend::new(disk.mount()).and_then(|mut journal| journal.load()) {
                Ok(stored) => {
                    assert_eq!(stored, before, "seed {seed}: silently wrong");
                    intact += 1;
                }
                Err(BackendError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 20, "{refused} refused, {intact} intact");
    }

    /// Seeds 5001484 and 5003500: the next whole record was farther away than anybody looked.
    #[test]
    fn a_bit_that_flips_in_a_long_record_is_noticed() {
        let disk = FaultyDisk::new();
        let (mut journal, _) = open(&disk);
        let put = |number| {
            let record = LeaseRecord { id: id(number), ttl: Ttl::MAX, remaining: None };
            Change::Write(Write::PutLease(record))
        };
        let mut lessor = Lessor::new(&Config::default());
        for (index, leases) in [(0, 1..4_001_u64), (1, 4_001..4_002)] {
            for number in leases.clone() {
                let grant = lessor::Command::Grant { id: id(number), ttl: Ttl::MAX };
                lessor.apply(Instant::ZERO, grant).expect("the id is free");
            }
            let (after, applied, digest) = (LogIndex(index), LogIndex(index + 1), lessor.digest());
            let changes = leases.map(put).collect();
            let transaction = Transaction { after, applied, digest, reset: false, changes };
            journal.commit(transaction).expect("the disk is fine");
        }
        assert!(journal.end > 200_000, "the first record is long");
        assert_eq!(disk.rot(1, 0), 1);
        let refused = JournalBackend::new(disk.mount()).and_then(|mut journal| journal.load());
        assert!(matches!(refused, Err(BackendError::Damaged { .. })), "{refused:?}");
    }

    #[test]
    fn a_journal_that_is_open_is_locked() {
        let disk = FaultyDisk::new();
        let (journal, _) = open(&disk);
        let second = JournalBackend::new(disk.mount()).err();
        assert!(matches!(second, Some(BackendError::Locked { .. })), "{second:?}");
        drop(journal);
        open(&disk);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let (mut journal, _) = open(&FaultyDisk::new());
        let transactions = history(1, 2);
        let refused = journal.commit(transactions[1].clone());
        assert!(matches!(refused, Err(BackendError::OutOfOrder { .. })));
    }
}
