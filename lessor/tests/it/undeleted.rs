//! A range deleter that cannot delete: the lease ends all the same, what it held is tried again, and
//! nobody else notices.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lessor::backend::{Backend, RedbBackend, Undeleted};
use lessor::driver::{Driver, Handle, LocalLog, TokioRuntime};
use lessor::{Config, Item, RangeDelete};
use redb::WriteTransaction;
use tokio::time::sleep;

use super::redb_backend::{
    HOSTS, Model, Store, delete, delete_item, held, hosts_rows, id, insert, put, put_item,
    range_delete,
};

#[test]
fn a_lease_whose_items_cannot_be_deleted_ends_and_takes_nobody_along() {
    let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
    let mut backend = host.open(&store);
    backend.commit(model.step([put(1, 10, None), put_item("a", 1)])).unwrap();
    backend.commit(model.step([put(2, 10, None), put_item("b", 2)])).unwrap();
    host.put(&backend, ["a", "b", "c"]);
    host.refuse("a");
    let both = [range_delete(1, ["a"]), delete(1), range_delete(2, ["b"]), delete(2)];
    backend.commit(model.step(both)).unwrap();
    assert_eq!(held(&mut backend), model.stored());
    assert_eq!(hosts_rows(&backend.database()), ["a", "c"], "what could be deleted is");
    assert_eq!(backend.undeleted(), [undeleted(1, 1, "a is refused")]);

    // It is tried in vain, and neither stops the engine nor is it forgotten.
    backend.delete_again().unwrap();
    assert_eq!(backend.undeleted(), [undeleted(1, 1, "a is refused")]);
    backend.commit(model.step([put(3, 10, None)])).unwrap();
    drop(backend);
    let mut backend = host.open(&store);
    let untried = "it was not tried since the store was opened";
    assert_eq!(backend.undeleted(), [undeleted(1, 1, untried)]);
    assert_eq!(held(&mut backend), model.stored());

    host.allow("a");
    backend.delete_again().unwrap();
    assert_eq!(backend.undeleted(), []);
    assert_eq!(hosts_rows(&backend.database()), ["c"]);
    drop(backend);
    assert_eq!(host.open(&store).undeleted(), []);
}

#[test]
fn a_deleter_that_panics_is_one_that_fails() {
    let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
    let mut backend = host.open(&store);
    backend.commit(model.step([put(1, 10, None), put_item("panic", 1)])).unwrap();
    host.put(&backend, ["panic"]);
    host.refuse("panic");
    backend.commit(model.step([range_delete(1, ["panic"]), delete(1)])).unwrap();
    assert_eq!(backend.undeleted(), [undeleted(1, 1, "it panicked: a bug of the host")]);
    backend.delete_again().unwrap();
    host.allow("panic");
    backend.delete_again().unwrap();
    assert_eq!(backend.undeleted(), []);
    assert_eq!(held(&mut backend), model.stored());
}

/// What it had done before it failed is done by nobody.
#[test]
fn a_deletion_that_fails_half_way_is_undone() {
    let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
    let mut backend = host.open(&store);
    let items = [put_item("a", 1), put_item("b", 1), put_item("c", 1)];
    backend.commit(model.step([put(1, 10, None)].into_iter().chain(items))).unwrap();
    host.put(&backend, ["a", "b", "c"]);
    host.refuse("b");
    backend.commit(model.step([range_delete(1, ["a", "b", "c"]), delete(1)])).unwrap();
    assert_eq!(hosts_rows(&backend.database()), ["a", "b", "c"]);
    assert_eq!(backend.undeleted(), [undeleted(1, 3, "b is refused")]);
    backend.delete_again().unwrap();
    assert_eq!(hosts_rows(&backend.database()), ["a", "b", "c"]);
    host.allow("b");
    backend.delete_again().unwrap();
    assert_eq!(hosts_rows(&backend.database()), [""; 0]);
}

