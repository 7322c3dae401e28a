//! S9d, an answer comes in time: every request is answered, with success or as unknown, within the
//! request timeout on the member's clock, whatever the disk does. Only a renew that waits for the
//! revoke of its lease may take longer, and it is answered as soon as its member has applied the
//! revoke. A request that nobody waits for needs no answer.
//!
//! The time needs clocks that keep their bound: a clock that steps or changes its rate wakes
//! nobody. A process that stands still answers nothing; requests from before have a moment more
//! when it goes on. Broken by a disk that stalls: answers waited for commits that they did not
//! speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{Instant, LeaseId, MemberId, Request, Ticket};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};

/// When each request of each member is to be answered at the latest.
#[derive(Debug, Default)]
pub(super) struct AnAnswerComesInTime {
    open: BTreeMap<MemberId, BTreeMap<Ticket, Instant>>,
    /// When each process last went on after it stood still: requests from meanwhile come in only then.
    resumed: BTreeMap<MemberId, Instant>,
    renews: BTreeMap<MemberId, Renews>,
}

/// The renews in a member that are not decided.
#[derive(Debug, Default)]
struct Renews {
    of: BTreeMap<Ticket, LeaseId>,
    /// Those that wait for the revoke of their lease.
    waiting: BTreeMap<LeaseId, BTreeSet<Ticket>>,
    /// Those whose revoke was applied.
    due: BTreeMap<Ticket, LeaseId>,
}

impl Renews {
    fn note(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Came { ticket, request: Request::Renew { id } } => {
                self.of.insert(*ticket, *id);
            }
            Fact::Waits { ticket } => {
                if let Some(id) = self.of.get(ticket) {
                    self.waiting.entry(*id).or_default().insert(*ticket);
                }
            }
            Fact::Applied { applied, .. } => {
                if let Some((id, _)) = &applied.revoked {
                    let waiting = self.waiting.remove(id).into_iter().flatten();
                    self.due.extend(waiting.map(|ticket| (ticket, *id)));
                }
            }
            Fact::Decided { ticket, .. } | Fact::Forgot { ticket } => {
                self.due.remove(ticket);
                if let Some(id) = self.of.remove(ticket)
                    && let Some(waiting) = self.waiting.get_mut(&id)
                {
                    waiting.remove(ticket);
                }
            }
            Fact::Opened { .. } | Fact::Replaced => *self = Self::default(),
            _ => {}
        }
    }
}

