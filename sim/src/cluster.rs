//! Runs a [`World`] under madsim: one node a member, each with the real driver on redb over a disk
//! that can fail. The only file that knows madsim; it decides nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lessor::backend::{Backend, BackendError, RedbBackend, Stored};
use lessor::driver::{Driver, Handle, Log, LogEvent, Observer, Runtime};
use lessor::{
    Confirmation, Instant, LeaseId, LogIndex, Member, MemberId, MemberInput, Output, Proposal,
    Transaction,
};
use madsim::net::Endpoint;
use madsim::runtime::NodeHandle;
use madsim::task::JoinHandle;
use madsim::time::TimeHandle;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Clock;
use crate::consensus::Envelope;
use crate::journal::JournalBackend;
use crate::report::{Panic, Report};
use crate::scenario::{Scenario, StoreKind};
use crate::trace::Focus;
use crate::world::{Action, World};

/// How a scenario is to be replayed. None of it changes what happens, but for the end.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is shown besides what always is.
    pub focus: Focus,
    /// A moment of virtual time at which to stop, without a verdict about the end.
    pub until: Option<Duration>,
    /// Set by whoever wants no result any more: the report then says nothing.
    pub give_up: Option<Arc<AtomicBool>>,
}

/// Replays a scenario from its seed, on a fresh thread, and says how it went.
///
/// A panic ends the run and is part of the report, instead of being printed.
#[must_use]
pub fn replay(scenario: &Scenario) -> Report {
    replay_with(scenario, &Options::default())
}

/// Replays a scenario, and if something is wrong once more, to see all of the lease or the member that it
/// is about.
#[must_use]
pub fn replay_closely(scenario: &Scenario) -> Report {
    let report = replay(scenario);
    let focus = report.focus();
    if focus.is_empty() {
        return report;
    }
    replay_with(scenario, &Options { focus, ..Options::default() })
}

/// As [`replay`], with options.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "nothing runs beside the thread of a replay")]
pub fn replay_with(scenario: &Scenario, options: &Options) -> Report {
    catch_panics();
    let mut world = World::new(scenario);
    world.look_at(&options.focus);
    if let Some(until) = options.until {
        world.stop_at(until);
    }
    let (seed, world) = (scenario.seed, Arc::new(Mutex::new(world)));
    let latency = scenario.network.latency..scenario.network.latency + scenario.network.jitter;
    let inside = world.clone();
    let give_up = options.give_up.clone().unwrap_or_default();
    // Hash keys and generators of a thread are drawn once: a fresh thread has fresh ones.
    let thread = std::thread::spawn(move || {
        PANIC.set(Some(None));
        let run = || {
            let mut config = madsim::Config::default();
            config.net.send_latency = latency.start..latency.end + Duration::from_nanos(1);
            let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, config);
            runtime.block_on(async move { Cluster::new(Shared::new(inside)).run(&give_up).await });
        };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        PANIC.take().flatten().filter(|_| panicked)
    });
    let panic = thread.join().expect("every panic inside was caught");
    let mut world = lock(&world);
    if let Some(panic) = panic {
        world.panicked(panic);
    }
    world.report()
}

thread_local! {
    /// On a thread that replays: the first panic, when there was one.
    static PANIC: RefCell<Option<Option<Panic>>> = const { RefCell::new(None) };
}

/// Has panics of threads that replay kept for the report; those of others are printed as ever.
fn catch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|kept| match kept {
                None => print(info),
                Some(Some(_)) => {}
                Some(first) => {
                    let message = info.payload_as_str().unwrap_or("without a message").to_owned();
                    let at = info.location().map(|at| (at.file().to_owned(), at.line()));
                    let (file, line) = at.unwrap_or_default();
                    *first = Some(Panic { message, file, line });
                }
            });
        }));
    });
}

/// The world, as every task of the simulation has it.
#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    /// Wakes the one task that does what the world wants.
    changed: Arc<Notify>,
    time: TimeHandle,
}

