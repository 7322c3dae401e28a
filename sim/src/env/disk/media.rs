//! The faults of a disk that are not power cuts: no room, failed syncs, flipped bits, another disk. What a
//! failed sync tears is drawn as for a cut, in `mod.rs`.

use std::collections::BTreeSet;
use std::io;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{DiskState, FaultyDisk, Operation};
use crate::scenario::Unsynced;

/// The faults of a disk that are not power cuts.
#[derive(Default)]
pub(super) struct Faults {
    full: bool,
    /// Syncs that are to fail, what becomes of the writes then, and the seed of that.
    failing: Option<(u32, Unsynced, u64)>,
    /// Whether each page was ever written: a page that was not takes room when it is.
    allocated: Vec<bool>,
    /// The pages that the last sync with something to do made durable.
    warm: BTreeSet<usize>,
    /// Whether a sync has failed that the next process is not to see the writes of.
    pub(super) stale: bool,
    /// What was refused or failed since the last look.
    pub(super) met: Met,
}

/// What a disk has refused, or failed to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Met {
    /// Writes and changes of the length for which there was no room.
    pub refused: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
}

impl FaultyDisk {
    /// Lets the disk have no room, or room again.
    ///
    /// Without room it refuses to grow, and the first write to each page of 4 KiB, with
    /// [`io::ErrorKind::StorageFull`]. What was written can be overwritten.
    pub fn set_full(&self, full: bool) {
        self.state().faults.full = full;
    }

    /// Lets the next `count` syncs fail.
    ///
    /// As with a file system after a failed sync, nobody will try again to write what was to be
    /// synced: `unsynced` and the seed decide what of it is on the platter, while the process goes on
    /// seeing all of it. Whoever starts afterwards sees the platter.
    pub fn fail_syncs(&self, count: u32, unsynced: Unsynced, seed: u64) {
        self.state().faults.failing = Some((count, unsynced, seed));
    }

    /// Flips one bit in each of up to `pages` pages of the platter, and says in how many.
    ///
    /// Only in cold pages of 4 KiB: that are not all zero, were not written for the last sync, and are
    /// not the first: redb's header has no
    /// checksum for which of its last two commits counts, so that a flip there goes back one commit
    /// unnoticed. Nobody must have the disk mounted.
    pub fn rot(&self, pages: u32, seed: u64) -> u32 {
        let mut state = self.state();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let used = state.durable.chunks(PAGE).enumerate().skip(1);
        let mut used: Vec<usize> = used
            .filter(|(page, _)| !state.faults.warm.contains(page))
            .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
            .map(|(page, _)| page)
            .collect();
        let mut flipped = 0;
        while flipped < pages && !used.is_empty() {
            let page = used.swap_remove(below(&mut random, used.len()));
            let room = PAGE.min(state.durable.len() - page * PAGE);
            let (byte, bit) = (page * PAGE + below(&mut random, room), random.next_u32() % 8);
            state.durable[byte] ^= 1 << bit;
            flipped += 1;
        }
        state.reread();
        flipped
    }

    /// Puts an empty disk in place of this one. Nobody must have it mounted.
    pub fn replace(&self) {
        let mut state = self.state();
        state.durable.clear();
        state.faults.allocated.clear();
        state.reread();
    }

    /// What a process sees of the disk, as a backup takes it while a machine runs.
    #[must_use]
    pub fn copy(&self) -> Vec<u8> {
        self.state().image.clone()
    }

    /// Puts a copy in place of what the disk holds. Nobody must have it mounted.
    pub fn put_back(&self, copy: &[u8]) {
        let mut state = self.state();
        state.durable = copy.to_vec();
        state.faults.allocated = vec![true; copy.len().div_ceil(PAGE)];
        state.reread();
    }

    /// Ends all faults that are still to come.
    pub fn heal(&self) {
        let mut state = self.state();
        state.fuse = None;
        state.faults.full = false;
        state.faults.failing = None;
    }

