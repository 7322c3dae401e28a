//! S1, never early: on the clock of the member that decides, no lease is in an expired batch before
//! the time that its grant, its last renew or the promotion gave it is over.

use super::earliest::Earliest;
use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// When each lease may expire.
#[derive(Debug, Default)]
pub(super) struct NeverEarly {
    earliest: Earliest,
}

impl Invariant for NeverEarly {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        self.earliest.note(scene, fact);
        let Fact::Expired { batch } = fact else { return Ok(()) };
        if !self.earliest.reigns(scene.member) {
            return Ok(());
        }
        for id in &batch.leases {
            if let Some(bound) = self.earliest.of(scene.member, *id)
                && bound > scene.latest
            {
                let early = bound.saturating_since(scene.latest);
                let what = format!("lease {id} expired {early:?} early");
                return Err(Broken::new(Property::S1, what).about(*id));
            }
        }
        judged.hold(&[Property::S1])
    }
}

#[cfg(test)]
mod tests {
    use lessor::{ExpiredBatch, LogIndex, Request, Response, Ttl};

    use super::super::harness::{
        History, Judged, batch, granted, lease, millis, promoted, renew, renewed, revoked,
    };
    use std::time::Duration;

    use super::*;

    fn primary() -> History<NeverEarly> {
        let mut history = History::<NeverEarly>::default();
        history.log(1, granted(7, 10_000));
        history.at(1_000);
        history.holds(promoted());
        history
    }

    fn expired(history: &mut History<NeverEarly>, at: u64) -> Result<Judged, Broken> {
        history.at(at);
        let batch: ExpiredBatch = batch(&[7]);
        history.see(Fact::Expired { batch: &batch })
    }

    #[test]
    fn a_lease_that_expires_on_time_after_a_promotion_is_fine() {
        assert_eq!(expired(&mut primary(), 12_000), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_promotion_that_forgets_the_extension_is_found() {
        let broken = expired(&mut primary(), 11_999).expect_err("it is early");
        assert_eq!(broken.property, Property::S1);
    }

    #[test]
    fn canary_a_renew_that_moves_no_deadline_is_found() {
        let mut history = primary();
        history.at(5_000);
        let (request, response) = (renew(7), renewed(10_000));
        let asked = millis(5_000);
        history.holds(Fact::Served {
            request: &request,
            asked,
            came: Duration::ZERO,
            response: &response,
        });
        assert_eq!(expired(&mut history, 14_999).map_err(|b| b.property), Err(Property::S1));
        assert_eq!(expired(&mut history, 15_000), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_clock_that_steps_back_makes_no_lease_early() {
        let mut history = primary();
        history.at(500);
        history.latest = millis(11_999);
        assert!(expired(&mut history, 500).is_err());
        history.latest = millis(12_000);
        assert_eq!(expired(&mut history, 500), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_grant_in_a_reign_that_expires_early_is_found() {
        let mut history = History::<NeverEarly>::default();
        history.holds(promoted());
        history.log(1, granted(7, 10_000));
        assert_eq!(expired(&mut history, 9_999).map_err(|b| b.property), Err(Property::S1));
        assert_eq!(expired(&mut history, 10_000), Ok(Judged::Holds));
    }

    /// Found by seed 1123: a pause of 38 s, then the grant, the revoke and the next grant at once.
    #[test]
    fn what_is_told_of_an_earlier_lease_of_the_same_id_promises_nothing_of_this_one() {
        let mut history = History::<NeverEarly>::default();
        history.holds(promoted());
        history.log(1, granted(7, 38_000));
        history.log(2, revoked(7));
        history.log(3, granted(7, 1_000));
        let request = Request::Grant { id: Some(lease(7)), ttl: Ttl::from_secs(38) };
        let (ttl, place) = (Ttl::from_secs(38), lessor::LogIndex(1));
        let response = Response::Granted { id: lease(7), ttl, index: place };
        let asked = millis(0);
        history.holds(Fact::Served {
            request: &request,
            asked,
            came: Duration::ZERO,
            response: &response,
        });
        assert_eq!(expired(&mut history, 999).map_err(|b| b.property), Err(Property::S1));
        assert_eq!(expired(&mut history, 1_000), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_second_promotion_that_shortens_is_found() {
        let mut history = primary();
        history.at(6_000);
        history.holds(Fact::Promoted { again: true, barrier: LogIndex(0) });
        assert_eq!(expired(&mut history, 16_999).map_err(|b| b.property), Err(Property::S1));
    }
}
