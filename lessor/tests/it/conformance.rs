//! What etcd's own tests of its lessor say (`server/lease/lessor_test.go`, `lease_queue_test.go`),
//! said of this one, and a test for each flaw of etcd's that is not repeated here. What etcd tests by a restart is in
//! `redb_backend`, concurrent calls and the shortest ttl in `driver`; docs/SEMANTICS.md says which test is where.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{
    Checkpoint, Command, Config, Digest, Effect, Error, ExpiredBatch, Input, Instant, Item,
    LeaseId, LeaseOrder, LeaseRecord, Lessor, RangeDelete, Snapshot, SnapshotError, Ticket, Ttl,
    Write,
};

// Grant

#[test]
fn a_grant_is_stored_and_found() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    assert_eq!(host.take(), [Effect::Write(Write::PutLease(record(1, 10)))]);
    assert_eq!(host.lessor.lookup(id(1)).unwrap().record, record(1, 10));
    assert_eq!(host.remaining(1), Some(secs(10)));
    assert_eq!(host.lessor.lookup(id(2)), None);
}

#[test]
fn a_grant_is_refused_for_its_ttl_before_its_id() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.take();
    let digest = host.lessor.digest();
    assert_eq!(host.grant(1, 20), Err(Error::LeaseExists));
    assert_eq!(host.grant(1, 9_000_000_001), Err(Error::TtlTooLarge));
    assert_eq!(host.grant(2, 9_000_000_000), Ok(()));
    assert_ne!(host.lessor.digest(), digest);
    assert_eq!(host.take().len(), 1, "a refusal writes nothing");
}

#[test]
fn the_largest_ttl_of_all_overflows_nothing() {
    let mut host = Host::primary();
    host.to(Instant::from_nanos(u64::MAX - 5));
    host.grant(1, 9_000_000_000).unwrap();
    host.lessor.promote(host.now, Duration::MAX);
    host.to(Instant::MAX);
    assert_eq!(host.expired(), NONE);
    assert!(host.remaining(1).is_some());
}

#[test]
fn a_lease_of_a_member_that_is_not_primary_has_no_expiry() {
    let mut host = Host::new(&Config::default());
    host.grant(1, 10).unwrap();
    assert_eq!(host.lessor.lookup(id(1)).unwrap().expiry, None);
    assert_eq!(host.remaining(1), None);
    assert_eq!(host.lessor.poll_timeout(), None);
    host.sleep(1_000_000);
    assert_eq!(host.expired(), NONE);
}

// Revoke

#[test]
fn revoke_deletes_items_in_key_order_and_then_the_record() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.attach(1, &["foo", "bar", "zoo", "baz"]).unwrap();
    host.take();
    host.revoke(1).unwrap();
    assert_eq!(
        host.take(),
        [
            Effect::RangeDelete(RangeDelete {
                lease: id(1),
                items: items(&["bar", "baz", "foo", "zoo"])
            }),
            Effect::Write(Write::DeleteLease(id(1))),
        ]
    );
    assert_eq!(host.revoke(1), Err(Error::LeaseNotFound));
    assert_eq!(host.take(), []);
}

/// Bank 21: etcd leaves the index, so that `GetLease` names a lease that is gone.
#[test]
fn revoke_forgets_who_held_the_items() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.attach(1, &["foo"]).unwrap();
    host.revoke(1).unwrap();
    assert_eq!(host.lessor.lease_of(&"foo".into()), None);
    assert_eq!(host.lessor.digest(), Digest::default());
}

#[test]
fn memory_comes_back_with_the_leases() {
    let mut host = Host::primary();
    for number in 1..=10_000 {
        host.grant(number, 10).unwrap();
    }
    for number in 1..=10_000 {
        host.revoke(number).unwrap();
    }
    host.lessor.check();
    assert!(host.lessor.is_empty());
    assert_eq!(host.lessor.poll_timeout(), None, "nothing is left in a queue");
}

// Attach, Detach, GetLease

#[test]
fn items_are_attached_and_detached() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.take();
    host.attach(1, &["bar", "foo"]).unwrap();
    assert_eq!(host.take(), [put_item("bar", 1), put_item("foo", 1)]);
    host.detach(1, &["foo"]).unwrap();
    assert_eq!(host.take(), [Effect::Write(Write::DeleteItem("foo".into()))]);
    assert_eq!(host.lessor.items(id(1)).cloned().collect::<Vec<_>>(), items(&["bar"]));
    assert_eq!(host.lessor.lease_of(&"bar".into()), Some(id(1)));
    assert_eq!(host.lessor.lease_of(&"foo".into()), None);
    assert_eq!(host.attach(2, &["foo"]), Err(Error::LeaseNotFound));
    assert_eq!(host.detach(2, &["foo"]), Err(Error::LeaseNotFound));
}

