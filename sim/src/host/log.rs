//! The log, as a driver asks for it.

use lessor::driver::{Log, LogEvent};
use lessor::{Confirmation, LogIndex, MemberId, Proposal};
use tokio::sync::mpsc;

use super::Shared;

/// A member's end of the modelled Raft.
pub struct SimLog {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
    pub(super) events: mpsc::UnboundedReceiver<LogEvent>,
}

impl Log for SimLog {
    fn start(&mut self, applied: LogIndex) {
        self.shared.tell(|world| world.log_started(self.member, applied));
    }

    fn propose(&mut self, proposal: Proposal) {
        self.shared.tell(|world| world.proposed(self.member, proposal));
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        self.shared.tell(|world| world.confirm_asked(self.member, confirmation));
    }

    fn applied(&mut self, _: LogIndex) {}

    fn campaign(&mut self) {
        self.shared.tell(|world| world.campaigned(self.member));
    }

    fn resign(&mut self) {
        self.shared.tell(|world| world.resigned(self.member));
    }

    async fn next(&mut self) -> Option<LogEvent> {
        self.events.recv().await
    }
}
