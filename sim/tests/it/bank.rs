//! What is said of the bugs of the bank is what was measured.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lessor_sim::campaign::bank::{Baseline, Bug};
use lessor_sim::judge::Property;

#[test]
fn every_bug_was_measured_and_is_found_by_a_property_that_its_head_names() {
    let (bugs, baseline) = bank();
    let named: BTreeSet<_> = bugs.iter().map(|bug| &bug.name).collect();
    let measured: BTreeSet<_> = baseline.bugs.keys().collect();
    assert_eq!(named, measured, "the bugs, and those of the baseline");
    for bug in &bugs {
        let figures = &baseline.bugs[&bug.name];
        assert!(figures.seeds >= FEWEST_SEEDS, "{}: {} seeds", bug.name, figures.seeds);
        assert!(figures.is_found(), "{}", bug.name);
        assert!(figures.tests.is_some(), "the tests were not run against {}", bug.name);
        let found = figures.properties();
        let meant = bug.head.breaks.iter().any(|id| found.contains(id.as_str()));
        assert!(found.is_empty() || meant, "{} is found by {found:?}", bug.name);
    }
}

/// docs/TESTING.md lists them, so that nobody takes their figures for as sharp as those of others.
#[test]
fn the_bugs_that_were_measured_over_few_seeds_are_known() {
    let (_, baseline) = bank();
    let few = baseline.bugs.iter().filter(|(_, figures)| figures.seeds < ALL_SEEDS);
    let few: Vec<_> = few.map(|(name, _)| name.split('-').next().unwrap_or_default()).collect();
    let list = format!("These were measured over {FEWEST_SEEDS} seeds: {}.", few.join(", "));
    assert!(testing().contains(&list), "docs/TESTING.md does not say: {list}");
}

/// docs/TESTING.md lists them, so that nobody takes a property for tried that is not.
#[test]
fn the_properties_that_find_no_bug_are_known() {
    let (_, baseline) = bank();
    let find: BTreeSet<_> =
        baseline.bugs.values().flat_map(|figures| figures.properties()).collect();
    let silent = Property::ALL.iter().map(|property| property.id()).filter(|id| !find.contains(id));
    let silent: Vec<_> = silent.collect();
    let list = format!("These find none first: {}.", silent.join(", "));
    assert!(testing().contains(&list), "docs/TESTING.md does not say: {list}");
}

/// docs/TESTING.md, with a space for each break of a line.
fn testing() -> String {
    let text = fs::read_to_string(root().join("docs/TESTING.md")).expect("it is there");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn bank() -> (Vec<Bug>, Baseline) {
    let folder = root().join("scenarios/bugs");
    let bugs = Bug::load_all(&folder).unwrap_or_else(|what| panic!("{what}"));
    let baseline = fs::read(folder.join("baseline.json")).expect("it is there");
    (bugs, serde_json::from_slice(&baseline).expect("it is a baseline"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace")
}

/// What `cargo sim bugs` replays for each.
const ALL_SEEDS: u64 = 2_000;
/// What is measured at least, of a bug whose place has moved since.
const FEWEST_SEEDS: u64 = 400;
