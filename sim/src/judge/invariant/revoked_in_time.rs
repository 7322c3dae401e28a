//! L1, revoked in time: under a primary that stays, every lease that nobody renews is gone from
//! every connected member within its deadline plus the time that retries, the rate and one commit
//! may take. It is judged at the end, and once faults are over for each revoke, which then needs no
//! retry.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Command, Config, Instant, LeaseId, MemberId};

use super::{Broken, End, Fact, Invariant, Judgements, Property, Scene, left, promised};

/// When each lease of each reign expires at the latest, on the clock of its primary.
#[derive(Debug, Default)]
pub(super) struct RevokedInTime {
    reigns: BTreeMap<MemberId, BTreeMap<LeaseId, Instant>>,
    /// The leases that each member holds, as of its last fact.
    held: BTreeMap<MemberId, BTreeMap<LeaseId, ()>>,
    most_leases: usize,
    /// Since when each primary is in a world without faults, on its clock.
    calm: BTreeMap<MemberId, Instant>,
    /// The latest revoke of a lease that was due since then, and how late it was.
    latest: Option<(Duration, LeaseId)>,
}

impl Invariant for RevokedInTime {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let state = scene.state;
        if scene.healed.is_some() && self.reigns.contains_key(&scene.member) {
            self.calm.entry(scene.member).or_insert(scene.latest);
        }
        match fact {
            Fact::Promoted { again, .. } => {
                let count = state.leases.len();
                let base = scene.latest + scene.config.extend;
                let spread = smoothing(scene.config, count);
                let reign = self.reigns.entry(scene.member).or_default();
                if !again {
                    reign.clear();
                }
                for (id, lease) in &state.leases {
                    let deadline = reign.entry(*id).or_default();
                    *deadline = (base + left(lease)).max(*deadline) + spread;
                }
            }
            Fact::Demoted => {
                self.reigns.remove(&scene.member);
                self.calm.remove(&scene.member);
            }
            Fact::Opened { stored, .. } => {
                let leases = stored.snapshot.leases.iter().map(|record| (record.id, ()));
                self.held.insert(scene.member, leases.collect());
            }
            Fact::Installed => {
                let held = state.leases.keys().map(|id| (*id, ())).collect();
                self.held.insert(scene.member, held);
                self.most_leases = self.most_leases.max(state.leases.len());
            }
            Fact::Applied { entry, applied } => {
                if let Some((id, _)) = &applied.revoked {
                    self.note(scene, *id);
                }
                let held = self.held.entry(scene.member).or_default();
                if let Some((id, _)) = &applied.revoked {
                    held.remove(id);
                }
                if let Some(proposal) = &entry.proposal
                    && let Command::Grant { id, ttl } = proposal.command
                    && applied.leases.contains(&id)
                {
                    held.insert(id, ());
                    if let Some(reign) = self.reigns.get_mut(&scene.member) {
                        reign.insert(id, scene.latest.saturating_add(ttl.as_duration()));
                    }
                }
                self.most_leases = self.most_leases.max(held.len());
            }
            Fact::Served { request, response, .. } => {
                if let Some((id, ttl)) = promised(scene.state, request, response)
                    && let Some(reign) = self.reigns.get_mut(&scene.member)
                    && let Some(deadline) = reign.get_mut(&id)
                {
                    *deadline = scene.latest.saturating_add(ttl.as_duration()).max(*deadline);
                }
            }
            Fact::Ended { end } => return self.judge(scene, end, judged),
            _ => {}
        }
        Ok(())
    }
}

impl RevokedInTime {
    /// A lease was revoked: notes how late that is, if it was due in a world without faults.
    fn note(&mut self, scene: &Scene<'_>, id: LeaseId) {
        let deadline = self.reigns.get(&scene.member).and_then(|reign| reign.get(&id));
        if let (Some(deadline), Some(calm)) = (deadline, self.calm.get(&scene.member))
            && deadline > calm
            && scene.clocks_steady
        {
            let late = scene.latest.saturating_since(*deadline);
            self.latest = self.latest.max(Some((late, id)));
        }
    }