/// etcd has no such command.
#[test]
fn a_claim_takes_all_or_nothing_and_nothing_from_another() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.grant(2, 10).unwrap();
    host.take();
    host.claim(1, &["bar", "foo"]).unwrap();
    assert_eq!(host.take(), [put_item("bar", 1), put_item("foo", 1)]);
    // Of those that are held, the first one in the order of the claim.
    assert_eq!(host.claim(2, &["new", "foo", "bar"]), Err(Error::ItemHeld(id(1))));
    assert_eq!(host.take(), []);
    assert_eq!(host.lessor.lease_of(&"new".into()), None);
    // Its own are no obstacle.
    host.claim(1, &["foo", "new"]).unwrap();
    assert_eq!(host.take(), [put_item("new", 1)]);
    host.claim(1, &[]).unwrap();
    assert_eq!(host.claim(3, &[]), Err(Error::LeaseNotFound));
    host.revoke(1).unwrap();
    host.claim(2, &["foo"]).unwrap();
    assert_eq!(host.lessor.lease_of(&"foo".into()), Some(id(2)));
}

/// Bank 22: etcd drops the index entry of whoever holds it.
#[test]
fn detach_leaves_an_item_of_another_lease_alone() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.grant(2, 10).unwrap();
    host.attach(2, &["key"]).unwrap();
    host.take();
    host.detach(1, &["key"]).unwrap();
    assert_eq!(host.take(), []);
    assert_eq!(host.lessor.lease_of(&"key".into()), Some(id(2)));
}

/// Bank 23 and etcd #8185: the old lease's end must not delete a key that has moved.
#[test]
fn an_item_that_is_attached_again_moves() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.grant(2, 10).unwrap();
    host.attach(1, &["key"]).unwrap();
    host.attach(2, &["key"]).unwrap();
    host.take();
    host.revoke(1).unwrap();
    assert_eq!(host.take(), [Effect::Write(Write::DeleteLease(id(1)))]);
    assert_eq!(host.lessor.lease_of(&"key".into()), Some(id(2)));
}

// Renew

#[test]
fn renew_extends_to_the_whole_ttl() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.sleep(9);
    assert_eq!(host.renew(1), Some(Ok(Ttl::from_secs(10))));
    assert_eq!(host.remaining(1), Some(secs(10)));
    host.sleep(9);
    assert_eq!(host.expired(), NONE);
    host.sleep(1);
    assert_eq!(host.expired(), [1]);
}

#[test]
fn renew_is_refused_for_what_is_not_there_and_by_who_is_not_primary() {
    let mut host = Host::primary();
    assert_eq!(host.renew(1), Some(Err(Error::LeaseNotFound)));
    host.grant(1, 10).unwrap();
    host.demote();
    assert_eq!(host.renew(1), Some(Err(Error::NotPrimary)));
}

#[test]
fn renew_of_an_expired_lease_waits_for_its_revoke() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.sleep(10);
    assert_eq!(host.expired(), [1]);
    assert_eq!(host.renew(1), None);
    assert_eq!(host.remaining(1), Some(Duration::ZERO));
    host.revoke(1).unwrap();
    assert_eq!(host.answers(), [Err(Error::LeaseNotFound)]);
}

#[test]
fn a_demotion_answers_renews_that_wait() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.sleep(10);
    assert_eq!((host.renew(1), host.renew(1)), (None, None));
    host.demote();
    assert_eq!(host.answers(), [Err(Error::NotPrimary); 2]);
    host.promote(0);
    assert_eq!(host.answers(), [], "each is answered once");
}

/// Bank 24: etcd replaces the signal that they wait on, and they hang for ever.
#[test]
fn promoting_a_primary_again_keeps_renews_waiting_until_their_answer() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.sleep(10);
    assert_eq!(host.renew(1), None);
    host.promote(0);
    assert_eq!(host.answers(), []);
    assert_eq!(host.remaining(1), Some(Duration::ZERO), "it stays expired");
    host.revoke(1).unwrap();
    assert_eq!(host.answers(), [Err(Error::LeaseNotFound)]);
}

// Promote, Demote

#[test]
fn promote_extends_every_lease_from_now() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.grant(2, 20).unwrap();
    host.sleep(9);
    host.demote();
    host.sleep(100);
    host.promote(5);
    assert_eq!((host.remaining(1), host.remaining(2)), (Some(secs(15)), Some(secs(25))));
    assert_eq!(host.lessor.leases(LeaseOrder::Expiry, None, 10).len(), 2);
}

/// Bank 43: a checkpointed lease would get less than it was promised.
#[test]
fn promoting_again_never_shortens_a_lease() {
    let mut host = Host::primary();
    host.grant(1, 600).unwrap();
    host.checkpoint(1, Some(100));
    host.sleep(10);
    host.promote(0);
    assert_eq!(host.remaining(1), Some(secs(590)));
    host.promote(1_000);
    assert_eq!(host.remaining(1), Some(secs(1_100)));
}

#[test]
fn demote_forgets_all_deadlines() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(5)));
    host.grant(1, 10).unwrap();
    host.demote();
    assert_eq!(host.lessor.poll_timeout(), None);
    host.sleep(1_000);
    assert_eq!(host.take().len(), 1, "nothing but the write of the grant");
    host.lessor.check();
    host.demote();
    assert!(!host.lessor.is_primary(), "demoting twice is harmless");
}

