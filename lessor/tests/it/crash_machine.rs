//! A member and its store, with a crash between any two things that the host does.
//!
//! The host does the member's outputs one at a time. After each of them, and at each sync within a
//! commit, what is durable by then is taken aside and [judged](super::ledger), as if the process had
//! died there. Now and then it does die there, and the case goes on with what was left.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lessor::backend::{Backend, Stored};
use lessor::driver::{LocalLog, Log, LogEvent};
use lessor::{Instant, LogIndex, Member, MemberInput, Output, Request, Ticket};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::crash_planted::Planted;
use super::disk::{Disk, Memory, Platter};
use super::group::{request, settings};
use super::ledger::{Ledger, commit_once, open, picked};
use super::member_model::Settings;
use super::seed::{explore, failures};

#[test]
fn nothing_acknowledged_is_lost_wherever_the_process_dies() {
    let seen = RefCell::default();
    explore(2_000, &case(), |case| live::<Memory>(case, Planted::Nothing, &seen));
    report("in memory", &seen.into_inner());
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_goes() {
    let seen = RefCell::default();
    explore(200, &case(), |case| live::<Platter>(case, Planted::Nothing, &seen));
    report("on redb", &seen.into_inner());
}

#[test]
fn every_planted_bug_is_found_by_the_rule_against_it() {
    for (planted, rule) in Planted::BUGS {
        let (cases, seen) = (case(), RefCell::default());
        let mut failures = failures(100, &cases, |case| {
            if planted == Planted::LyingSync {
                return live::<Platter>(case, planted, &seen);
            }
            live::<Memory>(case, planted, &seen)
        });
        assert!(failures.any(|why| why.contains(rule)), "{planted:?} is found, by «{rule}»");
    }
}

/// How often the cases came to what matters.
type Seen = BTreeMap<&'static str, u32>;

/// Runs a case on a new disk, to its end.
fn live<D: Disk>(case: Case, planted: Planted, seen: &RefCell<Seen>) -> TestCaseResult {
    let steps = case.steps.clone();
    let mut host = Host::<D>::new(case, planted)?;
    let outcome = steps.iter().try_for_each(|step| host.step(step));
    host.count("cases");
    for (what, times) in &host.seen {
        *seen.borrow_mut().entry(what).or_default() += times;
    }
    outcome?;
    host.ledger.judge_end()
}

fn report(store: &str, seen: &Seen) {
    let of = |what| seen.get(what).copied().unwrap_or(0);
    let (cases, steps, outputs) = (of("cases"), of("steps"), of("outputs"));
    let looks = of("crashes looked at");
    println!("{cases} random cases {store}, {steps} steps, {outputs} outputs, {looks} crashes");
    for what in REACHED {
        assert!(of(what) >= 3, "{what} is reached: {seen:?}");
    }
}

/// What the cases must come to.
const REACHED: [&str; 6] =
    ["answer", "commit of many", "crash", "torn commit", "entries again", "expired"];

// The cases

#[derive(Clone, Debug)]
struct Case {
    settings: Settings,
    /// Whether the log keeps its entries and hands out again what the store has not.
    keeps: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// These come together.
    Ask(Vec<Request>),
    /// Time passes, to where something is due or by so much.
    Due,
    Pass(Duration),
    Crash(Fuse),
}

/// When the process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fuse {
    /// After so many more outputs.
    Outputs(usize),
    /// In the middle of the commit that comes after so many more.
    Commits(usize),
}

fn case() -> impl Strategy<Value = Case> {
    let step = prop_oneof![
        12 => vec(request(Vec::new()), 1..8).prop_map(Step::Ask),
        1 => (1_usize..4).prop_map(|times| {
            Step::Ask(vec![[Request::Demote, Request::Promote]; times].concat())
        }),
        3 => Just(Step::Due),
        2 => (0_u64..2_000).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        1 => (0_usize..8).prop_map(|outputs| Step::Crash(Fuse::Outputs(outputs))),
        1 => (0_usize..3).prop_map(|commits| Step::Crash(Fuse::Commits(commits))),
    ];
    (settings(), any::<bool>(), vec(step, 1..40)).prop_map(|(settings, keeps, steps)| Case {
        settings,
        keeps,
        steps,
    })
}

