//! From a scenario to a file that says the same. What is at its default is left out.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use lessor::{Config, Item, LeaseId, LeaseOrder, MemberId, Request};

use super::check::DELAYS;
use super::span::Span;
use super::{
    Action, AnswerKind, AtMoment, Crash, CrashWhen, Expectation, Fault, Herd, SCHEMA, Scenario,
    Step,
};
use crate::consensus::{Delays, Loss};
use crate::disk::Unsynced;

pub(super) fn to_toml(scenario: &Scenario) -> String {
    let mut text = String::new();
    for line in scenario.story.lines() {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
    let head = Fields::default()
        .field("schema", SCHEMA)
        .field_unless("seed", scenario.seed, &0)
        .field_unless("members", scenario.members, &1)
        .span("duration", scenario.duration);
    text.push_str(&head.lines());
    for (header, fields) in [("[config]", config(&scenario.config)), ("[log]", log(scenario.log))] {
        if !fields.0.is_empty() {
            table(&mut text, header, &fields);
        }
    }
    for step in &scenario.steps {
        table(&mut text, "[[step]]", &self::step(step));
    }
    for herd in &scenario.herds {
        table(&mut text, "[[herd]]", &self::herd(herd));
    }
    for expect in &scenario.expects {
        table(&mut text, "[[expect]]", &expectation(&expect.what));
    }
    text
}

fn table(text: &mut String, header: &str, fields: &Fields) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{header}\n{}", fields.lines());
}

fn config(config: &Config) -> Fields {
    let default = Config::default();
    Fields::default()
        .span_unless("min_ttl", config.min_ttl.as_duration(), default.min_ttl.as_duration())
        .field_unless("revoke_rate", config.revoke_rate, &default.revoke_rate)
        .span_unless("retry_interval", config.retry_interval, default.retry_interval)
        .span_unless("checkpoint_interval", config.checkpoint_interval, default.checkpoint_interval)
        .span_unless("extend", config.extend, default.extend)
        .span_unless("request_timeout", config.request_timeout, default.request_timeout)
        .field_unless("queue", config.queue, &default.queue)
}

fn log(log: Delays) -> Fields {
    Fields::default()
        .span_unless("commit_delay", log.commit, DELAYS.commit)
        .span_unless("apply_delay", log.apply, DELAYS.apply)
        .span_unless("confirm_delay", log.confirm, DELAYS.confirm)
}

fn step(step: &Step) -> Fields {
    let (name, fields) = match &step.action {
        Action::Ask { request, member, lessee, answer } => {
            let (name, fields) = self::request(request);
            let lessee = lessee.as_deref().map(quoted);
            let answer = answer.map(AnswerKind::word).map(quoted);
            (name, fields.maybe("member", *member).maybe("lessee", lessee).maybe("answer", answer))
        }
        Action::Fault(fault) => self::fault(*fault),
    };
    Fields::default().span("at", step.at).field(name, fields.inline())
}

fn request(request: &Request) -> (&'static str, Fields) {
    let of = |id: &LeaseId| Fields::default().field("lease", id);
    match request {
        Request::Grant { id, ttl } => {
            ("grant", Fields::default().maybe("lease", *id).span("ttl", ttl.as_duration()))
        }
        Request::Revoke { id } => ("revoke", of(id)),
        Request::Renew { id } => ("renew", of(id)),
        Request::Attach { id, items } => ("attach", of(id).field("items", keys(items))),
        Request::Detach { id, items } => ("detach", of(id).field("items", keys(items))),
        Request::Lookup { id } => ("lookup", of(id)),
        Request::Leases { order, after: _, limit } => {
            let expiry = (*order == LeaseOrder::Expiry).then(|| quoted("expiry"));
            ("leases", Fields::default().maybe("order", expiry).field("limit", limit))
        }
        Request::LeaseOf { item } => ("lease-of", Fields::default().field("item", key(item))),
        Request::Promote => ("promote", Fields::default()),
        Request::Demote => ("demote", Fields::default()),
    }
}

