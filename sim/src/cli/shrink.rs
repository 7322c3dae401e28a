//! `cargo sim shrink`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::campaign::batch::Replayed;
use crate::campaign::seeds::fingerprint;
use crate::campaign::shrink::{Budget, Shrunk, shrink};
use crate::record::picture::picture;
use crate::scenario::Scenario;

use super::Tool;
use super::input::{draw_or_load, time};
use super::interrupt::{INTERRUPTED, Interrupt};
use super::output::{BAD_INPUT, Target, complain, count, print};
use super::progress::Progress;

#[derive(Args)]
pub(crate) struct ShrinkArgs {
    /// The seed of a campaign, or a scenario file, that fails
    #[arg(value_name = "SEED|FILE")]
    what: PathBuf,
    /// Writes the short scenario to this file [default: scenarios/found/PROPERTY-NAME.toml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ends after this time, such as 90, 1.5s or 10m, with the shortest that was found; the first replay is
    /// part of it, and the last one comes behind
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    time: Duration,
    /// How many candidates are replayed at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// Shrinks a failure, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &ShrinkArgs) -> u8 {
    let scenario = match draw_or_load(tool, &args.what) {
        Ok(scenario) => scenario,
        Err(code) => return code,
    };
    // Before the work, so that nothing is lost; without --output the name depends on what is broken.
    let named = args.output.as_deref().map(|output| Target::open(Some(output))).transpose();
    let named = match named {
        Ok(named) => named,
        Err(code) => return code,
    };
    let size = size(&scenario);
    let interrupt = Interrupt::listen("ends with the shortest that was found");
    complain(&format!("shrinks {} of {size}, for {} s", scenario.name, args.time.as_secs_f64()));
    let progress = Progress::begin("changes", None, &interrupt);
    let first = Replayed::once(&tool.testbed, &args.what, &scenario);
    let goal = fingerprint(&first.report);
    if goal.is_empty() {
        let (what, word) = (args.what.display(), first.verdict().word());
        drop(progress);
        complain(&format!(
            "{what}: the scenario is {word}: no property is broken, there is nothing to shrink"
        ));
        return BAD_INPUT;
    }
    let default = format!("scenarios/found/{}-{}.toml", goal.to_lowercase(), scenario.name);
    let output = args.output.clone().unwrap_or_else(|| default.into());
    let target = match named.map_or_else(|| Target::open(Some(&output)), Ok) {
        Ok(target) => target,
        Err(code) => return code,
    };
    progress.say(&format!("breaks {goal}, {size}"));
    let time = args.time.saturating_sub(first.wall);
    let budget = Budget { time, jobs: args.jobs, interrupted: interrupt.flag() };
    let shrunk = shrink(&tool.testbed, &scenario, &goal, &budget, |best| {
        progress.done();
        progress.say(&format!("breaks {goal}, {size} → {}", self::size(best)));
    });
    drop(progress);
    let code = finish(tool, &scenario, &goal, shrunk, &output, target, &interrupt);
    if interrupt.is_asked() { INTERRUPTED } else { code }
}

/// Verifies what was found, writes and prints it, and gives the exit code.
fn finish(
    tool: &Tool,
    scenario: &Scenario,
    goal: &str,
    shrunk: Shrunk,
    output: &Path,
    target: Target,
    interrupt: &Interrupt,
) -> u8 {
    let mut found = shrunk.scenario;
    // Once its bug is mended, what is left of its faults need not meet anything.
    found.may_miss = true;
    let again = tool.testbed.replay(&found);
    if fingerprint(&again) != goal {
        complain(&format!("the short scenario does not break {goal} again: it is not determined"));
        return crate::record::report::Verdict::Nondeterminism.code();
    }
    let finding = again.findings().next().unwrap_or_default();
    let (from, to) = (size(scenario), size(&found));
    found.story = format!(
        "Shrunk from {}, which breaks {goal}, from {from} to {to}:\n{finding}",
        scenario.name
    );
    let code = target.write(again.verdict().code(), &found.to_toml());
    let looks = output.with_extension("html");
    let drawn = picture(&tool.testbed.events(&found, &again));
    if let Err(error) = std::fs::write(&looks, drawn) {
        complain(&format!("{}: cannot keep the picture: {error}", looks.display()));
    }
    let how = match (shrunk.complete, interrupt.is_asked()) {
        (true, _) => "nothing more can go",
        (false, true) => "interrupted",
        (false, false) => "the time is over",
    };
    let members = count(found.members.into(), "member", "members");
    print(&format!(
        "{}\n{goal}: {from} → {to}, {members}, {} s; {} candidates, {how}\n  {finding}\n\
         reproduce with:\n  {command} replay {output}\nwhen it was decided:\n  {command} why {output}\n\
         look at:\n  {}\n",
        found.to_toml(),
        found.duration.as_secs(),
        shrunk.tried,
        looks.display(),
        command = tool.command,
        output = output.display(),
    ));
    code
}

/// How long a scenario is.
fn size(scenario: &Scenario) -> String {
    let steps = count(scenario.steps.len(), "step", "steps");
    let leases: usize = scenario.herds.iter().map(|herd| herd.leases as usize).sum();
    match scenario.herds.len() {
        0 => steps,
        herds => {
            let (herds, leases) = (count(herds, "herd", "herds"), count(leases, "lease", "leases"));
            format!("{steps} and {herds} of {leases}")
        }
    }
}

pub(crate) const SHRINK_HELP: &str = "\
Examples:
  cargo sim shrink 1123                                a seed that `fuzz` reported
  cargo sim shrink target/sim/failures/S1/seed-1123/scenario.toml
  cargo sim shrink 1123 --time 10m -o short.toml

What is written stays in scenarios/found, where the tests replay it for ever: its fix must be there too.
Exit codes: that of the failure, or 2 if there is none; 130 if it was interrupted; else see `cargo sim --help`.";
