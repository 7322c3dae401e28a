//! What an operator sees: every metric by its name, on a recorder of the test's own.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lessor::backend::{Backend, BackendError, MemoryBackend, Stored, Undeleted};
use lessor::driver::{Driver, Handle, LocalLog, Runtime, TokioRuntime};
use lessor::{Config, Instant, LeaseId, Transaction};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, with_local_recorder,
};
use tokio::time::sleep;

#[test]
fn leases_are_counted_from_their_grant_to_their_end() {
    let seen = Seen::default();
    seen.run(async |engine| {
        for (number, ttl) in [(1, 60), (2, 60), (3, 2)] {
            engine.grant(Some(id(number)), ttl * SECOND).await.unwrap();
        }
        engine.grant(Some(id(1)), SECOND).await.unwrap_err();
        for _ in 0..5 {
            engine.renew(id(1)).await.unwrap();
        }
        engine.renew(id(9)).await.unwrap_err();
        engine.attach(id(2), (0..2_500).map(|item| format!("{item}"))).await.unwrap();
        engine.revoke(id(2)).await.unwrap();
        engine.revoke(id(2)).await.unwrap_err();
        assert_eq!(seen.of("lessor_leases"), [2.0]);
        sleep(3 * SECOND).await;
        assert_eq!(seen.of("lessor_leases"), [1.0]);
        assert_eq!(seen.of("lessor_is_primary"), [1.0]);
        engine.demote().await.unwrap();
        sleep(SECOND).await;
        assert_eq!(seen.of("lessor_is_primary"), [0.0]);
    });
    assert_eq!(seen.of("lessor_lease_granted_total"), [3.0]);
    assert_eq!(seen.of("lessor_lease_ttl_seconds"), [60.0, 60.0, 2.0]);
    assert_eq!(seen.of("lessor_lease_renewed_total"), [5.0]);
    assert_eq!(seen.of("lessor_lease_expired_total"), [1.0]);
    assert_eq!(seen.of("lessor_lease_revoked_total"), [2.0]);
    assert_eq!(seen.of("lessor_leases"), [0.0], "an engine that has ended has none");
}

/// A slow disk shows in how long commits take, and in what gathers meanwhile.
#[test]
fn commits_are_timed_and_what_waits_is_counted() {
    let seen = Seen::default();
    seen.run_on(
        SlowDisk { stall: 3 * SECOND, ..SlowDisk::default() },
        MemoryBackend::new(),
        async |engine| {
            let grant = |number| {
                let engine = engine.clone();
                tokio::spawn(async move { engine.grant(Some(id(number)), 60 * SECOND).await })
            };
            let first = grant(1);
            sleep(SECOND).await;
            let others = [grant(2), grant(3)];
            sleep(SECOND).await;
            assert_eq!(seen.of("lessor_requests_pending"), [3.0]);
            first.await.unwrap().unwrap();
            for other in others {
                other.await.unwrap().unwrap();
            }
            sleep(SECOND).await;
            assert_eq!(seen.of("lessor_requests_pending"), [0.0]);
        },
    );
    assert_eq!(seen.of("lessor_backend_commit_duration_seconds"), [3.0, 3.0]);
}

#[test]
fn a_subscriber_that_takes_nothing_shows_and_so_do_the_renews_that_wait_for_it() {
    let seen = Seen::default();
    seen.run(async |engine| {
        let _slow = engine.expired().await.unwrap();
        for number in 1..=19 {
            engine.grant(Some(id(number)), 2 * SECOND).await.unwrap();
            sleep(100 * SECOND / 1_000).await;
        }
        sleep(2 * SECOND).await;
        assert_eq!(seen.of("lessor_expired_batches_held"), [1.0]);
        let late = engine.clone();
        let late = tokio::spawn(async move { late.renew(id(19)).await });
        sleep(SECOND).await;
        assert_eq!(seen.of("lessor_renews_waiting"), [1.0]);
        assert_eq!(seen.of("lessor_expired_batches_missed_total"), [0.0]);
        sleep(Config::default().subscriber_patience).await;
        late.await.unwrap().unwrap_err();
        assert_eq!(seen.of("lessor_renews_waiting"), [0.0]);
        assert_eq!(seen.of("lessor_expired_batches_missed_total"), [1.0]);
    });
}

#[test]
fn what_cannot_be_deleted_shows() {
    let seen = Seen::default();
    seen.run_on(SlowDisk::default(), Stubborn(MemoryBackend::new()), async |engine| {
        engine.grant(Some(id(1)), 60 * SECOND).await.unwrap();
        assert_eq!(seen.of("lessor_leases_undeleted"), [2.0]);
    });
}