/// etcd: `TestLessorRenewExtendPileup` with its numbers: a rate of 10 a second, 100 leases of 10 s and
/// 100 of 11 s, all due from one promotion.
#[test]
fn a_pileup_is_spread_below_the_rate_and_above_half_of_it() {
    let mut host = Host::new(&Config::default().with_revoke_rate(rate(10)));
    for number in 1..=100 {
        host.grant(number, 10).unwrap();
        host.grant(number + 100, 11).unwrap();
    }
    let snapshot = host.lessor.snapshot();
    let mut host = Host::new(&Config::default().with_revoke_rate(rate(10)));
    host.lessor.recover(host.now, &snapshot).unwrap();
    host.promote(0);
    let dues = host.lessor.leases(LeaseOrder::Expiry, None, usize::MAX);
    let dues: Vec<u64> = dues.iter().map(|l| l.expiry.unwrap().as_nanos() / 1_000_000).collect();
    for second in 10..30 {
        let due = dues.iter().filter(|due| (second * 1_000..(second + 1) * 1_000).contains(*due));
        let count = due.count();
        assert!((5..=10).contains(&count), "{count} leases are due in second {second}");
    }
    for start in &dues {
        let within = dues.iter().filter(|due| (*start..*start + 1_000).contains(*due)).count();
        assert!(within <= 7, "{within} leases within a second of {start} ms");
    }
    assert!(dues[0] >= 10_000, "none is early");
}

#[test]
fn a_few_leases_are_not_spread() {
    let mut host = Host::new(&Config::default().with_revoke_rate(rate(10)));
    for number in 1..=9 {
        host.grant(number, 10).unwrap();
    }
    host.promote(0);
    assert!((1..=9).all(|number| host.remaining(number) == Some(secs(10))));
}

// Expiry

#[test]
fn a_lease_expires_at_its_deadline_and_not_before() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.to(Instant::from_nanos(9_999_999_999));
    assert_eq!(host.expired(), NONE);
    host.to(Instant::from_secs(10));
    assert_eq!(host.expired(), [1]);
}

#[test]
fn a_batch_is_ordered_by_expiry_and_then_by_id() {
    let mut host = Host::primary();
    for (number, ttl) in [(5, 3), (-4, 3), (3, 2), (9, 1), (1, 3)] {
        host.grant(number, ttl).unwrap();
    }
    host.sleep(10);
    assert_eq!(host.expired(), [9, 3, -4, 1, 5]);
}

/// etcd's `TestLeaseQueue` again: a lease that is there already moves to its new position and is in the queue once.
#[test]
fn a_renew_moves_a_lease_behind_those_that_are_due_before() {
    let mut host = Host::primary();
    for (number, ttl) in [(1, 10), (2, 11), (3, 12), (4, 20)] {
        host.grant(number, ttl).unwrap();
    }
    host.sleep(5);
    assert_eq!(host.renew(2), Some(Ok(Ttl::from_secs(11))), "now it is due after 16 s");
    assert_eq!(host.renew(1), Some(Ok(Ttl::from_secs(10))), "and this one after 15 s");
    host.sleep(9);
    assert_eq!(host.expired(), [3], "at their first positions the others would come with it");
    host.revoke(3).unwrap();
    host.sleep(6);
    assert_eq!(host.expired(), [1, 2, 4]);
}

/// etcd #9360, bank 47: the bound is of any half second, not of a tick.
#[test]
fn no_more_than_half_the_rate_leaves_in_any_half_second() {
    let mut host = Host::with(&Config::default().with_revoke_rate(rate(10)));
    for number in 1..=12 {
        host.grant(number, 1).unwrap();
    }
    host.sleep(1);
    assert_eq!(host.expired(), [1, 2, 3, 4, 5]);
    host.to(Instant::from_millis(1_499));
    assert_eq!(host.expired(), NONE);
    assert_eq!(host.lessor.poll_timeout(), Some(Instant::from_millis(1_500)));
    host.to(Instant::from_millis(1_500));
    assert_eq!(host.expired(), [6, 7, 8, 9, 10]);
    host.to(Instant::from_millis(2_000));
    assert_eq!(host.expired(), [11, 12]);
}

#[test]
fn a_rate_of_one_is_one_a_second() {
    let mut host = Host::with(&Config::default().with_revoke_rate(rate(1)));
    host.grant(1, 1).unwrap();
    host.grant(2, 1).unwrap();
    host.sleep(1);
    assert_eq!(host.expired(), [1]);
    host.to(Instant::from_millis(1_999));
    assert_eq!(host.expired(), NONE);
    host.sleep(1);
    assert_eq!(host.expired(), [2]);
}

/// etcd #10686, #9935.
#[test]
fn an_expired_lease_that_is_not_revoked_comes_again_after_the_retry_interval() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.sleep(10);
    assert_eq!(host.expired(), [1]);
    host.to(Instant::from_millis(12_999));
    assert_eq!(host.expired(), NONE);
    host.to(Instant::from_secs(13));
    assert_eq!(host.expired(), [1]);
    host.revoke(1).unwrap();
    host.sleep(100);
    assert_eq!(host.expired(), NONE);
}

/// Banks 28 and 29: etcd drops a batch that finds no room, until the retry.
#[test]
fn a_batch_that_must_wait_leaves_as_soon_as_it_may() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.lessor.hold_expired(host.now, true);
    host.sleep(10);
    assert_eq!(host.expired(), NONE);
    assert_eq!(host.lessor.poll_timeout(), None, "there is nothing to wake up for");
    host.lessor.hold_expired(host.now, false);
    assert_eq!(host.lessor.poll_timeout(), Some(host.now));
    host.lessor.handle_timeout(host.now);
    assert_eq!(host.expired(), [1]);
}

