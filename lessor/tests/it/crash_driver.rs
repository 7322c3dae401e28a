//! The real driver on tokio, with a commit that fails or a process that dies at each of its commits.
//!
//! Each case is run once to count its commits, and then for each of them and each way in which one
//! can go wrong. What the store then holds is [judged](super::ledger), and another driver goes on from
//! it to the end. Tokio's clock stands still and nothing has a thread of its own, so that a case is
//! the same each time.

use std::cell::Cell;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lessor::backend::{Backend, BackendError, MemoryBackend, Stored};
use lessor::driver::{Driver, LocalLog, Observer, Runtime, TokioRuntime};
use lessor::{Config, Instant, LogIndex, Member, MemberInput, Output, Request, Transaction};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::crash_planted;
use super::group::{request, settings};
use super::ledger::Ledger;
use super::member_model::Settings;
use super::seed::{explore, failures};

#[test]
fn nothing_acknowledged_is_lost_at_whichever_commit_it_goes_wrong() {
    let (cases, runs, answers) = (Cell::new(0), Cell::new(0), Cell::new(0));
    explore(CASES, &case(), |case| {
        let life = case.run(None, Planted::Nothing)?;
        cases.set(cases.get() + 1);
        runs.set(runs.get() + 1 + Wrong::ALL.len() * life.commits);
        answers.set(answers.get() + life.answers);
        case.go_wrong(life.commits, Planted::Nothing)
    });
    let (cases, runs, answers) = (cases.get(), runs.get(), answers.get());
    println!(
        "{cases} random cases of a driver, {runs} runs, {answers} answers in the first of each"
    );
    assert!(runs > 1_000 && answers > 500, "the cases come to something: {runs}, {answers}");
}

#[test]
fn every_planted_bug_is_found_by_the_rule_against_it() {
    for (planted, rule) in Planted::BUGS {
        let cases = case();
        let mut failures = failures(CASES, &cases, |case| {
            let commits = case.run(None, Planted::Nothing)?.commits;
            case.go_wrong(commits, planted)
        });
        assert!(failures.any(|why| why.contains(rule)), "{planted:?} is found, by «{rule}»");
    }
}

const CASES: u32 = 150;

/// How many inputs a driver with a few dozen requests may take. Of 1,500 cases that ran well none
/// took more than 600.
const MOST_INPUTS: usize = 5_000;

// The cases

#[derive(Clone, Debug)]
struct Case {
    settings: Settings,
    /// What each client asks, one after the other, and how long it waits before.
    clients: Vec<Vec<(Duration, Request)>>,
}

/// What goes wrong with a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    FailsAndIsLost,
    FailsAndIsStored,
    DiesBefore,
    DiesAfter,
}

impl Wrong {
    const ALL: [Self; 4] =
        [Self::FailsAndIsLost, Self::FailsAndIsStored, Self::DiesBefore, Self::DiesAfter];
}

/// How a driver has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Stopped,
    Failed,
    Died,
}

struct Life {
    commits: usize,
    answers: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let pause = prop_oneof![3 => Just(0_u64), 1 => 0_u64..700].prop_map(Duration::from_millis);
    let clients = vec(vec((pause, request(Vec::new())), 1..12), 1..4);
    (settings(), clients).prop_map(|(settings, clients)| Case { settings, clients })
}

impl Case {
    fn go_wrong(&self, commits: usize, planted: Planted) -> TestCaseResult {
        for commit in 1..=commits {
            for wrong in Wrong::ALL {
                self.run(Some((commit, wrong)), planted).map_err(|error| {
                    TestCaseError::fail(format!("{error}\nas commit {commit} {wrong:?}"))
                })?;
            }
        }
        Ok(())
    }

