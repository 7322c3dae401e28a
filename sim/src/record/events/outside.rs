//! Events of all else: lessees, the log, links, machines, faults.

use std::collections::VecDeque;
use std::time::Duration;

use lessor::{MemberId, Request, RequestError, Response};

use super::form::{Body, Cut, Number};
use super::{Asked, Asker, At, EventLog, id_of, nanos};
use crate::env::disk::PowerCut;
use crate::env::packet::Packet;
use crate::env::raft::Note;
use crate::judge::{self, Disturbance, Exchange, GuardNews, Kind, OverBy};
use crate::model::text;
use crate::scenario::{Fault, FaultKind};

impl EventLog {
    /// Something happened. Some of it only judges look at.
    pub(super) fn happened(&mut self, at: &mut At, kind: &Kind<'_>) {
        match kind {
            Kind::Input(input) => self.input(at, input),
            Kind::Handled { member, was_primary, .. } => self.handled(at, member, *was_primary),
            Kind::Output(output) => self.output(at, output),
            Kind::Opened { .. } => self.opened(at),
            Kind::Down { .. } => self.down(at),
            Kind::Committed(entry) => self.agreed(at, entry),
            Kind::Log(note) => self.note(at, note),
            Kind::Posted(packet) => self.posted(at, packet),
            Kind::Disturbed(disturbance) => self.disturbed(at, *disturbance),
            Kind::Heard(packet) => self.heard(at, packet),
            Kind::Unreadable => self.process(at, "unreadable"),
            Kind::LockedOut => self.process(at, "locked-out"),
            Kind::Stopped => self.happens(at, "stopped", FaultKind::Stop),
            Kind::Failed { .. } => self.process(at, "failed"),
            Kind::Restarted => self.happens(at, "restarted", FaultKind::Restart),
            Kind::Resumed => self.happens(at, "resumed", FaultKind::Pause),
            Kind::Exchanged(Exchange::Empty) => {
                self.happens(at, "empty-disk", FaultKind::ReplaceDisk);
            }
            Kind::Exchanged(Exchange::Older) => self.happens(at, "older-disk", FaultKind::PutBack),
            Kind::PowerLost { cut, .. } => {
                let PowerCut { kept, dropped, torn, .. } = cut.unwrap_or_default();
                self.disk(at, "cut", Some(Cut { kept, dropped, torn }));
                self.happens(at, "power-lost", FaultKind::Crash);
            }
            Kind::Disk(what) => self.disk(at, what, None),
            Kind::WriteFailed => self.disk(at, "a commit failed", None),
            Kind::CommittedAgain { refused: true } => {
                self.disk(at, "a commit that came again is refused", None);
            }
            Kind::Ordered { step, fault } => self.ordered(at, *step, fault),
            Kind::Fault { fault, .. } => {
                let member = at.member.or(fault.members().first().copied());
                let cause = self.ordered.get(&(fault.kind(), member)).copied();
                let n = self.push(at, cause, Body::Effect { what: fault.kind().name() });
                if let Some(member) = at.member {
                    self.of(member).process = Some(n);
                }
            }
            Kind::Over { step, why, .. } => self.over(at, *step, *why),
            Kind::ClockSet { ppm } => {
                let shown = Number(at.clock.as_nanos().into());
                self.push(at, None, Body::Clock { shown, ppm: *ppm });
            }
            Kind::Asked { call, by, request, again } => self.asked(at, *call, *by, request, *again),
            Kind::Sent { call, request } => {
                if let Some(member) = at.member {
                    self.of(member).door.push_back((*call, (*request).clone()));
                }
            }
            Kind::LostOnTheWay { call, request, answer, .. } => {
                let what = if answer.is_some() { "answer" } else { "request" };
                if let Some(open) = self.calls.get(call) {
                    let cause = open.answer.unwrap_or(open.n);
                    let leases = text::leases_of_request(request);
                    let n = self.push(at, Some(cause), Body::Lost { call: *call, what });
                    self.is_about(n, "lost", at, &leases);
                }
            }
            Kind::Answered { call, request, answer, .. } => {
                self.answered(at, *call, request, answer);
            }
            Kind::GaveUp { call, request, .. } => self.gave_up(at, *call, request),
            Kind::Guard { lease, news, .. } => {
                let news = match news {
                    GuardNews::Wanted { .. } => "wanted",
                    GuardNews::Looks => return,
                    GuardNews::Lives => "lives",
                    GuardNews::Lost { .. } => "lost",
                    GuardNews::Dropped => "dropped",
                };
                if self.shows(&[*lease].into()) {
                    let n = self.push(at, None, Body::Guard { lease: (*lease).into(), news });
                    self.is_about(n, "guard", at, &[*lease].into());
                }
            }
            Kind::Expected { found, met, line } => {
                at.line = Some(*line);
                self.push(at, None, Body::Expect { found, met: *met });
            }
            Kind::Panicked(what) => {
                self.push(at, None, Body::Expect { found: what, met: false });
            }
            Kind::Handed { .. }
            | Kind::Proposed(_)
            | Kind::Confirm(_)
            | Kind::OpenedAgain(_)
            | Kind::Compared { .. }
            | Kind::SlowDisk(_)
            | Kind::StoreHeld
            | Kind::CommittedAgain { refused: false }
            | Kind::Observed { .. }
            | Kind::ClockUnsteady { .. }
            | Kind::Healed { .. }
            | Kind::NobodyToAsk { .. }
            | Kind::Ended(_) => {}
        }
    }

