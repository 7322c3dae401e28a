//! `cargo sim bundle`: a failure in one file, to pass on.

use std::fs;
use std::io::{Cursor, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::record::picture::picture;
use crate::record::report::Report;

use super::Tool;
use super::input::draw_or_load;
use super::output::{BAD_INPUT, complain};

#[derive(Args)]
pub(crate) struct BundleArgs {
    /// The seed of a campaign, or a scenario file
    #[arg(value_name = "SEED|FILE")]
    what: PathBuf,
    /// Where to [default: the scenario's name with .zip, here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a bundle says of the run in it, and of what it was made with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct About {
    schema: String,
    pub(super) name: String,
    seed: u64,
    pub(super) hash: String,
    verdict: String,
    findings: Vec<String>,
    version: String,
    /// Of the repository in which it was made; with `-dirty` if that had changes.
    commit: Option<String>,
    command: String,
    os: String,
    arch: String,
}

/// Replays a scenario, writes the bundle, and gives the exit code: 0, whatever came of the replay.
pub(crate) fn run(tool: &Tool, args: &BundleArgs) -> u8 {
    let scenario = match draw_or_load(tool, &args.what) {
        Ok(scenario) => scenario,
        Err(code) => return code,
    };
    let path = args.output.clone().unwrap_or_else(|| format!("{}.zip", scenario.name).into());
    complain(&format!("replays {}, seed {}, for {}", scenario.name, scenario.seed, path.display()));
    let report = tool.testbed.replay_closely(&scenario);
    let events = tool.testbed.events(&scenario, &report);
    let about = About::of(tool, &report);
    // The lines of a file are part of a trace, so it goes in as it is.
    let text = if is_one(&args.what) {
        read(&args.what).ok().map(|(_, text)| text)
    } else {
        fs::read_to_string(&args.what).ok()
    };
    let text = text.unwrap_or_else(|| scenario.to_toml());
    let written = pack(&text, &report, &events, &about)
        .and_then(|bytes| fs::write(&path, bytes).map_err(|error| error.to_string()));
    if let Err(error) = written {
        complain(&format!("{}: cannot write the bundle: {error}", path.display()));
        return BAD_INPUT;
    }
    super::output::print(&format!(
        "{}: {}, hash {}\n  replay it with:\n    {} replay {}\n",
        path.display(),
        about.verdict,
        about.hash,
        tool.command,
        path.display(),
    ));
    0
}

impl About {
    fn of(tool: &Tool, report: &Report) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            name: report.name.clone(),
            seed: report.seed,
            hash: report.trace.hash(),
            verdict: report.verdict().word().to_owned(),
            findings: report.findings().collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            command: tool.command.clone(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        }
    }

    /// Whether a replay here is the run of the bundle, in a sentence.
    pub(super) fn compare(&self, report: &Report) -> String {
        let Self { hash, version, commit, .. } = self;
        let made = match commit {
            Some(commit) => format!("with version {version} at commit {commit}"),
            None => format!("with version {version}"),
        };
        if *hash == report.trace.hash() {
            format!("the same run as in the bundle, which was made {made}")
        } else {
            format!(
                "another run than in the bundle, which has the hash {hash} and was made {made}; go there to see it"
            )
        }
    }
}

/// The files in one archive, the same bytes for the same run.
fn pack(scenario: &str, report: &Report, events: &str, about: &About) -> Result<Vec<u8>, String> {
    let mut trace = String::new();
    for line in report.trace.lines() {
        trace.push_str(&line.to_string());
        trace.push('\n');
    }
    let about = serde_json::to_string_pretty(about).map_err(|error| error.to_string())?;
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [
        (ABOUT, &*about),
        (SCENARIO, scenario),
        ("trace.txt", &trace),
        ("events.jsonl", events),
        ("timeline.html", &picture(events)),
    ] {
        archive.start_file(name, SimpleFileOptions::DEFAULT).map_err(|error| error.to_string())?;
        archive.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    }
    let bytes = archive.finish().map_err(|error| error.to_string())?;
    Ok(bytes.into_inner())
}

/// Whether this names a bundle.
pub(super) fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zip")
}

/// What a bundle says of itself, and the text of its scenario.
pub(super) fn read(path: &Path) -> Result<(About, String), String> {
    let wrong =
        |what: String| format!("{}: {what}; name a file that `bundle` has written", path.display());
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| wrong(error.to_string()))?;
    let mut entry = |name: &str| {
        let missing =
            |error: &dyn std::fmt::Display| wrong(format!("{name} cannot be read: {error}"));
        let file = archive.by_name(name).map_err(|error| missing(&error))?;
        let mut text = String::new();
        file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| missing(&error))?;
        Ok::<_, String>(text)
    };
    let (about, scenario) = (entry(ABOUT)?, entry(SCENARIO)?);
    let about: About = serde_json::from_str(&about)
        .map_err(|error| wrong(format!("{ABOUT} is damaged: {error}")))?;
    if about.schema != SCHEMA {
        return Err(wrong(format!("its schema is {}, not {SCHEMA}", about.schema)));
    }
    Ok((about, scenario))
}

/// The commit of the repository here, if it is one.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

const SCHEMA: &str = "lessor-sim/bundle@1";
const ABOUT: &str = "about.json";
const SCENARIO: &str = "scenario.toml";
/// A scenario is much smaller.
const MOST_BYTES: u64 = 16 << 20;

pub(crate) const BUNDLE_HELP: &str = "\
Examples:
  cargo sim bundle 17                                  seed-17.zip, with all that there is to see of it
  cargo sim bundle scenarios/stale-primary.toml -o x.zip
  cargo sim replay x.zip                               the same run, and whether it is the same here

In it: about.json (hash, verdict, version, commit), scenario.toml, trace.txt, events.jsonl, timeline.html.
Exit codes: 0 written, whatever the verdict · 2 bad input, or it cannot be written";