    /// Runs one driver until it ends, and then another one that ends well.
    fn run(&self, fuse: Option<(usize, Wrong)>, planted: Planted) -> Result<Life, TestCaseError> {
        let config = self.settings.config();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without threads");
        let machine = Machine::new(fuse, planted);
        let expected = match fuse {
            None => End::Stopped,
            Some((_, Wrong::FailsAndIsLost | Wrong::FailsAndIsStored)) => End::Failed,
            Some((_, Wrong::DiesBefore | Wrong::DiesAfter)) => End::Died,
        };
        let end = runtime.block_on(self.live(&config, &machine))?;
        let life = machine.reopen(&config)?;
        prop_assert_eq!(end, expected, "the driver ends as its commit did");
        prop_assert_eq!(runtime.block_on(self.live(&config, &machine))?, End::Stopped);
        machine.reopen(&config)?;
        Ok(life)
    }

    /// Lets all clients ask what they have to ask, and stops the driver if it has not ended.
    async fn live(&self, config: &Config, machine: &Machine) -> Result<End, TestCaseError> {
        let runtime = TestRuntime { clock: TokioRuntime::new(), machine: machine.clone() };
        let opened = Driver::open(config, runtime, machine.clone(), LocalLog::new()).await;
        let (handle, driver) = opened.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let run = tokio::spawn(driver.observe(machine.clone()).run());
        let clients = self.clients.clone().into_iter().map(|requests| {
            let handle = handle.clone();
            tokio::spawn(async move {
                for (pause, request) in requests {
                    sleep(pause).await;
                    // What is answered is judged where the driver answers it.
                    let _ = handle.request(request).await;
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        let stopped = async {
            for client in clients {
                client.await.expect("it only asks");
            }
            handle.stop().await
        };
        let ended = async {
            tokio::select! {
                biased;
                () = machine.died.notified() => End::Died,
                stopped = stopped => if stopped.is_ok() { End::Stopped } else { End::Failed },
            }
        };
        let ended = timeout(Duration::from_secs(3_600), ended).await;
        machine.state().wrong.take().map_or(Ok(()), Err)?;
        let ended = ended.map_err(|_| TestCaseError::fail("a call hangs"))?;
        if ended == End::Died {
            run.abort();
        } else {
            let run = run.await.map_err(|panic| TestCaseError::fail(panic.to_string()))?;
            prop_assert_eq!(run.is_ok(), ended == End::Stopped);
        }
        Ok(ended)
    }
}

// What it runs on

/// A machine that keeps what its store has committed, and sees everything that its driver does.
#[derive(Clone)]
struct Machine {
    state: Arc<Mutex<State>>,
    died: Arc<Notify>,
}

struct State {
    store: MemoryBackend,
    /// How the store was before its last commit.
    before: MemoryBackend,
    ledger: Ledger,
    commits: usize,
    inputs: usize,
    fuse: Option<(usize, Wrong)>,
    dead: bool,
    /// The driver knows that a commit has failed, or never comes to know.
    failed: bool,
    stuck: bool,
    /// The first rule that was broken.
    wrong: Option<TestCaseError>,
    planted: Planted,
}

impl Machine {
    fn new(fuse: Option<(usize, Wrong)>, planted: Planted) -> Self {
        let state = State {
            store: MemoryBackend::new(),
            before: MemoryBackend::new(),
            ledger: Ledger::new(),
            commits: 0,
            inputs: 0,
            fuse,
            dead: false,
            failed: false,
            stuck: false,
            wrong: None,
            planted,
        };
        Self { state: Arc::new(Mutex::new(state)), died: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no rule panics")
    }

    /// Judges what is stored, for another process to begin with.
    fn reopen(&self, config: &Config) -> Result<Life, TestCaseError> {
        let mut state = self.state();
        if state.planted == Planted::LosesLast {
            state.store = state.before.clone();
        }
        let stored = state.store.load().expect("it is in memory");
        state.ledger.judge(&stored, config, crash_planted::Planted::Nothing)?;
        state.ledger.crash(&stored, false);
        (state.fuse, state.dead, state.failed) = (None, false, false);
        state.stuck = false;
        Ok(Life { commits: state.commits, answers: state.ledger.answers })
    }
}

impl State {
    fn judge(&mut self, outcome: TestCaseResult) {
        if let Err(error) = outcome {
            self.wrong.get_or_insert(error);
        }
    }

    fn fail(&mut self) {
        self.stuck = self.planted == Planted::Stuck;
        self.failed = !self.stuck;
    }

    fn store(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.before = self.store.clone();
        self.store.commit(transaction)
    }
}

impl Backend for Machine {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.state().store.load()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        let mut state = self.state();
        state.commits += 1;
        let failure = || BackendError::other("the test says so");
        let wrong = state.fuse.filter(|(commit, _)| *commit == state.commits);
        match wrong.map(|(_, wrong)| wrong) {
            None => state.store(transaction),
            Some(Wrong::FailsAndIsLost) if state.planted == Planted::LostQuietly => Ok(()),
            Some(Wrong::FailsAndIsLost) => {
                state.fail();
                Err(failure())
            }
            Some(Wrong::FailsAndIsStored) => {
                state.fail();
                let stored = state.store(transaction);
                if state.planted == Planted::FailsQuietly { stored } else { Err(failure()) }
            }
            Some(Wrong::DiesBefore) => {
                state.dead = true;
                Ok(())
            }
            Some(Wrong::DiesAfter) => {
                state.dead = state.planted != Planted::Survives;
                state.store(transaction)
            }
        }
    }
}

impl Observer for Machine {
    fn before(&mut self, _: Instant, input: &MemberInput) {
        let mut state = self.state();
        state.inputs += 1;
        if state.inputs > MOST_INPUTS {
            drop(state);
            resume_unwind(Box::new("it never rests"));
        }
        if let MemberInput::Request { ticket, request } = input {
            state.ledger.ask(*ticket, request);
        } else if let MemberInput::Committed(entries) = input {
            let outcome = state.ledger.commit(entries);
            state.judge(outcome);
        }
    }

    fn after(&mut self, _: Instant, member: &Member) {
        member.lessor().check();
        let planted = self.state().planted;
        if planted == Planted::Panics {
            resume_unwind(Box::new("the test says so"));
        }
    }

    fn output(&mut self, _: Instant, output: &Output) {
        let mut state = self.state();
        if state.failed {
            let error = format!("{output:?} is done after a commit has failed");
            state.judge(Err(TestCaseError::fail(error)));
        }
        if let Output::Answer { ticket, answer } = output {
            let LogIndex(durable) = state.store.load().expect("it is in memory").applied;
            let outcome = state.ledger.answer(*ticket, answer, durable);
            state.judge(outcome);
        }
    }
}

/// Tokio's clock, and blocking work in between other work instead of on a thread.
struct TestRuntime {
    clock: TokioRuntime,
    machine: Machine,
}

impl Runtime for TestRuntime {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let sleepless = self.machine.state().planted == Planted::Sleepless;
        self.clock.sleep_until(if sleepless { self.now() } else { deadline })
    }

    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let machine = self.machine.clone();
        async move {
            // Others come to ask meanwhile.
            for _ in 0..3 {
                yield_now().await;
            }
            let done = work();
            let (dead, stuck) = {
                let state = machine.state();
                (state.dead, state.stuck)
            };
            if dead {
                // Nobody learns of it.
                machine.died.notify_one();
            }
            if dead || stuck {
                return pending().await;
            }
            done
        }
    }
}

// The bugs

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    Nothing,
    /// A commit is lost, and nobody is told.
    LostQuietly,
    /// A commit fails, and the driver is told that it succeeded.
    FailsQuietly,
    /// A failure comes back never.
    Stuck,
    /// The process does not die.
    Survives,
    Panics,
    /// Its clock wakes it at once.
    Sleepless,
    /// What is found after the end is not what was committed last.
    LosesLast,
}

impl Planted {
    const BUGS: [(Self, &str); 7] = [
        (Self::LostQuietly, "nothing durable has led to"),
        (Self::Survives, "the driver ends as its commit did"),
        (Self::FailsQuietly, "is done after a commit has failed"),
        (Self::Stuck, "a call hangs"),
        (Self::Panics, "the test says so"),
        (Self::Sleepless, "it never rests"),
        (Self::LosesLast, "was acknowledged, and"),
    ];
}
