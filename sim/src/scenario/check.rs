//! From a file to a scenario: everything that the types of the file cannot say is checked here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lessor::{Item, LeaseId, MemberId, Request, RequestId, Ttl};
use toml::Spanned;

use super::error::sentence;
use super::fault::unknown_member;
use super::file::{self, Ask, File};
use super::settings::Delays;
use super::span::Span;
use super::{Action, AnswerKind, Expect, PartName, SCHEMA, Scenario, ScenarioError, Step, step};

use self::surroundings::{config, delays, disks, log, network, not_of};

mod surroundings;

pub(super) fn parse(path: &Path, text: &str) -> Result<Scenario, ScenarioError> {
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
    let invalid =
        |line, message| ScenarioError::Invalid { path: path.to_path_buf(), line, message };
    let syntax = |error: toml::de::Error| {
        invalid(error.span().map_or(1, |span| line(span.start)), sentence(&error))
    };
    let mistake = |mistake: Mistake| invalid(line(mistake.location.start), mistake.message);
    // Another schema may have other fields, so that it is looked at before them.
    let head: file::Head = toml::from_str(text).map_err(syntax)?;
    let found = *head.schema.get_ref();
    if found != SCHEMA {
        let (path, line) = (path.to_path_buf(), line(head.schema.span().start));
        return Err(ScenarioError::OtherSchema { path, line, found });
    }
    let file: File = toml::from_str(text).map_err(syntax)?;
    let checker = Checker::new(&file).map_err(mistake)?;
    let log = log(file.log).map_err(mistake)?;
    let mut scenario = Scenario {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        story: story(text),
        seed: file.seed,
        may_miss: file.may_miss,
        twins: file.twins,
        commits_twice: file.commits_twice,
        members: checker.members,
        duration: checker.duration,
        store: file.store,
        host: file.host,
        config: config(&file.config),
        log: delays(&log),
        upkeep: checker.upkeep(&log).map_err(mistake)?,
        log_name: log.name.unwrap_or(PartName::MODELLED),
        disks: disks(&file.disk),
        network: network(&file.network).map_err(mistake)?,
        clocks: checker.clocks(&file.clocks, &file.clock).map_err(mistake)?,
        ending: file.ending.map(|ending| checker.ending(&ending)).transpose().map_err(mistake)?,
        steps: Vec::new(),
        herds: Vec::new(),
        expects: Vec::new(),
    };
    for step in file.step {
        let location = step.span();
        let line = line(location.start);
        let (at, action, named) = checker.step(step.into_inner(), location).map_err(mistake)?;
        if let Action::Fault(fault) = &action
            && fault.is_of_the_modelled_log()
            && scenario.log_name != PartName::MODELLED
        {
            return Err(mistake(not_of(&scenario.log_name, fault.kind().name(), named)));
        }
        scenario.steps.push(Step { at, line, action });
    }
    scenario.steps.sort_by_key(|step| step.at);
    let mut taken = BTreeMap::new();
    for herd in file.herd {
        let herd = checker.herd(herd.into_inner(), &mut taken).map_err(mistake)?;
        scenario.herds.push(herd);
    }
    for expect in &file.expect {
        let what = checker.expectation(expect).map_err(mistake)?;
        scenario.expects.push(Expect { line: line(expect.span().start), what });
    }
    Ok(scenario)
}

/// What is wrong, and where in the text.
pub(super) struct Mistake {
    location: Range<usize>,
    message: String,
}

pub(super) fn mistake(location: Range<usize>, message: impl Into<String>) -> Mistake {
    Mistake { location, message: message.into() }
}

