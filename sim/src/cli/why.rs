//! `cargo sim why`: when a failure was decided.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::campaign::batch::Replayed;
use crate::campaign::seeds::fingerprint;
use crate::campaign::why::{FUTURES, Moment, steepest, why};
use crate::model::text;
use crate::record::picture::picture;
use crate::record::report::Report;
use crate::record::trace::Line;

use super::Tool;
use super::input::draw_or_load;
use super::interrupt::{INTERRUPTED, Interrupt};
use super::output::{BAD_INPUT, Target, complain, print};
use super::progress::Progress;

#[derive(Args)]
pub(crate) struct WhyArgs {
    /// The seed of a campaign, or a scenario file, that fails; a shrunk one is quickest
    #[arg(value_name = "SEED|FILE")]
    what: PathBuf,
    /// How many moments are looked at at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Writes a picture of the run with the curve in it, a page for a browser, to a file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the curve as JSON to a file, or to the standard output (`-`) in place of the text
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Looks for the moment at which a failure was decided, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &WhyArgs) -> u8 {
    let scenario = match draw_or_load(tool, &args.what) {
        Ok(scenario) => scenario,
        Err(code) => return code,
    };
    let target = match Target::open(args.json.as_deref()) {
        Ok(target) => target,
        Err(code) => return code,
    };
    let html = match Target::open(args.html.as_deref()) {
        Ok(html) => html,
        Err(code) => return code,
    };
    let interrupt = Interrupt::listen("ends with the moments that were looked at");
    complain(&format!("looks for the moment that decides {}", scenario.name));
    let first = Replayed::once(&tool.testbed, &args.what, &scenario);
    let goal = fingerprint(&first.report);
    if goal.is_empty() {
        let (what, word) = (args.what.display(), first.verdict().word());
        complain(&format!(
            "{what}: the scenario is {word}: no property is broken, nothing is decided"
        ));
        return BAD_INPUT;
    }
    let progress = Progress::begin("moments", None, &interrupt);
    let done = || progress.done();
    let moments = why(&tool.testbed, &scenario, &first.report, args.jobs, &interrupt.flag(), done);
    drop(progress);
    let code = if interrupt.is_asked() { INTERRUPTED } else { first.verdict().code() };
    let closely = tool.testbed.replay_closely(&scenario);
    let decided = steepest(&moments);
    let lines = decided.map(|decided| lines(&closely, decided)).unwrap_or_default();
    let document = json!({
        "schema": 1,
        "name": scenario.name,
        "seed": scenario.seed,
        "fails": goal,
        "futures": FUTURES,
        "moments": moments.iter().map(|moment| json!({
            "at_ns": nanos(*moment),
            "failed": moment.failed,
        })).collect::<Vec<_>>(),
        "decided": decided.map(|(before, after)| json!({
            "after_ns": nanos(before),
            "until_ns": nanos(after),
        })),
        "lines": lines.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let code = match html {
        Target::Nowhere => code,
        Target::Stdout | Target::File { .. } => {
            let events = tool.testbed.events(&scenario, &first.report);
            html.write(code, &picture(&with_curve(&events, &document["moments"])))
        }
    };
    let prints = target.leaves_stdout();
    let code = target.write_json(code, &document);
    if prints {
        print(&in_words(&goal, &moments, decided, &lines));
    }
    code
}

/// The curve, and what happened where it rises.
fn in_words(
    goal: &str,
    moments: &[Moment],
    decided: Option<(Moment, Moment)>,
    lines: &[&Line],
) -> String {
    let mut text =
        format!("{goal}: how many of {FUTURES} futures fail so, from each moment on\n\n");
    let mut last = None;
    for moment in moments {
        let marks = decided.is_some_and(|(_, after)| after.at == moment.at);
        // Of a stretch that is level its two ends say enough.
        let level = last == Some(moment.failed) && moments.last() != Some(moment) && !marks;
        let starts = decided.is_some_and(|(before, _)| before.at == moment.at);
        if level && !starts {
            continue;
        }
        last = Some(moment.failed);
        let bar = "█".repeat((moment.failed * WIDTH / FUTURES) as usize);
        let arrow = if marks { "  ◀ decided by here" } else { "" };
        let _ = writeln!(
            text,
            "{:>10}  {:>3} %  {bar}{arrow}",
            text::moment(moment.at),
            share(*moment)
        );
    }
    match decided {
        None => text.push_str("\nno moment decides it: it is as likely from the start\n"),
        Some((before, after)) => {
            let _ = writeln!(
                text,
                "\ndecided between {} and {}: {} % of the futures fail before, {} % after. What happened there:",
                text::moment(before.at),
                text::moment(after.at),
                share(before),
                share(after),
            );
            for line in lines {
                let _ = writeln!(text, "  | {line}");
            }
        }
    }
    text
}

/// The events of a run, with the curve in their header.
fn with_curve(events: &str, moments: &serde_json::Value) -> String {
    let (header, rest) = events.split_once('\n').unwrap_or((events, ""));
    let mut header: serde_json::Value = serde_json::from_str(header).expect("we have written it");
    header["why"] = json!({ "futures": FUTURES, "moments": moments });
    format!("{header}\n{rest}")
}

/// When it is, as JSON has it.
fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.at.as_nanos()).unwrap_or(u64::MAX)
}

/// How many futures of a hundred fail.
fn share(moment: Moment) -> u32 {
    moment.failed * 100 / FUTURES
}

/// What happened between two moments, as the trace has it: up to so many lines, the last ones first if
/// there are more.
fn lines(report: &Report, (before, after): (Moment, Moment)) -> Vec<&Line> {
    let until = after.at + std::time::Duration::from_micros(100);
    let between = |line: &&Line| line.at > before.at && line.at <= until;
    let lines: Vec<_> = report.trace.lines().iter().filter(between).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// So many lines are shown.
const LINES: usize = 6;
/// The length of the longest bar.
const WIDTH: u32 = 40;

pub(crate) const WHY_HELP: &str = "\
A run is kept up to a moment, and the rest is drawn anew from 64 other seeds: other steps and other chance. Where
more of these futures fail than before, the failure was decided.

Examples:
  cargo sim why 14
  cargo sim why scenarios/found/s9d-seed-14.toml
  cargo sim why 14 --html why.html                     the curve above the lanes of the run
  cargo sim why 14 --json - | jq .decided

Exit codes: that of the failure, or 2 if there is none; 130 if it was interrupted; else see `cargo sim --help`.";
