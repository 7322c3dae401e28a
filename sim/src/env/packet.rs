//! What members send each other.

use std::fmt;

use lessor::MemberId;

use super::raft::Envelope;

/// A message between two members. As text it is all of it, for the hash of a trace.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// Of the modelled Raft.
    Raft(Envelope),
    /// Of a log of somebody else's.
    Bytes {
        /// Who sent it.
        from: MemberId,
        to: MemberId,
        bytes: Vec<u8>,
    },
}

impl Packet {
    /// Who sent it.
    #[must_use]
    pub fn from(&self) -> MemberId {
        match self {
            Self::Raft(envelope) => envelope.from,
            Self::Bytes { from, .. } => *from,
        }
    }

    /// To whom it goes.
    #[must_use]
    pub fn to(&self) -> MemberId {
        match self {
            Self::Raft(envelope) => envelope.to,
            Self::Bytes { to, .. } => *to,
        }
    }

    /// What it says, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Raft(envelope) => envelope.in_words(),
            Self::Bytes { from, bytes, .. } => format!("from member {from}: {} bytes", bytes.len()),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raft(envelope) => envelope.fmt(f),
            Self::Bytes { from, to, bytes } => {
                write!(f, "{from} to {to}: ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}
