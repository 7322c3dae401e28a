//! How many of a kind may leave in any half second.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::Instant;

/// A sliding window: at most `limit` in any half-open window of `window`.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
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
        if count == 0 {
            return;
        }
        self.taken += count;
        assert!(self.taken <= self.limit, "no more leave than there is room for");
        self.log.push_back((now, count));
    }

    /// The moment at which there is room again, if there is none.
    pub(crate) fn free_at(&self) -> Option<Instant> {
        let &(oldest, _) = self.log.front()?;
        (self.taken == self.limit).then(|| oldest.saturating_add(self.window))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(47),
            ..ProptestConfig::default()
        })]

        /// The model adds up what left in the window that ends at `now`, and looks at each moment.
        #[test]
        fn any_window_holds_no_more_than_the_limit_and_there_is_room_again_when_it_says(
            limit in 1_usize..8,
            window in 1_u64..40,
            steps in vec((0_u64..30, 0_usize..10), 1..60),
        ) {
            let mut rate = RateLimit::new(limit, Duration::from_nanos(window));
            let (mut now, mut left) = (0, Vec::new());
            for (pass, wanted) in steps {
                now += pass;
                let in_window = |left: &[u64], at: u64| {
                    left.iter().filter(|earlier| at - **earlier < window).count()
                };
                let room = rate.room(Instant::from_nanos(now));
                prop_assert_eq!(room, limit - in_window(&left, now));
                let count = wanted.min(room);
                rate.take(Instant::from_nanos(now), count);
                left.extend(core::iter::repeat_n(now, count));
                let free = (now..).find(|at| in_window(&left, *at) < limit).unwrap();
                let expected = (free > now).then(|| Instant::from_nanos(free));
                prop_assert_eq!(rate.free_at(), expected);
                prop_assert!(rate.log.len() <= limit, "what did not leave is not noted");
            }
        }
    }

    #[test]
    fn the_end_of_time_gives_no_room_back() {
        let mut rate = RateLimit::new(1, Duration::MAX);
        rate.take(Instant::from_nanos(1), 1);
        assert_eq!(rate.free_at(), Some(Instant::MAX));
        assert_eq!(rate.room(Instant::from_nanos(u64::MAX - 1)), 0);
    }
}
