//! The only async code. It waits, feeds the [`Member`], carries out the outputs in order, and decides
//! nothing.
//!
//! ```text
//!   Handle ──requests──▶ ┌────────┐ ──commit──▶ Backend (blocking, one at a time)
//!   Log ─────events────▶ │ Member │ ──propose─▶ Log
//!   Runtime ──time─────▶ └────────┘ ──answer──▶ Handle
//! ```
//!
//! While a commit is on its way to the disk, everything else goes on. The member knows which answers must
//! wait for it, and changes that come meanwhile share the next commit.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::yield_now;
use tracing::{debug, error, info};

use crate::backend::{Backend, BackendError, DeletionRetry, Stored, Undeleted};
use crate::{
    Config, ConfigError, Digest, ExpiredBatch, Instant, LeaseId, LogIndex, Member, MemberInput,
    Output, RequestError, SnapshotError, StateAt, Ticket, Transaction,
};

#[cfg(feature = "recording")]
mod flight_recorder;
mod handle;
mod keep_alive;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "redb")]
mod open;
mod runtime;

#[cfg(feature = "recording")]
pub use self::flight_recorder::FlightRecorder;
use self::handle::{Call, Caller, Clock, End};
pub use self::handle::{CallError, Expired, Granted, Handle, Missed};
pub use self::keep_alive::KeepAlive;
pub use self::log::{LocalLog, Log, LogEvent};
#[cfg(feature = "redb")]
pub use self::open::{open, open_observed};
pub use self::runtime::{Runtime, TokioRuntime};

/// Runs one [`Member`] on a runtime, a backend and a log.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use lessor::Config;
/// use lessor::backend::MemoryBackend;
/// use lessor::driver::{Driver, LocalLog, TokioRuntime};
///
/// let (backend, log) = (MemoryBackend::new(), LocalLog::new());
/// let (handle, driver) =
///     Driver::open(&Config::default(), TokioRuntime::new(), backend, log).await?;
/// tokio::spawn(driver.run());
/// # Ok(()) }
/// ```
pub struct Driver<R, B, L> {
    runtime: Arc<R>,
    config: Config,
    /// Away while it commits.
    backend: Option<B>,
    log: L,
    member: Member,
    observer: Option<Box<dyn Observer>>,
    calls: mpsc::UnboundedReceiver<Call>,
    permits: Arc<Semaphore>,
    /// How many permits are to be given back, together.
    free: usize,
    callers: BTreeMap<Ticket, Caller>,
    expired: Vec<ExpiredQueue>,
    committing: Option<Committing<B>>,
    /// What is to be committed when the backend is back.
    next_commit: Option<Transaction>,
    retry: DeletionRetry,
    /// It is time to try again to delete what is undeleted.
    delete_again: bool,
    /// The leases of which it was told that their items could not be deleted.
    undeleted: Vec<LeaseId>,
    /// Somebody has asked to stop: no request is served any more that comes now.
    stopping: bool,
    /// It is to end without waiting for anything.
    aborted: Arc<AtomicBool>,
    end: End,
    #[cfg(feature = "metrics")]
    metrics: metrics::Metrics,
}

/// Sees every input and output of a member, for instance to record them.
pub trait Observer: Send {
    /// Called once, before anything else: an engine with these settings was opened. By default this does
    /// nothing.
    fn opened(&mut self, now: Instant, config: &Config, member: &Member) {
        let _ = (now, config, member);
    }

    /// Called before an input is handled.
    fn before(&mut self, now: Instant, input: &MemberInput);

    /// Called after an input was handled, before its outputs are taken.
    fn after(&mut self, now: Instant, member: &Member);

    /// Called before an output is carried out. All that are carried out together have the same time.
    fn output(&mut self, now: Instant, output: &Output);

    /// Called when everything that has come is done, before the engine waits for more. By default this
    /// does nothing.
    fn idle(&mut self) {}
}

