//! Time and threads for the driver. Only here is a clock read.

use std::future::Future;
use std::time::Duration;

use crate::Instant;

/// The async runtime of a driver.
///
/// [`TokioRuntime`] is the usual one. The simulator has its own, with clocks that it controls.
///
/// A runtime for tests, whose clock runs sixty times as fast:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lessor::backend::MemoryBackend;
/// use lessor::driver::{Driver, LocalLog, Runtime, TokioRuntime};
/// use lessor::{Config, Instant, Ttl};
///
/// struct Hasty(TokioRuntime);
///
/// impl Runtime for Hasty {
///     fn now(&self) -> Instant {
///         Instant::from_nanos(self.0.now().as_nanos().saturating_mul(60))
///     }
///
///     async fn sleep_until(&self, deadline: Instant) {
///         self.0.sleep_until(Instant::from_nanos(deadline.as_nanos().div_ceil(60))).await;
///     }
///
///     fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
///     where
///         T: Send + 'static,
///         F: FnOnce() -> T + Send + 'static,
///     {
///         self.0.run_blocking(work)
///     }
/// }
///
/// let (backend, log) = (MemoryBackend::new(), LocalLog::new());
/// let runtime = Hasty(TokioRuntime::new());
/// let (leases, driver) = Driver::open(&Config::default(), runtime, backend, log).await?;
/// tokio::spawn(driver.run());
/// let mut expired = leases.expired().await?;
/// let id = leases.grant(None, Ttl::from_secs(6)).await?.id;
/// let batch = expired.recv().await.expect("the engine runs")?;
/// assert_eq!(batch.leases, [id], "after a tenth of a second");
/// # Ok(()) }
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// Returns the moment on this member's clock, which must never go back.
    fn now(&self) -> Instant;

    /// Returns when the clock has reached `deadline`, or a little later.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send;

    /// Runs a function that may block, outside of the async threads.
    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static;
}

/// The [`Runtime`] on tokio. Its clock starts with its creation. It stops while the machine is suspended,
/// so leases then last longer by that time.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    start: tokio::time::Instant,
}

impl TokioRuntime {
    /// Creates a runtime whose clock starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the runtime is where the clock is read")]
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for TokioRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        Instant::ZERO.saturating_add(self.start.elapsed())
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        // Tokio's own timers end after about two years; the driver asks again when it wakes early.
        let far = Duration::from_secs(365 * 86_400);
        tokio::time::sleep(deadline.saturating_since(self.now()).min(far))
    }

    #[expect(clippy::disallowed_methods, reason = "the runtime is where threads come from")]
    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let task = tokio::task::spawn_blocking(work);
        async move {
            match task.await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down, and this future with it.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }
}
