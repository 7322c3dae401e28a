//! One peer: what it keeps for ever, and what a process of it knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lessor::{Confirmation, Entry, LogIndex, MemberId, Term};

use crate::scenario::Loss;

#[derive(Debug, Default)]
pub(super) struct Peer {
    // What survives a crash.
    pub(super) term: Term,
    pub(super) voted: Option<MemberId>,
    /// The entries after `base`, up to which the log was compacted.
    pub(super) log: VecDeque<Entry>,
    pub(super) base: LogIndex,
    pub(super) base_term: Term,
    // What does not.
    pub(super) up: bool,
    pub(super) paused: bool,
    pub(super) part: Part,
    pub(super) committed: LogIndex,
    /// The last entry that its member was handed.
    pub(super) handed: LogIndex,
    /// Commits that its member is handed later: up to where, and when.
    pub(super) ready: VecDeque<(LogIndex, Duration)>,
    /// Its member is handed nothing before this moment.
    pub(super) deaf_until: Duration,
    // Orders of the scenario.
    pub(super) loss: Option<(Loss, u64)>,
    pub(super) repeats: u64,
}

/// What it takes itself for.
#[derive(Debug)]
pub(super) enum Part {
    Follower { leader: Option<MemberId> },
    Candidate { votes: BTreeSet<MemberId>, tries: u32, again: Duration },
    Leader(Leader),
}

impl Default for Part {
    fn default() -> Self {
        Self::Follower { leader: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct Leader {
    pub(super) followers: BTreeMap<MemberId, Follower>,
    /// When each of its own proposals may commit.
    pub(super) proposed: VecDeque<(LogIndex, Duration)>,
    pub(super) round: u64,
    pub(super) asked: VecDeque<Asked>,
}

/// What a leader knows of another peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) matched: LogIndex,
    /// The first entry that was not sent yet.
    pub(super) next: LogIndex,
    pub(super) committed: LogIndex,
    pub(super) round: u64,
    /// When to say again what is not answered, and how long to wait then.
    pub(super) again: Duration,
    pub(super) wait: Duration,
}

/// A question whether a member leads.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) confirmation: Confirmation,
    pub(super) round: u64,
    pub(super) ready: Duration,
}

impl Peer {
    pub(super) fn last(&self) -> LogIndex {
        LogIndex(self.base.0 + self.log.len() as u64)
    }

    /// The term of the entry at an index, if the log still has it.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base {
            return Some(self.base_term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    pub(super) fn last_term(&self) -> Term {
        self.log.back().map_or(self.base_term, |entry| entry.term)
    }

    pub(super) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let behind = index.0.checked_sub(self.base.0 + 1)?;
        self.log.get(usize::try_from(behind).ok()?)
    }

    /// The entries from an index on up to another.
    pub(super) fn between(&self, first: LogIndex, last: LogIndex) -> Vec<Entry> {
        (first.0..=last.0).filter_map(|index| self.entry(LogIndex(index)).cloned()).collect()
    }

    /// Forgets everything up to an index.
    pub(super) fn compact(&mut self, to: LogIndex, term: Term) {
        let count = usize::try_from(to.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        self.log.drain(..count.min(self.log.len()));
        (self.base, self.base_term) = (to, term);
    }

    /// Whether it can do anything.
    pub(super) fn runs(&self) -> bool {
        self.up && !self.paused
    }

    pub(super) fn leader(&mut self) -> Option<&mut Leader> {
        match &mut self.part {
            Part::Leader(leader) => Some(leader),
            Part::Follower { .. } | Part::Candidate { .. } => None,
        }
    }
}

impl Follower {
    /// Whether it has not answered for all that a leader has to say.
    pub(super) fn owes(&self, last: LogIndex, committed: LogIndex, round: u64) -> bool {
        self.matched < last || self.committed < committed || self.round < round
    }
}