/// Why a driver could not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No engine can work with the settings. Nothing was opened.
    #[error("the lease engine cannot be opened: {0}")]
    Config(#[from] ConfigError),
    /// The backend failed. Changes that were not durable yet may or may not be stored, and were not
    /// acknowledged.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The stored state, or the one that the log wants to install, contradicts itself.
    #[error("the lease state is inconsistent: {0}; restore the store from a copy")]
    State(#[from] SnapshotError),
    /// The stored state is consistent, but its digest is not the stored one.
    #[error(
        "the lease state has the digest {found}, but {stored} was stored with it; restore the store from a copy"
    )]
    Digest {
        /// The stored digest.
        stored: Digest,
        /// The digest of the state.
        found: Digest,
    },
    /// The log has ended.
    #[error("the log has ended; find out why, and open the lease engine again")]
    LogEnded,
    /// The engine was ended by [`Handle::abort`], or its task is gone: it was aborted, it panicked, or its
    /// runtime was shut down. A commit under way may still reach the store. Until then the store stays
    /// locked.
    #[error("the lease engine was aborted, or its task is gone; open it again")]
    Aborted,
}

impl<R: Runtime, B: Backend, L: Log> Driver<R, B, L> {
    /// Loads the backend and creates a driver with its state. Nothing else happens before
    /// [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`DriverError::Config`], [`DriverError::Backend`], [`DriverError::State`] or [`DriverError::Digest`].
    pub async fn open(
        config: &Config,
        runtime: R,
        mut backend: B,
        mut log: L,
    ) -> Result<(Handle, Self), DriverError> {
        config.check()?;
        let load = move || (backend.load(), backend);
        let (stored, backend) = runtime.run_blocking(load).await;
        let Stored { applied, digest, id_salt, snapshot } = stored?;
        let stored = StateAt { applied, snapshot };
        let id_salt = config.id_salt.unwrap_or(id_salt);
        let config = config.clone().with_id_salt(id_salt);
        let member = Member::new(&config, &stored)?;
        let found = member.lessor().digest();
        if found != digest {
            return Err(DriverError::Digest { stored: digest, found });
        }
        info!(applied = stored.applied.0, leases = member.lessor().len(), "lease engine opened");
        log.start(stored.applied);
        let runtime = Arc::new(runtime);
        let clock = Clock::of(&runtime);
        let (handle, ends) = handle::handle(config.queue.get() as usize, clock);
        let mut driver = Self {
            runtime,
            config,
            backend: Some(backend),
            log,
            member,
            observer: None,
            calls: ends.calls,
            permits: ends.permits,
            free: 0,
            callers: BTreeMap::new(),
            expired: Vec::new(),
            committing: None,
            next_commit: None,
            retry: DeletionRetry::default(),
            delete_again: false,
            undeleted: Vec::new(),
            stopping: false,
            aborted: ends.aborted,
            end: ends.end,
            #[cfg(feature = "metrics")]
            metrics: metrics::Metrics::new(),
        };
        driver.tell_undeleted();
        let undeleted = driver.undeleted.len();
        driver.retry.handle_committed(driver.runtime.now(), undeleted);
        Ok((handle, driver))
    }

    /// Shows every input and output of the member to `observer`.
    #[must_use]
    pub fn observe(mut self, mut observer: impl Observer + 'static) -> Self {
        observer.opened(self.runtime.now(), &self.config, &self.member);
        self.observer = Some(Box::new(observer));
        self
    }

    /// Runs until a handle stops or aborts it, until the last handle is dropped, or until the backend or the
    /// log fails.
    ///
    /// # Errors
    ///
    /// The reason of the failure. Open requests get the same error, and nothing is acknowledged that is not
    /// durable.
    pub async fn run(mut self) -> Result<(), Arc<DriverError>> {
        let outcome = self.run_until_ended().await.map_err(Arc::new);
        match &outcome {
            Ok(()) => info!(applied = self.member.applied().0, "lease engine stopped"),
            Err(error) => error!(%error, "lease engine failed"),
        }
        self.end.declare(outcome.clone());
        if outcome.as_ref().is_err_and(|error| matches!(**error, DriverError::Aborted)) {
            return outcome;
        }
        // Whoever opens the store next must find it closed, even if a commit outlived the log.
        if let Some(committing) = self.committing.take() {
            self.backend = Some(committing.await.0);
        }
        // A flight recorder writes its last lines.
        drop(self.observer.take());
        let backend = self.backend.take();
        self.runtime.run_blocking(move || drop(backend)).await;
        outcome
    }

