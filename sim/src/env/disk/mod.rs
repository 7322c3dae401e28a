//! One machine's disk, which loses power: the real redb runs on it through [`StorageBackend`]. What a cut
//! keeps, drops or tears is drawn in `draw_fates`, also for a sync that fails.
//!
//! The one invariant: what was synced survives every power cut, and what was not synced survives
//! exactly as far as the cut says. All chance comes from the seed of the cut; the disk reads no
//! clock, starts no thread and knows nothing of the simulator that turns its power off and on.

use std::fmt;
use std::io;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use redb::{BackendError, StorageBackend};

use self::media::Faults;
pub use self::media::Met;
use crate::scenario::Unsynced;

mod media;

/// A disk whose power can be cut; a clone is another handle to the same disk.
///
/// It starts empty and with its power on. A process gets at it through a [`Mount`], which is dead
/// for good once the power was cut or the process was killed: destructors that run late write
/// nothing.
///
/// Two builds give equal bytes, [`Counters::reads`] and [`PowerCut::lossy`] only if both have redb
/// with debug assertions or both without: with them it fills fresh pages with 0xFF and reads more.
///
/// ```
/// use lessor_sim::env::disk::FaultyDisk;
/// use lessor_sim::scenario::Unsynced;
/// use redb::StorageBackend;
///
/// let disk = FaultyDisk::new();
/// let mount = disk.mount();
/// mount.set_len(4)?;
/// mount.sync_data()?;
/// mount.write(0, b"lost")?;
/// let cut = disk.cut_power(Unsynced::Drop, 0);
/// assert_eq!((cut.unsynced, cut.dropped, cut.lossy), (1, 1, true));
/// assert!(mount.sync_data().is_err());
/// disk.power_on();
/// assert_eq!(disk.platter(), [0; 4]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<DiskState>>);

impl FaultyDisk {
    /// An empty disk with its power on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a process access to the disk, until the next power cut or kill.
    ///
    /// Without power the mount is dead from the start.
    #[must_use]
    pub fn mount(&self) -> Mount {
        let mut state = self.state();
        state.mounts += 1;
        Mount { disk: self.clone(), epoch: state.epoch, id: state.mounts }
    }

    /// Puts a fuse in that cuts the power at an operation to come; it replaces any other fuse.
    ///
    /// A power cut takes the fuse out, whether it blew or not; a kill leaves it in. Without power
    /// nothing happens.
    pub fn set_fuse(&self, fuse: Fuse) {
        let mut state = self.state();
        if !state.off {
            state.fuse = Some(fuse);
        }
    }

    /// Takes the fuse out, if there is one.
    pub fn remove_fuse(&self) {
        self.state().fuse = None;
    }

    /// Turns the power off: decides what becomes of the un-synced operations, and kills all mounts.
    ///
    /// `seed` is drawn from only for [`Unsynced::Tear`]. If the power is off already, because a fuse
    /// blew, nothing happens and the result is that of the cut that did it.
    pub fn cut_power(&self, unsynced: Unsynced, seed: u64) -> PowerCut {
        let mut state = self.state();
        if !state.off {
            state.cut_power(unsynced, seed);
        }
        state.last_cut.expect("whatever turned the power off has left its report")
    }

    /// Turns the power on again: what a process sees is what the platter holds.
    ///
    /// Nothing happens if the power is on.
    pub fn power_on(&self) {
        let mut state = self.state();
        let DiskState { off, image, durable, .. } = &mut *state;
        if *off {
            *off = false;
            image.clone_from(durable);
            state.kill_mounts();
        }
    }

    /// Kills the process and not the machine: all mounts are dead, but nothing is lost.
    ///
    /// Un-synced operations stay un-synced, as in the cache of an operating system, and the next
    /// process sees them until a power cut decides about them.
    pub fn kill_process(&self) {
        self.state().kill_mounts();
    }

    /// Whether the power is off; how the simulator learns that a fuse blew.
    #[must_use]
    pub fn power_is_off(&self) -> bool {
        self.state().off
    }

    /// What the last power cut did, if there was any.
    #[must_use]
    pub fn last_cut(&self) -> Option<PowerCut> {
        self.state().last_cut
    }

    /// What was done to the disk since it was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    /// Notes from now on what is done, or no more, for [`take_operations`](Self::take_operations).
    pub fn note_operations(&self, noted: bool) {
        self.state().noted = noted.then(Vec::new);
    }

