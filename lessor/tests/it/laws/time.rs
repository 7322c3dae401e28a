//! Laws of moments and ttls: sums saturate, what is stored is rounded up, and nothing overflows.

use std::time::Duration;

use lessor::{
    Checkpoint, Command, Config, Effect, Error, Instant, LeaseId, LeaseRecord, Lessor, Ttl,
};
use quickcheck::{Arbitrary, Gen};

use super::any::{Any, below};
use super::{Outcome, ensure, equal, holds, refuted};

#[test]
fn a_sum_of_a_moment_and_a_span_ends_at_the_end_of_time() {
    holds(CASES, |moments| sums(REAL, moments));
}

#[test]
fn a_ttl_is_the_span_that_was_asked_for_rounded_up_to_the_millisecond() {
    holds(CASES, |asked| rounding(Ttl::from, asked));
}

#[test]
fn a_ttl_survives_the_way_through_a_span() {
    holds(CASES, |ttl| ttl_as_span(Ttl::as_duration, ttl));
    holds(CASES, |ttl| ttl_as_span(Duration::from, ttl));
}

#[test]
fn what_is_stored_of_a_grant_is_no_less_than_what_was_asked_for() {
    holds(CASES, |asked| stored(Ttl::from, asked));
}

#[test]
fn a_checkpoint_notes_no_less_than_what_is_left() {
    holds(CASES, |look| noted(std::convert::identity, look));
}

#[test]
fn arithmetic_that_wraps_or_rounds_another_way_is_refuted() {
    let wrapping = "a sum is not that of the numbers";
    refuted(CASES, wrapping, |moments| sums(Arithmetic { add: add_wrapping, ..REAL }, moments));
    let signless = "a moment is not before a later one";
    refuted(CASES, signless, |moments| sums(Arithmetic { since: distance, ..REAL }, moments));

    let less = "is less than was asked for";
    refuted(CASES, less, |asked| rounding(rounded_down, asked));
    refuted(CASES, less, |asked| rounding(rounded_to_the_nearest, asked));
    refuted(CASES, less, |asked| rounding(cut_off, asked));
    refuted(CASES, "a millisecond more", |asked| rounding(rounded_up_twice, asked));
    refuted(CASES, less, |asked| stored(rounded_down, asked));

    refuted(CASES, "came back as another", |ttl| ttl_as_span(in_seconds, ttl));
    refuted(CASES, "is less than is left", |look| noted(one_less, look));
}

// The laws

#[derive(Clone, Copy)]
struct Arithmetic {
    add: fn(Instant, Duration) -> Instant,
    since: fn(Instant, Instant) -> Duration,
}

const REAL: Arithmetic =
    Arithmetic { add: Instant::saturating_add, since: Instant::saturating_since };

fn sums(
    Arithmetic { add, since }: Arithmetic,
    &(Any(at), Any(span)): &(Any<Instant>, Any<Duration>),
) -> Outcome {
    let later = add(at, span);
    let sum = (u128::from(at.as_nanos()) + span.as_nanos()).min(u128::from(u64::MAX));
    equal(&u128::from(later.as_nanos()), &sum, "a sum is not that of the numbers")?;
    equal(&since(later, at), &span.min(since(Instant::MAX, at)), "a difference is not the span")?;
    equal(&since(at, later), &Duration::ZERO, "a moment is not before a later one")
}

fn rounding(convert: fn(Duration) -> Ttl, &Any(asked): &Any<Duration>) -> Outcome {
    let ttl = convert(asked);
    let span = ttl.as_duration();
    // What does not fit is refused by every lessor, so it may be less.
    ensure(span >= asked || ttl.as_millis() == u64::MAX, || {
        format!("{ttl} is less than was asked for, {asked:?}")
    })?;
    ensure(span < asked.saturating_add(MILLI) || ttl == Ttl::MIN, || {
        format!("{ttl} is a millisecond more than {asked:?}")
    })
}

