//! Writes an event down as a line of the trace, as part of its hash, or both.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use lessor::{
    Change, Command, Entry, LeaseId, MemberId, MemberInput, Output, Request, Role, Transaction,
    Write,
};

use crate::env::disk::PowerCut;
use crate::env::raft::Note;
use crate::judge::oracle::Oracle;
use crate::judge::{Asker, Event, Exchange, GuardNews, Kind, OverBy};
use crate::model::text;
use crate::record::debug_text;
use crate::record::trace::{Focus, Line, Trace};
use crate::scenario::{Fault, Herd};

/// Writes the trace of a run.
#[derive(Debug)]
pub struct Recorder {
    trace: Trace,
    /// What is shown besides what always is.
    focus: Focus,
    /// The herds, whose events are aggregated.
    herds: Vec<Herd>,
}

/// A member, with the letter of its role.
pub type WithRole = (MemberId, char);

impl Recorder {
    /// For a run with these herds.
    #[must_use]
    pub fn new(herds: &[Herd]) -> Self {
        Self { trace: Trace::default(), focus: Focus::default(), herds: herds.to_vec() }
    }

    /// Has it show more than what is always shown.
    pub fn look_at(&mut self, focus: &Focus) {
        self.focus.clone_from(focus);
    }

    /// What it has written.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Ends the trace.
    pub fn finish(&mut self, now: Duration) {
        self.trace.finish(now);
    }

