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

use crate::table::room_to_keep;
use crate::{Instant, LeaseId};

/// Deadlines by slot of the lease table.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct Node {
    armed: Instant,
    next: u32,
    prev: u32,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct Level {
    /// A bit for each bucket that holds something.
    occupied: u64,
    #[cfg_attr(feature = "recording", serde(with = "saved_heads"))]
    heads: [u32; BUCKETS],
}

/// Where a deadline of a tick belongs.
enum Position {
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
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, Node::IDLE);
        } else {
            self.clear(slot, source);
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
        if let Some(room) = room_to_keep(self.nodes.capacity(), slots) {
            self.nodes.shrink_to(room);
        }
    }

    /// Takes the earliest deadline out if it is due, or says that there is none. The wheel must have been
    /// [advanced](Self::advance) to `now`.
    pub(crate) fn pop_due(&mut self, now: Instant, source: &impl Source) -> Option<u32> {
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
            let any = if level.heads == [NIL; BUCKETS] { 0..0 } else { 0..BUCKETS };
            let mut left = any.fold(0, |bits, at| bits | u64::from(level.heads[at] != NIL) << at);
            assert!(left == level.occupied, "the buckets of level {index} are marked as they are");
            while left != 0 {
                let bucket = left.trailing_zeros() as usize;
                let (mut slot, mut prev) = (level.heads[bucket], NIL);
                while slot != NIL {
                    let node = self.nodes[slot as usize];
                    assert!(node.prev == prev, "slot {slot} knows who is before it");
                    assert!(
                        matches!(self.position(node.armed), Position::Bucket { level, bucket: position }
                            if level == index && position == bucket),
                        "slot {slot} is in the bucket of {}",
                        node.armed
                    );
                    found += 1;
                    (slot, prev) = (node.next, slot);
                }
                left &= left - 1;
            }
        }
        assert!(found == self.len, "{found} deadlines found, {} counted", self.len);
    }

    fn link(&mut self, slot: u32, at: Instant, source: &impl Source) {
        let mut node = Node { armed: at, next: NEAR, prev: NIL };
        match self.position(at) {
            Position::Near => {
                let displaced = self.near.insert((at, source.id(slot)), slot);
                assert!(displaced.is_none(), "a lease has one deadline");
            }
            Position::Bucket { level, bucket } => {
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
                && let Position::Bucket { level, bucket } = self.position(node.armed)
            {
                self.levels[level].occupied &= !(1 << bucket);
            }
        } else {
            self.nodes[node.prev as usize].next = node.next;
        }
    }

    fn head_of(&mut self, armed: Instant) -> &mut u32 {
        match self.position(armed) {
            Position::Bucket { level, bucket } => &mut self.levels[level].heads[bucket],
            Position::Near => unreachable!("a linked deadline is in a bucket"),
        }
    }

    /// Where a deadline belongs while the wheel stands at `elapsed`. It stays the same until the
    /// wheel reaches the start of its bucket, so that an entry is found again where it was put.
    fn position(&self, at: Instant) -> Position {
        let at = tick(at);
        if at <= self.elapsed {
            return Position::Near;
        }
        let level = (63 - (at ^ self.elapsed).leading_zeros()) as usize / LEVEL_BITS;
        let bucket = ((at >> (level * LEVEL_BITS)) & 0x3f) as usize;
        Position::Bucket { level, bucket }
    }

    /// The first tick of the earliest bucket that holds something, with its position.
    fn next_bucket(&self) -> Option<(u64, usize, usize)> {
        let (index, level) = self.levels.iter().enumerate().find(|(_, l)| l.occupied != 0)?;
        let bucket = level.occupied.trailing_zeros() as usize;
        let above = self.elapsed >> ((index + 1) * LEVEL_BITS) << LEVEL_BITS;
        Some(((above + bucket as u64) << (index * LEVEL_BITS), index, bucket))
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
/// Instead of `next`: the entry is in the ordered map.
const NEAR: u32 = u32::MAX - 1;
/// Instead of `next`: the slot has no deadline.
const IDLE: u32 = u32::MAX - 2;
/// The most slots that can be told from the marks above.
pub(crate) const MAX_SLOTS: usize = IDLE as usize;

/// serde has arrays of up to 32.
#[cfg(feature = "recording")]
mod saved_heads {
    use alloc::vec::Vec;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::BUCKETS;

    pub(super) fn serialize<S: Serializer>(
        heads: &[u32; BUCKETS],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        heads.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u32; BUCKETS], D::Error> {
        let heads = Vec::deserialize(deserializer)?;
        heads.try_into().map_err(|_| D::Error::custom("a level has another number of buckets"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::time::Duration;

    use proptest::collection::vec as vec_of;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::canary::complaint;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(47),
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_wheel_does_what_a_sorted_map_does(steps in vec_of(step(), 1..120)) {
            let mut both = Both::new();
            for step in steps {
                both.step(step)?;
                both.check()?;
            }
            both.pass_until_empty()?;
        }
    }

    /// Where the bits of a tick say in which level a deadline belongs, and a bucket begins.
    #[test]
    fn a_deadline_at_the_edge_of_a_bucket_is_exact_at_every_level() {
        for level in 0..LEVELS {
            let edge = 1_u64 << (TICK_BITS as usize + level * LEVEL_BITS);
            for at in [edge - 1, edge, edge + 1, edge.saturating_mul(31)] {
                for start in [0, 1, edge / 2, edge - 2] {
                    let rows = vec![row(1, at)];
                    let mut wheel = Deadlines::new();
                    wheel.advance(Instant::from_nanos(start), &rows);
                    wheel.set(0, Instant::from_nanos(at), &rows);
                    assert_eq!(pop_due(&mut wheel, Instant::from_nanos(at - 1), &rows), None);
                    wheel.check(&rows);
                    assert_eq!(wheel.first(), Some(Instant::from_nanos(at)));
                    assert_eq!(pop_due(&mut wheel, Instant::from_nanos(at), &rows), Some(0));
                    assert_eq!((wheel.len(), wheel.first()), (0, None));
                }
            }
        }
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let rows = vec![row(1, u64::MAX), row(2, u64::MAX - 1)];
        let mut wheel = Deadlines::new();
        for slot in 0..2 {
            wheel.set(slot, rows[slot as usize].due, &rows);
        }
        let last = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(pop_due(&mut wheel, last, &rows), Some(1));
        assert_eq!(pop_due(&mut wheel, last, &rows), None);
        wheel.check(&rows);
        assert_eq!(wheel.first(), Some(Instant::MAX));
    }

    #[test]
    fn equal_deadlines_come_in_the_order_of_their_ids() {
        let rows: Vec<_> = [5, -3, 9, i64::MIN, 1].map(|id| row(id, 7_000_000_000)).into();
        let mut wheel = Deadlines::new();
        for slot in 0..5 {
            wheel.set(slot, rows[slot as usize].due, &rows);
        }
        let now = Instant::from_secs(8);
        let popped: Vec<u32> = core::iter::from_fn(|| pop_due(&mut wheel, now, &rows)).collect();
        assert_eq!(popped, [3, 1, 4, 0, 2]);
    }

    /// Else every deadline would be in the ordered map, and moving one would cost more the more there are.
    #[test]
    fn only_deadlines_of_the_bucket_that_is_worked_off_are_in_the_ordered_map() {
        let rows = vec![row(1, 1), row(2, 600_000_000), row(3, 60_000_000_000)];
        let mut wheel = Deadlines::new();
        for slot in 0..3 {
            wheel.set(slot, rows[slot as usize].due, &rows);
        }
        assert!(wheel.near.values().eq(&[0]));
        wheel.advance(Instant::from_nanos(550_000_000), &rows);
        assert!(wheel.near.values().eq(&[0, 1]));
    }

    #[test]
    fn the_check_finds_what_is_damaged() {
        type Damage = fn(&mut Deadlines, &mut Vec<Row>);
        let damages: [(&str, Damage); 8] = [
            ("slot 0 is near at 1.000", |wheel, _| wheel.nodes[0].armed = Instant::ZERO),
            ("slot 0 is near at 1.000", |wheel, _| wheel.nodes[0].next = NIL),
            ("slot 0 belongs to lease 1", |_, rows| rows[0] = row(9, 1_000_000_000)),
            ("slot 0 is not near at 1.000", |wheel, _| wheel.elapsed = 0),
            ("the buckets of level 2 are marked as they are", |wheel, _| {
                wheel.levels[2].occupied ^= 1 << 7;
            }),
            ("slot 1 knows who is before it", |wheel, _| wheel.nodes[1].prev = 0),
            ("slot 2 is in the bucket of 9.000", |wheel, _| {
                wheel.nodes[2].armed = Instant::from_secs(9);
            }),
            ("3 deadlines found, 4 counted", |wheel, _| wheel.len += 1),
        ];
        for (what, damage) in damages {
            let mut rows =
                vec![row(1, 1_000_000_000), row(2, 60_000_000_000), row(3, 60_000_000_000)];
            let mut wheel = Deadlines::new();
            wheel.advance(Instant::from_secs(1), &rows);
            for slot in 0..3 {
                wheel.set(slot, rows[slot as usize].due, &rows);
            }
            wheel.check(&rows);
            damage(&mut wheel, &mut rows);
            let said = complaint(|| wheel.check(&rows));
            assert!(said.contains(what), "{what}: {said}");
        }
    }

    #[test]
    fn memory_comes_back_with_the_slots() {
        let mut rows: Vec<_> = (1..=10_000).map(|id| row(id, 1_000_000_000)).collect();
        let mut wheel = Deadlines::new();
        for slot in 0..10_000 {
            wheel.set(slot, Instant::from_secs(1), &rows);
        }
        for slot in (0..10_000).rev() {
            wheel.clear(slot, &rows);
            rows.pop();
            wheel.shrink(rows.len());
        }
        wheel.check(&rows);
        assert!(wheel.nodes.capacity() <= 4 * 64, "{} nodes are left", wheel.nodes.capacity());
    }

    /// The slots that a step names are taken modulo those that there are.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A new lease in a new slot, with a deadline so far from now, or with none.
        Insert(Option<u64>),
        Set(u32, u64),
        /// The owner writes down a later moment and tells nobody.
        Later(u32, u64),
        Clear(u32),
        /// The last lease moves into the slot of one that goes.
        Remove(u32),
        /// Time passes, and so many are popped at most.
        Pass(u64, usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let slot = any::<u32>;
        prop_oneof![
            6 => prop::option::weighted(0.9, span()).prop_map(Step::Insert),
            3 => (slot(), span()).prop_map(|(slot, span)| Step::Set(slot, span)),
            4 => (slot(), span()).prop_map(|(slot, span)| Step::Later(slot, span)),
            2 => slot().prop_map(Step::Clear),
            2 => slot().prop_map(Step::Remove),
            4 => (span(), 0_usize..6).prop_map(|(span, most)| Step::Pass(span, most)),
            1 => span().prop_map(Step::Advance),
        ]
    }

    /// Of each order of magnitude, and with some that many share.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![
            2 => prop::sample::select(&[0, 1, 1 << TICK_BITS, 500_000_000, 1_000_000_000][..]),
            4 => (0_u32..50).prop_flat_map(|bits| 0..=1_u64 << bits),
            4 => 0_u64..3_000_000_000,
            1 => prop::sample::select(&[u64::MAX, u64::MAX / 2, 1 << 62][..]),
        ]
    }

    struct Row {
        id: LeaseId,
        due: Instant,
    }

    impl Source for Vec<Row> {
        fn id(&self, slot: u32) -> LeaseId {
            self[slot as usize].id
        }

        fn due(&self, slot: u32) -> Instant {
            self[slot as usize].due
        }
    }

    /// As the lessor does it.
    fn pop_due(wheel: &mut Deadlines, now: Instant, rows: &Vec<Row>) -> Option<u32> {
        wheel.advance(now, rows);
        wheel.pop_due(now, rows)
    }

    fn row(id: i64, due: u64) -> Row {
        Row { id: LeaseId::new(id).unwrap(), due: Instant::from_nanos(due) }
    }

    /// The wheel, its owner, and the deadlines in a map that is searched from end to end.
    struct Both {
        wheel: Deadlines,
        rows: Vec<Row>,
        model: BTreeMap<LeaseId, Instant>,
        now: u64,
        granted: i64,
    }

    impl Both {
        fn new() -> Self {
            let (wheel, model) = (Deadlines::new(), BTreeMap::new());
            Self { wheel, rows: Vec::new(), model, now: 0, granted: 0 }
        }

        fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
            match step {
                Step::Insert(span) => {
                    // An odd factor gives each a number of its own, in no order.
                    self.granted += 1;
                    let id = self.granted.wrapping_mul(0x5851_f42d_4c95_7f2d);
                    let at = self.now.saturating_add(span.unwrap_or(0));
                    self.rows.push(row(id, at));
                    if span.is_some() {
                        self.set(u32::try_from(self.rows.len() - 1).unwrap(), at);
                    }
                }
                Step::Set(slot, span) => {
                    if let Some(slot) = self.slot(slot) {
                        self.set(slot, self.now.saturating_add(span));
                    }
                }
                Step::Later(slot, span) => {
                    if let Some(slot) = self.slot(slot) {
                        let row = &mut self.rows[slot as usize];
                        row.due = row.due.saturating_add(Duration::from_nanos(span));
                        if let Some(at) = self.model.get_mut(&row.id) {
                            *at = row.due.max(*at);
                        }
                    }
                }
                Step::Clear(slot) => {
                    if let Some(slot) = self.slot(slot) {
                        self.wheel.clear(slot, &self.rows);
                        self.model.remove(&self.rows[slot as usize].id);
                    }
                }
                Step::Remove(slot) => {
                    if let Some(slot) = self.slot(slot) {
                        self.remove(slot);
                    }
                }
                Step::Pass(span, most) => {
                    self.pass(span);
                    self.pop(most)?;
                }
                Step::Advance(span) => {
                    self.pass(span);
                    self.wheel.advance(Instant::from_nanos(self.now), &self.rows);
                }
            }
            Ok(())
        }

        fn slot(&self, slot: u32) -> Option<u32> {
            slot.checked_rem(u32::try_from(self.rows.len()).unwrap())
        }

        /// Never reaches the end, where a deadline would be due that must not come.
        fn pass(&mut self, span: u64) {
            self.now = self.now.saturating_add(span).min(u64::MAX - 1);
        }

        fn set(&mut self, slot: u32, at: u64) {
            let at = Instant::from_nanos(at);
            self.rows[slot as usize].due = at;
            self.wheel.set(slot, at, &self.rows);
            self.model.insert(self.rows[slot as usize].id, at);
        }

        /// As the lessor does it.
        fn remove(&mut self, slot: u32) {
            self.wheel.clear(slot, &self.rows);
            let last = u32::try_from(self.rows.len() - 1).unwrap();
            if slot != last {
                self.wheel.rename(last, slot, &self.rows);
            }
            let row = self.rows.swap_remove(slot as usize);
            self.model.remove(&row.id);
            self.wheel.shrink(self.rows.len());
        }

        fn pop(&mut self, most: usize) -> Result<(), TestCaseError> {
            let now = Instant::from_nanos(self.now);
            for _ in 0..most {
                let expected = self.earliest().filter(|(at, _)| *at <= now).map(|(_, id)| id);
                let popped = pop_due(&mut self.wheel, now, &self.rows);
                let popped = popped.map(|slot| self.rows[slot as usize].id);
                prop_assert_eq!(popped, expected);
                let Some(id) = popped else {
                    let first = self.wheel.first();
                    prop_assert!(first.is_none_or(|at| at > now), "{first:?} is not after {now}");
                    break;
                };
                self.model.remove(&id);
            }
            Ok(())
        }

        fn earliest(&self) -> Option<(Instant, LeaseId)> {
            self.model.iter().map(|(id, at)| (*at, *id)).min()
        }

        fn check(&self) -> Result<(), TestCaseError> {
            self.wheel.check(&self.rows);
            prop_assert_eq!(self.wheel.len(), self.model.len());
            let (first, earliest) = (self.wheel.first(), self.earliest().map(|(at, _)| at));
            prop_assert_eq!(first.is_some(), earliest.is_some());
            prop_assert!(first <= earliest, "{first:?} is after {earliest:?}");
            for (slot, row) in (0..).zip(&self.rows) {
                let (armed, at) = (self.wheel.armed(slot), self.model.get(&row.id).copied());
                prop_assert_eq!(armed.is_some(), at.is_some(), "slot {}", slot);
                prop_assert!(armed <= at, "slot {slot} is armed for {armed:?} and due at {at:?}");
            }
            Ok(())
        }

        /// Follows what the wheel says of when to look: that ends, and passes over nothing.
        fn pass_until_empty(&mut self) -> Result<(), TestCaseError> {
            let mut looks = 0;
            while let Some(first) = self.wheel.first().filter(|at| *at < Instant::MAX) {
                self.now = self.now.max(first.as_nanos());
                self.pop(usize::MAX)?;
                self.check()?;
                looks += 1;
                prop_assert!(looks <= 10 * self.rows.len(), "too many looks at nothing");
            }
            prop_assert!(self.model.values().all(|at| *at == Instant::MAX));
            Ok(())
        }
    }
}