    /// What was done since this was last asked, in words.
    #[must_use]
    pub fn take_operations(&self) -> Vec<String> {
        self.state().noted.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A copy of what would survive if the power were cut and all un-synced operations dropped.
    #[must_use]
    pub fn platter(&self) -> Vec<u8> {
        self.state().durable.clone()
    }

    /// Makes every sync from here on a lie: it returns `Ok` and makes nothing durable.
    #[cfg(test)]
    fn lie(&self) {
        self.state().lying = true;
    }

    /// A panic elsewhere may unwind through a database that still writes, so poison is ignored.
    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the content out: it may have tens of megabytes.
impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FaultyDisk")
            .field("len", &state.image.len())
            .field("unsynced", &state.unsynced.len())
            .field("off", &state.off)
            .field("fuse", &state.fuse)
            .finish_non_exhaustive()
    }
}

/// Cuts the power at an operation to come, and so possibly inside a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fuse {
    /// When it blows.
    pub at: FuseAt,
    /// What becomes of the operations that are un-synced at that moment.
    pub unsynced: Unsynced,
    /// The seed of the cut.
    pub seed: u64,
}

/// When a [`Fuse`] blows, counted from when it is put in: 1, and 0 as well, is the next.
///
/// Operations are writes, changes of the length, and syncs. One that is refused does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FuseAt {
    /// At the n-th operation, before it takes effect.
    Operation(u64),
    /// At the n-th sync, before it takes effect.
    Sync(u64),
    /// At the n-th sync, after all is durable; whoever called it gets an error nevertheless.
    AfterSync(u64),
}

/// What a power cut did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PowerCut {
    /// The operations that were not synced: the sum of the next three.
    pub unsynced: u64,
    /// Those of them that reached the platter.
    pub kept: u64,
    /// Those that did not.
    pub dropped: u64,
    /// The writes that reached it in part.
    pub torn: u64,
    /// Whether the platter differs from what the process saw. A cut without is a vacuous fault.
    pub lossy: bool,
}

/// What was done to a disk, in operations that took effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// The bytes of all writes.
    pub bytes_written: u64,
    /// Changes of the length.
    pub set_lens: u64,
    /// Syncs, with those after which the power failed.
    pub syncs: u64,
    /// Power cuts, by a fuse or not.
    pub power_cuts: u64,
}

/// A process's access to a [`FaultyDisk`], for `redb::Builder::create_with_backend`.
///
/// Every method fails once the power was cut or the process was killed. Of redb's locks it has the
/// exclusive one over the whole storage, so that opening a disk twice is found out; it is released
/// by `close`, by a power cut and by a kill.
pub struct Mount {
    disk: FaultyDisk,
    epoch: u64,
    id: u64,
}

impl Mount {
    /// The disk, if this mount is alive.
    fn state(&self) -> io::Result<MutexGuard<'_, DiskState>> {
        let state = self.disk.state();
        if state.off {
            Err(power_lost())
        } else if state.epoch != self.epoch {
            Err(io::Error::other("the process that mounted this disk is dead"))
        } else {
            Ok(state)
        }
    }
}

impl StorageBackend for Mount {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let range = state.range(offset, out.len())?;
        out.copy_from_slice(&state.image[range]);
        state.counters.reads += 1;
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| out_of_range())?;
        self.state()?.change(Operation::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state()?.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let start = state.range(offset, data.len())?.start;
        state.change(Operation::Write(start, data.to_vec()))
    }

    fn close(&self) -> io::Result<()> {
        self.state()?.lock.take_if(|id| *id == self.id);
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        whole_storage(start, end)?;
        Ok(*self.state()?.lock.get_or_insert(self.id) == self.id)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        whole_storage(start, end)?;
        Ok(self.close()?)
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("epoch", &self.epoch).field("id", &self.id).finish()
    }
}

/// A disk. How slow it is, the simulator decides.
#[derive(Default)]
struct DiskState {
    /// What a process sees: the platter with all un-synced operations done.
    image: Vec<u8>,
    /// The platter: what survives.
    durable: Vec<u8>,
    /// What was done to the image since the last sync, in order.
    unsynced: Vec<Operation>,
    /// What was done since somebody last asked, in words, if somebody does.
    noted: Option<Vec<String>>,
    off: bool,
    /// Mounts of an earlier epoch are dead.
    epoch: u64,
    fuse: Option<Fuse>,
    /// The mount that has the disk locked.
    lock: Option<u64>,
    /// How many mounts there were, which numbers them.
    mounts: u64,
    counters: Counters,
    last_cut: Option<PowerCut>,
    faults: Faults,
    #[cfg(test)]
    lying: bool,
}

