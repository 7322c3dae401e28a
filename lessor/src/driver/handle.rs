//! The asking side of a driver: cheap to clone, safe to share, async.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use super::{DriverError, Runtime};
use crate::{
    Error, ExpiredBatch, Instant, Item, Lease, LeaseId, LeaseOrder, LeaseStatus, LogIndex, Request,
    RequestError, RequestId, Response, Ticket, Ttl,
};

/// A handle to a running lease engine.
///
/// While [`Config::queue`](crate::Config::queue) requests are in the engine, further ones wait. If the
/// future of a request is dropped, the request may still be carried out, but takes no room any more. When
/// the last handle is dropped, the engine stops as by [`stop`](Self::stop).
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::UnboundedSender<Call>,
    permits: Arc<Semaphore>,
    /// How many tickets and subscribers there were.
    numbers: Arc<AtomicU64>,
    clock: Clock,
    aborted: Arc<AtomicBool>,
    ended: Ended,
}

/// A granted lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Its id.
    pub id: LeaseId,
    /// Its ttl: the requested one, raised to [`Config::min_ttl`](crate::Config::min_ttl). If the lease
    /// existed already, the one that it has.
    pub ttl: Ttl,
    /// The log index of the grant. If the lease existed already, an index at which it did.
    pub index: LogIndex,
}

/// Why a call through a [`Handle`] failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The engine answered with an error.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine has ended with this error. The request may or may not have been carried out.
    #[error("the lease engine has failed: {0}")]
    Failed(Arc<DriverError>),
    /// The task that renews the lease of a [`KeepAlive`](super::KeepAlive) is gone, for instance with its
    /// runtime.
    #[error("nobody renews the lease any more: the task that did is gone; keep it alive again")]
    Unattended,
}

/// Answers are equal by value. Failures are equal if they are the same error of the same engine, because
/// errors of the system cannot be compared.
impl PartialEq for CallError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Request(one), Self::Request(other)) => one == other,
            (Self::Failed(one), Self::Failed(other)) => Arc::ptr_eq(one, other),
            (Self::Unattended, Self::Unattended) => true,
            (Self::Request(_) | Self::Failed(_) | Self::Unattended, _) => false,
        }
    }
}

impl Eq for CallError {}

impl CallError {
    /// The refusal of the lessor, if that is the reason.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        match self {
            Self::Request(RequestError::Refused(error)) => Some(*error),
            Self::Request(RequestError::NotPrimary { .. }) => Some(Error::NotPrimary),
            Self::Request(RequestError::Unknown | RequestError::Stopped)
            | Self::Failed(_)
            | Self::Unattended => None,
        }
    }
}

/// The stream of expired batches of an engine, in order, each before its leases are revoked (etcd:
/// `ExpiredLeasesC`).
///
/// The engine revokes the leases by itself. A lease whose revoke was lost comes again. While 16 batches
/// wait here, no further lease is revoked for up to
/// [`Config::subscriber_patience`](crate::Config::subscriber_patience). Batches after that are missed, and
/// [`Missed`] counts them. So take the batches, or drop the stream.
#[derive(Debug)]
pub struct Expired {
    batches: mpsc::Receiver<Result<ExpiredBatch, Missed>>,
    subscriber: u64,
    calls: mpsc::WeakUnboundedSender<Call>,
}

/// The batches that a subscriber has missed, because it did not take earlier ones in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, thiserror::Error)]
#[error("{leases} expired leases in {batches} batches were missed; take batches sooner")]
pub struct Missed {
    /// The number of batches.
    pub batches: u64,
    /// The number of leases in them. A lease that came again counts again.
    pub leases: u64,
}

impl Missed {
    pub(super) fn and(self, batch: &ExpiredBatch) -> Self {
        Self { batches: self.batches + 1, leases: self.leases + batch.leases.len() as u64 }
    }
}

impl Expired {
    /// Returns the next batch, or the number of those missed since the last one. `None` when the engine has
    /// ended.
    pub async fn recv(&mut self) -> Option<Result<ExpiredBatch, Missed>> {
        self.batches.recv().await
    }
}

impl Stream for Expired {
    type Item = Result<ExpiredBatch, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(cx)
    }
}

impl Drop for Expired {
    fn drop(&mut self) {
        if let Some(calls) = self.calls.upgrade() {
            // The engine may have ended.
            let _ = calls.send(Call::Unsubscribe { subscriber: self.subscriber });
        }
    }
}

