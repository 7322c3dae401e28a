//! Runs a [`World`] under madsim: one node a member, each with the parts that the scenario names, over a
//! disk that can fail. It decides nothing.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lessor::{Instant, MemberId};
use madsim::time::TimeHandle;
use tokio::sync::Notify;

use crate::model::clock::Clock;
use crate::record::events::Detail;
use crate::record::report::{Panic, Report};
use crate::record::trace::Focus;
use crate::scenario::Scenario;
pub use crate::world::Fork;
use crate::world::{Recorded, Recording, World};

use self::cluster::Cluster;

mod backend;
mod cluster;
mod driver;
mod log;
mod runtime;
mod seat;
mod tap;
mod testbed;

/// The chapter about it, whose code is compiled by this.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/TESTBED.md")]
struct Chapter;

pub use redb::StorageBackend;

pub use self::backend::SimBackend;
pub use self::log::{LogSeat, Network, SimLog};
pub use self::runtime::SimRuntime;
pub use self::seat::Seat;
pub use self::tap::Tap;
pub use self::testbed::{Host, HostError, Testbed, UnknownPart};
pub use crate::env::disk::Mount;

/// How a scenario is to be replayed. None of it changes what happens, but for the end.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is shown besides what always is.
    pub focus: Focus,
    /// A moment of virtual time at which to stop, without a verdict about the end.
    pub until: Option<Duration>,
    /// A moment after which chance is that of another seed.
    pub fork: Option<Fork>,
    /// Whether events are written as data, and which. It adds to what is shown.
    pub events: Option<Detail>,
    /// Set by whoever wants no result any more: the report then says nothing.
    pub give_up: Option<Arc<AtomicBool>>,
}

impl Testbed {
    /// Replays a scenario from its seed, on a fresh thread, and says how it went.
    ///
    /// A panic ends the run and is part of the report, instead of being printed.
    ///
    /// # Panics
    ///
    /// If the scenario names a part that this testbed does not have; ask [`check`](Self::check).
    #[must_use]
    pub fn replay(&self, scenario: &Scenario) -> Report {
        self.replay_with(scenario, &Options::default())
    }

    /// Replays a scenario, and if something is wrong once more, to see all of the lease or the member that
    /// it is about.
    ///
    /// # Panics
    ///
    /// As [`replay`](Self::replay).
    #[must_use]
    pub fn replay_closely(&self, scenario: &Scenario) -> Report {
        let report = self.replay(scenario);
        let focus = report.focus();
        if focus.is_empty() {
            return report;
        }
        self.replay_with(scenario, &Options { focus, ..Options::default() })
    }

    /// The events of a run as data (docs/EVENTS.md), from a second replay: the first, of which this is the
    /// report, says what is worth the detail.
    ///
    /// # Panics
    ///
    /// As [`replay`](Self::replay).
    #[must_use]
    pub fn events(&self, scenario: &Scenario, first: &Report) -> String {
        let events = Some(Detail::of(first, &scenario.herds));
        let again = self.replay_with(scenario, &Options { events, ..Options::default() });
        again.events.expect("they were asked for")
    }

    /// As [`replay`](Self::replay), with options.
    ///
    /// # Panics
    ///
    /// As [`replay`](Self::replay).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "nothing runs beside the thread of a replay")]
    pub fn replay_with(&self, scenario: &Scenario, options: &Options) -> Report {
        if let Err(unknown) = self.check(scenario) {
            panic!("{unknown}");
        }
        catch_panics();
        let mut world = World::new(scenario);
        match &options.events {
            None => world.look_at(&options.focus),
            Some(detail) => {
                world.look_at(&detail.focus());
                world.record_events(detail);
            }
        }
        if let Some(fork) = options.fork {
            world.fork(fork);
        }
        if let Some(until) = options.until {
            world.stop_at(until);
        }
        let (seed, world) = (scenario.seed, Arc::new(Mutex::new(world)));
        let latency = scenario.network.latency..scenario.network.latency + scenario.network.jitter;
        let inside = world.clone();
        let give_up = options.give_up.clone().unwrap_or_default();
        let parts = self.parts_of(scenario);
        // Hash keys and generators of a thread are drawn once: a fresh thread has fresh ones.
        let thread = std::thread::spawn(move || {
            PANIC.set(Some(None));
            let run = || {
                let mut config = madsim::Config::default();
                config.net.send_latency = latency.start..latency.end + Duration::from_nanos(1);
                let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, config);
                runtime.block_on(async move {
                    Cluster::new(Shared::new(inside), parts).run(&give_up).await;
                });
            };
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
            PANIC.take().flatten().filter(|_| panicked)
        });
        let panic = thread.join().expect("every panic inside was caught");
        let mut world = lock(&world);
        if let Some(panic) = panic {
            world.panicked(panic);
        }
        let mut report = world.report();
        report.events = world.take_events(&report);
        report
    }
}

/// Replays the recording of a real engine, and says how it went and, in sentences, what was replayed.
///
/// # Errors
///
/// A sentence, if it is no recording.
///
/// # Panics
///
/// If a thread cannot be started.
#[expect(clippy::disallowed_methods, reason = "nothing runs beside the thread of a replay")]
pub fn replay_recording(
    recording: &Recording,
    options: &Options,
) -> Result<(Report, Vec<String>), String> {
    catch_panics();
    let mut recorded = Recorded::new(recording)?;
    match &options.events {
        None => recorded.look_at(&options.focus),
        Some(detail) => recorded.record_events(detail),
    }
    let recorded = Arc::new(Mutex::new(recorded));
    let inside = recorded.clone();
    let thread = std::thread::spawn(move || {
        PANIC.set(Some(None));
        let run = || lock(&inside).run();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        PANIC.take().flatten().filter(|_| panicked)
    });
    let panic = thread.join().expect("every panic inside was caught");
    let mut recorded = lock(&recorded);
    if let Some(panic) = panic {
        recorded.panicked(panic);
    }
    Ok((recorded.report(), recorded.summary().collect()))
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

    /// The world, which knows the time.
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.world);
        world.set_now(self.now());
        world
    }

    /// True time since the start of the run.
    fn now(&self) -> Duration {
        self.time.elapsed()
    }

    /// Tells the world something at this moment.
    fn tell<T>(&self, tell: impl FnOnce(&mut World) -> T) -> T {
        let told = tell(&mut self.world());
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
fn lock<T>(world: &Mutex<T>) -> MutexGuard<'_, T> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a member hears the others.
fn address(member: MemberId, port: u16) -> SocketAddr {
    let number = u8::try_from(member.0).expect("members are few");
    SocketAddr::from(([10, 0, 0, number], port))
}

/// Of messages between members; there are no others.
const TAG: u64 = 1;

/// How often somebody looks who waits for what lasts.
const GLANCE: Duration = Duration::from_millis(20);
/// After this time a host tries again to open a store that is open.
const TRY_AGAIN: Duration = Duration::from_millis(100);