    async fn run_until_ended(&mut self) -> Result<(), DriverError> {
        loop {
            if self.aborted.load(Ordering::Acquire) {
                return Err(DriverError::Aborted);
            }
            self.do_outputs();
            #[cfg(feature = "metrics")]
            self.show_levels();
            // The last handle may be gone.
            self.stopping |= self.calls.is_closed();
            if self.stopping && self.committing.is_none() && self.calls.is_empty() {
                if self.member.is_stopped() {
                    return Ok(());
                }
                if self.member.is_idle() {
                    self.input(MemberInput::Stop)?;
                    continue;
                }
            }
            if let Some(observer) = &mut self.observer {
                observer.idle();
            }
            match self.wait().await {
                Wake::Committed(backend, applied, result) => {
                    self.backend = Some(backend);
                    self.committing = None;
                    result?;
                    self.tell_undeleted();
                    let now = self.runtime.now();
                    let undeleted = self.undeleted.len();
                    match applied {
                        Some(applied) => {
                            #[cfg(feature = "metrics")]
                            self.metrics.commit_ends(now);
                            self.retry.handle_committed(now, undeleted);
                            self.log.applied(applied);
                            self.input(MemberInput::Persisted(applied))?;
                        }
                        None => self.retry.handle_tried(now, undeleted),
                    }
                }
                Wake::Log(None) => return Err(DriverError::LogEnded),
                Wake::Log(Some(event)) => self.input(event.into())?,
                Wake::Timeout => {
                    // A renew that is here already may have come before its lease was due.
                    while let Ok(call) = self.calls.try_recv() {
                        self.take(call)?;
                    }
                    self.input(MemberInput::Timeout)?;
                    // More is due at once: other tasks of this thread run in between.
                    if self.member.poll_timeout().is_some_and(|at| at <= self.runtime.now()) {
                        yield_now().await;
                    }
                }
                Wake::Retry => self.delete_again = self.retry.handle_timeout(self.runtime.now()),
                Wake::Subscribers => self.deliver()?,
                Wake::Calls(calls) => {
                    for call in calls {
                        self.take(call)?;
                    }
                    // However many calls come, what was begun comes to its end.
                    if self.member.is_applying() {
                        self.input(MemberInput::GoOn)?;
                    }
                }
                Wake::GoOn => {
                    self.input(MemberInput::GoOn)?;
                    yield_now().await;
                }
            }
        }
    }

    /// Does what the member says, until there is nothing more that may be done now.
    fn do_outputs(&mut self) {
        if let Some(transaction) = self.backend.as_ref().and_then(|_| self.next_commit.take()) {
            self.commit(transaction);
        }
        if self.delete_again && self.backend.is_some() {
            self.delete_again = false;
            self.with_backend(None, Backend::delete_again);
        }
        let mut now = None;
        while let Some(output) = self.member.poll_output() {
            if let Some(observer) = &mut self.observer {
                observer.output(*now.get_or_insert_with(|| self.runtime.now()), &output);
            }
            #[cfg(feature = "metrics")]
            self.metrics.output(&output);
            match output {
                Output::Propose(proposal) => self.log.propose(proposal),
                Output::Confirm(confirmation) => self.log.confirm(confirmation),
                Output::Campaign => self.log.campaign(),
                Output::Resign => self.log.resign(),
                // The backend may be away to delete something again.
                Output::Commit(transaction) if self.backend.is_none() => {
                    self.next_commit = Some(transaction);
                }
                Output::Commit(transaction) => self.commit(transaction),
                Output::Waits(ticket) => {
                    if let Some(caller) = self.callers.get_mut(&ticket) {
                        self.free += usize::from(std::mem::take(&mut caller.has_permit));
                    }
                }
                Output::Answer { ticket, answer } => {
                    if let Some(caller) = self.callers.remove(&ticket) {
                        self.free += usize::from(caller.has_permit);
                        // Whoever asked may have gone.
                        let _ = caller.reply.send(answer);
                    }
                }
                Output::Expired(batch) => {
                    debug!(leases = batch.leases.len(), "leases expired");
                    #[cfg(feature = "metrics")]
                    self.metrics
                        .missed(self.expired.iter().filter(|queue| queue.is_behind()).count());
                    for queue in &mut self.expired {
                        queue.push(&batch);
                    }
                    self.deliver().expect("holding expired batches cannot fail");
                }
            }
        }
        self.permits.add_permits(std::mem::take(&mut self.free));
    }

