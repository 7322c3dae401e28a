//! The replicated host of a lessor, without its I/O: what etcd keeps in its server, and where many of
//! its lease bugs were born. etcd: `server/etcdserver/{server,v3_server}.go`.
//!
//! One queue of outputs keeps the one order that matters: an answer comes behind the commit of
//! everything that it speaks of.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::digest::mix;
use crate::{
    Change, Command, Config, Effect, Entry, Error, ExpiredBatch, Instant, Item, Lease, LeaseId,
    LeaseOrder, LeaseRecord, Lessor, LogIndex, MemberId, Proposal, Role, SnapshotError, StateAt,
    Term, Ticket, Transaction, Ttl, Write,
};

/// One member of a group that replicates a lessor through a log.
///
/// A host of a single member uses it with a log that commits and confirms at once. After each call
/// drain [`poll_output`](Self::poll_output), and obey its order; call
/// [`handle_timeout`](Self::handle_timeout) when the clock reaches
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Member {
    lessor: Lessor,
    /// The latest moment that it was told.
    now: Instant,
    min_ttl: Ttl,
    extend: Duration,
    request_timeout: Duration,
    applied: LogIndex,
    leader: Option<MemberId>,
    reign: Option<Reign>,
    /// The term of the latest reign that has ended.
    left: Option<Term>,
    /// The number of the latest proposal, never used twice in a term.
    sequence: u64,
    /// Proposals of this reign that are not known to be committed, in order.
    pending: VecDeque<Pending>,
    /// What waits for a confirmation of leadership, then for the log to be applied, in order.
    held: VecDeque<Held>,
    /// The number of the latest confirmation asked for, and whether its answer is still to come.
    confirmation: u64,
    confirming: bool,
    /// The first question of this reign that has no answer yet: an answer counts for all that was held
    /// when its question was asked, even if another one was asked since.
    unconfirmed: u64,
    /// Promotions and demotions that were asked for.
    turns: VecDeque<Turn>,
    changes: Vec<Change>,
    outputs: VecDeque<Output>,
    /// How many outputs were taken, and the number, counted alike, of the latest commit.
    taken: usize,
    uncommitted: usize,
    stopped: bool,
}

/// What a user asks of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Request {
    /// Create a lease.
    Grant {
        /// Its id; the member picks one if there is none.
        id: Option<LeaseId>,
        /// Its ttl, raised to [`Config::min_ttl`].
        ttl: Ttl,
    },
    /// Remove a lease and all its items.
    Revoke {
        /// The lease.
        id: LeaseId,
    },
    /// Extend a lease to its whole ttl from now.
    Renew {
        /// The lease.
        id: LeaseId,
    },
    /// Attach items to a lease; an item that another lease holds moves.
    Attach {
        /// The lease.
        id: LeaseId,
        /// The items.
        items: Vec<Item>,
    },
    /// Detach items from a lease.
    Detach {
        /// The lease.
        id: LeaseId,
        /// The items.
        items: Vec<Item>,
    },
    /// Read one lease with its items and its remaining time.
    Lookup {
        /// The lease.
        id: LeaseId,
    },
    /// Read a page of leases.
    Leases {
        /// In which order.
        order: LeaseOrder,
        /// The last lease of the page before.
        after: Option<Lease>,
        /// The most leases to answer with.
        limit: usize,
    },
    /// Read which lease holds an item.
    LeaseOf {
        /// The item.
        item: Item,
    },
    /// Become the primary, or extend all leases if it is already.
    Promote,
    /// Be primary no longer.
    Demote,
}

/// What a member answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Response {
    /// A lease was granted.
    Granted {
        /// Its id.
        id: LeaseId,
        /// The ttl it got.
        ttl: Ttl,
    },
    /// A lease was renewed.
    Renewed {
        /// The time it has from the moment at which the request was made.
        ttl: Ttl,
    },
    /// What was asked for is done.
    Done,
    /// The lease, if there is one.
    Lookup(Option<LeaseStatus>),
    /// The leases.
    Leases(Vec<Lease>),
    /// The lease that holds the item.
    LeaseOf(Option<LeaseId>),
}

