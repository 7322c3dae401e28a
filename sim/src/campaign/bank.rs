//! The bug bank: real bugs, each a small patch that brings one of its kind back, and the figures of how
//! often a campaign finds it.
//!
//! A bug is a file of `scenarios/bugs`: a head in TOML, then a unified diff. The one rule: a patch lands
//! where it was meant to. What a hunk makes of the code must be there once, in a function that the head names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::judge::Property;

/// A bug of the bank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bug {
    /// The stem of its file: a number and a name.
    pub name: String,
    /// What its head says.
    pub head: Head,
    /// Its file.
    pub path: PathBuf,
    hunks: Vec<Hunk>,
}

/// What is said of a bug.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// What goes wrong, as a sentence.
    pub title: String,
    /// The thread that reported it, or who found it.
    pub origin: String,
    /// The properties that it breaks.
    pub breaks: Vec<String>,
    /// The functions and structures that it changes.
    pub sites: Vec<String>,
}

/// What one hunk makes of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hunk {
    file: PathBuf,
    /// The lines afterwards, and how many of them are before the first that it changes.
    lines: Vec<String>,
    before: usize,
}

impl Bug {
    /// Reads a bug.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, as a sentence.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (head, diff) = text
            .split_once("\ndiff --git ")
            .ok_or("there is no `diff --git` behind the head; make the patch with git diff")?;
        let head: Head =
            toml::from_str(head).map_err(|error| format!("the head is wrong: {error}"))?;
        if let Some(id) = head.breaks.iter().find(|id| Property::of_id(id).is_none()) {
            return Err(format!("the head is wrong: no property is named {id}"));
        }
        let hunks = hunks(diff);
        if hunks.is_empty() {
            return Err("the patch changes nothing".to_owned());
        }
        Ok(Self { name, head, path: path.to_path_buf(), hunks })
    }

    /// Reads all bugs of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// Which file is wrong, and what is wrong with it.
    pub fn load_all(folder: &Path) -> Result<Vec<Self>, String> {
        let entries =
            folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
        paths.sort();
        let load =
            |path: &PathBuf| Self::load(path).map_err(|what| format!("{}: {what}", path.display()));
        paths.iter().map(load).collect()
    }

    /// Verifies that the patch, which was applied in `folder`, did what it was meant to.
    ///
    /// # Errors
    ///
    /// Which hunk landed elsewhere, as a sentence.
    pub fn has_landed(&self, folder: &Path) -> Result<(), String> {
        for hunk in &self.hunks {
            let file = hunk.file.display();
            let text = std::fs::read_to_string(folder.join(&hunk.file));
            let text = text.map_err(|error| format!("{file}: cannot read it: {error}"))?;
            let lines: Vec<_> = text.lines().collect();
            let windows = lines.windows(hunk.lines.len()).enumerate();
            let mut positions = windows.filter(|(_, window)| *window == hunk.lines);
            let (Some((position, _)), None) = (positions.next(), positions.next()) else {
                return Err(format!("{file}: what a hunk makes is not there exactly once"));
            };
            let function = function_at(&lines, position + hunk.before);
            if !function.is_some_and(|name| self.head.sites.iter().any(|site| site == name)) {
                let function = function.unwrap_or("no function");
                let sites = self.head.sites.join(", ");
                return Err(format!("{file}: a hunk lands in {function}, not in {sites}"));
            }
        }
        Ok(())
    }
}

fn hunks(diff: &str) -> Vec<Hunk> {
    let (mut file, mut hunks) = (PathBuf::new(), Vec::<Hunk>::new());
    let (mut inside, mut changed) = (false, false);
    for line in diff.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            (file, inside) = (name.into(), false);
        } else if line.starts_with("@@ ") {
            hunks.push(Hunk { file: file.clone(), lines: Vec::new(), before: 0 });
            (inside, changed) = (true, false);
        } else if line.starts_with("diff --git ") {
            inside = false;
        } else if let (true, Some(hunk)) = (inside, hunks.last_mut()) {
            changed |= line.starts_with(['+', '-']);
            if !line.starts_with('-') {
                hunk.before += usize::from(!changed);
                hunk.lines.push(line.get(1..).unwrap_or_default().to_owned());
            }
        }
    }
    hunks
}

