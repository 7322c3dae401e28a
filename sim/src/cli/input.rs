//! What users name: scenario files and folders of them, seeds, and times.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::scenario::{Scenario, ScenarioError};

use super::output::{BAD_INPUT, CANNOT_JUDGE, NOTHING_RAN, complain};
use super::{Tool, bundle};

/// The scenario files among and below these paths, in order; by default those of the folder
/// `scenarios` here or above.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, u8> {
    let here = std::env::current_dir().unwrap_or_default();
    let default: Vec<_> = here.ancestors().map(|folder| folder.join("scenarios")).collect();
    let default = default.into_iter().find(|folder| folder.is_dir());
    let roots = match (paths, default) {
        ([], Some(folder)) => {
            vec![folder.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(folder)]
        }
        ([], None) => {
            complain(
                "no folder `scenarios` here or above; name a scenario file or a folder of them",
            );
            return Err(NOTHING_RAN);
        }
        (paths, _) => paths.to_vec(),
    };
    let mut search = Search::default();
    for root in &roots {
        if let Err((path, error)) = search.gather(root) {
            let what = broken_link(&path)
                .unwrap_or_else(|| format!("{error}; name a scenario file or a folder of them"));
            complain(&format!("{}: {what}", path.display()));
            return Err(BAD_INPUT);
        }
    }
    if search.found.is_empty() {
        let roots: Vec<_> = roots.iter().map(|root| root.display().to_string()).collect();
        complain(&format!("no scenario (*.toml) in {}", roots.join(", ")));
        return Err(NOTHING_RAN);
    }
    Ok(search.found)
}

/// A walk through folders that enters each once and takes each file once, whatever links lead to it.
#[derive(Default)]
struct Search {
    found: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Search {
    /// Adds a file, or what is in a folder. An error comes with the path that it is about.
    fn gather(&mut self, path: &Path) -> Result<(), (PathBuf, io::Error)> {
        let failed = |error| (path.to_path_buf(), error);
        let real = path.canonicalize().map_err(failed)?;
        if !self.seen.insert(real) {
            return Ok(());
        }
        if !path.is_dir() {
            self.found.push(path.to_path_buf());
            return Ok(());
        }
        let entries = path.read_dir().map_err(failed)?;
        let entries = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut entries = entries.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        entries.sort();
        for entry in entries {
            if entry.is_dir() || is_scenario(&entry) {
                self.gather(&entry)?;
            }
        }
        Ok(())
    }
}

fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// What to say of a link that leads nowhere.
fn broken_link(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    (!path.exists()).then(|| {
        format!("a link to {}, which leads nowhere; remove it or mend it", target.display())
    })
}

/// The scenario of a seed or of a file.
pub(crate) fn draw_or_load(tool: &Tool, what: &Path) -> Result<Scenario, u8> {
    let text = what.to_str().unwrap_or_default();
    match seed(text) {
        Ok(seed) => Ok(tool.testbed.scenario(seed)),
        Err(wrong) if is_like_a_seed(text) && !what.exists() => {
            complain(&format!("{text}: {wrong}; and there is no file of that name"));
            Err(BAD_INPUT)
        }
        Err(_) => load(tool, what),
    }
}

/// The scenario of a file, or why it cannot be replayed here.
pub(crate) fn load(tool: &Tool, path: &Path) -> Result<Scenario, u8> {
    let scenario = if bundle::is_one(path) {
        let (about, text) = bundle::read(path).map_err(|what| {
            complain(&what);
            BAD_INPUT
        })?;
        Scenario::parse(format!("{}.toml", about.name), &text)
    } else {
        Scenario::load(path)
    };
    let scenario = scenario.map_err(|error| refuse(&error))?;
    tool.testbed.check(&scenario).map_err(|unknown| {
        complain(&format!("{}: {unknown}", path.display()));
        BAD_INPUT
    })?;
    Ok(scenario)
}

/// Says why a file is no scenario, and gives the exit code.
fn refuse(error: &ScenarioError) -> u8 {
    complain(&error.to_string());
    if matches!(error, ScenarioError::OtherSchema { .. }) { CANNOT_JUDGE } else { BAD_INPUT }
}

/// A seed: a number, also in hexadecimal.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    // The number parsers of std take a sign as well.
    let number = u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
    number.ok_or_else(|| {
        "a seed is a number from 0 to 2^64 - 1 = 18446744073709551615, or 0x and up to 16 hexadecimal \
         digits"
            .into()
    })
}

/// Whether somebody may have meant a seed by this.
fn is_like_a_seed(text: &str) -> bool {
    let of_number = |c: char| c.is_ascii_hexdigit() || "xX_^+-*,' ".contains(c);
    text.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-')
        && text.chars().all(of_number)
}

/// A span of real or virtual time: a number of seconds, or one with a unit.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || {
        "a time is a number of seconds, or one with ms, s, m, h or d behind, such as 90, 1.5s or 10m"
            .to_owned()
    };
    let bare = text.ends_with(|c: char| c.is_ascii_digit());
    let text = if bare { format!("{text}s") } else { text.to_owned() };
    crate::scenario::span(&text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_one_way_wherever_it_is_given() {
        for (text, millis) in
            [("5", 5_000), ("5s", 5_000), ("12.5s", 12_500), ("0.25", 250), ("10m", 600_000)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5ss", "-5", "+5", "5.", "1e3", "5 s", "soon", "0x5"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_seed_is_a_plain_number_in_one_of_two_notations() {
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(seed("0xff"), Ok(255));
        for text in ["0XFF", "1_000", "2^64", "18446744073709551616", "+5", "0x+5", "-1", "0x", ""]
        {
            assert!(seed(text).is_err(), "{text}");
            assert!(text.is_empty() || is_like_a_seed(text), "{text}");
        }
        assert!(!is_like_a_seed("17.toml") && !is_like_a_seed("scenarios/x.toml"));
    }
}