impl Handle {
    /// Creates a lease. Without an id the engine picks one. If the answer is then
    /// [`RequestError::Unknown`], there may be a lease with an unknown id until it expires.
    /// [`grant_once`](Self::grant_once) avoids that.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseExists`], [`Error::TtlTooLarge`], or an error of any call ([`CallError`]).
    pub async fn grant(
        &self,
        id: Option<LeaseId>,
        ttl: impl Into<Ttl>,
    ) -> Result<Granted, CallError> {
        self.granted(Request::Grant { id, ttl: ttl.into() }).await
    }

    /// Creates the lease of a request id, or finds the one that an earlier call with the same request id
    /// has created. So after [`RequestError::Unknown`], or after a restart, call it again to have one lease.
    /// A lease that is found keeps its ttl and its deadline. Renew it to know how long it lasts; it may have
    /// expired already and wait for its revoke.
    ///
    /// If the lease has ended meanwhile, a new one with the same id is granted. So do not use a request id
    /// again after you have revoked its lease, and have no call with it under way when you revoke it.
    ///
    /// # Errors
    ///
    /// [`Error::TtlTooLarge`], or an error of any call.
    pub async fn grant_once(
        &self,
        request: impl Into<RequestId>,
        ttl: impl Into<Ttl>,
    ) -> Result<Granted, CallError> {
        let (request, ttl) = (request.into(), ttl.into());
        self.granted(Request::GrantOnce { request, ttl }).await
    }

    /// Removes a lease and deletes all its items. Returns the log index of the revoke.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or an error of any call.
    pub async fn revoke(&self, id: LeaseId) -> Result<LogIndex, CallError> {
        self.applied(Request::Revoke { id }).await
    }

    /// Extends a lease. The returned ttl counts from the moment of this call. If the lease has expired, it
    /// waits for the revoke.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or an error of any call.
    pub async fn renew(&self, id: LeaseId) -> Result<Ttl, CallError> {
        let Response::Renewed { ttl } = self.request(Request::Renew { id }).await? else {
            unreachable!("a renew is not answered so")
        };
        Ok(ttl)
    }