    /// What it has refused or failed to do since the last call.
    pub fn take_met(&self) -> Met {
        std::mem::take(&mut self.state().faults.met)
    }
}

impl DiskState {
    /// Whether there is room for an operation; else it is refused.
    pub(super) fn find_room(&mut self, operation: &Operation) -> io::Result<()> {
        let pages = match operation {
            Operation::Write(offset, data) => *offset / PAGE..(offset + data.len()).div_ceil(PAGE),
            Operation::SetLen(len) if self.faults.full && *len > self.image.len() => {
                self.faults.met.refused += 1;
                self.note(|| "has no room to grow".to_owned());
                return Err(full());
            }
            Operation::SetLen(_) => return Ok(()),
        };
        let allocated = &mut self.faults.allocated;
        if allocated.len() < pages.end {
            allocated.resize(pages.end, false);
        }
        if self.faults.full && !allocated[pages.clone()].iter().all(|page| *page) {
            self.faults.met.refused += 1;
            self.note(|| "has no room for a page".to_owned());
            return Err(full());
        }
        allocated[pages].fill(true);
        Ok(())
    }

    /// Notes which pages a sync makes durable.
    pub(super) fn warm_up(&mut self) {
        let pages = self.unsynced.iter().filter_map(|operation| match operation {
            Operation::Write(offset, data) => {
                Some(*offset / PAGE..(offset + data.len()).div_ceil(PAGE))
            }
            Operation::SetLen(_) => None,
        });
        let pages: BTreeSet<usize> = pages.flatten().collect();
        if !pages.is_empty() {
            self.faults.warm = pages;
        }
    }

    /// Whether this sync is one that fails: then the platter has what it will ever have of it.
    pub(super) fn fail_sync(&mut self) -> io::Result<()> {
        let Some((count, unsynced, seed)) = self.faults.failing.take() else { return Ok(()) };
        if count > 1 {
            self.faults.failing = Some((count - 1, unsynced, seed.wrapping_add(1)));
        }
        self.faults.met.failed_syncs += 1;
        let count = self.unsynced.len();
        self.note(|| format!("fails to sync, operations in doubt: {count}"));
        self.settle_unsynced(unsynced, seed);
        self.faults.stale = true;
        Err(io::Error::other("the disk failed to sync"))
    }

    /// Lets the next process see the platter and nothing else.
    fn reread(&mut self) {
        self.unsynced.clear();
        self.image.clone_from(&self.durable);
        self.kill_mounts();
    }
}

fn below(random: &mut ChaCha8Rng, end: usize) -> usize {
    let draw = random.next_u64() % (end as u64);
    usize::try_from(draw).unwrap_or_default()
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full")
}

const PAGE: usize = 4_096;

#[cfg(test)]
mod tests {
    use lessor::backend::{Backend, BackendError, RedbBackend};
    use lessor::{
        Change, Config, Instant, LeaseId, LeaseRecord, Lessor, LogIndex, Snapshot, Transaction,
        Ttl, Write,
    };
    use redb::StorageBackend;

    use super::*;

    const ALL: [Unsynced; 3] = [Unsynced::Keep, Unsynced::Drop, Unsynced::Tear];

    fn open(disk: &FaultyDisk) -> Result<RedbBackend, BackendError> {
        RedbBackend::with_storage(disk.mount())
    }

    /// The transaction that grants the lease with the number of its index.
    fn grant(index: u64) -> Transaction {
        let record = |index: u64| {
            let id = LeaseId::new(i64::try_from(index).expect("small")).expect("not zero");
            LeaseRecord { id, ttl: Ttl::from_secs(10), remaining: None }
        };
        let leases = (1..=index).map(record).collect();
        let mut after = Lessor::new(&Config::default());
        let snapshot = Snapshot { leases, items: Vec::new() };
        after.recover(Instant::ZERO, &snapshot).expect("it is well-formed");
        Transaction {
            after: LogIndex(index - 1),
            applied: LogIndex(index),
            digest: after.digest(),
            reset: false,
            changes: vec![Change::Write(Write::PutLease(record(index)))],
        }
    }

