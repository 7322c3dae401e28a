//! `cargo sim determinism`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::campaign::seeds::{Elsewhere, Plan, elsewhere, fuzz};
use crate::host::{Options, Testbed};
use crate::record::report::Verdict;
use crate::record::trace::Focus;

use super::Tool;
use super::diff::first_difference;
use super::fuzz;
use super::input::seed;
use super::interrupt::{INTERRUPTED, Interrupt};
use super::output::{complain, count, painted, print};
use super::progress::Progress;

#[derive(Args)]
pub(crate) struct DeterminismArgs {
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = seed)]
    start: u64,
    /// Compares with another build of this program, such as target/debug/lessor-sim, or one of the code
    /// before or after a change; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    against: Vec<PathBuf>,
}

/// Compares the same seeds in every way, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &DeterminismArgs) -> u8 {
    let checked = fuzz::this_program().and_then(|program| {
        fuzz::in_range(args.start, args.seeds)?;
        match args.against.iter().find(|other| !other.is_file()) {
            None => Ok(program),
            Some(other) => {
                complain(&format!("{}: no such program to compare with", other.display()));
                Err(super::output::BAD_INPUT)
            }
        }
    });
    let program = match checked {
        Ok(program) => program,
        Err(code) => return code,
    };
    let (last, ways) = (args.start + (args.seeds - 1), 5 + args.against.len() as u64);
    let interrupt = Interrupt::listen("ends after the seed that is being replayed");
    complain(&format!("replays seeds {} to {last} in {ways} ways each", args.start));
    let work = Work {
        plan: Plan {
            start: args.start,
            seeds: Some(args.seeds),
            shard: (1, 1),
            jobs: None,
            time: None,
            keep_going: true,
            program: program.clone(),
            testbed: tool.testbed.clone(),
        },
        progress: Progress::begin("replays", Some(args.seeds.saturating_mul(ways)), &interrupt),
        interrupt,
    };
    let base = work.hashes(Some(1));
    let mut text = String::new();
    let mut failed = false;
    let mut axis = |name: &str, differ: Vec<String>| {
        if work.interrupt.is_asked() {
            return;
        }
        let verdict = if differ.is_empty() { Verdict::Clean } else { Verdict::Nondeterminism };
        failed |= verdict != Verdict::Clean;
        let (equal, all) = (base.len().saturating_sub(differ.len()), base.len());
        let all = count(all, "seed is", "seeds are");
        let _ = writeln!(text, "{}: {equal} of {all} the same {name}", painted(verdict));
        for line in differ.iter().take(3) {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(first) = differ.first() {
            work.progress.tell(&format!("nondeterminism: not the same {name}: {first}"));
        }
    };
    axis("with one job and with one a core", work.with_all_cores(&base));
    axis("on another fresh thread", work.on_fresh_threads(&base));
    axis("in a fresh process", work.compare(&base, &program, &[]));
    axis("with the log at trace", work.compare(&base, &program, &["--log", "trace"]));
    for other in &args.against {
        axis(&format!("in the build {}", other.display()), work.compare(&base, other, &[]));
    }
    let interrupted = work.interrupt.is_asked();
    drop(work);
    print(&text);
    if interrupted {
        complain("interrupted: what is not in the list was not compared");
        return INTERRUPTED;
    }
    if failed { Verdict::Nondeterminism.code() } else { 0 }
}

/// The seeds, and how far they are.
struct Work {
    plan: Plan,
    progress: Progress,
    interrupt: Interrupt,
}

impl Work {
    fn hashes(&self, jobs: Option<u16>) -> Vec<(u64, String)> {
        let plan = Plan { jobs, ..self.plan.clone() };
        let done = |_: &_, _: &_, _| self.progress.done();
        let tally = fuzz(&plan, &self.interrupt.flag(), |_| {}, done);
        tally.seeds.into_iter().map(|outcome| (outcome.seed, outcome.hash)).collect()
    }

    fn with_all_cores(&self, base: &[(u64, String)]) -> Vec<String> {
        let all = self.hashes(None);
        let differ = base.iter().zip(&all).filter(|(one, other)| one != other);
        differ
            .map(|((seed, hash), (_, other))| format!("seed {seed}: {hash} and {other}"))
            .collect()
    }

    fn on_fresh_threads(&self, base: &[(u64, String)]) -> Vec<String> {
        let seeds = base.iter().take_while(|_| !self.interrupt.is_asked());
        let differ = seeds.filter_map(|(seed, hash)| {
            let other = self.plan.testbed.replay(&self.plan.testbed.scenario(*seed)).trace.hash();
            self.progress.done();
            (other != *hash).then(|| format!("seed {seed}: {hash} and {other}"))
        });
        differ.collect()
    }

    /// The seeds of which another process makes another trace, with the first event that differs.
    fn compare(&self, base: &[(u64, String)], program: &Path, more: &[&str]) -> Vec<String> {
        let seeds = base.iter().take_while(|_| !self.interrupt.is_asked());
        let differ = seeds.filter_map(|(seed, hash)| {
            let there = elsewhere(program, *seed, more);
            self.progress.done();
            match there {
                Err(what) => Some(format!("seed {seed}: {what}")),
                Ok(there) if there.hash == *hash => None,
                Ok(there) => {
                    let first = where_they_part(&self.plan.testbed, program, *seed, more, &there);
                    Some(format!("seed {seed}: {hash} and {}, {first}", there.hash))
                }
            }
        });
        differ.collect()
    }
}

/// The first event in which another process parts from this one: of all events if both can show all.
fn where_they_part(
    testbed: &Testbed,
    program: &Path,
    seed: u64,
    more: &[&str],
    shown: &Elsewhere,
) -> String {
    let focus = Focus { all: true, ..Focus::default() };
    let scenario = testbed.scenario(seed);
    let here = |options: &Options| -> Vec<_> {
        testbed
            .replay_with(&scenario, options)
            .trace
            .lines()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let all = elsewhere(program, seed, &[more, &["--all"]].concat());
    let (here, there) = match all {
        Ok(all) => (here(&Options { focus, ..Options::default() }), all.trace),
        // A build from before there was `--all`.
        Err(_) => (here(&Options::default()), shown.trace.clone()),
    };
    first_difference(&here, &there).map_or_else(
        || "no event differs in words, but the time of one in less than a millisecond".to_owned(),
        |(here, there)| format!("first\n    here:  {here}\n    there: {there}"),
    )
}

pub(crate) const DETERMINISM_HELP: &str = "\
Examples:
  cargo sim determinism                                50 seeds, on threads, jobs and processes
  cargo sim determinism --against target/debug/lessor-sim   and in a debug build
  cargo sim determinism --against ../good/target/release/lessor-sim   has a change of the code changed anything?
  cargo sim determinism --seeds 500 --start 1000

With --against it compares a good build with a bad one: the first event in which the bad one does something
else is where its bug begins to show, often long before a property is broken.
Exit codes: 0 all equal · 5 something differs, with the first event that does.";
