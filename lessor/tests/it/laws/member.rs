//! Laws of the member: what it says is a function of what it was told.

use std::collections::VecDeque;
use std::time::Duration;

use lessor::{
    Config, Confirmation, Digest, Entry, Instant, LogIndex, Member, MemberInput, Output, Proposal,
    Request, Role, SnapshotError, StateAt, Term, Ticket, Ttl,
};
use quickcheck::Gen;

use super::any::{Any, Draw, any, below, one_of};
use super::split::snapshot;
use super::{Outcome, equal, holds, refuted};

#[test]
fn a_member_that_is_replayed_shows_the_same() {
    holds(CASES, |life| replays(by_methods, by_methods, life));
    holds(CASES, |life| replays(by_methods, as_data, life));
    holds(CASES, |life| replays(as_data, as_text, life));
}

#[test]
fn a_replay_of_a_member_that_differs_in_one_output_is_refuted() {
    let differs = "what is seen of";
    refuted(CASES, differs, |life| replays(by_methods, with_an_answer_before_its_commit, life));
    refuted(CASES, differs, |life| replays(by_methods, with_late_wakes, life));
    refuted(CASES, differs, |life| replays(by_methods, without_confirmations, life));
}

/// What a host recorded of a member.
type Record = Vec<(Instant, MemberInput)>;

/// What can be seen of a member after an input.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    result: Result<(), SnapshotError>,
    outputs: Vec<Output>,
    timeout: Option<Instant>,
    digest: Digest,
}

fn replays(
    first: fn(&Record) -> Vec<Seen>,
    again: fn(&Record) -> Vec<Seen>,
    Any(life): &Any<Vec<Step>>,
) -> Outcome {
    let record = live(life);
    let (one, other) = (first(&record), again(&record));
    for ((input, one), other) in record.iter().zip(&one).zip(&other) {
        equal(other, one, &format!("what is seen of {input:?}"))?;
    }
    equal(&other.len(), &record.len(), "a replay is not as long as its record")
}

/// What happens to a host.
#[derive(Clone, Debug)]
enum Step {
    Ask(Request),
    /// The log commits all that was proposed, and says that the member leads.
    Serve,
    /// Only the oldest proposal is committed, or is lost.
    Commit,
    Lose,
    /// An entry of somebody else's comes.
    Foreign(Entry),
    /// The latest question is answered with no.
    Deny,
    Lead,
    Follow,
    /// The state of a member that is so many entries ahead comes.
    Install(u64, Vec<Entry>),
    Hold(bool),
    Ahead(Duration),
    /// It sleeps until the member wants to be called.
    Sleep,
    Stop,
    /// The commit on its way is durable.
    Persist,
    /// It applies another piece of what was committed.
    GoOn,
    /// Whoever asked so many calls ago is gone.
    Leave(u64),
}

impl Draw for Step {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            40: Self::Ask(_) => Self::Ask(any(g)),
            40: Self::Serve => Self::Serve,
            10: Self::Commit => Self::Commit,
            4: Self::Lose => Self::Lose,
            2: Self::Foreign(_) => Self::Foreign(any(g)),
            1: Self::Deny => Self::Deny,
            8: Self::Lead => Self::Lead,
            1: Self::Follow => Self::Follow,
            1: Self::Install(..) => Self::Install(1 + below(g, 3), any(g)),
            4: Self::Hold(_) => Self::Hold(below(g, 3) == 0),
            10: Self::Ahead(_) => Self::Ahead(Duration::from_millis(below(g, 1_000))),
            30: Self::Sleep => Self::Sleep,
            1: Self::Stop => Self::Stop,
            30: Self::Persist => Self::Persist,
            30: Self::GoOn => Self::GoOn,
            2: Self::Leave(_) => Self::Leave(below(g, 6)),
        )
    }
}

/// A host with a log that the life plays, which writes down every call.
struct Host {
    member: Member,
    now: Instant,
    term: u64,
    /// The last committed entry.
    end: LogIndex,
    proposed: VecDeque<Proposal>,
    asked: Confirmation,
    committing: Option<LogIndex>,
    record: Record,
}

/// The record of a life that begins with an election.
fn live(steps: &[Step]) -> Record {
    let mut host = Host {
        member: Member::new(&config(), &StateAt::default()).expect("it is empty"),
        now: Instant::from_secs(10),
        term: 0,
        end: LogIndex(0),
        proposed: VecDeque::new(),
        asked: Confirmation(0),
        committing: None,
        record: Vec::new(),
    };
    host.step(&Step::Lead);
    for step in steps {
        host.step(step);
    }
    host.record
}

