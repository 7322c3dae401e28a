//! Laws of replay: equal inputs have equal effects, and time goes one way.

use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{Command, Config, Digest, Effect, Error, Input, Instant, Lessor};
use quickcheck::Gen;

use super::any::{Any, Draw, any, below, one_of};
use super::{Outcome, equal, holds, refuted};

#[test]
fn a_record_that_is_replayed_shows_the_same() {
    holds(CASES, |life| replays(by_methods, by_methods, life));
    holds(CASES, |life| replays(by_methods, as_data, life));
    holds(CASES, |life| replays(as_data, as_text, life));
}

#[test]
fn the_key_of_the_index_shows_nowhere() {
    holds(CASES, |life| replays(as_data, under_another_key, life));
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    holds(CASES, |life| goes_one_way(by_methods, life));
}

#[test]
fn a_timeout_that_comes_early_changes_nothing() {
    holds(CASES, |life| early_is_harmless(by_methods, life));
}

#[test]
fn a_replay_that_differs_in_one_effect_or_moment_is_refuted() {
    let differs = "what is seen of";
    refuted(CASES, differs, |life| replays(by_methods, with_two_effects_swapped, life));
    refuted(CASES, differs, |life| replays(by_methods, with_the_last_answer_lost, life));
    refuted(CASES, differs, |life| replays(by_methods, with_late_wakes, life));
    refuted(CASES, differs, |life| replays(by_methods, one_step_behind, life));
    refuted(CASES, "going back is seen", |life| goes_one_way(with_every_step_as_progress, life));
    refuted(CASES, "was not early", |life| early_is_harmless(with_a_fast_clock, life));
}

/// What a host recorded: each input, with what its clock showed. That may go back.
type Record = Vec<(Instant, Input)>;

/// What can be seen of a lessor after an input.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    result: Result<(), Error>,
    effects: Vec<Effect>,
    timeout: Option<Instant>,
    digest: Digest,
}

// The laws

fn replays(
    first: fn(&Record) -> Vec<Seen>,
    again: fn(&Record) -> Vec<Seen>,
    Any(life): &Any<Vec<Step>>,
) -> Outcome {
    let record = live(life);
    compare(&record, &first(&record), &again(&record))
}

fn goes_one_way(replay: fn(&Record) -> Vec<Seen>, Any(life): &Any<Vec<Step>>) -> Outcome {
    let record = live(life);
    let mut latest = Instant::ZERO;
    let forward = record.iter().map(|(now, input)| {
        latest = latest.max(*now);
        (latest, input.clone())
    });
    let (found, expected) = (replay(&record), replay(&forward.collect()));
    equal(&found, &expected, "going back is seen")
}

fn early_is_harmless(replay: fn(&Record) -> Vec<Seen>, Any(life): &Any<Vec<Step>>) -> Outcome {
    let record = live(life);
    let plain = replay(&record);
    let (mut longer, mut added, mut latest) = (Record::new(), Vec::new(), Instant::ZERO);
    for (position, (now, input)) in record.iter().enumerate() {
        let due = position.checked_sub(1).and_then(|before| plain[before].timeout);
        let due = due.unwrap_or(Instant::MAX).as_nanos();
        let early = Instant::from_nanos(now.as_nanos().min(due.saturating_sub(1)));
        if early >= latest {
            added.push(longer.len());
            longer.push((early, Input::Timeout));
        }
        latest = latest.max(*now);
        longer.push((*now, input.clone()));
    }
    let (early, others): (Vec<_>, Vec<_>) =
        replay(&longer).into_iter().enumerate().partition(|(position, _)| added.contains(position));
    for (position, seen) in early {
        equal(&seen.effects, &Vec::new(), &format!("input {position} was not early"))?;
    }
    for ((_, found), expected) in others.into_iter().zip(plain) {
        // How exactly the next deadline is known may differ.
        equal(&found.effects, &expected.effects, "a timeout was not early and changed effects")?;
        equal(&(found.result, found.digest), &(expected.result, expected.digest), "and a result")?;
    }
    Ok(())
}

fn compare(record: &Record, one: &[Seen], other: &[Seen]) -> Outcome {
    for ((input, one), other) in record.iter().zip(one).zip(other) {
        equal(other, one, &format!("what is seen of {input:?}"))?;
    }
    equal(&one.len(), &other.len(), "a replay is as long as its record")
}

// A life that is worth a record

/// What happens to a host.
#[derive(Clone, Debug)]
enum Step {
    Call(Input),
    Ahead(Duration),
    Back(Duration),
    /// It sleeps until the lessor wants to be called.
    Sleep,
    /// It applies what the lessor has asked for since it did so last.
    Obey,
}

impl Draw for Step {
    fn draw(g: &mut Gen) -> Self {
        let millis = |g: &mut Gen, end| Duration::from_millis(below(g, end));
        one_of!(g,
            12: Self::Call(_) => Self::Call(any(g)),
            4: Self::Ahead(_) => Self::Ahead(millis(g, 3_000)),
            2: Self::Back(_) => Self::Back(millis(g, 8_000)),
            4: Self::Sleep => Self::Sleep,
            2: Self::Obey => Self::Obey,
        )
    }
}

/// A host that does what its lessor asks for, and writes down every call.
struct Host {
    lessor: Lessor,
    now: Instant,
    asked: Vec<Effect>,
    record: Record,
}