/// All that the primary knows of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LeaseStatus {
    /// What is replicated of it.
    pub record: LeaseRecord,
    /// The time until it expires, zero if it waits for its revoke.
    pub remaining: Duration,
    /// Its items, in the order of their keys.
    pub items: Vec<Item>,
}

/// Why a request was not fulfilled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum RequestError {
    /// The lessor refused.
    Refused(Error),
    /// This member is not the primary; nothing was done.
    NotPrimary {
        /// Who probably is.
        leader: Option<MemberId>,
    },
    /// Nobody knows whether it was or will be done: the leadership was lost, or no answer came within
    /// [`Config::request_timeout`]. Asking again is safe.
    Unknown,
    /// The member was stopped; nothing was done.
    Stopped,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => fmt::Display::fmt(error, f),
            Self::NotPrimary { leader: Some(leader) } => {
                write!(f, "not a primary lessor, member {leader} leads")
            }
            Self::NotPrimary { leader: None } => f.write_str("not a primary lessor"),
            Self::Unknown => f.write_str("no answer in time, it may or may not have been done"),
            Self::Stopped => f.write_str("the member was stopped"),
        }
    }
}

impl core::error::Error for RequestError {}

/// A core that is not primary and a member that is not primary are told alike.
impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The number of a question to the log whether this member still leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Confirmation(pub u64);

/// Every way to change a [`Member`], as data, to record and to replay.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum MemberInput {
    /// [`Member::request`]
    Request {
        /// What the answer will carry.
        ticket: Ticket,
        /// The request.
        request: Request,
    },
    /// [`Member::committed`]
    Committed(Vec<Entry>),
    /// [`Member::role`]
    Role(Role),
    /// [`Member::confirmed`]
    Confirmed {
        /// The question.
        confirmation: Confirmation,
        /// The answer.
        committed: Option<LogIndex>,
    },
    /// [`Member::installed`]
    Installed(StateAt),
    /// [`Member::hold_expired`]
    HoldExpired(bool),
    /// [`Member::handle_timeout`]
    Timeout,
    /// [`Member::stop`]
    Stop,
}

/// What the host must do, strictly in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Output {
    /// Hand this to the log. It may be lost, but never committed in another term.
    Propose(Proposal),
    /// Ask the log whether this member still leads.
    Confirm(Confirmation),
    /// Ask the log to make this member the leader.
    Campaign,
    /// Tell the log that this member gives up leading.
    Resign,
    /// Make this durable before anything that follows. If that fails, do nothing more, ever.
    Commit(Transaction),
    /// Answer a request.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// With what.
        answer: Result<Response, RequestError>,
    },
    /// Show an observer which leases have expired; the member revokes them itself.
    Expired(ExpiredBatch),
}

#[derive(Clone, Copy, Debug)]
struct Reign {
    term: Term,
    barrier: LogIndex,
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    deadline: Instant,
    /// Who asked, and what to answer if it succeeds.
    asked: Option<(Ticket, Response)>,
}

#[derive(Debug)]
struct Held {
    deadline: Instant,
    stage: Stage,
    work: Work,
}

/// What a held piece of work waits for.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Confirmation(u64),
    Applied(LogIndex),
}

#[derive(Debug)]
enum Work {
    Request(Ticket, Request),
    Revoke(ExpiredBatch),
}

#[derive(Debug)]
struct Turn {
    deadline: Instant,
    ticket: Ticket,
    promote: bool,
}

