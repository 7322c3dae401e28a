//! All leases in an order, for listings: by id, and by expiry.
//!
//! An order is not there until somebody lists by it, because it makes every change that bears on it
//! dearer. Then it is made in pieces, so that no call takes long: the first rows of the table are in
//! it, and more of them with each piece. In the same way it can be taken apart.

use alloc::collections::BTreeSet;
use core::ops::Bound;

use crate::table::Row;
use crate::{Instant, LeaseId};

/// The keys of the first so many rows of the table, in order.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "recording", serde(bound(deserialize = "K: serde::Deserialize<'de> + Ord")))]
pub(crate) struct Order<K> {
    keys: BTreeSet<K>,
    rows: usize,
}

/// By what rows are in order. Each has one of its own.
pub(crate) trait Key: Copy + Ord {
    fn of(row: &Row) -> Self;
}

impl Key for LeaseId {
    fn of(row: &Row) -> Self {
        row.id
    }
}

impl Key for (Instant, LeaseId) {
    fn of(row: &Row) -> Self {
        (row.expiry(), row.id)
    }
}

impl<K> Default for Order<K> {
    fn default() -> Self {
        Self { keys: BTreeSet::new(), rows: 0 }
    }
}

impl<K: Key> Order<K> {
    /// Takes in the next rows, at most `count`.
    pub(crate) fn take_in(&mut self, rows: &[Row], count: usize) {
        let end = rows.len().min(self.rows.saturating_add(count));
        self.keys.extend(rows[self.rows..end].iter().map(K::of));
        self.rows = end;
    }

    /// Gives up the last rows, at most `count`, and says whether there are more.
    pub(crate) fn give_up(&mut self, rows: &[Row], count: usize) -> bool {
        let end = self.rows.saturating_sub(count);
        for row in &rows[end..self.rows] {
            self.keys.remove(&K::of(row));
        }
        self.rows = end;
        end > 0
    }

    /// Whether all of so many rows are in it.
    pub(crate) fn is_complete(&self, rows: usize) -> bool {
        self.rows == rows
    }

    /// Follows a row that is new at the end of the table.
    pub(crate) fn inserted(&mut self, slot: usize, key: K) {
        if self.rows == slot {
            self.keys.insert(key);
            self.rows += 1;
        }
    }

    /// Follows a row whose key changes.
    pub(crate) fn moved(&mut self, slot: usize, from: K, to: K) {
        if slot < self.rows && from != to {
            self.keys.remove(&from);
            self.keys.insert(to);
        }
    }

    /// Follows a row that leaves, before the last row moves into its slot.
    pub(crate) fn swap_removed(&mut self, slot: usize, rows: &[Row]) {
        if slot >= self.rows {
            return;
        }
        let last = rows.len() - 1;
        self.keys.remove(&K::of(&rows[slot]));
        if last < self.rows {
            self.rows = last;
        } else {
            self.keys.insert(K::of(&rows[last]));
        }
    }

    /// The keys behind this one, or all.
    pub(crate) fn behind(&self, key: Option<K>) -> impl Iterator<Item = K> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range((from, Bound::Unbounded)).copied()
    }

    /// Panics unless it holds the keys of its rows and no others.
    pub(crate) fn check(&self, rows: &[Row]) {
        let (held, taken) = (self.keys.len(), self.rows);
        assert!(held == taken, "{held} leases are in order, of {taken} rows");
        for row in &rows[..self.rows] {
            assert!(self.keys.contains(&K::of(row)), "lease {} is in order", row.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::Ttl;
    use crate::table::Table;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(47),
            ..ProptestConfig::default()
        })]

        #[test]
        fn orders_are_those_of_the_table_whatever_happens_while_they_are_made_and_taken_apart(
            steps in vec((-20_i64..20, 0_u64..4, 0_usize..3, 0_usize..3, 0_usize..4), 1..120),
        ) {
            let mut table = Table::new(0);
            for (number, at, by_id, by_expiry, given_up) in steps {
                let expiry = Instant::from_secs(at);
                if let Some(id) = LeaseId::new(number) {
                    match table.find(id) {
                        Some(slot) if at == 0 => drop(table.swap_remove(slot)),
                        Some(slot) => table.set_expiry(slot, expiry),
                        None => _ = table.insert(id, Ttl::MIN, expiry),
                    }
                } else {
                    table = table.emptied(0);
                }
                if by_id > 0 {
                    table.put_in_order_by_id(by_id);
                }
                if by_expiry > 0 {
                    table.put_in_order_by_expiry(by_expiry);
                }
                if given_up == 3 {
                    table.give_up_order_by_expiry(2);
                }
                table.check();
                if let Some(order) = table.by_id() {
                    in_order(order, &table, LeaseId::new(3).unwrap())?;
                }
                if let Some(order) = table.by_expiry() {
                    let behind = (Instant::from_secs(2), LeaseId::new(3).unwrap());
                    in_order(order, &table, behind)?;
                }
            }
        }
    }

    fn in_order<K: Key + core::fmt::Debug>(
        order: &Order<K>,
        table: &Table,
        behind: K,
    ) -> Result<(), TestCaseError> {
        let mut keys: Vec<K> = table.rows().iter().map(K::of).collect();
        keys.sort_unstable();
        prop_assert!(order.behind(None).eq(keys.iter().copied()));
        let rest = keys.iter().copied().filter(|key| *key > behind);
        prop_assert!(order.behind(Some(behind)).eq(rest));
        Ok(())
    }
}
