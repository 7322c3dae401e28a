//! What an operator sees of an engine, through the facade `metrics`: which names there are, and what
//! they mean. The same table, with etcd's names beside, is in `docs/EMBEDDING.md`.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::Runtime;
use crate::{Instant, Member, Output, Response};

/// The metrics of one engine. Engines of one process share them: counters count for all, and a gauge is
/// the sum of theirs, from which an engine that ends takes its part.
pub(super) struct Metrics {
    granted: Counter,
    revoked: Counter,
    renewed: Counter,
    expired: Counter,
    missed: Counter,
    ttl: Histogram,
    commit: Histogram,
    leases: Level,
    undeleted: Level,
    waiting: Level,
    pending: Level,
    held: Level,
    primary: Level,
    commit_began: Option<Instant>,
}

/// What the gauges show.
pub(super) struct Levels {
    pub(super) leases: usize,
    pub(super) undeleted: usize,
    pub(super) waiting: usize,
    pub(super) pending: usize,
    pub(super) held: usize,
    pub(super) primary: bool,
}

impl Metrics {
    /// On the recorder that is installed now.
    pub(super) fn new() -> Self {
        describe();
        Self {
            granted: counter!(GRANTED),
            revoked: counter!(REVOKED),
            renewed: counter!(RENEWED),
            expired: counter!(EXPIRED),
            missed: counter!(MISSED),
            ttl: histogram!(TTL),
            commit: histogram!(COMMIT),
            leases: Level::of(gauge!(LEASES)),
            undeleted: Level::of(gauge!(UNDELETED)),
            waiting: Level::of(gauge!(WAITING)),
            pending: Level::of(gauge!(PENDING)),
            held: Level::of(gauge!(HELD)),
            primary: Level::of(gauge!(PRIMARY)),
            commit_began: None,
        }
    }

    /// Counts what the member has applied since this was called last.
    pub(super) fn applied(&self, member: &mut Member) {
        let tally = member.tally();
        self.granted.increment(tally.granted.len() as u64);
        self.revoked.increment(tally.revoked);
        for ttl in &tally.granted {
            self.ttl.record(ttl.as_duration());
        }
        tally.clear();
    }

    pub(super) fn output(&self, output: &Output) {
        match output {
            Output::Answer { answer: Ok(Response::Renewed { .. }), .. } => {
                self.renewed.increment(1);
            }
            Output::Expired(batch) => self.expired.increment(batch.leases.len() as u64),
            Output::Answer { .. }
            | Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Commit(_)
            | Output::Waits(_) => {}
        }
    }

    /// So many subscribers miss a batch.
    pub(super) fn missed(&self, subscribers: usize) {
        self.missed.increment(subscribers as u64);
    }

    pub(super) fn commit_begins(&mut self, runtime: &impl Runtime) {
        self.commit_began = Some(runtime.now());
    }

    pub(super) fn commit_ends(&mut self, now: Instant) {
        if let Some(began) = self.commit_began.take() {
            self.commit.record(now.saturating_since(began));
        }
    }

    pub(super) fn show(&mut self, levels: &Levels) {
        self.leases.set(levels.leases);
        self.undeleted.set(levels.undeleted);
        self.waiting.set(levels.waiting);
        self.pending.set(levels.pending);
        self.held.set(levels.held);
        self.primary.set(levels.primary.into());
    }
}

/// The part that one engine has in a gauge.
struct Level {
    gauge: Gauge,
    part: usize,
}

impl Level {
    /// The gauge is there from now on, even if it shows nothing yet.
    fn of(gauge: Gauge) -> Self {
        gauge.increment(0.0);
        Self { gauge, part: 0 }
    }

    fn set(&mut self, part: usize) {
        if part != self.part {
            self.gauge.increment(part as f64 - self.part as f64);
            self.part = part;
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn describe() {
    describe_counter!(GRANTED, Unit::Count, "The leases that were granted.");
    describe_counter!(
        REVOKED,
        Unit::Count,
        "The leases that were revoked, expired ones among them."
    );
    describe_counter!(RENEWED, Unit::Count, "The renews that were answered with success.");
    describe_counter!(
        EXPIRED,
        Unit::Count,
        "The leases that have expired; one whose revoke was lost counts again."
    );
    describe_counter!(
        MISSED,
        Unit::Count,
        "The batches of expired leases that a subscriber has missed, counted for each subscriber."
    );
    describe_histogram!(TTL, Unit::Seconds, "The ttls of the leases that were granted.");
    describe_histogram!(COMMIT, Unit::Seconds, "How long a commit took, with its sync.");
    describe_gauge!(LEASES, Unit::Count, "The leases that there are.");
    describe_gauge!(
        UNDELETED,
        Unit::Count,
        "The leases that have ended though their items could not be deleted yet."
    );
    describe_gauge!(
        WAITING,
        Unit::Count,
        "The renews that wait for a revoke, or for a checkpoint to be taken back."
    );
    describe_gauge!(PENDING, Unit::Count, "The requests in the engine that have no answer yet.");
    describe_gauge!(
        HELD,
        Unit::Count,
        "The batches of expired leases for which a subscriber has no room."
    );
    describe_gauge!(PRIMARY, Unit::Count, "1 if this member is the primary, else 0.");
}

const GRANTED: &str = "lessor_lease_granted_total";
const REVOKED: &str = "lessor_lease_revoked_total";
const RENEWED: &str = "lessor_lease_renewed_total";
const EXPIRED: &str = "lessor_lease_expired_total";
const MISSED: &str = "lessor_expired_batches_missed_total";
const TTL: &str = "lessor_lease_ttl_seconds";
const COMMIT: &str = "lessor_backend_commit_duration_seconds";
const LEASES: &str = "lessor_leases";
const UNDELETED: &str = "lessor_leases_undeleted";
const WAITING: &str = "lessor_renews_waiting";
const PENDING: &str = "lessor_requests_pending";
const HELD: &str = "lessor_expired_batches_held";
const PRIMARY: &str = "lessor_is_primary";
