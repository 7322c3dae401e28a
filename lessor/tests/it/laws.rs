//! Laws: what must hold for every input, one sentence each, tried on inputs that quickcheck draws.
//!
//! A law is told what it judges, as a function. So it is tried twice: the real thing must satisfy
//! it, and each of a few broken ones must be refuted in the words of the clause that it breaks. The
//! seed and the number of cases are fixed, which makes every run the same.

use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};

use quickcheck::{Arbitrary, Gen};

mod any;
mod digest;
mod expiry;
mod member;
mod record;
mod replay;
mod split;
mod store;
mod time;

/// What a law says of one input: nothing, or how it is broken.
type Outcome = Result<(), String>;

/// Panics with the smallest input that was found to break the law.
fn holds<A: Arbitrary + Debug>(cases: usize, law: fn(&A) -> Outcome) {
    let Some((mut input, mut broken)) = find(cases, law) else { return };
    let mut smaller = input.shrink();
    while let Some(next) = smaller.next() {
        if let Err(still_broken) = judge(law, &next) {
            smaller = next.shrink();
            (input, broken) = (next, still_broken);
        }
    }
    panic!("{broken}\nof {input:?}");
}

/// Panics unless the law is broken on some input, in these words.
#[track_caller]
fn refuted<A: Arbitrary + Debug>(cases: usize, words: &str, law: fn(&A) -> Outcome) {
    let (input, broken) = find(cases, law).expect("something breaks the law");
    assert!(broken.contains(words), "not in the words {words:?}: {broken}\nof {input:?}");
}

/// The first drawn input that breaks the law, and how. Nothing but the seed decides what is drawn.
fn find<A: Arbitrary>(cases: usize, law: fn(&A) -> Outcome) -> Option<(A, String)> {
    let mut g = Gen::from_size_and_seed(SIZE, SEED);
    let mut inputs = std::iter::repeat_with(|| A::arbitrary(&mut g)).take(cases);
    inputs.find_map(|input| judge(law, &input).err().map(|broken| (input, broken)))
}

/// A law that panics is broken in the words of the panic.
fn judge<A>(law: fn(&A) -> Outcome, input: &A) -> Outcome {
    panic::catch_unwind(AssertUnwindSafe(|| law(input))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        Err(text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default())
    })
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(broken()) }
}

fn equal<T: PartialEq + Debug>(found: &T, expected: &T, broken: &str) -> Outcome {
    ensure(found == expected, || format!("{broken}: {found:?} instead of {expected:?}"))
}

/// How long drawn lists may be.
const SIZE: usize = 40;
const SEED: u64 = 47;
