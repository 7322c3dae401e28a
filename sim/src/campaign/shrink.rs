//! From a scenario that fails to a short one that fails in the same way.
//!
//! A change is kept if the scenario still breaks the same property, from its own seed or from one of
//! a few others: whatever is taken away shifts every chance behind it. Each change makes the scenario
//! simpler by some measure, so that this ends.
#![expect(
    clippy::disallowed_methods,
    reason = "candidates are replayed on all cores, in real time, around the replays"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "some kinds of faults have nothing weaker")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use lessor::{Config, LeaseId, MemberId, Request, Ttl};

use super::pool;
use super::seeds::fingerprint;
use crate::host::{Options, Testbed};
use crate::scenario::{
    Action, Clocks, Crash, CrashWhen, DELAYS, Delays, Disks, Ending, Fault, Herd, Network,
    PartName, Scenario, Signed, Span, Unsynced, Upkeep,
};

/// How long to try, and on how many cores.
#[derive(Clone, Debug)]
pub struct Budget {
    /// After this time no candidate is begun, and those that are under way are given up.
    pub time: Duration,
    /// How many replays run at a time; by default one a core.
    pub jobs: Option<u16>,
    /// Set by whoever wants what there is so far.
    pub interrupted: Arc<AtomicBool>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The shortest scenario that was found.
    pub scenario: Scenario,
    /// How many candidates were tried.
    pub tried: u64,
    /// Whether nothing more can be taken away, rather than the time being over.
    pub complete: bool,
}

/// Shrinks a scenario that fails with this fingerprint, and calls `progress` with what is left whenever
/// something was taken away.
pub fn shrink(
    testbed: &Testbed,
    scenario: &Scenario,
    goal: &str,
    budget: &Budget,
    progress: impl Fn(&Scenario),
) -> Shrunk {
    let fails = |candidate: &Scenario, give_up: &Arc<AtomicBool>| {
        let options = Options { give_up: Some(give_up.clone()), ..Options::default() };
        fingerprint(&testbed.replay_with(candidate, &options)) == goal
    };
    shrink_by(scenario, budget, fails, progress)
}

/// As [`shrink`], with another idea of what a failure is. It is told a flag that is set when the answer
/// does not matter any more.
pub fn shrink_by(
    scenario: &Scenario,
    budget: &Budget,
    fails: impl Fn(&Scenario, &Arc<AtomicBool>) -> bool + Sync,
    progress: impl Fn(&Scenario),
) -> Shrunk {
    let (over, end) = (Arc::new(AtomicBool::new(false)), Instant::now() + budget.time);
    let mut search = Search {
        best: scenario.clone(),
        fails,
        progress,
        jobs: budget.jobs,
        over: over.clone(),
        tried: 0,
    };
    let (done, is_done) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let ends = || budget.interrupted.load(Ordering::Relaxed) || Instant::now() >= end;
            while !ends() && is_done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {}
            over.store(true, Ordering::Relaxed);
        });
        let complete = search.search();
        drop(done);
        Shrunk { complete, tried: search.tried, scenario: search.best }
    })
}

struct Search<F, P> {
    best: Scenario,
    fails: F,
    progress: P,
    jobs: Option<u16>,
    /// Set when the time is over.
    over: Arc<AtomicBool>,
    tried: u64,
}