/// Bank 48.
#[test]
fn a_full_batch_leaves_no_timeout_in_the_past() {
    let mut host = Host::with(&Config::default().with_revoke_rate(rate(2)));
    for number in 1..=5 {
        host.grant(number, 1).unwrap();
    }
    for _ in 0..10 {
        host.to(host.lessor.poll_timeout().unwrap());
        assert!(host.lessor.poll_timeout().unwrap() > host.now);
    }
}

/// Bank 36.
#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut host = Host::primary();
    host.sleep(100);
    host.now = Instant::from_secs(50);
    host.grant(1, 10).unwrap();
    assert_eq!(host.remaining(1), Some(secs(10)));
    host.to(Instant::from_secs(109));
    assert_eq!(host.expired(), NONE);
    host.to(Instant::from_secs(110));
    assert_eq!(host.expired(), [1]);
}

// Checkpoints

#[test]
fn a_lease_with_more_than_an_interval_left_is_checkpointed_each_interval() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(300)));
    host.grant(1, 300).unwrap();
    host.grant(2, 700).unwrap();
    host.sleep(300);
    let checkpoints = host.checkpoints();
    assert_eq!(checkpoints, [checkpoint(2, Some(400))], "and one with no more is not");
    host.apply(Command::Checkpoint { checkpoints }).unwrap();
    assert_eq!(host.lessor.lookup(id(2)).unwrap().record.remaining, Some(Ttl::from_secs(400)));
    host.sleep(300);
    let checkpoints = host.checkpoints();
    assert_eq!(checkpoints, [checkpoint(2, Some(100))]);
    host.apply(Command::Checkpoint { checkpoints }).unwrap();
    host.sleep(99);
    assert_eq!(host.checkpoints(), []);
}

#[test]
fn with_an_interval_of_a_second_a_ttl_of_two_is_checkpointed_once() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(1)));
    host.grant(1, 2).unwrap();
    host.sleep(1);
    let checkpoints = host.checkpoints();
    assert_eq!(checkpoints, [checkpoint(1, Some(1))]);
    host.apply(Command::Checkpoint { checkpoints }).unwrap();
    host.sleep(1);
    assert_eq!(host.checkpoints(), [], "with no more than an interval left there is none");
}

#[test]
fn a_ttl_of_ten_that_was_checkpointed_at_five_has_five_left_after_a_promotion() {
    let mut host = Host::new(&Config::default());
    host.grant(1, 10).unwrap();
    host.checkpoint(1, Some(5));
    host.promote(0);
    assert_eq!(host.remaining(1), Some(secs(5)));
    host.sleep(1);
    assert_eq!(host.remaining(1), Some(secs(4)));
}

/// etcd #13491, #17132: also after the second promotion.
#[test]
fn a_promotion_counts_from_the_checkpoint_and_schedules_the_next_one() {
    let mut host = Host::new(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    for left in [90, 80, 70] {
        host.promote(0);
        host.sleep(10);
        let checkpoints = host.checkpoints();
        assert_eq!(checkpoints, [checkpoint(1, Some(left))]);
        host.apply(Command::Checkpoint { checkpoints }).unwrap();
        host.demote();
    }
    host.promote(0);
    assert_eq!(host.remaining(1), Some(secs(70)));
}

/// Bank 27: etcd pushes another entry with each promotion.
#[test]
fn a_lease_has_one_checkpoint_due_however_often_it_is_promoted() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    (0..5).for_each(|_| host.promote(0));
    host.sleep(10);
    assert_eq!(host.checkpoints(), [checkpoint(1, Some(90))]);
}

/// Issue 14: the schedule goes on, it does not begin again.
#[test]
fn promoting_again_leaves_the_schedule_of_checkpoints_alone() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    host.sleep(6);
    host.promote(0);
    host.sleep(3);
    assert_eq!(host.checkpoints(), []);
    host.sleep(1);
    assert_eq!(host.checkpoints(), [checkpoint(1, Some(96))]);
    host.checkpoint(1, Some(96));
    host.promote(5);
    assert_eq!(host.remaining(1), Some(secs(101)), "more than its ttl");
}

#[test]
fn checkpoints_leave_in_batches_of_a_thousand() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    for number in 1..=2_500 {
        host.grant(number, 100).unwrap();
    }
    host.sleep(10);
    let sizes: Vec<usize> = host
        .take()
        .iter()
        .filter_map(|effect| {
            if let Effect::Checkpoint(checkpoints) = effect {
                Some(checkpoints.len())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
}

/// etcd: 500 batches at each tick of half a second.
#[test]
fn no_more_than_half_a_million_checkpoints_leave_in_any_half_second() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    for number in 1..=500_001 {
        host.grant(number, 100).unwrap();
    }
    host.sleep(10);
    assert_eq!(host.checkpoints().len(), 500_000);
    assert_eq!(host.lessor.poll_timeout(), Some(Instant::from_millis(10_500)));
    host.to(Instant::from_millis(10_499));
    assert_eq!(host.checkpoints(), []);
    host.to(Instant::from_millis(10_500));
    assert_eq!(host.checkpoints().len(), 1);
}

/// rustc 1.95 made this wrong in builds that are optimised and incremental.
#[test]
fn an_unset_of_what_is_not_set_writes_nothing() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.take();
    host.checkpoint(1, None);
    assert_eq!(host.take(), []);
    host.checkpoint(1, Some(20));
    let whole = LeaseRecord { remaining: Some(Ttl::from_secs(10)), ..record(1, 10) };
    assert_eq!(
        host.take(),
        [Effect::Write(Write::PutLease(whole))],
        "no more than the ttl is left"
    );
}

