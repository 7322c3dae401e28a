//! Inputs of the laws: how the types of the crate are drawn, and what is smaller than one that
//! breaks a law.
//!
//! A few ids and keys come often, so that much happens to the same lease; many are hostile.

use std::fmt::{self, Debug};
use std::time::Duration;

use lessor::{
    Change, Checkpoint, Command, Digest, Entry, Input, Instant, Item, Lease, LeaseId, LeaseOrder,
    LeaseRecord, LogIndex, Proposal, RangeDelete, Request, RequestId, Term, Transaction, Ttl,
    Write,
};
use quickcheck::{Arbitrary, Gen, empty_shrinker};

mod wire;

/// What a law can be tried on.
pub(super) trait Draw: Clone + Debug + 'static {
    fn draw(g: &mut Gen) -> Self;

    /// What may break the law as well, and is easier to read.
    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        empty_shrinker()
    }
}

/// Something drawn, shown as what it is.
#[derive(Clone)]
pub(super) struct Any<T>(pub(super) T);

impl<T: Draw> Arbitrary for Any<T> {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(any(g))
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.smaller().map(Self))
    }
}

impl<T: Debug> Debug for Any<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}

pub(super) fn any<T: Draw>(g: &mut Gen) -> T {
    T::draw(g)
}

/// A short list.
pub(super) fn few<T: Draw>(g: &mut Gen) -> Vec<T> {
    any(&mut Gen::from_size_and_seed(4, u64::arbitrary(g)))
}

pub(super) fn pick<T: Copy>(g: &mut Gen, among: &[T]) -> T {
    *g.choose(among).expect("there is something to pick from")
}

/// A number less than `end`.
pub(super) fn below(g: &mut Gen, end: u64) -> u64 {
    u64::arbitrary(g) % end
}

/// Returns one of the kinds of an enum, each as often as its weight says. A kind that is not named
/// is an error of the compiler.
macro_rules! one_of {
    ($g:ident, $($weight:literal: $kind:pat => $draw:expr,)+) => {{
        let _all = |kind: Self| match kind { $($kind => ()),+ };
        let mut rest = below($g, 0 $(+ $weight)+);
        $(
            if rest < $weight {
                return $draw;
            }
            rest -= $weight;
        )+
        unreachable!("{rest} is left over, though it was below the sum of the weights")
    }};
}
pub(super) use one_of;

impl<T: Draw> Draw for Vec<T> {
    fn draw(g: &mut Gen) -> Self {
        (0..below(g, g.size() as u64 + 1)).map(|_| any(g)).collect()
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        let covered: Vec<Any<T>> = self.iter().cloned().map(Any).collect();
        Box::new(covered.shrink().map(|list| list.into_iter().map(|any| any.0).collect()))
    }
}

impl<T: Draw> Draw for Option<T> {
    fn draw(g: &mut Gen) -> Self {
        bool::arbitrary(g).then(|| any(g))
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.clone().map(Any).shrink().map(|option| option.map(|any| any.0)))
    }
}

impl<A: Draw, B: Draw> Draw for (A, B) {
    fn draw(g: &mut Gen) -> Self {
        (any(g), any(g))
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        let (a, b) = self.clone();
        Box::new((Any(a), Any(b)).shrink().map(|(a, b)| (a.0, b.0)))
    }
}

// Time

