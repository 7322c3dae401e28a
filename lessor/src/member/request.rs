//! What users ask of a member, and what it answers.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::{
    Error, Item, Lease, LeaseId, LeaseOrder, LeaseRecord, LogIndex, MemberId, RequestId, Ttl,
};

/// What a user asks of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Request {
    /// Create a lease.
    Grant {
        /// Its id; the member picks one if there is none.
        id: Option<LeaseId>,
        /// Its ttl, raised to [`Config::min_ttl`](crate::Config::min_ttl).
        ttl: Ttl,
    },
    /// Create the lease that belongs to a request id, or find the one that is there already: so asking
    /// again is safe. If that lease has ended meanwhile, another one with the same id is granted.
    GrantOnce {
        /// What the id follows from ([`RequestId::lease`]).
        request: RequestId,
        /// Its ttl, raised to [`Config::min_ttl`](crate::Config::min_ttl); a lease that is there keeps
        /// its own.
        ttl: Ttl,
    },
    /// Remove a lease and all its items.
    Revoke {
        /// The lease.
        id: LeaseId,
    },
    /// Extend a lease to its whole ttl from now.
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
    /// Read one lease with *all* its items and its remaining time, in time linear in the items: a million
    /// take a tenth of a second. [`TimeToLive`](Self::TimeToLive) and [`Items`](Self::Items) do not.
    Lookup {
        /// The lease.
        id: LeaseId,
    },
    /// Read one lease, its remaining time and how many items it has, whatever their number.
    TimeToLive {
        /// The lease.
        id: LeaseId,
    },
    /// Read a page of the items of one lease, in the order of their keys.
    Items {
        /// The lease.
        id: LeaseId,
        /// The last item of the page before; it need not be attached any more.
        after: Option<Item>,
        /// The most items to answer with.
        limit: usize,
    },
    /// Read a page of leases.
    Leases {
        /// In which order.
        order: LeaseOrder,
        /// The last lease of the page before.
        after: Option<Lease>,
        /// The most leases to answer with.
        limit: usize,
    },
    /// Read which lease holds an item.
    LeaseOf {
        /// The item.
        item: Item,
    },
    /// Become the primary, or extend all leases if it is already.
    Promote,
    /// Be primary no longer.
    Demote,
}

/// What a member answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Response {
    /// A lease was granted.
    Granted {
        /// Its id.
        id: LeaseId,
        /// The ttl it got.
        ttl: Ttl,
        /// The log index at which it was granted. If a [`Request::GrantOnce`] found it, an index at
        /// which it existed.
        index: LogIndex,
    },
    /// A change was applied at this log index. Indexes rise, and no two changes share one.
    Applied {
        /// The log index.
        index: LogIndex,
    },
    /// A lease was renewed.
    Renewed {
        /// The time it has from the moment at which the request was made.
        ttl: Ttl,
    },
    /// The promotion or demotion is done.
    Done,
    /// The lease, if there is one.
    Lookup(Option<LeaseStatus>),
    /// The lease without its items, if there is one.
    TimeToLive(Option<TimeToLive>),
    /// The items of the page, if there is such a lease.
    Items(Option<Vec<Item>>),
    /// The leases.
    Leases(Vec<Lease>),
    /// The lease that holds the item.
    LeaseOf(Option<LeaseId>),
}

/// All that the primary knows of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LeaseStatus {
    /// What is replicated of it.
    pub record: LeaseRecord,
    /// The time until it expires, zero if it waits for its revoke.
    pub remaining: Duration,
    /// Its items, in the order of their keys.
    pub items: Vec<Item>,
}

/// What the primary knows of a lease without its items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimeToLive {
    /// What is replicated of it.
    pub record: LeaseRecord,
    /// The time until it expires, zero if it waits for its revoke. More than the ttl for a while after a
    /// promotion.
    pub remaining: Duration,
    /// How many items are attached to it.
    pub items: usize,
}

/// Why a request was not fulfilled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum RequestError {
    /// The lessor refused.
    Refused(Error),
    /// This member is not the primary; nothing was done.
    NotPrimary {
        /// Who probably is.
        leader: Option<MemberId>,
    },
    /// Nobody knows whether it was or will be done: the leadership was lost, or no answer came within
    /// [`Config::request_timeout`](crate::Config::request_timeout). Asking again is safe, but for a
    /// grant that leaves the id to the member: it may leave a lease that nobody knows of until it
    /// expires. [`Request::GrantOnce`] does not.
    Unknown,
    /// The member was stopped; nothing was done.
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

/// A core that is not primary becomes a member that is not, and knows nobody who is.
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

/// What a request is refused for wherever it goes.
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
