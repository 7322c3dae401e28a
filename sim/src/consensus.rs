//! A modelled consensus log: Raft's guarantees, nothing stronger, and no clock or I/O of its own.
//!
//! Who leads is decided from outside ([`elect`](Consensus::elect)); everything else follows. What
//! holds: one leader a term; every member is handed the same entries in order; a proposal commits in
//! its own term or never; the proposals of a term commit in order; a leader that is cut off or
//! paused is not told of its successor, and nothing that it proposes commits.

use std::collections::VecDeque;
use std::time::Duration;

use lessor::driver::LogEvent;
use lessor::{Command, Confirmation, Entry, LogIndex, MemberId, Proposal, Role, Term};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// The log and the leadership of a group of members.
#[derive(Debug)]
pub struct Consensus {
    delays: Delays,
    random: ChaCha8Rng,
    term: Term,
    leader: Option<MemberId>,
    committed: Vec<Committed>,
    /// Proposals on their way to a majority, in order, and when they may have reached one.
    in_flight: VecDeque<InFlight>,
    /// Questions for the leadership, and when a majority has answered them.
    asked: VecDeque<Asked>,
    peers: Vec<Peer>,
    events: VecDeque<(MemberId, LogEvent)>,
    /// What a trace says of the log itself.
    notes: Vec<Note>,
}

/// How long the log takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delays {
    /// From a proposal to its commit.
    pub commit: Duration,
    /// From a commit to its delivery to a member that does not lead.
    pub apply: Duration,
    /// From the question whether a member leads to the answer.
    pub confirm: Duration,
}

/// Which proposals of a member are lost on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Revokes, so that what has expired must come again.
    Revokes,
    /// Checkpoints.
    Checkpoints,
    /// Any proposal.
    Proposals,
}

/// Something that happened to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A member leads from now on.
    Elected {
        /// Who.
        leader: MemberId,
        /// In which term.
        term: Term,
        /// The last entry of earlier terms.
        barrier: LogIndex,
        /// How many proposals of the leader before were on their way.
        in_flight: usize,
        /// How many of these are in the new leader's log.
        survived: usize,
    },
    /// A member cannot be elected.
    NotElected {
        /// Who.
        candidate: MemberId,
        /// Why not.
        why: &'static str,
    },
    /// Nobody leads any more.
    Deposed {
        /// Who led.
        leader: MemberId,
        /// In which term.
        term: Term,
    },
    /// A proposal was lost on purpose.
    Lost {
        /// Whose.
        member: MemberId,
        /// What.
        proposal: Proposal,
    },
    /// A proposal of somebody who does not lead was refused.
    Fenced {
        /// Whose.
        member: MemberId,
        /// What.
        proposal: Proposal,
    },
}

#[derive(Debug)]
struct Peer {
    up: bool,
    isolated: bool,
    paused: bool,
    /// The last entry that it was handed.
    delivered: LogIndex,
    /// It is handed nothing before this moment.
    deaf_until: Duration,
    loss: Option<(Loss, u64)>,
}

#[derive(Debug)]
struct Committed {
    entry: Entry,
    at: Duration,
    /// Who led then, and sees it at once.
    leader: MemberId,
}

#[derive(Debug)]
struct InFlight {
    term: Term,
    proposal: Option<Proposal>,
    ready: Duration,
}

#[derive(Debug)]
struct Asked {
    member: MemberId,
    term: Term,
    confirmation: Confirmation,
    ready: Duration,
}

impl Consensus {
    /// A log of `members` members, named from 1 on, all down; `random` decides which proposals of a
    /// fallen leader survive.
    #[must_use]
    pub fn new(members: u8, delays: Delays, random: ChaCha8Rng) -> Self {
        let peer = |_| Peer {
            up: false,
            isolated: false,
            paused: false,
            delivered: LogIndex(0),
            deaf_until: Duration::ZERO,
            loss: None,
        };
        Self {
            delays,
            random,
            term: Term(0),
            leader: None,
            committed: Vec::new(),
            in_flight: VecDeque::new(),
            asked: VecDeque::new(),
            peers: (0..members).map(peer).collect(),
            events: VecDeque::new(),
            notes: Vec::new(),
        }
    }

    /// A member's process begins, with everything up to `applied` in its store. It may be handed some
    /// of that again.
    pub fn start(&mut self, now: Duration, member: MemberId, applied: LogIndex) {
        let deaf_until = now + self.delays.apply;
        let again = self.random.next_u64() % (MOST_AGAIN + 1);
        let peer = self.peer_mut(member);
        peer.up = true;
        peer.paused = false;
        peer.delivered = LogIndex(applied.0.saturating_sub(again));
        peer.deaf_until = deaf_until;
        if !self.peer(member).isolated {
            self.tell_role(member);
        }
        self.advance(now);
    }

    /// A member's process ends.
    pub fn crash(&mut self, now: Duration, member: MemberId) {
        let peer = self.peer_mut(member);
        peer.up = false;
        peer.paused = false;
        self.asked.retain(|asked| asked.member != member);
        self.events.retain(|(to, _)| *to != member);
        if self.leader == Some(member) {
            self.depose(now);
        }
    }

