//! A member as docs/SEMANTICS.md (§ The host's part) and docs/ARCHITECTURE.md (§ The member) describe
//! it, around the slow model of the core. It says what a member must say to each input, in order.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{
    Checkpoint, Command, Config, Entry, Error, Input, Instant, Item, Lease, LeaseId, LeaseOrder,
    LeaseStatus, LogIndex, MemberId, MemberInput, Output, Proposal, Request, RequestError,
    Response, Role, StateAt, Term, Ticket, Ttl,
};

use super::model::{Model, nanos};

/// What a member says. The changes of a commit are judged by the store that they make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    Propose(Proposal),
    Confirm(u64),
    Campaign,
    Resign,
    Commit { after: u64, applied: u64, reset: bool },
    Answer(Ticket, Answer),
    Expired(Vec<LeaseId>),
}

pub(crate) type Answer = Result<Response, RequestError>;

impl From<&Output> for Said {
    fn from(output: &Output) -> Self {
        match output.clone() {
            Output::Propose(proposal) => Self::Propose(proposal),
            Output::Confirm(number) => Self::Confirm(number.0),
            Output::Campaign => Self::Campaign,
            Output::Resign => Self::Resign,
            Output::Commit(commit) => {
                let (after, applied) = (commit.after.0, commit.applied.0);
                Self::Commit { after, applied, reset: commit.reset }
            }
            Output::Answer { ticket, answer } => Self::Answer(ticket, answer),
            Output::Expired(batch) => Self::Expired(batch.leases),
        }
    }
}

/// Puts into one order what has no order among itself: answers side by side, and the leases of a
/// batch of checkpoints.
pub(crate) fn in_order(said: impl IntoIterator<Item = Said>) -> Vec<Said> {
    let mut said: Vec<Said> = said.into_iter().collect();
    for one in &mut said {
        if let Said::Propose(Proposal { command: Command::Checkpoint { checkpoints }, .. }) = one {
            checkpoints.sort_unstable_by_key(|checkpoint| checkpoint.id);
        }
    }
    let both = |a: &Said, b: &Said| matches!((a, b), (Said::Answer(..), Said::Answer(..)));
    for answers in said.chunk_by_mut(both) {
        answers.sort_by_key(|said| if let Said::Answer(ticket, _) = said { ticket.0 } else { 0 });
    }
    said
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) rate: NonZeroU32,
    pub(crate) retry: Duration,
    pub(crate) interval: Duration,
    pub(crate) min_ttl: Ttl,
    pub(crate) extend: Duration,
    pub(crate) patience: Duration,
    /// Whether the members' inputs are made as data.
    pub(crate) as_data: bool,
}

