//! A queue of deadlines, earliest first: at most one entry for each lease.
//!
//! A hierarchical timing wheel (Varghese and Lauck, 1987) over buckets of about half a second, whose
//! lists run through one small node a lease, and in front of it an ordered map of the bucket that
//! is being worked off, so that deadlines come exact and in the order (time, id).
//!
//! Moving a deadline *later* costs nothing here: whoever owns the deadlines writes down the new one,
//! and the queue asks for it when the old one comes up ([`Source::due`]). etcd: `lease_queue.go`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{Instant, LeaseId};

/// Deadlines by slot of the lease table.
#[derive(Debug)]
pub(crate) struct Deadlines {
    nodes: Vec<Node>,
    /// Everything armed for a tick up to `elapsed`, in order.
    near: BTreeMap<(Instant, LeaseId), u32>,
    levels: [Level; LEVELS],
    /// The tick up to which buckets were emptied into `near`.
    elapsed: u64,
    len: usize,
}

/// What the queue asks the owner of the leases.
pub(crate) trait Source {
    /// The lease in a slot.
    fn id(&self, slot: u32) -> LeaseId;

    /// The earliest moment at which the deadline may really fire; later than armed if it has moved.
    fn due(&self, slot: u32) -> Instant;
}

#[derive(Clone, Copy, Debug)]
struct Node {
    armed: Instant,
    next: u32,
    prev: u32,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// A bit for each bucket that holds something.
    occupied: u64,
    heads: [u32; BUCKETS],
}