#[test]
fn a_checkpoint_of_what_is_gone_is_ignored() {
    let mut host = Host::primary();
    host.checkpoint(1, Some(5));
    assert_eq!(host.take(), []);
}

/// S1c: else the next primary would count from the checkpoint and cut the renew short.
#[test]
fn a_renew_of_a_checkpointed_lease_waits_until_the_checkpoint_is_taken_back() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    host.checkpoint(1, Some(60));
    host.take();
    assert_eq!(host.renew(1), None);
    assert_eq!(host.checkpoints(), [checkpoint(1, None)]);
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [Ok(Ttl::from_secs(100))]);
    assert_eq!(host.renew(1), Some(Ok(Ttl::from_secs(100))), "and then no more");
}

/// Bank 46: a checkpoint that is only proposed may still land behind the answer.
#[test]
fn a_renew_waits_for_a_checkpoint_that_is_on_its_way() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    host.sleep(10);
    let late = host.checkpoints();
    assert_eq!(host.renew(1), None);
    host.apply(Command::Checkpoint { checkpoints: late }).unwrap();
    assert_eq!(host.answers(), []);
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [Ok(Ttl::from_secs(100))]);
    host.demote();
    host.promote(0);
    assert_eq!(host.remaining(1), Some(secs(100)));
}

#[test]
fn an_unset_that_was_lost_is_proposed_again() {
    let mut host = Host::primary();
    host.grant(1, 1_000).unwrap();
    host.checkpoint(1, Some(900));
    assert_eq!(host.renew(1), None);
    assert_eq!(host.checkpoints(), [checkpoint(1, None)]);
    host.sleep(3);
    assert_eq!(host.checkpoints(), [checkpoint(1, None)]);
}

/// A primary that proposed two "unsets" of lease 1, the second as a retry, and answered its renew with the one
/// that came. In ten seconds it proposes a checkpoint.
fn renewed_by_one_of_two_unsets() -> Host {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    host.checkpoint(1, Some(60));
    assert_eq!(host.renew(1), None);
    host.sleep(3);
    assert_eq!(host.checkpoints(), [checkpoint(1, None); 2], "the first and its retry");
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [Ok(Ttl::from_secs(100))]);
    host
}

/// S1c: an "unset" that is tried again may land between a newer checkpoint's proposal and its commit.
#[test]
fn an_unset_that_comes_twice_does_not_take_back_a_checkpoint_behind_it() {
    let mut host = renewed_by_one_of_two_unsets();
    host.sleep(10);
    let late = host.checkpoints();
    assert_eq!(late, [checkpoint(1, Some(90))]);
    host.checkpoint(1, None);
    assert_eq!(host.renew(1), None, "the checkpoint may land behind the answer");
    host.apply(Command::Checkpoint { checkpoints: late }).unwrap();
    assert_eq!(host.answers(), []);
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [Ok(Ttl::from_secs(100))]);
}

/// What was lost stays counted, so a renew may be answered by the second unset only, but it is.
#[test]
fn an_unset_behind_a_checkpoint_that_was_lost_costs_a_renew_one_retry() {
    let mut host = renewed_by_one_of_two_unsets();
    host.sleep(10);
    assert_eq!(host.checkpoints(), [checkpoint(1, Some(90))], "which is lost, like the retry");
    assert_eq!(host.renew(1), None);
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [], "it may be the retry, which came before the checkpoint");
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [Ok(Ttl::from_secs(100))]);
}

/// As above, but the checkpoint comes: then nothing is left that an unset could be in front of.
#[test]
fn an_unset_behind_a_checkpoint_that_came_answers_at_once() {
    let mut host = renewed_by_one_of_two_unsets();
    host.sleep(10);
    assert_eq!(host.checkpoints(), [checkpoint(1, Some(90))]);
    host.checkpoint(1, Some(90));
    assert_eq!(host.renew(1), None);
    host.checkpoint(1, None);
    assert_eq!(host.answers(), [Ok(Ttl::from_secs(100))], "the retry of the first was lost");
}

/// etcd #14078, bank 40.
#[test]
fn a_demoted_member_proposes_no_checkpoint() {
    let mut host = Host::with(&Config::default().with_checkpoint_interval(secs(10)));
    host.grant(1, 100).unwrap();
    host.demote();
    host.sleep(1_000);
    assert_eq!(host.checkpoints(), []);
}

// Recover, Leases

