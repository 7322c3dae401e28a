//! The replicated host of a lessor, without its I/O: what etcd keeps in its server, and where many of
//! its lease bugs were born. etcd: `server/etcdserver/{server,v3_server}.go`.
//!
//! The one order that matters: an answer leaves after what it speaks of is durable, and waits for
//! nothing else. So a commit that takes long holds up whom it concerns, and nobody beside.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use self::request::refusal;
use crate::digest::mix;
use crate::outputs::Outputs;
use crate::{
    Change, Command, Config, Confirmation, Effect, Entry, Error, ExpiredBatch, Instant, Lease,
    LeaseId, Lessor, LogIndex, MemberId, Proposal, Role, SnapshotError, StateAt, Term, Ticket,
    Transaction, Ttl, Write,
};

mod input;
mod output;
mod request;

pub use self::input::MemberInput;
pub use self::output::Output;
pub use self::request::{LeaseStatus, Request, RequestError, Response, TimeToLive};

/// One member of a group that replicates a lessor through a log.
///
/// A group of one uses it with a log that commits and confirms at once. After each call drain
/// [`poll_output`](Self::poll_output). When a commit is durable, call
/// [`handle_persisted`](Self::handle_persisted) and drain again. Call
/// [`handle_timeout`](Self::handle_timeout) when the clock reaches
/// [`poll_timeout`](Self::poll_timeout).
///
/// A clone is an independent copy, for experiments. Only one of the two may serve.
///
/// A member that is alone, with a log that commits and confirms at once and no store:
///
/// ```
/// use lessor::{
///     Config, Entry, Instant, LeaseId, LogIndex, Member, Output, Request, Response, Role, StateAt,
///     Term, Ticket, Ttl,
/// };
///
/// let mut member = Member::new(&Config::default(), &StateAt::default())?;
/// let (now, term, mut index) = (Instant::ZERO, Term(1), LogIndex(0));
/// member.handle_role(now, Role::Leader { term, barrier: index });
///
/// let (id, ttl) = (LeaseId::new(7).unwrap(), Ttl::from_secs(10));
/// member.request(now, Ticket(1), Request::Grant { id: Some(id), ttl });
/// member.request(now, Ticket(2), Request::LeaseOf { item: "service/web".into() });
/// let mut answers = Vec::new();
/// while let Some(output) = member.poll_output() {
///     match output {
///         Output::Propose(proposal) => {
///             index = index.next();
///             member.handle_committed(now, vec![Entry { index, term, proposal: Some(proposal) }]);
///         }
///         Output::Confirm(confirmation) => {
///             member.handle_confirmed(now, confirmation, Some(index));
///         }
///         // Here a host makes the transaction durable first.
///         Output::Commit(transaction) => member.handle_persisted(now, transaction.applied),
///         Output::Answer { ticket, answer } => answers.push((ticket, answer)),
///         Output::Waits(_) | Output::Expired(_) | Output::Campaign | Output::Resign => {}
///     }
///     while member.is_applying() {
///         member.go_on(now);
///     }
/// }
/// answers.sort_unstable_by_key(|(ticket, _)| *ticket);
/// let granted = Response::Granted { id, ttl, index: LogIndex(1) };
/// assert_eq!(answers, [(Ticket(1), Ok(granted)), (Ticket(2), Ok(Response::LeaseOf(None)))]);
/// # Ok::<(), lessor::SnapshotError>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    lessor: Lessor,
    /// The latest moment that it was told.
    now: Instant,
    /// The moment of the latest timeout: what was due by then has left.
    let_go: Instant,
    min_ttl: Ttl,
    extend: Duration,
    request_timeout: Duration,
    subscriber_patience: Duration,
    applied: LogIndex,
    /// The last entry that it was handed, and those that it has not applied.
    received: LogIndex,
    backlog: VecDeque<Entry>,
    /// The proposal that is applied in part, at the index after `applied`.
    applying: Option<(Term, u64)>,
    /// Meanwhile, the leases that it or an entry behind it grants or revokes.
    undecided: BTreeSet<LeaseId>,
    /// The most entries, and items, that are worked off at once.
    piece: u32,
    leader: Option<MemberId>,
    reign: Option<Reign>,
    /// The term of the latest reign that has ended.
    left: Option<Term>,
    /// The number of the latest proposal, never used twice in a term.
    sequence: u64,
    id_salt: u64,
    /// Proposals of this reign that are not known to be committed, in order.
    pending: VecDeque<Pending>,
    /// The first moment at which somebody whose change was proposed may have to wait no longer.
    give_up: Option<Instant>,
    /// Tasks that wait for a confirmation of leadership, then for the log to be applied, in order.
    waiting: VecDeque<WaitingTask>,
    /// The number of the latest confirmation asked for, and whether its answer is still to come.
    confirmation: u64,
    confirming: bool,
    /// The first question of this reign that has no answer yet: an answer counts for all tasks that
    /// waited when its question was asked, even if another one was asked since.
    unconfirmed: u64,
    /// Leases that are due and were kept for a renew that waits.
    kept: BTreeSet<LeaseId>,
    /// Renews that wait inside the lessor.
    renewing: BTreeMap<Ticket, Renewing>,
    /// Those of them that wait for an unset, in the order of their deadlines; some are answered.
    unsetting: VecDeque<(Instant, Ticket)>,
    /// Promotions and demotions that were asked for and have no answer yet, in order.
    role_changes: VecDeque<RoleChange>,
    subscriber_hold: SubscriberHold,
    changes: Vec<Change>,
    outputs: Outputs,
    #[cfg(feature = "metrics")]
    #[cfg_attr(feature = "recording", serde(skip))]
    tally: crate::tally::Tally,
    stopped: bool,
}