    /// Writes an event down. The oracle has seen it.
    pub fn observe(&mut self, event: &Event<'_>, member: Option<WithRole>, oracle: &Oracle) {
        let at = event.now;
        match &event.kind {
            Kind::Log(note) => self.note(at, member, note),
            Kind::Proposed(proposal) => {
                let words = debug_text::proposal(proposal);
                self.record_hash_only(at, member, format_args!("propose {words}"));
                let leases = || text::leases_of_command(&proposal.command);
                self.record_in_focus(at, member, "log", leases, |_| {
                    format!("takes proposal {}", text::proposal(proposal))
                });
            }
            Kind::Confirm(confirmation) => {
                self.record_hash_only(at, member, format_args!("confirm {confirmation:?}"));
                self.record_in_focus(at, member, "log", BTreeSet::new, |_| {
                    format!("is asked whether it leads (question {})", confirmation.0)
                });
            }
            Kind::Heard(packet) => {
                self.record_hash_only(at, member, format_args!("hears {packet}"));
                self.record_in_focus(at, member, "hears", BTreeSet::new, |_| packet.in_words());
            }
            Kind::Input(input) => self.input(at, member, input, oracle),
            Kind::Handled { member: handled, was_primary, .. } => {
                let words = match (*was_primary, handled.is_primary()) {
                    (false, true) => format!("promoted, {} leases", handled.lessor().len()),
                    (true, false) => "demoted".to_owned(),
                    (true, true) | (false, false) => return,
                };
                self.record(at, member, "role", words);
            }
            Kind::Output(Output::Commit(transaction)) => self.commit(at, member, transaction),
            Kind::Output(Output::Expired(batch)) => self.expired(at, member, &batch.leases),
            Kind::Output(output) => self.output(at, member, output, oracle),
            Kind::Opened { stored, .. } => {
                let leases = stored.snapshot.leases.len();
                let words = format!("store opened at {}, {leases} leases", stored.applied);
                self.record(at, member, "boot", words);
            }
            Kind::LockedOut => {
                let words = "the store is open elsewhere, tries again".to_owned();
                self.record(at, member, "boot", words);
            }
            Kind::OpenedAgain(Some(refusal)) => {
                let words = format!("a second engine is refused: {refusal}");
                self.record(at, member, "fault", words);
            }
            Kind::Stopped => self.record(at, member, "stop", "stopped".to_owned()),
            Kind::Failed { error, .. } => {
                self.record(at, member, "stop", format!("the member failed: {error}"));
            }
            Kind::PowerLost { cut, .. } => {
                self.record(at, member, "fault", power_cut_in_words(*cut));
            }
            Kind::Disk(operation) => {
                let words = |_: &Focus| (*operation).to_owned();
                self.record_in_focus(at, member, "disk", BTreeSet::new, words);
            }
            Kind::Observed { missed } => {
                self.record_hash_only(at, member, format_args!("observed, missed: {missed}"));
            }
            Kind::Fault { words, .. } => self.record(at, member, "fault", (*words).to_owned()),
            Kind::Over { fault, why: OverBy::Time, .. } => {
                self.record(
                    at,
                    None,
                    "fault",
                    format!("{}{} is over", fault.kind().name(), of_members(fault)),
                );
            }
            Kind::Restarted => self.record(at, member, "fault", "restarted".to_owned()),
            Kind::Exchanged(exchange) => {
                let words = match exchange {
                    Exchange::Empty => "gets an empty disk",
                    Exchange::Older => "gets back an older disk",
                };
                self.record(at, member, "fault", words.to_owned());
            }
            Kind::Resumed => self.record(at, member, "fault", "resumes".to_owned()),
            Kind::Healed { core, .. } => {
                let names: Vec<_> = core.iter().map(ToString::to_string).collect();
                let words = format!("all faults are over for {}", names.join(", "));
                self.record(at, None, "fault", words);
            }
            Kind::Asked { by, request, again, .. } => match by {
                Asker::Step { .. } if !again => self.step(at, *by, request.to_string()),
                Asker::Herd { .. } => {
                    let leases = || text::leases_of_request(request);
                    self.record_in_focus(at, None, "lessees", leases, |_| {
                        format!("{request}{}", of_member(event.member))
                    });
                }
                Asker::Step { .. } | Asker::Expectation => {}
            },
            Kind::NobodyToAsk { request, outcome } => {
                let words = format_args!("{request}");
                self.record_aggregated(at, None, "lessees", words, outcome);
                let leases = || text::leases_of_request(request);
                self.record_in_focus(at, None, "lessees", leases, |_| {
                    format!("{request}: nobody to ask")
                });
            }
            Kind::Answered { by, request, answer, .. } => match by {
                Asker::Step { .. } => {
                    self.step(at, *by, format!("{request}: {}", text::answer(answer)));
                }
                Asker::Herd { outcome } => {
                    let words = format_args!("{request} {}", debug_text::answer(answer));
                    self.record_aggregated(at, None, "lessees", words, outcome);
                    let leases = || text::leases_of_request(request);
                    self.record_in_focus(at, None, "lessees", leases, |_| {
                        let of = of_member(event.member);
                        format!("{request}{of}: {}", text::answer(answer))
                    });
                }
                Asker::Expectation => {}
            },
            Kind::LostOnTheWay { by, request, answer, .. } => {
                let (lost, to) = match answer {
                    None => ("request lost", "is lost on its way to"),
                    Some(_) => ("answer lost", "the answer is lost on its way from"),
                };
                self.waits_in_vain(event, *by, request, to, lost);
            }
            Kind::GaveUp { by, request, .. } => {
                let outcome = if let Asker::Herd { outcome } = by { outcome } else { "" };
                self.waits_in_vain(event, *by, request, "gives up waiting for", outcome);
            }
            Kind::Guard { lease, news, outcome: Some(outcome) } => {
                self.guard(event, *lease, *news, outcome);
            }
            Kind::Expected { found, met, line } => {
                let verdict = if *met { "as expected" } else { "NOT as expected" };
                let words = format!("{found}: {verdict} in line {line}");
                self.record(at, None, "expect", words);
            }
            Kind::Ended(_) => self.finish(at),
            Kind::Committed(_)
            | Kind::Handed { .. }
            | Kind::Posted(_)
            | Kind::Disturbed(_)
            | Kind::Ordered { .. }
            | Kind::Over { .. }
            | Kind::ClockSet { .. }
            | Kind::Unreadable
            | Kind::OpenedAgain(None)
            | Kind::Down { .. }
            | Kind::Compared { .. }
            | Kind::SlowDisk(_)
            | Kind::StoreHeld
            | Kind::WriteFailed
            | Kind::CommittedAgain { .. }
            | Kind::ClockUnsteady { .. }
            | Kind::Sent { .. }
            | Kind::Guard { outcome: None, .. }
            | Kind::Panicked(_) => {}
        }
    }