impl Member {
    /// A member that stands where its backend does: a follower, of nobody.
    ///
    /// # Errors
    ///
    /// What is wrong with the state.
    pub fn new(config: &Config, stored: &StateAt) -> Result<Self, SnapshotError> {
        let mut lessor = Lessor::new(config);
        lessor.recover(Instant::ZERO, &stored.snapshot)?;
        Ok(Self {
            lessor,
            now: Instant::ZERO,
            min_ttl: config.min_ttl,
            extend: config.extend,
            request_timeout: config.request_timeout,
            applied: stored.applied,
            leader: None,
            reign: None,
            left: None,
            sequence: 0,
            pending: VecDeque::new(),
            held: VecDeque::new(),
            confirmation: 0,
            confirming: false,
            unconfirmed: 0,
            turns: VecDeque::new(),
            changes: Vec::new(),
            outputs: VecDeque::new(),
            taken: 0,
            uncommitted: 0,
            stopped: false,
        })
    }

    /// Makes any of the changes that the methods below make, from data.
    ///
    /// # Errors
    ///
    /// Those of [`installed`](Self::installed).
    pub fn handle_input(&mut self, now: Instant, input: MemberInput) -> Result<(), SnapshotError> {
        match input {
            MemberInput::Request { ticket, request } => self.request(now, ticket, request),
            MemberInput::Committed(entries) => self.committed(now, entries),
            MemberInput::Role(role) => self.role(now, role),
            MemberInput::Confirmed { confirmation, committed } => {
                self.confirmed(now, confirmation, committed);
            }
            MemberInput::Installed(state) => return self.installed(now, &state),
            MemberInput::HoldExpired(hold) => self.hold_expired(now, hold),
            MemberInput::Timeout => self.handle_timeout(now),
            MemberInput::Stop => self.stop(now),
        }
        Ok(())
    }

    /// Takes a request; its ticket is answered exactly once.
    ///
    /// A change is proposed to the log and answered when it is applied and durable. A renew and a read
    /// are answered once the log has confirmed that this member still led after they came in, and
    /// everything committed until then is applied.
    pub fn request(&mut self, now: Instant, ticket: Ticket, request: Request) {
        let now = self.set_clock(now);
        if self.stopped {
            return self.answer(ticket, Err(RequestError::Stopped));
        }
        if matches!(request, Request::Promote | Request::Demote) {
            return self.turn(now, ticket, request == Request::Promote);
        }
        if !self.is_primary() {
            return self.answer(ticket, Err(self.not_primary()));
        }
        let done = Response::Done;
        match request {
            Request::Grant { ttl, .. } if ttl > Ttl::MAX => {
                self.answer(ticket, Err(Error::TtlTooLarge.into()));
            }
            // The id is in use here. Were the grant proposed, a revoke that is on its way for the old
            // lease could be followed by the grant and then by a second, repeated revoke, which would
            // end the new lease. So that is a read.
            Request::Grant { id: Some(id), .. } if self.lessor.lookup(id).is_some() => {
                self.hold(now, Work::Request(ticket, request));
            }
            Request::Grant { id, ttl } => {
                let id = id.unwrap_or_else(|| self.pick_id());
                let ttl = ttl.max(self.min_ttl);
                let granted = Response::Granted { id, ttl };
                self.propose(now, Command::Grant { id, ttl }, Some((ticket, granted)));
            }
            Request::Revoke { id } => {
                self.propose(now, Command::Revoke { id }, Some((ticket, done)));
            }
            Request::Attach { id, items } => {
                self.propose(now, Command::Attach { id, items }, Some((ticket, done)));
            }
            Request::Detach { id, items } => {
                self.propose(now, Command::Detach { id, items }, Some((ticket, done)));
            }
            Request::Renew { .. }
            | Request::Lookup { .. }
            | Request::Leases { .. }
            | Request::LeaseOf { .. } => self.hold(now, Work::Request(ticket, request)),
            Request::Promote | Request::Demote => unreachable!("taken above"),
        }
    }

