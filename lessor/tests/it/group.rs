//! A group of members around one log, as a reference model: it knows what each member must say to
//! whatever the log, the disks, the clocks and the users do to it.
//!
//! The log keeps the contract of [`Log`](lessor::driver::Log) and no more: one order, a proposal in
//! its term or never, those of a term in their order, any of them lost. It breaks it in two ways that
//! a member must withstand: by a *stale* entry, which is a proposal in the term of another, and by
//! telling a member that it leads a term which it has left.

use std::fmt;
use std::time::Duration;

use lessor::{
    Confirmation, Item, Lease, LeaseId, LeaseOrder, LogIndex, MemberId, MemberInput, Proposal,
    Request, Role, StateAt, Term, Ticket, Ttl,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;

use super::history::{History, REQUESTS};
use super::member_model::{MemberModel, Said, Settings};
use super::model::nanos;

#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) settings: Settings,
    pub(crate) history: History,
    /// The latest election, and whether who won it still leads.
    pub(crate) election: Election,
    pub(crate) leads: bool,
    pub(crate) peers: Vec<Peer>,
    tickets: u64,
    /// What the latest step was, for whoever makes a real member do the same.
    pub(crate) did: Did,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Election {
    pub(crate) term: u64,
    pub(crate) member: usize,
    /// The last entry of earlier terms.
    barrier: u64,
}

/// A member with its host.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) member: MemberModel,
    pub(crate) clock: u64,
    /// The latest that it ever was.
    latest: u64,
    /// Whether each commit is done at once.
    pub(crate) quick: bool,
    /// Proposals that the log has neither committed nor lost.
    pub(crate) road: Vec<Proposal>,
    questions: Vec<Question>,
    /// The commit that is on its way to the disk ends at this index.
    pub(crate) committing: Option<u64>,
    /// The index at which its store stands.
    pub(crate) stored: u64,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    number: u64,
    /// What was committed when it was asked, if its member led.
    seen: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Did {
    pub(crate) member: usize,
    pub(crate) what: What,
    /// What the member said and its host then did, in order.
    pub(crate) done: Vec<Said>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// No member has noticed it.
    Nothing,
    Input(MemberInput),
    /// The commit on its way is done.
    Durable,
    /// Begins anew from its store; the commit on its way got there or did not.
    Restart {
        kept: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) member: usize,
    pub(crate) pass: Pass,
    pub(crate) act: Act,
}

/// How the member's clock moves first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pass {
    Stay,
    Ahead(Duration),
    Back(Duration),
    /// To the moment at which something is due, or a nanosecond before it.
    ToNext,
    AlmostToNext,
    /// To its latest moment and the patience of a request.
    PastPatience,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Ask(Request),
    /// Whoever asked the latest request but so many is gone.
    Leave {
        back: u64,
    },
    Timeout,
    Hold(bool),
    Stop,
    Durable,
    Restart {
        kept: bool,
    },
    /// It is told its role as the log has it.
    Hear,
    /// It is told that it follows nobody, though the log may still have it lead.
    Doubt,
    /// An open question is answered: as it is now, or as it was when it was asked. It may be so again.
    Confirm {
        which: usize,
        late: bool,
        again: bool,
    },
    /// An open question is lost.
    Forget {
        which: usize,
    },
    /// It gets its next entries, and before them some that it had.
    Deliver {
        entries: u64,
        again: u64,
    },
    Install {
        from: usize,
    },
    /// It leads a new term. Of what the last leader has proposed, the first few survive.
    Elect {
        survive: usize,
    },
    /// The log commits the oldest proposals of the leader, or loses the oldest one.
    Commit {
        entries: usize,
    },
    Lose,
    /// The log takes a proposal of an earlier term for one of this term.
    Stale,
}

/// Of the settings only: the rest follows from the steps.
impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick: Vec<bool> = self.peers.iter().map(|peer| peer.quick).collect();
        f.debug_struct("Group").field("settings", &self.settings).field("quick", &quick).finish()
    }
}

