//! S12a, done twice is done once: a store that is handed its last transaction again refuses it.
//! S12b, a lost write ends the member: once a commit has failed, its process commits nothing more
//! and answers nobody. S12c, nothing out of order: each transaction follows the one before.
//!
//! Needs nothing. S12b was broken by etcd #9935 and #10686, which went on.

use std::collections::{BTreeMap, BTreeSet};

use lessor::{LogIndex, MemberId};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Where each member's store stands, and whose process has lost a write.
#[derive(Debug, Default)]
pub(super) struct DoneTwiceIsDoneOnce {
    stands: BTreeMap<MemberId, LogIndex>,
    failed: BTreeSet<MemberId>,
}

impl Invariant for DoneTwiceIsDoneOnce {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let failed = self.failed.contains(&scene.member);
        match fact {
            Fact::Opened { stored, .. } => {
                self.stands.insert(scene.member, stored.applied);
                if self.failed.remove(&scene.member) {
                    return judged.hold(&[Property::S12b]);
                }
            }
            Fact::WriteFailed => {
                self.failed.insert(scene.member);
            }
            Fact::Commit { .. } | Fact::Told { .. } if failed => {
                let what = "a commit has failed, and the member goes on".to_owned();
                return Err(Broken::new(Property::S12b, what));
            }
            Fact::Commit { transaction, .. } => {
                let stands = self.stands.insert(scene.member, transaction.applied);
                let stands = stands.unwrap_or_default();
                if transaction.after != stands || transaction.applied <= stands {
                    let what = format!(
                        "a transaction from {} to {}, but the store stands at {stands}",
                        transaction.after, transaction.applied
                    );
                    return Err(Broken::new(Property::S12c, what));
                }
                return judged.hold(&[Property::S12c]);
            }
            Fact::Repeated { refused: true } => return judged.hold(&[Property::S12a]),
            Fact::Repeated { refused: false } => {
                let what = "the store took the same transaction twice".to_owned();
                return Err(Broken::new(Property::S12a, what));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lessor::Ticket;
    use lessor::backend::Stored;

    use super::super::harness::{History, Judged, transaction};
    use super::*;

    fn commit(
        history: &mut History<DoneTwiceIsDoneOnce>,
        after: u64,
        applied: u64,
    ) -> Result<Judged, Property> {
        let transaction = &transaction(after, applied);
        let (revoked, deletes) = (&[], &[]);
        let commit = Fact::Commit { transaction, revoked, deletes, difference: None };
        history.see(commit).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_transaction_out_of_order_is_found() {
        let mut history = History::<DoneTwiceIsDoneOnce>::default();
        assert_eq!(commit(&mut history, 0, 2), Ok(Judged::Holds));
        assert_eq!(commit(&mut history, 2, 3), Ok(Judged::Holds));
        assert_eq!(commit(&mut history, 2, 4), Err(Property::S12c));
        assert_eq!(commit(&mut history, 4, 4), Err(Property::S12c));
    }

    #[test]
    fn canary_a_member_that_goes_on_after_a_lost_write_is_found() {
        let mut history = History::<DoneTwiceIsDoneOnce>::default();
        history.holds(Fact::WriteFailed);
        assert_eq!(commit(&mut history, 0, 1), Err(Property::S12b));
        let at = LogIndex(0);
        let told = Fact::Told { ticket: Ticket(1), asked: true, speaks_of: at, durable: at };
        assert_eq!(history.see(told).map_err(|broken| broken.property), Err(Property::S12b));
        let stored = Stored::default();
        let opened = Fact::Opened { stored: &stored, difference: Some(None), rotten: false };
        assert_eq!(history.see(opened), Ok(Judged::Holds));
        assert_eq!(commit(&mut history, 0, 1), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_store_that_takes_a_transaction_twice_is_found() {
        let mut history = History::<DoneTwiceIsDoneOnce>::default();
        assert_eq!(history.see(Fact::Repeated { refused: true }), Ok(Judged::Holds));
        let taken = history.see(Fact::Repeated { refused: false });
        assert_eq!(taken.map_err(|broken| broken.property), Err(Property::S12a));
    }
}