/// The key is another's by now, or was, and he has kept it.
#[test]
fn what_was_attached_again_is_not_deleted_for_the_lease_that_had_it() {
    for detached in [false, true] {
        let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
        let mut backend = host.open(&store);
        let items = [put_item("a", 1), put_item("b", 1)];
        backend.commit(model.step([put(1, 10, None)].into_iter().chain(items))).unwrap();
        host.put(&backend, ["a", "b"]);
        host.refuse("a");
        backend.commit(model.step([range_delete(1, ["a", "b"]), delete(1)])).unwrap();
        backend.commit(model.step([put(2, 10, None), put_item("a", 2)])).unwrap();
        assert_eq!(backend.undeleted(), [undeleted(1, 1, "a is refused")]);
        if detached {
            backend.commit(model.step([delete_item("a")])).unwrap();
        }
        host.allow("a");
        drop(backend);
        let mut backend = host.open(&store);
        backend.delete_again().unwrap();
        assert_eq!(backend.undeleted(), []);
        assert_eq!(hosts_rows(&backend.database()), ["a"], "detached: {detached}");
        assert_eq!(held(&mut backend), model.stored());
    }
}

#[test]
fn a_lease_that_is_granted_anew_has_nothing_of_the_old_one() {
    let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
    let mut backend = host.open(&store);
    backend.commit(model.step([put(1, 10, None), put_item("a", 1)])).unwrap();
    host.put(&backend, ["a", "b"]);
    host.refuse("a");
    host.refuse("b");
    backend.commit(model.step([range_delete(1, ["a"]), delete(1)])).unwrap();
    backend.commit(model.step([put(1, 20, None), put_item("b", 1)])).unwrap();
    backend.delete_again().unwrap();
    assert_eq!(backend.undeleted(), [undeleted(1, 1, "a is refused")]);
    // Both ended, they are one to be tried again.
    backend.commit(model.step([range_delete(1, ["b"]), delete(1)])).unwrap();
    assert_eq!(backend.undeleted(), [undeleted(1, 2, "b is refused")]);
    host.allow("a");
    host.allow("b");
    backend.delete_again().unwrap();
    assert_eq!(backend.undeleted(), []);
    assert_eq!(hosts_rows(&backend.database()), [""; 0]);
    assert_eq!(held(&mut backend), model.stored());
}

#[test]
fn a_deleter_that_is_broken_is_asked_a_few_times_and_each_lease_later() {
    let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
    let mut backend = host.open(&store);
    let numbers = 1..=40;
    let keys: Vec<String> = numbers.clone().map(|number| format!("key {number:02}")).collect();
    let grants = numbers.clone().zip(&keys);
    let grants = grants.flat_map(|(number, key)| [put(number, 10, None), put_item(key, number)]);
    backend.commit(model.step(grants)).unwrap();
    for key in &keys {
        host.put(&backend, [key]);
        host.refuse(key);
    }
    let ends = numbers.zip(&keys);
    let ends = ends.flat_map(|(number, key)| [range_delete(number, [key]), delete(number)]);
    backend.commit(model.step(ends)).unwrap();
    assert_eq!(host.calls(), 3);
    assert_eq!(backend.undeleted().len(), 40);
    assert_eq!(held(&mut backend), model.stored());
    // One stays broken, and does not keep the others for good.
    for key in &keys[1..] {
        host.allow(key);
    }
    for _ in 0..3 {
        backend.delete_again().unwrap();
    }
    assert_eq!(backend.undeleted(), [undeleted(1, 1, "key 01 is refused")]);
    assert_eq!(hosts_rows(&backend.database()), ["key 01"]);
}

#[test]
fn a_whole_state_that_is_installed_leaves_nothing_to_delete() {
    let (store, host, mut model) = (Store::new(), Host::default(), Model::default());
    let mut backend = host.open(&store);
    backend.commit(model.step([put(1, 10, None), put_item("a", 1)])).unwrap();
    host.refuse("a");
    backend.commit(model.step([range_delete(1, ["a"]), delete(1)])).unwrap();
    backend.commit(model.reset(40, [put(2, 20, None)])).unwrap();
    assert_eq!(backend.undeleted(), []);
    drop(backend);
    let mut backend = host.open(&store);
    assert_eq!(backend.undeleted(), []);
    assert_eq!(held(&mut backend), model.stored());
}