impl Shared {
    /// To be called inside the simulation, of which it keeps the time.
    fn new(world: Arc<Mutex<World>>) -> Self {
        Self { world, changed: Arc::new(Notify::new()), time: TimeHandle::current() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// True time since the start of the run.
    fn now(&self) -> Duration {
        self.time.elapsed()
    }

    /// Tells the world something at this moment.
    fn tell<T>(&self, tell: impl FnOnce(&mut World, Duration) -> T) -> T {
        let told = tell(&mut self.world(), self.now());
        self.changed.notify_one();
        told
    }

    /// Returns when a clock of the world has come to a moment.
    async fn sleep_until(self, deadline: Instant, clock: impl Fn(&World) -> Clock + Send) {
        // A step of the clock wakes nobody.
        loop {
            // A timer that is due again and again would never let go.
            if self.world().has_ended() {
                std::future::pending::<()>().await;
            }
            let left = clock(&self.world()).until(self.now(), deadline);
            if left.is_zero() {
                break;
            }
            self.time.sleep(left).await;
        }
    }
}

/// A panic ends the run; what the world knows until then is still worth a report.
fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a member hears the others.
fn address(member: MemberId, port: u16) -> SocketAddr {
    let number = u8::try_from(member.0).expect("members are few");
    SocketAddr::from(([10, 0, 0, number], port))
}

/// Of messages between members; there are no others.
const TAG: u64 = 1;

struct Cluster {
    shared: Shared,
    nodes: BTreeMap<MemberId, NodeHandle>,
    /// Where each running member takes its log events.
    events: BTreeMap<MemberId, mpsc::UnboundedSender<LogEvent>>,
    /// Where each running member takes requests; filled when it has opened.
    handles: Arc<Mutex<BTreeMap<MemberId, Handle>>>,
    /// What gives up each call that is on its way, when it is dropped.
    calls: Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>,
    /// Where each running member hears the others.
    sockets: Arc<Mutex<BTreeMap<MemberId, Arc<Endpoint>>>>,
    /// And on which port: each process has one of its own, so that it does not hear what was meant
    /// for the one before.
    ports: BTreeMap<MemberId, u16>,
    /// The tasks of each running member: its ears and its driver.
    tasks: BTreeMap<MemberId, [JoinHandle<()>; 2]>,
    /// The members whose engine was aborted, so that their process runs on without one.
    aborted: BTreeSet<MemberId>,
}

impl Cluster {
    fn new(shared: Shared) -> Self {
        let (nodes, events) = (BTreeMap::new(), BTreeMap::new());
        Self {
            shared,
            nodes,
            events,
            handles: Arc::default(),
            calls: Arc::default(),
            sockets: Arc::default(),
            ports: BTreeMap::new(),
            tasks: BTreeMap::new(),
            aborted: BTreeSet::new(),
        }
    }

    async fn run(mut self, give_up: &AtomicBool) {
        let changed = self.shared.changed.clone();
        self.shared.world().advance(self.shared.now());
        while !self.shared.world().has_ended() && !give_up.load(Ordering::Relaxed) {
            loop {
                let action = self.shared.world().poll_action();
                let Some(action) = action else { break };
                self.act(action);
            }
            let deadline = self.shared.world().poll_timeout();
            let pause = deadline.saturating_sub(self.shared.now());
            tokio::select! {
                biased;
                () = changed.notified() => {}
                () = self.shared.time.sleep(pause) => {}
            }
            self.shared.world().advance(self.shared.now());
        }
    }

    fn act(&mut self, action: Action) {
        let supervisor = madsim::runtime::Handle::current();
        match action {
            Action::Boot(member) => self.boot(member),
            Action::Kill(member) => {
                self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
                self.events.remove(&member);
                self.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
                self.aborted.remove(&member);
                if let Some(node) = self.nodes.get(&member) {
                    supervisor.kill(node.id());
                }
            }
            Action::Abort(member) => {
                self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
                self.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
                for task in self.tasks.remove(&member).into_iter().flatten() {
                    task.abort();
                }
                self.events.remove(&member);
                self.aborted.insert(member);
            }
            Action::OpenAgain(member) => {
                let outcome = SimBackend::mount(self.shared.clone(), member);
                let refusal = outcome.err().map(|error| error.to_string());
                self.shared.tell(|world, now| world.opened_again(now, member, refusal));
            }
            Action::Observe { member, place, leaves } => self.observe(member, place, leaves),
            Action::Pause(member) => {
                if let Some(node) = self.nodes.get(&member) {
                    supervisor.pause(node.id());
                }
            }
            Action::Resume(member) => {
                if let Some(node) = self.nodes.get(&member) {
                    supervisor.resume(node.id());
                }
            }
            Action::Deliver(member, event) => {
                if let Some(events) = self.events.get(&member) {
                    // The member may have just ended.
                    let _ = events.send(event);
                }
            }
            Action::Send(envelope) => self.send(envelope),
            Action::Call { call, member, request } => {
                let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                let handle = handles.get(&member).cloned();
                let (shared, calls) = (self.shared.clone(), self.calls.clone());
                let (waiting, given_up) = oneshot::channel::<()>();
                self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call, waiting);
                madsim::task::spawn(async move {
                    let answer = match handle {
                        Some(handle) => tokio::select! {
                            biased;
                            answer = handle.request(request) => Some(answer),
                            _ = given_up => return,
                        },
                        None => None,
                    };
                    calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
                    shared.tell(|world, now| world.answered(now, call, answer));
                });
            }
            Action::KeepAlive { call, member, lease, lessee } => {
                self.keep_alive(call, member, lease, lessee);
            }
            Action::GiveUp(call) => {
                self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
            }
            Action::Stop(member) => {
                let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(handle) = handles.get(&member).cloned() {
                    madsim::task::spawn(async move { handle.stop().await });
                }
            }
        }
    }

    /// Keeps a lease alive until its guard has lost it or is dropped; the guard goes by the clock of a lessee.
    fn keep_alive(&self, call: u64, member: MemberId, lease: LeaseId, lessee: usize) {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = handles.get(&member).cloned();
        let (shared, calls) = (self.shared.clone(), self.calls.clone());
        let (waiting, mut given_up) = oneshot::channel::<()>();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call, waiting);
        madsim::task::spawn(async move {
            let clock = LesseeClock { shared: shared.clone(), lessee };
            let kept = match handle {
                Some(handle) => tokio::select! {
                    biased;
                    kept = handle.keep_alive_on(clock, lease) => Some(kept),
                    _ = &mut given_up => return,
                },
                None => None,
            };
            match kept {
                Some(Ok((mut guard, renewing))) => {
                    madsim::task::spawn(renewing);
                    shared.tell(|world, now| world.kept(now, call));
                    let why = tokio::select! {
                        biased;
                        why = guard.lost() => why,
                        _ = given_up => return,
                    };
                    shared.tell(|world, now| world.lost(now, lessee, call, &why));
                }
                Some(Err(error)) => {
                    shared.tell(|world, now| world.answered(now, call, Some(Err(error))));
                }
                None => shared.tell(|world, now| world.answered(now, call, None)),
            }
            calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
        });
    }

