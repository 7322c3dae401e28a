//! The lessees of a herd: each takes one lease, attaches items, and renews until it vanishes.
//!
//! Without I/O: a lessee says when it acts next and what it then asks, and is told the answer.

use std::time::Duration;

use lessor::{Error, Item, LeaseId, MemberId, Request, RequestError, Response, Ttl};

use crate::model::clock::Clock;
use crate::scenario::Herd;

/// One lessee of a herd.
#[derive(Clone, Debug)]
pub struct Lessee {
    lease: LeaseId,
    ttl: Ttl,
    items: Vec<Item>,
    renew_every: Option<Duration>,
    keep_alive: bool,
    clock: Clock,
    rate_ppm: i32,
    until: Option<Duration>,
    patience: Duration,
    /// How often in a row it has given up.
    in_vain: u32,
    wants: Want,
    whom: Whom,
}

/// Whom a lessee asks next: at first it knows who leads, then it goes by what it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// Whoever leads.
    Leader,
    /// This member: it answered as a primary, or another one named it as its leader.
    Member(MemberId),
    /// Whoever follows this member and can be reached: it was asked in vain.
    After(MemberId),
}

/// What a lessee does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Grant,
    Attach,
    Renew,
    /// A guard, whose first renew it waits for.
    Guard,
    /// What its guard has to say.
    Loss,
    Nothing,
}

/// What came of an answer, in a word for the trace, and when the lessee acts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    /// The word.
    pub label: &'static str,
    /// When, if ever.
    pub at: Option<Duration>,
}

impl Lessee {
    /// The lessees of a herd, each with the moment of its first act. Their clocks go at this rate, less one,
    /// in millionths, if the herd has none of its own; each has another epoch.
    pub fn herd(herd: &Herd, rate_ppm: i32) -> impl Iterator<Item = (Duration, Self)> {
        let rate_ppm = herd.drift_ppm.unwrap_or(rate_ppm);
        (0..herd.leases).map(move |number| {
            let id = herd.first_lease.get() + i64::from(number);
            let lease = LeaseId::new(id).expect("a scenario has no lease 0");
            let items = (0..herd.items).map(|n| format!("{}/{id}/{n}", herd.name).as_str().into());
            let at = herd.start + herd.over * number / herd.leases;
            let lessee = Self {
                lease,
                ttl: herd.ttl,
                items: items.collect(),
                renew_every: herd.renew_every,
                keep_alive: herd.keep_alive,
                clock: Clock::new(EPOCH * (number + 1), rate_ppm),
                rate_ppm,
                until: herd.until,
                patience: herd.patience(),
                in_vain: 0,
                wants: Want::Grant,
                whom: Whom::Leader,
            };
            (at, lessee)
        })
    }

    /// What it asks now, if it has not vanished.
    #[must_use]
    pub fn ask(&self, now: Duration) -> Option<Request> {
        if self.has_vanished(now) {
            return None;
        }
        let id = self.lease;
        match self.wants {
            Want::Grant => Some(Request::Grant { id: Some(id), ttl: self.ttl }),
            Want::Attach => Some(Request::Attach { id, items: self.items.clone() }),
            Want::Renew | Want::Guard => Some(Request::Renew { id }),
            Want::Loss | Want::Nothing => None,
        }
    }

    /// Whether it is gone, and its guard with it.
    #[must_use]
    pub fn has_vanished(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether what it asks now is the first renew of a guard.
    #[must_use]
    pub fn wants_guard(&self) -> bool {
        self.wants == Want::Guard
    }

    /// Its clock, by which its guard goes.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The rate of its clock, less one, in millionths.
    #[must_use]
    pub fn rate_ppm(&self) -> i32 {
        self.rate_ppm
    }

    /// Its lease.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Its guard lives, by a renew of this member.
    pub fn kept(&mut self, asked: MemberId) -> Next {
        self.in_vain = 0;
        self.whom = Whom::Member(asked);
        self.wants = Want::Loss;
        Next { label: "kept", at: self.until }
    }

    /// Its guard cannot count on the lease any more, because of this.
    pub fn lost(&mut self, now: Duration, asked: MemberId, error: RequestError) -> Next {
        self.wants = Want::Guard;
        self.answered(now, now, Some((asked, &Err(error))))
    }

    /// Whom it asks.
    #[must_use]
    pub fn whom(&self) -> Whom {
        self.whom
    }

    /// How long it waits for an answer: after a few times in vain it doubles, up to 64-fold, for what is asked
    /// may take longer wherever it is asked.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience * (1 << self.in_vain.saturating_sub(3).min(6))
    }

    /// No answer has come from this member for so long that it asks another one, at once: it has waited.
    pub fn gave_up(&mut self, now: Duration, asked: MemberId) -> Next {
        self.whom = Whom::After(asked);
        self.in_vain += 1;
        Next { label: "gave up", at: Some(now) }
    }

