//! The log of a member: its end of the modelled Raft, or a log of somebody else's.

use std::future::Future;
use std::pin::Pin;

use lessor::driver::{Log, LogEvent};
use lessor::{Confirmation, LogIndex, MemberId, Proposal};
use tokio::sync::mpsc;

use super::{Shared, SimRuntime};
use crate::env::disk::Mount;

/// A member's end of the log that the scenario names.
pub struct SimLog {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
    pub(super) source: Source,
}

/// Where its events come from.
pub(super) enum Source {
    Modelled(mpsc::UnboundedReceiver<LogEvent>),
    Own(Box<dyn AnyLog>),
}

impl SimLog {
    /// The log, if it is somebody else's: the modelled one the world tells itself.
    fn own(&mut self) -> Option<&mut dyn AnyLog> {
        match &mut self.source {
            Source::Modelled(_) => None,
            Source::Own(log) => Some(&mut **log),
        }
    }
}

impl Log for SimLog {
    fn start(&mut self, applied: LogIndex) {
        self.shared.tell(|world| world.log_started(self.member, applied));
        if let Some(log) = self.own() {
            log.start(applied);
        }
    }

    fn propose(&mut self, proposal: Proposal) {
        match &mut self.source {
            Source::Modelled(_) => self.shared.tell(|world| world.proposed(self.member, proposal)),
            Source::Own(log) => {
                self.shared.tell(|world| world.proposed(self.member, proposal.clone()));
                log.propose(proposal);
            }
        }
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        self.shared.tell(|world| world.confirm_asked(self.member, confirmation));
        if let Some(log) = self.own() {
            log.confirm(confirmation);
        }
    }

    fn applied(&mut self, applied: LogIndex) {
        if let Some(log) = self.own() {
            log.applied(applied);
        }
    }

    fn campaign(&mut self) {
        self.shared.tell(|world| world.campaigned(self.member));
        if let Some(log) = self.own() {
            log.campaign();
        }
    }

    fn resign(&mut self) {
        self.shared.tell(|world| world.resigned(self.member));
        if let Some(log) = self.own() {
            log.resign();
        }
    }

    async fn next(&mut self) -> Option<LogEvent> {
        match &mut self.source {
            Source::Modelled(events) => events.recv().await,
            Source::Own(log) => {
                let event = log.next().await?;
                self.shared.tell(|world| world.handed(self.member, &event));
                Some(event)
            }
        }
    }
}

/// A [`Log`] of any type.
pub(super) trait AnyLog: Send {
    fn start(&mut self, applied: LogIndex);
    fn propose(&mut self, proposal: Proposal);
    fn confirm(&mut self, confirmation: Confirmation);
    fn applied(&mut self, applied: LogIndex);
    fn campaign(&mut self);
    fn resign(&mut self);
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<LogEvent>> + Send + '_>>;
}

impl<L: Log> AnyLog for L {
    fn start(&mut self, applied: LogIndex) {
        Log::start(self, applied);
    }

    fn propose(&mut self, proposal: Proposal) {
        Log::propose(self, proposal);
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        Log::confirm(self, confirmation);
    }

    fn applied(&mut self, applied: LogIndex) {
        Log::applied(self, applied);
    }

    fn campaign(&mut self) {
        Log::campaign(self);
    }

    fn resign(&mut self) {
        Log::resign(self);
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<LogEvent>> + Send + '_>> {
        Box::pin(Log::next(self))
    }
}

/// Where a log of somebody else's runs at a member: everything that it may touch.
///
/// It has no task of its own: what it does, it does when its member calls it or awaits its next event.
pub struct LogSeat {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
    pub(super) inbox: Option<mpsc::UnboundedReceiver<(MemberId, Vec<u8>)>>,
}

impl LogSeat {
    /// The number of the member.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The numbers of all members.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        self.shared.world().members()
    }

    /// Time and threads, by the clock of this machine.
    #[must_use]
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime { shared: self.shared.clone(), member: self.member }
    }

    /// The log's own disk. It loses its power with the machine, and what was not synced then; it is neither
    /// full nor exchanged, and does not rot.
    #[must_use]
    pub fn disk(&self) -> Mount {
        self.shared.world().log_disk(self.member).mount()
    }

    /// The network between the logs of all members.
    ///
    /// # Panics
    ///
    /// If it was taken before.
    #[must_use]
    pub fn network(&mut self) -> Network {
        let inbox = self.inbox.take().expect("a log has one end of the network");
        Network { shared: self.shared.clone(), member: self.member, inbox }
    }

    /// A number by chance, which follows from the seed of the scenario.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.shared.world().draw_for_log()
    }
}

/// A log's end of the network, which loses, delays, repeats and reorders what is sent.
pub struct Network {
    shared: Shared,
    member: MemberId,
    inbox: mpsc::UnboundedReceiver<(MemberId, Vec<u8>)>,
}

impl Network {
    /// Sends a message to the log of another member. It may be lost.
    pub fn send(&self, to: MemberId, bytes: Vec<u8>) {
        self.shared.tell(|world| world.sends(self.member, to, bytes));
    }

    /// The next message, and who sent it. Dropping the future loses none.
    pub async fn recv(&mut self) -> (MemberId, Vec<u8>) {
        match self.inbox.recv().await {
            Some(received) => received,
            // The machine is gone.
            None => std::future::pending().await,
        }
    }
}
