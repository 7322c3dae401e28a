//! `cargo sim fuzz` and `cargo sim merge`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lessor_sim::cluster::replay;
use lessor_sim::fuzz::{Outcome, Plan, Tally, fuzz};
use lessor_sim::report::Verdict;
use lessor_sim::schedule;

use crate::{BAD_INPUT, LAST_LINES, NOTHING_RAN, complain, painted, print};

#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// How many seeds, one after the other [default: 200, or until --time is over]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = seed)]
    start: u64,
    /// How many seeds are replayed at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Begins no seed after this time, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    /// Takes only every N-th seed, from the I-th on, 1 being the first
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: (u64, u64),
    /// Writes every seed's outcome as JSON to a file, or to the standard output (`-`) in place of the summary
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Goes on however many failures there are; else ten different ones end it
    #[arg(long)]
    keep_going: bool,
}

#[derive(Args)]
pub(crate) struct MergeArgs {
    /// What `fuzz --json` has written, one file a shard
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Writes the whole as JSON to a file, or to the standard output (`-`) in place of the summary
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Runs a campaign, and gives the exit code.
pub(crate) fn run(args: &FuzzArgs) -> u8 {
    let program = match this_program() {
        Ok(program) => program,
        Err(code) => return code,
    };
    let unlimited = if args.time.is_some() { u64::MAX } else { SEEDS };
    let plan = Plan {
        start: args.start,
        seeds: args.seeds.unwrap_or(unlimited),
        shard: args.shard,
        jobs: args.jobs,
        time: args.time,
        keep_going: args.keep_going,
        program,
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // Without a handler an interrupt just ends the process, which is harmless too.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    let (bar, virtual_ms, said) = (progress(&plan), AtomicU64::new(0), AtomicU64::new(0));
    let tally = fuzz(&plan, &interrupted, |outcome, failures| {
        let passed = virtual_ms.fetch_add(outcome.virtual_ms, Ordering::Relaxed);
        let hours = (passed + outcome.virtual_ms) / 3_600_000;
        bar.set_message(format!("virtual {hours} h  failures {failures}"));
        bar.inc(1);
        // Where there is no bar, a line now and then shows that it goes on.
        let (elapsed, before) = (bar.elapsed().as_secs(), said.load(Ordering::Relaxed));
        let due = bar.is_hidden() && elapsed >= before + SILENCE;
        if due
            && said.compare_exchange(before, elapsed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let seeds = bar.position();
            complain(&format!("{seeds} seeds in {elapsed} s, {failures} kinds of failures"));
        }
    });
    bar.finish_and_clear();
    if tally.seeds.is_empty() {
        complain("no seed was replayed; give more --seeds, more --time, or another --shard");
        return NOTHING_RAN;
    }
    save(&tally);
    let stopped = interrupted.load(Ordering::Relaxed);
    let code = if stopped { INTERRUPTED } else { tally.verdict().code() };
    show(&tally, args.json.as_deref(), code)
}

/// Where this program is, to be run afresh.
pub(crate) fn this_program() -> Result<PathBuf, u8> {
    std::env::current_exe().map_err(|error| {
        complain(&format!("cannot find this program to replay seeds afresh: {error}"));
        Verdict::Testbed.code()
    })
}

/// Joins the results of shards, and gives the exit code of the whole.
pub(crate) fn merge(args: &MergeArgs) -> u8 {
    let mut whole = Tally::default();
    for file in &args.files {
        let tally = match load(file) {
            Ok(tally) => tally,
            Err(what) => {
                complain(&format!("{}: {what}", file.display()));
                return BAD_INPUT;
            }
        };
        if let Err(seed) = whole.merge(tally) {
            let file = file.display();
            complain(&format!("{file}: seed {seed} is in another file too; name each shard once"));
            return BAD_INPUT;
        }
    }
    let code = whole.verdict().code();
    show(&whole, args.json.as_deref(), code)
}

fn load(file: &Path) -> Result<Tally, String> {
    let text = std::fs::read(file).map_err(|error| format!("cannot read it: {error}"))?;
    let read: Result<Tally, _> = serde_json::from_slice(&text);
    match read {
        Ok(tally) if tally.schema == 1 => Ok(tally),
        Ok(tally) => Err(format!("it has schema {}, but this version joins 1", tally.schema)),
        Err(error) => Err(format!("not what `fuzz --json` writes: {error}")),
    }
}

fn show(tally: &Tally, json: Option<&Path>, code: u8) -> u8 {
    if let Some(target) = json {
        let document = serde_json::to_value(tally).expect("a tally has only text as keys");
        if let Err(code) = crate::write_json(target, &document) {
            return code;
        }
    }
    if json != Some(Path::new("-")) {
        print(&summary(tally));
    }
    code
}

/// Keeps what is needed to look at each failure, and to replay it after the generator has changed.
fn save(tally: &Tally) {
    for (fingerprint, outcomes) in tally.failures() {
        for outcome in outcomes.into_iter().take(KEPT) {
            let scenario = schedule::generate(outcome.seed);
            let folder = Path::new(FAILURES).join(fingerprint).join(&scenario.name);
            let trace = replay(&scenario).trace.to_string();
            let written = std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(folder.join("scenario.toml"), scenario.to_toml()))
                .and_then(|()| std::fs::write(folder.join("trace.txt"), trace));
            if let Err(error) = written {
                complain(&format!("{}: cannot keep the failure: {error}", folder.display()));
            }
        }
    }
}

fn summary(tally: &Tally) -> String {
    let mut text = String::new();
    for (fingerprint, outcomes) in tally.failures() {
        let seeds: Vec<_> = outcomes.iter().take(8).map(|o| o.seed.to_string()).collect();
        let first = outcomes[0];
        let verdict = Verdict::of_word(&first.verdict).unwrap_or(Verdict::Testbed);
        let (count, seeds) = (outcomes.len(), seeds.join(", "));
        let _ = writeln!(text, "{} {fingerprint} in {count} seeds: {seeds}", painted(verdict));
        for finding in first.findings.iter().take(5) {
            let _ = writeln!(text, "  {finding}");
        }
        let report = replay(&schedule::generate(first.seed));
        for line in report.relevant(LAST_LINES) {
            let _ = writeln!(text, "  | {line}");
        }
        let _ = writeln!(
            text,
            "  reproduce with:\n    cargo sim replay {seed}\n  or, when the generator has changed:\n    \
             cargo sim replay {FAILURES}/{fingerprint}/seed-{seed}/scenario.toml\n  \
             shrink with:\n    cargo sim shrink {seed}\n",
            seed = first.seed,
        );
    }
    for what in tally.vacuous() {
        let _ = writeln!(text, "{}: {what}", painted(Verdict::Vacuous));
    }
    let judged: Vec<_> = tally.judged.iter().map(|(id, count)| format!("{id} {count}")).collect();
    let faults = tally.faults.iter();
    let faults: Vec<_> = faults
        .map(|(kind, injected)| format!("{kind} {} of {}", injected.effective, injected.ordered))
        .collect();
    let mut marks: Vec<_> = tally.marks.iter().map(|(name, count)| (count, name)).collect();
    marks.sort();
    let reached = marks.iter().filter(|(count, _)| **count > 0).count();
    let rarest: Vec<_> =
        marks.iter().take(RAREST).map(|(count, name)| format!("{name} {count}")).collect();
    let mut slowest: Vec<&Outcome> = tally.seeds.iter().collect();
    slowest.sort_by_key(|outcome| (std::cmp::Reverse(outcome.wall_us), outcome.seed));
    let slowest: Vec<_> = slowest
        .iter()
        .take(3)
        .map(|outcome| format!("{} ({} ms)", outcome.seed, outcome.wall_us / 1_000))
        .collect();
    let _ = writeln!(text, "judged: {}", judged.join(", "));
    let _ = writeln!(text, "faults that met something: {}", faults.join(", "));
    let _ = writeln!(
        text,
        "coverage: {reached} of {} marks; the rarest: {}",
        marks.len(),
        rarest.join(", ")
    );
    let _ = writeln!(text, "slowest seeds: {}", slowest.join(", "));
    let seeds = tally.seeds.len();
    let clean = tally.seeds.iter().filter(|outcome| outcome.fingerprint.is_empty()).count();
    let virtual_s = tally.seeds.iter().map(|outcome| outcome.virtual_ms).sum::<u64>() / 1_000;
    let busy: u64 = tally.seeds.iter().map(|outcome| outcome.wall_us).sum();
    let _ = writeln!(
        text,
        "{seeds} seeds: {clean} clean, {} not{}; {} acknowledged; {} also in a fresh process\n\
         {virtual_s} virtual s in {:.1} s: {} seeds/s, {} virtual s a second and core",
        seeds - clean,
        if clean == seeds { format!(" (p < {:.4})", 3.0 / seeds as f64) } else { String::new() },
        tally.acknowledged,
        tally.verified,
        tally.wall_ms as f64 / 1_000.0,
        seeds as u64 * 1_000 / tally.wall_ms.max(1),
        virtual_s * 1_000_000 / busy.max(1),
    );
    text
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(plan: &Plan) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = if plan.seeds == u64::MAX {
        "{spinner} {pos} seeds  {per_sec}  {msg}  {elapsed}"
    } else {
        "{wide_bar} {pos}/{len} seeds  {per_sec}  {msg}  {elapsed}"
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    ProgressBar::new(plan.seeds.div_ceil(plan.shard.1)).with_style(style)
}

/// A seed: a number, also in hexadecimal.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "a seed is a number up to 2^64 - 1, or 0x and its hexadecimal digits".into())
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').map(|(shard, of)| (shard.parse(), of.parse()));
    match parts {
        Some((Ok(shard), Ok(of))) if (1..=of).contains(&shard) => Ok((shard, of)),
        _ => Err("a shard is I/N with I from 1 to N, such as 1/4".to_owned()),
    }
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a whole number and s, m or h, such as 90s".to_owned();
    let (number, seconds) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((number, "s")) => (number, 1),
        Some((number, "m")) => (number, 60),
        Some((number, "h")) => (number, 3_600),
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

const SEEDS: u64 = 200;
const INTERRUPTED: u8 = 130;
/// So many seconds pass between lines of progress.
const SILENCE: u64 = 10;
/// How many marks are shown.
const RAREST: usize = 10;
/// How many seeds of each kind of failure are kept.
const KEPT: usize = 4;
const FAILURES: &str = "target/sim/failures";

pub(crate) const FUZZ_HELP: &str = "\
Examples:
  cargo sim fuzz --seeds 2000                          seeds 0 to 1999
  cargo sim fuzz --time 10m --start 0xbeef             as many as ten minutes allow
  cargo sim fuzz --seeds 2000 --shard 1/4 --json 1.json   a quarter of them, for `cargo sim merge`

What failed is kept in target/sim/failures. Exit codes: see `cargo sim --help`.";

pub(crate) const MERGE_HELP: &str = "\
Examples:
  cargo sim merge 1.json 2.json 3.json 4.json
  cargo sim merge shards/*.json --json whole.json

Exit codes: see `cargo sim --help`; those of the whole campaign.";
