//! A scenario as it stands in its file: what serde reads, before anything is checked.

use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;

use super::span::Span;

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
    #[serde(default = "one")]
    pub(super) members: Spanned<i64>,
    pub(super) duration: Spanned<Span>,
    #[serde(default)]
    pub(super) config: Config,
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) step: Vec<Spanned<Step>>,
    #[serde(default)]
    pub(super) herd: Vec<Spanned<Herd>>,
    #[serde(default)]
    pub(super) expect: Vec<Spanned<Expect>>,
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
    pub(super) queue: Option<NonZeroU32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) commit_delay: Option<Span>,
    pub(super) apply_delay: Option<Span>,
    pub(super) confirm_delay: Option<Span>,
}

/// Everything a step can be; exactly one of the options must be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Step {
    pub(super) at: Span,
    pub(super) grant: Option<Grant>,
    pub(super) revoke: Option<OfLease>,
    pub(super) renew: Option<OfLease>,
    pub(super) attach: Option<OfItems>,
    pub(super) detach: Option<OfItems>,
    pub(super) lookup: Option<OfLease>,
    pub(super) leases: Option<Leases>,
    pub(super) lease_of: Option<LeaseOf>,
    pub(super) promote: Option<OfHandle>,
    pub(super) demote: Option<OfHandle>,
    pub(super) elect: Option<OfMember>,
    pub(super) depose: Option<Nothing>,
    pub(super) crash: Option<Crash>,
    pub(super) kill: Option<OfMember>,
    pub(super) restart: Option<OfMember>,
    pub(super) stop: Option<OfMember>,
    pub(super) pause: Option<Pause>,
    pub(super) isolate: Option<OfMember>,
    pub(super) heal: Option<Heal>,
    pub(super) lose: Option<Lose>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    pub(super) lease: i64,
    pub(super) ttl: Span,
    pub(super) member: Option<i64>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfLease {
    pub(super) lease: i64,
    pub(super) member: Option<i64>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfItems {
    pub(super) lease: i64,
    pub(super) items: Vec<String>,
    pub(super) member: Option<i64>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leases {
    #[serde(default)]
    pub(super) order: lessor::LeaseOrder,
    pub(super) limit: u32,
    pub(super) member: Option<i64>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseOf {
    pub(super) item: String,
    pub(super) member: Option<i64>,
    pub(super) lessee: Option<String>,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfHandle {
    pub(super) member: i64,
    pub(super) answer: Option<super::AnswerKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfMember {
    pub(super) member: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crash {
    pub(super) member: i64,
    #[serde(default)]
    pub(super) when: When,
    pub(super) disk_operation: Option<u64>,
    #[serde(default)]
    pub(super) unsynced: Unsynced,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum When {
    #[default]
    Now,
    BeforeCommit,
    DuringCommit,
    AfterCommit,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Unsynced {
    #[default]
    Drop,
    Keep,
    Tear,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    pub(super) member: i64,
    #[serde(rename = "for")]
    pub(super) span: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heal {
    pub(super) member: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lose {
    pub(super) member: i64,
    pub(super) what: What,
    pub(super) count: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Expired,
    Checkpoints,
    Proposals,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Herd {
    pub(super) name: String,
    pub(super) leases: u32,
    pub(super) first_lease: i64,
    pub(super) ttl: Span,
    pub(super) start: Span,
    pub(super) over: Option<Span>,
    pub(super) renew_every: Option<Span>,
    pub(super) until: Option<Span>,
    pub(super) items: Option<u32>,
}

/// Everything that can be expected: of a moment, or of a stretch of time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) at: Option<Span>,
    pub(super) member: Option<i64>,
    pub(super) lease: Option<i64>,
    pub(super) present: Option<bool>,
    pub(super) remaining_at_least: Option<Span>,
    pub(super) remaining_at_most: Option<Span>,
    pub(super) items: Option<Vec<String>>,
    pub(super) item: Option<String>,
    pub(super) holder: Option<OrNone>,
    pub(super) primary: Option<OrNone>,
    pub(super) leases: Option<u32>,
    pub(super) from: Option<Span>,
    pub(super) to: Option<Span>,
    pub(super) every: Option<Span>,
    pub(super) expired_at_least: Option<u32>,
    pub(super) expired_at_most: Option<u32>,
}

/// A number, or the word `"none"`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or \"none\"")]
pub(super) enum OrNone {
    Number(i64),
    Word(NoneWord),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoneWord {
    None,
}
