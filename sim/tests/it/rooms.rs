//! The rule of the rooms: one imports only those above it in the table of `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_room_imports_only_rooms_above_it() {
    let rooms = rooms();
    let found = files();
    let mut wrong = Vec::new();
    for (path, text) in &found {
        wrong.extend(objections(&rooms, path, text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for room in &rooms {
        let is_there = found.iter().any(|(path, _)| room_of(path) == Some(room));
        assert!(is_there, "the table of lib.rs has a room `{room}`, but src has not");
    }
    for (path, _) in &found {
        let Some(room) = room_of(path) else { continue };
        assert!(rooms.iter().any(|known| known == room), "lib.rs has no room for {path}");
    }
}

#[test]
fn canary_an_import_from_below_is_found() {
    let rooms = rooms();
    for (path, text, objection) in [
        ("model/state.rs", "use crate::world::World;", Some("model/state.rs:1 imports `world`")),
        ("model/state.rs", "use crate::model::Store;", None),
        ("world/mod.rs", "use crate::model::Store;", None),
        (
            "judge/oracle.rs",
            "\nlet x = crate::host::replay();",
            Some("judge/oracle.rs:2 imports `host`"),
        ),
        ("judge/oracle.rs", "//! crate::host", None),
        (
            "model/state.rs",
            "use crate::{judge, world};",
            Some("model/state.rs:1 imports a group that cannot be read here"),
        ),
        (
            "model/state.rs",
            "use super::super::world;",
            Some("model/state.rs:1 leaves its room by `super`"),
        ),
        ("model/mod.rs", "use super::world;", Some("model/mod.rs:1 leaves its room by `super`")),
        ("judge/invariant/pure.rs", "use super::super::oracle;", None),
        ("env/disk/mod.rs", "use madsim::fs;", Some("env/disk/mod.rs:1 names madsim")),
        ("host/mod.rs", "use madsim::fs;", None),
        ("campaign/seeds.rs", "#[cfg(madsim)]", None),
        ("cli/run.rs", "use lessor_sim::world::World;", None),
    ] {
        let found = objections(&rooms, path, text);
        assert_eq!(found.first().map(String::as_str), objection, "{path}: {text}");
    }
}

/// What is wrong in a file.
fn objections(rooms: &[String], path: &str, text: &str) -> Vec<String> {
    let Some(room) = room_of(path) else { return Vec::new() };
    let position = |room: &str| rooms.iter().position(|known| known == room);
    let mut wrong = Vec::new();
    for (line, code) in (1..).zip(text.lines()) {
        if code.trim_start().starts_with("//") {
            continue;
        }
        for other in named(code) {
            if other.is_empty() {
                wrong.push(format!("{path}:{line} imports a group that cannot be read here"));
            }
            if position(other) > position(room) {
                wrong.push(format!("{path}:{line} imports `{other}`"));
            }
        }
        // One more in a module that is written inside of a file.
        let depth = depth(path) + usize::from(code.starts_with(' '));
        if code.contains(&"super::".repeat(depth)) {
            wrong.push(format!("{path}:{line} leaves its room by `super`"));
        }
        if code.contains("madsim::") && !["host", "cli"].contains(&room) {
            wrong.push(format!("{path}:{line} names madsim"));
        }
    }
    wrong
}

/// The modules of the crate that a line names.
fn named(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|letter: char| letter != '_' && !letter.is_ascii_lowercase());
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// How many modules a file is in, itself among them: so many `super::` name the crate.
fn depth(path: &str) -> usize {
    path.split('/').count() - usize::from(path.ends_with("/mod.rs"))
}

/// The first folder of a path below `src`; `None` for what lies beside the rooms.
fn room_of(path: &str) -> Option<&str> {
    path.split_once('/').map(|(room, _)| room)
}

/// The rooms, from the top, as the table of `lib.rs` has them.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let rooms: Vec<String> = rows.map(|row| row[..row.find('/').unwrap()].to_owned()).collect();
    assert!(rooms.len() >= 10, "the table of lib.rs was not found: {rooms:?}");
    rooms
}

/// All files of code, by their path below `src`.
fn files() -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![source()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(source()).unwrap();
                found.push((path.to_str().unwrap().replace('\\', "/"), text));
            }
        }
    }
    found
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
