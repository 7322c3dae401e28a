//! moka's cache, a concurrent one, with an expiry for each entry: a lease is an entry, and a renew is a read.
//!
//! It reads the clock of the machine and nobody can hand it another, so the times at which leases expire cannot
//! be measured here. It forgets what has expired instead of saying so.

use std::hint::black_box;
use std::time::Duration;

use lessor::{Instant, LeaseId, Ttl};
use moka::Expiry;
use moka::sync::Cache;

use crate::Peer;

/// A lessor of one cache.
pub struct Moka(Cache<LeaseId, Ttl>);

struct Expiries;

impl Peer for Moka {
    const NAME: &str = "moka";

    fn new() -> Self {
        Self(Cache::builder().expire_after(Expiries).build())
    }

    fn grant(&mut self, _: Instant, id: LeaseId, ttl: Ttl) {
        self.0.insert(id, ttl);
    }

    fn renew(&mut self, _: Instant, id: LeaseId) {
        black_box(self.0.get(&id).expect("it is there"));
    }

    fn revoke(&mut self, _: Instant, id: LeaseId) {
        self.0.invalidate(&id);
    }

    fn settle(&mut self) {
        self.0.run_pending_tasks();
    }
}

impl Expiry<LeaseId, Ttl> for Expiries {
    fn expire_after_create(
        &self,
        _: &LeaseId,
        ttl: &Ttl,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(ttl.as_duration())
    }

    fn expire_after_read(
        &self,
        _: &LeaseId,
        ttl: &Ttl,
        _: std::time::Instant,
        _: Option<Duration>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(ttl.as_duration())
    }
}
