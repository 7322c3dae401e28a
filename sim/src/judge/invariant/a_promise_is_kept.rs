//! S2, a promise is kept: when a lessee got a ttl as the answer to a grant or renew, the lease
//! exists while the lessee's clock shows less than `s + ttl * (1 - r) / (1 + r)`, where `s` is the
//! time on that clock when the lessee *asked*, unless a lessee asked for its revoke.
//!
//! S1c, no checkpoint outlives a renew: if a lessee was promised the lease until `u`, the log has a
//! checkpoint that leaves `x` only if `u <= now + x * (1 - r) / (1 + r)`, so that a failover takes
//! nothing from the lessee. L2, a renewed lease stays: a promise that was made after all faults are
//! over is kept, however clocks went before.
//!
//! All need Drift(r): no clock's rate is further than `r` from true time, and no member's clock has
//! stepped ahead. L2 needs it only from the end of the faults on. S2 was broken by etcd #2660,
//! #12528, #15247 and #7029, S1c by #14078 and #14087.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{Command, LeaseId, Request, Ttl};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene, promised};

/// Until when each lease was promised, and for which of them somebody asked the end.
#[derive(Debug, Default)]
pub(super) struct APromiseIsKept {
    until: BTreeMap<LeaseId, Duration>,
    /// The same of what was promised after all faults were over.
    healed_until: BTreeMap<LeaseId, Duration>,
    /// Revokes that lessees have asked for since each lease was granted.
    revoked_by_lessee: BTreeSet<LeaseId>,
    /// Of all those, how many may still take effect, even on a lease that was granted anew.
    open: BTreeMap<LeaseId, u32>,
}

