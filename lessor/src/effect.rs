//! Output as data: what the host must do after a call, in order.

use alloc::vec::Vec;
use core::fmt;

use crate::{Checkpoint, Error, Item, LeaseId, LeaseRecord, Ttl};

/// The number by which a host recognises the answer to a request.
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
/// All effects that [`poll_effect`](crate::Lessor::poll_effect) returns between two calls belong
/// together. The [writes](Effect::Write) and [range deletes](Effect::RangeDelete) among them go into
/// one backend transaction, in this order. Answers leave after it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Effect {
    /// These leases have expired and wait for their revoke: propose a
    /// [`Command::Revoke`](crate::Command::Revoke) for each. A lease that is not revoked within
    /// [`Config::retry_interval`](crate::Config::retry_interval) comes again (etcd: `ExpiredLeasesC`).
    Expired(ExpiredBatch),
    /// Delete the keys of a lease that was revoked (etcd: `RangeDeleter`).
    RangeDelete(RangeDelete),
    /// Change the stored leases.
    Write(Write),
    /// Propose a [`Command::Checkpoint`](crate::Command::Checkpoint) (etcd: `Checkpointer`).
    Checkpoint(Vec<Checkpoint>),
    /// Answer a renew: with the ttl that counts from the request, or with a refusal.
    Renewed {
        /// The ticket given to [`renew`](crate::Lessor::renew). Each comes back exactly once.
        ticket: Ticket,
        /// The promised ttl, or the refusal.
        result: Result<Ttl, Error>,
    },
}

/// Expired leases, ordered by expiry, then by id. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct ExpiredBatch {
    /// Their ids, at most half of [`Config::revoke_rate`](crate::Config::revoke_rate).
    pub leases: Vec<LeaseId>,
}

/// The deletion of all items of one lease.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RangeDelete {
    /// The lease that was revoked.
    pub lease: LeaseId,
    /// Its items in ascending order of their keys, the same on every member. Never empty.
    pub items: Vec<Item>,
}

/// One change to the lease store.
///
/// Every write states the new value instead of a difference, so doing it twice is harmless.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Write {
    /// Store this record under its id.
    PutLease(LeaseRecord),
    /// Remove the record of this lease.
    DeleteLease(LeaseId),
    /// Store that the lease holds the item.
    PutItem(Item, LeaseId),
    /// Remove the item. What the host keeps under its key stays.
    DeleteItem(Item),
}
