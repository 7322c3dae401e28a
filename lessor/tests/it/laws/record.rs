//! Laws of records: what is written down as text is read back as the same, every kind of it.

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