    /// Applies committed entries, in the order of the log. Those at or below
    /// [`applied`](Self::applied) are ignored, so that the log may repeat itself.
    ///
    /// # Panics
    ///
    /// If an entry is missing before one of these, which is a bug of the log.
    pub fn committed(&mut self, now: Instant, entries: Vec<Entry>) {
        let now = self.set_clock(now);
        if self.stopped {
            return;
        }
        let after = self.applied;
        let mut answers = Vec::new();
        for entry in entries {
            if entry.index <= self.applied {
                continue;
            }
            assert!(
                entry.index == self.applied.next(),
                "the log hands out {} behind {}",
                entry.index,
                self.applied
            );
            self.applied = entry.index;
            // What a deposed leader proposed must not take effect in the term of another.
            let Some(proposal) = entry.proposal.filter(|proposal| proposal.term == entry.term)
            else {
                continue;
            };
            let result = self.lessor.apply(now, proposal.command);
            self.pump(now, &mut answers);
            self.settle(proposal.term, proposal.sequence, result, &mut answers);
        }
        if self.applied == after {
            return;
        }
        self.commit(after, false);
        for (ticket, answer) in answers {
            self.answer(ticket, answer);
        }
        self.promote_if_ready(now);
        self.work_off(now);
    }

    /// Takes a change of this member's role in the group.
    ///
    /// It promotes the lessor as soon as every entry of earlier terms is applied, and demotes it at
    /// once: then proposals that are on their way are answered as unknown, renews and reads as not
    /// primary. They may be committed yet, a checkpoint among them that would cut a later renew short,
    /// so a term that was left is not led again: that is ignored.
    pub fn role(&mut self, now: Instant, role: Role) {
        let now = self.set_clock(now);
        if self.stopped {
            return;
        }
        match role {
            Role::Leader { term, .. } if self.reign.is_some_and(|reign| reign.term == term) => {}
            Role::Leader { term, .. } if Some(term) <= self.left => {}
            Role::Leader { term, barrier } => {
                self.abdicate(now);
                self.leader = None;
                self.reign = Some(Reign { term, barrier });
                self.promote_if_ready(now);
            }
            Role::Follower { leader } => {
                self.leader = leader;
                self.abdicate(now);
            }
        }
    }

    /// Takes the answer to an [`Output::Confirm`]: the index up to which entries were committed when
    /// this member was seen to lead, or `None` if it does not lead any more, which demotes it.
    pub fn confirmed(
        &mut self,
        now: Instant,
        confirmation: Confirmation,
        committed: Option<LogIndex>,
    ) {
        let now = self.set_clock(now);
        let open = self.unconfirmed..=self.confirmation;
        if self.stopped || !open.contains(&confirmation.0) {
            return;
        }
        self.unconfirmed = confirmation.0 + 1;
        if confirmation.0 == self.confirmation {
            self.confirming = false;
        }
        let Some(committed) = committed else {
            return self.abdicate(now);
        };
        for held in &mut self.held {
            match held.stage {
                Stage::Confirmation(number) if number <= confirmation.0 => {
                    held.stage = Stage::Applied(committed);
                }
                Stage::Confirmation(_) => break,
                Stage::Applied(_) => {}
            }
        }
        self.work_off(now);
        self.confirm_if_held();
    }

    /// Replaces all state by that of a member which is ahead; ignored if this one is not behind.
    ///
    /// # Errors
    ///
    /// What is wrong with the state; then nothing was replaced.
    pub fn installed(&mut self, now: Instant, state: &StateAt) -> Result<(), SnapshotError> {
        let now = self.set_clock(now);
        if self.stopped || state.applied <= self.applied {
            return Ok(());
        }
        self.abdicate(now);
        self.lessor.recover(now, &state.snapshot)?;
        let after = core::mem::replace(&mut self.applied, state.applied);
        let leases = state.snapshot.leases.iter().map(|record| Write::PutLease(*record));
        let items = state.snapshot.items.iter();
        let items = items.map(|(item, holder)| Write::PutItem(item.clone(), *holder));
        self.changes = leases.chain(items).map(Change::Write).collect();
        self.commit(after, true);
        Ok(())
    }

