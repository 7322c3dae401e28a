//! Many replays at a time, on all cores. The only place that looks at the wall clock and at the
//! machine, and nothing of what it sees gets into a trace.
#![expect(
    clippy::disallowed_methods,
    reason = "a campaign runs on real threads, in real time, around the replays"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::replay;
use crate::report::{Report, Verdict};
use crate::scenario::Scenario;

/// A scenario that was replayed, from which file and how fast.
#[derive(Debug)]
pub struct Replayed {
    /// The file.
    pub path: PathBuf,
    /// How it went.
    pub report: Report,
    /// Whether a second replay gave another hash.
    pub differs: bool,
    /// Real time that the first replay took.
    pub wall: Duration,
}

impl Replayed {
    /// Replays a scenario.
    #[must_use]
    pub fn once(path: &Path, scenario: &Scenario) -> Self {
        let start = Instant::now();
        let report = replay(scenario);
        Self { path: path.to_path_buf(), report, differs: false, wall: start.elapsed() }
    }

    /// Replays a scenario, and again to see whether it is the same.
    #[must_use]
    pub fn twice(path: &Path, scenario: &Scenario) -> Self {
        let once = Self::once(path, scenario);
        let differs = replay(scenario).trace.hash() != once.report.trace.hash();
        Self { differs, ..once }
    }

    /// The gravest thing that was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let verdict = self.report.verdict();
        if self.differs { verdict.max(Verdict::Nondeterminism) } else { verdict }
    }

    /// Each thing that is wrong, as a sentence.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let differs = "two replays of the same seed have different traces".to_owned();
        self.differs.then_some(differs).into_iter().chain(self.report.findings())
    }
}

/// What came of many replays.
#[derive(Debug)]
pub struct Campaign {
    /// Those that were done, in the order of the scenarios.
    pub replayed: Vec<Replayed>,
    /// Real time that all of them took.
    pub wall: Duration,
}

/// Replays each scenario twice, `jobs` at a time or one a core, until all are done or `interrupted`
/// is set, and calls `done` after each.
pub fn replay_all(
    scenarios: &[(PathBuf, Scenario)],
    jobs: Option<u16>,
    interrupted: &AtomicBool,
    done: impl Fn() + Sync,
) -> Campaign {
    let start = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = jobs.map_or(cores, usize::from).min(scenarios.len());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !interrupted.load(Ordering::Relaxed)
                    && let place = next.fetch_add(1, Ordering::Relaxed)
                    && let Some((path, scenario)) = scenarios.get(place)
                {
                    let replayed = Replayed::twice(path, scenario);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((place, replayed));
                    done();
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(place, _)| *place);
    let replayed = results.into_iter().map(|(_, replayed)| replayed).collect();
    Campaign { replayed, wall: start.elapsed() }
}