impl Settings {
    pub(crate) fn config(&self) -> Config {
        Config {
            min_ttl: self.min_ttl,
            revoke_rate: self.rate,
            retry_interval: self.retry,
            checkpoint_interval: self.interval,
            extend: self.extend,
            request_timeout: self.patience,
            ..Config::default()
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MemberModel {
    pub(crate) core: Model,
    /// The latest moment that it was told: the clock does not go back.
    now: u64,
    pub(crate) applied: u64,
    pub(crate) reign: Option<Reign>,
    pub(crate) stopped: bool,
    /// What the host has not taken yet.
    pub(crate) said: VecDeque<Said>,
    settings: Settings,
    leader: Option<MemberId>,
    /// The last term that it led. What it proposed then may come yet, so it leads no term twice.
    pub(crate) left: u64,
    proposed: u64,
    pending: VecDeque<Pending>,
    held: VecDeque<Held>,
    /// The latest question, the latest one that is closed, and whether one is on its way.
    question: u64,
    closed: u64,
    asking: bool,
    turns: VecDeque<Turn>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reign {
    pub(crate) term: u64,
    pub(crate) barrier: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    deadline: u64,
    sequence: u64,
    asked: Option<(Ticket, Response)>,
}

#[derive(Clone, Debug)]
struct Held {
    deadline: u64,
    until: Until,
    work: Work,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Confirmed(u64),
    Applied(u64),
}

#[derive(Clone, Debug)]
enum Work {
    Serve(Ticket, Request),
    Revoke(Vec<LeaseId>),
}

#[derive(Clone, Debug)]
struct Turn {
    deadline: u64,
    ticket: Ticket,
    promote: bool,
}

impl MemberModel {
    pub(crate) fn new(settings: &Settings, stored: &StateAt) -> Self {
        let mut core = Model::new(settings.rate, settings.retry, settings.interval);
        core.restore(0, &stored.snapshot);
        Self {
            core,
            now: 0,
            applied: stored.applied.0,
            reign: None,
            stopped: false,
            said: VecDeque::new(),
            settings: settings.clone(),
            leader: None,
            left: 0,
            proposed: 0,
            pending: VecDeque::new(),
            held: VecDeque::new(),
            question: 0,
            closed: 0,
            asking: false,
            turns: VecDeque::new(),
        }
    }

    pub(crate) fn input(&mut self, now: u64, input: &MemberInput) {
        self.now = self.now.max(now);
        let now = self.now;
        match input {
            MemberInput::HoldExpired(hold) => drop(self.core(now, &Input::HoldExpired(*hold))),
            MemberInput::Request { ticket, .. } if self.stopped => {
                self.answer(*ticket, Err(RequestError::Stopped));
            }
            MemberInput::Request { ticket, request } => self.request(now, *ticket, request),
            _ if self.stopped => {}
            MemberInput::Committed(entries) => self.committed(now, entries),
            MemberInput::Role(role) => self.role(now, *role),
            MemberInput::Confirmed { confirmation, committed } => {
                self.confirmed(now, confirmation.0, *committed);
            }
            MemberInput::Installed(state) => self.installed(now, state),
            MemberInput::Timeout => self.timeout(now),
            MemberInput::Stop => {
                self.abdicate(now);
                for turn in std::mem::take(&mut self.turns) {
                    self.answer(turn.ticket, Err(RequestError::Stopped));
                }
                self.stopped = true;
            }
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.core.primary
    }

    /// Whether nobody waits for what the log must make possible.
    pub(crate) fn is_idle(&self) -> bool {
        let serves = |held: &Held| matches!(held.work, Work::Serve(..));
        self.turns.is_empty()
            && !self.held.iter().any(serves)
            && !self.pending.iter().any(|pending| pending.asked.is_some())
    }

    /// The first moment at which a timeout does something.
    pub(crate) fn next(&self) -> Option<u64> {
        let pending = self.pending.front().map(|pending| pending.deadline);
        let held = self.held.front().map(|held| held.deadline);
        let turn = self.turns.front().map(|turn| turn.deadline);
        let next = [self.core.next(), pending, held, turn].into_iter().flatten().min();
        next.filter(|_| !self.stopped)
    }

    /// All leases in an order, as the primary knows them.
    pub(crate) fn leases(&self, order: LeaseOrder) -> Vec<Lease> {
        let ids = self.core.leases.keys();
        let mut leases: Vec<Lease> = ids.map(|id| self.lease(*id).expect("it is there")).collect();
        if order == LeaseOrder::Expiry {
            leases.sort_by_key(|lease| (lease.expiry, lease.record.id));
        }
        leases
    }

    fn lease(&self, id: LeaseId) -> Option<Lease> {
        let row = self.core.leases.get(&id)?;
        let expiry = self.is_primary().then(|| Instant::from_nanos(row.expiry));
        Some(Lease { record: row.record(id), expiry, items: self.items(id).len() })
    }

    fn items(&self, id: LeaseId) -> Vec<Item> {
        let items = self.core.items.iter().filter(|(_, holder)| **holder == id);
        items.map(|(item, _)| item.clone()).collect()
    }

    fn request(&mut self, now: u64, ticket: Ticket, request: &Request) {
        match request {
            Request::Promote | Request::Demote => {
                return self.turn(now, ticket, *request == Request::Promote);
            }
            _ if !self.is_primary() => return self.answer(ticket, Err(self.not_primary())),
            Request::Grant { ttl, .. } if *ttl > Ttl::MAX => {
                return self.answer(ticket, Err(Error::TtlTooLarge.into()));
            }
            // D16: a grant of an id in use is a read.
            Request::Grant { id: Some(id), .. } if self.core.leases.contains_key(id) => {}
            // D15: so is whatever no log has to agree to.
            Request::Renew { .. }
            | Request::Lookup { .. }
            | Request::Leases { .. }
            | Request::LeaseOf { .. } => {}
            Request::Grant { .. }
            | Request::Revoke { .. }
            | Request::Attach { .. }
            | Request::Detach { .. } => {
                let (command, response) = self.command(request);
                return self.propose(now, command, Some((ticket, response)));
            }
        }
        self.hold(now, Work::Serve(ticket, request.clone()));
    }

    /// What a change proposes, and what is answered if it succeeds. D1: a short ttl is raised here.
    fn command(&self, request: &Request) -> (Command, Response) {
        match request.clone() {
            Request::Grant { id, ttl } => {
                let picked = || picked(self.reign.expect("it leads").term, self.proposed + 1);
                let (id, ttl) = (id.unwrap_or_else(picked), ttl.max(self.settings.min_ttl));
                (Command::Grant { id, ttl }, Response::Granted { id, ttl })
            }
            Request::Revoke { id } => (Command::Revoke { id }, Response::Done),
            Request::Attach { id, items } => (Command::Attach { id, items }, Response::Done),
            Request::Detach { id, items } => (Command::Detach { id, items }, Response::Done),
            Request::Renew { .. }
            | Request::Lookup { .. }
            | Request::Leases { .. }
            | Request::LeaseOf { .. }
            | Request::Promote
            | Request::Demote => unreachable!("it changes nothing"),
        }
    }

    fn turn(&mut self, now: u64, ticket: Ticket, promote: bool) {
        if promote && self.is_primary() {
            drop(self.core(now, &Input::Promote { extend: self.settings.extend }));
            self.answer(ticket, Ok(Response::Done));
        } else if !promote && self.reign.is_none() {
            self.answer(ticket, Ok(Response::Done));
        } else {
            self.turns.push_back(Turn { deadline: self.deadline(now), ticket, promote });
            self.said.push_back(if promote { Said::Campaign } else { Said::Resign });
        }
    }

    fn committed(&mut self, now: u64, entries: &[Entry]) {
        let (before, mut answers) = (self.applied, Vec::new());
        for entry in entries.iter().filter(|entry| entry.index.0 > before) {
            assert_eq!(entry.index.0, self.applied + 1, "the log has no gap");
            self.applied = entry.index.0;
            let Some(proposal) = &entry.proposal else { continue };
            if proposal.term != entry.term {
                continue;
            }
            let (result, renewed) = self.core(now, &Input::Apply(proposal.command.clone()));
            answers.extend(renewed);
            if self.reign.is_some_and(|reign| reign.term == proposal.term.0) {
                let decided = |pending: &Pending| pending.sequence <= proposal.sequence;
                while let Some(pending) = self.pending.pop_front_if(|pending| decided(pending)) {
                    let Some((ticket, response)) = pending.asked else { continue };
                    let lost = pending.sequence < proposal.sequence;
                    let answer = result.map(|()| response).map_err(RequestError::Refused);
                    answers.push((ticket, if lost { Err(RequestError::Unknown) } else { answer }));
                }
            }
        }
        if self.applied > before {
            self.commit(before, false);
            self.answer_all(answers);
            self.promote_if_ready(now);
            self.work_off(now);
        }
    }

    fn role(&mut self, now: u64, role: Role) {
        match role {
            Role::Follower { leader } => {
                self.leader = leader;
                self.abdicate(now);
            }
            Role::Leader { term, barrier } => {
                let leads = self.reign.is_some_and(|reign| reign.term == term.0);
                if !leads && term.0 > self.left {
                    self.abdicate(now);
                    self.leader = None;
                    self.reign = Some(Reign { term: term.0, barrier: barrier.0 });
                    self.promote_if_ready(now);
                }
            }
        }
    }

    fn confirmed(&mut self, now: u64, number: u64, committed: Option<LogIndex>) {
        if number <= self.closed || number > self.question {
            return;
        }
        self.closed = number;
        self.asking &= number < self.question;
        let Some(LogIndex(committed)) = committed else { return self.abdicate(now) };
        for held in &mut self.held {
            if matches!(held.until, Until::Confirmed(question) if question <= number) {
                held.until = Until::Applied(committed);
            }
        }
        self.work_off(now);
        self.ask_if_held();
    }

    fn installed(&mut self, now: u64, state: &StateAt) {
        if state.applied.0 > self.applied {
            self.abdicate(now);
            self.core.restore(now, &state.snapshot);
            let before = std::mem::replace(&mut self.applied, state.applied.0);
            self.commit(before, true);
        }
    }

    fn timeout(&mut self, now: u64) {
        let (_, answers) = self.core(now, &Input::Timeout);
        self.answer_all(answers);
        // Patience ends in the order in which it began.
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.deadline <= now) {
            if let Some((ticket, _)) = pending.asked {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        while let Some(held) = self.held.pop_front_if(|held| held.deadline <= now) {
            // The question was lost, so that what waits yet asks anew.
            self.asking = false;
            if let Work::Serve(ticket, _) = held.work {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        self.ask_if_held();
        while let Some(turn) = self.turns.pop_front_if(|turn| turn.deadline <= now) {
            self.answer(turn.ticket, Err(RequestError::Unknown));
        }
    }

    fn promote_if_ready(&mut self, now: u64) {
        let ready = self.reign.is_some_and(|reign| reign.barrier <= self.applied);
        if ready && !self.is_primary() {
            drop(self.core(now, &Input::Promote { extend: self.settings.extend }));
            self.end_turns(true);
        }
    }

    fn abdicate(&mut self, now: u64) {
        let Some(reign) = self.reign else { return };
        let (_, answers) = self.core(now, &Input::Demote);
        (self.reign, self.left) = (None, reign.term);
        self.answer_all(answers);
        for pending in std::mem::take(&mut self.pending) {
            if let Some((ticket, _)) = pending.asked {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        self.asking = false;
        self.closed = self.question;
        for held in std::mem::take(&mut self.held) {
            if let Work::Serve(ticket, _) = held.work {
                self.answer(ticket, Err(self.not_primary()));
            }
        }
        self.end_turns(false);
    }

    fn end_turns(&mut self, promoted: bool) {
        for turn in std::mem::take(&mut self.turns) {
            if turn.promote == promoted {
                self.answer(turn.ticket, Ok(Response::Done));
            } else {
                self.turns.push_back(turn);
            }
        }
    }

    fn work_off(&mut self, now: u64) {
        let applied = self.applied;
        let ready = |held: &mut Held| matches!(held.until, Until::Applied(at) if at <= applied);
        while let Some(held) = self.held.pop_front_if(ready) {
            match held.work {
                Work::Serve(ticket, request) => self.serve(now, ticket, &request),
                Work::Revoke(leases) => {
                    for id in leases {
                        let expiry = self.core.leases.get(&id).map(|row| row.expiry);
                        if self.is_primary() && expiry.is_some_and(|at| at <= self.time(now)) {
                            self.propose(now, Command::Revoke { id }, None);
                        }
                    }
                }
            }
        }
    }

    fn serve(&mut self, now: u64, ticket: Ticket, request: &Request) {
        let response = match request {
            Request::Renew { id } => {
                let (_, answers) = self.core(now, &Input::Renew { ticket, id: *id });
                return self.answer_all(answers);
            }
            Request::Lookup { id } => Response::Lookup(self.lease(*id).map(|lease| {
                let left = self.core.leases[id].expiry.saturating_sub(self.time(now));
                let (record, remaining) = (lease.record, Duration::from_nanos(left));
                LeaseStatus { record, remaining, items: self.items(*id) }
            })),
            Request::Leases { order, after, limit } => {
                let place = |lease: &Lease| match order {
                    LeaseOrder::Id => (None, lease.record.id),
                    LeaseOrder::Expiry => (lease.expiry, lease.record.id),
                };
                let after = after.as_ref().map(place);
                let leases = self.leases(*order).into_iter();
                let leases = leases.filter(|lease| after.is_none_or(|after| place(lease) > after));
                Response::Leases(leases.take(*limit).collect())
            }
            Request::LeaseOf { item } => Response::LeaseOf(self.core.items.get(item).copied()),
            Request::Grant { id: Some(id), .. } if self.core.leases.contains_key(id) => {
                return self.answer(ticket, Err(Error::LeaseExists.into()));
            }
            // It has gone meanwhile.
            Request::Grant { .. } => return self.request(now, ticket, request),
            Request::Revoke { .. }
            | Request::Attach { .. }
            | Request::Detach { .. }
            | Request::Promote
            | Request::Demote => unreachable!("it is not held"),
        };
        self.answer(ticket, Ok(response));
    }

    /// Calls the core, and says what it asks for. What it answers is the caller's to say.
    fn core(&mut self, now: u64, input: &Input) -> (Result<(), Error>, Vec<(Ticket, Answer)>) {
        let expected = self.core.input(now, input);
        if !expected.expired.is_empty() {
            self.said.push_back(Said::Expired(expected.expired.clone()));
            self.hold(now, Work::Revoke(expected.expired));
        }
        if !expected.proposals.is_empty() {
            let proposals = expected.proposals.into_iter();
            let checkpoints = proposals.map(|(id, remaining)| Checkpoint { id, remaining });
            self.propose(now, Command::Checkpoint { checkpoints: checkpoints.collect() }, None);
        }
        let answer = |result: Result<Ttl, Error>| match result {
            Ok(ttl) => Ok(Response::Renewed { ttl }),
            Err(Error::NotPrimary) => Err(self.not_primary()),
            Err(error) => Err(error.into()),
        };
        let answers = expected.answers.into_iter();
        (expected.result, answers.map(|(ticket, result)| (ticket, answer(result))).collect())
    }

    fn propose(&mut self, now: u64, command: Command, asked: Option<(Ticket, Response)>) {
        let term = Term(self.reign.expect("only a leader proposes").term);
        self.proposed += 1;
        let (deadline, sequence) = (self.deadline(now), self.proposed);
        self.pending.push_back(Pending { deadline, sequence, asked });
        self.said.push_back(Said::Propose(Proposal { term, sequence, command }));
    }

    fn hold(&mut self, now: u64, work: Work) {
        let until = Until::Confirmed(self.question + 1);
        self.held.push_back(Held { deadline: self.deadline(now), until, work });
        self.ask_if_held();
    }

    /// All that wait share one question.
    fn ask_if_held(&mut self) {
        let waits = |held: &Held| matches!(held.until, Until::Confirmed(_));
        if !self.asking && self.held.iter().any(waits) {
            self.asking = true;
            self.question += 1;
            self.said.push_back(Said::Confirm(self.question));
        }
    }

    /// What gathers before the host takes a commit is part of it.
    fn commit(&mut self, before: u64, whole: bool) {
        for said in &mut self.said {
            if let Said::Commit { applied, reset, .. } = said {
                *applied = self.applied;
                *reset |= whole;
                return;
            }
        }
        self.said.push_back(Said::Commit { after: before, applied: self.applied, reset: whole });
    }

    fn answer_all(&mut self, answers: Vec<(Ticket, Answer)>) {
        for (ticket, answer) in answers {
            self.answer(ticket, answer);
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.said.push_back(Said::Answer(ticket, answer));
    }

    fn not_primary(&self) -> RequestError {
        RequestError::NotPrimary { leader: self.leader }
    }

    fn deadline(&self, now: u64) -> u64 {
        now.saturating_add(nanos(self.settings.patience))
    }

    /// The core's time never goes back.
    fn time(&self, now: u64) -> u64 {
        self.core.now.max(now)
    }
}

/// Stands for the id that a member picks by itself, which only it can know.
pub(crate) fn picked(term: u64, number: u64) -> LeaseId {
    let id = i64::try_from(1_000_000 * term + number).expect("terms are few");
    LeaseId::new(id).expect("it is not zero")
}
