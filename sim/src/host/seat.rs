//! Where a host runs a member: everything that it may touch.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use lessor::backend::BackendError;
use lessor::driver::{CallError, Handle, LogEvent};
use lessor::{Config, MemberId, Request, Response};
use tokio::sync::{Notify, mpsc};

use super::backend::SimBackend;
use super::log::{LogSeat, SimLog, Source};
use super::runtime::SimRuntime;
use super::tap::Tap;
use super::testbed::{HostError, Parts};
use super::{Shared, TRY_AGAIN};
use crate::env::disk::Mount;

/// A machine of the simulation, as the host of a member sees it.
///
/// A host takes its settings, its clock, its store and its log from here, shows what its member is told and
/// says, and says who answers requests. It need not take all of it: what it does not show is not judged.
pub struct Seat {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
    pub(super) parts: Parts,
    /// Where the member's log takes its events, if it is the modelled one, and its messages, if not.
    pub(super) ends: Option<Ends>,
    pub(super) services: Services,
    pub(super) stop: Arc<Notify>,
}

pub(super) type Ends =
    (mpsc::UnboundedReceiver<LogEvent>, mpsc::UnboundedReceiver<(MemberId, Vec<u8>)>);

/// Who answers for each member that runs.
pub(super) type Services = Arc<Mutex<BTreeMap<MemberId, Service>>>;

/// Who answers for a member.
#[derive(Clone)]
pub(super) enum Service {
    Handle(Handle),
    Own { ask: Arc<Ask>, stop: Arc<Notify> },
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, CallError>> + Send>>;
pub(super) type Ask = dyn Fn(Request) -> Answering + Send + Sync;

impl Service {
    /// Asks for something.
    pub(super) async fn request(&self, request: Request) -> Result<Response, CallError> {
        match self {
            Self::Handle(handle) => handle.request(request).await,
            Self::Own { ask, .. } => ask(request).await,
        }
    }

    /// Asks it to stop.
    pub(super) async fn stop(&self) {
        match self {
            // How it ended its host says.
            Self::Handle(handle) => drop(handle.stop().await),
            Self::Own { stop, .. } => stop.notify_one(),
        }
    }
}

impl Seat {
    /// The number of the member, from 1 on.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The settings of all members.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared.world().config().clone()
    }

    /// Time and threads, by the clock of this machine.
    #[must_use]
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime { shared: self.shared.clone(), member: self.member }
    }

    /// The store that the scenario names, on the disk of this machine. While an earlier engine still has it
    /// open, this waits.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened.
    pub async fn open_backend(&self) -> Result<SimBackend, BackendError> {
        loop {
            match SimBackend::mount(self.shared.clone(), self.member, &*self.parts.open) {
                Err(BackendError::Locked { .. }) => {
                    self.shared.tell(|world| world.locked_out(self.member));
                    self.shared.time.sleep(TRY_AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    /// The disk itself, for a host that keeps its leases in no [`Backend`](lessor::backend::Backend).
    #[must_use]
    pub fn disk(&self) -> Mount {
        self.shared.world().disk(self.member).mount()
    }

    /// The member's end of the log that the scenario names.
    ///
    /// # Errors
    ///
    /// Why a log of somebody else's cannot be opened. The modelled one always can.
    ///
    /// # Panics
    ///
    /// If it was taken before.
    pub fn log(&mut self) -> Result<SimLog, HostError> {
        let (events, inbox) = self.ends.take().expect("a log has one end at each member");
        let (shared, member) = (self.shared.clone(), self.member);
        let source = match &self.parts.log {
            None => Source::Modelled(events),
            Some(open) => {
                let inbox = Some(inbox);
                Source::Own(open(LogSeat { shared: shared.clone(), member, inbox })?)
            }
        };
        Ok(SimLog { shared, member, source })
    }

    /// What the host shows its member's inputs and outputs to.
    #[must_use]
    pub fn tap(&self) -> Tap {
        Tap { shared: self.shared.clone(), member: self.member }
    }

    /// From now on this handle answers the requests that are sent to the member.
    pub fn serve(&self, handle: Handle) {
        self.serve_by(Service::Handle(handle));
    }

    /// From now on this answers the requests that are sent to the member. A dropped future is a request that
    /// nobody waits for any more. Guards ([`KeepAlive`](lessor::driver::KeepAlive)) and observers of expired
    /// leases need a [`Handle`], so they get no answer.
    pub fn serve_with<A>(&self, ask: impl Fn(Request) -> A + Send + Sync + 'static)
    where
        A: Future<Output = Result<Response, CallError>> + Send + 'static,
    {
        let ask = Arc::new(move |request| Box::pin(ask(request)) as Answering);
        self.serve_by(Service::Own { ask, stop: self.stop.clone() });
    }

    /// Returns when a host that serves by itself is asked to stop; it then ends as soon as all that it has
    /// promised is durable.
    pub async fn stopped(&self) {
        self.stop.notified().await;
    }

    fn serve_by(&self, service: Service) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(self.member, service);
        drop(services);
        self.shared.tell(|world| world.booted(self.member));
    }
}