/// The comment lines at the head.
fn story(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// Knows what a member and a moment of this scenario are.
pub(super) struct Checker {
    members: u8,
    duration: Duration,
}

impl Checker {
    fn new(file: &File) -> Result<Self, Mistake> {
        let (members, duration) = (*file.members.get_ref(), file.duration.get_ref().0);
        let most = MOST_MEMBERS;
        let known = u8::try_from(members).ok().filter(|members| (1..=most).contains(members));
        let members = known.ok_or_else(|| {
            mistake(file.members.span(), format!("members is {members}, but must be 1 to {most}"))
        })?;
        if duration.is_zero() || duration > LONGEST {
            let message = "duration must be more than 0s and at most 30d";
            return Err(mistake(file.duration.span(), message));
        }
        Ok(Self { members, duration })
    }

    /// A step's moment and its action, and where that stands.
    fn step(
        &self,
        step: step::Step,
        location: Range<usize>,
    ) -> Result<(Duration, Action, Range<usize>), Mistake> {
        let at = self.moment("at", &step.at)?;
        let count = step.actions.len();
        let Ok([(action, named)]) = <[_; 1]>::try_from(step.actions) else {
            let count = if count == 0 { "none".to_owned() } else { count.to_string() };
            let allowed = step::actions().join(", ");
            let message =
                format!("a step has exactly one action, this one has {count}; allowed: {allowed}");
            return Err(mistake(location, message));
        };
        let action = match action {
            step::Action::Ask(ask) => self.ask(ask)?,
            step::Action::Fault(fault) => match fault.mistake(self.members) {
                Some(message) => return Err(mistake(named, message)),
                None => Action::Fault(fault),
            },
        };
        Ok((at, action, named))
    }

    fn ask(&self, ask: Ask) -> Result<Action, Mistake> {
        let (request, member, lessee, answer, patience): Asked = match ask {
            Ask::Grant(grant) => {
                let ttl = asked_ttl(&grant.ttl, grant.answer)?;
                let request = Request::Grant { id: Some(lease(&grant.lease)?), ttl };
                (request, grant.member, grant.lessee, grant.answer, grant.patience)
            }
            Ask::GrantOnce(grant) => {
                let request = RequestId((*grant.request.get_ref()).into());
                let ttl = asked_ttl(&grant.ttl, grant.answer)?;
                let request = Request::GrantOnce { request, ttl };
                (request, grant.member, grant.lessee, grant.answer, grant.patience)
            }
            Ask::Revoke(of) => of_lease(of, |id| Request::Revoke { id })?,
            Ask::Renew(of) => of_lease(of, |id| Request::Renew { id })?,
            Ask::Lookup(of) => of_lease(of, |id| Request::Lookup { id })?,
            Ask::Attach(of) => of_items(of, |id, items| Request::Attach { id, items })?,
            Ask::Detach(of) => of_items(of, |id, items| Request::Detach { id, items })?,
            Ask::Claim(of) => of_items(of, |id, items| Request::Claim { id, items })?,
            Ask::Leases(of) => {
                let limit = of.limit as usize;
                let request = Request::Leases { order: of.order, after: None, limit };
                (request, of.member, of.lessee, of.answer, of.patience)
            }
            Ask::LeaseOf(of) => {
                let request = Request::LeaseOf { item: of.item.as_str().into() };
                (request, of.member, of.lessee, of.answer, of.patience)
            }
            Ask::Promote(of) => (Request::Promote, of.member, None, of.answer, None),
            Ask::Demote(of) => (Request::Demote, of.member, None, of.answer, None),
        };
        let member = member.map(|member| self.member(&member)).transpose()?;
        let patience = patience.map(|span| positive("patience", &span)).transpose()?;
        Ok(Action::Ask { request, member, lessee, answer, patience })
    }

    pub(super) fn member(&self, member: &Spanned<i64>) -> Result<MemberId, Mistake> {
        let (member, location) = (*member.get_ref(), member.span());
        if (1..=i64::from(self.members)).contains(&member) {
            return Ok(MemberId(member.unsigned_abs()));
        }
        Err(mistake(location, unknown_member(member, self.members)))
    }

    pub(super) fn moment(&self, name: &str, at: &Spanned<Span>) -> Result<Duration, Mistake> {
        let (at, location, end) = (*at.get_ref(), at.span(), Span(self.duration));
        if at.0 <= self.duration {
            return Ok(at.0);
        }
        Err(mistake(location, format!("`{name}` is {at}, after the end of the scenario at {end}")))
    }
}

/// A request, of whom, by whom, what it must be answered, and how long that is waited for.
type Asked =
    (Request, Option<Spanned<i64>>, Option<String>, Option<AnswerKind>, Option<Spanned<Span>>);

fn of_lease(of: file::OfLease, request: fn(LeaseId) -> Request) -> Result<Asked, Mistake> {
    Ok((request(lease(&of.lease)?), of.member, of.lessee, of.answer, of.patience))
}

fn of_items(
    of: file::OfItems,
    request: fn(LeaseId, Vec<Item>) -> Request,
) -> Result<Asked, Mistake> {
    let request = request(lease(&of.lease)?, items(&of.items));
    Ok((request, of.member, of.lessee, of.answer, of.patience))
}

pub(super) fn lease(id: &Spanned<i64>) -> Result<LeaseId, Mistake> {
    let none = || mistake(id.span(), "lease 0, but an id is any other whole number");
    LeaseId::new(*id.get_ref()).ok_or_else(none)
}

/// A ttl that a lessor does not refuse, unless a refusal is what is expected.
fn asked_ttl(ttl: &Spanned<Span>, answer: Option<AnswerKind>) -> Result<Ttl, Mistake> {
    match answer {
        None | Some(AnswerKind::Ok) => grantable(ttl),
        Some(_) => Ok(positive("ttl", ttl)?.into()),
    }
}

/// A ttl that a lessor does not refuse.
fn grantable(ttl: &Spanned<Span>) -> Result<Ttl, Mistake> {
    let granted = Ttl::from(positive("ttl", ttl)?);
    if granted <= Ttl::MAX {
        return Ok(granted);
    }
    let message = format!(
        "ttl is {}, but a lessor refuses more than {}; \
         a grant may ask for it with answer = \"too-large\"",
        ttl.get_ref(),
        Ttl::MAX,
    );
    Err(mistake(ttl.span(), message))
}

pub(super) fn positive(name: &str, span: &Spanned<Span>) -> Result<Duration, Mistake> {
    if span.get_ref().0.is_zero() {
        return Err(mistake(span.span(), format!("`{name}` is 0s, but must be longer")));
    }
    Ok(span.get_ref().0)
}

pub(super) fn items(keys: &[String]) -> Vec<Item> {
    keys.iter().map(|key| key.as_str().into()).collect()
}

/// How long the log takes unless the file says something else.
pub const DELAYS: Delays = Delays {
    commit: Duration::from_millis(2),
    apply: Duration::from_millis(1),
    confirm: Duration::from_millis(1),
};
/// More members than these no group has.
pub(crate) const MOST_MEMBERS: u8 = 7;
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const MOST_LEASES: u32 = 1_000_000;

/// What a member's clock shows at the start: each has an epoch of its own.
pub(super) fn default_offset(member: MemberId) -> Duration {
    Duration::from_secs(3_600 * member.0)
}