/// The name of the function or the structure that a line is in, by the last one that begins before it.
fn function_at<'a>(lines: &[&'a str], position: usize) -> Option<&'a str> {
    let name = |line: &&'a str| {
        let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "];
        let line = words
            .iter()
            .fold(line.trim_start(), |line, word| line.strip_prefix(word).unwrap_or(line));
        let name = line.strip_prefix("fn ").or_else(|| line.strip_prefix("struct "))?;
        name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    };
    lines[..=position.min(lines.len() - 1)].iter().rev().find_map(name)
}

/// How a campaign and the tests fared against a bug.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// How many seeds were replayed, none of them stopped early.
    pub seeds: u64,
    /// How many failed.
    pub hits: u64,
    /// How many failed by which property, or location of a panic.
    pub by: BTreeMap<String, u64>,
    /// How many steps and herds the shrunk scenario has, if there is one.
    pub steps: Option<u64>,
    /// Which tests of `lessor` failed, by their kind; none if they were not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<BTreeMap<String, u64>>,
}

impl Figures {
    /// The interval in which the share of seeds that find the bug lies with a confidence of 95 %, by
    /// Wilson's score. Each end is from 0 to 1.
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        let (n, z) = (self.seeds.max(1) as f64, Z);
        let p = self.hits as f64 / n;
        let scale = 1.0 / (1.0 + z * z / n);
        let centre = (p + z * z / (2.0 * n)) * scale;
        let half = z * scale * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }

    /// Which properties found it in the campaign; a panic is one of S15.
    #[must_use]
    pub fn properties(&self) -> BTreeSet<&str> {
        let property = |by| if str::starts_with(by, "panic-") { "S15" } else { by };
        self.by.keys().map(|by| property(by.as_str())).collect()
    }

    /// Whether the campaign, or else a test, found the bug.
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.hits > 0 || self.tests.as_ref().is_some_and(|tests| !tests.is_empty())
    }

    /// What has become worse than it was, beyond what chance explains.
    ///
    /// # Errors
    ///
    /// That, as a sentence.
    pub fn is_no_worse_than(&self, before: &Self) -> Result<(), String> {
        let found = self.hits as f64 / self.seeds.max(1) as f64;
        let least = before.interval().0 / 3.0;
        if before.hits > 0 && self.hits == 0 {
            return Err(format!(
                "the campaign missed it in {} seeds; it had found it in {} of {}",
                self.seeds, before.hits, before.seeds
            ));
        }
        if before.hits > 0 && found < least {
            return Err(format!(
                "the campaign found it in {} of {} seeds; a third of the lower bound of before is {:.2} %",
                self.hits,
                self.seeds,
                100.0 * least
            ));
        }
        let by_tests = |tests: &BTreeMap<String, u64>| !tests.is_empty();
        if before.tests.as_ref().is_some_and(by_tests) && !self.tests.as_ref().is_none_or(by_tests)
        {
            return Err("no test finds it any more".to_owned());
        }
        Ok(())
    }
}

/// As a row: hits, interval, how many seeds until it is found, steps.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.interval();
        let hits = format!("{}/{}", self.hits, self.seeds);
        let share = if self.hits > 0 {
            format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)
        } else {
            format!("p < {:.4}", (3.0 / self.seeds.max(1) as f64).min(1.0))
        };
        let seeds = match self.hits {
            0 => "-".to_owned(),
            hits => format!("{:.1}", self.seeds as f64 / hits as f64),
        };
        let steps = self.steps.map_or_else(|| "-".to_owned(), |steps| steps.to_string());
        write!(f, "{hits:>9}  {share:>13}  {seeds:>6}  {steps:>5}")
    }
}