/// Banks 26 and 30: all state is replaced, no deadline survives, and a ttl is taken as stored.
#[test]
fn recover_replaces_all_state_and_raises_no_ttl() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    host.attach(1, &["old"]).unwrap();
    host.sleep(10);
    assert_eq!(host.renew(1), None);
    let snapshot = Snapshot {
        leases: vec![LeaseRecord { id: id(2), ttl: Ttl::from_millis(1), remaining: None }],
        items: vec![("new".into(), id(2))],
    };
    host.take();
    host.lessor.recover(host.now, &snapshot).unwrap();
    assert_eq!(
        host.take(),
        [Effect::Renewed { ticket: Ticket(1), result: Err(Error::NotPrimary) }]
    );
    assert_eq!(host.lessor.snapshot(), snapshot);
    assert_eq!(host.lessor.lease_of(&"old".into()), None);
    assert_eq!(host.lessor.poll_timeout(), None);
    host.lessor.check();
}

#[test]
fn recover_refuses_what_contradicts_itself_and_changes_nothing() {
    let mut host = Host::primary();
    host.grant(1, 10).unwrap();
    let before = host.lessor.snapshot();
    let lease = record(2, 10);
    let too_long = LeaseRecord { remaining: Some(Ttl::from_secs(11)), ..lease };
    let key = Item::from("key");
    let cases = [
        (vec![lease, lease], vec![], SnapshotError::LeaseTwice(id(2))),
        (vec![too_long], vec![], SnapshotError::TtlOutOfRange(id(2))),
        (vec![lease], vec![(key.clone(), id(3))], SnapshotError::UnknownHolder(id(3))),
        (vec![lease], vec![(key.clone(), id(2)), (key, id(2))], SnapshotError::ItemTwice(id(2))),
    ];
    for (leases, items, error) in cases {
        assert_eq!(host.lessor.recover(host.now, &Snapshot { leases, items }), Err(error));
        assert_eq!(host.lessor.snapshot(), before);
        assert!(host.lessor.is_primary());
    }
}

#[test]
fn leases_come_in_pages_by_id_and_by_expiry() {
    let mut host = Host::primary();
    for (number, ttl) in [(3, 10), (1, 30), (2, 20), (-5, 20)] {
        host.grant(number, ttl).unwrap();
    }
    for ordered in [false, true] {
        if ordered {
            assert!(host.lessor.put_in_order(host.now, LeaseOrder::Id));
            assert!(host.lessor.put_in_order(host.now, LeaseOrder::Expiry));
        }
        assert_eq!(listed(&host.lessor, LeaseOrder::Id), [-5, 1, 2, 3]);
        assert_eq!(listed(&host.lessor, LeaseOrder::Expiry), [3, -5, 2, 1]);
        let until = |secs| LeaseOrder::ExpiryUntil(Instant::from_secs(secs));
        assert_eq!(listed(&host.lessor, until(20)), [3, -5, 2]);
        assert!(listed(&host.lessor, until(9)).is_empty());
    }
    host.demote();
    assert_eq!(listed(&host.lessor, LeaseOrder::Expiry), [-5, 1, 2, 3]);
    assert!(listed(&host.lessor, LeaseOrder::ExpiryUntil(Instant::MAX)).is_empty());
}

