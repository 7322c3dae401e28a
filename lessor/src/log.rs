//! What a replicated host's log carries: indexes, terms, proposals, entries and roles.

use core::fmt;
use core::str::FromStr;

use crate::{Command, LeaseId, ParseError, Snapshot};

/// A position in the log: the first entry is at 1, and 0 stands before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The index after this one.
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

/// The number of a reign: a log has at most one leader in a term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The name of a member in its group, given by the host.
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
/// which they were made; any of them may be lost.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Proposal {
    /// The term of the reign that decided it.
    pub term: Term,
    /// Its number within the term, rising.
    pub sequence: u64,
    /// What is to be applied.
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
    /// The term in which the log took it. If it differs from the proposal's, nothing is applied.
    pub term: Term,
    /// What was proposed; `None` is an entry of the log's own, such as the one that opens a term.
    pub proposal: Option<Proposal>,
}

impl Entry {
    /// The lease that it grants or revokes.
    pub(crate) fn decides_on(&self) -> Option<LeaseId> {
        self.proposal.as_ref()?.command.decides_on()
    }
}

/// What a member is in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Role {
    /// The leader of `term`.
    Leader {
        /// The term.
        term: Term,
        /// The last entry of an earlier term: all up to here must be applied before it promotes.
        barrier: LogIndex,
    },
    /// Follows somebody, or nobody yet; also what a leader becomes when it is in doubt. It does not
    /// lead that term again.
    Follower {
        /// Whom, if it is known.
        leader: Option<MemberId>,
    },
}

/// The whole replicated state at one index of the log, to install on a member that is far behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StateAt {
    /// The last entry that is in it.
    pub applied: LogIndex,
    /// The state.
    pub snapshot: Snapshot,
}
