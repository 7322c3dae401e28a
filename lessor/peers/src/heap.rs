//! A binary heap with lazy deletion: a renew pushes its new deadline, and the old one is dropped when it comes
//! up, or when the old ones are more than the leases.
//!
//! It has no role, no retry, no items, no checkpoints, no digest and no writes to hand out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hint::black_box;

use lessor::{Instant, LeaseId, Ttl};

use crate::{BATCH, Clocked, EXTEND, Peer};

/// A lessor of a hash table and a heap.
pub struct Heap {
    leases: HashMap<LeaseId, (Ttl, Instant)>,
    deadlines: BinaryHeap<Reverse<(Instant, LeaseId)>>,
}

impl Peer for Heap {
    const NAME: &str = "heap";

    fn new() -> Self {
        Self { leases: HashMap::new(), deadlines: BinaryHeap::new() }
    }

    fn grant(&mut self, now: Instant, id: LeaseId, ttl: Ttl) {
        let expiry = now.saturating_add(ttl.as_duration());
        assert!(self.leases.insert(id, (ttl, expiry)).is_none(), "no other has this id");
        self.deadlines.push(Reverse((expiry, id)));
    }

    fn renew(&mut self, now: Instant, id: LeaseId) {
        let (ttl, expiry) = self.leases.get_mut(&id).expect("it is there");
        *expiry = now.saturating_add(ttl.as_duration());
        self.deadlines.push(Reverse((*expiry, id)));
        black_box(*ttl);
        self.compact();
    }

    fn revoke(&mut self, _: Instant, id: LeaseId) {
        self.leases.remove(&id).expect("it is there");
        self.compact();
    }
}

impl Clocked for Heap {
    fn expire(&mut self, now: Instant) -> usize {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(Reverse((expiry, id))) = self.deadlines.peek().copied()
            && expiry <= now
        {
            self.deadlines.pop();
            if self.leases.get(&id).is_some_and(|lease| lease.1 == expiry) {
                batch.push(id);
            }
        }
        for id in &batch {
            self.revoke(now, *id);
        }
        batch.len()
    }

    fn promote(&mut self, now: Instant) {
        let base = now.saturating_add(EXTEND);
        let mut deadlines = core::mem::take(&mut self.deadlines).into_vec();
        for Reverse((expiry, id)) in &mut deadlines {
            let lease = self.leases.get_mut(id).expect("it was granted and never renewed");
            *expiry = base.saturating_add(lease.0.as_duration());
            lease.1 = *expiry;
        }
        self.deadlines = deadlines.into();
    }
}

impl Heap {
    fn compact(&mut self) {
        if self.deadlines.len() > 2 * self.leases.len() + BATCH {
            self.deadlines.retain(|Reverse((expiry, id))| {
                self.leases.get(id).is_some_and(|lease| lease.1 == *expiry)
            });
        }
    }
}
