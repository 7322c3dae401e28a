//! S1a, smoothing only delays: with `D` the promotion plus the extension and what a lease has left, its
//! deadline after the promotion is at least `D` and at most `D + n / target + 1 s`, for `n` leases and a
//! target of three quarters of the revoke rate; and of two leases with different `D`, that with the
//! earlier one has no later deadline.
//!
//! Needs a clock that has not stepped back. Bug 16 of the bank is of this kind.

use std::collections::BTreeSet;

use lessor::MemberId;

use super::revoked_in_time::smoothing;
use super::{Broken, Event, Invariant, Judgements, Property, Scene, left};

/// The members that were just promoted.
#[derive(Debug, Default)]
pub(super) struct Smoothed {
    promoted: BTreeSet<MemberId>,
}

impl Invariant for Smoothed {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        event: &Event<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let deadlines = match event {
            Event::Promoted { again: false, .. } => {
                self.promoted.insert(scene.member);
                return Ok(());
            }
            Event::After { deadlines, .. } => *deadlines,
            _ => return Ok(()),
        };
        if !self.promoted.remove(&scene.member) || scene.latest > scene.clock {
            return Ok(());
        }
        let start = scene.clock.saturating_add(scene.config.extend);
        let mut dues: Vec<_> = scene
            .state
            .leases
            .iter()
            .filter_map(|(id, lease)| {
                let deadline = deadlines.get(id).copied().flatten()?;
                Some((start.saturating_add(left(lease)), deadline, *id))
            })
            .collect();
        dues.sort_unstable();
        let most = smoothing(scene.config, dues.len());
        for (due, deadline, id) in &dues {
            if deadline < due {
                let early = due.saturating_since(*deadline);
                let what = format!("lease {id} is due {early:?} too early after a promotion");
                return Err(Broken::new(Property::S1a, what));
            }
            if *deadline > due.saturating_add(most) {
                let late = deadline.saturating_since(*due);
                let what = format!("the promotion has delayed lease {id} by {late:?}");
                return Err(Broken::new(Property::S1a, what));
            }
        }
        // The latest deadline of all that are due before.
        let mut before = None;
        for equal in dues.chunk_by(|one, other| one.0 == other.0) {
            let first = equal.iter().map(|(_, deadline, _)| *deadline).min();
            if before > first {
                let what = "a promotion has put a lease behind one that was due later".to_owned();
                return Err(Broken::new(Property::S1a, what));
            }
            before = equal.iter().map(|(_, deadline, _)| *deadline).max().max(before);
        }
        judged.hold(&[Property::S1a])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lessor::{Config, Instant};

    use super::super::harness::{History, Judged, granted, lease, promoted};
    use super::*;

    /// A deadline so many milliseconds behind the extension of a promotion at the start.
    fn extended(millis: u64) -> Option<Instant> {
        Some(Instant::from_millis(millis).saturating_add(Config::default().extend))
    }

    fn promoted_with(dues: &[u64]) -> Result<Judged, &'static str> {
        let mut history = History::<Smoothed>::default();
        history.log(1, granted(1, 10_000));
        history.log(2, granted(2, 11_000));
        history.holds(promoted());
        let deadlines = (1..).map(lease).zip(dues.iter().copied().map(extended));
        let (deadlines, items) = (&deadlines.collect(), &BTreeMap::new());
        let event = Event::After { records: &[], deadlines, timer: true, primary: true, items };
        history.see(event).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_promotion_that_shortens_stretches_or_swaps_is_found() {
        assert_eq!(promoted_with(&[10_000, 11_000]), Ok(Judged::Holds));
        assert_eq!(promoted_with(&[9_999, 11_000]), Err("S1a"));
        assert_eq!(promoted_with(&[10_000, 11_001]), Err("S1a"));
    }

    #[test]
    fn canary_a_promotion_of_many_leases_that_swaps_two_is_found() {
        for (swap, verdict) in [(false, Ok(Judged::Holds)), (true, Err("S1a"))] {
            let mut history = History::<Smoothed>::default();
            let mut deadlines = BTreeMap::new();
            for id in 1..=1_000_u64 {
                let number = i64::try_from(id).expect("it is small");
                history.log(id, granted(number, 10_000 + id));
                deadlines.insert(lease(number), extended(11_500));
            }
            if swap {
                deadlines.insert(lease(500), extended(11_501));
            }
            history.holds(promoted());
            let (deadlines, items) = (&deadlines, &BTreeMap::new());
            let event = Event::After { records: &[], deadlines, timer: true, primary: true, items };
            assert_eq!(history.see(event).map_err(|broken| broken.property), verdict);
        }
    }
}
