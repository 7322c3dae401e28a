//! S5, one history: members that stand at the same index of the log have applied the same entries
//! and have equal digests.

use std::collections::BTreeMap;

use lessor::{Digest, Entry, LogIndex, MemberId};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// What the first member at each index had.
#[derive(Debug, Default)]
pub(super) struct OneHistory {
    entries: BTreeMap<LogIndex, Entry>,
    digests: BTreeMap<LogIndex, (MemberId, Digest)>,
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
    fn canary_members_that_apply_different_entries_are_found() {
        let mut history = History::<OneHistory>::default();
        let applied = Applied::default();
        let (one, other) = (entry(1, granted(7, 10_000)), entry(1, granted(8, 10_000)));
        history.holds(Fact::Applied { entry: &one, applied: &applied });
        let other = Fact::Applied { entry: &other, applied: &applied };
        assert_eq!(history.see(other).map_err(|b| b.property), Err(Property::S5));
    }
}