fn fault(fault: Fault) -> (&'static str, Fields) {
    let of = |member: MemberId| Fields::default().field("member", member);
    match fault {
        Fault::Elect(member) => ("elect", of(member)),
        Fault::Depose => ("depose", Fields::default()),
        Fault::Crash(crash) => ("crash", self::crash(crash)),
        Fault::Kill(member) => ("kill", of(member)),
        Fault::Restart(member) => ("restart", of(member)),
        Fault::Stop(member) => ("stop", of(member)),
        Fault::Pause { member, span } => ("pause", of(member).span("for", span)),
        Fault::Isolate(member) => ("isolate", of(member)),
        Fault::Heal(member) => ("heal", Fields::default().maybe("member", member)),
        Fault::Lose { member, loss, count } => {
            let what = match loss {
                Loss::Revokes => "expired",
                Loss::Checkpoints => "checkpoints",
                Loss::Proposals => "proposals",
            };
            ("lose", of(member).field("what", quoted(what)).field("count", count))
        }
    }
}

fn crash(crash: Crash) -> Fields {
    let (when, operation) = match crash.when {
        CrashWhen::Now => (None, None),
        CrashWhen::BeforeCommit => (Some("before-commit"), None),
        CrashWhen::DuringCommit { disk_operation } => {
            (Some("during-commit"), Some(disk_operation).filter(|operation| *operation != 1))
        }
        CrashWhen::AfterCommit => (Some("after-commit"), None),
    };
    let unsynced = match crash.unsynced {
        Unsynced::Drop => None,
        Unsynced::Keep => Some("keep"),
        Unsynced::Tear => Some("tear"),
    };
    Fields::default()
        .field("member", crash.member)
        .maybe("when", when.map(quoted))
        .maybe("disk_operation", operation)
        .maybe("unsynced", unsynced.map(quoted))
}

fn herd(herd: &Herd) -> Fields {
    Fields::default()
        .field("name", quoted(&herd.name))
        .field("leases", herd.leases)
        .field("first_lease", herd.first_lease)
        .span("ttl", herd.ttl.as_duration())
        .span("start", herd.start)
        .span_unless("over", herd.over, Duration::ZERO)
        .maybe("renew_every", herd.renew_every.map(self::span))
        .maybe("until", herd.until.map(self::span))
        .field_unless("items", herd.items, &1)
}

fn expectation(expectation: &Expectation) -> Fields {
    match expectation {
        Expectation::At { at, member, what } => {
            let fields = Fields::default().span("at", *at).maybe("member", *member);
            match what {
                AtMoment::Present(id, present) => {
                    fields.field("lease", id).field("present", present)
                }
                AtMoment::Remaining { lease, at_least, at_most } => fields
                    .field("lease", lease)
                    .maybe("remaining_at_least", at_least.map(self::span))
                    .maybe("remaining_at_most", at_most.map(self::span)),
                AtMoment::Items(id, items) => fields.field("lease", id).field("items", keys(items)),
                AtMoment::Holder(item, holder) => {
                    fields.field("item", key(item)).field("holder", or_none(*holder))
                }
                AtMoment::Primary(primary) => fields.field("primary", or_none(*primary)),
                AtMoment::Leases(count) => fields.field("leases", count),
            }
        }
        Expectation::Expired { from, to, every, at_least, at_most } => Fields::default()
            .span("from", *from)
            .span("to", *to)
            .span("every", *every)
            .maybe("expired_at_least", *at_least)
            .maybe("expired_at_most", *at_most),
    }
}

/// The fields of a table, each as `name = value`.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    fn field(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(format!("{name} = {value}"));
        self
    }

    fn maybe(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    fn field_unless<T: Display + PartialEq>(self, name: &str, value: T, default: &T) -> Self {
        self.maybe(name, Some(value).filter(|value| value != default))
    }

    fn span(self, name: &str, span: Duration) -> Self {
        self.field(name, self::span(span))
    }

    fn span_unless(self, name: &str, span: Duration, default: Duration) -> Self {
        self.maybe(name, Some(span).filter(|span| *span != default).map(self::span))
    }

    fn lines(&self) -> String {
        self.0.iter().map(|field| format!("{field}\n")).collect()
    }

    fn inline(&self) -> String {
        if self.0.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", self.0.join(", ")) }
    }
}

fn span(span: Duration) -> String {
    quoted(&Span(span).to_string())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn key(item: &Item) -> String {
    quoted(&String::from_utf8_lossy(item.key()))
}

fn keys(items: &[Item]) -> String {
    format!("[{}]", items.iter().map(key).collect::<Vec<_>>().join(", "))
}

fn or_none(number: Option<impl Display>) -> String {
    number.map_or_else(|| quoted("none"), |number| number.to_string())
}
