//! S18, a guard tells in time: a guard keeps a lease alive. It says that the lease is lost at the
//! latest one ttl after it asked for its last successful renew, on its own clock, and at once when
//! its engine has ended. If it gives up for lack of an answer, that ttl is over; if it says that
//! the lease is gone, it was told so.
//!
//! S18a, what is guarded stays: as long as a guard says nothing, its lease exists while its clock
//! shows less than `s + ttl * (1 - r) / (1 + r)`, where `s` is the time on that clock when it asked
//! for its last successful renew, unless a lessee asked for the revoke of the lease.
//!
//! S18 needs nothing, S18a needs Drift(r) as S2 does. Broken by a guard that noticed the end of its
//! engine after a third of its ttl, and by engines that answered renews late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::driver::CallError;
use lessor::{
    Command, Error, Instant, LeaseId, MemberId, Request, RequestError, Response, Ticket, Ttl,
};

use super::a_promise_is_kept::certain;
use super::{Broken, Fact, GuardNews, Invariant, Judgements, Property, Scene};
use crate::model::clock::Clock;

/// The guards that there are, and which leases somebody asked to revoke.
#[derive(Debug, Default)]
pub(super) struct AGuardTellsInTime {
    guards: BTreeMap<LeaseId, WatchedGuard>,
    /// Whose renew each ticket is.
    renews: BTreeMap<(MemberId, Ticket), LeaseId>,
    revoked_by_lessee: BTreeSet<LeaseId>,
}

#[derive(Debug)]
struct WatchedGuard {
    of: MemberId,
    clock: Clock,
    in_bound: bool,
    lives: bool,
    /// When it last looked at its clock, if it has not asked since.
    looked: Option<Instant>,
    /// The renews that came in, with when they were asked for, and the ttl if they were granted.
    open: BTreeMap<Ticket, (Instant, Option<Ttl>)>,
    /// The last one that succeeded, and when it was told.
    kept: Option<(Instant, Ttl, Duration)>,
    /// Whether it was told that there is no such lease.
    refused: bool,
    /// When its engine ended.
    gone: Option<Duration>,
}

