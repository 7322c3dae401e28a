//! How many of a kind may leave in any half second.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::Instant;

/// A sliding window: at most `limit` in any half-open window of `window`.
#[derive(Debug)]
pub(crate) struct RateLimit {
    limit: usize,
    window: Duration,
    /// How many left when, oldest first; sums up to `taken`, at most `limit`.
    log: VecDeque<(Instant, usize)>,
    taken: usize,
}

impl RateLimit {
    pub(crate) fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, log: VecDeque::new(), taken: 0 }
    }

    /// How many may leave at `now`.
    pub(crate) fn room(&mut self, now: Instant) -> usize {
        while let Some(&(at, count)) = self.log.front()
            && at.saturating_add(self.window) <= now
        {
            self.log.pop_front();
            self.taken -= count;
        }
        self.limit - self.taken
    }

    /// Notes that `count` left at `now`, no more than there was room for.
    pub(crate) fn take(&mut self, now: Instant, count: usize) {
        self.taken += count;
        assert!(self.taken <= self.limit, "no more leave than there is room for");
        match self.log.back_mut() {
            Some((at, sum)) if *at == now => *sum += count,
            Some(_) | None => self.log.push_back((now, count)),
        }
    }

    /// The moment at which there is room again, if there is none.
    pub(crate) fn free_at(&self) -> Option<Instant> {
        let &(oldest, _) = self.log.front()?;
        (self.taken == self.limit).then(|| oldest.saturating_add(self.window))
    }
}