    /// Attaches items to a lease. An item that another lease holds moves. Returns the log index of the
    /// attach. [`claim`](Self::claim) takes only items that no other lease holds.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], [`Error::EmptyItem`], or an error of any call.
    pub async fn attach(
        &self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<LogIndex, CallError> {
        let items = items.into_iter().map(Into::into).collect();
        self.applied(Request::Attach { id, items }).await
    }

    /// Attaches items to a lease if no other lease holds any of them, and returns the log index of the
    /// claim. Otherwise nothing changes, and the refusal names the lease that holds the first such item.
    /// Items that the lease holds already stay with it, so asking again is safe.
    ///
    /// The index is a **fencing token**. Send it with everything that you do under the lock, and let the
    /// resource refuse every token below the largest one that it has seen. Indexes only rise, so a later
    /// holder of an item has a larger token, and an earlier holder that has not noticed its end is refused.
    /// That requires that
    /// - every holder claims the item, and nobody [attaches](Self::attach) it to another lease;
    /// - the store is not restored from an older copy, because then indexes come again.
    ///
    /// A holder that claims again gets a larger token and must use that one. Once the resource has seen it,
    /// it refuses the smaller one, also in what the same holder sent earlier.
    ///
    /// # Errors
    ///
    /// [`Error::ItemHeld`], [`Error::LeaseNotFound`], [`Error::EmptyItem`], or an error of any call.
    pub async fn claim(
        &self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<LogIndex, CallError> {
        let items = items.into_iter().map(Into::into).collect();
        self.applied(Request::Claim { id, items }).await
    }

    /// Detaches items from a lease. Items that it does not hold are ignored. Returns the log index of the
    /// detach.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or an error of any call.
    pub async fn detach(
        &self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<LogIndex, CallError> {
        let items = items.into_iter().map(Into::into).collect();
        self.applied(Request::Detach { id, items }).await
    }

    /// Returns a lease with all its items, or `None` if no lease has this id. The engine copies the items
    /// and does nothing else meanwhile. So for a lease with very many of them prefer
    /// [`time_to_live`](Self::time_to_live) and [`items`](Self::items).
    ///
    /// # Errors
    ///
    /// An error of any call.
    pub async fn lookup(&self, id: LeaseId) -> Result<Option<LeaseStatus>, CallError> {
        let Response::Lookup(status) = self.request(Request::Lookup { id }).await? else {
            unreachable!("a lookup is not answered so")
        };
        Ok(status)
    }

    /// Returns the time until a lease expires, zero if it has expired.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], or an error of any call.
    pub async fn time_to_live(&self, id: LeaseId) -> Result<Duration, CallError> {
        let Response::TimeToLive(found) = self.request(Request::TimeToLive { id }).await? else {
            unreachable!("a question for the time is not answered so")
        };
        found
            .map(|found| found.remaining)
            .ok_or(CallError::Request(RequestError::Refused(Error::LeaseNotFound)))
    }

    /// Returns up to `limit` items of a lease in the order of their keys, starting after the item `after`,
    /// the last one of the previous page. `None` if there is no such lease.
    ///
    /// # Errors
    ///
    /// An error of any call.
    pub async fn items(
        &self,
        id: LeaseId,
        after: Option<Item>,
        limit: usize,
    ) -> Result<Option<Vec<Item>>, CallError> {
        let Response::Items(items) = self.request(Request::Items { id, after, limit }).await?
        else {
            unreachable!("a question for items is not answered so")
        };
        Ok(items)
    }

    /// Returns up to `limit` leases in `order`, starting after the lease `after`, the last one of the
    /// previous page.
    ///
    /// # Errors
    ///
    /// An error of any call.
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

    /// Returns the lease that holds an item.
    ///
    /// # Errors
    ///
    /// An error of any call.
    pub async fn lease_of(&self, item: impl Into<Item>) -> Result<Option<LeaseId>, CallError> {
        let Response::LeaseOf(holder) =
            self.request(Request::LeaseOf { item: item.into() }).await?
        else {
            unreachable!("a question for a holder is not answered so")
        };
        Ok(holder)
    }

    /// Makes this member the primary. If it is the primary already, it extends all leases.
    ///
    /// # Errors
    ///
    /// An error of any call, such as [`RequestError::Unknown`] if the log did not follow in time.
    pub async fn promote(&self) -> Result<(), CallError> {
        self.done(Request::Promote).await
    }

    /// Ends the primacy of this member. Leases stay, and none expires until a promotion.
    ///
    /// # Errors
    ///
    /// An error of any call, such as [`RequestError::Unknown`] if the log did not follow in time.
    pub async fn demote(&self) -> Result<(), CallError> {
        self.done(Request::Demote).await
    }

    /// Subscribes to the batches of leases that expire from now on.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn expired(&self) -> Result<Expired, CallError> {
        let (sender, batches) = mpsc::channel(EXPIRED_BATCHES);
        let (reply, ready) = oneshot::channel();
        let subscriber = self.number();
        // From here on, so that it also leaves if nobody waits until it is ready.
        let expired = Expired { batches, subscriber, calls: self.calls.downgrade() };
        self.send(Call::Subscribe { subscriber, sender, reply })?;
        ready.await.map_err(|_| self.ended.error())?;
        Ok(expired)
    }

    /// Stops the engine. Earlier requests are served first, and renews that wait are answered as not
    /// primary. When this returns, everything is durable and the store is closed. Stopping twice is harmless.
    ///
    /// It waits for the disk, however long that takes. If you cannot wait, set a time limit and then
    /// [abort](Self::abort).
    ///
    /// # Errors
    ///
    /// The error with which the engine ended earlier, if it did.
    pub async fn stop(&self) -> Result<(), Arc<DriverError>> {
        // It needs no permit, and may have ended.
        let _ = self.calls.send(Call::Stop);
        self.ended.wait().await
    }

    /// Ends the engine at once. Requests without an answer may or may not be carried out, and calls fail
    /// with [`DriverError::Aborted`]. It does not wait for a commit under way, which may still reach the
    /// store. Until then the store stays locked.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        // So that the engine looks.
        let _ = self.calls.send(Call::Stop);
    }

    /// Makes any request to the member, given as data. The methods above use it, and a network server can
    /// forward requests with it.
    ///
    /// # Errors
    ///
    /// An error of any call.
    pub async fn request(&self, request: Request) -> Result<Response, CallError> {
        let permit = self.acquire_permit().await?;
        // The driver gives it back.
        permit.forget();
        let ticket = Ticket(self.number());
        let (reply, answer) = oneshot::channel();
        let caller = Caller { reply, has_permit: true };
        self.send(Call::Request { asked: self.clock.now(), ticket, request, caller })?;
        let mut patience = Patience { calls: &self.calls, ticket, ended: false };
        let answer = answer.await;
        patience.ended = true;
        Ok(answer.map_err(|_| self.ended.torn_down())??)
    }

    /// Waits for room in the engine.
    async fn acquire_permit(&self) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        tokio::select! {
            biased;
            permit = self.permits.acquire() => Ok(permit.expect("it is never closed")),
            () = self.ended.gone.closed() => Err(self.ended.error()),
        }
    }

