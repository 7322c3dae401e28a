//! The asking side of a driver: cheap to clone, safe to share, async.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::DriverError;
use crate::{
    Error, ExpiredBatch, Item, Lease, LeaseId, LeaseOrder, LeaseStatus, Request, RequestError,
    Response, Ttl,
};

/// A handle to a running lease engine.
///
/// Requests wait for their place while [`Config::queue`](crate::Config::queue) of them are in the
/// engine. A request whose future is dropped may still be done. When the last handle is dropped,
/// the engine stops as by [`stop`](Self::stop).
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    stop: Arc<Notify>,
    ended: Ended,
}

/// Why a call through a [`Handle`] did not give what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The engine's answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine has ended because of this error. What the call asked for may or may not have been
    /// done.
    #[error("the lease engine has failed: {0}")]
    Failed(Arc<DriverError>),
}

impl CallError {
    /// The lessor's own refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        match self {
            Self::Request(RequestError::Refused(error)) => Some(*error),
            Self::Request(RequestError::NotPrimary { .. }) => Some(Error::NotPrimary),
            Self::Request(RequestError::Unknown | RequestError::Stopped) | Self::Failed(_) => None,
        }
    }
}

/// The expired batches of an engine, in order, each before its leases are revoked (etcd:
/// `ExpiredLeasesC`).
///
/// It shows what the engine revokes by itself. A lease whose revoke was lost comes again. Nothing is
/// dropped: while 16 batches wait here no further lease is revoked, so take them, or drop this.
#[derive(Debug)]
pub struct Expired {
    batches: mpsc::Receiver<ExpiredBatch>,
}

impl Expired {
    /// The next batch, or `None` when the engine has ended.
    pub async fn recv(&mut self) -> Option<ExpiredBatch> {
        self.batches.recv().await
    }
}

impl Stream for Expired {
    type Item = ExpiredBatch;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ExpiredBatch>> {
        self.batches.poll_recv(cx)
    }
}

impl Handle {
    /// Creates a lease and returns its id and the ttl it got, which is at least
    /// [`Config::min_ttl`](crate::Config::min_ttl). Without an id the engine picks one.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseExists`], [`Error::TtlTooLarge`], or what every call can meet ([`CallError`]).
    pub async fn grant(
        &self,
        id: Option<LeaseId>,
        ttl: impl Into<Ttl>,
    ) -> Result<(LeaseId, Ttl), CallError> {
        let Response::Granted { id, ttl } =
            self.request(Request::Grant { id, ttl: ttl.into() }).await?
        else {
            unreachable!("a grant is not answered so")
        };
        Ok((id, ttl))
    }

    /// Removes a lease and deletes all its items.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or what every call can meet.
    pub async fn revoke(&self, id: LeaseId) -> Result<(), CallError> {
        self.done(Request::Revoke { id }).await
    }

    /// Extends a lease; the ttl returned counts from the moment of this call. Waits if the lease has
    /// expired and is about to be revoked.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or what every call can meet.
    pub async fn renew(&self, id: LeaseId) -> Result<Ttl, CallError> {
        let Response::Renewed { ttl } = self.request(Request::Renew { id }).await? else {
            unreachable!("a renew is not answered so")
        };
        Ok(ttl)
    }