impl Group {
    /// A new group of one to three members.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let quick = vec(any::<bool>(), 1..=3);
        (settings(), quick).prop_map(|(settings, quick)| Self::new(settings, &quick))
    }

    fn new(settings: Settings, quick: &[bool]) -> Self {
        let peer = |quick: &bool| Peer {
            member: MemberModel::new(&settings, &StateAt::default()),
            clock: 0,
            latest: 0,
            quick: *quick,
            road: Vec::new(),
            questions: Vec::new(),
            committing: None,
            stored: 0,
        };
        Self {
            history: History::new(),
            election: Election { term: 0, member: 0, barrier: 0 },
            leads: false,
            peers: quick.iter().map(peer).collect(),
            tickets: 0,
            did: Did { member: 0, what: What::Nothing, done: Vec::new() },
            settings,
        }
    }

    /// Any step can be made in any state, so that a case can be shrunk freely.
    pub(crate) fn step(&mut self, step: &Step) {
        // The group may have been shrunk.
        let member = step.member % self.peers.len();
        self.peers[member].pass(step.pass, nanos(self.settings.patience));
        self.did = Did { member, what: What::Nothing, done: Vec::new() };
        self.did.what = match self.act(member, &step.act) {
            None => return,
            Some(what) => what,
        };
        let peer = &mut self.peers[member];
        match &self.did.what {
            What::Nothing => {}
            What::Input(input) => peer.member.input(peer.clock, input),
            What::Durable => {
                peer.stored = peer.committing.take().expect("one is on its way");
                peer.member.input(peer.clock, &MemberInput::Persisted(LogIndex(peer.stored)));
            }
            What::Restart { kept } => {
                let committing = peer.committing.take().filter(|_| *kept);
                peer.stored = committing.unwrap_or(peer.stored);
                peer.questions.clear();
                let stored = self.history.state_at(peer.stored);
                peer.member = MemberModel::new(&self.settings, &stored);
            }
        }
        self.host(member);
    }

    fn act(&mut self, member: usize, act: &Act) -> Option<What> {
        let (leads, length) = (self.leads(member), self.history.len());
        let peer = &mut self.peers[member];
        Some(What::Input(match act {
            Act::Ask(request) => {
                self.tickets += 1;
                MemberInput::Request { ticket: Ticket(self.tickets), request: request.clone() }
            }
            Act::Leave { back } => MemberInput::Forget(Ticket(self.tickets.checked_sub(*back)?)),
            Act::Timeout => MemberInput::Timeout,
            Act::Hold(hold) => MemberInput::HoldExpired(*hold),
            Act::Stop => MemberInput::Stop,
            Act::Durable => return peer.committing.map(|_| What::Durable),
            Act::Restart { kept } => {
                self.leads &= !leads;
                return Some(What::Restart { kept: *kept });
            }
            Act::Hear => MemberInput::Role(self.role(member)),
            Act::Doubt => MemberInput::Role(Role::Follower { leader: None }),
            Act::Confirm { which, late, again } => {
                let position = which.checked_rem(peer.questions.len())?;
                let question = peer.questions[position];
                if !again {
                    peer.questions.remove(position);
                }
                let now = leads.then_some(length);
                let committed = question.seen.filter(|_| *late).or(now).map(LogIndex);
                let confirmation = Confirmation(question.number);
                MemberInput::Confirmed { confirmation, committed }
            }
            Act::Forget { which } => {
                let position = which.checked_rem(peer.questions.len())?;
                peer.questions.remove(position);
                return None;
            }
            Act::Deliver { entries: new, again } => {
                let applied = peer.member.applied;
                let first = applied.saturating_sub(*again);
                let entries = self.history.behind(first).iter();
                let entries = entries.take_while(|entry| entry.index.0 <= applied + new);
                MemberInput::Committed(entries.cloned().collect())
            }
            Act::Install { from } => {
                let applied = self.peers[from % self.peers.len()].member.applied;
                MemberInput::Installed(self.history.state_at(applied))
            }
            Act::Elect { survive } => {
                self.elect(member, *survive);
                return None;
            }
            Act::Commit { entries } => {
                for proposal in self.proposals(*entries) {
                    self.history.append(Term(self.election.term), Some(proposal));
                }
                return None;
            }
            Act::Lose => {
                self.proposals(1);
                return None;
            }
            Act::Stale => {
                let term = self.election.term;
                let old = |proposal: &Proposal| proposal.term.0 < term;
                let road = &mut peer.road;
                let position = road.iter().position(old)?;
                let proposal = road.remove(position);
                self.history.append(Term(term), Some(proposal));
                return None;
            }
        }))
    }

    /// The host does what its member says.
    fn host(&mut self, member: usize) {
        let seen = self.leads(member).then_some(self.history.len());
        let peer = &mut self.peers[member];
        while let Some(said) = peer.member.next_output() {
            match &said {
                Said::Propose(proposal) => peer.road.push(proposal.clone()),
                Said::Confirm(number) => peer.questions.push(Question { number: *number, seen }),
                Said::Commit { applied, .. } if peer.quick => {
                    peer.stored = *applied;
                    peer.member.input(peer.clock, &MemberInput::Persisted(LogIndex(*applied)));
                }
                Said::Commit { applied, .. } => peer.committing = Some(*applied),
                Said::Campaign
                | Said::Resign
                | Said::Waits(_)
                | Said::Answer(..)
                | Said::Expired(_) => {}
            }
            self.did.done.push(said);
        }
    }

    fn leads(&self, member: usize) -> bool {
        self.leads && self.election.member == member
    }

    fn role(&self, member: usize) -> Role {
        let Election { term, member: leader, barrier } = self.election;
        if self.leads(member) {
            Role::Leader { term: Term(term), barrier: LogIndex(barrier) }
        } else {
            Role::Follower { leader: self.leads.then_some(MemberId(leader as u64)) }
        }
    }

    fn elect(&mut self, member: usize, survive: usize) {
        let old = self.election;
        self.leads = true;
        for proposal in self.proposals(survive) {
            self.history.append(Term(old.term), Some(proposal));
        }
        self.election = Election { term: old.term + 1, member, barrier: self.history.len() };
        self.history.append(Term(old.term + 1), None);
    }

    /// Takes the oldest proposals of the latest leader in its term from its road.
    fn proposals(&mut self, most: usize) -> Vec<Proposal> {
        let Election { term, member, .. } = self.election;
        let mut left = if self.leads { most } else { 0 };
        let road = &mut self.peers[member].road;
        let taken = road.extract_if(.., |proposal| {
            let taken = left > 0 && proposal.term.0 == term;
            left -= usize::from(taken);
            taken
        });
        taken.collect()
    }
}