impl DiskState {
    /// Does a write or a change of the length to the image.
    fn change(&mut self, operation: Operation) -> io::Result<()> {
        if let Some(fuse) = self.burn_fuse(false) {
            self.cut_power(fuse.unsynced, fuse.seed);
            return Err(power_lost());
        }
        self.find_room(&operation)?;
        match &operation {
            Operation::Write(_, data) => {
                self.counters.writes += 1;
                self.counters.bytes_written += data.len() as u64;
            }
            Operation::SetLen(_) => self.counters.set_lens += 1,
        }
        operation.reach(&mut self.image, &Fate::Kept);
        self.note(|| match &operation {
            Operation::Write(offset, data) => format!("writes {} bytes at {offset}", data.len()),
            Operation::SetLen(len) => format!("has a length of {len} bytes"),
        });
        self.unsynced.push(operation);
        Ok(())
    }

    /// Keeps some words about an operation, if somebody wants them.
    fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(noted) = &mut self.noted {
            noted.push(words());
        }
    }

    /// Brings all that is un-synced to the platter.
    fn sync(&mut self) -> io::Result<()> {
        let blown = self.burn_fuse(true);
        if blown.is_none() {
            self.fail_sync()?;
        }
        if blown.is_none_or(|fuse| matches!(fuse.at, FuseAt::AfterSync(_))) {
            self.counters.syncs += 1;
            let count = self.unsynced.len();
            self.note(|| format!("syncs, operations made durable: {count}"));
            self.make_durable();
        }
        let Some(fuse) = blown else { return Ok(()) };
        self.cut_power(fuse.unsynced, fuse.seed);
        Err(power_lost())
    }

    fn make_durable(&mut self) {
        #[cfg(test)]
        if self.lying {
            return;
        }
        self.warm_up();
        for operation in self.unsynced.drain(..) {
            operation.reach(&mut self.durable, &Fate::Kept);
        }
    }

    /// Counts an operation, and takes the fuse out if it blows at this one.
    fn burn_fuse(&mut self, is_sync: bool) -> Option<Fuse> {
        let left = match &mut self.fuse.as_mut()?.at {
            FuseAt::Operation(left) => left,
            FuseAt::Sync(left) | FuseAt::AfterSync(left) if is_sync => left,
            FuseAt::Sync(_) | FuseAt::AfterSync(_) => return None,
        };
        *left = left.saturating_sub(1);
        if *left == 0 { self.fuse.take() } else { None }
    }

    fn cut_power(&mut self, unsynced: Unsynced, seed: u64) {
        assert!(!self.off, "power is cut once");
        let (mut cut, operations) = self.settle_unsynced(unsynced, seed);
        cut.lossy = self.durable.len() != self.image.len()
            || operations.iter().any(|operation| {
                let range = operation.touches(self.image.len());
                self.durable[range.clone()] != self.image[range]
            });
        self.off = true;
        self.fuse = None;
        self.last_cut = Some(cut);
        self.counters.power_cuts += 1;
    }

    /// Decides what of the un-synced operations reaches the platter.
    fn settle_unsynced(&mut self, unsynced: Unsynced, seed: u64) -> (PowerCut, Vec<Operation>) {
        let operations = std::mem::take(&mut self.unsynced);
        let fates = match unsynced {
            Unsynced::Keep => vec![Fate::Kept; operations.len()],
            Unsynced::Drop => vec![Fate::Dropped; operations.len()],
            Unsynced::Tear => draw_fates(&operations, seed),
        };
        let mut cut = PowerCut { unsynced: operations.len() as u64, ..PowerCut::default() };
        for (operation, fate) in operations.iter().zip(&fates) {
            operation.reach(&mut self.durable, fate);
            *match fate {
                Fate::Kept => &mut cut.kept,
                Fate::Dropped => &mut cut.dropped,
                Fate::Torn(_) => &mut cut.torn,
            } += 1;
        }
        (cut, operations)
    }

    fn kill_mounts(&mut self) {
        if std::mem::take(&mut self.faults.stale) {
            self.image.clone_from(&self.durable);
        }
        self.epoch += 1;
        self.lock = None;
    }

    /// The bytes of a read or a write, none of which may lie past the end.
    fn range(&self, offset: u64, len: usize) -> io::Result<Range<usize>> {
        let start = usize::try_from(offset).map_err(|_| out_of_range())?;
        let end = start.checked_add(len).ok_or_else(out_of_range)?;
        if end > self.image.len() { Err(out_of_range()) } else { Ok(start..end) }
    }
}