    fn note(&mut self, at: &mut At, note: &Note) {
        let (what, term, id) = match note {
            Note::Elected { term, .. } => ("elected", Some(term.0), None),
            Note::NotElected { .. } => ("not-elected", None, None),
            Note::Deposed { term, .. } => ("deposed", Some(term.0), None),
            Note::Lost { proposal, .. } => {
                ("lost", None, Some((proposal.term.0, proposal.sequence)))
            }
            Note::Fenced { proposal, .. } => {
                ("fenced", None, Some((proposal.term.0, proposal.sequence)))
            }
            Note::Overwritten { .. } => ("overwritten", None, None),
            Note::Installed { .. } => ("installed", None, None),
            Note::Repeated => ("repeated", None, None),
        };
        if let Note::Elected { leader: member, .. }
        | Note::Deposed { leader: member, .. }
        | Note::NotElected { candidate: member, .. } = note
        {
            at.member = Some(*member);
        }
        let by = match note {
            Note::Elected { .. } | Note::NotElected { .. } => Some((FaultKind::Elect, at.member)),
            Note::Deposed { .. } => Some((FaultKind::Depose, None)),
            Note::Lost { member, .. } => Some((FaultKind::Lose, Some(*member))),
            Note::Overwritten { .. }
            | Note::Installed { .. }
            | Note::Repeated
            | Note::Fenced { .. } => None,
        };
        let ordered = by.and_then(|by| self.ordered.get(&by).copied());
        let cause = id.and_then(|id| self.proposals.get(&id).copied()).or(ordered);
        let n = self.push(at, cause, Body::Log { what, term, id: id.map(id_of) });
        if matches!(note, Note::Elected { .. } | Note::Deposed { .. } | Note::Installed { .. }) {
            self.note = Some(n);
        }
    }

    fn posted(&mut self, at: &mut At, packet: &Packet) {
        self.last_post = None;
        if !self.shows_inside(Some(packet.from())) && !self.shows_inside(Some(packet.to())) {
            return self.count(at, "send".to_owned());
        }
        self.posted += 1;
        let id = self.posted;
        let n = self.push(at, None, Body::Send { id, to: packet.to().0 });
        let text = packet.to_string();
        self.messages.entry(text.clone()).or_default().push_back((id, n));
        self.last_post = Some((text, id, n));
    }

    fn disturbed(&mut self, at: &mut At, disturbance: Disturbance) {
        let Some((text, id, n)) = self.last_post.clone() else { return };
        let why = match disturbance {
            Disturbance::Blocked => "blocked",
            Disturbance::Lost => "lost",
            Disturbance::Slowed => return,
            Disturbance::Doubled => {
                self.messages.entry(text).or_default().push_back((id, n));
                return;
            }
        };
        if let Some(on_their_way) = self.messages.get_mut(&text) {
            on_their_way.pop_back();
        }
        self.push(at, Some(n), Body::Drop { id, why });
    }

    fn heard(&mut self, at: &mut At, packet: &Packet) {
        let on_its_way = self.messages.get_mut(&packet.to_string());
        let Some((id, n)) = on_its_way.and_then(VecDeque::pop_front) else { return };
        self.push(at, Some(n), Body::Recv { id, from: packet.from().0 });
    }

    fn process(&mut self, at: &mut At, what: &'static str) {
        let cause = at.member.and_then(|member| self.of(member).process);
        self.process_by(at, what, cause);
    }

    /// Something happens to a process or a machine that may have been ordered.
    fn happens(&mut self, at: &mut At, what: &'static str, by: FaultKind) {
        let before = at.member.and_then(|member| self.of(member).process);
        let cause = self.ordered.get(&(by, at.member)).copied();
        self.process_by(at, what, cause.max(before));
    }

    fn process_by(&mut self, at: &mut At, what: &'static str, cause: Option<u64>) {
        let n = self.push(at, cause, Body::Process { what });
        if let Some(member) = at.member {
            self.of(member).process = Some(n);
        }
    }