impl Peer {
    fn pass(&mut self, pass: Pass, patience: u64) {
        let next = self.member.next().unwrap_or(0);
        self.clock = match pass {
            Pass::Stay => self.clock,
            Pass::Ahead(span) => self.clock.saturating_add(nanos(span)),
            Pass::Back(span) => self.clock.saturating_sub(nanos(span)),
            Pass::ToNext => next.max(self.clock),
            Pass::AlmostToNext => next.saturating_sub(1).max(self.clock),
            Pass::PastPatience => self.latest.saturating_add(patience),
        };
        self.latest = self.latest.max(self.clock);
    }
}

// What may come next

impl Group {
    /// What makes sense in this state.
    pub(crate) fn next(&self) -> impl Strategy<Value = Step> + use<> {
        let mut steps = Vec::new();
        for member in 0..self.peers.len() {
            for (weight, act) in self.acts(member) {
                let step = (act, pass()).prop_map(move |(act, pass)| Step { member, pass, act });
                steps.push((weight, step.boxed()));
            }
            let timeout = due().prop_map(move |pass| Step { member, pass, act: Act::Timeout });
            let primary = self.peers[member].member.is_primary();
            steps.push((if primary { 10 } else { 1 }, timeout.boxed()));
        }
        Union::new_weighted(steps)
    }

