//! The host of a real member in [the machine](super::member_machine), and the rules by which it
//! judges what its member says. It knows what the log holds, but not what the model says.

use std::collections::BTreeMap;

use lessor::backend::MemoryBackend;
use lessor::{
    Command, Confirmation, LeaseId, LogIndex, MemberInput, Output, Proposal, Request, Response,
    Role, Ticket, Transaction,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::group::Group;
use super::history::{Asked, History};
use super::member_model::{Answer, Reign};
use super::member_planted::Adapter;
use super::model::nanos;

/// A real member, its store, and what whoever deals with it may count on.
pub(crate) struct Host {
    pub(crate) adapter: Adapter,
    pub(crate) store: MemoryBackend,
    /// The index at which the store stands.
    pub(crate) stored: u64,
    pub(crate) committing: Option<Transaction>,
    /// Who waits for an answer, with the latest question when they asked.
    pub(crate) asked: BTreeMap<Ticket, (Asked, u64)>,
    /// The reign that it was told of and not since told to end.
    told: Option<Reign>,
    /// The questions of this reign, with what was committed by then if the answer was yes.
    questions: BTreeMap<u64, Option<u64>>,
    /// Until when renews of this reign were promised, on the clock of the core.
    promises: BTreeMap<LeaseId, u64>,
}

impl Host {
    pub(crate) fn new(adapter: Adapter, stored: LogIndex, store: MemoryBackend) -> Self {
        Self {
            adapter,
            store,
            stored: stored.0,
            committing: None,
            asked: BTreeMap::new(),
            told: None,
            questions: BTreeMap::new(),
            promises: BTreeMap::new(),
        }
    }

    /// Notes what an input lets the member do.
    pub(crate) fn hear(&mut self, input: &MemberInput, since: u64) {
        let member = &self.adapter.member;
        match input {
            MemberInput::Request { ticket, request } => {
                let question = self.questions.keys().next_back().copied().unwrap_or(0);
                let asked = Asked { request: request.clone(), since };
                self.asked.insert(*ticket, (asked, question));
            }
            MemberInput::Committed(entries) => {
                for proposal in entries.iter().filter_map(|entry| entry.proposal.as_ref()) {
                    if let Command::Revoke { id } = proposal.command {
                        self.promises.remove(&id);
                    }
                }
            }
            MemberInput::Role(Role::Leader { term, .. })
                if self.told.is_some_and(|told| told.term == term.0) => {}
            MemberInput::Role(Role::Leader { term, barrier }) if !member.is_stopped() => {
                self.end_reign();
                self.told = Some(Reign { term: term.0, barrier: barrier.0 });
            }
            MemberInput::Role(_) | MemberInput::Stop => self.end_reign(),
            MemberInput::Installed(state) if state.applied > member.applied() => self.end_reign(),
            MemberInput::Confirmed { confirmation, committed } => {
                let closed = self.questions.range(confirmation.0..).any(|(_, yes)| yes.is_some());
                if let Some(answer) = self.questions.get_mut(&confirmation.0)
                    && !closed
                {
                    *answer = committed.map(|committed| committed.0);
                    if committed.is_none() {
                        self.end_reign();
                    }
                }
            }
            MemberInput::Forget(ticket) => drop(self.asked.remove(ticket)),
            MemberInput::Installed(_)
            | MemberInput::GoOn
            | MemberInput::Persisted(_)
            | MemberInput::HoldExpired(_)
            | MemberInput::Timeout => {}
        }
    }

    fn end_reign(&mut self) {
        self.told = None;
        self.questions.clear();
        self.promises.clear();
    }

    /// Judges an output before anybody hears it.
    pub(crate) fn judge(&mut self, output: &Output, group: &Group) -> TestCaseResult {
        let LogIndex(applied) = self.adapter.member.applied();
        let reign = self.told.filter(|told| told.barrier <= applied);
        match output {
            Output::Propose(Proposal { term, command, .. }) => {
                let leads = reign.is_some_and(|reign| reign.term == term.0);
                prop_assert!(leads, "it was not told to lead: {command:?} in term {term}");
            }
            Output::Expired(batch) => {
                prop_assert!(reign.is_some(), "it was not told to lead: {batch:?}");
                let now = group.peers[group.did.member].member.core.now;
                for id in &batch.leases {
                    let promise = self.promises.get(id).copied().unwrap_or(0);
                    prop_assert!(promise <= now, "{} expires before its promise ends", id);
                }
            }
            Output::Confirm(Confirmation(number)) => drop(self.questions.insert(*number, None)),
            Output::Answer { ticket, answer } => self.judge_new_answer(*ticket, answer, group)?,
            Output::Commit(_) | Output::Campaign | Output::Resign | Output::Waits(_) => {}
        }
        Ok(())
    }

    /// An answer has its reason in the log. A renew or a read was preceded by a confirmation since,
    /// and a renew is not cut short by a checkpoint that comes behind it.
    fn judge_new_answer(
        &mut self,
        ticket: Ticket,
        answer: &Answer,
        group: &Group,
    ) -> TestCaseResult {
        let (asked, question) = self.asked(ticket)?;
        let LogIndex(applied) = self.adapter.member.applied();
        let reason = asked.reason(answer, &group.history, applied);
        let request = &asked.request;
        prop_assert!(reason.is_some(), "no reason in the log: {:?} to {:?}", answer, request);
        if let Ok(
            Response::Renewed { .. }
            | Response::Lookup(_)
            | Response::TimeToLive(_)
            | Response::Items(_)
            | Response::Leases(_)
            | Response::LeaseOf(_),
        ) = answer
        {
            let since = self.questions.range(question + 1..);
            let mut committed = since.filter_map(|(_, committed)| *committed);
            let confirmed = committed.any(|committed| committed <= applied);
            prop_assert!(confirmed, "no confirmation since {:?} was asked", request);
        }
        if let (&Request::Renew { id }, Ok(Response::Renewed { ttl })) = (request, answer) {
            let cut = self.coming(group).any(|proposal| cuts(proposal, id));
            prop_assert!(!cut, "a checkpoint on its way cuts the renew of {} short", id);
            let now = group.peers[group.did.member].member.core.now;
            let promise = now.saturating_add(nanos(ttl.as_duration()));
            self.promises.insert(id, promise);
        }
        Ok(())
    }

    /// Each ticket has one answer, and none leaves before what it speaks of is durable: what is stored
    /// is reason enough for it.
    pub(crate) fn answer(
        &mut self,
        ticket: Ticket,
        answer: &Answer,
        history: &History,
    ) -> TestCaseResult {
        let reason = self.asked(ticket)?.0.reason(answer, history, self.stored);
        self.asked.remove(&ticket);
        prop_assert!(reason.is_some(), "nothing stored has led to {:?} for {:?}", answer, ticket);
        Ok(())
    }

    fn asked(&self, ticket: Ticket) -> Result<&(Asked, u64), TestCaseError> {
        let twice = || TestCaseError::fail(format!("{ticket:?} is answered once"));
        self.asked.get(&ticket).ok_or_else(twice)
    }

    /// What this reign has proposed and the member has not applied.
    fn coming<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Proposal> {
        let member = &self.adapter.member;
        let (LogIndex(applied), term) = (member.applied(), member.term());
        let committed = group.history.behind(applied).iter();
        let committed = committed.filter_map(|entry| {
            entry.proposal.as_ref().filter(|proposal| proposal.term == entry.term)
        });
        let unheard = member.outputs().filter_map(|output| {
            if let Output::Propose(proposal) = output { Some(proposal) } else { None }
        });
        let coming = committed.chain(&group.peers[group.did.member].road).chain(unheard);
        coming.filter(move |proposal| Some(proposal.term) == term)
    }
}

fn cuts(proposal: &Proposal, id: LeaseId) -> bool {
    matches!(&proposal.command, Command::Checkpoint { checkpoints }
        if checkpoints.iter().any(|checkpoint| checkpoint.id == id && checkpoint.remaining.is_some()))
}
