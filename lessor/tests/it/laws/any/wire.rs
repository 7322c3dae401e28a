//! What only the laws of records draw: what a lessor tells, and what a member is told and tells.

use lessor::{
    Confirmation, Effect, Error, ExpiredBatch, LeaseStatus, MemberId, MemberInput, Output,
    RequestError, Response, Role, Snapshot, StateAt, Ticket, TimeToLive,
};
use quickcheck::{Arbitrary, Gen};

use super::{Draw, any, below, few, one_of};

impl Draw for Error {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            1: Self::NotPrimary => Self::NotPrimary,
            1: Self::LeaseNotFound => Self::LeaseNotFound,
            1: Self::LeaseExists => Self::LeaseExists,
            1: Self::TtlTooLarge => Self::TtlTooLarge,
            1: Self::EmptyItem => Self::EmptyItem,
            1: Self::ItemHeld(_) => Self::ItemHeld(any(g)),
        )
    }
}

impl Draw for ExpiredBatch {
    fn draw(g: &mut Gen) -> Self {
        Self { leases: few(g) }
    }
}

impl Draw for Effect {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            1: Self::Expired(_) => Self::Expired(any(g)),
            1: Self::RangeDelete(_) => Self::RangeDelete(any(g)),
            1: Self::Write(_) => Self::Write(any(g)),
            1: Self::Checkpoint(_) => Self::Checkpoint(few(g)),
            1: Self::Renewed { .. } => {
                let (ttl, error) = (any(g), any(g));
                let result = if bool::arbitrary(g) { Ok(ttl) } else { Err(error) };
                Self::Renewed { ticket: any(g), result }
            },
        )
    }
}

impl Draw for Ticket {
    fn draw(g: &mut Gen) -> Self {
        Self(u64::arbitrary(g))
    }
}

impl Draw for Confirmation {
    fn draw(g: &mut Gen) -> Self {
        Self(u64::arbitrary(g))
    }
}

impl Draw for MemberId {
    fn draw(g: &mut Gen) -> Self {
        Self(u64::arbitrary(g))
    }
}

/// It may contradict itself.
impl Draw for Snapshot {
    fn draw(g: &mut Gen) -> Self {
        Self { leases: few(g), items: few(g) }
    }
}

impl Draw for StateAt {
    fn draw(g: &mut Gen) -> Self {
        Self { applied: any(g), snapshot: any(g) }
    }
}

impl Draw for Role {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            1: Self::Leader { .. } => Self::Leader { term: any(g), barrier: any(g) },
            1: Self::Follower { .. } => Self::Follower { leader: any(g) },
        )
    }
}

impl Draw for LeaseStatus {
    fn draw(g: &mut Gen) -> Self {
        Self { record: any(g), remaining: any(g), items: few(g) }
    }
}

impl Draw for TimeToLive {
    fn draw(g: &mut Gen) -> Self {
        Self { record: any(g), remaining: any(g), items: usize::arbitrary(g) }
    }
}

impl Draw for Response {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            1: Self::Granted { .. } => Self::Granted { id: any(g), ttl: any(g), index: any(g) },
            1: Self::Applied { .. } => Self::Applied { index: any(g) },
            1: Self::Renewed { .. } => Self::Renewed { ttl: any(g) },
            1: Self::Done => Self::Done,
            1: Self::Lookup(_) => Self::Lookup(any(g)),
            1: Self::TimeToLive(_) => Self::TimeToLive(any(g)),
            1: Self::Items(_) => Self::Items(bool::arbitrary(g).then(|| few(g))),
            1: Self::Leases(_) => Self::Leases(few(g)),
            1: Self::LeaseOf(_) => Self::LeaseOf(any(g)),
        )
    }
}

impl Draw for RequestError {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            1: Self::Refused(_) => Self::Refused(any(g)),
            1: Self::NotPrimary { .. } => Self::NotPrimary { leader: any(g) },
            1: Self::Unknown => Self::Unknown,
            1: Self::Stopped => Self::Stopped,
        )
    }
}

impl Draw for MemberInput {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            2: Self::Request { .. } => Self::Request { ticket: any(g), request: any(g) },
            2: Self::Committed(_) => Self::Committed(few(g)),
            1: Self::Role(_) => Self::Role(any(g)),
            1: Self::GoOn => Self::GoOn,
            1: Self::Persisted(_) => Self::Persisted(any(g)),
            1: Self::Forget(_) => Self::Forget(any(g)),
            1: Self::Confirmed { .. } => {
                Self::Confirmed { confirmation: any(g), committed: any(g) }
            },
            1: Self::Installed(_) => Self::Installed(any(g)),
            1: Self::HoldExpired(_) => Self::HoldExpired(bool::arbitrary(g)),
            1: Self::Timeout => Self::Timeout,
            1: Self::Stop => Self::Stop,
        )
    }
}

impl Draw for Output {
    fn draw(g: &mut Gen) -> Self {
        one_of!(g,
            1: Self::Propose(_) => Self::Propose(any(g)),
            1: Self::Confirm(_) => Self::Confirm(any(g)),
            1: Self::Waits(_) => Self::Waits(any(g)),
            1: Self::Campaign => Self::Campaign,
            1: Self::Resign => Self::Resign,
            1: Self::Commit(_) => Self::Commit(any(g)),
            2: Self::Answer { .. } => {
                let (response, error) = (any(g), any(g));
                let answer = if bool::arbitrary(g) { Ok(response) } else { Err(error) };
                Self::Answer { ticket: any(g), answer }
            },
            1: Self::Expired(_) => Self::Expired(any(g)),
        )
    }
}