impl Invariant for AGuardTellsInTime {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Guard { lease, news } => return self.hear(scene, *lease, *news, judged),
            Fact::Came { ticket, request: Request::Renew { id } } => {
                if let Some(guard) = self.guards.get_mut(id)
                    && guard.of == scene.member
                    && let Some(asked) = guard.looked.take()
                {
                    guard.open.insert(*ticket, (asked, None));
                    self.renews.insert((scene.member, *ticket), *id);
                }
            }
            Fact::Decided { ticket, answer } => {
                if let Some(id) = self.renews.get(&(scene.member, *ticket))
                    && let Some(guard) = self.guards.get_mut(id)
                {
                    guard.decided(*ticket, answer);
                }
            }
            Fact::Told { ticket, .. } => {
                if let Some(id) = self.renews.remove(&(scene.member, *ticket))
                    && let Some(guard) = self.guards.get_mut(&id)
                    && let Some((asked, Some(ttl))) = guard.open.remove(ticket)
                {
                    guard.kept = Some((asked, ttl, scene.now));
                }
            }
            Fact::Forgot { ticket } => {
                self.renews.remove(&(scene.member, *ticket));
            }
            Fact::Asked { request: Request::Revoke { id } } => {
                self.revoked_by_lessee.insert(*id);
            }
            Fact::Agreed { entry, applied } => {
                if let Some((id, _)) = &applied.revoked {
                    return self.judge_end(scene, *id, judged);
                }
                if let Some(proposal) = &entry.proposal
                    && let Command::Grant { id, .. } = &proposal.command
                    && applied.leases.contains(id)
                {
                    self.revoked_by_lessee.remove(id);
                }
            }
            Fact::Gone => {
                self.renews.retain(|(member, _), _| *member != scene.member);
                for guard in self.guards.values_mut().filter(|guard| guard.of == scene.member) {
                    guard.gone.get_or_insert(scene.now);
                }
            }
            Fact::Opened { .. } | Fact::Ended { .. } => {
                for (id, guard) in self.guards.iter().filter(|(_, guard)| guard.lives) {
                    guard.judge_silence(scene, *id)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl AGuardTellsInTime {
    fn hear(
        &mut self,
        scene: &Scene<'_>,
        id: LeaseId,
        news: GuardNews<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match news {
            GuardNews::Wanted { of, clock, in_bound } => {
                self.guards.insert(id, WatchedGuard::new(of, clock, in_bound));
            }
            GuardNews::Looks => {
                if let Some(guard) = self.guards.get_mut(&id) {
                    guard.looked = Some(guard.clock.read(scene.now));
                }
                if !scene.state.leases.contains_key(&id) {
                    return self.judge_end(scene, id, judged);
                }
                if self.promise(scene, id).is_some_and(|left| !left.is_zero()) {
                    return judged.hold(&[Property::S18a]);
                }
            }
            GuardNews::Lives => {
                if let Some(guard) = self.guards.get_mut(&id) {
                    guard.lives = true;
                }
            }
            GuardNews::Dropped => {
                self.guards.remove(&id);
            }
            GuardNews::Lost { why } => {
                let Some(guard) = self.guards.remove(&id) else { return Ok(()) };
                guard.judge_silence(scene, id)?;
                guard.judge_reason(scene, id, why)?;
                return judged.hold(&[Property::S18]);
            }
        }
        Ok(())
    }

    /// Judges that a lease does not exist any more.
    fn judge_end(
        &self,
        scene: &Scene<'_>,
        id: LeaseId,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let Some(left) = self.promise(scene, id) else { return Ok(()) };
        if !left.is_zero() && !self.revoked_by_lessee.contains(&id) {
            let what =
                format!("lease {id} is gone {left:?} before its guard must count on it no more");
            return Err(Broken::new(Property::S18a, what).about(id));
        }
        judged.hold(&[Property::S18a])
    }

    /// How much longer the guard of a lease can count on it, if it has one on a clock within the bound.
    fn promise(&self, scene: &Scene<'_>, id: LeaseId) -> Option<Duration> {
        let guard = self.guards.get(&id).filter(|guard| guard.in_bound && guard.lives)?;
        let (asked, ttl, _) = guard.kept.filter(|_| scene.clocks_hold)?;
        let until = asked.saturating_add(certain(ttl.as_duration(), scene.bound_ppm));
        Some(until.saturating_since(guard.clock.read(scene.now)))
    }
}

impl WatchedGuard {
    fn new(of: MemberId, clock: Clock, in_bound: bool) -> Self {
        Self {
            of,
            clock,
            in_bound,
            lives: false,
            looked: None,
            open: BTreeMap::new(),
            kept: None,
            refused: false,
            gone: None,
        }
    }

    fn decided(&mut self, ticket: Ticket, answer: &Result<Response, RequestError>) {
        let Some((_, granted)) = self.open.get_mut(&ticket) else { return };
        *granted = match answer {
            Ok(Response::Renewed { ttl }) => Some(*ttl),
            Ok(_) | Err(_) => None,
        };
        self.refused |= *answer == Err(RequestError::Refused(Error::LeaseNotFound));
    }

    /// When it may count on its lease no more.
    fn end(&self) -> Option<Instant> {
        self.kept.map(|(asked, ttl, _)| asked.saturating_add(ttl.as_duration()))
    }

    /// Judges that it has said nothing until now.
    fn judge_silence(&self, scene: &Scene<'_>, id: LeaseId) -> Result<(), Broken> {
        if let Some(gone) = self.gone
            && scene.now > gone + A_MOMENT
        {
            let late = scene.now.saturating_sub(gone);
            let what = format!(
                "the guard of lease {id} was not told for {late:?} that its engine has ended"
            );
            return Err(Broken::new(Property::S18, what).about(id).of(self.of));
        }
        let clock = self.clock.read(scene.now);
        // A renew that is answered too late is told and is over at once.
        let heard = self.kept.is_some_and(|(_, _, told)| scene.now > told + A_MOMENT);
        if let Some(end) = self.end()
            && heard
            && clock > end.saturating_add(A_MOMENT)
        {
            let late = clock.saturating_since(end);
            let what = format!("the guard of lease {id} counts on it {late:?} longer than it may");
            return Err(Broken::new(Property::S18, what).about(id).of(self.of));
        }
        Ok(())
    }

    /// Judges why it says that its lease is lost.
    fn judge_reason(&self, scene: &Scene<'_>, id: LeaseId, why: &CallError) -> Result<(), Broken> {
        let wrong = match why {
            CallError::Request(RequestError::Unknown | RequestError::NotPrimary { .. }) => {
                let clock = self.clock.read(scene.now);
                // What was told just now it may not have heard.
                let heard = self.kept.filter(|(_, _, told)| scene.now > *told + A_MOMENT);
                heard.is_some_and(|(asked, ttl, _)| clock < asked.saturating_add(ttl.as_duration()))
            }
            CallError::Request(RequestError::Refused(_)) => !self.refused,
            CallError::Request(RequestError::Stopped) | CallError::Failed(_) => false,
            CallError::Unattended => true,
        };
        if wrong {
            let what = format!("the guard of lease {id} gave it up without need: {why}");
            return Err(Broken::new(Property::S18, what).about(id).of(self.of));
        }
        Ok(())
    }
}

/// What a few turns of the executor may take.
const A_MOMENT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use lessor::LogIndex;

    use super::super::harness::{History, Judged, granted, lease, millis, renew, renewed, revoked};
    use super::*;

    const UNKNOWN: CallError = CallError::Request(RequestError::Unknown);
    const NOT_FOUND: CallError = CallError::Request(RequestError::Refused(Error::LeaseNotFound));

    fn news(
        history: &mut History<AGuardTellsInTime>,
        news: GuardNews<'_>,
    ) -> Result<Judged, Property> {
        let fact = Fact::Guard { lease: lease(7), news };
        history.see(fact).map_err(|broken| broken.property)
    }

    fn renews(history: &mut History<AGuardTellsInTime>, ticket: Ticket, asked: u64, told: u64) {
        history.at(asked);
        news(history, GuardNews::Looks).expect("it counts on its lease");
        history.holds(Fact::Came { ticket, request: &renew(7) });
        history.at(told);
        let answer = Ok(renewed(10_000));
        history.holds(Fact::Decided { ticket, answer: &answer });
        let (speaks_of, durable) = (LogIndex(0), LogIndex(0));
        history.holds(Fact::Told { ticket, asked: true, speaks_of, durable });
    }

    /// A guard of a lease of 10 s, asked for at 5 s and answered at 6 s, on a clock that shows an hour more.
    fn guarded() -> History<AGuardTellsInTime> {
        let mut history = History::<AGuardTellsInTime>::default();
        history.log(1, granted(7, 10_000));
        let clock = Clock::new(Duration::from_secs(3_600), 0);
        let wanted = GuardNews::Wanted { of: MemberId(1), clock, in_bound: true };
        assert_eq!(news(&mut history, wanted), Ok(Judged::NotConcerned));
        renews(&mut history, Ticket(1), 5_000, 6_000);
        assert_eq!(news(&mut history, GuardNews::Lives), Ok(Judged::NotConcerned));
        history
    }

    fn lost(
        history: &mut History<AGuardTellsInTime>,
        at: u64,
        why: &CallError,
    ) -> Result<Judged, Property> {
        history.at(at);
        news(history, GuardNews::Lost { why })
    }

    #[test]
    fn canary_a_guard_that_counts_from_the_answer_is_found() {
        assert_eq!(lost(&mut guarded(), 15_000, &UNKNOWN), Ok(Judged::Holds));
        assert_eq!(lost(&mut guarded(), 16_000, &UNKNOWN), Err(Property::S18));
    }

    #[test]
    fn canary_a_guard_that_says_nothing_is_found() {
        let end = super::super::End::default();
        for (at, verdict) in [(14_999, None), (15_002, Some(Property::S18))] {
            let mut history = guarded();
            history.at(at);
            let seen = history.see(Fact::Ended { end: &end });
            assert_eq!(seen.err().map(|broken| broken.property), verdict);
        }
    }

    #[test]
    fn canary_a_guard_that_learns_of_the_end_of_its_engine_by_its_next_renew_is_found() {
        let stopped = CallError::Request(RequestError::Stopped);
        for (at, verdict) in [(7_000, Ok(Judged::Holds)), (8_334, Err(Property::S18))] {
            let mut history = guarded();
            history.at(7_000);
            history.holds(Fact::Gone);
            assert_eq!(lost(&mut history, at, &stopped), verdict);
        }
    }

    #[test]
    fn canary_a_guard_that_gives_up_too_soon_is_found() {
        assert_eq!(lost(&mut guarded(), 14_999, &UNKNOWN), Err(Property::S18));
        assert_eq!(lost(&mut guarded(), 14_999, &CallError::Unattended), Err(Property::S18));
    }

    #[test]
    fn canary_a_refusal_that_nobody_gave_is_found() {
        assert_eq!(lost(&mut guarded(), 9_000, &NOT_FOUND), Err(Property::S18));
        let mut history = guarded();
        history.at(8_000);
        assert_eq!(news(&mut history, GuardNews::Looks), Ok(Judged::Holds));
        history.holds(Fact::Came { ticket: Ticket(2), request: &renew(7) });
        let answer = Err(RequestError::Refused(Error::LeaseNotFound));
        history.holds(Fact::Decided { ticket: Ticket(2), answer: &answer });
        assert_eq!(lost(&mut history, 9_000, &NOT_FOUND), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_lease_that_ends_under_its_guard_is_found() {
        for (at, verdict) in [(14_999, Err(Property::S18a)), (15_000, Ok(Judged::Holds))] {
            let mut history = guarded();
            history.at(at);
            assert_eq!(history.try_log(2, revoked(7)).map_err(|broken| broken.property), verdict);
        }
    }

    #[test]
    fn canary_a_guard_that_goes_on_without_its_lease_is_found() {
        let mut history = guarded();
        history.at(8_333);
        assert_eq!(news(&mut history, GuardNews::Looks), Ok(Judged::Holds));
        history.state().leases.clear();
        assert_eq!(news(&mut history, GuardNews::Looks), Err(Property::S18a));
    }

    #[test]
    fn a_lease_ends_if_a_lessee_asks_for_it_or_its_guard_is_dropped() {
        let mut history = guarded();
        history.holds(Fact::Asked { request: &Request::Revoke { id: lease(7) } });
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::Holds));
        let mut history = guarded();
        assert_eq!(news(&mut history, GuardNews::Dropped), Ok(Judged::NotConcerned));
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::NotConcerned));
    }

