//! A campaign over seeds: each is drawn, replayed on a thread of its own and judged; what failed is
//! replayed again in a fresh process, and so is one seed in twenty.
//!
//! What a campaign found is a [`Tally`], which shards write to files and [`Tally::merge`] joins.
#![expect(
    clippy::disallowed_methods,
    reason = "a campaign runs on real threads and processes, in real time, around the replays"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::pool;
use crate::host::Testbed;
use crate::record::coverage::MARKS;
use crate::record::report::{Injected, Report, Verdict};

/// Which seeds, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first seed.
    pub start: u64,
    /// How many follow each other; by default all up to the last one there is.
    pub seeds: Option<u64>,
    /// Only those of this shard, counted from 1, of so many.
    pub shard: (u64, u64),
    /// How many at a time; by default one a core.
    pub jobs: Option<u16>,
    /// When to begin no more.
    pub time: Option<Duration>,
    /// Whether to go on however many failures there are.
    pub keep_going: bool,
    /// The program that replays a seed in a process of its own: `PROGRAM replay SEED --json -`.
    pub program: PathBuf,
    /// What replays them here.
    pub testbed: Testbed,
}

impl Plan {
    /// Which campaign this is a shard of.
    #[must_use]
    pub fn campaign(&self) -> CampaignId {
        CampaignId {
            start: self.start,
            seeds: self.seeds,
            of: self.shard.1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generator: generator(&self.testbed),
        }
    }

    /// The seeds in their order: those of its shard, and none behind the last one there is.
    fn seed(&self, number: u64) -> Option<u64> {
        let (shard, shards) = self.shard;
        let position = number.checked_mul(shards)?.checked_add(shard - 1)?;
        let wanted = self.seeds.is_none_or(|seeds| position < seeds);
        self.start.checked_add(position).filter(|_| wanted)
    }
}

/// What all shards of a campaign have in common.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CampaignId {
    /// The first seed.
    pub start: u64,
    /// How many seeds follow each other, over all shards; none if only their time was limited.
    pub seeds: Option<u64>,
    /// How many shards there are.
    pub of: u64,
    /// The version of the simulator.
    pub version: String,
    /// A hash of what the generator draws from a few seeds: another generator makes other campaigns.
    pub generator: String,
}

impl CampaignId {
    /// What of another campaign is not the same, as half a sentence.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let seeds = |seeds: &Option<u64>| {
            seeds
                .map_or("without a number of seeds".to_owned(), |seeds| format!("of {seeds} seeds"))
        };
        let parts = [
            ("it starts at", self.start.to_string(), other.start.to_string()),
            ("it is", seeds(&self.seeds), seeds(&other.seeds)),
            ("it is in shards:", self.of.to_string(), other.of.to_string()),
            ("it is of the version", self.version.clone(), other.version.clone()),
            ("its generator is", self.generator.clone(), other.generator.clone()),
        ];
        let differs = parts.into_iter().find(|(_, one, other)| one != other);
        differs.map(|(what, one, other)| format!("{what} {other}, not {one}"))
    }
}

/// What tells this generator from another one.
fn generator(testbed: &Testbed) -> String {
    let mut hasher = twox_hash::xxhash3_128::Hasher::new();
    for seed in 0..SAMPLE {
        hasher.write(testbed.scenario(seed).to_toml().as_bytes());
    }
    format!("{:032x}", hasher.finish_128())
}

/// Why a campaign has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All its seeds, or its time, are over.
    #[default]
    Done,
    /// There were too many failures.
    Failures,
    /// It was interrupted.
    Interrupted,
}

/// Why results of shards are not those of a whole campaign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MergeError {
    /// Something of the other one is not the same, in words.
    OtherCampaign(String),
    /// Both have this shard.
    ShardTwice(u64),
    /// Both have this seed.
    SeedTwice(u64),
}

/// What came of one seed. Equal replays differ only in `wall_us`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The hash of its trace.
    pub hash: String,
    /// The word of its verdict.
    pub verdict: String,
    /// What tells it from other failures; empty if it is clean.
    pub fingerprint: String,
    /// What was found, as sentences.
    pub findings: Vec<String>,
    /// Events, shown or not.
    pub events: u64,
    /// Virtual time that passed.
    pub virtual_ms: u64,
    /// Real time that it took.
    pub wall_us: u64,
}