impl Member {
    /// Creates a member with the state of its backend. It starts as a follower without a leader.
    ///
    /// # Errors
    ///
    /// The first fault of the state.
    pub fn new(config: &Config, stored: &StateAt) -> Result<Self, SnapshotError> {
        let mut lessor = Lessor::new(config);
        lessor.recover(Instant::ZERO, &stored.snapshot)?;
        Ok(Self {
            lessor,
            now: Instant::ZERO,
            let_go: Instant::ZERO,
            min_ttl: config.min_ttl,
            extend: config.extend,
            request_timeout: config.request_timeout,
            subscriber_patience: config.subscriber_patience,
            applied: stored.applied,
            received: stored.applied,
            backlog: VecDeque::new(),
            applying: None,
            undecided: BTreeSet::new(),
            piece: config.piece.get(),
            leader: None,
            reign: None,
            left: None,
            sequence: 0,
            id_salt: config.id_salt.unwrap_or_default(),
            pending: VecDeque::new(),
            give_up: None,
            waiting: VecDeque::new(),
            confirmation: 0,
            confirming: false,
            unconfirmed: 0,
            kept: BTreeSet::new(),
            renewing: BTreeMap::new(),
            unsetting: VecDeque::new(),
            role_changes: VecDeque::new(),
            subscriber_hold: SubscriberHold::None,
            changes: Vec::new(),
            outputs: Outputs::new(stored.applied),
            #[cfg(feature = "metrics")]
            tally: crate::tally::Tally::default(),
            stopped: false,
        })
    }

    /// Makes one of the calls below, given as data.
    ///
    /// # Errors
    ///
    /// Those of [`handle_installed`](Self::handle_installed).
    pub fn handle_input(&mut self, now: Instant, input: MemberInput) -> Result<(), SnapshotError> {
        match input {
            MemberInput::Request { ticket, request } => self.request(now, ticket, request),
            MemberInput::Committed(entries) => self.handle_committed(now, entries),
            MemberInput::Role(role) => self.handle_role(now, role),
            MemberInput::Confirmed { confirmation, committed } => {
                self.handle_confirmed(now, confirmation, committed);
            }
            MemberInput::Installed(state) => return self.handle_installed(now, &state),
            MemberInput::GoOn => self.go_on(now),
            MemberInput::Persisted(applied) => self.handle_persisted(now, applied),
            MemberInput::Forget(ticket) => self.forget(now, ticket),
            MemberInput::HoldExpired(hold) => self.hold_expired(now, hold),
            MemberInput::Timeout => self.handle_timeout(now),
            MemberInput::Stop => self.stop(now),
        }
        Ok(())
    }

    /// Takes a request. Its ticket is answered exactly once.
    ///
    /// A change is proposed to the log and answered when it is applied and durable. A renew or a read is
    /// answered when three things hold: the log has confirmed that this member led after the request
    /// arrived, everything committed until then is applied, and everything the answer tells of is durable.
    ///
    /// A renew that arrives before its lease expires is in time, however late it is handled. `now` is the
    /// moment at which the request arrived. It may be before the `now` of other calls, if the host was
    /// busy; but not before the last [`handle_timeout`](Self::handle_timeout), or it counts as that. A renew
    /// that arrives later waits for the revoke. Every other request is answered within
    /// [`Config::request_timeout`], if need be with [`RequestError::Unknown`].
    pub fn request(&mut self, now: Instant, ticket: Ticket, request: Request) {
        let asked = now.max(self.let_go);
        let now = self.set_clock(now);
        let deadline = now.saturating_add(self.request_timeout);
        self.accept(now, Asked { ticket, asked, deadline }, request);
    }

    /// Takes committed entries, in the order of the log, and applies them. Entries that it has already are
    /// ignored, so the log may repeat them.
    ///
    /// At most [`Config::piece`] entries or items are applied at once. While the member
    /// [is applying](Self::is_applying), call [`go_on`](Self::go_on), and hand in other input between the
    /// calls.
    ///
    /// # Panics
    ///
    /// If an entry is missing, which is a bug of the log.
    pub fn handle_committed(&mut self, now: Instant, entries: Vec<Entry>) {
        if self.stopped {
            self.set_clock(now);
            return;
        }
        for entry in entries {
            if entry.index > self.received {
                let before = core::mem::replace(&mut self.received, entry.index);
                assert!(
                    entry.index == before.next(),
                    "the log hands out {} behind {before}",
                    entry.index
                );
                if self.applying.is_some() {
                    self.undecided.extend(entry.decides_on());
                }
                self.backlog.push_back(entry);
            }
        }
        self.go_on(now);
    }