// The host

struct Host<D: Disk> {
    settings: Settings,
    keeps: bool,
    planted: Planted,
    disk: D,
    store: D::Store,
    member: Member,
    log: LocalLog,
    ledger: Ledger,
    clock: Instant,
    tickets: u64,
    /// What a crash leaves by now.
    durable: Stored,
    /// What crashes during the latest output would have left, and before it, latest last.
    images: Vec<D>,
    fuse: Option<Fuse>,
    seen: Seen,
}

impl<D: Disk> Host<D> {
    fn new(case: Case, planted: Planted) -> Result<Self, TestCaseError> {
        let mut disk = D::new(planted);
        let mut store = disk.mount();
        disk.images();
        let durable = store.load().expect("it is new");
        let member = open(&durable, &case.settings.config())?;
        let mut host = Self {
            settings: case.settings,
            keeps: case.keeps,
            planted,
            disk,
            store,
            member,
            log: LocalLog::new(),
            ledger: Ledger::new(),
            clock: Instant::ZERO,
            tickets: 0,
            durable,
            images: Vec::new(),
            fuse: None,
            seen: Seen::default(),
        };
        host.log.start(LogIndex(0));
        host.drain()?;
        Ok(host)
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        self.count("steps");
        match step {
            Step::Ask(requests) => {
                for request in requests {
                    let request = self.meant(request);
                    self.tickets += 1;
                    let ticket = Ticket(self.tickets);
                    self.ledger.ask(ticket, &request);
                    self.member.request(self.clock, ticket, request);
                }
            }
            Step::Due => {
                self.clock = self.member.poll_timeout().unwrap_or(self.clock).max(self.clock);
            }
            Step::Pass(span) => self.clock = self.clock.saturating_add(*span),
            Step::Crash(fuse) => self.fuse = Some(*fuse),
        }
        if self.member.poll_timeout().is_some_and(|due| due <= self.clock) {
            self.member.handle_timeout(self.clock);
        }
        self.drain()
    }

    /// A request for the lease -1 means the latest one of which a member has picked the id.
    fn meant(&self, request: &Request) -> Request {
        let latest = self.ledger.history.behind(0).iter().rev().find_map(picked);
        let mut request = request.clone();
        if let Request::Revoke { id }
        | Request::Renew { id }
        | Request::Attach { id, .. }
        | Request::Detach { id, .. }
        | Request::Claim { id, .. }
        | Request::Lookup { id }
        | Request::TimeToLive { id }
        | Request::Items { id, .. } = &mut request
            && id.get() == -1
        {
            *id = latest.unwrap_or(*id);
        }
        request
    }

    /// Does all that there is to do, unless the process dies meanwhile.
    fn drain(&mut self) -> TestCaseResult {
        loop {
            let mut outputs: VecDeque<Output> =
                std::iter::from_fn(|| self.member.poll_output()).collect();
            if self.planted == Planted::AnswerBeforeCommit {
                // It is told too early that the commit is durable.
                self.member.handle_persisted(self.clock, self.member.applied());
                outputs.extend(std::iter::from_fn(|| self.member.poll_output()));
                let is_late = |output: &Output| !matches!(output, Output::Answer { .. });
                outputs.make_contiguous().sort_by_key(is_late);
            } else if self.tickets.is_multiple_of(2) {
                // What needs no disk is done while the commit is on its way.
                let is_commit = |output: &Output| matches!(output, Output::Commit(_));
                outputs.make_contiguous().sort_by_key(is_commit);
            }
            if outputs.is_empty() {
                let Some(event) = next(&mut self.log) else { return Ok(()) };
                self.hear(event)?;
            }
            while let Some(output) = outputs.pop_front() {
                let commits = matches!(output, Output::Commit(_));
                self.execute(output)?;
                match &mut self.fuse {
                    Some(Fuse::Outputs(0)) => return self.crash(false),
                    Some(Fuse::Commits(0)) if commits => return self.crash(true),
                    Some(Fuse::Outputs(left)) => *left -= 1,
                    Some(Fuse::Commits(left)) => *left -= usize::from(commits),
                    None => {}
                }
            }
        }
    }

