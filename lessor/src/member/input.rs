//! Calls to a member, as data.

use alloc::vec::Vec;

use crate::{Confirmation, Entry, LogIndex, Request, Role, StateAt, Ticket};

/// Every way to change a [`Member`](crate::Member), as data, to record and to replay.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum MemberInput {
    /// [`Member::request`](crate::Member::request)
    Request {
        /// The ticket that the answer will carry.
        ticket: Ticket,
        /// The request.
        request: Request,
    },
    /// [`Member::handle_committed`](crate::Member::handle_committed)
    Committed(Vec<Entry>),
    /// [`Member::handle_role`](crate::Member::handle_role)
    Role(Role),
    /// [`Member::handle_confirmed`](crate::Member::handle_confirmed)
    Confirmed {
        /// The question.
        confirmation: Confirmation,
        /// The answer.
        committed: Option<LogIndex>,
    },
    /// [`Member::handle_installed`](crate::Member::handle_installed)
    Installed(StateAt),
    /// [`Member::go_on`](crate::Member::go_on)
    GoOn,
    /// [`Member::handle_persisted`](crate::Member::handle_persisted)
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
