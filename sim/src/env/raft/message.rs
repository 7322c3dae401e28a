//! What peers say to each other.

use std::fmt;

use lessor::{Entry, LogIndex, MemberId, Term};

/// A message on its way. As text it names its entries by their indexes and terms, which say what is in
/// them: two logs that have an entry of the same term at the same index are equal up to there.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who sent it.
    pub from: MemberId,
    pub to: MemberId,
    /// The term of the sender.
    pub term: Term,
    pub message: Message,
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, term, message } = self;
        write!(f, "{from} to {to} in {term}: ")?;
        match message {
            Message::Append(Append { previous, previous_term, entries, committed, round }) => {
                write!(f, "append behind {previous} of {previous_term}, ")?;
                for of_a_term in entries.chunk_by(|one, next| one.term == next.term) {
                    write!(f, "{} of {}, ", of_a_term.len(), of_a_term[0].term)?;
                }
                write!(f, "committed {committed}, round {round}")
            }
            Message::Appended { matched, agrees, committed, round } => {
                write!(f, "Appended {{ matched: {matched}, agrees: {agrees}, ")?;
                write!(f, "committed: {committed}, round: {round} }}")
            }
            Message::Vote(..) | Message::Voted(_) | Message::Install(..) => {
                write!(f, "{message:?}")
            }
        }
    }
}

impl Envelope {
    /// What it says, for people: [`Display`](fmt::Display) is what the hash of a trace sees.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { from, to: _, term, message } = self;
        let said = match message {
            Message::Vote(of, index) => format!("vote for me, my log ends at {index} of term {of}"),
            Message::Voted(true) => "you have my vote".to_owned(),
            Message::Voted(false) => "you do not have my vote".to_owned(),
            Message::Append(Append { previous, entries, committed, round, .. }) => {
                let count = entries.len();
                format!("{count} entries behind {previous}, committed {committed}, round {round}")
            }
            Message::Appended { matched, agrees: true, round, .. } => {
                format!("my log is yours up to {matched}, round {round}")
            }
            Message::Appended { matched, agrees: false, round, .. } => {
                format!("my log may be yours up to {matched}, no further, round {round}")
            }
            Message::Install(index, of, round) => {
                format!("take the whole state at {index} of term {of}, round {round}")
            }
        };
        format!("from member {from} in term {term}: {said}")
    }
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Vote for me; my log ends with an entry of this term, at this index.
    Vote(Term, LogIndex),
    /// You have my vote, or not.
    Voted(bool),
    /// These entries follow.
    Append(Append),
    /// My log is yours up to here, and I know of commits up to `committed`.
    Appended {
        /// The last index that is known to be equal; if `agrees` is not set, the last that may be.
        matched: LogIndex,
        /// Whether the entries followed.
        agrees: bool,
        /// The last committed index that it knows.
        committed: LogIndex,
        /// The round that it answers.
        round: u64,
    },
    /// My log no longer has what you need: everything up to this index is committed, and the entry
    /// there is of this term.
    Install(LogIndex, Term, u64),
}

/// Entries, and what goes before them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The index before the first entry.
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
