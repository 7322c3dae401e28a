//! A host of a member over a log that keeps its contract and nothing more: proposals are lost, come
//! late and in another term, entries are repeated, leadership goes without a word, disks are slow.
//!
//! What the log means is folded by a bare core beside it.

use std::collections::{BTreeMap, VecDeque};

use arbitrary::Arbitrary;
use lessor::backend::{Backend, MemoryBackend};
use lessor::{
    Config, Confirmation, Entry, Instant, LeaseOrder, Lessor, LogIndex, Member, MemberId,
    MemberInput, Output, Proposal, Request, RequestError, Role, StateAt, Term, Ticket,
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
    Hold(bool),
    Timeout,
    /// From here on its outputs wait for the disk, or no longer.
    Slow(bool),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ask {
    Grant(Option<Id>, Span),
    Revoke(Id),
    Renew(Id),
    Attach(Id, Items),
    Detach(Id, Items),
    Lookup(Id),
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
    store: MemoryBackend,
    slow: bool,
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
    open: BTreeMap<Ticket, Request>,
    /// What was applied when each output that still waits was made.
    waiting: VecDeque<LogIndex>,
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
            store: MemoryBackend::new(),
            slow: false,
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
            waiting: VecDeque::new(),
            proposed: None,
            planted,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Ask(ask) => {
                let ticket = Ticket(self.tickets);
                self.tickets += 1;
                self.open.insert(ticket, ask.request());
                self.call(MemberInput::Request { ticket, request: ask.request() });
            }
            Act::Settle => {
                self.take(usize::MAX);
                self.deliver(usize::MAX, 0);
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
            Act::Confirm(place) => {
                let place = usize::from(place) % self.questions.len().max(1);
                if let Some(confirmation) = self.questions.remove(place) {
                    self.confirm(confirmation);
                }
            }
            Act::LoseQuestion => drop(self.questions.pop_front()),
            Act::Install => {
                self.fold_to(self.log.len());
                let snapshot = self.folded.snapshot();
                self.call(MemberInput::Installed(StateAt { applied: self.last(), snapshot }));
            }
            Act::Hold(hold) => self.call(MemberInput::HoldExpired(hold)),
            Act::Timeout => {
                self.call(MemberInput::Timeout);
                let next = self.member.poll_timeout();
                let now = self.clock.min(Instant::from_nanos(u64::MAX - 1));
                assert!(next.is_none_or(|at| at > now), "{next:?} comes next at {now}");
            }
            Act::Slow(slow) => {
                self.slow = slow;
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
            if let Some(proposal) = proposal {
                // A refusal is as good as an answer.
                let _refused = self.folded.apply(Instant::ZERO, proposal.command.clone());
            }
        }
        self.delivered = to;
        while self.folded.poll_effect().is_some() {}
    }

    fn call(&mut self, input: MemberInput) {
        let before = self.member.outputs().count();
        assert_eq!(self.twin.handle_input(self.clock, input.clone()), Ok(()));
        assert_eq!(self.member.handle_input(self.clock, input), Ok(()));
        assert!(self.twin.outputs().eq(self.member.outputs()), "equal calls have equal outputs");
        assert_eq!(self.twin.poll_timeout(), self.member.poll_timeout(), "the twin's timeout");
        self.member.lessor().check();
        assert_eq!(self.member.applied().0, self.delivered as u64, "it applies what it is handed");
        assert_eq!(self.member.lessor().digest(), self.folded.digest(), "it is what the log means");
        let may_reign = self.member.applied() >= self.barrier;
        assert!(may_reign || !self.member.is_primary(), "it is promoted before {}", self.barrier);
        for output in self.member.outputs().skip(before) {
            let decides = matches!(output, Output::Propose(_) | Output::Confirm(_));
            let expires = matches!(output, Output::Expired(_));
            assert!(!decides && !expires || self.member.is_primary(), "{output:?} of no primary");
            self.waiting.push_back(self.member.applied());
        }
        self.drain();
    }

    fn drain(&mut self) {
        if self.slow {
            return;
        }
        let mut outputs = Vec::new();
        while let (Some(output), Some(made_at)) =
            (self.member.poll_output(), self.waiting.pop_front())
        {
            assert_eq!(self.twin.poll_output().as_ref(), Some(&output));
            outputs.push((output, made_at));
        }
        assert!(self.waiting.is_empty() && self.member.outputs().next().is_none());
        self.plant(&mut outputs);
        for (output, made_at) in outputs {
            self.obey(output, made_at);
        }
        let stored = self.store.load().expect("it is in memory");
        let state = self.member.state();
        assert_eq!((stored.applied, stored.snapshot), (state.applied, state.snapshot), "stored");
        assert_eq!(stored.digest, self.member.lessor().digest(), "the digest that is stored");
    }

    fn obey(&mut self, output: Output, made_at: LogIndex) {
        match output {
            Output::Propose(proposal) => {
                let number = (proposal.term, proposal.sequence);
                assert!(self.proposed < Some(number), "{number:?} behind {:?}", self.proposed);
                self.proposed = Some(number);
                self.on_its_way.push_back(proposal);
            }
            Output::Confirm(confirmation) => self.questions.push_back(confirmation),
            Output::Commit(transaction) => {
                self.store.commit(transaction).expect("it follows the one before");
            }
            Output::Answer { ticket, answer } => {
                let Some(asked) = self.open.remove(&ticket) else {
                    panic!("{ticket:?} is answered though it is not open: {answer:?}");
                };
                let speaks_of_state = match answer {
                    // These are about a role.
                    Ok(_) if matches!(asked, Request::Promote | Request::Demote) => false,
                    Ok(_) | Err(RequestError::Refused(_)) => true,
                    Err(RequestError::NotPrimary { .. }) => false,
                    Err(RequestError::Unknown | RequestError::Stopped) => false,
                };
                let stored = self.store.load().expect("it is in memory").applied;
                assert!(
                    !speaks_of_state || made_at <= stored,
                    "{ticket:?} speaks of {made_at}, but the store stands at {stored}"
                );
            }
            Output::Campaign | Output::Resign | Output::Expired(_) => {}
        }
    }

    fn plant(&self, outputs: &mut Vec<(Output, LogIndex)>) {
        match (self.planted, self.member.is_stopped()) {
            (Planted::LostAnswers, true) => {
                outputs.retain(|(output, _)| !matches!(output, Output::Answer { .. }));
            }
            (Planted::AnswerBeforeCommit, _) => {
                outputs.sort_by_key(|(output, _)| matches!(output, Output::Commit(_)));
            }
            (Planted::SecondProposal, _) => {
                let is_proposal = |(o, _): &&(Output, LogIndex)| matches!(o, Output::Propose(_));
                let proposal = outputs.iter().find(is_proposal).cloned();
                outputs.extend(proposal);
            }
            (_, _) => {}
        }
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
            Self::Lookup(id) => Request::Lookup { id: id.lease() },
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
