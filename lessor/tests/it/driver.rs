//! The driver and its handle, over a store in memory whose commits the test lets through one by one.
//!
//! Nothing here waits on the wall clock: tokio's clock stands still and jumps when all wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::Duration;

use lessor::backend::{Backend, BackendError, MemoryBackend, Stored};
use lessor::driver::{
    CallError, Driver, DriverError, Granted, Handle, LocalLog, Log, LogEvent, Observer, Runtime,
    TokioRuntime,
};
use lessor::{
    Config, ConfigError, Confirmation, Error, Instant, Item, LeaseId, LeaseOrder, LeaseRecord,
    LogIndex, Member, MemberInput, Output, Proposal, Request, RequestError, Response, Snapshot,
    SnapshotError, Transaction, Ttl,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn what_is_asked_while_a_commit_is_held_shares_the_next_one() {
    let mut engine = Engine::held().await;
    let first = engine.grant(1);
    engine.commit_begun().await;
    let others: Vec<_> = (2..=1_000).map(|id| engine.grant(id)).collect();
    engine.until_taken(1_000).await;

    engine.let_all_through();

    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(engine.commits(), 2, "one for the first grant, one for 999 others");
    assert_eq!(engine.stored().leases.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_only_after_its_commit() {
    let mut engine = Engine::held().await;
    let grant = engine.grant(7);
    engine.commit_begun().await;
    let lookup = tokio::spawn({
        let handle = engine.handle.clone();
        async move { handle.lookup(id(7)).await }
    });
    engine.until_taken(2).await;
    settle().await;
    assert!(!grant.is_finished(), "the grant is not durable yet");
    assert!(!lookup.is_finished(), "nor may anybody see it");

    engine.let_through();

    let granted = Granted { id: id(7), ttl: Ttl::from_secs(60), index: LogIndex(1) };
    assert_eq!(grant.await.unwrap().unwrap(), granted);
    assert!(lookup.await.unwrap().unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_queue_wait_for_a_permit() {
    let config = Config::default().with_queue(4.try_into().unwrap());
    let mut engine = Engine::start(&config, true).await;
    let grants: Vec<_> = (1..=50).map(|id| engine.grant(id)).collect();
    engine.commit_begun().await;
    settle().await;
    assert_eq!(engine.taken(), 4, "the member has as many as the queue holds");

    engine.let_all_through();

    for grant in grants {
        grant.await.unwrap().unwrap();
    }
    assert_eq!(engine.stored().leases.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_caller_has_gone_is_still_done() {
    let mut engine = Engine::held().await;
    let grant = engine.grant(7);
    engine.commit_begun().await;

    grant.abort();
    engine.let_all_through();

    assert!(engine.handle.lookup(id(7)).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn stop_serves_what_was_asked_before_and_may_be_called_by_many() {
    let mut engine = Engine::held().await;
    let grants: Vec<_> = (1..=10).map(|id| engine.grant(id)).collect();
    engine.commit_begun().await;
    engine.until_taken(10).await;
    let stops: Vec<_> = (0..3)
        .map(|_| {
            let handle = engine.handle.clone();
            tokio::spawn(async move { handle.stop().await })
        })
        .collect();
    settle().await;
    assert!(stops.iter().all(|stop| !stop.is_finished()), "a commit is still under way");

    engine.let_all_through();

    for grant in grants {
        grant.await.unwrap().unwrap();
    }
    for stop in stops {
        stop.await.unwrap().unwrap();
    }
    engine.handle.stop().await.unwrap();
    let late = engine.handle.grant(None, SECOND).await;
    assert!(matches!(late, Err(CallError::Request(RequestError::Stopped))), "{late:?}");
    assert!(engine.handle.expired().await.is_err());
    assert_eq!(engine.stored().leases.len(), 10);
    engine.run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn stop_tells_renews_that_wait() {
    let engine = Engine::open().await;
    let (handle, mut expired) = (&engine.handle, engine.handle.expired().await.unwrap());
    engine.fill_subscriber().await;
    handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    advance(3 * SECOND).await;
    let renew = engine.renew(7);
    sleep(TICK).await;
    assert!(!renew.is_finished(), "the lease has expired, and nobody revokes it yet");

    handle.stop().await.unwrap();

    let answer = renew.await.unwrap();
    assert_eq!(answer.unwrap_err().refusal(), Some(Error::NotPrimary));
    let mut batches = 0;
    while expired.recv().await.is_some() {
        batches += 1;
    }
    assert!(batches >= 16, "what was handed over before is still there");
}

#[tokio::test(start_paused = true)]
async fn stop_gets_through_when_renews_that_wait_have_taken_all_room() {
    let config = Config::default().with_queue(2.try_into().unwrap());
    let engine = Engine::start(&config, false).await;
    let (handle, _expired) = (&engine.handle, engine.handle.expired().await.unwrap());
    engine.fill_subscriber().await;
    handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    advance(3 * SECOND).await;
    let renews: Vec<_> = (0..6).map(|_| engine.renew(7)).collect();
    sleep(TICK).await;

    handle.stop().await.unwrap();

    for renew in renews {
        assert!(renew.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_for_revokes_that_the_log_never_confirms() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    engine.log.confirm_nothing();
    // The lease expires anew each 3 s, and each time the question for the leadership hangs for 7 s.
    sleep(30 * SECOND).await;
    let asked = tokio_now();

    engine.handle.stop().await.unwrap();

    assert!(tokio_now() - asked < SECOND);
    assert_eq!(engine.stored().leases.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_engine_stops_when_the_last_handle_is_dropped() {
    let engine = Engine::open().await;
    let second = engine.handle.clone();
    engine.handle.grant(Some(id(7)), SECOND).await.unwrap();

    drop(engine.handle);
    settle().await;
    assert!(!engine.run.is_finished());
    drop(second);

    engine.run.await.unwrap().unwrap();
    assert_eq!(engine.gate.store.lock().unwrap().load().unwrap().snapshot.leases.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_fails_everybody_and_acknowledges_nothing() {
    let mut engine = Engine::held().await;
    let mut calls: Vec<_> = (1..=5).map(|id| engine.grant(id)).collect();
    engine.commit_begun().await;
    calls.extend((6..=10).map(|id| engine.grant(id)));
    engine.until_taken(10).await;

    engine.let_fail();

    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(is_backend_failure(&error), "{error}");
        assert_eq!(error.refusal(), None);
    }
    assert!(is_backend_failure(&engine.handle.grant(None, SECOND).await.unwrap_err()));
    assert!(is_backend_failure(&engine.handle.expired().await.unwrap_err()));
    assert!(matches!(*engine.handle.stop().await.unwrap_err(), DriverError::Backend(_)));
    assert!(matches!(*engine.handle.stop().await.unwrap_err(), DriverError::Backend(_)));
    assert!(engine.stored().leases.is_empty());
    let outcome = engine.run.await.unwrap();
    assert!(matches!(*outcome.unwrap_err(), DriverError::Backend(_)));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_was_torn_down_says_so_to_everybody() {
    let mut engine = Engine::held().await;
    let grant = engine.grant(7);
    engine.commit_begun().await;

    engine.run.abort();

    let answer = grant.await.unwrap();
    assert!(is_aborted(&answer.unwrap_err()));
    assert!(is_aborted(&engine.handle.grant(None, SECOND).await.unwrap_err()));
    assert!(is_aborted(&engine.handle.expired().await.unwrap_err()));
    assert!(matches!(*engine.handle.stop().await.unwrap_err(), DriverError::Aborted));
    engine.let_all_through();
}

/// It said that it had stopped well, and was called stopped from then on.
#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_says_so_to_everybody() {
    let (config, runtime, taken) = (Config::default(), TokioRuntime::new(), Arc::default());
    let engine = Engine::with(&config, false, runtime, Panics, taken).await;

    let answer = engine.handle.grant(Some(id(7)), SECOND).await;

    assert!(is_aborted(&answer.unwrap_err()));
    assert!(matches!(*engine.handle.stop().await.unwrap_err(), DriverError::Aborted));
    assert!(engine.run.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_wait_for_the_disk_aborts() {
    let disk = StallingDisk::default();
    let engine = Engine::on(disk.clone(), &Config::default()).await;
    disk.stall(3_600 * SECOND);
    let grant = engine.grant(7);
    settle().await;

    assert!(timeout(60 * SECOND, engine.handle.stop()).await.is_err(), "it waits for the disk");
    engine.handle.abort();

    assert!(matches!(*engine.handle.stop().await.unwrap_err(), DriverError::Aborted));
    assert!(matches!(*engine.run.await.unwrap().unwrap_err(), DriverError::Aborted));
    let answer = grant.await.unwrap();
    assert!(matches!(answer, Err(CallError::Request(RequestError::Unknown))), "{answer:?}");
}

/// It told of that at its next renew, 20 s later at a ttl of 60 s.
#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_at_once_when_its_engine_ends() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 60 * SECOND).await.unwrap();
    let mut alive = engine.handle.keep_alive(id(7)).await.unwrap();
    let ended = tokio_now();

    engine.handle.abort();

    let lost = alive.lost().await;
    assert!(is_aborted(&lost), "{lost}");
    assert!(ended.elapsed() <= TICK);
}

/// It said that the member was stopped.
#[tokio::test(start_paused = true)]
async fn a_guard_whose_runtime_is_gone_says_that_nobody_renews() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 60 * SECOND).await.unwrap();
    let runtime = TokioRuntime::new();

    let (mut alive, renewing) = engine.handle.keep_alive_on(runtime, id(7)).await.unwrap();
    drop(renewing);

    assert_eq!(alive.lost().await, CallError::Unattended);
}

// What waits for the disk

/// A stall of 6 s ended all of 50 sessions with a ttl of 5 s that were renewed each 1.5 s.
#[tokio::test(start_paused = true)]
async fn a_disk_that_stalls_ends_no_lease_that_is_renewed_in_time() {
    let disk = StallingDisk::default();
    let engine = Engine::on(disk.clone(), &Config::default()).await;
    for number in 1..=50 {
        engine.handle.grant(Some(id(number)), 5 * SECOND).await.unwrap();
    }
    let sessions = (1..=50).map(|number| {
        let handle = engine.handle.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                sleep(1_500 * MILLI).await;
                assert_eq!(handle.renew(id(number)).await.unwrap(), (5 * SECOND).into());
            }
        })
    });
    let sessions: Vec<_> = sessions.collect();
    sleep(SECOND).await;
    disk.stall(6 * SECOND);
    let other = engine.grant(500);
    sleep(6 * SECOND - TICK).await;

    assert!(!other.is_finished(), "the disk stalls");
    other.await.unwrap().unwrap();
    for session in sessions {
        session.await.unwrap();
    }
}

/// A renew that waited for its turn in the queue of outputs came too late, though it had come in time.
#[tokio::test(start_paused = true)]
async fn a_renew_that_came_in_time_succeeds_whenever_it_is_worked_off() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    sleep(1_999 * MILLI).await;
    engine.log.confirm_nothing();
    let renew = engine.renew(7);
    sleep(3 * SECOND).await;
    assert_eq!(engine.stored().leases.len(), 1, "its renew is being worked on");

    engine.log.confirm_again();
    // Another question is asked when a request has waited for too long, or with the next one.
    sleep(4 * SECOND).await;
    let late = engine.renew(7).await.unwrap();
    let first = renew.await.unwrap();

    assert!(matches!(first, Err(CallError::Request(RequestError::Unknown))), "{first:?}");
    assert_eq!(late.unwrap_err().refusal(), Some(Error::LeaseNotFound));
}

/// With a second configured, a grant was answered after the 8 s that its commit took.
#[tokio::test(start_paused = true)]
async fn a_request_is_of_unknown_fate_when_its_time_is_up_whatever_the_disk_does() {
    let config = Config::default().with_request_timeout(SECOND);
    let disk = StallingDisk::default();
    let engine = Engine::on(disk.clone(), &config).await;
    disk.stall(8 * SECOND);
    let began = tokio_now();
    let grant = engine.grant(7);
    settle().await;
    let lookup = engine.handle.lookup(id(7)).await;

    for answer in [lookup.map(drop), grant.await.unwrap().map(drop)] {
        assert!(matches!(answer, Err(CallError::Request(RequestError::Unknown))), "{answer:?}");
    }
    assert!(began.elapsed() <= SECOND + TICK);
    assert_eq!(engine.handle.lookup(id(8)).await.unwrap(), None, "it speaks of no commit");
    sleep(8 * SECOND).await;
    assert!(engine.handle.lookup(id(7)).await.unwrap().is_some());
}

// What waits inside

/// 10,000 late renews let another's grant wait for 14.8 s.
#[tokio::test(start_paused = true)]
async fn renews_that_wait_for_their_revoke_hold_no_permit() {
    let config = Config::default().with_queue(1.try_into().unwrap());
    let disk = StallingDisk::default();
    let engine = Engine::on(disk.clone(), &config).await;
    engine.handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    disk.stall(5 * SECOND);
    sleep(3 * SECOND).await;
    let late: Vec<_> = (0..100).map(|_| engine.renew(7)).collect();

    let began = tokio_now();
    assert_eq!(engine.handle.lookup(id(8)).await.unwrap(), None);
    assert!(began.elapsed() <= TICK);

    for renew in late {
        assert_eq!(renew.await.unwrap().unwrap_err().refusal(), Some(Error::LeaseNotFound));
    }
}

/// With a subscriber that did not read, 200 such renews let nobody in for as long as it slept.
#[tokio::test(start_paused = true)]
async fn a_request_whose_future_is_dropped_frees_what_it_held() {
    let config = Config::default().with_queue(2.try_into().unwrap());
    let engine = Engine::start(&config, false).await;
    engine.handle.grant(Some(id(7)), 60 * SECOND).await.unwrap();
    engine.log.confirm_nothing();
    let waiting: Vec<_> = (0..200).map(|_| engine.renew(7)).collect();
    settle().await;

    for renew in waiting {
        renew.abort();
    }
    engine.log.confirm_again();
    let began = tokio_now();

    engine.handle.grant(Some(id(8)), 60 * SECOND).await.unwrap();
    assert!(began.elapsed() <= TICK);
}

/// Whoever stops waits for what is under way, so what nobody waits for must not be.
#[tokio::test(start_paused = true)]
async fn a_request_whose_future_is_dropped_holds_up_no_stop() {
    let engine = Engine::start(&Config::default(), false).await;
    engine.handle.grant(Some(id(7)), 60 * SECOND).await.unwrap();
    engine.log.confirm_nothing();
    let waiting = engine.renew(7);
    settle().await;
    waiting.abort();
    let began = tokio_now();
    engine.handle.stop().await.unwrap();
    assert!(began.elapsed() <= TICK, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_nothing_misses_batches_and_is_told_how_much() {
    let config = Config::default()
        .with_revoke_rate(2.try_into().unwrap())
        .with_subscriber_patience(5 * SECOND);
    let engine = Engine::start(&config, false).await;
    let handle = &engine.handle;
    let mut slow = handle.expired().await.unwrap();
    for number in 1..=40 {
        handle.grant(Some(id(number)), 2 * SECOND).await.unwrap();
    }

    // 16 batches wait in its stream and one before it.
    sleep(2 * SECOND + 17 * SECOND / 2).await;
    assert_eq!(handle.leases(LeaseOrder::Id, None, usize::MAX).await.unwrap().len(), 23);
    sleep(60 * SECOND).await;
    assert_eq!(handle.leases(LeaseOrder::Id, None, usize::MAX).await.unwrap(), []);

    for number in 1..=17 {
        assert_eq!(slow.recv().await.unwrap().unwrap().leases, [id(number)]);
    }
    let missed = slow.recv().await.unwrap().unwrap_err();
    assert_eq!((missed.batches, missed.leases), (23, 23));
    handle.grant(Some(id(50)), 2 * SECOND).await.unwrap();
    assert_eq!(slow.recv().await.unwrap().unwrap().leases, [id(50)]);
}

/// 80,000 of them held 120 MiB, and made a renew three times as dear.
#[test]
fn a_subscriber_that_is_gone_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let engine = runtime.block_on(Engine::open());
    let come_and_go = async |subscribers| {
        for _ in 0..subscribers {
            drop(engine.handle.expired().await.unwrap());
        }
        settle().await;
    };
    runtime.block_on(come_and_go(100));
    let left = allocation_counter::measure(|| runtime.block_on(come_and_go(1_000))).bytes_current;
    assert!(left < 10_000, "1,000 subscribers that are gone hold {left} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_ends_the_engine_and_closes_its_store() {
    let mut engine = Engine::held().await;
    let grant = engine.grant(7);
    engine.commit_begun().await;

    engine.log.end();
    settle().await;
    assert!(!engine.run.is_finished(), "the store is still at work");
    engine.let_all_through();

    let error = grant.await.unwrap().unwrap_err();
    assert!(matches!(&error, CallError::Failed(error) if matches!(**error, DriverError::LogEnded)));
    assert!(matches!(*engine.run.await.unwrap().unwrap_err(), DriverError::LogEnded));
    assert_eq!(Arc::strong_count(&engine.gate.store), 1, "the backend was dropped");
}

#[tokio::test]
async fn settings_that_no_grant_could_meet_are_not_opened() {
    let min_ttl = Ttl::from_millis(Ttl::MAX.as_millis() + 1);
    let config = Config::default().with_min_ttl(min_ttl);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let error = lessor::open(&path, config.clone()).await.unwrap_err();
    assert!(matches!(error, DriverError::Config(ConfigError::MinTtlTooLarge(_))));
    println!("{error}");
    assert!(!path.exists(), "nothing was created");
    let store = MemoryBackend::new();
    let opened = Driver::open(&config, TokioRuntime::new(), store, LocalLog::new()).await;
    assert!(matches!(opened.err(), Some(DriverError::Config(_))));
    let longest = config.with_min_ttl(Ttl::MAX);
    let leases = lessor::open(&path, longest).await.unwrap();
    assert_eq!(leases.grant(None, SECOND).await.unwrap().ttl, Ttl::MAX);
    leases.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_not_opened() {
    let config = Config::default();
    let open = |store| Driver::open(&config, TokioRuntime::new(), store, LocalLog::new());
    let error = open(Unusable(None)).await.err().unwrap();
    assert!(matches!(error, DriverError::Backend(BackendError::Other(_))));

    let items = vec![(Item::from("a"), id(7))];
    let snapshot = Snapshot { leases: Vec::new(), items };
    let error = open(Unusable(Some(snapshot))).await.err().unwrap();
    assert!(matches!(error, DriverError::State(SnapshotError::UnknownHolder(_))), "{error}");

    let record = LeaseRecord { id: id(7), ttl: Ttl::from_secs(2), remaining: None };
    let snapshot = Snapshot { leases: vec![record], items: Vec::new() };
    let error = open(Unusable(Some(snapshot))).await.err().unwrap();
    assert!(
        matches!(error, DriverError::Digest { .. }),
        "the digest of nothing was stored: {error}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_batch_is_shown_before_its_leases_go() {
    let engine = Engine::open().await;
    let handle = &engine.handle;
    let mut expired = handle.expired().await.unwrap();
    for (number, secs) in [(1, 5), (2, 3), (3, 4), (4, 3)] {
        handle.grant(Some(id(number)), Duration::from_secs(secs)).await.unwrap();
    }

    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(expired.recv().await.unwrap().unwrap().leases);
    }

    assert_eq!(seen, [id(2), id(4), id(3), id(1)]);
    assert_eq!(handle.renew(id(1)).await.unwrap_err().refusal(), Some(Error::LeaseNotFound));
    assert!(engine.stored().leases.is_empty());
    handle.stop().await.unwrap();
    assert_eq!(expired.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_is_slow_loses_nothing_where_patience_has_no_end() {
    let config = Config::default()
        .with_revoke_rate(2.try_into().unwrap())
        .with_subscriber_patience(Duration::MAX);
    let engine = Engine::start(&config, false).await;
    let handle = &engine.handle;
    let (mut slow, mut fast) = (handle.expired().await.unwrap(), handle.expired().await.unwrap());
    let fast = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(batch) = fast.recv().await {
            seen.extend(batch.unwrap().leases);
        }
        seen
    });
    for number in 1..=40 {
        handle.grant(Some(id(number)), 2 * SECOND).await.unwrap();
    }
    for _ in 0..100 {
        sleep(SECOND).await;
    }
    let left = handle.leases(LeaseOrder::Id, None, usize::MAX).await.unwrap().len();
    assert_eq!(left, 40 - 17, "16 batches wait, and one has no room");

    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.extend(slow.recv().await.unwrap().unwrap().leases);
    }

    let all: Vec<_> = (1..=40).map(id).collect();
    assert_eq!(seen, all);
    handle.stop().await.unwrap();
    assert_eq!(slow.recv().await, None);
    assert_eq!(fast.await.unwrap(), all);
    assert!(engine.stored().leases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_has_gone_holds_up_nothing() {
    let config = Config::default().with_revoke_rate(2.try_into().unwrap());
    let engine = Engine::start(&config, false).await;
    let expired = engine.handle.expired().await.unwrap();
    for number in 1..=40 {
        engine.handle.grant(Some(id(number)), 2 * SECOND).await.unwrap();
    }
    for _ in 0..20 {
        sleep(SECOND).await;
    }

    drop(expired);
    for _ in 0..20 {
        sleep(SECOND).await;
    }

    assert_eq!(engine.handle.leases(LeaseOrder::Id, None, 1).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn expired_batches_are_a_stream() {
    use futures_core::Stream;
    let engine = Engine::open().await;
    let mut expired = engine.handle.expired().await.unwrap();
    engine.handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();

    let batch = std::future::poll_fn(|cx| Pin::new(&mut expired).poll_next(cx)).await;

    assert_eq!(batch.unwrap().unwrap().leases, [id(7)]);
}

#[tokio::test(start_paused = true)]
async fn renew_of_an_expired_lease_waits_for_its_revoke() {
    let engine = Engine::open().await;
    let mut expired = engine.handle.expired().await.unwrap();
    engine.fill_subscriber().await;
    engine.handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    advance(3 * SECOND).await;
    let renew = engine.renew(7);
    sleep(TICK).await;
    assert!(!renew.is_finished());
    let status = engine.handle.lookup(id(7)).await.unwrap().unwrap();
    assert_eq!(status.remaining, Duration::ZERO);

    while !expired.recv().await.unwrap().unwrap().leases.contains(&id(7)) {}

    assert_eq!(renew.await.unwrap().unwrap_err().refusal(), Some(Error::LeaseNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_demotion_ends_renews_that_wait_and_keeps_the_leases() {
    let engine = Engine::open().await;
    let handle = &engine.handle;
    let _expired = handle.expired().await.unwrap();
    engine.fill_subscriber().await;
    handle.grant(Some(id(7)), 2 * SECOND).await.unwrap();
    advance(3 * SECOND).await;
    let renew = engine.renew(7);
    sleep(TICK).await;

    handle.demote().await.unwrap();
    handle.demote().await.unwrap();

    assert_eq!(renew.await.unwrap().unwrap_err().refusal(), Some(Error::NotPrimary));
    let refused = handle.lookup(id(7)).await.unwrap_err();
    assert!(matches!(refused, CallError::Request(RequestError::NotPrimary { leader: None })));
    assert_eq!(handle.grant(None, SECOND).await.unwrap_err().refusal(), Some(Error::NotPrimary));

    handle.promote().await.unwrap();
    let again = Config::default().extend + 2 * SECOND;
    assert_eq!(handle.time_to_live(id(7)).await.unwrap(), again);
}

#[tokio::test(start_paused = true)]
async fn promoting_a_primary_again_extends_its_leases() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 10 * SECOND).await.unwrap();
    advance(4 * SECOND).await;
    assert_eq!(engine.handle.time_to_live(id(7)).await.unwrap(), 6 * SECOND);

    engine.handle.promote().await.unwrap();

    assert_eq!(engine.handle.time_to_live(id(7)).await.unwrap(), 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn grant_raises_a_short_ttl_and_picks_ids_that_differ() {
    let engine = Engine::open().await;
    let handle = &engine.handle;
    let Granted { id: first, ttl, .. } = handle.grant(None, Ttl::MIN).await.unwrap();
    assert_eq!(ttl, Config::default().min_ttl);
    let second = handle.grant(None, SECOND).await.unwrap().id;
    assert_ne!(first, second);
    assert!(first.get() > 0 && second.get() > 0);

    let again = handle.grant(Some(first), SECOND).await.unwrap_err();
    assert_eq!(again.refusal(), Some(Error::LeaseExists));
    let long = handle.grant(None, Ttl::from_millis(Ttl::MAX.as_millis() + 1)).await.unwrap_err();
    assert_eq!(long.refusal(), Some(Error::TtlTooLarge));
}

/// Whoever reads the keys of a lease while others attach and detach sees each change whole.
#[tokio::test(start_paused = true)]
async fn keys_are_read_while_others_attach_and_detach() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 100 * SECOND).await.unwrap();
    let writers = (0..8).map(|writer| {
        let handle = engine.handle.clone();
        tokio::spawn(async move {
            let keys = [format!("{writer}/a"), format!("{writer}/b")];
            for _ in 0..10 {
                handle.attach(id(7), keys.clone()).await.unwrap();
                let items = handle.lookup(id(7)).await.unwrap().unwrap().items;
                assert!(items.is_sorted(), "{items:?}");
                for writer in 0..8 {
                    let [a, b] = ["a", "b"].map(|key| format!("{writer}/{key}").into());
                    assert_eq!(items.contains(&a), items.contains(&b), "{items:?}");
                }
                handle.detach(id(7), keys.clone()).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(engine.handle.lookup(id(7)).await.unwrap().unwrap().items, []);
}

/// Found by random crashes: promotions without a commit had raised the term above the index, and a
/// restart came to a term that was used before.
#[tokio::test(start_paused = true)]
async fn an_id_that_was_picked_does_not_come_back_after_a_restart() {
    let engine = Engine::open().await;
    for _ in 0..2 {
        engine.handle.demote().await.unwrap();
        engine.handle.promote().await.unwrap();
    }
    let first = engine.handle.grant(None, SECOND).await.unwrap().id;
    engine.handle.revoke(first).await.unwrap();
    engine.handle.stop().await.unwrap();
    let store = engine.gate.store.lock().unwrap().clone();
    let (handle, driver) =
        Driver::open(&Config::default(), TokioRuntime::new(), store, LocalLog::new())
            .await
            .unwrap();
    tokio::spawn(driver.run());

    let second = handle.grant(None, SECOND).await.unwrap().id;

    assert_ne!(first, second);
}

#[tokio::test(start_paused = true)]
async fn items_follow_attach_detach_and_revoke() {
    let engine = Engine::open().await;
    let handle = &engine.handle;
    for number in [1, 2] {
        handle.grant(Some(id(number)), 10 * SECOND).await.unwrap();
    }
    handle.attach(id(1), ["a", "b", "c"]).await.unwrap();
    handle.attach(id(2), ["b"]).await.unwrap();
    handle.detach(id(1), ["b", "c"]).await.unwrap();

    assert_eq!(handle.lease_of("a").await.unwrap(), Some(id(1)));
    assert_eq!(handle.lease_of("b").await.unwrap(), Some(id(2)), "it moved, then stayed");
    assert_eq!(handle.lease_of("c").await.unwrap(), None);
    let status = handle.lookup(id(1)).await.unwrap().unwrap();
    let record = LeaseRecord { id: id(1), ttl: Ttl::from_secs(10), remaining: None };
    assert_eq!((status.record, status.items), (record, vec![Item::from("a")]));

    handle.revoke(id(1)).await.unwrap();

    assert_eq!(handle.lease_of("a").await.unwrap(), None);
    assert_eq!(handle.lookup(id(1)).await.unwrap(), None);
    assert_eq!(engine.stored().items, [(Item::from("b"), id(2))]);
    for error in [
        handle.revoke(id(1)).await.unwrap_err(),
        handle.attach(id(1), ["a"]).await.unwrap_err(),
        handle.detach(id(1), ["a"]).await.unwrap_err(),
        handle.renew(id(1)).await.unwrap_err(),
        handle.time_to_live(id(1)).await.unwrap_err(),
    ] {
        assert_eq!(error.refusal(), Some(Error::LeaseNotFound));
    }
}

#[tokio::test(start_paused = true)]
async fn leases_come_in_pages() {
    let engine = Engine::open().await;
    for number in 1..=10 {
        let ttl = Duration::from_secs(100 - u64::try_from(number).unwrap());
        engine.handle.grant(Some(id(number)), ttl).await.unwrap();
    }
    for (order, expected) in [
        (LeaseOrder::Id, (1..=10).collect::<Vec<_>>()),
        (LeaseOrder::Expiry, (1..=10).rev().collect()),
    ] {
        let (mut listed, mut last) = (Vec::new(), None);
        loop {
            let page = engine.handle.leases(order, last, 3).await.unwrap();
            assert!(page.len() <= 3);
            let Some(lease) = page.last() else { break };
            last = Some(*lease);
            listed.extend(page.iter().map(|lease| lease.record.id.get()));
        }
        assert_eq!(listed, expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn which_backend_it_is_may_be_decided_while_the_program_runs() {
    let (gate, gated) = gate(false);
    let backend: Box<dyn Backend> = Box::new(gated);
    let (config, log) = (Config::default(), TestLog::new(&LogSwitch::default()));
    let (handle, driver) = Driver::open(&config, TokioRuntime::new(), backend, log).await.unwrap();
    tokio::spawn(driver.run());
    handle.grant(Some(id(7)), 60 * SECOND).await.unwrap();
    handle.stop().await.unwrap();
    assert!(gate.store.lock().unwrap().load().unwrap().snapshot.leases.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_can_be_made_as_data() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 10 * SECOND).await.unwrap();
    advance(4 * SECOND).await;

    let response = engine.handle.request(Request::Renew { id: id(7) }).await.unwrap();

    assert_eq!(response, Response::Renewed { ttl: Ttl::from_secs(10) });
    assert_eq!(engine.handle.time_to_live(id(7)).await.unwrap(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn keep_alive_outlives_the_ttl_until_it_is_dropped() {
    let engine = Engine::open().await;
    let handle = &engine.handle;
    let mut expired = handle.expired().await.unwrap();
    handle.grant(Some(id(7)), 6 * SECOND).await.unwrap();
    let keep_alive = handle.keep_alive(id(7)).await.unwrap();
    for _ in 0..60 {
        sleep(SECOND).await;
        assert!(handle.time_to_live(id(7)).await.unwrap() >= 3 * SECOND);
    }

    drop(keep_alive);

    let gone = timeout(6 * SECOND + TICK, expired.recv()).await;
    assert_eq!(gone.unwrap().unwrap().unwrap().leases, [id(7)]);
}

#[tokio::test(start_paused = true)]
async fn keep_alive_needs_a_lease() {
    let engine = Engine::open().await;
    let error = engine.handle.keep_alive(id(7)).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Error::LeaseNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_told_as_often_as_it_is_asked_for() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 6 * SECOND).await.unwrap();
    let mut keep_alive = engine.handle.keep_alive(id(7)).await.unwrap();
    assert!(timeout(60 * SECOND, keep_alive.lost()).await.is_err(), "it is alive");

    engine.handle.revoke(id(7)).await.unwrap();

    for _ in 0..2 {
        assert_eq!(keep_alive.lost().await.refusal(), Some(Error::LeaseNotFound));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_when_no_renew_has_succeeded_for_a_ttl() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 6 * SECOND).await.unwrap();
    let asked = tokio_now();
    let mut keep_alive = engine.handle.keep_alive(id(7)).await.unwrap();
    engine.handle.demote().await.unwrap();

    let error = keep_alive.lost().await;

    assert_eq!(error.refusal(), Some(Error::NotPrimary));
    let after = tokio_now() - asked;
    assert!((6 * SECOND..6 * SECOND + TICK).contains(&after), "after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_in_time_though_the_renew_hangs() {
    let config = Config::default().with_request_timeout(1_000 * SECOND);
    let engine = Engine::start(&config, false).await;
    engine.handle.grant(Some(id(7)), 6 * SECOND).await.unwrap();
    let asked = tokio_now();
    let mut keep_alive = engine.handle.keep_alive(id(7)).await.unwrap();
    engine.log.confirm_nothing();

    let error = keep_alive.lost().await;

    assert!(matches!(error, CallError::Request(RequestError::Unknown)), "{error:?}");
    let after = tokio_now() - asked;
    assert!((6 * SECOND..6 * SECOND + TICK).contains(&after), "after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn keep_alive_ends_with_the_engine() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 6 * SECOND).await.unwrap();
    let mut keep_alive = engine.handle.keep_alive(id(7)).await.unwrap();

    engine.handle.stop().await.unwrap();

    let error = keep_alive.lost().await;
    assert!(matches!(error, CallError::Request(RequestError::Stopped)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_log_does_not_answer_is_of_unknown_fate() {
    let engine = Engine::open().await;
    engine.handle.grant(Some(id(7)), 60 * SECOND).await.unwrap();
    engine.log.confirm_nothing();
    let asked = tokio_now();

    let error = engine.handle.renew(id(7)).await.unwrap_err();

    assert!(matches!(error, CallError::Request(RequestError::Unknown)), "{error:?}");
    let (after, patience) = (tokio_now() - asked, Config::default().request_timeout);
    assert!((patience..patience + TICK).contains(&after), "after {after:?}");
}

/// A driver that runs, and everything around it that a test has its hands on.
struct Engine {
    handle: Handle,
    run: JoinHandle<Result<(), Arc<DriverError>>>,
    gate: Gate,
    log: LogSwitch,
    taken: Arc<AtomicUsize>,
}

impl Engine {
    /// Commits pass, the configuration is the default one.
    async fn open() -> Self {
        Self::start(&Config::default(), false).await
    }

    /// Each commit waits for the test.
    async fn held() -> Self {
        Self::start(&Config::default(), true).await
    }

    async fn start(config: &Config, held: bool) -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let observer = CountRequests(taken.clone());
        Self::with(config, held, TokioRuntime::new(), observer, taken).await
    }

    /// Commits take as long as the test says.
    async fn on(disk: StallingDisk, config: &Config) -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        Self::with(config, false, disk, CountRequests(taken.clone()), taken).await
    }

    async fn with(
        config: &Config,
        held: bool,
        runtime: impl Runtime,
        observer: impl Observer + 'static,
        taken: Arc<AtomicUsize>,
    ) -> Self {
        let (gate, backend) = gate(held);
        let log = LogSwitch::default();
        let (handle, driver) =
            Driver::open(config, runtime, backend, TestLog::new(&log)).await.unwrap();
        let run = tokio::spawn(driver.observe(observer).run());
        Self { handle, run, gate, log, taken }
    }

    fn grant(&self, number: i64) -> JoinHandle<Result<Granted, CallError>> {
        let handle = self.handle.clone();
        tokio::spawn(async move { handle.grant(Some(id(number)), 60 * SECOND).await })
    }

    fn renew(&self, number: i64) -> JoinHandle<Result<Ttl, CallError>> {
        let handle = self.handle.clone();
        tokio::spawn(async move { handle.renew(id(number)).await })
    }

    /// Makes so many batches expire that a subscriber who takes none has no room for another.
    async fn fill_subscriber(&self) {
        for number in 1_001..=1_017 {
            self.handle.grant(Some(id(number)), 2 * SECOND).await.unwrap();
            sleep(3 * SECOND).await;
        }
    }

    /// How many requests the member has been handed.
    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    async fn until_taken(&self, requests: usize) {
        while self.taken() < requests {
            yield_now().await;
        }
    }

    async fn commit_begun(&mut self) {
        self.gate.begun.recv().await.unwrap();
    }

    fn let_through(&self) {
        self.gate.permits.as_ref().unwrap().send(true).unwrap();
    }

    fn let_fail(&self) {
        self.gate.permits.as_ref().unwrap().send(false).unwrap();
    }

    fn let_all_through(&mut self) {
        self.gate.permits = None;
    }

    fn commits(&self) -> usize {
        self.gate.commits.load(Ordering::Relaxed)
    }

    fn stored(&self) -> Snapshot {
        self.gate.store.lock().unwrap().load().unwrap().snapshot
    }
}

/// The test's side of a [`GatedBackend`].
struct Gate {
    store: Arc<Mutex<MemoryBackend>>,
    commits: Arc<AtomicUsize>,
    begun: mpsc::UnboundedReceiver<()>,
    /// A commit takes one, and fails if it is false; without a sender all pass.
    permits: Option<blocking::Sender<bool>>,
}

/// A store whose commits wait for the test's permission.
struct GatedBackend {
    store: Arc<Mutex<MemoryBackend>>,
    commits: Arc<AtomicUsize>,
    begun: mpsc::UnboundedSender<()>,
    permits: blocking::Receiver<bool>,
}

fn gate(held: bool) -> (Gate, GatedBackend) {
    let (store, commits) = (Arc::default(), Arc::default());
    let (sender, begun) = mpsc::unbounded_channel();
    let (permit, permits) = blocking::channel();
    let backend = GatedBackend {
        store: Arc::clone(&store),
        commits: Arc::clone(&commits),
        begun: sender,
        permits,
    };
    (Gate { store, commits, begun, permits: held.then_some(permit) }, backend)
}

impl Backend for GatedBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.store.lock().unwrap().load()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        // The test may be over.
        let _ = self.begun.send(());
        if !self.permits.recv().unwrap_or(true) {
            return Err(BackendError::other("the test says so"));
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.store.lock().unwrap().commit(transaction)
    }
}

/// A store that cannot be read, or holds nonsense.
struct Unusable(Option<Snapshot>);

impl Backend for Unusable {
    fn load(&mut self) -> Result<Stored, BackendError> {
        let nothing = || BackendError::other("the test says so");
        let snapshot = self.0.take().ok_or_else(nothing)?;
        Ok(Stored { snapshot, ..Stored::default() })
    }

    fn commit(&mut self, _: Transaction) -> Result<(), BackendError> {
        unreachable!("it was never opened")
    }
}

/// The test's side of a [`TestLog`].
#[derive(Clone, Default)]
struct LogSwitch {
    silent: Arc<AtomicBool>,
    ended: Arc<tokio::sync::Notify>,
}

impl LogSwitch {
    fn confirm_nothing(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    fn confirm_again(&self) {
        self.silent.store(false, Ordering::Relaxed);
    }

    fn end(&self) {
        self.ended.notify_one();
    }
}

/// A local log that can fall silent or end.
struct TestLog {
    log: LocalLog,
    switch: LogSwitch,
}

impl TestLog {
    fn new(switch: &LogSwitch) -> Self {
        Self { log: LocalLog::new(), switch: switch.clone() }
    }
}

impl Log for TestLog {
    fn start(&mut self, applied: LogIndex) {
        self.log.start(applied);
    }

    fn propose(&mut self, proposal: Proposal) {
        self.log.propose(proposal);
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        if !self.switch.silent.load(Ordering::Relaxed) {
            self.log.confirm(confirmation);
        }
    }

    fn applied(&mut self, applied: LogIndex) {
        self.log.applied(applied);
    }

    fn campaign(&mut self) {
        self.log.campaign();
    }

    fn resign(&mut self) {
        self.log.resign();
    }

    async fn next(&mut self) -> Option<LogEvent> {
        tokio::select! {
            biased;
            () = self.switch.ended.notified() => None,
            event = self.log.next() => event,
        }
    }
}

/// A runtime on which what blocks takes long at times. In between the clock goes on.
#[derive(Clone)]
struct StallingDisk {
    clock: TokioRuntime,
    stall: Arc<Mutex<Duration>>,
}

impl StallingDisk {
    /// The next piece of work takes so long.
    fn stall(&self, span: Duration) {
        *self.stall.lock().unwrap() = span;
    }
}

impl Default for StallingDisk {
    fn default() -> Self {
        Self { clock: TokioRuntime::new(), stall: Arc::default() }
    }
}

impl Runtime for StallingDisk {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        self.clock.sleep_until(deadline)
    }

    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let stall = std::mem::take(&mut *self.stall.lock().unwrap());
        async move {
            sleep(stall).await;
            work()
        }
    }
}

/// Panics at the first request.
struct Panics;

impl Observer for Panics {
    fn before(&mut self, _: Instant, input: &MemberInput) {
        assert!(!matches!(input, MemberInput::Request { .. }), "the test says so");
    }

    fn after(&mut self, _: Instant, _: &Member) {}

    fn output(&mut self, _: Instant, _: &Output) {}
}

/// Counts the requests that a member is handed.
struct CountRequests(Arc<AtomicUsize>);

impl Observer for CountRequests {
    fn before(&mut self, _: Instant, input: &MemberInput) {
        if matches!(input, MemberInput::Request { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn after(&mut self, _: Instant, _: &Member) {}

    fn output(&mut self, _: Instant, _: &Output) {}
}

/// Lets everything run that can, while a commit may be held.
async fn settle() {
    for _ in 0..1_000 {
        yield_now().await;
    }
}

fn is_aborted(error: &CallError) -> bool {
    matches!(error, CallError::Failed(error) if matches!(**error, DriverError::Aborted))
}

fn is_backend_failure(error: &CallError) -> bool {
    matches!(error, CallError::Failed(error) if matches!(**error, DriverError::Backend(_)))
}

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the clock that the test holds in its hands")]
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// What timers of tokio may be late by, and more.
const TICK: Duration = Duration::from_millis(10);
