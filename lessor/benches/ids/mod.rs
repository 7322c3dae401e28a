//! The ids of all benchmarks.

use lessor::LeaseId;

/// Ids that differ in any of their bits; none is 0.
pub(crate) fn id(number: u64) -> LeaseId {
    let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
    LeaseId::new(id.cast_signed()).expect("its highest bit is set")
}
