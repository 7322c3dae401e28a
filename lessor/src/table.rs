//! All leases: a dense array of small records, and a hash index from the id to the row in it.
//!
//! The array has no holes: the last record moves into the place of a removed one, so a pass over
//! all leases is linear and memory comes back. The index is looked up and never iterated, so the
//! key of its hasher cannot be observed.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Bound;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use siphasher::sip::SipHasher13;

use crate::deadline::MAX_SLOTS;
use crate::order::Order;
use crate::{Instant, Item, LeaseId, LeaseRecord, Ticket, Ttl};

/// The lease table.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "recording", serde(from = "saved::Table"))]
pub(crate) struct Table {
    rows: Vec<Row>,
    #[cfg_attr(feature = "recording", serde(skip_serializing))]
    index: HashTable<u32>,
    #[cfg_attr(feature = "recording", serde(skip_serializing))]
    hasher: SipHasher13,
    /// There once somebody has listed by id.
    by_id: Option<Order<LeaseId>>,
    /// There while somebody lists by expiry.
    by_expiry: Option<Order<(Instant, LeaseId)>>,
}

/// One lease: what every renew touches, and a box for what most leases lack.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Row {
    pub(crate) id: LeaseId,
    pub(crate) ttl: Ttl,
    expiry: Instant,
    cold: Option<Box<Cold>>,
}

/// What most leases lack.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Cold {
    /// What was left at the last checkpoint since the last renew.
    pub(crate) remaining: Option<Ttl>,
    /// How many checkpoints this primary proposed that were not applied yet: while there may be one, a
    /// renew must not be answered before an "unset" that follows it.
    pub(crate) checkpoints_in_flight: u32,
    /// How many "unsets" it proposed that were not applied yet, and how many of these it proposed
    /// before the latest of those checkpoints, so that they do not take that one back. What was lost
    /// stays counted, which is safe: it may cost a renew that has to wait one retry.
    pub(crate) unsets_in_flight: u32,
    pub(crate) stale_unsets: u32,
    /// Renews that wait: for the "unset" if they came in time, else for the revoke.
    pub(crate) waiting: Vec<Ticket>,
    /// Whether they came in time: then the lease does not expire before they are answered.
    pub(crate) in_time: bool,
    pub(crate) items: BTreeSet<Item>,
}

impl Table {
    pub(crate) fn new(hash_key: u128) -> Self {
        let hasher = SipHasher13::new_with_key(&hash_key.to_le_bytes());
        Self { rows: Vec::new(), index: HashTable::new(), hasher, by_id: None, by_expiry: None }
    }

    /// An empty table with the same key, and room for so many leases.
    pub(crate) fn emptied(&self, leases: usize) -> Self {
        let (rows, index) = (Vec::with_capacity(leases), HashTable::with_capacity(leases));
        Self { rows, index, hasher: self.hasher, by_id: None, by_expiry: None }
    }

    /// Begins to keep the ids in order, or goes on with at most `count` leases.
    pub(crate) fn put_in_order_by_id(&mut self, count: usize) {
        self.by_id.get_or_insert_default().take_in(&self.rows, count);
    }

    /// Begins to keep the expiries in order, or goes on with at most `count` leases.
    pub(crate) fn put_in_order_by_expiry(&mut self, count: usize) {
        self.by_expiry.get_or_insert_default().take_in(&self.rows, count);
    }

    /// Begins to keep the expiries in order no more, or goes on with at most `count` leases.
    pub(crate) fn give_up_order_by_expiry(&mut self, count: usize) {
        self.by_expiry.take_if(|order| !order.give_up(&self.rows, count));
    }

    /// The ids in order, if all of them are by now.
    pub(crate) fn by_id(&self) -> Option<&Order<LeaseId>> {
        self.by_id.as_ref().filter(|order| order.is_complete(self.rows.len()))
    }

    /// The expiries in order, if all of them are by now.
    pub(crate) fn by_expiry(&self) -> Option<&Order<(Instant, LeaseId)>> {
        self.by_expiry.as_ref().filter(|order| order.is_complete(self.rows.len()))
    }

    /// Whether an order by id is there, complete or not.
    pub(crate) fn has_order_by_id(&self) -> bool {
        self.by_id.is_some()
    }