    /// Applies the next piece of the committed entries. Harmless if there is none.
    pub fn go_on(&mut self, now: Instant) {
        let now = self.set_clock(now);
        let mut before = self.applied;
        let mut left = self.piece;
        #[cfg(feature = "metrics")]
        self.tally.clear();
        if let Some((term, sequence)) = self.applying.take() {
            let result = self.lessor.go_on(now);
            self.outputs.touch_all(self.lessor.moved_from(), self.applied.next());
            self.drain_effects(now);
            if result == Ok(false) {
                self.applying = Some((term, sequence));
                return;
            }
            self.undecided.clear();
            self.finish_entry(term, sequence, result.map(drop));
            left = 0;
        }
        while left > 0
            && let Some(entry) = self.backlog.pop_front()
        {
            left -= 1;
            // What a deposed leader proposed must not take effect in the term of another.
            let proposal = entry.proposal.filter(|proposal| proposal.term == entry.term);
            let Some(Proposal { term, sequence, command }) = proposal else {
                self.applied = entry.index;
                continue;
            };
            if self.is_large(&command) {
                // What a part of it writes belongs to no commit of those before.
                self.commit_applied(now, before);
                before = self.applied;
            }
            self.outputs.touch(&command, entry.index);
            #[cfg(feature = "metrics")]
            let granted = crate::tally::ttl_if_granted(&command);
            let decides_on = command.decides_on();
            let result = self.lessor.begin(now, command);
            self.outputs.touch_all(self.lessor.moved_from(), entry.index);
            #[cfg(feature = "metrics")]
            self.tally.granted.extend(granted.filter(|_| result.is_ok()));
            self.drain_effects(now);
            if result == Ok(false) {
                self.applying = Some((term, sequence));
                let behind = self.backlog.iter().filter_map(Entry::decides_on);
                self.undecided = decides_on.into_iter().chain(behind).collect();
                break;
            }
            self.finish_entry(term, sequence, result.map(drop));
        }
        self.commit_applied(now, before);
    }

    /// Whether committed entries are left for [`go_on`](Self::go_on) to apply.
    #[must_use]
    pub fn is_applying(&self) -> bool {
        self.applying.is_some() || !self.backlog.is_empty()
    }

    /// Takes the news that everything up to `applied` is durable here. Answers that waited for it leave,
    /// and the next commit may. Harmless if repeated.
    pub fn handle_persisted(&mut self, now: Instant, applied: LogIndex) {
        self.set_clock(now);
        self.outputs.persisted(applied);
    }

    /// Forgets a request because nobody waits for its answer. It is not answered, but it may still be
    /// carried out. Harmless if it was answered already.
    pub fn forget(&mut self, now: Instant, ticket: Ticket) {
        let now = self.set_clock(now);
        self.outputs.forget(ticket);
        self.role_changes.retain(|role_change| role_change.ticket != ticket);
        let waiting = self.waiting.iter().position(|waiting| waiting.is_asked_by(ticket));
        if let Some(waiting) = waiting.and_then(|position| self.waiting.remove(position)) {
            self.give_up_renew(&waiting.task);
        }
        for pending in &mut self.pending {
            pending.asked.take_if(|(asked, _)| *asked == ticket);
        }
        if let Some(renewing) = self.renewing.remove(&ticket) {
            self.lessor.forget_renew(now, ticket, renewing.id);
        }
    }

    /// Takes a change of this member's role in the group.
    ///
    /// A new leader promotes its lessor as soon as every entry of earlier terms is applied. A leader that
    /// becomes a follower demotes it at once: open proposals are answered as unknown, renews and reads as
    /// not primary.
    ///
    /// A term that this member has left is ignored if it is told to lead it again. Proposals of that term
    /// may still be committed, and a checkpoint among them could shorten a later renew.
    pub fn handle_role(&mut self, now: Instant, role: Role) {
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

    /// Takes the answer to an [`Output::Confirm`]: the commit index at the moment when a quorum confirmed
    /// that this member leads. `None` means that it no longer leads, and demotes it.
    pub fn handle_confirmed(
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
        for waiting in &mut self.waiting {
            match waiting.waits_for {
                WaitsFor::Confirmation(number) if number <= confirmation.0 => {
                    waiting.waits_for = WaitsFor::Applied(committed);
                }
                WaitsFor::Confirmation(_) => break,
                WaitsFor::Applied(_) => {}
            }
        }
        self.run_ready_tasks(now);
        self.confirm_if_waiting();
    }

    /// Replaces all state by that of a member which is ahead. Ignored if this member has applied as much.
    ///
    /// # Errors
    ///
    /// The first fault of the state. Then nothing was replaced, but a reign of this member has ended.
    pub fn handle_installed(&mut self, now: Instant, state: &StateAt) -> Result<(), SnapshotError> {
        let now = self.set_clock(now);
        if self.stopped || state.applied <= self.applied {
            return Ok(());
        }
        self.abdicate(now);
        self.lessor.recover(now, &state.snapshot)?;
        let before = core::mem::replace(&mut self.applied, state.applied);
        self.received = self.received.max(state.applied);
        self.backlog.retain(|entry| entry.index > state.applied);
        self.applying = None;
        self.undecided.clear();
        self.outputs.touch_everything(state.applied);
        let leases = state.snapshot.leases.iter().map(|record| Write::PutLease(*record));
        let items = state.snapshot.items.iter();
        let items = items.map(|(item, holder)| Write::PutItem(item.clone(), *holder));
        self.changes = leases.chain(items).map(Change::Write).collect();
        self.commit(before, true);
        Ok(())
    }

    /// Holds expired batches back while a subscriber has no room for them (`true`), or lets them leave
    /// (`false`). They are held for [`Config::subscriber_patience`] at most. After that they leave in any
    /// case, until this is called with `false`.
    pub fn hold_expired(&mut self, now: Instant, hold: bool) {
        let now = self.set_clock(now);
        self.subscriber_hold = match (hold, self.subscriber_hold) {
            (false, _) => SubscriberHold::None,
            (true, SubscriberHold::None) => {
                SubscriberHold::Until(now.saturating_add(self.subscriber_patience))
            }
            (true, hold @ (SubscriberHold::Until(_) | SubscriberHold::Ended)) => hold,
        };
        self.lessor.hold_expired(now, self.subscriber_hold.until().is_some());
    }

    /// Handles everything that is due: expired batches, checkpoints, requests without an answer in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.set_clock(now);
        self.let_go = now;
        self.outputs.give_up(now);
        if self.stopped {
            return;
        }
        if self.subscriber_hold.until().is_some_and(|until| until <= now) {
            self.subscriber_hold = SubscriberHold::Ended;
            self.lessor.hold_expired(now, false);
        }
        while let Some(&(deadline, ticket)) = self.unsetting.front()
            && (deadline <= now || !self.renewing.contains_key(&ticket))
        {
            self.unsetting.pop_front();
            if let Some(renewing) = self.renewing.remove(&ticket) {
                self.lessor.forget_renew(now, ticket, renewing.id);
                self.fail(ticket, RequestError::Unknown);
            }
        }
        self.give_up_proposals(now);
        while self.waiting.front().is_some_and(|waiting| waiting.deadline <= now) {
            // The confirmation that it waited for was lost: the next one asks anew.
            self.confirming = false;
            let Some(waiting) = self.waiting.pop_front() else { break };
            if let Task::Request(ticket, _) = waiting.task {
                self.give_up_renew(&waiting.task);
                self.fail(ticket, RequestError::Unknown);
            }
        }
        // After tasks are given up: a lease may have been kept for one of them.
        self.lessor.handle_timeout(now);
        self.run_ready_tasks(now);
        self.drain_local_effects(now);
        self.confirm_if_waiting();
        while self.role_changes.front().is_some_and(|role_change| role_change.deadline <= now) {
            if let Some(role_change) = self.role_changes.pop_front() {
                self.fail(role_change.ticket, RequestError::Unknown);
            }
        }
    }