    /// By how likely they are.
    fn acts(&self, member: usize) -> Vec<(u32, BoxedStrategy<Act>)> {
        let peer = &self.peers[member];
        let restart = any::<bool>().prop_map(|kept| Act::Restart { kept });
        if peer.member.stopped {
            return vec![(8, restart.boxed()), (2, request(Vec::new()).prop_map(Act::Ask).boxed())];
        }
        let leads = self.leads(member);
        let behind = self.history.len() - peer.member.applied;
        let road = peer.road.iter().filter(|proposal| proposal.term.0 == self.election.term);
        let (road, old) = (road.count(), peer.road.len());
        let old = old - road;
        let reign = peer.member.reign.map(|reign| reign.term);
        let left = peer.member.left >= self.election.term;
        let heard = reign == leads.then_some(self.election.term).filter(|_| !left);
        let primary = peer.member.is_primary();

        let listed = peer.member.leases(LeaseOrder::Expiry);
        let ask = request(listed).prop_map(Act::Ask);
        let deliver = (1..=behind.max(1), 0..3_u64);
        let deliver = deliver.prop_map(|(entries, again)| Act::Deliver { entries, again });
        let commit = (1..=road.max(1)).prop_map(|entries| Act::Commit { entries });
        let elect = (0..3_usize).prop_map(|survive| Act::Elect { survive });
        let confirm = (0..4_usize, prop::bool::weighted(0.4), prop::bool::weighted(0.1));
        let confirm = confirm.prop_map(|(which, late, again)| Act::Confirm { which, late, again });
        let forget = (0..4_usize).prop_map(|which| Act::Forget { which });
        let install = (0..3_usize).prop_map(|from| Act::Install { from });
        let when = |condition: bool, weight: u32| if condition { weight } else { 0 };
        let mut acts = vec![
            (if primary { 50 } else { 2 }, ask.boxed()),
            (if heard { 1 } else { 40 }, Just(Act::Hear).boxed()),
            (when(behind > 0, if leads { 60 } else { 15 }) + 1, deliver.boxed()),
            (when(leads && road > 0, 60), commit.boxed()),
            (when(leads && road > 0, 4), Just(Act::Lose).boxed()),
            (when(old > 0, 4), Just(Act::Stale).boxed()),
            (if self.leads && !(leads && left) { 1 } else { 60 }, elect.boxed()),
            (when(!peer.questions.is_empty(), 60), confirm.boxed()),
            (when(!peer.questions.is_empty(), 4), forget.boxed()),
            (when(peer.committing.is_some(), 60), Just(Act::Durable).boxed()),
            (1, restart.boxed()),
            (when(behind > 2, 6), install.boxed()),
            (1, any::<bool>().prop_map(Act::Hold).boxed()),
            (1, (0..8_u64).prop_map(|back| Act::Leave { back }).boxed()),
            (1, Just(Act::Stop).boxed()),
            (when(leads, 1), Just(Act::Doubt).boxed()),
        ];
        acts.retain(|(weight, _)| *weight > 0);
        acts
    }
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let millis = |from: &'static [u64]| prop::sample::select(from).prop_map(Duration::from_millis);
    let rate = prop::sample::select(&[1, 2, 10][..]);
    let interval = prop_oneof![4 => millis(&[50, 500, 4_000]), 1 => Just(Duration::MAX)];
    let spans =
        (millis(&[1, 300, 3_000]), interval, millis(&[0, 1_000]), millis(&[400, 2_000, 7_000]));
    let subscribers = prop_oneof![4 => millis(&[0, 500, 5_000]), 1 => Just(Duration::MAX)];
    let piece = prop::sample::select(&[1, 2, 1_000][..]);
    let all = (rate, spans, subscribers, piece, any::<bool>());
    all.prop_map(|(rate, (retry, interval, extend, patience), subscribers, piece, as_data)| {
        Settings {
            piece: piece.try_into().unwrap(),
            rate: rate.try_into().unwrap(),
            retry,
            interval,
            min_ttl: Ttl::from_millis(100),
            extend,
            patience,
            subscribers,
            as_data,
        }
    })
}