    /// Says whether expired batches must wait because an observer has no place for one.
    pub fn hold_expired(&mut self, now: Instant, hold: bool) {
        let now = self.set_clock(now);
        self.lessor.hold_expired(now, hold);
    }

    /// Does what is due: expired batches, checkpoints, requests that got no answer in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.set_clock(now);
        if self.stopped {
            return;
        }
        self.lessor.handle_timeout(now);
        self.pump_now(now);
        while self.pending.front().is_some_and(|pending| pending.deadline <= now) {
            let asked = self.pending.pop_front().and_then(|pending| pending.asked);
            if let Some((ticket, _)) = asked {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        while self.held.front().is_some_and(|held| held.deadline <= now) {
            // The confirmation that it waited for was lost: the next one asks anew.
            self.confirming = false;
            if let Some(Held { work: Work::Request(ticket, _), .. }) = self.held.pop_front() {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        self.confirm_if_held();
        while self.turns.front().is_some_and(|turn| turn.deadline <= now) {
            if let Some(turn) = self.turns.pop_front() {
                self.answer(turn.ticket, Err(RequestError::Unknown));
            }
        }
    }

    /// Ends the reign and answers everything that waits; every later request is answered as
    /// stopped. Stopping twice is harmless.
    pub fn stop(&mut self, now: Instant) {
        let now = self.set_clock(now);
        if !self.stopped {
            self.abdicate(now);
            for turn in core::mem::take(&mut self.turns) {
                self.answer(turn.ticket, Err(RequestError::Stopped));
            }
            self.stopped = true;
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if there is nothing to wait for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lessor = self.lessor.poll_timeout();
        let pending = self.pending.front().map(|pending| pending.deadline);
        let held = self.held.front().map(|held| held.deadline);
        let turn = self.turns.front().map(|turn| turn.deadline);
        [lessor, pending, held, turn].into_iter().flatten().min().filter(|_| !self.stopped)
    }

    /// The next thing that the host must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        self.taken += 1;
        Some(output)
    }

    /// What the host still has to do, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter()
    }

    /// Whether it owes no answer that its log has yet to make possible. A renew that waits for its
    /// lease to be revoked does not count, nor do the revokes themselves, which may never come about.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.iter().all(|pending| pending.asked.is_none())
            && self.held.iter().all(|held| matches!(held.work, Work::Revoke(_)))
            && self.turns.is_empty()
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The lease state machine inside.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// Whether this member leads and has promoted its lessor.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.lessor.is_primary()
    }

    /// The term in which this member leads, whether it is promoted yet or not.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.reign.map(|reign| reign.term)
    }

    /// The last entry that is applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Everything that is replicated, for a member that is far behind.
    #[must_use]
    pub fn state(&self) -> StateAt {
        StateAt { applied: self.applied, snapshot: self.lessor.snapshot() }
    }

