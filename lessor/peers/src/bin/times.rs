//! How long the lessor and its Rust peers take for each lease: samples for the table of `lessor/peers/run`.
//!
//! Each sample is one line: operation, leases, peer and nanoseconds, with tabs between them. The peers take
//! turns, so that what else the machine does is spread over all of them.

use std::time::{Duration, Instant};

use lessor::Ttl;
use lessor_peers::{
    BTree, Clocked, Delays, Heap, Moka, Ours, Peer, Priorities, at, grant_all, id, long_ttl,
    piled_ttl, short_ttl, shuffled,
};

fn main() {
    for (leases, samples) in [(100_000, 7), (1_000_000, 3)] {
        for _ in 0..samples {
            life::<Ours>(leases);
            expire::<Ours>(leases);
            promote::<Ours>("promote-piled", leases, piled_ttl);
            promote::<Ours>("promote-spread", leases, long_ttl);
            peer::<Delays>(leases);
            peer::<BTree>(leases);
            peer::<Heap>(leases);
            peer::<Priorities>(leases);
        }
    }
    // The slowest of all by far.
    for (leases, samples) in [(100_000, 7), (1_000_000, 1)] {
        for _ in 0..samples {
            life::<Moka>(leases);
        }
    }
}

/// All that a peer can do that spreads no pile-up.
fn peer<P: Clocked>(leases: u64) {
    life::<P>(leases);
    expire::<P>(leases);
    promote::<P>("promote-spread", leases, long_ttl);
}

/// Grants, renews and revokes all of so many leases.
fn life<P: Peer>(leases: u64) {
    let mut peer = P::new();
    sample::<P>("grant", leases, || {
        grant_all(&mut peer, leases, short_ttl);
        peer.settle();
    });
    sample::<P>("renew", leases, || {
        for (call, number) in (leases..).zip(shuffled(leases)) {
            peer.renew(at(call), id(number));
        }
        peer.settle();
    });
    sample::<P>("revoke", leases, || {
        for (call, number) in (2 * leases..).zip(shuffled(leases)) {
            peer.revoke(at(call), id(number));
        }
        peer.settle();
    });
}

/// All leases have expired at once, and leave by batches: one each half second, by the clock that is handed in.
fn expire<P: Clocked>(leases: u64) {
    let mut peer = P::new();
    grant_all(&mut peer, leases, short_ttl);
    let mut now = at(leases).saturating_add(Duration::from_secs(3_600));
    let mut left = usize::try_from(leases).expect("a number of leases");
    sample::<P>("expire", leases, || {
        while left > 0 {
            let expired = peer.expire(now);
            assert!(expired > 0, "all have expired");
            left -= expired;
            now = now.saturating_add(Duration::from_millis(500));
        }
    });
}

fn promote<P: Clocked>(operation: &str, leases: u64, ttl: fn(u64) -> Ttl) {
    let mut peer = P::follower();
    grant_all(&mut peer, leases, ttl);
    sample::<P>(operation, leases, || peer.promote(at(leases)));
}

fn sample<P: Peer>(operation: &str, leases: u64, work: impl FnOnce()) {
    let begin = Instant::now();
    work();
    let taken = begin.elapsed().as_nanos();
    println!("{operation}\t{leases}\t{}\t{:.2}", P::NAME, taken as f64 / leases as f64);
}
