//! How long the core takes for each of its paths, from a thousand leases to ten million, beside what
//! the memory of this machine takes at the same size.
//!
//! `cargo bench -p lessor --all-features --bench core`, or `-- renew` for one path. All effects are drained, as
//! a host does it. Where "item/s" is shown, an item is a lease.

use std::num::NonZeroU32;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lessor::{
    Command, Config, Instant, Item, LeaseOrder, LeaseRecord, Lessor, Snapshot, Ticket, Ttl,
};

use self::ids::id;

mod ids;

fn main() {
    divan::main();
}

/// A renew of any lease of many.
#[divan::bench(args = LEASES, sample_size = 1_000)]
fn renew(bencher: Bencher<'_, '_>, leases: u64) {
    let (mut lessor, mut random) = (primary(leases, short), Random::default());
    bencher.bench_local(|| {
        let number = random.below(leases);
        lessor.renew(NOW, Ticket(number), id(number));
        drain(&mut lessor);
    });
}

/// The same while somebody lists by expiry.
#[divan::bench(args = LEASES, sample_size = 1_000)]
fn renew_while_listed(bencher: Bencher<'_, '_>, leases: u64) {
    let (mut lessor, mut random) = (in_order(leases, LeaseOrder::Expiry), Random::default());
    let mut now = NOW;
    bencher.bench_local(|| {
        let number = random.below(leases);
        now += Duration::from_micros(1);
        lessor.renew(now, Ticket(number), id(number));
        drain(&mut lessor);
    });
}

/// All grants from none to so many leases.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn grant(bencher: Bencher<'_, '_>, leases: u64) {
    all(
        bencher,
        leases,
        || primary(0, short),
        |lessor| {
            for number in 0..leases {
                let (id, ttl) = (id(number), short(number));
                lessor.apply(NOW, Command::Grant { id, ttl }).expect("no other has this id");
                drain(lessor);
            }
        },
    );
}

/// All revokes from so many leases to none, in another order than they were granted in.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn revoke(bencher: Bencher<'_, '_>, leases: u64) {
    all(
        bencher,
        leases,
        || primary(leases, short),
        |lessor| {
            for number in (0..leases).map(|number| number * STRIDE % leases) {
                lessor.apply(NOW, Command::Revoke { id: id(number) }).expect("it was granted");
                drain(lessor);
            }
        },
    );
}

/// One item more for any lease of many that have one, and its detach.
#[divan::bench(args = LEASES, sample_size = 1_000)]
fn attach_and_detach(bencher: Bencher<'_, '_>, leases: u64) {
    let (mut lessor, mut random) = (with_items(leases), Random::default());
    bencher.bench_local(|| {
        let number = random.below(leases);
        let (id, items) = (id(number), vec![Item::from(format!("{number:08}/b"))]);
        lessor.apply(NOW, Command::Attach { id, items: items.clone() }).expect("it is there");
        lessor.apply(NOW, Command::Detach { id, items }).expect("it is there");
        drain(&mut lessor);
    });
}

/// A page of 1,000 of many leases, from anywhere.
#[divan::bench(args = LEASES, sample_size = 1)]
fn page_by_id(bencher: Bencher<'_, '_>, leases: u64) {
    page(bencher, leases, LeaseOrder::Id);
}

/// The same in the order in which they expire.
#[divan::bench(args = LEASES, sample_size = 1)]
fn page_by_expiry(bencher: Bencher<'_, '_>, leases: u64) {
    page(bencher, leases, LeaseOrder::Expiry);
}

fn page(bencher: Bencher<'_, '_>, leases: u64, order: LeaseOrder) {
    let (lessor, mut random) = (in_order(leases, order), Random::default());
    bencher.bench_local(|| {
        let after = lessor.lookup(id(random.below(leases)));
        black_box(lessor.leases(order, after.as_ref(), 1_000))
    });
}

fn in_order(leases: u64, order: LeaseOrder) -> Lessor {
    let mut lessor = primary(leases, short);
    lessor.put_in_order(NOW, order);
    while lessor.poll_timeout() == Some(NOW) {
        lessor.handle_timeout(NOW);
    }
    lessor
}

