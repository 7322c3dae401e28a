//! Refusals of commands and renews: etcd's four errors, in etcd's words, and two of our own. And the
//! errors of snapshots, and of texts that are read as an id or a ttl.

use core::fmt;

use crate::LeaseId;

/// The reason why a lessor refuses an operation (etcd: `ErrNotPrimary`, `ErrLeaseNotFound`,
/// `ErrLeaseExists`, `ErrLeaseTTLTooLarge`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Error {
    /// This member is not the primary. Only the primary renews, expires and knows remaining times.
    NotPrimary,
    /// No lease has this id: it was never granted, or has been revoked.
    LeaseNotFound,
    /// A lease with this id exists already.
    LeaseExists,
    /// The requested ttl is above [`Ttl::MAX`](crate::Ttl::MAX).
    TtlTooLarge,
    /// A claimed item is held by another lease. The id is that of the holder of the first such item, in
    /// the order of the claim. (etcd has no claim; there it is a transaction of the user.)
    ItemHeld(LeaseId),
    /// An item to attach or claim has an empty key. A [`Member`](crate::Member) refuses it. A lessor
    /// applies it, because its log may hold some of earlier versions.
    EmptyItem,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ItemHeld(holder) => return write!(f, "an item is held by lease {holder}"),
            Self::NotPrimary => "not a primary lessor",
            Self::LeaseNotFound => "lease not found",
            Self::LeaseExists => "lease already exists",
            Self::TtlTooLarge => "too large lease TTL",
            Self::EmptyItem => "an item's key must not be empty",
        })
    }
}

impl core::error::Error for Error {}

/// Why a lessor cannot recover a [`Snapshot`](crate::Snapshot).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    /// Two records have the same id.
    LeaseTwice(LeaseId),
    /// A ttl is above [`Ttl::MAX`](crate::Ttl::MAX), or the remaining time is above the ttl.
    TtlOutOfRange(LeaseId),
    /// An item is held by a lease that is missing.
    UnknownHolder(LeaseId),
    /// An item appears twice. This is its second holder.
    ItemTwice(LeaseId),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseTwice(id) => write!(f, "lease {id} is there twice"),
            Self::TtlOutOfRange(id) => write!(f, "the ttl of lease {id} is out of range"),
            Self::UnknownHolder(id) => write!(f, "an item is held by lease {id}, which is missing"),
            Self::ItemTwice(id) => write!(f, "an item of lease {id} is there twice"),
        }
    }
}

impl core::error::Error for SnapshotError {}

/// Why a text or a number cannot be read as an id or a ttl.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// It is no [`LeaseId`].
    LeaseId,
    /// It is no [`MemberId`](crate::MemberId).
    MemberId,
    /// It is no [`Ttl`](crate::Ttl).
    Ttl,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaseId => "a lease id is a whole number of 64 bits, such as 7 or -7, and not 0",
            Self::MemberId => "a member id is a whole number from 0 to 18446744073709551615",
            Self::Ttl => {
                "a ttl is a time of at least 1ms in whole milliseconds, such as 10s, 1.5s or 250ms"
            }
        })
    }
}

impl core::error::Error for ParseError {}
