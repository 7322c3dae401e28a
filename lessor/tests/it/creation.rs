//! Several that open the same new store at once: one gets it, the others are told that it is taken.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::thread;

use lessor::backend::{Backend, BackendError, RedbBackend};
use lessor::{Change, Config, Instant, LeaseId, LeaseRecord, Lessor, Transaction, Ttl, Write};
use tempfile::TempDir;

#[test]
fn of_two_threads_that_create_a_store_at_once_one_gets_it() {
    race_threads::<2>(Before::Nothing);
}

#[test]
fn of_three_threads_that_create_a_store_at_once_one_gets_it() {
    race_threads::<3>(Before::Nothing);
}

#[test]
fn of_three_threads_that_open_a_store_at_once_one_gets_it() {
    race_threads::<3>(Before::Store);
}

#[test]
fn of_four_processes_that_create_a_store_at_once_one_gets_it() {
    let folder = Folder::new();
    let mut children: Vec<Racer> = (0..4).map(|_| Racer::spawn()).collect();
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let store = folder.store(round);
        for child in &mut children {
            child.say(store.to_str().unwrap());
        }
        let verdicts: Vec<String> = children.iter_mut().map(Racer::hear).collect();
        for child in &mut children {
            // The winner closes the store; only then is it looked at.
            child.say("close");
            assert_eq!(child.hear(), "closed");
        }
        tally.note(round, &store, &verdicts);
    }
    for child in children {
        child.end();
    }
    tally.check();
}

/// Not a test but one of the processes: does nothing unless the test above has started it.
#[test]
fn child_that_opens_what_it_is_told() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells its child that it is one")]
    if std::env::var_os(RACER).is_none() {
        return;
    }
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(store)) = lines.next() {
        let opened = RedbBackend::open(&store).and_then(grant);
        answer(&verdict(&opened));
        let closed = lines.next();
        drop(opened);
        if closed.is_some() {
            answer("closed");
        }
    }
}

/// All threads open the store of a round at the same moment, and those that get it grant a lease.
#[expect(clippy::disallowed_methods, reason = "races threads, and demands the same of all orders")]
fn race_threads<const N: usize>(before: Before) {
    let folder = Folder::new();
    let barrier = Barrier::new(N);
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let store = folder.store(round);
        if before == Before::Store {
            drop(RedbBackend::open(&store).unwrap());
        }
        let race = || {
            barrier.wait();
            let opened = RedbBackend::open(&store).and_then(grant);
            let verdict = verdict(&opened);
            // Whoever has the store keeps it until all have tried.
            barrier.wait();
            verdict
        };
        let verdicts: Vec<String> = thread::scope(|scope| {
            let threads = [(); N].map(|()| scope.spawn(race));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        tally.note(round, &store, &verdicts);
    }
    tally.check();
}

/// What there is when the race begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Store,
}

/// What came of all rounds; what is wrong is counted first, so that a failure says how often.
#[derive(Default)]
struct Tally {
    wrong: Vec<String>,
}

impl Tally {
    fn note(&mut self, round: usize, store: &Path, verdicts: &[String]) {
        let won = verdicts.iter().filter(|verdict| *verdict == WON).count();
        let locked = verdicts.iter().filter(|verdict| *verdict == LOCKED).count();
        if won != 1 || won + locked != verdicts.len() {
            self.wrong.push(format!("round {round}: {verdicts:?}"));
        }
        let found = RedbBackend::open(store).unwrap().load().unwrap();
        if won > 0 && found.snapshot.leases != [record()] {
            self.wrong.push(format!("round {round}: the acknowledged grant is gone"));
        }
        // What lies beside it is somebody's half of a store.
        let folder = store.parent().unwrap();
        let names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        if names != [store] {
            self.wrong.push(format!("round {round}: {names:?}"));
        }
    }

    #[track_caller]
    fn check(&self) {
        let wrong = self.wrong.len();
        assert!(wrong == 0, "{wrong} wrong in {ROUNDS} rounds: {:#?}", self.wrong);
    }
}

fn grant(mut backend: RedbBackend) -> Result<RedbBackend, BackendError> {
    let stored = backend.load()?;
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(Instant::ZERO, &stored.snapshot).unwrap();
    lessor
        .apply(Instant::ZERO, lessor::Command::Grant { id: record().id, ttl: record().ttl })
        .unwrap();
    backend.commit(Transaction {
        after: stored.applied,
        applied: stored.applied.next(),
        digest: lessor.digest(),
        reset: false,
        changes: vec![Change::Write(Write::PutLease(record()))],
    })?;
    Ok(backend)
}

fn record() -> LeaseRecord {
    LeaseRecord { id: LeaseId::new(7).unwrap(), ttl: Ttl::from_secs(60), remaining: None }
}

fn verdict(opened: &Result<RedbBackend, BackendError>) -> String {
    match opened {
        Ok(_) => WON.into(),
        Err(BackendError::Locked { .. }) => LOCKED.into(),
        Err(error) => error.to_string(),
    }
}

/// One line to the parent. It begins with a line break, because the test runner leaves one out.
fn answer(what: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{MARK}{what}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// A process that races.
struct Racer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Racer {
    fn spawn() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "creation::child_that_opens_what_it_is_told", "--nocapture"])
            .env(RACER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the child has gone");
            if let Some(what) = line.trim_end().strip_prefix(MARK) {
                return what.to_owned();
            }
        }
    }

    fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

/// A fresh folder for each round, in memory where there is such a place: a creation waits for the disk
/// several times, which would make up nearly all of the test, and the races are the same.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(folder.unwrap())
    }

    fn store(&self, round: usize) -> PathBuf {
        let folder = self.0.path().join(round.to_string());
        fs::create_dir(&folder).unwrap();
        folder.join("leases.redb")
    }
}

const ROUNDS: usize = 1_000;
const WON: &str = "won";
const LOCKED: &str = "locked";
/// What the parent listens for among the words of the test runner.
const MARK: &str = "racer: ";
/// The environment variable that makes the binary the child of this test.
const RACER: &str = "LESSOR_TEST_CREATION_RACER";
