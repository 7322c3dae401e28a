//! S1d, no renew in time is overtaken: a renew is open while it came in before its lease was due,
//! is neither answered nor forgotten, and has waited for less than the request timeout. While a
//! primary has an open renew of a lease, the lease is in no expired batch. And a renew that came in
//! time is not told that there is no such lease, unless a lessee has asked for its revoke.
//!
//! The moment that counts is when the renew is asked for, not when the member gets to it: a slow
//! commit or a confirmation must not end a lease that is renewed. A renew that a busy host takes
//! late is in time too, unless the member has since let go of the leases that were due: by its
//! timer, or in an expired batch.
//!
//! Needs nothing. Broken by a disk that stalls: confirmations and answers waited for it while the
//! time of leases went on.

use std::collections::{BTreeMap, BTreeSet};

use lessor::{Error, Instant, LeaseId, MemberId, Request, RequestError, Ticket};

use super::earliest::Earliest;
use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The renews of each reign that came in time and are not decided.
#[derive(Debug, Default)]
pub(super) struct NoRenewInTimeIsOvertaken {
    earliest: Earliest,
    open: BTreeMap<(MemberId, LeaseId), Vec<(Ticket, Instant)>>,
    leases: BTreeMap<(MemberId, Ticket), LeaseId>,
    /// The moment of the latest timer of each member, and which leases were in a batch of it.
    let_go: BTreeMap<MemberId, Instant>,
    expiring: BTreeSet<(MemberId, LeaseId)>,
    revoked_by_lessee: BTreeSet<LeaseId>,
}

impl Invariant for NoRenewInTimeIsOvertaken {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        self.earliest.note(scene, fact);
        match fact {
            Fact::Asked { request: Request::Revoke { id } } => {
                self.revoked_by_lessee.insert(*id);
            }
            Fact::Came { ticket, request: Request::Renew { id } } => {
                let renewed = (scene.member, *id);
                let due = self.earliest.of(scene.member, *id);
                let let_go = self.let_go.get(&scene.member).copied().unwrap_or_default();
                let in_time = due.is_some_and(|due| scene.clock.max(let_go) < due);
                if in_time && !self.expiring.contains(&renewed) {
                    self.open.entry(renewed).or_default().push((*ticket, scene.latest));
                    self.leases.insert((scene.member, *ticket), *id);
                }
            }
            Fact::Timer { .. } => {
                self.let_go.insert(scene.member, scene.latest);
            }
            Fact::Applied { applied, .. } => {
                if let Some((id, _)) = &applied.revoked {
                    self.expiring.remove(&(scene.member, *id));
                }
            }
            Fact::Forgot { ticket } => {
                self.closed(scene.member, *ticket);
            }
            Fact::Decided { ticket, answer } => {
                let Some(id) = self.closed(scene.member, *ticket) else { return Ok(()) };
                let refused = **answer == Err(RequestError::Refused(Error::LeaseNotFound));
                if refused && !self.revoked_by_lessee.contains(&id) {
                    let what = format!("lease {id} is gone, but its renew came in time");
                    return Err(Broken::new(Property::S1d, what).about(id));
                }
                return judged.hold(&[Property::S1d]);
            }
            Fact::Demoted => {
                self.open.retain(|(member, _), _| *member != scene.member);
                self.leases.retain(|(member, _), _| *member != scene.member);
                self.expiring.retain(|(member, _)| *member != scene.member);
            }
            Fact::Opened { .. } => {
                self.let_go.remove(&scene.member);
            }
            Fact::Expired { batch } => {
                for id in &batch.leases {
                    if let Some(came) = self.waits(scene, *id) {
                        let since = scene.latest.saturating_since(came);
                        let what = format!("lease {id} expired, its renew came {since:?} before");
                        return Err(Broken::new(Property::S1d, what).about(*id));
                    }
                    self.expiring.insert((scene.member, *id));
                }
                return judged.hold(&[Property::S1d]);
            }
            _ => {}
        }
        Ok(())
    }
}

impl NoRenewInTimeIsOvertaken {
    /// When the first open renew of this lease came in.
    fn waits(&self, scene: &Scene<'_>, id: LeaseId) -> Option<Instant> {
        let waits = self.open.get(&(scene.member, id))?.iter().map(|(_, came)| *came);
        let over =
            |came: &Instant| came.saturating_add(scene.config.request_timeout) <= scene.latest;
        waits.filter(|came| !over(came)).min()
    }

