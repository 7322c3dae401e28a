//! How the world can change.

use std::time::Duration;

use lessor::MemberId;

use super::settings::{Loss, Unsynced};

/// How the world can change. What has a span ends by itself then; without one it stays until it
/// is healed.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// This member is elected, if a majority can hear it.
    Elect(MemberId),
    /// Whoever leads does so no more.
    Depose,
    /// This member's machine loses its power.
    Crash(Crash),
    /// This member's process ends at once; what it has written stays.
    Kill(MemberId),
    /// This member's machine starts again.
    Restart(MemberId),
    /// This member is stopped gracefully.
    Stop(MemberId),
    /// This member's process stands still for a while.
    Pause { member: MemberId, span: Duration },
    /// This member is cut off from the others, not from lessees.
    Isolate { member: MemberId, span: Option<Duration> },
    /// These members are cut off from all others, and the others from them.
    Partition {
        /// Who is on the one side.
        side: Vec<MemberId>,
        span: Option<Duration>,
    },
    /// Messages in one direction are lost.
    Block {
        /// Who sends them.
        from: MemberId,
        to: MemberId,
        span: Option<Duration>,
    },
    /// Messages in one direction take longer.
    Delay {
        /// Who sends them.
        from: MemberId,
        to: MemberId,
        by: Duration,
        span: Option<Duration>,
    },
    /// Messages between members are lost, or come twice.
    Noise {
        /// How many of a million are lost.
        loss_ppm: u32,
        /// How many of a million come twice.
        duplicate_ppm: u32,
        span: Option<Duration>,
    },
    /// The links of this member, or of every one, work again.
    Heal(Option<MemberId>),
    /// A member's disk takes longer for each commit.
    SlowDisk { member: MemberId, by: Duration, span: Option<Duration> },
    /// A member's disk has no room.
    FullDisk { member: MemberId, span: Option<Duration> },
    /// Syncs of a member's disk fail.
    FailSync {
        member: MemberId,
        count: u32,
        /// What becomes of the writes that they were to make durable.
        unsynced: Unsynced,
    },
    /// Bits flip on the disk of a member that is down.
    Rot {
        member: MemberId,
        /// In how many pages one does.
        pages: u32,
    },
    /// A member that is down gets an empty disk.
    ReplaceDisk(MemberId),
    /// What is on a member's disk is copied, as a backup of a running machine does it.
    CopyDisk(MemberId),
    /// A member that is down gets back what was copied last.
    PutBack(MemberId),
    /// A member's engine is dropped in the middle of whatever it does; its machine goes on, and so does
    /// a commit that is on its way.
    Abort(MemberId),
    /// Somebody opens a member's store a second time.
    OpenAgain(MemberId),
    /// Somebody opens the stream of a member's expired batches, and takes none for a while.
    Observe {
        member: MemberId,
        span: Option<Duration>,
        /// Whether it is dropped then, rather than read.
        leaves: bool,
    },
    /// A member's host has a write transaction of its own open, for which commits wait.
    HoldStore { member: MemberId, span: Option<Duration> },
    /// A member's clock steps.
    Jump {
        member: MemberId,
        by: Duration,
        /// Whether it steps back.
        back: bool,
    },
    /// A member's clock runs at another rate, besides its own.
    Drift {
        member: MemberId,
        /// How much faster, in millionths; at -1,000,000 it stands still.
        ppm: i32,
        span: Option<Duration>,
    },
    /// The next proposals of this member come twice in a row, as from a host that tries again.
    Repeat { member: MemberId, count: u32 },
    /// Proposals of this member are lost on their way.
    Lose { member: MemberId, loss: Loss, count: u32 },
}

impl Fault {
    /// Whether it orders the modelled log about, so that no other log can be told.
    #[must_use]
    pub fn is_of_the_modelled_log(&self) -> bool {
        matches!(self, Self::Elect(_) | Self::Depose | Self::Lose { .. } | Self::Repeat { .. })
    }

