//! Shows the world what goes in and out of a member.

use lessor::driver::Observer;
use lessor::{Instant, Member, MemberId, MemberInput, Output};

use super::Shared;

/// Shows the testbed everything that a member is told and says.
///
/// A host calls [`before`](Observer::before) and [`after`](Observer::after) around each
/// [`Member::handle_input`], and [`output`](Observer::output) with each output before it does it.
/// Properties of what a member does inside are judged by this alone.
pub struct Tap {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
}

impl Observer for Tap {
    fn before(&mut self, clock: Instant, input: &MemberInput) {
        self.shared.world().before(self.member, clock, input);
    }

    fn after(&mut self, clock: Instant, member: &Member) {
        self.shared.world().after(self.member, clock, member);
    }

    fn output(&mut self, clock: Instant, output: &Output) {
        self.shared.world().output(self.member, clock, output);
    }
}
