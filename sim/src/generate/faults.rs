//! Faults: how often a seed has each kind (`share`), and what it is then (`strike`). Whether this seed has
//! it is drawn in `generate`.

use std::time::Duration;

use lessor::{MemberId, Request};
use strum::VariantArray;

use super::draw::Draw;
use super::step;
use crate::scenario::{
    Action, Crash, CrashWhen, Fault, FaultKind, Loss, Signed, Span, Step, Then, Unsynced,
};

impl FaultKind {
    /// Those that a swarm has or has not; the others come with one of them.
    pub(super) fn drawn() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied().filter(|kind| kind.share() > 0)
    }

    /// How many swarms of a hundred have it. Faults that change what may be judged are rarer.
    pub(super) fn share(self) -> u32 {
        match self {
            Self::Elect | Self::Restart | Self::Heal | Self::CopyDisk => 0,
            Self::Crash | Self::Lose => 35,
            Self::Rot
            | Self::ReplaceDisk
            | Self::PutBack
            | Self::OpenAgain
            | Self::Jump
            | Self::Drift => 10,
            Self::Kill
            | Self::Stop
            | Self::Pause
            | Self::Isolate
            | Self::Partition
            | Self::Block
            | Self::Delay
            | Self::Noise
            | Self::Depose
            | Self::Repeat
            | Self::SlowDisk
            | Self::FullDisk
            | Self::FailSync
            | Self::Observe
            | Self::HoldStore
            | Self::Abort
            | Self::LoseRequests
            | Self::LoseAnswers => 22,
        }
    }

    /// Adds one fault, and what follows from it.
    pub(super) fn strike(self, draw: &mut Draw, limits: &Limits, steps: &mut Vec<Step>) {
        let at = draw.moment(limits.until);
        let member = draw.member(limits.members);
        let lasts = draw.span_ms(200, 20_000);
        let span = Some(Span(lasts));
        let mut then = |fault| {
            let at = at + lasts;
            if at < limits.until {
                steps.push(step(at, Action::Fault(fault)));
            }
        };
        let fault = match self {
            Self::Elect | Self::Restart | Self::Heal | Self::CopyDisk => return,
            Self::Crash => {
                then(Fault::Restart { member });
                Fault::Crash(crash(draw, member, limits.operations))
            }
            Self::Kill => {
                then(Fault::Restart { member });
                Fault::Kill { member }
            }
            Self::Stop => {
                then(Fault::Restart { member });
                Fault::Stop { member }
            }
            Self::Pause => Fault::Pause { member, span: Span(draw.span_ms(100, 30_000)) },
            Self::Isolate => Fault::Isolate { member, span },
            Self::Partition => {
                let others = (1..=u64::from(limits.members)).map(MemberId).filter(|m| *m != member);
                Fault::Partition { side: others.filter(|_| draw.chance(50)).collect(), span }
            }
            Self::Block => {
                Fault::Block { from: member, to: draw.other(member, limits.members), span }
            }
            Self::Delay => {
                let by = Span(draw.span_ms(20, 5_000));
                Fault::Delay { from: member, to: draw.other(member, limits.members), by, span }
            }
            Self::Noise => {
                let ppm = [0, 20_000, 100_000, 400_000];
                let (loss_ppm, duplicate_ppm) = (draw.pick(&ppm), draw.pick(&ppm));
                Fault::Noise { loss_ppm, duplicate_ppm, span }
            }
            Self::Depose => Fault::Depose {},
            Self::Lose => {
                let losses = [Loss::Revokes, Loss::Revokes, Loss::Checkpoints, Loss::Proposals];
                Fault::Lose { member, loss: draw.pick(&losses), count: 1 + draw.below(6) }
            }
            Self::Repeat => Fault::Repeat { member, count: 1 + draw.below(8) },
            Self::SlowDisk => slow_disk(draw, member, at, lasts, limits.until),
            Self::FullDisk => {
                then(Fault::Restart { member });
                Fault::FullDisk { member, span }
            }
            Self::FailSync => {
                then(Fault::Restart { member });
                let unsynced = draw.pick(&UNSYNCED);
                Fault::FailSync { member, count: 1 + draw.below(2), unsynced }
            }
            Self::Rot | Self::ReplaceDisk => {
                then(Fault::Restart { member });
                steps.push(step(at, Action::Fault(Fault::Kill { member })));
                if matches!(self, Self::Rot) {
                    Fault::Rot { member, pages: 1 + draw.below(3) }
                } else {
                    Fault::ReplaceDisk { member }
                }
            }
            Self::Jump => {
                let span = Span(draw.span_ms(1, 60_000));
                Fault::Jump { member, by: Signed { span, back: draw.chance(50) } }
            }
            Self::Observe => {
                // Whoever leads by then is watched.
                let span = Some(Span(draw.span(8, 40)));
                let then = if draw.chance(50) { Then::Leave } else { Then::Read };
                for other in (1..=u64::from(limits.members)).map(MemberId) {
                    if other != member {
                        let fault = Fault::Observe { member: other, span, then };
                        steps.push(step(at, Action::Fault(fault)));
                    }
                }
                Fault::Observe { member, span, then }
            }
            Self::HoldStore => {
                Fault::HoldStore { member, span: Some(Span(draw.span_ms(100, 15_000))) }
            }
            Self::Abort => {
                then(Fault::Restart { member });
                // So that a commit is on its way.
                let slow = at.saturating_sub(draw.span_ms(10, 1_000));
                let fault = Fault::SlowDisk { member, by: Span(draw.span_ms(500, 3_000)), span };
                if draw.chance(60) {
                    steps.push(step(slow, Action::Fault(fault)));
                }
                Fault::Abort { member }
            }
            Self::PutBack => {
                then(Fault::Restart { member });
                let copied = at.saturating_sub(draw.span_ms(100, 20_000));
                steps.push(step(copied, Action::Fault(Fault::CopyDisk { member })));
                steps.push(step(at, Action::Fault(Fault::Kill { member })));
                Fault::PutBack { member }
            }
            Self::OpenAgain => Fault::OpenAgain { member },
            Self::LoseRequests => Fault::LoseRequests { member, span },
            Self::LoseAnswers => Fault::LoseAnswers { member, span },
            Self::Drift => {
                let ppm = draw.pick(&[-1_000_000, -500_000, -20_000, 20_000, 500_000, 1_000_000]);
                Fault::Drift { member, ppm, span }
            }
        };
        let nobody = matches!(&fault, Fault::Partition { side, .. } if side.is_empty());
        if !nobody {
            steps.push(step(at, Action::Fault(fault)));
        }
    }

    /// Whether it takes two.
    pub(super) fn is_of_links(self) -> bool {
        matches!(
            self,
            Self::Isolate
                | Self::Partition
                | Self::Block
                | Self::Delay
                | Self::Noise
                | Self::Repeat
        )
    }
}

