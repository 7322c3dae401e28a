//! A hash of the replicated state that is kept up to date change by change.
//!
//! It is the sum of a hash of every lease and every item, so that the order in which they came does
//! not matter and a change costs as much as the one entry that it changes. It finds members that
//! have parted and stores that were damaged; it is no defence against somebody who forges a state.

use core::fmt;

use crate::{Item, LeaseId, LeaseRecord, Ttl};

/// A hash of the whole replicated state: equal on members that applied the same log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Digest(u64);

impl Digest {
    /// The digest with this number, from [`as_u64`](Digest::as_u64).
    #[must_use]
    pub const fn from_u64(digest: u64) -> Self {
        Self(digest)
    }

    /// The digest as a number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn add_lease(&mut self, record: &LeaseRecord) {
        self.0 = self.0.wrapping_add(hash_lease(record));
    }

    pub(crate) fn remove_lease(&mut self, record: &LeaseRecord) {
        self.0 = self.0.wrapping_sub(hash_lease(record));
    }

    pub(crate) fn add_item(&mut self, item: &Item, holder: LeaseId) {
        self.0 = self.0.wrapping_add(hash_item(item, holder));
    }

    pub(crate) fn remove_item(&mut self, item: &Item, holder: LeaseId) {
        self.0 = self.0.wrapping_sub(hash_item(item, holder));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hash_lease(record: &LeaseRecord) -> u64 {
    let mut hash = mix(0, 1);
    hash = mix(hash, record.id.get().cast_unsigned());
    hash = mix(hash, record.ttl.as_millis());
    mix(hash, record.remaining.map_or(0, Ttl::as_millis))
}

fn hash_item(item: &Item, holder: LeaseId) -> u64 {
    let mut hash = mix(0, 2);
    hash = mix(hash, holder.get().cast_unsigned());
    hash = mix(hash, item.key().len() as u64);
    for chunk in item.key().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

/// One round of the finaliser of `SplitMix64` (Steele, Lea, Flood 2014) over both words.
pub(crate) const fn mix(hash: u64, word: u64) -> u64 {
    let mut x = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers that `SplitMix64` gives from 1234567, as its authors' C code does.
    #[test]
    fn a_round_is_that_of_splitmix64() {
        let state =
            |calls: u64| 1_234_567_u64.wrapping_add(calls.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let numbers = [0, 1, 2].map(|calls| mix(state(calls), 0));
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(numbers, expected);
        assert_eq!(mix(0, state(1)), expected[1], "both words count alike");
        assert_eq!(mix(state(1), state(1)), mix(0, 0), "and cancel each other");
    }

    /// Stores hold digests, and whoever opens them compares: another function would refuse them all.
    #[test]
    fn the_digest_of_a_state_is_what_stores_hold() {
        let id = |number| LeaseId::new(number).unwrap();
        let record = |number, secs, remaining: Option<u64>| LeaseRecord {
            id: id(number),
            ttl: Ttl::from_secs(secs),
            remaining: remaining.map(Ttl::from_secs),
        };
        let mut digest = Digest::default();
        digest.add_lease(&record(7, 10, None));
        digest.add_lease(&record(-7, 60, Some(5)));
        digest.add_item(&Item::from("a"), id(7));
        digest.add_item(&Item::from("a longer key than a word"), id(7));
        assert_eq!(digest, Digest::from_u64(0x90b3_541a_4e3b_eead));
    }
}
