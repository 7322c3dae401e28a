//! S3b, nothing is done to what is gone: an entry without effect, such as the revoke of a lease
//! that is gone or the detach of an item that another lease holds, leaves a member's digest
//! unchanged.
//!
//! Needs nothing. Broken by etcd #6093 and #21186, which panicked.

use std::collections::BTreeMap;

use lessor::{Digest, MemberId};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};
use crate::model::Applied;

/// Each member's digest before the entries that it is applying, and whether these have an effect.
#[derive(Debug, Default)]
pub(super) struct NothingIsDoneToWhatIsGone {
    members: BTreeMap<MemberId, Stand>,
}

#[derive(Debug, Default)]
struct Stand {
    digest: Option<Digest>,
    idle: u32,
    changed: bool,
}

impl Invariant for NothingIsDoneToWhatIsGone {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Opened { .. } | Fact::Installed => {
                self.members.remove(&scene.member);
            }
            Fact::Applied { entry, applied } => {
                let stand = self.members.entry(scene.member).or_default();
                if **applied == Applied::default() {
                    stand.idle += u32::from(entry.proposal.is_some());
                } else {
                    stand.changed = true;
                }
            }
            Fact::Stands { digest, applied } => {
                let next = Stand { digest: Some(*digest), ..Stand::default() };
                let stand = self.members.insert(scene.member, next).unwrap_or_default();
                let Some(before) = stand.digest.filter(|_| stand.idle > 0 && !stand.changed) else {
                    return Ok(());
                };
                if before != *digest {
                    let what = format!("what does nothing has changed the digest at {applied}");
                    return Err(Broken::new(Property::S3b, what));
                }
                return judged.hold(&[Property::S3b]);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lessor::LogIndex;

    use super::super::harness::{History, Judged, granted, revoked};
    use super::*;

    fn stands(
        history: &mut History<NothingIsDoneToWhatIsGone>,
        digest: u64,
    ) -> Result<Judged, Property> {
        let (applied, digest) = (LogIndex(0), Digest::from_u64(digest));
        history.see(Fact::Stands { applied, digest }).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_revoke_of_nothing_that_does_something_is_found() {
        let mut history = History::<NothingIsDoneToWhatIsGone>::default();
        history.log(1, granted(7, 10_000));
        assert_eq!(stands(&mut history, 1), Ok(Judged::NotConcerned));
        history.log(2, revoked(8));
        assert_eq!(stands(&mut history, 1), Ok(Judged::Holds));
        history.log(3, revoked(8));
        assert_eq!(stands(&mut history, 2), Err(Property::S3b));
        history.log(4, revoked(7));
        history.log(5, revoked(7));
        assert_eq!(stands(&mut history, 3), Ok(Judged::NotConcerned));
    }
}
