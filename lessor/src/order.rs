//! The ids of all leases in order, for listings.
//!
//! It is not there until somebody lists, because it would make every grant and revoke dearer. Then it
//! is made in pieces, so that no call takes long: the ids of the first rows of the table are in it, and
//! more rows with each piece.

use alloc::collections::BTreeSet;
use core::ops::Bound;

use crate::LeaseId;
use crate::table::Row;

/// The ids of the first so many rows of the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdOrder {
    ids: BTreeSet<LeaseId>,
    rows: usize,
}

impl IdOrder {
    /// Takes in the next rows, at most `count`.
    pub(crate) fn take_in(&mut self, rows: &[Row], count: usize) {
        let end = rows.len().min(self.rows.saturating_add(count));
        self.ids.extend(rows[self.rows..end].iter().map(|row| row.id));
        self.rows = end;
    }

    /// Whether all of so many rows are in it.
    pub(crate) fn is_complete(&self, rows: usize) -> bool {
        self.rows == rows
    }

    /// Follows a row that is new at the end of the table.
    pub(crate) fn inserted(&mut self, slot: usize, id: LeaseId) {
        if self.rows == slot {
            self.ids.insert(id);
            self.rows += 1;
        }
    }

    /// Follows a row that leaves, before the last row moves into its slot.
    pub(crate) fn swap_removed(&mut self, slot: usize, rows: &[Row]) {
        if slot >= self.rows {
            return;
        }
        let last = rows.len() - 1;
        self.ids.remove(&rows[slot].id);
        if last < self.rows {
            self.rows = last;
        } else {
            self.ids.insert(rows[last].id);
        }
    }

    /// The ids behind this one, or all.
    pub(crate) fn behind(&self, id: Option<LeaseId>) -> impl Iterator<Item = LeaseId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.ids.range((from, Bound::Unbounded)).copied()
    }

    /// Panics unless it holds the ids of its rows and no others.
    pub(crate) fn check(&self, rows: &[Row]) {
        let (held, taken) = (self.ids.len(), self.rows);
        assert!(held == taken, "{held} ids are in order, of {taken} rows");
        for row in &rows[..self.rows] {
            assert!(self.ids.contains(&row.id), "the id of lease {} is in order", row.id);
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
    use crate::table::Table;
    use crate::{Instant, Ttl};

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(47),
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_ids_are_those_of_the_table_whatever_comes_and_goes_while_they_are_put_in_order(
            steps in vec((-20_i64..20, 0_usize..3), 1..120),
        ) {
            let mut table = Table::new(0);
            for (number, piece) in steps {
                if let Some(id) = LeaseId::new(number) {
                    match table.find(id) {
                        Some(slot) => drop(table.swap_remove(slot)),
                        None => _ = table.insert(id, Ttl::MIN, Instant::MAX),
                    }
                } else {
                    table = table.emptied(0);
                }
                if piece > 0 {
                    table.put_in_order(piece);
                }
                table.check();
                if let Some(order) = table.in_order() {
                    let mut ids: Vec<LeaseId> = table.rows().iter().map(|row| row.id).collect();
                    ids.sort_unstable();
                    prop_assert!(order.behind(None).eq(ids.iter().copied()));
                    let behind = ids.iter().copied().filter(|id| Some(*id) > LeaseId::new(3));
                    prop_assert!(order.behind(LeaseId::new(3)).eq(behind));
                }
            }
        }
    }
}
