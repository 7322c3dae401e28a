//! An engine whose task is aborted in the middle of a commit, and who opens the store next.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use lessor::backend::{BackendError, RedbBackend};
use lessor::driver::{Driver, DriverError, LocalLog, TokioRuntime};
use lessor::{Config, LeaseId};

/// The commit goes on in its thread, and so the store stays taken. Nobody gets it before that is over,
/// and whoever gets it then finds the commit whole.
#[tokio::test]
async fn a_store_is_locked_until_the_commit_of_an_aborted_engine_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let (let_go, gate) = mpsc::channel::<()>();
    let (closed, mut closes) = tokio::sync::mpsc::unbounded_channel();
    let closing = Closing(closed);
    let store = RedbBackend::open(&path).unwrap().range_deleter(move |_, _| {
        let _kept_with_the_store = &closing;
        started.send(()).unwrap();
        gate.recv().map_err(|error| error.to_string())
    });
    let (runtime, log) = (TokioRuntime::new(), LocalLog::new());
    let (leases, driver) = Driver::open(&Config::default(), runtime, store, log).await.unwrap();
    let engine = tokio::spawn(driver.run());
    let (kept, revoked) = (LeaseId::new(7).unwrap(), LeaseId::new(8).unwrap());
    for id in [kept, revoked] {
        leases.grant(Some(id), MINUTE).await.unwrap();
        leases.attach(id, [format!("item of {id}")]).await.unwrap();
    }
    let revoke = tokio::spawn(async move { leases.revoke(revoked).await });
    starts.recv().await.unwrap();

    engine.abort();
    assert!(engine.await.unwrap_err().is_cancelled());
    assert!(revoke.await.unwrap().is_err(), "it was not acknowledged");
    for _ in 0..3 {
        assert!(is_locked(&path).await);
    }
    let_go.send(()).unwrap();
    closes.recv().await.unwrap();
    let leases = lessor::open(&path, Config::default()).await.unwrap();
    assert!(leases.lookup(kept).await.unwrap().is_some());
    assert_eq!(leases.lookup(revoked).await.unwrap(), None);
    assert_eq!(leases.lease_of(format!("item of {revoked}")).await.unwrap(), None);
    leases.stop().await.unwrap();
}

async fn is_locked(path: &Path) -> bool {
    let opened = lessor::open(path, Config::default()).await;
    matches!(opened, Err(DriverError::Backend(BackendError::Locked { .. })))
}

/// Tells when the store is closed: a store drops its deleter last.
struct Closing(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

const MINUTE: Duration = Duration::from_secs(60);
