//! A scenario as it stands in its file: what serde reads, before anything is checked.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

use serde::{Deserialize, Deserializer, de};
use strum::VariantNames;
use toml::Spanned;

use super::part::PartName;
use super::span::Span;
use super::step::Step;

/// What every schema has.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) schema: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    #[expect(dead_code, reason = "read from the head, allowed here")]
    schema: u64,
    #[serde(default)]
    pub(super) seed: u64,
    #[serde(default, rename = "may_miss")]
    pub(super) may_miss: bool,
    #[serde(default)]
    pub(super) twins: bool,
    #[serde(default, rename = "commits_twice")]
    pub(super) commits_twice: bool,
    #[serde(default = "one")]
    pub(super) members: Spanned<i64>,
    pub(super) duration: Spanned<Span>,
    #[serde(default = "redb")]
    pub(super) store: PartName,
    #[serde(default = "driver")]
    pub(super) host: PartName,
    #[serde(default)]
    pub(super) config: Config,
    pub(super) log: Option<Spanned<Log>>,
    #[serde(default)]
    pub(super) disk: Disk,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) clocks: Clocks,
    #[serde(default)]
    pub(super) clock: Vec<Clock>,
    pub(super) ending: Option<Ending>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<Step>>,
    #[serde(default)]
    pub(super) herd: Vec<Spanned<Herd>>,
    #[serde(default)]
    pub(super) expect: Vec<Spanned<Expect>>,
}

fn redb() -> PartName {
    PartName::REDB
}

fn driver() -> PartName {
    PartName::DRIVER
}

fn one() -> Spanned<i64> {
    Spanned::new(0..0, 1)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) min_ttl: Option<Span>,
    pub(super) revoke_rate: Option<NonZeroU32>,
    pub(super) retry_interval: Option<Span>,
    pub(super) checkpoint_interval: Option<Span>,
    pub(super) extend: Option<Span>,
    pub(super) request_timeout: Option<Span>,
    pub(super) observer_patience: Option<Span>,
    pub(super) queue: Option<NonZeroU32>,
    pub(super) piece: Option<NonZeroU32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) name: Option<PartName>,
    pub(super) commit_delay: Option<Span>,
    pub(super) apply_delay: Option<Span>,
    pub(super) confirm_delay: Option<Span>,
    pub(super) election_timeout: Option<Spanned<Span>>,
    pub(super) compact_every: Option<NonZeroU32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    pub(super) latency: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) latency: Option<Span>,
    pub(super) jitter: Option<Span>,
    pub(super) loss_ppm: Option<Spanned<u32>>,
    pub(super) duplicate_ppm: Option<Spanned<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clocks {
    pub(super) bound_ppm: Option<Spanned<u32>>,
    pub(super) lessees_ppm: Option<Spanned<i32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clock {
    pub(super) member: Spanned<i64>,
    pub(super) offset: Option<Span>,
    pub(super) drift_ppm: Option<Spanned<i32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ending {
    pub(super) at: Spanned<Span>,
    #[serde(default)]
    pub(super) core: Vec<Spanned<i64>>,
}

/// What a lessee or a host can ask for.
#[derive(Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Ask {
    Grant(Grant),
    GrantOnce(GrantOnce),
    Revoke(OfLease),
    Renew(OfLease),
    Attach(OfItems),
    Detach(OfItems),
    Claim(OfItems),
    Lookup(OfLease),
    Leases(Leases),
    LeaseOf(LeaseOf),
    Promote(OfHandle),
    Demote(OfHandle),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    pub(super) lease: Spanned<i64>,
    pub(super) ttl: Spanned<Span>,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
    pub(super) patience: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantOnce {
    pub(super) request: Spanned<u32>,
    pub(super) ttl: Spanned<Span>,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
    pub(super) patience: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfLease {
    pub(super) lease: Spanned<i64>,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
    pub(super) patience: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfItems {
    pub(super) lease: Spanned<i64>,
    pub(super) items: Vec<String>,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
    pub(super) patience: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leases {
    #[serde(default)]
    pub(super) order: lessor::LeaseOrder,
    pub(super) limit: u32,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
    pub(super) patience: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseOf {
    pub(super) item: String,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
    pub(super) patience: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfHandle {
    pub(super) member: Option<Spanned<i64>>,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Herd {
    pub(super) name: String,
    pub(super) leases: Spanned<u32>,
    pub(super) first_lease: Spanned<i64>,
    pub(super) ttl: Spanned<Span>,
    pub(super) start: Spanned<Span>,
    pub(super) over: Option<Spanned<Span>>,
    pub(super) renew_every: Option<Spanned<Span>>,
    pub(super) until: Option<Spanned<Span>>,
    pub(super) items: Option<u32>,
    pub(super) patience: Option<Spanned<Span>>,
    pub(super) keep_alive: Option<bool>,
    pub(super) drift_ppm: Option<Spanned<i32>>,
}

/// Everything that can be expected: of a moment, or of a stretch of time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) at: Option<Spanned<Span>>,
    pub(super) member: Option<Spanned<i64>>,
    pub(super) lease: Option<Spanned<i64>>,
    pub(super) present: Option<Spanned<bool>>,
    pub(super) remaining_at_least: Option<Spanned<Span>>,
    pub(super) remaining_at_most: Option<Spanned<Span>>,
    pub(super) items: Option<Spanned<Vec<String>>>,
    pub(super) item: Option<Spanned<String>>,
    pub(super) holder: Option<Spanned<OrNone>>,
    pub(super) primary: Option<Spanned<OrNone>>,
    pub(super) leases: Option<Spanned<u32>>,
    pub(super) from: Option<Spanned<Span>>,
    pub(super) to: Option<Spanned<Span>>,
    pub(super) every: Option<Spanned<Span>>,
    pub(super) expired_at_least: Option<Spanned<u32>>,
    pub(super) expired_at_most: Option<Spanned<u32>>,
}

impl Expect {
    /// The fields that are there, each with its location.
    pub(super) fn given(&self) -> Vec<(&'static str, Range<usize>)> {
        fn location<T>(field: &Option<Spanned<T>>) -> Option<Range<usize>> {
            field.as_ref().map(Spanned::span)
        }
        let fields = [
            ("at", location(&self.at)),
            ("member", location(&self.member)),
            ("lease", location(&self.lease)),
            ("present", location(&self.present)),
            ("remaining_at_least", location(&self.remaining_at_least)),
            ("remaining_at_most", location(&self.remaining_at_most)),
            ("items", location(&self.items)),
            ("item", location(&self.item)),
            ("holder", location(&self.holder)),
            ("primary", location(&self.primary)),
            ("leases", location(&self.leases)),
            ("from", location(&self.from)),
            ("to", location(&self.to)),
            ("every", location(&self.every)),
            ("expired_at_least", location(&self.expired_at_least)),
            ("expired_at_most", location(&self.expired_at_most)),
        ];
        fields.into_iter().filter_map(|(name, location)| Some((name, location?))).collect()
    }
}

/// A number, or the word `"none"`.
#[derive(Clone, Copy)]
pub(super) struct OrNone(pub(super) Option<i64>);

impl<'de> Deserialize<'de> for OrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = OrNone;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or \"none\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<OrNone, E> {
                Ok(OrNone(Some(number)))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<OrNone, E> {
                if word == "none" {
                    return Ok(OrNone(None));
                }
                Err(E::invalid_value(de::Unexpected::Str(word), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
