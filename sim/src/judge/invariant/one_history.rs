//! S5, one history: members that stand at the same index of the log have applied the same entries
//! and have equal digests. A term has one leader, and a log hands each entry to all members, after the
//! one before it.

use std::collections::BTreeMap;

use lessor::{Digest, Entry, LogIndex, MemberId, Term};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// What the first member at each index had.
#[derive(Debug, Default)]
pub(super) struct OneHistory {
    entries: BTreeMap<LogIndex, Entry>,
    digests: BTreeMap<LogIndex, (MemberId, Digest)>,
    leaders: BTreeMap<Term, MemberId>,
}

impl Invariant for OneHistory {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Applied { entry, .. } => {
                let first = self.entries.entry(entry.index).or_insert_with(|| (*entry).clone());
                if first == *entry {
                    return judged.hold(&[Property::S5]);
                }
                let what = format!("{} is another entry than elsewhere", entry.index);
                Err(Broken::new(Property::S5, what))
            }
            Fact::Stands { applied, digest } => {
                let &mut (member, first) =
                    self.digests.entry(*applied).or_insert((scene.member, *digest));
                if first == *digest {
                    return judged.hold(&[Property::S5]);
                }
                let what =
                    format!("at {applied} its digest is {digest}, member {member} had {first}");
                Err(Broken::new(Property::S5, what))
            }
            Fact::Elected { term, leader } => {
                let first = *self.leaders.entry(*term).or_insert(*leader);
                if first == *leader {
                    return judged.hold(&[Property::S5]);
                }
                let what = format!("member {leader} leads term {term}, which member {first} led");
                Err(Broken::new(Property::S5, what).of(*leader))
            }
            Fact::Handed { entry, agreed } => match agreed {
                Some(agreed) if agreed == entry => judged.hold(&[Property::S5]),
                Some(_) => {
                    let what = format!("is handed another entry {} than elsewhere", entry.index);
                    Err(Broken::new(Property::S5, what))
                }
                None => {
                    let what = format!("is handed entry {} before the one before it", entry.index);
                    Err(Broken::new(Property::S5, what))
                }
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{History, Judged, entry, granted};
    use super::*;
    use crate::model::Applied;

    #[test]
    fn canary_members_that_part_are_found() {
        let mut history = History::<OneHistory>::default();
        let stands =
            |digest| Fact::Stands { applied: LogIndex(4), digest: Digest::from_u64(digest) };
        history.on(1);
        assert_eq!(history.see(stands(1)), Ok(Judged::Holds));
        history.on(2);
        assert_eq!(history.see(stands(1)), Ok(Judged::Holds));
        assert_eq!(history.see(stands(2)).map_err(|b| b.property), Err(Property::S5));
    }

    #[test]
    fn canary_two_leaders_of_a_term_are_found() {
        let mut history = History::<OneHistory>::default();
        let elected = |leader| Fact::Elected { term: Term(3), leader: MemberId(leader) };
        assert_eq!(history.see(elected(1)), Ok(Judged::Holds));
        assert_eq!(history.see(elected(1)), Ok(Judged::Holds));
        assert_eq!(history.see(elected(2)).map_err(|b| b.property), Err(Property::S5));
    }

    #[test]
    fn canary_a_log_that_hands_out_another_entry_or_leaves_one_out_is_found() {
        let mut history = History::<OneHistory>::default();
        let (one, other) = (&entry(1, granted(7, 10_000)), &entry(1, granted(8, 10_000)));
        let handed = |agreed| Fact::Handed { entry: one, agreed };
        assert_eq!(history.see(handed(Some(one))), Ok(Judged::Holds));
        for agreed in [Some(other), None] {
            assert_eq!(history.see(handed(agreed)).map_err(|b| b.property), Err(Property::S5));
        }
    }

    #[test]
    fn canary_members_that_apply_different_entries_are_found() {
        let mut history = History::<OneHistory>::default();
        let applied = Applied::default();
        let (one, other) = (entry(1, granted(7, 10_000)), entry(1, granted(8, 10_000)));
        history.holds(Fact::Applied { entry: &one, applied: &applied });
        let other = Fact::Applied { entry: &other, applied: &applied };
        assert_eq!(history.see(other).map_err(|b| b.property), Err(Property::S5));
    }
}
