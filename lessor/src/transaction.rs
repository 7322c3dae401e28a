//! What a member asks its backend to make durable at once.

use alloc::vec::Vec;

use crate::{Digest, LogIndex, RangeDelete, Write};

/// One atomic, durable step of a store: from the state at `after` to the state at `applied`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transaction {
    /// The log index that the store must stand at; a store that does not refuses.
    pub after: LogIndex,
    /// The log index that the store stands at afterwards.
    pub applied: LogIndex,
    /// The digest of the whole state afterwards, by which a reader finds damage.
    pub digest: Digest,
    /// Whether everything stored is removed first: the changes are then a whole state.
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
    /// The end of the items of a revoked lease: their rows in the lease store, and whatever the host
    /// keeps under their keys.
    RangeDelete(RangeDelete),
}
