//! Many scenario files at a time. It looks at the wall clock, and nothing of that gets into a trace.
#![expect(clippy::disallowed_methods, reason = "real time passes around the replays")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::pool;
use crate::host::{Options, Testbed};
use crate::record::report::{Report, Verdict};
use crate::record::trace::Line;
use crate::scenario::Scenario;

/// A scenario that was replayed, from which file and how fast.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Debug)]
pub struct Replayed {
    pub path: PathBuf,
    /// How it went.
    pub report: Report,
    /// Where a second replay parted from it, if it gave another hash.
    pub differs: Option<String>,
    /// Real time that the first replay took.
    pub wall: Duration,
}

impl Replayed {
    /// Replays a scenario.
    #[must_use]
    pub fn once(testbed: &Testbed, path: &Path, scenario: &Scenario) -> Self {
        Self::with(testbed, path, scenario, &Options::default())
    }

    /// Replays a scenario, with options.
    #[must_use]
    pub fn with(testbed: &Testbed, path: &Path, scenario: &Scenario, options: &Options) -> Self {
        let start = Instant::now();
        let report = testbed.replay_with(scenario, options);
        Self { path: path.to_path_buf(), report, differs: None, wall: start.elapsed() }
    }

    /// Replays a scenario, and again to see whether it is the same.
    #[must_use]
    pub fn twice(testbed: &Testbed, path: &Path, scenario: &Scenario) -> Self {
        let once = Self::once(testbed, path, scenario);
        let again = testbed.replay(scenario).trace;
        let differs = (again.hash() != once.report.trace.hash())
            .then(|| parted(once.report.trace.lines(), again.lines()));
        Self { differs, ..once }
    }

    /// The gravest thing that was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let verdict = self.report.verdict();
        if self.differs.is_some() { verdict.max(Verdict::Nondeterminism) } else { verdict }
    }

    /// Each thing that is wrong, as a sentence.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let differs = self.differs.iter();
        let differs =
            differs.map(|at| format!("two replays of the seed have different traces, {at}"));
        differs.chain(self.report.findings())
    }
}

/// Where two traces part, in words.
#[must_use]
pub fn parted(here: &[Line], there: &[Line]) -> String {
    let equal = here.iter().zip(there).take_while(|(here, there)| here == there).count();
    let line = |lines: &[Line]| match lines.get(equal) {
        Some(line) => format!("{} ({} ns)", line.to_string().trim_start(), line.at.as_nanos()),
        None => "nothing more".to_owned(),
    };
    if here.len() == there.len() && here.len() == equal {
        return "in nothing that is shown; the verb `diff` shows all".to_owned();
    }
    format!("first in: {}; and: {}", line(here), line(there))
}

/// What came of many replays.
#[derive(Debug)]
pub struct Batch {
    /// Those that were done, in the order of the scenarios.
    pub replayed: Vec<Replayed>,
    /// Real time that all of them took.
    pub wall: Duration,
}

/// Replays each scenario twice, `jobs` at a time or one a core, until all are done or `interrupted`
/// is set. Calls `begun` with the number of each that it begins, and `done` with what came of it.
pub fn replay_all(
    testbed: &Testbed,
    scenarios: &[(PathBuf, Scenario)],
    jobs: Option<u16>,
    interrupted: &AtomicBool,
    begun: impl Fn(usize) + Sync,
    done: impl Fn(usize, &Replayed) + Sync,
) -> Batch {
    let start = Instant::now();
    let replayed = pool::map(jobs, scenarios, interrupted, |number, (path, scenario)| {
        begun(number);
        let replayed = Replayed::twice(testbed, path, scenario);
        done(number, &replayed);
        replayed
    });
    Batch { replayed, wall: start.elapsed() }
}