/// So many items for one lease by one command.
#[divan::bench(args = ITEMS, sample_count = SAMPLES, sample_size = 1)]
fn attach_of_many(bencher: Bencher<'_, '_>, items: u64) {
    bencher
        .counter(ItemsCount::new(items))
        .with_inputs(|| (primary(1, short), many(items)))
        .bench_local_values(|(mut lessor, items)| {
            lessor.apply(NOW, Command::Attach { id: id(0), items }).expect("it is there");
            drain(&mut lessor);
            lessor
        });
}

/// One call of those that attach a million items, piece by piece; the slowest is what others wait for.
#[divan::bench(sample_count = 900, sample_size = 1)]
fn piece_of_an_attach(bencher: Bencher<'_, '_>) {
    let mut lessor = primary(1, short);
    lessor.begin(NOW, Command::Attach { id: id(0), items: many(1_000_000) }).expect("it is there");
    drain(&mut lessor);
    bencher.bench_local(|| {
        assert!(lessor.go_on(NOW) == Ok(false), "there are a thousand pieces");
        drain(&mut lessor);
    });
}

/// The same of a revoke.
#[divan::bench(sample_count = 900, sample_size = 1)]
fn piece_of_a_revoke(bencher: Bencher<'_, '_>) {
    let mut lessor = primary(1, short);
    lessor.apply(NOW, Command::Attach { id: id(0), items: many(1_000_000) }).expect("it is there");
    drain(&mut lessor);
    lessor.begin(NOW, Command::Revoke { id: id(0) }).expect("it is there");
    bencher.bench_local(|| assert!(lessor.go_on(NOW) == Ok(false), "there are a thousand pieces"));
}

/// The end of a lease with so many items.
#[divan::bench(args = ITEMS, sample_count = SAMPLES, sample_size = 1)]
fn revoke_of_many(bencher: Bencher<'_, '_>, items: u64) {
    let made = || {
        let mut lessor = primary(1, short);
        let attach = Command::Attach { id: id(0), items: many(items) };
        lessor.apply(NOW, attach).expect("it is there");
        drain(&mut lessor);
        lessor
    };
    let work = |lessor: &mut Lessor| {
        lessor.apply(NOW, Command::Revoke { id: id(0) }).expect("it is there");
        drain(lessor);
    };
    all(bencher, items, made, work);
}

fn many(items: u64) -> Vec<Item> {
    let key = |number: u64| Item::from(format!("{:08}", number * STRIDE % items));
    (0..items).map(key).collect()
}

/// So many leases expire and leave in one batch, with no limit to the rate.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn expire(bencher: Bencher<'_, '_>, leases: u64) {
    all(
        bencher,
        leases,
        || primary(leases, short),
        |lessor| {
            lessor.handle_timeout(NOW.saturating_add(Duration::from_secs(3_600)));
            drain(lessor);
        },
    );
}

/// A promotion with so many leases that all pile up, and are spread at etcd's rate.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn promote_with_a_pile_up(bencher: Bencher<'_, '_>, leases: u64) {
    all(
        bencher,
        leases,
        || recovered(leases, |_| Ttl::from_secs(60)),
        |lessor| {
            lessor.promote(NOW, Duration::from_secs(1));
        },
    );
}

/// A promotion with so many leases that expire at less than the rate anyway.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn promote_without_a_pile_up(bencher: Bencher<'_, '_>, leases: u64) {
    all(
        bencher,
        leases,
        || recovered(leases, |number| Ttl::from_millis(60_000 + 2 * number)),
        |lessor| {
            lessor.promote(NOW, Duration::from_secs(1));
        },
    );
}

#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn demote(bencher: Bencher<'_, '_>, leases: u64) {
    all(bencher, leases, || primary(leases, short), |lessor| lessor.demote(NOW));
}

/// The first checkpoint of so many leases, all due at once, at the rate of the core.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn checkpoint_pass(bencher: Bencher<'_, '_>, leases: u64) {
    let due = NOW.saturating_add(Config::default().checkpoint_interval);
    all(
        bencher,
        leases,
        || primary(leases, |_| Ttl::from_secs(3_600)),
        |lessor| {
            for pass in 0..leases.div_ceil(500_000) {
                lessor.handle_timeout(due.saturating_add(Duration::from_millis(500 * pass)));
                drain(lessor);
            }
        },
    );
}

