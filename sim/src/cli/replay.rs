//! `cargo sim replay`: one scenario, event by event.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lessor::{LeaseId, MemberId};
use serde_json::json;

use crate::campaign::batch::Replayed;
use crate::host::Options;
use crate::record::events::Detail;
use crate::record::picture::picture;
use crate::record::report::{Report, Verdict};
use crate::record::trace::{Focus, Line};
use crate::scenario::Scenario;

use super::Tool;
use super::input::{draw_or_load, seed, time};
use super::interrupt::Interrupt;
use super::log::{self, Level};
use super::output::{Target, complain, painted, print};
use super::progress::Progress;
use super::run::record;

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// The seed of a campaign, or a scenario file
    #[arg(value_name = "SEED|FILE")]
    what: PathBuf,
    /// Replays from this seed in place of the scenario's own
    #[arg(long, value_name = "SEED", value_parser = seed)]
    seed: Option<u64>,
    /// Prints the scenario as a file in place of replaying it
    #[arg(long, conflicts_with_all = ["json", "grep", "lease", "member", "all"])]
    scenario: bool,
    /// Prints only the events with this text in them, also those that a trace counts or only hashes
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Prints only what concerns this lease, also if it is one of a herd; may be repeated
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = lease)]
    lease: Vec<LeaseId>,
    /// Prints only what this member is told, says, hears and does, with each operation of its disk; may be
    /// repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=7))]
    member: Vec<u64>,
    /// Prints every event there is
    #[arg(long)]
    all: bool,
    /// Stops at this moment of virtual time, such as 12.5s, without a verdict about the end
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "scenario")]
    until: Option<Duration>,
    /// Prints what the code under test logs, with virtual time and member, to the standard error
    #[arg(long, value_name = "LEVEL", conflicts_with = "scenario")]
    log: Option<Level>,
    /// Writes trace and verdict as JSON to a file, or to the standard output (`-`) in place of the text
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Writes the events as data, a line of JSON each, to a file, or to the standard output (`-`) in place of
    /// the text
    #[arg(long, value_name = "FILE|-", conflicts_with = "scenario")]
    events: Option<PathBuf>,
    /// Writes a picture of the run, a page for a browser, to a file
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    html: Option<PathBuf>,
    /// How many events are written and drawn: `auto` is all of a short run, and of a long one what concerns the lease and the
    /// member that went wrong
    #[arg(long, value_name = "DETAIL", default_value = "auto")]
    detail: DetailArg,
}

/// How many events are written as data.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DetailArg {
    Auto,
    Full,
}

/// Replays a scenario, prints its trace, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &ReplayArgs) -> u8 {
    let mut scenario = match draw_or_load(tool, &args.what) {
        Ok(scenario) => scenario,
        Err(code) => return code,
    };
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    if args.scenario {
        print(&scenario.to_toml());
        return 0;
    }
    if let Some(member) = args.member.iter().find(|member| **member > scenario.members.into()) {
        let members = scenario.members;
        complain(&format!("--member {member}, but the scenario has members 1 to {members}"));
        return super::output::BAD_INPUT;
    }
    let target = match Target::open(args.json.as_deref()) {
        Ok(target) => target,
        Err(code) => return code,
    };
    let events_target = match Target::open(args.events.as_deref()) {
        Ok(target) => target,
        Err(code) => return code,
    };
    let html_target = match Target::open(args.html.as_deref()) {
        Ok(target) => target,
        Err(code) => return code,
    };
    let (name, members, secs) = (&scenario.name, scenario.members, scenario.duration.as_secs());
    complain(&format!(
        "replays {name}, seed {}: {members} members, {secs} virtual s",
        scenario.seed
    ));
    if let Some(level) = args.log {
        log::start(level);
    }
    let running = Interrupt::default();
    running.begin(0, scenario.name.clone());
    let progress = Progress::begin("replays", Some(1), &running);
    let focus = focus(args);
    let options = Options { focus, until: args.until, ..Options::default() };
    let mut replayed = Replayed::with(&tool.testbed, &args.what, &scenario, &options);
    // What is wrong is about a lease or a member: all of it is worth a second look.
    let closer = replayed.report.focus();
    if options.focus.is_empty() && !closer.is_empty() {
        replayed = Replayed::with(
            &tool.testbed,
            &args.what,
            &scenario,
            &Options { focus: closer, ..options },
        );
    }
    let events = if args.events.is_some() || args.html.is_some() {
        match events(tool, args, &scenario, &replayed.report) {
            Ok(events) => events,
            Err(code) => return code,
        }
    } else {
        String::new()
    };
    drop(progress);
    let code = replayed.verdict().code();
    let lines = shown(args, &replayed);
    let mut document = record(&replayed);
    document["schema"] = json!(1);
    document["trace"] = json!(lines.iter().map(ToString::to_string).collect::<Vec<_>>());
    let prints = target.leaves_stdout() && events_target.leaves_stdout();
    let code = target.write_json(code, &document);
    let code = events_target.write(code, &events);
    let code = if args.html.is_some() { html_target.write(code, &picture(&events)) } else { code };
    if prints {
        print(&text(args, &scenario, &replayed, &lines));
    }
    code
}

