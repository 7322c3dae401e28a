//! The one place where numbers come from chance: only real hosts use it, never the simulator.

/// A number that nobody outside of this process can know, and that does not come again; std asks the
/// system for what it is made of.
#[expect(clippy::disallowed_types, reason = "a real host draws its hash key and its salts")]
pub(crate) fn draw() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}
