//! Events of a member: what goes in and out of it, and what it holds.

use std::collections::BTreeSet;

use lessor::{
    Change, Entry, LeaseId, Member, MemberId, MemberInput, Output, Request, RequestError, Response,
    Role, Ticket, Transaction, Write,
};

use super::form::{Body, Number};
use super::leases;
use super::{At, EventLog, form_of, id_of, nanos, numbers};
use crate::model::text;

impl EventLog {
    /// A member's process has opened its store.
    pub(super) fn opened(&mut self, at: &mut At) {
        let Some(member) = at.member else { return };
        let n = self.push(at, None, Body::Process { what: "opened" });
        let inside = self.of(member);
        inside.why = "open";
        inside.process = Some(n);
    }

    /// A member's process has ended, and all that it had in mind.
    pub(super) fn down(&mut self, at: &mut At) {
        let Some(member) = at.member else { return };
        let inside = self.of(member);
        let (cause, leases) = (inside.process, inside.deadlines.forget());
        inside.door.clear();
        inside.input = None;
        let n = self.push(at, cause, Body::Process { what: "down" });
        self.of(member).process = Some(n);
        for lease in leases {
            let lease = lease.into();
            let gone = Body::Due { lease, at: None, own: None, ttl: Number(0), why: "down" };
            self.push(at, Some(n), gone);
        }
    }

    pub(super) fn input(&mut self, at: &mut At, input: &MemberInput) {
        let Some(member) = at.member else { return };
        let inside = self.of(member);
        inside.input = None;
        inside.why = "time";
        inside.touched = text::leases_of_input(input);
        match input {
            MemberInput::Request { ticket, request } => self.request(at, member, *ticket, request),
            MemberInput::Committed(entries) => {
                for entry in entries {
                    self.apply(at, member, entry);
                }
            }
            MemberInput::Role(role) => self.role(at, member, *role),
            MemberInput::Confirmed { confirmation, committed } => {
                let cause = inside.questions.remove(confirmation);
                let kind = if committed.is_some() { "leads" } else { "leads-not" };
                let index = committed.map(|index| index.0);
                self.told(at, member, kind, cause, None, index);
            }
            MemberInput::Installed(state) => {
                inside.why = "install";
                inside.deadlines.forget();
                let (cause, index) = (self.note, state.applied.0);
                self.told(at, member, "install", cause, None, Some(index));
            }
            MemberInput::Persisted(index) => {
                let cause = inside.commit;
                self.told(at, member, "persisted", cause, None, Some(index.0));
            }
            MemberInput::Forget(ticket) => {
                let cause = inside.tickets.get(ticket).map(|(n, _)| *n);
                self.told(at, member, "forget", cause, Some(*ticket), None);
            }
            MemberInput::GoOn => self.told(at, member, "go-on", None, None, None),
            MemberInput::HoldExpired(true) => self.told(at, member, "hold", None, None, None),
            MemberInput::HoldExpired(false) => self.told(at, member, "let-go", None, None, None),
            MemberInput::Timeout => self.told(at, member, "timer", None, None, None),
            MemberInput::Stop => self.told(at, member, "stop", None, None, None),
        }
    }

    /// A member is told something that is about no lease.
    fn told(
        &mut self,
        at: &mut At,
        member: MemberId,
        kind: &'static str,
        cause: Option<u64>,
        ticket: Option<Ticket>,
        index: Option<u64>,
    ) {
        if !self.shows_inside(at.member) {
            return self.count(at, format!("in {kind}"));
        }
        let ticket = ticket.map(|ticket| ticket.0);
        let body = Body::In { kind, op: None, lease: None, ticket, call: None, index };
        let n = self.push(at, cause, body);
        self.of(member).input = Some(n);
    }

