//! The threads that replay.
#![expect(
    clippy::disallowed_methods,
    reason = "replays run on real threads, which see nothing of each other"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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

/// What comes of each item and its position, on as many threads as [`each`]; in the order of the items, as
/// many as were begun before `interrupted` was set.
pub(super) fn map<I: Sync, T: Send>(
    jobs: Option<u16>,
    items: &[I],
    interrupted: &AtomicBool,
    work: impl Fn(usize, &I) -> T + Sync,
) -> Vec<T> {
    let results = Mutex::new(Vec::new());
    each(jobs, |number| {
        let position = usize::try_from(number).unwrap_or(usize::MAX);
        let next = items.get(position).filter(|_| !interrupted.load(Ordering::Relaxed));
        let Some(item) = next else { return false };
        let result = work(position, item);
        results.lock().unwrap_or_else(PoisonError::into_inner).push((position, result));
        true
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(position, _)| *position);
    results.into_iter().map(|(_, result)| result).collect()
}