impl Invariant for APromiseIsKept {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Asked { request: Request::Revoke { id } } => {
                self.revoked_by_lessee.insert(*id);
                *self.open.entry(*id).or_default() += 1;
            }
            Fact::Answered { request: Request::Revoke { id }, .. } => {
                if let Some(open) = self.open.get_mut(id) {
                    *open -= 1;
                }
            }
            Fact::Answered { request, sent, answer: Ok(response), .. } => {
                let Some((id, ttl)) = promised(scene.state, request, response) else {
                    return Ok(());
                };
                let until = sent.saturating_add(certain(ttl.as_duration(), scene.bound_ppm));
                let promise = self.until.entry(id).or_default();
                *promise = until.max(*promise);
                if scene.healed.is_some_and(|healed| healed <= *sent) {
                    let promise = self.healed_until.entry(id).or_default();
                    *promise = until.max(*promise);
                }
                return match scene.state.leases.get(&id) {
                    None => self.judge(scene, id, judged),
                    Some(lease) => self.judge_checkpoint(scene, id, lease.remaining, judged),
                };
            }
            Fact::Agreed { entry, applied } => {
                if let Some((id, _)) = &applied.revoked {
                    if self.open.get(id) > Some(&0) {
                        self.revoked_by_lessee.insert(*id);
                    }
                    return self.judge(scene, *id, judged);
                }
                match &entry.proposal.as_ref().map(|proposal| &proposal.command) {
                    Some(Command::Grant { id, .. }) if applied.leases.contains(id) => {
                        // Another lease under the same id: it has its own promises.
                        self.until.remove(id);
                        self.healed_until.remove(id);
                        self.revoked_by_lessee.remove(id);
                    }
                    Some(Command::Checkpoint { checkpoints }) => {
                        for checkpoint in checkpoints {
                            let (id, left) = (checkpoint.id, checkpoint.remaining);
                            if applied.leases.contains(&id) {
                                self.judge_checkpoint(scene, id, left, judged)?;
                            }
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl APromiseIsKept {
    /// Judges that a lease does not exist any more.
    fn judge(&self, scene: &Scene<'_>, id: LeaseId, judged: &mut Judgements) -> Result<(), Broken> {
        let promises = [
            (Property::S2, self.until.get(&id).filter(|_| scene.clocks_hold)),
            (Property::L2, self.healed_until.get(&id)),
        ];
        for (property, until) in promises {
            let Some(until) = until else { continue };
            if *until > scene.lessees && !self.revoked_by_lessee.contains(&id) {
                let short = until.saturating_sub(scene.lessees);
                let what =
                    format!("lease {id} is gone {short:?} before what its lessee was promised");
                return Err(Broken::new(property, what).about(id));
            }
            judged.add_one(property);
        }
        Ok(())
    }

    /// Judges a checkpoint that leaves `left`, all that the lease would have if its primary failed now.
    fn judge_checkpoint(
        &self,
        scene: &Scene<'_>,
        id: LeaseId,
        left: Option<Ttl>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let (Some(until), Some(left)) = (self.until.get(&id), left) else { return Ok(()) };
        if !scene.clocks_hold {
            return Ok(());
        }
        let end = scene.lessees + certain(left.as_duration(), scene.bound_ppm) + ROUNDING;
        if *until > end {
            let short = until.saturating_sub(end);
            let what = format!(
                "lease {id} has {left} left by its checkpoint, {short:?} less than its lessee was promised"
            );
            return Err(Broken::new(Property::S1c, what).about(id));
        }
        judged.hold(&[Property::S1c])
    }
}

/// A checkpoint is in whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

/// The part of a ttl that a lessee can count on, whatever two clocks within the bound do.
pub(super) fn certain(ttl: Duration, bound_ppm: u32) -> Duration {
    let (less, more) = (1_000_000 - u128::from(bound_ppm), 1_000_000 + u128::from(bound_ppm));
    let nanos = ttl.as_nanos().saturating_mul(less) / more;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use lessor::{RequestError, Response};

    use super::super::harness::{
        History, Judged, checkpointed, granted, lease, renew, renewed, revoked,
    };
    use super::*;

    fn answered<'a>(
        request: &'a Request,
        sent: Duration,
        answer: &'a Result<Response, RequestError>,
    ) -> Fact<'a> {
        Fact::Answered { request, began: sent, sent, answer }
    }

    fn promised_until_15_s() -> History<APromiseIsKept> {
        let mut history = History::<APromiseIsKept>::default();
        history.log(1, granted(7, 10_000));
        history.at(5_100);
        let (request, answer) = (renew(7), Ok(renewed(10_000)));
        let sent = Duration::from_secs(5);
        history.holds(answered(&request, sent, &answer));
        history
    }

    #[test]
    fn canary_a_lease_that_ends_before_its_promise_is_found() {
        let mut history = promised_until_15_s();
        history.at(14_999);
        assert_eq!(history.try_log(2, revoked(7)).map_err(|b| b.property), Err(Property::S2));
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
            let mut history = History::<APromiseIsKept>::default();
            history.bound_ppm = bound_ppm;
            history.log(1, granted(7, 10_000));
            let (request, answer) = (renew(7), Ok(renewed(11_000)));
            let sent = Duration::ZERO;
            // Told of another lease's ttl: no promise.
            history.holds(answered(&request, sent, &answer));
            let answer = Ok(renewed(10_000));
            history.holds(answered(&request, sent, &answer));
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
    fn canary_what_is_promised_after_the_faults_is_kept_whatever_clocks_did_before() {
        for (healed, property) in [(5_001, None), (5_000, Some(Property::L2))] {
            let mut history = History::<APromiseIsKept>::default();
            history.clocks_hold = false;
            history.healed = Some(Duration::from_millis(healed));
            history.log(1, granted(7, 10_000));
            let (request, answer) = (renew(7), Ok(renewed(10_000)));
            let sent = Duration::from_secs(5);
            history.holds(answered(&request, sent, &answer));
            history.at(14_999);
            let gone = history.try_log(2, revoked(7));
            assert_eq!(gone.err().map(|broken| broken.property), property);
        }
    }

    #[test]
    fn canary_a_checkpoint_that_leaves_less_than_was_promised_is_found() {
        // Promised until 15 s.
        let mut history = promised_until_15_s();
        history.at(7_000);
        assert_eq!(history.try_log(2, checkpointed(7, 8_000)), Ok(Judged::Holds));
        let short = history.try_log(3, checkpointed(7, 7_998));
        assert_eq!(short.map_err(|broken| broken.property), Err(Property::S1c));
    }

    #[test]
    fn canary_a_renew_that_leaves_a_checkpoint_behind_is_found() {
        let mut history = History::<APromiseIsKept>::default();
        history.log(1, granted(7, 10_000));
        history.log(2, checkpointed(7, 5_000));
        let (request, answer) = (renew(7), Ok(renewed(10_000)));
        let sent = Duration::ZERO;
        let told = answered(&request, sent, &answer);
        assert_eq!(history.see(told).map_err(|broken| broken.property), Err(Property::S1c));
    }

    #[test]
    fn a_lessee_may_end_it_at_any_time() {
        let mut history = promised_until_15_s();
        let request = Request::Revoke { id: lease(7) };
        history.holds(Fact::Asked { request: &request });
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_lease_that_was_granted_anew_is_kept_like_any_other() {
        let mut history = promised_until_15_s();
        let request = Request::Revoke { id: lease(7) };
        history.holds(Fact::Asked { request: &request });
        history.log(2, revoked(7));
        history.holds(answered(&request, Duration::ZERO, &Ok(Response::Done)));
        history.log(3, granted(7, 60_000));
        let (request, sent) = (renew(7), Duration::from_secs(6));
        let answer = Ok(renewed(60_000));
        history.holds(answered(&request, sent, &answer));
        history.at(30_000);
        assert_eq!(history.try_log(4, revoked(7)).map_err(|b| b.property), Err(Property::S2));
    }

    #[test]
    fn canary_a_stale_primary_that_renews_what_is_gone_is_found() {
        let mut history = History::<APromiseIsKept>::default();
        history.log(1, granted(7, 10_000));
        history.at(12_000);
        history.log(2, revoked(7));
        let (request, answer) = (renew(7), Ok(renewed(10_000)));
        let sent = Duration::from_secs(11);
        let told = answered(&request, sent, &answer);
        assert_eq!(history.see(told).map_err(|b| b.property), Err(Property::S2));
    }
}