    /// Somebody gets no answer from a member, for this reason; the label is for lessees of herds.
    fn waits_in_vain(
        &mut self,
        event: &Event<'_>,
        by: Asker<'_>,
        request: &Request,
        why: &str,
        label: &str,
    ) {
        let (at, Some(asked)) = (event.now, event.member) else { return };
        let words = format!("{request}: {why} member {asked}");
        if matches!(by, Asker::Herd { .. }) {
            let hashed = format_args!("{request} of {asked}");
            self.record_aggregated(at, None, "lessees", hashed, label);
            let leases = || text::leases_of_request(request);
            self.record_in_focus(at, None, "lessees", leases, |_| words);
        } else {
            self.step(at, by, words);
        }
    }

    fn note(&mut self, at: Duration, member: Option<WithRole>, note: &Note) {
        let words = match note {
            Note::Elected { leader, term, barrier, in_flight, survived } => {
                let lost = if *in_flight + *survived == 0 {
                    String::new()
                } else {
                    format!(", {survived} of {in_flight} entries that are not committed survive")
                };
                format!("member {leader} is elected for term {term}, barrier {barrier}{lost}")
            }
            Note::NotElected { candidate, why } => {
                format!("member {candidate} is not elected: {why}")
            }
            Note::Deposed { leader, term } => {
                format!("member {leader} no longer leads term {term}")
            }
            Note::Lost { proposal, .. } => format!("lost: {}", proposal.command),
            Note::Overwritten { count, .. } => {
                format!("{count} entries give way to those of a newer leader")
            }
            Note::Installed { index, .. } => format!("installs the whole state at {index}"),
            Note::Repeated => return,
            Note::Fenced { proposal, .. } => {
                format!("refused in term {}: {}", proposal.term, proposal.command)
            }
        };
        self.record(at, member, "log", words);
    }

    fn input(
        &mut self,
        at: Duration,
        member: Option<WithRole>,
        input: &MemberInput,
        oracle: &Oracle,
    ) {
        let words = match input {
            MemberInput::Committed(entries) => {
                for entry in entries {
                    self.applied(at, member, entry);
                }
                return;
            }
            MemberInput::Role(Role::Leader { term, barrier }) => {
                format!("leads term {term}, barrier {barrier}")
            }
            MemberInput::Role(Role::Follower { leader: Some(leader) }) => {
                format!("follows member {leader}")
            }
            MemberInput::Role(Role::Follower { leader: None }) => "follows nobody".to_owned(),
            MemberInput::Confirmed { committed: None, .. } => {
                "learns that it does not lead".to_owned()
            }
            MemberInput::Request { .. }
            | MemberInput::Confirmed { committed: Some(_), .. }
            | MemberInput::Installed(_)
            | MemberInput::GoOn
            | MemberInput::Persisted(_)
            | MemberInput::Forget(_)
            | MemberInput::HoldExpired(_)
            | MemberInput::Timeout
            | MemberInput::Stop => return self.hidden_input(at, member, input, oracle),
        };
        self.record(at, member, "role", words);
    }

    /// An input that is only hashed.
    fn hidden_input(
        &mut self,
        at: Duration,
        member: Option<WithRole>,
        input: &MemberInput,
        oracle: &Oracle,
    ) {
        self.record_hash_only(at, member, format_args!("input {}", debug_text::input(input)));
        if let MemberInput::Request { request: Request::Promote | Request::Demote, .. } = input {
            // It bears on every lease, so that whoever looks at one sees it.
            let primary = member.is_some_and(|(member, _)| oracle.is_primary(member));
            let already = if primary { "it is primary" } else { "it is not primary" };
            let leases = self.focus.leases.clone();
            self.record_in_focus(
                at,
                member,
                "role",
                || leases,
                |_| format!("{}; {already}", text::input(input)),
            );
        } else {
            let leases = || text::leases_of_input(input);
            self.record_in_focus(at, member, "input", leases, |_| text::input(input).to_string());
        }
    }

