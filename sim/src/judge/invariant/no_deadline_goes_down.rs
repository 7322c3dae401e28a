//! S1b, no deadline goes down: within a reign neither a renew nor a checkpoint nor a second
//! promotion makes a lease due earlier. S13: a deadline is never further away than the ttl, the
//! extension and the most that smoothing may add, and nobody is told of more. S16: no lease is due
//! earlier because a clock steps back.
//!
//! Needs nothing. Judged while a member holds few leases, S1b and S13 while its clock has not
//! stepped back; answers are always judged. Broken by CockroachDB #121480 and #123442, etcd #6537,
//! #9006, #9395 and #17642.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Instant, LeaseId, MemberId, Response};

use super::revoked_in_time::smoothing;
use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The deadlines of each reign, as they were after the last input.
#[derive(Debug, Default)]
pub(super) struct NoDeadlineGoesDown {
    reigns: BTreeMap<MemberId, BTreeMap<LeaseId, Instant>>,
    /// The most leases of each reign: up to that many may have been spread.
    most: BTreeMap<MemberId, usize>,
}

impl Invariant for NoDeadlineGoesDown {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let most = self.most.entry(scene.member).or_default();
        *most = scene.state.leases.len().max(*most);
        match fact {
            Fact::Promoted { again: false, .. } | Fact::Demoted | Fact::Opened { .. } => {
                self.reigns.remove(&scene.member);
                *most = scene.state.leases.len();
            }
            Fact::Served { response: Response::Lookup(Some(status)), .. } => {
                let spread = smoothing(scene.config, *most);
                let ttl = status.record.ttl;
                if status.remaining > ttl.as_duration() + scene.config.extend + spread + TICK {
                    let (id, remaining) = (status.record.id, status.remaining);
                    let what =
                        format!("a lessee is told that lease {id} of {ttl} has {remaining:?}");
                    return Err(Broken::new(Property::S13, what).about(id));
                }
                return judged.hold(&[Property::S13]);
            }
            Fact::Applied { applied, .. } => {
                if let (Some((id, _)), Some(reign)) =
                    (&applied.revoked, self.reigns.get_mut(&scene.member))
                {
                    reign.remove(id);
                }
            }
            Fact::After { deadlines, primary: true, .. } => {
                let before = self.reigns.remove(&scene.member).unwrap_or_default();
                if scene.latest > scene.clock {
                    let verdict = stepped_back(scene, &before, deadlines, judged);
                    self.reigns.insert(scene.member, before);
                    return verdict;
                }
                let most = scene.config.extend + smoothing(scene.config, *most);
                let mut after = BTreeMap::new();
                for (id, deadline) in *deadlines {
                    let (Some(deadline), Some(lease)) = (deadline, scene.state.leases.get(id))
                    else {
                        continue;
                    };
                    let bound = scene.clock.saturating_add(lease.ttl.as_duration() + most + TICK);
                    if *deadline > bound {
                        let far = deadline.saturating_since(scene.clock);
                        let what =
                            format!("lease {id} has {far:?} left, of a ttl of {}", lease.ttl);
                        return Err(Broken::new(Property::S13, what).about(*id));
                    }
                    // A lease that is due has nothing left, however late it is.
                    if let Some(was) = before.get(id)
                        && *was > scene.clock
                        && was.saturating_since(*deadline) > Duration::ZERO
                    {
                        let by = was.saturating_since(*deadline);
                        let what = format!("the deadline of lease {id} went down by {by:?}");
                        return Err(Broken::new(Property::S1b, what).about(*id));
                    }
                    after.insert(*id, *deadline);
                }
                self.reigns.insert(scene.member, after);
                return judged.hold(&[Property::S13, Property::S1b]);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Judges deadlines on a clock that has stepped back. The core measures what remains from a moment that
/// may be as late as the latest that its process has seen.
fn stepped_back(
    scene: &Scene<'_>,
    before: &BTreeMap<LeaseId, Instant>,
    deadlines: &BTreeMap<LeaseId, Option<Instant>>,
    judged: &mut Judgements,
) -> Result<(), Broken> {
    for (id, was) in before.iter().filter(|(_, was)| **was > scene.latest) {
        let Some(deadline) = deadlines.get(id).copied().flatten() else { continue };
        let left = deadline.saturating_since(scene.clock);
        if scene.latest.saturating_add(left) < *was {
            let by = was.saturating_since(scene.latest.saturating_add(left));
            let what = format!("a clock that stepped back has ended lease {id} {by:?} earlier");
            return Err(Broken::new(Property::S16, what).about(*id));
        }
    }
    judged.hold(&[Property::S16])
}

/// What a count of seconds may be rounded by.
const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use lessor::{LeaseRecord, LeaseStatus, Request, Ttl};

    use super::super::harness::{History, Judged, granted, lease, millis};
    use super::*;

    fn after(
        history: &mut History<NoDeadlineGoesDown>,
        at: u64,
        due: u64,
    ) -> Result<Judged, Property> {
        history.at(at);
        let deadlines = BTreeMap::from([(lease(7), Some(millis(due)))]);
        let items = BTreeMap::new();
        let (deadlines, items) = (&deadlines, &items);
        let fact = Fact::After { records: &[], deadlines, timer: true, primary: true, items };
        history.see(fact).map_err(|broken| broken.property)
    }

    fn primary() -> History<NoDeadlineGoesDown> {
        let mut history = History::<NoDeadlineGoesDown>::default();
        history.log(1, granted(7, 10_000));
        history
    }

    #[test]
    fn canary_a_deadline_that_goes_down_is_found() {
        let mut history = primary();
        assert_eq!(after(&mut history, 0, 10_000), Ok(Judged::Holds));
        assert_eq!(after(&mut history, 1_000, 11_000), Ok(Judged::Holds));
        assert_eq!(after(&mut history, 2_000, 10_999), Err(Property::S1b));
    }

    #[test]
    fn canary_a_step_back_that_takes_from_a_lease_is_found() {
        let mut history = primary();
        assert_eq!(after(&mut history, 5_000, 10_000), Ok(Judged::Holds));
        // The clock shows 3 s; its process has seen 5 s, from which the core goes on.
        history.latest = millis(5_000);
        assert_eq!(after(&mut history, 3_000, 8_000), Ok(Judged::Holds));
        assert_eq!(after(&mut history, 3_000, 7_999), Err(Property::S16));
    }

    #[test]
    fn canary_a_lessee_that_is_told_of_too_much_is_found() {
        let mut history = primary();
        let mut told = |secs| {
            let record = LeaseRecord { id: lease(7), ttl: Ttl::from_secs(10), remaining: None };
            let remaining = Duration::from_secs(secs);
            let response =
                &Response::Lookup(Some(LeaseStatus { record, remaining, items: Vec::new() }));
            let (request, asked) = (&Request::Lookup { id: lease(7) }, Instant::ZERO);
            let served = Fact::Served { request, asked, came: Duration::ZERO, response };
            history.see(served).map_err(|broken| broken.property)
        };
        assert_eq!(told(12), Ok(Judged::Holds));
        assert_eq!(told(13), Err(Property::S13));
    }

    #[test]
    fn canary_a_deadline_that_is_too_far_away_is_found() {
        assert_eq!(after(&mut primary(), 0, 12_000), Ok(Judged::Holds));
        assert_eq!(after(&mut primary(), 0, 12_001), Err(Property::S13));
    }
}
