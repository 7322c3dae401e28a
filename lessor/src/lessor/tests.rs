//! The check of a lessor finds each kind of damage that it looks for.

use super::*;
use crate::canary::complaint;

type Damage = fn(&mut Lessor);

#[test]
fn the_check_finds_damage_of_what_is_replicated() {
    let damages: [(&str, Damage); 6] = [
        ("lease 2 is indexed at None, not 1", |lessor| {
            lessor.table.row_mut(1).id = LeaseId::new(2).unwrap();
        }),
        ("lease 7 has a ttl that can be granted", |lessor| {
            lessor.table.row_mut(0).ttl = Ttl::from_secs(9_000_000_001);
        }),
        ("lease 7 has no more left than its ttl", |lessor| {
            lessor.table.row_mut(0).cold_mut().remaining = Some(Ttl::from_secs(11));
        }),
        ("a of lease 7 is indexed so", |lessor| {
            lessor.holders.insert(Item::from("a"), LeaseId::new(8).unwrap());
        }),
        ("every item is held by a lease", |lessor| {
            lessor.holders.insert(Item::from("b"), LeaseId::new(8).unwrap());
        }),
        ("the digest is that of the state", |lessor| {
            lessor.digest = Digest::default();
        }),
    ];
    for (what, damage) in damages {
        finds(what, sound(true), damage);
        finds(what, sound(false), damage);
    }
}

#[test]
fn the_check_finds_damage_of_a_primary() {
    let damages: [(&str, Damage); 4] = [
        ("lease 7 fires at None", |lessor| lessor.expiries.clear(0, &Expiries(&lessor.table))),
        ("lease 7 fires at Some(11.000000000s)", |lessor| {
            lessor.expiries.set(0, Instant::from_secs(11), &Expiries(&lessor.table));
        }),
        ("renews of lease 7 wait for something", |lessor| {
            lessor.table.row_mut(0).cold_mut().waiting.push(Ticket(1));
        }),
        ("a primary has one deadline a lease, others none", |lessor| {
            lessor.expiries.set(2, Instant::MAX, &Expiries(&lessor.table));
        }),
    ];
    for (what, damage) in damages {
        finds(what, sound(true), damage);
    }
}

#[test]
fn the_check_finds_damage_of_a_member_that_is_not_primary() {
    let damages: [(&str, Damage); 4] = [
        ("lease 7 has no expiry", |lessor| lessor.table.set_expiry(0, Instant::from_secs(10))),
        ("nobody waits for lease 7", |lessor| {
            lessor.table.row_mut(0).cold_mut().waiting.push(Ticket(1));
        }),
        ("a primary has one deadline a lease, others none", |lessor| {
            lessor.expiries.set(0, Instant::MAX, &Expiries(&lessor.table));
        }),
        ("only leases of a primary have checkpoints due", |lessor| {
            lessor.checkpoints.set(0, Instant::MAX, &Checkpoints(&lessor.table));
        }),
    ];
    for (what, damage) in damages {
        finds(what, sound(false), damage);
    }
}

fn finds(what: &str, mut lessor: Lessor, damage: Damage) {
    lessor.check();
    damage(&mut lessor);
    let said = complaint(|| lessor.check());
    assert!(said.contains(what), "{what}: {said}");
}

/// Two leases of ten seconds; the first one holds an item.
fn sound(primary: bool) -> Lessor {
    let mut lessor = Lessor::new(&Config::default());
    if primary {
        lessor.promote(Instant::ZERO, Duration::ZERO);
    }
    for id in [7, 8] {
        let (id, ttl) = (LeaseId::new(id).unwrap(), Ttl::from_secs(10));
        lessor.apply(Instant::ZERO, Command::Grant { id, ttl }).unwrap();
    }
    let (id, items) = (LeaseId::new(7).unwrap(), alloc::vec![Item::from("a")]);
    lessor.apply(Instant::ZERO, Command::Attach { id, items }).unwrap();
    lessor
}
