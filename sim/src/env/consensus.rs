//! What orders the log: the modelled Raft, or a log of somebody else's that runs at the members.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::driver::LogEvent;
use lessor::{Entry, LogIndex, MemberId, Role, Term};

use super::raft::{Envelope, Note, Raft};

/// The log of a group, as the world sees it.
#[derive(Debug)]
pub enum Consensus {
    /// The modelled Raft, which the world can order about.
    Modelled(Box<Raft>),
    /// A log of somebody else's, of which the world knows what its members are told.
    Own(OwnLog),
}

impl Consensus {
    /// The modelled Raft, if it is that.
    pub fn modelled(&mut self) -> Option<&mut Raft> {
        match self {
            Self::Modelled(raft) => Some(raft),
            Self::Own(_) => None,
        }
    }

    /// Who leads the newest term that anybody leads.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        match self {
            Self::Modelled(raft) => raft.leader(),
            Self::Own(log) => log.leader(),
        }
    }

    /// How many believe that they lead.
    #[must_use]
    pub fn leaders(&self) -> usize {
        match self {
            Self::Modelled(raft) => raft.leaders(),
            Self::Own(log) => log.leads.len(),
        }
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        match self {
            Self::Modelled(raft) => raft.take_notes(),
            Self::Own(log) => std::mem::take(&mut log.notes),
        }
    }

    /// The committed entries after an index, which are not told by its members.
    pub fn committed_after(&self, index: usize) -> impl Iterator<Item = &Entry> {
        let raft = match self {
            Self::Modelled(raft) => Some(raft),
            Self::Own(_) => None,
        };
        raft.into_iter().flat_map(move |raft| raft.committed_after(index))
    }

    /// The next event for a member.
    pub fn poll_event(&mut self) -> Option<(MemberId, LogEvent)> {
        self.modelled()?.poll_event()
    }

    /// The next message to be carried.
    pub fn poll_message(&mut self) -> Option<Envelope> {
        self.modelled()?.poll_message()
    }

    /// When to call [`advance`](Self::advance) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Modelled(raft) => raft.poll_timeout(),
            Self::Own(_) => None,
        }
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Duration) {
        if let Some(raft) = self.modelled() {
            raft.advance(now);
        }
    }

    /// A member's process ends.
    pub fn crash(&mut self, now: Duration, member: MemberId) {
        match self {
            Self::Modelled(raft) => raft.crash(now, member),
            Self::Own(log) => log.follows(member),
        }
    }

    /// A member stands at an index, as it starts or as a whole state is installed.
    pub fn stands(&mut self, member: MemberId, index: LogIndex) {
        if let Self::Own(log) = self {
            log.handed.insert(member, index);
        }
    }

    /// A log of somebody else's hands its member an entry. Says whether it leaves one out.
    pub fn hands(&mut self, member: MemberId, index: LogIndex) -> bool {
        let Self::Own(log) = self else { return false };
        let last = log.handed.entry(member).or_default();
        let gap = index > last.next();
        *last = index.max(*last);
        gap
    }

    /// A log of somebody else's tells its member its role.
    pub fn role(&mut self, member: MemberId, role: &Role) {
        if let Self::Own(log) = self {
            log.role(member, role);
        }
    }

    /// How many losses that were ordered have not happened.
    #[must_use]
    pub fn losses_left(&self) -> u64 {
        match self {
            Self::Modelled(raft) => raft.losses_left(),
            Self::Own(_) => 0,
        }
    }
}

/// Who leads, by what a log of somebody else's tells its members.
#[derive(Debug, Default)]
pub struct OwnLog {
    /// Who believes that it leads, and in which term.
    leads: BTreeMap<MemberId, Term>,
    /// The last entry that each member was handed.
    handed: BTreeMap<MemberId, LogIndex>,
    notes: Vec<Note>,
}

impl OwnLog {
    fn role(&mut self, member: MemberId, role: &Role) {
        self.follows(member);
        if let Role::Leader { term, barrier } = *role {
            self.leads.insert(member, term);
            let (leader, in_flight, survived) = (member, 0, 0);
            self.notes.push(Note::Elected { leader, term, barrier, in_flight, survived });
        }
    }

    /// A member leads no more.
    fn follows(&mut self, member: MemberId) {
        if let Some(term) = self.leads.remove(&member) {
            self.notes.push(Note::Deposed { leader: member, term });
        }
    }

    fn leader(&self) -> Option<MemberId> {
        self.leads.iter().max_by_key(|(_, term)| **term).map(|(member, _)| *member)
    }
}
