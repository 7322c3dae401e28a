//! S10, as many a second as the rate: within one reign, in any second `[t, t + 1 s)` of a member's
//! clock, at most as many leases leave it in expired batches as the revoke rate allows.
//!
//! Needs a clock that has not stepped back. Broken by etcd #9360, #9496, #9699 and #11495, where
//! the bound held for each batch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lessor::{Instant, MemberId};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The batches of the last second of each reign.
#[derive(Debug, Default)]
pub(super) struct AsManyASecondAsTheRate {
    last: BTreeMap<MemberId, VecDeque<(Instant, usize)>>,
}

impl Invariant for AsManyASecondAsTheRate {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Promoted { again: false, .. } | Fact::Opened { .. } => {
                self.last.remove(&scene.member);
            }
            Fact::Expired { batch } => {
                let last = self.last.entry(scene.member).or_default();
                // Once a clock has stepped back, only the core knows how it counts a second.
                if scene.latest > scene.clock {
                    last.clear();
                    return Ok(());
                }
                last.push_back((scene.clock, batch.leases.len()));
                while let Some((at, _)) = last.front()
                    && scene.clock.saturating_since(*at) >= Duration::from_secs(1)
                {
                    last.pop_front();
                }
                let count: usize = last.iter().map(|(_, count)| count).sum();
                let most = scene.config.revoke_rate.get() as usize;
                if count > most {
                    let what = format!("{count} leases expired in a second, but {most} may");
                    return Err(Broken::new(Property::S10, what));
                }
                return judged.hold(&[Property::S10]);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lessor::ExpiredBatch;

    use super::super::harness::{History, Judged, lease};
    use super::*;

    fn expire(
        history: &mut History<AsManyASecondAsTheRate>,
        at: u64,
        count: i64,
    ) -> Result<Judged, Broken> {
        history.at(at);
        let batch = ExpiredBatch { leases: (1..=count).map(lease).collect() };
        history.see(Fact::Expired { batch: &batch })
    }

    #[test]
    fn canary_a_rate_that_is_kept_by_batch_and_not_by_second_is_found() {
        let mut history = History::<AsManyASecondAsTheRate>::default();
        assert_eq!(expire(&mut history, 1_000, 500), Ok(Judged::Holds));
        assert_eq!(expire(&mut history, 1_500, 500), Ok(Judged::Holds));
        assert_eq!(expire(&mut history, 1_999, 1).map_err(|b| b.property), Err(Property::S10));
    }

    #[test]
    fn a_second_later_there_is_room_again() {
        let mut history = History::<AsManyASecondAsTheRate>::default();
        assert_eq!(expire(&mut history, 1_000, 1_000), Ok(Judged::Holds));
        assert_eq!(expire(&mut history, 2_000, 1_000), Ok(Judged::Holds));
    }
}
