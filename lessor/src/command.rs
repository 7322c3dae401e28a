//! Input as data: the commands of the host's log, and all other calls.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Instant, Item, LeaseId, Ticket, Ttl};

/// A change that every member applies, in the order of the log.
///
/// A command means the same on every member: nothing in it depends on a clock, a role or a
/// configuration. In particular the ttl of a grant is final. The host raises it to
/// [`Config::min_ttl`](crate::Config::min_ttl) when it *proposes* the grant.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Command {
    /// Creates a lease.
    Grant {
        /// The id, which must be free.
        id: LeaseId,
        /// Its ttl, at most [`Ttl::MAX`].
        ttl: Ttl,
    },
    /// Removes a lease, and deletes all items attached to it.
    Revoke {
        /// The lease.
        id: LeaseId,
    },
    /// Attaches items to a lease; an item that another lease holds moves.
    Attach {
        /// The lease.
        id: LeaseId,
        /// The items, in any order.
        items: Vec<Item>,
    },
    /// Detaches items from a lease. Items that it does not hold are ignored.
    Detach {
        /// The lease.
        id: LeaseId,
        /// The items, in any order.
        items: Vec<Item>,
    },
    /// Attaches items to a lease if no other lease holds any of them. Otherwise nothing changes.
    Claim {
        /// The lease. Items that it holds already stay with it.
        id: LeaseId,
        /// The items, in any order.
        items: Vec<Item>,
    },
    /// Records how much of its ttl each lease had left. Unknown leases are ignored.
    Checkpoint {
        /// The core proposes at most [`Checkpoint::MAX_BATCH`] at once.
        checkpoints: Vec<Checkpoint>,
    },
}

/// The remaining time of one lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Checkpoint {
    /// The lease.
    pub id: LeaseId,
    /// The time left, rounded up. `None` means the whole ttl, which a renew asks for (an *unset*).
    pub remaining: Option<Ttl>,
}

impl Command {
    /// The lease that it grants or revokes.
    pub(crate) fn decides_on(&self) -> Option<LeaseId> {
        match self {
            Self::Grant { id, .. } | Self::Revoke { id } => Some(*id),
            Self::Attach { .. }
            | Self::Detach { .. }
            | Self::Claim { .. }
            | Self::Checkpoint { .. } => None,
        }
    }
}

impl Checkpoint {
    /// The most checkpoints that the core proposes at once (etcd: `maxLeaseCheckpointBatchSize`).
    pub const MAX_BATCH: usize = 1_000;
}

/// Every way to change a [`Lessor`](crate::Lessor), as data, to record and to replay.
///
/// [`Lessor::handle_input`](crate::Lessor::handle_input) takes it. The methods of the same names are
/// the same calls with typed answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Input {
    /// [`Lessor::apply`](crate::Lessor::apply)
    Apply(Command),
    /// [`Lessor::renew`](crate::Lessor::renew)
    Renew {
        /// The ticket that the answer will carry.
        ticket: Ticket,
        /// The lease.
        id: LeaseId,
    },
    /// [`Lessor::renew_asked`](crate::Lessor::renew_asked)
    RenewAsked {
        /// When the request arrived.
        asked: Instant,
        /// The ticket that the answer will carry.
        ticket: Ticket,
        /// The lease.
        id: LeaseId,
    },
    /// [`Lessor::forget_renew`](crate::Lessor::forget_renew)
    ForgetRenew {
        /// The renew that must not be answered.
        ticket: Ticket,
        /// The lease.
        id: LeaseId,
    },
    /// [`Lessor::promote`](crate::Lessor::promote)
    Promote {
        /// The time added to every lease.
        extend: Duration,
    },
    /// [`Lessor::demote`](crate::Lessor::demote)
    Demote,
    /// [`Lessor::hold_expired`](crate::Lessor::hold_expired)
    HoldExpired(bool),
    /// [`Lessor::handle_timeout`](crate::Lessor::handle_timeout)
    Timeout,
}