enum Operation {
    /// At an offset, these bytes.
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Operation {
    /// Does the operation as far as its fate allows.
    ///
    /// A write is clipped where a dropped change of the length has left no room for it: a file's
    /// length is journalled with its data, so nothing is ever found past its end.
    fn reach(&self, bytes: &mut Vec<u8>, fate: &Fate) {
        match (self, fate) {
            (_, Fate::Dropped) => {}
            (Self::SetLen(len), _) => bytes.resize(*len, 0),
            (Self::Write(offset, data), Fate::Kept) => copy(bytes, *offset, data),
            (Self::Write(offset, data), Fate::Torn(sectors)) => {
                let ranges = sectors_of(*offset, data.len());
                for (range, _) in ranges.zip(sectors).filter(|(_, kept)| **kept) {
                    copy(bytes, *offset + range.start, &data[range]);
                }
            }
        }
    }

    /// The bytes that it may have changed, of a disk of this length.
    fn touches(&self, len: usize) -> Range<usize> {
        match self {
            Self::Write(offset, data) => (*offset).min(len)..(offset + data.len()).min(len),
            Self::SetLen(to) => (*to).min(len)..len,
        }
    }
}

#[derive(Clone)]
enum Fate {
    Kept,
    Dropped,
    /// Which sectors of a write are kept: at least one, and not all.
    Torn(Vec<bool>),
}

/// Decides about each operation by itself, in proportions that are drawn as well, so that there are
/// cuts that lose nearly all and cuts that lose nearly nothing.
///
/// Draws in the order of offsets and not of issue: redb writes the pages of a commit in the order of
/// a hash table, which is fixed but may differ between machines. The operations kept are not
/// reordered: a disk may well do so, but the later of two writes to a sector always wins, and for
/// writes to different sectors the fates make the same outcomes as any order.
fn draw_fates(operations: &[Operation], seed: u64) -> Vec<Fate> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [keep, drop, tear] = [(); 3].map(|()| 1 + rng.next_u64() % 8);
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_by_key(|&i| match operations[i] {
        Operation::Write(offset, _) => offset,
        Operation::SetLen(_) => usize::MAX,
    });
    let mut fates = vec![Fate::Kept; operations.len()];
    for i in order {
        let draw = rng.next_u64() % (keep + drop + tear);
        fates[i] = if draw < keep {
            Fate::Kept
        } else if draw < keep + drop {
            Fate::Dropped
        } else {
            draw_tear(&operations[i], &mut rng)
        };
    }
    fates
}

/// Tears a write into sectors; what cannot be torn is dropped.
fn draw_tear(operation: &Operation, rng: &mut ChaCha8Rng) -> Fate {
    let Operation::Write(offset, data) = operation else { return Fate::Dropped };
    let mut sectors: Vec<bool> =
        sectors_of(*offset, data.len()).map(|_| rng.next_u64().is_multiple_of(2)).collect();
    if sectors.len() < 2 {
        return Fate::Dropped;
    }
    if sectors.iter().all(|kept| *kept == sectors[0]) {
        sectors[0] = !sectors[0];
    }
    Fate::Torn(sectors)
}

/// The parts of a write that lie in one sector each, as ranges of its bytes.
fn sectors_of(offset: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = offset + len;
    (offset / SECTOR..end.div_ceil(SECTOR)).map(move |sector| {
        let start = (sector * SECTOR).max(offset);
        start - offset..((sector + 1) * SECTOR).min(end) - offset
    })
}

/// Copies as much of the data as there is room for.
fn copy(bytes: &mut [u8], offset: usize, data: &[u8]) {
    if let Some(room) = bytes.get_mut(offset..) {
        let len = room.len().min(data.len());
        room[..len].copy_from_slice(&data[..len]);
    }
}

fn whole_storage(start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
    match (start, end) {
        (Bound::Unbounded | Bound::Included(0), Bound::Unbounded) => Ok(()),
        (Bound::Unbounded | Bound::Included(_) | Bound::Excluded(_), _) => {
            Err(BackendError::Unsupported)
        }
    }
}

fn power_lost() -> io::Error {
    io::Error::other("the machine lost power")
}

