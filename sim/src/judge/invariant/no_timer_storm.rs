//! L9, no timer storm: in any second of true time a member's timer wakes it at most a small number
//! of times, and once or twice for each lease. S12: a timer that has come is not due again at the
//! same moment without anything to do.
//!
//! Needs nothing. Broken by wheels that are armed again lazily, and by a full batch that leaves its
//! timer in the past (bug 48).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lessor::MemberId;

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The last second of each member.
#[derive(Debug, Default)]
pub(super) struct NoTimerStorm {
    last: BTreeMap<MemberId, Second>,
}

#[derive(Debug, Default)]
struct Second {
    /// When each timer came, and how many leases there were then.
    timers: VecDeque<(Duration, usize)>,
    /// When each answer was decided, for it may be a timeout that the timer was for. When it is told is no
    /// measure: a disk that stalls may delay that.
    answers: VecDeque<Duration>,
}

impl Invariant for NoTimerStorm {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let second = match fact {
            Fact::Timer { idle: true } => {
                let what = "a timer is due again as soon as it has come".to_owned();
                return Err(Broken::new(Property::S12, what));
            }
            Fact::Timer { idle: false } => self.last.entry(scene.member).or_default(),
            Fact::Decided { .. } => {
                let second = self.last.entry(scene.member).or_default();
                second.forget(scene.now);
                second.answers.push_back(scene.now);
                return Ok(());
            }
            _ => return Ok(()),
        };
        second.timers.push_back((scene.now, scene.state.leases.len()));
        second.forget(scene.now);
        let leases = second.timers.iter().map(|(_, leases)| *leases).max().unwrap_or_default();
        let (timers, answers) = (second.timers.len(), second.answers.len());
        if timers > MOST + 3 * leases + answers {
            let what =
                format!("{timers} timers in a second, with {leases} leases and {answers} answers");
            return Err(Broken::new(Property::L9, what));
        }
        judged.hold(&[Property::L9])
    }
}

impl Second {
    /// Forgets what happened a second ago or earlier.
    fn forget(&mut self, now: Duration) {
        let over = |at: &Duration| now.saturating_sub(*at) >= Duration::from_secs(1);
        while self.timers.pop_front_if(|(at, _)| over(at)).is_some() {}
        while self.answers.pop_front_if(|at| over(at)).is_some() {}
    }
}

/// How many timers a second a member may have for itself: ticks, retries, confirmations.
const MOST: usize = 60;

#[cfg(test)]
mod tests {
    use super::super::harness::History;
    use super::*;

    #[test]
    fn canary_a_storm_is_found() {
        let mut history = History::<NoTimerStorm>::default();
        for millis in 0..60 {
            history.at(millis);
            history.holds(Fact::Timer { idle: false });
        }
        let storm = history.see(Fact::Timer { idle: false });
        assert_eq!(storm.map_err(|broken| broken.property), Err(Property::L9));
        history.at(5_000);
        history.holds(Fact::Timer { idle: false });
    }

    #[test]
    fn canary_a_timer_in_the_past_is_found() {
        let mut history = History::<NoTimerStorm>::default();
        let past = history.see(Fact::Timer { idle: true });
        assert_eq!(past.map_err(|broken| broken.property), Err(Property::S12));
    }
}