    /// Stops the member: ends its reign and answers everything that waits. Every later request is answered
    /// with [`RequestError::Stopped`]. Stopping twice is harmless.
    pub fn stop(&mut self, now: Instant) {
        let now = self.set_clock(now);
        if !self.stopped {
            self.abdicate(now);
            for role_change in core::mem::take(&mut self.role_changes) {
                self.fail(role_change.ticket, RequestError::Stopped);
            }
            self.backlog.clear();
            self.applying = None;
            self.undecided.clear();
            self.changes.clear();
            self.stopped = true;
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if there is nothing to wait for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lessor = self.lessor.poll_timeout();
        let waiting = self.waiting.front().map(|waiting| waiting.deadline);
        let role_change = self.role_changes.front().map(|role_change| role_change.deadline);
        let unset = self.unsetting.front().map(|(deadline, _)| *deadline);
        let subscriber = self.subscriber_hold.until();
        let deadlines =
            [lessor, self.give_up, waiting, role_change, unset, subscriber].into_iter().flatten();
        let deadlines = deadlines.filter(|_| !self.stopped);
        deadlines.chain(self.outputs.poll_timeout()).min().filter(|at| *at < Instant::MAX)
    }

    /// Returns the next output, which the host must carry out. An answer is held back until everything it
    /// tells of is durable, and a commit while another one is under way.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.poll()
    }

