//! Laws of scenarios: what is written is read as the same, and whatever a file holds is met with a
//! scenario, or with one sentence that names a line of it.
//!
//! As in lessor's laws, each is tried on the real thing and on broken ones, and seeds are fixed.

use std::fmt::Debug;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use lessor_sim::generate::generate;
use lessor_sim::scenario::{Scenario, ScenarioError};
use quickcheck::{Arbitrary, Gen};

use self::edited::{Bytes, Edited};

mod edited;

#[test]
fn a_generated_scenario_is_read_as_it_was_written() {
    holds(GENERATED, |seed| round_trip(Scenario::to_toml, seed));
}

#[test]
fn a_file_that_was_edited_is_read_as_it_was_written_or_met_with_a_line() {
    holds(EDITS, |edited| edit(parse, Scenario::to_toml, edited));
}

#[test]
fn a_file_of_any_bytes_is_met_with_a_line() {
    holds(FILES, |bytes| load(Scenario::load, bytes));
}

#[test]
fn a_writer_that_drops_a_field_and_a_reader_that_names_no_line_are_refuted() {
    let another = "was read as another";
    refuted(GENERATED, another, |seed| round_trip(without_story, seed));
    refuted(GENERATED, another, |seed| round_trip(without_drifts, seed));
    refuted(GENERATED, another, |seed| round_trip(in_whole_seconds, seed));

    refuted(EDITS, another, |edited| edit(parse, without_story, edited));
    refuted(EDITS, another, |edited| edit(parse, without_answers, edited));
    refuted(EDITS, "no line of it", |edited| edit(counting_from_0, Scenario::to_toml, edited));
    refuted(EDITS, "more than one line", |edited| {
        edit(quoting_the_file, Scenario::to_toml, edited)
    });

    refuted(FILES, "it is text", |bytes| load(as_text, bytes));
    refuted(FILES, "no line of it", |bytes| load(without_a_line, bytes));
}

// The laws

type Outcome = Result<(), String>;
type Read = fn(&str) -> Result<Scenario, ScenarioError>;
type Write = fn(&Scenario) -> String;

/// A seed of the generator; a smaller one makes no smaller scenario.
#[derive(Clone, Debug)]
struct Seed(u64);

impl Arbitrary for Seed {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(u64::arbitrary(g))
    }
}

fn round_trip(write: Write, Seed(seed): &Seed) -> Outcome {
    survives(write, &generate(*seed))
}

fn survives(write: Write, scenario: &Scenario) -> Outcome {
    let text = write(scenario);
    let again = Scenario::parse(format!("{}.toml", scenario.name), &text);
    let again = again.map_err(|error| format!("what was written is refused, {error}: {text}"))?;
    ensure(again == *scenario, || format!("{scenario:?} was read as another: {again:?}"))?;
    ensure(write(&again) == text, || format!("it is written in two ways: {text}"))
}

fn edit(read: Read, write: Write, edited: &Edited) -> Outcome {
    let text = edited.text();
    match read(&text) {
        Ok(scenario) => survives(write, &scenario),
        Err(error) => names_a_line(&error, text.as_bytes()),
    }
}

fn load(load: fn(&Path) -> Result<Scenario, ScenarioError>, bytes: &Bytes) -> Outcome {
    let bytes = bytes.bytes();
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("x.toml");
    fs::write(&path, &bytes).expect("the folder is ours");
    load(&path).map_or_else(|error| names_a_line(&error, &bytes), |_| Ok(()))
}

fn names_a_line(error: &ScenarioError, bytes: &[u8]) -> Outcome {
    let line = match error {
        ScenarioError::Invalid { line, .. } | ScenarioError::OtherSchema { line, .. } => *line,
        ScenarioError::Io { .. }
        | ScenarioError::NoFile { .. }
        | ScenarioError::TooLarge { .. } => 0,
    };
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    ensure((1..=lines).contains(&line), || format!("line {line} is no line of it: {error}"))?;
    ensure(error.to_string().lines().count() == 1, || format!("more than one line: {error}"))
}

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse("x.toml", text)
}