    fn applied(&mut self, at: Duration, member: Option<WithRole>, entry: &Entry) {
        let Some(proposal) = &entry.proposal else {
            let words = format!("{} opens term {}", entry.index, entry.term);
            return self.record(at, member, "apply", words);
        };
        let command = &proposal.command;
        let words = format_args!("{} {command}", entry.index);
        let of_herd = match command {
            Command::Grant { id, .. }
            | Command::Revoke { id }
            | Command::Attach { id, .. }
            | Command::Detach { id, .. }
            | Command::Claim { id, .. } => self.is_of_herd(*id),
            Command::Checkpoint { checkpoints } => {
                checkpoints.iter().all(|checkpoint| self.is_of_herd(checkpoint.id))
            }
        };
        if of_herd {
            self.record_aggregated(at, member, "apply", words, text::label(command));
            let leases = || text::leases_of_command(command);
            self.record_in_focus(at, member, "apply", leases, |_| words.to_string());
        } else {
            self.record(at, member, "apply", words.to_string());
        }
    }

    /// An output that is only hashed.
    fn output(&mut self, at: Duration, member: Option<WithRole>, output: &Output, oracle: &Oracle) {
        self.record_hash_only(at, member, format_args!("output {}", debug_text::output(output)));
        let asked = match output {
            Output::Answer { ticket, .. } | Output::Waits(ticket) if !self.focus.is_empty() => {
                member.and_then(|(member, _)| oracle.request_of(member, *ticket))
            }
            Output::Answer { .. }
            | Output::Waits(_)
            | Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Commit(_)
            | Output::Expired(_) => None,
        };
        let leases = || {
            let of_request = asked.map(text::leases_of_request).unwrap_or_default();
            text::leases_of_output(output).into_iter().chain(of_request).collect()
        };
        self.record_in_focus(at, member, "output", leases, |_| match asked {
            Some(request) => format!("{} ({})", text::output(output), request),
            None => text::output(output).to_string(),
        });
    }

    fn commit(&mut self, at: Duration, member: Option<WithRole>, transaction: &Transaction) {
        let changes = text::changes(&transaction.changes);
        let words = format_args!("{} {changes}", transaction.applied);
        let of_herd = transaction.changes.iter().all(|change| match change {
            Change::Write(Write::PutLease(record)) => self.is_of_herd(record.id),
            Change::Write(Write::DeleteLease(id) | Write::PutItem(_, id)) => self.is_of_herd(*id),
            Change::Write(Write::DeleteItem(_)) => false,
            Change::RangeDelete(delete) => self.is_of_herd(delete.lease),
        });
        if of_herd && !self.herds.is_empty() {
            self.record_aggregated(at, member, "commit", words, "commits");
        } else {
            self.record(at, member, "commit", words.to_string());
            if transaction.changes.len() <= text::SHOWN {
                return;
            }
        }
        // Of a long transaction only what is looked for.
        let leases = || transaction.changes.iter().filter_map(text::lease_of_change).collect();
        self.record_in_focus(at, member, "commit", leases, |focus| {
            let concerns = |change: &&Change| {
                text::lease_of_change(change).is_some_and(|lease| focus.leases.contains(&lease))
            };
            let mut some: Vec<_> = transaction.changes.iter().filter(concerns).cloned().collect();
            if some.is_empty() {
                some.clone_from(&transaction.changes);
            }
            format!("{} {}", transaction.applied, text::changes(&some))
        });
    }

    fn expired(&mut self, at: Duration, member: Option<WithRole>, leases: &[LeaseId]) {
        let words = format!("expired: {}", text::ids_in_words(leases));
        self.record(at, member, "expire", words);
        for lease in leases.get(text::SHOWN..).unwrap_or_default() {
            let others = leases.len() - 1;
            self.record_in_focus(
                at,
                member,
                "expire",
                || BTreeSet::from([*lease]),
                |_| format!("expired, with {others} others: lease {lease}"),
            );
        }
    }