    fn disk(&mut self, at: &mut At, what: &str, cut: Option<Cut>) {
        let cause = at.member.and_then(|member| self.of(member).commit);
        let n = self.push(at, cause, Body::Disk { what, cut });
        if let Some(member) = at.member {
            self.of(member).disk = Some(n);
        }
    }

    fn ordered(&mut self, at: &mut At, step: usize, fault: &Fault) {
        let span = fault.clone().span_mut().is_some();
        let until = fault.span().map(|span| nanos(at.now.saturating_add(span.0)));
        let members: Vec<MemberId> = fault.members();
        let body = Body::Fault {
            id: step,
            what: fault.kind().name(),
            members: members.iter().map(|member| member.0).collect(),
            until,
            lasts: span,
        };
        at.line = self.steps.get(step).copied();
        let n = self.push(at, None, body);
        if span {
            self.faults.insert(step, n);
        }
        self.ordered.insert((fault.kind(), members.first().copied()), n);
    }

    fn over(&mut self, at: &mut At, step: usize, why: OverBy) {
        let cause = self.faults.remove(&step);
        let why = match why {
            OverBy::Time => "time",
            OverBy::Heal => "heal",
            OverBy::Ending => "ending",
            OverBy::Process => "process",
        };
        self.push(at, cause, Body::Over { id: step, why });
    }

    fn asked(
        &mut self,
        at: &mut At,
        call: u64,
        by: judge::Asker<'_>,
        request: &Request,
        again: bool,
    ) {
        let leases = text::leases_of_request(request);
        let lease = leases.first().copied();
        let mut ttl = None;
        if let Request::Grant { ttl: asked, .. } | Request::GrantOnce { ttl: asked, .. } = request {
            ttl = Some(*asked);
        }
        let op = text::name_of_request(request);
        let (by, asker) = match by {
            judge::Asker::Step { lessee, line, .. } => (lessee.unwrap_or(""), Asker::Step(line)),
            judge::Asker::Herd { .. } => ("herd", Asker::Lessee(lease)),
            judge::Asker::Expectation => return,
        };
        if !self.shows(&leases) {
            return self.count(at, format!("ask {op}"));
        }
        if let Asker::Step(line) = asker {
            at.line = Some(line);
        }
        let member = at.member.take();
        let body = Body::Ask {
            call,
            op,
            lease: lease.map(Number::from),
            ttl: ttl.map(|ttl| Number(ttl.as_millis().into())),
            to: member.map(|member| member.0),
            by,
            again,
        };
        let n = self.push(at, self.told.get(&asker).copied(), body);
        self.is_about(n, "ask", at, &leases);
        let asked = Asked { n, asker, sent: at.now, answer: None, member };
        self.calls.insert(call, asked);
    }

    fn answered(
        &mut self,
        at: &mut At,
        call: u64,
        request: &Request,
        answer: &Result<Response, RequestError>,
    ) {
        let op = text::name_of_request(request);
        let Some(asked) = self.calls.remove(&call) else {
            let outcome = if answer.is_ok() { "ok" } else { "not ok" };
            return self.count(at, format!("told {op} {outcome}"));
        };
        at.member = asked.member;
        let lease = text::leases_of_request(request).first().copied();
        let lease = lease.or(text::lease_of_answer(answer));
        let ttl = match answer {
            Ok(Response::Granted { ttl, .. } | Response::Renewed { ttl }) => Some(*ttl),
            Ok(_) | Err(_) => None,
        };
        let until = ttl.map(|ttl| asked.sent.saturating_add(ttl.as_duration()));
        let body = Body::Told {
            call,
            op,
            lease: lease.map(Number::from),
            ok: answer.is_ok(),
            why: text::answer(answer),
            ttl: ttl.map(|ttl| Number(ttl.as_millis().into())),
            until: until.map(|until: Duration| nanos(until)),
        };
        let n = self.push(at, Some(asked.answer.unwrap_or(asked.n)), body);
        self.is_about(n, "told", at, &lease.into_iter().collect());
        self.told.insert(asked.asker, n);
    }

    fn gave_up(&mut self, at: &mut At, call: u64, request: &Request) {
        if let Some(member) = at.member {
            self.of(member).door.retain(|(waits, _)| *waits != call);
        }
        let op = text::name_of_request(request);
        let Some(asked) = self.calls.remove(&call) else {
            return self.count(at, format!("gave up {op}"));
        };
        let leases = text::leases_of_request(request);
        let lease = leases.first().copied().map(Number::from);
        let n = self.push(at, Some(asked.n), Body::GaveUp { call, op, lease });
        self.is_about(n, "told", at, &leases);
        self.told.insert(asked.asker, n);
    }
}
