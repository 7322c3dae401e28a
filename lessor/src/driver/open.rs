//! The whole engine in one call: one member, on a redb file, on the tokio runtime of the caller.

use std::path::Path;

use super::{Driver, DriverError, Handle, LocalLog, Runtime, TokioRuntime};
use crate::backend::RedbBackend;
use crate::{Config, chance};

/// Opens the lease store at `path`, which is created if it is not there, and runs a lease engine on it
/// until it is [stopped](Handle::stop) or its last handle is dropped.
///
/// The engine is a member that is alone, so it is primary at once: every lease in the store then has
/// its ttl and [`Config::extend`] before it. It runs as a task of the tokio runtime that this is called
/// in; a runtime that shuts down takes it along, and what was acknowledged by then is in the store.
/// Where [`Config::hash_key`] or [`Config::id_salt`] is `None`, it is drawn from the system.
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
/// [`DriverError::Config`] for settings that no engine can work with, [`DriverError::Backend`] if the file cannot be used, [`DriverError::State`] if what is in it
/// contradicts itself.
///
/// # Panics
///
/// Outside of a tokio runtime, and in one whose timers are not enabled.
pub async fn open(path: impl AsRef<Path>, config: Config) -> Result<Handle, DriverError> {
    // Before the store is created.
    config.check()?;
    let path = path.as_ref().to_owned();
    let hash_key = config.hash_key.unwrap_or_else(draw_hash_key);
    // Not the store's: that would come back with an older copy of it.
    let id_salt = config.id_salt.unwrap_or_else(chance::draw);
    let config = config.with_hash_key(hash_key).with_id_salt(id_salt);
    let runtime = TokioRuntime::new();
    let backend = runtime.run_blocking(move || RedbBackend::open(path)).await?;
    let (handle, driver) = Driver::open(&config, runtime, backend, LocalLog::new()).await?;
    // Whoever holds a handle learns how it ended.
    drop(tokio::spawn(driver.run()));
    Ok(handle)
}

/// A key that nobody outside of this process can know.
fn draw_hash_key() -> u128 {
    u128::from(chance::draw()) << 64 | u128::from(chance::draw())
}
