//! L4a, what is due leaves: when the timer of a primary has come, no lease stays that is due. Nor
//! does a due lease stay from one input to a later one, for then the timer has not come between the
//! two.
//!
//! It speaks of leases that were granted in this reign and that nobody has asked to renew, whose
//! end is known from the grant; of members whose leases fit in one batch, of which none left within
//! the last second, so that the rate lets all leave; and not while an observer has no room, for as
//! long as the member waits for it. Bug 28 of the bank breaks it: a batch that finds no room is
//! dropped, and its leases wait for the retry.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Command, Instant, LeaseId, MemberId, Request};

use super::waiting::{HeldBack, Renewing};
use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The reign of each member.
#[derive(Debug, Default)]
pub(super) struct WhatIsDueLeaves {
    reigns: BTreeMap<MemberId, Reign>,
    renewing: Renewing,
    held: HeldBack,
}

#[derive(Debug, Default)]
struct Reign {
    /// When each lease is due that was granted, not asked for since, and has not left.
    due: BTreeMap<LeaseId, Instant>,
    /// When leases last left, or were more than fit in a batch.
    busy: Instant,
    /// When it first stood with a lease that was due, and its timer has not come since; in true time, for
    /// a request is handled with the moment at which it was asked.
    overdue: Option<Duration>,
    /// Whether it stands at an index of the log, and is not in the middle of a command.
    stands: bool,
}

