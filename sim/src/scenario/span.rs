//! Spans of time as a scenario writes them: a number with a unit.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A span of time: `"250ms"`, `"1.5s"`, `"10m"`, `"2h"`, `"30d"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let wrong = || E::custom(format!("`{text}` is no span of time; write {FORM}"));
                parse(text).map(Span).ok_or_else(wrong)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// The number of milliseconds must be whole, the number of anything may have decimals.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let millis_a_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let scale = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let fraction = decimals.parse::<u64>().ok()?.checked_mul(millis_a_unit)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(millis_a_unit)?;
    let whole_millis = fraction % scale == 0;
    whole_millis.then(|| whole.checked_add(fraction / scale).map(Duration::from_millis))?
}

/// What is allowed, for errors.
pub(super) const FORM: &str =
    "a string with a number and a unit of ms, s, m, h or d, such as \"250ms\" or \"1.5s\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_every_unit_and_nothing_else_is() {
        let cases = [
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("1.5s", Some(1_500)),
            ("0.001s", Some(1)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("30d", Some(2_592_000_000)),
            ("-1s", None),
            ("1", None),
            ("s", None),
            ("", None),
            ("1.s", None),
            (".5s", None),
            ("1.0001s", None),
            ("1 s", None),
            ("1us", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
