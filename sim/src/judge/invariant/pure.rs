//! S12, pure: a member that is told the same says the same, byte for byte.
//!
//! Needs nothing; judged in a part of the runs, for it costs a second member for each.

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Whoever shows the facts has compared.
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
            Fact::Twin { differs: None } => judged.hold(&[Property::S12]),
            Fact::Twin { differs: Some(what) } => Err(Broken::new(Property::S12, what.clone())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::History;
    use super::super::harness::Judged;
    use super::*;

    #[test]
    fn canary_a_twin_that_says_something_else_is_found() {
        let mut history = History::<Pure>::default();
        assert_eq!(history.see(Fact::Twin { differs: None }), Ok(Judged::Holds));
        let other = history.see(Fact::Twin { differs: Some("nothing".to_owned()) });
        assert_eq!(other.map_err(|broken| broken.property), Err("S12"));
    }
}
