//! Requests on their way: who asks whom, how long it waits, and whom it asks next.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::driver::CallError;
use lessor::{MemberId, Request, RequestError, Response};

use super::agenda::{Due, Slot};
use super::{HostAction, Unseen, World};
use crate::env::lessee::{self, Whom};
use crate::judge::{self, Kind};
use crate::scenario::{self, AnswerKind, FaultKind};

/// The requests of a run.
#[derive(Default)]
pub(super) struct Calls {
    on_their_way: BTreeMap<u64, Call>,
    /// The number of the last one.
    last: u64,
    /// The answer of each step that asks.
    answers: BTreeMap<usize, AnswerKind>,
    /// Whom each step with patience asks next.
    errands: BTreeMap<usize, Whom>,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) asker: Caller,
    pub(super) request: Request,
    pub(super) member: MemberId,
    /// Which of its processes is asked.
    process: u64,
    sent: Duration,
    /// Where on the agenda it is given up, if it ever is.
    given_up: Option<Slot>,
    /// Whether it, or its answer, was lost on the way.
    lost: bool,
}

/// Who asks: a step, a lessee of a herd, or an expectation, by its position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    Step(usize),
    Lessee(usize),
    Expect(usize),
}

impl Calls {
    /// What the request of a step was answered last.
    pub(super) fn answer_of(&self, step: usize) -> AnswerKind {
        self.answers.get(&step).copied().unwrap_or(AnswerKind::None)
    }
}

impl World {
    /// A call was answered, or nobody was there to answer it.
    pub fn answered(&mut self, call: u64, answer: Option<Result<Response, CallError>>) {
        let Some(waits) = self.calls.on_their_way.get(&call) else { return };
        let machine = self.machines.of(waits.member);
        let died = !machine.is_up() || machine.processes != waits.process;
        let is_lost = answer.is_some()
            && !died
            && self.injected.lasting.has(FaultKind::LoseAnswers, waits.member)
            && self.goes_by_link(waits.asker, &waits.request);
        let answer = match answer {
            Some(Ok(response)) => Ok(response),
            // A process that ends tells nobody what became of a request.
            None | Some(Err(_)) if died => Err(RequestError::Unknown),
            None => Err(RequestError::Unknown),
            Some(Err(CallError::Request(error))) => Err(error),
            Some(Err(CallError::Failed(_) | CallError::Unattended)) => Err(RequestError::Unknown),
        };
        if is_lost {
            return self.lose_call(call, Some(&answer));
        }
        let Some(Call { asker, request, member, sent, .. }) = self.take_call(call) else { return };
        self.acknowledged += u64::from(answer.is_ok());
        if answer.is_ok() && self.unseen.contains(&Unseen::Log) {
            self.watch.oracle.knows_no_log();
        }
        let served = matches!(answer, Ok(_) | Err(RequestError::Refused(_)));
        let was = match asker {
            Caller::Step(step) => self.calls.errands.get(&step).copied(),
            Caller::Lessee(number) => Some(self.herds.lessees[number].whom()),
            Caller::Expect(_) => None,
        };
        let counts = match asker {
            Caller::Step(_) => served,
            Caller::Lessee(_) | Caller::Expect(_) => answer.is_ok(),
        };
        let elsewhere = counts && matches!(was, Some(Whom::After(_)));
        let next = match asker {
            Caller::Lessee(number) => {
                let lessee = &mut self.herds.lessees[number];
                Some(lessee.answered(self.now, sent, Some((member, &answer))))
            }
            Caller::Step(_) | Caller::Expect(_) => None,
        };
        let scenario = self.scenario.clone();
        let by = by(&scenario.steps, asker, next.map_or("", |next| next.label));
        let (request, answer) = (&request, &answer);
        self.emit(Some(member), Kind::Answered { call, by, request, sent, elsewhere, answer });
        match asker {
            Caller::Step(step) => {
                self.calls.answers.insert(step, AnswerKind::of(answer));
                if let Some(whom) = self.calls.errands.get_mut(&step) {
                    *whom = Whom::told(member, answer);
                    if !served {
                        self.agenda.plan(self.now + lessee::PAUSE, Due::AskAgain(step));
                    }
                }
            }
            Caller::Expect(position) => self.judge_remaining(position, answer),
            Caller::Lessee(number) => self.plan_lessee(number, next.and_then(|next| next.at)),
        }
        self.settle();
    }

