//! What came of a replay, for people and for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::coverage::MARKS;
use crate::invariant::{Judgements, Violation};
use crate::trace::{Line, Trace};

/// How a replay went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the scenario: the stem of its file.
    pub name: String,
    /// The seed that it was replayed from.
    pub seed: u64,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// Properties that did not hold.
    pub violations: Vec<Violation>,
    /// What the scenario expected and did not get, each with its line.
    pub disappointments: Vec<String>,
    /// Faults that the scenario orders and that had no effect, each with its line.
    pub ineffective: Vec<String>,
    /// How often each kind of fault was ordered, and how often it met something.
    pub faults: BTreeMap<&'static str, Injected>,
    /// How many requests of lessees were answered with success.
    pub acknowledged: u64,
    /// How often each of [`MARKS`] was reached.
    pub marks: [u64; MARKS.len()],
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
        self.file.starts_with("sim/") || self.file.contains("madsim")
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
            Self::Clean => 0,
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
        let harmed = self.violations.iter().any(|violation| !violation.is_liveness());
        if self.panic.as_ref().is_some_and(Panic::is_of_testbed) {
            Verdict::Testbed
        } else if harmed || !self.disappointments.is_empty() {
            Verdict::Safety
        } else if !self.violations.is_empty() {
            Verdict::Liveness
        } else if !self.ineffective.is_empty() {
            Verdict::Vacuous
        } else {
            Verdict::Clean
        }
    }

    /// The last lines of the trace, up to the first violation, that bear on it: those that name the same
    /// lease, and whatever happened to members, links and the log.
    #[must_use]
    pub fn relevant(&self, most: usize) -> Vec<&Line> {
        let violation = self.violations.first();
        let until = violation.map_or(Duration::MAX, |first| Duration::from_millis(first.at_ms + 1));
        let lease = violation.and_then(|first| {
            let (_, behind) = first.what.split_once("lease ")?;
            let id: String =
                behind.chars().take_while(|c| *c == '-' || c.is_ascii_digit()).collect();
            (!id.is_empty()).then(|| format!("lease {id}"))
        });
        let names = |line: &Line| match &lease {
            None => true,
            Some(lease) => line.words.match_indices(lease.as_str()).any(|(at, _)| {
                !line.words[at + lease.len()..].starts_with(|c: char| c.is_ascii_digit())
            }),
        };
        let general = ["boot", "fault", "log", "role", "stop"];
        let bears =
            |line: &&Line| line.at <= until && (general.contains(&line.kind) || names(line));
        let lines: Vec<_> = self.trace.lines().iter().filter(bears).collect();
        lines[lines.len().saturating_sub(most)..].to_vec()
    }

    /// Each thing that is wrong, as a sentence.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        // One of the code under test is among the violations.
        let panic = self.panic.iter().filter(|panic| panic.is_of_testbed()).map(Panic::to_string);
        let violations = self.violations.iter().map(ToString::to_string);
        let disappointments = self.disappointments.iter().cloned();
        let ineffective = self.ineffective.iter().cloned();
        panic.chain(violations).chain(disappointments).chain(ineffective)
    }
}