impl Invariant for WhatIsDueLeaves {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let member = scene.member;
        self.held.note(scene, fact);
        let decided = self.renewing.note(scene, fact);
        match fact {
            Fact::Promoted { .. } => {
                // All that it holds is extended.
                self.reigns.insert(member, Reign { busy: scene.latest, ..Reign::default() });
            }
            Fact::Demoted | Fact::Opened { .. } => {
                self.reigns.remove(&member);
            }
            _ => {}
        }
        let Some(reign) = self.reigns.get_mut(&member) else { return Ok(()) };
        if let Some(id) = decided {
            reign.due.remove(&id);
        }
        match fact {
            Fact::Applied { entry, applied } => {
                reign.stands = false;
                let command = entry.proposal.as_ref().map(|proposal| &proposal.command);
                if let Some(Command::Grant { id, ttl }) = command
                    && applied.leases.contains(id)
                {
                    reign.due.insert(*id, scene.latest.saturating_add(ttl.as_duration()));
                }
                if let Some((id, _)) = &applied.revoked {
                    reign.due.remove(id);
                }
            }
            Fact::Came { request: Request::Renew { id }, .. } => {
                reign.due.remove(id);
            }
            Fact::Expired { batch } => {
                reign.due.retain(|id, _| !batch.leases.contains(id));
                reign.busy = scene.latest;
            }
            Fact::Resumed => reign.overdue = None,
            Fact::Stands { .. } => {
                reign.stands = true;
                if self.may_let_go(scene)
                    && let Some((id, due)) = self.first_due(scene)
                {
                    let since = *self.reign(scene).overdue.get_or_insert(scene.now);
                    if scene.now > since + A_MOMENT {
                        return Err(stays(scene, id, due));
                    }
                }
            }
            Fact::Timer { .. } if std::mem::take(&mut reign.stands) => {
                reign.overdue = None;
                if self.may_let_go(scene) {
                    return match self.first_due(scene) {
                        Some((id, due)) => Err(stays(scene, id, due)),
                        None => judged.hold(&[Property::L4a]),
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl WhatIsDueLeaves {
    fn reign(&mut self, scene: &Scene<'_>) -> &mut Reign {
        self.reigns.entry(scene.member).or_default()
    }

    /// Whether nothing hinders a member from letting go of all that is due.
    fn may_let_go(&mut self, scene: &Scene<'_>) -> bool {
        let waits = self.held.may_wait(scene, scene.latest);
        let in_a_batch = scene.config.revoke_rate.get().div_ceil(2) as usize;
        let reign = self.reign(scene);
        if scene.state.leases.len() > in_a_batch {
            reign.busy = scene.latest;
        }
        !waits && scene.latest > reign.busy.saturating_add(A_SECOND)
    }

    /// A lease that was due a moment ago, and that nobody renews.
    fn first_due(&self, scene: &Scene<'_>) -> Option<(LeaseId, Instant)> {
        let mut due = self.reigns.get(&scene.member)?.due.iter();
        let is_due = |due: &Instant| due.saturating_add(A_MOMENT) <= scene.latest;
        let stays = due.find(|(id, due)| is_due(due) && !self.renewing.has(scene.member, **id));
        stays.map(|(id, due)| (*id, *due))
    }
}

fn stays(scene: &Scene<'_>, id: LeaseId, due: Instant) -> Broken {
    let late = scene.latest.saturating_since(due);
    let what = format!("lease {id} was due {late:?} ago, and does not leave");
    Broken::new(Property::L4a, what).about(id)
}

/// A host sets its timer again within this time after each input, and is this exact.
const A_MOMENT: Duration = Duration::from_millis(10);
/// What the rate of expiry is counted over.
const A_SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use lessor::{Digest, LogIndex, RequestError, Ticket};

    use super::super::harness::{
        History, Judged, batch, granted, millis, promoted, renew, renewed as renewed_for,
    };
    use super::*;

    /// A primary since 1 s, with a lease that is due at 10 s.
    fn primary() -> History<WhatIsDueLeaves> {
        let mut history = History::<WhatIsDueLeaves>::default();
        at(&mut history, 1_000);
        history.holds(promoted());
        history.log(1, granted(7, 9_000));
        history
    }

    fn at(history: &mut History<WhatIsDueLeaves>, moment: u64) {
        history.at(moment);
        history.latest = millis(moment);
    }

    fn stands() -> Fact<'static> {
        Fact::Stands { applied: LogIndex(1), digest: Digest::default() }
    }

    fn timer(history: &mut History<WhatIsDueLeaves>, moment: u64) -> Result<Judged, Property> {
        at(history, moment);
        history.see(stands()).map_err(|broken| broken.property)?;
        history.see(Fact::Timer { idle: false }).map_err(|broken| broken.property)
    }

    #[test]
    fn canary_a_lease_that_stays_when_the_timer_has_come_is_found() {
        assert_eq!(timer(&mut primary(), 9_999), Ok(Judged::Holds));
        assert_eq!(timer(&mut primary(), 10_009), Ok(Judged::Holds));
        assert_eq!(timer(&mut primary(), 10_010), Err(Property::L4a));
    }

    #[test]
    fn canary_a_lease_that_stays_when_an_observer_takes_again_is_found() {
        let mut history = primary();
        at(&mut history, 9_000);
        history.holds(Fact::Held { hold: true });
        assert_eq!(timer(&mut history, 12_000), Ok(Judged::NotConcerned));
        // Its timer has to come before the next input.
        history.holds(Fact::Held { hold: false });
        history.holds(stands());
        at(&mut history, 12_010);
        history.holds(stands());
        at(&mut history, 12_011);
        assert_eq!(history.see(stands()).map_err(|broken| broken.property), Err(Property::L4a));
        // Nobody waits for it longer than the patience, of ten seconds.
        let mut patient = primary();
        at(&mut patient, 9_000);
        patient.holds(Fact::Held { hold: true });
        assert_eq!(timer(&mut patient, 19_000), Ok(Judged::NotConcerned));
        assert_eq!(timer(&mut patient, 19_001), Err(Property::L4a));
    }

    #[test]
    fn canary_a_renew_that_was_refused_before_the_reign_holds_up_nothing() {
        let mut history = History::<WhatIsDueLeaves>::default();
        history.holds(Fact::Came { ticket: Ticket(1), request: &renew(7) });
        let refused = &Err(RequestError::NotPrimary { leader: None });
        history.holds(Fact::Decided { ticket: Ticket(1), answer: refused });
        at(&mut history, 1_000);
        history.holds(promoted());
        history.log(1, granted(7, 9_000));
        assert_eq!(timer(&mut history, 10_010), Err(Property::L4a));
    }

    #[test]
    fn a_lease_that_left_or_is_renewed_or_waits_for_the_rate_may_stay() {
        let mut left = primary();
        at(&mut left, 10_000);
        left.holds(Fact::Expired { batch: &batch(&[7]) });
        assert_eq!(timer(&mut left, 12_000), Ok(Judged::Holds));
        let mut renewed = primary();
        renewed.holds(Fact::Came { ticket: Ticket(1), request: &renew(7) });
        assert_eq!(timer(&mut renewed, 12_000), Ok(Judged::Holds));
        // The renew may come before the grant is applied, and be answered after.
        let mut early = primary();
        early.holds(Fact::Came { ticket: Ticket(1), request: &renew(8) });
        early.log(2, granted(8, 5_000));
        assert_eq!(timer(&mut early, 7_000), Ok(Judged::Holds));
        early.holds(Fact::Decided { ticket: Ticket(1), answer: &Ok(renewed_for(5_000)) });
        assert_eq!(timer(&mut early, 8_000), Ok(Judged::Holds));
        let mut others = primary();
        at(&mut others, 9_500);
        others.holds(Fact::Expired { batch: &batch(&[8]) });
        assert_eq!(timer(&mut others, 10_500), Ok(Judged::NotConcerned));
        assert_eq!(timer(&mut others, 10_501), Err(Property::L4a));
        let mut applying = primary();
        at(&mut applying, 12_000);
        let timer_alone = applying.see(Fact::Timer { idle: false });
        assert_eq!(timer_alone.map_err(|broken| broken.property), Ok(Judged::NotConcerned));
    }
}
