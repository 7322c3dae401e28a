//! The faults that last: while they do, what they make of links, disks and clocks.

use std::collections::BTreeMap;
use std::slice;
use std::time::Duration;

use lessor::MemberId;

use crate::scenario::{Fault, FaultKind};

/// The faults that have begun and not ended, by the position of their step in the scenario.
#[derive(Clone, Debug, Default)]
pub struct Lasting(BTreeMap<usize, Begun>);

/// A fault that lasts, and whether it has met something.
#[derive(Clone, Debug)]
struct Begun {
    fault: Fault,
    met: bool,
}

/// What a fault changes for as long as it lasts.
#[derive(Clone, Copy, Debug)]
enum Effect<'a> {
    /// Nothing passes between these members and the others.
    CutsOff(&'a [MemberId]),
    /// Nothing passes in this direction.
    Blocks { from: MemberId, to: MemberId },
    /// What passes in this direction takes longer.
    Slows { from: MemberId, to: MemberId, by: Duration },
    /// Any message may be lost, or come twice.
    Noise { loss_ppm: u32, duplicate_ppm: u32 },
    /// A member's disk takes longer.
    SlowsDisk { member: MemberId, by: Duration },
    /// A member's clock runs at another rate.
    Drifts { member: MemberId, ppm: i32 },
    /// Something is open in a member's process, and ends with it.
    Opens(MemberId),
    /// The world asks whether it lasts, with [`Lasting::has`].
    IsAskedFor,
    /// It does not last.
    Nothing,
}

/// What becomes of a message from one member to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Whether it is lost for certain.
    pub blocked: bool,
    /// How much longer it takes.
    pub slower: Duration,
    /// How many of a million are lost, besides.
    pub loss_ppm: u32,
    /// How many of a million come twice.
    pub duplicate_ppm: u32,
}

impl Lasting {
    /// A fault begins.
    pub fn begin(&mut self, step: usize, fault: Fault) {
        self.0.insert(step, Begun { fault, met: false });
    }

    /// A fault ends; `None` if it has already.
    pub fn end(&mut self, step: usize) -> Option<Fault> {
        self.0.remove(&step).map(|begun| begun.fault)
    }

    /// The links of this member, or of every one, work again.
    pub fn heal(&mut self, member: Option<MemberId>) -> Vec<(usize, Fault)> {
        let healed = |fault: &Fault| member.is_none_or(|member| fault.touches(member));
        self.end_if(|fault| fault.is_of_links() && healed(fault))
    }

    /// Everything ends that touches one of these members, and all noise.
    pub fn end_for(&mut self, members: &[MemberId]) -> Vec<(usize, Fault)> {
        self.end_if(|fault| {
            matches!(fault, Fault::Noise { .. })
                || members.iter().any(|member| fault.touches(*member))
        })
    }

    /// Those end of which this holds; they are what it returns.
    fn end_if(&mut self, ends: impl Fn(&Fault) -> bool) -> Vec<(usize, Fault)> {
        let ended = self.0.extract_if(.., |_, begun| ends(&begun.fault));
        ended.map(|(step, begun)| (step, begun.fault)).collect()
    }

    /// Notes that these faults have met something, and names those that had not before.
    pub fn meet(&mut self, which: impl Fn(&Fault) -> bool) -> Vec<FaultKind> {
        let fresh = self.0.values_mut().filter(|begun| !begun.met && which(&begun.fault));
        let meet = |begun: &mut Begun| {
            begun.met = true;
            begun.fault.kind()
        };
        fresh.map(meet).collect()
    }

    fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.0.values().map(|begun| &begun.fault)
    }

    /// What becomes of a message.
    #[must_use]
    pub fn link(&self, from: MemberId, to: MemberId) -> Link {
        let mut link = Link::default();
        for fault in self.faults() {
            link.blocked |= fault.blocks(from, to);
            let effect = fault.effect();
            if let Effect::Slows { by, .. } = effect
                && fault.slows(from, to)
            {
                link.slower += by;
            }
            if let Effect::Noise { loss_ppm, duplicate_ppm } = effect {
                link.loss_ppm = link.loss_ppm.max(loss_ppm);
                link.duplicate_ppm = link.duplicate_ppm.max(duplicate_ppm);
            }
        }
        link
    }

    /// Whether messages go both ways between two members.
    #[must_use]
    pub fn connects(&self, one: MemberId, other: MemberId) -> bool {
        !self.faults().any(|fault| fault.blocks(one, other) || fault.blocks(other, one))
    }

    /// How much longer a member's disk takes.
    #[must_use]
    pub fn slower_disk(&self, member: MemberId) -> Duration {
        let mut slower = Duration::ZERO;
        for fault in self.faults() {
            if let Effect::SlowsDisk { member: of, by } = fault.effect()
                && of == member
            {
                slower += by;
            }
        }
        slower
    }

    /// Whether a fault of this kind, of this member, has begun and not ended.
    #[must_use]
    pub fn has(&self, kind: FaultKind, member: MemberId) -> bool {
        self.faults().any(|fault| fault.is(kind, member))
    }

    /// Whether the fault of this step has begun and not ended.
    #[must_use]
    pub fn lasts(&self, step: usize) -> bool {
        self.0.contains_key(&step)
    }

    /// A member's process has ended, and what was open in it.
    pub fn process_ended(&mut self, member: MemberId) -> Vec<(usize, Fault)> {
        self.end_if(|fault| matches!(fault.effect(), Effect::Opens(of) if of == member))
    }

    /// How much faster a member's clock runs besides its own rate, in millionths.
    #[must_use]
    pub fn drift_ppm(&self, member: MemberId) -> i32 {
        let mut drift = 0_i32;
        for fault in self.faults() {
            if let Effect::Drifts { member: of, ppm } = fault.effect()
                && of == member
            {
                drift = drift.saturating_add(ppm);
            }
        }
        drift
    }
}