// What they refute

fn without_story(scenario: &Scenario) -> String {
    Scenario { story: String::new(), ..scenario.clone() }.to_toml()
}

fn without_drifts(scenario: &Scenario) -> String {
    scenario.to_toml().lines().filter(|line| !line.starts_with("drift_ppm")).map(line).collect()
}

fn without_answers(scenario: &Scenario) -> String {
    scenario.to_toml().replace(", answer = \"ok\"", "")
}

fn in_whole_seconds(scenario: &Scenario) -> String {
    scenario.to_toml().replace(".5s\"", "s\"")
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

fn counting_from_0(text: &str) -> Result<Scenario, ScenarioError> {
    parse(text).map_err(|error| match error {
        ScenarioError::Invalid { path, line, message } => {
            ScenarioError::Invalid { path, line: line - 1, message }
        }
        other @ (ScenarioError::OtherSchema { .. }
        | ScenarioError::Io { .. }
        | ScenarioError::NoFile { .. }
        | ScenarioError::TooLarge { .. }) => other,
    })
}

fn quoting_the_file(text: &str) -> Result<Scenario, ScenarioError> {
    parse(text).map_err(|error| match error {
        ScenarioError::Invalid { path, line, message } => {
            ScenarioError::Invalid { path, line, message: format!("{message}:\n{text}") }
        }
        other @ (ScenarioError::OtherSchema { .. }
        | ScenarioError::Io { .. }
        | ScenarioError::NoFile { .. }
        | ScenarioError::TooLarge { .. }) => other,
    })
}

fn as_text(path: &Path) -> Result<Scenario, ScenarioError> {
    parse(std::str::from_utf8(&fs::read(path).expect("it is there")).expect("it is text"))
}

fn without_a_line(path: &Path) -> Result<Scenario, ScenarioError> {
    let read = fs::read_to_string(path);
    let text = read.map_err(|error| ScenarioError::Io { path: path.to_path_buf(), error })?;
    parse(&text)
}

// As in lessor's laws

/// Panics with the smallest input that was found to break the law.
fn holds<A: Arbitrary + Debug>(cases: usize, law: fn(&A) -> Outcome) {
    let Some((mut input, mut broken)) = find(cases, law) else { return };
    let mut smaller = input.shrink();
    while let Some(next) = smaller.next() {
        if let Err(still_broken) = judge(law, &next) {
            smaller = next.shrink();
            (input, broken) = (next, still_broken);
        }
    }
    panic!("{broken}\nof {input:?}");
}

/// Panics unless the law is broken on some input, in these words.
#[track_caller]
fn refuted<A: Arbitrary + Debug>(cases: usize, words: &str, law: fn(&A) -> Outcome) {
    let (input, broken) = find(cases, law).expect("something breaks the law");
    assert!(broken.contains(words), "not in the words {words:?}: {broken}\nof {input:?}");
}

/// The first drawn input that breaks the law, and how. Nothing but the seed decides what is drawn.
fn find<A: Arbitrary>(cases: usize, law: fn(&A) -> Outcome) -> Option<(A, String)> {
    let mut g = Gen::from_size_and_seed(SIZE, SEED);
    let mut inputs = std::iter::repeat_with(|| A::arbitrary(&mut g)).take(cases);
    inputs.find_map(|input| judge(law, &input).err().map(|broken| (input, broken)))
}

/// A law that panics is broken in the words of the panic.
fn judge<A>(law: fn(&A) -> Outcome, input: &A) -> Outcome {
    panic::catch_unwind(AssertUnwindSafe(|| law(input))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        Err(text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default())
    })
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(broken()) }
}

/// How long drawn lists may be.
const SIZE: usize = 40;
const SEED: u64 = 47;
/// A generated scenario takes longer, and schedule.rs has tried the first seeds.
const GENERATED: usize = 300;
const EDITS: usize = 6_000;
const FILES: usize = 1_000;
