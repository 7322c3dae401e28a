//! Bugs to plant between a member, its host and its store, and the rule that must find each.

use lessor::{
    Command, Digest, Entry, Instant, LogIndex, Member, Proposal, Request, Role, Term, Ticket,
    Transaction,
};

use super::history::is_picked;
use super::ledger::{Ledger, picked};

/// A bug between a member, its host and its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Planted {
    #[default]
    Nothing,
    AnswerBeforeCommit,
    LostAnswer,
    SecondAnswer,
    LostWrite,
    SplitCommit,
    WrongDigest,
    StoredAhead,
    TakenAgain,
    LyingSync,
    LosesMore,
    PickedAgain,
    OldTerm,
    EarlyPromotion,
    TalkingFollower,
    LostEntry,
    RunningClock,
}

impl Planted {
    pub(crate) const BUGS: [(Self, &str); 16] = [
        (Self::AnswerBeforeCommit, "nothing durable has led to"),
        (Self::LostAnswer, "it owes an answer"),
        (Self::SecondAnswer, "is answered once"),
        (Self::LostWrite, "what is found is a state of the log"),
        (Self::SplitCommit, "what is found is a state of the log"),
        (Self::WrongDigest, "what is found has its digest"),
        (Self::StoredAhead, "nothing is stored that the log has not"),
        (Self::TakenAgain, "a commit that comes again is refused"),
        (Self::LyingSync, "nothing durable has led to"),
        (Self::LosesMore, "was acknowledged, and"),
        (Self::PickedAgain, "was picked before"),
        (Self::OldTerm, "is used again after term"),
        (Self::EarlyPromotion, "nothing is due before a promotion"),
        (Self::TalkingFollower, "a follower says"),
        (Self::LostEntry, "the rest of the log leads to its end"),
        (Self::RunningClock, "after the promotion"),
    ];

    /// Changes a transaction, and says what to commit before it.
    pub(crate) fn half_of(self, transaction: &mut Transaction) -> Option<Transaction> {
        match self {
            Self::LostWrite => drop(transaction.changes.pop()),
            Self::WrongDigest => transaction.digest = Digest::default(),
            Self::StoredAhead => transaction.applied = transaction.applied.next(),
            Self::SplitCommit => {
                let half = transaction.changes.len() / 2;
                let changes = transaction.changes.drain(..half).collect();
                let applied = transaction.after;
                return Some(Transaction { applied, changes, ..*transaction });
            }
            Self::Nothing
            | Self::AnswerBeforeCommit
            | Self::LostAnswer
            | Self::SecondAnswer
            | Self::TakenAgain
            | Self::LyingSync
            | Self::LosesMore
            | Self::PickedAgain
            | Self::OldTerm
            | Self::EarlyPromotion
            | Self::TalkingFollower
            | Self::LostEntry
            | Self::RunningClock => {}
        }
        None
    }

    /// How often an answer is given.
    pub(crate) fn times(self) -> u32 {
        1 + u32::from(self == Self::SecondAnswer) - u32::from(self == Self::LostAnswer)
    }

    /// What the log is seen to commit.
    pub(crate) fn commit(self, mut entries: Vec<Entry>) -> Vec<Entry> {
        for entry in entries.iter_mut().filter(|_| self == Self::OldTerm) {
            entry.term = Term(1);
        }
        entries
    }

    /// Does something to a member that comes up after a crash.
    pub(crate) fn revive(self, member: &mut Member) {
        if self == Self::EarlyPromotion {
            let barrier = LogIndex(0);
            member.handle_role(Instant::ZERO, Role::Leader { term: Term(u64::MAX - 1), barrier });
        } else if self == Self::TalkingFollower {
            member.request(Instant::ZERO, Ticket(0), Request::Demote);
        }
    }

    /// What such a member gets of the log.
    pub(crate) fn hand_out(self, entries: &[Entry]) -> Vec<Entry> {
        let mut entries = entries.to_vec();
        if let Some(last) = entries.last_mut()
            && self == Self::LostEntry
        {
            last.proposal = None;
        }
        entries
    }

    /// When its leases are looked at after its promotion.
    pub(crate) fn clock(self) -> Instant {
        Instant::from_secs(if self == Self::RunningClock { 2 } else { 0 })
    }

    pub(crate) fn propose(self, proposal: &mut Proposal, ledger: &Ledger) {
        let Command::Grant { id, .. } = &mut proposal.command else { return };
        if self == Self::PickedAgain
            && let Some(old) = ledger.history.behind(0).iter().rev().find_map(picked)
            && is_picked(*id)
        {
            *id = old;
        }
    }
}
