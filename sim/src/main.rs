//! The command line of the simulator.

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs --cfg madsim: an exported RUSTFLAGS replaces the flags of .cargo/config.toml; unset it"
);

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lessor_sim::campaign::{Campaign, Replayed, replay_all};
use lessor_sim::invariant::Judgements;
use lessor_sim::report::Verdict;
use lessor_sim::scenario::{Scenario, ScenarioError};
use lessor_sim::schedule::generate;
use serde_json::json;

use self::cli::bugs::{BUGS_HELP, BugsArgs};
use self::cli::determinism::{DETERMINISM_HELP, DeterminismArgs};
use self::cli::diff::{DIFF_HELP, DiffArgs};
use self::cli::fuzz::{FUZZ_HELP, FuzzArgs, MERGE_HELP, MergeArgs};
use self::cli::properties::{PROPERTIES_HELP, PropertiesArgs};
use self::cli::shrink::{SHRINK_HELP, ShrinkArgs};

mod cli {
    pub(crate) mod bugs;
    pub(crate) mod determinism;
    pub(crate) mod diff;
    pub(crate) mod fuzz;
    pub(crate) mod log;
    pub(crate) mod properties;
    pub(crate) mod shrink;
}

/// Replays seeded scenarios of promotion, demotion, crash and recovery against the lease engine.
///
/// Without a command it replays all scenarios, as `run` does.
#[derive(Parser)]
#[command(
    bin_name = "cargo sim",
    version,
    after_help = HELP,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Replays scenarios, each twice, and prints a summary.
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Replays one scenario, or a seed of `fuzz`, and prints its trace.
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Draws scenarios from seeds, replays and judges them, and keeps what failed.
    #[command(after_help = FUZZ_HELP)]
    Fuzz(FuzzArgs),
    /// Joins what the shards of a campaign have written.
    #[command(after_help = MERGE_HELP)]
    Merge(MergeArgs),
    /// Shows the first event at which two runs part.
    #[command(after_help = DIFF_HELP)]
    Diff(DiffArgs),
    /// Makes a short scenario of one that fails, which fails in the same way.
    #[command(after_help = SHRINK_HELP)]
    Shrink(ShrinkArgs),
    /// Replays seeds on other threads, in other processes and builds, and compares their traces.
    #[command(after_help = DETERMINISM_HELP)]
    Determinism(DeterminismArgs),
    /// Brings real bugs back, one at a time, and counts how many seeds and which tests find each.
    #[command(after_help = BUGS_HELP)]
    Bugs(BugsArgs),
    /// Lists the properties that are judged.
    #[command(after_help = PROPERTIES_HELP)]
    Properties(PropertiesArgs),
}