/// What came of many seeds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The version of this format.
    pub schema: u64,
    /// Of which campaign it is.
    pub campaign: CampaignId,
    /// Which of its shards are in it, counted from 1; of a whole campaign only 1 of 1.
    pub shards: Vec<u64>,
    /// Why it has ended; of several shards the gravest.
    pub ended: Ended,
    /// Each seed, in order.
    pub seeds: Vec<Outcome>,
    /// How often each property was judged.
    pub judged: BTreeMap<String, u64>,
    /// How often each kind of fault was ordered, and met something.
    pub faults: BTreeMap<String, Injected>,
    /// How often each of [`MARKS`] was reached.
    #[serde(default)]
    pub marks: BTreeMap<String, u64>,
    /// The lowest seed that reached each of [`MARKS`] that was reached.
    #[serde(default)]
    pub first_reached: BTreeMap<String, u64>,
    /// What was not judged, because the host does not show it: ids of properties, faults and marks.
    #[serde(default)]
    pub hidden: BTreeSet<String>,
    /// How many requests of lessees were answered with success.
    pub acknowledged: u64,
    /// How many seeds were replayed in a fresh process as well.
    pub verified: u64,
    /// Real time of the whole campaign, added up over shards.
    pub wall_ms: u64,
}

/// Runs a campaign until all its seeds are done, its time is over, there are too many failures, or
/// `interrupted` is set. Calls `begun` with each seed, and `done` with what came of it and with how many
/// failures there are so far.
pub fn fuzz(
    plan: &Plan,
    interrupted: &AtomicBool,
    begun: impl Fn(u64) + Sync,
    done: impl Fn(&Outcome, &Report, usize) + Sync,
) -> Tally {
    let start = Instant::now();
    let tally = Mutex::new(Tally::default());
    let failures = Mutex::new(BTreeMap::<String, u64>::new());
    let too_many = || {
        let failures = failures.lock().unwrap_or_else(PoisonError::into_inner).len();
        !plan.keep_going && failures >= MOST_FAILURES
    };
    let enough = || {
        interrupted.load(Ordering::Relaxed)
            || plan.time.is_some_and(|time| start.elapsed() >= time)
            || too_many()
    };
    pool::each(plan.jobs, |number| {
        let Some(seed) = plan.seed(number).filter(|_| !enough()) else { return false };
        begun(seed);
        let (outcome, report, verified) = run(plan, seed);
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        if !outcome.fingerprint.is_empty() {
            *failures.entry(outcome.fingerprint.clone()).or_default() += 1;
        }
        let count = failures.len();
        drop(failures);
        done(&outcome, &report, count);
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(outcome, &report, verified);
        true
    });
    let ended = match (interrupted.load(Ordering::Relaxed), too_many()) {
        (true, _) => Ended::Interrupted,
        (false, true) => Ended::Failures,
        (false, false) => Ended::Done,
    };
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.seeds.sort_by_key(|outcome| outcome.seed);
    tally.schema = SCHEMA;
    (tally.campaign, tally.shards, tally.ended) = (plan.campaign(), vec![plan.shard.0], ended);
    tally.wall_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    tally
}

/// Replays a seed, and says whether a fresh process was asked as well.
fn run(plan: &Plan, seed: u64) -> (Outcome, Report, bool) {
    let begin = Instant::now();
    let report = plan.testbed.replay(&plan.testbed.scenario(seed));
    let mut outcome = Outcome::new(&report);
    outcome.wall_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let verify = !outcome.fingerprint.is_empty() || seed.is_multiple_of(VERIFIED);
    if verify {
        match elsewhere(&plan.program, seed, &[]) {
            Ok(there) if there.hash == outcome.hash => {}
            Ok(there) => outcome.nondeterministic(format!(
                "a fresh process gave the hash {}, this one {}",
                there.hash, outcome.hash
            )),
            Err(what) => outcome.nondeterministic(format!("a fresh process failed: {what}")),
        }
    }
    (outcome, report, verify)
}

/// What another process made of a seed.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Elsewhere {
    /// The hash of its trace.
    pub hash: String,
    /// The lines of its trace that are shown.
    pub trace: Vec<String>,
}

