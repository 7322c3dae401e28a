//! From a file to a scenario: everything that the types of the file cannot say is checked here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lessor::{Config, Item, LeaseId, MemberId, Request, RequestId, Ttl};
use toml::Spanned;

use super::error::sentence;
use super::file::{self, File};
use super::settings::Unsynced;
use super::settings::{Delays, Loss};
use super::span::Span;
use super::{
    Action, AnswerKind, Clocks, Crash, CrashWhen, Disks, Ending, Expect, Fault, Herd, MemberClock,
    Network, PartName, SCHEMA, Scenario, ScenarioError, Step, Upkeep,
};

use self::surroundings::{config, delays, disks, log, network, not_of, share};

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
        let (at, action) = checker.step(step.into_inner(), location.clone()).map_err(mistake)?;
        if let Action::Fault(fault) = &action
            && fault.is_of_the_modelled_log()
            && scenario.log_name != PartName::MODELLED
        {
            return Err(mistake(not_of(&scenario.log_name, fault.name(), location)));
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

/// A rate less one, in millionths: a clock may stand still, and run at most twice as fast.
fn rate(name: &str, ppm: &Spanned<i32>) -> Result<i32, Mistake> {
    let value = *ppm.get_ref();
    if value.unsigned_abs() <= MILLION {
        return Ok(value);
    }
    let message = format!("`{name}` is {value}, but must be -{MILLION} to {MILLION}");
    Err(mistake(ppm.span(), message))
}

fn at_least_one(name: &str, count: &Spanned<u32>) -> Result<u32, Mistake> {
    match *count.get_ref() {
        0 => Err(mistake(count.span(), format!("{name} is 0, but must be at least 1"))),
        count => Ok(count),
    }
}

fn unsynced(unsynced: file::Unsynced) -> Unsynced {
    match unsynced {
        file::Unsynced::Drop => Unsynced::Drop,
        file::Unsynced::Keep => Unsynced::Keep,
        file::Unsynced::Tear => Unsynced::Tear,
    }
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

    fn step(
        &self,
        step: file::Step,
        location: Range<usize>,
    ) -> Result<(Duration, Action), Mistake> {
        let at = self.moment("at", &step.at)?;
        let mut actions = Vec::new();
        if let Some(grant) = step.grant {
            let id = Some(lease(&grant.lease)?);
            let ttl = match grant.answer {
                None | Some(AnswerKind::Ok) => grantable(&grant.ttl)?,
                Some(_) => positive("ttl", &grant.ttl)?.into(),
            };
            let request = Request::Grant { id, ttl };
            actions.push(self.ask(
                request,
                grant.member,
                grant.lessee,
                grant.answer,
                grant.patience,
            )?);
        }
        if let Some(grant) = step.grant_once {
            let request = RequestId((*grant.request.get_ref()).into());
            let ttl = match grant.answer {
                None | Some(AnswerKind::Ok) => grantable(&grant.ttl)?,
                Some(_) => positive("ttl", &grant.ttl)?.into(),
            };
            let request = Request::GrantOnce { request, ttl };
            actions.push(self.ask(
                request,
                grant.member,
                grant.lessee,
                grant.answer,
                grant.patience,
            )?);
        }
        if let Some(asked) = step.revoke {
            let request = Request::Revoke { id: lease(&asked.lease)? };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.renew {
            let request = Request::Renew { id: lease(&asked.lease)? };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.lookup {
            let request = Request::Lookup { id: lease(&asked.lease)? };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.attach {
            let request = Request::Attach { id: lease(&asked.lease)?, items: items(&asked.items) };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.detach {
            let request = Request::Detach { id: lease(&asked.lease)?, items: items(&asked.items) };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.claim {
            let request = Request::Claim { id: lease(&asked.lease)?, items: items(&asked.items) };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.leases {
            let limit = asked.limit as usize;
            let request = Request::Leases { order: asked.order, after: None, limit };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.lease_of {
            let request = Request::LeaseOf { item: asked.item.as_str().into() };
            actions.push(self.ask(
                request,
                asked.member,
                asked.lessee,
                asked.answer,
                asked.patience,
            )?);
        }
        if let Some(asked) = step.promote {
            actions.push(self.ask(Request::Promote, asked.member, None, asked.answer, None)?);
        }
        if let Some(asked) = step.demote {
            actions.push(self.ask(Request::Demote, asked.member, None, asked.answer, None)?);
        }
        let of_member = [
            (step.elect, Fault::Elect as fn(MemberId) -> Fault),
            (step.kill, Fault::Kill),
            (step.restart, Fault::Restart),
            (step.stop, Fault::Stop),
            (step.replace_disk, Fault::ReplaceDisk),
            (step.copy_disk, Fault::CopyDisk),
            (step.put_back, Fault::PutBack),
            (step.abort, Fault::Abort),
            (step.open_again, Fault::OpenAgain),
        ];
        for (fault, make) in of_member {
            if let Some(fault) = fault {
                actions.push(Action::Fault(make(self.member(&fault.member)?)));
            }
        }
        if let Some(file::Nothing {}) = step.depose {
            actions.push(Action::Fault(Fault::Depose));
        }
        if let Some(crash) = step.crash {
            actions.push(Action::Fault(Fault::Crash(self.crash(&crash)?)));
        }
        if let Some(pause) = step.pause {
            let member = self.member(&pause.member)?;
            actions.push(Action::Fault(Fault::Pause { member, span: pause.span.0 }));
        }
        if let Some(file::Observe { member, span, then }) = step.observe {
            let member = self.member(&member)?;
            let leaves = then == file::Then::Leave;
            actions.push(Action::Fault(Fault::Observe { member, span: given(span), leaves }));
        }
        if let Some(file::ForAWhile { member, span }) = step.hold_store {
            let member = self.member(&member)?;
            actions.push(Action::Fault(Fault::HoldStore { member, span: given(span) }));
        }
        if let Some(heal) = step.heal {
            let member = heal.member.map(|member| self.member(&member)).transpose()?;
            actions.push(Action::Fault(Fault::Heal(member)));
        }
        if let Some(lose) = step.lose {
            actions.push(Action::Fault(self.lose(&lose)?));
        }
        if let Some(repeat) = step.repeat {
            let member = self.member(&repeat.member)?;
            let count = at_least_one("count", &repeat.count)?;
            actions.push(Action::Fault(Fault::Repeat { member, count }));
        }
        actions.extend(self.link(
            step.isolate,
            step.partition,
            step.block,
            step.delay,
            step.noise,
        )?);
        actions.extend(self.disk(step.slow_disk, step.full_disk, step.fail_sync, step.rot)?);
        actions.extend(self.clock(step.jump, step.drift)?);
        let count = actions.len();
        match (actions.pop(), count) {
            (Some(action), 1) => Ok((at, action)),
            (_, count) => {
                let count = if count == 0 { "none".to_owned() } else { count.to_string() };
                Err(mistake(
                    location,
                    format!(
                        "a step has exactly one action, this one has {count}; allowed: {ACTIONS}"
                    ),
                ))
            }
        }
    }

    fn ask(
        &self,
        request: Request,
        member: Option<Spanned<i64>>,
        lessee: Option<String>,
        answer: Option<AnswerKind>,
        patience: Option<Spanned<Span>>,
    ) -> Result<Action, Mistake> {
        let member = member.map(|member| self.member(&member)).transpose()?;
        let patience = patience.map(|span| positive("patience", &span)).transpose()?;
        Ok(Action::Ask { request, member, lessee, answer, patience })
    }

    fn crash(&self, crash: &file::Crash) -> Result<Crash, Mistake> {
        let when = match (crash.when, &crash.disk_operation) {
            (file::When::DuringCommit, None) => CrashWhen::DuringCommit { disk_operation: 1 },
            (file::When::DuringCommit, Some(operation)) => {
                let disk_operation = *operation.get_ref();
                if disk_operation == 0 {
                    return Err(mistake(operation.span(), "disk_operation counts from 1"));
                }
                CrashWhen::DuringCommit { disk_operation }
            }
            (_, Some(operation)) => {
                let message = "disk_operation needs when = \"during-commit\"";
                return Err(mistake(operation.span(), message));
            }
            (file::When::Now, None) => CrashWhen::Now,
            (file::When::BeforePropose, None) => CrashWhen::BeforePropose,
            (file::When::BeforeCommit, None) => CrashWhen::BeforeCommit,
            (file::When::AfterCommit, None) => CrashWhen::AfterCommit,
        };
        let unsynced = unsynced(crash.unsynced);
        Ok(Crash { member: self.member(&crash.member)?, when, unsynced })
    }

    /// What of the faults of links is there.
    fn link(
        &self,
        isolate: Option<file::ForAWhile>,
        partition: Option<file::Partition>,
        block: Option<file::Link>,
        delay: Option<file::SlowLink>,
        noise: Option<file::Noise>,
    ) -> Result<Vec<Action>, Mistake> {
        let mut faults = Vec::new();
        if let Some(file::ForAWhile { member, span }) = isolate {
            faults.push(Fault::Isolate { member: self.member(&member)?, span: given(span) });
        }
        if let Some(file::Partition { side, span }) = partition {
            let side = self.some_of_the_members(&side)?;
            faults.push(Fault::Partition { side, span: given(span) });
        }
        if let Some(file::Link { from, to, span }) = block {
            let (from, to) = self.ends(&from, &to)?;
            faults.push(Fault::Block { from, to, span: given(span) });
        }
        if let Some(file::SlowLink { from, to, by, span }) = delay {
            let (from, to) = self.ends(&from, &to)?;
            faults.push(Fault::Delay { from, to, by: by.0, span: given(span) });
        }
        if let Some(file::Noise { loss_ppm, duplicate_ppm, span }) = noise {
            let loss_ppm = share("loss_ppm", loss_ppm.as_ref())?;
            let duplicate_ppm = share("duplicate_ppm", duplicate_ppm.as_ref())?;
            faults.push(Fault::Noise { loss_ppm, duplicate_ppm, span: given(span) });
        }
        Ok(faults.into_iter().map(Action::Fault).collect())
    }

    /// What of the faults of disks is there.
    fn disk(
        &self,
        slow: Option<file::SlowDisk>,
        full: Option<file::ForAWhile>,
        fail_sync: Option<file::FailSync>,
        rot: Option<file::Rot>,
    ) -> Result<Vec<Action>, Mistake> {
        let mut faults = Vec::new();
        if let Some(file::SlowDisk { member, by, span }) = slow {
            let member = self.member(&member)?;
            faults.push(Fault::SlowDisk { member, by: by.0, span: given(span) });
        }
        if let Some(file::ForAWhile { member, span }) = full {
            faults.push(Fault::FullDisk { member: self.member(&member)?, span: given(span) });
        }
        if let Some(fail) = fail_sync {
            let (member, count) = (self.member(&fail.member)?, at_least_one("count", &fail.count)?);
            faults.push(Fault::FailSync { member, count, unsynced: unsynced(fail.unsynced) });
        }
        if let Some(rot) = rot {
            let (member, pages) = (self.member(&rot.member)?, at_least_one("pages", &rot.pages)?);
            faults.push(Fault::Rot { member, pages });
        }
        Ok(faults.into_iter().map(Action::Fault).collect())
    }

    /// What of the faults of clocks is there.
    fn clock(
        &self,
        jump: Option<file::Jump>,
        drift: Option<file::Drift>,
    ) -> Result<Vec<Action>, Mistake> {
        let mut faults = Vec::new();
        if let Some(file::Jump { member, by }) = jump {
            let member = self.member(&member)?;
            faults.push(Fault::Jump { member, by: by.span.0, back: by.back });
        }
        if let Some(file::Drift { member, ppm, span }) = drift {
            let (member, ppm) = (self.member(&member)?, rate("ppm", &ppm)?);
            faults.push(Fault::Drift { member, ppm, span: given(span) });
        }
        Ok(faults.into_iter().map(Action::Fault).collect())
    }

    /// The two ends of a link.
    fn ends(
        &self,
        from: &Spanned<i64>,
        to: &Spanned<i64>,
    ) -> Result<(MemberId, MemberId), Mistake> {
        let ends = (self.member(from)?, self.member(to)?);
        if ends.0 == ends.1 {
            return Err(mistake(to.span(), "a link has two ends, `from` and `to` must differ"));
        }
        Ok(ends)
    }

    /// Members in order, neither none nor all.
    fn some_of_the_members(&self, side: &[Spanned<i64>]) -> Result<Vec<MemberId>, Mistake> {
        let found = side.iter().map(|member| self.member(member)).collect::<Result<_, _>>()?;
        let found: Vec<MemberId> = std::collections::BTreeSet::into_iter(found).collect();
        if found.is_empty() || found.len() >= usize::from(self.members) {
            let location = side.first().map_or(0..0, Spanned::span);
            return Err(mistake(location, "`side` must name some members and not all"));
        }
        Ok(found)
    }

    fn lose(&self, lose: &file::Lose) -> Result<Fault, Mistake> {
        let (member, count) = (self.member(&lose.member)?, at_least_one("count", &lose.count)?);
        let loss = match lose.what {
            file::What::Expired => Loss::Revokes,
            file::What::Checkpoints => Loss::Checkpoints,
            file::What::Proposals => Loss::Proposals,
        };
        Ok(Fault::Lose { member, loss, count })
    }

    pub(super) fn member(&self, member: &Spanned<i64>) -> Result<MemberId, Mistake> {
        let (member, location) = (*member.get_ref(), member.span());
        if (1..=i64::from(self.members)).contains(&member) {
            return Ok(MemberId(member.unsigned_abs()));
        }
        let known = match self.members {
            1 => "only member 1".to_owned(),
            members => format!("members 1 to {members}"),
        };
        Err(mistake(location, format!("member {member}, but the scenario has {known}")))
    }

    pub(super) fn moment(&self, name: &str, at: &Spanned<Span>) -> Result<Duration, Mistake> {
        let (at, location, end) = (*at.get_ref(), at.span(), Span(self.duration));
        if at.0 <= self.duration {
            return Ok(at.0);
        }
        Err(mistake(location, format!("`{name}` is {at}, after the end of the scenario at {end}")))
    }
}

pub(super) fn lease(id: &Spanned<i64>) -> Result<LeaseId, Mistake> {
    let none = || mistake(id.span(), "lease 0, but an id is any other whole number");
    LeaseId::new(*id.get_ref()).ok_or_else(none)
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
const ACTIONS: &str = "grant, grant-once, revoke, renew, attach, detach, claim, lookup, leases, \
    lease-of, promote, demote, elect, depose, crash, kill, restart, stop, pause, isolate, partition, block, delay, \
    noise, heal, lose, repeat, slow-disk, full-disk, fail-sync, rot, replace-disk, \
    copy-disk, put-back, abort, open-again, observe, hold-store, jump, drift";
const MILLION: u32 = 1_000_000;

fn given(span: Option<Span>) -> Option<Duration> {
    span.map(|span| span.0)
}

/// What a member's clock shows at the start: each has an epoch of its own.
pub(super) fn default_offset(member: MemberId) -> Duration {
    Duration::from_secs(3_600 * member.0)
}
