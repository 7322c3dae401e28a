//! What surrounds the members from the start: the log, disks, links, clocks, and the ending.

use std::time::Duration;

use lessor::MemberId;
use serde::{Deserialize, Serialize};

use super::check;
use crate::model::clock::Clock;

/// How the log keeps itself going.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Upkeep {
    /// How long nobody leads, or leads and reaches no majority, before somebody else is elected; by
    /// default only a step elects.
    pub election_timeout: Option<Duration>,
    /// After how many entries a member compacts its log; by default never.
    pub compact_every: Option<u64>,
}

/// The disks of all members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disks {
    /// How long each commit takes, and whatever else is asked of a disk; 1 ms by default.
    pub latency: Duration,
}

impl Default for Disks {
    fn default() -> Self {
        Self { latency: Duration::from_millis(1) }
    }
}

/// How messages travel, between members as well as between them and lessees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Network {
    /// The least that each takes, besides what the log says.
    pub latency: Duration,
    /// How much longer one may take.
    pub jitter: Duration,
    /// How many of a million between members are lost.
    pub loss_ppm: u32,
    /// How many of a million between members come twice.
    pub duplicate_ppm: u32,
}

/// The clocks of members and lessees. All of them run at a rate of their own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clocks {
    /// How far every rate may be from true time, in millionths: what a lessee allows for.
    pub bound_ppm: u32,
    /// The rate of lessees, less one, in millionths.
    pub lessees_ppm: i32,
    /// Those of members that are not like the others.
    pub members: Vec<MemberClock>,
}

impl Clocks {
    /// What a member's clock shows at the start: by default each has an epoch of its own.
    #[must_use]
    pub fn offset(&self, member: MemberId) -> Duration {
        self.of(member).map_or(check::default_offset(member), |clock| clock.offset)
    }

    /// The rate of a member's clock at the start, less one, in millionths.
    #[must_use]
    pub fn drift_ppm(&self, member: MemberId) -> i32 {
        self.of(member).map_or(0, |clock| clock.drift_ppm)
    }

    /// What the clocks of lessees show.
    #[must_use]
    pub fn of_lessees(&self, now: Duration) -> Duration {
        let shown = Clock::new(Duration::ZERO, self.lessees_ppm).read(now);
        Duration::from_nanos(shown.as_nanos())
    }

    fn of(&self, member: MemberId) -> Option<&MemberClock> {
        self.members.iter().find(|clock| clock.member == member)
    }
}

/// A member's clock at the start.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberClock {
    pub member: MemberId,
    /// What it shows at the start; by default an hour for each number of the member.
    pub offset: Duration,
    /// Its rate, less one, in millionths.
    pub drift_ppm: i32,
}

/// The liveness phase: from here on nothing goes wrong, and every promise must be kept.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    pub at: Duration,
    /// The members that heal, a majority; the others stay as they are, cut off from these. Empty
    /// means all.
    pub core: Vec<MemberId>,
}

/// How long the log takes at least, besides the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delays {
    /// From a proposal to its commit.
    pub commit: Duration,
    /// From a commit to its delivery to a member that does not lead.
    pub apply: Duration,
    /// From the question whether a member leads to the answer.
    pub confirm: Duration,
}

/// Which proposals of a member are lost on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Revokes, so that what has expired must come again.
    #[serde(rename = "expired")]
    Revokes,
    /// Checkpoints.
    Checkpoints,
    /// Any proposal.
    Proposals,
}

impl Loss {
    /// What is lost, in the plural.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Revokes => "revokes",
            Self::Checkpoints => "checkpoints",
            Self::Proposals => "proposals",
        }
    }
}

/// What becomes of the operations that were not synced when the power is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsynced {
    /// None of them reaches the platter.
    #[default]
    Drop,
    /// All of them do.
    Keep,
    /// Each by itself is kept, dropped or torn, as the seed says. A torn write keeps some of its
    /// sectors of 512 bytes, but neither none nor all; a change of the length, and a write within
    /// one sector, is never torn.
    Tear,
}
