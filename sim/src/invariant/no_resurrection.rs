//! S7, no resurrection: once its revoke is applied on a member, a lease is not expired, renewed or
//! found there again, unless it is granted anew.

use lessor::{Request, Response};

use super::{Broken, Event, Invariant, Judged, Scene};

/// Needs no memory: the scene knows which leases exist.
#[derive(Debug, Default)]
pub(super) struct NoResurrection;

impl Invariant for NoResurrection {
    fn observe(&mut self, scene: &Scene<'_>, event: &Event<'_>) -> Result<Judged, Broken> {
        let exists = |id| scene.state.leases.contains_key(id);
        match event {
            Event::Expired { batch } => match batch.leases.iter().find(|id| !exists(id)) {
                Some(id) => Err(Broken::new("S7", format!("lease {id} expired, but is gone"))),
                None => Ok(Judged::Holds),
            },
            Event::Served { request: Request::Renew { id }, .. } => {
                if exists(id) || scene.renewed_and_gone.contains(id) {
                    return Ok(Judged::Holds);
                }
                Err(Broken::new("S7", format!("lease {id} was renewed, but is gone")))
            }
            Event::Served {
                request: Request::Lookup { id },
                response: Response::Lookup(found),
                ..
            } => {
                let items = scene.state.leases.get(id).map(|lease| &lease.items);
                if found.as_ref().map(|found| found.items.iter().collect::<Vec<_>>())
                    == items.map(|items| items.iter().collect())
                {
                    return Ok(Judged::Holds);
                }
                let what = format!("the answer about lease {id} is not what the log says");
                Err(Broken::new("S7", what))
            }
            _ => Ok(Judged::NotConcerned),
        }
    }
}

#[cfg(test)]
mod tests {
    use lessor::{LeaseRecord, LeaseStatus, Ttl};
    use std::time::Duration;

    use super::super::harness::{History, batch, granted, lease, millis, renew, renewed, revoked};
    use super::*;

    fn gone() -> History<NoResurrection> {
        let mut history = History::<NoResurrection>::default();
        history.log(1, granted(7, 10_000));
        let batch = batch(&[7]);
        history.holds(Event::Expired { batch: &batch });
        history.log(2, revoked(7));
        history
    }

    #[test]
    fn canary_a_lease_that_expires_after_its_revoke_is_found() {
        let batch = batch(&[7]);
        let expired = Event::Expired { batch: &batch };
        assert_eq!(gone().see(expired).map_err(|b| b.property), Err("S7"));
    }

    #[test]
    fn canary_a_renew_after_the_revoke_is_found() {
        let (request, response) = (renew(7), renewed(10_000));
        let served = Event::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(gone().see(served).map_err(|b| b.property), Err("S7"));
    }

    #[test]
    fn canary_a_lease_that_is_found_after_its_revoke_is_found() {
        let record = LeaseRecord { id: lease(7), ttl: Ttl::from_secs(10), remaining: None };
        let status = LeaseStatus { record, remaining: Duration::ZERO, items: Vec::new() };
        let (request, response) =
            (Request::Lookup { id: lease(7) }, Response::Lookup(Some(status)));
        let served = Event::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(gone().see(served).map_err(|b| b.property), Err("S7"));
        let response = Response::Lookup(None);
        let served = Event::Served {
            request: &request,
            asked: millis(0),
            came: Duration::ZERO,
            response: &response,
        };
        assert_eq!(gone().see(served), Ok(Judged::Holds));
    }
}
