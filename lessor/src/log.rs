//! What a replicated host's log carries: indexes, terms, proposals, entries and roles.

use core::fmt;
use core::str::FromStr;

use crate::{Command, LeaseId, ParseError, Snapshot};

/// The index of an entry in the log. The first entry has 1; 0 means that there is none yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The next index.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a reign. A log has at most one leader in a term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The id of a member in its group, chosen by the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct MemberId(pub u64);

/// The number in decimal digits, as it is displayed.
impl FromStr for MemberId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self).map_err(|_| ParseError::MemberId)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A command that the leader of a term asks the log to commit.
///
/// The log must commit it *in that term or never*, and the proposals of one term in the order in
/// which they were made. Any of them may be lost.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Proposal {
    /// The term of the reign that decided it.
    pub term: Term,
    /// Its number within the term, rising.
    pub sequence: u64,
    /// The command to apply.
    pub command: Command,
}

/// The number of a question to the log whether this member still leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Confirmation(pub u64);

/// A committed entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// Its index.
    pub index: LogIndex,
    /// The term in which the log appended it. If the proposal has another term, it is not applied.
    pub term: Term,
    /// The proposal. `None` is an entry of the log itself, such as the first one of a term.
    pub proposal: Option<Proposal>,
}

impl Entry {
    /// The lease that it grants or revokes.
    pub(crate) fn decides_on(&self) -> Option<LeaseId> {
        self.proposal.as_ref()?.command.decides_on()
    }
}

/// The role of a member in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Role {
    /// The leader of `term`.
    Leader {
        /// The term.
        term: Term,
        /// The last entry of earlier terms. Everything up to it must be applied before a promotion.
        barrier: LogIndex,
    },
    /// Follows a leader, or none yet. A leader that is in doubt becomes a follower too, and does not lead
    /// that term again.
    Follower {
        /// The leader, if it is known.
        leader: Option<MemberId>,
    },
}

/// The whole replicated state at one log index, to install on a member that is far behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StateAt {
    /// The last entry that it includes.
    pub applied: LogIndex,
    /// The state.
    pub snapshot: Snapshot,
}
