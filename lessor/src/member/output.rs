//! Tasks of a member's host, as data.

use crate::{Confirmation, ExpiredBatch, Proposal, RequestError, Response, Ticket, Transaction};

/// Something that the host must do, in order. It may carry out a commit beside the outputs after it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Output {
    /// Hand this to the log. It may be lost, but must not be committed in another term.
    Propose(Proposal),
    /// Ask the log whether this member still leads.
    Confirm(Confirmation),
    /// Ask the log to make this member the leader.
    Campaign,
    /// Tell the log that this member gives up its leadership.
    Resign,
    /// Make this durable, then call [`Member::handle_persisted`](crate::Member::handle_persisted). Until
    /// then no other commit leaves the member, and no answer that tells of it. If it fails, drop the member
    /// and do nothing more.
    Commit(Transaction),
    /// This renew waits for the revoke of its lease, which may take long, and is answered afterwards. Do
    /// not let it take room that other requests need.
    Waits(Ticket),
    /// Answer a request.
    Answer {
        /// The ticket of the request.
        ticket: Ticket,
        /// The answer.
        answer: Result<Response, RequestError>,
    },
    /// Show the expired leases to subscribers. The member revokes them itself.
    Expired(ExpiredBatch),
}
