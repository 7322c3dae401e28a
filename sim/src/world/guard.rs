//! Guards that keep leases alive: the product's own, each on the clock of its lessee.

use std::time::Duration;

use lessor::driver::CallError;
use lessor::{Instant, MemberId, RequestError};

use super::{Action, Asker, Due, World};
use crate::judge::GuardNews;
use crate::model::clock::Clock;
use crate::record::coverage::Mark;

/// A guard that lives.
#[derive(Debug)]
pub(super) struct Guard {
    /// The number of the call that it came of.
    call: u64,
    member: MemberId,
    /// Until when the disk of its member stalls, or did last.
    stalled: Option<Duration>,
}

impl World {
    /// The clock of a lessee.
    #[must_use]
    pub fn lessee_clock(&self, lessee: usize) -> Clock {
        self.lessees[lessee].clock()
    }

    /// A lessee's guard looks at its clock.
    pub fn guard_looks(&mut self, now: Duration, lessee: usize) -> Instant {
        self.tell_of_guard(now, lessee, GuardNews::Looks);
        if let Some(guard) = self.guards.get_mut(&lessee)
            && guard.stalled.take_if(|until| *until <= now).is_some()
        {
            self.coverage.mark(Mark::GuardOutlived);
        }
        self.lessee_clock(lessee).read(now)
    }

    /// A guard lives.
    pub fn kept(&mut self, now: Duration, call: u64) {
        // Its lessee has given it up just now.
        let Some(pending) = self.calls.remove(&call) else { return };
        let Asker::Lessee(place) = pending.asker else {
            unreachable!("nobody else wants a guard");
        };
        if let Some(planned) = pending.given_up {
            self.agenda.remove(&planned);
        }
        let member = pending.member;
        let clock = self.clock(member).read(now);
        self.oracle.left(now, member, clock, &pending.request);
        self.acknowledged += 1;
        self.tell_of_guard(now, place, GuardNews::Lives);
        self.guards.insert(place, Guard { call, member, stalled: None });
        let next = self.lessees[place].kept(member);
        self.say_of_guard(now, place, next.label, format_args!("by member {member}"));
        if let Some(at) = next.at {
            self.plan(at, Due::Lessee(place));
        }
        self.settle(now);
    }

    /// A guard can count on its lease no more.
    pub fn lost(&mut self, now: Duration, place: usize, call: u64, why: &CallError) {
        // Its lessee has dropped it just now.
        let Some(guard) = self.guards.remove(&place) else { return };
        debug_assert_eq!(guard.call, call, "a lessee has one guard at a time");
        self.tell_of_guard(now, place, GuardNews::Lost { why });
        self.coverage.mark(Mark::GuardLost);
        let error = match why {
            CallError::Request(error) => *error,
            CallError::Failed(_) | CallError::Unattended => RequestError::Unknown,
        };
        let next = self.lessees[place].lost(now, guard.member, error);
        let label = if next.at.is_some() { "guard lost" } else { next.label };
        self.say_of_guard(now, place, label, format_args!("{why}"));
        if let Some(at) = next.at {
            self.plan(at, Due::Lessee(place));
        }
        self.settle(now);
    }

    /// What is to be done if a lessee asks for a guard, rather than for an answer.
    pub(super) fn keep_alive(
        &mut self,
        now: Duration,
        call: u64,
        asker: Asker,
        member: MemberId,
    ) -> Option<Action> {
        let Asker::Lessee(place) = asker else { return None };
        let lessee = self.lessees[place].wants_guard().then(|| &self.lessees[place])?;
        let (lease, clock) = (lessee.lease(), lessee.clock());
        let in_bound = lessee.rate_ppm().unsigned_abs() <= self.scenario.clocks.bound_ppm;
        let wanted = GuardNews::Wanted { of: member, clock, in_bound };
        self.tell_of_guard(now, place, wanted);
        Some(Action::KeepAlive { call, member, lease, lessee: place })
    }

    /// Whether a lessee has a guard, which it drops if it vanishes.
    pub(super) fn lets_go(&mut self, now: Duration, place: usize) -> bool {
        let Some(guard) = self.guards.get(&place) else { return false };
        if self.lessees[place].has_vanished(now) {
            self.actions.push_back(Action::GiveUp(guard.call));
            self.guards.remove(&place);
            self.tell_of_guard(now, place, GuardNews::Dropped);
            self.say_of_guard(now, place, "let go", format_args!("its lessee is gone"));
        }
        true
    }

    /// A lessee that may have asked for a guard waits for it no longer.
    pub(super) fn wants_no_guard(&mut self, now: Duration, place: usize) {
        if self.lessees[place].wants_guard() {
            self.tell_of_guard(now, place, GuardNews::Dropped);
        }
    }

    /// The disk of a primary stalls until some moment: its guards are to outlive that.
    pub(super) fn stalls_guards(&mut self, member: MemberId, until: Duration) {
        for guard in self.guards.values_mut().filter(|guard| guard.member == member) {
            guard.stalled = Some(until);
        }
    }

    fn tell_of_guard(&mut self, now: Duration, place: usize, news: GuardNews<'_>) {
        self.oracle.guard(now, self.lessees[place].lease(), news);
    }

    fn say_of_guard(
        &mut self,
        now: Duration,
        place: usize,
        label: &str,
        why: std::fmt::Arguments<'_>,
    ) {
        let lease = self.lessees[place].lease();
        let words = format_args!("the guard of lease {lease}: {why}");
        self.record_aggregated(now, None, "lessees", words, label);
        let leases = || [lease].into();
        self.record_in_focus(now, None, "lessees", leases, |_| format!("{words}"));
    }
}
