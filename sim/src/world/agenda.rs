//! What happens when, in order; equal times in the order in which they were planned.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::MemberId;

use crate::env::packet::Packet;

/// What is planned.
#[derive(Default)]
pub(super) struct Agenda {
    entries: BTreeMap<Slot, Due>,
    planned: u64,
}

/// Where on the agenda something is.
pub(super) type Slot = (Duration, u64);

/// Something on the agenda.
#[derive(Debug)]
pub(super) enum Due {
    Step(usize),
    Expect(usize),
    Lessee(usize),
    /// The request of a step goes to another member.
    AskAgain(usize),
    /// Somebody has waited long enough for an answer.
    GiveUp(u64),
    /// A process that stood still goes on, if it is still this one.
    Resume(MemberId, u64),
    /// The lasting fault of this step is over.
    Over(usize),
    /// A message that was slowed down goes on its way.
    Send(Packet),
    Ending,
    Elect,
    Revive(MemberId),
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Duration, due: Due) -> Slot {
        self.planned += 1;
        let slot = (at, self.planned);
        self.entries.insert(slot, due);
        slot
    }

    pub(super) fn cancel(&mut self, slot: Slot) {
        self.entries.remove(&slot);
    }

    /// The next thing that is due, if one is.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Due> {
        let entry = self.entries.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next thing is due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.entries.keys().next().map(|(at, _)| *at)
    }
}
