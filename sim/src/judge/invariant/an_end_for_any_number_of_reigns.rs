//! L5, an end for any number of reigns: a lease that nobody renews is revoked before it was led for
//! longer than `ttl + n * (extend + interval + slack)`, for `n` reigns and checkpoints at that
//! interval. A new leader adds the extension and the time since the last checkpoint, and never the
//! whole ttl once more.
//!
//! Time counts between two entries of one term that are at most a second apart: then its leader was
//! there and could commit. It does not count while a leader may keep expired batches because an
//! observer has no room for one. Needs that no clock steps, and that the log loses no proposal on
//! purpose. Broken by etcd #9888, #13294, #13491, #17132 and #20273.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Command, LeaseId, MemberId, Request, Response, Term, Ttl};

use super::a_promise_is_kept::certain;
use super::revoked_in_time::{slack, smoothing};
use super::{Broken, End, Fact, Invariant, Judgements, Property, Scene};

/// The time in which the group was led, and what it was when each lease last got its ttl.
#[derive(Debug, Default)]
pub(super) struct AnEndForAnyNumberOfReigns {
    last: Option<(Term, Duration)>,
    total: Led,
    since: BTreeMap<LeaseId, (Ttl, Led)>,
    /// Until when each member may keep expired batches for an observer.
    held: BTreeMap<MemberId, Duration>,
    most_leases: usize,
    /// The first lease that outlived its bound; it counts unless proposals were lost.
    outlived: Option<(LeaseId, String)>,
    judged: u64,
}

/// For how long, and by how many leaders or extensions.
#[derive(Clone, Copy, Debug, Default)]
struct Led {
    time: Duration,
    reigns: u32,
}

impl Invariant for AnEndForAnyNumberOfReigns {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Promoted { .. } => self.total.reigns += 1,
            Fact::Held { hold: true } => {
                let until = scene.now.saturating_add(scene.config.subscriber_patience);
                self.held.entry(scene.member).or_insert(until);
            }
            Fact::Held { hold: false } | Fact::Demoted | Fact::Opened { .. } => {
                self.held.remove(&scene.member);
            }
            Fact::Served { request: Request::Renew { id }, response, .. } => {
                if let (Response::Renewed { ttl }, true) = (response, self.since.contains_key(id)) {
                    self.since.insert(*id, (*ttl, self.total));
                }
            }
            Fact::Agreed { entry, applied } => {
                let gap = match self.last.replace((entry.term, scene.now)) {
                    Some((term, at)) if term == entry.term => scene.now.saturating_sub(at),
                    Some(_) | None => Duration::ZERO,
                };
                let held = self.held.values().any(|until| scene.now <= *until);
                if gap <= Duration::from_secs(1) && !held {
                    self.total.time += gap;
                }
                if let Some((id, _)) = &applied.revoked {
                    self.judge(scene, *id);
                    self.since.remove(id);
                }
                if let Some(proposal) = &entry.proposal
                    && let Command::Grant { id, ttl } = proposal.command
                    && applied.leases.contains(&id)
                {
                    self.since.insert(id, (ttl, self.total));
                    self.most_leases = self.most_leases.max(scene.state.leases.len());
                }
            }
            Fact::Ended { end } => return self.end(scene, end, judged),
            _ => {}
        }
        Ok(())
    }
}

impl AnEndForAnyNumberOfReigns {
    fn judge(&mut self, scene: &Scene<'_>, id: LeaseId) {
        let Some((ttl, since)) = self.since.get(&id) else { return };
        let reigns = self.total.reigns - since.reigns + 1;
        let config = scene.config;
        let slack = smoothing(config, self.most_leases)
            + slack(config, self.most_leases, &End::default())
            + LATENCY;
        let a_reign = config.checkpoint_interval.saturating_add(config.extend + slack);
        let most = ttl.as_duration().saturating_add(a_reign.saturating_mul(reigns));
        let led = certain(self.total.time.saturating_sub(since.time), scene.bound_ppm);
        self.judged += u64::from(reigns > 1);
        if scene.clocks_steady && led > most && self.outlived.is_none() {
            let what = format!(
                "lease {id} of {ttl} was led for {led:?} by {reigns} leaders since it was renewed, and \
                 may be for {most:?}"
            );
            self.outlived = Some((id, what));
        }
    }

    fn end(&mut self, scene: &Scene<'_>, end: &End, judged: &mut Judgements) -> Result<(), Broken> {
        for id in scene.state.leases.keys() {
            self.judge(scene, *id);
        }
        if end.losses > 0 || !scene.clocks_steady {
            return Ok(());
        }
        match self.outlived.take() {
            Some((id, what)) => Err(Broken::new(Property::L5, what).about(id)),
            None if self.judged > 0 => judged.hold(&[Property::L5]),
            None => Ok(()),
        }
    }
}

/// What a commit and a slow disk may take.
const LATENCY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::harness::{History, Judged, entry, granted, promoted};
    use super::*;
    use crate::model::Applied;

    /// A lease of ten minutes whose leader changes every five.
    fn led_for(minutes: u64, losses: u32) -> Result<Judged, Property> {
        let mut history = History::<AnEndForAnyNumberOfReigns>::default();
        history.config.checkpoint_interval = Duration::from_secs(20);
        history.holds(promoted());
        history.log(1, granted(7, 600_000));
        for second in 1..=minutes * 60 {
            history.at(second * 1_000);
            if second.is_multiple_of(300) {
                history.holds(promoted());
            }
            let mut entry = entry(second + 1, granted(7, 600_000));
            entry.term = Term(1 + second / 300);
            history.holds(Fact::Agreed { entry: &entry, applied: &Applied::default() });
        }
        let end = End { losses, ..End::default() };
        history.see(Fact::Ended { end: &end }).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_an_observer_is_waited_for_no_longer_than_its_patience() {
        for (patience, verdict) in [(12, Ok(Judged::NotConcerned)), (2, Err(Property::L5))] {
            let mut history = History::<AnEndForAnyNumberOfReigns>::default();
            history.config.subscriber_patience = Duration::from_secs(patience * 60);
            history.config.checkpoint_interval = Duration::from_secs(20);
            history.holds(promoted());
            history.log(1, granted(7, 60_000));
            history.holds(Fact::Held { hold: true });
            for second in 1..=5 * 60 {
                history.at(second * 1_000);
                let entry = entry(second + 1, granted(8, 60_000));
                history.holds(Fact::Agreed { entry: &entry, applied: &Applied::default() });
            }
            let ended = history.see(Fact::Ended { end: &End::default() });
            assert_eq!(ended.map_err(|broken| broken.property), verdict, "{patience} minutes");
        }
    }

    #[test]
    fn canary_a_lease_that_gets_its_ttl_from_each_leader_is_found() {
        assert_eq!(led_for(11, 0), Ok(Judged::Holds));
        assert_eq!(led_for(20, 0), Err(Property::L5));
        assert_eq!(led_for(20, 1), Ok(Judged::NotConcerned));
    }
}
