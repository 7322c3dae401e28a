//! A member's clock: it runs at a rate of its own, and can be stepped.

use std::time::Duration;

use lessor::Instant;

/// What a clock shows, as a function of true time. Its rate changes and its steps take effect at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// True time at the last change, and what it showed then, in nanoseconds.
    at: Duration,
    shown: u128,
    /// Its rate, less one, in millionths; at -1,000,000 it stands still.
    ppm: i32,
}

impl Clock {
    /// A clock that shows `offset` at the start.
    #[must_use]
    pub fn new(offset: Duration, ppm: i32) -> Self {
        Self { at: Duration::ZERO, shown: offset.as_nanos(), ppm }
    }

    /// A clock that shows this at that moment, and runs as time does.
    #[must_use]
    pub fn that_shows(shown: Instant, at: Duration) -> Self {
        Self { at, shown: shown.as_nanos().into(), ppm: 0 }
    }

    /// What it shows, up to the last moment that there is.
    #[must_use]
    pub fn read(&self, now: Duration) -> Instant {
        let passed = now.saturating_sub(self.at).as_nanos() * self.rate();
        // Almost always 64 bits are enough, whose division is much cheaper.
        let passed = match u64::try_from(passed) {
            Ok(passed) => u128::from(passed / 1_000_000),
            Err(_) => passed / MILLION,
        };
        let nanos = u64::try_from(self.shown + passed).unwrap_or(u64::MAX);
        Instant::ZERO.saturating_add(Duration::from_nanos(nanos))
    }

    /// Lets it run at this rate from now on, and says whether that is another one.
    pub fn set_rate(&mut self, now: Duration, ppm: i32) -> bool {
        let is_other = self.ppm != ppm;
        *self = Self { at: now, shown: self.nanos(now), ppm };
        is_other
    }

    /// Its rate, less one, in millionths.
    #[must_use]
    pub fn ppm(&self) -> i32 {
        self.ppm
    }

    /// Lets it show more or less than it does, but not less than nothing.
    pub fn step(&mut self, now: Duration, by: Duration, back: bool) {
        let (shown, by) = (self.nanos(now), by.as_nanos());
        let shown = if back { shown.saturating_sub(by) } else { shown.saturating_add(by) };
        *self = Self { at: now, shown, ppm: self.ppm };
    }

    /// How long it takes until it shows `deadline`, if it stays as it is; never longer than
    /// [`LONGEST`], after which to ask again.
    #[must_use]
    pub fn until(&self, now: Duration, deadline: Instant) -> Duration {
        let left = deadline.saturating_since(self.read(now)).as_nanos();
        match (left * MILLION).checked_div(self.rate()) {
            Some(nanos) if nanos <= LONGEST.as_nanos() => {
                let short = u128::from(nanos * self.rate() < left * MILLION);
                Duration::from_nanos(u64::try_from(nanos + short).unwrap_or(u64::MAX))
            }
            Some(_) | None => LONGEST,
        }
    }

    fn nanos(&self, now: Duration) -> u128 {
        u128::from(self.read(now).as_nanos())
    }

    /// Its rate, in millionths.
    fn rate(&self) -> u128 {
        u128::try_from(1_000_000 + i64::from(self.ppm)).unwrap_or(0)
    }
}

const MILLION: u128 = 1_000_000;
/// After so long a sleeper looks again at a clock that was far from its deadline.
pub const LONGEST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_fast_clock_shows_more_and_reaches_a_deadline_sooner() {
        let clock = Clock::new(secs(10), 500_000);
        assert_eq!(clock.read(secs(4)), Instant::from_secs(16));
        assert_eq!(clock.until(secs(4), Instant::from_secs(19)), secs(2));
    }

    #[test]
    fn a_new_rate_holds_from_its_moment_on() {
        let mut clock = Clock::new(Duration::ZERO, 0);
        clock.set_rate(secs(10), -1_000_000);
        assert_eq!(clock.read(secs(60)), Instant::from_secs(10));
        assert_eq!(clock.until(secs(60), Instant::from_secs(11)), LONGEST);
        clock.set_rate(secs(60), 0);
        assert_eq!(clock.read(secs(61)), Instant::from_secs(11));
    }

    #[test]
    fn a_step_goes_either_way_but_not_below_nothing() {
        let mut clock = Clock::new(secs(5), 0);
        clock.step(secs(1), secs(4), false);
        assert_eq!(clock.read(secs(1)), Instant::from_secs(10));
        clock.step(secs(1), secs(30), true);
        assert_eq!(clock.read(secs(1)), Instant::ZERO);
    }

    #[test]
    fn whoever_sleeps_until_a_deadline_finds_it_reached() {
        for ppm in [-999_999, -333_333, -7, 0, 3, 999_999] {
            let clock = Clock::new(secs(1), ppm);
            let deadline = Instant::from_millis(1_777);
            let woken = secs(3).saturating_add(clock.until(secs(3), deadline));
            let reached = clock.read(woken) >= deadline || woken >= secs(3) + LONGEST;
            assert!(reached, "{ppm}: {:?} at {woken:?}", clock.read(woken));
        }
    }
}