#[derive(Args, Default)]
struct RunArgs {
    /// Scenario files, and folders that are searched for them [default: the folder `scenarios`]
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Writes the result as JSON to a file, or to the standard output (`-`) in place of the summary
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// How many scenarios are replayed at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

#[derive(Args)]
struct ReplayArgs {
    /// The seed of a campaign, or a scenario file
    #[arg(value_name = "SEED|FILE")]
    what: PathBuf,
    /// Replays from this seed in place of the scenario's own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Prints the scenario as a file in place of replaying it
    #[arg(long, conflicts_with_all = ["json", "grep"])]
    scenario: bool,
    /// Prints only the lines of the trace with this text in them
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Stops at this moment of virtual time, such as 12.5s, without a verdict about the end
    #[arg(long, value_name = "TIME", value_parser = until, conflicts_with = "scenario")]
    until: Option<Duration>,
    /// Prints what the code under test logs, with virtual time and member, to the standard error
    #[arg(long, value_name = "LEVEL", conflicts_with = "scenario")]
    log: Option<cli::log::Level>,
    /// Writes trace and verdict as JSON to a file, or to the standard output (`-`) in place of the text
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match cli.verb {
        None => run(&cli.run),
        Some(Verb::Run(args)) => run(&args),
        Some(Verb::Replay(args)) => show(&args),
        Some(Verb::Fuzz(args)) => cli::fuzz::run(&args),
        Some(Verb::Merge(args)) => cli::fuzz::merge(&args),
        Some(Verb::Diff(args)) => cli::diff::run(&args),
        Some(Verb::Shrink(args)) => cli::shrink::run(&args),
        Some(Verb::Determinism(args)) => cli::determinism::run(&args),
        Some(Verb::Bugs(args)) => cli::bugs::run(&args),
        Some(Verb::Properties(args)) => cli::properties::run(&args),
    };
    ExitCode::from(code)
}

fn run(args: &RunArgs) -> u8 {
    let paths = match find(&args.paths) {
        Ok(paths) => paths,
        Err(code) => return code,
    };
    let (mut scenarios, mut code) = (Vec::new(), 0);
    for path in &paths {
        match Scenario::load(path) {
            Ok(scenario) => scenarios.push((path.clone(), scenario)),
            Err(error) => code = code.max(refuse(&error)),
        }
    }
    if code != 0 {
        return code;
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // Without a handler an interrupt just ends the process, which is harmless too.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    let bar = progress(scenarios.len());
    let Campaign { replayed, wall } =
        replay_all(&scenarios, args.jobs, &interrupted, || bar.inc(1));
    bar.finish_and_clear();
    let interrupted = interrupted.load(Ordering::Relaxed) && replayed.len() < scenarios.len();
    let verdict = replayed.iter().map(Replayed::verdict).max().unwrap_or(Verdict::Clean);
    let code = if interrupted { 130 } else { verdict.code() };
    if let Some(target) = &args.json {
        let records: Vec<_> = replayed.iter().map(record).collect();
        let document = json!({
            "schema": 1,
            "tool": concat!("lessor-sim ", env!("CARGO_PKG_VERSION")),
            "exit_code": code,
            "scenarios": records,
        });
        if let Err(code) = write_json(target, &document) {
            return code;
        }
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        print(&summary(&replayed, wall));
    }
    if interrupted {
        let left = scenarios.len() - replayed.len();
        complain(&format!("interrupted: {left} scenarios were not replayed"));
    }
    code
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(length: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} scenarios {elapsed}");
    ProgressBar::new(length as u64).with_style(style.expect("the template is well-formed"))
}

fn show(args: &ReplayArgs) -> u8 {
    let (mut scenario, drawn) = match draw_or_load(&args.what) {
        Ok(scenario) => scenario,
        Err(code) => return code,
    };
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    if args.scenario {
        print(&scenario.to_toml());
        return 0;
    }
    if let Some(level) = args.log {
        cli::log::start(level);
    }
    if let Some(until) = args.until.filter(|until| *until < scenario.duration) {
        scenario.cut(until);
    }
    let replayed = Replayed::once(&args.what, &scenario);
    let part = drawn || args.until.is_some();
    let verdict =
        if part { lessor_sim::fuzz::verdict(&replayed.report) } else { replayed.verdict() };
    if let Some(target) = &args.json {
        let mut document = record(&replayed);
        document["verdict"] = json!(verdict.word());
        let lines: Vec<_> = replayed.report.trace.lines().iter().map(ToString::to_string).collect();
        document["schema"] = json!(1);
        document["trace"] = json!(lines);
        if let Err(code) = write_json(target, &document) {
            return code;
        }
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        let mut text = match &args.grep {
            None => replayed.report.trace.to_string(),
            Some(grep) => {
                let lines = replayed.report.trace.lines().iter().map(|line| format!("{line}\n"));
                lines.filter(|line| line.contains(grep)).collect()
            }
        };
        let _ = writeln!(text, "{}: {}", replayed.report.name, painted(verdict));
        for finding in replayed.findings() {
            let _ = writeln!(text, "  {finding}");
        }
        print(&text);
    }
    verdict.code()
}

/// A moment: seconds, with up to three decimals, and perhaps an s behind.
fn until(text: &str) -> Result<Duration, String> {
    let wrong = || "a moment is a number of seconds, such as 12.5s".to_owned();
    let (secs, part) =
        text.trim_end_matches('s').split_once('.').unwrap_or((text.trim_end_matches('s'), ""));
    let digits = part.len() <= 3 && part.chars().all(|digit| digit.is_ascii_digit());
    let millis = format!("{part:0<3}").parse().ok().filter(|_| digits).map(Duration::from_millis);
    let secs = secs.parse().ok().map(Duration::from_secs);
    secs.zip(millis).and_then(|(secs, millis)| secs.checked_add(millis)).ok_or_else(wrong)
}

/// The scenario of a seed or of a file, and whether it is of a seed.
fn draw_or_load(what: &Path) -> Result<(Scenario, bool), u8> {
    match what.to_str().and_then(|what| cli::fuzz::seed(what).ok()) {
        Some(seed) => Ok((generate(seed), true)),
        None => Ok((Scenario::load(what).map_err(|error| refuse(&error))?, false)),
    }
}

fn summary(replayed: &[Replayed], wall: Duration) -> String {
    let mut text = String::new();
    let width = replayed.iter().map(|one| one.report.name.len()).max().unwrap_or_default();
    for one in replayed {
        let (report, verdict) = (&one.report, one.verdict());
        let _ = writeln!(
            text,
            "{}{:pad$} {:width$}  {:>6} s virtual {:>8} events  {}",
            painted(verdict),
            "",
            report.name,
            report.virtual_time.as_secs(),
            report.trace.events(),
            report.trace.hash(),
            pad = 14 - verdict.word().len(),
        );
    }
    for one in replayed.iter().filter(|one| one.verdict() != Verdict::Clean) {
        let report = &one.report;
        let _ = writeln!(text, "\n{}: {}", report.name, painted(one.verdict()));
        for finding in one.findings() {
            let _ = writeln!(text, "  {finding}");
        }
        for line in report.relevant(LAST_LINES) {
            let _ = writeln!(text, "  | {line}");
        }
        let (file, seed) = (one.path.display(), report.seed);
        let _ = writeln!(text, "  reproduce with:\n    cargo sim replay {file} --seed {seed}");
    }
    let clean = replayed.iter().filter(|one| one.verdict() == Verdict::Clean).count();
    let mut judgements = Judgements::default();
    for one in replayed {
        judgements.add(&one.report.judged);
    }
    let judgements: Vec<_> = judgements
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(property, count)| format!("{} {count}", property.id()))
        .collect();
    let virtual_time: Duration = replayed.iter().map(|one| one.report.virtual_time).sum();
    let _ = writeln!(
        text,
        "\njudged: {}\n{} scenarios: {clean} clean, {} not; {} virtual s in {:.1} s, each replayed twice",
        judgements.join(", "),
        replayed.len(),
        replayed.len() - clean,
        virtual_time.as_secs(),
        wall.as_secs_f64(),
    );
    text
}

/// The scenario files among and below these paths, in order; by default those of the folder
/// `scenarios` here or above.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, u8> {
    let here = std::env::current_dir().unwrap_or_default();
    let default: Vec<_> = here.ancestors().map(|folder| folder.join("scenarios")).collect();
    let default = default.into_iter().find(|folder| folder.is_dir());
    let roots = match (paths, default) {
        ([], Some(folder)) => {
            vec![folder.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(folder)]
        }
        ([], None) => {
            complain(
                "no folder `scenarios` here or above; name a scenario file or a folder of them",
            );
            return Err(NOTHING_RAN);
        }
        (paths, _) => paths.to_vec(),
    };
    let mut found = Vec::new();
    for root in &roots {
        if let Err(error) = gather(root, &mut found) {
            complain(&format!(
                "{}: {error}; name a scenario file or a folder of them",
                root.display()
            ));
            return Err(BAD_INPUT);
        }
    }
    if found.is_empty() {
        let roots: Vec<_> = roots.iter().map(|root| root.display().to_string()).collect();
        complain(&format!("no scenario (*.toml) in {}", roots.join(", ")));
        return Err(NOTHING_RAN);
    }
    Ok(found)
}

