//! What keeps a lease that is due from leaving: a renew that is not decided, or a subscriber that takes
//! nothing. L4, L4a and L8 wait for both.

use std::collections::BTreeMap;

use lessor::{Instant, LeaseId, MemberId, Request, Ticket};

use super::{Fact, Scene};

/// Renews that are not decided: they hold off the end of their lease, and may give it a later one.
#[derive(Debug, Default)]
pub(super) struct Renewing(BTreeMap<(MemberId, Ticket), LeaseId>);

impl Renewing {
    /// Takes note of a fact. Of a renew that is decided, or given up, it gives the lease.
    pub(super) fn note(&mut self, scene: &Scene<'_>, fact: &Fact<'_>) -> Option<LeaseId> {
        match fact {
            Fact::Came { ticket, request: Request::Renew { id } } => {
                self.0.insert((scene.member, *ticket), *id);
                None
            }
            Fact::Decided { ticket, .. } | Fact::Forgot { ticket } => {
                self.0.remove(&(scene.member, *ticket))
            }
            Fact::Demoted | Fact::Opened { .. } => {
                self.0.retain(|(member, _), _| *member != scene.member);
                None
            }
            _ => None,
        }
    }

    /// Whether a member has a renew of a lease to decide.
    pub(super) fn has(&self, member: MemberId, lease: LeaseId) -> bool {
        self.0.iter().any(|((of, _), id)| (*of, *id) == (member, lease))
    }
}

/// Since when expired batches of each member have to wait for a subscriber; also those of its next reign.
#[derive(Debug, Default)]
pub(super) struct HeldBack(BTreeMap<MemberId, Instant>);

impl HeldBack {
    /// Takes note of a fact.
    pub(super) fn note(&mut self, scene: &Scene<'_>, fact: &Fact<'_>) {
        match fact {
            Fact::Held { hold: true } => {
                self.0.entry(scene.member).or_insert(scene.latest);
            }
            Fact::Held { hold: false } | Fact::Opened { .. } => {
                self.0.remove(&scene.member);
            }
            _ => {}
        }
    }

    /// Whether batches may still wait at this moment of the member's clock.
    pub(super) fn may_wait(&self, scene: &Scene<'_>, at: Instant) -> bool {
        let patience = scene.config.subscriber_patience;
        self.0.get(&scene.member).is_some_and(|since| at <= since.saturating_add(patience))
    }
}
