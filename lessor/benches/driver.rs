//! What the driver on redb reaches, beside what the same disk and the same redb do without it.
//!
//! `cargo bench -p lessor --all-features --bench driver`. The files are made in the target folder. What is
//! compared takes turns, and the median of the rounds counts, because disks are moody.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock};

use lessor::backend::{Backend, BackendError, RedbBackend, Stored};
use lessor::driver::{Driver, FlightRecorder, Handle, LocalLog, TokioRuntime};
use lessor::{Config, Instant, LeaseId, Lessor, Transaction};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use self::ids::id;
use self::store::{fill, folder};

mod ids;
mod store;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    disk()?;
    grants()?;
    renews()?;
    recorded()?;
    recovery()
}

/// How often this disk syncs.
fn disk() -> Outcome {
    let folder = folder()?;
    let mut file = File::create(folder.path().join("plain"))?;
    let syncs = rate(|| {
        file.write_all(&[7; 4096])?;
        Ok(file.sync_data().map(|()| 1)?)
    })?;
    println!("a write of 4 KiB and its sync, in a loop: {syncs:.0} a second");
    Ok(())
}

/// Grants that are durable when they are answered.
fn grants() -> Outcome {
    println!(
        "\n{:>8}  {:>31}  {:>41}  {:>15}",
        "", "redb alone, grants/s", "through the handle", "handle / redb"
    );
    println!(
        "{:>8}  {:>15} {:>15}  {:>10} {:>6} {:>7} {:>7} {:>7}  {:>7} {:>7}",
        "at once",
        "default",
        "two phases",
        "grants/s",
        "batch",
        "p50 ms",
        "p99 ms",
        "max ms",
        "default",
        "two ph."
    );
    for at_once in [1, 16, 256, 4096] {
        let (mut single, mut double, mut through) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            single.push(raw_grants(at_once, false)?);
            double.push(raw_grants(at_once, true)?);
            through.push(runtime(2)?.block_on(durable_grants(at_once))?);
        }
        through.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let (single, double) = (median(single), median(double));
        let Durable { rate, batch, mut latencies } = through.swap_remove(ROUNDS / 2);
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 1000].as_secs_f64() * 1e3;
        println!(
            "{at_once:>8}  {single:>15.0} {double:>15.0}  {rate:>10.0} {batch:>6.1} {:>7.2} {:>7.2} {:>7.2}  {:>6.0}% {:>6.0}%",
            at(500),
            at(990),
            at(1000),
            100.0 * rate / single,
            100.0 * rate / double,
        );
    }
    Ok(())
}

/// Rows like those of grants, so many a commit.
fn raw_grants(batch: u64, two_phases: bool) -> Outcome<f64> {
    let folder = folder()?;
    let database = Database::create(folder.path().join("raw.redb"))?;
    let mut number = 0;
    rate(|| {
        let mut write = database.begin_write()?;
        write.set_two_phase_commit(two_phases);
        let mut table = write.open_table(ROWS)?;
        for _ in 0..batch {
            number += 1;
            table.insert(id(number).get(), (60_000, u64::MAX))?;
        }
        drop(table);
        write.commit()?;
        Ok(batch)
    })
}

struct Durable {
    rate: f64,
    batch: f64,
    latencies: Vec<Duration>,
}

/// So many tasks, each of which grants again when it was answered.
async fn durable_grants(at_once: u64) -> Outcome<Durable> {
    let folder = folder()?;
    let commits = Arc::new(AtomicU64::new(0));
    let backend = RedbBackend::open(folder.path().join("leases.redb"))?;
    let leases = open(Counting { backend, commits: commits.clone() }, None).await?;
    let start = Clock::now();
    let work = move |leases: Handle| async move {
        let mut latencies = Vec::new();
        while start.elapsed() < ROUND {
            let asked = Clock::now();
            leases.grant(None, Duration::from_secs(60)).await.expect("it is the primary");
            latencies.push(asked.elapsed());
        }
        latencies
    };
    let tasks: Vec<_> = (0..at_once).map(|_| tokio::spawn(work(leases.clone()))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await?);
    }
    let grants = latencies.len() as f64;
    let rate = grants / start.elapsed().as_secs_f64();
    leases.stop().await?;
    Ok(Durable { rate, batch: grants / commits.load(Ordering::Relaxed) as f64, latencies })
}

/// Renews through the handle, which touch no disk.
fn renews() -> Outcome {
    println!(
        "\n{:>8}  {:>24} {:>24}",
        "tasks", "renews/s on one thread", "renews/s on two threads"
    );
    for tasks in [1, 2, 16, 256] {
        let mut cells = Vec::new();
        for threads in [1, 2] {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push(runtime(threads)?.block_on(renew_rate(tasks, false))?);
            }
            cells.push(median(rounds));
        }
        println!("{tasks:>8}  {:>24.0} {:>24.0}", cells[0], cells[1]);
    }
    Ok(())
}

