//! Input as data: what is replicated through the host's log, and every other call beside it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Instant, Item, LeaseId, Ticket, Ttl};

/// A change that every member applies, in the order of the log.
///
/// A command means the same on every member: nothing in it depends on a clock, a role or a
/// configuration. In particular the ttl of a grant is final; the host raises it to
/// [`Config::min_ttl`](crate::Config::min_ttl) where it *proposes* the grant.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Command {
    /// Creates a lease.
    Grant {
        /// The id, which no lease may have yet.
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
    /// Detaches items from a lease; an item that it does not hold is left alone.
    Detach {
        /// The lease.
        id: LeaseId,
        /// The items, in any order.
        items: Vec<Item>,
    },
    /// Attaches items to a lease if no other lease holds any of them; else it changes nothing.
    Claim {
        /// The lease. What it holds already is no obstacle, and stays.
        id: LeaseId,
        /// The items, in any order.
        items: Vec<Item>,
    },
    /// Records how much of their ttl leases had left; an unknown lease is ignored.
    Checkpoint {
        /// At most [`Checkpoint::MAX_BATCH`] where the core proposes them.
        checkpoints: Vec<Checkpoint>,
    },
}

/// What one lease had left of its ttl.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Checkpoint {
    /// The lease.
    pub id: LeaseId,
    /// The time left, rounded up, or `None` for "all of it", which a renew asks for.
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
/// [`Lessor::handle_input`](crate::Lessor::handle_input) takes it; the methods of the same names
/// are the same calls with typed answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Input {
    /// [`Lessor::apply`](crate::Lessor::apply)
    Apply(Command),
    /// [`Lessor::renew`](crate::Lessor::renew)
    Renew {
        /// What the answer will carry.
        ticket: Ticket,
        /// The lease.
        id: LeaseId,
    },
    /// [`Lessor::renew_asked`](crate::Lessor::renew_asked)
    RenewAsked {
        /// When it came in.
        asked: Instant,
        /// What the answer will carry.
        ticket: Ticket,
        /// The lease.
        id: LeaseId,
    },
    /// [`Lessor::forget_renew`](crate::Lessor::forget_renew)
    ForgetRenew {
        /// Which is not to be answered.
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