fn pass() -> impl Strategy<Value = Pass> {
    prop_oneof![
        60 => Just(Pass::Stay),
        10 => (0_u64..300).prop_map(|millis| Pass::Ahead(Duration::from_millis(millis))),
        2 => (0_u64..4_000).prop_map(|millis| Pass::Ahead(Duration::from_millis(millis))),
        1 => (0_u64..1_000).prop_map(|millis| Pass::Back(Duration::from_millis(millis))),
    ]
}

/// Before a timeout.
fn due() -> impl Strategy<Value = Pass> {
    prop_oneof![
        10 => Just(Pass::ToNext),
        2 => Just(Pass::AlmostToNext),
        1 => pass(),
    ]
}

pub(crate) fn request(listed: Vec<Lease>) -> impl Strategy<Value = Request> {
    let ids: Vec<LeaseId> = listed.iter().map(|lease| lease.record.id).collect();
    // Mostly of what is there, also if its id was picked.
    let any_id = || {
        let few = prop::sample::select(&[-1, 1, 2, 3, 4, 5][..]);
        few.prop_map(|id| LeaseId::new(id).unwrap())
    };
    let id = move || {
        if ids.is_empty() {
            any_id().boxed()
        } else {
            prop_oneof![4 => prop::sample::select(ids.clone()), 1 => any_id()].boxed()
        }
    };
    let item = || prop::sample::select(&["a", "b", "c", "d", ""][..]).prop_map(Item::from);
    let items = || vec(item(), 0..3);
    let ttl = prop_oneof![
        1 => Just(Ttl::MIN),
        20 => (100_u64..3_000).prop_map(Ttl::from_millis),
        1 => Just(Ttl::MAX),
        1 => Just(Ttl::from_millis(Ttl::MAX.as_millis() + 1)),
    ];
    let ttl_once = ttl.clone();
    let after = if listed.is_empty() {
        Just(None).boxed()
    } else {
        prop::option::of(prop::sample::select(listed)).boxed()
    };
    let order = prop_oneof![Just(LeaseOrder::Id), Just(LeaseOrder::Expiry)];
    prop_oneof![
        20 => (prop::option::weighted(0.7, any_id()), ttl)
            .prop_map(|(id, ttl)| Request::Grant { id, ttl }),
        4 => (prop::sample::select(&REQUESTS[..]), ttl_once)
            .prop_map(|(request, ttl)| Request::GrantOnce { request, ttl }),
        4 => id().prop_map(|id| Request::Revoke { id }),
        20 => id().prop_map(|id| Request::Renew { id }),
        8 => (id(), items()).prop_map(|(id, items)| Request::Attach { id, items }),
        4 => (id(), items()).prop_map(|(id, items)| Request::Detach { id, items }),
        8 => (id(), items()).prop_map(|(id, items)| Request::Claim { id, items }),
        3 => id().prop_map(|id| Request::Lookup { id }),
        1 => id().prop_map(|id| Request::TimeToLive { id }),
        1 => (id(), prop::option::of(item()), 0_usize..3)
            .prop_map(|(id, after, limit)| Request::Items { id, after, limit }),
        3 => (order, after, 0_usize..5)
            .prop_map(|(order, after, limit)| Request::Leases { order, after, limit }),
        2 => item().prop_map(|item| Request::LeaseOf { item }),
        2 => Just(Request::Promote),
        1 => Just(Request::Demote),
    ]
}