    /// The outputs that the host has not taken yet, also those that are held back: first the commits, then
    /// the others in the order in which they were decided.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter()
    }

    /// Whether no request waits for the log. A renew that waits for the revoke of its lease does not count,
    /// because the revoke may never be committed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.iter().all(|pending| pending.asked.is_none())
            && self.waiting.iter().all(|waiting| matches!(waiting.task, Task::Revoke(_)))
            && self.role_changes.is_empty()
            && self.renewing.values().all(|renewing| renewing.deadline.is_none())
    }

    /// Whether this member was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The lessor of this member.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// Whether this member leads and has promoted its lessor.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.lessor.is_primary()
    }

    /// The term in which this member leads, whether its lessor is promoted yet or not.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.reign.map(|reign| reign.term)
    }

    /// The index of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The whole replicated state, for a member that is far behind. `None` while an entry is half applied.
    #[must_use]
    pub fn state(&self) -> Option<StateAt> {
        let snapshot = self.applying.is_none().then(|| self.lessor.snapshot())?;
        Some(StateAt { applied: self.applied, snapshot })
    }

    /// What the latest piece of the log came to.
    #[cfg(feature = "metrics")]
    pub(crate) fn tally(&mut self) -> &mut crate::tally::Tally {
        &mut self.tally
    }

    /// How many renews wait inside the lessor.
    #[cfg(feature = "metrics")]
    pub(crate) fn renews_waiting(&self) -> usize {
        self.renewing.len()
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
        self.drain_local_effects(now);
        self.answer_role_changes(true);
    }

    /// Ends the reign, if there is one.
    fn abdicate(&mut self, now: Instant) {
        let Some(reign) = self.reign.take() else { return };
        self.left = Some(reign.term);
        self.lessor.demote(now);
        self.drain_local_effects(now);
        self.unsetting.clear();
        self.kept.clear();
        for pending in core::mem::take(&mut self.pending) {
            if let Some((ticket, _)) = pending.asked {
                self.fail(ticket, RequestError::Unknown);
            }
        }
        self.confirming = false;
        self.unconfirmed = self.confirmation + 1;
        for waiting in core::mem::take(&mut self.waiting) {
            if let Task::Request(ticket, _) = waiting.task {
                self.fail(ticket, self.not_primary());
            }
        }
        self.answer_role_changes(false);
    }

    fn accept(&mut self, now: Instant, asker: Asked, request: Request) {
        let Asked { ticket, asked, deadline } = asker;
        if self.stopped {
            return self.fail(ticket, RequestError::Stopped);
        }
        if matches!(request, Request::Promote | Request::Demote) {
            return self.change_role(now, asker, request == Request::Promote);
        }
        if !self.is_primary() {
            return self.fail(ticket, self.not_primary());
        }
        if let Some(refusal) = refusal(&request) {
            return self.fail(ticket, refusal.into());
        }
        let done = Success::Applied;
        match request {
            // The id is in use here. Were the grant proposed, a revoke that is on its way for the old
            // lease could be followed by the grant and then by a second, repeated revoke, which would
            // end the new lease. So that is a read.
            Request::Grant { id: Some(id), .. } if self.lessor.lookup(id).is_some() => {
                self.queue_task(asked, deadline, Task::Request(ticket, request));
            }
            Request::Grant { id, ttl } => {
                let id = id.unwrap_or_else(|| self.pick_id());
                let ttl = ttl.max(self.min_ttl);
                let granted = Success::Granted { id, ttl };
                self.propose(deadline, Command::Grant { id, ttl }, Some((ticket, granted)));
            }
            // A read for the same reason.
            Request::GrantOnce { request: of, .. } if self.lessor.lookup(of.lease()).is_some() => {
                self.queue_task(asked, deadline, Task::Request(ticket, request));
            }
            Request::GrantOnce { request, ttl } => {
                let id = request.lease();
                let ttl = ttl.max(self.min_ttl);
                let granted = Success::GrantedOnce { id, ttl };
                self.propose(deadline, Command::Grant { id, ttl }, Some((ticket, granted)));
            }
            Request::Revoke { id } => {
                self.propose(deadline, Command::Revoke { id }, Some((ticket, done)));
            }
            Request::Attach { id, items } => {
                self.propose(deadline, Command::Attach { id, items }, Some((ticket, done)));
            }
            Request::Detach { id, items } => {
                self.propose(deadline, Command::Detach { id, items }, Some((ticket, done)));
            }
            Request::Claim { id, items } => {
                self.propose(deadline, Command::Claim { id, items }, Some((ticket, done)));
            }
            Request::Renew { .. }
            | Request::Lookup { .. }
            | Request::TimeToLive { .. }
            | Request::Items { .. }
            | Request::Leases { .. }
            | Request::LeaseOf { .. } => {
                self.queue_task(asked, deadline, Task::Request(ticket, request));
            }
            Request::Promote | Request::Demote => unreachable!("taken above"),
        }
    }

    fn change_role(&mut self, now: Instant, asker: Asked, promote: bool) {
        let Asked { ticket, deadline, .. } = asker;
        if promote && self.is_primary() {
            self.lessor.promote(now, self.extend);
            self.drain_local_effects(now);
            return self.done(ticket);
        }
        if !promote && self.reign.is_none() {
            return self.done(ticket);
        }
        self.role_changes.push_back(RoleChange { deadline, ticket, promote });
        self.outputs.push(if promote { Output::Campaign } else { Output::Resign });
    }

    fn answer_role_changes(&mut self, promoted: bool) {
        for role_change in core::mem::take(&mut self.role_changes) {
            if role_change.promote == promoted {
                self.done(role_change.ticket);
            } else {
                self.role_changes.push_back(role_change);
            }
        }
    }

    fn propose(&mut self, deadline: Instant, command: Command, asked: Option<(Ticket, Success)>) {
        let reign = self.reign.expect("only a primary proposes");
        self.sequence += 1;
        let (term, sequence) = (reign.term, self.sequence);
        if asked.is_some() {
            self.give_up = Some(self.give_up.map_or(deadline, |first| first.min(deadline)));
        }
        self.pending.push_back(Pending { sequence, deadline, asked });
        self.outputs.push(Output::Propose(Proposal { term, sequence, command }));
    }

    /// Whether a command is of so many items that it is worked off in pieces.
    fn is_large(&self, command: &Command) -> bool {
        let items = match command {
            Command::Attach { items, .. }
            | Command::Detach { items, .. }
            | Command::Claim { items, .. } => items.len(),
            Command::Revoke { id } => self.lessor.lookup(*id).map_or(0, |lease| lease.items),
            Command::Grant { .. } | Command::Checkpoint { .. } => 0,
        };
        items > self.piece as usize
    }

    /// Commits what was applied after `before`, and runs what waited for it.
    fn commit_applied(&mut self, now: Instant, before: LogIndex) {
        if self.applied > before {
            self.commit(before, false);
            self.promote_if_ready(now);
            self.run_ready_tasks(now);
        }
    }

    /// The next entry is applied as a whole.
    fn finish_entry(&mut self, term: Term, sequence: u64, result: Result<(), Error>) {
        self.applied = self.applied.next();
        self.complete_proposals(term, sequence, result);
    }

    /// Answers a proposal that was applied. Those of the same reign before it that are still pending
    /// were lost, because a log keeps the order of one leader's proposals.
    fn complete_proposals(&mut self, term: Term, sequence: u64, result: Result<(), Error>) {
        if self.term() != Some(term) {
            return;
        }
        while self.pending.front().is_some_and(|pending| pending.sequence <= sequence) {
            let Some(pending) = self.pending.pop_front() else { break };
            let Some((ticket, success)) = pending.asked else { continue };
            if pending.sequence < sequence {
                self.fail(ticket, RequestError::Unknown);
            } else {
                let answer = self.answer_to(success, result);
                self.outputs.answer(ticket, answer, self.applied, pending.deadline);
            }
        }
        self.give_up.take_if(|_| self.pending.is_empty());
    }

    /// The answer to the change that was applied last.
    fn answer_to(
        &self,
        success: Success,
        result: Result<(), Error>,
    ) -> Result<Response, RequestError> {
        let index = self.applied;
        match (success, result) {
            (Success::Granted { id, ttl } | Success::GrantedOnce { id, ttl }, Ok(())) => {
                Ok(Response::Granted { id, ttl, index })
            }
            // An earlier asking was on its way.
            (Success::GrantedOnce { id, .. }, Err(Error::LeaseExists)) => self.found(id),
            (Success::Applied, Ok(())) => Ok(Response::Applied { index }),
            (_, Err(refusal)) => Err(refusal.into()),
        }
    }

    /// The answer to a grant whose lease was there already, as it was meant to be.
    fn found(&self, id: LeaseId) -> Result<Response, RequestError> {
        let found = self.lessor.lookup(id).ok_or(Error::LeaseNotFound)?;
        Ok(Response::Granted { id, ttl: found.record.ttl, index: self.applied })
    }

    /// Answers as unknown what was proposed for somebody who must wait no longer.
    fn give_up_proposals(&mut self, now: Instant) {
        if self.give_up.is_none_or(|first| first > now) {
            return;
        }
        let late = |pending: &Pending| pending.deadline <= now;
        let late = self.pending.iter_mut().filter(|pending| late(pending));
        let late: Vec<Ticket> = late.filter_map(|pending| Some(pending.asked.take()?.0)).collect();
        for ticket in late {
            self.fail(ticket, RequestError::Unknown);
        }
        let open = self.pending.iter().filter(|pending| pending.asked.is_some());
        self.give_up = open.map(|pending| pending.deadline).min();
    }

    /// Has a task wait until a question that is asked from now on is answered.
    fn queue_task(&mut self, asked: Instant, deadline: Instant, task: Task) {
        let waits_for = WaitsFor::Confirmation(self.confirmation + 1);
        self.waiting.push_back(WaitingTask { asked, deadline, waits_for, task });
        self.confirm_if_waiting();
    }

    /// Asks whether this member leads if something waits for that and no question is on its way.
    fn confirm_if_waiting(&mut self) {
        let waits = |waiting: &WaitingTask| matches!(waiting.waits_for, WaitsFor::Confirmation(_));
        if !self.confirming && self.waiting.back().is_some_and(waits) {
            self.confirming = true;
            self.confirmation += 1;
            self.outputs.push(Output::Confirm(Confirmation(self.confirmation)));
        }
    }

    /// Runs the tasks that wait for nothing any more.
    fn run_ready_tasks(&mut self, now: Instant) {
        let mut position = 0;
        while let Some(waiting) = self.waiting.get(position)
            && let WaitsFor::Applied(index) = waiting.waits_for
            && (index <= self.applied || self.applying.is_some())
        {
            if self.applying.is_some() && !self.goes_beside(waiting, index)
                || !self.lists(now, position)
            {
                position += 1;
                continue;
            }
            let Some(waiting) = self.waiting.remove(position) else { break };
            match waiting.task {
                Task::Request(ticket, request) => {
                    let (asked, deadline) = (waiting.asked, waiting.deadline);
                    self.serve(now, Asked { ticket, asked, deadline }, request);
                }
                Task::Revoke(batch) => {
                    for id in batch.leases {
                        // Meanwhile it may be gone, and its id even granted anew.
                        if self.lessor.remaining(now, id) == Some(Duration::ZERO) {
                            self.propose(Instant::MAX, Command::Revoke { id }, None);
                        }
                    }
                }
            }
        }
    }

    /// Whether this is no listing that waits until the leases are in its order.
    fn lists(&mut self, now: Instant, position: usize) -> bool {
        match self.waiting.get(position).map(|waiting| &waiting.task) {
            Some(&Task::Request(_, Request::Leases { order, .. })) => {
                self.lessor.put_in_order(now, order)
            }
            Some(_) | None => true,
        }
    }

    /// Whether this waits neither for the command that is applied in part nor for what is behind it. A
    /// renew does for what decides on its lease; nothing else that may be there bears on it.
    fn goes_beside(&self, waiting: &WaitingTask, index: LogIndex) -> bool {
        match &waiting.task {
            Task::Request(_, Request::Renew { id }) => {
                index <= self.applied || !self.undecided.contains(id)
            }
            Task::Request(..) | Task::Revoke(_) => index <= self.applied && !waiting.reads_items(),
        }
    }

    /// Serves a request whose leadership is confirmed.
    fn serve(&mut self, now: Instant, asker: Asked, request: Request) {
        let Asked { ticket, deadline, .. } = asker;
        let (response, after) = match request {
            Request::Renew { id } => return self.renew(now, asker, id),
            Request::Lookup { id } => {
                (Response::Lookup(self.status(now, id)), self.outputs.touched(id))
            }
            Request::TimeToLive { id } => {
                (Response::TimeToLive(self.time_to_live(now, id)), self.outputs.touched(id))
            }
            Request::Items { id, after, limit } => {
                let is_there = self.lessor.lookup(id).is_some();
                let page = self.lessor.items_after(id, after.as_ref()).take(limit);
                let items = is_there.then(|| page.cloned().collect());
                (Response::Items(items), self.outputs.touched(id))
            }
            Request::Leases { order, after, limit } => {
                (Response::Leases(self.lessor.leases(order, after.as_ref(), limit)), self.applied)
            }
            Request::LeaseOf { item } => {
                let holder = self.lessor.lease_of(&item);
                let after = holder.map_or(self.outputs.detached(), |id| self.outputs.touched(id));
                (Response::LeaseOf(holder), after)
            }
            Request::Grant { id: Some(id), .. } if self.lessor.lookup(id).is_some() => {
                let after = self.outputs.touched(id);
                let exists = Err(Error::LeaseExists.into());
                return self.outputs.answer(ticket, exists, after, deadline);
            }
            Request::GrantOnce { request: of, .. } if self.lessor.lookup(of.lease()).is_some() => {
                // It speaks of the index where it stands.
                return self.outputs.answer(ticket, self.found(of.lease()), self.applied, deadline);
            }
            Request::Grant { .. }
            | Request::GrantOnce { .. }
            | Request::Revoke { .. }
            | Request::Attach { .. }
            | Request::Detach { .. }
            | Request::Claim { .. }
            | Request::Promote
            | Request::Demote => return self.accept(now, asker, request),
        };
        self.outputs.answer(ticket, Ok(response), after, deadline);
    }

    fn renew(&mut self, now: Instant, asker: Asked, id: LeaseId) {
        let Asked { ticket, asked, deadline } = asker;
        self.kept.remove(&id);
        if let Some(ttl) = self.lessor.renew_at_once(now, id) {
            let after = self.outputs.touched(id);
            return self.outputs.answer(ticket, Ok(Response::Renewed { ttl }), after, deadline);
        }
        self.renewing.insert(ticket, Renewing { id, deadline: Some(deadline) });
        self.lessor.renew_asked(now, asked, ticket, id);
        self.drain_local_effects(now);
        let Some(renewing) = self.renewing.get_mut(&ticket) else { return };
        if self.lessor.is_expired(id) {
            renewing.deadline = None;
            self.outputs.push(Output::Waits(ticket));
        } else {
            // Renews are not always worked off in the order in which they came.
            let position = self.unsetting.partition_point(|(other, _)| *other <= deadline);
            self.unsetting.insert(position, (deadline, ticket));
        }
    }

    fn time_to_live(&self, now: Instant, id: LeaseId) -> Option<TimeToLive> {
        let Lease { record, items, .. } = self.lessor.lookup(id)?;
        let remaining = self.lessor.remaining(now, id)?;
        Some(TimeToLive { record, remaining, items })
    }

    fn status(&self, now: Instant, id: LeaseId) -> Option<LeaseStatus> {
        let lease = self.lessor.lookup(id)?;
        let remaining = self.lessor.remaining(now, id)?;
        let items = self.lessor.items(id).cloned().collect();
        Some(LeaseStatus { record: lease.record, remaining, items })
    }

    /// Hands on the effects of the lessor outside of an apply, where there is nothing to commit.
    fn drain_local_effects(&mut self, now: Instant) {
        self.drain_effects(now);
        let entry = self.applying.is_some();
        assert!(entry || self.changes.is_empty(), "only an applied entry changes what is stored");
    }

    /// Hands on the effects of the lessor.
    fn drain_effects(&mut self, now: Instant) {
        while let Some(effect) = self.lessor.poll_effect() {
            #[cfg(feature = "metrics")]
            self.tally.see(&effect);
            match effect {
                Effect::Write(write) => self.changes.push(Change::Write(write)),
                Effect::RangeDelete(delete) => self.changes.push(Change::RangeDelete(delete)),
                Effect::Expired(batch) => self.expired(now, batch),
                Effect::Checkpoint(checkpoints) => {
                    self.propose(Instant::MAX, Command::Checkpoint { checkpoints }, None);
                }
                Effect::Renewed { ticket, result } => self.renewed(now, ticket, result),
            }
        }
    }

    /// Shows and revokes what has expired, but for leases whose renew is being worked on and came in
    /// time.
    fn expired(&mut self, now: Instant, mut batch: ExpiredBatch) {
        let in_time = self.waiting.iter().filter_map(|waiting| {
            let Task::Request(_, Request::Renew { id }) = waiting.task else { return None };
            let expiry = self.lessor.lookup(id)?.expiry?;
            (expiry > waiting.asked).then_some(id)
        });
        let in_time: BTreeSet<LeaseId> = in_time.collect();
        self.kept.extend(batch.leases.extract_if(.., |id| in_time.contains(id)));
        if !batch.leases.is_empty() {
            self.outputs.push(Output::Expired(batch.clone()));
            self.queue_task(now, now.saturating_add(self.request_timeout), Task::Revoke(batch));
        }
    }

    /// A renew that waited is given up. A lease that was kept for it leaves, unless another renew of it waits.
    fn give_up_renew(&mut self, task: &Task) {
        let Task::Request(_, Request::Renew { id }) = task else { return };
        let renews = |waiting: &WaitingTask| waiting.renews(*id);
        if !self.waiting.iter().any(renews) && self.kept.remove(id) {
            self.lessor.let_go(*id);
        }
    }

    fn renewed(&mut self, now: Instant, ticket: Ticket, result: Result<Ttl, Error>) {
        let renewing =
            self.renewing.remove(&ticket).expect("every renew is noted before it is made");
        let answer = match result {
            Ok(ttl) => Ok(Response::Renewed { ttl }),
            Err(Error::NotPrimary) => return self.fail(ticket, self.not_primary()),
            Err(error) => Err(error.into()),
        };
        let after = self.outputs.touched(renewing.id);
        let patience = now.saturating_add(self.request_timeout);
        self.outputs.answer(ticket, answer, after, renewing.deadline.unwrap_or(patience));
    }

    /// Asks for a commit of the changes, or adds them to one that the host has not taken yet: what
    /// gathers while a commit is on its way to the disk shares the next one.
    fn commit(&mut self, after: LogIndex, reset: bool) {
        let changes = core::mem::take(&mut self.changes);
        let digest = self.lessor.digest();
        self.outputs.commit(Transaction { after, applied: self.applied, digest, reset, changes });
    }

    fn done(&mut self, ticket: Ticket) {
        self.outputs.answer_now(ticket, Ok(Response::Done));
    }

    fn fail(&mut self, ticket: Ticket, error: RequestError) {
        self.outputs.answer_now(ticket, Err(error));
    }

    fn not_primary(&self) -> RequestError {
        RequestError::NotPrimary { leader: self.leader }
    }

    /// An id that no lease has. It follows from the term and the number of the proposal, which no two
    /// grants share, so an id whose lease is gone does not come again; and from the salt, which no two
    /// engines share.
    fn pick_id(&self) -> LeaseId {
        let term = self.reign.map_or(0, |reign| reign.term.0);
        let mut number = mix(mix(self.id_salt, term), self.sequence);
        loop {
            let id = LeaseId::new((number >> 1).cast_signed());
            match id.filter(|id| self.lessor.lookup(*id).is_none()) {
                Some(id) => return id,
                None => number = mix(number, term),
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct Reign {
    term: Term,
    barrier: LogIndex,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct Pending {
    sequence: u64,
    deadline: Instant,
    /// Who asked, and what to answer if it succeeds.
    asked: Option<(Ticket, Success)>,
}

/// What is answered to a change that succeeds, but for its index.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
enum Success {
    Granted {
        id: LeaseId,
        ttl: Ttl,
    },
    /// The same, and that the lease is there already is a success too.
    GrantedOnce {
        id: LeaseId,
        ttl: Ttl,
    },
    Applied,
}

/// A task that waits, and since when.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct WaitingTask {
    asked: Instant,
    /// When it is given up.
    deadline: Instant,
    waits_for: WaitsFor,
    task: Task,
}

/// A renew that waits inside the lessor.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct Renewing {
    id: LeaseId,
    /// When it is given up; `None` if it waits for the revoke, which it does for as long as it takes.
    deadline: Option<Instant>,
}

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
enum WaitsFor {
    Confirmation(u64),
    Applied(LogIndex),
}

/// What is done as soon as this member is known to lead still.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
enum Task {
    Request(Ticket, Request),
    Revoke(ExpiredBatch),
}

/// Whether expired batches wait for a subscriber.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
enum SubscriberHold {
    None,
    Until(Instant),
    /// They did for long enough.
    Ended,
}

impl SubscriberHold {
    fn until(self) -> Option<Instant> {
        match self {
            Self::Until(until) => Some(until),
            Self::None | Self::Ended => None,
        }
    }
}

/// A change of the role that was asked for.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct RoleChange {
    deadline: Instant,
    ticket: Ticket,
    /// Whether to promote; else to demote.
    promote: bool,
}

impl WaitingTask {
    /// Whether it shows items, which may be neither as before nor as after while a command is applied.
    fn reads_items(&self) -> bool {
        match &self.task {
            Task::Revoke(_) => false,
            Task::Request(_, request) => match request {
                Request::Lookup { .. }
                | Request::TimeToLive { .. }
                | Request::Items { .. }
                | Request::Leases { .. }
                | Request::LeaseOf { .. } => true,
                Request::Grant { .. }
                | Request::GrantOnce { .. }
                | Request::Revoke { .. }
                | Request::Renew { .. }
                | Request::Attach { .. }
                | Request::Detach { .. }
                | Request::Claim { .. }
                | Request::Promote
                | Request::Demote => false,
            },
        }
    }

    fn renews(&self, id: LeaseId) -> bool {
        matches!(self.task, Task::Request(_, Request::Renew { id: of }) if of == id)
    }

    fn is_asked_by(&self, ticket: Ticket) -> bool {
        matches!(self.task, Task::Request(asked, _) if asked == ticket)
    }
}

/// Who has asked, when, and until when there must be an answer.
#[derive(Clone, Copy)]
struct Asked {
    ticket: Ticket,
    asked: Instant,
    deadline: Instant,
}
