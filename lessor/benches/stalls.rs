//! How long one large call holds up everybody else, on the real redb and tokio.
//!
//! `cargo bench -p lessor --all-features --bench stalls`. The engine has a thread to itself, and somebody
//! renews a lease and looks it up all the while. For each large call: how long it took itself, the longest
//! wait of such a renew and of such a lookup, and the longest time for which the engine held its
//! thread, as the wall has it and as the processor has it (of Linux, in steps of its tick), which a
//! machine that does other things besides does not lengthen.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use lessor::backend::RedbBackend;
use lessor::driver::{CallError, Driver, Handle, LocalLog, TokioRuntime};
use lessor::{Config, Item, LeaseId, LeaseOrder};

use self::ids::id;
use self::store::{fill, folder};

mod ids;
mod store;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    println!(
        "{:<46} {:>9}  {:>17}  {:>17}",
        "ms", "the call", "longest wait of a", "engine held, most"
    );
    println!("{:<46} {:>9}  {:>8} {:>8}  {:>8} {:>8}", "", "", "renew", "lookup", "wall", "cpu");
    items()?;
    leases()
}

/// One lease with very many items.
fn items() -> Outcome {
    let engine = Engine::open(0)?;
    let items: Vec<Item> = (0..MILLION).map(|item| format!("service/{item:07}").into()).collect();
    let half = || items[..items.len() / 2].to_vec();
    let (one, other) = (id(1), id(2));
    for id in [one, other] {
        engine.once(|leases| async move { leases.grant(Some(id), HOUR).await })?;
    }
    let all = items.clone();
    engine.measure("attach of 1,000,000 items", |leases| async move {
        leases.attach(one, all).await
    })?;
    engine.measure("1,000 times time_to_live of that lease", |leases| async move {
        for _ in 0..1_000 {
            leases.time_to_live(one).await?;
        }
        Ok(())
    })?;
    engine.measure("all its items in pages of 1,000", |leases| async move {
        let mut last = None;
        while let Some(page) = leases.items(one, last, 1_000).await?
            && !page.is_empty()
        {
            last = page.last().cloned();
        }
        Ok(())
    })?;
    let moved = half();
    engine.measure("attach of 500,000 of them to another lease", |leases| async move {
        leases.attach(other, moved).await
    })?;
    engine.measure("revoke of 500,000 items", |leases| async move { leases.revoke(one).await })?;
    let refused = items.clone();
    engine.measure("attach of 1,000,000 items to no lease", |leases| async move {
        leases.attach(one, refused).await.expect_err("it is revoked");
        Ok(())
    })?;
    let detached = half();
    engine.measure("detach of 500,000 items", |leases| async move {
        leases.detach(other, detached).await
    })?;
    engine.stop()
}

/// Very many leases.
fn leases() -> Outcome {
    let engine = Engine::open(MILLION)?;
    let page = |order| {
        move |leases: Handle| async move {
            assert_eq!(leases.leases(order, None, 1_000).await?.len(), 1_000);
            Ok(())
        }
    };
    engine.measure("the first page of 1,000 leases by id", page(LeaseOrder::Id))?;
    engine.measure("all 1,000,000 leases by id, page by page", |leases| async move {
        let mut last = None;
        loop {
            let page = leases.leases(LeaseOrder::Id, last, 1_000).await?;
            last = page.last().cloned();
            if page.is_empty() {
                return Ok(());
            }
        }
    })?;
    engine.measure("the first page of 1,000 leases by expiry", page(LeaseOrder::Expiry))?;
    engine.measure("another page of 1,000 leases by expiry", page(LeaseOrder::Expiry))?;
    let others: Vec<LeaseId> = (1..=MILLION / 10).map(id).collect();
    let mine = id(MILLION + 1);
    engine.once(|leases| async move { leases.grant(Some(mine), HOUR).await })?;
    engine.measure("100,000 leases are given an item each", |leases| async move {
        each(&others, |position, id| {
            let leases = leases.clone();
            async move { leases.attach(id, [format!("service/{position:07}")]).await }
        })
        .await
    })?;
    let items: Vec<_> = (0..MILLION / 10).map(|item| format!("service/{item:07}")).collect();
    engine.measure("attach of those 100,000 items to one lease", |leases| async move {
        leases.attach(mine, items).await
    })?;
    engine.stop()
}