    fn commit(&mut self, transaction: Transaction) {
        let applied = transaction.applied;
        debug!(applied = applied.0, changes = transaction.changes.len(), "committing");
        #[cfg(feature = "metrics")]
        self.metrics.commit_begins(&*self.runtime);
        self.with_backend(Some(applied), |backend| backend.commit(transaction));
    }

    /// Has the backend do this; `applied` is where the store then stands, if that changes.
    fn with_backend(
        &mut self,
        applied: Option<LogIndex>,
        work: impl FnOnce(&mut B) -> Result<(), BackendError> + Send + 'static,
    ) {
        let mut backend = self.backend.take().expect("it is doing nothing else");
        let work = self.runtime.run_blocking(move || (work(&mut backend), backend));
        self.committing = Some(Box::pin(async move {
            let (result, backend) = work.await;
            (backend, applied, result)
        }));
    }

    /// Reports the leases whose items could not be deleted, each once.
    fn tell_undeleted(&mut self) {
        let Some(backend) = &self.backend else { return };
        let undeleted = backend.undeleted();
        for Undeleted { lease, items, reason } in &undeleted {
            if self.undeleted.binary_search(lease).is_err() {
                error!(%lease, items, reason, "the items of a lease cannot be deleted yet");
            }
        }
        self.undeleted = undeleted.into_iter().map(|undeleted| undeleted.lease).collect();
    }

