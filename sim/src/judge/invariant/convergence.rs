//! L3, convergence: when all has been well for long enough, every connected member has applied
//! every committed entry. L7: a connected majority has a primary. L10: each member that was asked
//! to stop has ended, and each that was started has opened its store.
//!
//! Needs Stable. Broken by bugs like ZOOKEEPER-4837 and -2355, and by a gate that is too strict.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lessor::{LogIndex, MemberId};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Where each member stands, and when each entry was committed.
#[derive(Debug, Default)]
pub(super) struct Convergence {
    stands: BTreeMap<MemberId, LogIndex>,
    agreed: VecDeque<(Duration, LogIndex)>,
}

impl Invariant for Convergence {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Agreed { entry, .. } => self.agreed.push_back((scene.now, entry.index)),
            Fact::Stands { applied, .. } => {
                self.stands.insert(scene.member, *applied);
            }
            Fact::Ended { end } => {
                let patience = LONG + end.latency;
                if !end.owed || scene.now < end.stable_since + patience {
                    return Ok(());
                }
                if let Some(member) = end.unsettled.first() {
                    let what = format!("member {member} neither runs nor has ended");
                    return Err(Broken::new(Property::L10, what).of(*member));
                }
                if end.primary.is_none() {
                    return Err(Broken::new(
                        Property::L7,
                        "a majority is well, but nobody is primary".into(),
                    ));
                }
                let old = scene.now.saturating_sub(patience);
                let old = self.agreed.iter().rev().find(|(at, _)| *at <= old);
                let due = old.map_or(LogIndex(0), |(_, index)| *index);
                for member in &end.connected {
                    let stands = self.stands.get(member).copied().unwrap_or_default();
                    if stands < due {
                        let what = format!("member {member} stands at {stands}, not at {due}");
                        return Err(Broken::new(Property::L3, what).of(*member));
                    }
                }
                return judged.hold(&[Property::L3, Property::L7, Property::L10]);
            }
            _ => {}
        }
        Ok(())
    }
}

/// How long all must have been well: what retransmission, an election or two and a slow start may take.
const LONG: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use lessor::Digest;

    use super::super::End;
    use super::super::harness::{History, Judged, granted};
    use super::*;

    fn end() -> End {
        End {
            owed: true,
            primary: Some(MemberId(1)),
            connected: vec![MemberId(1), MemberId(2)],
            ..End::default()
        }
    }

    fn ended(end: &End, second_stands: u64) -> Result<Judged, Property> {
        let mut history = History::<Convergence>::default();
        history.log(1, granted(7, 10_000));
        for (member, stands) in [(1, 1), (2, second_stands)] {
            history.on(member);
            let applied = LogIndex(stands);
            history.holds(Fact::Stands { applied, digest: Digest::default() });
        }
        history.at(31_000);
        history.see(Fact::Ended { end }).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_member_that_is_left_behind_is_found() {
        assert_eq!(ended(&end(), 1), Ok(Judged::Holds));
        assert_eq!(ended(&end(), 0), Err(Property::L3));
    }

    #[test]
    fn canary_a_group_without_a_primary_is_found_if_it_owes_one() {
        assert_eq!(ended(&End { primary: None, ..end() }, 1), Err(Property::L7));
        let end = End { primary: None, owed: false, ..end() };
        assert_eq!(ended(&end, 1), Ok(Judged::NotConcerned));
    }

    #[test]
    fn canary_a_member_that_never_ends_is_found() {
        assert_eq!(ended(&End { unsettled: vec![MemberId(2)], ..end() }, 1), Err(Property::L10));
    }
}
