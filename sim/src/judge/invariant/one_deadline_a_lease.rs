//! S8, one deadline a lease: after each input a primary has exactly one deadline for each lease
//! that it holds, and items and leases agree about each other. No committed proposal has two
//! checkpoints of one lease. S6a, nothing of a reign outlives it: a member that is not primary has
//! no deadline.
//!
//! Needs nothing; judged while a member holds few leases, but for proposals. Broken by etcd #14019,
//! #14078 and #11495, and by the checkpoints that etcd's lessor schedules at each promotion, bug 27
//! of the bank.

use std::collections::BTreeSet;

use lessor::{Command, Entry};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Needs no memory: a member's own answers are compared with the log.
#[derive(Debug, Default)]
pub(super) struct OneDeadlineALease;

impl Invariant for OneDeadlineALease {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let (deadlines, timer, primary, items) = match fact {
            Fact::Agreed { entry, .. } => return no_two_checkpoints(entry),
            Fact::After { deadlines, timer, primary, items, .. } => {
                (deadlines, timer, primary, items)
            }
            _ => return Ok(()),
        };
        if let Some(id) = scene.state.leases.keys().find(|id| !deadlines.contains_key(id)) {
            let what = format!("the member does not hold lease {id}");
            return Err(Broken::new(Property::S8, what).about(*id));
        }
        if deadlines.len() != scene.state.leases.len() {
            let what = "the member holds more leases than the log".to_owned();
            return Err(Broken::new(Property::S8, what));
        }
        if **items != scene.state.holders {
            return Err(Broken::new(Property::S8, "items and leases do not agree".to_owned()));
        }
        for (id, deadline) in *deadlines {
            if *primary && deadline.is_none() {
                let what = format!("lease {id} of a primary has no deadline");
                return Err(Broken::new(Property::S8, what).about(*id));
            }
            if !*primary && deadline.is_some() {
                let what = format!("lease {id} has a deadline, but the member is not primary");
                return Err(Broken::new(Property::S6a, what).about(*id));
            }
        }
        if !*primary && *timer {
            let what = "the lessor waits for something, but the member is not primary".to_owned();
            return Err(Broken::new(Property::S6a, what));
        }
        judged.hold(&[Property::S8, Property::S6a])
    }
}

fn no_two_checkpoints(entry: &Entry) -> Result<(), Broken> {
    let command = entry.proposal.as_ref().map(|proposal| &proposal.command);
    let Some(Command::Checkpoint { checkpoints }) = command else { return Ok(()) };
    let mut leases = BTreeSet::new();
    if let Some(twice) = checkpoints.iter().find(|checkpoint| !leases.insert(checkpoint.id)) {
        let what = format!("a proposal has two checkpoints of lease {}", twice.id);
        return Err(Broken::new(Property::S8, what).about(twice.id));
    }
    // Not counted: else S8 would seem judged in a run that never looked at a member.
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lessor::{Checkpoint, Instant, Item, LeaseId};

    use super::super::harness::{History, Judged, entry, granted, lease};
    use super::*;
    use crate::model::Applied;

    fn after(
        deadlines: &BTreeMap<LeaseId, Option<Instant>>,
        primary: bool,
        timer: bool,
        items: &BTreeMap<Item, LeaseId>,
    ) -> Result<Judged, Property> {
        let mut history = History::<OneDeadlineALease>::default();
        history.log(1, granted(7, 10_000));
        let fact = Fact::After { records: &[], deadlines, timer, primary, items };
        history.see(fact).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_lease_without_a_deadline_and_a_deadline_without_a_reign_are_found() {
        let none = BTreeMap::new();
        let (with, without) = (Some(Instant::from_secs(9)), None);
        let of = |deadline| BTreeMap::from([(lease(7), deadline)]);
        assert_eq!(after(&of(with), true, true, &none), Ok(Judged::Holds));
        assert_eq!(after(&of(without), false, false, &none), Ok(Judged::Holds));
        assert_eq!(after(&of(without), true, true, &none), Err(Property::S8));
        assert_eq!(after(&of(with), false, false, &none), Err(Property::S6a));
        assert_eq!(after(&of(without), false, true, &none), Err(Property::S6a));
        assert_eq!(after(&BTreeMap::new(), true, true, &none), Err(Property::S8));
        let stray = BTreeMap::from([("k".into(), lease(7))]);
        assert_eq!(after(&of(with), true, true, &stray), Err(Property::S8));
    }

    #[test]
    fn canary_two_checkpoints_of_a_lease_in_one_proposal_are_found() {
        let propose = |ids: &[i64]| {
            let checkpoints = ids.iter().map(|id| Checkpoint { id: lease(*id), remaining: None });
            let command = Command::Checkpoint { checkpoints: checkpoints.collect() };
            let mut history = History::<OneDeadlineALease>::default();
            history.see(Fact::Agreed { entry: &entry(1, command), applied: &Applied::default() })
        };
        assert_eq!(propose(&[7, 8]), Ok(Judged::NotConcerned));
        assert_eq!(propose(&[7, 8, 7]).map_err(|broken| broken.property), Err(Property::S8));
    }
}
