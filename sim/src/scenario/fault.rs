//! How the world can change: each fault with its form in a file, which serde reads and writes.

use std::collections::BTreeSet;

use lessor::MemberId;
use serde::{Deserialize, Deserializer, Serialize};
use strum::{EnumDiscriminants, IntoStaticStr, VariantArray, VariantNames};

use super::settings::{Loss, Unsynced};
use super::span::{Signed, Span};

/// How the world can change. What has a span ends by itself then; without one it stays until it
/// is healed.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, VariantNames, EnumDiscriminants)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
#[strum_discriminants(
    name(FaultKind),
    doc = "The kinds of faults.",
    derive(PartialOrd, Ord, IntoStaticStr, VariantArray),
    strum(serialize_all = "kebab-case")
)]
pub enum Fault {
    /// This member is elected, if a majority can hear it.
    Elect { member: MemberId },
    /// This member's machine loses its power.
    Crash(Crash),
    /// This member's process ends at once; what it has written stays.
    Kill { member: MemberId },
    /// This member's machine starts again.
    Restart { member: MemberId },
    /// This member is stopped gracefully.
    Stop { member: MemberId },
    /// This member's process stands still for a while.
    Pause {
        member: MemberId,
        #[serde(rename = "for")]
        span: Span,
    },
    /// This member is cut off from the others, not from lessees.
    Isolate {
        member: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// These members are cut off from all others, and the others from them.
    Partition {
        /// Who is on the one side, in order.
        #[serde(deserialize_with = "in_order")]
        side: Vec<MemberId>,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Messages in one direction are lost.
    Block {
        /// Who sends them.
        from: MemberId,
        to: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Messages in one direction take longer.
    Delay {
        /// Who sends them.
        from: MemberId,
        to: MemberId,
        by: Span,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Messages between members are lost, or come twice.
    Noise {
        /// How many of a million are lost.
        #[serde(default, skip_serializing_if = "is_default")]
        loss_ppm: u32,
        /// How many of a million come twice.
        #[serde(default, skip_serializing_if = "is_default")]
        duplicate_ppm: u32,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Whoever leads does so no more.
    Depose {},
    /// The links of this member, or of every one, work again.
    Heal { member: Option<MemberId> },
    /// Proposals of this member are lost on their way.
    Lose {
        member: MemberId,
        #[serde(rename = "what")]
        loss: Loss,
        count: u32,
    },
    /// The next proposals of this member come twice in a row, as from a host that tries again.
    Repeat { member: MemberId, count: u32 },
    /// A member's disk takes longer for each commit.
    SlowDisk {
        member: MemberId,
        by: Span,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// A member's disk has no room.
    FullDisk {
        member: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Syncs of a member's disk fail.
    FailSync {
        member: MemberId,
        count: u32,
        /// What becomes of the writes that they were to make durable.
        #[serde(default, skip_serializing_if = "is_default")]
        unsynced: Unsynced,
    },
    /// Bits flip on the disk of a member that is down.
    Rot {
        member: MemberId,
        /// In how many pages one does.
        pages: u32,
    },
    /// A member that is down gets an empty disk.
    ReplaceDisk { member: MemberId },
    /// What is on a member's disk is copied, as a backup of a running machine does it.
    CopyDisk { member: MemberId },
    /// A member's clock steps.
    Jump { member: MemberId, by: Signed },
    /// A member's clock runs at another rate, besides its own.
    Drift {
        member: MemberId,
        /// How much faster, in millionths; at -1,000,000 it stands still.
        ppm: i32,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Somebody opens the stream of a member's expired batches, and takes none for a while.
    Observe {
        member: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
        #[serde(default, skip_serializing_if = "is_default")]
        then: Then,
    },
    /// A member's host has a write transaction of its own open, for which commits wait.
    HoldStore {
        member: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// A member's engine is dropped in the middle of whatever it does; its machine goes on, and so does
    /// a commit that is on its way.
    Abort { member: MemberId },
    /// A member that is down gets back what was copied last.
    PutBack { member: MemberId },
    /// Somebody opens a member's store a second time.
    OpenAgain { member: MemberId },
    /// Requests of lessees do not come to this member, though they see that somebody listens.
    LoseRequests {
        member: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
    /// Answers of this member do not come to lessees: what was asked is done, and nobody knows.
    LoseAnswers {
        member: MemberId,
        #[serde(rename = "for")]
        span: Option<Span>,
    },
}

impl FaultKind {
    /// As it is written in a scenario.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Fault {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.into()
    }

    /// Whether it orders the modelled log about, so that no other log can be told.
    #[must_use]
    pub fn is_of_the_modelled_log(&self) -> bool {
        matches!(
            self,
            Self::Elect { .. } | Self::Depose {} | Self::Lose { .. } | Self::Repeat { .. }
        )
    }

    /// How often it happens.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.clone().count_mut().map_or(1, |count| u64::from(*count))
    }

    /// How long it lasts, if it ends by itself.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.clone().span_mut().and_then(|span| *span)
    }

    /// The members that it names.
    #[must_use]
    pub fn members(&self) -> Vec<MemberId> {
        self.clone().members_mut().into_iter().map(|member| *member).collect()
    }

    /// Whether it is of this kind and names this member.
    #[must_use]
    pub fn is(&self, kind: FaultKind, member: MemberId) -> bool {
        self.kind() == kind && self.members().contains(&member)
    }

    /// The members that it names.
    pub fn members_mut(&mut self) -> Vec<&mut MemberId> {
        match self {
            Self::Elect { member }
            | Self::Crash(Crash { member, .. })
            | Self::Kill { member }
            | Self::Restart { member }
            | Self::Stop { member }
            | Self::ReplaceDisk { member }
            | Self::CopyDisk { member }
            | Self::PutBack { member }
            | Self::Abort { member }
            | Self::OpenAgain { member }
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
            | Self::Lose { member, .. }
            | Self::LoseRequests { member, .. }
            | Self::LoseAnswers { member, .. } => vec![member],
            Self::Partition { side, .. } => side.iter_mut().collect(),
            Self::Block { from, to, .. } | Self::Delay { from, to, .. } => vec![from, to],
            Self::Heal { member } => member.iter_mut().collect(),
            Self::Noise { .. } | Self::Depose {} => Vec::new(),
        }
    }

    /// How long it lasts, if it is of a kind that may end by itself.
    pub fn span_mut(&mut self) -> Option<&mut Option<Span>> {
        match self {
            Self::Isolate { span, .. }
            | Self::Partition { span, .. }
            | Self::Block { span, .. }
            | Self::Delay { span, .. }
            | Self::Noise { span, .. }
            | Self::SlowDisk { span, .. }
            | Self::FullDisk { span, .. }
            | Self::Observe { span, .. }
            | Self::HoldStore { span, .. }
            | Self::Drift { span, .. }
            | Self::LoseRequests { span, .. }
            | Self::LoseAnswers { span, .. } => Some(span),
            Self::Elect { .. }
            | Self::Crash(_)
            | Self::Kill { .. }
            | Self::Restart { .. }
            | Self::Stop { .. }
            | Self::Pause { .. }
            | Self::Depose {}
            | Self::Heal { .. }
            | Self::Lose { .. }
            | Self::Repeat { .. }
            | Self::FailSync { .. }
            | Self::Rot { .. }
            | Self::ReplaceDisk { .. }
            | Self::CopyDisk { .. }
            | Self::Jump { .. }
            | Self::Abort { .. }
            | Self::PutBack { .. }
            | Self::OpenAgain { .. } => None,
        }
    }

    /// How often it happens, if it says so.
    pub fn count_mut(&mut self) -> Option<&mut u32> {
        if let Self::Lose { count, .. }
        | Self::Repeat { count, .. }
        | Self::FailSync { count, .. } = self
        {
            return Some(count);
        }
        None
    }

    /// What makes no sense of it in a group of so many members.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of most its members are all there is to check"
    )]
    pub(crate) fn mistake(&self, members: u8) -> Option<String> {
        let mut named = self.members().into_iter();
        if let Some(member) = named.find(|member| !(1..=members.into()).contains(&member.0)) {
            return Some(unknown_member(member, members));
        }
        if let Some(0) = self.clone().count_mut() {
            return Some("count is 0, but must be at least 1".to_owned());
        }
        match self {
            Self::Partition { side, .. }
                if side.is_empty() || side.len() >= usize::from(members) =>
            {
                Some("`side` must name some members and not all".to_owned())
            }
            Self::Block { from, to, .. } | Self::Delay { from, to, .. } if from == to => {
                Some("a link has two ends, `from` and `to` must differ".to_owned())
            }
            Self::Noise { loss_ppm, duplicate_ppm, .. } => {
                share("loss_ppm", *loss_ppm).or_else(|| share("duplicate_ppm", *duplicate_ppm))
            }
            Self::Rot { pages: 0, .. } => Some("pages is 0, but must be at least 1".to_owned()),
            Self::Drift { ppm, .. } => rate("ppm", *ppm),
            Self::Crash(crash) => crash.mistake(),
            _ => None,
        }
    }
}

/// What to say of a member that is not in a group of so many.
pub(super) fn unknown_member(member: impl std::fmt::Display, members: u8) -> String {
    match members {
        1 => format!("member {member}, but the scenario has only member 1"),
        members => format!("member {member}, but the scenario has members 1 to {members}"),
    }
}

/// What is wrong with a share in millionths, if anything is.
pub(super) fn share(name: &str, ppm: u32) -> Option<String> {
    (ppm > MILLION).then(|| format!("`{name}` is {ppm}, but must be 0 to {MILLION}"))
}

/// What is wrong with a rate less one, in millionths: a clock may stand still, and run at most twice as
/// fast.
pub(super) fn rate(name: &str, ppm: i32) -> Option<String> {
    let too_far = ppm.unsigned_abs() > MILLION;
    too_far.then(|| format!("`{name}` is {ppm}, but must be -{MILLION} to {MILLION}"))
}

/// A power cut.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    pub member: MemberId,
    #[serde(default, skip_serializing_if = "is_default")]
    pub when: CrashWhen,
    /// Inside a commit: at which operation of the disk, counted from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub disk_operation: u64,
    /// What becomes of writes that were not synced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unsynced: Unsynced,
}

impl Crash {
    /// What makes no sense of it.
    fn mistake(&self) -> Option<String> {
        match (self.when, self.disk_operation) {
            (CrashWhen::DuringCommit, 0) => Some("disk_operation counts from 1".to_owned()),
            (CrashWhen::DuringCommit, _) | (_, 1) => None,
            _ => Some("disk_operation needs when = \"during-commit\"".to_owned()),
        }
    }
}

/// The moment of a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashWhen {
    /// At the time of the step.
    #[default]
    Now,
    /// When the member is about to hand its next proposal to the log.
    BeforePropose,
    /// When the next commit is about to begin.
    BeforeCommit,
    /// Inside the next commit.
    DuringCommit,
    /// When the next commit is durable, before anybody learns of it.
    AfterCommit,
}

/// What becomes of an observer that has taken nothing for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It reads what there is, and goes on.
    #[default]
    Read,
    /// It is dropped.
    Leave,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn first() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first(operation: &u64) -> bool {
    *operation == first()
}

/// Each member once, by number.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MemberId>, D::Error> {
    Ok(BTreeSet::deserialize(deserializer)?.into_iter().collect())
}

const MILLION: u32 = 1_000_000;