/// Does this for each lease, so many at once that a commit has much to do.
async fn each<T, F>(leases: &[LeaseId], work: impl Fn(usize, LeaseId) -> F) -> Result<(), CallError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, CallError>> + Send + 'static,
{
    let mut position = 0;
    for some in leases.chunks(4_000) {
        let tasks: Vec<_> =
            (position..).zip(some).map(|(n, id)| tokio::spawn(work(n, *id))).collect();
        position += some.len();
        for task in tasks {
            task.await.expect("it does not panic")?;
        }
    }
    Ok(())
}

/// An engine with a thread to itself, and a runtime for those who ask.
struct Engine {
    leases: Handle,
    watched: LeaseId,
    held: Arc<Held>,
    thread: JoinHandle<()>,
    askers: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Engine {
    /// On a new store with so many leases, and one that is watched.
    fn open(leases: u64) -> Outcome<Self> {
        let folder = folder()?;
        let path = folder.path().join("leases.redb");
        if leases > 0 {
            fill(&path, leases)?;
        }
        let held = Arc::<Held>::default();
        let (sender, receiver) = mpsc::channel();
        let holds = held.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("a runtime").block_on(async {
                let store = RedbBackend::open(path).expect("a new store");
                let (handle, driver) =
                    Driver::open(&Config::default(), TokioRuntime::new(), store, LocalLog::new())
                        .await
                        .expect("what was just written");
                sender.send(handle).expect("it is waited for");
                Timed { work: pin!(driver.run()), held: holds }.await.expect("nothing fails");
            });
        });
        let leases = receiver.recv()?;
        let askers = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let watched = askers.block_on(leases.grant(None, HOUR))?.id;
        Ok(Self { leases, watched, held, thread, askers, _folder: folder })
    }

    fn once<T, F>(&self, call: impl FnOnce(Handle) -> F) -> Outcome<T>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        Ok(self.askers.block_on(call(self.leases.clone()))?)
    }

    /// Makes the call and prints what it did to others.
    fn measure<T, F>(&self, what: &str, call: impl FnOnce(Handle) -> F) -> Outcome
    where
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        self.held.reset();
        let done = AtomicBool::new(false);
        let (took, waits) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(&self.leases, self.watched, &done));
            let start = Clock::now();
            let outcome = self.askers.block_on(call(self.leases.clone()));
            let took = start.elapsed();
            // What the engine throws away behind its answer holds it up too.
            std::thread::sleep(Duration::from_millis(50));
            done.store(true, Ordering::Relaxed);
            let waits = watcher.join().expect("it does not panic")?;
            outcome.and(Ok((took, waits)))
        })?;
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        let (wall, cpu) = self.held.longest();
        println!(
            "{what:<46} {:>9.1}  {:>8.1} {:>8.1}  {:>8.1} {:>8.1}",
            ms(took),
            ms(waits[0]),
            ms(waits[1]),
            ms(wall),
            ms(cpu)
        );
        Ok(())
    }

    fn stop(self) -> Outcome {
        self.askers.block_on(self.leases.stop())?;
        self.thread.join().expect("it does not panic");
        Ok(())
    }
}

/// Renews the lease and looks it up, again and again: the longest wait of each.
fn watch(leases: &Handle, id: LeaseId, done: &AtomicBool) -> Result<[Duration; 2], CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let mut waits = [Duration::ZERO; 2];
        while !done.load(Ordering::Relaxed) {
            let asked = Clock::now();
            leases.renew(id).await?;
            waits[0] = waits[0].max(asked.elapsed());
            let asked = Clock::now();
            leases.lookup(id).await?;
            waits[1] = waits[1].max(asked.elapsed());
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(waits)
    })
}

/// A future that notes for how long it holds its thread.
struct Timed<'a, F> {
    work: Pin<&'a mut F>,
    held: Arc<Held>,
}

/// The longest that it did, in nanoseconds.
#[derive(Default)]
struct Held {
    wall: AtomicU64,
    cpu: AtomicU64,
}

impl<F: Future> Future for Timed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (start, on_cpu) = (Clock::now(), cpu_time());
        let polled = self.work.as_mut().poll(context);
        let wall = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.held.wall.fetch_max(wall, Ordering::Relaxed);
        self.held.cpu.fetch_max(cpu_time() - on_cpu, Ordering::Relaxed);
        polled
    }
}

impl Held {
    fn reset(&self) {
        self.wall.store(0, Ordering::Relaxed);
        self.cpu.store(0, Ordering::Relaxed);
    }

    fn longest(&self) -> (Duration, Duration) {
        let of = |cell: &AtomicU64| Duration::from_nanos(cell.load(Ordering::Relaxed));
        (of(&self.wall), of(&self.cpu))
    }
}

/// For how many nanoseconds this thread has run; 0 where the system does not say.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}

const MILLION: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);
