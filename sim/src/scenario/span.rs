//! Spans of time as a scenario writes them: a number with a unit.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time: `"250ms"`, `"1.5s"`, `"10m"`, `"2h"`, `"30d"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

/// In whole days or hours if it is some, else in seconds, below one in milliseconds.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (secs, rest) = (millis / 1_000, millis % 1_000);
        match (secs, rest) {
            (0, 1..) => write!(f, "{rest}ms"),
            (_, 1..) => {
                let decimals = format!("{rest:03}");
                write!(f, "{secs}.{}s", decimals.trim_end_matches('0'))
            }
            (1.., 0) if secs % 86_400 == 0 => write!(f, "{}d", secs / 86_400),
            (1.., 0) if secs % 3_600 == 0 => write!(f, "{}h", secs / 3_600),
            (_, 0) => write!(f, "{secs}s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                parse(text).map(Span).ok_or_else(wrong)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A span of time with a direction: `"5s"` ahead, `"-5s"` back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    /// How far.
    pub span: Span,
    /// Whether it goes back.
    pub back: bool,
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.back { "-" } else { "" }, self.span)
    }
}

impl Serialize for Signed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Signed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{FORM}, with a minus if it goes back")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Signed, E> {
                let (back, span) =
                    text.strip_prefix('-').map_or((false, text), |span| (true, span));
                let span = parse(span).map(Span);
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                Ok(Signed { span: span.ok_or_else(wrong)?, back })
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// The number of milliseconds must be whole, the number of anything may have decimals.
pub(super) fn parse(text: &str) -> Option<Duration> {
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
const FORM: &str =
    "a number and a unit in a string: \"250ms\", \"1.5s\", \"10m\", \"2h\" or \"30d\"";

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

    #[test]
    fn a_span_is_shown_as_it_can_be_read_again() {
        for text in ["0s", "1ms", "250ms", "1s", "1.5s", "59.999s", "61s", "240s", "2h", "30d"] {
            let span = Span(parse(text).expect("it is well-formed"));
            assert_eq!(span.to_string(), text);
        }
        let odd = Span(Duration::from_secs(7_201));
        assert_eq!(parse(&odd.to_string()), Some(odd.0));
    }
}