    /// Somebody has waited long enough: what becomes of the request nobody knows, as after an answer that
    /// is unknown, and another member is asked.
    pub(super) fn give_up(&mut self, call: u64) {
        let Some(Call { asker, request, member, lost, .. }) = self.take_call(call) else { return };
        self.actions.push_back(HostAction::GiveUp(call));
        let next = match asker {
            Caller::Lessee(number) => Some(self.herds.lessees[number].gave_up(self.now, member)),
            Caller::Step(_) => None,
            Caller::Expect(_) => unreachable!("an expectation waits for ever"),
        };
        let scenario = self.scenario.clone();
        let by = by(&scenario.steps, asker, next.map_or("", |next| next.label));
        self.emit(Some(member), Kind::GaveUp { call, by, request: &request, lost });
        match asker {
            Caller::Lessee(number) => {
                self.wants_no_guard(number);
                self.plan_lessee(number, next.and_then(|next| next.at));
            }
            Caller::Step(step) | Caller::Expect(step) => {
                self.calls.answers.insert(step, AnswerKind::Unknown);
                self.calls.errands.insert(step, Whom::After(member));
                self.agenda.plan(self.now, Due::AskAgain(step));
            }
        }
    }

    /// Takes a call whose answer has come or is not waited for; `None` if it was given up before.
    pub(super) fn take_call(&mut self, call: u64) -> Option<Call> {
        let taken = self.calls.on_their_way.remove(&call)?;
        if let Some(slot) = taken.given_up {
            self.agenda.cancel(slot);
        }
        Some(taken)
    }

    pub(super) fn plan_lessee(&mut self, number: usize, at: Option<Duration>) {
        if let Some(at) = at {
            self.agenda.plan(at, Due::Lessee(number));
        }
    }

    /// The request of a step is made for the first time, or again of another member.
    pub(super) fn ask_of_step(&mut self, step: usize, again: bool) {
        let scenario::Action::Ask { request, member, patience, .. } =
            self.scenario.steps[step].action.clone()
        else {
            unreachable!("a fault asks nothing")
        };
        let to = if again {
            self.reached(self.calls.errands.get(&step).copied().unwrap_or(Whom::Leader))
        } else {
            if patience.is_some() {
                let whom = member.map_or(Whom::Leader, Whom::Member);
                self.calls.errands.insert(step, whom);
            }
            member
        };
        self.ask(Caller::Step(step), to, request, again);
    }

    /// A lessee of a herd does what it is up to.
    pub(super) fn act(&mut self, number: usize) {
        if self.lets_go(number) {
            return;
        }
        let Some(request) = self.herds.lessees[number].ask(self.now) else { return };
        let member = self.reached(self.herds.lessees[number].whom());
        if member.is_some() {
            return self.ask(Caller::Lessee(number), member, request, false);
        }
        let next = self.herds.lessees[number].answered(self.now, self.now, None);
        self.emit(None, Kind::NobodyToAsk { request: &request, outcome: next.label });
        self.plan_lessee(number, next.at);
    }

    /// The member that is asked: a lessee notices at once whether somebody listens.
    fn reached(&self, whom: Whom) -> Option<MemberId> {
        let up = |member: &MemberId| self.machines.is_up(*member);
        match whom {
            Whom::Leader => self.leads().filter(up),
            Whom::Member(member) => Some(member).filter(up).or(self.machines.next_up(member)),
            Whom::After(member) => self.machines.next_up(member),
        }
    }

    /// Who leads; where the hosts take no log, whoever runs.
    fn leads(&self) -> Option<MemberId> {
        let without = self.unseen.contains(&Unseen::Log).then(|| self.machines.first_up());
        self.log.leader().or(without.flatten())
    }

