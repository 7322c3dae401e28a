//! What the world does, in words, line by line.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use lessor::{
    Change, Command, Entry, LeaseId, MemberId, MemberInput, Output, Request, Transaction, Write,
};

use super::World;
use crate::env::raft::Note;
use crate::model::text;
use crate::record::debug_text;
use crate::record::trace::{Focus, Line};
use crate::scenario::{self, ELECT, LOSE, REPEAT};

impl World {
    pub(super) fn record_note(&mut self, now: Duration, note: &Note) {
        self.coverage.note(note);
        let (member, words) = match note {
            Note::Elected { leader, term, barrier, in_flight, survived } => {
                self.has_effect(ELECT);
                self.oracle.elected(now, *term);
                self.stable_since = now;
                let lost = if *in_flight + *survived == 0 {
                    String::new()
                } else {
                    format!(", {survived} of {in_flight} entries that are not committed survive")
                };
                (None, format!("member {leader} is elected for term {term} behind {barrier}{lost}"))
            }
            Note::NotElected { candidate, why } => {
                (None, format!("member {candidate} is not elected: {why}"))
            }
            Note::Deposed { leader, term } => {
                self.stable_since = now;
                (None, format!("member {leader} leads term {term} no more"))
            }
            Note::Lost { member, proposal } => {
                self.losses += 1;
                self.has_effect(LOSE);
                (Some(*member), format!("lost: {}", proposal.command))
            }
            Note::Overwritten { member, count, .. } => {
                (Some(*member), format!("{count} entries give way to those of a newer leader"))
            }
            Note::Installed { member, place } => {
                (Some(*member), format!("takes the whole state at {place}"))
            }
            Note::Repeated => return self.has_effect(REPEAT),
            Note::Fenced { member, proposal } => {
                let command = &proposal.command;
                (Some(*member), format!("refused in term {}: {command}", proposal.term))
            }
        };
        self.record(now, member, "log", words);
    }

    pub(super) fn record_applied(&mut self, now: Duration, member: MemberId, entry: &Entry) {
        let Some(proposal) = &entry.proposal else {
            let words = format!("{} opens term {}", entry.index, entry.term);
            return self.record(now, Some(member), "apply", words);
        };
        let command = &proposal.command;
        let words = format_args!("{} {command}", entry.index);
        let of_herd = match &proposal.command {
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
            self.record_aggregated(
                now,
                Some(member),
                "apply",
                words,
                text::label(&proposal.command),
            );
            let leases = || text::leases_of_command(&proposal.command);
            self.record_in_focus(now, Some(member), "apply", leases, |_| words.to_string());
        } else {
            self.record(now, Some(member), "apply", words.to_string());
        }
    }