/// Counters add up over the engines of a process, and so do gauges.
#[test]
fn two_engines_share_their_metrics() {
    let seen = Seen::default();
    seen.run(async |one| {
        let other = open(SlowDisk::default(), MemoryBackend::new()).await;
        for (engine, leases) in [(&one, 2), (&other, 3)] {
            for number in 1..=leases {
                engine.grant(Some(id(number)), 60 * SECOND).await.unwrap();
            }
        }
        assert_eq!(seen.of("lessor_leases"), [5.0]);
        other.stop().await.unwrap();
        sleep(SECOND).await;
        assert_eq!(seen.of("lessor_leases"), [2.0]);
        assert_eq!(seen.of("lessor_lease_granted_total"), [5.0]);
    });
}

/// A name that is not in the table, or the other way round, helps nobody.
#[test]
fn every_metric_is_described_and_in_the_table_of_the_manual() {
    let seen = Seen::default();
    seen.run(async |_| {});
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/EMBEDDING.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `lessor_"));
    let mut table: Vec<_> =
        rows.map(|row| format!("lessor_{}", row.split('`').next().unwrap())).collect();
    table.sort();
    let described: Vec<_> = seen.described.lock().unwrap().keys().cloned().collect();
    let registered: Vec<_> = seen.values.lock().unwrap().keys().cloned().collect();
    assert_eq!(table, described);
    assert_eq!(registered, described);
    for (name, unit) in &*seen.described.lock().unwrap() {
        assert_eq!(name.ends_with("_seconds"), *unit == Some(Unit::Seconds), "{name}: {unit:?}");
    }
}

/// Keeps whatever it is told: the sum of a counter or a gauge, each value of a histogram.
#[derive(Clone, Default)]
struct Seen {
    values: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
    described: Arc<Mutex<BTreeMap<String, Option<Unit>>>>,
}

impl Seen {
    /// Runs an engine in memory with this recorder, on a clock that jumps, and stops it.
    fn run(&self, test: impl AsyncFnOnce(Handle)) {
        self.run_on(SlowDisk::default(), MemoryBackend::new(), test);
    }

    fn run_on(&self, runtime: SlowDisk, backend: impl Backend, test: impl AsyncFnOnce(Handle)) {
        let mut tokio = tokio::runtime::Builder::new_current_thread();
        let tokio = tokio.enable_time().start_paused(true).build().unwrap();
        with_local_recorder(self, || {
            tokio.block_on(async {
                let engine = open(runtime, backend).await;
                test(engine.clone()).await;
                engine.stop().await.unwrap();
            });
        });
        drop(tokio);
    }

    fn of(&self, name: &str) -> Vec<f64> {
        self.values.lock().unwrap().get(name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    fn cell(&self, key: &Key, start: &[f64]) -> Arc<Cell> {
        let name = key.name().to_owned();
        self.values.lock().unwrap().entry(name.clone()).or_insert_with(|| start.to_vec());
        Arc::new(Cell { name, values: self.values.clone() })
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.described.lock().unwrap().insert(name.as_str().to_owned(), unit);
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key, &[0.0]))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key, &[0.0]))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key, &[]))
    }
}

struct Cell {
    name: String,
    values: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
}

impl Cell {
    fn change(&self, change: impl FnOnce(&mut Vec<f64>)) {
        change(self.values.lock().unwrap().get_mut(&self.name).expect("it was registered"));
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.change(|values| values[0] += value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|values| values[0] = value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.change(|values| values[0] += value);
    }

    fn decrement(&self, value: f64) {
        self.change(|values| values[0] -= value);
    }

    fn set(&self, value: f64) {
        self.change(|values| values[0] = value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.change(|values| values.push(value));
    }
}

/// A store in memory beside which two leases are that cannot be deleted.
struct Stubborn(MemoryBackend);

impl Backend for Stubborn {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.0.load()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.0.commit(transaction)
    }

    fn undeleted(&self) -> Vec<Undeleted> {
        let undeleted = |number| Undeleted { lease: id(number), items: 1, reason: String::new() };
        [7, 8].map(undeleted).into()
    }
}

/// Tokio's clock, on which what blocks takes so long.
#[derive(Default)]
struct SlowDisk {
    clock: TokioRuntime,
    stall: Duration,
}

impl Runtime for SlowDisk {
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
        let stall = self.stall;
        async move {
            sleep(stall).await;
            work()
        }
    }
}

async fn open(runtime: SlowDisk, backend: impl Backend) -> Handle {
    let config = Config::default();
    let (handle, driver) = Driver::open(&config, runtime, backend, LocalLog::new()).await.unwrap();
    drop(tokio::spawn(driver.run()));
    handle
}

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);