    fn hear(&mut self, event: LogEvent) -> TestCaseResult {
        if let LogEvent::Committed(entries) = &event {
            self.ledger.commit(&self.planted.commit(entries.clone()))?;
        }
        let input = MemberInput::from(event);
        self.member.handle_input(self.clock, input).expect("nothing is installed");
        while self.member.is_applying() {
            self.member.go_on(self.clock);
        }
        Ok(())
    }

    /// Does one thing, and looks at what a crash would leave.
    fn execute(&mut self, output: Output) -> TestCaseResult {
        self.count("outputs");
        self.images = vec![self.disk.durable()];
        match output {
            Output::Propose(mut proposal) => {
                self.planted.propose(&mut proposal, &self.ledger);
                self.log.propose(proposal);
            }
            Output::Confirm(confirmation) => self.log.confirm(confirmation),
            Output::Campaign => self.log.campaign(),
            Output::Resign => self.log.resign(),
            Output::Commit(mut transaction) => {
                if transaction.changes.len() > 2 {
                    self.count("commit of many");
                }
                self.log.applied(transaction.applied);
                if let Some(half) = self.planted.half_of(&mut transaction) {
                    self.store.commit(half).expect("it follows");
                }
                let applied = transaction.applied;
                commit_once(&mut self.store, transaction)?;
                self.member.handle_persisted(self.clock, applied);
            }
            Output::Answer { ticket, answer } => {
                self.count("answer");
                for _ in 0..self.planted.times() {
                    self.ledger.answer(ticket, &answer, self.durable.applied.0)?;
                }
            }
            Output::Expired(_) => self.count("expired"),
            Output::Waits(_) => self.count("waits"),
        }
        self.images.extend(self.disk.images());
        for position in 1..self.images.len() {
            let copy = self.images[position].durable();
            self.durable = copy.mount().load().expect("what is synced can be read");
            self.look()?;
        }
        self.look()
    }

    fn look(&mut self) -> TestCaseResult {
        self.count("crashes looked at");
        self.ledger.judge(&self.durable, &self.settings.config(), self.planted)
    }

    /// The process dies, and another begins with what is durable.
    fn crash(&mut self, torn: bool) -> TestCaseResult {
        self.count("crash");
        let latest = self.images.len().saturating_sub(1 + usize::from(torn));
        if torn {
            self.count("torn commit");
        }
        self.disk = self.images[latest].durable();
        if self.planted == Planted::LosesMore {
            self.disk = D::new(self.planted);
        }
        self.store = self.disk.mount();
        self.disk.images();
        self.durable = self.store.load().expect("what is synced can be read");
        self.look()?;
        self.ledger.crash(&self.durable, self.keeps);
        self.member = open(&self.durable, &self.settings.config())?;
        self.clock = Instant::ZERO;
        self.fuse = None;

        let LogIndex(applied) = self.durable.applied;
        if self.ledger.history.len() > applied {
            self.count("entries again");
        }
        let entries = self.ledger.history.behind(applied.saturating_sub(2)).to_vec();
        self.member.handle_committed(self.clock, entries);
        while self.member.is_applying() {
            self.member.go_on(self.clock);
        }
        self.log = LocalLog::new();
        self.log.start(LogIndex(self.ledger.history.len()));
        self.drain()
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }
}

/// The next event of a log that needs no waiting.
fn next(log: &mut LocalLog) -> Option<LogEvent> {
    match pin!(log.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    }
}
