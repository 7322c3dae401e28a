//! S12, pure: two members that get the same inputs give the same outputs, byte for byte.
//!
//! Needs nothing; judged in a part of the runs, for it costs a second member for each.

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Needs no memory: the oracle compares.
#[derive(Debug, Default)]
pub(super) struct Pure;

impl Invariant for Pure {
    fn observe(
        &mut self,
        _: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Twin { differs: None, .. } => judged.hold(&[Property::S12]),
            Fact::Twin { differs: Some(what), lease } => {
                Err(Broken::new(Property::S12, what.clone()).about(*lease))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lessor::LeaseId;

    use super::super::harness::History;
    use super::super::harness::Judged;
    use super::*;

    #[test]
    fn canary_a_twin_that_says_something_else_is_found() {
        let mut history = History::<Pure>::default();
        assert_eq!(history.see(Fact::Twin { differs: None, lease: None }), Ok(Judged::Holds));
        let differs = Some("its twin says nothing, where it says: renew lease 7".to_owned());
        let other = history.see(Fact::Twin { differs, lease: LeaseId::new(7) });
        assert_eq!(other.map_err(|broken| broken.property), Err(Property::S12));
    }
}
