//! What a member is told, as data.

use alloc::vec::Vec;

use crate::{Confirmation, Entry, LogIndex, Request, Role, StateAt, Ticket};

/// Every way to change a [`Member`](crate::Member), as data, to record and to replay.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum MemberInput {
    /// [`Member::request`](crate::Member::request)
    Request {
        /// What the answer will carry.
        ticket: Ticket,
        /// The request.
        request: Request,
    },
    /// [`Member::committed`](crate::Member::committed)
    Committed(Vec<Entry>),
    /// [`Member::role`](crate::Member::role)
    Role(Role),
    /// [`Member::confirmed`](crate::Member::confirmed)
    Confirmed {
        /// The question.
        confirmation: Confirmation,
        /// The answer.
        committed: Option<LogIndex>,
    },
    /// [`Member::installed`](crate::Member::installed)
    Installed(StateAt),
    /// [`Member::go_on`](crate::Member::go_on)
    GoOn,
    /// [`Member::persisted`](crate::Member::persisted)
    Persisted(LogIndex),
    /// [`Member::forget`](crate::Member::forget)
    Forget(Ticket),
    /// [`Member::hold_expired`](crate::Member::hold_expired)
    HoldExpired(bool),
    /// [`Member::handle_timeout`](crate::Member::handle_timeout)
    Timeout,
    /// [`Member::stop`](crate::Member::stop)
    Stop,
}