    /// The name of its kind, as it is written in a scenario.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Elect(_) => ELECT,
            Self::Depose => "depose",
            Self::Crash(_) => CRASH,
            Self::Kill(_) => "kill",
            Self::Restart(_) => "restart",
            Self::Stop(_) => "stop",
            Self::Pause { .. } => "pause",
            Self::Isolate { .. } => "isolate",
            Self::Partition { .. } => "partition",
            Self::Block { .. } => "block",
            Self::Delay { .. } => "delay",
            Self::Noise { .. } => "noise",
            Self::Heal(_) => "heal",
            Self::SlowDisk { .. } => "slow-disk",
            Self::FullDisk { .. } => FULL_DISK,
            Self::FailSync { .. } => FAIL_SYNC,
            Self::Rot { .. } => "rot",
            Self::ReplaceDisk(_) => "replace-disk",
            Self::CopyDisk(_) => "copy-disk",
            Self::PutBack(_) => "put-back",
            Self::Abort(_) => "abort",
            Self::OpenAgain(_) => OPEN_AGAIN,
            Self::Observe { .. } => OBSERVE,
            Self::HoldStore { .. } => "hold-store",
            Self::Jump { .. } => "jump",
            Self::Drift { .. } => "drift",
            Self::Repeat { .. } => REPEAT,
            Self::Lose { .. } => LOSE,
        }
    }

    /// How often it happens.
    #[must_use]
    pub fn times(&self) -> u64 {
        match self {
            Self::Lose { count, .. }
            | Self::Repeat { count, .. }
            | Self::FailSync { count, .. } => u64::from(*count),
            Self::Elect(_)
            | Self::Depose
            | Self::Crash(_)
            | Self::Kill(_)
            | Self::Restart(_)
            | Self::Stop(_)
            | Self::Pause { .. }
            | Self::Isolate { .. }
            | Self::Partition { .. }
            | Self::Block { .. }
            | Self::Delay { .. }
            | Self::Noise { .. }
            | Self::Heal(_)
            | Self::SlowDisk { .. }
            | Self::FullDisk { .. }
            | Self::Rot { .. }
            | Self::ReplaceDisk(_)
            | Self::CopyDisk(_)
            | Self::PutBack(_)
            | Self::Abort(_)
            | Self::OpenAgain(_)
            | Self::Observe { .. }
            | Self::HoldStore { .. }
            | Self::Jump { .. }
            | Self::Drift { .. } => 1,
        }
    }

    /// The members that it names.
    pub fn members_mut(&mut self) -> Vec<&mut MemberId> {
        match self {
            Self::Elect(member)
            | Self::Kill(member)
            | Self::Restart(member)
            | Self::Stop(member)
            | Self::ReplaceDisk(member)
            | Self::CopyDisk(member)
            | Self::PutBack(member)
            | Self::Abort(member)
            | Self::OpenAgain(member)
            | Self::Observe { member, .. }
            | Self::HoldStore { member, .. }
            | Self::Isolate { member, .. }
            | Self::Pause { member, .. }
            | Self::SlowDisk { member, .. }
            | Self::FullDisk { member, .. }
            | Self::FailSync { member, .. }
            | Self::Rot { member, .. }
            | Self::Jump { member, .. }
            | Self::Drift { member, .. }
            | Self::Repeat { member, .. }
            | Self::Lose { member, .. } => vec![member],
            Self::Crash(crash) => vec![&mut crash.member],
            Self::Partition { side, .. } => side.iter_mut().collect(),
            Self::Block { from, to, .. } | Self::Delay { from, to, .. } => vec![from, to],
            Self::Heal(member) => member.iter_mut().collect(),
            Self::Noise { .. } | Self::Depose => Vec::new(),
        }
    }
}

/// A power cut.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crash {
    pub member: MemberId,
    pub when: CrashWhen,
    /// What becomes of writes that were not synced.
    pub unsynced: Unsynced,
}

/// The moment of a power cut.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashWhen {
    /// At the time of the step.
    Now,
    /// When the member is about to hand its next proposal to the log.
    BeforePropose,
    /// When the next commit is about to begin.
    BeforeCommit,
    /// Inside the next commit, at this operation of the disk, counted from 1.
    DuringCommit { disk_operation: u64 },
    /// When the next commit is durable, before anybody learns of it.
    AfterCommit,
}

/// The kinds of faults that have their effect later than they are ordered.
pub(crate) const CRASH: &str = "crash";
pub(crate) const ELECT: &str = "elect";
pub(crate) const LOSE: &str = "lose";
pub(crate) const REPEAT: &str = "repeat";
pub(crate) const FAIL_SYNC: &str = "fail-sync";
pub(crate) const FULL_DISK: &str = "full-disk";
pub(crate) const OBSERVE: &str = "observe";
pub(crate) const OPEN_AGAIN: &str = "open-again";