impl<F: Fn(&Scenario, &Arc<AtomicBool>) -> bool + Sync, P: Fn(&Scenario)> Search<F, P> {
    /// Takes away what can go, and says whether that is all there is.
    fn search(&mut self) -> bool {
        while !self.is_over() {
            let before = self.best.clone();
            self.steps();
            self.each(herds);
            self.each(members);
            self.each(weaker);
            self.each(settings);
            self.each(times);
            if self.best == before {
                return !self.is_over();
            }
        }
        false
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Takes the candidate if it fails from any of its seeds, the earliest of them.
    fn accepts(&mut self, candidate: &Scenario) -> bool {
        if *candidate == self.best || self.is_over() {
            return false;
        }
        self.tried += 1;
        let with_seed = |position: u64| {
            let seed = if position == 0 { candidate.seed } else { position };
            Scenario { seed, ..candidate.clone() }
        };
        let found = AtomicU64::new(u64::MAX);
        let (fails, over) = (&self.fails, &self.over);
        pool::each(self.jobs, |seed| {
            let more = seed < SEEDS.min(found.load(Ordering::Relaxed));
            if !more || over.load(Ordering::Relaxed) {
                return false;
            }
            if fails(&with_seed(seed), over) {
                found.fetch_min(seed, Ordering::Relaxed);
            }
            true
        });
        let found = found.into_inner();
        if found < SEEDS {
            self.best = with_seed(found);
            (self.progress)(&self.best);
        }
        found < SEEDS
    }

    /// Takes away as many steps as possible, first by halves, last one by one (ddmin).
    fn steps(&mut self) {
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.steps.len() {
                let mut candidate = self.best.clone();
                let to = (from + size).min(candidate.steps.len());
                candidate.steps.drain(from..to);
                if !self.accepts(&candidate) {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    /// Tries simpler scenarios of a kind until none of them fails.
    fn each(&mut self, simpler: impl Fn(&Scenario) -> Vec<Scenario>) {
        let mut position = 0;
        while let Some(candidate) = simpler(&self.best).into_iter().nth(position) {
            // After a change the candidates are others, but those before this position still fail.
            if !self.accepts(&candidate) {
                position += 1;
            }
        }
    }
}

/// Fewer herds, with fewer lessees that do less.
fn herds(scenario: &Scenario) -> Vec<Scenario> {
    let mut simpler = Vec::new();
    for position in 0..scenario.herds.len() {
        let mut without = scenario.clone();
        without.herds.remove(position);
        simpler.push(without);
        let mut change = |change: &dyn Fn(&mut Herd)| {
            let mut candidate = scenario.clone();
            change(&mut candidate.herds[position]);
            if candidate != *scenario {
                simpler.push(candidate);
            }
        };
        // Any of them may be the one that matters.
        let leases = scenario.herds[position].leases;
        let (half, quarter) = (leases / 2, leases / 4);
        for (from, to) in [
            (0, half),
            (half, leases),
            (0, leases - quarter),
            (quarter, leases),
            (0, leases - 1),
            (1, leases),
        ] {
            if from < to && to - from < leases {
                change(&|herd| *herd = part(herd, from, to));
            }
        }
        change(&|herd| herd.leases = 1);
        change(&|herd| herd.items = 0);
        change(&|herd| herd.over = Duration::ZERO);
        change(&|herd| herd.renew_every = None);
        change(&|herd| herd.until = None);
        change(&|herd| herd.patience = None);
        change(&|herd| herd.drift_ppm = None);
        change(&|herd| (herd.keep_alive, herd.drift_ppm) = (false, None));
    }
    simpler
}

/// Those of a herd from one number to another, who act when they did.
fn part(herd: &Herd, from: u32, to: u32) -> Herd {
    let begin = |number: u32| {
        let at = herd.over * number / herd.leases;
        // A file has whole milliseconds.
        Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX))
    };
    let first = herd.first_lease.get() + i64::from(from);
    Herd {
        leases: to - from,
        first_lease: LeaseId::new(first).expect("a herd has no lease 0"),
        start: herd.start + begin(from),
        over: begin(to) - begin(from),
        ..herd.clone()
    }
}

/// Fewer members: steps that name one who is gone go too, or name another.
fn members(scenario: &Scenario) -> Vec<Scenario> {
    let mut simpler = Vec::new();
    for members in (1..scenario.members).take(3) {
        let most = u64::from(members);
        let mut without = Scenario { members, ..scenario.clone() };
        let gone = |action: &mut Action| action.members_mut().iter().any(|member| member.0 > most);
        without.steps.retain_mut(|step| !gone(&mut step.action));
        without.clocks.members.retain(|clock| clock.member.0 <= most);
        without.ending = without.ending.map(|ending| Ending { core: Vec::new(), ..ending });
        let mut renamed = Scenario { steps: scenario.steps.clone(), ..without.clone() };
        renamed.steps.iter_mut().for_each(|step| step.action.fold_members(most));
        simpler.extend([without, renamed]);
    }
    simpler
}

/// The same faults, milder; the same requests, plainer.
fn weaker(scenario: &Scenario) -> Vec<Scenario> {
    let mut simpler = Vec::new();
    for (position, step) in scenario.steps.iter().enumerate() {
        for action in weaker_than(&step.action) {
            let mut candidate = scenario.clone();
            candidate.steps[position].action = action;
            simpler.push(candidate);
        }
    }
    simpler
}

fn weaker_than(action: &Action) -> Vec<Action> {
    let fault = |fault| vec![Action::Fault(fault)];
    match action {
        Action::Ask { request, member, lessee, answer, patience } => {
            let ask = |request: Request, member| Action::Ask {
                request,
                member,
                lessee: None,
                answer: *answer,
                patience: *patience,
            };
            let mut weaker = Vec::new();
            if patience.is_some() {
                weaker.push(Action::Ask {
                    request: request.clone(),
                    member: *member,
                    lessee: lessee.clone(),
                    answer: *answer,
                    patience: None,
                });
            }
            if member.is_some() && !matches!(request, Request::Promote | Request::Demote) {
                weaker.push(ask(request.clone(), None));
            }
            if lessee.is_some() {
                weaker.push(ask(request.clone(), *member));
            }
            if let Request::Grant { id, ttl } = request {
                let round = [1, 2, 5, 10, 30].map(Ttl::from_secs);
                if !round.contains(ttl) {
                    let round = round.into_iter().filter(|round| round < ttl);
                    let rounder = round.map(|ttl| ask(Request::Grant { id: *id, ttl }, *member));
                    weaker.extend(rounder);
                }
            }
            if let Request::Attach { id, items } = request
                && items.len() > 1
            {
                let items = items[..1].to_vec();
                weaker.push(ask(Request::Attach { id: *id, items }, *member));
            }
            if let Request::Claim { id, items } = request
                && items.len() > 1
            {
                let items = items[..1].to_vec();
                weaker.push(ask(Request::Claim { id: *id, items }, *member));
            }
            weaker
        }
        Action::Fault(Fault::Crash(crash)) => {
            let mut weaker = fault(Fault::Kill { member: crash.member });
            let unsynced: &[Unsynced] = match crash.unsynced {
                Unsynced::Tear => &[Unsynced::Keep, Unsynced::Drop],
                Unsynced::Drop => &[Unsynced::Keep],
                Unsynced::Keep => &[],
            };
            for unsynced in unsynced {
                let milder = Crash { unsynced: *unsynced, ..*crash };
                weaker.extend(fault(Fault::Crash(milder)));
            }
            if crash.when != CrashWhen::Now {
                let plainer = Crash { when: CrashWhen::Now, disk_operation: 1, ..*crash };
                weaker.extend(fault(Fault::Crash(plainer)));
            }
            weaker
        }
        Action::Fault(fault) => weaker_fault(fault).into_iter().map(Action::Fault).collect(),
    }
}

/// Down the lattice: a partition → one member → one direction → a delay; some of many → one; for ever
/// → for a while.
fn weaker_fault(fault: &Fault) -> Vec<Fault> {
    let mut weaker = match fault.clone() {
        Fault::Partition { side, span } => {
            side.into_iter().map(|member| Fault::Isolate { member, span }).collect()
        }
        Fault::Isolate { member, span } => {
            let other = MemberId(if member.0 == 1 { 2 } else { 1 });
            let one_way = |from, to| Fault::Block { from, to, span };
            vec![one_way(member, other), one_way(other, member)]
        }
        Fault::Block { from, to, span } => {
            vec![Fault::Delay { from, to, by: SECOND, span }]
        }
        Fault::Stop { member } => vec![Fault::Kill { member }],
        Fault::Kill { member } => vec![Fault::Pause { member, span: SECOND }],
        Fault::ReplaceDisk { member } | Fault::PutBack { member } | Fault::Abort { member } => {
            vec![Fault::Kill { member }]
        }
        Fault::Rot { member, pages } if pages > 1 => vec![Fault::Rot { member, pages: 1 }],
        Fault::Jump { member, by } if by.span >= Span(Duration::from_secs(2)) => {
            vec![Fault::Jump { member, by: Signed { span: half(by.span), ..by } }]
        }
        _ => Vec::new(),
    };
    let mut rarer = fault.clone();
    if let Some(count) = rarer.count_mut().filter(|count| **count > 1) {
        *count = 1;
        weaker.push(rarer);
    }
    let mut shorter = fault.clone();
    if let Some(Some(span)) = shorter.span_mut().filter(|span| **span > Some(SECOND)) {
        *span = half(*span);
        weaker.push(shorter);
    }
    weaker
}

/// Half of it, in whole seconds.
fn half(span: Span) -> Span {
    Span(Duration::from_secs(span.0.as_secs() / 2))
}

const SECOND: Span = Span(Duration::from_secs(1));

/// Settings at their defaults, and ids that do not stand out.
fn settings(scenario: &Scenario) -> Vec<Scenario> {
    let default = Config::default().with_hash_key(scenario.config.hash_key);
    let mut simpler = Vec::new();
    let mut change = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        if candidate != *scenario {
            simpler.push(candidate);
        }
    };
    change(&|s| s.config = default.clone());
    change(&|s| s.config.min_ttl = default.min_ttl);
    change(&|s| s.config.revoke_rate = default.revoke_rate);
    change(&|s| s.config.retry_interval = default.retry_interval);
    change(&|s| s.config.checkpoint_interval = default.checkpoint_interval);
    change(&|s| s.config.extend = default.extend);
    change(&|s| s.config.request_timeout = default.request_timeout);
    change(&|s| s.config.subscriber_patience = default.subscriber_patience);
    change(&|s| s.config.queue = default.queue);
    change(&|s| s.config.piece = default.piece);
    change(&|s| s.store = PartName::REDB);
    change(&|s| s.host = PartName::DRIVER);
    change(&|s| s.clocks = Clocks::default());
    change(&|s| s.disks = Disks::default());
    change(&|s| s.network = Network::default());
    change(&|s| s.network.loss_ppm = 0);
    change(&|s| s.network.duplicate_ppm = 0);
    change(&|s| s.network.jitter = Duration::ZERO);
    change(&|s| s.upkeep = Upkeep::default());
    change(&|s| s.upkeep.compact_every = None);
    change(&|s| s.ending = None);
    change(&|s| s.ending.iter_mut().for_each(|ending| ending.core.clear()));
    change(&|s| s.log = DELAYS);
    change(&|s| s.log = Delays { commit: DELAYS.commit, ..s.log });
    change(&|s| s.log = Delays { apply: DELAYS.apply, ..s.log });
    change(&|s| s.log = Delays { confirm: DELAYS.confirm, ..s.log });
    for (hostile, plain) in [(i64::MAX, 20), (i64::MIN, 21), (-1, 22), (1, 23)] {
        let (hostile, plain) = (LeaseId::new(hostile), LeaseId::new(plain));
        change(&|s| {
            for step in &mut s.steps {
                if let Action::Ask { request, .. } = &mut step.action
                    && let Some(id) = lease_of(request)
                    && Some(*id) == hostile
                {
                    *id = plain.expect("it is not 0");
                }
            }
        });
    }
    simpler
}

fn lease_of(request: &mut Request) -> Option<&mut LeaseId> {
    match request {
        Request::Grant { id, .. } => id.as_mut(),
        Request::Revoke { id }
        | Request::Renew { id }
        | Request::Attach { id, .. }
        | Request::Detach { id, .. }
        | Request::Claim { id, .. }
        | Request::Lookup { id }
        | Request::TimeToLive { id }
        | Request::Items { id, .. } => Some(id),
        Request::GrantOnce { .. }
        | Request::Leases { .. }
        | Request::LeaseOf { .. }
        | Request::Promote
        | Request::Demote => None,
    }
}

/// An earlier end, shorter waits, and times in whole seconds.
fn times(scenario: &Scenario) -> Vec<Scenario> {
    let mut simpler = Vec::new();
    let last = scenario.steps.last().map_or(Duration::ZERO, |step| step.at);
    for duration in [scenario.duration / 2, scenario.duration * 9 / 10] {
        let duration = Duration::from_secs(duration.as_secs().max(last.as_secs() + 1));
        if duration < scenario.duration {
            let mut candidate = Scenario { duration, ..scenario.clone() };
            candidate.ending = candidate.ending.filter(|ending| ending.at < duration);
            candidate.herds.retain(|herd| herd.start + herd.over <= duration);
            for herd in &mut candidate.herds {
                herd.until = herd.until.map(|until| until.min(duration));
            }
            simpler.push(candidate);
        }
    }
    simpler.extend(sooner(scenario));
    let round = |at: Duration| Duration::from_secs(at.as_secs());
    let shift = |from: usize, by: Duration| {
        let mut candidate = scenario.clone();
        for step in &mut candidate.steps[from..] {
            step.at -= by;
        }
        candidate
    };
    let mut before = Duration::ZERO;
    for (position, step) in scenario.steps.iter().enumerate() {
        let gap = step.at - before;
        for by in [gap, gap / 2] {
            if by >= Duration::from_millis(1) {
                let by = Duration::from_millis(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
                simpler.push(shift(position, by));
            }
        }
        if round(step.at) > before && round(step.at) < step.at {
            simpler.push(shift(position, step.at - round(step.at)));
        }
        if let Action::Fault(Fault::Pause { member, span: Span(span) }) = step.action {
            for shorter in [round(span / 2), round(span)] {
                if !shorter.is_zero() && shorter < span {
                    let mut candidate = scenario.clone();
                    let pause = Fault::Pause { member, span: Span(shorter) };
                    candidate.steps[position].action = Action::Fault(pause);
                    simpler.push(candidate);
                }
            }
        }
        before = step.at;
    }
    simpler
}

/// All of it, without the wait before anything happens.
fn sooner(scenario: &Scenario) -> Option<Scenario> {
    if !scenario.expects.is_empty() {
        // What is expected of a moment would be expected of another one.
        return None;
    }
    let steps = scenario.steps.iter().map(|step| step.at);
    let first = steps.chain(scenario.herds.iter().map(|herd| herd.start)).min()?;
    let by = Duration::from_secs(first.as_secs().checked_sub(1).filter(|secs| *secs > 0)?);
    let mut sooner =
        Scenario { duration: scenario.duration.saturating_sub(by), ..scenario.clone() };
    for step in &mut sooner.steps {
        step.at -= by;
    }
    for herd in &mut sooner.herds {
        herd.start -= by;
        herd.until = herd.until.map(|until| until.saturating_sub(by));
    }
    sooner.ending =
        sooner.ending.map(|ending| Ending { at: ending.at.saturating_sub(by), ..ending });
    Some(sooner)
}

/// From so many seeds a candidate is tried: from one the search gets stuck at several times the size.
const SEEDS: u64 = 16;
/// So often it is looked whether the time is over.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    fn budget(time: Duration) -> Budget {
        Budget { time, jobs: Some(1), interrupted: Arc::default() }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn grants(scenario: &Scenario) -> usize {
        let grant =
            |action: &Action| matches!(action, Action::Ask { request: Request::Grant { .. }, .. });
        scenario.steps.iter().filter(|step| grant(&step.action)).count()
    }

    fn crashes(scenario: &Scenario) -> usize {
        let crash = |action: &Action| matches!(action, Action::Fault(Fault::Crash(_)));
        scenario.steps.iter().filter(|step| crash(&step.action)).count()
    }

    #[test]
    fn everything_that_a_failure_does_not_need_is_taken_away() {
        let seed = (0..).find(|seed| {
            let scenario = generate(*seed);
            grants(&scenario) > 5 && crashes(&scenario) > 1 && scenario.members > 1
        });
        let drawn = generate(seed.expect("there is one"));
        let scenario = Scenario { twins: true, commits_twice: true, ..drawn };
        let fails = |candidate: &Scenario, _: &_| grants(candidate) >= 2 && crashes(candidate) >= 1;
        let shrunk = shrink_by(&scenario, &budget(MINUTE), fails, |_| {});
        let found = shrunk.scenario;
        assert!(shrunk.complete);
        assert_eq!((found.steps.len(), found.members, found.herds.len()), (3, 1, 0), "{found:?}");
        assert_eq!((found.log, &found.config.extend), (DELAYS, &Config::default().extend));
        assert_eq!(found.steps[2].at, Duration::ZERO);
        assert_eq!(found.duration, Duration::from_secs(1));
        assert!(found.twins && found.commits_twice, "what judges it stays");
        let text = found.to_toml();
        assert_eq!(Scenario::parse(format!("{}.toml", found.name), &text).expect("it is"), found);
    }

    #[test]
    fn a_failure_that_needs_luck_is_followed_to_another_seed() {
        let scenario = generate(3);
        let fails = |candidate: &Scenario, _: &_| {
            candidate.steps.len() == scenario.steps.len() || candidate.seed == 7
        };
        let shrunk = shrink_by(&scenario, &budget(MINUTE), fails, |_| {});
        assert_eq!((shrunk.scenario.seed, shrunk.scenario.steps.len()), (7, 0));
    }

    const HERD: &str = "schema = 1\nduration = \"60s\"\n[[herd]]\nname = \"session\"\n\
        leases = 96\nfirst_lease = 1000\nttl = \"9s\"\nstart = \"1s\"\nover = \"48s\"\n";

    #[test]
    fn of_a_herd_the_one_lease_that_matters_is_left() {
        let scenario = Scenario::parse("herd.toml", HERD).expect("it is one");
        let lease = LeaseId::new(1_077);
        let fails = |candidate: &Scenario, _: &_| {
            let holds =
                |herd: &Herd| (Some(herd.first_lease)..=Some(herd.last_lease())).contains(&lease);
            candidate.herds.iter().any(holds)
        };
        let shrunk = shrink_by(&scenario, &budget(MINUTE), fails, |_| {}).scenario;
        assert_eq!((shrunk.herds[0].leases, Some(shrunk.herds[0].first_lease)), (1, lease));
        assert_eq!(shrunk.herds[0].start, Duration::from_millis(1_500), "and soon");
        let moved = part(&scenario.herds[0], 77, 78);
        assert_eq!(moved.start, Duration::from_millis(39_500), "it begins when it did");
    }

    /// A candidate that never ends is told to give up, and the search with it.
    #[test]
    fn a_search_ends_when_its_time_is_over_whatever_is_under_way() {
        let scenario = generate(3);
        let never = |_: &Scenario, give_up: &Arc<AtomicBool>| {
            while !give_up.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            false
        };
        let shrunk = shrink_by(&scenario, &budget(Duration::from_millis(1)), never, |_| {});
        assert!(!shrunk.complete && shrunk.tried <= 1, "{}", shrunk.tried);
        assert_eq!(shrunk.scenario, scenario);
    }
}
