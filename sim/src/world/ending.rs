//! The liveness phase: from some moment on nothing goes wrong any more, for all members or for a
//! majority, and every promise must be kept.

use std::time::Duration;

use lessor::MemberId;

use super::{Due, World};
use crate::record::coverage::Mark;
use crate::scenario::Fault;

impl World {
    /// The members that are whole from the ending on; all of them if there is none.
    pub(super) fn core(&self) -> Vec<MemberId> {
        match &self.scenario.ending {
            Some(ending) if !ending.core.is_empty() => ending.core.clone(),
            Some(_) | None => self.raft.members().collect(),
        }
    }

    /// Heals the core, and cuts off all others for ever.
    pub(super) fn begin_ending(&mut self, now: Duration) {
        let core = self.core();
        self.coverage.mark_if(core.len() < self.machines.len(), Mark::CoreEnding);
        let names: Vec<_> = core.iter().map(ToString::to_string).collect();
        self.record(now, None, "fault", format!("all faults are over for {}", names.join(", ")));
        self.stable_since = now;
        self.healed = true;
        self.oracle.healed(now);
        self.lasting.end_for(&core);
        let others = self.raft.members().filter(|member| !core.contains(member));
        for (number, member) in others.enumerate() {
            let place = self.scenario.steps.len() + number;
            self.lasting.begin(place, Fault::Isolate { member, span: None });
            self.faults.entry("isolate").or_default().ordered += 1;
        }
        self.weather_changed(now);
        for member in core {
            self.raft.lose_nothing(member);
            let machine = self.machine(member);
            machine.crashing = None;
            machine.disk.heal();
            let (process, started) = (machine.process, machine.started);
            self.resume(now, member, process);
            if !started {
                self.restart(now, member);
            }
        }
    }

    /// Whether somebody leads a majority that hears it.
    pub(super) fn is_led(&self) -> bool {
        self.raft.leader().is_some_and(|leader| self.can_lead(leader))
    }

    /// Whether a member runs and reaches a majority of those that run.
    pub(super) fn can_lead(&self, member: MemberId) -> bool {
        let heard = || self.raft.members().filter(|other| self.hears(member, *other));
        self.hears(member, member) && 2 * heard().count() > self.machines.len()
    }

    /// Whether the ending has begun with a majority that somebody leads or is elected to lead.
    pub(super) fn is_owed(&self) -> bool {
        let core = self.core();
        let runs = |member: &&MemberId| self.machines[*member].started;
        self.healed && 2 * core.iter().filter(runs).count() > self.machines.len()
    }

    /// Members of the core that have neither opened nor ended in a minute.
    pub(super) fn unsettled(&self, now: Duration) -> Vec<MemberId> {
        let unsettled = |member: &MemberId| {
            let machine = &self.machines[member];
            let long = now.saturating_sub(machine.since) > Duration::from_secs(60);
            let opening = machine.started && !machine.up;
            long && !machine.paused && (opening || (machine.up && machine.stopping))
        };
        self.core().into_iter().filter(unsettled).collect()
    }

    /// Whether two members run, and messages go both ways between them.
    pub(super) fn hears(&self, one: MemberId, other: MemberId) -> bool {
        let runs = |member: MemberId| {
            let machine = &self.machines[&member];
            machine.up && !machine.paused
        };
        runs(one) && runs(other) && (one == other || self.lasting.connects(one, other))
    }

    /// What the network adds to a change that needs a few messages one after the other, at most, if it
    /// loses none.
    pub(super) fn round_trips(&self) -> Duration {
        8 * (self.scenario.network.latency + self.scenario.network.jitter + HOP)
    }

    /// Elects somebody who can lead, in place of a leader that cannot.
    pub(super) fn hold_election(&mut self, now: Duration) {
        self.unled_since = None;
        if self.is_led() {
            return;
        }
        let able: Vec<_> = self.raft.members().filter(|m| self.can_lead(*m)).collect();
        let place = self.draw(able.len() as u64);
        if let Some(candidate) = usize::try_from(place).ok().and_then(|place| able.get(place)) {
            self.raft.elect(now, *candidate);
        }
    }

    /// Plans an election if nobody leads and the scenario has a timeout for that, as each has in the end:
    /// a leader may be deposed then too, by somebody who was cut off and is in a later term.
    pub(super) fn watch_leader(&mut self, now: Duration) {
        let at_the_end = self.healed.then_some(ELECTION);
        let Some(timeout) = self.scenario.upkeep.election_timeout.or(at_the_end) else { return };
        if self.is_led() {
            self.unled_since = None;
        } else if self.all_were_up && self.unled_since.is_none() {
            self.unled_since = Some(now);
            let late = self.draw(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            let at = now + timeout + Duration::from_millis(late);
            self.plan(at, Due::Elect);
        }
    }

    /// A member's process has ended: in the ending, one of the core is started again.
    pub(super) fn revive(&mut self, now: Duration, member: MemberId) {
        if self.healed && self.core().contains(&member) && !self.machines[&member].started {
            if self.machines[&member].refused {
                self.replace_disk(now, member);
            }
            self.restart(now, member);
        }
    }
}

/// In the ending, somebody is elected so long after nobody has led, and up to as long again later.
const ELECTION: Duration = Duration::from_secs(2);
/// What madsim's network takes at most, besides what the scenario says.
const HOP: Duration = Duration::from_millis(5);
