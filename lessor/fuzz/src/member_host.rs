//! A host of a member over a log that keeps its contract and nothing more: proposals are lost, come
//! late and in another term, entries are repeated, leadership goes without a word, disks are slow.
//!
//! What the log means is folded by a bare core beside it, which also says which entry changed a lease
//! or an item last: an answer that speaks of it must not leave before that is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use arbitrary::Arbitrary;
use lessor::backend::{Backend, MemoryBackend};
use lessor::{
    Command, Config, Confirmation, Effect, Entry, Error, Instant, Item, LeaseId, LeaseOrder,
    Lessor, LogIndex, Member, MemberId, MemberInput, Output, Proposal, Request, RequestError,
    RequestId, Response, Role, StateAt, Term, Ticket, Transaction, Write,
};

use crate::Planted;
use crate::choices::{Id, Items, Order, Pass, Settings, Span};

/// What happens to a member.
#[derive(Arbitrary, Debug)]
pub struct Life {
    settings: Settings,
    steps: Vec<(Pass, Act)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Act {
    Ask(Ask),
    /// The log does at once all that it is asked for.
    Settle,
    /// The log takes the oldest proposals, in whatever term it is.
    Take(u8),
    Lose,
    /// The member is handed entries, a few of them again.
    Deliver {
        count: u8,
        again: u8,
    },
    /// It is elected, loses its leadership, and learns of it.
    Elect,
    Depose,
    Follow(Option<u8>),
    /// Another leader's proposal is in the log.
    Foreign(Order),
    /// One of the questions whether it leads is answered, or lost.
    Confirm(u8),
    LoseQuestion,
    Install,
    /// It does another piece of what was committed.
    GoOn,
    /// Whoever made one of the open requests gives it up.
    Forget(u8),
    Hold(bool),
    Timeout,
    /// From here on the disk takes its time, or no longer.
    Slow(bool),
    /// The commit on its way is done.
    Persist,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ask {
    Grant(Option<Id>, Span),
    Revoke(Id),
    Renew(Id),
    Attach(Id, Items),
    Detach(Id, Items),
    Claim(Id, Items),
    GrantOnce(u8, Span),
    Lookup(Id),
    TimeToLive(Id),
    Items(Id, u8),
    Leases { by_expiry: bool, limit: u8 },
    LeaseOf(Items),
    Promote,
    Demote,
}

pub(crate) fn run(life: &Life, planted: Planted) {
    let mut host = Host::new(&life.settings.config(), planted);
    for (pass, act) in &life.steps {
        // A member is promised a clock that does not go back.
        host.clock = pass.from(host.clock, host.member.poll_timeout()).max(host.clock);
        host.act(*act);
    }
    host.slow = false;
    host.call(MemberInput::Stop);
    assert!(host.open.is_empty(), "requests without an answer after a stop: {:?}", host.open);
    assert_eq!(host.member.poll_timeout(), None, "who is stopped waits for nothing");
}

struct Host {
    member: Member,
    /// Is given the same calls.
    twin: Member,
    /// All that the member was handed, folded.
    folded: Lessor,
    /// What each entry has changed, from the first one on.
    changed: Vec<Changed>,
    store: MemoryBackend,
    slow: bool,
    committing: Option<Transaction>,
    patience: Duration,
    clock: Instant,
    log: Vec<Entry>,
    delivered: usize,
    term: u64,
    leads: bool,
    /// The last entry of a term before the one in which it was elected last.
    barrier: LogIndex,
    on_its_way: VecDeque<Proposal>,
    questions: VecDeque<Confirmation>,
    tickets: u64,
    open: BTreeMap<Ticket, Asked>,
    proposed: Option<(Term, u64)>,
    planted: Planted,
}

impl Host {
    fn new(config: &Config, planted: Planted) -> Self {
        let member = || Member::new(config, &StateAt::default()).expect("nothing is wrong with it");
        Self {
            member: member(),
            twin: member(),
            folded: Lessor::new(&Config::default()),
            changed: Vec::new(),
            store: MemoryBackend::new(),
            slow: false,
            committing: None,
            patience: config.request_timeout,
            clock: Instant::ZERO,
            log: Vec::new(),
            delivered: 0,
            term: 0,
            leads: false,
            barrier: LogIndex(0),
            on_its_way: VecDeque::new(),
            questions: VecDeque::new(),
            tickets: 0,
            open: BTreeMap::new(),
            proposed: None,
            planted,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Ask(ask) => {
                let ticket = Ticket(self.tickets);
                self.tickets += 1;
                let deadline = self.clock.saturating_add(self.patience);
                let asked = Asked { request: ask.request(), deadline, speaks_of: None };
                self.open.insert(ticket, asked);
                self.call(MemberInput::Request { ticket, request: ask.request() });
            }
            Act::Settle => {
                self.take(usize::MAX);
                self.deliver(usize::MAX, 0);
                while self.member.is_applying() {
                    self.call(MemberInput::GoOn);
                }
                while let Some(confirmation) = self.questions.pop_front() {
                    self.confirm(confirmation);
                }
            }
            Act::Take(count) => self.take(count.into()),
            Act::Lose => drop(self.on_its_way.pop_front()),
            Act::Deliver { count, again } => self.deliver(count.into(), again.into()),
            Act::Elect => {
                self.term += 1;
                self.leads = true;
                let (term, barrier) = (Term(self.term), self.last());
                self.barrier = barrier;
                self.append(None);
                self.call(MemberInput::Role(Role::Leader { term, barrier }));
            }
            Act::Depose => self.depose(),
            Act::Follow(leader) => {
                self.depose();
                let leader = leader.map(|number| MemberId(number.into()));
                self.call(MemberInput::Role(Role::Follower { leader }));
            }
            Act::Foreign(order) => {
                let (term, sequence) = (Term(self.term), self.log.len() as u64);
                if !self.leads {
                    self.append(Some(Proposal { term, sequence, command: order.command() }));
                }
            }
            Act::Confirm(position) => {
                let position = usize::from(position) % self.questions.len().max(1);
                if let Some(confirmation) = self.questions.remove(position) {
                    self.confirm(confirmation);
                }
            }
            Act::LoseQuestion => drop(self.questions.pop_front()),
            Act::Install => {
                self.fold_to(self.log.len());
                let snapshot = self.folded.snapshot();
                self.call(MemberInput::Installed(StateAt { applied: self.last(), snapshot }));
            }
            Act::GoOn => self.call(MemberInput::GoOn),
            Act::Forget(position) => {
                let position = usize::from(position) % self.open.len().max(1);
                let ticket = self.open.keys().nth(position).copied();
                if let Some(ticket) = ticket {
                    self.open.remove(&ticket);
                    if self.planted != Planted::ForgottenAnswer {
                        self.call(MemberInput::Forget(ticket));
                    }
                }
            }
            Act::Hold(hold) => self.call(MemberInput::HoldExpired(hold)),
            Act::Timeout => {
                if self.planted != Planted::LateAnswer {
                    self.call(MemberInput::Timeout);
                }
                self.nobody_waits_too_long();
                let next = self.member.poll_timeout();
                let now = self.clock.min(Instant::from_nanos(u64::MAX - 1));
                assert!(next.is_none_or(|at| at > now), "{next:?} comes next at {now}");
            }
            Act::Slow(slow) => {
                self.slow = slow;
                self.drain();
            }
            Act::Persist => {
                self.persist();
                self.drain();
            }
        }
    }

    fn last(&self) -> LogIndex {
        LogIndex(self.log.len() as u64)
    }

    fn append(&mut self, proposal: Option<Proposal>) {
        self.log.push(Entry { index: self.last().next(), term: Term(self.term), proposal });
    }

    /// Somebody else leads.
    fn depose(&mut self) {
        self.term += 1;
        self.leads = false;
    }

    /// The log takes this many proposals and one more.
    fn take(&mut self, count: usize) {
        let count = self.on_its_way.len().min(count.saturating_add(1));
        for proposal in self.on_its_way.drain(..count).collect::<Vec<_>>() {
            self.append(Some(proposal));
        }
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        let committed = self.leads.then(|| self.last());
        self.call(MemberInput::Confirmed { confirmation, committed });
    }

    fn deliver(&mut self, count: usize, again: usize) {
        let from = self.delivered.saturating_sub(again);
        let to = self.delivered.saturating_add(count).saturating_add(1).min(self.log.len());
        let mut entries = self.log[from..to].to_vec();
        if self.planted == Planted::AnyTerm {
            for entry in &mut entries {
                let term = entry.term;
                entry.proposal.iter_mut().for_each(|proposal| proposal.term = term);
            }
        }
        self.fold_to(to);
        self.call(MemberInput::Committed(entries));
    }

    fn fold_to(&mut self, to: usize) {
        for entry in &self.log[self.delivered..to] {
            let proposal = entry.proposal.as_ref().filter(|proposal| proposal.term == entry.term);
            let changed = proposal.map(|proposal| Changed::by(&mut self.folded, &proposal.command));
            self.changed.push(changed.unwrap_or_default());
        }
        self.delivered = to;
    }

    fn call(&mut self, input: MemberInput) {
        self.input(input);
        self.drain();
    }

    fn input(&mut self, input: MemberInput) {
        assert_eq!(self.twin.handle_input(self.clock, input.clone()), Ok(()));
        assert_eq!(self.member.handle_input(self.clock, input), Ok(()));
        assert!(self.twin.outputs().eq(self.member.outputs()), "equal calls have equal outputs");
        assert_eq!(self.twin.poll_timeout(), self.member.poll_timeout(), "the twin's timeout");
        self.member.lessor().check();
        if !self.member.is_applying() && !self.member.is_stopped() {
            let applied = self.member.applied().0;
            assert_eq!(applied, self.delivered as u64, "it applies what it is handed");
            let digest = self.member.lessor().digest();
            assert_eq!(digest, self.folded.digest(), "it is what the log means");
        }
        let may_reign = self.member.applied() >= self.barrier;
        assert!(may_reign || !self.member.is_primary(), "it is promoted before {}", self.barrier);
        self.look_at_outputs();
    }

    /// Of earlier outputs only answers and a commit are left.
    fn look_at_outputs(&mut self) {
        let applied = self.member.applied();
        for output in self.member.outputs() {
            let decides = matches!(output, Output::Propose(_) | Output::Confirm(_));
            let expires = matches!(output, Output::Expired(_));
            assert!(!decides && !expires || self.member.is_primary(), "{output:?} of no primary");
            let Output::Answer { ticket, answer } = output else { continue };
            if let Some(asked) = self.open.get_mut(ticket)
                && asked.speaks_of.is_none()
            {
                let subject = Subject::of(&asked.request, answer);
                asked.speaks_of = Some(subject.changed_last(&self.changed, applied));
            }
        }
    }

    /// Does what the member says, and commits unless the disk is slow.
    fn drain(&mut self) {
        loop {
            let mut outputs = Vec::new();
            while let Some(output) = self.member.poll_output() {
                assert_eq!(self.twin.poll_output().as_ref(), Some(&output));
                outputs.push(output);
            }
            assert_eq!(self.twin.poll_output(), None, "the twin has no more outputs either");
            self.plant(&mut outputs);
            for output in outputs {
                self.obey(output);
            }
            if self.slow || self.committing.is_none() {
                break;
            }
            self.persist();
        }
        if self.committing.is_some() || self.member.is_applying() || self.member.is_stopped() {
            return;
        }
        assert_eq!(self.member.outputs().next(), None, "nothing waits any more");
        let stored = self.store.load().expect("it is in memory");
        let state = self.member.state().expect("nothing is applied in part");
        assert_eq!((stored.applied, stored.snapshot), (state.applied, state.snapshot), "stored");
        assert_eq!(stored.digest, self.member.lessor().digest(), "the digest that is stored");
    }

    /// The commit on its way is done.
    fn persist(&mut self) {
        let Some(transaction) = self.committing.take() else { return };
        let applied = transaction.applied;
        if self.planted == Planted::AnswerBeforeCommit {
            self.input(MemberInput::Persisted(applied));
            while let Some(output) = self.member.poll_output() {
                self.obey(output);
            }
        }
        self.store.commit(transaction).expect("it follows the one before");
        self.input(MemberInput::Persisted(applied));
    }

    /// Whatever a disk or a log does, an answer comes in time, but to a renew that waits for a revoke.
    fn nobody_waits_too_long(&self) {
        let late = |asked: &&Asked| asked.deadline <= self.clock && asked.deadline < Instant::MAX;
        assert_eq!(self.open.values().find(late), None, "there is no answer at {}", self.clock);
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Propose(proposal) => {
                let number = (proposal.term, proposal.sequence);
                assert!(self.proposed < Some(number), "{number:?} behind {:?}", self.proposed);
                self.proposed = Some(number);
                self.on_its_way.push_back(proposal);
            }
            Output::Confirm(confirmation) => self.questions.push_back(confirmation),
            Output::Commit(transaction) => {
                let before = self.committing.replace(transaction);
                assert_eq!(before, None, "one commit at a time");
            }
            Output::Waits(ticket) => {
                let Some(asked) = self.open.get_mut(&ticket) else {
                    panic!("{ticket:?} waits though it is not open");
                };
                assert!(matches!(asked.request, Request::Renew { .. }), "{asked:?} waits");
                asked.deadline = Instant::MAX;
            }
            Output::Answer { ticket, answer } => {
                let Some(asked) = self.open.remove(&ticket) else {
                    panic!("{ticket:?} is answered though it is not open: {answer:?}");
                };
                if let Ok(Response::Applied { index }) = answer {
                    let position = usize::try_from(index.0).expect("it is an index of the log") - 1;
                    let there = self.log[position].proposal.as_ref();
                    let there = there.map(|proposal| proposal.command.clone());
                    assert_eq!(there, change(&asked.request), "what is at the index {index}");
                }
                let subject = Subject::of(&asked.request, &answer);
                let is_free = matches!(subject, Subject::Nothing);
                let speaks_of = asked.speaks_of.filter(|_| !is_free).unwrap_or_default();
                let stored = self.store.load().expect("it is in memory").applied;
                assert!(
                    speaks_of <= stored,
                    "{ticket:?} speaks of {speaks_of}, but the store stands at {stored}: {answer:?}"
                );
            }
            Output::Campaign | Output::Resign | Output::Expired(_) => {}
        }
    }

    fn plant(&self, outputs: &mut Vec<Output>) {
        match (self.planted, self.member.is_stopped()) {
            (Planted::LostAnswers, true) => {
                outputs.retain(|output| !matches!(output, Output::Answer { .. }));
            }
            (Planted::SecondProposal, _) => {
                let is_proposal = |output: &&Output| matches!(output, Output::Propose(_));
                let proposal = outputs.iter().find(is_proposal).cloned();
                outputs.extend(proposal);
            }
            (_, _) => {}
        }
    }
}

/// The command that a request becomes, if its answer is that it was applied.
fn change(request: &Request) -> Option<Command> {
    match request.clone() {
        Request::Revoke { id } => Some(Command::Revoke { id }),
        Request::Attach { id, items } => Some(Command::Attach { id, items }),
        Request::Detach { id, items } => Some(Command::Detach { id, items }),
        Request::Claim { id, items } => Some(Command::Claim { id, items }),
        Request::Grant { .. }
        | Request::GrantOnce { .. }
        | Request::Renew { .. }
        | Request::Lookup { .. }
        | Request::TimeToLive { .. }
        | Request::Items { .. }
        | Request::Leases { .. }
        | Request::LeaseOf { .. }
        | Request::Promote
        | Request::Demote => None,
    }
}

/// A request that has no answer yet.
#[derive(PartialEq, Debug)]
struct Asked {
    request: Request,
    /// When there must be an answer; the end of time if it may take as long as it likes.
    deadline: Instant,
    /// The entry that changed last what the answer speaks of, once it is decided.
    speaks_of: Option<LogIndex>,
}

/// What an answer speaks of.
#[derive(Debug)]
enum Subject<'a> {
    /// Nothing that is stored.
    Nothing,
    Lease(LeaseId),
    Item(&'a Item),
    Everything,
}

impl<'a> Subject<'a> {
    fn of(request: &'a Request, answer: &Result<Response, RequestError>) -> Self {
        match answer {
            Ok(Response::Granted { id, .. }) => return Self::Lease(*id),
            Err(RequestError::Refused(Error::ItemHeld(holder))) => return Self::Lease(*holder),
            Ok(_) | Err(RequestError::Refused(Error::LeaseExists | Error::LeaseNotFound)) => {}
            Err(RequestError::Refused(
                Error::NotPrimary | Error::TtlTooLarge | Error::EmptyItem,
            )) => {
                return Self::Nothing;
            }
            Err(
                RequestError::NotPrimary { .. } | RequestError::Unknown | RequestError::Stopped,
            ) => {
                return Self::Nothing;
            }
        }
        match request {
            Request::Grant { id, .. } => id.map_or(Self::Nothing, Self::Lease),
            Request::GrantOnce { request, .. } => Self::Lease(request.lease()),
            Request::Revoke { id }
            | Request::Claim { id, .. }
            | Request::Renew { id }
            | Request::Attach { id, .. }
            | Request::Detach { id, .. }
            | Request::Lookup { id }
            | Request::TimeToLive { id }
            | Request::Items { id, .. } => Self::Lease(*id),
            Request::LeaseOf { item } => Self::Item(item),
            Request::Leases { .. } => Self::Everything,
            // These are about a role.
            Request::Promote | Request::Demote => Self::Nothing,
        }
    }

