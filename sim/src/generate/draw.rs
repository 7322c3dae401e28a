//! Named streams of chance. Integers only.

use std::time::Duration;

use lessor::MemberId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Draws from a named stream of a seed.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    pub(super) fn stream(seed: u64, name: &str) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a, so that the number of a stream follows from its name alone.
        let number = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        random.set_stream(number);
        Self(random)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        let draw = self.0.next_u64() % u64::from(end.max(1));
        u32::try_from(draw).expect("it is below an u32")
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        let count = u32::try_from(among.len()).expect("a short list");
        among[self.below(count) as usize].clone()
    }

    /// One of these, each as often as its weight says.
    pub(super) fn weighted<T: Clone>(&mut self, among: &[(u32, T)]) -> T {
        let mut left = self.below(among.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in among {
            if left < *weight {
                return one.clone();
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of all weights")
    }

    /// Whole seconds, `least` to `most`.
    pub(super) fn span(&mut self, least: u32, most: u32) -> Duration {
        Duration::from_secs((least + self.below(most - least + 1)).into())
    }

    /// Milliseconds, `least` to `most`, short ones as often as long ones.
    pub(super) fn span_ms(&mut self, least: u32, most: u32) -> Duration {
        let top = most >> self.below(1 + (most / least.max(1)).max(1).ilog2());
        Duration::from_millis((least + self.below(top.max(least) - least + 1)).into())
    }

    /// A moment before `end`, but not in the first tenth of a second.
    pub(super) fn moment(&mut self, end: Duration) -> Duration {
        let end = u32::try_from(end.as_millis()).unwrap_or(u32::MAX);
        Duration::from_millis((100 + self.below(end.saturating_sub(200))).into())
    }

    /// A member besides this one, if there is one.
    pub(super) fn other(&mut self, than: MemberId, members: u8) -> MemberId {
        let others = u64::from(members) - 1;
        let further = 1 + u64::from(self.below(u32::from(members).saturating_sub(1)));
        if others == 0 { than } else { MemberId((than.0 - 1 + further) % (others + 1) + 1) }
    }

    /// The rate of a clock, less one, in millionths, within a bound.
    pub(super) fn rate(&mut self, bound_ppm: u32) -> i32 {
        let bound = i32::try_from(bound_ppm).expect("clocks are not so far off");
        let rate = i32::try_from(self.below(2 * bound_ppm + 1)).unwrap_or(0) - bound;
        // The worst is at the edge.
        if self.chance(50) { bound * rate.signum() } else { rate }
    }

    pub(super) fn member(&mut self, members: u8) -> MemberId {
        MemberId(u64::from(1 + self.below(members.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_draws_from_a_stream_of_its_own() {
        let mut one = Draw::stream(7, "sizes");
        let first = one.0.next_u64();
        let mut other = Draw::stream(7, "herds");
        other.0.next_u64();
        assert_eq!(Draw::stream(7, "sizes").0.next_u64(), first);
        assert_ne!(Draw::stream(7, "herds").0.next_u64(), first);
    }
}