fn out_of_range() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the range lies past the end of the disk")
}

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use redb::{Database, DatabaseError, Durability, ReadableDatabase, StorageError};
    use redb::{ReadableTable, TableDefinition, TableError};

    use super::*;

    const ALL: [Unsynced; 3] = [Unsynced::Keep, Unsynced::Drop, Unsynced::Tear];

    /// A disk of `len` bytes, all of them 1 and synced.
    fn disk_of_ones(len: usize) -> (FaultyDisk, Mount) {
        let disk = FaultyDisk::new();
        let mount = disk.mount();
        mount.set_len(len as u64).unwrap();
        mount.write(0, &vec![1; len]).unwrap();
        mount.sync_data().unwrap();
        (disk, mount)
    }

    fn content(disk: &FaultyDisk) -> Vec<u8> {
        let mount = disk.mount();
        let mut bytes = vec![0; usize::try_from(mount.len().unwrap()).unwrap()];
        mount.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn unsynced_writes_are_lost_under_drop_and_survive_under_keep() {
        for (unsynced, byte, lossy) in [(Unsynced::Drop, 1, true), (Unsynced::Keep, 2, false)] {
            let (disk, mount) = disk_of_ones(1_000);
            mount.write(0, &[2; 1_000]).unwrap();
            assert_eq!(content(&disk), [2; 1_000]);
            let cut = disk.cut_power(unsynced, 0);
            disk.power_on();
            assert_eq!(content(&disk), [byte; 1_000]);
            assert_eq!((cut.unsynced, cut.lossy), (1, lossy));
        }
    }

    #[test]
    fn what_was_synced_survives_every_cut() {
        for unsynced in ALL {
            for seed in 0..50 {
                let (disk, mount) = disk_of_ones(5_000);
                mount.write(100, &[2; 4_000]).unwrap();
                mount.sync_data().unwrap();
                let before = content(&disk);
                assert_eq!(disk.cut_power(unsynced, seed), PowerCut::default());
                disk.power_on();
                assert_eq!(content(&disk), before);
            }
        }
    }

    #[test]
    fn a_torn_write_keeps_whole_sectors_and_neither_none_nor_all() {
        let mut torn = 0;
        for seed in 0..200 {
            let (disk, mount) = disk_of_ones(8_192);
            mount.write(700, &[2; 5_000]).unwrap();
            let cut = disk.cut_power(Unsynced::Tear, seed);
            disk.power_on();
            let bytes = content(&disk);
            let kept = bytes.iter().filter(|byte| **byte == 2).count();
            assert_eq!(kept == 0, cut.dropped == 1);
            assert_eq!(kept == 5_000, cut.kept == 1);
            assert!(bytes[..700].iter().chain(&bytes[5_700..]).all(|byte| *byte == 1));
            for sector in bytes[700..5_700].chunk_by(|a, b| a == b).scan(700, |at, run| {
                *at += run.len();
                Some(*at)
            }) {
                assert!(sector % SECTOR == 0 || sector == 5_700, "torn at byte {sector}");
            }
            torn += cut.torn;
        }
        assert!((30..170).contains(&torn), "{torn} of 200");
    }

    #[test]
    fn a_write_within_one_sector_and_a_length_are_never_torn() {
        for seed in 0..100 {
            let (disk, mount) = disk_of_ones(1_024);
            mount.write(512, &[2; 512]).unwrap();
            mount.set_len(4_096).unwrap();
            let cut = disk.cut_power(Unsynced::Tear, seed);
            assert_eq!((cut.unsynced, cut.torn), (2, 0));
            assert!([1_024, 4_096].contains(&disk.platter().len()));
            assert!([[1; 512], [2; 512]].contains(&disk.platter()[512..1_024].try_into().unwrap()));
        }
    }

    #[test]
    fn a_write_past_a_lost_growth_is_clipped() {
        let mut clipped = 0;
        for seed in 0..100 {
            let (disk, mount) = disk_of_ones(1_024);
            mount.set_len(2_048).unwrap();
            mount.write(1_000, &[2; 1_000]).unwrap();
            let cut = disk.cut_power(Unsynced::Tear, seed);
            clipped += u32::from(cut.kept == 1 && disk.platter().len() == 1_024);
            assert_eq!(cut.lossy, cut.kept < 2, "{cut:?}");
        }
        assert!(clipped > 5, "{clipped}");
    }

    #[test]
    fn growth_reads_as_zeros_also_where_a_shrink_has_cut_data_off() {
        let (disk, mount) = disk_of_ones(10);
        mount.set_len(5).unwrap();
        mount.set_len(8).unwrap();
        assert_eq!(content(&disk), [1, 1, 1, 1, 1, 0, 0, 0]);
        assert!(disk.cut_power(Unsynced::Drop, 0).lossy);
        disk.power_on();
        assert_eq!(content(&disk), [1; 10]);
    }

    #[test]
    fn an_access_past_the_end_is_refused_and_changes_nothing() {
        let (disk, mount) = disk_of_ones(10);
        for (offset, len) in [(0, 11), (10, 1), (u64::MAX, 1), (u64::MAX, 0)] {
            let error = mount.read(offset, &mut vec![0; len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(mount.write(offset, &vec![2; len]).is_err());
        }
        assert!(mount.read(10, &mut []).is_ok());
        assert_eq!(content(&disk), [1; 10]);
    }

    #[test]
    fn a_mount_made_before_a_power_cut_is_dead_for_good() {
        let (disk, mount) = disk_of_ones(10);
        disk.cut_power(Unsynced::Keep, 0);
        let mount_without_power = disk.mount();
        for power_on in [false, true] {
            if power_on {
                disk.power_on();
            }
            for mount in [&mount, &mount_without_power] {
                assert!(mount.len().is_err());
                assert!(mount.read(0, &mut [0]).is_err());
                assert!(mount.write(0, &[2]).is_err());
                assert!(mount.set_len(0).is_err());
                assert!(mount.sync_data().is_err());
                assert!(mount.close().is_err());
                assert!(mount.try_lock_range(Bound::Unbounded, Bound::Unbounded).is_err());
            }
        }
        assert_eq!(content(&disk), [1; 10]);
    }

    #[test]
    fn a_killed_process_loses_its_mount_and_its_writes_stay_unsynced() {
        let (disk, mount) = disk_of_ones(10);
        mount.write(0, &[2]).unwrap();
        disk.kill_process();
        assert!(mount.write(0, &[3]).is_err());
        assert!(!disk.power_is_off());
        assert_eq!(content(&disk)[0], 2);
        assert_eq!(disk.cut_power(Unsynced::Drop, 0).dropped, 1);
        disk.power_on();
        assert_eq!(content(&disk)[0], 1);
    }

    #[test]
    fn a_fuse_blows_before_the_operation_it_counts_to() {
        let (disk, mount) = disk_of_ones(10);
        disk.set_fuse(Fuse { at: FuseAt::Operation(4), unsynced: Unsynced::Keep, seed: 0 });
        mount.write(0, &[2]).unwrap();
        mount.read(0, &mut [0]).unwrap();
        mount.sync_data().unwrap();
        mount.set_len(9).unwrap();
        assert!(!disk.power_is_off());
        assert!(mount.write(1, &[3]).is_err());
        assert!(disk.power_is_off());
        assert_eq!(disk.last_cut().unwrap().kept, 1);
        assert_eq!(disk.cut_power(Unsynced::Drop, 0).kept, 1, "the cut is not repeated");
        disk.power_on();
        assert_eq!(content(&disk), [2, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(disk.counters().power_cuts, 1);
    }

    #[test]
    fn a_fuse_at_a_sync_lets_it_take_effect_only_if_it_blows_after_it() {
        for (at, byte) in [(FuseAt::Sync(2), 1), (FuseAt::AfterSync(2), 2)] {
            let (disk, mount) = disk_of_ones(10);
            disk.set_fuse(Fuse { at, unsynced: Unsynced::Drop, seed: 0 });
            mount.sync_data().unwrap();
            mount.write(0, &[2]).unwrap();
            assert!(mount.sync_data().is_err());
            assert!(disk.power_is_off());
            assert_eq!(disk.platter()[0], byte);
        }
    }

    #[test]
    fn a_fuse_that_is_taken_out_does_not_blow() {
        let (disk, mount) = disk_of_ones(10);
        let fuse = Fuse { at: FuseAt::Operation(1), unsynced: Unsynced::Drop, seed: 0 };
        disk.set_fuse(fuse);
        disk.remove_fuse();
        mount.sync_data().unwrap();
        disk.set_fuse(fuse);
        disk.cut_power(Unsynced::Drop, 0);
        disk.power_on();
        disk.mount().sync_data().unwrap();
    }

    #[test]
    fn the_counters_count_what_took_effect() {
        let (disk, mount) = disk_of_ones(10);
        mount.read(0, &mut [0]).unwrap();
        assert!(mount.write(10, &[0]).is_err());
        let expected = Counters {
            reads: 1,
            writes: 1,
            bytes_written: 10,
            set_lens: 1,
            syncs: 1,
            power_cuts: 0,
        };
        assert_eq!(disk.counters(), expected);
    }

    #[test]
    fn the_platter_depends_on_the_seed_and_not_on_the_order_of_the_writes() {
        let cut = |seed, pages: [u64; 4]| {
            let (disk, mount) = disk_of_ones(16_384);
            for page in pages {
                mount.write(page * 4_096, &[2; 4_096]).unwrap();
            }
            (disk.cut_power(Unsynced::Tear, seed), disk.platter())
        };
        assert_eq!(cut(1, [0, 1, 2, 3]), cut(1, [0, 1, 2, 3]));
        assert_eq!(cut(1, [0, 1, 2, 3]), cut(1, [2, 0, 3, 1]));
        assert_ne!(cut(1, [0, 1, 2, 3]), cut(2, [0, 1, 2, 3]));
    }

    #[test]
    fn a_disk_that_is_in_use_cannot_be_opened_again_until_its_process_dies() {
        let disk = FaultyDisk::new();
        let first = open(&disk).unwrap();
        assert!(matches!(open(&disk), Err(DatabaseError::DatabaseAlreadyOpen)));
        disk.kill_process();
        let second = open(&disk).unwrap();
        drop(first);
        assert!(matches!(open(&disk), Err(DatabaseError::DatabaseAlreadyOpen)));
        drop(second);
        open(&disk).unwrap();
    }

    #[test]
    fn redb_keeps_every_acknowledged_commit_whole_through_power_cuts() {
        let mut sum = Tally::default();
        for seed in 0..300 {
            let tally =
                crash_redb(seed, false).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            assert_eq!(crash_redb(seed, false), Ok(tally), "seed {seed} gave another run");
            sum += tally;
        }
        println!("{sum:#?}");
        assert!(sum.cuts > 1_000 && sum.lossy_cuts > 400 && sum.torn > 500, "{sum:?}");
        assert!(sum.in_flight_lost > 300 && sum.in_flight_kept > 100, "{sum:?}");
        assert!(sum.cut_opens > 50 && sum.kills > 300 && sum.stillborn > 0, "{sum:?}");
    }

    #[test]
    fn a_disk_whose_sync_lies_is_caught() {
        let caught = |seed| {
            let run = catch_unwind(AssertUnwindSafe(|| crash_redb(seed, true)));
            !matches!(run, Ok(Ok(_)))
        };
        let caught = (0..300).filter(|seed| caught(*seed)).count();
        println!("{caught} of 300 seeds");
        assert!(caught > 240, "{caught} of 300 seeds");
    }

    /// Value rows are written in pairs, which must be there together.
    const PAIRS: TableDefinition<u64, &[u8]> = TableDefinition::new("pairs");

    fn open(disk: &FaultyDisk) -> Result<Database, DatabaseError> {
        Database::builder().create_with_backend(disk.mount())
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    struct Tally {
        commits: u64,
        cuts: u64,
        lossy_cuts: u64,
        unsynced: u64,
        kept: u64,
        dropped: u64,
        torn: u64,
        in_flight_kept: u64,
        in_flight_lost: u64,
        cut_opens: u64,
        kills: u64,
        /// Databases whose creation was cut, which redb refuses to open ever after.
        stillborn: u64,
    }

    /// Some lives of one machine, each ended by a power cut, or else by a kill; checks the database
    /// at the start of each and after the last.
    fn crash_redb(seed: u64, lying: bool) -> Result<Tally, String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tally = Tally::default();
        let disk = FaultyDisk::new();
        if lying {
            open(&disk).map_err(|error| error.to_string())?;
            disk.lie();
        }
        let mut acknowledged = 0;
        let mut in_flight = false;
        let mut born = lying;
        for life in 0..6 {
            let last = life == 5;
            if last {
                disk.remove_fuse();
            } else {
                disk.set_fuse(draw_fuse(&mut rng));
            }
            match open(&disk) {
                Ok(mut database) => {
                    born = true;
                    match pairs(&database) {
                        Ok(found) => {
                            let complete = acknowledged + u64::from(in_flight);
                            if found != acknowledged && found != complete {
                                return Err(format!("{found} pairs, {acknowledged} acknowledged"));
                            }
                            tally.in_flight_kept += found - acknowledged;
                            tally.in_flight_lost += complete - found;
                            acknowledged = found;
                            in_flight = false;
                        }
                        Err(_) if disk.power_is_off() => {}
                        Err(error) => return Err(error),
                    }
                    for _ in 0..if last { 0 } else { 1 + rng.next_u64() % 30 } {
                        if disk.power_is_off() {
                            break;
                        }
                        let two_phase = rng.next_u64().is_multiple_of(4);
                        match commit(&database, acknowledged, two_phase) {
                            Ok(()) => acknowledged += 1,
                            Err(_) if disk.power_is_off() => in_flight = true,
                            Err(error) => return Err(error.to_string()),
                        }
                    }
                    if last && !database.check_integrity().map_err(|error| error.to_string())? {
                        return Err("redb had to repair a database that it had opened".to_owned());
                    }
                    if !disk.power_is_off() {
                        disk.kill_process();
                        tally.kills += 1;
                    }
                }
                Err(_) if disk.power_is_off() => tally.cut_opens += 1,
                Err(DatabaseError::Storage(StorageError::Io(error)))
                    if !born && error.kind() == io::ErrorKind::InvalidData =>
                {
                    tally.stillborn += 1;
                    break;
                }
                Err(error) => return Err(error.to_string()),
            }
            if rng.next_u64().is_multiple_of(2) {
                disk.cut_power(ALL[life % 3], rng.next_u64());
            }
            if disk.power_is_off() {
                tally.count(disk.last_cut().unwrap());
                disk.power_on();
            }
        }
        tally.commits = acknowledged;
        Ok(tally)
    }

    fn draw_fuse(rng: &mut ChaCha8Rng) -> Fuse {
        let at = match rng.next_u64() % 4 {
            0 => FuseAt::Sync(1 + rng.next_u64() % 30),
            1 => FuseAt::AfterSync(1 + rng.next_u64() % 30),
            _ => FuseAt::Operation(1 + rng.next_u64() % 200),
        };
        Fuse { at, unsynced: Unsynced::Tear, seed: rng.next_u64() }
    }

    /// Each fifth pair is so long that it takes pages of its own.
    fn value(pair: u64) -> Vec<u8> {
        let len = if pair.is_multiple_of(5) { 6_000 } else { 60 };
        (pair..pair + len).map(|i| i.to_le_bytes()[0]).collect()
    }

    fn commit(database: &Database, pair: u64, two_phase: bool) -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(two_phase);
        {
            let mut table = transaction.open_table(PAIRS)?;
            table.insert(2 * pair, value(pair).as_slice())?;
            table.insert(2 * pair + 1, value(pair).as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// How many pairs there are, after a look whether they are whole and without a gap.
    fn pairs(database: &Database) -> Result<u64, String> {
        let transaction = database.begin_read().map_err(|error| error.to_string())?;
        let table = match transaction.open_table(PAIRS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(0),
            table => table.map_err(|error| error.to_string())?,
        };
        let mut rows = 0;
        for row in table.iter().map_err(|error| error.to_string())? {
            let (key, found) = row.map_err(|error| error.to_string())?;
            if key.value() != rows || found.value() != value(rows / 2) {
                return Err(format!("row {} where {rows} belongs, or a wrong value", key.value()));
            }
            rows += 1;
        }
        if rows.is_multiple_of(2) { Ok(rows / 2) } else { Err("half a pair".to_owned()) }
    }

    impl Tally {
        fn count(&mut self, cut: PowerCut) {
            self.cuts += 1;
            self.lossy_cuts += u64::from(cut.lossy);
            self.unsynced += cut.unsynced;
            self.kept += cut.kept;
            self.dropped += cut.dropped;
            self.torn += cut.torn;
        }
    }

    impl std::ops::AddAssign for Tally {
        fn add_assign(&mut self, other: Self) {
            self.commits += other.commits;
            self.cuts += other.cuts;
            self.lossy_cuts += other.lossy_cuts;
            self.unsynced += other.unsynced;
            self.kept += other.kept;
            self.dropped += other.dropped;
            self.torn += other.torn;
            self.in_flight_kept += other.in_flight_kept;
            self.in_flight_lost += other.in_flight_lost;
            self.cut_opens += other.cut_opens;
            self.kills += other.kills;
            self.stillborn += other.stillborn;
        }
    }
}