    /// The last entry that changed it, of those up to `applied`.
    fn changed_last(&self, changed: &[Changed], applied: LogIndex) -> LogIndex {
        let changes = |changed: &Changed| match self {
            Self::Nothing => false,
            Self::Lease(id) => changed.leases.contains(id),
            Self::Item(item) => changed.items.contains(*item),
            Self::Everything => !changed.leases.is_empty(),
        };
        let until = usize::try_from(applied.0).expect("it is an index of the log");
        let last = changed[..until].iter().rposition(changes);
        last.map_or(LogIndex(0), |position| LogIndex(position as u64 + 1))
    }
}

/// The leases and the items that an entry has changed.
#[derive(Default, Debug)]
struct Changed {
    leases: BTreeSet<LeaseId>,
    items: BTreeSet<Item>,
}

impl Changed {
    /// Applies a command, and says what it has changed.
    fn by(folded: &mut Lessor, command: &Command) -> Self {
        let mut changed = Self::default();
        let items: &[Item] = match command {
            Command::Attach { items, .. }
            | Command::Detach { items, .. }
            | Command::Claim { items, .. } => items,
            Command::Grant { .. } | Command::Revoke { .. } | Command::Checkpoint { .. } => &[],
        };
        let holders: Vec<_> = items.iter().map(|item| folded.lease_of(item)).collect();
        // A refusal is as good as an answer.
        let _refused = folded.apply(Instant::ZERO, command.clone());
        for (item, holder) in items.iter().zip(holders) {
            if folded.lease_of(item) != holder {
                changed.leases.extend(holder);
            }
        }
        while let Some(effect) = folded.poll_effect() {
            match effect {
                Effect::Write(Write::PutLease(record)) => drop(changed.leases.insert(record.id)),
                Effect::Write(Write::DeleteLease(id)) => drop(changed.leases.insert(id)),
                Effect::Write(Write::PutItem(item, id)) => {
                    changed.items.insert(item);
                    changed.leases.insert(id);
                }
                Effect::Write(Write::DeleteItem(item)) => drop(changed.items.insert(item)),
                Effect::RangeDelete(delete) => changed.items.extend(delete.items),
                Effect::Expired(_) | Effect::Checkpoint(_) | Effect::Renewed { .. } => {
                    panic!("a follower only writes: {effect:?}")
                }
            }
        }
        changed
    }
}

impl Ask {
    fn request(self) -> Request {
        match self {
            Self::Grant(id, span) => Request::Grant { id: id.map(Id::lease), ttl: span.ttl() },
            Self::Revoke(id) => Request::Revoke { id: id.lease() },
            Self::Renew(id) => Request::Renew { id: id.lease() },
            Self::Attach(id, items) => Request::Attach { id: id.lease(), items: items.keys() },
            Self::Detach(id, items) => Request::Detach { id: id.lease(), items: items.keys() },
            Self::Claim(id, items) => Request::Claim { id: id.lease(), items: items.keys() },
            Self::GrantOnce(number, span) => {
                let request = RequestId(u64::from(number % 3));
                Request::GrantOnce { request, ttl: span.ttl() }
            }
            Self::Lookup(id) => Request::Lookup { id: id.lease() },
            Self::TimeToLive(id) => Request::TimeToLive { id: id.lease() },
            Self::Items(id, limit) => {
                Request::Items { id: id.lease(), after: None, limit: limit.into() }
            }
            Self::Leases { by_expiry, limit } => {
                let order = if by_expiry { LeaseOrder::Expiry } else { LeaseOrder::Id };
                Request::Leases { order, after: None, limit: limit.into() }
            }
            Self::LeaseOf(items) => Request::LeaseOf { item: items.one() },
            Self::Promote => Request::Promote,
            Self::Demote => Request::Demote,
        }
    }
}