/// The record of a life that begins with a promotion.
fn live(steps: &[Step]) -> Record {
    let (lessor, now) = (Lessor::new(&config()), Instant::from_secs(10));
    let mut host = Host { lessor, now, asked: Vec::new(), record: Vec::new() };
    host.call(Input::Promote { extend: Duration::ZERO });
    for step in steps {
        match step {
            Step::Call(input) => host.call(input.clone()),
            Step::Ahead(span) => host.now = host.now.saturating_add(*span),
            Step::Back(span) => {
                let left = host.now.saturating_since(Instant::ZERO.saturating_add(*span));
                host.now = Instant::ZERO.saturating_add(left);
            }
            Step::Sleep => {
                host.now = host.lessor.poll_timeout().unwrap_or(host.now).max(host.now);
                host.call(Input::Timeout);
            }
            Step::Obey => host.obey(),
        }
    }
    host.record
}

impl Host {
    fn call(&mut self, input: Input) {
        self.record.push((self.now, input.clone()));
        // A refusal is as good a result as any.
        let _ = self.lessor.handle_input(self.now, input);
        self.asked.extend(std::iter::from_fn(|| self.lessor.poll_effect()));
    }

    fn obey(&mut self) {
        for effect in std::mem::take(&mut self.asked) {
            match effect {
                Effect::Expired(batch) => {
                    for id in batch.leases {
                        self.call(Input::Apply(Command::Revoke { id }));
                    }
                }
                Effect::Checkpoint(checkpoints) => {
                    self.call(Input::Apply(Command::Checkpoint { checkpoints }));
                }
                Effect::RangeDelete(_) | Effect::Write(_) | Effect::Renewed { .. } => {}
            }
        }
    }
}

fn config() -> Config {
    Config::default()
        .with_revoke_rate(const { NonZeroU32::new(3).unwrap() })
        .with_checkpoint_interval(Duration::from_millis(700))
}

// Replays

fn replay(
    config: &Config,
    record: &Record,
    call: fn(&mut Lessor, Instant, Input) -> Result<(), Error>,
) -> Vec<Seen> {
    let mut lessor = Lessor::new(config);
    let steps = record.iter().map(|(now, input)| {
        let result = call(&mut lessor, *now, input.clone());
        let effects = std::iter::from_fn(|| lessor.poll_effect()).collect();
        Seen { result, effects, timeout: lessor.poll_timeout(), digest: lessor.digest() }
    });
    steps.collect()
}

fn as_data(record: &Record) -> Vec<Seen> {
    replay(&config(), record, Lessor::handle_input)
}

fn by_methods(record: &Record) -> Vec<Seen> {
    replay(&config(), record, |lessor, now, input| {
        match input {
            Input::Apply(command) => return lessor.apply(now, command),
            Input::Renew { ticket, id } => lessor.renew(now, ticket, id),
            Input::RenewAsked { asked, ticket, id } => lessor.renew_asked(now, asked, ticket, id),
            Input::ForgetRenew { ticket, id } => lessor.forget_renew(now, ticket, id),
            Input::Promote { extend } => lessor.promote(now, extend),
            Input::Demote => lessor.demote(now),
            Input::HoldExpired(hold) => lessor.hold_expired(now, hold),
            Input::Timeout => lessor.handle_timeout(now),
        }
        Ok(())
    })
}

/// Of the record as it would be kept in a file.
fn as_text(record: &Record) -> Vec<Seen> {
    let text = serde_json::to_string(record).expect("it can be written");
    as_data(&serde_json::from_str(&text).expect("it can be read"))
}

fn under_another_key(record: &Record) -> Vec<Seen> {
    replay(&config().with_hash_key(u128::MAX / 3), record, Lessor::handle_input)
}

// What the laws refute

fn with_two_effects_swapped(record: &Record) -> Vec<Seen> {
    let mut seen = as_data(record);
    if let Some(Seen { effects, .. }) = seen.iter_mut().find(|seen| seen.effects.len() > 1) {
        effects.swap(0, 1);
    }
    seen
}

fn with_the_last_answer_lost(record: &Record) -> Vec<Seen> {
    let mut seen = as_data(record);
    let answers = |seen: &Seen| matches!(seen.effects.last(), Some(Effect::Renewed { .. }));
    if let Some(Seen { effects, .. }) = seen.iter_mut().rev().find(|seen| answers(seen)) {
        effects.pop();
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

/// Its state is right in the end, too late.
fn one_step_behind(record: &Record) -> Vec<Seen> {
    let mut seen = as_data(record);
    for position in (1..seen.len()).rev() {
        seen[position].digest = seen[position - 1].digest;
    }
    seen
}

/// As a host counts that takes every step of its clock for time that has passed.
fn with_every_step_as_progress(record: &Record) -> Vec<Seen> {
    let (mut sum, mut before) = (Instant::ZERO, Instant::ZERO);
    let counted = record.iter().map(|(now, input)| {
        let step = now.saturating_since(before).max(before.saturating_since(*now));
        (sum, before) = (sum.saturating_add(step), *now);
        (sum, input.clone())
    });
    as_data(&counted.collect())
}

fn with_a_fast_clock(record: &Record) -> Vec<Seen> {
    replay(&config(), record, |lessor, now, input| {
        lessor.handle_input(now.saturating_add(Duration::from_millis(1)), input)
    })
}

const CASES: usize = 3_000;
