//! The properties that must hold, one file each, with the numbers of docs/SEMANTICS.md.
//!
//! An invariant is shown [events](Event) and keeps what it needs to judge the next one. It is written
//! from the property, never from the code that it judges, and each has a canary among its tests: a
//! history with a planted bug that it must object to.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an invariant names the events that it speaks of, and a new one need not touch it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use lessor::backend::Stored;
use lessor::driver::CallError;
use lessor::{
    Config, Digest, Entry, ExpiredBatch, Instant, Item, LeaseId, LeaseRecord, LogIndex, MemberId,
    RangeDelete, Request, RequestError, Response, Term, Ticket, Transaction, Ttl,
};

use crate::clock::Clock;
use crate::model::{Applied, Difference, State};

pub use self::catalogue::Property;

mod all_or_nothing;
mod answered_in_time;
mod bounded;
mod calm;
mod catalogue;
mod claims;
mod confirmed;
mod converged;
mod deadlines;
mod due_first;
mod earliest;
mod fenced;
mod guarded;
mod host;
mod in_time;
mod linearizable;
mod log_only;
mod never_early;
mod no_op;
mod no_panic;
mod no_resurrection;
mod one_answer;
mod one_history;
mod only_for_cause;
mod only_the_primary;
mod promise;
mod pure;
mod reigns;
mod revoked_in_time;
mod smoothed;
mod structure;
mod taken_at_once;

/// Something that the oracle saw.
#[derive(Debug)]
pub enum Event<'a> {
    /// The log has committed an entry.
    Agreed {
        /// The entry.
        entry: &'a Entry,
        /// What it does.
        applied: &'a Applied,
    },
    /// A member has loaded its store.
    Opened {
        /// What was in it.
        stored: &'a Stored,
        /// The first difference to the log at the same place; `None` if the log has no such place.
        difference: Option<Option<Difference>>,
        /// Whether bits have flipped on its disk.
        harmed: bool,
    },
    /// A member's store could not be read.
    Unreadable,
    /// A member that opens its store has refused it, and bits had flipped on its disk.
    Refused,
    /// A member's machine has got an empty disk.
    Replaced,
    /// A member has taken a whole state in place of entries.
    Installed,
    /// A member has applied an entry in memory.
    Applied {
        /// The entry.
        entry: &'a Entry,
        /// What the log says that it does.
        applied: &'a Applied,
    },
    /// A member stands at a place with this digest.
    Stands {
        /// The place.
        applied: LogIndex,
        /// The member's digest.
        digest: Digest,
    },
    /// A member was promoted, or promoted again.
    Promoted {
        /// Whether it was primary already.
        again: bool,
        /// The last entry of an earlier term, which it must have applied.
        barrier: LogIndex,
    },
    /// A member was demoted, or has ended.
    Demoted,
    /// A member's process has ended.
    Gone,
    /// Something about the guard that keeps a lease alive.
    Guard {
        /// Of which lease; nobody else renews it.
        lease: LeaseId,
        /// What.
        news: GuardNews<'a>,
    },
    /// A member was elected for a term.
    Elected {
        /// The term.
        term: Term,
    },
    /// A member is told that it leads a term.
    Leads {
        /// The term.
        term: Term,
    },
    /// A member's timer has come.
    Timer {
        /// Whether it is due again at the same moment, with nothing to be done.
        idle: bool,
    },
    /// What a member that holds few leases knows after an input.
    After {
        /// Its leases.
        records: &'a [LeaseRecord],
        /// Each of them with its deadline, if it has one.
        deadlines: &'a BTreeMap<LeaseId, Option<Instant>>,
        /// Whether its lessor waits for a moment.
        timer: bool,
        /// Whether it is primary.
        primary: bool,
        /// The holder of each item.
        items: &'a BTreeMap<Item, LeaseId>,
    },
    /// A member has decided that these leases have expired.
    Expired {
        /// The leases.
        batch: &'a ExpiredBatch,
    },
    /// A request has come in to a member.
    Came {
        /// What the answer will carry.
        ticket: Ticket,
        /// The request.
        request: &'a Request,
    },
    /// A member is told whether an observer has no place for expired batches.
    Held {
        /// Whether they are to wait.
        hold: bool,
    },
    /// A member has decided how to answer a request, and tells it when all that the answer speaks of is
    /// durable.
    Decided {
        /// Which.
        ticket: Ticket,
        /// How.
        answer: &'a Result<Response, RequestError>,
    },
    /// A member is told that nobody waits any more for an answer.
    Forgot {
        /// To which request.
        ticket: Ticket,
    },
    /// A renew waits for the revoke of its lease.
    Waits {
        /// Which.
        ticket: Ticket,
    },
    /// A request is on its way to a member.
    Sent {
        /// For what.
        request: &'a Request,
    },
    /// A request that was sent to a member is answered, or its lessee waits no longer.
    Left {
        /// For what.
        request: &'a Request,
    },
    /// A member's process goes on after it stood still.
    Resumed,
    /// A member has decided to answer a request with success.
    Served {
        /// What was asked.
        request: &'a Request,
        /// When it came in, on the member's clock.
        asked: Instant,
        /// When it came in.
        came: Duration,
        /// The answer.
        response: &'a Response,
    },
    /// A member hands a transaction to its store. Everything up to the last one is durable.
    Commit {
        /// The transaction.
        transaction: &'a Transaction,
        /// The revokes that the log has in it, in order.
        revoked: &'a [(LeaseId, Vec<lessor::Item>)],
        /// The range deletes that the transaction has in it, in order.
        deletes: &'a [&'a RangeDelete],
        /// The first difference between store and log afterwards.
        difference: Option<Difference>,
    },
    /// A commit has come back: everything up to here is promised to be durable.
    Durable {
        /// The place.
        applied: LogIndex,
    },
    /// A commit has failed: what was in it may be lost.
    WriteFailed,
    /// A member's store was handed its last transaction once more.
    Repeated {
        /// Whether it refused that.
        refused: bool,
    },
    /// A member answers a request.
    Told {
        /// The request.
        ticket: Ticket,
        /// Whether an answer was owed.
        asked: bool,
        /// What it had applied when it decided the answer, if that is a success.
        speaks_of: LogIndex,
        /// Up to where its store is durable.
        durable: LogIndex,
    },
    /// A second member was told all that a member was, and this is what it had to say where the member
    /// said something.
    Twin {
        /// What differs, in words.
        differs: Option<String>,
    },
    /// A lessee asks.
    Asked {
        /// For what.
        request: &'a Request,
    },
    /// A lessee has an answer that says what became of its request, or that nothing did.
    Answered {
        /// The request.
        request: &'a Request,
        /// When it was sent, in true time.
        began: Duration,
        /// The same on the clock of lessees.
        sent: Duration,
        /// The answer.
        answer: &'a Result<Response, RequestError>,
    },
    /// The code under test has panicked.
    Panicked {
        /// Where, and what it said.
        what: &'a str,
    },
    /// The scenario has ended.
    Ended {
        /// How.
        end: &'a End,
    },
}