/// The engine goes on for everybody else, tries again at 1, 3, 7 … s, and after a restart.
#[tokio::test(start_paused = true)]
async fn an_engine_lives_with_a_lease_whose_items_cannot_be_deleted() {
    let (store, host) = (Store::new(), Host::default());
    let engine = host.engine(&store).await;
    for (number, key) in [(1, "a"), (2, "b")] {
        engine.grant(Some(id(number)), MINUTE).await.unwrap();
        engine.attach(id(number), [key]).await.unwrap();
    }
    host.refuse("a");
    for number in [1, 2] {
        engine.revoke(id(number)).await.unwrap();
    }
    assert_eq!(engine.lease_of("a").await.unwrap(), None);
    assert_eq!(host.calls(), 2);
    for (passed, calls) in [(900, 2), (200, 3), (1_800, 3), (200, 4), (3_800, 4), (200, 5)] {
        sleep(Duration::from_millis(passed)).await;
        engine.grant(None, MINUTE).await.unwrap();
        assert_eq!(host.calls(), calls);
    }
    engine.stop().await.unwrap();

    let engine = host.engine(&store).await;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(host.calls(), 5);
    host.allow("a");
    sleep(Duration::from_millis(200)).await;
    engine.grant(None, MINUTE).await.unwrap();
    assert_eq!(host.calls(), 6);
    sleep(MINUTE).await;
    engine.stop().await.unwrap();
    assert_eq!(host.calls(), 6, "nothing is left to try");
    assert_eq!(host.open(&store).undeleted(), []);
}

/// A commit waits for an attempt that is under way; what needs no disk does not.
#[tokio::test(start_paused = true)]
async fn what_is_asked_during_an_attempt_is_done() {
    let store = Store::new();
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let (let_go, gate) = std::sync::mpsc::channel::<bool>();
    let backend = store.open().range_deleter(move |_, _| {
        started.send(()).unwrap();
        let deleted = gate.recv().map_err(|error| error.to_string())?;
        if deleted { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let engine = engine(backend).await;
    engine.grant(Some(id(1)), MINUTE).await.unwrap();
    engine.attach(id(1), ["a"]).await.unwrap();
    let_go.send(false).unwrap();
    engine.revoke(id(1)).await.unwrap();
    starts.recv().await.unwrap();

    // The next one is the attempt that comes 1 s later.
    starts.recv().await.unwrap();
    let handle = engine.clone();
    let grant = tokio::spawn(async move { handle.grant(Some(id(2)), MINUTE).await });
    assert_eq!(engine.lease_of("a").await.unwrap(), None);
    assert!(!grant.is_finished(), "it is not durable");
    let_go.send(true).unwrap();
    assert!(grant.await.unwrap().is_ok());
    engine.stop().await.unwrap();
    assert_eq!(store.open().undeleted(), []);
    assert_eq!(store.open().load().unwrap().snapshot.leases.len(), 1);
}

/// Keys of a host in its own table, some of which it refuses to delete.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<HostState>>);

#[derive(Default)]
struct HostState {
    refused: BTreeSet<String>,
    calls: usize,
}

impl Host {
    fn open(&self, store: &Store) -> RedbBackend {
        let host = self.clone();
        store.open().range_deleter(move |write, delete| host.delete(write, delete))
    }

    async fn engine(&self, store: &Store) -> Handle {
        engine(self.open(store)).await
    }

    fn delete(&self, write: &WriteTransaction, delete: &RangeDelete) -> Result<(), String> {
        assert!(delete.items.is_sorted() && !delete.items.is_empty());
        let mut table = write.open_table(HOSTS).map_err(|error| error.to_string())?;
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        for key in delete.items.iter().map(text) {
            if state.refused.contains(&key) {
                drop(state);
                return refuse(&key);
            }
            table.remove(&*key).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn put<const N: usize>(&self, backend: &RedbBackend, keys: [&str; N]) {
        for key in keys {
            insert(&backend.database(), HOSTS, key, 1);
        }
    }

    fn refuse(&self, key: &str) {
        self.0.lock().unwrap().refused.insert(key.to_owned());
    }

    fn allow(&self, key: &str) {
        self.0.lock().unwrap().refused.remove(key);
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }
}

async fn engine(store: RedbBackend) -> Handle {
    let (runtime, log) = (TokioRuntime::new(), LocalLog::new());
    let (handle, driver) = Driver::open(&Config::default(), runtime, store, log).await.unwrap();
    drop(tokio::spawn(driver.run()));
    handle
}

fn refuse(key: &str) -> Result<(), String> {
    if key == "panic" {
        std::panic::resume_unwind(Box::new("a bug of the host"));
    }
    Err(format!("{key} is refused"))
}

fn text(item: &Item) -> String {
    String::from_utf8(item.key().to_vec()).unwrap()
}

fn undeleted(lease: i64, items: usize, reason: &str) -> Undeleted {
    Undeleted { lease: id(lease), items, reason: reason.to_owned() }
}

const MINUTE: Duration = Duration::from_secs(60);
