//! The ids that an engine picks: never those of another engine, nor those that it has picked before.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lessor::backend::{Backend, MemoryBackend, RedbBackend};
use lessor::driver::{Driver, Handle, LocalLog, TokioRuntime};
use lessor::{Config, LeaseId};

#[tokio::test]
async fn two_fresh_stores_pick_different_ids() {
    let folder = tempfile::tempdir().unwrap();
    let mut picked = Vec::new();
    for name in ["one.redb", "two.redb"] {
        let path = folder.path().join(name);
        picked.push(picked_by(lessor::open(&path, Config::default()).await.unwrap()).await);
    }
    assert_ne!(picked[0], picked[1]);
}

/// A driver by hand draws nothing, but its stores have.
#[tokio::test]
async fn two_fresh_stores_pick_different_ids_under_a_driver() {
    let folder = tempfile::tempdir().unwrap();
    let mut picked = Vec::new();
    for name in ["one.redb", "two.redb"] {
        let store = RedbBackend::open(folder.path().join(name)).unwrap();
        picked.push(picked_by(driven(store, &Config::default()).await).await);
    }
    assert_ne!(picked[0], picked[1]);
}

#[tokio::test]
async fn after_an_old_copy_is_put_back_nobodys_id_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let copy = folder.path().join("copy");
    let granted = picked_by(open(&path).await).await;
    fs::copy(&path, &copy).unwrap();
    let held = picked_by(open(&path).await).await;
    fs::copy(&copy, &path).unwrap();

    let leases = open(&path).await;
    let new = leases.grant(None, MINUTE).await.unwrap().id;
    assert!(new != granted && new != held, "{new} again");
    // Whoever holds a lease that the copy does not know is told so, and does no harm.
    assert!(leases.renew(held).await.is_err());
    assert!(leases.revoke(held).await.is_err());
    assert!(leases.lookup(new).await.unwrap().is_some());
    leases.stop().await.unwrap();
}

#[tokio::test]
async fn the_same_salt_gives_the_same_ids() {
    for salt in [0, 7, u64::MAX] {
        let config = Config::default().with_id_salt(salt);
        let store = MemoryBackend::new().with_id_salt(salt);
        let mut picked = vec![
            picked_by(driven(MemoryBackend::new(), &config).await).await,
            picked_by(driven(store.clone(), &Config::default()).await).await,
            picked_by(driven(store.with_id_salt(9), &config).await).await,
        ];
        picked.dedup();
        assert_eq!(picked.len(), 1, "{picked:?}");
    }
}

async fn open(path: &Path) -> Handle {
    lessor::open(path, Config::default()).await.unwrap()
}

async fn driven(store: impl Backend, config: &Config) -> Handle {
    let (runtime, log) = (TokioRuntime::new(), LocalLog::new());
    let (handle, driver) = Driver::open(config, runtime, store, log).await.unwrap();
    drop(tokio::spawn(driver.run()));
    handle
}

/// The first id that this engine picks; then it is stopped.
async fn picked_by(leases: Handle) -> LeaseId {
    let id = leases.grant(None, MINUTE).await.unwrap().id;
    leases.stop().await.unwrap();
    id
}

const MINUTE: Duration = Duration::from_secs(60);