    /// Attaches items to a lease; an item that another lease holds moves.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or what every call can meet.
    pub async fn attach(
        &self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<(), CallError> {
        let items = items.into_iter().map(Into::into).collect();
        self.done(Request::Attach { id, items }).await
    }

    /// Detaches items from a lease; one that it does not hold is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or what every call can meet.
    pub async fn detach(
        &self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<(), CallError> {
        let items = items.into_iter().map(Into::into).collect();
        self.done(Request::Detach { id, items }).await
    }

    /// Everything about a lease, or `None` if there is none with this id.
    ///
    /// # Errors
    ///
    /// What every call can meet.
    pub async fn lookup(&self, id: LeaseId) -> Result<Option<LeaseStatus>, CallError> {
        let Response::Lookup(status) = self.request(Request::Lookup { id }).await? else {
            unreachable!("a lookup is not answered so")
        };
        Ok(status)
    }

    /// The time until a lease expires, zero if it has.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or what every call can meet.
    pub async fn time_to_live(&self, id: LeaseId) -> Result<Duration, CallError> {
        let status = self.lookup(id).await?;
        status
            .map(|status| status.remaining)
            .ok_or(CallError::Request(RequestError::Refused(Error::LeaseNotFound)))
    }

    /// Up to `limit` leases in `order`, beginning behind `after`, the last of the page before.
    ///
    /// # Errors
    ///
    /// What every call can meet.
    pub async fn leases(
        &self,
        order: LeaseOrder,
        after: Option<Lease>,
        limit: usize,
    ) -> Result<Vec<Lease>, CallError> {
        let Response::Leases(leases) =
            self.request(Request::Leases { order, after, limit }).await?
        else {
            unreachable!("a listing is not answered so")
        };
        Ok(leases)
    }

    /// The lease that holds an item.
    ///
    /// # Errors
    ///
    /// What every call can meet.
    pub async fn lease_of(&self, item: impl Into<Item>) -> Result<Option<LeaseId>, CallError> {
        let Response::LeaseOf(holder) =
            self.request(Request::LeaseOf { item: item.into() }).await?
        else {
            unreachable!("a question for a holder is not answered so")
        };
        Ok(holder)
    }

    /// Makes this member the primary, or extends all leases if it is already.
    ///
    /// # Errors
    ///
    /// What every call can meet; [`RequestError::Unknown`] if the log did not follow in time.
    pub async fn promote(&self) -> Result<(), CallError> {
        self.done(Request::Promote).await
    }

    /// Makes this member give up being primary; leases stay, and nothing expires until a promotion.
    ///
    /// # Errors
    ///
    /// What every call can meet; [`RequestError::Unknown`] if the log did not follow in time.
    pub async fn demote(&self) -> Result<(), CallError> {
        self.done(Request::Demote).await
    }

    /// The batches of leases that expire from now on.
    ///
    /// # Errors
    ///
    /// That the engine has ended.
    pub async fn expired(&self) -> Result<Expired, CallError> {
        let (sender, batches) = mpsc::channel(EXPIRED_BATCHES);
        let (reply, ready) = oneshot::channel();
        self.send(Call::Observe { sender, reply }).await?;
        ready.await.map_err(|_| self.ended.error())?;
        Ok(Expired { batches })
    }

    /// Stops the engine: requests that were made before are served, renews that wait are answered as
    /// not primary, everything is durable and the store is closed when this returns. Stopping what
    /// has stopped does nothing.
    ///
    /// # Errors
    ///
    /// The error with which the engine ended before, if it did.
    pub async fn stop(&self) -> Result<(), Arc<DriverError>> {
        // Not through the queue, which may be full of renews that wait.
        self.stop.notify_one();
        self.ended.wait().await
    }

    /// Asks for anything that a member can be asked, as data: what the methods above are made of, and
    /// what a front on a network hands on.
    ///
    /// # Errors
    ///
    /// What every call can meet.
    pub async fn request(&self, request: Request) -> Result<Response, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Call::Request { request, reply }).await?;
        // A driver that was torn down, and so declared no end, may have done it.
        let unknown = || CallError::Request(RequestError::Unknown);
        Ok(answer.await.map_err(|_| self.ended.failure().unwrap_or_else(unknown))??)
    }

    async fn done(&self, request: Request) -> Result<(), CallError> {
        let Response::Done = self.request(request).await? else {
            unreachable!("a command is not answered so")
        };
        Ok(())
    }

    async fn send(&self, call: Call) -> Result<(), CallError> {
        self.calls.send(call).await.map_err(|_| self.ended.error())
    }
}

/// What a handle sends to its driver.
#[derive(Debug)]
pub(super) enum Call {
    Request { request: Request, reply: Reply },
    Observe { sender: mpsc::Sender<ExpiredBatch>, reply: oneshot::Sender<()> },
}

/// The way back of a request.
pub(super) type Reply = oneshot::Sender<Result<Response, RequestError>>;

/// The end of a driver, as its handles see it.
#[derive(Clone, Debug)]
struct Ended {
    outcome: Arc<OnceLock<Result<(), Arc<DriverError>>>>,
    /// Closed when the driver is gone.
    gone: mpsc::Sender<()>,
}

/// The end of a driver, as the driver declares it; dropping it wakes those who wait.
#[derive(Debug)]
pub(super) struct End {
    outcome: Arc<OnceLock<Result<(), Arc<DriverError>>>>,
    _gone: mpsc::Receiver<()>,
}

impl Ended {
    async fn wait(&self) -> Result<(), Arc<DriverError>> {
        self.gone.closed().await;
        self.outcome.get().cloned().unwrap_or(Ok(()))
    }

    /// Why a call was not taken.
    fn error(&self) -> CallError {
        self.failure().unwrap_or(CallError::Request(RequestError::Stopped))
    }

    fn failure(&self) -> Option<CallError> {
        match self.outcome.get() {
            Some(Err(error)) => Some(CallError::Failed(error.clone())),
            Some(Ok(())) | None => None,
        }
    }
}

impl End {
    pub(super) fn declare(&self, outcome: Result<(), Arc<DriverError>>) {
        // Only the one driver declares, and once.
        let _ = self.outcome.set(outcome);
    }
}

/// A handle, and the driver's ends of it: its calls, the wish to stop, and its end.
pub(super) fn handle(queue: usize) -> (Handle, mpsc::Receiver<Call>, Arc<Notify>, End) {
    let (sender, calls) = mpsc::channel(queue);
    let (gone, receiver) = mpsc::channel(1);
    let outcome = Arc::new(OnceLock::new());
    let ended = Ended { outcome: outcome.clone(), gone };
    let stop = Arc::new(Notify::new());
    let handle = Handle { calls: sender, stop: stop.clone(), ended };
    (handle, calls, stop, End { outcome, _gone: receiver })
}

/// How many batches wait for an observer (etcd: the channel of `ExpiredLeasesC`).
const EXPIRED_BATCHES: usize = 16;
