//! L8, due first, out first: no lease leaves in an expired batch before one that was due earlier,
//! unless that one has left or is being renewed. L4, what was lost leaves again: a lease that has
//! left and is not revoked leaves again as soon as the retry interval is over and its primary's
//! timer has come.
//!
//! Both are judged while a member holds few leases and its clock has not stepped back. L4 is judged
//! only while all leases fit in one batch, as others may be due before, and while none has to wait
//! for an observer. L8 was broken by etcd #9360; bug 8 of the bank breaks L4.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Instant, LeaseId, MemberId};

use super::waiting::{HeldBack, Renewing};
use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The reign of each member.
#[derive(Debug, Default)]
pub(super) struct DueFirstOutFirst {
    reigns: BTreeMap<MemberId, Reign>,
    renewing: Renewing,
    held: HeldBack,
}

#[derive(Debug, Default)]
struct Reign {
    /// When each lease is due that has not left yet, as it was last seen before that moment.
    due: BTreeMap<LeaseId, Instant>,
    /// Whether that was after the last input.
    seen: bool,
    /// When each of the others last left.
    left: BTreeMap<LeaseId, Instant>,
    /// When there last were more leases than fit in a batch, or they had to wait for an observer.
    crowded: Instant,
}

impl Invariant for DueFirstOutFirst {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        self.held.note(scene, fact);
        if let Some(id) = self.renewing.note(scene, fact)
            && let Some(reign) = self.reigns.get_mut(&scene.member)
        {
            // Its earlier deadline does not count, until the member is looked at again.
            reign.due.remove(&id);
        }
        match fact {
            Fact::Promoted { .. } | Fact::Demoted | Fact::Opened { .. } => {
                self.reigns.remove(&scene.member);
                return Ok(());
            }
            _ if scene.latest > scene.clock => {
                self.reigns.remove(&scene.member);
                return Ok(());
            }
            _ => {}
        }
        match fact {
            Fact::Applied { applied, .. } => {
                if let (Some((id, _)), Some(reign)) =
                    (&applied.revoked, self.reigns.get_mut(&scene.member))
                {
                    reign.due.remove(id);
                    reign.left.remove(id);
                }
            }
            Fact::Stands { .. } => {
                if let Some(reign) = self.reigns.get_mut(&scene.member)
                    && !std::mem::take(&mut reign.seen)
                {
                    reign.due.clear();
                }
            }
            Fact::After { deadlines, primary: true, .. } => {
                let reign = self.reigns.entry(scene.member).or_default();
                reign.seen = true;
                for (id, deadline) in *deadlines {
                    // An overdue lease seems to be due now.
                    if let Some(deadline) = deadline
                        && *deadline > scene.clock
                    {
                        reign.due.insert(*id, *deadline);
                        reign.left.remove(id);
                    }
                }
            }
            Fact::Expired { batch } => {
                let reign = self.reigns.entry(scene.member).or_default();
                let due = batch.leases.iter().filter_map(|id| reign.due.get(id));
                let last = due.max().copied().filter(|_| reign.seen);
                for id in &batch.leases {
                    reign.due.remove(id);
                    reign.left.insert(*id, scene.clock);
                }
                let Some(last) = last else { return Ok(()) };
                let overtaken = |id: &LeaseId, due: &Instant| {
                    *due < last && !self.renewing.has(scene.member, *id)
                };
                if let Some((id, due)) = reign.due.iter().find(|(id, due)| overtaken(id, due)) {
                    let by = last.saturating_since(*due);
                    let what = format!("lease {id} was due {by:?} before one that has left first");
                    return Err(Broken::new(Property::L8, what).about(*id));
                }
                return judged.hold(&[Property::L8]);
            }
            Fact::Timer { .. } => {
                let Some(reign) = self.reigns.get_mut(&scene.member) else { return Ok(()) };
                let held = self.held.may_wait(scene, scene.clock);
                let few = scene.config.revoke_rate.get().div_ceil(2) as usize;
                if held || scene.state.leases.len() > few {
                    reign.crowded = scene.clock;
                    return Ok(());
                }
                let patience = scene.config.retry_interval + TICK;
                for (id, left) in &reign.left {
                    let waits = scene.clock.saturating_since(reign.crowded.max(*left));
                    if waits > patience {
                        let what = format!("lease {id} has left {waits:?} ago, and not again");
                        return Err(Broken::new(Property::L4, what).about(*id));
                    }
                    judged.add_one(Property::L4);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// How long a core waits at most once it has let as many leave as it may.
const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use lessor::{Digest, LogIndex, Ticket};

    use super::super::harness::{History, Judged, batch, granted, lease, millis, renew, revoked};
    use super::*;

    /// Two leases, due at 10 s and 11 s.
    fn primary() -> History<DueFirstOutFirst> {
        let mut history = History::<DueFirstOutFirst>::default();
        history.log(1, granted(7, 10_000));
        history.log(2, granted(8, 11_000));
        let due = |id, at| (lease(id), Some(millis(at)));
        let deadlines = &BTreeMap::from([due(7, 10_000), due(8, 11_000)]);
        let items = &BTreeMap::new();
        history.holds(Fact::After { records: &[], deadlines, timer: true, primary: true, items });
        history
    }

    fn leaves(
        history: &mut History<DueFirstOutFirst>,
        at: u64,
        id: i64,
    ) -> Result<Judged, Property> {
        history.at(at);
        let batch = batch(&[id]);
        history.see(Fact::Expired { batch: &batch }).map_err(|broken| broken.property)
    }

    fn timer(history: &mut History<DueFirstOutFirst>, at: u64) -> Result<Judged, Property> {
        history.at(at);
        history.see(Fact::Timer { idle: false }).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_lease_that_leaves_before_its_turn_is_found() {
        assert_eq!(leaves(&mut primary(), 12_000, 8), Err(Property::L8));
        let mut history = primary();
        assert_eq!(leaves(&mut history, 12_000, 7), Ok(Judged::Holds));
        assert_eq!(leaves(&mut history, 12_000, 8), Ok(Judged::Holds));
    }

    #[test]
    fn canary_only_a_lease_that_is_being_renewed_may_be_overtaken() {
        for (renewed, verdict) in [(7, Ok(Judged::Holds)), (8, Err(Property::L8))] {
            let mut history = primary();
            history.holds(Fact::Came { ticket: Ticket(1), request: &renew(renewed) });
            assert_eq!(leaves(&mut history, 12_000, 8), verdict);
        }
    }

    #[test]
    fn what_was_not_looked_at_lately_may_have_been_renewed() {
        let mut history = primary();
        for _ in 0..2 {
            let (applied, digest) = (LogIndex(2), Digest::default());
            history.holds(Fact::Stands { applied, digest });
        }
        assert_eq!(leaves(&mut history, 12_000, 8), Ok(Judged::NotConcerned));
    }

    #[test]
    fn canary_a_lease_that_leaves_once_and_never_again_is_found() {
        let mut history = primary();
        assert_eq!(leaves(&mut history, 10_000, 7), Ok(Judged::Holds));
        // A retry of three seconds.
        assert_eq!(timer(&mut history, 14_000), Ok(Judged::Holds));
        assert_eq!(timer(&mut history, 14_001), Err(Property::L4));
        assert_eq!(leaves(&mut history, 14_001, 7), Ok(Judged::NotConcerned));
        assert_eq!(timer(&mut history, 14_001), Ok(Judged::Holds));
        history.log(3, revoked(7));
        assert_eq!(timer(&mut history, 60_000), Ok(Judged::NotConcerned));
    }
}
