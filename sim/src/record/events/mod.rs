//! The events of a run as data: a line of JSON each, with the number of its cause. It is the one stream
//! of events, written down; it keeps only what ties one event to another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lessor::{Confirmation, Entry, Instant, LeaseId, MemberId, Request, Ticket};
use serde_json::{Value, json};

use self::form::{Body, Number};
use self::leases::Deadlines;
use crate::judge::Event;
use crate::judge::oracle::Oracle;
use crate::model::State;
use crate::model::clock::Clock;
use crate::record::report::Report;
use crate::record::trace::{Focus, Line};
use crate::scenario::{FaultKind, Herd, Scenario};

mod form;
mod inside;
mod leases;
mod outside;

/// The version of the form of a file.
pub const SCHEMA: &str = "lessor-sim/events@1";

/// What is written event by event; the rest is counted, a line a second.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Everything.
    pub all: bool,
    /// What concerns these leases of herds, besides all leases of no herd.
    pub leases: BTreeSet<LeaseId>,
    /// All that goes in and out of these members.
    pub members: BTreeSet<MemberId>,
}

impl Detail {
    /// What is worth it in a run that went so: all of a short one, of a long one what the first violation is
    /// about.
    #[must_use]
    pub fn of(report: &Report, herds: &[Herd]) -> Self {
        let focus = report.focus();
        let firsts = herds.iter().map(|herd| herd.first_lease);
        Self {
            all: report.trace.events() <= SHORT,
            leases: focus.leases.into_iter().chain(firsts).collect(),
            members: focus.members,
        }
    }

    /// What the trace must show for it, so that events have words.
    #[must_use]
    pub fn focus(&self) -> Focus {
        let Self { all, leases, members } = self.clone();
        Focus { all, text: None, leases, members }
    }
}

/// A run with at most so many events is written in full.
const SHORT: u64 = 20_000;

