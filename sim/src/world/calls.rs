//! Requests on their way: who asks whom, how long it waits, and whom it asks next.

use std::time::Duration;

use lessor::driver::CallError;
use lessor::{MemberId, Request, RequestError, Response};

use super::{Action, Asker, Due, Pending, World};
use crate::env::lessee::{self, Whom};
use crate::model::text;
use crate::record::coverage::Mark;
use crate::record::debug_text;
use crate::scenario::{self, AnswerKind};

impl World {
    /// A call was answered, or nobody was there to answer it.
    pub fn answered(
        &mut self,
        now: Duration,
        call: u64,
        answer: Option<Result<Response, CallError>>,
    ) {
        // Nobody waits any more for the answer to a call that was given up.
        let Some(pending) = self.calls.remove(&call) else { return };
        if let Some(planned) = pending.given_up {
            self.agenda.remove(&planned);
        }
        let machine = &self.machines[&pending.member];
        let died = !machine.up || machine.process != pending.process;
        let answer = match answer {
            Some(Ok(response)) => Ok(response),
            // A process that ends tells nobody what became of a request.
            None | Some(Err(_)) if died => Err(RequestError::Unknown),
            None => Err(RequestError::Unknown),
            Some(Err(CallError::Request(error))) => Err(error),
            Some(Err(CallError::Failed(_) | CallError::Unattended)) => Err(RequestError::Unknown),
        };
        let clock = self.clock(pending.member).read(now);
        self.oracle.left(now, pending.member, clock, &pending.request);
        self.acknowledged += u64::from(answer.is_ok());
        self.coverage.answered(&pending.request, &answer);
        self.oracle.answered(now, pending.sent, &pending.request, &answer);
        match pending.asker {
            Asker::Step(place) => {
                let asked = &pending.request;
                let words = format!("{asked}: {}", text::answer(&answer));
                self.record_of_step(now, place, words);
                self.answers.insert(place, AnswerKind::of(&answer));
                let served = matches!(answer, Ok(_) | Err(RequestError::Refused(_)));
                if let Some(whom) = self.errands.get_mut(&place) {
                    let was = std::mem::replace(whom, Whom::told(pending.member, &answer));
                    let moved = matches!(was, Whom::After(_)) && served;
                    self.coverage.mark_if(moved, Mark::ServedElsewhere);
                    if !served {
                        self.plan(now + lessee::PAUSE, Due::Again(place));
                    }
                }
            }
            Asker::Expect(place) => self.judge_remaining(now, place, &answer),
            Asker::Lessee(place) => {
                let lessee = &mut self.lessees[place];
                let moved = matches!(lessee.whom(), Whom::After(_)) && answer.is_ok();
                self.coverage.mark_if(moved, Mark::ServedElsewhere);
                let next = lessee.answered(now, pending.sent, Some((pending.member, &answer)));
                let asked = &pending.request;
                let words = format_args!("{asked} {}", debug_text::answer(&answer));
                self.record_aggregated(now, None, "lessees", words, next.label);
                let leases = || text::leases_of_request(asked);
                self.record_in_focus(now, None, "lessees", leases, |_| {
                    format!("{asked} [of member {}]: {}", pending.member, text::answer(&answer))
                });
                if let Some(at) = next.at {
                    self.plan(at, Due::Lessee(place));
                }
            }
        }
        self.settle(now);
    }

    /// Somebody has waited long enough: what becomes of the request nobody knows, as after an answer that
    /// is unknown, and another member is asked.
    pub(super) fn give_up(&mut self, now: Duration, call: u64) {
        let Some(pending) = self.calls.remove(&call) else { return };
        self.actions.push_back(Action::GiveUp(call));
        self.coverage.mark(Mark::GaveUp);
        let member = pending.member;
        let clock = self.clock(member).read(now);
        self.oracle.left(now, member, clock, &pending.request);
        let asked = &pending.request;
        match pending.asker {
            Asker::Step(place) => {
                self.record_of_step(
                    now,
                    place,
                    format!("{asked}: gives up waiting for member {member}"),
                );
                self.answers.insert(place, AnswerKind::Unknown);
                self.errands.insert(place, Whom::After(member));
                self.plan(now, Due::Again(place));
            }
            Asker::Lessee(place) => {
                self.wants_no_guard(now, place);
                let next = self.lessees[place].gave_up(now, member);
                self.record_aggregated(
                    now,
                    None,
                    "lessees",
                    format_args!("{asked} of {member}"),
                    next.label,
                );
                let leases = || text::leases_of_request(asked);
                self.record_in_focus(now, None, "lessees", leases, |_| {
                    format!("{asked}: gives up waiting for member {member}")
                });
                if let Some(at) = next.at {
                    self.plan(at, Due::Lessee(place));
                }
            }
            Asker::Expect(_) => unreachable!("an expectation waits for ever"),
        }
    }