    fn judge(&self, scene: &Scene<'_>, end: &End, judged: &mut Judgements) -> Result<(), Broken> {
        let Some(reign) = end.primary.and_then(|primary| self.reigns.get(&primary)) else {
            return Ok(());
        };
        let slack = slack(scene.config, self.most_leases, end);
        if let Some((late, id)) = self.latest {
            judged.add_one(Property::L1);
            if late > slack - scene.config.retry_interval * (end.losses + 1) {
                let what =
                    format!("lease {id} was revoked {late:?} after its end, without a fault");
                return Err(Broken::new(Property::L1, what).about(id));
            }
        }
        for member in &end.connected {
            for id in self.held.get(member).into_iter().flat_map(BTreeMap::keys) {
                // A lease that the primary does not have was revoked, and the entry is on its way.
                let deadline = reign.get(id).copied().unwrap_or_default();
                let calm = scene.now >= end.stable_since.saturating_add(slack);
                if calm && end.clock >= deadline.saturating_add(slack) {
                    let late = end.clock.saturating_since(deadline);
                    let what =
                        format!("member {member} still has lease {id}, {late:?} after its end");
                    return Err(Broken::new(Property::L1, what).about(*id).of(*member));
                }
            }
            judged.add_one(Property::L1);
        }
        Ok(())
    }
}

/// The longest delay that smoothing gives to one of `count` leases.
pub(super) fn smoothing(config: &Config, count: usize) -> Duration {
    let rate = config.revoke_rate.get();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if count < rate {
        return Duration::ZERO;
    }
    Duration::from_secs((count.saturating_sub(1) / (3 * rate / 4).max(1)).into())
}

/// How long after a deadline the last member may apply the revoke.
pub(super) fn slack(config: &Config, leases: usize, end: &End) -> Duration {
    let a_second = match config.revoke_rate.get() {
        1 => 1,
        rate => 2 * (rate / 2),
    };
    let backlog = u32::try_from(leases).unwrap_or(u32::MAX).div_ceil(a_second);
    let tick = Duration::from_secs(1);
    config.retry_interval * (end.losses + 1)
        + Duration::from_secs(backlog.into())
        + tick
        + end.latency
}

#[cfg(test)]
mod tests {
    use super::super::harness::{History, Judged, granted, promoted, revoked};
    use super::*;

    fn ended(history: &mut History<RevokedInTime>, at: u64) -> Result<Judged, Broken> {
        history.at(at);
        let end = End {
            primary: Some(MemberId(1)),
            connected: vec![MemberId(1), MemberId(2)],
            clock: Instant::from_millis(at),
            latency: Duration::from_secs(1),
            ..End::default()
        };
        history.see(Fact::Ended { end: &end })
    }

    fn granted_on_both() -> History<RevokedInTime> {
        let mut history = History::<RevokedInTime>::default();
        history.on(1);
        history.holds(promoted());
        history.log(1, granted(7, 10_000));
        history.on(2);
        history.log(1, granted(7, 10_000));
        history
    }

    #[test]
    fn canary_a_lease_that_is_never_revoked_is_found() {
        // Ten seconds, one retry of three, one second for the backlog, one for the tick, one to commit.
        assert_eq!(ended(&mut granted_on_both(), 15_999), Ok(Judged::Holds));
        assert_eq!(
            ended(&mut granted_on_both(), 16_000).map_err(|b| b.property),
            Err(Property::L1)
        );
    }

    #[test]
    fn canary_a_revoke_that_came_only_with_a_retry_though_nothing_failed_is_found() {
        // One second for the backlog, one for the tick, one to commit; a retry takes three.
        for (at, verdict) in [(13_000, Ok(Judged::Holds)), (13_001, Err(Property::L1))] {
            let mut history = granted_on_both();
            history.healed = Some(Duration::ZERO);
            history.on(1);
            history.holds(Fact::Timer { idle: false });
            for member in [1, 2] {
                history.on(member);
                history.at(at);
                history.log(2, revoked(7));
            }
            assert_eq!(ended(&mut history, 60_000).map_err(|b| b.property), verdict, "at {at}");
        }
    }

    #[test]
    fn canary_a_revoke_that_reaches_only_the_primary_is_found() {
        let mut history = granted_on_both();
        history.on(1);
        history.log(2, revoked(7));
        assert_eq!(ended(&mut history, 60_000).map_err(|b| b.property), Err(Property::L1));
        history.on(2);
        history.log(2, revoked(7));
        assert_eq!(ended(&mut history, 60_000), Ok(Judged::Holds));
    }
}