impl Invariant for AnAnswerComesInTime {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        let renews = self.renews.entry(scene.member).or_default();
        renews.note(fact);
        if let Fact::Stands { .. } = fact
            && let Some((ticket, id)) = renews.due.pop_first()
        {
            let what = format!(
                "request {}, renew lease {id}, waits on, though the lease was revoked",
                ticket.0
            );
            return Err(Broken::new(Property::S9d, what).about(id));
        }
        let open = self.open.entry(scene.member).or_default();
        match fact {
            Fact::Came { ticket, .. } => {
                let resumed = self.resumed.get(&scene.member).copied().unwrap_or_default();
                let end = scene.latest.saturating_add(scene.config.request_timeout);
                open.insert(*ticket, end.max(resumed));
            }
            Fact::Waits { ticket } | Fact::Forgot { ticket } => {
                open.remove(ticket);
            }
            Fact::Resumed => {
                self.resumed.insert(scene.member, scene.clock);
                for end in open.values_mut() {
                    *end = scene.clock.max(*end);
                }
            }
            Fact::Opened { .. } | Fact::Replaced => open.clear(),
            Fact::Told { ticket, .. } => {
                let Some(end) = open.remove(ticket) else { return Ok(()) };
                if scene.clocks_steady {
                    judge(scene, *ticket, end)?;
                    return judged.hold(&[Property::S9d]);
                }
            }
            // The first has waited longest.
            Fact::Stands { .. } if scene.clocks_steady => {
                if let Some((ticket, end)) = open.first_key_value() {
                    return judge(scene, *ticket, *end);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn judge(scene: &Scene<'_>, ticket: Ticket, end: Instant) -> Result<(), Broken> {
    if scene.clock <= end.saturating_add(A_MOMENT) {
        return Ok(());
    }
    let late = scene.clock.saturating_since(end);
    let what = format!("request {} has waited {late:?} longer than it may", ticket.0);
    Err(Broken::new(Property::S9d, what))
}

/// What a timer and a few turns of the driver may take.
const A_MOMENT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use lessor::{Digest, LogIndex, RequestError};

    use super::super::harness::{History, granted, renew, revoked};
    use super::*;

    const TICKET: Ticket = Ticket(1);

    fn told<'a>() -> Fact<'a> {
        let nowhere = LogIndex(0);
        Fact::Told { ticket: TICKET, asked: true, speaks_of: nowhere, durable: nowhere }
    }

    /// A request that came at 1 s. It has seven.
    fn asked() -> History<AnAnswerComesInTime> {
        let mut history = History::<AnAnswerComesInTime>::default();
        history.at(1_000);
        history.holds(Fact::Came { ticket: TICKET, request: &renew(7) });
        history
    }

    fn verdict(history: &mut History<AnAnswerComesInTime>, fact: Fact<'_>) -> Option<Property> {
        history.see(fact).err().map(|broken| broken.property)
    }

    #[test]
    fn canary_an_answer_that_comes_late_is_found() {
        for (at, late) in [(8_100, None), (8_101, Some(Property::S9d))] {
            let mut history = asked();
            history.at(at);
            assert_eq!(verdict(&mut history, told()), late, "{at}");
        }
    }

    #[test]
    fn canary_a_request_that_a_member_goes_on_without_answering_is_found() {
        let stands = || Fact::Stands { applied: LogIndex(0), digest: Digest::default() };
        let mut history = asked();
        history.at(8_100);
        assert_eq!(verdict(&mut history, stands()), None);
        history.at(8_101);
        assert_eq!(verdict(&mut history, stands()), Some(Property::S9d));
    }

    #[test]
    fn canary_a_renew_that_waits_on_after_the_revoke_is_found() {
        let stands = || Fact::Stands { applied: LogIndex(2), digest: Digest::default() };
        let unknown = &Err(RequestError::Unknown);
        for (answer, found) in [
            (Some(Fact::Decided { ticket: TICKET, answer: unknown }), None),
            (Some(Fact::Forgot { ticket: TICKET }), None),
            (None, Some(Property::S9d)),
        ] {
            let mut history = asked();
            history.log(1, granted(7, 1_000));
            history.holds(Fact::Waits { ticket: TICKET });
            assert_eq!(verdict(&mut history, stands()), None, "it is not revoked yet");
            history.log(2, revoked(7));
            if let Some(answer) = answer {
                history.holds(answer);
            }
            assert_eq!(verdict(&mut history, stands()), found);
        }
    }

    #[test]
    fn one_that_waits_for_a_revoke_or_that_nobody_waits_for_may_take_longer() {
        for fact in [Fact::Waits { ticket: TICKET }, Fact::Forgot { ticket: TICKET }] {
            let mut history = asked();
            history.holds(fact);
            history.at(60_000);
            assert_eq!(verdict(&mut history, told()), None);
        }
    }

    #[test]
    fn a_process_that_stood_still_has_a_moment_more() {
        let mut history = asked();
        history.at(30_000);
        history.holds(Fact::Resumed);
        history.at(30_100);
        assert_eq!(verdict(&mut history, told()), None);
        // A request from meanwhile comes in with the moment at which it was asked.
        history.at(20_000);
        history.holds(Fact::Came { ticket: TICKET, request: &renew(7) });
        history.at(30_100);
        assert_eq!(verdict(&mut history, told()), None);
    }
}
