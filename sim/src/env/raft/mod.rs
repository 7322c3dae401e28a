//! Raft, with everything that it allows and nothing that it forbids, and no
//! clock or I/O of its own.
//!
//! Each peer decides from what it keeps and what it was told, and tells others by messages, which the
//! network may lose, delay, repeat and reorder. Who campaigns is decided from outside
//! ([`elect`](Raft::elect)); so there are no heartbeats, and where nothing is outstanding nothing
//! is sent. A leader that is cut off goes on believing in itself. Across the group two things are
//! asserted of the model itself: one leader a term, and what was committed once stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lessor::driver::LogEvent;
use lessor::{Command, Confirmation, Entry, LogIndex, MemberId, Proposal, Role, StateAt, Term};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

pub use self::message::{Append, Envelope, Message};
use self::peer::{Asked, Follower, Leader, Part, Peer};
use crate::model::State;
use crate::scenario::{Delays, Loss};

mod message;
mod peer;
mod rules;
#[cfg(test)]
mod tests;

/// The log and the leadership of a group of members.
#[derive(Debug)]
pub struct Raft {
    delays: Delays,
    compact_every: Option<u64>,
    random: ChaCha8Rng,
    peers: Vec<Peer>,
    /// What is committed, as nobody in the group knows it.
    committed: Vec<Entry>,
    leaders: BTreeMap<Term, MemberId>,
    messages: VecDeque<Envelope>,
    events: VecDeque<(MemberId, LogEvent)>,
    /// What a trace says of the log itself.
    notes: Vec<Note>,
    /// A rule that is broken on purpose.
    #[cfg(test)]
    planted: Option<tests::Planted>,
}

/// Something that happened to the log.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A member leads from now on.
    Elected {
        leader: MemberId,
        term: Term,
        /// The last entry of earlier terms.
        barrier: LogIndex,
        /// How many entries some log has that are not committed.
        in_flight: u64,
        /// How many of these are in the new leader's log.
        survived: u64,
    },
    /// A member cannot be elected.
    NotElected { candidate: MemberId, why: &'static str },
    /// A leader leads no more, and knows it.
    Deposed { leader: MemberId, term: Term },
    /// A proposal was lost on purpose.
    Lost { member: MemberId, proposal: Proposal },
    /// Entries that were never committed gave way to those of a newer leader.
    Overwritten {
        member: MemberId,
        count: u64,
        /// How many of these were revokes.
        revokes: u64,
    },
    /// A member that was too far behind took a whole state.
    Installed { member: MemberId, index: LogIndex },
    /// A message came twice on purpose.
    Repeated,
    /// A proposal of somebody who does not lead was refused.
    Fenced { member: MemberId, proposal: Proposal },
}

impl Raft {
    /// Its chance is another one from now on.
    pub fn draw_from(&mut self, random: ChaCha8Rng) {
        self.random = random;
    }

    /// A log of `members` members, named from 1 on, all down, which compact their logs after so many
    /// entries.
    #[must_use]
    pub fn new(
        members: u8,
        delays: Delays,
        compact_every: Option<u64>,
        random: ChaCha8Rng,
    ) -> Self {
        Self {
            delays,
            compact_every,
            random,
            peers: (0..members).map(|_| Peer::default()).collect(),
            committed: Vec::new(),
            leaders: BTreeMap::new(),
            messages: VecDeque::new(),
            events: VecDeque::new(),
            notes: Vec::new(),
            #[cfg(test)]
            planted: None,
        }
    }

    /// A member's process begins, with everything up to `applied` in its store. It may be handed some
    /// of that again; if its log begins later, it is handed a whole state first.
    pub fn start(&mut self, now: Duration, member: MemberId, applied: LogIndex) {
        let again = self.random.next_u64() % (MOST_AGAIN + 1);
        let deaf_until = now + self.delays.apply;
        let peer = self.peer_mut(member);
        peer.up = true;
        peer.paused = false;
        peer.part = Part::default();
        peer.deaf_until = deaf_until;
        peer.ready.clear();
        peer.committed = peer.base;
        peer.handed = LogIndex(applied.0.saturating_sub(again)).max(peer.base);
        let base = peer.base;
        if applied < base {
            self.install(member, base);
        }
        self.tell_role(member);
        for leader in self.peers.iter_mut().filter_map(Peer::leader) {
            // What it knew of commits is gone, and heartbeats would tell it.
            if let Some(follower) = leader.followers.get_mut(&member) {
                follower.committed = LogIndex(0);
            }
        }
        self.reconnected(now);
        self.advance(now);
    }

    /// A member's process ends; term, vote and log stay.
    pub fn crash(&mut self, now: Duration, member: MemberId) {
        self.step_down(member);
        let peer = self.peer_mut(member);
        peer.up = false;
        peer.paused = false;
        peer.part = Part::default();
        self.events.retain(|(to, _)| *to != member);
        self.advance(now);
    }

    /// A member's process stands still, or goes on. Its messages wait for it in the network.
    pub fn pause(&mut self, now: Duration, member: MemberId, paused: bool) {
        self.peer_mut(member).paused = paused;
        self.reconnected(now);
        self.advance(now);
    }