/// Writes events down.
pub struct EventLog {
    detail: Detail,
    herds: Vec<Herd>,
    /// The line of each step in its file.
    steps: Vec<usize>,
    lines: String,
    /// The cause of each line so far.
    causes: BTreeMap<u64, u64>,
    written: u64,
    bins: BTreeMap<(u64, String), u64>,
    second: u64,
    members: BTreeMap<MemberId, Inside>,
    calls: BTreeMap<u64, Asked>,
    /// What an asker, by the line of its step or its lease, was told last.
    told: BTreeMap<Asker, u64>,
    /// By term and sequence: the line of a proposal.
    proposals: BTreeMap<(u64, u64), u64>,
    /// By index: the line of an entry when it was agreed, and its effect.
    agreed: BTreeMap<u64, (u64, &'static str)>,
    state: State,
    /// Messages on their way, by what they say: their ids and lines.
    messages: BTreeMap<String, VecDeque<(u64, u64)>>,
    posted: u64,
    last_post: Option<(String, u64, u64)>,
    /// The last news of the log.
    note: Option<u64>,
    /// The line of each fault that lasts and has not ended.
    faults: BTreeMap<usize, u64>,
    /// The line of the last fault of a kind that was ordered of a member, or of none.
    ordered: BTreeMap<(FaultKind, Option<MemberId>), u64>,
    /// The last lines about each lease, by kind and member.
    about: BTreeMap<LeaseId, BTreeMap<(&'static str, u64), u64>>,
    /// How many violations have been written.
    judged: usize,
}

/// What is kept of a member.
#[derive(Default)]
struct Inside {
    /// The line of the input that is being handled.
    input: Option<u64>,
    /// The leases that it is about, and why their deadlines may change.
    touched: BTreeSet<LeaseId>,
    why: &'static str,
    /// Requests that are on their way to it or wait at its door.
    door: VecDeque<(u64, Request)>,
    /// The line of the last that was heard of a ticket, and its call.
    tickets: BTreeMap<Ticket, (u64, Option<u64>)>,
    questions: BTreeMap<Confirmation, u64>,
    /// The last commit.
    commit: Option<u64>,
    /// The last line about its role, and about its process, disk or clock.
    role: Option<u64>,
    process: Option<u64>,
    disk: Option<u64>,
    deadlines: Deadlines,
}

/// A call that is open.
struct Asked {
    /// Its line.
    n: u64,
    asker: Asker,
    sent: Duration,
    /// Its answer, as its member gave it.
    answer: Option<u64>,
    member: Option<MemberId>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asker {
    Step(usize),
    Lessee(Option<LeaseId>),
}

/// What an event is told with.
pub struct Seen<'a> {
    /// The clock of its member.
    pub clock: Option<Clock>,
    /// The lines of the trace that it has made.
    pub lines: &'a [Line],
    /// The oracle, which has judged it.
    pub oracle: &'a Oracle,
}

impl EventLog {
    /// For a run of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario, detail: Detail) -> Self {
        Self {
            detail,
            herds: scenario.herds.clone(),
            steps: scenario.steps.iter().map(|step| step.line).collect(),
            lines: String::new(),
            causes: BTreeMap::new(),
            written: 0,
            bins: BTreeMap::new(),
            second: 0,
            members: BTreeMap::new(),
            calls: BTreeMap::new(),
            told: BTreeMap::new(),
            proposals: BTreeMap::new(),
            agreed: BTreeMap::new(),
            state: State::default(),
            messages: BTreeMap::new(),
            posted: 0,
            last_post: None,
            note: None,
            faults: BTreeMap::new(),
            ordered: BTreeMap::new(),
            about: BTreeMap::new(),
            judged: 0,
        }
    }

    /// Writes an event down.
    pub fn observe(&mut self, event: &Event<'_>, seen: &Seen<'_>) {
        self.pass(event.now);
        let mut at = At {
            now: event.now,
            member: event.member,
            clock: event.clock,
            of: seen.clock,
            words: shown(seen.lines, event.now).into(),
            line: None,
        };
        self.happened(&mut at, &event.kind);
        let last = self.written;
        for violation in &seen.oracle.violations()[self.judged..] {
            let member = violation.member.or(event.member);
            let because = self.because(violation.lease, member, last);
            at.member = member;
            let lease = violation.lease.map(Number::from);
            let (property, title) = (violation.property.id(), violation.property.title());
            let what = &violation.what;
            self.push(&mut at, Some(last), Body::Judge { property, title, what, lease, because });
        }
        self.judged = seen.oracle.violations().len();
    }

    /// All of it as a file.
    #[must_use]
    pub fn finish(mut self, scenario: &Scenario, report: &Report) -> String {
        self.pass(report.virtual_time + Duration::from_secs(1));
        let (hash, verdict) = (report.trace.hash(), report.verdict());
        let mut at = At { now: report.virtual_time, ..At::default() };
        let events = report.trace.events();
        let end = Body::End { verdict: verdict.word(), hash: hash.clone(), events };
        self.push(&mut at, None, end);
        let clock = |member: MemberId| {
            json!({
                "id": member,
                "offset": nanos(scenario.clocks.offset(member)),
                "ppm": scenario.clocks.drift_ppm(member),
            })
        };
        let herd = |herd: &Herd| {
            json!({
                "name": herd.name,
                "first": Number::from(herd.first_lease),
                "leases": herd.leases,
                "ttl": herd.ttl.as_millis(),
            })
        };
        let header = json!({
            "n": 0,
            "schema": SCHEMA,
            "name": scenario.name,
            "story": scenario.story,
            "seed": Number::from(scenario.seed),
            "hash": hash,
            "verdict": verdict.word(),
            "findings": report.findings().collect::<Vec<_>>(),
            "duration": nanos(report.virtual_time),
            "members": (1..=scenario.members.into()).map(MemberId).map(clock).collect::<Vec<_>>(),
            "config": scenario.config,
            "herds": scenario.herds.iter().map(herd).collect::<Vec<_>>(),
            "detail": {
                "all": self.detail.all,
                "leases": self.detail.leases.iter().copied().map(Number::from).collect::<Vec<_>>(),
                "members": self.detail.members,
            },
            "scenario": scenario.to_toml(),
        });
        format!("{header}\n{}", self.lines)
    }

    /// Writes a line, and gives its number.
    fn push(&mut self, at: &mut At, cause: Option<u64>, body: Body<'_>) -> u64 {
        self.written += 1;
        let n = self.written;
        self.causes.extend(cause.map(|cause| (n, cause)));
        let line = form::Line {
            n,
            t: u64::try_from(at.now.as_nanos()).unwrap_or(u64::MAX),
            body,
            m: at.member.map(|member| member.0),
            c: cause,
            line: at.line.filter(|line| *line > 0),
            w: at.words.pop_front(),
        };
        let line = serde_json::to_string(&line).expect("an event has a form in JSON");
        self.lines.push_str(&line);
        self.lines.push('\n');
        n
    }

    /// Counts an event that is not written.
    fn count(&mut self, at: &At, what: String) {
        let member = at.member.map_or(0, |member| member.0);
        *self.bins.entry((member, what)).or_default() += 1;
    }

    /// Writes what was counted, if its second is over.
    fn pass(&mut self, now: Duration) {
        if now.as_secs() <= self.second {
            return;
        }
        let now_before = Duration::from_secs(self.second);
        self.second = now.as_secs();
        let mut of_member: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
        for ((member, what), count) in std::mem::take(&mut self.bins) {
            of_member.entry(member).or_default().insert(what, count);
        }
        for (member, counts) in of_member {
            let member = (member > 0).then_some(MemberId(member));
            let mut at = At { now: now_before, member, ..At::default() };
            self.push(&mut at, None, Body::Bin { counts: &counts });
        }
    }

    fn of(&mut self, member: MemberId) -> &mut Inside {
        self.members.entry(member).or_default()
    }

    /// Whether what concerns these leases is written event by event.
    fn shows(&self, leases: &BTreeSet<LeaseId>) -> bool {
        let of_herd = |id: &LeaseId| self.herds.iter().any(|herd| herd.has(*id));
        let shows = |id: &LeaseId| self.detail.leases.contains(id) || !of_herd(id);
        self.detail.all || leases.is_empty() || leases.iter().any(shows)
    }

    /// Whether all that goes in and out of a member is written.
    fn shows_inside(&self, member: Option<MemberId>) -> bool {
        self.detail.all || member.is_some_and(|member| self.detail.members.contains(&member))
    }

    /// Notes the last line of a kind about some leases.
    fn is_about(&mut self, n: u64, kind: &'static str, at: &At, leases: &BTreeSet<LeaseId>) {
        let member = at.member.map_or(0, |member| member.0);
        for lease in leases {
            self.about.entry(*lease).or_default().insert((kind, member), n);
        }
    }

    /// The lines that lead to a violation: what was last heard of its lease, the roles, what happened to its
    /// member, the faults that last, and the causes of what was just written.
    fn because(&self, lease: Option<LeaseId>, member: Option<MemberId>, last: u64) -> Vec<u64> {
        let mut because = BTreeSet::new();
        let mut next = Some(last);
        while let Some(n) = next {
            because.insert(n);
            next = self.causes.get(&n).copied();
        }
        let about = lease.and_then(|id| self.about.get(&id));
        because.extend(about.into_iter().flat_map(BTreeMap::values));
        because.extend(self.members.values().filter_map(|inside| inside.role));
        let inside = member.and_then(|member| self.members.get(&member)).into_iter();
        because.extend(inside.flat_map(|of| [of.commit, of.process, of.disk]).flatten());
        because.extend(self.faults.values());
        because.into_iter().collect()
    }

    /// The log has agreed on the next entry.
    fn agreed(&mut self, at: &mut At, entry: &Entry) {
        let applied = self.state.apply(entry);
        let effect = leases::effect(entry, &applied);
        let (op, leases) = leases::asked(entry);
        if !self.shows(&leases) {
            self.count(at, format!("agreed {op} {effect}"));
            self.agreed.insert(entry.index.0, (0, effect));
            return;
        }
        let proposed = leases::key(entry).and_then(|key| self.proposals.get(&key).copied());
        let form = form_of(entry, op, &leases, effect);
        let n = self.push(at, proposed.or(self.note), Body::Agreed(form));
        self.is_about(n, "agreed", at, &leases);
        self.agreed.insert(entry.index.0, (n, effect));
    }
}

/// When the events happened that led to the first thing that was judged to be wrong, with the words that the
/// trace has for each: its causes, as far back as they go, and what they are known to depend on.
pub(super) fn causes(events: &str) -> BTreeSet<(Duration, String)> {
    let of_line = |line: &str| serde_json::from_str::<Value>(line).ok();
    let judged = events.lines().filter(|line| line.contains(JUDGE)).find_map(of_line);
    let because = judged.as_ref().and_then(|judged| judged["because"].as_array());
    let because: BTreeSet<u64> = because.into_iter().flatten().filter_map(Value::as_u64).collect();
    let in_words = |line: Value| {
        let is_one = line["n"].as_u64().is_some_and(|n| because.contains(&n));
        let words = line["w"].as_str().filter(|_| is_one)?;
        Some((Duration::from_nanos(line["t"].as_u64()?), words.to_owned()))
    };
    events.lines().filter_map(of_line).filter_map(in_words).collect()
}

/// What only the line of a judgement has.
const JUDGE: &str = r#""because":["#;

/// Where and when an event is, and the words that the trace has for it.
#[derive(Default)]
struct At {
    now: Duration,
    member: Option<MemberId>,
    clock: Instant,
    of: Option<Clock>,
    words: VecDeque<String>,
    /// The line of the scenario.
    line: Option<usize>,
}

/// The words of an event's own lines; others stand for many.
fn shown(lines: &[Line], now: Duration) -> Vec<String> {
    let own = lines.iter().filter(|line| line.at == now);
    own.map(|line| line.words.clone()).collect()
}

/// The id of a proposal.
fn id_of((term, sequence): (u64, u64)) -> String {
    format!("{term}.{sequence}")
}

/// An entry that asks for this, of these leases, and has this effect.
fn form_of<'a>(
    entry: &Entry,
    op: &'a str,
    leases: &BTreeSet<LeaseId>,
    effect: &'a str,
) -> form::Entry<'a> {
    let (id, index) = (leases::key(entry).map(id_of), entry.index.0);
    form::Entry { id, index, op, leases: numbers(leases), effect }
}

fn numbers(leases: &BTreeSet<LeaseId>) -> Vec<Number> {
    leases.iter().copied().map(Number::from).collect()
}

fn nanos(span: Duration) -> Number {
    Number(i128::try_from(span.as_nanos()).unwrap_or(i128::MAX))
}
