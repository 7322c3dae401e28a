//! The files of the benchmarks of the driver.

use std::error::Error;
use std::path::Path;

use lessor::backend::{Backend, RedbBackend};
use lessor::{Change, Command, Config, Effect, Instant, Lessor, LogIndex, Transaction, Ttl};

use super::ids::id;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A store with so many leases, as grants leave it.
pub(crate) fn fill(path: &Path, leases: u64) -> Outcome {
    let mut backend = RedbBackend::open(path)?;
    let mut lessor = Lessor::new(&Config::default());
    let mut changes = Vec::new();
    for number in 1..=leases {
        let (id, ttl) = (id(number), Ttl::from_secs(3600));
        lessor.apply(Instant::ZERO, Command::Grant { id, ttl })?;
        while let Some(Effect::Write(write)) = lessor.poll_effect() {
            changes.push(Change::Write(write));
        }
    }
    let digest = lessor.digest();
    let (after, applied) = (LogIndex(0), LogIndex(leases));
    Ok(backend.commit(Transaction { after, applied, digest, reset: false, changes })?)
}

/// Beside the build, so on a disk, where the system's folder for such files may be in memory.
pub(crate) fn folder() -> Outcome<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}
