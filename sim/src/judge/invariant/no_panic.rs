//! S15, no panic: a member handles every input without a panic.
//!
//! Needs nothing; judged with each input of a member. Broken by etcd #6093, #6537 and #21186.

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Needs no memory: the host catches panics.
#[derive(Debug, Default)]
pub(super) struct NoPanic;

impl Invariant for NoPanic {
    fn observe(
        &mut self,
        _: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Stands { .. } => judged.hold(&[Property::S15]),
            Fact::Panicked { what } => Err(Broken::new(Property::S15, (*what).to_owned())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lessor::{Digest, LogIndex};

    use super::super::harness::{History, Judged};
    use super::*;

    #[test]
    fn canary_a_panic_is_found() {
        let mut history = History::<NoPanic>::default();
        let stands = Fact::Stands { applied: LogIndex(0), digest: Digest::default() };
        assert_eq!(history.see(stands), Ok(Judged::Holds));
        let panicked = history.see(Fact::Panicked { what: "panicked at lessor.rs:1: no" });
        assert_eq!(panicked.map_err(|broken| broken.property), Err(Property::S15));
    }
}