/// The events as data, from a second replay: only the first says what is worth the detail.
fn events(
    tool: &Tool,
    args: &ReplayArgs,
    scenario: &Scenario,
    first: &Report,
) -> Result<String, u8> {
    let mut detail = Detail::of(first, scenario);
    detail.leases.extend(&args.lease);
    detail.members.extend(args.member.iter().copied().map(MemberId));
    if args.detail == DetailArg::Full {
        let (events, most) = (first.trace.events(), MOST_EVENTS);
        if events > most {
            complain(&format!(
                "--detail full: {} has {events} events, and at most {most} are written; name leases by --lease, \
                 or members by --member",
                scenario.name
            ));
            return Err(super::output::BAD_INPUT);
        }
        detail.all = true;
    }
    let options = Options { events: Some(detail), until: args.until, ..Options::default() };
    Ok(tool.testbed.replay_with(scenario, &options).events.unwrap_or_default())
}

/// More events than these are not written one by one.
const MOST_EVENTS: u64 = 1_000_000;

/// What the arguments ask to see.
fn focus(args: &ReplayArgs) -> Focus {
    Focus {
        all: args.all,
        text: args.grep.clone(),
        leases: args.lease.iter().copied().collect(),
        members: args.member.iter().copied().map(MemberId).collect(),
    }
}

/// The lines of the trace that the arguments leave.
fn shown<'r>(args: &ReplayArgs, replayed: &'r Replayed) -> Vec<&'r Line> {
    let of_lease = |line: &Line| {
        args.lease.is_empty()
            || line.is_general()
            || args.lease.iter().any(|lease| line.names(*lease))
    };
    let of_member = |line: &Line| match line.member {
        _ if args.member.is_empty() => true,
        Some((member, _)) => args.member.contains(&member.0),
        None => line.is_general(),
    };
    let has_text = |line: &Line| {
        args.grep.as_ref().is_none_or(|text| line.to_string().contains(text.as_str()))
    };
    let lines = replayed.report.trace.lines().iter();
    lines.filter(|line| of_lease(line) && of_member(line) && has_text(line)).collect()
}

fn text(args: &ReplayArgs, scenario: &Scenario, replayed: &Replayed, lines: &[&Line]) -> String {
    let report = &replayed.report;
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    let some = args.grep.is_some() || !args.lease.is_empty() || !args.member.is_empty();
    if !some {
        let _ =
            writeln!(text, "hash {} over {} events", report.trace.hash(), report.trace.events());
    } else if lines.is_empty() {
        let _ = writeln!(text, "no event of {} has that", scenario.name);
    }
    let verdict = replayed.verdict();
    let _ = writeln!(text, "{}: {}", report.name, painted(verdict));
    if verdict == Verdict::Stopped {
        let at = report.stopped_at.unwrap_or_default();
        let (secs, millis) = (at.as_secs(), at.subsec_millis());
        let _ = writeln!(
            text,
            "  nothing was wrong until {secs}.{millis:03}; what comes behind was not replayed"
        );
    }
    for finding in replayed.findings() {
        let _ = writeln!(text, "  {finding}");
    }
    for miss in report.misses() {
        let _ = writeln!(text, "  note: {miss}, as it may in a scenario that was drawn");
    }
    text
}

fn lease(text: &str) -> Result<LeaseId, String> {
    let id = text.parse().ok().and_then(LeaseId::new);
    id.ok_or_else(|| "a lease is a whole number other than 0, up to 2^63 - 1".to_owned())
}

pub(crate) const REPLAY_HELP: &str = "\
Examples:
  cargo sim replay scenarios/stale-primary.toml
  cargo sim replay scenarios/stale-primary.toml --seed 7
  cargo sim replay scenarios/stale-primary.toml --json - | jq -r '.trace[]'
  cargo sim replay 17 --lease 7                        all that concerns a lease, and the members
  cargo sim replay 17 --member 2                       all that a member does, down to its disk
  cargo sim replay 17 --grep 'lease 7'                 the events with some text in them
  cargo sim replay 17 --until 31.5s --log debug        up to a moment, with the log of the members
  cargo sim replay 17 --html 17.html                   a picture of the run, for a browser
  cargo sim replay 17 --events 17.jsonl                its events as data (docs/EVENTS.md)
  cargo sim replay 17 --scenario > seed-17.toml        the same as a scenario file

Where a property does not hold, the trace has every event of the lease that it is about.
Exit codes: see `cargo sim --help`; 0 also where --until stopped it and nothing was wrong.";