/// Where faults strike.
pub(super) struct Limits {
    pub(super) members: u8,
    /// None begins later.
    pub(super) until: Duration,
    /// So many operations of the disk a commit may have.
    pub(super) operations: u32,
}

fn crash(draw: &mut Draw, member: MemberId, operations: u32) -> Crash {
    let (when, disk_operation) = match draw.below(6) {
        0 => (CrashWhen::Now, 1),
        1 => (CrashWhen::BeforePropose, 1),
        2 => (CrashWhen::BeforeCommit, 1),
        3 => (CrashWhen::AfterCommit, 1),
        _ => (CrashWhen::DuringCommit, 1 + u64::from(draw.below(operations))),
    };
    Crash { member, when, disk_operation, unsynced: draw.pick(&UNSYNCED) }
}

/// A disk that is slow for a while, or one that stalls: what begins in a short time takes longer than most
/// ttls, but is over when the faults are.
fn slow_disk(
    draw: &mut Draw,
    member: MemberId,
    at: Duration,
    lasts: Duration,
    until: Duration,
) -> Fault {
    let stall = draw.span(6, 15);
    let short = draw.span_ms(500, 5_000);
    if draw.chance(40) && at + short + stall < until {
        return Fault::SlowDisk { member, by: Span(stall), span: Some(Span(short)) };
    }
    Fault::SlowDisk { member, by: Span(draw.span_ms(5, 3_000)), span: Some(Span(lasts)) }
}

/// Somebody else leads now and then; and if nobody is elected by itself, somebody soon after
/// whatever befell the leader.
pub(super) fn elections(draw: &mut Draw, limits: &Limits, by_itself: bool, steps: &mut Vec<Step>) {
    let faults: Vec<_> = steps
        .iter()
        .filter(|step| matches!(&step.action, Action::Fault(fault) if !matches!(fault, Fault::Lose { .. })))
        .map(|step| step.at)
        .collect();
    for at in faults.into_iter().filter(|_| !by_itself) {
        let at = at + draw.span_ms(100, 6_000);
        if at < limits.until {
            steps.push(step(
                at,
                Action::Fault(Fault::Elect { member: draw.member(limits.members) }),
            ));
        }
    }
    if draw.chance(50) {
        for _ in 0..draw.below(5) {
            let (at, member) = (draw.moment(limits.until), draw.member(limits.members));
            let fault = match draw.below(3) {
                0 => Action::Ask {
                    request: draw.pick(&[Request::Promote, Request::Demote]),
                    member: Some(member),
                    lessee: None,
                    answer: None,
                    patience: None,
                },
                _ => Action::Fault(Fault::Elect { member }),
            };
            steps.push(step(at, fault));
        }
    }
}

/// A primary is promoted again and again.
pub(super) fn promotions(draw: &mut Draw, limits: &Limits, steps: &mut Vec<Step>) {
    for _ in 0..60 {
        let (request, at) = (Request::Promote, draw.moment(limits.until));
        let ask = Action::Ask { request, member: None, lessee: None, answer: None, patience: None };
        steps.push(step(at, ask));
    }
}

/// All lose their power at once, shortly before the end of the faults.
pub(super) fn blackout(draw: &mut Draw, limits: &Limits, steps: &mut Vec<Step>) {
    let at = limits.until - draw.span_ms(1, 3_000);
    for member in (1..=u64::from(limits.members)).map(MemberId) {
        let crash = Crash {
            when: CrashWhen::Now,
            disk_operation: 1,
            ..crash(draw, member, limits.operations)
        };
        steps.push(step(at, Action::Fault(Fault::Crash(crash))));
    }
}

const UNSYNCED: [Unsynced; 4] = [Unsynced::Drop, Unsynced::Keep, Unsynced::Tear, Unsynced::Tear];
