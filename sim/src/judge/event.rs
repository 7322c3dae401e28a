//! What happens in a run. The world tells each event once: the oracle judges it, marks of coverage are
//! counted from it, and the trace writes it down.

use std::time::Duration;

use lessor::backend::Stored;
use lessor::driver::CallError;
use lessor::{
    Confirmation, Entry, Instant, LeaseId, Member, MemberId, MemberInput, Output, Proposal,
    Request, RequestError, Response,
};

use super::fact::End;
use crate::env::disk::{Met, PowerCut};
use crate::env::packet::Packet;
use crate::env::raft::Note;
use crate::model::clock::Clock;
use crate::scenario::{CrashWhen, Fault};

/// Something that happens in a run.
#[derive(Debug)]
pub struct Event<'a> {
    /// Virtual time since the start of the run.
    pub now: Duration,
    /// The member that it happens on, if it happens on one.
    pub member: Option<MemberId>,
    /// That member's clock; zero without a member.
    pub clock: Instant,
    /// What happens.
    pub kind: Kind<'a>,
}

/// What happens.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Debug)]
pub enum Kind<'a> {
    // The log and its messages.
    /// Something happened to the log.
    Log(&'a Note),
    /// The log has committed the next entry.
    Committed(&'a Entry),
    /// A log of somebody else's hands its member an entry that is not the next one to be committed.
    Handed {
        entry: &'a Entry,
        /// Whether it leaves one out.
        gap: bool,
    },
    /// A member hands a proposal to the log.
    Proposed(&'a Proposal),
    /// A member asks the log whether it leads.
    Confirm(Confirmation),
    /// A member sends a message.
    Posted(&'a Packet),
    /// A link does not let the message pass as it should that was sent last.
    Disturbed(Disturbance),
    /// A message has come to a member.
    Heard(&'a Packet),

    // A member, as its host shows it.
    /// It is about to handle an input. The clock is that of the input.
    Input(&'a MemberInput),
    /// It has handled an input, and its host has not taken the outputs.
    Handled {
        member: &'a Member,
        /// Whether it was primary before.
        was_primary: bool,
        /// What its clock shows, which may be later than the input.
        shows: Instant,
    },
    /// Its host is about to do an output.
    Output(&'a Output),

    /// A replay of a recording has come to something that the member said.
    Compared {
        /// What it says in the replay.
        output: Option<&'a Output>,
        /// How that is not what was recorded, if it is not.
        differs: Option<&'a str>,
    },

    // A member's process and its machine.
    /// It has read its store.
    Opened {
        /// What was in it.
        stored: &'a Stored,
        /// How its disk was exchanged, if it was since the store was last opened.
        exchanged: Option<Exchange>,
        /// Whether bits have flipped on its disk.
        rotten: bool,
    },
    /// It could not read its store.
    Unreadable,
    /// Somebody else has its store open.
    LockedOut,
    /// Its store was opened a second time, or a second engine was refused for this reason.
    OpenedAgain(Option<&'a str>),
    /// Its host has stopped as it was asked to.
    Stopped,
    /// Its host has failed.
    Failed {
        error: &'a str,
        /// What its disk has refused to do since it started.
        met: Met,
        /// Whether bits have flipped on its disk.
        rotten: bool,
        /// Whether it never opened.
        opening: bool,
    },
    /// Its process has ended.
    Down {
        /// Whether no process of any member runs.
        all: bool,
    },
    /// Its machine has lost its power.
    PowerLost {
        /// The power cut that waited for a commit or a proposal, if one did.
        waited: Option<CrashWhen>,
        /// What became of the writes that were not synced.
        cut: Option<PowerCut>,
    },
    /// Its disk was asked to do something.
    Disk(&'a str),
    /// Its disk takes longer for a commit, by this.
    SlowDisk(Duration),
    /// A commit waits for a transaction of its host.
    StoreHeld,
    /// A commit has failed.
    WriteFailed,
    /// Its store was handed the last transaction again, and has refused that or has not.
    CommittedAgain {
        /// Whether it has.
        refused: bool,
    },
    /// An observer has taken an expired batch, or was told that it missed some.
    Observed {
        /// Whether it missed some.
        missed: bool,
    },

    // Faults.
    /// A step orders a fault, or the ending does.
    Ordered {
        /// The position of the step; those of the ending follow the last one.
        step: usize,
        fault: &'a Fault,
    },
    /// A fault begins, or has its effect.
    Fault {
        fault: &'a Fault,
        /// What it does, in words.
        words: &'a str,
    },
    /// A fault that lasts is over.
    Over {
        /// The position of the step that ordered it.
        step: usize,
        fault: &'a Fault,
        why: OverBy,
    },
    /// A machine starts again.
    Restarted,
    /// A member's machine has another disk: what was durable is gone for that reason.
    Exchanged(Exchange),
    /// A process that stood still goes on.
    Resumed,
    /// A member's clock has stepped, or runs at this rate less one, in millionths.
    ClockSet { ppm: i32 },
    /// A clock breaks the bound that lessees rely on.
    ClockUnsteady {
        /// Whether it is ahead, so that promises of durations cannot hold.
        ahead: bool,
    },
    /// All faults are over for these members.
    Healed {
        core: &'a [MemberId],
        /// Whether these are all members.
        all: bool,
    },

    // Lessees and what they ask.
    /// Somebody makes a request.
    Asked {
        call: u64,
        by: Asker<'a>,
        request: &'a Request,
        /// Whether it was made before.
        again: bool,
    },
    /// Nobody is there to be asked.
    NobodyToAsk {
        /// What would be asked.
        request: &'a Request,
        /// What its lessee makes of that, in a word.
        outcome: &'static str,
    },
    /// A request is on its way to a member that runs.
    Sent { call: u64, request: &'a Request },
    /// A request has an answer.
    Answered {
        call: u64,
        /// Who asked.
        by: Asker<'a>,
        request: &'a Request,
        /// When it was sent.
        sent: Duration,
        /// Whether another member was asked in vain before.
        elsewhere: bool,
        answer: &'a Result<Response, RequestError>,
    },
    /// A request does not come to its member, or what it was answered does not come back.
    LostOnTheWay {
        call: u64,
        by: Asker<'a>,
        request: &'a Request,
        /// The answer, if that is what was lost.
        answer: Option<&'a Result<Response, RequestError>>,
    },
    /// Somebody has waited long enough for an answer.
    GaveUp {
        call: u64,
        by: Asker<'a>,
        /// What was asked.
        request: &'a Request,
        /// Whether it, or its answer, was lost on the way.
        lost: bool,
    },
    /// Something about the guard that keeps a lease alive.
    Guard {
        /// The lease; nobody else renews it.
        lease: LeaseId,
        news: GuardNews<'a>,
        /// What its lessee makes of that, in a word; `None` if it ignores it.
        outcome: Option<&'static str>,
    },

    // The end.
    /// A scenario expects something of this moment.
    Expected {
        /// What was found.
        found: &'a str,
        /// Whether that is what it expects.
        met: bool,
        /// In which line.
        line: usize,
    },
    /// The code under test has panicked.
    Panicked(&'a str),
    /// The scenario has ended.
    Ended(&'a End),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A step of the scenario.
    Step {
        /// The name of its lessee.
        lessee: Option<&'a str>,
        /// The member that it asks, if it names one.
        member: Option<MemberId>,
        /// The line of the scenario; 0 if it was drawn.
        line: usize,
    },
    /// A lessee of a herd.
    Herd {
        /// What it makes of the answer, in a word.
        outcome: &'static str,
    },
    /// An expectation of the scenario.
    Expectation,
}

/// What a link does to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disturbance {
    /// Nothing passes.
    Blocked,
    /// It is lost by chance.
    Lost,
    /// It takes longer.
    Slowed,
    /// It comes twice.
    Doubled,
}

/// What ends a fault that lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverBy {
    /// It has lasted as long as it was to.
    Time,
    /// The fault `heal`.
    Heal,
    /// The ending.
    Ending,
    /// The process that it was in has ended.
    Process,
}

/// How a disk is exchanged for another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exchange {
    /// For an empty one.
    Empty,
    /// For one with what was copied earlier.
    Older,
}

/// What becomes of a guard.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Copy, Debug)]
pub enum GuardNews<'a> {
    /// A lessee wants one, on this clock, whose renews this member is asked for.
    Wanted {
        of: MemberId,
        clock: Clock,
        /// Whether the clock keeps the bound that lessees rely on.
        in_bound: bool,
    },
    /// It looks at its clock. The last time that it does so before a renew comes in is when it asks for it.
    Looks,
    /// Its first renew has succeeded.
    Lives,
    /// It says that the lease can no longer be counted on.
    Lost { why: &'a CallError },
    /// Its lessee wants it no more.
    Dropped,
}
