//! tokio-util's `DelayQueue`, a timing wheel of milliseconds, beside a hash table from the id to its key.
//!
//! Tokio's clock is paused and moved by hand. It has no role, no retry, no items, no checkpoints, no digest and
//! no writes to hand out.

use std::collections::HashMap;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use lessor::{Instant, LeaseId, Ttl};
use tokio::runtime::Runtime;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::{BATCH, Clocked, EXTEND, Peer, START};

/// A lessor of a hash table and a `DelayQueue`.
pub struct Delays {
    runtime: Runtime,
    /// What tokio's clock shows, and the same moment on the clock that is handed in.
    now: (tokio::time::Instant, Instant),
    leases: HashMap<LeaseId, (Ttl, Key)>,
    deadlines: DelayQueue<LeaseId>,
}

impl Peer for Delays {
    const NAME: &str = "DelayQueue";

    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O needs nothing");
        let entered = runtime.enter();
        let now = (tokio::time::Instant::now(), START);
        let deadlines = DelayQueue::new();
        drop(entered);
        Self { runtime, now, leases: HashMap::new(), deadlines }
    }

    fn grant(&mut self, now: Instant, id: LeaseId, ttl: Ttl) {
        let _entered = self.runtime.enter();
        let key = self.deadlines.insert_at(id, deadline(self.now, now, ttl));
        assert!(self.leases.insert(id, (ttl, key)).is_none(), "no other has this id");
    }

    fn renew(&mut self, now: Instant, id: LeaseId) {
        let _entered = self.runtime.enter();
        let (ttl, key) = self.leases.get(&id).expect("it is there");
        self.deadlines.reset_at(key, deadline(self.now, now, *ttl));
        black_box(*ttl);
    }

    fn revoke(&mut self, _: Instant, id: LeaseId) {
        let _entered = self.runtime.enter();
        let (_, key) = self.leases.remove(&id).expect("it is there");
        self.deadlines.remove(&key);
    }
}

impl Clocked for Delays {
    fn expire(&mut self, now: Instant) -> usize {
        let passed = now.saturating_since(self.now.1);
        self.runtime.block_on(tokio::time::advance(passed));
        self.now = (self.now.0 + passed, now);
        let _entered = self.runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        let mut expired = 0;
        while expired < BATCH
            && let Poll::Ready(Some(lease)) = self.deadlines.poll_expired(&mut context)
        {
            self.leases.remove(lease.get_ref()).expect("it is there");
            expired += 1;
        }
        expired
    }

    fn promote(&mut self, now: Instant) {
        let _entered = self.runtime.enter();
        let base = now.saturating_add(EXTEND);
        #[expect(clippy::iter_over_hash_type, reason = "the order is of no account")]
        for (ttl, key) in self.leases.values() {
            self.deadlines.reset_at(key, deadline(self.now, base, *ttl));
        }
    }
}

/// A ttl from `from` on tokio's clock, `now` being the same moment on both.
fn deadline(now: (tokio::time::Instant, Instant), from: Instant, ttl: Ttl) -> tokio::time::Instant {
    now.0 + from.saturating_since(now.1) + ttl.as_duration()
}
