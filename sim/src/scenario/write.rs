//! From a scenario to a file that says the same. What is at its default is left out.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use lessor::{Config, Item, LeaseOrder, MemberId, Request};
use serde::Serialize;

use crate::model::text;

use super::check::{DELAYS, default_offset};
use super::span::Span;
use super::{
    Action, AnswerKind, AtMoment, Clocks, Disks, Ending, Expectation, Fault, Herd, MemberClock,
    Network, PartName, SCHEMA, Scenario, Step,
};

pub(super) fn to_toml(scenario: &Scenario) -> String {
    let mut text = String::new();
    // Not by `lines`, which would drop a last line that is empty.
    for line in scenario.story.split('\n').filter(|_| !scenario.story.is_empty()) {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
    let head = Fields::default()
        .field("schema", SCHEMA)
        .field_unless("seed", scenario.seed, &0)
        .field_unless("may_miss", scenario.may_miss, &false)
        .field_unless("twins", scenario.twins, &false)
        .field_unless("commits_twice", scenario.commits_twice, &false)
        .field_unless("members", scenario.members, &1)
        .span("duration", scenario.duration)
        .maybe("store", part(&scenario.store, &PartName::REDB))
        .maybe("host", part(&scenario.host, &PartName::DRIVER));
    text.push_str(&head.lines());
    let tables = [
        ("[config]", config(&scenario.config)),
        ("[log]", log(scenario)),
        ("[disk]", disks(scenario.disks)),
        ("[network]", network(scenario.network)),
        ("[clocks]", clocks(&scenario.clocks)),
    ];
    for (header, fields) in tables {
        if !fields.0.is_empty() {
            table(&mut text, header, &fields);
        }
    }
    for clock in &scenario.clocks.members {
        table(&mut text, "[[clock]]", &self::clock(*clock));
    }
    if let Some(ending) = &scenario.ending {
        table(&mut text, "[ending]", &self::ending(ending));
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

/// A part, unless it is the one that is used by default.
fn part(name: &PartName, default: &PartName) -> Option<String> {
    (name != default).then(|| quoted(name.as_str()))
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
        .span_unless("observer_patience", config.subscriber_patience, default.subscriber_patience)
        .field_unless("queue", config.queue, &default.queue)
        .field_unless("piece", config.piece, &default.piece)
}

fn disks(disks: Disks) -> Fields {
    Fields::default().span_unless("latency", disks.latency, Disks::default().latency)
}

fn network(network: Network) -> Fields {
    Fields::default()
        .span_unless("latency", network.latency, Duration::ZERO)
        .span_unless("jitter", network.jitter, Duration::ZERO)
        .field_unless("loss_ppm", network.loss_ppm, &0)
        .field_unless("duplicate_ppm", network.duplicate_ppm, &0)
}

fn clocks(clocks: &Clocks) -> Fields {
    Fields::default().field_unless("bound_ppm", clocks.bound_ppm, &0).field_unless(
        "lessees_ppm",
        clocks.lessees_ppm,
        &0,
    )
}

fn clock(clock: MemberClock) -> Fields {
    Fields::default()
        .field("member", clock.member)
        .span_unless("offset", clock.offset, default_offset(clock.member))
        .field_unless("drift_ppm", clock.drift_ppm, &0)
}

fn ending(ending: &Ending) -> Fields {
    let core = (!ending.core.is_empty()).then(|| numbers(&ending.core));
    Fields::default().span("at", ending.at).maybe("core", core)
}

fn log(scenario: &Scenario) -> Fields {
    let Scenario { log, upkeep, .. } = scenario;
    Fields::default()
        .maybe("name", part(&scenario.log_name, &PartName::MODELLED))
        .span_unless("commit_delay", log.commit, DELAYS.commit)
        .span_unless("apply_delay", log.apply, DELAYS.apply)
        .span_unless("confirm_delay", log.confirm, DELAYS.confirm)
        .maybe("election_timeout", upkeep.election_timeout.map(self::span))
        .maybe("compact_every", upkeep.compact_every)
}

fn step(step: &Step) -> Fields {
    let mut fields = Fields::default().span("at", step.at);
    fields.0.push(action(&step.action));
    fields
}

/// An action, without its moment.
pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Ask { request, member, lessee, answer, patience } => {
            let (name, fields) = (text::name_of_request(request), self::request(request));
            let lessee = lessee.as_deref().map(quoted);
            let answer = answer.map(AnswerKind::word).map(quoted);
            let patience = patience.map(self::span);
            let fields = fields.maybe("member", *member).maybe("lessee", lessee);
            let fields = fields.maybe("answer", answer).maybe("patience", patience);
            format!("{name} = {}", fields.inline())
        }
        Action::Fault(fault) => self::fault(fault),
    }
}

fn request(request: &Request) -> Fields {
    let none = Fields::default();
    match request {
        Request::Grant { id, ttl } => none.maybe("lease", *id).span("ttl", ttl.as_duration()),
        Request::GrantOnce { request, ttl } => {
            none.field("request", request.0).span("ttl", ttl.as_duration())
        }
        Request::Revoke { id } | Request::Renew { id } | Request::Lookup { id } => {
            none.field("lease", id)
        }
        Request::Attach { id, items }
        | Request::Detach { id, items }
        | Request::Claim { id, items } => none.field("lease", id).field("items", keys(items)),
        Request::TimeToLive { .. } | Request::Items { .. } => {
            unreachable!("no step of a scenario asks so")
        }
        Request::Leases { order, after: _, limit } => {
            let expiry = (*order == LeaseOrder::Expiry).then(|| quoted("expiry"));
            none.maybe("order", expiry).field("limit", limit)
        }
        Request::LeaseOf { item } => none.field("item", key(item)),
        Request::Promote | Request::Demote => none,
    }
}

/// A fault as serde writes it, out of the braces of the table that it is the only field of.
fn fault(fault: &Fault) -> String {
    let mut table = String::new();
    fault
        .serialize(toml::ser::ValueSerializer::new(&mut table))
        .expect("a fault has a form in TOML");
    let field = table.strip_prefix('{').and_then(|table| table.strip_suffix('}'));
    field.expect("a fault is a table of one field").trim().to_owned()
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
        .maybe("patience", herd.patience.map(self::span))
        .field_unless("keep_alive", herd.keep_alive, &false)
        .maybe("drift_ppm", herd.drift_ppm)
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

fn numbers(members: &[MemberId]) -> String {
    format!("[{}]", members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn or_none(number: Option<impl Display>) -> String {
    number.map_or_else(|| quoted("none"), |number| number.to_string())
}
