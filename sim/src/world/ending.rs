//! The liveness phase: from some moment on nothing goes wrong any more, for all members or for a
//! majority, and every promise must be kept.

use std::time::Duration;

use lessor::MemberId;

use super::agenda::Due;
use super::machine::{Medium, Process};
use super::{Phase, World};
use crate::judge::{Exchange, Kind, OverBy};
use crate::scenario::{Fault, FaultKind};

impl World {
    /// The members that are whole from the ending on; all of them if there is none.
    pub(super) fn core(&self) -> Vec<MemberId> {
        match &self.scenario.ending {
            Some(ending) if !ending.core.is_empty() => ending.core.clone(),
            Some(_) | None => self.members().collect(),
        }
    }

    /// Heals the core, and cuts off all others for ever.
    pub(super) fn begin_ending(&mut self) {
        let core = self.core();
        self.stable_since = self.now;
        self.phase = Phase::Healed;
        self.links.heal();
        let all = core.len() >= self.machines.len();
        self.emit(None, Kind::Healed { core: &core, all });
        let ended = self.injected.lasting.end_for(&core);
        self.are_over(&ended, OverBy::Ending);
        let others = self.members().filter(|member| !core.contains(member));
        for (number, member) in others.enumerate() {
            let step = self.scenario.steps.len() + number;
            let fault = Fault::Isolate { member, span: None };
            self.emit(None, Kind::Ordered { step, fault: &fault });
            self.injected.lasting.begin(step, fault);
            self.injected.ordered(FaultKind::Isolate, 1);
        }
        self.weather_changed();
        for member in core {
            self.order(|raft, _| raft.lose_nothing(member));
            let machine = self.machines.of_mut(member);
            machine.crashing = None;
            machine.disk.heal();
            let (process, started) = (machine.processes, machine.is_started());
            self.resume(member, process);
            if !started {
                self.restart(member);
            }
        }
    }

    /// Whether somebody leads a majority that hears it.
    pub(super) fn is_led(&self) -> bool {
        self.log.leader().is_some_and(|leader| self.can_lead(leader))
    }

    /// Whether a member runs and reaches a majority of those that run.
    pub(super) fn can_lead(&self, member: MemberId) -> bool {
        let heard = || self.members().filter(|other| self.hears(member, *other));
        self.hears(member, member) && 2 * heard().count() > self.machines.len()
    }

    /// Whether the ending has begun with a majority that somebody leads or is elected to lead.
    pub(super) fn is_owed(&self) -> bool {
        let core = self.core();
        let runs = |member: &&MemberId| self.machines.of(**member).is_started();
        self.phase != Phase::Faulty && 2 * core.iter().filter(runs).count() > self.machines.len()
    }

    /// Members of the core that have neither opened nor ended in a minute.
    pub(super) fn unsettled(&self) -> Vec<MemberId> {
        let unsettled = |member: &MemberId| {
            let machine = self.machines.of(*member);
            let long = self.now.saturating_sub(machine.since) > Duration::from_secs(60);
            let changes = matches!(machine.process, Process::Opening | Process::Stopping);
            long && !machine.paused && changes
        };
        self.core().into_iter().filter(unsettled).collect()
    }

    /// Whether two members run, and messages go both ways between them.
    pub(super) fn hears(&self, one: MemberId, other: MemberId) -> bool {
        let runs = |member: MemberId| {
            let machine = self.machines.of(member);
            machine.is_up() && !machine.paused
        };
        runs(one) && runs(other) && (one == other || self.injected.lasting.connects(one, other))
    }

    /// What the network adds to a change that needs a few messages one after the other, at most, if it
    /// loses none.
    pub(super) fn round_trips(&self) -> Duration {
        8 * (self.scenario.network.latency + self.scenario.network.jitter + HOP)
    }

    /// Elects somebody who can lead, in place of a leader that cannot.
    pub(super) fn hold_election(&mut self) {
        self.unled_since = None;
        if self.is_led() {
            return;
        }
        let able: Vec<_> = self.members().filter(|m| self.can_lead(*m)).collect();
        let drawn = self.draw(able.len() as u64);
        if let Some(candidate) = usize::try_from(drawn).ok().and_then(|drawn| able.get(drawn)) {
            self.order(|raft, now| raft.elect(now, *candidate));
        }
    }

    /// Plans an election if nobody leads and the scenario has a timeout for that, as each has in the end:
    /// a leader may be deposed then too, by somebody who was cut off and is in a later term.
    pub(super) fn watch_leader(&mut self) {
        let at_the_end = (self.phase != Phase::Faulty).then_some(ELECTION);
        let Some(timeout) = self.scenario.upkeep.election_timeout.or(at_the_end) else { return };
        if self.is_led() {
            self.unled_since = None;
        } else if self.all_were_up && self.unled_since.is_none() {
            self.unled_since = Some(self.now);
            let late = self.draw(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            let at = self.now + timeout + Duration::from_millis(late);
            self.agenda.plan(at, Due::Elect);
        }
    }

    /// A member's process has ended: in the ending, one of the core is started again.
    pub(super) fn revive(&mut self, member: MemberId) {
        let ending = self.phase != Phase::Faulty && self.core().contains(&member);
        if ending && !self.machines.of(member).is_started() {
            if self.machines.of(member).medium == Medium::Refused {
                self.exchange_disk(member, Exchange::Empty);
            }
            self.restart(member);
        }
    }
}

/// In the ending, somebody is elected after nobody has led for this long, or up to twice as long.
const ELECTION: Duration = Duration::from_secs(2);
/// What madsim's network takes at most, besides what the scenario says.
const HOP: Duration = Duration::from_millis(5);
