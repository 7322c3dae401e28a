//! How long the core takes for one renew, grant, expiry and promotion, with few and with many leases,
//! and how much memory a lease takes.
//!
//! `cargo bench -p lessor --all-features`. Where an item count is shown, an item is a lease; "max alloc"
//! of `grant` divided by the number of leases is what each of them takes.

use std::num::NonZeroU32;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use lessor::{
    Command, Config, Effect, Instant, LeaseId, LeaseRecord, Lessor, Snapshot, Ticket, Ttl,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// One renew of a lease of many, in an order that the caches cannot foresee.
#[divan::bench(args = LEASES)]
fn renew(bencher: Bencher<'_, '_>, leases: u64) {
    let (mut lessor, mut number) = (primary(leases), 0);
    bencher.bench_local(|| {
        number = (number + STRIDE) % leases;
        lessor.renew(NOW, Ticket(number), id(number));
        black_box(lessor.poll_effect())
    });
}

/// All grants from none to so many leases, each with its write.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn grant(bencher: Bencher<'_, '_>, leases: u64) {
    bencher.counter(ItemsCount::new(leases)).with_inputs(|| primary(0)).bench_local_values(
        |mut lessor| {
            for number in 0..leases {
                grant_one(&mut lessor, number);
            }
            lessor
        },
    );
}

/// One grant and its revoke, beside so many other leases.
#[divan::bench(args = LEASES)]
fn grant_and_revoke(bencher: Bencher<'_, '_>, leases: u64) {
    let (mut lessor, mut number) = (primary(leases), leases);
    bencher.bench_local(|| {
        number += 1;
        grant_one(&mut lessor, number);
        lessor.apply(NOW, Command::Revoke { id: id(number) }).expect("it was granted");
        black_box(lessor.poll_effect())
    });
}

/// So many leases expire and leave in one batch, with no limit to the rate.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn expire(bencher: Bencher<'_, '_>, leases: u64) {
    bencher.counter(ItemsCount::new(leases)).with_inputs(|| primary(leases)).bench_local_values(
        |mut lessor| {
            lessor.handle_timeout(NOW.saturating_add(2 * TTL.as_duration()));
            let Some(Effect::Expired(batch)) = lessor.poll_effect() else {
                panic!("all have expired")
            };
            assert_eq!(batch.leases.len() as u64, leases);
            lessor
        },
    );
}

/// A promotion with so many leases that all pile up, and are spread at etcd's rate.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn promote(bencher: Bencher<'_, '_>, leases: u64) {
    let leases_of = |number| LeaseRecord { id: id(number), ttl: TTL, remaining: None };
    let snapshot = Snapshot { leases: (0..leases).map(leases_of).collect(), items: Vec::new() };
    let recovered = || {
        let mut lessor = Lessor::new(&Config::default());
        lessor.recover(NOW, &snapshot).expect("it is sound");
        lessor
    };
    bencher.counter(ItemsCount::new(leases)).with_inputs(recovered).bench_local_values(
        |mut lessor| {
            lessor.promote(NOW, Duration::from_secs(1));
            lessor
        },
    );
}

/// A primary with so many leases, which may expire all at once.
fn primary(leases: u64) -> Lessor {
    let config = Config { revoke_rate: NonZeroU32::MAX, ..Config::default() };
    let mut lessor = Lessor::new(&config);
    lessor.promote(NOW, Duration::ZERO);
    for number in 0..leases {
        grant_one(&mut lessor, number);
    }
    lessor
}

fn grant_one(lessor: &mut Lessor, number: u64) {
    let (id, ttl) = (id(number), TTL);
    lessor.apply(NOW, Command::Grant { id, ttl }).expect("no other has this id");
    black_box(lessor.poll_effect());
}

/// Ids as a lessor picks them: all over the place.
fn id(number: u64) -> LeaseId {
    let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
    LeaseId::new(id.cast_signed()).expect("its highest bit is set")
}

const LEASES: [u64; 3] = [1_000, 100_000, 1_000_000];
const SAMPLES: u32 = 5;
/// Prime to every number of leases.
const STRIDE: u64 = 7_368_787;
const NOW: Instant = Instant::from_secs(1);
/// Short of what is checkpointed.
const TTL: Ttl = Ttl::from_secs(60);
