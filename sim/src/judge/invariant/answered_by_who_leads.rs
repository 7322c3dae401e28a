//! S9b, answered by who leads: when a member answers a renew with success, nobody had been elected
//! for a later term before the renew came in. S9c: a renew of a lease that has expired waits for
//! its revoke, for a demotion or for the end. S2a: a lease is granted for the ttl that was asked,
//! or for the minimum if that is longer.
//!
//! Needs nothing. Broken by etcd #15247: a leader that was cut off went on renewing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{Command, LeaseId, MemberId, Request, Response, Term, Ttl};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Who leads, since when, what has expired in each reign, and all ttls that an id was granted with: the
/// lease that an answer speaks of may have had a successor in the same delivery of entries.
#[derive(Debug, Default)]
pub(super) struct AnsweredByWhoLeads {
    elected: Vec<(Term, Duration)>,
    terms: BTreeMap<MemberId, Term>,
    expired: BTreeMap<MemberId, BTreeSet<LeaseId>>,
    granted: BTreeSet<(LeaseId, Ttl)>,
}

impl Invariant for AnsweredByWhoLeads {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Agreed { entry, applied } => {
                if let Some(proposal) = &entry.proposal
                    && let Command::Grant { id, ttl } = proposal.command
                    && applied.leases.contains(&id)
                {
                    self.granted.insert((id, ttl));
                }
            }
            Fact::Elected { term, .. } => self.elected.push((*term, scene.now)),
            Fact::Leads { term } => {
                self.terms.insert(scene.member, *term);
                self.expired.remove(&scene.member);
            }
            Fact::Demoted | Fact::Opened { .. } => {
                self.expired.remove(&scene.member);
            }
            Fact::Expired { batch } => {
                self.expired.entry(scene.member).or_default().extend(&batch.leases);
            }
            Fact::Applied { applied, .. } => {
                if let (Some((id, _)), Some(expired)) =
                    (&applied.revoked, self.expired.get_mut(&scene.member))
                {
                    expired.remove(id);
                }
            }
            Fact::Served { request: Request::Renew { id }, came, .. } => {
                let term = self.terms.get(&scene.member).copied().unwrap_or_default();
                let later =
                    self.elected.iter().rev().find(|(later, at)| *later > term && at < came);
                if let Some((later, _)) = later {
                    let what = format!(
                        "lease {id} was renewed in term {term}, but term {later} had a leader"
                    );
                    return Err(Broken::new(Property::S9b, what).about(*id));
                }
                if self.expired.get(&scene.member).is_some_and(|expired| expired.contains(id)) {
                    let what = format!("lease {id} was renewed, but had expired");
                    return Err(Broken::new(Property::S9c, what).about(*id));
                }
                return judged.hold(&[Property::S9b, Property::S9c]);
            }
            Fact::Served {
                request: Request::Grant { ttl: asked, .. },
                response: Response::Granted { id, ttl, .. },
                ..
            } => {
                if ttl < asked || !self.granted.contains(&(*id, *ttl)) {
                    let what = format!("lease {id} was asked for {asked}, told {ttl}");
                    return Err(Broken::new(Property::S2a, what).about(*id));
                }
                return judged.hold(&[Property::S2a]);
            }
            // A lease that was there already keeps its ttl.
            Fact::Served {
                request: Request::GrantOnce { request, .. },
                response: Response::Granted { id, ttl, .. },
                ..
            } => {
                if *id != request.lease() || !self.granted.contains(&(*id, *ttl)) {
                    let what = format!("request {request} was told of lease {id}, ttl {ttl}");
                    return Err(Broken::new(Property::S2a, what).about(*id));
                }
                return judged.hold(&[Property::S2a]);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lessor::{LogIndex, RequestId};

    use super::super::harness::{
        History, Judged, batch, granted, lease, millis, renew, renewed, revoked,
    };
    use super::*;

    fn served(history: &mut History<AnsweredByWhoLeads>, came: u64) -> Result<Judged, Property> {
        let (request, response) = (renew(7), renewed(10_000));
        let (asked, came) = (millis(came), Duration::from_millis(came));
        let served = Fact::Served { request: &request, asked, came, response: &response };
        history.see(served).map_err(|broken| broken.property)
    }

    fn leader() -> History<AnsweredByWhoLeads> {
        let mut history = History::<AnsweredByWhoLeads>::default();
        history.holds(Fact::Elected { term: Term(1), leader: MemberId(1) });
        history.holds(Fact::Leads { term: Term(1) });
        history.log(1, granted(7, 10_000));
        history
    }

    #[test]
    fn canary_a_renew_by_one_who_leads_no_more_is_found() {
        let mut history = leader();
        history.at(5_000);
        history.holds(Fact::Elected { term: Term(2), leader: MemberId(2) });
        assert_eq!(served(&mut history, 4_000), Ok(Judged::Holds));
        assert_eq!(served(&mut history, 5_001), Err(Property::S9b));
    }

    #[test]
    fn canary_a_renew_of_what_has_expired_is_found() {
        let mut history = leader();
        let batch = batch(&[7]);
        history.holds(Fact::Expired { batch: &batch });
        assert_eq!(served(&mut history, 1), Err(Property::S9c));
        history.log(2, revoked(7));
        history.log(3, granted(7, 10_000));
        assert_eq!(served(&mut history, 1), Ok(Judged::Holds));
    }

    fn told(
        history: &mut History<AnsweredByWhoLeads>,
        asked: u64,
        told: u64,
    ) -> Result<Judged, Property> {
        let request = Request::Grant { id: Some(lease(7)), ttl: Ttl::from_millis(asked) };
        let (ttl, place) = (Ttl::from_millis(told), LogIndex(1));
        let response = Response::Granted { id: lease(7), ttl, index: place };
        let (asked, came) = (millis(0), Duration::ZERO);
        let served = Fact::Served { request: &request, asked, came, response: &response };
        history.see(served).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_grant_for_less_than_was_asked_or_more_than_was_stored_is_found() {
        let mut history = leader();
        assert_eq!(told(&mut history, 10_001, 10_000), Err(Property::S2a));
        assert_eq!(told(&mut history, 10_000, 10_001), Err(Property::S2a));
        assert_eq!(told(&mut history, 9_999, 10_000), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_wish_that_is_told_of_another_lease_is_found() {
        let (mut history, request) = (leader(), RequestId(7));
        let id = request.lease();
        history.log(2, granted(id.get(), 10_000));
        let mut told = |id, secs| {
            let (ttl, place) = (Ttl::from_secs(secs), LogIndex(2));
            let request = Request::GrantOnce { request, ttl: Ttl::from_secs(20) };
            let response = Response::Granted { id, ttl, index: place };
            let (asked, came) = (millis(0), Duration::ZERO);
            let served = Fact::Served { request: &request, asked, came, response: &response };
            history.see(served).map_err(|broken| broken.property)
        };
        assert_eq!(told(id, 10), Ok(Judged::Holds));
        assert_eq!(told(id, 20), Err(Property::S2a));
        assert_eq!(told(lease(7), 10), Err(Property::S2a));
    }

    #[test]
    fn an_answer_may_speak_of_a_lease_whose_successor_is_there() {
        let mut history = leader();
        history.log(2, revoked(7));
        history.log(3, granted(7, 2_000));
        assert_eq!(told(&mut history, 10_000, 10_000), Ok(Judged::Holds));
    }
}
