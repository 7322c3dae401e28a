//! S7, no resurrection: once a member has applied the revoke of a lease, it neither expires the
//! lease nor finds it, unless it is granted anew. S9a: nor does it renew the lease with success.

use lessor::{Request, Response};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// Needs no memory: the scene knows which leases exist.
#[derive(Debug, Default)]
pub(super) struct NoResurrection;

impl Invariant for NoResurrection {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let exists = |id| scene.state.leases.contains_key(id);
        match fact {
            Fact::Expired { batch } => match batch.leases.iter().find(|id| !exists(id)) {
                Some(id) => {
                    let what = format!("lease {id} expired, but is gone");
                    Err(Broken::new(Property::S7, what).about(*id))
                }
                None => judged.hold(&[Property::S7]),
            },
            Fact::Served { request: Request::Renew { id }, .. } => {
                if exists(id) || scene.renewed_and_gone.contains(id) {
                    return judged.hold(&[Property::S9a]);
                }
                let what = format!("lease {id} was renewed, but is gone");
                Err(Broken::new(Property::S9a, what).about(*id))
            }
            Fact::Served {
                request: Request::Lookup { id },
                response: Response::Lookup(found),
                ..
            } => {
                let items = scene.state.leases.get(id).map(|lease| &lease.items);
                if found.as_ref().map(|found| found.items.iter().collect::<Vec<_>>())
                    == items.map(|items| items.iter().collect())
                {
                    return judged.hold(&[Property::S7]);
                }
                let what = format!("the answer about lease {id} is not what the log says");
                Err(Broken::new(Property::S7, what).about(*id))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lessor::{LeaseRecord, LeaseStatus, Ttl};
    use std::time::Duration;

    use super::super::harness::{
        History, Judged, batch, granted, lease, millis, renew, renewed, revoked,
    };
    use super::*;

    fn gone() -> History<NoResurrection> {
        let mut history = History::<NoResurrection>::default();
        history.log(1, granted(7, 10_000));
        let batch = batch(&[7]);
        history.holds(Fact::Expired { batch: &batch });
        history.log(2, revoked(7));
        history
    }

    #[test]
    fn canary_a_lease_that_expires_after_its_revoke_is_found() {
        let batch = batch(&[7]);
        let expired = Fact::Expired { batch: &batch };
        assert_eq!(gone().see(expired).map_err(|b| b.property), Err(Property::S7));
    }

    #[test]
    fn canary_a_renew_after_the_revoke_is_found() {
        let (request, response) = (renew(7), renewed(10_000));
        let served = Fact::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(gone().see(served).map_err(|b| b.property), Err(Property::S9a));
    }

    #[test]
    fn canary_a_lease_that_is_found_after_its_revoke_is_found() {
        let record = LeaseRecord { id: lease(7), ttl: Ttl::from_secs(10), remaining: None };
        let status = LeaseStatus { record, remaining: Duration::ZERO, items: Vec::new() };
        let (request, response) =
            (Request::Lookup { id: lease(7) }, Response::Lookup(Some(status)));
        let served = Fact::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(gone().see(served).map_err(|b| b.property), Err(Property::S7));
        let response = Response::Lookup(None);
        let served = Fact::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(gone().see(served), Ok(Judged::Holds));
    }
}
