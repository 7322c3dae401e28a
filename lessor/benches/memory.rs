//! How much memory a lease takes, and what the paths of the core allocate.
//!
//! `cargo bench -p lessor --all-features --bench memory`. The bytes are those that were asked of the allocator,
//! without what it adds to each allocation.

use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use lessor::{Command, Config, Instant, Item, Lessor, Ticket, Ttl};

use self::ids::id;

mod ids;

fn main() {
    println!("{:36} {:>14} {:>14}", "bytes a lease", "held", "at the most");
    for leases in [1_000, 100_000, 1_000_000, 10_000_000] {
        held("no item, too short for checkpoints", leases, SHORT, 0);
    }
    held("no item, with checkpoints", 1_000_000, LONG, 0);
    held("1 item", 1_000_000, SHORT, 1);
    held("10 items", 100_000, SHORT, 10);

    println!("\n{:36} {:>14} {:>14}", "of 1000000 leases", "allocations", "bytes");
    let mut lessor = granted(1_000_000, SHORT, 0);
    allocated("a million renews", || {
        for number in 0..1_000_000 {
            lessor.renew(NOW, Ticket(number), id(number));
            drain(&mut lessor);
        }
    });
    allocated("demote", || lessor.demote(NOW));
    allocated("promote with a pile-up", || lessor.promote(NOW, Duration::ZERO));
    allocated("revoke of all", || {
        for number in 0..1_000_000 {
            lessor.apply(NOW, Command::Revoke { id: id(number) }).expect("it was granted");
            drain(&mut lessor);
        }
    });
}

fn held(what: &str, leases: u64, ttl: Ttl, items: u64) {
    let mut lessor = None;
    let AllocationInfo { bytes_current, bytes_max, .. } =
        measure(|| lessor = Some(granted(leases, ttl, items)));
    let each = |bytes: i64| bytes / leases.cast_signed();
    let most = each(bytes_max.cast_signed());
    println!("{:36} {:>14} {most:>14}", format!("{leases} with {what}"), each(bytes_current));
}

fn allocated(what: &str, work: impl FnOnce()) {
    let AllocationInfo { count_total, bytes_total, .. } = measure(work);
    println!("{what:36} {count_total:>14} {bytes_total:>14}");
}

/// A primary with so many leases.
fn granted(leases: u64, ttl: Ttl, items: u64) -> Lessor {
    let mut lessor = Lessor::new(&Config::default());
    lessor.promote(NOW, Duration::ZERO);
    for number in 0..leases {
        let id = id(number);
        lessor.apply(NOW, Command::Grant { id, ttl }).expect("no other has this id");
        drain(&mut lessor);
        if items > 0 {
            let items = (0..items).map(|item| Item::from(format!("{number:08}/{item}"))).collect();
            lessor.apply(NOW, Command::Attach { id, items }).expect("it was granted");
            drain(&mut lessor);
        }
    }
    lessor
}

fn drain(lessor: &mut Lessor) {
    while lessor.poll_effect().is_some() {}
}

const NOW: Instant = Instant::from_secs(1);
const SHORT: Ttl = Ttl::from_secs(60);
/// Longer than the interval of checkpoints, so that a second deadline is armed for each lease.
const LONG: Ttl = Ttl::from_secs(3_600);