    pub(super) fn record_commit(
        &mut self,
        now: Duration,
        member: MemberId,
        transaction: &Transaction,
    ) {
        let changes = text::changes(&transaction.changes);
        let words = format_args!("{} {changes}", transaction.applied);
        let of_herd = transaction.changes.iter().all(|change| match change {
            Change::Write(Write::PutLease(record)) => self.is_of_herd(record.id),
            Change::Write(Write::DeleteLease(id) | Write::PutItem(_, id)) => self.is_of_herd(*id),
            Change::Write(Write::DeleteItem(_)) => false,
            Change::RangeDelete(delete) => self.is_of_herd(delete.lease),
        });
        if of_herd && !self.herds.is_empty() {
            self.record_aggregated(now, Some(member), "commit", words, "commits");
        } else {
            self.record(now, Some(member), "commit", words.to_string());
            if transaction.changes.len() <= text::SHOWN {
                return;
            }
        }
        // Of a long transaction only what is looked for.
        let leases = || transaction.changes.iter().filter_map(text::lease_of_change).collect();
        self.record_in_focus(now, Some(member), "commit", leases, |focus| {
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

    /// Leases have expired on a member.
    pub(super) fn record_expired(&mut self, now: Duration, member: MemberId, leases: &[LeaseId]) {
        let words = format!("expired: {}", text::ids_in_words(leases));
        self.record(now, Some(member), "expire", words);
        let behind = leases.get(text::SHOWN..).unwrap_or_default();
        for lease in behind {
            self.record_in_focus(
                now,
                Some(member),
                "expire",
                || BTreeSet::from([*lease]),
                |_| format!("expired, with {} others: lease {lease}", leases.len() - 1),
            );
        }
    }

    /// A member is told something that is only hashed.
    pub(super) fn record_input(&mut self, now: Duration, member: MemberId, input: &MemberInput) {
        self.record_hash_only(now, member, format_args!("input {}", debug_text::input(input)));
        let leases = || text::leases_of_input(input);
        if let MemberInput::Request { request: Request::Promote | Request::Demote, .. } = input {
            // It bears on every lease, so that whoever looks at one sees it.
            let primary = self.oracle.is_primary(member);
            let already = if primary { "it is primary" } else { "it is not primary" };
            self.record_for_all(now, member, "role", |_| {
                format!("{}; {already}", text::input(input))
            });
        } else {
            self.record_in_focus(now, Some(member), "input", leases, |_| {
                text::input(input).to_string()
            });
        }
    }

    /// A member says something that is only hashed.
    pub(super) fn record_output(
        &mut self,
        now: Duration,
        member: MemberId,
        output: &Output,
        asked: Option<&Request>,
    ) {
        self.record_hash_only(now, member, format_args!("output {}", debug_text::output(output)));
        let leases = || {
            let of_request = asked.map(text::leases_of_request).unwrap_or_default();
            text::leases_of_output(output).into_iter().chain(of_request).collect()
        };
        self.record_in_focus(now, Some(member), "output", leases, |_| match asked {
            Some(request) => format!("{} to: {}", text::output(output), request),
            None => text::output(output).to_string(),
        });
    }

    /// What an answer answers, if somebody wants to see it.
    pub(super) fn asked_of(&self, member: MemberId, output: &Output) -> Option<Request> {
        match output {
            Output::Answer { ticket, .. } | Output::Waits(ticket) if !self.focus.is_empty() => {
                self.oracle.request_of(member, *ticket).cloned()
            }
            Output::Answer { .. }
            | Output::Waits(_)
            | Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Commit(_)
            | Output::Expired(_) => None,
        }
    }

    /// Shows what a member's disk has been asked since it was last looked at.
    pub(super) fn show_disk(&mut self, now: Duration, member: MemberId) {
        if !self.focus.sees_disk(member) {
            return;
        }
        for operation in self.machine(member).disk.take_operations() {
            self.record_in_focus(now, Some(member), "disk", BTreeSet::new, |_| operation);
        }
    }

    /// Shows what is not shown anyway and bears on every lease, if somebody looks for any.
    fn record_for_all(
        &mut self,
        at: Duration,
        member: MemberId,
        kind: &'static str,
        words: impl FnOnce(&Focus) -> String,
    ) {
        let leases = self.focus.leases.clone();
        self.record_in_focus(at, Some(member), kind, || leases, words);
    }

    /// Shows what is not shown anyway, if somebody looks for one of these leases, for this member, or for
    /// some text in the line.
    pub(super) fn record_in_focus(
        &mut self,
        at: Duration,
        member: Option<MemberId>,
        kind: &'static str,
        leases: impl FnOnce() -> BTreeSet<LeaseId>,
        words: impl FnOnce(&Focus) -> String,
    ) {
        if self.focus.is_empty() {
            return;
        }
        let focus = &self.focus;
        let of_member = member.is_some_and(|member| focus.members.contains(&member));
        let wanted = focus.all || of_member || !focus.leases.is_disjoint(&leases());
        if !wanted && focus.text.is_none() {
            return;
        }
        let words = words(focus);
        let line = Line { at, member: member.map(|member| self.with_role(member)), kind, words };
        let has_text = |text: &String| line.to_string().contains(text.as_str());
        if wanted || self.focus.text.as_ref().is_some_and(has_text) {
            self.trace.show(line);
        }
    }

    pub(super) fn is_of_herd(&self, lease: LeaseId) -> bool {
        self.herds.iter().any(|(first, last)| (*first..=*last).contains(&lease))
    }

    pub(super) fn record_of_step(&mut self, now: Duration, place: usize, words: String) {
        let step = &self.scenario.steps[place];
        let words = match &step.action {
            scenario::Action::Ask { lessee: Some(lessee), .. } => format!("{lessee}: {words}"),
            scenario::Action::Ask { member: Some(member), .. } => {
                format!("{words} [of member {member}]")
            }
            scenario::Action::Ask { .. } | scenario::Action::Fault(_) => words,
        };
        self.record(now, None, "lessee", words);
    }

    pub(super) fn record(
        &mut self,
        at: Duration,
        member: Option<MemberId>,
        kind: &'static str,
        words: String,
    ) {
        let member = member.map(|member| self.with_role(member));
        self.trace.record(Line { at, member, kind, words });
    }

    /// Notes one of many like it.
    pub(super) fn record_aggregated(
        &mut self,
        at: Duration,
        member: Option<MemberId>,
        kind: &'static str,
        words: fmt::Arguments<'_>,
        label: &str,
    ) {
        let member = member.map(|member| self.with_role(member));
        self.trace.record_aggregated(at, member, kind, words, label);
    }

    /// Notes what only the hash need know.
    pub(super) fn record_hash_only(
        &mut self,
        at: Duration,
        member: MemberId,
        words: fmt::Arguments<'_>,
    ) {
        let member = self.with_role(member);
        self.trace.record_hash_only(at, Some(member), "inside", words);
    }

    /// A member, with the letter of its role.
    fn with_role(&self, member: MemberId) -> (MemberId, char) {
        let role = if !self.machines[&member].up {
            '-'
        } else if self.oracle.is_primary(member) {
            'P'
        } else if self.raft.leader() == Some(member) {
            'L'
        } else {
            'F'
        };
        (member, role)
    }
}