/// What was measured, for each bug by its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Baseline {
    /// The version of this format, 1.
    pub schema: u64,
    /// The figures.
    pub bugs: BTreeMap<String, Figures>,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { schema: 1, bugs: BTreeMap::new() }
    }
}

/// The quantile of the normal distribution for a confidence of 95 %.
const Z: f64 = 1.96;

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
title = \"it forgets\"
origin = \"etcd #1\"
breaks = [\"S1\"]
sites = [\"forget\"]

diff --git a/a.rs b/a.rs
--- a/a.rs
+++ b/a.rs
@@ -2,3 +2,3 @@ fn keep() {
 fn forget() {
-    remember();
+    forget();
 }
";

    fn bug(folder: &Path, text: &str) -> Result<Bug, String> {
        let path = folder.join("01-it-forgets.patch");
        std::fs::write(&path, text).expect("the folder is there");
        Bug::load(&path)
    }

    fn figures(hits: u64, seeds: u64) -> Figures {
        Figures { seeds, hits, ..Figures::default() }
    }

    #[test]
    fn a_patch_must_land_in_the_function_that_it_names_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("there is room");
        let landed = |text: &str, code: &str| {
            std::fs::write(folder.path().join("a.rs"), code).expect("the folder is there");
            bug(folder.path(), text).expect("it is well-formed").has_landed(folder.path())
        };
        let right = "fn keep() {}\nfn forget() {\n    forget();\n}\n";
        assert_eq!(landed(PATCH, right), Ok(()));
        assert!(landed(PATCH, "fn forget() {\n    remember();\n}\n").is_err());
        assert!(landed(PATCH, &right.repeat(2)).is_err());
        assert!(landed(&PATCH.replace("[\"forget\"]", "[\"keep\"]"), right).is_err());
    }

    #[test]
    fn a_file_that_is_no_bug_is_refused() {
        let folder = tempfile::tempdir().expect("there is room");
        for (text, wrong) in [
            ("title = \"a\"\n", "no `diff --git`"),
            (&PATCH.replace("origin", "source"), "the head is wrong"),
            (&PATCH.replace("S1", "S99"), "no property is named S99"),
            (&PATCH.replace("@@", "##"), "changes nothing"),
        ] {
            let refused = bug(folder.path(), text).expect_err("it is no bug");
            assert!(refused.contains(wrong), "{refused}");
        }
    }

    /// The figures are those of Wilson's paper's formula, computed by hand.
    #[test]
    fn the_interval_is_wilsons() {
        let close = |(low, high): (f64, f64), (l, h): (f64, f64)| {
            assert!((low - l).abs() < 1e-4 && (high - h).abs() < 1e-4, "{low} {high}");
        };
        close(figures(0, 2_000).interval(), (0.0, 0.0019));
        close(figures(10, 100).interval(), (0.0552, 0.1744));
        close(figures(100, 100).interval(), (0.9630, 1.0));
    }

    #[test]
    fn canary_what_becomes_worse_is_noticed() {
        let before = figures(300, 2_000);
        assert_eq!(figures(290, 2_000).is_no_worse_than(&before), Ok(()));
        assert_eq!(figures(100, 2_000).is_no_worse_than(&before), Ok(()));
        assert!(figures(80, 2_000).is_no_worse_than(&before).is_err());
        assert!(figures(0, 20).is_no_worse_than(&before).is_err());
        let tests = |count| Figures {
            tests: Some((0..count).map(|kind| (format!("{kind}"), 1)).collect()),
            ..figures(0, 2_000)
        };
        assert_eq!(tests(1).is_no_worse_than(&tests(2)), Ok(()));
        assert!(tests(0).is_no_worse_than(&tests(1)).is_err());
        assert_eq!(figures(300, 2_000).is_no_worse_than(&before), Ok(()), "without the tests");
        let both = |count| Figures { hits: 300, ..tests(count) };
        assert_eq!(before.is_no_worse_than(&both(1)), Ok(()), "the tests were not run");
        assert!(both(0).is_no_worse_than(&both(1)).is_err(), "though the campaign still finds it");
    }
}