impl Draw for Duration {
    fn draw(g: &mut Gen) -> Self {
        match below(g, 8) {
            0 => pick(g, &[Self::ZERO, Self::from_nanos(1), Self::MAX]),
            1 => Self::arbitrary(g),
            2..4 => Self::from_nanos(u64::arbitrary(g)),
            4..6 => Self::from_nanos(below(g, 10_000_000)),
            _ => Self::from_millis(below(g, 10_000)),
        }
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

impl Draw for Instant {
    fn draw(g: &mut Gen) -> Self {
        Self::from_nanos(u64::arbitrary(g))
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.as_nanos().shrink().map(Self::from_nanos))
    }
}

impl Draw for Ttl {
    fn draw(g: &mut Gen) -> Self {
        match below(g, 12) {
            0 => pick(g, &[Self::MIN, Self::MAX, Self::from_millis(Self::MAX.as_millis() + 1)]),
            1 => Self::from_millis(u64::arbitrary(g)),
            2..6 => Self::from_millis(below(g, 3_000)),
            _ => Self::from_secs(1 + below(g, 10)),
        }
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        let smaller = self.as_millis().shrink().filter(|millis| *millis > 0);
        Box::new(smaller.map(Self::from_millis))
    }
}

// The nouns of a lease

/// The ends of the order, those that another order of integers would place elsewhere, and some that
/// share their low or their high bits.
pub(super) const HOSTILE_IDS: [i64; 10] =
    [i64::MIN, i64::MIN + 1, -(1 << 40), -2, -1, 1 << 32, 1 << 40, 3 << 40, i64::MAX - 1, i64::MAX];

impl Draw for LeaseId {
    fn draw(g: &mut Gen) -> Self {
        let number = match below(g, 10) {
            0 => i64::arbitrary(g),
            1..4 => pick(g, &HOSTILE_IDS),
            _ => pick(g, &[1, 2, 3]),
        };
        Self::new(number).unwrap_or(const { Self::new(1).unwrap() })
    }
}

impl Draw for Item {
    fn draw(g: &mut Gen) -> Self {
        match below(g, 10) {
            0 => Vec::arbitrary(g).into(),
            1 => pick(g, &["", "\0", "longer than one word"]).into(),
            _ => pick(g, &["a", "b", "c"]).into(),
        }
    }
}

impl Draw for LeaseRecord {
    fn draw(g: &mut Gen) -> Self {
        Self { id: any(g), ttl: any(g), remaining: any(g) }
    }
}

impl Draw for Lease {
    fn draw(g: &mut Gen) -> Self {
        Self { record: any(g), expiry: any(g), items: usize::arbitrary(g) }
    }
}

impl Draw for LeaseOrder {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g, 1: Self::Id => Self::Id, 1: Self::Expiry => Self::Expiry,
            1: Self::ExpiryUntil(_) => Self::ExpiryUntil(any(g)),)
    }
}

// What a lessor is told

impl Draw for Checkpoint {
    fn draw(g: &mut Gen) -> Self {
        Self { id: any(g), remaining: any(g) }
    }
}

impl Draw for Command {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            6: Self::Grant { .. } => Self::Grant { id: any(g), ttl: any(g) },
            2: Self::Revoke { .. } => Self::Revoke { id: any(g) },
            4: Self::Attach { .. } => Self::Attach { id: any(g), items: few(g) },
            2: Self::Detach { .. } => Self::Detach { id: any(g), items: few(g) },
            3: Self::Claim { .. } => Self::Claim { id: any(g), items: few(g) },
            2: Self::Checkpoint { .. } => Self::Checkpoint { checkpoints: few(g) },
        )
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        match self.clone() {
            Self::Grant { id, ttl } => {
                Box::new(ttl.smaller().map(move |ttl| Self::Grant { id, ttl }))
            }
            Self::Revoke { .. } => empty_shrinker(),
            Self::Attach { id, items } => {
                Box::new(items.smaller().map(move |items| Self::Attach { id, items }))
            }
            Self::Detach { id, items } => {
                Box::new(items.smaller().map(move |items| Self::Detach { id, items }))
            }
            Self::Claim { id, items } => {
                Box::new(items.smaller().map(move |items| Self::Claim { id, items }))
            }
            Self::Checkpoint { checkpoints } => {
                Box::new(checkpoints.smaller().map(|checkpoints| Self::Checkpoint { checkpoints }))
            }
        }
    }
}

