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
use crate::record::lanes::{View, lanes};
use crate::record::picture::picture;
use crate::record::report::{Report, Verdict};
use crate::record::trace::{Focus, Line, folded};
use crate::scenario::Herd;

use super::input::{draw_or_load, seed, time};
use super::interrupt::Interrupt;
use super::log::{self, Level};
use super::output::{BAD_INPUT, Target, complain, painted, print};
use super::progress::Progress;
use super::recording;
use super::run::record;
use super::{Tool, bundle};

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// The seed of a campaign, a scenario file, a bundle, or the folder of a recording
    #[arg(value_name = "SEED|FILE|FOLDER")]
    pub(super) what: PathBuf,
    /// Replays from this seed in place of the scenario's own
    #[arg(long, value_name = "SEED", value_parser = seed)]
    pub(super) seed: Option<u64>,
    /// Prints the scenario as a file in place of replaying it
    #[arg(long, conflicts_with_all = ["json", "grep", "lease", "member", "all"])]
    pub(super) scenario: bool,
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
    /// Prints only what happened from this moment of virtual time on, such as 12.5s
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Duration>,
    /// Prints only what happened up to this moment of virtual time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Duration>,
    /// Prints only this part of the world, such as fault, role, apply, commit; may be repeated
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Prints lanes in place of the trace: who led, what was disturbed, and how much time each lease had left; by
    /// default those of the time before the first violation
    #[arg(long, conflicts_with_all = ["grep", "kind", "all"])]
    lanes: bool,
    /// How wide the lanes are
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(60..=400))]
    columns: u16,
    /// Prints every event there is
    #[arg(long)]
    all: bool,
    /// Stops at this moment of virtual time, such as 12.5s, without a verdict about the end
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "scenario")]
    pub(super) until: Option<Duration>,
    /// Prints what the code under test logs, with virtual time and member, to the standard error
    #[arg(long, value_name = "LEVEL", conflicts_with = "scenario")]
    pub(super) log: Option<Level>,
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

/// Replays a scenario or a recording, prints its trace, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &ReplayArgs) -> u8 {
    let outcome =
        if recording::is_one(&args.what) { recording::run(args) } else { run_scenario(tool, args) };
    outcome.unwrap_or_else(|code| code)
}

fn run_scenario(tool: &Tool, args: &ReplayArgs) -> Result<u8, u8> {
    let mut scenario = draw_or_load(tool, &args.what)?;
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    if args.scenario {
        print(&scenario.to_toml());
        return Ok(0);
    }
    check_members(args, scenario.members)?;
    let targets = Targets::open(args)?;
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
    let options = Options { focus: focus(args), until: args.until, ..Options::default() };
    let mut replayed = Replayed::with(&tool.testbed, &args.what, &scenario, &options);
    if let Some(focus) = closer(&options, &replayed.report) {
        let options = Options { focus, ..options };
        replayed = Replayed::with(&tool.testbed, &args.what, &scenario, &options);
    }
    if let Some(detail) = targets.detail(args, &replayed.report, &scenario.herds)? {
        let options = Options { events: Some(detail), until: args.until, ..Options::default() };
        replayed.report.events = tool.testbed.replay_with(&scenario, &options).events;
    }
    drop(progress);
    let about = bundle::is_one(&args.what).then(|| bundle::read(&args.what)).and_then(Result::ok);
    let besides: Vec<_> =
        about.map(|(about, _)| about.compare(&replayed.report)).into_iter().collect();
    Ok(targets.write(args, &replayed, &besides))
}

pub(super) fn check_members(args: &ReplayArgs, members: u8) -> Result<(), u8> {
    match args.member.iter().find(|member| **member > members.into()) {
        None => Ok(()),
        Some(member) => {
            complain(&format!("--member {member}, but there are members 1 to {members}"));
            Err(BAD_INPUT)
        }
    }
}

/// What is wrong is about a lease or a member: all of it is worth a second look, if nothing was asked for.
pub(super) fn closer(options: &Options, report: &Report) -> Option<Focus> {
    let closer = report.focus();
    (options.focus.is_empty() && !closer.is_empty()).then_some(closer)
}

/// Where everything goes that is wanted besides the text.
pub(super) struct Targets {
    json: Target,
    events: Target,
    html: Target,
}

