//! The name that a caller gives to a grant, so that it can ask again.

use core::fmt;

use crate::LeaseId;
use crate::digest::mix;

/// Identifies one request for a lease, so that it can be repeated safely. The caller chooses a number that
/// nobody else uses, best a random one of 64 bits, and keeps it until the answer is known. The id of the
/// lease follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct RequestId(pub u64);

impl RequestId {
    /// The id of its lease: positive, and the same on every member and in every version. The probability
    /// that two of a million random request ids share a lease id is below one in ten million.
    #[must_use]
    pub const fn lease(self) -> LeaseId {
        let mut number = mix(APART, self.0);
        loop {
            match LeaseId::new((number >> 1).cast_signed()) {
                Some(id) => return id,
                None => number = mix(APART, number),
            }
        }
    }
}

impl From<u64> for RequestId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// The number.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Keeps these ids apart from those that members pick, which follow from a salt, often 0.
const APART: u64 = 0x7265_7175_6573_7473;

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller may ask again after an update of the engine: these ids must never change.
    #[test]
    fn the_id_of_a_request_is_always_the_same() {
        let ids = [0, 1, 1 << 32, u64::MAX].map(|id| RequestId(id).lease().get());
        assert_eq!(
            ids,
            [
                1_884_693_804_170_558_186,
                7_414_412_178_259_369_960,
                1_454_861_468_996_403_123,
                7_065_702_740_059_790_762,
            ]
        );
        assert!(ids.iter().all(|id| *id > 0));
    }
}
