//! One number behind each random case.
//!
//! A case is drawn by ChaCha from its seed and from nothing else, so whoever has the seed has the
//! case. `LESSOR_TEST_SEED` says which seed comes first, `PROPTEST_CASES` how many follow, and what
//! once failed is kept in seeds.txt.

use std::any::type_name;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner};

/// Judges the cases of `cases` seeds and of those in seeds.txt. A case that fails is shrunk, and told
/// with the command that reproduces it.
///
/// `PROPTEST_CASES` multiplies from its default of 256 on: with 2,560 there are ten times `cases`.
/// `PROPTEST_MAX_SHRINK_ITERS` limits the shrinking, for who only wants to know whether one fails.
pub(crate) fn explore<S, J>(cases: u32, strategy: &S, judge: J)
where
    S: Strategy,
    J: Fn(S::Value) -> TestCaseResult,
{
    let shrinks = SHRINKS.min(Config::default().max_shrink_iters);
    for seed in seeds(cases).chain(kept()) {
        if let Err(failure) = case(seed, shrinks, strategy, &judge) {
            panic!("{failure}");
        }
    }
}

/// Why cases fail, in the order of their seeds: what a test of planted bugs goes through.
pub(crate) fn failures<S, J>(cases: u32, strategy: &S, judge: J) -> impl Iterator<Item = String>
where
    S: Strategy,
    J: Fn(S::Value) -> TestCaseResult,
{
    let failure = move |seed| Some(case(seed, 0, strategy, &judge).err()?.error);
    seeds(cases).filter_map(failure).map(|error| match error {
        TestError::Fail(why, _) | TestError::Abort(why) => why.to_string(),
    })
}

/// Judges the case of one seed, and shrinks it if it fails.
fn case<S, J>(seed: u64, shrinks: u32, strategy: &S, judge: &J) -> Result<(), Failure<S::Value>>
where
    S: Strategy,
    J: Fn(S::Value) -> TestCaseResult,
{
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: shrinks,
        ..Config::default()
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    TestRunner::new_with_rng(config, random).run(strategy, judge).map_err(|error| Failure {
        seed,
        test: test::<J>(),
        error,
    })
}

/// A case that failed.
#[derive(Debug)]
struct Failure<V> {
    seed: u64,
    test: &'static str,
    error: TestError<V>,
}

impl<V: fmt::Debug> fmt::Display for Failure<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, test, error } = self;
        writeln!(f, "{error}")?;
        writeln!(f, "to reproduce: LESSOR_TEST_SEED={seed} cargo test -p lessor --test it {test}")?;
        write!(f, "to keep it, as a line of lessor/tests/it/seeds.txt: {seed}  # {test}: why")
    }
}

/// The seeds from the first one on, as many as are wanted for `cases` of them.
fn seeds(cases: u32) -> impl Iterator<Item = u64> {
    let cases = u64::from(cases) * u64::from(Config::default().cases.max(256)) / 256;
    (0..cases).map(|number| first().wrapping_add(number))
}

#[expect(
    clippy::disallowed_methods,
    reason = "it only says which cases are tried, not how they go"
)]
fn first() -> u64 {
    match std::env::var("LESSOR_TEST_SEED") {
        Ok(seed) => seed.parse().expect("LESSOR_TEST_SEED is a whole number"),
        Err(_) => 1,
    }
}

/// The seeds that once failed.
fn kept() -> impl Iterator<Item = u64> {
    include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (seed, why) = line.split_once('#').expect("each seed says why it is kept");
        assert!(!why.trim().is_empty(), "seed {seed} is kept for a reason");
        seed.trim().parse().expect("a kept seed is a whole number")
    })
}

/// The name of the test whose closure this is, as cargo knows it.
fn test<J>() -> &'static str {
    let name = type_name::<J>().trim_end_matches("::{{closure}}");
    name.split_once("::").map_or(name, |(_, test)| test)
}

/// More than any case takes: a shrunk case is never one that was given up.
const SHRINKS: u32 = 1_000_000;

#[test]
fn a_seed_reproduces_a_failure_and_its_shrunk_case() {
    let numbers = vec(0_u32..1_000, 0..20);
    let judge = |numbers: Vec<u32>| {
        prop_assert!(numbers.iter().all(|number| *number < 900), "too big a number");
        Ok(())
    };
    let fails = |seed| case(seed, SHRINKS, &numbers, &judge).err();

    let (seed, failure) = (1..256)
        .find_map(|seed| Some((seed, fails(seed)?)))
        .expect("one of them has too big a number");

    assert!(matches!(&failure.error, TestError::Fail(_, shrunk) if *shrunk == [900]));
    let said = failure.to_string();
    assert!(said.contains("too big a number"), "{said}");
    let command = format!(
        "LESSOR_TEST_SEED={seed} cargo test -p lessor --test it \
         seed::a_seed_reproduces_a_failure_and_its_shrunk_case\n"
    );
    assert!(said.contains(&command), "{said}");
    assert_eq!(fails(seed).unwrap().to_string(), said);
}

#[test]
fn each_seed_draws_a_case_of_its_own() {
    let drawn = std::cell::RefCell::new(Vec::new());
    for seed in [1, 2, 1, u64::MAX] {
        let judge = |number| {
            drawn.borrow_mut().push(number);
            Ok(())
        };
        case(seed, 0, &any::<u64>(), &judge).unwrap();
    }
    let drawn = drawn.into_inner();
    assert_eq!(drawn[0], drawn[2]);
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[3] && drawn[3] != drawn[0]);
}