/// More than are put in order by one call, while some come and go.
#[test]
fn many_leases_are_put_in_order_bit_by_bit() {
    let mut host = Host::primary();
    for number in (1..=25_000).rev() {
        host.grant(number, 100_000).unwrap();
    }
    host.take();
    assert!(!host.lessor.put_in_order(host.now, LeaseOrder::Id));
    let mut pieces = 1;
    while host.lessor.poll_timeout() == Some(host.now) {
        host.revoke(pieces).unwrap();
        host.revoke(25_001 - pieces).unwrap();
        host.grant(-pieces, 100_000).unwrap();
        assert_eq!(host.lessor.leases(LeaseOrder::Id, None, 1)[0].record.id.get(), -pieces);
        host.to(host.now);
        host.lessor.check();
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    let expected: Vec<i64> = (-2..=-1).chain(3..=24_998).collect();
    assert_eq!(listed(&host.lessor, LeaseOrder::Id), expected);
    let last = host.lessor.lookup(LeaseId::new(24_997).unwrap());
    assert_eq!(host.lessor.leases(LeaseOrder::Id, last.as_ref(), 3).len(), 1);
}

/// The same by expiry, while some are renewed, in the order and out of it; then nobody lists any more.
#[test]
fn many_expiries_are_put_in_order_bit_by_bit_and_given_up_in_a_minute() {
    let mut host = Host::primary();
    for number in 1..=25_000 {
        host.grant(number, 1_000 + number.unsigned_abs() % 7).unwrap();
    }
    host.take();
    let mut fork = host.lessor.clone();
    let mut pieces = 1;
    while !host.lessor.put_in_order(host.now, LeaseOrder::Expiry) {
        host.sleep(1);
        for number in [pieces, 12_000 + pieces, 25_000 - pieces] {
            host.renew(number);
            fork.renew(host.now, Ticket(0), id(number));
        }
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    assert_ne!(host.lessor.poll_timeout(), Some(host.now), "it waits for nothing");
    for until in [1_002, 1_005, 1_008, u64::MAX] {
        let order = LeaseOrder::ExpiryUntil(Instant::from_secs(until));
        let page = host.lessor.leases(order, None, 25_000);
        assert_eq!(page, fork.leases(order, None, 25_000), "until {until}");
        let behind = page.get(7);
        assert_eq!(host.lessor.leases(order, behind, 9), fork.leases(order, behind, 9));
    }

    host.sleep(59);
    assert_ne!(host.lessor.poll_timeout(), Some(host.now), "it is kept");
    host.sleep(1);
    let mut pieces = 1;
    while host.lessor.poll_timeout() == Some(host.now) {
        host.renew(pieces);
        host.to(host.now);
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    assert!(!host.lessor.put_in_order(host.now, LeaseOrder::Expiry), "it begins anew");
}

/// Issue 14: each page finds all leases renewed, behind what it has shown.
#[test]
fn a_listing_by_expiry_until_a_moment_ends_though_leases_are_renewed() {
    let mut host = Host::primary();
    for number in 1..=100 {
        host.grant(number, 10).unwrap();
    }
    let first = host.lessor.leases(LeaseOrder::Expiry, None, 1)[0].expiry.unwrap();
    let order = LeaseOrder::ExpiryUntil(first + secs(10));
    let (mut last, mut pages) = (None, 0);
    loop {
        let page = host.lessor.leases(order, last.as_ref(), 7);
        let Some(lease) = page.last() else { break };
        last = Some(*lease);
        pages += 1;
        host.sleep(1);
        (1..=100).for_each(|number| _ = host.renew(number));
    }
    assert_eq!(pages, 11, "one for each second up to the moment");
    assert_eq!(host.lessor.leases(LeaseOrder::Expiry, last.as_ref(), 7).len(), 7, "it goes on");
}

// The whole

/// The key of the index is chance in a real host, so nothing may depend on it.
#[test]
fn the_key_of_the_index_changes_no_effect() {
    let run = |hash_key| {
        let mut host = Host::with(
            &Config::default()
                .with_hash_key(hash_key)
                .with_revoke_rate(rate(20))
                .with_checkpoint_interval(secs(3)),
        );
        let mut effects = Vec::new();
        for step in 0..2_000_i64 {
            let number = step * 7_919 % 211 + 1;
            // Refusals are part of the run.
            let _ = match step % 5 {
                0 | 1 => host.grant(number, 1 + step.unsigned_abs() % 9),
                2 => host.attach(number, &[&format!("key{}", number % 50)]),
                3 if step % 15 == 3 => host.revoke(number),
                _ => {
                    host.lessor.renew(host.now, Ticket(step.unsigned_abs()), id(number));
                    Ok(())
                }
            };
            host.to(host.now.saturating_add(Duration::from_millis(37)));
            effects.extend(host.take());
        }
        (effects, host.lessor.digest())
    };
    let (effects, digest) = run(0);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Expired(_))));
    assert_eq!(run(u128::MAX / 3), (effects, digest));
}

#[test]
fn every_input_can_be_given_as_data() {
    let mut host = Host::new(&Config::default());
    let ttl = Ttl::from_secs(10);
    let inputs = [
        Input::Apply(Command::Grant { id: id(1), ttl }),
        Input::Promote { extend: Duration::ZERO },
        Input::Renew { ticket: Ticket(9), id: id(1) },
        Input::HoldExpired(false),
        Input::Timeout,
        Input::Demote,
    ];
    for input in inputs {
        assert_eq!(host.lessor.handle_input(host.now, input), Ok(()));
    }
    let refused = Input::Apply(Command::Revoke { id: id(2) });
    assert_eq!(host.lessor.handle_input(host.now, refused), Err(Error::LeaseNotFound));
    let renewed = Effect::Renewed { ticket: Ticket(9), result: Ok(ttl) };
    assert_eq!(host.take(), [Effect::Write(Write::PutLease(record(1, 10))), renewed]);
}

/// Every write states the new truth, so a store that follows them has the snapshot.
#[test]
fn the_writes_of_a_life_add_up_to_the_snapshot() {
    let mut host = Host::primary();
    for number in 1..=5 {
        host.grant(number, 100).unwrap();
        host.attach(number, &["shared", &format!("own{number}")]).unwrap();
    }
    host.checkpoint(3, Some(50));
    host.detach(4, &["own4"]).unwrap();
    host.revoke(2).unwrap();
    let (mut leases, mut items) = (BTreeMap::new(), BTreeMap::new());
    for effect in host.take() {
        match effect {
            Effect::Write(Write::PutLease(record)) => drop(leases.insert(record.id, record)),
            Effect::Write(Write::DeleteLease(id)) => drop(leases.remove(&id)),
            Effect::Write(Write::PutItem(item, id)) => drop(items.insert(item, id)),
            Effect::Write(Write::DeleteItem(item)) => drop(items.remove(&item)),
            Effect::RangeDelete(delete) => items.retain(|item, _| !delete.items.contains(item)),
            Effect::Expired(_) | Effect::Checkpoint(_) | Effect::Renewed { .. } => {}
        }
    }
    let stored =
        Snapshot { leases: leases.into_values().collect(), items: items.into_iter().collect() };
    assert_eq!(stored, host.lessor.snapshot());
}

