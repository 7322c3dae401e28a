//! What the core allocates: nothing in a renew and a demotion, and nothing for a lease in a promotion.

use std::time::Duration;

use allocation_counter::measure;
use lessor::{Command, Config, Instant, LeaseId, Lessor, Ticket, Ttl};

#[test]
fn a_renew_and_a_demotion_allocate_nothing_and_a_promotion_nothing_for_a_lease() {
    let mut promoted = Vec::new();
    for leases in [4_000, 64_000] {
        let mut lessor = Lessor::new(&Config::default());
        lessor.promote(NOW, Duration::ZERO);
        for number in 1..=leases {
            let (id, ttl) = (LeaseId::new(number).unwrap(), Ttl::from_secs(60));
            lessor.apply(NOW, Command::Grant { id, ttl }).unwrap();
            while lessor.poll_effect().is_some() {}
        }
        let renews = allocations(|| {
            for number in 1..=leases {
                lessor.renew(NOW, Ticket(number.unsigned_abs()), LeaseId::new(number).unwrap());
                assert!(lessor.poll_effect().is_some());
            }
        });
        assert_eq!(renews, 0, "{leases} renews");
        assert_eq!(allocations(|| lessor.demote(NOW)), 0, "of {leases} leases");
        promoted.push(allocations(|| lessor.promote(NOW, Duration::ZERO)));
    }
    // An array that doubles does so once more for each time that there are twice as many leases.
    assert!(promoted[1] <= promoted[0] + 12 && promoted[1] < 40, "{promoted:?}");
}

fn allocations(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

const NOW: Instant = Instant::from_secs(1);
