//! S6, only the primary decides: a member that is not promoted emits no expired batch and renews
//! nothing. S6b: no member is promoted before it has applied every entry of earlier terms.

use std::collections::BTreeSet;

use lessor::{MemberId, Request};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The members that are promoted.
#[derive(Debug, Default)]
pub(super) struct OnlyThePrimaryDecides {
    promoted: BTreeSet<MemberId>,
}

impl Invariant for OnlyThePrimaryDecides {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let (what, lease) = match fact {
            Fact::Promoted { barrier, .. } => {
                self.promoted.insert(scene.member);
                let applied = scene.state.applied;
                if applied >= *barrier {
                    return judged.hold(&[Property::S6b]);
                }
                let what = format!("promoted at {applied}, before {barrier} was applied");
                return Err(Broken::new(Property::S6b, what));
            }
            Fact::Demoted => {
                self.promoted.remove(&scene.member);
                return Ok(());
            }
            Fact::Expired { .. } | Fact::Served { request: Request::Renew { .. }, .. }
                if self.promoted.contains(&scene.member) =>
            {
                return judged.hold(&[Property::S6]);
            }
            Fact::Expired { batch } => (format!("{} leases expired", batch.leases.len()), None),
            Fact::Served { request: Request::Renew { id }, .. } => {
                (format!("lease {id} was renewed"), Some(*id))
            }
            _ => return Ok(()),
        };
        let what = format!("{what} by a member that is not primary");
        Err(Broken::new(Property::S6, what).about(lease))
    }
}

#[cfg(test)]
mod tests {
    use lessor::LogIndex;

    use super::super::harness::{
        History, Judged, batch, granted, millis, promoted, renew, renewed,
    };
    use std::time::Duration;

    use super::*;

    #[test]
    fn canary_a_member_that_decides_after_its_demotion_is_found() {
        let mut history = History::<OnlyThePrimaryDecides>::default();
        let batch = batch(&[7]);
        let (request, response) = (renew(7), renewed(10_000));
        let expired = || Fact::Expired { batch: &batch };
        let served = || Fact::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(history.see(expired()).map_err(|b| b.property), Err(Property::S6));
        history.holds(promoted());
        assert_eq!(history.see(expired()), Ok(Judged::Holds));
        assert_eq!(history.see(served()), Ok(Judged::Holds));
        history.holds(Fact::Demoted);
        assert_eq!(history.see(expired()).map_err(|b| b.property), Err(Property::S6));
        assert_eq!(history.see(served()).map_err(|b| b.property), Err(Property::S6));
    }

    #[test]
    fn canary_a_promotion_before_the_barrier_is_found() {
        let mut history = History::<OnlyThePrimaryDecides>::default();
        history.log(1, granted(7, 10_000));
        let promoted = |barrier| Fact::Promoted { again: false, barrier };
        assert_eq!(history.see(promoted(LogIndex(1))), Ok(Judged::Holds));
        assert_eq!(history.see(promoted(LogIndex(2))).map_err(|b| b.property), Err(Property::S6b));
    }
}