    /// The select is biased, so it draws no random numbers.
    async fn wait(&mut self) -> Wake<B> {
        let deadline = self.member.poll_timeout();
        let timeout = async {
            match deadline {
                Some(deadline) => self.runtime.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let retry = async {
            match self.retry.poll_timeout() {
                Some(deadline) => self.runtime.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let committed = async {
            match &mut self.committing {
                Some(committing) => committing.await,
                None => std::future::pending().await,
            }
        };
        let no_more = self.calls.is_closed() && self.calls.is_empty();
        let mut calls = Vec::new();
        tokio::select! {
            biased;
            (backend, applied, result) = committed => Wake::Committed(backend, applied, result),
            event = self.log.next() => Wake::Log(event),
            () = timeout => Wake::Timeout,
            () = retry => Wake::Retry,
            () = room_for_expired(&self.expired) => Wake::Subscribers,
            _ = self.calls.recv_many(&mut calls, CALLS_AT_ONCE), if !no_more => Wake::Calls(calls),
            // Last, so that whatever has come is served between two pieces.
            () = std::future::ready(()), if self.member.is_applying() => Wake::GoOn,
        }
    }

    fn take(&mut self, call: Call) -> Result<(), DriverError> {
        match call {
            Call::Request { caller, .. } if self.stopping => {
                self.free += 1;
                // Whoever asked may have gone.
                let _ = caller.reply.send(Err(RequestError::Stopped));
                Ok(())
            }
            Call::Request { asked, ticket, request, caller } => {
                self.callers.insert(ticket, caller);
                self.input_at(asked, MemberInput::Request { ticket, request })
            }
            Call::Forget(ticket) => match self.callers.remove(&ticket) {
                Some(caller) => {
                    self.free += usize::from(caller.has_permit);
                    self.input(MemberInput::Forget(ticket))
                }
                None => Ok(()),
            },
            Call::Subscribe { subscriber, sender, reply } => {
                let backlog = VecDeque::new();
                self.expired.push(ExpiredQueue { subscriber, sender, backlog });
                // Whoever asked may have gone; then the queue is closed and goes too.
                let _ = reply.send(());
                Ok(())
            }
            Call::Unsubscribe { subscriber } => {
                let held = self.is_held_by_subscribers();
                self.expired.retain(|queue| queue.subscriber != subscriber);
                self.hold_expired(held)
            }
            Call::Stop => {
                self.stopping = true;
                Ok(())
            }
        }
    }

    /// Hands expired batches to those who watch, and holds further ones while somebody has no room.
    fn deliver(&mut self) -> Result<(), DriverError> {
        let held = self.is_held_by_subscribers();
        self.expired.retain_mut(ExpiredQueue::deliver);
        self.hold_expired(held)
    }

    fn is_held_by_subscribers(&self) -> bool {
        self.expired.iter().any(ExpiredQueue::is_behind)
    }

    /// Tells the member whether batches must wait, if they must or did before.
    fn hold_expired(&mut self, held: bool) -> Result<(), DriverError> {
        let hold = self.is_held_by_subscribers();
        if held || hold { self.input(MemberInput::HoldExpired(hold)) } else { Ok(()) }
    }

    fn input(&mut self, input: MemberInput) -> Result<(), DriverError> {
        self.input_at(self.runtime.now(), input)
    }

    fn input_at(&mut self, now: Instant, input: MemberInput) -> Result<(), DriverError> {
        if let Some(observer) = &mut self.observer {
            observer.before(now, &input);
        }
        self.member.handle_input(now, input)?;
        #[cfg(feature = "metrics")]
        self.metrics.applied(&mut self.member);
        if let Some(observer) = &mut self.observer {
            observer.after(now, &self.member);
        }
        Ok(())
    }

    #[cfg(feature = "metrics")]
    fn show_levels(&mut self) {
        let held = self.expired.iter().flat_map(|queue| &queue.backlog);
        self.metrics.show(&metrics::Levels {
            leases: self.member.lessor().len(),
            undeleted: self.undeleted.len(),
            waiting: self.member.renews_waiting(),
            pending: self.callers.len() + self.calls.len(),
            held: held.filter(|batch| batch.is_ok()).count(),
            primary: self.member.is_primary(),
        });
    }
}

/// Why the driver woke up.
enum Wake<B> {
    Committed(B, Option<LogIndex>, Result<(), BackendError>),
    Log(Option<LogEvent>),
    Timeout,
    Retry,
    Subscribers,
    Calls(Vec<Call>),
    GoOn,
}

/// A commit on its way: the backend comes back with the result.
type Committing<B> =
    Pin<Box<dyn Future<Output = (B, Option<LogIndex>, Result<(), BackendError>)> + Send + 'static>>;

/// One who watches expired batches.
struct ExpiredQueue {
    subscriber: u64,
    sender: mpsc::Sender<Result<ExpiredBatch, Missed>>,
    /// What had no room when it came: a batch, and then perhaps what was missed.
    backlog: VecDeque<Result<ExpiredBatch, Missed>>,
}

impl ExpiredQueue {
    /// Takes a batch. One that comes though another waits was held up for long enough, and is missed.
    fn push(&mut self, batch: &ExpiredBatch) {
        match self.backlog.back_mut() {
            None => self.backlog.push_back(Ok(batch.clone())),
            Some(Ok(_)) => self.backlog.push_back(Err(Missed::default().and(batch))),
            Some(Err(missed)) => *missed = missed.and(batch),
        }
    }

    fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Hands over what there is room for; false if nobody watches any more.
    fn deliver(&mut self) -> bool {
        while let Some(batch) = self.backlog.pop_front() {
            match self.sender.try_send(batch) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(batch)) => {
                    self.backlog.push_front(batch);
                    return true;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        !self.sender.is_closed()
    }
}

/// Returns when the first queue that holds things up has room, or has nobody behind it any more.
async fn room_for_expired(queues: &[ExpiredQueue]) {
    match queues.iter().find(|queue| queue.is_behind()) {
        // The slot is given back at once; only this driver sends, so it stays free.
        Some(queue) => drop(queue.sender.reserve().await),
        None => std::future::pending().await,
    }
}

impl From<LogEvent> for MemberInput {
    fn from(event: LogEvent) -> Self {
        match event {
            LogEvent::Committed(entries) => Self::Committed(entries),
            LogEvent::Role(role) => Self::Role(role),
            LogEvent::Confirmed { confirmation, committed } => {
                Self::Confirmed { confirmation, committed }
            }
            LogEvent::Installed(state) => Self::Installed(state),
        }
    }
}

/// How many requests are taken before the member's outputs are done.
const CALLS_AT_ONCE: usize = 256;
