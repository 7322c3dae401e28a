//! `cargo sim fuzz` and `cargo sim merge`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;

use crate::campaign::pool::cores;
use crate::campaign::seeds::{Ended, MergeError, Outcome, Plan, SCHEMA, Tally, fuzz};
use crate::record::picture::picture;
use crate::record::report::Verdict;
use crate::record::trace::folded;

use super::Tool;
use super::campaign_page::campaign_page;
use super::input::{seed, time};
use super::interrupt::{INTERRUPTED, Interrupt};
use super::output::{
    BAD_INPUT, LAST_LINES, NOTHING_RAN, Target, complain, count, next_steps, painted, print,
};
use super::progress::Progress;

#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// How many seeds, one after the other [default: 200, or until --time is over]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = seed)]
    start: u64,
    /// How many seeds are replayed at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Begins no seed after this time, such as 90, 1.5s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    /// Takes only every N-th seed, from the I-th on, 1 being the first
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: (u64, u64),
    /// Writes every seed's outcome as JSON to a file, or to the standard output (`-`) in place of the summary
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Writes a report of the campaign, a page for a browser, to a file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Goes on however many failures there are; else ten different ones end it
    #[arg(long)]
    keep_going: bool,
}

#[derive(Args)]
pub(crate) struct MergeArgs {
    /// What `fuzz --json` has written, one file a shard
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Writes the whole as JSON to a file, or to the standard output (`-`) in place of the summary
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Runs a campaign, and gives the exit code.
pub(crate) fn run(tool: &Tool, args: &FuzzArgs) -> u8 {
    let (plan, target) = match (plan(tool, args), Target::open(args.json.as_deref())) {
        (Ok(plan), Ok(target)) => (plan, target),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let html = match Target::open(args.html.as_deref()) {
        Ok(html) => html,
        Err(code) => return code,
    };
    let interrupt = Interrupt::listen("waits for the seeds that are being replayed");
    complain(&in_words(&plan));
    let total = plan.seeds.map(|seeds| seeds.div_ceil(plan.shard.1));
    let progress = Progress::begin("seeds", total, &interrupt);
    let virtual_ms = AtomicU64::new(0);
    let kept = Mutex::new(BTreeMap::<String, usize>::new());
    let position = |seed: u64| usize::try_from(seed).unwrap_or(usize::MAX);
    let begun = |seed: u64| interrupt.begin(position(seed), format!("seed {seed}"));
    let tally = fuzz(&plan, &interrupt.flag(), begun, |outcome, _, failures| {
        interrupt.end(position(outcome.seed));
        let passed = virtual_ms.fetch_add(outcome.virtual_ms, Ordering::Relaxed);
        let hours = (passed + outcome.virtual_ms) / 3_600_000;
        let kinds = count(failures, "kind of failure", "kinds of failures");
        progress.say(&format!("virtual {hours} h, {kinds}"));
        progress.done();
        if outcome.fingerprint.is_empty() {
            return;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.entry(outcome.fingerprint.clone()).or_default();
        *before += 1;
        if *before <= KEPT {
            save(tool, outcome);
        }
        if *before == 1 {
            progress.tell(&news(tool, outcome));
        }
    });
    drop(progress);
    if tally.seeds.is_empty() && !interrupt.is_asked() {
        complain("no seed was replayed; give more --seeds, more --time, or another --shard");
        // A shard that has nothing to do is one of those that `merge` asks for.
        return show(tool, &tally, target, NOTHING_RAN);
    }
    for outcomes in tally.failures().into_values() {
        for outcome in outcomes.into_iter().take(KEPT).filter(|outcome| !folder(outcome).exists()) {
            save(tool, outcome);
        }
    }
    let code = if interrupt.is_asked() { INTERRUPTED } else { tally.verdict().code() };
    let code = match &args.html {
        None => code,
        Some(path) => html.write(code, &campaign_page(&tool.command, &tally, path)),
    };
    show(tool, &tally, target, code)
}

fn plan(tool: &Tool, args: &FuzzArgs) -> Result<Plan, u8> {
    let program = this_program()?;
    let seeds = match (args.seeds, args.time) {
        (Some(seeds), _) => Some(in_range(args.start, seeds)?),
        (None, Some(_)) => None,
        (None, None) => Some(SEEDS.min((u64::MAX - args.start).saturating_add(1))),
    };
    Ok(Plan {
        start: args.start,
        seeds,
        shard: args.shard,
        jobs: args.jobs,
        time: args.time,
        keep_going: args.keep_going,
        program,
        testbed: tool.testbed.clone(),
    })
}

/// A number of seeds, if there are so many from the first one on.
pub(crate) fn in_range(start: u64, seeds: u64) -> Result<u64, u8> {
    if start.checked_add(seeds - 1).is_some() {
        return Ok(seeds);
    }
    let left = u128::from(u64::MAX) - u128::from(start) + 1;
    complain(&format!("--seeds {seeds}: from {start} on there are only {left}, up to 2^64 - 1"));
    Err(BAD_INPUT)
}

/// What is about to run.
fn in_words(plan: &Plan) -> String {
    let (shard, shards) = plan.shard;
    let of = if shards == 1 { String::new() } else { format!("shard {shard} of {shards} of ") };
    let which = match plan.seeds.map(|seeds| plan.start.saturating_add(seeds - 1)) {
        Some(last) => format!("seeds {} to {last}", plan.start),
        None => format!("seeds from {} on", plan.start),
    };
    let time = plan.time.map_or(String::new(), |time| format!(", for {} s", time.as_secs_f64()));
    let jobs = plan.jobs.map_or_else(cores, usize::from);
    format!("replays {of}{which}{time}, {jobs} at a time")
}

/// A failure, as soon as it is known.
fn news(tool: &Tool, outcome: &Outcome) -> String {
    let Outcome { seed, verdict, fingerprint, .. } = outcome;
    // A finding begins with its property.
    let finding = outcome.findings.first().unwrap_or(fingerprint);
    format!(
        "{verdict}: seed {seed}: {finding}\n  \
         reproduce with: {} replay {seed}\n  kept in: {}\n  look at: {}",
        tool.command,
        folder(outcome).display(),
        folder(outcome).join(PICTURE).display(),
    )
}

/// Where this program is, to be run afresh.
pub(crate) fn this_program() -> Result<PathBuf, u8> {
    std::env::current_exe().map_err(|error| {
        complain(&format!("cannot find this program to replay seeds afresh: {error}"));
        Verdict::Testbed.code()
    })
}

/// Joins the results of shards, and gives the exit code of the whole.
pub(crate) fn merge(tool: &Tool, args: &MergeArgs) -> u8 {
    let target = match Target::open(args.json.as_deref()) {
        Ok(target) => target,
        Err(code) => return code,
    };
    match join(&args.files) {
        Ok(whole) => {
            let interrupted = whole.ended == Ended::Interrupted;
            if interrupted {
                complain("a shard was interrupted: this is not all of the campaign");
            }
            let code = if interrupted { INTERRUPTED } else { whole.verdict().code() };
            show(tool, &whole, target, code)
        }
        Err(what) => {
            complain(&what);
            BAD_INPUT
        }
    }
}

/// The whole of what is in these files, or why it is none.
fn join(files: &[PathBuf]) -> Result<Tally, String> {
    let mut whole: Option<Tally> = None;
    for file in files {
        let tally = load(file).map_err(|what| format!("{}: {what}", file.display()))?;
        let Some(whole) = &mut whole else {
            whole = Some(tally);
            continue;
        };
        let of = whole.campaign.of;
        whole.merge(tally).map_err(|error| {
            let what = match error {
                MergeError::OtherCampaign(what) => {
                    format!("another campaign than that of {}: {what}", files[0].display())
                }
                MergeError::ShardTwice(shard) => {
                    format!("shard {shard} of {of} is in another file too; name each shard once")
                }
                MergeError::SeedTwice(seed) => {
                    format!("seed {seed} is in another file too; name each shard once")
                }
            };
            format!("{}: {what}", file.display())
        })?;
    }
    let mut whole = whole.ok_or("no file is named")?;
    let (all, missing) = (whole.campaign.of, whole.missing());
    if missing.is_empty() {
        return Ok(whole);
    }
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let missing =
        format!("of the {all} shards of the campaign these are missing: {}", names.join(", "));
    Err(format!("{missing}; name their files as well"))
}

fn load(file: &Path) -> Result<Tally, String> {
    let failed = |error: std::io::Error| format!("cannot read it: {error}");
    // A pipe or a device may never end, and never begin.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let text = std::fs::read(file).map_err(failed)?;
    let not_ours = |error| format!("not what `fuzz --json` writes: {error}");
    let head: Head = serde_json::from_slice(&text).map_err(not_ours)?;
    if head.schema != SCHEMA {
        return Err(format!("it has schema {}, but this version joins {SCHEMA}", head.schema));
    }
    serde_json::from_slice(&text).map_err(not_ours)
}

/// What every schema has.
#[derive(serde::Deserialize)]
struct Head {
    schema: u64,
}

fn show(tool: &Tool, tally: &Tally, target: Target, code: u8) -> u8 {
    let document = serde_json::to_value(tally).expect("a tally has only text as keys");
    let prints = target.leaves_stdout();
    let code = target.write_json(code, &document);
    if prints && !tally.seeds.is_empty() {
        print(&summary(tool, tally));
    }
    code
}

/// Where a failure is kept.
pub(super) fn folder(outcome: &Outcome) -> PathBuf {
    Path::new(FAILURES).join(&outcome.fingerprint).join(format!("seed-{}", outcome.seed))
}

/// Keeps what is needed to look at a failure, and to replay it after the generator has changed.
fn save(tool: &Tool, outcome: &Outcome) {
    let (scenario, folder) = (tool.testbed.scenario(outcome.seed), folder(outcome));
    let report = tool.testbed.replay_closely(&scenario);
    let picture = picture(&tool.testbed.events(&scenario, &report));
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("scenario.toml"), scenario.to_toml()))
        .and_then(|()| std::fs::write(folder.join("trace.txt"), report.trace.to_string()))
        .and_then(|()| std::fs::write(folder.join(PICTURE), picture));
    if let Err(error) = written {
        complain(&format!("{}: cannot keep the failure: {error}", folder.display()));
    }
}

fn summary(tool: &Tool, tally: &Tally) -> String {
    let mut text = verdict_in_words(tally);
    for (fingerprint, outcomes) in tally.failures() {
        let seeds: Vec<_> = outcomes.iter().take(8).map(|o| o.seed.to_string()).collect();
        let first = outcomes[0];
        let verdict = Verdict::of_word(&first.verdict).unwrap_or(Verdict::Testbed);
        let (all, seeds) = (count(outcomes.len(), "seed", "seeds"), seeds.join(", "));
        let _ = writeln!(text, "{} {fingerprint} in {all}: {seeds}", painted(verdict));
        for finding in first.findings.iter().take(5) {
            let _ = writeln!(text, "  {finding}");
        }
        let scenario = tool.testbed.scenario(first.seed);
        let report = tool.testbed.replay_closely(&scenario);
        let events = tool.testbed.events(&scenario, &report);
        for line in folded(&report.causes(&events, LAST_LINES)) {
            let _ = writeln!(text, "  | {line}");
        }
        let (command, seed) = (&tool.command, first.seed);
        let kept = format!("{FAILURES}/{fingerprint}/seed-{seed}");
        let scenario = format!("{kept}/scenario.toml");
        let _ = writeln!(
            text,
            "  reproduce with:\n    {command} replay {seed}\n  or, when the generator has changed:\n    \
             {command} replay {scenario}\n  look at:\n    {kept}/{PICTURE}\n{}",
            next_steps(command, &seed.to_string(), &scenario),
        );
    }
    for what in tally.vacuous() {
        let _ = writeln!(text, "{}: {what}", painted(Verdict::Vacuous));
    }
    let judged: Vec<_> = tally.judged.iter().map(|(id, count)| format!("{id} {count}")).collect();
    let faults = tally.faults.iter();
    let faults: Vec<_> = faults
        .map(|(kind, injected)| format!("{kind} {} of {}", injected.effective, injected.ordered))
        .collect();
    let mut marks: Vec<_> = tally.marks.iter().map(|(name, count)| (count, name)).collect();
    marks.sort();
    let reached = marks.iter().filter(|(count, _)| **count > 0).count();
    let rarest: Vec<_> =
        marks.iter().take(RAREST).map(|(count, name)| format!("{name} {count}")).collect();
    let mut slowest: Vec<&Outcome> = tally.seeds.iter().collect();
    slowest.sort_by_key(|outcome| (std::cmp::Reverse(outcome.wall_us), outcome.seed));
    let slowest: Vec<_> = slowest
        .iter()
        .take(3)
        .map(|outcome| format!("{} ({} ms)", outcome.seed, outcome.wall_us / 1_000))
        .collect();
    let _ = writeln!(text, "judged: {}", judged.join(", "));
    if !tally.hidden.is_empty() {
        let hidden: Vec<_> = tally.hidden.iter().map(String::as_str).collect();
        let hidden = hidden.join(", ");
        let _ = writeln!(text, "not judged, because the host does not show it: {hidden}");
    }
    let _ = writeln!(text, "faults that met something: {}", faults.join(", "));
    let _ = writeln!(
        text,
        "coverage: {reached} of {} marks; the rarest: {}",
        marks.len(),
        rarest.join(", ")
    );
    let _ = writeln!(text, "slowest seeds: {}", slowest.join(", "));
    let virtual_s = tally.seeds.iter().map(|outcome| outcome.virtual_ms).sum::<u64>() / 1_000;
    let busy: u64 = tally.seeds.iter().map(|outcome| outcome.wall_us).sum();
    let _ = writeln!(
        text,
        "{virtual_s} virtual s in {:.1} s: {} seeds/s, {} virtual s a second and core",
        tally.wall_ms as f64 / 1_000.0,
        tally.seeds.len() as u64 * 1_000 / tally.wall_ms.max(1),
        virtual_s * 1_000_000 / busy.max(1),
    );
    text
}

/// What the campaign has come to, in a line.
pub(super) fn verdict_in_words(tally: &Tally) -> String {
    let seeds = tally.seeds.len();
    let clean = tally.seeds.iter().filter(|outcome| outcome.fingerprint.is_empty()).count();
    // With 95 %: nothing is known of how likely something is from fewer than three seeds.
    let bound = match seeds {
        4.. if clean == seeds => format!(" (p < {:.4})", 3.0 / seeds as f64),
        _ => String::new(),
    };
    let kinds = match tally.failures().len() {
        0 => String::new(),
        kinds => format!(" in {}", count(kinds, "kind of failure", "kinds of failures")),
    };
    let early = match tally.ended {
        Ended::Done => "",
        Ended::Failures => "; ended early, for there are enough failures (--keep-going)",
        Ended::Interrupted => "; interrupted",
    };
    format!(
        "{}: {}: {clean} clean, {} not{kinds}{bound}; {} acknowledged; {} also in a fresh process{early}\n\n",
        painted(tally.verdict()),
        count(seeds, "seed", "seeds"),
        seeds - clean,
        tally.acknowledged,
        tally.verified,
    )
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').map(|(shard, of)| (shard.parse(), of.parse()));
    match parts {
        Some((Ok(shard), Ok(of))) if (1..=of).contains(&shard) => Ok((shard, of)),
        _ => Err("a shard is I/N with I from 1 to N, such as 1/4".to_owned()),
    }
}

const SEEDS: u64 = 200;
/// How many marks are shown.
const RAREST: usize = 10;
/// How many seeds of each kind of failure are kept.
const KEPT: usize = 4;
const FAILURES: &str = "target/sim/failures";
/// The picture of a failure that is kept.
pub(super) const PICTURE: &str = "timeline.html";

pub(crate) const FUZZ_HELP: &str = "\
Examples:
  cargo sim fuzz --seeds 2000                          seeds 0 to 1999
  cargo sim fuzz --time 10m --start 0xbeef             as many as ten minutes allow
  cargo sim fuzz --seeds 2000 --html campaign.html      what came of it, as a page
  cargo sim fuzz --seeds 2000 --shard 1/4 --json 1.json   a quarter of them, for `cargo sim merge`

What failed is told when it is found, and kept in target/sim/failures. Exit codes: see `cargo sim --help`.";

pub(crate) const MERGE_HELP: &str = "\
Examples:
  cargo sim merge 1.json 2.json 3.json 4.json
  cargo sim merge shards/*.json --json whole.json

All shards of the campaign must be there, each once, from the same start, number of seeds, version and
generator. Exit codes: see `cargo sim --help`; those of the whole campaign, 130 if a shard was interrupted.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Testbed;

    fn outcome(seed: u64, verdict: Verdict, fingerprint: &str) -> Outcome {
        Outcome {
            seed,
            hash: String::new(),
            verdict: verdict.word().to_owned(),
            fingerprint: fingerprint.to_owned(),
            findings: vec!["S2 (a promise is kept) at 12.034: lease 7 is gone".to_owned()],
            events: 1,
            virtual_ms: 1,
            wall_us: 1,
        }
    }

    fn tally(seeds: Vec<Outcome>) -> Tally {
        Tally { seeds, ..Tally::default() }
    }

    #[test]
    fn news_of_a_failure_have_its_kind_property_seed_command_and_folder() {
        let news = news(
            &Tool::of(Testbed::new().called("cargo sim")),
            &outcome(17, Verdict::Safety, "S2"),
        );
        let lines: Vec<_> = news.lines().collect();
        let expected = [
            "safety: seed 17: S2 (a promise is kept) at 12.034: lease 7 is gone",
            "  reproduce with: cargo sim replay 17",
            "  kept in: target/sim/failures/S2/seed-17",
            "  look at: target/sim/failures/S2/seed-17/timeline.html",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_verdict_comes_first_and_counts_in_plain_words() {
        let clean = |seeds| (0..seeds).map(|seed| outcome(seed, Verdict::Clean, "")).collect();
        let words =
            |seeds| anstream::adapter::strip_str(&verdict_in_words(&tally(seeds))).to_string();
        assert!(words(clean(1)).starts_with("clean: 1 seed: 1 clean, 0 not; "));
        assert!(words(clean(3)).starts_with("clean: 3 seeds: 3 clean, 0 not; "));
        assert!(words(clean(4)).starts_with("clean: 4 seeds: 4 clean, 0 not (p < 0.7500); "));
        let mut seeds: Vec<Outcome> = clean(1);
        seeds.push(outcome(1, Verdict::Liveness, "L6"));
        let begin = "liveness: 2 seeds: 1 clean, 1 not in 1 kind of failure; ";
        assert!(words(seeds.clone()).starts_with(begin), "{}", words(seeds));
    }
}
