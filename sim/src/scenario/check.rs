//! From a file to a scenario: everything that the types of the file cannot say is checked here.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lessor::{Config, Item, LeaseId, MemberId, Request, Ttl};

use super::file::{self, File, NoneWord, OrNone};
use super::span::Span;
use super::{
    Action, AnswerKind, AtMoment, Crash, CrashWhen, Expect, Expectation, Fault, Herd, SCHEMA,
    Scenario, ScenarioError, Step,
};
use crate::consensus::{Delays, Loss};
use crate::disk::Unsynced;

pub(super) fn parse(path: &Path, text: &str) -> Result<Scenario, ScenarioError> {
    let line = |span: Range<usize>| text[..span.start.min(text.len())].matches('\n').count() + 1;
    let invalid = |line, what| ScenarioError::Invalid { path: path.to_path_buf(), line, what };
    let syntax = |error: toml::de::Error| {
        let what = error.message().replace('\n', " ");
        invalid(error.span().map_or(1, line), what)
    };
    // Another schema may have other fields, so that it is looked at before them.
    let head: file::Head = toml::from_str(text).map_err(syntax)?;
    let found = *head.schema.get_ref();
    if found != SCHEMA {
        let (path, line) = (path.to_path_buf(), line(head.schema.span()));
        return Err(ScenarioError::OtherSchema { path, line, found });
    }
    let file: File = toml::from_str(text).map_err(syntax)?;
    let checker = Checker::new(&file).map_err(|(span, what)| invalid(line(span), what))?;
    let mut scenario = Scenario {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        story: story(text),
        seed: file.seed,
        members: checker.members,
        duration: checker.duration,
        config: config(&file.config),
        log: delays(&file.log),
        steps: Vec::new(),
        herds: Vec::new(),
        expects: Vec::new(),
    };
    for step in file.step {
        let line = line(step.span());
        let step = checker.step(step.into_inner(), line).map_err(|what| invalid(line, what))?;
        scenario.steps.push(step);
    }
    for herd in file.herd {
        let line = line(herd.span());
        let herd =
            checker.herd(herd.into_inner(), &scenario.herds).map_err(|what| invalid(line, what))?;
        scenario.herds.push(herd);
    }
    for expect in file.expect {
        let line = line(expect.span());
        let what = checker.expectation(expect.get_ref()).map_err(|what| invalid(line, what))?;
        scenario.expects.push(Expect { line, what });
    }
    Ok(scenario)
}

