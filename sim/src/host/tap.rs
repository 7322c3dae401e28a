//! Shows the world what goes in and out of a member.

use super::*;

/// Shows the world everything that a member is told and says.
pub(super) struct Watch {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
}

impl Observer for Watch {
    fn before(&mut self, clock: Instant, input: &MemberInput) {
        self.shared.world().before(self.shared.now(), self.member, clock, input);
    }

    fn after(&mut self, clock: Instant, member: &Member) {
        self.shared.world().after(self.shared.now(), self.member, clock, member);
    }

    fn output(&mut self, clock: Instant, output: &Output) {
        self.shared.world().output(self.shared.now(), self.member, clock, output);
    }
}