    /// Lets a member campaign in a new term.
    pub fn elect(&mut self, now: Duration, candidate: MemberId) {
        let peer = self.peer_mut(candidate);
        if !peer.runs() || matches!(peer.part, Part::Leader(_)) {
            let why = if peer.runs() { "it leads already" } else { "it does not run" };
            return self.notes.push(Note::NotElected { candidate, why });
        }
        peer.term = Term(peer.term.0 + 1);
        peer.voted = Some(candidate);
        let votes = BTreeSet::from([candidate]);
        peer.part = Part::Candidate { votes, tries: 0, again: now };
        self.tell_role(candidate);
        self.count_votes(now, candidate);
        self.advance(now);
    }

    /// Lets the newest leader give up.
    pub fn depose(&mut self, now: Duration) {
        if let Some(leader) = self.leader() {
            self.resign(now, leader);
        }
    }

    /// Loses the next `count` proposals of this kind that a member makes.
    pub fn lose(&mut self, member: MemberId, loss: Loss, count: u64) {
        self.peer_mut(member).loss = Some((loss, count));
    }

    /// Sends the next `count` appends of a member twice.
    pub fn repeat(&mut self, member: MemberId, count: u64) {
        self.peer_mut(member).repeats = count;
    }

    /// Takes back what was ordered by [`lose`](Self::lose) and [`repeat`](Self::repeat).
    pub fn lose_nothing(&mut self, member: MemberId) {
        let peer = self.peer_mut(member);
        (peer.loss, peer.repeats) = (None, 0);
    }

    /// Takes a proposal of a member.
    pub fn propose(&mut self, now: Duration, member: MemberId, proposal: Proposal) {
        let ready = now + self.delays.commit;
        let peer = self.peer_mut(member);
        if !matches!(peer.part, Part::Leader(_)) || proposal.term != peer.term {
            return self.notes.push(Note::Fenced { member, proposal });
        }
        if let Some((loss, left)) = &mut peer.loss
            && *left > 0
            && meets(*loss, &proposal.command)
        {
            *left -= 1;
            return self.notes.push(Note::Lost { member, proposal });
        }
        self.append(now, member, ready, Some(proposal));
        self.advance(now);
    }

    /// Takes a member's question whether it leads. Nobody answers one who is cut off.
    pub fn confirm(&mut self, now: Duration, member: MemberId, confirmation: Confirmation) {
        let ready = now + self.delays.confirm;
        if let Some(leader) = self.peer_mut(member).leader() {
            leader.round += 1;
            let round = leader.round;
            leader.asked.push_back(Asked { confirmation, round, ready });
            self.broadcast(now, member);
        } else {
            self.events.push_back((member, LogEvent::Confirmed { confirmation, committed: None }));
        }
        self.advance(now);
    }

    /// Takes a member's wish to lead.
    pub fn campaign(&mut self, now: Duration, member: MemberId) {
        self.elect(now, member);
    }

    /// Takes a member's wish not to lead.
    pub fn resign(&mut self, now: Duration, member: MemberId) {
        if self.step_down(member) {
            self.tell_role(member);
        }
        self.advance(now);
    }

    /// The next message to be carried.
    pub fn poll_message(&mut self) -> Option<Envelope> {
        self.messages.pop_front()
    }

    /// The next event for a member.
    pub fn poll_event(&mut self) -> Option<(MemberId, LogEvent)> {
        self.events.pop_front()
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Who leads the newest term that anybody leads.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        let leads = |member: &MemberId| matches!(self.peer(*member).part, Part::Leader(_));
        self.members().filter(leads).max_by_key(|member| self.peer(*member).term)
    }

    /// How many believe that they lead.
    #[must_use]
    pub fn leaders(&self) -> usize {
        self.peers.iter().filter(|peer| matches!(peer.part, Part::Leader(_))).count()
    }

    /// The last committed index.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        LogIndex(self.committed.len() as u64)
    }

    /// The committed entries after an index.
    pub fn committed_after(&self, index: usize) -> impl Iterator<Item = &Entry> {
        self.committed.iter().skip(index)
    }

    /// How many losses that were ordered have not happened.
    #[must_use]
    pub fn losses_left(&self) -> u64 {
        self.peers.iter().filter_map(|peer| peer.loss).map(|(_, left)| left).sum()
    }

    /// The names of all members.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        (1..=self.peers.len() as u64).map(MemberId)
    }

    fn peer(&self, member: MemberId) -> &Peer {
        &self.peers[position(member)]
    }

    fn peer_mut(&mut self, member: MemberId) -> &mut Peer {
        &mut self.peers[position(member)]
    }

    #[cfg(test)]
    fn has(&self, planted: tests::Planted) -> bool {
        self.planted == Some(planted)
    }
}

/// The most entries that a member is handed again when it starts.
const MOST_AGAIN: u64 = 3;

fn position(member: MemberId) -> usize {
    usize::try_from(member.0 - 1).expect("members are few")
}

/// Whether a command is lost.
fn meets(loss: Loss, command: &Command) -> bool {
    match loss {
        Loss::Revokes => matches!(command, Command::Revoke { .. }),
        Loss::Checkpoints => matches!(command, Command::Checkpoint { .. }),
        Loss::Proposals => true,
    }
}