    /// Makes a member the leader of a new term if a majority can hear it. Some of the proposals that
    /// were on their way are in its log and commit, in order; the rest never will.
    pub fn elect(&mut self, now: Duration, candidate: MemberId) {
        if !self.reaches(candidate) || !self.majority() {
            let why = if self.reaches(candidate) { "no majority" } else { "it is unreachable" };
            self.notes.push(Note::NotElected { candidate, why });
            return;
        }
        if self.leader == Some(candidate) {
            return self.notes.push(Note::NotElected { candidate, why: "it leads already" });
        }
        self.term = Term(self.term.0 + 1);
        let in_flight = self.in_flight.len();
        let survived = self.draw_survivors(candidate);
        for in_flight in self.in_flight.drain(..).take(survived).collect::<Vec<_>>() {
            self.append(now, candidate, in_flight.term, in_flight.proposal);
        }
        let barrier = self.last();
        self.leader = Some(candidate);
        self.notes.push(Note::Elected {
            leader: candidate,
            term: self.term,
            barrier,
            survived,
            in_flight,
        });
        let ready = now + self.delays.commit;
        self.in_flight.push_back(InFlight { term: self.term, proposal: None, ready });
        for member in self.members() {
            if self.peer(member).up && !self.peer(member).isolated {
                self.tell_role(member);
            }
        }
        self.advance(now);
    }

    /// Takes the leadership from whoever has it, and gives it to nobody.
    pub fn depose(&mut self, now: Duration) {
        let Some(leader) = self.leader else { return };
        if self.peer(leader).isolated || self.peer(leader).paused {
            // What it has on the way reached nobody.
            self.in_flight.clear();
        }
        self.leader = None;
        self.notes.push(Note::Deposed { leader, term: self.term });
        for member in self.members() {
            if self.peer(member).up && !self.peer(member).isolated {
                self.tell_role(member);
            }
        }
        self.advance(now);
    }

    /// Cuts a member off from all others, or joins it to them again.
    pub fn isolate(&mut self, now: Duration, member: MemberId, isolated: bool) {
        let was = std::mem::replace(&mut self.peer_mut(member).isolated, isolated);
        if was && !isolated && self.peer(member).up {
            self.peer_mut(member).deaf_until = now + self.delays.apply;
            self.tell_role(member);
        }
        self.advance(now);
    }

    /// Notes that a member's process stands still, or goes on; the log needs another majority then.
    pub fn pause(&mut self, now: Duration, member: MemberId, paused: bool) {
        self.peer_mut(member).paused = paused;
        self.advance(now);
    }

    /// Loses the next `count` proposals of this kind that a member makes.
    pub fn lose(&mut self, member: MemberId, loss: Loss, count: u64) {
        self.peer_mut(member).loss = Some((loss, count));
    }

    /// Takes a proposal of a member.
    pub fn propose(&mut self, now: Duration, member: MemberId, proposal: Proposal) {
        if self.leader != Some(member) || proposal.term != self.term {
            return self.notes.push(Note::Fenced { member, proposal });
        }
        if let Some((loss, left)) = &mut self.peer_mut(member).loss
            && *left > 0
            && loss.meets(&proposal.command)
        {
            *left -= 1;
            return self.notes.push(Note::Lost { member, proposal });
        }
        let (term, ready) = (self.term, now + self.delays.commit);
        self.in_flight.push_back(InFlight { term, proposal: Some(proposal), ready });
        self.advance(now);
    }

    /// Takes a member's question whether it leads. Nobody answers one who is cut off.
    pub fn confirm(&mut self, now: Duration, member: MemberId, confirmation: Confirmation) {
        let (term, ready) = (self.term, now + self.delays.confirm);
        self.asked.push_back(Asked { member, term, confirmation, ready });
        self.advance(now);
    }

    /// Takes a member's wish to lead.
    pub fn campaign(&mut self, now: Duration, member: MemberId) {
        self.elect(now, member);
    }

    /// Takes a member's wish not to lead.
    pub fn resign(&mut self, now: Duration, member: MemberId) {
        if self.leader == Some(member) {
            self.depose(now);
        }
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Duration) {
        while let Some(in_flight) = self.in_flight.front()
            && in_flight.ready <= now
            && in_flight.term == self.term
            && let Some(leader) = self.leader
            && self.reaches(leader)
            && self.majority()
            && let Some(in_flight) = self.in_flight.pop_front()
        {
            self.append(now, leader, in_flight.term, in_flight.proposal);
        }
        for asked in std::mem::take(&mut self.asked) {
            let leads = self.leader == Some(asked.member) && self.term == asked.term;
            let heard = self.reaches(asked.member) && (self.majority() || !leads);
            if asked.ready > now || !heard {
                self.asked.push_back(asked);
                continue;
            }
            let (confirmation, committed) = (asked.confirmation, leads.then_some(self.last()));
            self.events.push_back((asked.member, LogEvent::Confirmed { confirmation, committed }));
        }
        for member in self.members() {
            let mut entries = Vec::new();
            while let Some(visible) = self.visible(member)
                && visible <= now
            {
                let next = self.peer(member).delivered.next();
                self.peer_mut(member).delivered = next;
                entries.push(self.entry(next).clone());
            }
            if !entries.is_empty() {
                self.events.push_back((member, LogEvent::Committed(entries)));
            }
        }
    }

