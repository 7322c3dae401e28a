//! A member's changes that its backend makes durable at once.

use alloc::vec::Vec;

use crate::{Digest, LogIndex, RangeDelete, Write};

/// One atomic, durable step of a store: from the state at `after` to the state at `applied`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transaction {
    /// The log index of the store before it. A store at another index refuses.
    pub after: LogIndex,
    /// The log index of the store after it.
    pub applied: LogIndex,
    /// The digest of the whole state after it, by which a reader finds damage.
    pub digest: Digest,
    /// Whether everything stored is removed first. Then the changes are a whole state.
    pub reset: bool,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// One change of a [`Transaction`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Change {
    /// A change of the lease store.
    Write(Write),
    /// The deletion of the items of a revoked lease: of their rows in the lease store, and of everything
    /// that the host keeps under their keys.
    RangeDelete(RangeDelete),
}
