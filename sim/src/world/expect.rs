//! What a scenario expects of moments and of its end.

use lessor::{LeaseId, MemberId, Request, RequestError, Response};

use super::calls::Caller;
use super::{Phase, World};
use crate::judge::{End, Kind};
use crate::model::text;
use crate::scenario::{self, AtMoment, Expectation};

impl World {
    pub(super) fn expect(&mut self, position: usize) {
        let Expectation::At { member, what, .. } = self.scenario.expects[position].what.clone()
        else {
            return;
        };
        let primary = self.members().find(|member| self.watch.oracle.is_primary(*member));
        let member = member.or(self.log.leader()).or(primary).unwrap_or(MemberId(1));
        let state = self.watch.oracle.stored(member);
        let lease = |id: &LeaseId| state.and_then(|state| state.leases.get(id));
        let (met, found) = match &what {
            AtMoment::Remaining { lease, .. } => {
                let request = Request::Lookup { id: *lease };
                return self.ask(Caller::Expect(position), Some(member), request, false);
            }
            AtMoment::Present(id, present) => {
                let found = if lease(id).is_some() { "present" } else { "absent" };
                (lease(id).is_some() == *present, format!("lease {id} is {found}"))
            }
            AtMoment::Items(id, items) => {
                let held: Vec<_> = lease(id).iter().flat_map(|l| l.items.iter().cloned()).collect();
                (held == *items, format!("lease {id} holds {}", text::keys(&held)))
            }
            AtMoment::Holder(item, holder) => {
                let found = state.and_then(|state| state.holders.get(item)).copied();
                let words = found.map_or("no lease".to_owned(), |id| format!("lease {id}"));
                (found == *holder, format!("{item} is held by {words}"))
            }
            AtMoment::Primary(expected) => {
                // A deposed one that is cut off does not know; the log does.
                let leader =
                    self.log.leader().filter(|leader| self.watch.oracle.is_primary(*leader));
                let words = leader.map_or("nobody".to_owned(), |leader| format!("member {leader}"));
                (leader == *expected, format!("{words} is primary"))
            }
            AtMoment::Leases(count) => {
                let found = state.map_or(0, |state| state.leases.len());
                (found == *count, format!("there are {found} leases"))
            }
        };
        self.judge_expectation(position, met, &found);
    }

    pub(super) fn judge_remaining(
        &mut self,
        position: usize,
        answer: &Result<Response, RequestError>,
    ) {
        let Expectation::At { what: AtMoment::Remaining { at_least, at_most, .. }, .. } =
            self.scenario.expects[position].what
        else {
            return;
        };
        let met = match answer {
            Ok(Response::Lookup(Some(status))) => {
                at_least.is_none_or(|least| status.remaining >= least)
                    && at_most.is_none_or(|most| status.remaining <= most)
            }
            Ok(_) | Err(_) => false,
        };
        self.judge_expectation(position, met, &text::answer(answer));
    }

    fn judge_expectation(&mut self, position: usize, met: bool, found: &str) {
        let line = self.scenario.expects[position].line;
        self.emit(None, Kind::Expected { found, met, line });
        if !met {
            let (secs, millis) = (self.now.as_secs(), self.now.subsec_millis());
            let what =
                format!("line {line}: at {secs}.{millis:03} {found}, which was not expected");
            self.unmet.push(what);
        }
    }

    pub(super) fn end(&mut self) {
        let owed = self.is_owed();
        self.phase = Phase::Over;
        let leads =
            |leader: &MemberId| self.can_lead(*leader) && self.watch.oracle.is_primary(*leader);
        let leader = self.log.leader().filter(leads);
        let core = self.core().into_iter();
        let connected = leader.map_or(Vec::new(), |leader| {
            core.filter(|member| self.hears(leader, *member)).collect()
        });
        let log = self.scenario.log;
        let change = log.commit + log.apply + log.confirm + self.scenario.disks.latency;
        let end = End {
            owed,
            unsettled: self.unsettled(),
            primary: leader,
            connected,
            stable_since: self.stable_since,
            clock: leader.map_or(lessor::Instant::ZERO, |leader| self.clock(leader).read(self.now)),
            losses: self.losses,
            unanswered: Vec::new(),
            latency: 4 * change + self.round_trips(),
        };
        self.emit(None, Kind::Ended(&end));
        for (number, step) in self.scenario.steps.iter().enumerate() {
            if let scenario::Action::Ask { request, answer: Some(expected), .. } = &step.action {
                let answer = self.calls.answer_of(number);
                if answer != *expected {
                    let (location, asked) = (step.location(), request);
                    let (answer, expected) = (answer.word(), expected.word());
                    let what = format!("{location}: {asked} was answered {answer}, not {expected}");
                    self.unmet.push(what);
                }
            }
        }
        for expect in &self.scenario.expects {
            if let Expectation::Expired { from, to, every, at_least, at_most } = expect.what {
                let mut start = from;
                while start < to {
                    let end = (start + every).min(to);
                    let expired = self.watch.oracle.expired().values();
                    let count = expired.filter(|at| (start..end).contains(*at)).count();
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    if at_least.is_some_and(|least| count < least)
                        || at_most.is_some_and(|most| count > most)
                    {
                        let (line, start, end) = (expect.line, text::span(start), text::span(end));
                        let what =
                            format!("line {line}: {count} leases expired from {start} to {end}");
                        self.unmet.push(what);
                    }
                    start = end;
                }
            }
        }
        for (_, machine) in self.machines.iter() {
            if let Some(crashing) = machine.crashing {
                let location = self.scenario.steps[crashing.step].location();
                self.without_effect
                    .push(format!("{location}: the crash never came, for want of a commit"));
            }
        }
        let left = self.log.losses_left();
        if left > 0 {
            self.without_effect
                .push(format!("{left} proposals that were to be lost were never made"));
        }
    }
}
