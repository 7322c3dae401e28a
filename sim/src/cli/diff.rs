//! `cargo sim diff`: where two runs part.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use lessor_sim::cluster::replay;

use crate::{draw_or_load, print};

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
pub(crate) fn run(args: &DiffArgs) -> u8 {
    let (one, other) = match (draw_or_load(&args.one), draw_or_load(&args.other)) {
        (Ok((one, _)), Ok((other, _))) => (replay(&one), replay(&other)),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let lines = |report: &lessor_sim::report::Report| -> Vec<_> {
        report.trace.lines().iter().map(ToString::to_string).collect()
    };
    let (here, there) = (lines(&one), lines(&other));
    if one.trace.hash() == other.trace.hash() {
        print(&format!("the same: hash {} over {} events\n", one.trace.hash(), one.trace.events()));
        return 0;
    }
    let mut text = String::new();
    let parted = here.iter().zip(&there).take_while(|(here, there)| here == there).count();
    for line in &here[parted.saturating_sub(args.context)..parted] {
        let _ = writeln!(text, "  {line}");
    }
    match first_difference(&here, &there) {
        Some((here, there)) => {
            let _ = writeln!(text, "- {here}\n+ {there}");
        }
        None => text.push_str("no event that is shown differs, but one that is only hashed\n"),
    }
    let (one, other) = (args.one.display(), args.other.display());
    let _ = writeln!(text, "- is {one}, + is {other}; they part after {parted} lines");
    print(&text);
    DIFFERENT
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
