//! What the world wants done.

use lessor::driver::LogEvent;
use lessor::{LeaseId, MemberId, Request};

use crate::env::packet::Packet;

/// What the world wants done.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Debug)]
pub enum HostAction {
    /// Start this member's process.
    Boot(MemberId),
    /// End this member's process at once.
    Kill(MemberId),
    /// Drop this member's driver, and nothing else of its process.
    Abort(MemberId),
    /// Open this member's store once more.
    OpenAgain(MemberId),
    /// Open the stream of this member's expired batches, read nothing while the fault of a step lasts, and
    /// then drop it or read on.
    Observe {
        member: MemberId,
        /// Which step.
        step: usize,
        /// Whether to drop it.
        leaves: bool,
    },
    /// Stop this member's driver, gracefully.
    Stop(MemberId),
    /// Let this member's process stand still.
    Pause(MemberId),
    /// Let it go on.
    Resume(MemberId),
    /// Hand this to the member's log.
    Deliver(MemberId, LogEvent),
    /// Hand these bytes of the first member's log to that of the second.
    Receive(MemberId, MemberId, Vec<u8>),
    /// Carry this over the network.
    Send(Packet),
    /// Wait no more for the answer to the call of this number, and drop the guard that came of it.
    GiveUp(u64),
    /// Ask a member, and tell the answer under this number.
    Call { call: u64, member: MemberId, request: Request },
    /// Have a member's handle keep a lease alive, and tell under this number that the guard lives, why it does
    /// not, and when it has lost its lease.
    KeepAlive { call: u64, member: MemberId, lease: LeaseId, lessee: usize },
}
