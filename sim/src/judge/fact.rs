//! What the oracle makes of [events](super::Event), for the properties.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::backend::Stored;
use lessor::{
    Config, Digest, Entry, ExpiredBatch, Instant, Item, LeaseId, LeaseRecord, LogIndex, MemberId,
    RangeDelete, Request, RequestError, Response, Term, Ticket, Transaction,
};

use super::event::GuardNews;
use crate::model::{Applied, Difference, State};

/// Something that the oracle saw.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Debug)]
pub enum Fact<'a> {
    /// The log has committed an entry.
    Agreed {
        entry: &'a Entry,
        /// What it does.
        applied: &'a Applied,
    },
    /// A member has loaded its store.
    Opened {
        /// What was in it.
        stored: &'a Stored,
        /// The first difference to the log at the same index; `None` if the log is not that long.
        difference: Option<Option<Difference>>,
        /// Whether bits have flipped on its disk.
        rotten: bool,
    },
    /// A member's store could not be read.
    Unreadable,
    /// A member that opens its store has refused it, and bits had flipped on its disk.
    Refused,
    /// A member's machine has got an empty disk.
    Replaced,
    /// A member has installed a whole state instead of applying entries.
    Installed,
    /// A member has applied an entry in memory.
    Applied {
        entry: &'a Entry,
        /// What the log says that it does.
        applied: &'a Applied,
    },
    /// A member stands at an index of the log with this digest.
    Stands {
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
        news: GuardNews<'a>,
    },
    /// A member was elected for a term.
    Elected { term: Term, leader: MemberId },
    /// A log of somebody else's hands its member an entry that is not the next one to be committed.
    Handed {
        entry: &'a Entry,
        /// What was committed at its index; `None` if nothing was, or if one is left out.
        agreed: Option<&'a Entry>,
    },
    /// A member is told that it leads a term.
    Leads { term: Term },
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
        request: &'a Request,
    },
    /// A member is told whether an observer has no room for expired batches.
    Held {
        /// Whether they are to wait.
        hold: bool,
    },
    /// A member has decided how to answer a request, and tells it when all that the answer speaks of is
    /// durable.
    Decided {
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
    Waits { ticket: Ticket },
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
        response: &'a Response,
    },
    /// A member hands a transaction to its store. Everything up to the last one is durable.
    Commit {
        transaction: &'a Transaction,
        /// The revokes that the log has in it, in order.
        revoked: &'a [(LeaseId, Vec<lessor::Item>)],
        /// The range deletes that the transaction has in it, in order.
        deletes: &'a [&'a RangeDelete],
        /// The first difference between store and log afterwards.
        difference: Option<Difference>,
    },
    /// A commit has come back: everything up to here is promised to be durable.
    Durable { applied: LogIndex },
    /// A commit has failed: what was in it may be lost.
    WriteFailed,
    /// A member's store was handed its last transaction once more.
    Repeated {
        /// Whether it refused that.
        refused: bool,
    },
    /// A member answers a request.
    Told {
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
        /// The lease that this is about, if it is about one.
        lease: Option<LeaseId>,
    },
    /// A lessee asks.
    Asked {
        /// For what.
        request: &'a Request,
    },
    /// A lessee has an answer that says what became of its request, or that nothing did.
    Answered {
        request: &'a Request,
        /// When it was sent, in true time.
        began: Duration,
        /// The same on the clock of lessees.
        sent: Duration,
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
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unanswered {
    /// Who was asked.
    pub member: MemberId,
    /// What the answer would carry.
    pub ticket: Ticket,
    /// When it came in.
    pub came: Duration,
    pub request: Request,
}

/// Where a fact happened.
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
