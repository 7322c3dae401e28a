//! What the host of one member has acknowledged, against what its log holds: whatever is found after
//! a crash is a whole state of the log (S4), and nothing that was acknowledged is behind it (S4a).

use std::collections::BTreeMap;

use lessor::backend::{Backend, MemoryBackend, Stored};
use lessor::{
    Change, Command, Config, Entry, Instant, LeaseId, LogIndex, Member, Output, Proposal, Request,
    Response, Role, StateAt, Term, Ticket, Transaction, Write,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::crash_planted::Planted;
use super::history::{Asked, History, is_picked};
use super::member_model::Answer;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) history: History,
    asked: BTreeMap<Ticket, Asked>,
    /// The last index of the log that an answer speaks of.
    acknowledged: u64,
    /// The latest term of which the process before this one left an entry.
    left: Term,
    pub(crate) answers: u32,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            history: History::new(),
            asked: BTreeMap::new(),
            acknowledged: 0,
            left: Term(0),
            answers: 0,
        }
    }

    pub(crate) fn ask(&mut self, ticket: Ticket, request: &Request) {
        let asked = Asked { request: request.clone(), since: self.history.len() };
        self.asked.insert(ticket, asked);
    }

    /// Takes entries of the log, some of which it may have.
    pub(crate) fn commit(&mut self, entries: &[Entry]) -> TestCaseResult {
        let had = self.history.len();
        for entry in entries.iter().filter(|entry| entry.index.0 > had) {
            prop_assert_eq!(entry.index.0, self.history.len() + 1, "the log has no gap");
            let (term, left) = (entry.term, self.left);
            prop_assert!(term > left, "term {} is used again after term {}", term, left);
            if let Some(id) = picked(entry) {
                let again = self.history.behind(0).iter().any(|old| picked(old) == Some(id));
                prop_assert!(!again, "the id {} was picked before", id);
            }
            self.history.append(entry.term, entry.proposal.clone());
        }
        Ok(())
    }

    /// An answer leaves, while the store stands at `durable`.
    pub(crate) fn answer(
        &mut self,
        ticket: Ticket,
        answer: &Answer,
        durable: u64,
    ) -> TestCaseResult {
        let Some(mut asked) = self.asked.remove(&ticket) else {
            return Err(TestCaseError::fail(format!("{ticket:?} is answered once")));
        };
        if let (Request::Grant { id, .. }, Ok(Response::Granted { id: granted, .. })) =
            (&mut asked.request, answer)
        {
            *id = Some(*granted);
        }
        let reason = asked.reason(answer, &self.history, durable.min(self.history.len()));
        let request = &asked.request;
        prop_assert!(reason.is_some(), "nothing durable has led to {:?} for {:?}", answer, request);
        self.acknowledged = self.acknowledged.max(reason.unwrap_or(0));
        self.answers += 1;
        Ok(())
    }

    /// Nobody is left without an answer, but who renews a lease that has expired.
    pub(crate) fn judge_end(&self) -> TestCaseResult {
        let mut asked = self.asked.values().map(|asked| &asked.request);
        let open = asked.find(|request| !matches!(request, Request::Renew { .. }));
        prop_assert!(open.is_none(), "it owes an answer to {:?}", open);
        Ok(())
    }

    /// Everybody who waited has gone with the process, and so has what a log that keeps nothing held.
    pub(crate) fn crash(&mut self, stored: &Stored, keeps: bool) {
        self.asked.clear();
        if !keeps {
            self.history.truncate(stored.applied.0);
        }
        let terms = self.history.behind(0).iter().map(|entry| entry.term);
        self.left = terms.max().unwrap_or_default();
    }

    /// Judges what a crash has left, and how a new member comes up from it.
    pub(crate) fn judge(
        &self,
        stored: &Stored,
        config: &Config,
        planted: Planted,
    ) -> TestCaseResult {
        let LogIndex(applied) = stored.applied;
        prop_assert!(applied <= self.history.len(), "nothing is stored that the log has not");
        let (lost, acknowledged) = (applied < self.acknowledged, self.acknowledged);
        prop_assert!(!lost, "{} was acknowledged, and {} is found", acknowledged, applied);
        let state = self.history.state(applied);
        prop_assert_eq!(&stored.snapshot, state, "what is found is a state of the log");
        let mut member = open(stored, config)?;
        planted.revive(&mut member);
        prop_assert_eq!(member.poll_timeout(), None, "nothing is due before a promotion");

        // Entries that it has come again, and those that it has not.
        let mut store = store_of(stored);
        for entries in self.history.behind(applied.saturating_sub(2)).chunks(3) {
            member.handle_committed(Instant::ZERO, planted.hand_out(entries));
            while member.is_applying() {
                member.go_on(Instant::ZERO);
            }
            while let Some(output) = member.poll_output() {
                let Output::Commit(transaction) = output else {
                    return Err(TestCaseError::fail(format!("a follower says {output:?}")));
                };
                let applied = transaction.applied;
                commit_once(&mut store, transaction)?;
                member.handle_persisted(Instant::ZERO, applied);
            }
        }
        let caught_up = store.load().expect("it is in memory");
        let end = self.history.state(self.history.len());
        prop_assert_eq!(&caught_up.snapshot, end, "the rest of the log leads to its end");
        prop_assert_eq!(&member.lessor().snapshot(), end, "the rest of the log leads to its end");
        prop_assert_eq!(caught_up.digest, member.lessor().digest());
        member.lessor().check();

        let barrier = LogIndex(self.history.len());
        member.handle_role(Instant::ZERO, Role::Leader { term: Term(u64::MAX), barrier });
        for record in &end.leases {
            let left = record.remaining.unwrap_or(record.ttl).as_duration();
            let remaining = member.lessor().remaining(planted.clock(), record.id);
            let whole = remaining.is_some_and(|remaining| remaining >= left);
            prop_assert!(whole, "{:?} has {:?} after the promotion", record, remaining);
        }
        Ok(())
    }
}

/// A member that begins with what is stored.
pub(crate) fn open(stored: &Stored, config: &Config) -> Result<Member, TestCaseError> {
    let state = StateAt { applied: stored.applied, snapshot: stored.snapshot.clone() };
    let member = Member::new(config, &state).map_err(|error| {
        TestCaseError::fail(format!("what is found contradicts itself: {error}"))
    })?;
    prop_assert_eq!(member.lessor().digest(), stored.digest, "what is found has its digest");
    Ok(member)
}

/// Commits, and once more, which must be refused.
pub(crate) fn commit_once(store: &mut impl Backend, transaction: Transaction) -> TestCaseResult {
    let again = transaction.clone();
    store.commit(transaction).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(store.commit(again).is_err(), "a commit that comes again is refused");
    Ok(())
}

fn store_of(stored: &Stored) -> MemoryBackend {
    let leases = stored.snapshot.leases.iter().map(|record| Write::PutLease(*record));
    let items = stored.snapshot.items.iter();
    let items = items.map(|(item, holder)| Write::PutItem(item.clone(), *holder));
    let (applied, digest) = (stored.applied, stored.digest);
    let changes = leases.chain(items).map(Change::Write).collect();
    let mut store = MemoryBackend::new();
    store
        .commit(Transaction { after: LogIndex(0), applied, digest, reset: true, changes })
        .expect("an empty store takes what follows nothing");
    store
}

/// The id of a grant, if a member has picked it.
pub(crate) fn picked(entry: &Entry) -> Option<LeaseId> {
    let Some(Proposal { command: Command::Grant { id, .. }, .. }) = entry.proposal else {
        return None;
    };
    (is_picked(id)).then_some(id)
}