    /// Watches a member's expired batches, and reads none while the fault of a step lasts.
    fn observe(&self, member: MemberId, place: usize, leaves: bool) {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = handles.get(&member).cloned() else { return };
        let shared = self.shared.clone();
        madsim::task::spawn(async move {
            let Ok(mut expired) = handle.expired().await else { return };
            drop(handle);
            while shared.world().observer_sleeps(place) {
                shared.time.sleep(GLANCE).await;
            }
            while !leaves && let Some(batch) = expired.recv().await {
                let missed = batch.err();
                shared.tell(|world, now| world.observed(now, member, missed.is_some()));
            }
        });
    }

    /// Sends a message from the node of one member to that of another.
    fn send(&self, envelope: Envelope) {
        let socket = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.get(&envelope.from).cloned();
        let to = self.ports.get(&envelope.to).map(|port| address(envelope.to, *port));
        if let (Some(node), Some(socket), Some(to)) = (self.nodes.get(&envelope.from), socket, to) {
            let _sending = node.spawn(async move {
                // Nobody may be there.
                let _ = socket.send_to_raw(to, TAG, Box::new(envelope)).await;
            });
        }
    }

    /// Starts a member's process: it opens its store, and runs the driver until it ends.
    fn boot(&mut self, member: MemberId) {
        let supervisor = madsim::runtime::Handle::current();
        let node = self.nodes.entry(member).or_insert_with(|| {
            let name = format!("member {member}");
            supervisor.create_node().name(name).ip(address(member, 1).ip()).build()
        });
        // An engine that was aborted leaves its process behind, and the commit that is on its way there.
        if !self.aborted.remove(&member) {
            supervisor.restart(node.id());
        }
        let node = supervisor.get_node(node.id()).expect("the node was created");
        let (sender, events) = mpsc::unbounded_channel();
        self.events.insert(member, sender);
        let (shared, handles) = (self.shared.clone(), self.handles.clone());
        let (ears, sockets) = (self.shared.clone(), self.sockets.clone());
        let port = self.ports.entry(member).or_default();
        *port += 1;
        let port = *port;
        let hearing = node.spawn(async move {
            let socket = Endpoint::bind(address(member, port)).await;
            let socket = Arc::new(socket.expect("each process binds a port of its own"));
            sockets.lock().unwrap_or_else(PoisonError::into_inner).insert(member, socket.clone());
            while let Ok((payload, _)) = socket.recv_from_raw(TAG).await {
                let envelope = payload.downcast::<Envelope>().expect("nothing else is sent");
                ears.tell(|world, now| world.received(now, *envelope));
            }
        });
        let running = node.spawn(async move {
            let config = shared.world().config().clone();
            let runtime = SimRuntime { shared: shared.clone(), member };
            let log = SimLog { shared: shared.clone(), member, events };
            let backend = loop {
                match SimBackend::mount(shared.clone(), member) {
                    Ok(backend) => break backend,
                    Err(BackendError::Locked { .. }) => {
                        shared.tell(|world, now| world.locked_out(now, member));
                        shared.time.sleep(TRY_AGAIN).await;
                    }
                    Err(error) => {
                        return shared.tell(|world, now| {
                            world.process_ended(now, member, Err(error.to_string()));
                        });
                    }
                }
            };
            let outcome = match Driver::open(&config, runtime, backend, log).await {
                Ok((handle, driver)) => {
                    let driver = driver.observe(Watch { shared: shared.clone(), member });
                    handles.lock().unwrap_or_else(PoisonError::into_inner).insert(member, handle);
                    shared.tell(|world, now| world.booted(now, member));
                    driver.run().await.map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            shared.tell(|world, now| world.process_ended(now, member, outcome));
        });
        self.tasks.insert(member, [hearing, running]);
        self.nodes.insert(member, node);
    }
}

/// Time and threads of a member: virtual, with a clock of its own, and one thread.
struct SimRuntime {
    shared: Shared,
    member: MemberId,
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.shared.world().clock(self.member).read(self.shared.now())
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let member = self.member;
        self.shared.clone().sleep_until(deadline, move |world| world.clock(member))
    }

    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (shared, member) = (self.shared.clone(), self.member);
        // A task of its own: a thread that works goes on when nobody waits for it any more.
        let task = madsim::task::spawn(async move {
            shared.world().blocked(shared.now(), member, true);
            while shared.world().store_is_held(member) {
                shared.time.sleep(GLANCE).await;
            }
            let result = work();
            if shared.world().power_is_off(member) {
                // A machine without power does not come to know of it.
                shared.tell(|world, now| world.power_lost(now, member));
                std::future::pending::<()>().await;
            }
            let latency = shared.world().disk_latency(shared.now(), member);
            shared.time.sleep(latency).await;
            shared.world().blocked(shared.now(), member, false);
            result
        });
        async move {
            match task.await {
                Ok(result) => result,
                // Its machine has lost its power, or its process was killed.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// Time as a lessee has it, on a clock of its own.
struct LesseeClock {
    shared: Shared,
    lessee: usize,
}

impl Runtime for LesseeClock {
    fn now(&self) -> Instant {
        self.shared.world().guard_looks(self.shared.now(), self.lessee)
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let lessee = self.lessee;
        self.shared.clone().sleep_until(deadline, move |world| world.lessee_clock(lessee))
    }

    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        std::future::ready(work())
    }
}

/// How often somebody looks who waits for what lasts.
const GLANCE: Duration = Duration::from_millis(20);
/// After this time a host tries again to open a store that is open.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// A member's end of the modelled log.
struct SimLog {
    shared: Shared,
    member: MemberId,
    events: mpsc::UnboundedReceiver<LogEvent>,
}

impl Log for SimLog {
    fn start(&mut self, applied: LogIndex) {
        self.shared.tell(|world, now| world.log_started(now, self.member, applied));
    }

    fn propose(&mut self, proposal: Proposal) {
        self.shared.tell(|world, now| world.proposed(now, self.member, proposal));
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        self.shared.tell(|world, now| world.confirm_asked(now, self.member, confirmation));
    }

    fn applied(&mut self, _: LogIndex) {}

    fn campaign(&mut self) {
        self.shared.tell(|world, now| world.campaigned(now, self.member));
    }

    fn resign(&mut self) {
        self.shared.tell(|world, now| world.resigned(now, self.member));
    }

    async fn next(&mut self) -> Option<LogEvent> {
        self.events.recv().await
    }
}

/// The store on the member's disk, which may lose its power around or inside a commit.
struct SimBackend {
    shared: Shared,
    member: MemberId,
    store: Store,
}

/// What the scenario says that the leases are kept in.
enum Store {
    Redb(RedbBackend),
    Journal(JournalBackend),
}

impl Store {
    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        match self {
            Self::Redb(store) => store.commit(transaction),
            Self::Journal(store) => store.commit(transaction),
        }
    }
}

impl SimBackend {
    fn mount(shared: Shared, member: MemberId) -> Result<Self, BackendError> {
        let (mount, kind) = {
            let world = shared.world();
            (world.disk(member).mount(), world.store())
        };
        let store = match kind {
            StoreKind::Redb => Store::Redb(RedbBackend::with_storage(mount)?),
            StoreKind::Journal => Store::Journal(JournalBackend::new(mount)?),
        };
        Ok(Self { shared, member, store })
    }
}

impl Backend for SimBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        let stored = match &mut self.store {
            Store::Redb(store) => store.load(),
            Store::Journal(store) => store.load(),
        };
        self.shared.tell(|world, now| match &stored {
            Ok(stored) => world.loaded(now, self.member, stored),
            Err(_) => world.unreadable(now, self.member),
        });
        stored
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.shared.world().before_commit(self.member);
        let again = self.shared.world().repeats_commits().then(|| transaction.clone());
        let result = self.store.commit(transaction);
        if let (Ok(()), Some(again)) = (&result, again) {
            let refused = matches!(self.store.commit(again), Err(BackendError::OutOfOrder { .. }));
            self.shared.world().repeated(self.shared.now(), self.member, refused);
        }
        self.shared.world().after_commit(self.shared.now(), self.member, result.is_ok());
        result
    }
}

/// Shows the world everything that a member is told and says.
struct Watch {
    shared: Shared,
    member: MemberId,
}

impl Observer for Watch {
    fn before(&mut self, clock: Instant, input: &MemberInput) {
        self.shared.world().before(self.shared.now(), self.member, clock, input);
    }

    fn after(&mut self, clock: Instant, member: &Member) {
        self.shared.world().after(self.shared.now(), self.member, clock, member);
    }

    fn output(&mut self, clock: Instant, output: &Output) {
        self.shared.world().output(self.shared.now(), self.member, clock, output);
    }
}
