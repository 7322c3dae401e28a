//! Lessees of herds, and the guards that keep their leases alive: the product's own, each on the clock of
//! its lessee.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::driver::CallError;
use lessor::{Instant, MemberId, RequestError};

use super::calls::{Call, Caller};
use super::{HostAction, World};
use crate::env::lessee::Lessee;
use crate::judge::{GuardNews, Kind};
use crate::model::clock::Clock;
use crate::record::coverage::Mark;

/// The lessees of herds.
#[derive(Default)]
pub(super) struct Herds {
    pub(super) lessees: Vec<Lessee>,
    /// The guard of each lessee that has one.
    guards: BTreeMap<usize, Guard>,
}

/// A guard that lives.
#[derive(Debug)]
struct Guard {
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
        self.herds.lessees[lessee].clock()
    }

    /// A lessee's guard looks at its clock.
    pub fn guard_looks(&mut self, lessee: usize) -> Instant {
        self.tell_of_guard(None, lessee, GuardNews::Looks, None);
        let now = self.now;
        if let Some(guard) = self.herds.guards.get_mut(&lessee)
            && guard.stalled.take_if(|until| *until <= now).is_some()
        {
            self.watch.coverage.mark(Mark::GuardOutlived);
        }
        self.lessee_clock(lessee).read(now)
    }

    /// A guard lives.
    pub fn kept(&mut self, call: u64) {
        // Its lessee may have given it up just now.
        let Some(Call { asker, member, .. }) = self.take_call(call) else { return };
        let Caller::Lessee(number) = asker else { unreachable!("nobody else wants a guard") };
        self.acknowledged += 1;
        self.herds.guards.insert(number, Guard { call, member, stalled: None });
        let next = self.herds.lessees[number].kept(member);
        self.tell_of_guard(Some(member), number, GuardNews::Lives, Some(next.label));
        self.plan_lessee(number, next.at);
        self.settle();
    }

    /// A guard can count on its lease no more.
    pub fn lost(&mut self, number: usize, call: u64, why: &CallError) {
        // Its lessee may have dropped it just now.
        let Some(guard) = self.herds.guards.remove(&number) else { return };
        debug_assert_eq!(guard.call, call, "a lessee has one guard at a time");
        let error = match why {
            CallError::Request(error) => *error,
            CallError::Failed(_) | CallError::Unattended => RequestError::Unknown,
        };
        let next = self.herds.lessees[number].lost(self.now, guard.member, error);
        let outcome = if next.at.is_some() { "guard lost" } else { next.label };
        self.tell_of_guard(None, number, GuardNews::Lost { why }, Some(outcome));
        self.plan_lessee(number, next.at);
        self.settle();
    }

    /// What is to be done if a lessee asks for a guard, rather than for an answer.
    pub(super) fn keep_alive(
        &mut self,
        call: u64,
        asker: Caller,
        member: MemberId,
    ) -> Option<HostAction> {
        let Caller::Lessee(number) = asker else { return None };
        let lessee = &self.herds.lessees[number];
        if !lessee.wants_guard() {
            return None;
        }
        let (lease, clock) = (lessee.lease(), lessee.clock());
        let in_bound = lessee.rate_ppm().unsigned_abs() <= self.scenario.clocks.bound_ppm;
        let wanted = GuardNews::Wanted { of: member, clock, in_bound };
        self.tell_of_guard(None, number, wanted, None);
        Some(HostAction::KeepAlive { call, member, lease, lessee: number })
    }

    /// Whether a lessee has a guard, which it drops if it vanishes.
    pub(super) fn lets_go(&mut self, number: usize) -> bool {
        let Some(guard) = self.herds.guards.get(&number) else { return false };
        if self.herds.lessees[number].has_vanished(self.now) {
            self.actions.push_back(HostAction::GiveUp(guard.call));
            self.herds.guards.remove(&number);
            self.tell_of_guard(None, number, GuardNews::Dropped, Some("let go"));
        }
        true
    }

    /// A lessee that may have asked for a guard waits for it no longer.
    pub(super) fn wants_no_guard(&mut self, number: usize) {
        if self.herds.lessees[number].wants_guard() {
            self.tell_of_guard(None, number, GuardNews::Dropped, None);
        }
    }

    /// The disk of a primary stalls until some moment: its guards are to outlive that.
    pub(super) fn stalls_guards(&mut self, member: MemberId, until: Duration) {
        for guard in self.herds.guards.values_mut().filter(|guard| guard.member == member) {
            guard.stalled = Some(until);
        }
    }

    fn tell_of_guard(
        &mut self,
        member: Option<MemberId>,
        number: usize,
        news: GuardNews<'_>,
        outcome: Option<&'static str>,
    ) {
        let lease = self.herds.lessees[number].lease();
        self.emit(member, Kind::Guard { lease, news, outcome });
    }
}