impl Draw for Input {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            10: Self::Apply(_) => Self::Apply(any(g)),
            4: Self::Renew { .. } => Self::Renew { ticket: any(g), id: any(g) },
            1: Self::RenewAsked { .. } => {
                Self::RenewAsked { asked: any(g), ticket: any(g), id: any(g) }
            },
            1: Self::ForgetRenew { .. } => Self::ForgetRenew { ticket: any(g), id: any(g) },
            2: Self::Promote { .. } => {
                let (short, extend) = (Duration::from_millis(below(g, 2_000)), any(g));
                Self::Promote { extend: pick(g, &[short, short, short, extend]) }
            },
            1: Self::Demote => Self::Demote,
            1: Self::HoldExpired(_) => Self::HoldExpired(bool::arbitrary(g)),
            4: Self::Timeout => Self::Timeout,
        )
    }
}

// What a store is told

impl Draw for RangeDelete {
    fn draw(g: &mut Gen) -> Self {
        Self { lease: any(g), items: few(g) }
    }
}

impl Draw for Write {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            4: Self::PutLease(_) => Self::PutLease(any(g)),
            1: Self::DeleteLease(_) => Self::DeleteLease(any(g)),
            4: Self::PutItem(..) => Self::PutItem(any(g), any(g)),
            1: Self::DeleteItem(_) => Self::DeleteItem(any(g)),
        )
    }
}

impl Draw for Digest {
    fn draw(g: &mut Gen) -> Self {
        Self::from_u64(u64::arbitrary(g))
    }
}

impl Draw for Change {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            6: Self::Write(_) => Self::Write(any(g)),
            1: Self::RangeDelete(_) => Self::RangeDelete(any(g)),
        )
    }
}

impl Draw for Transaction {
    fn draw(g: &mut Gen) -> Self {
        Self {
            after: any(g),
            applied: any(g),
            digest: any(g),
            reset: below(g, 6) == 0,
            changes: any(g),
        }
    }

    fn smaller(&self) -> Box<dyn Iterator<Item = Self>> {
        let bare = self.clone();
        let fewer = self.changes.smaller();
        Box::new(fewer.map(move |changes| Self { changes, ..bare.clone() }))
    }
}

// What a log carries, and what a member is asked

impl Draw for LogIndex {
    fn draw(g: &mut Gen) -> Self {
        Self(u64::arbitrary(g))
    }
}

impl Draw for Term {
    fn draw(g: &mut Gen) -> Self {
        Self(1 + below(g, 3))
    }
}

impl Draw for Proposal {
    fn draw(g: &mut Gen) -> Self {
        Self { term: any(g), sequence: u64::arbitrary(g), command: any(g) }
    }
}

impl Draw for Entry {
    fn draw(g: &mut Gen) -> Self {
        Self { index: any(g), term: any(g), proposal: any(g) }
    }
}

impl Draw for RequestId {
    fn draw(g: &mut Gen) -> Self {
        Self(u64::arbitrary(g))
    }
}

impl Draw for Request {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            8: Self::Grant { .. } => Self::Grant { id: any(g), ttl: any(g) },
            1: Self::GrantOnce { .. } => Self::GrantOnce { request: any(g), ttl: any(g) },
            2: Self::Revoke { .. } => Self::Revoke { id: any(g) },
            4: Self::Renew { .. } => Self::Renew { id: any(g) },
            2: Self::Attach { .. } => Self::Attach { id: any(g), items: few(g) },
            1: Self::Detach { .. } => Self::Detach { id: any(g), items: few(g) },
            1: Self::Claim { .. } => Self::Claim { id: any(g), items: few(g) },
            1: Self::Lookup { .. } => Self::Lookup { id: any(g) },
            1: Self::TimeToLive { .. } => Self::TimeToLive { id: any(g) },
            1: Self::Items { .. } => {
                Self::Items { id: any(g), after: any(g), limit: usize::arbitrary(g) }
            },
            1: Self::Leases { .. } => {
                Self::Leases { order: any(g), after: any(g), limit: usize::arbitrary(g) }
            },
            1: Self::LeaseOf { .. } => Self::LeaseOf { item: any(g) },
            1: Self::Promote => Self::Promote,
            1: Self::Demote => Self::Demote,
        )
    }
}