/// No lease at all; a bare `[]` has no type where numbers can be compared with JSON as well.
const NONE: [i64; 0] = [];

/// The ids of all leases, page by page.
fn listed(lessor: &Lessor, order: LeaseOrder) -> Vec<i64> {
    let (mut ids, mut last) = (Vec::new(), None);
    loop {
        let page = lessor.leases(order, last.as_ref(), 3);
        ids.extend(page.iter().map(|lease| lease.record.id.get()));
        last = page.last().copied();
        if page.len() < 3 {
            return ids;
        }
    }
}

/// A bare lessor with a clock that the test moves, and all effects so far.
struct Host {
    lessor: Lessor,
    now: Instant,
    tickets: u64,
    effects: Vec<Effect>,
}

impl Host {
    fn new(config: &Config) -> Self {
        let lessor = Lessor::new(config);
        Self { lessor, now: Instant::ZERO, tickets: 0, effects: Vec::new() }
    }

    fn with(config: &Config) -> Self {
        let mut host = Self::new(config);
        host.promote(0);
        host
    }

    fn primary() -> Self {
        Self::with(&Config::default())
    }

    fn apply(&mut self, command: Command) -> Result<(), Error> {
        self.lessor.apply(self.now, command)
    }

    fn grant(&mut self, number: i64, secs: u64) -> Result<(), Error> {
        self.apply(Command::Grant { id: id(number), ttl: Ttl::from_secs(secs) })
    }

    fn revoke(&mut self, number: i64) -> Result<(), Error> {
        self.apply(Command::Revoke { id: id(number) })
    }

    fn attach(&mut self, number: i64, keys: &[&str]) -> Result<(), Error> {
        self.apply(Command::Attach { id: id(number), items: items(keys) })
    }

    fn claim(&mut self, number: i64, keys: &[&str]) -> Result<(), Error> {
        self.apply(Command::Claim { id: id(number), items: items(keys) })
    }

    fn detach(&mut self, number: i64, keys: &[&str]) -> Result<(), Error> {
        self.apply(Command::Detach { id: id(number), items: items(keys) })
    }

    fn checkpoint(&mut self, number: i64, left: Option<u64>) {
        let checkpoints = vec![checkpoint(number, left)];
        self.apply(Command::Checkpoint { checkpoints }).unwrap();
    }

    /// Renews, and returns the answer unless it has to wait.
    fn renew(&mut self, number: i64) -> Option<Result<Ttl, Error>> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.lessor.renew(self.now, ticket, id(number));
        self.drain();
        let position = self.effects.iter().position(
            |effect| matches!(effect, Effect::Renewed { ticket: found, .. } if *found == ticket),
        )?;
        if let Effect::Renewed { result, .. } = self.effects.remove(position) {
            Some(result)
        } else {
            None
        }
    }

    fn promote(&mut self, extend: u64) {
        self.lessor.promote(self.now, secs(extend));
    }

    fn demote(&mut self) {
        self.lessor.demote(self.now);
    }

    fn sleep(&mut self, secs: u64) {
        self.to(self.now.saturating_add(Duration::from_secs(secs)));
    }

    fn to(&mut self, now: Instant) {
        self.now = now;
        self.lessor.handle_timeout(now);
    }

    fn remaining(&self, number: i64) -> Option<Duration> {
        self.lessor.remaining(self.now, id(number))
    }

    fn drain(&mut self) {
        self.effects.extend(std::iter::from_fn(|| self.lessor.poll_effect()));
        self.lessor.check();
    }

    fn take(&mut self) -> Vec<Effect> {
        self.drain();
        std::mem::take(&mut self.effects)
    }

    /// The leases of all batches since the last look at the effects.
    fn expired(&mut self) -> Vec<i64> {
        let batches = self.take().into_iter().filter_map(|effect| {
            if let Effect::Expired(ExpiredBatch { leases }) = effect { Some(leases) } else { None }
        });
        batches.flatten().map(LeaseId::get).collect()
    }

    fn checkpoints(&mut self) -> Vec<Checkpoint> {
        let batches = self.take().into_iter().filter_map(|effect| {
            if let Effect::Checkpoint(checkpoints) = effect { Some(checkpoints) } else { None }
        });
        batches.flatten().collect()
    }

    fn answers(&mut self) -> Vec<Result<Ttl, Error>> {
        let answers = self.take().into_iter().filter_map(|effect| {
            if let Effect::Renewed { result, .. } = effect { Some(result) } else { None }
        });
        answers.collect()
    }
}

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn rate(rate: u32) -> std::num::NonZeroU32 {
    rate.try_into().unwrap()
}

fn record(number: i64, secs: u64) -> LeaseRecord {
    LeaseRecord { id: id(number), ttl: Ttl::from_secs(secs), remaining: None }
}

fn checkpoint(number: i64, left: Option<u64>) -> Checkpoint {
    Checkpoint { id: id(number), remaining: left.map(Ttl::from_secs) }
}

fn items(keys: &[&str]) -> Vec<Item> {
    keys.iter().map(|key| Item::from(*key)).collect()
}

fn put_item(key: &str, number: i64) -> Effect {
    Effect::Write(Write::PutItem(key.into(), id(number)))
}