/// The same, with a flight recorder and without, in turns.
fn recorded() -> Outcome {
    println!(
        "\n{:>8}  {:>34} {:>34}",
        "tasks", "recorded, on one thread", "recorded, on two threads"
    );
    for tasks in [1, 16, 256] {
        print!("{tasks:>8}");
        for threads in [1, 2] {
            let (mut plain, mut recorded, mut shares) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let without = runtime(threads)?.block_on(renew_rate(tasks, false))?;
                let with = runtime(threads)?.block_on(renew_rate(tasks, true))?;
                shares.push(with / without);
                plain.push(without);
                recorded.push(with);
            }
            let (share, plain, recorded) = (median(shares), median(plain), median(recorded));
            print!("  {recorded:>10.0} of {plain:>10.0}, {:>5.1} %", share * 100.0);
        }
        println!();
    }
    Ok(())
}

async fn renew_rate(tasks: u64, is_recorded: bool) -> Outcome<f64> {
    let folder = folder()?;
    let backend = RedbBackend::open(folder.path().join("leases.redb"))?;
    let recorder = FlightRecorder::create(folder.path().join("flight"))?;
    let leases = open(backend, is_recorded.then_some(recorder)).await?;
    let mut work = Vec::new();
    for _ in 0..tasks {
        work.push((leases.grant(None, Duration::from_secs(60)).await?.id, leases.clone()));
    }
    let start = Clock::now();
    let renew = move |(id, leases): (LeaseId, Handle)| async move {
        let mut renews = 0_u64;
        while start.elapsed() < ROUND {
            for _ in 0..100 {
                leases.renew(id).await.expect("it is there");
            }
            renews += 100;
        }
        renews
    };
    let tasks: Vec<_> = work.into_iter().map(|one| tokio::spawn(renew(one))).collect();
    let mut renews = 0;
    for task in tasks {
        renews += task.await?;
    }
    let rate = renews as f64 / start.elapsed().as_secs_f64();
    leases.stop().await?;
    Ok(rate)
}

/// A million leases from a file, beside a scan of the same rows that does nothing with them.
fn recovery() -> Outcome {
    let folder = folder()?;
    let path = folder.path().join("leases.redb");
    fill(&path, LEASES)?;
    let (mut scans, mut opens, mut loads, mut recovers, mut sums) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut held = 0;
    for _ in 0..ROUNDS {
        scans.push(timed(|| scan(&path))?.0);
        let (open, mut backend) = timed(|| Ok(RedbBackend::open(&path)?))?;
        opens.push(open);
        let (first_load, stored) = timed(|| Ok(backend.load()?))?;
        loads.push(timed(|| Ok(backend.load()?))?.0);
        let before = resident();
        let (recover, lessor) = timed(|| {
            let mut lessor = Lessor::new(&Config::default());
            lessor.recover(Instant::ZERO, &stored.snapshot)?;
            Ok(lessor)
        })?;
        recovers.push(recover);
        sums.push(open + first_load + recover);
        held = resident().saturating_sub(before);
        assert_eq!(lessor.digest(), stored.digest);
    }
    let scan = median(scans);
    println!("\nof {LEASES} leases in {} MiB of redb:", path.metadata()?.len() >> 20);
    for (what, times) in [
        ("a bare scan of the table, with its opening", vec![scan]),
        ("open: every page verified, every row read", opens),
        ("recover: the state from what was read", recovers),
        ("open, load and recover", sums),
        ("a load of its own, behind the first", loads),
    ] {
        let time = median(times);
        println!("{what:48} {time:>7.3} s  {:>5.2} scans", time / scan);
    }
    println!("the recovered state holds {} MiB", held >> 20);
    Ok(())
}

fn scan(path: &Path) -> Outcome<u64> {
    let database = Database::open(path)?;
    let mut sum = 0;
    for row in database.begin_read()?.open_table(ROWS)?.iter()? {
        let (key, value) = row?;
        sum ^= key.value().cast_unsigned() ^ value.value().0;
    }
    Ok(std::hint::black_box(sum))
}

/// Counts the commits of a store.
struct Counting {
    backend: RedbBackend,
    commits: Arc<AtomicU64>,
}

impl Backend for Counting {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.backend.load()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.backend.commit(transaction)
    }
}

async fn open(backend: impl Backend, recorder: Option<FlightRecorder>) -> Outcome<Handle> {
    let config = Config::default().with_queue(8192.try_into()?);
    let (handle, driver) =
        Driver::open(&config, TokioRuntime::new(), backend, LocalLog::new()).await?;
    let driver = match recorder {
        Some(recorder) => driver.observe(recorder),
        None => driver,
    };
    drop(tokio::spawn(driver.run()));
    Ok(handle)
}

fn runtime(threads: usize) -> Outcome<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(threads).enable_time().build()?)
}

/// How many a second: `work` is done again and again, and says how many it did.
fn rate(mut work: impl FnMut() -> Outcome<u64>) -> Outcome<f64> {
    let (start, mut done) = (Clock::now(), 0);
    while start.elapsed() < ROUND {
        done += work()?;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(f64, T)> {
    let start = Clock::now();
    let value = work()?;
    Ok((start.elapsed().as_secs_f64(), value))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The bytes of memory that this process has, where the system says so.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The leases as the store keeps them.
const ROWS: TableDefinition<i64, (u64, u64)> = TableDefinition::new("lessor.leases");
const LEASES: u64 = 1_000_000;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(1);