fn gather(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.metadata()?.is_dir() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries = path
        .read_dir()?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "toml") {
            gather(&entry, found)?;
        }
    }
    Ok(())
}

fn refuse(error: &ScenarioError) -> u8 {
    complain(&error.to_string());
    if matches!(error, ScenarioError::OtherSchema { .. }) { CANNOT_JUDGE } else { BAD_INPUT }
}

fn write_json(target: &Path, document: &serde_json::Value) -> Result<(), u8> {
    let text = format!("{document:#}\n");
    if target == Path::new("-") {
        print(&text);
        return Ok(());
    }
    std::fs::write(target, text).map_err(|error| {
        complain(&format!("{}: cannot write the result: {error}", target.display()));
        BAD_INPUT
    })
}

/// A replay for machines. Equal replays differ only in `wall_ms`.
fn record(replayed: &Replayed) -> serde_json::Value {
    let report = &replayed.report;
    json!({
        "name": report.name,
        "file": replayed.path.display().to_string(),
        "seed": report.seed,
        "hash": report.trace.hash(),
        "verdict": replayed.verdict().word(),
        "findings": replayed.findings().collect::<Vec<_>>(),
        "violations": report.violations,
        "events": report.trace.events(),
        "virtual_ms": millis(report.virtual_time),
        "wall_ms": millis(replayed.wall),
        "judged": judged(&report.judged),
    })
}

