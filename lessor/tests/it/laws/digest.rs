//! Laws of the digest: it says which state it is, and nothing of how it came about.

use lessor::{Command, Config, Error, Instant, Item, LeaseId, Lessor, Snapshot};
use quickcheck::{Arbitrary, Gen};

use super::any::{Any, Draw, any, few};
use super::{Outcome, ensure, equal, holds, refuted};

#[test]
fn commands_on_other_leases_and_items_may_come_in_any_order() {
    holds(CASES, |pair| commutes(digest, pair));
}

#[test]
fn digests_are_equal_if_and_only_if_states_are() {
    holds(CASES, |ends| tells_states_apart(digest, ends));
}

#[test]
fn a_digest_of_the_history_or_of_half_the_state_is_refuted() {
    refuted(CASES, "the digest depends on the order", |pair| commutes(of_the_history, pair));
    refuted(CASES, "one state has two digests", |ends| tells_states_apart(of_the_history, ends));
    let two_states = "two states have one digest";
    refuted(CASES, two_states, |ends| tells_states_apart(of_leases_alone, ends));
    refuted(CASES, two_states, |ends| tells_states_apart(without_remaining, ends));
    refuted(CASES, two_states, |ends| tells_states_apart(without_holders, ends));
}

/// A lessor that has applied some commands, and their results.
struct Applied {
    lessor: Lessor,
    log: Vec<Command>,
    results: Vec<Result<(), Error>>,
}

fn apply<'a>(log: impl IntoIterator<Item = &'a Command>) -> Applied {
    let log: Vec<Command> = log.into_iter().cloned().collect();
    let mut lessor = Lessor::new(&Config::default());
    let results = log.iter().map(|command| lessor.apply(Instant::ZERO, command.clone())).collect();
    Applied { lessor, log, results }
}

/// Two commands that name no lease and no item in common, and what came before them.
#[derive(Clone, Debug)]
struct Pair {
    before: Vec<Command>,
    one: Command,
    other: Command,
}

impl Arbitrary for Pair {
    fn arbitrary(g: &mut Gen) -> Self {
        let (before, one) = (any(g), any(g));
        let other = std::iter::repeat_with(|| any(g)).find(|other| are_apart(&one, other));
        Self { before, one, other: other.expect("it goes on until there is one") }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let pair = self.clone();
        Box::new(self.before.smaller().map(move |before| Self { before, ..pair.clone() }))
    }
}

fn commutes(digest: fn(&Applied) -> u64, Pair { before, one, other }: &Pair) -> Outcome {
    let mut there = apply(before.iter().chain([one, other]));
    let mut back = apply(before.iter().chain([other, one]));
    equal(&back.lessor.snapshot(), &there.lessor.snapshot(), "the state depends on the order")?;
    equal(&digest(&back), &digest(&there), "the digest depends on the order")?;
    let (first, last) = (there.results.pop(), back.results.pop());
    equal(&back.results.pop(), &first, "the second one's result depends on the order")?;
    equal(&last, &there.results.pop(), "the first one's result depends on the order")
}

fn are_apart(one: &Command, other: &Command) -> bool {
    let (leases, items) = named_by(one);
    let (other_leases, other_items) = named_by(other);
    !leases.iter().any(|id| other_leases.contains(id))
        && !items.iter().any(|item| other_items.contains(item))
        // Whose end frees an item that is claimed cannot be seen from the commands.
        && !matches!(
            (one, other),
            (Command::Claim { .. }, Command::Revoke { .. })
                | (Command::Revoke { .. }, Command::Claim { .. })
        )
}

fn named_by(command: &Command) -> (Vec<LeaseId>, &[Item]) {
    match command {
        Command::Grant { id, .. } | Command::Revoke { id } => (vec![*id], &[]),
        Command::Attach { id, items }
        | Command::Detach { id, items }
        | Command::Claim { id, items } => (vec![*id], items),
        Command::Checkpoint { checkpoints } => {
            (checkpoints.iter().map(|checkpoint| checkpoint.id).collect(), &[])
        }
    }
}

/// Two logs that part only at their ends, so that their states often are the same or nearly so.
#[derive(Clone, Debug)]
struct Ends {
    before: Vec<Command>,
    one: Vec<Command>,
    other: Vec<Command>,
}

impl Arbitrary for Ends {
    fn arbitrary(g: &mut Gen) -> Self {
        Self { before: any(g), one: few(g), other: few(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let lists = (Any(self.before.clone()), Any(self.one.clone()), Any(self.other.clone()));
        Box::new(lists.shrink().map(|(before, one, other)| Self {
            before: before.0,
            one: one.0,
            other: other.0,
        }))
    }
}

fn tells_states_apart(digest: fn(&Applied) -> u64, Ends { before, one, other }: &Ends) -> Outcome {
    let (one, other) = (apply(before.iter().chain(one)), apply(before.iter().chain(other)));
    let states = (one.lessor.snapshot(), other.lessor.snapshot());
    if states.0 == states.1 {
        ensure(digest(&one) == digest(&other), || "one state has two digests".into())
    } else {
        ensure(digest(&one) != digest(&other), || format!("two states have one digest: {states:?}"))
    }
}

fn digest(applied: &Applied) -> u64 {
    applied.lessor.digest().as_u64()
}

// What the laws refute

/// A chain, in which each link depends on the one before.
fn of_the_history(applied: &Applied) -> u64 {
    applied.log.iter().fold(0, |chain: u64, command| {
        chain.rotate_left(7) ^ apply([command]).lessor.digest().as_u64()
    })
}

fn of_leases_alone(applied: &Applied) -> u64 {
    of_the_snapshot(&Snapshot { items: Vec::new(), ..applied.lessor.snapshot() })
}

fn without_remaining(applied: &Applied) -> u64 {
    let mut snapshot = applied.lessor.snapshot();
    snapshot.leases.iter_mut().for_each(|record| record.remaining = None);
    of_the_snapshot(&snapshot)
}

/// Knows which items are attached, but not to whom.
fn without_holders(applied: &Applied) -> u64 {
    let mut snapshot = applied.lessor.snapshot();
    let first = snapshot.leases.first().map(|record| record.id);
    snapshot.items.iter_mut().for_each(|(_, holder)| *holder = first.unwrap_or(*holder));
    of_the_snapshot(&snapshot)
}

fn of_the_snapshot(snapshot: &Snapshot) -> u64 {
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(Instant::ZERO, snapshot).expect("less of a state is a state");
    lessor.digest().as_u64()
}

const CASES: usize = 5_000;
