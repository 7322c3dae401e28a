//! S4, all or nothing: each transaction takes a member's store from the state of the log at one
//! index to the state at another. S4a: once durable, a change stays, and nobody is told of a
//! success before it is durable. S4b: a member recovers exactly the state of the log at the index
//! where its store stands. S4d: a store in which bits have flipped is refused, unless its content
//! is right all the same; a member that cannot read its store does nothing.
//!
//! All but S4d need a disk without rot. Broken by etcd #13508 and ZOOKEEPER-4837.

use std::collections::{BTreeMap, BTreeSet};

use lessor::{LogIndex, MemberId};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Up to where each member's store has said that it is durable, and whose store could not be read.
#[derive(Debug, Default)]
pub(super) struct AllOrNothing {
    durable: BTreeMap<MemberId, LogIndex>,
    unreadable: BTreeSet<MemberId>,
}

impl Invariant for AllOrNothing {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        if matches!(fact, Fact::Opened { .. } | Fact::Replaced) {
            self.unreadable.remove(&scene.member);
        }
        match fact {
            Fact::Unreadable => {
                self.unreadable.insert(scene.member);
                Ok(())
            }
            Fact::Stands { .. } if self.unreadable.contains(&scene.member) => {
                let what = "the store cannot be read, and the member goes on without it".to_owned();
                Err(Broken::new(Property::S4d, what))
            }
            Fact::Durable { applied } => {
                self.durable.insert(scene.member, *applied);
                Ok(())
            }
            Fact::Replaced => {
                self.durable.remove(&scene.member);
                Ok(())
            }
            Fact::Refused => judged.hold(&[Property::S4d]),
            Fact::Opened { stored, difference, rotten: true } => {
                // The lost part was committed, and the member would go on without it.
                let lost = self.durable.get(&scene.member).is_some_and(|at| stored.applied < *at);
                if lost || *difference != Some(None) {
                    let what = "bits have flipped in the store, and the member uses it".to_owned();
                    return Err(Broken::new(Property::S4d, what));
                }
                judged.hold(&[Property::S4d])
            }
            Fact::Opened { stored, difference, rotten: false } => {
                let durable = self.durable.get(&scene.member).copied().unwrap_or_default();
                if stored.applied < durable {
                    let what = format!(
                        "the store is back at {}, but {durable} was durable",
                        stored.applied
                    );
                    return Err(Broken::new(Property::S4a, what));
                }
                match difference {
                    None => {
                        let what = format!(
                            "the store stands at {}, which was never committed",
                            stored.applied
                        );
                        Err(Broken::new(Property::S4b, what))
                    }
                    Some(Some(difference)) => {
                        let what = format!("recovered at {}: {difference}", stored.applied);
                        Err(Broken::new(Property::S4b, what).about(difference.lease()))
                    }
                    Some(None) => judged.hold(&[Property::S4b]),
                }
            }
            Fact::Commit { difference: Some(difference), transaction, .. }
                if !difference.is_loss() =>
            {
                let what = format!("at {}: {difference}", transaction.applied);
                Err(Broken::new(Property::S4, what).about(difference.lease()))
            }
            Fact::Commit { .. } => judged.hold(&[Property::S4]),
            Fact::Told { speaks_of, durable, .. } if speaks_of > durable => {
                let what = format!("answered at {speaks_of}, but durable is {durable}");
                Err(Broken::new(Property::S4a, what))
            }
            Fact::Told { .. } => judged.hold(&[Property::S4a]),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lessor::Digest;
    use lessor::backend::Stored;

    use super::super::harness::{History, Judged, lease, transaction};
    use super::*;
    use crate::model::Difference;

    fn opened(rotten: bool, difference: Option<Option<Difference>>) -> Result<Judged, Broken> {
        let mut history = History::<AllOrNothing>::default();
        history.holds(Fact::Durable { applied: LogIndex(3) });
        let stored = Stored { applied: LogIndex(3), ..Stored::default() };
        history.see(Fact::Opened { stored: &stored, difference, rotten })
    }

    #[test]
    fn a_store_that_is_what_the_log_says_is_fine() {
        assert_eq!(opened(false, Some(None)), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_store_that_holds_half_a_lease_is_found() {
        let half = Difference::Item { item: "k".into(), stored: Some(lease(7)), log: None };
        let half = Some(Some(half));
        assert_eq!(opened(false, half.clone()).map_err(|b| b.property), Err(Property::S4b));
        assert_eq!(opened(true, half).map_err(|b| b.property), Err(Property::S4d));
        assert_eq!(opened(true, Some(None)), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_store_at_an_index_that_never_was_is_found() {
        assert_eq!(opened(false, None).map_err(|b| b.property), Err(Property::S4b));
    }

    #[test]
    fn canary_a_durable_commit_that_is_gone_is_found() {
        let mut history = History::<AllOrNothing>::default();
        history.holds(Fact::Durable { applied: LogIndex(3) });
        let stored = Stored { applied: LogIndex(2), ..Stored::default() };
        let opened = Fact::Opened { stored: &stored, difference: Some(None), rotten: false };
        assert_eq!(history.see(opened).map_err(|b| b.property), Err(Property::S4a));
    }

    #[test]
    fn canary_a_member_that_goes_on_without_its_store_is_found() {
        let mut history = History::<AllOrNothing>::default();
        assert_eq!(history.see(Fact::Unreadable), Ok(Judged::NotConcerned));
        let stands = || Fact::Stands { applied: LogIndex(0), digest: Digest::default() };
        assert_eq!(history.see(stands()).map_err(|b| b.property), Err(Property::S4d));
        history.holds(Fact::Opened {
            stored: &Stored::default(),
            difference: Some(None),
            rotten: false,
        });
        assert_eq!(history.see(stands()), Ok(Judged::NotConcerned));
        assert_eq!(history.see(Fact::Unreadable), Ok(Judged::NotConcerned));
        assert_eq!(history.see(Fact::Replaced), Ok(Judged::NotConcerned));
        assert_eq!(history.see(stands()), Ok(Judged::NotConcerned));
    }

    #[test]
    fn canary_an_answer_before_its_commit_is_found() {
        let mut history = History::<AllOrNothing>::default();
        let told = |speaks_of, durable| Fact::Told {
            ticket: lessor::Ticket(1),
            asked: true,
            speaks_of: LogIndex(speaks_of),
            durable: LogIndex(durable),
        };
        assert_eq!(history.see(told(4, 4)), Ok(Judged::Holds));
        assert_eq!(history.see(told(4, 3)).map_err(|b| b.property), Err(Property::S4a));
    }

    #[test]
    fn canary_a_record_that_is_left_behind_is_found() {
        let mut history = History::<AllOrNothing>::default();
        let stored = Some((lessor::Ttl::from_secs(10), None));
        let difference = Some(Difference::Lease { id: lease(7), stored, log: None });
        let transaction = transaction(0, 1);
        let (revoked, deletes) = (&[], &[]);
        let commit = Fact::Commit { transaction: &transaction, revoked, deletes, difference };
        assert_eq!(history.see(commit).map_err(|b| b.property), Err(Property::S4));
    }
}