impl Fault {
    /// Whether it lets no message pass from one member to another.
    #[must_use]
    pub fn blocks(&self, from: MemberId, to: MemberId) -> bool {
        let effect = self.effect();
        matches!(effect, Effect::CutsOff(side) if side.contains(&from) != side.contains(&to))
            || matches!(effect, Effect::Blocks { from: a, to: b } if (from, to) == (a, b))
    }

    /// Whether messages from one member to another take longer.
    #[must_use]
    pub fn slows(&self, from: MemberId, to: MemberId) -> bool {
        matches!(self.effect(), Effect::Slows { from: a, to: b, .. } if (from, to) == (a, b))
    }

    fn is_of_links(&self) -> bool {
        matches!(
            self.effect(),
            Effect::CutsOff(_)
                | Effect::Blocks { .. }
                | Effect::Slows { .. }
                | Effect::Noise { .. }
        )
    }

    fn touches(&self, member: MemberId) -> bool {
        self.members().contains(&member)
    }

    /// What it changes for as long as it lasts. Each kind has its line here, so that none that is new is
    /// forgotten.
    fn effect(&self) -> Effect<'_> {
        match self {
            Self::Isolate { member, .. } => Effect::CutsOff(slice::from_ref(member)),
            Self::Partition { side, .. } => Effect::CutsOff(side),
            Self::Block { from, to, .. } => Effect::Blocks { from: *from, to: *to },
            Self::Delay { from, to, by, .. } => Effect::Slows { from: *from, to: *to, by: by.0 },
            Self::Noise { loss_ppm, duplicate_ppm, .. } => {
                Effect::Noise { loss_ppm: *loss_ppm, duplicate_ppm: *duplicate_ppm }
            }
            Self::SlowDisk { member, by, .. } => Effect::SlowsDisk { member: *member, by: by.0 },
            Self::Drift { member, ppm, .. } => Effect::Drifts { member: *member, ppm: *ppm },
            Self::Observe { member, .. } | Self::HoldStore { member, .. } => Effect::Opens(*member),
            Self::FullDisk { .. } | Self::LoseRequests { .. } | Self::LoseAnswers { .. } => {
                Effect::IsAskedFor
            }
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
            | Self::PutBack { .. }
            | Self::Jump { .. }
            | Self::Abort { .. }
            | Self::OpenAgain { .. } => Effect::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Span;

    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);
    const C: MemberId = MemberId(3);

    fn lasting(faults: impl IntoIterator<Item = Fault>) -> Lasting {
        let mut lasting = Lasting::default();
        for (step, fault) in faults.into_iter().enumerate() {
            lasting.begin(step, fault);
        }
        lasting
    }

    #[test]
    fn a_partition_blocks_both_ways_and_a_block_one() {
        let parted = lasting([Fault::Partition { side: vec![A], span: None }]);
        assert!(!parted.connects(A, B) && !parted.connects(C, A) && parted.connects(B, C));
        let one_way = lasting([Fault::Block { from: A, to: B, span: None }]);
        assert!(one_way.link(A, B).blocked && !one_way.link(B, A).blocked);
    }

    #[test]
    fn a_link_heals_when_each_of_its_faults_has_ended() {
        let isolate = |member| Fault::Isolate { member, span: None };
        let mut both = lasting([isolate(A), isolate(B)]);
        both.heal(Some(A));
        assert!(!both.connects(A, B) && both.connects(A, C));
        assert_eq!(both.end(1), Some(isolate(B)));
        assert!(both.connects(A, B));
        assert_eq!(both.end(1), None);
    }

    #[test]
    fn what_lasts_adds_up() {
        let span = None;
        let by = Span(Duration::from_secs(1));
        let mut all = lasting([
            Fault::Delay { from: A, to: B, by, span },
            Fault::Delay { from: A, to: B, by, span },
            Fault::SlowDisk { member: A, by, span },
            Fault::Drift { member: A, ppm: 5, span },
            Fault::Drift { member: A, ppm: -7, span },
            Fault::Noise { loss_ppm: 9, duplicate_ppm: 3, span },
        ]);
        assert_eq!(all.link(A, B).slower, by.0 * 2);
        assert_eq!((all.link(B, A).slower, all.link(B, A).loss_ppm), (Duration::ZERO, 9));
        assert_eq!((all.slower_disk(A), all.drift_ppm(A), all.drift_ppm(B)), (by.0, -2, 0));
        assert_eq!(all.meet(|fault| fault.slows(A, B)), [FaultKind::Delay; 2]);
        assert!(all.meet(|fault| fault.slows(A, B)).is_empty());
        all.end_for(&[A]);
        assert_eq!(all.link(A, B), Link::default());
    }
}