    /// Takes a member's answer to what it asked at `sent`; `None` if there was nobody to ask.
    pub fn answered(
        &mut self,
        now: Duration,
        sent: Duration,
        answer: Option<(MemberId, &Result<Response, RequestError>)>,
    ) -> Next {
        let again = Some(now + PAUSE);
        if answer.is_some_and(|(_, answer)| matches!(answer, Ok(_) | Err(RequestError::Refused(_))))
        {
            self.in_vain = 0;
        }
        self.whom = answer.map_or(Whom::Leader, |(asked, answer)| Whom::told(asked, answer));
        let (label, at) = match (self.wants, answer.map(|(_, answer)| answer)) {
            (Want::Grant, Some(Ok(_) | Err(RequestError::Refused(Error::LeaseExists)))) => {
                if self.items.is_empty() {
                    ("granted", self.plan_renew(sent))
                } else {
                    self.wants = Want::Attach;
                    ("granted", Some(now))
                }
            }
            (Want::Attach, Some(Ok(_))) => ("attached", self.plan_renew(sent)),
            (Want::Renew, Some(Ok(_))) => ("renewed", self.plan_renew(sent)),
            (_, Some(Err(RequestError::Refused(_)))) => {
                self.wants = Want::Nothing;
                ("lost", None)
            }
            (_, Some(Err(RequestError::Unknown | RequestError::Stopped))) => ("unanswered", again),
            (_, Some(Err(RequestError::NotPrimary { .. }))) => ("not primary", again),
            (_, None) => ("nobody to ask", again),
            (Want::Guard, Some(Ok(_))) => unreachable!("a guard is no answer"),
            (Want::Loss | Want::Nothing, Some(Ok(_))) => ("done", None),
        };
        Next { label, at }
    }

    fn plan_renew(&mut self, sent: Duration) -> Option<Duration> {
        if self.keep_alive {
            self.wants = Want::Guard;
            return Some(sent);
        }
        self.wants = if self.renew_every.is_some() { Want::Renew } else { Want::Nothing };
        self.renew_every.map(|pause| sent + pause)
    }
}

impl Whom {
    /// Whom to ask after this answer.
    #[must_use]
    pub fn told(asked: MemberId, answer: &Result<Response, RequestError>) -> Self {
        match answer {
            Ok(_) | Err(RequestError::Refused(_)) => Self::Member(asked),
            Err(RequestError::NotPrimary { leader: Some(leader) }) if *leader != asked => {
                Self::Member(*leader)
            }
            Err(
                RequestError::NotPrimary { .. } | RequestError::Unknown | RequestError::Stopped,
            ) => Self::After(asked),
        }
    }
}

/// How long a lessee waits after an answer that is none, before it asks again.
pub const PAUSE: Duration = Duration::from_millis(500);

/// How far the clocks of lessees are apart.
const EPOCH: Duration = Duration::from_secs(7 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);

    fn lessee() -> Lessee {
        let herd = Herd {
            name: "node".to_owned(),
            leases: 1,
            first_lease: LeaseId::new(7).expect("it is not 0"),
            ttl: Ttl::from_secs(12),
            start: Duration::ZERO,
            over: Duration::ZERO,
            renew_every: Some(Duration::from_secs(4)),
            until: None,
            items: 0,
            patience: None,
            keep_alive: false,
            drift_ppm: None,
        };
        Lessee::herd(&herd, 0).next().expect("it has one").1
    }

    #[test]
    fn a_lessee_stays_with_whoever_served_it_and_leaves_whoever_did_not() {
        let mut lessee = lessee();
        assert_eq!(lessee.whom(), Whom::Leader);
        let now = Duration::from_secs(1);
        let id = LeaseId::new(7).expect("it is not 0");
        let (ttl, place) = (Ttl::from_secs(12), lessor::LogIndex(1));
        let granted = Ok(Response::Granted { id, ttl, index: place });
        let next = lessee.answered(now, now, Some((A, &granted)));
        assert_eq!((lessee.whom(), next.at), (Whom::Member(A), Some(now + 4 * now)));
        let next = lessee.gave_up(now, A);
        assert_eq!((lessee.whom(), next.at), (Whom::After(A), Some(now)));
        let elsewhere = Err(RequestError::NotPrimary { leader: Some(A) });
        lessee.answered(now, now, Some((B, &elsewhere)));
        assert_eq!(lessee.whom(), Whom::Member(A));
        // One who names itself is of no use.
        lessee.answered(now, now, Some((A, &elsewhere)));
        assert_eq!(lessee.whom(), Whom::After(A));
    }

    #[test]
    fn patience_grows_if_it_is_in_vain_and_is_what_it_was_after_an_answer() {
        let mut lessee = lessee();
        let now = Duration::from_secs(1);
        let waits = [4, 4, 4, 4, 8, 16].map(Duration::from_secs);
        for patience in waits {
            assert_eq!(lessee.patience(), patience);
            lessee.gave_up(now, A);
        }
        let renewed = Ok(Response::Renewed { ttl: Ttl::from_secs(12) });
        lessee.answered(now, now, Some((A, &renewed)));
        assert_eq!(lessee.patience(), Duration::from_secs(4));
    }

    #[test]
    fn patience_is_a_third_of_the_ttl_within_bounds() {
        let mut herd = Herd {
            name: String::new(),
            leases: 1,
            first_lease: LeaseId::new(1).expect("it is not 0"),
            ttl: Ttl::from_secs(12),
            start: Duration::ZERO,
            over: Duration::ZERO,
            renew_every: None,
            until: None,
            items: 0,
            patience: None,
            keep_alive: false,
            drift_ppm: None,
        };
        for (ttl, patience) in [(1, 1), (12, 4), (60, 5)] {
            herd.ttl = Ttl::from_secs(ttl);
            assert_eq!(herd.patience(), Duration::from_secs(patience), "{ttl}");
        }
    }
}
