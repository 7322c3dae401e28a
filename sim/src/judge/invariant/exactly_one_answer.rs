//! S9, exactly one answer: no request is answered twice. L6: under a primary that stays, every
//! request is answered.

use super::revoked_in_time::slack;
use super::{Broken, Fact, Invariant, Judgements, Property, Scene, Unanswered};
use crate::model::text;

/// Needs no memory of requests: the oracle tells which are unanswered.
#[derive(Debug, Default)]
pub(super) struct ExactlyOneAnswer {
    most_leases: usize,
}

impl Invariant for ExactlyOneAnswer {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Told { ticket, asked: false, .. } => {
                Err(Broken::new(Property::S9, format!("request {} was answered twice", ticket.0)))
            }
            Fact::Told { asked: true, .. } => judged.hold(&[Property::S9]),
            Fact::Ended { end } => {
                // A renew may wait for a revoke.
                let patience =
                    scene.config.request_timeout + slack(scene.config, self.most_leases, end);
                for Unanswered { member, ticket, came, request } in &end.unanswered {
                    if scene.now >= came.max(&end.stable_since).saturating_add(patience) {
                        let what = format!(
                            "member {member} never answered request {}, {request}, which came at {}",
                            ticket.0,
                            text::moment(*came),
                        );
                        let lease = text::leases_of_request(request).first().copied();
                        return Err(Broken::new(Property::L6, what).of(*member).about(lease));
                    }
                }
                judged.hold(&[Property::L6])
            }
            Fact::Agreed { .. } => {
                self.most_leases = self.most_leases.max(scene.state.leases.len());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lessor::{LeaseId, LogIndex, MemberId, Ticket};

    use super::super::End;
    use super::super::harness::{History, Judged, renew};
    use super::*;

    #[test]
    fn canary_a_second_answer_is_found() {
        let mut history = History::<ExactlyOneAnswer>::default();
        let (ticket, durable) = (Ticket(1), LogIndex(0));
        let told = |asked| Fact::Told { ticket, asked, speaks_of: durable, durable };
        assert_eq!(history.see(told(true)), Ok(Judged::Holds));
        assert_eq!(history.see(told(false)).map_err(|b| b.property), Err(Property::S9));
    }

    #[test]
    fn canary_a_request_that_is_never_answered_is_found() {
        let mut history = History::<ExactlyOneAnswer>::default();
        let (member, ticket, came) = (MemberId(1), Ticket(12), Duration::from_secs(5));
        let unanswered = vec![Unanswered { member, ticket, came, request: renew(7) }];
        let end = End { unanswered, ..End::default() };
        // Seven seconds of patience, a retry of three, one for the rate.
        history.at(15_999);
        assert_eq!(history.see(Fact::Ended { end: &end }), Ok(Judged::Holds));
        history.at(16_000);
        let found = history.see(Fact::Ended { end: &end }).expect_err("it is owed");
        assert_eq!((found.property, found.member), (Property::L6, Some(MemberId(1))));
        assert_eq!(found.lease, LeaseId::new(7));
        let what = "member 1 never answered request 12, renew lease 7, which came at 5.000";
        assert_eq!(found.what, what);
    }
}