    /// Whether an order by expiry is there, complete or not.
    pub(crate) fn has_order_by_expiry(&self) -> bool {
        self.by_expiry.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Gives every lease the expiry that `another` says, and drops their order, which all of them leave.
    pub(crate) fn set_all_expiries(&mut self, mut another: impl FnMut(u32, &mut Row) -> Instant) {
        self.by_expiry = None;
        for (slot, row) in (0..).zip(&mut self.rows) {
            row.expiry = another(slot, row);
        }
    }

    pub(crate) fn set_expiry(&mut self, slot: u32, at: Instant) {
        let row = &mut self.rows[slot as usize];
        let before = core::mem::replace(&mut row.expiry, at);
        if let Some(order) = &mut self.by_expiry {
            order.moved(slot as usize, (before, row.id), (at, row.id));
        }
    }

    pub(crate) fn row(&self, slot: u32) -> &Row {
        &self.rows[slot as usize]
    }

    pub(crate) fn row_mut(&mut self, slot: u32) -> &mut Row {
        &mut self.rows[slot as usize]
    }

    pub(crate) fn find(&self, id: LeaseId) -> Option<u32> {
        self.index.find(hash(&self.hasher, id), |&slot| self.rows[slot as usize].id == id).copied()
    }

    /// Adds a lease; `None` if its id is there already.
    pub(crate) fn insert(&mut self, id: LeaseId, ttl: Ttl, expiry: Instant) -> Option<u32> {
        let Self { rows, index, hasher, by_id, by_expiry } = self;
        let is_it = |&slot: &u32| rows[slot as usize].id == id;
        let rehash = |&slot: &u32| hash(hasher, rows[slot as usize].id);
        let Entry::Vacant(entry) = index.entry(hash(hasher, id), is_it, rehash) else {
            return None;
        };
        assert!(rows.len() < MAX_SLOTS, "a lessor holds fewer than 2^32 leases");
        let slot = u32::try_from(rows.len()).expect("fewer than 2^32 leases");
        entry.insert(slot);
        if let Some(order) = by_id {
            order.inserted(rows.len(), id);
        }
        if let Some(order) = by_expiry {
            order.inserted(rows.len(), (expiry, id));
        }
        rows.push(Row { id, ttl, expiry, cold: None });
        Some(slot)
    }

    /// Removes a lease; the last one, if it is another, takes its slot.
    pub(crate) fn swap_remove(&mut self, slot: u32) -> Row {
        let last = u32::try_from(self.rows.len() - 1).expect("fewer than 2^32 leases");
        let id = self.rows[slot as usize].id;
        self.index
            .find_entry(hash(&self.hasher, id), |&other| other == slot)
            .expect("every lease is in the index")
            .remove();
        if slot != last {
            let moved = hash(&self.hasher, self.rows[last as usize].id);
            *self
                .index
                .find_mut(moved, |&other| other == last)
                .expect("every lease is in the index") = slot;
        }
        if let Some(order) = &mut self.by_id {
            order.swap_removed(slot as usize, &self.rows);
        }
        if let Some(order) = &mut self.by_expiry {
            order.swap_removed(slot as usize, &self.rows);
        }
        let row = self.rows.swap_remove(slot as usize);
        self.shrink();
        row
    }

    /// Panics unless the index and the array say the same and no box is kept for nothing.
    pub(crate) fn check(&self) {
        let (indexed, leases) = (self.index.len(), self.rows.len());
        assert!(indexed == leases, "{indexed} leases are indexed, but there are {leases}");
        for (slot, row) in self.rows.iter().enumerate() {
            let found = self.find(row.id).map(|found| found as usize);
            assert!(found == Some(slot), "lease {} is indexed at {found:?}, not {slot}", row.id);
            assert!(
                !row.cold.as_deref().is_some_and(Cold::is_empty),
                "the box of lease {} holds something",
                row.id
            );
        }
        if let Some(order) = &self.by_id {
            order.check(&self.rows);
        }
        if let Some(order) = &self.by_expiry {
            order.check(&self.rows);
        }
    }

    fn shrink(&mut self) {
        let Self { rows, index, hasher, .. } = self;
        if let Some(room) = room_to_keep(rows.capacity(), rows.len()) {
            rows.shrink_to(room);
            index.shrink_to(room, |&slot| hash(hasher, rows[slot as usize].id));
        }
    }
}

/// To how many entries an array of `len` is to be shrunk, if three quarters of its room are empty. So
/// memory comes back, and no sequence of grants and revokes moves everything again and again.
pub(crate) fn room_to_keep(capacity: usize, len: usize) -> Option<usize> {
    (capacity > 4 * len.max(64)).then_some(2 * len)
}

impl Row {
    /// When it expires on this member's clock; [`Instant::MAX`] on a member that is not primary.
    pub(crate) fn expiry(&self) -> Instant {
        self.expiry
    }

    pub(crate) fn record(&self) -> LeaseRecord {
        LeaseRecord { id: self.id, ttl: self.ttl, remaining: self.remaining() }
    }

    pub(crate) fn remaining(&self) -> Option<Ttl> {
        self.cold.as_ref().and_then(|cold| cold.remaining)
    }

    /// What is there to share among a new reign: what was left at the last checkpoint, else all.
    pub(crate) fn left_to_promote(&self) -> Ttl {
        self.remaining().unwrap_or(self.ttl)
    }

    /// Whether a checkpoint is, or may come to be, in the state, which a renew must take back first.
    pub(crate) fn needs_unset(&self) -> bool {
        self.cold
            .as_ref()
            .is_some_and(|cold| cold.remaining.is_some() || cold.checkpoints_in_flight > 0)
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.waiting.is_empty())
    }