/// Replays a seed in a process of its own, by `PROGRAM replay SEED --json -`, and more arguments.
///
/// # Errors
///
/// Why there is no result, in words.
pub fn elsewhere(program: &Path, seed: u64, more: &[&str]) -> Result<Elsewhere, String> {
    let mut command = Command::new(program);
    command.args(["replay", &seed.to_string(), "--json", "-"]).args(more).stderr(Stdio::null());
    // Ctrl-C on a terminal ends all of its foreground group, and this seed would seem not to be determined.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", program.display());
    let output = command.output().map_err(|error| failed(&error))?;
    serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))
}

impl Outcome {
    fn new(report: &Report) -> Self {
        let verdict = report.verdict();
        let findings = report.findings().collect();
        Self {
            seed: report.seed,
            hash: report.trace.hash(),
            verdict: verdict.word().to_owned(),
            fingerprint: fingerprint(report),
            findings,
            events: report.trace.events(),
            virtual_ms: u64::try_from(report.virtual_time.as_millis()).unwrap_or(u64::MAX),
            wall_us: 0,
        }
    }

    fn nondeterministic(&mut self, finding: String) {
        Verdict::Nondeterminism.word().clone_into(&mut self.verdict);
        "nondeterminism".clone_into(&mut self.fingerprint);
        self.findings.insert(0, finding);
    }
}

/// What tells one failure from another: the property that was broken first, or where it panicked.
/// Empty if nothing failed.
#[must_use]
pub fn fingerprint(report: &Report) -> String {
    let fails = match report.verdict() {
        Verdict::Clean | Verdict::Stopped | Verdict::Vacuous => false,
        Verdict::Liveness | Verdict::Safety | Verdict::Nondeterminism | Verdict::Testbed => true,
    };
    match (&report.panic, report.violations.first()) {
        _ if !fails => String::new(),
        (Some(panic), _) => format!("panic-{}-{}", panic.file.replace('/', "-"), panic.line),
        (None, Some(violation)) => violation.property.id().to_owned(),
        (None, None) => "expectation".to_owned(),
    }
}

impl Tally {
    fn add(&mut self, outcome: Outcome, report: &Report, verified: bool) {
        self.seeds.push(outcome);
        for (property, judged) in report.judged.iter() {
            *self.judged.entry(property.id().to_owned()).or_default() += judged;
        }
        for (kind, injected) in &report.faults {
            let sum = self.faults.entry((*kind).to_owned()).or_default();
            sum.ordered += injected.ordered;
            sum.effective += injected.effective;
        }
        for ((_, name, _), count) in MARKS.iter().zip(report.marks) {
            *self.marks.entry((*name).to_owned()).or_default() += count;
            if count > 0 {
                self.reached(name, report.seed);
            }
        }
        self.hidden.extend(report.hidden.iter().map(ToString::to_string));
        self.acknowledged += report.acknowledged;
        self.verified += u64::from(verified);
    }

    /// A seed has reached a mark.
    fn reached(&mut self, mark: &str, seed: u64) {
        match self.first_reached.get_mut(mark) {
            Some(first) => *first = seed.min(*first),
            None => drop(self.first_reached.insert(mark.to_owned(), seed)),
        }
    }

