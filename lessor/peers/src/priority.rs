//! The crate `priority-queue`: a heap over a hash table, in which a priority can be changed.
//!
//! It has no role, no retry, no items, no checkpoints, no digest and no writes to hand out.

use std::cmp::{Ordering, Reverse};
use std::hint::black_box;

use lessor::{Instant, LeaseId, Ttl};
use priority_queue::PriorityQueue;

use crate::{BATCH, Clocked, EXTEND, Peer};

/// A lessor of one queue.
pub struct Priorities(PriorityQueue<LeaseId, Lease>);

/// A lease; the earlier it expires, the greater it is.
struct Lease {
    expiry: Instant,
    ttl: Ttl,
}

impl Peer for Priorities {
    const NAME: &str = "priority-queue";

    fn new() -> Self {
        Self(PriorityQueue::new())
    }

    fn grant(&mut self, now: Instant, id: LeaseId, ttl: Ttl) {
        let expiry = now.saturating_add(ttl.as_duration());
        assert!(self.0.push(id, Lease { expiry, ttl }).is_none(), "no other has this id");
    }

    fn renew(&mut self, now: Instant, id: LeaseId) {
        let found = self.0.change_priority_by(&id, |lease| {
            lease.expiry = now.saturating_add(lease.ttl.as_duration());
            black_box(lease.ttl);
        });
        assert!(found, "it is there");
    }

    fn revoke(&mut self, _: Instant, id: LeaseId) {
        self.0.remove(&id).expect("it is there");
    }
}

impl Clocked for Priorities {
    fn expire(&mut self, now: Instant) -> usize {
        let due = core::iter::from_fn(|| self.0.pop_if(|_, lease| lease.expiry <= now));
        due.take(BATCH).map(black_box).count()
    }

    fn promote(&mut self, now: Instant) {
        let base = now.saturating_add(EXTEND);
        for (_, lease) in &mut self.0 {
            lease.expiry = base.saturating_add(lease.ttl.as_duration());
        }
    }
}

impl Ord for Lease {
    fn cmp(&self, other: &Self) -> Ordering {
        Reverse(self.expiry).cmp(&Reverse(other.expiry))
    }
}

impl PartialOrd for Lease {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Lease {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Lease {}
