//! The whole engine in one call: a single member, on a redb file, on the caller's tokio runtime.

use std::path::Path;

use super::{Driver, DriverError, Handle, LocalLog, Observer, Runtime, TokioRuntime};
use crate::backend::RedbBackend;
use crate::{Config, chance};

/// Opens or creates the lease store at `path`, and runs a lease engine on it until it is
/// [stopped](Handle::stop) or its last handle is dropped.
///
/// The engine is a single member, so it is the primary at once. Every lease in the store then lasts for
/// its ttl and [`Config::extend`]. The engine is a task of the current tokio runtime. If the runtime shuts
/// down, the engine ends with it; everything acknowledged before is in the store. If [`Config::hash_key`]
/// or [`Config::id_salt`] is `None`, it is drawn from the system.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("leases.redb");
/// use std::time::Duration;
///
/// let leases = lessor::open(path, lessor::Config::default()).await?;
/// let id = leases.grant(None, Duration::from_secs(10)).await?.id;
/// leases.attach(id, ["service/web"]).await?;
/// assert_eq!(leases.lease_of("service/web").await?, Some(id));
/// leases.stop().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// - [`DriverError::Config`]: no engine can work with the settings.
/// - [`DriverError::Backend`]: the file cannot be used.
/// - [`DriverError::State`]: its content contradicts itself.
///
/// # Panics
///
/// Outside of a tokio runtime, and in one whose timers are not enabled.
pub async fn open(path: impl AsRef<Path>, config: Config) -> Result<Handle, DriverError> {
    open_with(path.as_ref(), config, |driver| driver).await
}

/// The same as [`open`], with an observer of every input and output, such as
/// [`FlightRecorder`](crate::driver::FlightRecorder).
///
/// # Errors
///
/// Those of [`open`].
///
/// # Panics
///
/// As [`open`] does.
pub async fn open_observed(
    path: impl AsRef<Path>,
    config: Config,
    observer: impl Observer + 'static,
) -> Result<Handle, DriverError> {
    open_with(path.as_ref(), config, |driver| driver.observe(observer)).await
}

async fn open_with(
    path: &Path,
    config: Config,
    prepare: impl FnOnce(Whole) -> Whole,
) -> Result<Handle, DriverError> {
    // Before the store is created.
    config.check()?;
    let path = path.to_owned();
    let hash_key = config.hash_key.unwrap_or_else(draw_hash_key);
    // Not the store's: that would come back with an older copy of it.
    let id_salt = config.id_salt.unwrap_or_else(chance::draw);
    let config = config.with_hash_key(hash_key).with_id_salt(id_salt);
    let runtime = TokioRuntime::new();
    let backend = runtime.run_blocking(move || RedbBackend::open(path)).await?;
    let (handle, driver) = Driver::open(&config, runtime, backend, LocalLog::new()).await?;
    // Whoever holds a handle learns how it ended.
    let driver = prepare(driver);
    drop(tokio::spawn(driver.run()));
    Ok(handle)
}

/// The driver of a whole engine.
type Whole = Driver<TokioRuntime, RedbBackend, LocalLog>;

/// A key that nobody outside of this process can know.
fn draw_hash_key() -> u128 {
    u128::from(chance::draw()) << 64 | u128::from(chance::draw())
}
