//! S1a, smoothing only delays: let `D` of a lease be the promotion plus the extension plus the time
//! that the lease has left. Its deadline after the promotion is the earliest one that keeps the
//! order of `D` and puts no more leases into any second than the target, three quarters of the
//! revoke rate. In the order of `D` that is the latest of its own `D` and, for every `k`, of the
//! `D` that stands `k` targets before it plus `k` seconds. With fewer leases than the rate it is
//! `D`.
//!
//! Needs a clock that has not stepped back. Bug 16 of the bank is of this kind.

use std::collections::BTreeSet;
use std::time::Duration;

use lessor::MemberId;

use super::{Broken, Fact, Invariant, Judgements, Property, Scene, left};

/// The members that were just promoted.
#[derive(Debug, Default)]
pub(super) struct SmoothingOnlyDelays {
    promoted: BTreeSet<MemberId>,
}

impl Invariant for SmoothingOnlyDelays {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let deadlines = match fact {
            Fact::Promoted { again: false, .. } => {
                self.promoted.insert(scene.member);
                return Ok(());
            }
            Fact::After { deadlines, .. } => *deadlines,
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
        let rate = scene.config.revoke_rate.get() as usize;
        let target = if dues.len() < rate { usize::MAX } else { (3 * rate / 4).max(1) };
        for (position, (due, deadline, id)) in dues.iter().enumerate() {
            let full = position.checked_sub(target).map(|before| dues[before].1 + SECOND);
            let soonest = full.max(Some(*due)).unwrap_or_default();
            let what = if deadline < due {
                let early = *due - *deadline;
                format!("lease {id} is due {early:?} too early after a promotion")
            } else if *deadline < soonest {
                format!("more than {target} leases are due within a second up to lease {id}")
            } else if *deadline > soonest {
                let (late, least) = (*deadline - *due, soonest - *due);
                format!("the promotion has delayed lease {id} by {late:?} where {least:?} would do")
            } else {
                continue;
            };
            return Err(Broken::new(Property::S1a, what).about(*id));
        }
        judged.hold(&[Property::S1a])
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lessor::{Config, Instant};

    use super::super::harness::{History, Judged, granted, lease, promoted};
    use super::*;

    /// A deadline this many milliseconds after the extension of a promotion at the start.
    fn extended(millis: u64) -> Option<Instant> {
        Some(Instant::from_millis(millis).saturating_add(Config::default().extend))
    }

    fn promoted_with(dues: &[u64]) -> Result<Judged, Property> {
        let mut history = History::<SmoothingOnlyDelays>::default();
        history.log(1, granted(1, 10_000));
        history.log(2, granted(2, 11_000));
        history.holds(promoted());
        let deadlines = (1..).map(lease).zip(dues.iter().copied().map(extended));
        let (deadlines, items) = (&deadlines.collect(), &BTreeMap::new());
        let fact = Fact::After { records: &[], deadlines, timer: true, primary: true, items };
        history.see(fact).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_promotion_that_shortens_stretches_or_swaps_is_found() {
        assert_eq!(promoted_with(&[10_000, 11_000]), Ok(Judged::Holds));
        assert_eq!(promoted_with(&[9_999, 11_000]), Err(Property::S1a));
        assert_eq!(promoted_with(&[10_000, 11_001]), Err(Property::S1a));
    }

    /// Of 1,000 leases, due each millisecond from the tenth second on, 750 stay and the others wait for
    /// the next second.
    #[test]
    fn canary_a_promotion_of_many_leases_that_overtake_or_come_too_soon_or_too_late_is_found() {
        type Damage = fn(&mut Vec<u64>);
        let damages: [(Damage, Result<Judged, Property>); 5] = [
            (|_| {}, Ok(Judged::Holds)),
            (|dues| dues.swap(3, 4), Err(Property::S1a)),
            (|dues| dues.swap(803, 804), Err(Property::S1a)),
            (|dues| dues[750] -= 1, Err(Property::S1a)),
            (|dues| dues[999] += 1, Err(Property::S1a)),
        ];
        for (damage, verdict) in damages {
            let mut history = History::<SmoothingOnlyDelays>::default();
            for id in 1..=1_000 {
                let number = i64::try_from(id).expect("it is small");
                history.log(id, granted(number, 9_999 + id));
            }
            history.holds(promoted());
            let mut dues: Vec<u64> = (10_000..10_750).chain(11_000..11_250).collect();
            damage(&mut dues);
            let deadlines = (1..).map(lease).zip(dues.into_iter().map(extended)).collect();
            let (deadlines, items) = (&deadlines, &BTreeMap::new());
            let fact = Fact::After { records: &[], deadlines, timer: true, primary: true, items };
            assert_eq!(history.see(fact).map_err(|broken| broken.property), verdict);
        }
    }
}