    fn of(stored: &Snapshot) -> usize {
        stored.leases.len()
    }

    /// A disk with `leases` commits on it, that nobody has open.
    fn filled(leases: u64) -> FaultyDisk {
        let disk = FaultyDisk::new();
        let mut store = open(&disk).expect("it is empty");
        for index in 1..=leases {
            store.commit(grant(index)).expect("the disk is fine");
        }
        drop(store);
        disk
    }

    #[test]
    fn a_full_disk_refuses_and_what_was_durable_stays() {
        let disk = filled(3);
        let mut store = open(&disk).expect("it is fine");
        disk.set_full(true);
        let refused = (4..).find(|index| store.commit(grant(*index)).is_err());
        let durable = refused.expect("a full disk refuses at some time") - 1;
        assert!(disk.take_met().refused > 0);
        drop(store);
        disk.kill_process();
        disk.set_full(false);
        let stored = open(&disk).and_then(|mut store| store.load()).expect("there is room again");
        assert!([durable, durable + 1].contains(&stored.applied.0), "{durable}: {stored:?}");
    }

    #[test]
    fn a_failed_sync_is_told_and_leaves_one_of_two_states() {
        for unsynced in ALL {
            for seed in 0..20 {
                let disk = filled(3);
                let mut store = open(&disk).expect("it is fine");
                disk.fail_syncs(1, unsynced, seed);
                assert!(store.commit(grant(4)).is_err());
                assert_eq!(disk.take_met().failed_syncs, 1);
                disk.kill_process();
                drop(store);
                let stored = open(&disk).and_then(|mut s| s.load()).expect("a commit or none");
                assert!([3, 4].contains(&stored.applied.0), "{unsynced:?} {seed}");
                assert_eq!(of(&stored.snapshot) as u64, stored.applied.0);
            }
        }
    }

    #[test]
    fn canary_whoever_goes_on_after_a_failed_sync_loses_what_it_promised() {
        let disk = FaultyDisk::new();
        let process = disk.mount();
        process.set_len(512).expect("there is room");
        process.sync_data().expect("nothing fails yet");
        process.write(0, b"promised").expect("there is room");
        disk.fail_syncs(1, Unsynced::Drop, 0);
        assert!(process.sync_data().is_err());
        process.sync_data().expect("the next one lies without knowing");
        disk.cut_power(Unsynced::Drop, 0);
        assert_eq!(&disk.platter()[..8], [0; 8]);
    }

    #[test]
    fn a_flipped_bit_is_noticed_or_is_in_nothing_that_counts() {
        let (mut refused, mut unharmed) = (0, 0);
        for seed in 0..150 {
            let disk = filled(12);
            let before = open(&disk).and_then(|mut s| s.load()).expect("it is fine");
            assert!(disk.rot(1, seed) == 1);
            let read = std::panic::AssertUnwindSafe(|| open(&disk).and_then(|mut s| s.load()));
            match std::panic::catch_unwind(read) {
                Ok(Ok(stored)) => {
                    assert_eq!(stored, before, "seed {seed}: silently wrong");
                    unharmed += 1;
                }
                Ok(Err(_)) => refused += 1,
                Err(_) => panic!("seed {seed}: a panic in place of an error"),
            }
        }
        assert!(refused > 10 && unharmed > 10, "{refused} refused, {unharmed} unharmed");
    }

    #[test]
    fn another_disk_is_empty() {
        let disk = filled(3);
        disk.replace();
        let stored = open(&disk).and_then(|mut store| store.load()).expect("it is empty");
        assert_eq!((stored.applied, of(&stored.snapshot)), (LogIndex(0), 0));
    }
}
