//! Requests to a member, and its answers.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::{
    Error, Item, Lease, LeaseId, LeaseOrder, LeaseRecord, LogIndex, MemberId, RequestId, Ttl,
};

/// A request to a member.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Request {
    /// Create a lease.
    Grant {
        /// Its id. The member picks one if it is `None`.
        id: Option<LeaseId>,
        /// Its ttl, raised to [`Config::min_ttl`](crate::Config::min_ttl).
        ttl: Ttl,
    },
    /// Create the lease of a request id, or find it if it exists, so that asking again is safe. If that
    /// lease has ended meanwhile, a new one with the same id is granted.
    GrantOnce {
        /// Determines the id ([`RequestId::lease`]).
        request: RequestId,
        /// Its ttl, raised to [`Config::min_ttl`](crate::Config::min_ttl). A lease that exists keeps its
        /// own.
        ttl: Ttl,
    },
    /// Remove a lease and all its items.
    Revoke {
        /// The lease.
        id: LeaseId,
    },
    /// Extend a lease to its whole ttl, counted from now.
    Renew {
        /// The lease.
        id: LeaseId,
    },
    /// Attach items to a lease; an item that another lease holds moves.
    Attach {
        /// The lease.
        id: LeaseId,
        /// The items.
        items: Vec<Item>,
    },
    /// Detach items from a lease.
    Detach {
        /// The lease.
        id: LeaseId,
        /// The items.
        items: Vec<Item>,
    },
    /// Attach items to a lease if no other lease holds any of them.
    Claim {
        /// The lease.
        id: LeaseId,
        /// The items.
        items: Vec<Item>,
    },
    /// Read one lease with its remaining time and *all* its items. This takes time linear in the items, a
    /// tenth of a second for a million. [`TimeToLive`](Self::TimeToLive) and [`Items`](Self::Items) do not.
    Lookup {
        /// The lease.
        id: LeaseId,
    },
    /// Read one lease with its remaining time and the number of its items, in constant time.
    TimeToLive {
        /// The lease.
        id: LeaseId,
    },
    /// Read a page of the items of one lease, in the order of their keys.
    Items {
        /// The lease.
        id: LeaseId,
        /// The last item of the previous page. The lease need not hold it any more.
        after: Option<Item>,
        /// The most items to return.
        limit: usize,
    },
    /// Read a page of leases.
    Leases {
        /// The order.
        order: LeaseOrder,
        /// The last lease of the previous page.
        after: Option<Lease>,
        /// The most leases to return.
        limit: usize,
    },
    /// Read which lease holds an item.
    LeaseOf {
        /// The item.
        item: Item,
    },
    /// Become the primary. A primary extends all leases.
    Promote,
    /// Stop being the primary.
    Demote,
}

/// A member's answer to a request that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Response {
    /// A lease was granted.
    Granted {
        /// Its id.
        id: LeaseId,
        /// Its ttl.
        ttl: Ttl,
        /// The log index of the grant. If a [`Request::GrantOnce`] found the lease, an index at which it
        /// existed.
        index: LogIndex,
    },
    /// A change was applied at this log index. Indexes rise, and no two changes share one.
    Applied {
        /// The log index.
        index: LogIndex,
    },
    /// A lease was renewed.
    Renewed {
        /// Its ttl, counted from the moment of the request.
        ttl: Ttl,
    },
    /// The promotion or demotion is done.
    Done,
    /// The lease, if it exists.
    Lookup(Option<LeaseStatus>),
    /// The lease without its items, if it exists.
    TimeToLive(Option<TimeToLive>),
    /// The items of the page, if the lease exists.
    Items(Option<Vec<Item>>),
    /// The leases of the page.
    Leases(Vec<Lease>),
    /// The lease that holds the item, if there is one.
    LeaseOf(Option<LeaseId>),
}

/// One lease with all its items, as the primary knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LeaseStatus {
    /// The replicated part.
    pub record: LeaseRecord,
    /// The time until it expires, zero if it has expired and waits for its revoke.
    pub remaining: Duration,
    /// Its items, in the order of their keys.
    pub items: Vec<Item>,
}

/// One lease without its items, as the primary knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimeToLive {
    /// The replicated part.
    pub record: LeaseRecord,
    /// The time until it expires, zero if it has expired and waits for its revoke. After a promotion it may
    /// be more than the ttl.
    pub remaining: Duration,
    /// The number of its items.
    pub items: usize,
}

/// Why a request did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum RequestError {
    /// The lessor refused.
    Refused(Error),
    /// This member is not the primary. Nothing was done.
    NotPrimary {
        /// The member that probably is.
        leader: Option<MemberId>,
    },
    /// It may or may not have been done, or may still be done: the leadership was lost, or no answer came
    /// within [`Config::request_timeout`](crate::Config::request_timeout). Asking again is safe, except for
    /// a grant without an id, which may leave an unknown lease until it expires. Use
    /// [`Request::GrantOnce`] instead.
    Unknown,
    /// The member was stopped. Nothing was done.
    Stopped,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => fmt::Display::fmt(error, f),
            Self::NotPrimary { leader: Some(leader) } => {
                write!(f, "not a primary lessor, member {leader} leads")
            }
            Self::NotPrimary { leader: None } => f.write_str("not a primary lessor"),
            Self::Unknown => f.write_str("no answer in time, it may or may not have been done"),
            Self::Stopped => f.write_str("the member was stopped"),
        }
    }
}

impl core::error::Error for RequestError {}

/// A refusal of the core. `NotPrimary` becomes [`RequestError::NotPrimary`] without a leader.
impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotPrimary => Self::NotPrimary { leader: None },
            Error::LeaseNotFound
            | Error::LeaseExists
            | Error::TtlTooLarge
            | Error::EmptyItem
            | Error::ItemHeld(_) => Self::Refused(error),
        }
    }
}

/// The refusal of a request that no member would propose.
pub(super) fn refusal(request: &Request) -> Option<Error> {
    let has_empty = |items: &[Item]| items.iter().any(|item| item.key().is_empty());
    match request {
        Request::Grant { ttl, .. } | Request::GrantOnce { ttl, .. } => {
            (*ttl > Ttl::MAX).then_some(Error::TtlTooLarge)
        }
        Request::Attach { items, .. } | Request::Claim { items, .. } => {
            has_empty(items).then_some(Error::EmptyItem)
        }
        Request::Revoke { .. }
        | Request::Renew { .. }
        | Request::Detach { .. }
        | Request::Lookup { .. }
        | Request::TimeToLive { .. }
        | Request::Items { .. }
        | Request::Leases { .. }
        | Request::LeaseOf { .. }
        | Request::Promote
        | Request::Demote => None,
    }
}
