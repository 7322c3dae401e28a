//! Why a file is no scenario: one sentence with the file, the line, the field, and what is allowed.

use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use super::{MOST_BYTES, SCHEMA};

/// Why a file is no scenario that can be replayed.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It cannot be read.
    #[error("{}: cannot read the scenario: {error}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("{}: a scenario is a regular file; write it to one", path.display())]
    NoFile { path: PathBuf },
    /// It is too large.
    #[error("{}: it has {bytes} bytes, but a scenario has at most {MOST_BYTES}", path.display())]
    TooLarge {
        path: PathBuf,
        /// How many bytes it has.
        bytes: u64,
    },
    /// It is no TOML, or not what a scenario must be.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// It was written for another version of the simulator.
    #[error(
        "{}:{line}: the scenario has schema {found}, but this version replays schema {SCHEMA}; \
         use the lessor-sim that it was written for",
        path.display()
    )]
    OtherSchema {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The schema that it has.
        found: u64,
    },
}

/// What to say of a file that is no text.
pub(super) fn not_utf8(path: &Path, bytes: &[u8], error: Utf8Error) -> ScenarioError {
    let text = &bytes[..error.valid_up_to()];
    let line = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = "this line is not UTF-8; save the file as UTF-8 text".to_owned();
    ScenarioError::Invalid { path: path.to_path_buf(), line, message }
}

/// What to say of an error of the parser, in words of the format and not of Rust.
///
/// Its text is all that serde hands out, so it is taken apart; what is unknown here passes.
pub(super) fn sentence(error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let keys = keys(error);
    let (field, table) = match &keys[..] {
        [] => (None, None),
        [field] => (Some(&**field), None),
        [.., table, field] => (Some(&**field), Some(&**table)),
    };
    if let Some((unknown, expected)) = quoted(&message, "unknown field `") {
        return match field {
            None => format!("unknown field `{unknown}`; allowed: {}", allowed(expected)),
            Some("step") => {
                let actions = allowed(expected);
                let actions = actions.strip_prefix("at, ").unwrap_or(&actions);
                format!("unknown action `{unknown}` in step; allowed: at, and one of {actions}")
            }
            Some(table) if !expected.contains('`') => {
                format!("unknown field `{unknown}` in {table}; it has none: write {table} = {{}}")
            }
            Some(table) => {
                format!("unknown field `{unknown}` in {table}; allowed: {}", allowed(expected))
            }
        };
    }
    if let Some((missing, _)) = quoted(&message, "missing field `") {
        let table = field.map_or(String::new(), |table| format!(" in {table}"));
        return format!(
            "`{missing}` is missing{table}; add it, such as {missing} = {}",
            example(missing)
        );
    }
    let table = table.map_or(String::new(), |table| format!(" in {table}"));
    let Some(field) = field else { return syntax(&message) };
    if let Some((unknown, expected)) = quoted(&message, "unknown variant `") {
        return format!("`{field}`{table} is `{unknown}`; allowed: {}", allowed(expected));
    }
    if message == "wanted string or table" {
        return format!("`{field}`{table} is no string, but must be one");
    }
    let invalid = ["invalid type: ", "invalid value: "].map(|kind| message.strip_prefix(kind));
    let Some((found, expected)) =
        invalid.into_iter().flatten().find_map(|rest| rest.rsplit_once(", expected "))
    else {
        return syntax(&message);
    };
    let found = found.trim_end_matches(" as i128");
    if (field, expected) == ("items", "a string") {
        return format!("`items`{table} holds the {found}, but must be an array of strings");
    }
    format!("`{field}`{table} is the {found}, but must be {}", wanted(field, expected))
}

/// The keys that lead to the error. Only the text without a source shows them.
fn keys(error: &toml::de::Error) -> Vec<String> {
    let mut bare = error.clone();
    bare.set_input(None);
    let shown = bare.to_string();
    let rest = shown.strip_prefix(error.message()).unwrap_or_default().trim();
    let path = rest.strip_prefix("in `").and_then(|path| path.strip_suffix('`'));
    path.map_or(Vec::new(), |path| path.split('.').map(str::to_owned).collect())
}

/// What stands in the backquotes after this beginning, and what follows them.
fn quoted<'m>(message: &'m str, beginning: &str) -> Option<(&'m str, &'m str)> {
    message.strip_prefix(beginning)?.split_once('`')
}

/// The names in a text of serde's: "expected one of `a`, `b`".
fn allowed(expected: &str) -> String {
    expected.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(", ")
}

fn syntax(message: &str) -> String {
    match message {
        "duplicate key" => "this key or table is there twice; keep one of them".to_owned(),
        message => format!("this is no TOML: {message}"),
    }
}

/// What serde calls a type, in words of the format.
fn wanted<'e>(field: &str, expected: &'e str) -> &'e str {
    match (field, expected) {
        ("step", "a sequence") => "a list of tables, each headed [[step]]",
        ("herd", "a sequence") => "a list of tables, each headed [[herd]]",
        ("expect", "a sequence") => "a list of tables, each headed [[expect]]",
        (_, "a sequence") => "an array of strings",
        (_, "i64") => "a whole number",
        (_, "u32") => "a whole number from 0 to 4294967295",
        (_, "u64") => "a whole number from 0 to 18446744073709551615",
        (_, "a nonzero u32") => "a whole number from 1 to 4294967295",
        (_, "a boolean") => "true or false",
        (_, expected) if expected.starts_with("struct ") => "a table",
        (_, expected) => expected,
    }
}

/// What a field that must be there may look like.
fn example(field: &str) -> &'static str {
    match field {
        "duration" => "\"60s\"",
        "at" | "start" | "ttl" | "for" => "\"10s\"",
        "items" => "[\"a\"]",
        "item" | "name" => "\"a\"",
        "what" => "\"expired\"",
        _number => "1",
    }
}