/// What becomes of a guard.
#[derive(Clone, Copy, Debug)]
pub enum GuardNews<'a> {
    /// A lessee wants one, on this clock, whose renews this member is asked for.
    Wanted {
        /// The member.
        of: MemberId,
        /// The clock.
        clock: Clock,
        /// Whether the clock goes as lessees allow for.
        in_bound: bool,
    },
    /// It looks at its clock. The last time that it does so before a renew comes in is when it asks for it.
    Looks,
    /// Its first renew has succeeded.
    Lives,
    /// It says that the lease can no longer be counted on.
    Lost {
        /// Why.
        why: &'a CallError,
    },
    /// Its lessee wants it no more.
    Dropped,
}

/// How a run ended, for liveness.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct End {
    /// The leader, if one is up, reaches a majority and is promoted.
    pub primary: Option<MemberId>,
    /// The members that reach the leader.
    pub connected: Vec<MemberId>,
    /// Whether a majority runs and is connected, so that liveness is owed.
    pub owed: bool,
    /// Members of that majority that neither run nor have ended, long after they were told to.
    pub unsettled: Vec<MemberId>,
    /// The last moment at which a fault, a repair or an election happened.
    pub stable_since: Duration,
    /// How many proposals were lost on purpose.
    pub losses: u32,
    /// The requests that connected members have not answered.
    pub unanswered: Vec<Unanswered>,
    /// The clock of the primary.
    pub clock: Instant,
    /// What a revoke takes from its decision to the last member, without losses.
    pub latency: Duration,
}

/// A request that has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unanswered {
    /// Who was asked.
    pub member: MemberId,
    /// What the answer would carry.
    pub ticket: Ticket,
    /// When it came in.
    pub came: Duration,
    /// The request.
    pub request: Request,
}