/// Where a deadline of a tick belongs.
enum Place {
    Near,
    Bucket { level: usize, bucket: usize },
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            near: BTreeMap::new(),
            levels: [Level { occupied: 0, heads: [NIL; BUCKETS] }; LEVELS],
            elapsed: 0,
            len: 0,
        }
    }

    /// Arms the deadline of a slot, or moves it.
    pub(crate) fn set(&mut self, slot: u32, at: Instant, source: &impl Source) {
        self.clear(slot, source);
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, Node::IDLE);
        }
        self.len += 1;
        self.link(slot, at, source);
    }

    /// Disarms the deadline of a slot, if it has one.
    pub(crate) fn clear(&mut self, slot: u32, source: &impl Source) {
        let Some(&node) = self.nodes.get(slot as usize) else { return };
        match node.next {
            IDLE => return,
            NEAR => {
                let removed = self.near.remove(&(node.armed, source.id(slot)));
                assert!(removed == Some(slot), "a near deadline is in the ordered map");
            }
            _ => self.unlink(node),
        }
        self.nodes[slot as usize] = Node::IDLE;
        self.len -= 1;
    }

    /// Follows a lease that moves from slot `from`, the last of the table, to slot `to`, which has
    /// no deadline. Must be called while the lease is still in `from`.
    pub(crate) fn rename(&mut self, from: u32, to: u32, source: &impl Source) {
        let Some(&node) = self.nodes.get(from as usize) else { return };
        match node.next {
            IDLE => return,
            NEAR => {
                self.near.insert((node.armed, source.id(from)), to);
            }
            _ => {
                if node.next != NIL {
                    self.nodes[node.next as usize].prev = to;
                }
                if node.prev == NIL {
                    *self.head_of(node.armed) = to;
                } else {
                    self.nodes[node.prev as usize].next = to;
                }
            }
        }
        self.nodes[to as usize] = node;
        self.nodes[from as usize] = Node::IDLE;
    }

    /// Gives memory back down to `slots` slots, above which there is no deadline.
    pub(crate) fn shrink(&mut self, slots: usize) {
        self.nodes.truncate(slots);
        if self.nodes.capacity() > 4 * self.nodes.len().max(64) {
            self.nodes.shrink_to(2 * self.nodes.len());
        }
    }

    /// Takes the earliest deadline out if it is due, or says that there is none.
    pub(crate) fn pop_due(&mut self, now: Instant, source: &impl Source) -> Option<u32> {
        self.advance(now, source);
        while let Some(entry) = self.near.first_entry() {
            let &(armed, _) = entry.key();
            if armed > now {
                break;
            }
            let slot = entry.remove();
            let due = source.due(slot);
            if due <= armed {
                self.nodes[slot as usize] = Node::IDLE;
                self.len -= 1;
                return Some(slot);
            }
            self.link(slot, due, source);
        }
        None
    }

    /// Works off the buckets up to `now`: afterwards [`first`](Self::first) is later than `now`
    /// unless something is due.
    pub(crate) fn advance(&mut self, now: Instant, source: &impl Source) {
        let to = tick(now);
        while let Some((start, level, bucket)) = self.next_bucket() {
            if start > to {
                break;
            }
            self.elapsed = start;
            let level = &mut self.levels[level];
            level.occupied &= !(1 << bucket);
            let mut slot = core::mem::replace(&mut level.heads[bucket], NIL);
            while slot != NIL {
                let node = self.nodes[slot as usize];
                self.link(slot, node.armed.max(source.due(slot)), source);
                slot = node.next;
            }
        }
        self.elapsed = self.elapsed.max(to);
    }

    /// A moment before which nothing is due, exact within the bucket that is being worked off.
    pub(crate) fn first(&self) -> Option<Instant> {
        if let Some(&(armed, _)) = self.near.keys().next() {
            return Some(armed);
        }
        self.next_bucket().map(|(start, ..)| Instant::from_nanos(start << TICK_BITS))
    }

    /// How many deadlines are armed.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The moment for which a slot is armed.
    pub(crate) fn armed(&self, slot: u32) -> Option<Instant> {
        self.nodes.get(slot as usize).filter(|node| node.next != IDLE).map(|node| node.armed)
    }

    /// Panics unless every entry is exactly where it is looked for.
    pub(crate) fn check(&self, source: &impl Source) {
        let mut found = 0;
        for (&(armed, id), &slot) in &self.near {
            let node = self.nodes[slot as usize];
            assert!(node.next == NEAR && node.armed == armed, "slot {slot} is near at {armed}");
            assert!(source.id(slot) == id, "slot {slot} belongs to lease {id}");
            assert!(tick(armed) <= self.elapsed, "slot {slot} is not near at {armed}");
            found += 1;
        }
        for (index, level) in self.levels.iter().enumerate() {
            for (bucket, &head) in level.heads.iter().enumerate() {
                assert!(
                    (head != NIL) == (level.occupied & (1 << bucket) != 0),
                    "bucket {bucket} of level {index} is marked as it is"
                );
                let (mut slot, mut prev) = (head, NIL);
                while slot != NIL {
                    let node = self.nodes[slot as usize];
                    assert!(node.prev == prev, "slot {slot} knows who is before it");
                    assert!(
                        matches!(self.place(node.armed), Place::Bucket { level, bucket: place }
                            if level == index && place == bucket),
                        "slot {slot} is in the bucket of {}",
                        node.armed
                    );
                    found += 1;
                    (slot, prev) = (node.next, slot);
                }
            }
        }
        assert!(found == self.len, "{found} deadlines found, {} counted", self.len);
    }

    fn link(&mut self, slot: u32, at: Instant, source: &impl Source) {
        let mut node = Node { armed: at, next: NEAR, prev: NIL };
        match self.place(at) {
            Place::Near => {
                let displaced = self.near.insert((at, source.id(slot)), slot);
                assert!(displaced.is_none(), "a lease has one deadline");
            }
            Place::Bucket { level, bucket } => {
                let level = &mut self.levels[level];
                level.occupied |= 1 << bucket;
                node.next = core::mem::replace(&mut level.heads[bucket], slot);
                if node.next != NIL {
                    self.nodes[node.next as usize].prev = slot;
                }
            }
        }
        self.nodes[slot as usize] = node;
    }

    fn unlink(&mut self, node: Node) {
        if node.next != NIL {
            self.nodes[node.next as usize].prev = node.prev;
        }
        if node.prev == NIL {
            *self.head_of(node.armed) = node.next;
            if node.next == NIL
                && let Place::Bucket { level, bucket } = self.place(node.armed)
            {
                self.levels[level].occupied &= !(1 << bucket);
            }
        } else {
            self.nodes[node.prev as usize].next = node.next;
        }
    }

    fn head_of(&mut self, armed: Instant) -> &mut u32 {
        match self.place(armed) {
            Place::Bucket { level, bucket } => &mut self.levels[level].heads[bucket],
            Place::Near => unreachable!("a linked deadline is in a bucket"),
        }
    }

    /// Where a deadline belongs while the wheel stands at `elapsed`. It stays the same until the
    /// wheel reaches the start of its bucket, so that an entry is found again where it was put.
    fn place(&self, at: Instant) -> Place {
        let at = tick(at);
        if at <= self.elapsed {
            return Place::Near;
        }
        let level = (63 - (at ^ self.elapsed).leading_zeros()) as usize / LEVEL_BITS;
        let bucket = ((at >> (level * LEVEL_BITS)) & 0x3f) as usize;
        Place::Bucket { level, bucket }
    }

    /// The first tick of the earliest bucket that holds something, with its place.
    fn next_bucket(&self) -> Option<(u64, usize, usize)> {
        let (index, level) = self.levels.iter().enumerate().find(|(_, l)| l.occupied != 0)?;
        let bucket = level.occupied.trailing_zeros() as usize;
        let above = self.elapsed >> ((index + 1) * LEVEL_BITS) << LEVEL_BITS;
        Some(((above | bucket as u64) << (index * LEVEL_BITS), index, bucket))
    }
}

impl Node {
    const IDLE: Self = Self { armed: Instant::MAX, next: IDLE, prev: NIL };
}

/// The number of the bucket of the lowest level that a moment falls into.
fn tick(at: Instant) -> u64 {
    at.as_nanos() >> TICK_BITS
}

/// A bucket of the lowest level is 2^29 ns long, 537 ms.
const TICK_BITS: u32 = 29;
const LEVEL_BITS: usize = 6;
const BUCKETS: usize = 1 << LEVEL_BITS;
/// Six levels cover the 2^35 ticks that there are.
const LEVELS: usize = 6;
/// The end of a list.
const NIL: u32 = u32::MAX;
/// In place of `next`: the entry is in the ordered map.
const NEAR: u32 = u32::MAX - 1;
/// In place of `next`: the slot has no deadline.
const IDLE: u32 = u32::MAX - 2;
/// The most slots that can be told from the marks above.
pub(crate) const MAX_SLOTS: usize = IDLE as usize;
