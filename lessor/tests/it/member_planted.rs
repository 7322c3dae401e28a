//! Bugs to plant between a member and its host, and the rule of [the machine](super::member_machine)
//! that must find each.

use std::collections::BTreeSet;

use lessor::{
    Command, Config, Confirmation, Digest, Entry, Error, Instant, LeaseId, LogIndex, Member,
    MemberInput, Output, Proposal, Request, RequestError, Response, Role, StateAt, Ticket, Ttl,
};

use super::group::Group;
use super::history::{History, is_picked};
use super::model::MILLI;

/// A bug between a member and its host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Planted {
    Nothing,
    AnswerBeforeCommit,
    SecondAnswer,
    LostAnswer,
    LostWrite,
    KeptByInstall,
    AppliedTwice,
    WrongDigest,
    StaleEntry,
    EarlyPromotion,
    ForgottenDemotion,
    Unconfirmed,
    OldConfirmation,
    RenewOnlyLooks,
    UnknownIsDone,
    UnknownIsRefused,
    PickedAgain,
    // What follows is left to the comparison with the model.
    WrongAnswer,
    LostProposal,
    FastClock,
    SlowClock,
    LateWake,
    NoSleep,
    LowTtl,
    Impatient,
    ShortExtension,
}

impl Planted {
    pub(crate) const BUGS: [(Self, &str); 26] = [
        (Self::AnswerBeforeCommit, "nothing stored has led to"),
        (Self::SecondAnswer, "is answered once"),
        (Self::LostAnswer, "it owes an answer"),
        (Self::LostWrite, "the store holds what the log says"),
        (Self::KeptByInstall, "the store holds what the log says"),
        (Self::AppliedTwice, "the member holds what the log says"),
        (Self::WrongDigest, "one digest for one index"),
        (Self::StaleEntry, "the member holds what the log says"),
        (Self::EarlyPromotion, "it was not told to lead"),
        (Self::ForgottenDemotion, "it was not told to lead"),
        (Self::Unconfirmed, "no confirmation since"),
        (Self::OldConfirmation, "no confirmation since"),
        (Self::RenewOnlyLooks, "expires before its promise ends"),
        (Self::RenewOnlyLooks, "a checkpoint on its way cuts"),
        (Self::UnknownIsDone, "no reason in the log: Ok"),
        (Self::UnknownIsRefused, "no reason in the log: Err"),
        (Self::PickedAgain, "was picked before"),
        (Self::WrongAnswer, "nothing stored has led to"),
        (Self::LostProposal, "what the model says"),
        (Self::FastClock, "what the model says"),
        (Self::SlowClock, "what the model says"),
        (Self::LateWake, "wants to be called at"),
        (Self::NoSleep, "comes one at"),
        (Self::LowTtl, "what the model says"),
        (Self::Impatient, "what the model says"),
        (Self::ShortExtension, "the deadlines are what the model says"),
    ];

    /// Whether the model is asked as well.
    pub(crate) fn is_compared(self) -> bool {
        self == Self::Nothing || self >= Self::WrongAnswer
    }

    fn config(self, mut config: Config) -> Config {
        if self == Self::LowTtl {
            config.min_ttl = Ttl::MIN;
        } else if self == Self::Impatient {
            config.request_timeout /= 2;
        } else if self == Self::ShortExtension {
            config.extend /= 2;
        }
        config
    }
}

/// A member whose inputs and outputs pass through a planted bug.
pub(crate) struct Adapter {
    pub(crate) member: Member,
    planted: Planted,
    as_data: bool,
    /// The renews of which a lookup was made.
    looks: BTreeSet<Ticket>,
    /// The latest question, and the first id that the member picked.
    question: u64,
    picked: Option<LeaseId>,
}

impl Adapter {
    pub(crate) fn new(planted: Planted, group: &Group, stored: &StateAt) -> Self {
        let config = planted.config(group.settings.config());
        let member = Member::new(&config, stored).expect("what is stored is consistent");
        let as_data = group.settings.as_data;
        Self { member, planted, as_data, looks: BTreeSet::new(), question: 0, picked: None }
    }