fn judged(judged: &Judgements) -> serde_json::Value {
    judged.iter().map(|(property, count)| (property.id().to_owned(), json!(count))).collect()
}

fn painted(verdict: Verdict) -> String {
    let color = if verdict == Verdict::Clean { AnsiColor::Green } else { AnsiColor::Red };
    let style = Style::new().fg_color(Some(color.into()));
    format!("{style}{}{style:#}", verdict.word())
}

/// Writes to the standard output; whoever reads it may have seen enough.
fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "lessor-sim: {text}");
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const BAD_INPUT: u8 = 2;
const NOTHING_RAN: u8 = 4;
const CANNOT_JUDGE: u8 = 125;
/// How many lines of its trace a failed scenario shows in the summary.
const LAST_LINES: usize = 30;

const HELP: &str = "\
Examples:
  cargo sim                                            all scenarios
  cargo sim run scenarios/stale-primary.toml           one of them
  cargo sim run --json -                               for a machine
  cargo sim replay scenarios/stale-primary.toml        its trace, event by event
  cargo sim fuzz --seeds 2000                          scenarios drawn from seeds
  cargo sim replay 17                                  one of those
  cargo sim determinism                                seeds, each in every way, give the same traces
  cargo sim shrink 17                                  what of it is enough to fail, if it does

Exit codes:
  0 clean · 1 a safety property or an expectation was not met · 2 bad input or usage ·
  3 a liveness property was not met · 4 nothing ran · 5 two replays of a seed differ ·
  6 vacuous: a fault that was ordered had no effect · 70 the testbed itself failed ·
  125 the scenario needs another version · 130 interrupted";

const RUN_HELP: &str = "\
Examples:
  cargo sim run                                        all scenarios
  cargo sim run scenarios/found                        those of a folder
  cargo sim run --json result.json --jobs 1            one at a time, with a file for machines

Exit codes: see `cargo sim --help`.";

const REPLAY_HELP: &str = "\
Examples:
  cargo sim replay scenarios/stale-primary.toml
  cargo sim replay scenarios/stale-primary.toml --seed 7
  cargo sim replay scenarios/stale-primary.toml --json - | jq -r '.trace[]'
  cargo sim replay 17 --grep 'lease 7'                 what fuzz did with seed 17, of one lease
  cargo sim replay 17 --until 31.5s --log debug        up to a moment, with the log of the members
  cargo sim replay 17 --scenario > seed-17.toml        the same as a scenario file

Exit codes: see `cargo sim --help`.";
