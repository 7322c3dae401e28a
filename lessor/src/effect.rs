//! Output as data: what the host must do after a mutation, in this order.

use alloc::vec::Vec;
use core::fmt;

use crate::{Checkpoint, Error, Item, LeaseId, LeaseRecord, Ttl};

/// The host's name for a renew that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Ticket(pub u64);

/// The number.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Something that the host must do.
///
/// All effects that [`poll_effect`](crate::Lessor::poll_effect) hands out between two mutations
/// belong together: the [writes](Effect::Write) and [range deletes](Effect::RangeDelete) among them
/// go into one backend transaction, in this order, and answers leave after it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Effect {
    /// These leases have expired and wait for their revoke: propose a
    /// [`Command::Revoke`](crate::Command::Revoke) for each. A lease whose revoke is not applied within
    /// [`Config::retry_interval`](crate::Config::retry_interval) comes again (etcd: `ExpiredLeasesC`).
    Expired(ExpiredBatch),
    /// Delete what is stored under the items of a lease that was revoked (etcd: `RangeDeleter`).
    RangeDelete(RangeDelete),
    /// Change what is stored of the leases themselves.
    Write(Write),
    /// Propose a [`Command::Checkpoint`](crate::Command::Checkpoint) (etcd: `Checkpointer`).
    Checkpoint(Vec<Checkpoint>),
    /// Answer a renew: the ttl that it has from the moment of the request, or why not.
    Renewed {
        /// What [`renew`](crate::Lessor::renew) was called with; each comes back exactly once.
        ticket: Ticket,
        /// The ttl promised, or the refusal.
        result: Result<Ttl, Error>,
    },
}

/// Leases that expired, ordered by their expiry, then by id; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct ExpiredBatch {
    /// The ids, at most half of [`Config::revoke_rate`](crate::Config::revoke_rate).
    pub leases: Vec<LeaseId>,
}

/// The end of all items of one lease.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RangeDelete {
    /// The lease that was revoked.
    pub lease: LeaseId,
    /// Its items in ascending order of their keys, the same on every member; never empty.
    pub items: Vec<Item>,
}

/// One change to the lease store.
///
/// Every write states the new truth instead of a difference, so that doing it twice is harmless.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Write {
    /// Store this record under its id.
    PutLease(LeaseRecord),
    /// Remove the record of this lease.
    DeleteLease(LeaseId),
    /// Store that this lease holds this item.
    PutItem(Item, LeaseId),
    /// Remove this item; what the host keeps under its key stays.
    DeleteItem(Item),
}