/// The comment lines at the head.
fn story(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

fn config(file: &file::Config) -> Config {
    let default = Config::default();
    let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
    Config {
        min_ttl: file.min_ttl.map_or(default.min_ttl, |span| span.0.into()),
        revoke_rate: file.revoke_rate.unwrap_or(default.revoke_rate),
        retry_interval: or(file.retry_interval, default.retry_interval),
        checkpoint_interval: or(file.checkpoint_interval, default.checkpoint_interval),
        extend: or(file.extend, default.extend),
        request_timeout: or(file.request_timeout, default.request_timeout),
        queue: file.queue.unwrap_or(default.queue),
        // Nothing observable depends on it, but a simulation draws nothing from the system.
        hash_key: Some(0),
    }
}

fn delays(file: &file::Log) -> Delays {
    let or = |span: Option<Span>, millis| span.map_or(Duration::from_millis(millis), |span| span.0);
    Delays {
        commit: or(file.commit_delay, 2),
        apply: or(file.apply_delay, 1),
        confirm: or(file.confirm_delay, 1),
    }
}

/// Knows what a member and a moment of this scenario are.
struct Checker {
    members: u8,
    duration: Duration,
}

impl Checker {
    fn new(file: &File) -> Result<Self, (Range<usize>, String)> {
        let members = *file.members.get_ref();
        let duration = file.duration.get_ref().0;
        let members =
            u8::try_from(members).ok().filter(|members| (1..=5).contains(members)).ok_or_else(
                || (file.members.span(), format!("members is {members}, but must be 1 to 5")),
            )?;
        if duration.is_zero() || duration > LONGEST {
            let what = "duration must be more than 0s and at most 30d".to_owned();
            return Err((file.duration.span(), what));
        }
        Ok(Self { members, duration })
    }

    fn step(&self, step: file::Step, line: usize) -> Result<Step, String> {
        let at = self.moment("at", step.at)?;
        let mut actions = Vec::new();
        if let Some(grant) = step.grant {
            let id = Some(lease(grant.lease)?);
            // A ttl that is too large is what a lessee may ask for, and is refused.
            let request = Request::Grant { id, ttl: ttl(grant.ttl)? };
            actions.push(self.ask(request, grant.member, grant.lessee, grant.answer)?);
        }
        if let Some(asked) = step.revoke {
            let request = Request::Revoke { id: lease(asked.lease)? };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.renew {
            let request = Request::Renew { id: lease(asked.lease)? };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.lookup {
            let request = Request::Lookup { id: lease(asked.lease)? };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.attach {
            let request = Request::Attach { id: lease(asked.lease)?, items: items(&asked.items) };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.detach {
            let request = Request::Detach { id: lease(asked.lease)?, items: items(&asked.items) };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.leases {
            let limit = asked.limit as usize;
            let request = Request::Leases { order: asked.order, after: None, limit };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.lease_of {
            let request = Request::LeaseOf { item: asked.item.as_str().into() };
            actions.push(self.ask(request, asked.member, asked.lessee, asked.answer)?);
        }
        if let Some(asked) = step.promote {
            actions.push(self.ask(Request::Promote, Some(asked.member), None, asked.answer)?);
        }
        if let Some(asked) = step.demote {
            actions.push(self.ask(Request::Demote, Some(asked.member), None, asked.answer)?);
        }
        let of_member = [
            (step.elect, Fault::Elect as fn(MemberId) -> Fault),
            (step.kill, Fault::Kill),
            (step.restart, Fault::Restart),
            (step.stop, Fault::Stop),
            (step.isolate, Fault::Isolate),
        ];
        for (fault, make) in of_member {
            if let Some(fault) = fault {
                actions.push(Action::Fault(make(self.member(fault.member)?)));
            }
        }
        if let Some(file::Nothing {}) = step.depose {
            actions.push(Action::Fault(Fault::Depose));
        }
        if let Some(crash) = step.crash {
            actions.push(Action::Fault(Fault::Crash(self.crash(&crash)?)));
        }
        if let Some(pause) = step.pause {
            let member = self.member(pause.member)?;
            actions.push(Action::Fault(Fault::Pause { member, span: pause.span.0 }));
        }
        if let Some(heal) = step.heal {
            let member = heal.member.map(|member| self.member(member)).transpose()?;
            actions.push(Action::Fault(Fault::Heal(member)));
        }
        if let Some(lose) = step.lose {
            let (member, count) = (self.member(lose.member)?, lose.count);
            let loss = match lose.what {
                file::What::Expired => Loss::Revokes,
                file::What::Checkpoints => Loss::Checkpoints,
                file::What::Proposals => Loss::Proposals,
            };
            actions.push(Action::Fault(Fault::Lose { member, loss, count }));
        }
        let count = actions.len();
        match (actions.pop(), count) {
            (Some(action), 1) => Ok(Step { at, line, action }),
            (_, count) => Err(format!(
                "a step has exactly one action, this one has {count}; allowed: {ACTIONS}"
            )),
        }
    }

    fn ask(
        &self,
        request: Request,
        member: Option<i64>,
        lessee: Option<String>,
        answer: Option<AnswerKind>,
    ) -> Result<Action, String> {
        let member = member.map(|member| self.member(member)).transpose()?;
        Ok(Action::Ask { request, member, lessee, answer })
    }

    fn crash(&self, crash: &file::Crash) -> Result<Crash, String> {
        let when = match (crash.when, crash.disk_operation) {
            (file::When::DuringCommit, operation) => {
                let disk_operation = operation.unwrap_or(1);
                if disk_operation == 0 {
                    return Err("disk_operation counts from 1".to_owned());
                }
                CrashWhen::DuringCommit { disk_operation }
            }
            (_, Some(_)) => {
                return Err("disk_operation needs when = \"during-commit\"".to_owned());
            }
            (file::When::Now, None) => CrashWhen::Now,
            (file::When::BeforeCommit, None) => CrashWhen::BeforeCommit,
            (file::When::AfterCommit, None) => CrashWhen::AfterCommit,
        };
        let unsynced = match crash.unsynced {
            file::Unsynced::Drop => Unsynced::Drop,
            file::Unsynced::Keep => Unsynced::Keep,
            file::Unsynced::Tear => Unsynced::Tear,
        };
        Ok(Crash { member: self.member(crash.member)?, when, unsynced })
    }

    fn herd(&self, herd: file::Herd, others: &[Herd]) -> Result<Herd, String> {
        if !(1..=MOST_LEASES).contains(&herd.leases) {
            return Err(format!("leases is {}, but must be 1 to {MOST_LEASES}", herd.leases));
        }
        let (first, last) =
            (herd.first_lease, herd.first_lease.checked_add(i64::from(herd.leases) - 1));
        let Some(last) = last.filter(|last| first > 0 || *last < 0) else {
            return Err(format!("first_lease is {first}, but no id may be 0 or too large"));
        };
        for other in others {
            if first <= other.last_lease().get() && other.first_lease.get() <= last {
                return Err(format!(
                    "leases {first} to {last} overlap with those of herd {}",
                    other.name
                ));
            }
        }
        Ok(Herd {
            name: herd.name,
            leases: herd.leases,
            first_lease: lease(first)?,
            ttl: ttl(herd.ttl)?,
            start: self.moment("start", herd.start)?,
            over: herd.over.map_or(Duration::ZERO, |over| over.0),
            renew_every: herd.renew_every.map(positive).transpose()?,
            until: herd.until.map(|until| until.0),
            items: herd.items.unwrap_or(1),
        })
    }

    fn expectation(&self, expect: &file::Expect) -> Result<Expectation, String> {
        let Some(at) = expect.at else { return self.expired(expect) };
        let stretch = [expect.from, expect.to, expect.every];
        if stretch.iter().any(Option::is_some)
            || expect.expired_at_least.is_some()
            || expect.expired_at_most.is_some()
        {
            return Err(format!("an expectation has either `at` or `from`; {EXPECTATIONS}"));
        }
        let at = self.moment("at", at)?;
        let member = expect.member.map(|member| self.member(member)).transpose()?;
        let mut found = Vec::new();
        if let Some(id) = expect.lease {
            let id = lease(id)?;
            if let Some(present) = expect.present {
                found.push(AtMoment::Present(id, present));
            }
            if let Some(keys) = &expect.items {
                let mut items = items(keys);
                items.sort();
                found.push(AtMoment::Items(id, items));
            }
            let (at_least, at_most) = (expect.remaining_at_least, expect.remaining_at_most);
            if at_least.is_some() || at_most.is_some() {
                let (at_least, at_most) = (at_least.map(|span| span.0), at_most.map(|span| span.0));
                found.push(AtMoment::Remaining { lease: id, at_least, at_most });
            }
        }
        if let (Some(item), Some(holder)) = (&expect.item, &expect.holder) {
            let holder = number(holder).map(lease).transpose()?;
            found.push(AtMoment::Holder(item.as_str().into(), holder));
        }
        if let Some(primary) = &expect.primary {
            let primary = number(primary).map(|member| self.member(member)).transpose()?;
            found.push(AtMoment::Primary(primary));
        }
        if let Some(count) = expect.leases {
            found.push(AtMoment::Leases(count as usize));
        }
        // `present` and `items` of one lease are one expectation: the items say that it is there.
        if let [AtMoment::Present(_, true), AtMoment::Items(..)] = found[..] {
            found.remove(0);
        }
        let count = found.len();
        match (found.pop(), count) {
            (Some(what), 1) => Ok(Expectation::At { at, member, what }),
            _ => Err(format!("an expectation says exactly one thing; {EXPECTATIONS}")),
        }
    }

    fn expired(&self, expect: &file::Expect) -> Result<Expectation, String> {
        let (Some(from), Some(to), Some(every)) = (expect.from, expect.to, expect.every) else {
            return Err(format!(
                "an expectation has `at`, or `from`, `to` and `every`; {EXPECTATIONS}"
            ));
        };
        let (from, to) = (self.moment("from", from)?, self.moment("to", to)?);
        let (at_least, at_most) = (expect.expired_at_least, expect.expired_at_most);
        if from >= to || (at_least.is_none() && at_most.is_none()) {
            return Err(format!("`from` is before `to`, and a bound is given; {EXPECTATIONS}"));
        }
        Ok(Expectation::Expired { from, to, every: positive(every)?, at_least, at_most })
    }

    fn member(&self, member: i64) -> Result<MemberId, String> {
        let known = 1..=i64::from(self.members);
        if known.contains(&member) {
            return Ok(MemberId(member.unsigned_abs()));
        }
        Err(format!("member {member}, but the scenario has members 1 to {}", self.members))
    }

    fn moment(&self, name: &str, at: Span) -> Result<Duration, String> {
        if at.0 <= self.duration {
            return Ok(at.0);
        }
        Err(format!("`{name}` is {:?}, after the end of the scenario at {:?}", at.0, self.duration))
    }
}

fn lease(id: i64) -> Result<LeaseId, String> {
    LeaseId::new(id).ok_or_else(|| "lease 0, but an id is any other whole number".to_owned())
}

fn ttl(span: Span) -> Result<Ttl, String> {
    positive(span).map(Into::into)
}

fn positive(span: Span) -> Result<Duration, String> {
    if span.0.is_zero() {
        return Err("a span of 0s, but it must be longer".to_owned());
    }
    Ok(span.0)
}

fn items(keys: &[String]) -> Vec<Item> {
    keys.iter().map(|key| key.as_str().into()).collect()
}

fn number(number: &OrNone) -> Option<i64> {
    match number {
        OrNone::Number(number) => Some(*number),
        OrNone::Word(NoneWord::None) => None,
    }
}

const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const MOST_LEASES: u32 = 1_000_000;
const ACTIONS: &str = "grant, revoke, renew, attach, detach, lookup, leases, lease-of, promote, \
    demote, elect, depose, crash, kill, restart, stop, pause, isolate, heal, lose";
const EXPECTATIONS: &str = "allowed: `at` with `lease` and one of `present`, `items`, \
    `remaining_at_least`/`remaining_at_most`; `at` with `item` and `holder`; `at` with `primary` or \
    `leases`; or `from`, `to`, `every` with `expired_at_least`/`expired_at_most`";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        let text = format!("schema = 1\nmembers = 3\nduration = \"60s\"\n{body}");
        match Scenario::parse(Path::new("x.toml"), &text) {
            Ok(scenario) => panic!("it is accepted: {scenario:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_mistake_is_met_with_its_line_and_what_is_allowed() {
        let step = |action: &str| error(&format!("[[step]]\nat = \"1s\"\n{action}"));
        let cases = [
            (
                step("grant = { lease = 7, ttll = \"10s\" }"),
                "x.toml:6: unknown field `ttll`, expected one of `lease`, `ttl`, `member`, `lessee`, `answer`",
            ),
            (
                step("grant = { lease = \"7\", ttl = \"10s\" }"),
                "x.toml:6: invalid type: string \"7\", expected i64",
            ),
            (
                step("renew = { lease = 7, member = 9 }"),
                "x.toml:4: member 9, but the scenario has members 1 to 3",
            ),
            (
                step("grant = { lease = 7, ttl = \"-1s\" }"),
                "x.toml:6: `-1s` is no span of time; write a string with a number and a unit of ms, s, m, h or d, such as \"250ms\" or \"1.5s\"",
            ),
            (
                step("grant = { lease = 7, ttl = 10 }"),
                "x.toml:6: invalid type: integer `10`, expected a string with a number and a unit of ms, s, m, h or d, such as \"250ms\" or \"1.5s\"",
            ),
            (
                step("grant = { lease = 0, ttl = \"1s\" }"),
                "x.toml:4: lease 0, but an id is any other whole number",
            ),
            (
                step("renew = { lease = 7 }\nrevoke = { lease = 7 }"),
                "x.toml:4: a step has exactly one action, this one has 2; allowed: grant, revoke, renew, attach, detach, lookup, leases, lease-of, promote, demote, elect, depose, crash, kill, restart, stop, pause, isolate, heal, lose",
            ),
            (
                step("crash = { member = 1, disk_operation = 2 }"),
                "x.toml:4: disk_operation needs when = \"during-commit\"",
            ),
            (
                step("crash = { member = 1, when = \"soon\" }"),
                "x.toml:6: unknown variant `soon`, expected one of `now`, `before-commit`, `during-commit`, `after-commit`",
            ),
            (
                error("[[step]]\nat = \"61s\"\ndepose = {}"),
                "x.toml:4: `at` is 61s, after the end of the scenario at 60s",
            ),
            (
                error("[[expect]]\nat = \"1s\"\nprimary = 4"),
                "x.toml:4: member 4, but the scenario has members 1 to 3",
            ),
            (
                error(
                    "[[herd]]\nname = \"a\"\nleases = 3\nfirst_lease = -1\nttl = \"9s\"\nstart = \"0s\"",
                ),
                "x.toml:4: first_lease is -1, but no id may be 0 or too large",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_unknown_action_is_met_with_all_that_there_are() {
        let found = error("[[step]]\nat = \"1s\"\nexplode = { member = 1 }");
        assert!(
            found.starts_with("x.toml:6: unknown field `explode`, expected one of `at`, `grant`"),
            "{found}"
        );
    }

    #[test]
    fn an_expectation_says_one_thing() {
        for body in [
            "at = \"1s\"",
            "at = \"1s\"\nlease = 7",
            "at = \"1s\"\nprimary = 1\nleases = 3",
            "lease = 7\npresent = true",
        ] {
            let found = error(&format!("[[expect]]\n{body}"));
            assert!(found.starts_with("x.toml:4: an expectation"), "{found}");
        }
    }

    #[test]
    fn the_head_of_a_file_is_checked() {
        let parse = |text: &str| match Scenario::parse(Path::new("x.toml"), text) {
            Ok(scenario) => panic!("it is accepted: {scenario:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            parse("schema = 2\nnew_field = 1"),
            "x.toml:1: the scenario has schema 2, but this version replays schema 1; use the lessor-sim that it was written for"
        );
        assert_eq!(
            parse("schema = 1\nmembers = 6\nduration = \"1s\""),
            "x.toml:2: members is 6, but must be 1 to 5"
        );
        assert_eq!(
            parse("schema = 1\nduration = \"0s\""),
            "x.toml:2: duration must be more than 0s and at most 30d"
        );
        assert_eq!(parse("schema = 1"), "x.toml:1: missing field `duration`");
        assert!(parse("schema = ").starts_with("x.toml:1: "));
    }

    #[test]
    fn a_scenario_is_what_its_file_says() {
        let text = "# A story\n# of two lines.\nschema = 1\nseed = 9\nmembers = 2\nduration = \"1m\"\n\
            [config]\nextend = \"0s\"\n[[step]]\nat = \"1.5s\"\ncrash = { member = 2, when = \"during-commit\", unsynced = \"tear\" }\n";
        let scenario = Scenario::parse(Path::new("a/tale.toml"), text).expect("it is well-formed");
        assert_eq!((&*scenario.name, &*scenario.story), ("tale", "A story\nof two lines."));
        assert_eq!((scenario.seed, scenario.members), (9, 2));
        assert_eq!(scenario.config.extend, Duration::ZERO);
        let when = CrashWhen::DuringCommit { disk_operation: 1 };
        let crash = Crash { member: MemberId(2), when, unsynced: Unsynced::Tear };
        let action = Action::Fault(Fault::Crash(crash));
        assert_eq!(scenario.steps, [Step { at: Duration::from_millis(1_500), line: 9, action }]);
    }
}
