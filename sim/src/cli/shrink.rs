//! `cargo sim shrink`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lessor_sim::cluster::replay;
use lessor_sim::fuzz::fingerprint;
use lessor_sim::scenario::Scenario;
use lessor_sim::shrink::{Budget, shrink};

use super::fuzz;
use crate::{BAD_INPUT, complain, draw_or_load, print};

#[derive(Args)]
pub(crate) struct ShrinkArgs {
    /// The seed of a campaign, or a scenario file, that fails
    #[arg(value_name = "SEED|FILE")]
    what: PathBuf,
    /// Writes the short scenario to this file [default: scenarios/found/PROPERTY-NAME.toml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tries nothing more after this time, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = fuzz::time)]
    time: Duration,
    /// How many candidates are replayed at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// Shrinks a failure, and gives the exit code.
pub(crate) fn run(args: &ShrinkArgs) -> u8 {
    let scenario = match draw_or_load(&args.what) {
        Ok((scenario, _)) => scenario,
        Err(code) => return code,
    };
    let report = replay(&scenario);
    let goal = fingerprint(&report);
    if goal.is_empty() {
        let what = args.what.display();
        complain(&format!("{what}: the scenario is clean, there is nothing to shrink"));
        return BAD_INPUT;
    }
    let from = scenario.steps.len();
    let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("the template is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let budget = Budget { time: args.time, jobs: args.jobs };
    let shrunk =
        shrink(&scenario, &goal, budget, |to| bar.set_message(format!("{from} → {to} steps")));
    bar.finish_and_clear();
    let mut found = shrunk.scenario;
    let (to, again) = (found.steps.len(), replay(&found));
    if fingerprint(&again) != goal {
        complain(&format!("the short scenario does not break {goal} again: it is not determined"));
        return lessor_sim::report::Verdict::Nondeterminism.code();
    }
    let finding = again.findings().next().unwrap_or_default();
    let default = format!("scenarios/found/{}-{}.toml", goal.to_lowercase(), scenario.name);
    let output = args.output.clone().unwrap_or_else(|| default.into());
    found.story = format!(
        "Shrunk from {}, which breaks {goal}, from {from} to {to} steps:\n{finding}",
        scenario.name
    );
    if let Err(error) = write(&output, &found) {
        complain(&format!("{}: cannot write the scenario: {error}", output.display()));
        return BAD_INPUT;
    }
    let how = if shrunk.complete { "nothing more can go" } else { "the time is over" };
    print(&format!(
        "{}\n{goal}: {from} → {to} steps, {} members, {} s; {} candidates, {how}\n  {finding}\n\
         reproduce with:\n  cargo sim replay {}\n",
        found.to_toml(),
        found.members,
        found.duration.as_secs(),
        shrunk.tried,
        output.display(),
    ));
    again.verdict().code()
}

fn write(path: &Path, scenario: &Scenario) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, scenario.to_toml())
}

pub(crate) const SHRINK_HELP: &str = "\
Examples:
  cargo sim shrink 1123                                a seed that `fuzz` reported
  cargo sim shrink target/sim/failures/S1/seed-1123/scenario.toml
  cargo sim shrink 1123 --time 10m -o short.toml

What is written stays in scenarios/found, where the tests replay it for ever: its fix must be there too.
Exit codes: that of the failure, or 2 if there is none; else see `cargo sim --help`.";
