//! Laws of splits: a log may be cut anywhere, and a member goes on from the state there.
//!
//! That a core goes on from its snapshot is in random.rs; here it is a member with its store, or
//! one that was left behind.

use lessor::backend::{Backend, MemoryBackend, Stored};
use lessor::{
    Config, Digest, Entry, Instant, LogIndex, Member, Output, Snapshot, StateAt, Transaction, Ttl,
};

use super::any::Any;
use super::{Outcome, equal, holds, refuted};

#[test]
fn a_member_goes_on_from_its_state_at_any_index_of_the_log() {
    holds(CASES, |log| split(restarted, log));
    holds(CASES, |log| split(reopened, log));
    holds(CASES, |log| split(installed, log));
}

#[test]
fn a_restart_that_forgets_something_is_refuted() {
    let another = "goes on to another state";
    refuted(CASES, another, |log| split(restarted_without_items, log));
    refuted(CASES, another, |log| split(restarted_without_checkpoints, log));
    refuted(CASES, another, |log| split(installed_one_entry_ahead, log));
    refuted(CASES, "is stored as another state", |log| split(installed_over_the_old, log));
}

/// How a life ends: what the member knows, and what its store holds.
struct End {
    state: StateAt,
    digest: Digest,
    stored: Stored,
}

/// At every index of the log somebody else goes on from the state there.
fn split(
    resume: fn(&[Entry], &StateAt, MemoryBackend) -> Life,
    Any(log): &Any<Vec<Entry>>,
) -> Outcome {
    let log = numbered(log);
    let whole = follow(&log);
    for position in 0..=log.len() {
        let mut first = Life::new();
        first.apply(&log[..position]);
        let mut second = resume(&log[..position], &first.state(), first.store);
        // The log may repeat itself.
        second.apply(&log[position.saturating_sub(2)..]);
        let end = second.end();
        let broken = format!("who goes on at {position} goes on to another state");
        equal(&(end.state, end.digest), &(whole.state.clone(), whole.digest), &broken)?;
        let broken = format!("what goes on at {position} is stored as another state");
        equal(&end.stored, &whole.stored, &broken)?;
    }
    Ok(())
}

/// A follower and its store.
struct Life {
    member: Member,
    store: MemoryBackend,
}

impl Life {
    fn new() -> Self {
        let member = Member::new(&Config::default(), &StateAt::default()).expect("it is empty");
        Self { member, store: MemoryBackend::new() }
    }

    fn apply(&mut self, entries: &[Entry]) {
        // In twos, so that commits have one entry or more.
        for entries in entries.chunks(2) {
            self.member.handle_committed(Instant::ZERO, entries.to_vec());
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.commit_as(std::convert::identity);
    }

    fn commit_as(&mut self, stored: fn(Transaction) -> Transaction) {
        while let Some(output) = self.member.poll_output() {
            if let Output::Commit(transaction) = output {
                let applied = transaction.applied;
                self.store.commit(stored(transaction)).expect("it follows the one before");
                self.member.handle_persisted(Instant::ZERO, applied);
            }
        }
    }

    /// That of a member which is ahead of this one.
    fn install(&mut self, state: &StateAt) {
        self.member.handle_installed(Instant::ZERO, state).expect("it is a member's state");
    }

    fn state(&self) -> StateAt {
        self.member.state().expect("it applies nothing in part")
    }

    fn end(mut self) -> End {
        let digest = self.member.lessor().digest();
        self.member.lessor().check();
        let stored = self.store.load().expect("memory can be read");
        End { state: self.state(), digest, stored }
    }
}

/// All of it in one life.
fn follow(log: &[Entry]) -> End {
    let mut life = Life::new();
    life.apply(log);
    life.end()
}

/// The state behind a log.
pub(super) fn snapshot(log: &[Entry]) -> Snapshot {
    follow(&numbered(log)).state.snapshot
}

/// What a member commits that applies a log, one or two entries at a time.
pub(super) fn transactions(log: &[Entry]) -> Vec<Transaction> {
    let mut member = Life::new().member;
    let mut outputs = Vec::new();
    for entries in numbered(log).chunks(2) {
        member.handle_committed(Instant::ZERO, entries.to_vec());
        outputs.extend(std::iter::from_fn(|| member.poll_output()));
        member.handle_persisted(Instant::ZERO, member.applied());
    }
    let commit = |output| if let Output::Commit(commit) = output { Some(commit) } else { None };
    outputs.into_iter().filter_map(commit).collect()
}

/// At their indexes in a log, most of them in the term of their proposal.
fn numbered(entries: &[Entry]) -> Vec<Entry> {
    let at_index = |(index, entry): (u64, &Entry)| {
        let proposal = entry.proposal.clone();
        let term = proposal.as_ref().filter(|_| index % 8 != 0).map_or(entry.term, |own| own.term);
        Entry { index: LogIndex(index), term, proposal }
    };
    (1..).zip(entries).map(at_index).collect()
}

/// Under other settings, on which nothing that is replicated depends.
fn restarted(_: &[Entry], state: &StateAt, store: MemoryBackend) -> Life {
    let config = Config::default().with_min_ttl(Ttl::from_secs(60)).with_hash_key(7);
    Life { member: Member::new(&config, state).expect("it is a member's state"), store }
}

fn reopened(log: &[Entry], _: &StateAt, mut store: MemoryBackend) -> Life {
    let Stored { applied, snapshot, .. } = store.load().expect("memory can be read");
    restarted(log, &StateAt { applied, snapshot }, store)
}

fn installed(log: &[Entry], state: &StateAt, _: MemoryBackend) -> Life {
    let mut life = half_as_far(log);
    life.install(state);
    life.commit();
    life
}

fn half_as_far(log: &[Entry]) -> Life {
    let mut life = Life::new();
    life.apply(&log[..log.len() / 2]);
    life
}

// What the law refutes

fn restarted_without_items(log: &[Entry], state: &StateAt, store: MemoryBackend) -> Life {
    let snapshot = Snapshot { items: Vec::new(), ..state.snapshot.clone() };
    restarted(log, &StateAt { snapshot, ..*state }, store)
}

fn restarted_without_checkpoints(log: &[Entry], state: &StateAt, store: MemoryBackend) -> Life {
    let mut state = state.clone();
    state.snapshot.leases.iter_mut().for_each(|record| record.remaining = None);
    restarted(log, &state, store)
}

fn installed_one_entry_ahead(log: &[Entry], state: &StateAt, store: MemoryBackend) -> Life {
    let state = StateAt { applied: state.applied.next(), ..state.clone() };
    installed(log, &state, store)
}

/// Its store keeps what has gone since.
fn installed_over_the_old(log: &[Entry], state: &StateAt, _: MemoryBackend) -> Life {
    let mut life = half_as_far(log);
    life.install(state);
    life.commit_as(|transaction| Transaction { reset: false, ..transaction });
    life
}

const CASES: usize = 1_500;
