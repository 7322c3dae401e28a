//! The command line: a verb a file.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::host::Testbed;

use self::bugs::{BUGS_HELP, BugsArgs};
use self::bundle::{BUNDLE_HELP, BundleArgs};
use self::determinism::{DETERMINISM_HELP, DeterminismArgs};
use self::diff::{DIFF_HELP, DiffArgs};
use self::fuzz::{FUZZ_HELP, FuzzArgs, MERGE_HELP, MergeArgs};
use self::properties::{PROPERTIES_HELP, PropertiesArgs};
use self::replay::{REPLAY_HELP, ReplayArgs};
use self::run::{RUN_HELP, RunArgs};
use self::shrink::{SHRINK_HELP, ShrinkArgs};
use self::why::{WHY_HELP, WhyArgs};

mod bugs;
mod bundle;
mod campaign_page;
mod determinism;
mod diff;
mod fuzz;
mod input;
mod interrupt;
mod log;
mod output;
mod progress;
mod properties;
mod recording;
mod replay;
mod run;
mod shrink;
mod why;

/// Replays seeded scenarios of promotion, demotion, crash and recovery against the lease engine.
///
/// Without a command it replays all scenarios, as `run` does.
#[derive(Parser)]
#[command(
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
    /// Shows when a failure was decided: from which moment on other futures of the run fail as well.
    #[command(after_help = WHY_HELP)]
    Why(WhyArgs),
    /// Packs a run into one file, to pass on: its scenario, trace, events and picture.
    #[command(after_help = BUNDLE_HELP)]
    Bundle(BundleArgs),
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

/// What every verb works with.
pub(crate) struct Tool {
    testbed: Testbed,
    /// How people call this program.
    command: String,
}

impl Tool {
    fn of(testbed: Testbed) -> Self {
        let called = || std::env::args().next().unwrap_or_else(|| "lessor-sim".to_owned());
        let command = testbed.command().map_or_else(called, ToOwned::to_owned);
        Self { testbed, command }
    }

    /// The command line, with examples as people would type them.
    fn command_line(&self) -> clap::Command {
        let mut line = Cli::command().bin_name(&self.command);
        let examples = |line: clap::Command| match line.get_after_help().map(ToString::to_string) {
            Some(help) => line.after_help(help.replace(COMMAND, &self.command)),
            None => line,
        };
        let verbs: Vec<_> = line.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        for verb in verbs {
            line = line.mut_subcommand(verb, examples);
        }
        examples(line)
    }
}

/// The whole command line of the simulator, for a testbed with parts of your own: run, replay, fuzz, merge,
/// diff, shrink, why, bundle, determinism, bugs, properties. Gives the exit code of docs/SIMULATION.md.
///
/// ```no_run
/// use lessor::backend::RedbBackend;
/// use lessor_sim::host::Testbed;
///
/// fn main() -> std::process::ExitCode {
///     let open = |disk| RedbBackend::with_storage(disk);
///     lessor_sim::main(Testbed::new().backend("my-redb", open))
/// }
/// ```
#[must_use]
pub fn main(testbed: Testbed) -> ExitCode {
    ExitCode::from(run(&Tool::of(testbed)))
}

/// Does what the arguments say, and gives the exit code.
fn run(tool: &Tool) -> u8 {
    let matches = tool.command_line().try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(text) => return help(&text),
    };
    let code = match cli.verb {
        None => run::run(tool, &cli.run),
        Some(Verb::Run(args)) => run::run(tool, &args),
        Some(Verb::Replay(args)) => replay::run(tool, &args),
        Some(Verb::Fuzz(args)) => fuzz::run(tool, &args),
        Some(Verb::Merge(args)) => fuzz::merge(tool, &args),
        Some(Verb::Diff(args)) => diff::run(tool, &args),
        Some(Verb::Shrink(args)) => shrink::run(tool, &args),
        Some(Verb::Why(args)) => why::run(tool, &args),
        Some(Verb::Bundle(args)) => bundle::run(tool, &args),
        Some(Verb::Determinism(args)) => determinism::run(tool, &args),
        Some(Verb::Bugs(args)) => bugs::run(&args),
        Some(Verb::Properties(args)) => properties::run(&args),
    };
    output::exit_code(code)
}

/// Prints a help text, or what is wrong with the arguments, and gives the exit code.
fn help(text: &clap::Error) -> u8 {
    let printed = text.print().and_then(|()| std::io::stdout().flush());
    let code = u8::try_from(text.exit_code()).unwrap_or(output::BAD_INPUT);
    match printed {
        Err(error) if code == 0 && error.kind() != std::io::ErrorKind::BrokenPipe => {
            output::complain(&format!("cannot write to the standard output: {error}"));
            output::BAD_INPUT
        }
        Ok(()) | Err(_) => code,
    }
}

/// How examples call this program, until it is known how people do.
const COMMAND: &str = "cargo sim";

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
