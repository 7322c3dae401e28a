//! S3, deleted only for cause: an item is deleted only by the revoke of the lease that holds it at
//! that index of the log. S3a: a revoke deletes all items of its lease, in ascending order.

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Needs no memory: each transaction is compared with the entries that it stands for.
#[derive(Debug, Default)]
pub(super) struct DeletedOnlyForCause;

impl Invariant for DeletedOnlyForCause {
    fn observe(
        &mut self,
        _: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let Fact::Commit { revoked, deletes, difference, .. } = fact else {
            return Ok(());
        };
        let caused = revoked.iter().filter(|(_, items)| !items.is_empty()).map(Some);
        for (caused, deleted) in caused.chain([None]).zip(deletes.iter().map(Some).chain([None])) {
            match (caused, deleted) {
                (Some((id, items)), Some(delete)) if *id == delete.lease => {
                    if *items != delete.items {
                        let (gone, held) = (delete.items.len(), items.len());
                        let what = format!(
                            "the revoke of lease {id} deleted {gone} items, but it held {held}, \
                             in ascending order"
                        );
                        return Err(Broken::new(Property::S3a, what).about(*id));
                    }
                }
                (_, Some(delete)) => {
                    let what = format!("the items of lease {} were deleted uncaused", delete.lease);
                    return Err(Broken::new(Property::S3, what).about(delete.lease));
                }
                (Some((id, _)), None) => {
                    let what = format!("the revoke of lease {id} left its items behind");
                    return Err(Broken::new(Property::S3a, what).about(*id));
                }
                (None, None) => {}
            }
        }
        if revoked.iter().filter(|(_, items)| !items.is_empty()).count() < deletes.len() {
            return Err(Broken::new(
                Property::S3,
                "more items were deleted than were revoked".to_owned(),
            ));
        }
        match difference {
            Some(difference) if difference.is_loss() => {
                let broken = Broken::new(Property::S3, difference.to_string());
                Err(broken.about(difference.lease()))
            }
            Some(_) | None if revoked.is_empty() => Ok(()),
            Some(_) | None => judged.hold(&[Property::S3, Property::S3a]),
        }
    }
}

#[cfg(test)]
mod tests {
    use lessor::{Item, LeaseId, RangeDelete};

    use super::super::harness::{History, Judged, lease, transaction};
    use super::*;
    use crate::model::Difference;

    fn commit(
        revoked: &[(LeaseId, Vec<Item>)],
        deletes: &[RangeDelete],
        difference: Option<Difference>,
    ) -> Result<Judged, Broken> {
        let (transaction, deletes) = (transaction(0, 1), deletes.iter().collect::<Vec<_>>());
        let commit =
            Fact::Commit { transaction: &transaction, revoked, deletes: &deletes, difference };
        History::<DeletedOnlyForCause>::default().see(commit)
    }

    fn items(keys: &[&str]) -> Vec<Item> {
        keys.iter().map(|key| Item::from(*key)).collect()
    }

    fn delete(id: i64, keys: &[&str]) -> RangeDelete {
        RangeDelete { lease: lease(id), items: items(keys) }
    }

    #[test]
    fn a_revoke_that_deletes_its_items_in_order_is_fine() {
        let revoked = [(lease(7), items(&["a", "b"])), (lease(8), items(&[]))];
        assert_eq!(commit(&revoked, &[delete(7, &["a", "b"])], None), Ok(Judged::Holds));
    }

    #[test]
    fn canary_each_wrong_delete_is_found() {
        let revoked = [(lease(7), items(&["a", "b"]))];
        let cases = [
            ("order", &revoked[..], vec![delete(7, &["b", "a"])], Property::S3a),
            ("incomplete", &revoked, vec![delete(7, &["a"])], Property::S3a),
            ("left behind", &revoked, vec![], Property::S3a),
            ("no cause", &[], vec![delete(7, &["a"])], Property::S3),
            ("another lease", &revoked, vec![delete(8, &["a", "b"])], Property::S3),
            ("too many", &revoked, vec![delete(7, &["a", "b"]), delete(9, &["c"])], Property::S3),
        ];
        for (what, revoked, deletes, property) in cases {
            let found = commit(revoked, &deletes, None).map_err(|broken| broken.property);
            assert_eq!(found, Err(property), "{what}");
        }
    }

    #[test]
    fn canary_an_item_that_vanishes_without_a_range_delete_is_found() {
        let lost = Difference::Item { item: "k".into(), stored: None, log: Some(lease(7)) };
        assert_eq!(commit(&[], &[], Some(lost)).map_err(|b| b.property), Err(Property::S3));
    }
}
