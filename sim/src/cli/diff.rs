//! `cargo sim diff`: where two runs part.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::host::{Options, Testbed};
use crate::record::trace::{Focus, Line};
use crate::scenario::Scenario;

use super::Tool;
use super::input::draw_or_load;
use super::output::{complain, print};

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// One run: the seed of a campaign, or a scenario file
    #[arg(value_name = "SEED|FILE")]
    one: PathBuf,
    /// The other
    #[arg(value_name = "SEED|FILE")]
    other: PathBuf,
    /// How many lines to show before the first event that differs
    #[arg(long, value_name = "N", default_value = "5")]
    context: usize,
}

/// Shows the first event at which two runs part, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &DiffArgs) -> u8 {
    let (one, other) = match (draw_or_load(tool, &args.one), draw_or_load(tool, &args.other)) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    complain(&format!("replays {} and {}", one.name, other.name));
    let (first, second) = (tool.testbed.replay(&one).trace, tool.testbed.replay(&other).trace);
    if first.hash() == second.hash() {
        print(&format!("the same: hash {} over {} events\n", first.hash(), first.events()));
        return 0;
    }
    // They may part in what is only counted or hashed, long before anything that is shown.
    let (here, there) = (all(&tool.testbed, &one), all(&tool.testbed, &other));
    let mut text = String::new();
    let parted = here.iter().zip(&there).take_while(|(here, there)| here == there).count();
    for line in &here[parted.saturating_sub(args.context)..parted] {
        let _ = writeln!(text, "  {line}");
    }
    let (here, there) = in_words(here.get(parted), there.get(parted));
    let _ = writeln!(text, "- {here}\n+ {there}");
    let (one, other) = (args.one.display(), args.other.display());
    let _ = writeln!(text, "- is {one}, + is {other}; they part after {parted} lines");
    print(&text);
    DIFFERENT
}

/// Two lines that differ, so that they do so as text.
fn in_words(here: Option<&Line>, there: Option<&Line>) -> (String, String) {
    let words = |line: Option<&Line>, with_nanos: bool| match line {
        None => "nothing more that has words".to_owned(),
        Some(line) if with_nanos => format!("{line} [at {} ns]", line.at.as_nanos()),
        Some(line) => line.to_string(),
    };
    let equal = words(here, false) == words(there, false);
    (words(here, equal), words(there, equal))
}

/// Every event of a scenario.
fn all(testbed: &Testbed, scenario: &Scenario) -> Vec<Line> {
    let focus = Focus { all: true, ..Focus::default() };
    let options = Options { focus, ..Options::default() };
    testbed.replay_with(scenario, &options).trace.lines().to_vec()
}

/// The first lines in which two traces differ.
pub(crate) fn first_difference<'a>(
    here: &'a [String],
    there: &'a [String],
) -> Option<(&'a str, &'a str)> {
    let parted = here.iter().zip(there).take_while(|(here, there)| here == there).count();
    let line = |lines: &'a [String]| lines.get(parted).map_or("nothing more", String::as_str);
    (here.len() > parted || there.len() > parted).then(|| (line(here), line(there)))
}

const DIFFERENT: u8 = 1;

pub(crate) const DIFF_HELP: &str = "\
Examples:
  cargo sim diff 17 target/sim/failures/S2/seed-17/scenario.toml   has the generator changed the seed?
  cargo sim diff a.toml b.toml --context 20            what a change of a scenario changes first

Exit codes: 0 the same · 1 they part, and where · 2 bad input.";