    fn request(&mut self, at: &mut At, member: MemberId, ticket: Ticket, request: &Request) {
        let (op, leases) = (text::name_of_request(request), text::leases_of_request(request));
        let inside = self.of(member);
        inside.why = op;
        let asked = inside.door.iter().position(|(_, waits)| waits == request);
        let call = asked.and_then(|position| inside.door.remove(position)).map(|(call, _)| call);
        if !self.shows(&leases) {
            return self.count(at, format!("in {op}"));
        }
        let cause = call.and_then(|call| self.calls.get(&call)).map(|asked| asked.n);
        let lease = leases.first().copied().map(Number::from);
        let ticket_number = Some(ticket.0);
        let body = Body::In {
            kind: "request",
            op: Some(op),
            lease,
            ticket: ticket_number,
            call,
            index: None,
        };
        let n = self.push(at, cause, body);
        self.is_about(n, "in", at, &leases);
        let inside = self.of(member);
        inside.input = Some(n);
        inside.tickets.insert(ticket, (n, call));
    }

    fn apply(&mut self, at: &mut At, member: MemberId, entry: &Entry) {
        let (op, leases) = leases::asked(entry);
        let agreed = self.agreed.get(&entry.index.0).copied();
        let (cause, effect) = agreed.map_or((None, "unknown"), |(n, effect)| (Some(n), effect));
        self.of(member).why = op;
        if !self.shows(&leases) {
            return self.count(at, format!("apply {op} {effect}"));
        }
        let body = Body::Apply(form_of(entry, op, &leases, effect));
        let n = self.push(at, cause.filter(|n| *n > 0), body);
        self.is_about(n, "apply", at, &leases);
        self.of(member).input = Some(n);
    }

    fn role(&mut self, at: &mut At, member: MemberId, role: Role) {
        let (role, term, leader) = match role {
            Role::Leader { term, .. } => ("leader", Some(term.0), Some(member.0)),
            Role::Follower { leader } => ("follower", None, leader.map(|leader| leader.0)),
        };
        let n = self.push(at, self.note, Body::Role { role, term, leader });
        let inside = self.of(member);
        inside.why = "role";
        inside.role = Some(n);
        inside.input = Some(n);
    }

    pub(super) fn handled(&mut self, at: &mut At, handled: &Member, was_primary: bool) {
        let Some(member) = at.member else { return };
        let is_primary = handled.is_primary();
        let cause = self.of(member).input;
        let turned = was_primary != is_primary;
        if turned {
            let role = if is_primary { "primary" } else { "demoted" };
            let n = self.push(at, cause, Body::Role { role, term: None, leader: None });
            let inside = self.of(member);
            inside.role = Some(n);
            inside.input = Some(n);
            inside.why = if is_primary { "promote" } else { "demote" };
        }
        let lessor = handled.lessor();
        let (why, cause) = (self.of(member).why, self.of(member).input);
        let changes_all = turned || ["open", "install", "role"].contains(&why);
        let changed = if self.detail.all && changes_all {
            self.of(member).deadlines.changed(lessor, None)
        } else {
            let inside = self.of(member);
            let mut of = std::mem::take(&mut inside.touched);
            // A renew may take effect when something else comes in.
            of.extend(inside.deadlines.known());
            if changes_all {
                of.extend(&self.detail.leases);
            }
            let shown: BTreeSet<LeaseId> =
                of.into_iter().filter(|id| self.shows(&[*id].into())).collect();
            if shown.is_empty() {
                return;
            }
            self.of(member).deadlines.changed(lessor, Some(&shown))
        };
        for (lease, known, gone) in changed {
            let left = known.due.filter(|_| !gone).map(|due| {
                let left =
                    at.of.map_or(due.saturating_since(at.clock), |clock| clock.until(at.now, due));
                at.now.saturating_add(left)
            });
            let body = Body::Due {
                lease: lease.into(),
                at: left.map(nanos),
                own: known.due.filter(|_| !gone).map(|due| Number(due.as_nanos().into())),
                ttl: Number(known.ttl.as_millis().into()),
                why: if gone { "end" } else { why },
            };
            let n = self.push(at, cause, body);
            self.is_about(n, "due", at, &[lease].into());
        }
    }

