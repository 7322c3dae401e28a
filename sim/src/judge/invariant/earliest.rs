//! The earliest moment at which each lease may expire, on the clock of each primary; S1 and S1d
//! measure by it. It follows from promotions, grants and renews alone; smoothing may only add to
//! it.

use std::collections::BTreeMap;

use lessor::{Command, Instant, LeaseId, MemberId};

use super::{Fact, Scene, left, promised};

/// The reign of each member that is promoted: no lease expires before the moment noted here.
#[derive(Debug, Default)]
pub(super) struct Earliest {
    reigns: BTreeMap<MemberId, BTreeMap<LeaseId, Instant>>,
}

impl Earliest {
    /// Takes note of a fact.
    pub(super) fn note(&mut self, scene: &Scene<'_>, fact: &Fact<'_>) {
        match fact {
            Fact::Promoted { again: false, .. } => {
                let base = scene.clock.saturating_add(scene.config.extend);
                let leases = scene.state.leases.iter();
                let reign = leases.map(|(id, lease)| (*id, base.saturating_add(left(lease))));
                self.reigns.insert(scene.member, reign.collect());
            }
            Fact::Promoted { again: true, .. } => {
                let base = scene.clock.saturating_add(scene.config.extend);
                for (id, bound) in self.reigns.entry(scene.member).or_default() {
                    // A lease whose bound has passed may have expired, and stays expired.
                    if let Some(lease) = scene.state.leases.get(id)
                        && *bound > scene.clock
                    {
                        *bound = (*bound).max(base.saturating_add(left(lease)));
                    }
                }
            }
            Fact::Demoted => {
                self.reigns.remove(&scene.member);
            }
            Fact::Applied { entry, applied } => {
                let Some(reign) = self.reigns.get_mut(&scene.member) else { return };
                if let Some((id, _)) = &applied.revoked {
                    reign.remove(id);
                }
                if let Some(proposal) = &entry.proposal
                    && let Command::Grant { id, ttl } = proposal.command
                    && applied.leases.contains(&id)
                {
                    reign.insert(id, scene.clock.saturating_add(ttl.as_duration()));
                }
            }
            Fact::Served { request, asked, response, .. } => {
                if let Some((id, ttl)) = promised(scene.state, request, response)
                    && let Some(reign) = self.reigns.get_mut(&scene.member)
                    && let Some(bound) = reign.get_mut(&id)
                {
                    *bound = (*bound).max(asked.saturating_add(ttl.as_duration()));
                }
            }
            _ => {}
        }
    }

    /// Whether a member is promoted.
    pub(super) fn reigns(&self, member: MemberId) -> bool {
        self.reigns.contains_key(&member)
    }

    /// The moment before which a member that is promoted may not let a lease expire.
    pub(super) fn of(&self, member: MemberId, id: LeaseId) -> Option<Instant> {
        self.reigns.get(&member)?.get(&id).copied()
    }
}
