//! What goes in and out of a member, as its host shows it.

use lessor::{Instant, Member, MemberId, MemberInput, Output};

use super::{Unseen, World};
use crate::judge::Kind;
use crate::record::report::Panic;
use crate::scenario::FaultKind;

impl World {
    /// A member is about to handle an input.
    pub fn before(&mut self, member: MemberId, clock: Instant, input: &MemberInput) {
        if self.is_dead(member) {
            return;
        }
        self.unseen.remove(&Unseen::Inside);
        if matches!(input, MemberInput::HoldExpired(true)) {
            self.injected.meets_member(FaultKind::Observe, member);
        }
        self.emit_at(clock, member, Kind::Input(input));
    }

    /// A member has handled an input.
    pub fn after(&mut self, id: MemberId, clock: Instant, member: &Member) {
        if self.is_dead(id) {
            return;
        }
        let was_primary = self.watch.oracle.is_primary(id);
        let shows = self.clock(id).read(self.now);
        self.emit_at(clock, id, Kind::Handled { member, was_primary, shows });
    }

    /// A member's host is about to do an output.
    pub fn output(&mut self, member: MemberId, clock: Instant, output: &Output) {
        if !self.is_dead(member) {
            self.emit_at(clock, member, Kind::Output(output));
        }
    }

    /// The run has ended in a panic.
    pub fn panicked(&mut self, panic: Panic) {
        if !panic.is_of_testbed() {
            self.emit(None, Kind::Panicked(&panic.to_string()));
        }
        self.panic = Some(panic);
    }
}
