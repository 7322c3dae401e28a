//! S9e, a place that is free is given: while a member works on fewer requests than its queue has
//! places, it takes a request that was sent to it at once. A renew that waits for the revoke of its
//! lease takes no place, nor does a request that nobody waits for any more.
//!
//! Needs nothing. While a process stands still it takes nothing. Broken by late renews that kept
//! their places, so that nobody else was served until all their leases were revoked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lessor::{MemberId, Request, Ticket};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};
use crate::model::text;

/// What each member works on, and what waits outside.
#[derive(Debug, Default)]
pub(super) struct APlaceThatIsFreeIsGiven {
    members: BTreeMap<MemberId, Door>,
}

#[derive(Debug, Default)]
struct Door {
    inside: BTreeSet<Ticket>,
    /// Requests that were sent and have not come in, and since when there has been a place for each.
    outside: VecDeque<(Request, Duration)>,
}

impl Invariant for APlaceThatIsFreeIsGiven {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let door = self.members.entry(scene.member).or_default();
        match fact {
            Fact::Sent { request } => door.outside.push_back(((*request).clone(), scene.now)),
            Fact::Left { request } => door.leaves(request),
            Fact::Came { ticket, request } => {
                door.leaves(request);
                door.inside.insert(*ticket);
                return judged.hold(&[Property::S9e]);
            }
            Fact::Waits { ticket } | Fact::Forgot { ticket } | Fact::Told { ticket, .. } => {
                let full = door.is_full(scene);
                door.inside.remove(ticket);
                if full {
                    door.wait_from(scene.now);
                }
            }
            Fact::Resumed => door.wait_from(scene.now),
            Fact::Opened { .. } | Fact::Replaced => *door = Door::default(),
            Fact::Stands { .. } if !door.is_full(scene) => {
                if let Some((request, since)) = door.outside.front()
                    && scene.now.saturating_sub(*since) > A_MOMENT
                {
                    let waits = scene.now.saturating_sub(*since);
                    let what = format!(
                        "{request} has waited {waits:?} for a place, while {} are worked on",
                        door.inside.len()
                    );
                    let lease = text::leases_of_request(request).first().copied();
                    return Err(Broken::new(Property::S9e, what).about(lease));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Door {
    fn is_full(&self, scene: &Scene<'_>) -> bool {
        self.inside.len() >= usize::try_from(scene.config.queue.get()).unwrap_or(usize::MAX)
    }

    /// One such request no longer waits outside.
    fn leaves(&mut self, request: &Request) {
        if let Some(position) = self.outside.iter().position(|(other, _)| other == request) {
            self.outside.remove(position);
        }
    }

    /// Before this moment nobody could have been taken.
    fn wait_from(&mut self, now: Duration) {
        for (_, since) in &mut self.outside {
            *since = now.max(*since);
        }
    }
}

/// What a few turns of the driver may take.
const A_MOMENT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use lessor::{Digest, LogIndex};

    use super::super::harness::{History, renew};
    use super::*;

    /// A queue of one place, which a renew has, and another renew that is sent at 1 s.
    fn crowded() -> History<APlaceThatIsFreeIsGiven> {
        let mut history = History::<APlaceThatIsFreeIsGiven>::default();
        history.config.queue = NonZeroU32::MIN;
        history.holds(Fact::Came { ticket: Ticket(1), request: &renew(7) });
        history.at(1_000);
        history.holds(Fact::Sent { request: &renew(8) });
        history
    }

    fn verdict_at(history: &mut History<APlaceThatIsFreeIsGiven>, at: u64) -> Option<Property> {
        history.at(at);
        let stands = Fact::Stands { applied: LogIndex(0), digest: Digest::default() };
        history.see(stands).err().map(|broken| broken.property)
    }

    #[test]
    fn a_queue_that_is_full_takes_nobody() {
        assert_eq!(verdict_at(&mut crowded(), 60_000), None);
    }

    #[test]
    fn canary_a_renew_that_waits_for_its_revoke_and_keeps_its_place_is_found() {
        let mut history = crowded();
        history.at(2_000);
        history.holds(Fact::Waits { ticket: Ticket(1) });
        assert_eq!(verdict_at(&mut history, 2_100), None);
        assert_eq!(verdict_at(&mut history, 2_101), Some(Property::S9e));
        history.holds(Fact::Came { ticket: Ticket(2), request: &renew(8) });
        assert_eq!(verdict_at(&mut history, 60_000), None);
    }

    #[test]
    fn canary_a_request_that_nobody_waits_for_and_keeps_its_place_is_found() {
        let mut history = crowded();
        history.holds(Fact::Forgot { ticket: Ticket(1) });
        assert_eq!(verdict_at(&mut history, 1_101), Some(Property::S9e));
    }

    #[test]
    fn one_that_is_given_up_outside_waits_no_longer() {
        let mut history = crowded();
        history.holds(Fact::Left { request: &renew(8) });
        history.holds(Fact::Waits { ticket: Ticket(1) });
        assert_eq!(verdict_at(&mut history, 60_000), None);
    }
}
