//! The lessees of a herd: each takes one lease, attaches items, and renews until it vanishes.
//!
//! Without I/O: a lessee says when it acts next and what it then asks, and is told the answer.

use std::time::Duration;

use lessor::{Error, Item, LeaseId, MemberId, Request, RequestError, Response, Ttl};

use crate::scenario::Herd;

/// One lessee of a herd.
#[derive(Clone, Debug)]
pub struct Lessee {
    lease: LeaseId,
    ttl: Ttl,
    items: Vec<Item>,
    renew_every: Option<Duration>,
    until: Option<Duration>,
    wants: Want,
    /// Who gave it its last answer as a primary: it goes on asking that one.
    primary: Option<MemberId>,
}

/// What a lessee does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Grant,
    Attach,
    Renew,
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
    /// The lessees of a herd, each with the moment of its first act.
    pub fn herd(herd: &Herd) -> impl Iterator<Item = (Duration, Self)> {
        (0..herd.leases).map(|number| {
            let id = herd.first_lease.get() + i64::from(number);
            let lease = LeaseId::new(id).expect("a scenario has no lease 0");
            let items = (0..herd.items).map(|n| format!("{}/{id}/{n}", herd.name).as_str().into());
            let at = herd.start + herd.over * number / herd.leases;
            let lessee = Self {
                lease,
                ttl: herd.ttl,
                items: items.collect(),
                renew_every: herd.renew_every,
                until: herd.until,
                wants: Want::Grant,
                primary: None,
            };
            (at, lessee)
        })
    }

    /// What it asks now, if it has not vanished.
    #[must_use]
    pub fn ask(&self, now: Duration) -> Option<Request> {
        if self.until.is_some_and(|until| until <= now) {
            return None;
        }
        let id = self.lease;
        match self.wants {
            Want::Grant => Some(Request::Grant { id: Some(id), ttl: self.ttl }),
            Want::Attach => Some(Request::Attach { id, items: self.items.clone() }),
            Want::Renew => Some(Request::Renew { id }),
            Want::Nothing => None,
        }
    }

    /// Whom it asks, if it does not have to look for whoever leads.
    #[must_use]
    pub fn primary(&self) -> Option<MemberId> {
        self.primary
    }

    /// Takes a member's answer to what it asked at `sent`; `None` if there was nobody to ask.
    pub fn answered(
        &mut self,
        now: Duration,
        sent: Duration,
        answer: Option<(MemberId, &Result<Response, RequestError>)>,
    ) -> Next {
        let again = Some(now + PATIENCE);
        self.primary = answer.filter(|(_, answer)| answer.is_ok()).map(|(member, _)| member);
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
            (Want::Nothing, Some(Ok(_))) => ("done", None),
        };
        Next { label, at }
    }

    fn plan_renew(&mut self, sent: Duration) -> Option<Duration> {
        self.wants = if self.renew_every.is_some() { Want::Renew } else { Want::Nothing };
        self.renew_every.map(|pause| sent + pause)
    }
}

/// How long a lessee waits before it asks again.
const PATIENCE: Duration = Duration::from_millis(500);