impl Host {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Ask(request) => {
                let ticket = Ticket(self.record.len() as u64);
                self.call(MemberInput::Request { ticket, request: request.clone() });
            }
            Step::Serve => {
                self.commit(self.proposed.len());
                let (confirmation, committed) = (self.asked, Some(self.end));
                self.call(MemberInput::Confirmed { confirmation, committed });
            }
            Step::Commit => self.commit(self.proposed.len().min(1)),
            Step::Lose => drop(self.proposed.pop_front()),
            Step::Foreign(entry) => {
                let entry = self.entry(entry.clone());
                self.call(MemberInput::Committed(vec![entry]));
            }
            Step::Deny => {
                let confirmation = self.asked;
                self.call(MemberInput::Confirmed { confirmation, committed: None });
            }
            Step::Lead => {
                self.term += 1;
                // What another term's leader has proposed is never committed.
                self.proposed.clear();
                let (term, barrier) = (Term(self.term), self.end);
                self.call(MemberInput::Role(Role::Leader { term, barrier }));
            }
            Step::Follow => self.call(MemberInput::Role(Role::Follower { leader: None })),
            Step::Install(ahead, entries) => {
                self.end = LogIndex(self.end.0 + ahead);
                let state = StateAt { applied: self.end, snapshot: snapshot(entries) };
                self.call(MemberInput::Installed(state));
            }
            Step::Hold(hold) => self.call(MemberInput::HoldExpired(*hold)),
            Step::Ahead(span) => self.now = self.now.saturating_add(*span),
            Step::Sleep => {
                self.now = self.member.poll_timeout().unwrap_or(self.now).max(self.now);
                self.call(MemberInput::Timeout);
            }
            Step::Stop => self.call(MemberInput::Stop),
            Step::Persist => self.persist(),
            Step::GoOn => self.call(MemberInput::GoOn),
            Step::Leave(back) => {
                let ticket = Ticket((self.record.len() as u64).saturating_sub(*back));
                self.call(MemberInput::Forget(ticket));
            }
        }
    }

    fn commit(&mut self, many: usize) {
        let proposals: Vec<_> = self.proposed.drain(..many).collect();
        let entries = proposals.into_iter().map(|proposal| {
            let term = proposal.term;
            self.entry(Entry { index: self.end, term, proposal: Some(proposal) })
        });
        let entries = entries.collect();
        self.call(MemberInput::Committed(entries));
    }

    fn call(&mut self, input: MemberInput) {
        self.record.push((self.now, input.clone()));
        self.member.handle_input(self.now, input).expect("a state is installed that is one");
        for output in std::iter::from_fn(|| self.member.poll_output()) {
            match output {
                Output::Propose(proposal) => self.proposed.push_back(proposal),
                Output::Confirm(confirmation) => self.asked = confirmation,
                Output::Commit(transaction) => self.committing = Some(transaction.applied),
                Output::Campaign
                | Output::Resign
                | Output::Waits(_)
                | Output::Answer { .. }
                | Output::Expired(_) => {}
            }
        }
    }

    fn persist(&mut self) {
        if let Some(applied) = self.committing.take() {
            self.call(MemberInput::Persisted(applied));
        }
    }

    /// Is appended to the end of the log.
    fn entry(&mut self, entry: Entry) -> Entry {
        self.end = self.end.next();
        Entry { index: self.end, ..entry }
    }
}

fn config() -> Config {
    Config::default()
        .with_min_ttl(Ttl::from_millis(500))
        .with_checkpoint_interval(Duration::from_millis(700))
        .with_request_timeout(Duration::from_secs(2))
        .with_piece(2.try_into().expect("it is not 0"))
}

fn replay(
    record: &Record,
    call: fn(&mut Member, Instant, MemberInput) -> Result<(), SnapshotError>,
) -> Vec<Seen> {
    let mut member = Member::new(&config(), &StateAt::default()).expect("it is empty");
    let steps = record.iter().map(|(now, input)| {
        let result = call(&mut member, *now, input.clone());
        let outputs = std::iter::from_fn(|| member.poll_output()).collect();
        Seen { result, outputs, timeout: member.poll_timeout(), digest: member.lessor().digest() }
    });
    steps.collect()
}

fn as_data(record: &Record) -> Vec<Seen> {
    replay(record, Member::handle_input)
}

fn by_methods(record: &Record) -> Vec<Seen> {
    replay(record, |member, now, input| {
        match input {
            MemberInput::Request { ticket, request } => member.request(now, ticket, request),
            MemberInput::Committed(entries) => member.handle_committed(now, entries),
            MemberInput::Role(role) => member.handle_role(now, role),
            MemberInput::Confirmed { confirmation, committed } => {
                member.handle_confirmed(now, confirmation, committed);
            }
            MemberInput::Installed(state) => return member.handle_installed(now, &state),
            MemberInput::GoOn => member.go_on(now),
            MemberInput::Persisted(applied) => member.handle_persisted(now, applied),
            MemberInput::Forget(ticket) => member.forget(now, ticket),
            MemberInput::HoldExpired(hold) => member.hold_expired(now, hold),
            MemberInput::Timeout => member.handle_timeout(now),
            MemberInput::Stop => member.stop(now),
        }
        Ok(())
    })
}

/// Of the record as it would be kept in a file.
fn as_text(record: &Record) -> Vec<Seen> {
    let text = serde_json::to_string(record).expect("it can be written");
    as_data(&serde_json::from_str(&text).expect("it can be read"))
}

// What the law refutes

fn with_an_answer_before_its_commit(record: &Record) -> Vec<Seen> {
    let mut seen = as_data(record);
    for Seen { outputs, .. } in &mut seen {
        if let [Output::Commit(_), Output::Answer { .. }, ..] = &outputs[..] {
            outputs.swap(0, 1);
        }
    }
    seen
}

fn with_late_wakes(record: &Record) -> Vec<Seen> {
    let mut seen = as_data(record);
    for Seen { timeout, .. } in &mut seen {
        *timeout = timeout.map(|at| at.saturating_add(Duration::from_nanos(1)));
    }
    seen
}

fn without_confirmations(record: &Record) -> Vec<Seen> {
    replay(record, |member, now, input| {
        let confirmed = matches!(input, MemberInput::Confirmed { .. });
        if confirmed { Ok(()) } else { member.handle_input(now, input) }
    })
}

const CASES: usize = 1_500;