    /// Joins the tally of other shards to this one.
    ///
    /// # Errors
    ///
    /// Why they are not parts of one whole; this one is then as it was.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError> {
        if let Some(what) = self.campaign.difference(&other.campaign) {
            return Err(MergeError::OtherCampaign(what));
        }
        if let Some(shard) = other.shards.iter().find(|shard| self.shards.contains(shard)) {
            return Err(MergeError::ShardTwice(*shard));
        }
        let known: BTreeSet<u64> = self.seeds.iter().map(|outcome| outcome.seed).collect();
        if let Some(twice) = other.seeds.iter().find(|outcome| known.contains(&outcome.seed)) {
            return Err(MergeError::SeedTwice(twice.seed));
        }
        self.shards.extend(other.shards);
        self.shards.sort_unstable();
        self.ended = self.ended.max(other.ended);
        self.seeds.extend(other.seeds);
        self.seeds.sort_by_key(|outcome| outcome.seed);
        for (id, judged) in other.judged {
            *self.judged.entry(id).or_default() += judged;
        }
        for (kind, injected) in other.faults {
            let sum = self.faults.entry(kind).or_default();
            sum.ordered += injected.ordered;
            sum.effective += injected.effective;
        }
        for (name, count) in other.marks {
            *self.marks.entry(name).or_default() += count;
        }
        for (name, seed) in other.first_reached {
            self.reached(&name, seed);
        }
        self.hidden.extend(other.hidden);
        self.acknowledged += other.acknowledged;
        self.verified += other.verified;
        self.wall_ms += other.wall_ms;
        Ok(())
    }

    /// The shards that are not in it. If none is missing, it becomes that of an undivided campaign.
    pub fn missing(&mut self) -> Vec<u64> {
        // A number of shards that nobody could name need not be counted up.
        let shards = &self.shards;
        let missing: Vec<_> = (1..=self.campaign.of)
            .filter(|shard| !shards.contains(shard))
            .take(MOST_NAMED)
            .collect();
        if missing.is_empty() {
            (self.campaign.of, self.shards) = (1, vec![1]);
        }
        missing
    }

    /// The failures by what tells them apart, those of the fewest events first.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        let mut failures = BTreeMap::<&str, Vec<&Outcome>>::new();
        for outcome in self.seeds.iter().filter(|outcome| !outcome.fingerprint.is_empty()) {
            failures.entry(&outcome.fingerprint).or_default().push(outcome);
        }
        for outcomes in failures.values_mut() {
            outcomes.sort_by_key(|outcome| (outcome.events, outcome.seed));
        }
        failures
    }

    /// What a campaign of this size should have done and has not, as sentences.
    #[must_use]
    pub fn vacuous(&self) -> Vec<String> {
        if self.seeds.len() < ENOUGH_SEEDS {
            return Vec::new();
        }
        let large = self.seeds.len() >= ENOUGH_FOR_MARKS;
        let shown = |name: &String| !self.hidden.contains(name);
        let faults = self.faults.iter().filter(|(_, injected)| injected.effective == 0);
        let faults = faults.filter(|(kind, _)| shown(kind));
        let faults = faults.map(|(kind, injected)| {
            format!(
                "the fault {kind} was ordered {} times and never met anything",
                injected.ordered
            )
        });
        let properties = self.judged.iter().filter(|(_, judged)| **judged == 0);
        let properties = properties.filter(|(id, _)| shown(id) && (large || *id != RARE));
        let properties = properties.map(|(id, _)| format!("the property {id} was never judged"));
        let marks = self.marks.iter().filter(|(_, count)| **count == 0);
        let marks = marks.filter(|(name, _)| shown(name) && large);
        let marks = marks.map(|(name, _)| format!("the mark {name} was never reached"));
        let silent = (self.acknowledged == 0).then(|| "no request was acknowledged".to_owned());
        faults.chain(properties).chain(marks).chain(silent).collect()
    }

    /// The gravest thing that was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let words = self.seeds.iter().map(|outcome| outcome.verdict.as_str());
        let worst = words.filter_map(Verdict::of_word).max().unwrap_or(Verdict::Clean);
        if worst == Verdict::Clean && !self.vacuous().is_empty() {
            return Verdict::Vacuous;
        }
        worst
    }
}