impl Targets {
    pub(super) fn open(args: &ReplayArgs) -> Result<Self, u8> {
        Ok(Self {
            json: Target::open(args.json.as_deref())?,
            events: Target::open(args.events.as_deref())?,
            html: Target::open(args.html.as_deref())?,
        })
    }

    /// How many events are wanted, of a run of which this is the report.
    pub(super) fn detail(
        &self,
        args: &ReplayArgs,
        first: &Report,
        herds: &[Herd],
    ) -> Result<Option<Detail>, u8> {
        if args.events.is_none() && args.html.is_none() && !args.lanes {
            return Ok(None);
        }
        let mut detail = Detail::of(first, herds);
        detail.leases.extend(&args.lease);
        detail.members.extend(args.member.iter().copied().map(MemberId));
        if args.detail == DetailArg::Full {
            let (name, events, most) = (&first.name, first.trace.events(), MOST_EVENTS);
            if events > most {
                complain(&format!(
                    "--detail full: {name} has {events} events, and at most {most} are written; name leases \
                     by --lease, or members by --member"
                ));
                return Err(BAD_INPUT);
            }
            detail.all = true;
        }
        Ok(Some(detail))
    }

    /// Writes all of it, and prints the text with these lines besides.
    pub(super) fn write(self, args: &ReplayArgs, replayed: &Replayed, besides: &[String]) -> u8 {
        let events = replayed.report.events.as_deref().unwrap_or_default();
        let lines = shown(args, replayed);
        let mut document = record(replayed);
        document["schema"] = json!(1);
        document["trace"] = json!(lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        let prints = self.json.leaves_stdout() && self.events.leaves_stdout();
        let code = self.json.write_json(replayed.verdict().code(), &document);
        let code = self.events.write(code, events);
        let code = if args.html.is_some() { self.html.write(code, &picture(events)) } else { code };
        if prints {
            if args.lanes {
                print(&lanes(events, view(args)));
            }
            let lines = if args.lanes { &[][..] } else { &lines };
            print(&text(args, replayed, lines, besides));
        }
        code
    }
}

/// More events than these are not written one by one.
const MOST_EVENTS: u64 = 1_000_000;

/// What the arguments ask to see.
pub(super) fn focus(args: &ReplayArgs) -> Focus {
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
    let in_time = |line: &Line| {
        args.from.is_none_or(|from| line.at >= from) && args.to.is_none_or(|to| line.at <= to)
    };
    let of_kind =
        |line: &Line| args.kind.is_empty() || args.kind.iter().any(|kind| kind == line.kind);
    let lines = replayed.report.trace.lines().iter();
    let lines = lines.filter(|line| in_time(line) && of_kind(line));
    lines.filter(|line| of_lease(line) && of_member(line) && has_text(line)).collect()
}

/// The window of the lanes.
fn view(args: &ReplayArgs) -> View {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    View { columns: args.columns.into(), from: args.from.map(nanos), to: args.to.map(nanos) }
}

fn text(args: &ReplayArgs, replayed: &Replayed, lines: &[&Line], besides: &[String]) -> String {
    let report = &replayed.report;
    let mut text = String::new();
    for line in folded(lines) {
        let _ = writeln!(text, "{line}");
    }
    let some = lines.len() < report.trace.lines().len();
    if !some {
        let _ =
            writeln!(text, "hash {} over {} events", report.trace.hash(), report.trace.events());
    } else if lines.is_empty() && !args.lanes {
        let _ = writeln!(text, "no event of {} has that", report.name);
    }
    for line in besides {
        let _ = writeln!(text, "{line}");
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
  cargo sim replay 17 --from 30 --to 40 --kind role    the roles of ten seconds
  cargo sim replay 17 --until 31.5s --log debug        up to a moment, with the log of the members
  cargo sim replay 17 --lanes --from 30 --to 40        who led and what each lease had left, in a terminal
  cargo sim replay 17 --html 17.html                   a picture of the run, for a browser
  cargo sim replay 17 --events 17.jsonl                its events as data (docs/EVENTS.md)
  cargo sim replay 17 --scenario > seed-17.toml        the same as a scenario file
  cargo sim replay flight --html flight.html           what a real engine has recorded (docs/EMBEDDING.md)

Where a property does not hold, the trace has every event of the lease that it is about.
Exit codes: see `cargo sim --help`; 0 also where --until stopped it and nothing was wrong.";
