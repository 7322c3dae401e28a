//! What has become of the faults that a scenario orders.

use std::collections::BTreeMap;

use lessor::MemberId;

use crate::env::active_faults::Lasting;
use crate::record::report::Injected as Count;
use crate::scenario::{Fault, FaultKind};

/// The faults of a run.
#[derive(Default)]
pub(super) struct Injected {
    /// Those that have begun and not ended.
    pub(super) lasting: Lasting,
    /// How often each kind was ordered, and met something.
    counts: BTreeMap<FaultKind, Count>,
}

impl Injected {
    /// By the names of the kinds.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, Count> {
        self.counts.iter().map(|(kind, count)| (kind.name(), *count)).collect()
    }

    /// A fault of this kind was ordered this often.
    pub(super) fn ordered(&mut self, kind: FaultKind, times: u64) {
        self.counts.entry(kind).or_default().ordered += times;
    }

    /// A fault of this kind has met something.
    pub(super) fn has_effect(&mut self, kind: FaultKind) {
        self.counts.entry(kind).or_default().effective += 1;
    }

    /// Those of this kind that last, of this member, have met something.
    pub(super) fn meets_member(&mut self, kind: FaultKind, member: MemberId) {
        self.meets(|fault| fault.is(kind, member));
    }

    /// These of the faults that last have met something.
    pub(super) fn meets(&mut self, which: impl Fn(&Fault) -> bool) {
        for kind in self.lasting.meet(which) {
            self.has_effect(kind);
        }
    }
}