    pub(crate) fn input(&mut self, now: u64, mut input: MemberInput, history: &History) {
        let mut at = Instant::from_nanos(now);
        match (self.planted, &mut input) {
            (Planted::FastClock, MemberInput::Timeout) => {
                at = Instant::from_nanos(now.saturating_add(MILLI));
            }
            (Planted::SlowClock, MemberInput::Timeout) => {
                at = Instant::from_nanos(now.saturating_sub(MILLI));
            }
            (Planted::EarlyPromotion, MemberInput::Role(Role::Leader { barrier, .. })) => {
                *barrier = LogIndex(0);
            }
            (Planted::ForgottenDemotion, MemberInput::Role(Role::Follower { .. })) => return,
            (Planted::StaleEntry, MemberInput::Committed(entries)) => {
                for entry in entries {
                    entry.term = entry.proposal.as_ref().map_or(entry.term, |own| own.term);
                }
            }
            (Planted::AppliedTwice, MemberInput::Committed(entries)) => {
                // In place of an entry that only opens a term.
                for entry in entries.iter_mut().filter(|entry| entry.proposal.is_none()) {
                    let before = history.behind(0).iter().rev();
                    let mut before = before.skip_while(|old| old.index >= entry.index).skip(1);
                    if let Some(first) = before.find(|old| old.proposal.is_some()) {
                        *entry = Entry { index: entry.index, ..first.clone() };
                    }
                }
            }
            (Planted::OldConfirmation, MemberInput::Confirmed { confirmation, .. }) => {
                confirmation.0 = self.question;
            }
            (Planted::RenewOnlyLooks, MemberInput::Request { ticket, request }) => {
                if let Request::Renew { id } = *request {
                    self.looks.insert(*ticket);
                    *request = Request::Lookup { id };
                }
            }
            (_, _) => {}
        }
        self.make(at, input);
        while self.member.is_applying() {
            self.make(at, MemberInput::GoOn);
        }
        for output in self.member.outputs() {
            if let Output::Confirm(Confirmation(number)) = output {
                self.question = self.question.max(*number);
            }
            if let Output::Propose(Proposal { command: Command::Grant { id, .. }, .. }) = output
                && is_picked(*id)
            {
                self.picked.get_or_insert(*id);
            }
        }
        if self.planted == Planted::Unconfirmed {
            let committed = Some(self.member.applied());
            self.member.handle_confirmed(at, Confirmation(self.question), committed);
        }
    }

    fn make(&mut self, now: Instant, input: MemberInput) {
        if self.as_data {
            return self.member.handle_input(now, input).expect("what is installed is consistent");
        }
        match input {
            MemberInput::Request { ticket, request } => self.member.request(now, ticket, request),
            MemberInput::Committed(entries) => self.member.handle_committed(now, entries),
            MemberInput::Role(role) => self.member.handle_role(now, role),
            MemberInput::Confirmed { confirmation, committed } => {
                self.member.handle_confirmed(now, confirmation, committed);
            }
            MemberInput::Installed(state) => {
                self.member.handle_installed(now, &state).expect("what is installed is consistent");
            }
            MemberInput::GoOn => self.member.go_on(now),
            MemberInput::Persisted(applied) => self.member.handle_persisted(now, applied),
            MemberInput::Forget(ticket) => self.member.forget(now, ticket),
            MemberInput::HoldExpired(hold) => self.member.hold_expired(now, hold),
            MemberInput::Timeout => self.member.handle_timeout(now),
            MemberInput::Stop => self.member.stop(now),
        }
    }

    /// What the member has to say yet.
    pub(crate) fn outputs(&self) -> Vec<Output> {
        self.member.outputs().map(|output| self.look(output.clone())).collect()
    }

    /// What its host hears next, if anything.
    pub(crate) fn poll(&mut self) -> Option<Vec<Output>> {
        let mut output = self.member.poll_output()?;
        output = self.look(output);
        match (self.planted, &mut output) {
            (Planted::LostAnswer, Output::Answer { .. })
            | (Planted::LostProposal, Output::Propose(_)) => return Some(Vec::new()),
            (Planted::SecondAnswer, Output::Answer { .. }) => {
                return Some(vec![output.clone(), output]);
            }
            (Planted::WrongAnswer, Output::Answer { answer, .. }) => {
                if let Ok(Response::Renewed { ttl }) = answer {
                    *ttl = Ttl::from_millis(ttl.as_millis() + 1);
                }
            }
            (Planted::LostWrite, Output::Commit(transaction)) => {
                transaction.changes.pop();
            }
            (Planted::WrongDigest, Output::Commit(transaction)) => {
                transaction.digest = Digest::default();
            }
            (Planted::KeptByInstall, Output::Commit(transaction)) => transaction.reset = false,
            (Planted::AnswerBeforeCommit, Output::Commit(transaction)) => {
                self.member.handle_persisted(Instant::ZERO, transaction.applied);
            }
            (_, _) => {}
        }
        Some(vec![output])
    }

    /// What is seen of an output.
    fn look(&self, mut output: Output) -> Output {
        if let Output::Propose(Proposal { command: Command::Grant { id, .. }, .. }) = &mut output
            && self.planted == Planted::PickedAgain
            && let Some(first) = self.picked
            && is_picked(*id)
        {
            *id = first;
        }
        let Output::Answer { ticket, answer } = output else { return output };
        let not_found = Err(RequestError::Refused(Error::LeaseNotFound));
        let answer = match (self.planted, answer) {
            (Planted::UnknownIsDone, Err(RequestError::Unknown)) => Ok(Response::Done),
            (Planted::UnknownIsRefused, Err(RequestError::Unknown)) => not_found,
            (_, Ok(Response::Lookup(found))) if self.looks.contains(&ticket) => {
                let ttl = found.map(|status| status.record.ttl);
                ttl.map_or(not_found, |ttl| Ok(Response::Renewed { ttl }))
            }
            (_, answer) => answer,
        };
        Output::Answer { ticket, answer }
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let timeout = self.member.poll_timeout().map(Instant::as_nanos);
        if self.planted == Planted::NoSleep {
            return timeout.map(|_| 0);
        }
        let late = u64::from(self.planted == Planted::LateWake);
        timeout.map(|at| at.saturating_add(late))
    }
}
