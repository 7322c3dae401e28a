//! What a member tells its host to do, as data.

use crate::{Confirmation, ExpiredBatch, Proposal, RequestError, Response, Ticket, Transaction};

/// What the host must do, in this order. It may do a commit beside what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Output {
    /// Hand this to the log. It may be lost, but never committed in another term.
    Propose(Proposal),
    /// Ask the log whether this member still leads.
    Confirm(Confirmation),
    /// Ask the log to make this member the leader.
    Campaign,
    /// Tell the log that this member gives up leading.
    Resign,
    /// Make this durable, and then call
    /// [`Member::handle_persisted`](crate::Member::handle_persisted). No other is handed out until
    /// then, and no answer that speaks of it. If it fails, do nothing more, ever.
    Commit(Transaction),
    /// This renew waits for the revoke of its lease, which may take long. It is answered then; until
    /// then let it hold no permit that others need.
    Waits(Ticket),
    /// Answer a request.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// With what.
        answer: Result<Response, RequestError>,
    },
    /// Show the subscribers which leases have expired; the member revokes them itself.
    Expired(ExpiredBatch),
}
