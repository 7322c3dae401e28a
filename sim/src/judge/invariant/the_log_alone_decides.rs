//! S5a, the log alone decides: a member's leases, with their ttls and checkpoints, are those of the
//! log at the index where the member stands, whatever its role, its clock and its restarts were.
//! S4c, the log may be split anywhere: the same of a member that has recovered a part of the log
//! from its store and has applied the rest.
//!
//! Needs nothing; judged while a member holds few leases, and at each promotion. Called into
//! question by etcd #13508, where members recovered different leases.

use std::collections::BTreeMap;

use lessor::{LogIndex, MemberId, Ttl};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Up to which index each member has recovered.
#[derive(Debug, Default)]
pub(super) struct TheLogAloneDecides {
    recovered: BTreeMap<MemberId, LogIndex>,
}

impl Invariant for TheLogAloneDecides {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let records = match fact {
            Fact::Opened { stored, .. } => {
                self.recovered.insert(scene.member, stored.applied);
                return Ok(());
            }
            Fact::After { records, .. } => *records,
            _ => return Ok(()),
        };
        let recovered = self.recovered.get(&scene.member).copied().unwrap_or_default();
        let split = recovered > LogIndex(0) && scene.state.applied > recovered;
        let property = if split { Property::S4c } else { Property::S5a };
        let mut by_the_log = scene.state.leases.iter();
        let other = records.iter().find(|record| {
            by_the_log.next().is_none_or(|(id, lease)| {
                (record.id, record.ttl, record.remaining) != (*id, lease.ttl, lease.remaining)
            })
        });
        if let Some(record) = other {
            let by_the_log = scene.state.leases.get(&record.id);
            let (there, logged) = (
                in_words(record.ttl, record.remaining),
                by_the_log
                    .map_or("nothing".to_owned(), |lease| in_words(lease.ttl, lease.remaining)),
            );
            let what = format!("lease {} has {there}, the log says {logged}", record.id);
            return Err(Broken::new(property, what).about(record.id));
        }
        if let Some((id, _)) = by_the_log.next() {
            let what = format!("the member does not hold lease {id}");
            return Err(Broken::new(property, what).about(*id));
        }
        judged.hold(&[property])
    }
}

fn in_words(ttl: Ttl, remaining: Option<Ttl>) -> String {
    match remaining {
        None => format!("ttl {ttl} and no checkpoint"),
        Some(left) => format!("ttl {ttl} and {left} left"),
    }
}

#[cfg(test)]
mod tests {
    use lessor::backend::Stored;
    use lessor::{LeaseRecord, Ttl};

    use super::super::harness::{History, Judged, granted, lease};
    use super::*;

    fn after(
        history: &mut History<TheLogAloneDecides>,
        records: &[LeaseRecord],
    ) -> Result<Judged, Property> {
        let (deadlines, items) = (&BTreeMap::new(), &BTreeMap::new());
        let fact = Fact::After { records, deadlines, timer: false, primary: false, items };
        history.see(fact).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_member_that_is_not_what_its_log_says_is_found() {
        let right = LeaseRecord { id: lease(7), ttl: Ttl::from_secs(10), remaining: None };
        let wrong = LeaseRecord { remaining: Some(Ttl::from_secs(3)), ..right };
        for (recovered, property) in [(0, Property::S5a), (1, Property::S4c)] {
            let mut history = History::<TheLogAloneDecides>::default();
            let stored = Stored { applied: LogIndex(recovered), ..Stored::default() };
            let difference = Some(None);
            history.holds(Fact::Opened { stored: &stored, difference, rotten: false });
            history.log(2, granted(7, 10_000));
            assert_eq!(after(&mut history, &[right]), Ok(Judged::Holds));
            assert_eq!(after(&mut history, &[wrong]), Err(property));
            assert_eq!(after(&mut history, &[]), Err(property));
            assert_eq!(after(&mut history, &[right, right]), Err(property));
        }
    }
}