    /// Whether a renew that came in time waits for its "unset": it keeps the lease from expiring.
    pub(crate) fn is_kept(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.in_time && !cold.waiting.is_empty())
    }

    /// Whether it waits for its revoke.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expiry <= now && !self.is_kept()
    }

    pub(crate) fn items(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.item_set().iter()
    }

    pub(crate) fn items_after(&self, after: Option<&Item>) -> impl Iterator<Item = &Item> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.item_set().range::<Item, _>((from, Bound::Unbounded))
    }

    fn item_set(&self) -> &BTreeSet<Item> {
        static NONE: BTreeSet<Item> = BTreeSet::new();
        self.cold.as_ref().map_or(&NONE, |cold| &cold.items)
    }

    /// The box, which is made if it is not there.
    pub(crate) fn cold_mut(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// The box if it is there.
    pub(crate) fn cold_if_any(&mut self) -> Option<&mut Cold> {
        self.cold.as_deref_mut()
    }

    /// Gives the box back if nothing is in it.
    pub(crate) fn tidy(&mut self) {
        if self.cold.as_deref().is_some_and(Cold::is_empty) {
            self.cold = None;
        }
    }
}

impl Cold {
    fn is_empty(&self) -> bool {
        self.remaining.is_none()
            && self.checkpoints_in_flight == 0
            && self.unsets_in_flight == 0
            && self.waiting.is_empty()
            && self.items.is_empty()
    }
}

fn hash(hasher: &SipHasher13, id: LeaseId) -> u64 {
    hasher.hash(&id.get().to_le_bytes())
}

/// The table as it is saved: without its index, which follows from the rows and a key that is nobody's business.
#[cfg(feature = "recording")]
mod saved {
    use super::{Instant, LeaseId, Order, Row, Vec, hash};

    #[derive(serde::Deserialize)]
    pub(super) struct Table {
        rows: Vec<Row>,
        by_id: Option<Order<LeaseId>>,
        by_expiry: Option<Order<(Instant, LeaseId)>>,
    }

    impl From<Table> for super::Table {
        fn from(saved: Table) -> Self {
            let Table { rows, by_id, by_expiry } = saved;
            let mut table = Self { rows, by_id, by_expiry, ..Self::new(0) };
            let Self { rows, index, hasher, .. } = &mut table;
            for (slot, row) in (0..).zip(&*rows) {
                let rehash = |&slot: &u32| hash(hasher, rows[slot as usize].id);
                index.insert_unique(hash(hasher, row.id), slot, rehash);
            }
            table
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::complaint;

    #[test]
    fn memory_comes_back_when_three_quarters_are_empty() {
        assert_eq!(room_to_keep(1_000, 250), None);
        assert_eq!(room_to_keep(1_001, 250), Some(500));
        assert_eq!(room_to_keep(1_000, 1_000), None);
        assert_eq!(room_to_keep(256, 0), None);
        assert_eq!(room_to_keep(257, 0), Some(0));
    }

    #[test]
    fn a_table_shrinks_with_its_leases() {
        let mut table = table(10_000);
        let (rows, index) = (table.rows.capacity(), table.index.capacity());
        for slot in (0..9_990).rev() {
            table.swap_remove(slot);
        }
        table.check();
        assert!(rows >= 10_000 && index >= 10_000);
        assert!(table.rows.capacity() <= 256 && table.index.capacity() <= 512);
    }

    #[test]
    fn the_check_finds_what_is_damaged() {
        type Damage = fn(&mut Table);
        let damages: [(&str, Damage); 6] = [
            ("lease 3 is in order", |table| {
                let order = table.by_id.as_mut().unwrap();
                order.swap_removed(2, &table.rows);
                order.inserted(2, id(99));
            }),
            ("2 leases are in order, of 3 rows", |table| {
                let order = table.by_id.as_mut().unwrap();
                order.swap_removed(2, &table.rows);
                order.inserted(2, id(1));
            }),
            ("the box of lease 1 holds something", |table| _ = table.rows[0].cold_mut()),
            ("3 leases are indexed, but there are 2", |table| drop(table.rows.pop())),
            ("is indexed at Some(1), not 2", |table| table.rows[2].id = table.rows[1].id),
            ("lease 99 is indexed at None, not 2", |table| table.rows[2].id = id(99)),
        ];
        for (what, damage) in damages {
            let mut table = table(3);
            table.put_in_order_by_id(3);
            table.check();
            damage(&mut table);
            let said = complaint(|| table.check());
            assert!(said.contains(what), "{what}: {said}");
        }
    }

    fn table(leases: i64) -> Table {
        let mut table = Table::new(0);
        for number in 1..=leases {
            table.insert(id(number), Ttl::from_secs(10), Instant::MAX).unwrap();
        }
        table
    }

    fn id(number: i64) -> LeaseId {
        LeaseId::new(number).unwrap()
    }
}
