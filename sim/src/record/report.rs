//! What came of a replay, for people and for machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::judge::{Judgements, Violation};
use crate::record::coverage::MARKS;
use crate::record::events;
use crate::record::trace::{Focus, Line, Trace};

/// How a replay went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the scenario: the stem of its file.
    pub name: String,
    /// The seed that it was replayed from.
    pub seed: u64,
    /// Whether its faults may meet nothing.
    pub may_miss: bool,
    /// When it was stopped, if that was before its end and nothing was wrong until then.
    pub stopped_at: Option<Duration>,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// Properties that did not hold.
    pub violations: Vec<Violation>,
    /// What the scenario expected and did not get, each with its line.
    pub unmet: Vec<String>,
    /// Faults that the scenario orders and that had no effect, each with its line.
    pub without_effect: Vec<String>,
    /// How often each kind of fault was ordered, and how often it met something.
    pub faults: BTreeMap<&'static str, Injected>,
    /// How many requests of lessees were answered with success.
    pub acknowledged: u64,
    /// Its events as data, if that was asked for: docs/EVENTS.md.
    pub events: Option<String>,
    /// How often each of [`MARKS`] was reached.
    pub marks: [u64; MARKS.len()],
    /// The properties, faults and marks that need what the host does not show: they were not judged.
    pub hidden: BTreeSet<&'static str>,
    /// The panic that ended it, if one did.
    pub panic: Option<Panic>,
    /// How often each property was judged.
    pub judged: Judgements,
    /// Everything that happened.
    pub trace: Trace,
}

/// How often a kind of fault was ordered, and how often it had an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Injected {
    /// How often it was ordered.
    pub ordered: u64,
    /// How often it met something.
    pub effective: u64,
}

/// A panic, of the code under test or of the testbed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// In which file.
    pub file: String,
    /// On which line.
    pub line: u32,
}

impl Panic {
    /// Whether the testbed is to blame rather than what it tests. Assertions of the core about itself,
    /// which the oracle calls, are the core's.
    #[must_use]
    pub fn is_of_testbed(&self) -> bool {
        // The path of this file begins with that of the crate, wherever that was built.
        let of_crate = file!().trim_end_matches("src/record/report.rs");
        self.file.starts_with(of_crate) || self.file.contains("madsim")
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, file, line } = self;
        write!(f, "panicked at {file}:{line}: {message}")
    }
}

/// What a replay proved, by the exit code that it is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// All properties held, all expectations were met.
    Clean,
    /// Nothing was wrong until it was stopped, and nothing is known of the end.
    Stopped,
    /// Something that the scenario orders had no effect, so it proves less than it says.
    Vacuous,
    /// A liveness property did not hold.
    Liveness,
    /// A safety property did not hold, an expectation was not met, or the code under test panicked.
    Safety,
    /// Two replays of one seed differ.
    Nondeterminism,
    /// The testbed itself failed, so nothing is proved.
    Testbed,
}

impl Verdict {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Clean | Self::Stopped => 0,
            Self::Safety => 1,
            Self::Liveness => 3,
            Self::Nondeterminism => 5,
            Self::Vacuous => 6,
            Self::Testbed => 70,
        }
    }

    /// The verdict that has this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let all = [
            Self::Clean,
            Self::Stopped,
            Self::Vacuous,
            Self::Liveness,
            Self::Safety,
            Self::Nondeterminism,
            Self::Testbed,
        ];
        all.into_iter().find(|verdict| verdict.word() == word)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Stopped => "stopped",
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Nondeterminism => "nondeterminism",
            Self::Vacuous => "vacuous",
            Self::Testbed => "testbed",
        }
    }
}

impl Report {
    /// The gravest thing that was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let unsafe_run = self.violations.iter().any(|violation| !violation.property.is_liveness());
        if self.panic.as_ref().is_some_and(Panic::is_of_testbed) {
            Verdict::Testbed
        } else if unsafe_run || !self.unmet.is_empty() {
            Verdict::Safety
        } else if !self.violations.is_empty() {
            Verdict::Liveness
        } else if self.stopped_at.is_some() {
            Verdict::Stopped
        } else if !self.without_effect.is_empty() && !self.may_miss {
            Verdict::Vacuous
        } else {
            Verdict::Clean
        }
    }

    /// What the scenario orders and what met nothing, where that is allowed.
    pub fn misses(&self) -> impl Iterator<Item = &str> {
        self.without_effect.iter().filter(|_| self.may_miss).map(String::as_str)
    }

    /// What to look at more closely in a second replay: the lease that the first violation is about, and
    /// the member.
    #[must_use]
    pub fn focus(&self) -> Focus {
        let Some(first) = self.violations.first() else { return Focus::default() };
        let leases = first.lease.into_iter().collect();
        // All that a member is told would hide the lease.
        let of_member = first.lease.is_none() || first.property.is_of_storage();
        let members = first.member.filter(|_| of_member).into_iter().collect();
        Focus { leases, members, ..Focus::default() }
    }

    /// The last lines of the trace, up to the first violation, that bear on it: those that name the same
    /// lease, and whatever happened to members, links and the log.
    #[must_use]
    pub fn relevant(&self, most: usize) -> Vec<&Line> {
        let violation = self.violations.first();
        let until = violation.map_or(Duration::MAX, |first| first.at + Duration::from_millis(1));
        let lease = violation.and_then(|first| first.lease);
        // Of disks only if what is wrong may be a matter of theirs.
        let of_disk = violation.is_some_and(|first| first.property.is_of_storage());
        let bears = |line: &&Line| {
            let concerned = match line.kind {
                "disk" => of_disk,
                _ => line.is_general() || lease.is_none_or(|lease| line.names(lease)),
            };
            line.at <= until && concerned
        };
        let mut lines: Vec<_> = self.trace.lines().iter().filter(bears).collect();
        // What is missed at the end went wrong when something was last heard of the lease.
        let names = |line: &&Line| lease.is_some_and(|lease| line.names(lease));
        if let Some(last) = lines.iter().rposition(names) {
            lines.truncate(last + 1 + BEHIND);
        }
        lines[lines.len().saturating_sub(most)..].to_vec()
    }

    /// The lines of the trace that led to the first violation, by the causes that the events name; those that
    /// are [relevant](Self::relevant) by their words, if the events name none.
    #[must_use]
    pub fn causes(&self, events: &str, most: usize) -> Vec<&Line> {
        let causes = events::causes(events);
        let is_one = |line: &&Line| causes.contains(&(line.at, line.words.clone()));
        let lines: Vec<_> = self.trace.lines().iter().filter(is_one).collect();
        if lines.is_empty() {
            return self.relevant(most);
        }
        lines[lines.len().saturating_sub(most)..].to_vec()
    }

    /// Each thing that is wrong, as a sentence.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        // One of the code under test is among the violations.
        let panic = self.panic.iter().filter(|panic| panic.is_of_testbed()).map(Panic::to_string);
        let violations = self.violations.iter().map(ToString::to_string);
        let unmet = self.unmet.iter().cloned();
        let without_effect = self.without_effect.iter().filter(|_| !self.may_miss).cloned();
        panic.chain(violations).chain(unmet).chain(without_effect)
    }
}

/// So many lines are shown behind the last that names the lease.
const BEHIND: usize = 4;
