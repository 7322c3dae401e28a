//! A member as docs/SEMANTICS.md (§ The host's part) and docs/ARCHITECTURE.md (§ The member) describe
//! it, around the slow model of the core. It says what a member must say to each input, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{
    Checkpoint, Command, Config, Entry, Error, Input, Instant, Item, Lease, LeaseId, LeaseOrder,
    LeaseStatus, LogIndex, MemberId, MemberInput, Output, Proposal, Request, RequestError,
    Response, Role, StateAt, Term, Ticket, TimeToLive, Ttl,
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
    Waits(Ticket),
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
            Output::Waits(ticket) => Self::Waits(ticket),
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
    pub(crate) subscribers: Duration,
    pub(crate) piece: NonZeroU32,
    /// Whether the members' inputs are made as data.
    pub(crate) as_data: bool,
}

impl Settings {
    pub(crate) fn config(&self) -> Config {
        Config::default()
            .with_min_ttl(self.min_ttl)
            .with_revoke_rate(self.rate)
            .with_retry_interval(self.retry)
            .with_checkpoint_interval(self.interval)
            .with_extend(self.extend)
            .with_request_timeout(self.patience)
            .with_subscriber_patience(self.subscribers)
            .with_piece(self.piece)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MemberModel {
    pub(crate) core: Model,
    /// The latest moment that it was told: the clock does not go back. And the latest timeout.
    now: u64,
    let_go: u64,
    pub(crate) applied: u64,
    pub(crate) reign: Option<Reign>,
    pub(crate) stopped: bool,
    /// What the host has not taken yet, in order, and what it is to commit before all else.
    said: VecDeque<Waiting>,
    gathered: Option<Said>,
    /// Where the commit on its way ends, and up to where everything is durable.
    committing: Option<u64>,
    durable: u64,
    /// What changed that is not durable yet.
    changed: Vec<Changed>,
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
    role_changes: VecDeque<RoleChange>,
    /// Leases that are due and are kept for a renew that is held.
    kept: BTreeSet<LeaseId>,
    /// Renews inside the core, and when each is given up, if it is not late.
    renewing: BTreeMap<Ticket, (LeaseId, Option<u64>)>,
    /// Until when a subscriber holds batches up, or that it did for long enough.
    subscriber: Option<Result<u64, Enough>>,
}

/// An output, and what must be durable before it leaves. An answer is given up at its deadline.
#[derive(Clone, Debug)]
struct Waiting {
    said: Said,
    after: u64,
    deadline: u64,
}

/// The leases that an entry changed, and whether any lost an item by it.
#[derive(Clone, Debug)]
struct Changed {
    at: u64,
    leases: Whom,
    takes_items: bool,
}

#[derive(Clone, Debug)]
enum Whom {
    All,
    Some(Vec<LeaseId>),
}

#[derive(Clone, Copy, Debug)]
struct Enough;

/// Who asked, when it came, and when its fate is unknown.
#[derive(Clone, Copy, Debug)]
struct Asker {
    ticket: Ticket,
    asked: u64,
    deadline: u64,
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
    /// Who asked, the answer if it succeeds but for its index, and for what.
    asked: Option<(Ticket, Response, Request)>,
}

#[derive(Clone, Debug)]
struct Held {
    asked: u64,
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
struct RoleChange {
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
            let_go: 0,
            applied: stored.applied.0,
            reign: None,
            stopped: false,
            said: VecDeque::new(),
            gathered: None,
            committing: None,
            durable: stored.applied.0,
            changed: Vec::new(),
            settings: settings.clone(),
            leader: None,
            left: 0,
            proposed: 0,
            pending: VecDeque::new(),
            held: VecDeque::new(),
            question: 0,
            closed: 0,
            asking: false,
            role_changes: VecDeque::new(),
            kept: BTreeSet::new(),
            renewing: BTreeMap::new(),
            subscriber: None,
        }
    }

    /// All that the host has not taken.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = Said> {
        let said = self.said.iter().map(|waiting| waiting.said.clone());
        self.gathered.clone().into_iter().chain(said)
    }