    /// Returns when the engine has ended, and says how.
    pub(super) async fn ended(&self) -> CallError {
        self.ended.gone.closed().await;
        self.ended.torn_down()
    }

    /// A number for a ticket or a subscriber, which no other has.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn granted(&self, request: Request) -> Result<Granted, CallError> {
        let Response::Granted { id, ttl, index } = self.request(request).await? else {
            unreachable!("a grant is not answered so")
        };
        Ok(Granted { id, ttl, index })
    }

    async fn applied(&self, request: Request) -> Result<LogIndex, CallError> {
        let Response::Applied { index } = self.request(request).await? else {
            unreachable!("a change is not answered so")
        };
        Ok(index)
    }

    async fn done(&self, request: Request) -> Result<(), CallError> {
        let Response::Done = self.request(request).await? else {
            unreachable!("a change of the role is not answered so")
        };
        Ok(())
    }

    fn send(&self, call: Call) -> Result<(), CallError> {
        self.calls.send(call).map_err(|_| self.ended.error())
    }
}

/// What a handle sends to its driver.
#[derive(Debug)]
pub(super) enum Call {
    Request {
        /// When it came, on the clock of the engine.
        asked: Instant,
        ticket: Ticket,
        request: Request,
        caller: Caller,
    },
    /// Nobody waits for this answer any more.
    Forget(Ticket),
    Subscribe {
        subscriber: u64,
        sender: mpsc::Sender<Result<ExpiredBatch, Missed>>,
        reply: oneshot::Sender<()>,
    },
    /// This subscriber is gone.
    Unsubscribe { subscriber: u64 },
    /// The engine is to end, when all that came before is served.
    Stop,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) reply: oneshot::Sender<Result<Response, RequestError>>,
    /// Whether it still holds a permit.
    pub(super) has_permit: bool,
}

/// Somebody who waits for an answer; gone before it came, it has the request forgotten.
struct Patience<'a> {
    calls: &'a mpsc::UnboundedSender<Call>,
    ticket: Ticket,
    ended: bool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The engine may have ended.
            let _ = self.calls.send(Call::Forget(self.ticket));
        }
    }
}

/// The clock of an engine, as its handles read it.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    pub(super) fn of(runtime: &Arc<impl Runtime>) -> Self {
        let runtime = runtime.clone();
        Self(Arc::new(move || runtime.now()))
    }

    fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

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
        self.outcome()
    }

    /// How a driver that is gone has ended; one that said nothing was torn down.
    fn outcome(&self) -> Result<(), Arc<DriverError>> {
        self.outcome.get_or_init(|| Err(Arc::new(DriverError::Aborted))).clone()
    }

    /// Why a call was not taken: the driver has ended, or takes no more calls.
    fn error(&self) -> CallError {
        match self.outcome.get() {
            None if !self.gone.is_closed() => CallError::Request(RequestError::Stopped),
            Some(_) | None => self.torn_down(),
        }
    }

    /// Why a call that was taken has no answer.
    fn torn_down(&self) -> CallError {
        match self.outcome() {
            Err(error) => CallError::Failed(error),
            Ok(()) => CallError::Request(RequestError::Stopped),
        }
    }
}

impl End {
    pub(super) fn declare(&self, outcome: Result<(), Arc<DriverError>>) {
        // Only the one driver declares, and once.
        let _ = self.outcome.set(outcome);
    }
}

/// The driver's ends of its handle.
pub(super) struct Ends {
    pub(super) calls: mpsc::UnboundedReceiver<Call>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) aborted: Arc<AtomicBool>,
    pub(super) end: End,
}

/// A handle, and its other ends.
pub(super) fn handle(queue: usize, clock: Clock) -> (Handle, Ends) {
    let (sender, calls) = mpsc::unbounded_channel();
    let (gone, receiver) = mpsc::channel(1);
    let outcome = Arc::new(OnceLock::new());
    let permits = Arc::new(Semaphore::new(queue.min(Semaphore::MAX_PERMITS)));
    let aborted = Arc::new(AtomicBool::default());
    let handle = Handle {
        calls: sender,
        permits: permits.clone(),
        numbers: Arc::default(),
        clock,
        aborted: aborted.clone(),
        ended: Ended { outcome: outcome.clone(), gone },
    };
    (handle, Ends { calls, permits, aborted, end: End { outcome, _gone: receiver } })
}

/// How many batches wait for a subscriber (etcd: the channel of `ExpiredLeasesC`).
const EXPIRED_BATCHES: usize = 16;