    /// Closes a renew, and returns its lease.
    fn closed(&mut self, member: MemberId, ticket: Ticket) -> Option<LeaseId> {
        let id = self.leases.remove(&(member, ticket))?;
        if let Some(open) = self.open.get_mut(&(member, id)) {
            open.retain(|(other, _)| *other != ticket);
            if open.is_empty() {
                self.open.remove(&(member, id));
            }
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{
        History, Judged, batch, granted, lease, millis, promoted, renew, renewed, revoked,
    };
    use super::*;

    const TICKET: Ticket = Ticket(1);

    /// A lease that is due at 10 s, with a renew that came in at some moment.
    fn renewed_at(came: u64) -> History<NoRenewInTimeIsOvertaken> {
        let mut history = History::<NoRenewInTimeIsOvertaken>::default();
        history.holds(promoted());
        history.log(1, granted(7, 10_000));
        history.at(came);
        history.holds(Fact::Came { ticket: TICKET, request: &renew(7) });
        history
    }

    fn expires_at(
        history: &mut History<NoRenewInTimeIsOvertaken>,
        at: u64,
    ) -> Result<Judged, Property> {
        history.at(at);
        history.see(Fact::Expired { batch: &batch(&[7]) }).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_an_expiry_that_overtakes_a_renew_is_found() {
        assert_eq!(expires_at(&mut renewed_at(9_999), 10_000), Err(Property::S1d));
        assert_eq!(expires_at(&mut renewed_at(10_000), 10_000), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_renew_that_was_asked_for_in_time_and_taken_late_is_as_good() {
        let taken_late = |timer: bool| {
            let mut history = History::<NoRenewInTimeIsOvertaken>::default();
            history.holds(promoted());
            history.log(1, granted(7, 10_000));
            history.at(10_500);
            if timer {
                history.holds(Fact::Timer { idle: false });
            }
            history.latest = millis(10_500);
            history.at(9_999);
            history.holds(Fact::Came { ticket: TICKET, request: &renew(7) });
            expires_at(&mut history, 10_600)
        };
        assert_eq!(taken_late(false), Err(Property::S1d));
        assert_eq!(taken_late(true), Ok(Judged::Holds));
    }

    #[test]
    fn a_renew_holds_off_the_expiry_for_its_request_timeout_and_no_longer() {
        // Seven seconds.
        assert_eq!(expires_at(&mut renewed_at(9_000), 15_999), Err(Property::S1d));
        assert_eq!(expires_at(&mut renewed_at(9_000), 16_000), Ok(Judged::Holds));
    }

    #[test]
    fn a_renew_that_nobody_waits_for_holds_off_nothing() {
        let mut history = renewed_at(9_000);
        history.holds(Fact::Forgot { ticket: TICKET });
        assert_eq!(expires_at(&mut history, 10_000), Ok(Judged::Holds));
    }

    #[test]
    fn a_renew_that_is_answered_holds_off_nothing_more() {
        let mut history = renewed_at(9_000);
        let answer = Ok(renewed(10_000));
        let decided = Fact::Decided { ticket: TICKET, answer: &answer };
        assert_eq!(history.see(decided), Ok(Judged::Holds));
        assert_eq!(expires_at(&mut history, 19_000), Ok(Judged::Holds));
        let mut history = renewed_at(9_000);
        history.holds(Fact::Demoted);
        history.holds(promoted());
        assert_eq!(expires_at(&mut history, 30_000), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_renew_in_time_that_finds_no_lease_is_found() {
        let answer = Err(RequestError::Refused(Error::LeaseNotFound));
        for (asked, verdict) in [(true, Ok(Judged::Holds)), (false, Err(Property::S1d))] {
            let mut history = renewed_at(9_000);
            if asked {
                history.holds(Fact::Asked { request: &Request::Revoke { id: lease(7) } });
            }
            history.log(2, revoked(7));
            let decided = history.see(Fact::Decided { ticket: TICKET, answer: &answer });
            assert_eq!(decided.map_err(|broken| broken.property), verdict);
        }
    }
}