    pub(super) fn output(&mut self, at: &mut At, output: &Output) {
        let Some(member) = at.member else { return };
        let cause = self.of(member).input;
        match output {
            Output::Propose(proposal) => {
                let command = &proposal.command;
                let (op, leases) =
                    (text::name_of_command(command), text::leases_of_command(command));
                if !self.shows(&leases) {
                    return self.count(at, format!("propose {op}"));
                }
                let key = (proposal.term.0, proposal.sequence);
                let body = Body::Propose { id: id_of(key), op, leases: numbers(&leases) };
                let n = self.push(at, cause, body);
                self.is_about(n, "propose", at, &leases);
                self.proposals.insert(key, n);
            }
            Output::Confirm(question) => {
                if !self.shows_inside(at.member) {
                    return self.count(at, "confirm".to_owned());
                }
                let n = self.push(at, cause, Body::Confirm { question: question.0 });
                self.of(member).questions.insert(*question, n);
            }
            Output::Campaign => self.says(at, cause, "campaign"),
            Output::Resign => self.says(at, cause, "resign"),
            Output::Commit(transaction) => self.commit(at, member, cause, transaction),
            Output::Waits(ticket) => {
                let Some((n, call)) = self.of(member).tickets.get(ticket).copied() else { return };
                let ticket = Some(ticket.0);
                let body = Body::Out { kind: "waits", ticket, call, lease: None, ok: None };
                self.push(at, Some(n), body);
            }
            Output::Answer { ticket, answer } => self.answer(at, member, *ticket, answer),
            Output::Expired(batch) => {
                let leases: BTreeSet<LeaseId> = batch.leases.iter().copied().collect();
                if !self.shows(&leases) {
                    return self.count(at, format!("expire {}", leases.len()));
                }
                let n = self.push(at, cause, Body::Expire { leases: numbers(&leases) });
                self.is_about(n, "expire", at, &leases);
            }
        }
    }

    fn says(&mut self, at: &mut At, cause: Option<u64>, kind: &'static str) {
        let body = Body::Out { kind, ticket: None, call: None, lease: None, ok: None };
        self.push(at, cause, body);
    }

    fn answer(
        &mut self,
        at: &mut At,
        member: MemberId,
        ticket: Ticket,
        answer: &Result<Response, RequestError>,
    ) {
        let inside = self.of(member);
        let Some((asked, call)) = inside.tickets.remove(&ticket) else {
            return self.count(at, "out answer".to_owned());
        };
        // What was handled last let it go, if that came after the request.
        let cause = inside.input.filter(|input| *input > asked).unwrap_or(asked);
        let lease = text::lease_of_answer(answer).map(Number::from);
        let (ticket, ok) = (Some(ticket.0), Some(answer.is_ok()));
        let n = self.push(at, Some(cause), Body::Out { kind: "answer", ticket, call, lease, ok });
        if let Some(open) = call.and_then(|call| self.calls.get_mut(&call)) {
            open.answer = Some(n);
        }
    }

    fn commit(
        &mut self,
        at: &mut At,
        member: MemberId,
        cause: Option<u64>,
        transaction: &Transaction,
    ) {
        let leases: BTreeSet<LeaseId> =
            transaction.changes.iter().filter_map(text::lease_of_change).collect();
        let shown: BTreeSet<LeaseId> =
            leases.iter().copied().filter(|id| self.shows(&[*id].into())).collect();
        if !leases.is_empty() && shown.is_empty()
            || leases.is_empty() && !self.shows_inside(at.member)
        {
            return self.count(at, "commit".to_owned());
        }
        let (mut put, mut del, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for change in &transaction.changes {
            let hides = text::lease_of_change(change).is_some_and(|id| !shown.contains(&id));
            if hides {
                continue;
            }
            match change {
                Change::Write(Write::PutLease(record)) => put.push(record.id.into()),
                Change::Write(Write::DeleteLease(id)) => del.push((*id).into()),
                Change::Write(Write::PutItem(item, id)) => items.push(format!("{id} {item}")),
                Change::Write(Write::DeleteItem(item)) => items.push(format!("- {item}")),
                Change::RangeDelete(delete) => {
                    items.extend(delete.items.iter().map(|item| format!("- {item}")));
                }
            }
        }
        let (after, index, reset) = (transaction.after.0, transaction.applied.0, transaction.reset);
        let n = self.push(at, cause, Body::Commit { after, index, reset, put, del, items });
        self.is_about(n, "commit", at, &shown);
        self.of(member).commit = Some(n);
    }
}
