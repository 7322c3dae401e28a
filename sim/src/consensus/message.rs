//! What peers say to each other.

use lessor::{Entry, LogIndex, MemberId, Term};

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who sent it.
    pub from: MemberId,
    /// To whom.
    pub to: MemberId,
    /// The term of the sender.
    pub term: Term,
    /// What it says.
    pub message: Message,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Vote for me; my log ends with an entry of this term, at this place.
    Vote(Term, LogIndex),
    /// You have my vote, or not.
    Voted(bool),
    /// These entries follow.
    Append(Append),
    /// My log is yours up to here, and I know of commits up to `committed`.
    Appended {
        /// The last place that is known to be equal; if `agrees` is not set, the last that may be.
        matched: LogIndex,
        /// Whether the entries followed.
        agrees: bool,
        /// The last committed place that it knows.
        committed: LogIndex,
        /// The round that it answers.
        round: u64,
    },
    /// My log no longer has what you need: everything up to this place is committed, and the entry
    /// there is of this term.
    Install(LogIndex, Term, u64),
}

/// Entries, and what goes before them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The place before the first entry.
    pub previous: LogIndex,
    /// The term of the entry there.
    pub previous_term: Term,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Up to where the leader knows commits.
    pub committed: LogIndex,
    /// Counts the leader's questions whether it still leads.
    pub round: u64,
}