fn ttl_as_span(convert: fn(Ttl) -> Duration, &Any(ttl): &Any<Ttl>) -> Outcome {
    equal(&Ttl::from(convert(ttl)), &ttl, "a ttl came back as another")
}

fn stored(convert: fn(Duration) -> Ttl, &Any(asked): &Any<Duration>) -> Outcome {
    let (id, ttl) = (const { LeaseId::new(7).unwrap() }, convert(asked));
    let mut lessor = Lessor::new(&Config::default());
    let result = lessor.apply(Instant::ZERO, Command::Grant { id, ttl });
    match lessor.lookup(id).map(|lease| lease.record) {
        Some(LeaseRecord { ttl, remaining, .. }) => {
            equal(&remaining, &None, "a new lease was checkpointed")?;
            ensure(ttl.as_duration() >= asked, || {
                format!("what is stored, {ttl}, is less than was asked for, {asked:?}")
            })
        }
        None => {
            equal(&result, &Err(Error::TtlTooLarge), "a lease was not granted")?;
            ensure(asked > Ttl::MAX.as_duration(), || format!("{asked:?} is not too long"))
        }
    }
}

/// A lease and a moment of its life.
#[derive(Clone, Debug)]
struct Look {
    ttl: Ttl,
    at: Duration,
}

impl Arbitrary for Look {
    fn arbitrary(g: &mut Gen) -> Self {
        let ttl = Ttl::from_millis(2 + below(g, 60_000));
        let life = u64::try_from(ttl.as_duration().as_nanos()).expect("it is a minute");
        Self { ttl, at: Duration::from_nanos(below(g, life)) }
    }
}

/// The interval is the moment itself, so that a checkpoint is due then.
fn noted(note: fn(Checkpoint) -> Checkpoint, &Look { ttl, at }: &Look) -> Outcome {
    let config = Config::default().with_checkpoint_interval(at);
    let mut lessor = Lessor::new(&config);
    lessor.promote(Instant::ZERO, Duration::ZERO);
    let id = const { LeaseId::new(7).unwrap() };
    lessor.apply(Instant::ZERO, Command::Grant { id, ttl }).expect("nothing is in its way");
    let now = Instant::ZERO.saturating_add(at);
    lessor.handle_timeout(now);
    let left = lessor.remaining(now, id).expect("it is there and the lessor is primary");
    for effect in std::iter::from_fn(|| lessor.poll_effect()) {
        let Effect::Checkpoint(checkpoints) = effect else { continue };
        let noted = note(checkpoints[0]).remaining.expect("nobody has renewed it").as_duration();
        ensure(noted >= left, || format!("{noted:?} is less than is left, {left:?}"))?;
        ensure(noted < left + MILLI, || format!("{noted:?} is not {left:?} rounded up"))?;
    }
    Ok(())
}

// What they refute

fn add_wrapping(at: Instant, span: Duration) -> Instant {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(at.as_nanos().wrapping_add(nanos))
}

fn distance(at: Instant, other: Instant) -> Duration {
    Duration::from_nanos(at.as_nanos().abs_diff(other.as_nanos()))
}

fn rounded_down(span: Duration) -> Ttl {
    Ttl::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn rounded_to_the_nearest(span: Duration) -> Ttl {
    rounded_down(span.saturating_add(MILLI / 2))
}

fn rounded_up_twice(span: Duration) -> Ttl {
    rounded_down(span.saturating_add(MILLI))
}

/// As a cast does it, for what is too long.
fn cut_off(span: Duration) -> Ttl {
    Ttl::from(span.min(Ttl::MAX.as_duration()))
}

fn in_seconds(ttl: Ttl) -> Duration {
    Duration::from_secs(ttl.as_millis().div_ceil(1_000))
}

fn one_less(checkpoint: Checkpoint) -> Checkpoint {
    let less = |left: Ttl| Ttl::from_millis(left.as_millis() - 1);
    Checkpoint { remaining: checkpoint.remaining.map(less), ..checkpoint }
}

const MILLI: Duration = Duration::from_millis(1);
const CASES: usize = 5_000;
