//! S11, fenced: a proposal is committed in the term of its leader or never, so that of two
//! primaries only one decides. S7a: each proposal is committed once.
//!
//! Needs nothing. Broken by etcd #12528 and #15247: revokes of a stale primary.

use std::collections::BTreeSet;

use lessor::Term;

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// The last term, and what was committed in it.
#[derive(Debug, Default)]
pub(super) struct Fenced {
    term: Term,
    sequences: BTreeSet<u64>,
}

impl Invariant for Fenced {
    fn observe(
        &mut self,
        _: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let Fact::Agreed { entry, .. } = fact else { return Ok(()) };
        if entry.term < self.term {
            let (term, last) = (entry.term, self.term);
            let what = format!("{} of term {term} was committed after term {last}", entry.index);
            return Err(Broken::new(Property::S11, what));
        }
        if entry.term > self.term {
            self.sequences.clear();
            self.term = entry.term;
        }
        let Some(proposal) = &entry.proposal else { return Ok(()) };
        if proposal.term != entry.term {
            let (from, to) = (proposal.term, entry.term);
            let what = format!("a proposal of term {from} was committed in term {to}");
            return Err(Broken::new(Property::S11, what));
        }
        if !self.sequences.insert(proposal.sequence) {
            let what =
                format!("proposal {} of term {} is there twice", proposal.sequence, self.term);
            return Err(Broken::new(Property::S7a, what));
        }
        judged.hold(&[Property::S11, Property::S7a])
    }
}

#[cfg(test)]
mod tests {
    use lessor::Entry;

    use super::super::harness::{History, Judged, entry, revoked};
    use super::*;
    use crate::model::Applied;

    fn agree(history: &mut History<Fenced>, entry: &Entry) -> Result<Judged, Broken> {
        history.see(Fact::Agreed { entry, applied: &Applied::default() })
    }

    #[test]
    fn canary_a_proposal_of_an_earlier_term_is_found() {
        let mut history = History::<Fenced>::default();
        let mut late = entry(1, revoked(7));
        late.term = Term(2);
        assert_eq!(agree(&mut history, &late).map_err(|b| b.property), Err(Property::S11));
    }

    #[test]
    fn canary_a_proposal_that_is_committed_twice_is_found() {
        let mut history = History::<Fenced>::default();
        assert_eq!(agree(&mut history, &entry(1, revoked(7))), Ok(Judged::Holds));
        let again = Entry { index: lessor::LogIndex(2), ..entry(1, revoked(7)) };
        assert_eq!(agree(&mut history, &again).map_err(|b| b.property), Err(Property::S7a));
    }

    #[test]
    fn canary_a_term_that_goes_back_is_found() {
        let mut history = History::<Fenced>::default();
        let mut newer = entry(1, revoked(7));
        newer.term = Term(2);
        newer.proposal = None;
        agree(&mut history, &newer).expect("it is fine");
        assert_eq!(
            agree(&mut history, &entry(2, revoked(7))).map_err(|b| b.property),
            Err(Property::S11)
        );
    }
}