/// The version of the format of tallies.
pub const SCHEMA: u64 = 2;
/// So many seeds tell one generator from another.
const SAMPLE: u64 = 16;
/// No more missing shards are named.
const MOST_NAMED: usize = 8;
/// So many different failures end a campaign.
const MOST_FAILURES: usize = 10;
/// One seed in so many is replayed in a fresh process.
const VERIFIED: u64 = 20;
/// From so many seeds on a campaign must have met everything.
const ENOUGH_SEEDS: usize = 100;
/// And from so many on it must have been everywhere.
const ENOUGH_FOR_MARKS: usize = 1_500;
/// A primary with few leases whose clock steps back is in one seed of a hundred or so.
const RARE: &str = "S16";

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, fingerprint: &str) -> Outcome {
        let verdict = if fingerprint.is_empty() { Verdict::Clean } else { Verdict::Safety };
        Outcome {
            seed,
            hash: format!("{seed:032x}"),
            verdict: verdict.word().to_owned(),
            fingerprint: fingerprint.to_owned(),
            findings: Vec::new(),
            events: 100 - seed,
            virtual_ms: 1,
            wall_us: 1,
        }
    }

    fn tally(seeds: impl IntoIterator<Item = Outcome>) -> Tally {
        let injected = Injected { ordered: 1, effective: 1 };
        Tally {
            schema: SCHEMA,
            seeds: seeds.into_iter().collect(),
            judged: BTreeMap::from([("S1".to_owned(), 1)]),
            faults: BTreeMap::from([("crash".to_owned(), injected)]),
            acknowledged: 1,
            ..Tally::default()
        }
    }

    #[test]
    fn shards_joined_in_any_order_are_the_whole() {
        let shard = |shard, seeds: [Outcome; 2]| {
            let campaign = CampaignId { of: 2, ..CampaignId::default() };
            Tally { campaign, shards: vec![shard], ..tally(seeds) }
        };
        let mut one = shard(2, [outcome(1, ""), outcome(3, "S2")]);
        let mut other = shard(1, [outcome(0, ""), outcome(2, "S2")]);
        assert_eq!((one.missing(), other.missing()), (vec![1], vec![2]));
        let (first, second) = (one.clone(), other.clone());
        one.merge(second).expect("no seed is in both");
        other.merge(first).expect("no seed is in both");
        assert_eq!(one, other);
        assert_eq!(one.seeds.iter().map(|seed| seed.seed).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(one.faults["crash"].effective, 2);
        assert_eq!(one.failures()["S2"].iter().map(|s| s.seed).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(one.verdict(), Verdict::Safety);
        let again = shard(1, [outcome(2, ""), outcome(4, "")]);
        assert_eq!(one.merge(again), Err(MergeError::ShardTwice(1)));
        let again = shard(3, [outcome(2, ""), outcome(4, "")]);
        assert_eq!(one.merge(again), Err(MergeError::SeedTwice(2)));
        let mut another = shard(3, [outcome(6, ""), outcome(7, "")]);
        another.campaign.start = 5;
        let what = "it starts at 5, not 0".to_owned();
        assert_eq!(one.merge(another), Err(MergeError::OtherCampaign(what)));
        assert_eq!((one.missing(), one.campaign.of, one.shards), (vec![], 1, vec![1]));
    }

    #[test]
    fn the_seeds_of_a_plan_end_with_the_last_one_there_is() {
        let plan = |start, seeds, shard| Plan {
            start,
            seeds,
            shard,
            jobs: None,
            time: None,
            keep_going: false,
            testbed: Testbed::new(),
            program: PathBuf::new(),
        };
        let seeds = |plan: Plan| (0..9).map_while(|number| plan.seed(number)).collect::<Vec<_>>();
        assert_eq!(seeds(plan(u64::MAX - 1, None, (1, 1))), [u64::MAX - 1, u64::MAX]);
        assert_eq!(seeds(plan(u64::MAX - 1, Some(9), (2, 2))), [u64::MAX]);
        assert_eq!(seeds(plan(0, Some(5), (2, 3))), [1, 4]);
        assert_eq!(seeds(plan(7, None, (u64::MAX, u64::MAX))), Vec::<u64>::new());
    }

    #[test]
    fn canary_a_campaign_that_never_met_something_is_vacuous() {
        let seeds = || (0..100).map(|seed| outcome(seed, ""));
        assert_eq!(tally(seeds()).verdict(), Verdict::Clean);
        let mut blind = tally(seeds());
        blind.judged.insert("L1".to_owned(), 0);
        blind.faults.insert("kill".to_owned(), Injected { ordered: 9, effective: 0 });
        blind.judged.insert(RARE.to_owned(), 0);
        blind.acknowledged = 0;
        assert_eq!((blind.vacuous().len(), blind.verdict()), (3, Verdict::Vacuous));
        let mut large = tally((0..1_500).map(|seed| outcome(seed % 100, "")));
        large.marks.insert("torn-write".to_owned(), 1);
        assert_eq!(large.verdict(), Verdict::Clean);
        large.marks.insert("two-leaders".to_owned(), 0);
        large.judged.insert(RARE.to_owned(), 0);
        let missing =
            ["the property S16 was never judged", "the mark two-leaders was never reached"];
        assert_eq!(large.vacuous(), missing);
    }
}
