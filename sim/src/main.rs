//! The command line of the simulator.

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs --cfg madsim: an exported RUSTFLAGS replaces the flags of .cargo/config.toml; unset it"
);

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::cli::bugs::{BUGS_HELP, BugsArgs};
use self::cli::determinism::{DETERMINISM_HELP, DeterminismArgs};
use self::cli::diff::{DIFF_HELP, DiffArgs};
use self::cli::fuzz::{FUZZ_HELP, FuzzArgs, MERGE_HELP, MergeArgs};
use self::cli::output;
use self::cli::properties::{PROPERTIES_HELP, PropertiesArgs};
use self::cli::replay::{REPLAY_HELP, ReplayArgs};
use self::cli::run::{RUN_HELP, RunArgs};
use self::cli::shrink::{SHRINK_HELP, ShrinkArgs};

mod cli {
    pub(crate) mod bugs;
    pub(crate) mod determinism;
    pub(crate) mod diff;
    pub(crate) mod fuzz;
    pub(crate) mod input;
    pub(crate) mod interrupt;
    pub(crate) mod log;
    pub(crate) mod output;
    pub(crate) mod progress;
    pub(crate) mod properties;
    pub(crate) mod replay;
    pub(crate) mod run;
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

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(text) => return ExitCode::from(help(&text)),
    };
    let code = match cli.verb {
        None => cli::run::run(&cli.run),
        Some(Verb::Run(args)) => cli::run::run(&args),
        Some(Verb::Replay(args)) => cli::replay::run(&args),
        Some(Verb::Fuzz(args)) => cli::fuzz::run(&args),
        Some(Verb::Merge(args)) => cli::fuzz::merge(&args),
        Some(Verb::Diff(args)) => cli::diff::run(&args),
        Some(Verb::Shrink(args)) => cli::shrink::run(&args),
        Some(Verb::Determinism(args)) => cli::determinism::run(&args),
        Some(Verb::Bugs(args)) => cli::bugs::run(&args),
        Some(Verb::Properties(args)) => cli::properties::run(&args),
    };
    ExitCode::from(output::exit_code(code))
}

/// Prints a help text, or what is wrong with the arguments, and gives the exit code.
fn help(text: &clap::Error) -> u8 {
    let printed = text.print().and_then(|()| std::io::stdout().flush());
    let code = u8::try_from(text.exit_code()).unwrap_or(BAD_INPUT);
    match printed {
        Err(error) if code == 0 && error.kind() != std::io::ErrorKind::BrokenPipe => {
            output::complain(&format!("cannot write to the standard output: {error}"));
            BAD_INPUT
        }
        Ok(()) | Err(_) => code,
    }
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
  6 vacuous: a fault that a scenario orders had no effect, or a campaign never met something ·
  70 the testbed itself failed ·
  125 the scenario needs another version · 130 interrupted";
