//! Laws of records: what is written down as text is read back as the same, every kind of it; and no
//! text, whatever was changed in it, ends the process.

use lessor::{Command, Effect, Input, MemberInput, Output, Snapshot, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::any::Any;
use super::{Outcome, ensure, holds, refuted};

#[test]
fn every_record_is_read_as_it_was_written() {
    holds(CASES, |Any(record): &Any<Input>| round_trip(text, record));
    holds(CASES, |Any(record): &Any<Command>| round_trip(text, record));
    holds(CASES, |Any(record): &Any<Effect>| round_trip(text, record));
    holds(CASES, |Any(record): &Any<Snapshot>| round_trip(text, record));
    holds(CASES, |Any(record): &Any<MemberInput>| round_trip(text, record));
    holds(CASES, |Any(record): &Any<Output>| round_trip(text, record));
    holds(CASES, |Any(record): &Any<Transaction>| round_trip(text, record));
}

#[test]
fn a_wire_that_loses_a_field_or_a_digit_is_refuted() {
    let another = "was read as";
    refuted(CASES, another, |Any(record): &Any<Command>| round_trip(without_remaining, record));
    refuted(CASES, another, |Any(record): &Any<Snapshot>| round_trip(without_remaining, record));
    refuted(CASES, another, |Any(record): &Any<Effect>| round_trip(without_remaining, record));
    refuted(CASES, another, |Any(record): &Any<Transaction>| round_trip(without_remaining, record));
    refuted(CASES, another, |Any(record): &Any<Input>| round_trip(in_doubles, record));
    refuted(CASES, another, |Any(record): &Any<MemberInput>| round_trip(in_doubles, record));
    refuted(CASES, another, |Any(record): &Any<Output>| round_trip(in_doubles, record));
    refuted(CASES, "cannot be read", |Any(record): &Any<Snapshot>| round_trip(cut_off, record));
}

#[test]
fn edited_text_is_refused_or_is_a_record_like_any_other() {
    holds(CASES, |(Any(record), edits): &(Any<Input>, Edits)| edited(read, record, edits));
    holds(CASES, |(Any(record), edits): &(Any<Command>, Edits)| edited(read, record, edits));
    holds(CASES, |(Any(record), edits): &(Any<Effect>, Edits)| edited(read, record, edits));
    holds(CASES, |(Any(record), edits): &(Any<Snapshot>, Edits)| edited(read, record, edits));
    holds(CASES, |(Any(record), edits): &(Any<MemberInput>, Edits)| edited(read, record, edits));
    holds(CASES, |(Any(record), edits): &(Any<Output>, Edits)| edited(read, record, edits));
    holds(CASES, |(Any(record), edits): &(Any<Transaction>, Edits)| edited(read, record, edits));
}

#[test]
fn a_reader_that_panics_on_what_it_reads_or_refuses_is_refuted() {
    refuted(CASES, "not to be read", |(Any(record), edits): &(Any<Input>, Edits)| {
        edited(|bytes| Ok(read(bytes).expect("not to be read")), record, edits)
    });
    refuted(4 * CASES, "it was read", |(Any(record), edits): &(Any<Input>, Edits)| {
        let read = |bytes: &[u8]| read(bytes).inspect(|_| panic!("it was read"));
        if edits.is_empty() { Ok(()) } else { edited(read, record, edits) }
    });
}

/// Where a byte is put in place of another, and which.
type Edits = Vec<(usize, u8)>;

fn edited<T>(read: fn(&[u8]) -> serde_json::Result<T>, record: &T, edits: &Edits) -> Outcome
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut bytes = serde_json::to_vec(record).map_err(|error| format!("{error}: {record:?}"))?;
    for (at, byte) in edits {
        let at = at % bytes.len();
        // Half of them are what texts of records are made of.
        let likely = LIKELY[usize::from(*byte) % LIKELY.len()];
        bytes[at] = if byte % 2 == 0 { likely } else { *byte };
    }
    read(&bytes).map_or(Ok(()), |record| round_trip(text, &record))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes)
}

fn round_trip<T>(wire: fn(&Value) -> String, record: &T) -> Outcome
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let value = serde_json::to_value(record).map_err(|error| format!("{error}: {record:?}"))?;
    let text = wire(&value);
    let read: T =
        serde_json::from_str(&text).map_err(|error| format!("{text} cannot be read: {error}"))?;
    ensure(read == *record, || format!("{record:?} was read as {read:?}"))
}

fn text(value: &Value) -> String {
    value.to_string()
}

// What the law refutes

fn without_remaining(value: &Value) -> String {
    let mut value = value.clone();
    on_every_value(&mut value, &mut |value| {
        if let Some(fields) = value.as_object_mut() {
            fields.remove("remaining");
        }
    });
    value.to_string()
}

/// As a reader does that knows only one kind of number.
fn in_doubles(value: &Value) -> String {
    let mut value = value.clone();
    on_every_value(&mut value, &mut |value| {
        if let Some(number) = value.as_i64() {
            #[expect(clippy::cast_possible_truncation, reason = "this is the bug")]
            #[expect(clippy::cast_precision_loss, reason = "this is the bug")]
            let through_a_double = number as f64 as i64;
            *value = through_a_double.into();
        }
    });
    value.to_string()
}

fn cut_off(value: &Value) -> String {
    let mut text = value.to_string();
    text.pop();
    text
}

fn on_every_value(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| on_every_value(value, change)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| on_every_value(value, change));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const CASES: usize = 1_000;
const LIKELY: &[u8] = b"0123456789-.e{}[]:,\" nulltrue";
