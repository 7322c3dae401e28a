//! The form of each event in a file. docs/EVENTS.md says what the fields mean.

use lessor::LeaseId;
use serde::{Serialize, Serializer};

/// A line: an event with its number, its moment and its cause.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    /// Counts the lines from 0, which is the header.
    pub(super) n: u64,
    /// Nanoseconds of virtual time.
    pub(super) t: u64,
    #[serde(flatten)]
    pub(super) body: Body<'a>,
    /// The member that it happens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) m: Option<u64>,
    /// The `n` of its cause, always a smaller one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) c: Option<u64>,
    /// The line of the scenario that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// Its words in the trace, if it is shown there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) w: Option<String>,
}

/// A number that JSON may not have as one: beyond 2^53 it is a string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Number(pub(super) i128);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) if number.unsigned_abs() <= 1 << 53 => serializer.serialize_i64(number),
            Ok(_) | Err(_) => serializer.collect_str(&self.0),
        }
    }
}

impl From<LeaseId> for Number {
    fn from(id: LeaseId) -> Self {
        Self(id.get().into())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number.into())
    }
}

/// What a power cut made of writes that were not synced.
#[derive(Serialize)]
pub(super) struct Cut {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    pub(super) torn: u64,
}

/// An entry of the log.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) index: u64,
    pub(super) op: &'a str,
    pub(super) leases: Vec<Number>,
    pub(super) effect: &'a str,
}

/// What happens, by its kind `k`.
#[derive(Serialize)]
#[serde(tag = "k", rename_all = "kebab-case")]
pub(super) enum Body<'a> {
    Ask {
        call: u64,
        op: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        by: &'a str,
        /// Whether it was made before, of another member or of this one.
        again: bool,
    },
    Told {
        call: u64,
        op: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Number>,
        ok: bool,
        /// What it is told, in words.
        why: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<Number>,
        /// Until when the lessee may count on the lease.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Number>,
    },
    /// A request or an answer is lost on its way.
    Lost {
        call: u64,
        what: &'a str,
    },
    /// Somebody waits for an answer no more.
    GaveUp {
        call: u64,
        op: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Number>,
    },
    Guard {
        lease: Number,
        news: &'a str,
    },
    In {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        op: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ticket: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
    },
    Out {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        ticket: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Number>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ok: Option<bool>,
    },
    Confirm {
        question: u64,
    },
    Propose {
        id: String,
        op: &'a str,
        leases: Vec<Number>,
    },
    Agreed(Entry<'a>),
    Apply(Entry<'a>),
    Commit {
        after: u64,
        index: u64,
        /// Whether it replaces all that was stored.
        reset: bool,
        put: Vec<Number>,
        del: Vec<Number>,
        /// Items that are attached, detached or deleted, each as `lease key`, `- key`.
        items: Vec<String>,
    },
    Due {
        lease: Number,
        /// When it ends in virtual time, as this member sees it; absent where it only exists.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Number>,
        /// The same on the clock of the member.
        #[serde(skip_serializing_if = "Option::is_none")]
        own: Option<Number>,
        ttl: Number,
        why: &'a str,
    },
    Expire {
        leases: Vec<Number>,
    },
    Send {
        id: u64,
        to: u64,
    },
    Recv {
        id: u64,
        from: u64,
    },
    Drop {
        id: u64,
        why: &'a str,
    },
    Role {
        role: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        term: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        leader: Option<u64>,
    },
    Log {
        what: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        term: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    Process {
        what: &'a str,
    },
    Fault {
        id: usize,
        what: &'a str,
        members: Vec<u64>,
        /// When it ends by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Number>,
        /// Whether it goes on until something ends it.
        lasts: bool,
    },
    /// A fault has its effect.
    Effect {
        what: &'a str,
    },
    Over {
        id: usize,
        why: &'a str,
    },
    Clock {
        shown: Number,
        ppm: i32,
    },
    Disk {
        what: &'a str,
        #[serde(flatten)]
        cut: Option<Cut>,
    },
    Expect {
        found: &'a str,
        met: bool,
    },
    Judge {
        property: &'a str,
        title: &'a str,
        what: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<Number>,
        /// The causes that lead to it, the first one first.
        because: Vec<u64>,
    },
    Bin {
        /// How often what happened in this second, such as `told renew ok`.
        counts: &'a std::collections::BTreeMap<String, u64>,
    },
    End {
        verdict: &'a str,
        hash: String,
        /// The trace's, not the file's.
        events: u64,
    },
}
