//! The replay of what a real engine has recorded.
#![expect(clippy::disallowed_methods, reason = "real time passes around the replay")]

use std::fs;
use std::path::Path;
use std::time::Instant;

use lessor::driver::FlightRecorder;

use crate::campaign::batch::Replayed;
use crate::host::{Options, replay_recording};
use crate::world::Recording;

use super::interrupt::Interrupt;
use super::output::{BAD_INPUT, complain};
use super::progress::Progress;
use super::replay::{ReplayArgs, Targets, check_members, closer, focus};

/// Whether this names a recording: a folder, or a file of one.
pub(super) fn is_one(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|extension| extension == "rec")
}

/// Replays a recording, and gives the exit code.
pub(super) fn run(args: &ReplayArgs) -> Result<u8, u8> {
    refuse_what_is_for_scenarios(args)?;
    check_members(args, 1)?;
    let targets = Targets::open(args)?;
    let path = args.what.display();
    let refused = |what: String| {
        complain(&what);
        BAD_INPUT
    };
    let recording = load(&args.what).map_err(refused)?;
    complain(&format!("replays the recording {path}"));
    let running = Interrupt::default();
    running.begin(0, path.to_string());
    let progress = Progress::begin("replays", Some(1), &running);
    let start = Instant::now();
    let replay = |options: &Options| replay_recording(&recording, options).map_err(refused);
    let options = Options { focus: focus(args), ..Options::default() };
    let (mut report, mut summary) = replay(&options)?;
    if let Some(focus) = closer(&options, &report) {
        (report, summary) = replay(&Options { focus, ..options })?;
    }
    if let Some(detail) = targets.detail(args, &report, &[])? {
        let (again, _) = replay(&Options { events: Some(detail), ..Options::default() })?;
        report.events = again.events;
    }
    drop(progress);
    let (path, wall) = (args.what.clone(), start.elapsed());
    Ok(targets.write(args, &Replayed { path, report, differs: None, wall }, &summary))
}

/// A recording has no seed, and ends where it ends.
fn refuse_what_is_for_scenarios(args: &ReplayArgs) -> Result<(), u8> {
    let given = [
        ("--seed", args.seed.is_some()),
        ("--scenario", args.scenario),
        ("--until", args.until.is_some()),
        ("--log", args.log.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            let path = args.what.display();
            complain(&format!("{flag} is for scenarios, and {path} is a recording; leave it out"));
            Err(BAD_INPUT)
        }
    }
}

fn load(path: &Path) -> Result<Recording, String> {
    let named = path.display();
    let wrong =
        |error| format!("{named}: {error}; name a folder that a flight recorder has written");
    let files = if path.is_dir() {
        FlightRecorder::files(path).map_err(wrong)?
    } else {
        vec![path.to_path_buf()]
    };
    let mut read = Vec::new();
    for file in files {
        match fs::read(&file) {
            Ok(bytes) => read.push((file.display().to_string(), bytes)),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        }
    }
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Recording::new(name, read)
}