    /// What the host does next.
    pub(crate) fn next_output(&mut self) -> Option<Said> {
        if self.committing.is_none()
            && let Some(Said::Commit { applied, .. }) = self.gathered
        {
            self.committing = Some(applied);
            return self.gathered.take();
        }
        let ready = self.said.iter().position(|waiting| waiting.after <= self.durable)?;
        self.said.remove(ready).map(|waiting| waiting.said)
    }

    pub(crate) fn input(&mut self, now: u64, input: &MemberInput) {
        let asked = now.max(self.let_go);
        self.now = self.now.max(now);
        let now = self.now;
        match input {
            MemberInput::HoldExpired(hold) => self.hold_expired(now, *hold),
            MemberInput::Request { ticket, .. } if self.stopped => {
                self.answer(*ticket, Err(RequestError::Stopped));
            }
            MemberInput::Request { ticket, request } => {
                let asker = Asker { ticket: *ticket, asked, deadline: self.deadline(now) };
                self.request(now, asker, request);
            }
            MemberInput::Persisted(LogIndex(applied)) => {
                self.committing = self.committing.filter(|index| index > applied);
                self.durable = self.durable.max(*applied);
                self.changed.retain(|changed| changed.at > *applied);
            }
            MemberInput::Forget(ticket) => self.forget(now, *ticket),
            // Its host lets a member come to the end of what was committed, as this one does at once.
            MemberInput::GoOn => {}
            MemberInput::Timeout => self.timeout(now),
            _ if self.stopped => {}
            MemberInput::Committed(entries) => self.committed(now, entries),
            MemberInput::Role(role) => self.role(now, *role),
            MemberInput::Confirmed { confirmation, committed } => {
                self.confirmed(now, confirmation.0, *committed);
            }
            MemberInput::Installed(state) => self.installed(now, state),
            MemberInput::Stop => {
                self.abdicate(now);
                for role_change in std::mem::take(&mut self.role_changes) {
                    self.answer(role_change.ticket, Err(RequestError::Stopped));
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
        self.role_changes.is_empty()
            && !self.held.iter().any(serves)
            && !self.pending.iter().any(|pending| pending.asked.is_some())
            && !self.renewing.values().any(|(_, deadline)| deadline.is_some())
    }

    /// The first moment at which a timeout does something.
    pub(crate) fn next(&self) -> Option<u64> {
        let pending = self.pending.iter().filter(|pending| pending.asked.is_some());
        let pending = pending.map(|pending| pending.deadline);
        let held = self.held.iter().map(|held| held.deadline);
        let role_change = self.role_changes.iter().map(|role_change| role_change.deadline);
        let renewing = self.renewing.values().filter_map(|(_, deadline)| *deadline);
        let subscriber = self.subscriber.and_then(Result::ok);
        let work = pending.chain(held).chain(role_change).chain(renewing);
        let work = work.chain(self.core.next()).chain(subscriber).filter(|_| !self.stopped);
        let answers = self.said.iter().filter(|waiting| waiting.after > self.durable);
        let next = work.chain(answers.map(|waiting| waiting.deadline)).min();
        next.filter(|at| *at < u64::MAX)
    }

    /// All leases in an order, as the primary knows them.
    pub(crate) fn leases(&self, order: LeaseOrder) -> Vec<Lease> {
        let ids = self.core.leases.keys();
        let mut leases: Vec<Lease> = ids.map(|id| self.lease(*id).expect("it is there")).collect();
        if let LeaseOrder::ExpiryUntil(latest) = order {
            leases.retain(|lease| lease.expiry.is_some_and(|at| at <= latest));
        }
        if order != LeaseOrder::Id {
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

    /// They wait for a subscriber's patience, and then come whether it takes them or not.
    fn hold_expired(&mut self, now: u64, hold: bool) {
        let until = now.saturating_add(nanos(self.settings.subscribers));
        self.subscriber = hold.then(|| self.subscriber.unwrap_or(Ok(until)));
        let held = self.subscriber.is_some_and(|subscriber| subscriber.is_ok());
        self.core(now, &Input::HoldExpired(held)).expect("no command");
    }

    fn forget(&mut self, now: u64, ticket: Ticket) {
        let of_it =
            |said: &Said| matches!(said, Said::Answer(of, _) | Said::Waits(of) if *of == ticket);
        self.said.retain(|waiting| !of_it(&waiting.said));
        self.role_changes.retain(|role_change| role_change.ticket != ticket);
        let of_it = |held: &Held| matches!(held.work, Work::Serve(of, _) if of == ticket);
        if let Some(held) = self.held.iter().position(of_it).and_then(|at| self.held.remove(at)) {
            self.give_up_renew(&held.work);
        }
        for pending in &mut self.pending {
            pending.asked.take_if(|(of, ..)| *of == ticket);
        }
        if let Some((id, _)) = self.renewing.remove(&ticket) {
            self.core(now, &Input::ForgetRenew { ticket, id }).expect("no command");
        }
    }

    fn request(&mut self, now: u64, asker: Asker, request: &Request) {
        let ticket = asker.ticket;
        match request {
            Request::Promote | Request::Demote => {
                return self.change_role(now, asker, *request == Request::Promote);
            }
            _ if !self.is_primary() => return self.answer(ticket, Err(self.not_primary())),
            Request::Grant { ttl, .. } | Request::GrantOnce { ttl, .. } if *ttl > Ttl::MAX => {
                return self.answer(ticket, Err(Error::TtlTooLarge.into()));
            }
            Request::Attach { items, .. } | Request::Claim { items, .. }
                if items.iter().any(|item| item.key().is_empty()) =>
            {
                return self.answer(ticket, Err(Error::EmptyItem.into()));
            }
            // D16: a grant of an id in use is a read.
            Request::Grant { id: Some(id), .. } if self.core.leases.contains_key(id) => {}
            Request::GrantOnce { request, .. }
                if self.core.leases.contains_key(&request.lease()) => {}
            // D15: so is whatever no log has to agree to.
            Request::Renew { .. }
            | Request::Lookup { .. }
            | Request::TimeToLive { .. }
            | Request::Items { .. }
            | Request::Leases { .. }
            | Request::LeaseOf { .. } => {}
            Request::Grant { .. }
            | Request::GrantOnce { .. }
            | Request::Revoke { .. }
            | Request::Attach { .. }
            | Request::Detach { .. }
            | Request::Claim { .. } => {
                let (command, response) = self.command(request);
                return self.propose(
                    asker.deadline,
                    command,
                    Some((ticket, response, request.clone())),
                );
            }
        }
        self.hold(asker.asked, asker.deadline, Work::Serve(ticket, request.clone()));
    }

    /// What a change proposes, and what is answered if it succeeds. D1: a short ttl is raised here.
    fn command(&self, request: &Request) -> (Command, Response) {
        let index = LogIndex(0);
        let applied = Response::Applied { index };
        match request.clone() {
            Request::Grant { id, ttl } => {
                let picked = || picked(self.reign.expect("it leads").term, self.proposed + 1);
                let (id, ttl) = (id.unwrap_or_else(picked), ttl.max(self.settings.min_ttl));
                (Command::Grant { id, ttl }, Response::Granted { id, ttl, index })
            }
            Request::GrantOnce { request, ttl } => {
                let (id, ttl) = (request.lease(), ttl.max(self.settings.min_ttl));
                (Command::Grant { id, ttl }, Response::Granted { id, ttl, index })
            }
            Request::Revoke { id } => (Command::Revoke { id }, applied),
            Request::Attach { id, items } => (Command::Attach { id, items }, applied),
            Request::Detach { id, items } => (Command::Detach { id, items }, applied),
            Request::Claim { id, items } => (Command::Claim { id, items }, applied),
            Request::Renew { .. }
            | Request::Lookup { .. }
            | Request::TimeToLive { .. }
            | Request::Items { .. }
            | Request::Leases { .. }
            | Request::LeaseOf { .. }
            | Request::Promote
            | Request::Demote => unreachable!("it changes nothing"),
        }
    }

    fn change_role(&mut self, now: u64, asker: Asker, promote: bool) {
        let Asker { ticket, deadline, .. } = asker;
        if promote && self.is_primary() {
            self.core(now, &Input::Promote { extend: self.settings.extend }).expect("no command");
            self.answer(ticket, Ok(Response::Done));
        } else if !promote && self.reign.is_none() {
            self.answer(ticket, Ok(Response::Done));
        } else {
            self.role_changes.push_back(RoleChange { deadline, ticket, promote });
            self.say(if promote { Said::Campaign } else { Said::Resign });
        }
    }

    /// So many entries at once; and a command of many items has a commit of its own.
    fn committed(&mut self, now: u64, entries: &[Entry]) {
        let piece = self.settings.piece.get() as usize;
        let had = self.applied;
        let mut before = had;
        let mut left = piece;
        for entry in entries.iter().filter(|entry| entry.index.0 > had) {
            assert_eq!(entry.index.0, self.applied + 1, "the log has no gap");
            let counts = entry.proposal.as_ref().filter(|proposal| proposal.term == entry.term);
            let large = counts.is_some_and(|proposal| self.items_of(&proposal.command) > piece);
            if left == 0 || large {
                self.commit_applied(now, before);
                before = self.applied;
                left = if left == 0 { piece } else { left };
            }
            left -= 1;
            self.applied = entry.index.0;
            let Some(proposal) = counts else { continue };
            let late = self.is_refused_late(&proposal.command);
            let applied = self.apply(now, proposal);
            if large && (applied.is_ok() || late) {
                self.commit_applied(now, before);
                before = self.applied;
                left = piece;
            }
        }
        self.commit_applied(now, before);
    }

    fn items_of(&self, command: &Command) -> usize {
        match command {
            Command::Attach { items, .. }
            | Command::Detach { items, .. }
            | Command::Claim { items, .. } => items.len(),
            Command::Revoke { id } => self.items(*id).len(),
            Command::Grant { .. } | Command::Checkpoint { .. } => 0,
        }
    }

    /// Whether it takes more than one piece to find that somebody else holds an item that is claimed.
    fn is_refused_late(&self, command: &Command) -> bool {
        let Command::Claim { id, items } = command else { return false };
        let is_free = |item| self.core.items.get(item).is_none_or(|holder| holder == id);
        self.core.leases.contains_key(id)
            && items.iter().position(|item| !is_free(item))
                >= Some(self.settings.piece.get() as usize)
    }

    fn commit_applied(&mut self, now: u64, before: u64) {
        if self.applied > before {
            self.commit(before, false);
            self.promote_if_ready(now);
            self.run_ready_tasks(now);
        }
    }

    fn apply(&mut self, now: u64, proposal: &Proposal) -> Result<(), Error> {
        self.note_change(&proposal.command);
        let result = self.core(now, &Input::Apply(proposal.command.clone()));
        if self.reign.is_some_and(|reign| reign.term == proposal.term.0) {
            let decided = |pending: &Pending| pending.sequence <= proposal.sequence;
            while let Some(pending) = self.pending.pop_front_if(|pending| decided(pending)) {
                let Some((ticket, mut response, request)) = pending.asked else { continue };
                if pending.sequence < proposal.sequence {
                    self.answer(ticket, Err(RequestError::Unknown));
                } else {
                    let at = LogIndex(self.applied);
                    if let Response::Granted { index, .. } | Response::Applied { index } =
                        &mut response
                    {
                        *index = at;
                    }
                    let answer = match (request, result) {
                        (Request::GrantOnce { request, .. }, Err(Error::LeaseExists)) => {
                            Ok(self.found(request.lease()))
                        }
                        (_, result) => result.map(|()| response).map_err(RequestError::Refused),
                    };
                    self.answer_after(self.applied, pending.deadline, ticket, answer);
                }
            }
        }
        result
    }

    /// The lease of a request that was there already, as it stands here.
    fn found(&self, id: LeaseId) -> Response {
        let ttl = self.core.leases[&id].record(id).ttl;
        Response::Granted { id, ttl, index: LogIndex(self.applied) }
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
        self.run_ready_tasks(now);
        self.ask_if_held();
    }

    fn installed(&mut self, now: u64, state: &StateAt) {
        if state.applied.0 > self.applied {
            self.abdicate(now);
            self.core.restore(now, &state.snapshot);
            let before = std::mem::replace(&mut self.applied, state.applied.0);
            let at = self.applied;
            self.changed.push(Changed { at, leases: Whom::All, takes_items: true });
            self.commit(before, true);
        }
    }

    fn timeout(&mut self, now: u64) {
        self.let_go = now;
        for waiting in &mut self.said {
            if waiting.after > self.durable
                && waiting.deadline <= now
                && let Said::Answer(_, answer) = &mut waiting.said
            {
                *answer = Err(RequestError::Unknown);
                waiting.after = 0;
            }
        }
        if self.stopped {
            return;
        }
        if let Some(Ok(until)) = self.subscriber
            && until <= now
        {
            self.subscriber = Some(Err(Enough));
            self.core(now, &Input::HoldExpired(false)).expect("no command");
        }
        let unset =
            self.renewing.iter().filter(|(_, (_, deadline))| deadline.is_some_and(|at| at <= now));
        let unset: Vec<Ticket> = unset.map(|(ticket, _)| *ticket).collect();
        for ticket in unset {
            self.forget(now, ticket);
            self.answer(ticket, Err(RequestError::Unknown));
        }
        for position in 0..self.pending.len() {
            let pending = &mut self.pending[position];
            if pending.deadline <= now
                && let Some((ticket, ..)) = pending.asked.take()
            {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        while let Some(held) = self.held.pop_front_if(|held| held.deadline <= now) {
            // The question was lost, so that what waits yet asks anew.
            self.asking = false;
            if let Work::Serve(ticket, _) = held.work {
                self.give_up_renew(&held.work);
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        self.core(now, &Input::Timeout).expect("no command");
        self.ask_if_held();
        while let Some(role_change) =
            self.role_changes.pop_front_if(|role_change| role_change.deadline <= now)
        {
            self.answer(role_change.ticket, Err(RequestError::Unknown));
        }
    }

    fn promote_if_ready(&mut self, now: u64) {
        let ready = self.reign.is_some_and(|reign| reign.barrier <= self.applied);
        if ready && !self.is_primary() {
            self.core(now, &Input::Promote { extend: self.settings.extend }).expect("no command");
            self.end_turns(true);
        }
    }

    fn abdicate(&mut self, now: u64) {
        let Some(reign) = self.reign else { return };
        (self.reign, self.left) = (None, reign.term);
        self.core(now, &Input::Demote).expect("no command");
        for pending in std::mem::take(&mut self.pending) {
            if let Some((ticket, ..)) = pending.asked {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        self.kept.clear();
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
        for role_change in std::mem::take(&mut self.role_changes) {
            if role_change.promote == promoted {
                self.answer(role_change.ticket, Ok(Response::Done));
            } else {
                self.role_changes.push_back(role_change);
            }
        }
    }

    fn run_ready_tasks(&mut self, now: u64) {
        let applied = self.applied;
        let ready = |held: &mut Held| matches!(held.until, Until::Applied(at) if at <= applied);
        while let Some(held) = self.held.pop_front_if(ready) {
            match held.work {
                Work::Serve(ticket, request) => {
                    let asker = Asker { ticket, asked: held.asked, deadline: held.deadline };
                    self.serve(now, asker, &request);
                }
                Work::Revoke(leases) => {
                    for id in leases {
                        let expiry = self.core.leases.get(&id).map(|row| row.expiry);
                        if self.is_primary() && expiry.is_some_and(|at| at <= self.time(now)) {
                            self.propose(u64::MAX, Command::Revoke { id }, None);
                        }
                    }
                }
            }
        }
    }

    fn serve(&mut self, now: u64, asker: Asker, request: &Request) {
        let Asker { ticket, deadline, .. } = asker;
        let response = match request {
            Request::Renew { id } => return self.renew(now, asker, *id),
            Request::Lookup { id } => Response::Lookup(self.lease(*id).map(|lease| {
                let left = self.core.leases[id].expiry.saturating_sub(self.time(now));
                let (record, remaining) = (lease.record, Duration::from_nanos(left));
                LeaseStatus { record, remaining, items: self.items(*id) }
            })),
            Request::TimeToLive { id } => Response::TimeToLive(self.lease(*id).map(|lease| {
                let left = self.core.leases[id].expiry.saturating_sub(self.time(now));
                let (record, remaining) = (lease.record, Duration::from_nanos(left));
                TimeToLive { record, remaining, items: self.items(*id).len() }
            })),
            Request::Items { id, after, limit } => Response::Items(self.lease(*id).map(|_| {
                let mut items = self.items(*id);
                items.retain(|item| after.as_ref().is_none_or(|after| item > after));
                items.truncate(*limit);
                items
            })),
            Request::Leases { order, after, limit } => {
                let key = |lease: &Lease| match order {
                    LeaseOrder::Id => (None, lease.record.id),
                    LeaseOrder::Expiry | LeaseOrder::ExpiryUntil(_) => {
                        (lease.expiry, lease.record.id)
                    }
                };
                let after = after.as_ref().map(key);
                let leases = self.leases(*order).into_iter();
                let leases = leases.filter(|lease| after.is_none_or(|after| key(lease) > after));
                Response::Leases(leases.take(*limit).collect())
            }
            Request::LeaseOf { item } => Response::LeaseOf(self.core.items.get(item).copied()),
            Request::Grant { id: Some(id), .. } if self.core.leases.contains_key(id) => {
                let exists = Err(Error::LeaseExists.into());
                return self.answer_after(self.change_of(*id), deadline, ticket, exists);
            }
            Request::GrantOnce { request, .. }
                if self.core.leases.contains_key(&request.lease()) =>
            {
                self.found(request.lease())
            }
            // It has gone meanwhile.
            Request::Grant { .. } | Request::GrantOnce { .. } => {
                return self.request(now, asker, request);
            }
            Request::Revoke { .. }
            | Request::Attach { .. }
            | Request::Detach { .. }
            | Request::Claim { .. }
            | Request::Promote
            | Request::Demote => unreachable!("it is not held"),
        };
        // What it speaks of must be durable.
        let after = match (request, &response) {
            (
                Request::Lookup { id } | Request::TimeToLive { id } | Request::Items { id, .. },
                _,
            )
            | (_, Response::LeaseOf(Some(id))) => self.change_of(*id),
            (_, Response::LeaseOf(None)) => {
                let takes = self.changed.iter().filter(|changed| changed.takes_items);
                takes.map(|changed| changed.at).max().unwrap_or(0)
            }
            (_, _) => self.applied,
        };
        self.answer_after(after, deadline, ticket, Ok(response));
    }

    fn renew(&mut self, now: u64, asker: Asker, id: LeaseId) {
        let Asker { ticket, asked, deadline } = asker;
        self.kept.remove(&id);
        self.renewing.insert(ticket, (id, Some(deadline)));
        let asked = Instant::from_nanos(asked);
        self.core(now, &Input::RenewAsked { asked, ticket, id }).expect("no command");
        let lasts = self.core.lasts(id);
        if let Some((_, deadline)) = self.renewing.get_mut(&ticket)
            && !lasts
        {
            *deadline = None;
            self.say(Said::Waits(ticket));
        }
    }

    /// A renew comes to nothing. If it was the last one that kept a lease which is due, that leaves.
    fn give_up_renew(&mut self, work: &Work) {
        let Work::Serve(_, Request::Renew { id }) = work else { return };
        let another = self.held.iter().any(
            |held| matches!(&held.work, Work::Serve(_, Request::Renew { id: of }) if of == id),
        );
        if !another
            && self.kept.remove(id)
            && let Some(row) = self.core.leases.get_mut(id)
        {
            row.let_go(self.core.now);
        }
    }

    /// The latest change of a lease that is not durable yet.
    fn change_of(&self, id: LeaseId) -> u64 {
        let of_it = self.changed.iter().filter(|changed| match &changed.leases {
            Whom::All => true,
            Whom::Some(leases) => leases.contains(&id),
        });
        of_it.map(|changed| changed.at).max().unwrap_or(0)
    }

    /// Notes whom the entry at `applied` is about to change.
    fn note_change(&mut self, command: &Command) {
        let (mut leases, takes_items) = match command {
            Command::Grant { id, .. } => (vec![*id], false),
            Command::Revoke { id } | Command::Detach { id, .. } => (vec![*id], true),
            Command::Attach { id, .. } | Command::Claim { id, .. } => (vec![*id], false),
            Command::Checkpoint { checkpoints } => {
                (checkpoints.iter().map(|checkpoint| checkpoint.id).collect(), false)
            }
        };
        if let Command::Attach { id, items } = command
            && self.core.leases.contains_key(id)
        {
            leases.extend(items.iter().filter_map(|item| self.core.items.get(item)));
        }
        let leases = Whom::Some(leases);
        self.changed.push(Changed { at: self.applied, leases, takes_items });
    }

    /// Calls the core, and says what it asks for and answers.
    fn core(&mut self, now: u64, input: &Input) -> Result<(), Error> {
        let mut expected = self.core.input(now, input);
        // A renew that came in time and is in the works keeps its lease.
        for held in &self.held {
            if let Work::Serve(_, Request::Renew { id }) = &held.work
                && self.core.leases.get(id).is_some_and(|row| row.expiry > held.asked)
                && expected.expired.contains(id)
            {
                expected.expired.retain(|expired| expired != id);
                self.kept.insert(*id);
            }
        }
        if !expected.expired.is_empty() {
            self.say(Said::Expired(expected.expired.clone()));
            self.hold(now, self.deadline(now), Work::Revoke(expected.expired));
        }
        if !expected.proposals.is_empty() {
            let proposals = expected.proposals.into_iter();
            let checkpoints = proposals.map(|(id, remaining)| Checkpoint { id, remaining });
            let checkpoints = checkpoints.collect();
            self.propose(u64::MAX, Command::Checkpoint { checkpoints }, None);
        }
        for (ticket, result) in expected.answers {
            let (id, deadline) = self.renewing.remove(&ticket).expect("it was made here");
            let answer = match result {
                Ok(ttl) => Ok(Response::Renewed { ttl }),
                Err(Error::NotPrimary) => {
                    self.answer(ticket, Err(self.not_primary()));
                    continue;
                }
                Err(error) => Err(error.into()),
            };
            let deadline = deadline.unwrap_or(self.deadline(now));
            self.answer_after(self.change_of(id), deadline, ticket, answer);
        }
        expected.result
    }

    fn propose(
        &mut self,
        deadline: u64,
        command: Command,
        asked: Option<(Ticket, Response, Request)>,
    ) {
        let term = Term(self.reign.expect("only a leader proposes").term);
        self.proposed += 1;
        let sequence = self.proposed;
        self.pending.push_back(Pending { deadline, sequence, asked });
        self.say(Said::Propose(Proposal { term, sequence, command }));
    }

    fn hold(&mut self, asked: u64, deadline: u64, work: Work) {
        let until = Until::Confirmed(self.question + 1);
        self.held.push_back(Held { asked, deadline, until, work });
        self.ask_if_held();
    }

    /// All that wait share one question.
    fn ask_if_held(&mut self) {
        let waits = |held: &Held| matches!(held.until, Until::Confirmed(_));
        if !self.asking && self.held.iter().any(waits) {
            self.asking = true;
            self.question += 1;
            self.say(Said::Confirm(self.question));
        }
    }

    /// What gathers before the host takes a commit is part of it.
    fn commit(&mut self, before: u64, whole: bool) {
        if let Some(Said::Commit { applied, reset, .. }) = &mut self.gathered {
            *applied = self.applied;
            *reset |= whole;
            return;
        }
        let (after, applied) = (before, self.applied);
        self.gathered = Some(Said::Commit { after, applied, reset: whole });
    }

    fn say(&mut self, said: Said) {
        self.said.push_back(Waiting { said, after: 0, deadline: u64::MAX });
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.say(Said::Answer(ticket, answer));
    }

    fn answer_after(&mut self, after: u64, deadline: u64, ticket: Ticket, answer: Answer) {
        self.said.push_back(Waiting { said: Said::Answer(ticket, answer), after, deadline });
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
