//! Text into the parser of scenarios: it is refused in one sentence that names a line, or it means
//! something, and then that survives the way through a file.

use std::borrow::Cow;

use lessor_sim::scenario::{Scenario, ScenarioError};

use crate::Planted;

/// Parses the bytes as text; what is no UTF-8 in them is replaced.
pub fn run(bytes: &[u8], planted: Planted) {
    let text = String::from_utf8_lossy(bytes);
    match Scenario::parse(LABEL, &text) {
        Ok(scenario) => survives(&scenario, planted),
        Err(error) => names_a_line(&error, &text, planted),
    }
}

fn survives(scenario: &Scenario, planted: Planted) {
    let written = scenario.to_toml();
    let mut shown = Cow::from(&*written);
    if planted == Planted::LostLine {
        let end = written.trim_end().rfind('\n').unwrap_or(0);
        shown = Cow::from(&written[..end]);
    }
    let again = Scenario::parse(LABEL, &shown)
        .unwrap_or_else(|error| panic!("what was written is refused: {error}\n{shown}"));
    assert!(again == *scenario, "it says something else:\n{shown}\n{scenario:?}\n{again:?}");
    assert_eq!(again.to_toml(), written, "writing it again gives another text");
}

fn names_a_line(error: &ScenarioError, text: &str, planted: Planted) {
    let mut shown = error.to_string();
    if planted == Planted::LongRefusal {
        shown.push_str("\nand more");
    }
    assert_eq!(shown.lines().count(), 1, "a refusal is one line: {shown:?}");
    let breaks = text.bytes().filter(|byte| *byte == b'\n').count();
    let last = if planted == Planted::WrongLine { 0 } else { breaks + 1 };
    let (line, sentence) = shown
        .strip_prefix(LABEL)
        .and_then(|rest| rest.strip_prefix(':'))
        .and_then(|rest| rest.split_once(": "))
        .unwrap_or_else(|| panic!("a refusal names file and line: {shown}"));
    let line: usize = line.parse().unwrap_or_else(|_| panic!("a refusal names a line: {shown}"));
    assert!((1..=last).contains(&line), "there is no line {line}: {shown}");
    assert!(!sentence.trim().is_empty() && !sentence.ends_with('.'), "no sentence: {shown}");
}

const LABEL: &str = "fuzz.toml";