    /// When to call [`advance`](Self::advance).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let leads = self.leader.is_some_and(|leader| self.reaches(leader)) && self.majority();
        let commit = self.in_flight.front().filter(|_| leads).map(|in_flight| in_flight.ready);
        let asked = self.asked.iter().filter(|asked| self.reaches(asked.member));
        let asked = asked.filter(|asked| leads || self.leader != Some(asked.member));
        let asked = asked.map(|asked| asked.ready).min();
        let delivery = self.members().filter_map(|member| self.visible(member)).min();
        [commit, asked, delivery].into_iter().flatten().min()
    }

    /// The next event for a member.
    pub fn poll_event(&mut self) -> Option<(MemberId, LogEvent)> {
        self.events.pop_front()
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Who leads, if anybody does.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        self.leader
    }

    /// The last committed place.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    /// The committed entries behind a place.
    pub fn committed_behind(&self, place: usize) -> impl Iterator<Item = &Entry> {
        self.committed.iter().skip(place).map(|committed| &committed.entry)
    }

    /// How many losses that were ordered have not happened.
    #[must_use]
    pub fn losses_left(&self) -> u64 {
        self.peers.iter().filter_map(|peer| peer.loss).map(|(_, left)| left).sum()
    }

    /// Whether a member is up, not cut off and not paused.
    #[must_use]
    pub fn reaches(&self, member: MemberId) -> bool {
        let peer = self.peer(member);
        peer.up && !peer.isolated && !peer.paused
    }

    /// Whether more than half of all members reach each other.
    #[must_use]
    pub fn majority(&self) -> bool {
        2 * self.members().filter(|member| self.reaches(*member)).count() > self.peers.len()
    }

    /// The names of all members.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        (1..=self.peers.len() as u64).map(MemberId)
    }

    fn append(&mut self, now: Duration, leader: MemberId, term: Term, proposal: Option<Proposal>) {
        let entry = Entry { index: self.last().next(), term, proposal };
        self.committed.push(Committed { entry, at: now, leader });
    }

    /// How many of the proposals on their way a new leader has in its log: what a leader that is cut
    /// off or paused has proposed reached nobody, else any number is possible.
    fn draw_survivors(&mut self, candidate: MemberId) -> usize {
        let in_flight = self.in_flight.len();
        let reached = match self.leader {
            Some(old) if old != candidate => self.reaches(old),
            Some(_) | None => true,
        };
        if !reached || in_flight == 0 {
            return 0;
        }
        let draw = self.random.next_u64() % (in_flight as u64 + 1);
        usize::try_from(draw).unwrap_or(in_flight)
    }

    fn tell_role(&mut self, member: MemberId) {
        let role = match self.leader {
            Some(leader) if leader == member => {
                // The entry that opens the term is not committed yet, or not alone.
                let barrier = self.committed.iter().rposition(|c| c.entry.term < self.term);
                let barrier = LogIndex(barrier.map_or(0, |place| place as u64 + 1));
                Role::Leader { term: self.term, barrier }
            }
            leader => Role::Follower { leader },
        };
        self.events.push_back((member, LogEvent::Role(role)));
    }

    /// When the next entry reaches a member, if there is one and it can.
    fn visible(&self, member: MemberId) -> Option<Duration> {
        let peer = self.peer(member);
        if !peer.up || peer.isolated {
            return None;
        }
        let place = usize::try_from(peer.delivered.0).ok()?;
        let committed = self.committed.get(place)?;
        let delay = if committed.leader == member { Duration::ZERO } else { self.delays.apply };
        Some((committed.at + delay).max(peer.deaf_until))
    }

    fn entry(&self, index: LogIndex) -> &Entry {
        let place = usize::try_from(index.0 - 1).expect("the log fits into memory");
        &self.committed[place].entry
    }

    fn peer(&self, member: MemberId) -> &Peer {
        &self.peers[place(member)]
    }

    fn peer_mut(&mut self, member: MemberId) -> &mut Peer {
        &mut self.peers[place(member)]
    }
}

impl Loss {
    /// What is lost, in the plural.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Revokes => "revokes",
            Self::Checkpoints => "checkpoints",
            Self::Proposals => "proposals",
        }
    }

    fn meets(self, command: &Command) -> bool {
        match self {
            Self::Revokes => matches!(command, Command::Revoke { .. }),
            Self::Checkpoints => matches!(command, Command::Checkpoint { .. }),
            Self::Proposals => true,
        }
    }
}

/// The most entries that a member is handed again when it starts.
const MOST_AGAIN: u64 = 3;

fn place(member: MemberId) -> usize {
    usize::try_from(member.0 - 1).expect("a member is one of five")
}
