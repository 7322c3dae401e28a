//! S2, a promise is kept: a grant or renew that a lessee was answered with a ttl means that the lease
//! exists while the lessee's clock shows less than `s + ttl * (1 - r) / (1 + r)`, where `s` is what it
//! showed when the lessee *asked*, unless a lessee asked for its revoke.
//!
//! Needs Drift(r): no clock's rate is further than `r` from true time, and no member's clock has
//! stepped ahead. Broken by etcd #2660, #12528, #15247 and #7029.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{Command, LeaseId, Request};

use super::{Broken, Event, Invariant, Judgements, Property, Scene, promised};

/// Until when each lease was promised, and for which of them somebody asked the end.
#[derive(Debug, Default)]
pub(super) struct PromiseKept {
    until: BTreeMap<LeaseId, Duration>,
    /// Revokes that lessees have asked for since each lease was granted.
    revoked_by_lessee: BTreeSet<LeaseId>,
    /// Of all those, how many may still take effect, even on a lease that was granted anew.
    open: BTreeMap<LeaseId, u32>,
}

impl Invariant for PromiseKept {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        event: &Event<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match event {
            Event::Asked { request: Request::Revoke { id } } => {
                self.revoked_by_lessee.insert(*id);
                *self.open.entry(*id).or_default() += 1;
            }
            Event::Settled { request: Request::Revoke { id } } => {
                if let Some(open) = self.open.get_mut(id) {
                    *open -= 1;
                }
            }
            Event::Answered { request, sent, response } => {
                let Some((id, ttl)) = promised(scene.state, request, response) else {
                    return Ok(());
                };
                let until = sent.saturating_add(certain(ttl.as_duration(), scene.bound_ppm));
                let promise = self.until.entry(id).or_default();
                *promise = until.max(*promise);
                if let Some(now) = scene.promised
                    && !scene.state.leases.contains_key(&id)
                {
                    return self.judge(now, id, judged);
                }
            }
            Event::Agreed { entry, applied } => {
                if let Some((id, _)) = &applied.revoked {
                    if self.open.get(id) > Some(&0) {
                        self.revoked_by_lessee.insert(*id);
                    }
                    if let Some(now) = scene.promised {
                        return self.judge(now, *id, judged);
                    }
                }
                if let Some(proposal) = &entry.proposal
                    && let Command::Grant { id, .. } = proposal.command
                    && applied.leases.contains(&id)
                {
                    // Another lease under the same id: it has its own promises.
                    self.until.remove(&id);
                    self.revoked_by_lessee.remove(&id);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl PromiseKept {
    /// Judges that a lease does not exist at `now`.
    fn judge(&self, now: Duration, id: LeaseId, judged: &mut Judgements) -> Result<(), Broken> {
        let Some(until) = self.until.get(&id) else { return Ok(()) };
        if *until > now && !self.revoked_by_lessee.contains(&id) {
            let short = until.saturating_sub(now);
            let what = format!("lease {id} is gone {short:?} before what its lessee was promised");
            return Err(Broken::new(Property::S2, what));
        }
        judged.hold(&[Property::S2])
    }
}

/// What of a ttl a lessee can count on, whatever two clocks within the bound do.
fn certain(ttl: Duration, bound_ppm: u32) -> Duration {
    let (less, more) = (1_000_000 - u128::from(bound_ppm), 1_000_000 + u128::from(bound_ppm));
    let nanos = ttl.as_nanos().saturating_mul(less) / more;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::harness::{History, Judged, granted, lease, renew, renewed, revoked};
    use super::*;

    fn promised_until_15_s() -> History<PromiseKept> {
        let mut history = History::<PromiseKept>::default();
        history.log(1, granted(7, 10_000));
        history.at(5_100);
        let (request, response) = (renew(7), renewed(10_000));
        let sent = Duration::from_secs(5);
        history.holds(Event::Answered { request: &request, sent, response: &response });
        history
    }

    #[test]
    fn canary_a_lease_that_ends_before_its_promise_is_found() {
        let mut history = promised_until_15_s();
        history.at(14_999);
        assert_eq!(history.try_log(2, revoked(7)).map_err(|b| b.property), Err("S2"));
    }

    #[test]
    fn a_lease_may_end_when_its_promise_has() {
        let mut history = promised_until_15_s();
        history.at(15_000);
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::Holds));
    }

    #[test]
    fn canary_clocks_that_may_differ_shorten_the_promise_and_no_more() {
        for (bound_ppm, kept) in [(0, false), (100_000, true)] {
            let mut history = History::<PromiseKept>::default();
            history.bound_ppm = bound_ppm;
            history.log(1, granted(7, 10_000));
            let (request, response) = (renew(7), renewed(11_000));
            let sent = Duration::ZERO;
            // Told of another lease's ttl: no promise.
            history.holds(Event::Answered { request: &request, sent, response: &response });
            let response = renewed(10_000);
            history.holds(Event::Answered { request: &request, sent, response: &response });
            // 10 s * 0.9 / 1.1 is 8.18 s.
            history.at(8_200);
            assert_eq!(history.try_log(2, revoked(7)).is_ok(), kept, "{bound_ppm}");
        }
    }

    #[test]
    fn a_clock_that_broke_its_bound_takes_the_promise_with_it() {
        let mut history = promised_until_15_s();
        history.clocks_hold = false;
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::NotConcerned));
    }

    #[test]
    fn a_lessee_may_end_it_at_any_time() {
        let mut history = promised_until_15_s();
        let request = Request::Revoke { id: lease(7) };
        history.holds(Event::Asked { request: &request });
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_lease_that_was_granted_anew_is_kept_like_any_other() {
        let mut history = promised_until_15_s();
        let request = Request::Revoke { id: lease(7) };
        history.holds(Event::Asked { request: &request });
        history.log(2, revoked(7));
        history.holds(Event::Settled { request: &request });
        history.log(3, granted(7, 60_000));
        let (request, sent) = (renew(7), Duration::from_secs(6));
        let response = renewed(60_000);
        history.holds(Event::Answered { request: &request, sent, response: &response });
        history.at(30_000);
        assert_eq!(history.try_log(4, revoked(7)).map_err(|b| b.property), Err("S2"));
    }

    #[test]
    fn canary_a_stale_primary_that_renews_what_is_gone_is_found() {
        let mut history = History::<PromiseKept>::default();
        history.log(1, granted(7, 10_000));
        history.at(12_000);
        history.log(2, revoked(7));
        let (request, response) = (renew(7), renewed(10_000));
        let sent = Duration::from_secs(11);
        let answered = Event::Answered { request: &request, sent, response: &response };
        assert_eq!(history.see(answered).map_err(|b| b.property), Err("S2"));
    }
}