    /// A line about the request of a step.
    fn step(&mut self, at: Duration, by: Asker<'_>, words: String) {
        let words = match by {
            Asker::Step { lessee: Some(lessee), .. } => format!("{lessee}: {words}"),
            Asker::Step { lessee: None, member, .. } => format!("{words}{}", of_member(member)),
            Asker::Herd { .. } | Asker::Expectation => words,
        };
        self.record(at, None, "lessee", words);
    }

    fn guard(&mut self, event: &Event<'_>, lease: LeaseId, news: GuardNews<'_>, outcome: &str) {
        let why = match news {
            GuardNews::Lost { why } => why.to_string(),
            GuardNews::Lives => event.member.map_or(String::new(), |by| format!("by member {by}")),
            GuardNews::Dropped => "its lessee is gone".to_owned(),
            GuardNews::Wanted { .. } | GuardNews::Looks => return,
        };
        let words = format_args!("the guard of lease {lease}: {why}");
        self.record_aggregated(event.now, None, "lessees", words, outcome);
        let leases = || BTreeSet::from([lease]);
        self.record_in_focus(event.now, None, "lessees", leases, |_| words.to_string());
    }

    /// Shows what is not shown anyway, if somebody looks for one of these leases, for this member, or for
    /// some text in the line.
    fn record_in_focus(
        &mut self,
        at: Duration,
        member: Option<WithRole>,
        kind: &'static str,
        leases: impl FnOnce() -> BTreeSet<LeaseId>,
        words: impl FnOnce(&Focus) -> String,
    ) {
        if self.focus.is_empty() {
            return;
        }
        let focus = &self.focus;
        let of_member = member.is_some_and(|(member, _)| focus.members.contains(&member));
        let wanted = focus.all || of_member || !focus.leases.is_disjoint(&leases());
        if !wanted && focus.text.is_none() {
            return;
        }
        let words = words(focus);
        let line = Line { at, member, kind, words };
        let has_text = |text: &String| line.to_string().contains(text.as_str());
        if wanted || self.focus.text.as_ref().is_some_and(has_text) {
            self.trace.show(line);
        }
    }

    fn is_of_herd(&self, lease: LeaseId) -> bool {
        self.herds.iter().any(|herd| herd.has(lease))
    }

    fn record(
        &mut self,
        at: Duration,
        member: Option<WithRole>,
        kind: &'static str,
        words: String,
    ) {
        self.trace.record(Line { at, member, kind, words });
    }

    /// Notes one of many like it.
    fn record_aggregated(
        &mut self,
        at: Duration,
        member: Option<WithRole>,
        kind: &'static str,
        words: fmt::Arguments<'_>,
        label: &str,
    ) {
        self.trace.record_aggregated(at, member, kind, words, label);
    }

    /// Notes what only the hash need know.
    fn record_hash_only(
        &mut self,
        at: Duration,
        member: Option<WithRole>,
        words: fmt::Arguments<'_>,
    ) {
        self.trace.record_hash_only(at, member, "inside", words);
    }
}

/// Whom a request is for, if that is known.
fn of_member(member: Option<MemberId>) -> String {
    member.map_or(String::new(), |member| format!(" [of member {member}]"))
}

/// Whom a fault concerns, for people.
fn of_members(fault: &Fault) -> String {
    let mut fault = fault.clone();
    let members: Vec<_> = fault.members_mut().iter().map(ToString::to_string).collect();
    match &members[..] {
        [] => String::new(),
        [member] => format!(" of member {member}"),
        members => format!(" of members {}", members.join(", ")),
    }
}

fn power_cut_in_words(cut: Option<PowerCut>) -> String {
    let Some(cut) = cut else { return "power lost".to_owned() };
    format!(
        "power lost; writes not synced: {}, of these kept {}, dropped {}, torn {}",
        cut.unsynced, cut.kept, cut.dropped, cut.torn
    )
}