    #[test]
    fn the_last_renew_that_succeeded_counts() {
        let mut history = guarded();
        renews(&mut history, Ticket(2), 8_000, 8_100);
        assert_eq!(lost(&mut history, 18_000, &UNKNOWN), Ok(Judged::Holds));
        let mut history = guarded();
        renews(&mut history, Ticket(2), 8_000, 8_100);
        assert_eq!(lost(&mut history, 17_000, &UNKNOWN), Err(Property::S18));
    }

    #[test]
    fn the_clock_that_counts_is_its_own() {
        let mut history = History::<AGuardTellsInTime>::default();
        history.log(1, granted(7, 10_000));
        // Ten seconds on it are twenty.
        let clock = Clock::new(Duration::ZERO, -500_000);
        let wanted = GuardNews::Wanted { of: MemberId(1), clock, in_bound: false };
        assert_eq!(news(&mut history, wanted), Ok(Judged::NotConcerned));
        renews(&mut history, Ticket(1), 0, 0);
        assert_eq!(news(&mut history, GuardNews::Lives), Ok(Judged::NotConcerned));
        assert_eq!(clock.read(Duration::from_secs(20)), millis(10_000));
        history.at(15_000);
        assert_eq!(history.try_log(2, revoked(7)), Ok(Judged::NotConcerned));
        assert_eq!(lost(&mut history, 20_000, &UNKNOWN), Ok(Judged::Holds));
    }
}
