//! The lessor and its Rust peers, each behind the same few calls.
//!
//! A peer keeps no more than its calls need: what of a lease engine it lacks is said in its file. Ids, ttls and
//! the order are the same for all, and for etcd in `etcd/peers_test.go`.

use std::time::Duration;

use lessor::{Instant, LeaseId, Ttl};

mod btree;
mod cache;
mod delay_queue;
mod heap;
mod ours;
mod priority;

pub use btree::BTree;
pub use cache::Moka;
pub use delay_queue::Delays;
pub use heap::Heap;
pub use ours::Ours;
pub use priority::Priorities;

/// Something that keeps leases.
pub trait Peer: Sized {
    /// Its column of the table.
    const NAME: &str;

    /// One without leases, which lets those expire that it is given.
    fn new() -> Self;

    /// Adds a lease whose id is not there.
    fn grant(&mut self, now: Instant, id: LeaseId, ttl: Ttl);

    /// Lets a lease that is there expire its ttl from now.
    fn renew(&mut self, now: Instant, id: LeaseId);

    /// Removes a lease that is there.
    fn revoke(&mut self, now: Instant, id: LeaseId);

    /// Does what it has put off.
    fn settle(&mut self) {}
}

/// A peer whose clock is handed in.
pub trait Clocked: Peer {
    /// One without leases, which gives none a deadline before it is promoted, if it knows of that.
    #[must_use]
    fn follower() -> Self {
        Self::new()
    }

    /// Finds at most [`BATCH`] leases that have expired, revokes each, and says how many they were.
    fn expire(&mut self, now: Instant) -> usize;

    /// Gives every lease a new deadline: its ttl and a second from now.
    fn promote(&mut self, now: Instant);
}

/// Grants so many leases.
pub fn grant_all(peer: &mut impl Peer, leases: u64, ttl: impl Fn(u64) -> Ttl) {
    for number in 0..leases {
        peer.grant(at(number), id(number), ttl(number));
    }
}

/// Ids as a lessor picks them: all over the place.
#[must_use]
pub fn id(number: u64) -> LeaseId {
    let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 1 >> 1 | 1;
    LeaseId::new(id.cast_signed()).expect("its lowest bit is set")
}

/// All numbers of so many leases, in an order that the caches cannot foresee.
pub fn shuffled(leases: u64) -> impl Iterator<Item = u64> {
    (1..=leases).map(move |step| step * STRIDE % leases)
}

/// The clock passes at each call, by what a call may take, because with one that stands still a renew would
/// leave each deadline where it is.
#[must_use]
pub fn at(call: u64) -> Instant {
    START.saturating_add(Duration::from_micros(call))
}

/// Short of what is checkpointed.
#[must_use]
pub fn short_ttl(number: u64) -> Ttl {
    Ttl::from_secs(60 + number % 240)
}

/// Long enough for a checkpoint, and so varied that a million leases do not pile up: 500 a second.
#[must_use]
pub fn long_ttl(number: u64) -> Ttl {
    Ttl::from_secs(1_000 + number % 2_000)
}

/// All expire together.
#[must_use]
pub fn piled_ttl(_: u64) -> Ttl {
    Ttl::from_secs(60)
}

/// The clock when the first lease is granted.
pub const START: Instant = Instant::from_secs(1);
/// What leaves at once: half of etcd's revoke rate, and of ours.
pub const BATCH: usize = 500;
/// Prime to every number of leases.
const STRIDE: u64 = 7_368_787;
/// What a promotion adds to every ttl.
const EXTEND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that forgets its leases, or when they expire, would be fast.
    fn keeps_leases<P: Clocked>() {
        let after = |secs| START.saturating_add(Duration::from_secs(secs));
        let mut peer = P::new();
        (0..3).for_each(|number| peer.grant(START, id(number), piled_ttl(number)));
        peer.revoke(START, id(0));
        peer.renew(after(30), id(1));
        let expired = [59, 61, 89, 91, 10_000].map(|secs| peer.expire(after(secs)));
        assert_eq!(expired, [0, 1, 0, 1, 0], "{}", P::NAME);

        let mut peer = P::follower();
        (0..2).for_each(|number| peer.grant(START, id(number), Ttl::from_secs(60 + 60 * number)));
        peer.promote(after(10));
        let expired = [70, 72, 130, 132].map(|secs| peer.expire(after(secs)));
        assert_eq!(expired, [0, 1, 0, 1], "{}", P::NAME);

        let mut peer = P::new();
        grant_all(&mut peer, 1_200, short_ttl);
        let expired = [1_000, 1_001, 1_002, 1_003].map(|secs| peer.expire(after(secs)));
        assert_eq!(expired, [500, 500, 200, 0], "{}", P::NAME);
    }

    #[test]
    fn each_peer_lets_leases_expire_when_they_should() {
        keeps_leases::<Ours>();
        keeps_leases::<Delays>();
        keeps_leases::<BTree>();
        keeps_leases::<Heap>();
        keeps_leases::<Priorities>();
    }

    #[test]
    fn ids_differ_and_each_lease_has_its_turn_once() {
        let sorted = |mut numbers: Vec<i64>| {
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        assert_eq!(sorted((0..100_000).map(|number| id(number).get()).collect()).len(), 100_000);
        let turns = shuffled(100_000).map(|number| i64::try_from(number).expect("small")).collect();
        assert_eq!(sorted(turns), (0..100_000).collect::<Vec<_>>());
    }
}