/// The state of so many leases from what a store has loaded.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn recover(bencher: Bencher<'_, '_>, leases: u64) {
    let snapshot = snapshot(leases, short);
    all(
        bencher,
        leases,
        || Lessor::new(&Config::default()),
        |lessor| {
            lessor.recover(NOW, &snapshot).expect("it is sound");
        },
    );
}

/// Two reads of memory, the second at a place that the first one names, among 64 bytes for each
/// lease: less than that no renew can do, which finds the place of a lease and then the lease.
#[divan::bench(args = LEASES, sample_size = 1_000)]
fn limit_of_a_renew(bencher: Bencher<'_, '_>, leases: u64) {
    let mut order: Vec<usize> = (0..usize::try_from(leases).expect("it fits")).collect();
    order.sort_unstable_by_key(|position| Random(*position as u64).next());
    let mut lines = vec![[0_usize; 8]; order.len()];
    for (position, next) in order.iter().zip(order.iter().cycle().skip(1)) {
        lines[*position][0] = *next;
    }
    let mut position = 0;
    bencher.bench_local(|| {
        position = lines[lines[position][0]][0];
        black_box(position)
    });
}

/// One pass over 64 bytes for each lease that changes each of them: what a promotion cannot do without.
#[divan::bench(args = LEASES, sample_count = SAMPLES, sample_size = 1)]
fn limit_of_a_promotion(bencher: Bencher<'_, '_>, leases: u64) {
    let lines = || vec![[1_u64; 8]; usize::try_from(leases).expect("it fits")];
    all(bencher, leases, lines, |lines| {
        for line in lines {
            line[0] = line[0].wrapping_add(line[1]);
        }
    });
}

/// Times one piece of work on all leases; what it works on is made before and dropped after.
fn all<T>(bencher: Bencher<'_, '_>, leases: u64, made: impl Fn() -> T, work: impl Fn(&mut T)) {
    bencher.counter(ItemsCount::new(leases)).with_inputs(made).bench_local_values(|mut value| {
        work(&mut value);
        value
    });
}

fn drain(lessor: &mut Lessor) {
    while let Some(effect) = lessor.poll_effect() {
        black_box(effect);
    }
}

/// A primary with so many leases, which may expire all at once.
fn primary(leases: u64, ttl: impl Fn(u64) -> Ttl) -> Lessor {
    let mut lessor = Lessor::new(&Config::default().with_revoke_rate(NonZeroU32::MAX));
    lessor.recover(NOW, &snapshot(leases, ttl)).expect("it is sound");
    lessor.promote(NOW, Duration::ZERO);
    lessor
}

/// A member that is not primary, with so many leases and etcd's rate.
fn recovered(leases: u64, ttl: impl Fn(u64) -> Ttl) -> Lessor {
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(NOW, &snapshot(leases, ttl)).expect("it is sound");
    lessor
}

/// A primary with so many leases, each with an item.
fn with_items(leases: u64) -> Lessor {
    let mut lessor = primary(leases, short);
    for number in 0..leases {
        let (id, items) = (id(number), vec![Item::from(format!("{number:08}/a"))]);
        lessor.apply(NOW, Command::Attach { id, items }).expect("it is there");
        drain(&mut lessor);
    }
    lessor
}

fn snapshot(leases: u64, ttl: impl Fn(u64) -> Ttl) -> Snapshot {
    let lease = |number| LeaseRecord { id: id(number), ttl: ttl(number), remaining: None };
    Snapshot { leases: (0..leases).map(lease).collect(), items: Vec::new() }
}

/// One to five minutes, short of what is checkpointed.
fn short(number: u64) -> Ttl {
    Ttl::from_secs(60 + number % 240)
}

/// Numbers that no cache can foresee (splitmix64).
#[derive(Default)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        let wide = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(wide).expect("it is below the bound")
    }
}

const LEASES: [u64; 4] = [1_000, 100_000, 1_000_000, 10_000_000];
const ITEMS: [u64; 3] = [10_000, 500_000, 1_000_000];
const SAMPLES: u32 = 3;
/// Prime to every number of leases.
const STRIDE: u64 = 7_368_787;
const NOW: Instant = Instant::from_secs(1);
