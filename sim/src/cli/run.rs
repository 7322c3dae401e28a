//! `cargo sim run`: scenarios, each twice.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::campaign::batch::{Batch, Replayed, replay_all};
use crate::campaign::pool::cores;
use crate::judge::Judgements;
use crate::record::report::Verdict;
use crate::scenario::Scenario;

use super::Tool;
use super::input::{find, load};
use super::interrupt::{INTERRUPTED, Interrupt};
use super::output::{LAST_LINES, Target, complain, count, next_steps, painted, print};
use super::progress::Progress;
use crate::record::trace::folded;

#[derive(Args, Default)]
pub(crate) struct RunArgs {
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

/// Replays scenarios, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &RunArgs) -> u8 {
    let (paths, target) = match (find(&args.paths), Target::open(args.json.as_deref())) {
        (Ok(paths), Ok(target)) => (paths, target),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let jobs = args.jobs.map_or_else(cores, usize::from).min(paths.len());
    let some = count(paths.len(), "scenario", "scenarios");
    let interrupt = Interrupt::listen("waits for what is being replayed");
    complain(&format!("replays {some}, each twice, {jobs} at a time"));
    let scenarios = match load_all(tool, &paths, &interrupt) {
        Ok(scenarios) => scenarios,
        Err(code) => return code,
    };
    let progress = Progress::begin("scenarios", Some(scenarios.len() as u64), &interrupt);
    let begun = |position: usize| interrupt.begin(position, scenarios[position].1.name.clone());
    let done = |position: usize, replayed: &Replayed| {
        interrupt.end(position);
        progress.done();
        if replayed.verdict() != Verdict::Clean {
            progress.tell(&news(tool, replayed));
        }
    };
    let Batch { replayed, wall } =
        replay_all(&tool.testbed, &scenarios, args.jobs, &interrupt.flag(), begun, done);
    drop(progress);
    let verdict = replayed.iter().map(Replayed::verdict).max().unwrap_or(Verdict::Clean);
    let code = if interrupt.is_asked() { INTERRUPTED } else { verdict.code() };
    let records: Vec<_> = replayed.iter().map(record).collect();
    let document = json!({
        "schema": 1,
        "tool": concat!("lessor-sim ", env!("CARGO_PKG_VERSION")),
        "exit_code": code,
        "scenarios": records,
    });
    let summarized = target.leaves_stdout();
    let code = target.write_json(code, &document);
    if summarized {
        print(&summary(tool, &scenarios, &replayed, wall));
    }
    if interrupt.is_asked() {
        let left = scenarios.len() - replayed.len();
        let left = count(left, "scenario was", "scenarios were");
        complain(&format!("interrupted: {left} not replayed"));
    }
    code
}

/// Reads all scenarios, or says what is wrong with each that is none.
fn load_all(
    tool: &Tool,
    paths: &[PathBuf],
    interrupt: &Interrupt,
) -> Result<Vec<(PathBuf, Scenario)>, u8> {
    let progress = Progress::begin("files read", Some(paths.len() as u64), interrupt);
    let (mut scenarios, mut code) = (Vec::new(), 0);
    for path in paths {
        if interrupt.is_asked() {
            return Err(INTERRUPTED);
        }
        match load(tool, path) {
            Ok(scenario) => scenarios.push((path.clone(), scenario)),
            Err(wrong) => code = code.max(wrong),
        }
        progress.done();
    }
    if code == 0 { Ok(scenarios) } else { Err(code) }
}

/// A failure, as soon as it is known.
fn news(tool: &Tool, replayed: &Replayed) -> String {
    let (name, verdict) = (&replayed.report.name, replayed.verdict().word());
    let finding = replayed.findings().next().unwrap_or_default();
    format!("{verdict}: {name}: {finding}\n  reproduce with: {}", command(tool, replayed))
}

fn command(tool: &Tool, replayed: &Replayed) -> String {
    let command = &tool.command;
    format!("{command} replay {} --seed {}", replayed.path.display(), replayed.report.seed)
}

fn summary(
    tool: &Tool,
    scenarios: &[(PathBuf, Scenario)],
    replayed: &[Replayed],
    wall: Duration,
) -> String {
    let clean = replayed.iter().filter(|one| one.verdict() == Verdict::Clean).count();
    let virtual_time: Duration = replayed.iter().map(|one| one.report.virtual_time).sum();
    let worst = replayed.iter().map(Replayed::verdict).max().unwrap_or(Verdict::Clean);
    let mut text = format!(
        "{}: {}: {clean} clean, {} not; {} virtual s in {:.1} s, each replayed twice\n\n",
        painted(worst),
        count(replayed.len(), "scenario", "scenarios"),
        replayed.len() - clean,
        virtual_time.as_secs(),
        wall.as_secs_f64(),
    );
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
        let _ = writeln!(text, "\n{}: {}", one.report.name, painted(one.verdict()));
        for finding in one.findings() {
            let _ = writeln!(text, "  {finding}");
        }
        let scenario = scenarios.iter().find(|(path, _)| *path == one.path);
        if let Some((_, scenario)) = scenario {
            let report = tool.testbed.replay_closely(scenario);
            let events = tool.testbed.events(scenario, &report);
            for line in folded(&report.causes(&events, LAST_LINES)) {
                let _ = writeln!(text, "  | {line}");
            }
        }
        let (command, path) = (command(tool, one), one.path.display().to_string());
        let _ = writeln!(
            text,
            "  reproduce with:\n    {command}\n  look at it:\n    {command} --html run.html\n{}",
            next_steps(&tool.command, &path, &path).trim_end(),
        );
    }
    let mut judgements = Judgements::default();
    for one in replayed {
        judgements.add(&one.report.judged);
    }
    let judgements: Vec<_> = judgements
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(property, count)| format!("{} {count}", property.id()))
        .collect();
    let _ = writeln!(text, "\njudged: {}", judgements.join(", "));
    text
}

/// A replay for machines. Equal replays differ only in `wall_ms`.
pub(crate) fn record(replayed: &Replayed) -> serde_json::Value {
    let report = &replayed.report;
    json!({
        "name": report.name,
        "file": replayed.path.display().to_string(),
        "seed": report.seed,
        "hash": report.trace.hash(),
        "verdict": replayed.verdict().word(),
        "findings": replayed.findings().collect::<Vec<_>>(),
        "violations": report.violations,
        "misses": report.misses().collect::<Vec<_>>(),
        "events": report.trace.events(),
        "virtual_ms": millis(report.virtual_time),
        "wall_ms": millis(replayed.wall),
        "judged": judged(&report.judged),
    })
}

fn judged(judged: &Judgements) -> serde_json::Value {
    judged.iter().map(|(property, count)| (property.id().to_owned(), json!(count))).collect()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) const RUN_HELP: &str = "\
Examples:
  cargo sim run                                        all scenarios
  cargo sim run scenarios/found                        those of a folder
  cargo sim run --json result.json --jobs 1            one at a time, with a file for machines

Exit codes: see `cargo sim --help`.";