    /// The clock never goes back: the deadlines of each queue rise, and only its front is looked at.
    fn set_clock(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn promote_if_ready(&mut self, now: Instant) {
        let Some(reign) = self.reign else { return };
        if self.applied < reign.barrier || self.is_primary() {
            return;
        }
        self.lessor.promote(now, self.extend);
        self.pump_now(now);
        self.answer_turns(true);
    }

    /// Ends the reign, if there is one.
    fn abdicate(&mut self, now: Instant) {
        let Some(reign) = self.reign.take() else { return };
        self.left = Some(reign.term);
        self.lessor.demote(now);
        self.pump_now(now);
        for pending in core::mem::take(&mut self.pending) {
            if let Some((ticket, _)) = pending.asked {
                self.answer(ticket, Err(RequestError::Unknown));
            }
        }
        self.confirming = false;
        self.unconfirmed = self.confirmation + 1;
        for held in core::mem::take(&mut self.held) {
            if let Work::Request(ticket, _) = held.work {
                self.answer(ticket, Err(self.not_primary()));
            }
        }
        self.answer_turns(false);
    }

    fn turn(&mut self, now: Instant, ticket: Ticket, promote: bool) {
        if promote && self.is_primary() {
            self.lessor.promote(now, self.extend);
            self.pump_now(now);
            return self.answer(ticket, Ok(Response::Done));
        }
        if !promote && self.reign.is_none() {
            return self.answer(ticket, Ok(Response::Done));
        }
        let deadline = now.saturating_add(self.request_timeout);
        self.turns.push_back(Turn { deadline, ticket, promote });
        self.outputs.push_back(if promote { Output::Campaign } else { Output::Resign });
    }

    fn answer_turns(&mut self, promoted: bool) {
        for turn in core::mem::take(&mut self.turns) {
            if turn.promote == promoted {
                self.answer(turn.ticket, Ok(Response::Done));
            } else {
                self.turns.push_back(turn);
            }
        }
    }

    fn propose(&mut self, now: Instant, command: Command, asked: Option<(Ticket, Response)>) {
        let reign = self.reign.expect("only a primary proposes");
        self.sequence += 1;
        let (term, sequence) = (reign.term, self.sequence);
        let deadline = now.saturating_add(self.request_timeout);
        self.pending.push_back(Pending { sequence, deadline, asked });
        self.outputs.push_back(Output::Propose(Proposal { term, sequence, command }));
    }

    /// Notes that a proposal was applied. Those of the same reign before it that are still pending
    /// were lost, because a log keeps the order of one leader's proposals.
    fn settle(
        &mut self,
        term: Term,
        sequence: u64,
        result: Result<(), Error>,
        answers: &mut Vec<(Ticket, Result<Response, RequestError>)>,
    ) {
        if self.term() != Some(term) {
            return;
        }
        while self.pending.front().is_some_and(|pending| pending.sequence <= sequence) {
            let Some(pending) = self.pending.pop_front() else { break };
            let Some((ticket, response)) = pending.asked else { continue };
            let answer = if pending.sequence < sequence {
                Err(RequestError::Unknown)
            } else {
                result.map(|()| response).map_err(RequestError::Refused)
            };
            answers.push((ticket, answer));
        }
    }

    fn hold(&mut self, now: Instant, work: Work) {
        let stage = Stage::Confirmation(self.confirmation + 1);
        let deadline = now.saturating_add(self.request_timeout);
        self.held.push_back(Held { deadline, stage, work });
        self.confirm_if_held();
    }

    /// Asks whether this member leads if something waits for that and no question is on its way.
    fn confirm_if_held(&mut self) {
        let waits = |held: &Held| matches!(held.stage, Stage::Confirmation(_));
        if !self.confirming && self.held.back().is_some_and(waits) {
            self.confirming = true;
            self.confirmation += 1;
            self.outputs.push_back(Output::Confirm(Confirmation(self.confirmation)));
        }
    }

    /// Does the held work that waits for nothing any more.
    fn work_off(&mut self, now: Instant) {
        while let Some(held) = self.held.front()
            && let Stage::Applied(index) = held.stage
            && index <= self.applied
        {
            let Some(held) = self.held.pop_front() else { break };
            match held.work {
                Work::Request(ticket, request) => self.serve(now, ticket, request),
                Work::Revoke(batch) => {
                    for id in batch.leases {
                        // Meanwhile it may be gone, and its id even granted anew.
                        if self.lessor.remaining(now, id) == Some(Duration::ZERO) {
                            self.propose(now, Command::Revoke { id }, None);
                        }
                    }
                }
            }
        }
    }

    /// Serves a request whose leadership is confirmed.
    fn serve(&mut self, now: Instant, ticket: Ticket, request: Request) {
        let response = match request {
            Request::Renew { id } => {
                self.lessor.renew(now, ticket, id);
                return self.pump_now(now);
            }
            Request::Lookup { id } => Response::Lookup(self.status(now, id)),
            Request::Leases { order, after, limit } => {
                Response::Leases(self.lessor.leases(order, after.as_ref(), limit))
            }
            Request::LeaseOf { item } => Response::LeaseOf(self.lessor.lease_of(&item)),
            Request::Grant { id: Some(id), .. } if self.lessor.lookup(id).is_some() => {
                return self.answer(ticket, Err(Error::LeaseExists.into()));
            }
            Request::Grant { .. }
            | Request::Revoke { .. }
            | Request::Attach { .. }
            | Request::Detach { .. }
            | Request::Promote
            | Request::Demote => return self.request(now, ticket, request),
        };
        self.answer(ticket, Ok(response));
    }

    fn status(&self, now: Instant, id: LeaseId) -> Option<LeaseStatus> {
        let lease = self.lessor.lookup(id)?;
        let remaining = self.lessor.remaining(now, id)?;
        let items = self.lessor.items(id).cloned().collect();
        Some(LeaseStatus { record: lease.record, remaining, items })
    }

    /// Hands on the effects of the lessor outside of an apply, where there is nothing to commit.
    fn pump_now(&mut self, now: Instant) {
        let mut answers = Vec::new();
        self.pump(now, &mut answers);
        assert!(self.changes.is_empty(), "only an applied entry changes what is stored");
        for (ticket, answer) in answers {
            self.answer(ticket, answer);
        }
    }

    fn pump(&mut self, now: Instant, answers: &mut Vec<(Ticket, Result<Response, RequestError>)>) {
        while let Some(effect) = self.lessor.poll_effect() {
            match effect {
                Effect::Write(write) => self.changes.push(Change::Write(write)),
                Effect::RangeDelete(delete) => self.changes.push(Change::RangeDelete(delete)),
                Effect::Expired(batch) => {
                    self.outputs.push_back(Output::Expired(batch.clone()));
                    self.hold(now, Work::Revoke(batch));
                }
                Effect::Checkpoint(checkpoints) => {
                    self.propose(now, Command::Checkpoint { checkpoints }, None);
                }
                Effect::Renewed { ticket, result } => {
                    let answer = match result {
                        Ok(ttl) => Ok(Response::Renewed { ttl }),
                        Err(Error::NotPrimary) => Err(self.not_primary()),
                        Err(error) => Err(error.into()),
                    };
                    answers.push((ticket, answer));
                }
            }
        }
    }

    /// Asks for a commit of the changes, or adds them to one that the host has not taken yet: what
    /// gathers while a commit is on its way to the disk shares the next one.
    fn commit(&mut self, after: LogIndex, reset: bool) {
        let (applied, digest) = (self.applied, self.lessor.digest());
        let changes = core::mem::take(&mut self.changes);
        let waiting = self.uncommitted.checked_sub(self.taken);
        match waiting.and_then(|place| self.outputs.get_mut(place)) {
            Some(Output::Commit(transaction)) => {
                transaction.applied = applied;
                transaction.digest = digest;
                if reset {
                    transaction.reset = true;
                    transaction.changes = changes;
                } else {
                    transaction.changes.extend(changes);
                }
            }
            Some(_) | None => {
                self.uncommitted = self.taken + self.outputs.len();
                let transaction = Transaction { after, applied, digest, reset, changes };
                self.outputs.push_back(Output::Commit(transaction));
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Response, RequestError>) {
        self.outputs.push_back(Output::Answer { ticket, answer });
    }

    fn not_primary(&self) -> RequestError {
        RequestError::NotPrimary { leader: self.leader }
    }

    /// An id that no lease has. It follows from the term and the number of the proposal, which no two
    /// grants share, so an id whose lease is gone does not come again.
    fn pick_id(&self) -> LeaseId {
        let term = self.reign.map_or(0, |reign| reign.term.0);
        let mut number = mix(mix(0, term), self.sequence);
        loop {
            let id = LeaseId::new((number >> 1).cast_signed());
            match id.filter(|id| self.lessor.lookup(*id).is_none()) {
                Some(id) => return id,
                None => number = mix(number, term),
            }
        }
    }
}
