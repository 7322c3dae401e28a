//! The threads that replay.
#![expect(
    clippy::disallowed_methods,
    reason = "replays run on real threads, which see nothing of each other"
)]

use std::sync::atomic::{AtomicU64, Ordering};

/// How many cores there are.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Calls `work` with 0, 1, 2 and so on, each number once, on `jobs` threads or one a core, until it
/// returns false to each of them.
pub(super) fn each(jobs: Option<u16>, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.map_or_else(cores, usize::from) {
            scope.spawn(|| while work(next.fetch_add(1, Ordering::Relaxed)) {});
        }
    });
}
