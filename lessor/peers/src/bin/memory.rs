//! What a lease takes of memory in the lessor and in its Rust peers: samples for the table of
//! `lessor/peers/run`, in the form of `times.rs`. A program of its own, because counting costs time.
//!
//! Counted are the bytes that were asked for and not given back, spare capacity included.

use lessor::{Command, Item, Ttl};
use lessor_peers::{
    BTree, Delays, Heap, Moka, Ours, Peer, Priorities, grant_all, id, long_ttl, short_ttl,
};

fn main() {
    bytes::<Ours>("bytes", LEASES, short_ttl, |_| {});
    bytes::<Ours>("bytes-long", LEASES, long_ttl, |_| {});
    bytes::<Ours>("bytes-item", LEASES, short_ttl, |ours| {
        for number in 0..LEASES {
            let (id, item) = (id(number), format!("{:016x}", id(number).get()));
            let attach = Command::Attach { id, items: vec![Item::new(item)] };
            ours.lessor.apply(lessor_peers::START, attach).expect("it is there");
            while ours.lessor.poll_effect().is_some() {}
        }
    });
    bytes::<Ours>("bytes", JUST_DOUBLED, short_ttl, |_| {});
    bytes::<Delays>("bytes", LEASES, short_ttl, |_| {});
    bytes::<BTree>("bytes", LEASES, short_ttl, |_| {});
    bytes::<Heap>("bytes", LEASES, short_ttl, |_| {});
    bytes::<Priorities>("bytes", LEASES, short_ttl, |_| {});
    bytes::<Moka>("bytes", LEASES, short_ttl, |_| {});
}

fn bytes<P: Peer>(operation: &str, leases: u64, ttl: fn(u64) -> Ttl, more: impl FnOnce(&mut P)) {
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        let mut peer = P::new();
        grant_all(&mut peer, leases, ttl);
        peer.settle();
        more(&mut peer);
        kept = Some(peer);
    });
    drop(kept);
    let each = counted.bytes_current as f64 / leases as f64;
    println!("{operation}\t{leases}\t{}\t{each:.2}", P::NAME);
}

const LEASES: u64 = 1_000_000;
/// One more than fits into a power of two, so that all that grows by doubling has just done so.
const JUST_DOUBLED: u64 = (1 << 20) + 1;