/// Where an event happened.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// True time since the start of the run.
    pub now: Duration,
    /// The same on the clock of lessees.
    pub lessees: Duration,
    /// Whether no clock has gone faster than it may, so that promises can rely on clocks.
    pub clocks_hold: bool,
    /// Whether no clock has stepped or gone too slow either.
    pub clocks_steady: bool,
    /// Since when faults are over, if they are, on the clock of lessees.
    pub healed: Option<Duration>,
    /// How far the rate of any clock may be from true time, in millionths.
    pub bound_ppm: u32,
    /// The member that it happened on; 0 for what belongs to none.
    pub member: MemberId,
    /// That member's clock.
    pub clock: Instant,
    /// The latest that its process has seen on it. A clock that steps back stands still for the core
    /// that reads it: somewhere between the two, for a member need not tell its core every moment.
    pub latest: Instant,
    /// Leases whose checkpoint was taken back, and that were then revoked, in the delivery of entries
    /// that the member is at: their renews were decided between the two.
    pub renewed_and_gone: &'a BTreeSet<LeaseId>,
    /// What that member has applied in memory; for no member, what the log has committed.
    pub state: &'a State,
    /// The settings of all members.
    pub config: &'a Config,
}

/// One or more properties, as they are judged event by event.
pub trait Invariant: Send {
    /// Judges an event and notes what it needs for later ones.
    ///
    /// # Errors
    ///
    /// What is wrong, and by which property.
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        event: &Event<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken>;
}

/// How often each property was judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgements([u64; Property::ALL.len()]);

impl Default for Judgements {
    fn default() -> Self {
        Self([0; Property::ALL.len()])
    }
}

impl Judgements {
    /// These properties were judged, and hold.
    ///
    /// # Errors
    ///
    /// None: it is what an invariant returns.
    pub fn hold(&mut self, properties: &[Property]) -> Result<(), Broken> {
        for property in properties {
            self.add_one(*property);
        }
        Ok(())
    }

    /// This property was judged.
    pub fn add_one(&mut self, property: Property) {
        self.0[property as usize] += 1;
    }

    /// Each property, with how often it was judged.
    pub fn iter(&self) -> impl Iterator<Item = (Property, u64)> {
        Property::ALL.into_iter().zip(self.0)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// A property that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub property: Property,
    /// What was seen, as a sentence.
    pub what: String,
    /// On which member, if that is not where the event happened.
    pub member: Option<MemberId>,
}

impl Broken {
    /// An objection to what has just happened.
    #[must_use]
    pub fn new(property: Property, what: String) -> Self {
        Self { property, what, member: None }
    }

    /// The same, of a member that the event does not name.
    #[must_use]
    pub fn of(self, member: MemberId) -> Self {
        Self { member: Some(member), ..self }
    }
}

/// A property that did not hold, with the place.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Violation {
    /// The number of the property.
    pub property: &'static str,
    /// What was seen, as a sentence.
    pub what: String,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// On which member, 0 if on none.
    pub member: u64,
    /// The lease that it is about, if it is about one.
    pub lease: Option<i64>,
    /// Whose lease that is, where the scenario has a name for it.
    pub lessee: Option<String>,
}

impl Violation {
    /// A violation, of the lease that its sentence names, if it names one.
    #[must_use]
    pub fn new(property: &'static str, what: String, at_ms: u64, member: u64) -> Self {
        let lease = named_lease(&what).map(LeaseId::get);
        Self { property, what, at_ms, member, lease, lessee: None }
    }

    /// Whether it is about something that must happen, rather than something that must not.
    #[must_use]
    pub fn is_liveness(&self) -> bool {
        self.property.starts_with('L')
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Property::of_id(self.property);
        let title = known.map_or("", Property::title);
        let (secs, millis) = (self.at_ms / 1_000, self.at_ms % 1_000);
        write!(f, "{} ({title}) at {secs}.{millis:03}", self.property)?;
        if self.member > 0 {
            write!(f, " on member {}", self.member)?;
        }
        write!(f, ": {}", self.what)?;
        match &self.lessee {
            Some(lessee) => write!(f, " (its lessee is {lessee})"),
            None => Ok(()),
        }
    }
}

/// The first lease that a sentence names.
fn named_lease(what: &str) -> Option<LeaseId> {
    let behind = what.match_indices("lease ").map(|(at, word)| &what[at + word.len()..]);
    behind.into_iter().find_map(|behind| {
        let end = behind.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(behind.len());
        LeaseId::new(behind[..end].parse().ok()?)
    })
}