    /// Sends a request to a member, by default to the one that leads.
    pub(super) fn ask(
        &mut self,
        asker: Caller,
        to: Option<MemberId>,
        request: Request,
        again: bool,
    ) {
        let scenario = self.scenario.clone();
        let by = by(&scenario.steps, asker, "");
        let asked = to.or(self.leads());
        self.calls.last += 1;
        let call = self.calls.last;
        self.emit(asked, Kind::Asked { call, by, request: &request, again });
        let member = asked.unwrap_or(MemberId(1));
        let machine = self.machines.of(member);
        let (process, is_up) = (machine.processes, asked.is_some() && machine.is_up());
        let patience = self.patience_of(asker).filter(|_| is_up);
        let given_up =
            patience.map(|patience| self.agenda.plan(self.now + patience, Due::GiveUp(call)));
        let (sent, of_call) = (self.now, request.clone());
        let lost = false;
        let of_call = Call { asker, request: of_call, member, process, sent, given_up, lost };
        self.calls.on_their_way.insert(call, of_call);
        let is_lost = self.injected.lasting.has(FaultKind::LoseRequests, member)
            && self.goes_by_link(asker, &request);
        if is_up && is_lost {
            self.lose_call(call, None);
        } else if is_up {
            self.emit(Some(member), Kind::Sent { call, request: &request });
            let action = self.keep_alive(call, asker, member);
            self.actions.push_back(action.unwrap_or(HostAction::Call { call, member, request }));
        } else {
            let nobody = CallError::Request(RequestError::NotPrimary { leader: None });
            self.answered(call, asked.is_none().then_some(Err(nobody)));
        }
    }

    /// Whether a request and its answer go over a link, on which they can be lost: a guard, an expectation
    /// and whoever promotes or demotes are at the member itself.
    fn goes_by_link(&self, asker: Caller, request: &Request) -> bool {
        match asker {
            Caller::Step(_) => !matches!(request, Request::Promote | Request::Demote),
            Caller::Lessee(number) => !self.herds.lessees[number].wants_guard(),
            Caller::Expect(_) => false,
        }
    }

    /// A call is lost on its way there, or with its answer on the way back. Whoever asked waits on.
    fn lose_call(&mut self, call: u64, answer: Option<&Result<Response, RequestError>>) {
        let Some(lost) = self.calls.on_their_way.get_mut(&call) else { return };
        lost.lost = true;
        let (asker, member, request) = (lost.asker, lost.member, lost.request.clone());
        let scenario = self.scenario.clone();
        let by = by(&scenario.steps, asker, "");
        self.emit(Some(member), Kind::LostOnTheWay { call, by, request: &request, answer });
        let kind = if answer.is_some() { FaultKind::LoseAnswers } else { FaultKind::LoseRequests };
        self.injected.meets_member(kind, member);
    }

    /// How long somebody waits for an answer, if not for ever.
    fn patience_of(&self, asker: Caller) -> Option<Duration> {
        match asker {
            Caller::Step(step) => match &self.scenario.steps[step].action {
                scenario::Action::Ask { patience, .. } => *patience,
                scenario::Action::Fault(_) => None,
            },
            Caller::Lessee(number) => Some(self.herds.lessees[number].patience()),
            Caller::Expect(_) => None,
        }
    }
}

/// Who asks, for an event.
fn by<'a>(steps: &'a [scenario::Step], asker: Caller, outcome: &'static str) -> judge::Asker<'a> {
    match asker {
        Caller::Lessee(_) => judge::Asker::Herd { outcome },
        Caller::Expect(_) => judge::Asker::Expectation,
        Caller::Step(step) => match &steps[step].action {
            scenario::Action::Ask { lessee, member, .. } => {
                let line = steps[step].line;
                judge::Asker::Step { lessee: lessee.as_deref(), member: *member, line }
            }
            scenario::Action::Fault(_) => unreachable!("a fault asks nothing"),
        },
    }
}
