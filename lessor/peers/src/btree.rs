//! The plain way: an ordered map by id, and an ordered set by expiry.
//!
//! It has no role, no retry, no items, no checkpoints, no digest and no writes to hand out.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use lessor::{Instant, LeaseId, Ttl};

use crate::{BATCH, Clocked, EXTEND, Peer};

/// A lessor of two trees.
pub struct BTree {
    leases: BTreeMap<LeaseId, (Ttl, Instant)>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
}

impl Peer for BTree {
    const NAME: &str = "BTree";

    fn new() -> Self {
        Self { leases: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    fn grant(&mut self, now: Instant, id: LeaseId, ttl: Ttl) {
        let expiry = now.saturating_add(ttl.as_duration());
        assert!(self.leases.insert(id, (ttl, expiry)).is_none(), "no other has this id");
        self.deadlines.insert((expiry, id));
    }

    fn renew(&mut self, now: Instant, id: LeaseId) {
        let (ttl, expiry) = self.leases.get_mut(&id).expect("it is there");
        self.deadlines.remove(&(*expiry, id));
        *expiry = now.saturating_add(ttl.as_duration());
        self.deadlines.insert((*expiry, id));
        black_box(*ttl);
    }

    fn revoke(&mut self, _: Instant, id: LeaseId) {
        let (_, expiry) = self.leases.remove(&id).expect("it is there");
        self.deadlines.remove(&(expiry, id));
    }
}

impl Clocked for BTree {
    fn expire(&mut self, now: Instant) -> usize {
        let due = self.deadlines.iter().take_while(|(expiry, _)| *expiry <= now);
        let batch: Vec<LeaseId> = due.take(BATCH).map(|(_, id)| *id).collect();
        for id in &batch {
            self.revoke(now, *id);
        }
        batch.len()
    }

    fn promote(&mut self, now: Instant) {
        let base = now.saturating_add(EXTEND);
        self.deadlines = self
            .leases
            .iter_mut()
            .map(|(id, (ttl, expiry))| {
                *expiry = base.saturating_add(ttl.as_duration());
                (*expiry, *id)
            })
            .collect();
    }
}