/// A fresh judge for each of [`Property`]: each of these speaks for one or a few.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<never_early::NeverEarly>::default(),
        Box::<in_time::InTime>::default(),
        Box::<promise::PromiseKept>::default(),
        Box::<only_for_cause::OnlyForCause>::default(),
        Box::<all_or_nothing::AllOrNothing>::default(),
        Box::<one_history::OneHistory>::default(),
        Box::<only_the_primary::OnlyThePrimary>::default(),
        Box::<no_resurrection::NoResurrection>::default(),
        Box::<structure::Structure>::default(),
        Box::<one_answer::OneAnswer>::default(),
        Box::<answered_in_time::AnsweredInTime>::default(),
        Box::<taken_at_once::TakenAtOnce>::default(),
        Box::<confirmed::Confirmed>::default(),
        Box::<guarded::Guarded>::default(),
        Box::<bounded::Bounded>::default(),
        Box::<fenced::Fenced>::default(),
        Box::<pure::Pure>::default(),
        Box::<linearizable::Linearizable>::default(),
        Box::<claims::Claims>::default(),
        Box::<deadlines::Deadlines>::default(),
        Box::<due_first::DueFirst>::default(),
        Box::<reigns::Reigns>::default(),
        Box::<smoothed::Smoothed>::default(),
        Box::<log_only::LogOnly>::default(),
        Box::<host::Host>::default(),
        Box::<no_op::NoOp>::default(),
        Box::<no_panic::NoPanic>::default(),
        Box::<revoked_in_time::RevokedInTime>::default(),
        Box::<converged::Converged>::default(),
        Box::<calm::Calm>::default(),
    ]
}

/// The ttl that a successful answer promises to a lessee, and for which lease.
///
/// After a pause a member may apply a grant, its revoke and a grant of the same id in one delivery,
/// and tell all of it at the end: what is told of another ttl than the lease has is about an earlier
/// lease, and promises nothing of this one. One that has the same ttl promises no more than the
/// grant of this lease does.
fn promised(state: &State, request: &Request, response: &Response) -> Option<(LeaseId, Ttl)> {
    let (id, ttl) = match (request, response) {
        // It may have been there already, and keeps its deadline.
        (Request::GrantOnce { .. }, _) => return None,
        (_, Response::Granted { id, ttl, .. }) => (*id, *ttl),
        (Request::Renew { id }, Response::Renewed { ttl }) => (*id, *ttl),
        _ => return None,
    };
    let of_another = state.leases.get(&id).is_some_and(|lease| lease.ttl != ttl);
    (!of_another).then_some((id, ttl))
}

/// What a lease has from a promotion on, besides the extension.
fn left(lease: &crate::model::Lease) -> Duration {
    lease.remaining.unwrap_or(lease.ttl).as_duration()
}

#[cfg(test)]
pub(crate) mod harness;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_violation_knows_the_lease_that_its_sentence_names() {
        let of = |what: &str| Violation::new("S2", what.to_owned(), 12_034, 2).lease;
        assert_eq!(of("lease 1000042 is gone 1.5s too early"), Some(1_000_042));
        assert_eq!(of("member 1 never answered request 3, renew lease -7, which"), Some(-7));
        assert_eq!(of("there are leases, and lease of one, but no lease"), None);
        let mut named = Violation::new("S2", "lease 7 is gone".to_owned(), 12_034, 2);
        named.lessee = Some("session/7".to_owned());
        let text = "S2 (a promise is kept) at 12.034 on member 2: lease 7 is gone \
            (its lessee is session/7)";
        assert_eq!(named.to_string(), text);
    }

    /// Whether all canaries sing in a process in which the objections of a property are ignored.
    fn canaries_are_green(blind: &str) -> bool {
        let program = std::env::current_exe().expect("a test runs from a file");
        let mut command = Command::new(program);
        command.args(["invariant::", "--skip", "every_property"]).env(harness::BLIND, blind);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.expect("the tests can be run").success()
    }

    /// Without its check, the canary of a property is red.
    #[test]
    fn every_property_has_a_canary() {
        assert!(canaries_are_green(""), "all are green with all checks");
        for property in Property::ALL {
            let (id, title) = (property.id(), property.title());
            assert!(!canaries_are_green(id), "{id}, {title}, has no canary");
            println!("{id:<4} {title}: green with its check, red without");
        }
    }
}
