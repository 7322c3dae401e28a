//! The events of a run as data: each has its cause before it, each id its beginning and its end.

use std::collections::{BTreeMap, BTreeSet};

use lessor_sim::host::{Options, Testbed};
use lessor_sim::record::events::{Detail, SCHEMA};
use lessor_sim::scenario::Scenario;
use serde_json::Value;

/// A replay in full: the lines of its file, after the hash of one that writes nothing was the same.
fn events(scenario: &Scenario) -> Vec<Value> {
    let testbed = Testbed::new();
    let plain = testbed.replay(scenario);
    let detail = Detail { all: true, ..Detail::default() };
    let report =
        testbed.replay_with(scenario, &Options { events: Some(detail), ..Options::default() });
    assert_eq!(report.trace.hash(), plain.trace.hash(), "{}: writing changes nothing", plain.name);
    let text = report.events.expect("they were asked for");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// What is wrong with a file.
fn mistake(lines: &[Value]) -> Option<String> {
    let [header, events @ ..] = lines else { return Some("there is no header".to_owned()) };
    if header["schema"] != SCHEMA || header["n"] != 0 {
        return Some(format!("the header is {header}"));
    }
    let mut kinds = BTreeMap::new();
    let (mut calls, mut messages, mut faults) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut before = 0;
    for (position, event) in events.iter().enumerate() {
        let wrong = |what: &str| Some(format!("{what}: {event}"));
        let (Some(n), Some(t), Some(kind)) =
            (event["n"].as_u64(), event["t"].as_u64(), event["k"].as_str())
        else {
            return wrong("it has no n, t or k");
        };
        if n != position as u64 + 1 {
            return wrong("its number does not follow");
        }
        if t < before && kind != "bin" {
            return wrong("it is earlier than the one before it");
        }
        before = before.max(t);
        let cause = event["c"].as_u64();
        if cause.is_some_and(|cause| cause == 0 || cause >= n) {
            return wrong("its cause is not before it");
        }
        // Of each kind that follows from another, the kind of its cause.
        let from: &[&str] = match kind {
            "told" | "gave-up" => &["ask", "out", "in"],
            "agreed" => &["propose", "log"],
            "apply" => &["agreed"],
            "recv" | "drop" => &["send"],
            "propose" | "commit" | "confirm" | "expire" => &["in", "apply", "role", "process"],
            "over" => &["fault"],
            "judge" => &[],
            _ => &[],
        };
        if let Some(cause) = cause
            && !from.is_empty()
            && !from.contains(&kinds[&cause])
        {
            return wrong(&format!("its cause is a {}", kinds[&cause]));
        }
        kinds.insert(n, kind);
        let id = |field: &str| event[field].as_u64();
        match kind {
            "ask" if !calls.insert(id("call")) => return wrong("the call was made before"),
            "told" | "gave-up" if !calls.remove(&id("call")) => return wrong("nobody called"),
            "send" if !messages.insert(id("id")) => return wrong("the message was sent before"),
            // One that came twice is heard twice.
            "recv" | "drop" if !messages.contains(&id("id")) => return wrong("nobody sent it"),
            "fault" if event["lasts"] == true && !faults.insert(id("id")) => {
                return wrong("the fault began before");
            }
            "over" if !faults.remove(&id("id")) => return wrong("no such fault lasts"),
            "judge" => {
                let because = event["because"].as_array()?;
                if because.is_empty() || because.iter().any(|of| of.as_u64() >= Some(n)) {
                    return wrong("what it is because of is not before it");
                }
            }
            _ => {}
        }
    }
    let last = events.last()?;
    (last["k"] != "end" || last["hash"] != header["hash"])
        .then(|| format!("the last line is {last}"))
}

#[test]
fn every_event_has_its_cause_before_it_and_every_id_its_beginning() {
    for seed in 0..40 {
        let scenario = lessor_sim::generate::generate(seed);
        if scenario.herds.iter().any(|herd| herd.leases > 200) {
            continue;
        }
        let lines = events(&scenario);
        assert_eq!(mistake(&lines), None, "seed {seed}");
    }
}

/// The fields that docs/EVENTS.md has for each kind, by its row of the table.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let text = include_str!("../../../docs/EVENTS.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let fields = |row: &'static str| row.split('`').skip(1).step_by(2).collect();
    rows.map(|(kind, row)| (kind, fields(row))).collect()
}

#[test]
fn every_kind_and_each_of_its_fields_is_documented() {
    let documented = documented();
    let common = ["n", "t", "k", "m", "c", "line", "w"];
    let mut kinds = BTreeSet::new();
    for seed in [3, 5, 17, 21, 36] {
        for event in &events(&lessor_sim::generate::generate(seed))[1..] {
            let (kind, fields) = (event["k"].as_str().expect("it has one"), event.as_object());
            let mut rows = documented.get(kind).cloned().unwrap_or_default();
            if kind == "apply" {
                rows.extend(&documented["agreed"]);
            }
            for field in fields.expect("it is an object").keys() {
                let field = field.as_str();
                assert!(common.contains(&field) || rows.contains(field), "{field} of {event}");
            }
            kinds.insert(kind.to_owned());
        }
    }
    assert!(kinds.len() > 20, "only {kinds:?} came up");
}

#[test]
fn canary_a_file_that_is_not_in_order_is_found() {
    let scenario = include_str!("../../../scenarios/stale-primary.toml");
    let scenario = Scenario::parse("stale-primary.toml", scenario).expect("it is well-formed");
    let lines = events(&scenario);
    assert_eq!(mistake(&lines), None);
    let find = |kind: &str| lines.iter().position(|line| line["k"] == kind).expect("there is one");
    let told = find("told");
    type Spoil<'s> = &'s dyn Fn(&mut Vec<Value>);
    let spoilt: [(&str, Spoil<'_>); 5] = [
        ("a cause after it", &|lines| lines[told]["c"] = (told + 1).into()),
        ("a cause of another kind", &|lines| lines[told]["c"] = find("disk").into()),
        ("an answer to nobody", &|lines| lines[told]["call"] = 999.into()),
        ("a line left out", &|lines| drop(lines.remove(told))),
        ("no end", &|lines| drop(lines.pop())),
    ];
    for (what, spoil) in spoilt {
        let mut wrong = lines.clone();
        spoil(&mut wrong);
        assert!(mistake(&wrong).is_some(), "{what}");
    }
}