    /// The request of a step is made for the first time.
    pub(super) fn ask_of_step(&mut self, now: Duration, place: usize) {
        let scenario::Action::Ask { request, member, patience, .. } =
            self.scenario.steps[place].action.clone()
        else {
            unreachable!("a fault asks nothing")
        };
        if patience.is_some() {
            self.errands.insert(place, member.map_or(Whom::Leader, Whom::Member));
        }
        self.ask(now, Asker::Step(place), member, request);
    }

    /// The request of a step is made again, of another member.
    pub(super) fn ask_again(&mut self, now: Duration, place: usize) {
        let scenario::Action::Ask { request, .. } = self.scenario.steps[place].action.clone()
        else {
            return;
        };
        let whom = self.errands.get(&place).copied().unwrap_or(Whom::Leader);
        let member = self.reached(whom);
        self.ask(now, Asker::Step(place), member, request);
    }

    /// A lessee of a herd does what it is up to.
    pub(super) fn act(&mut self, now: Duration, place: usize) {
        if self.lets_go(now, place) {
            return;
        }
        let Some(request) = self.lessees[place].ask(now) else { return };
        let member = self.reached(self.lessees[place].whom());
        if let Some(whom) = member {
            let leases = || text::leases_of_request(&request);
            self.record_in_focus(now, None, "lessees", leases, |_| {
                format!("{request} [of member {whom}]")
            });
            return self.ask(now, Asker::Lessee(place), member, request);
        }
        let next = self.lessees[place].answered(now, now, None);
        let words = format_args!("{request}");
        self.record_aggregated(now, None, "lessees", words, next.label);
        let leases = || text::leases_of_request(&request);
        self.record_in_focus(now, None, "lessees", leases, |_| format!("{words}: nobody to ask"));
        if let Some(at) = next.at {
            self.plan(at, Due::Lessee(place));
        }
    }

    /// The member that is asked: a lessee notices at once whether somebody listens.
    fn reached(&self, whom: Whom) -> Option<MemberId> {
        let up = |member: &MemberId| self.machines.get(member).is_some_and(|machine| machine.up);
        let after = |member: MemberId| {
            let others = self.machines.range(member..).chain(self.machines.range(..=member));
            others.map(|(id, _)| *id).skip(1).find(up)
        };
        match whom {
            Whom::Leader => self.raft.leader().filter(up),
            Whom::Member(member) => Some(member).filter(up).or_else(|| after(member)),
            Whom::After(member) => after(member),
        }
    }

    /// Sends a request to a member, by default to whoever leads.
    pub(super) fn ask(
        &mut self,
        now: Duration,
        asker: Asker,
        to: Option<MemberId>,
        request: Request,
    ) {
        self.oracle.asked(now, &request);
        self.coverage.asked(&request);
        let member = to.or(self.raft.leader());
        self.planned += 1;
        let call = self.planned;
        let asked = member.unwrap_or(MemberId(1));
        let process = self.machines[&asked].process;
        let answers = member.is_some() && self.machines[&asked].up;
        let patience = self.patience_of(asker).filter(|_| answers);
        let given_up = patience.map(|patience| self.plan(now + patience, Due::GiveUp(call)));
        let pending = Pending {
            asker,
            request: request.clone(),
            member: asked,
            process,
            sent: now,
            given_up,
        };
        self.calls.insert(call, pending);
        match member {
            Some(member) if answers => {
                let clock = self.clock(member).read(now);
                self.oracle.sent(now, member, clock, &request);
                let action = self.keep_alive(now, call, asker, member);
                self.actions.push_back(action.unwrap_or(Action::Call { call, member, request }));
            }
            Some(_) => self.answered(now, call, None),
            None => {
                let error = CallError::Request(RequestError::NotPrimary { leader: None });
                self.answered(now, call, Some(Err(error)));
            }
        }
    }

    /// How long somebody waits for an answer, if not for ever.
    fn patience_of(&self, asker: Asker) -> Option<Duration> {
        match asker {
            Asker::Step(place) => match &self.scenario.steps[place].action {
                scenario::Action::Ask { patience, .. } => *patience,
                scenario::Action::Fault(_) => None,
            },
            Asker::Lessee(place) => Some(self.lessees[place].patience()),
            Asker::Expect(_) => None,
        }
    }
}
