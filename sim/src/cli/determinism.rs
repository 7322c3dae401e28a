//! `cargo sim determinism`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use lessor_sim::cluster::replay;
use lessor_sim::fuzz::{Elsewhere, Plan, elsewhere, fuzz};
use lessor_sim::report::Verdict;
use lessor_sim::schedule;

use super::diff::first_difference;
use super::fuzz;
use crate::{painted, print};

#[derive(Args)]
pub(crate) struct DeterminismArgs {
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = fuzz::seed)]
    start: u64,
    /// Another build of this program to compare with, such as target/debug/lessor-sim; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    against: Vec<PathBuf>,
}

/// Compares the same seeds in every way, and gives the exit code.
pub(crate) fn run(args: &DeterminismArgs) -> u8 {
    let program = match fuzz::this_program() {
        Ok(program) => program,
        Err(code) => return code,
    };
    let plan = |jobs| Plan {
        start: args.start,
        seeds: args.seeds,
        shard: (1, 1),
        jobs,
        time: None,
        keep_going: true,
        program: program.clone(),
    };
    let go_on = AtomicBool::new(false);
    let hashes = |jobs| -> Vec<_> {
        let tally = fuzz(&plan(jobs), &go_on, |_, _| {});
        tally.seeds.into_iter().map(|outcome| (outcome.seed, outcome.hash)).collect()
    };
    let base = hashes(Some(1));
    let mut text = String::new();
    let mut failed = false;
    let mut axis = |name: &str, differ: Vec<String>| {
        let verdict = if differ.is_empty() { Verdict::Clean } else { Verdict::Nondeterminism };
        failed |= verdict != Verdict::Clean;
        let (equal, all) = (base.len().saturating_sub(differ.len()), base.len());
        let _ = writeln!(text, "{} {equal} of {all} seeds are the same {name}", painted(verdict));
        for line in differ.iter().take(3) {
            let _ = writeln!(text, "  {line}");
        }
    };
    let all = hashes(None);
    let differ = base.iter().zip(&all).filter(|(one, other)| one != other);
    let differ =
        differ.map(|((seed, hash), (_, other))| format!("seed {seed}: {hash} and {other}"));
    axis("with one job and with one a core", differ.collect());
    let again = base.iter().filter_map(|(seed, hash)| {
        let report = replay(&schedule::generate(*seed));
        (report.trace.hash() != *hash).then(|| format!("seed {seed}: {}", report.trace.hash()))
    });
    axis("on another fresh thread", again.collect());
    axis("in a fresh process", compare(&base, &program, &[]));
    axis("with the log at trace", compare(&base, &program, &["--log", "trace"]));
    for other in &args.against {
        axis(&format!("in {}", other.display()), compare(&base, other, &[]));
    }
    print(&text);
    if failed { Verdict::Nondeterminism.code() } else { 0 }
}

/// The seeds of which another process makes another trace, with the first event that differs.
fn compare(base: &[(u64, String)], program: &Path, more: &[&str]) -> Vec<String> {
    let differ = base.iter().filter_map(|(seed, hash)| match elsewhere(program, *seed, more) {
        Err(what) => Some(format!("seed {seed}: {what}")),
        Ok(there) if there.hash == *hash => None,
        Ok(Elsewhere { hash: other, trace }) => {
            let report = replay(&schedule::generate(*seed));
            let here: Vec<_> = report.trace.lines().iter().map(ToString::to_string).collect();
            let first = first_difference(&here, &trace).map_or_else(
                || "no event that is shown differs".to_owned(),
                |(here, there)| format!("first\n    here:  {here}\n    there: {there}"),
            );
            Some(format!("seed {seed}: {hash} and {other}, {first}"))
        }
    });
    differ.collect()
}

pub(crate) const DETERMINISM_HELP: &str = "\
Examples:
  cargo sim determinism                                50 seeds, on threads, jobs and processes
  cargo sim determinism --against target/debug/lessor-sim   and in a debug build
  cargo sim determinism --seeds 500 --start 1000

Exit codes: 0 all equal · 5 something differs, with the first event that does.";
