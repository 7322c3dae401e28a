//! What goes in and out of a member.

use super::*;

impl World {
    /// A member is about to handle an input.
    pub fn before(&mut self, now: Duration, member: MemberId, clock: Instant, input: &MemberInput) {
        if self.is_dead(member) {
            return;
        }
        self.tapped = true;
        let primary = self.oracle.is_primary(member);
        self.coverage.before(now, member, primary, self.oracle.applied(member), input);
        self.oracle.before(now, member, clock, input);
        let places = usize::try_from(self.config.queue.get()).unwrap_or(usize::MAX);
        let crowded = self.oracle.unanswered(member) >= places;
        self.coverage.mark_if(crowded, Mark::Crowded);
        match input {
            MemberInput::Committed(entries) => {
                for entry in entries {
                    self.record_applied(now, member, entry);
                }
            }
            MemberInput::Role(Role::Leader { term, barrier }) => {
                let words = format!("leads term {term}, to promote behind {barrier}");
                self.record(now, Some(member), "role", words);
            }
            MemberInput::Role(Role::Follower { leader: Some(leader) }) => {
                self.record(now, Some(member), "role", format!("follows member {leader}"));
            }
            MemberInput::Role(Role::Follower { leader: None }) => {
                self.record(now, Some(member), "role", "follows nobody".to_owned());
            }
            MemberInput::Confirmed { committed: None, .. } => {
                self.record(now, Some(member), "role", "learns that it does not lead".to_owned());
            }
            MemberInput::HoldExpired(true) => {
                self.coverage.mark(Mark::HeldByObserver);
                self.meets(
                    |fault| matches!(fault, Fault::Observe { member: of, .. } if *of == member),
                );
                self.record_hash_only(
                    now,
                    member,
                    format_args!("input {}", debug_text::input(input)),
                );
            }
            MemberInput::Request { .. }
            | MemberInput::Confirmed { committed: Some(_), .. }
            | MemberInput::Installed(_)
            | MemberInput::GoOn
            | MemberInput::Persisted(_)
            | MemberInput::Forget(_)
            | MemberInput::HoldExpired(false)
            | MemberInput::Timeout
            | MemberInput::Stop => {
                self.record_input(now, member, input);
            }
        }
    }

    /// A member has handled an input.
    pub fn after(&mut self, now: Duration, id: MemberId, clock: Instant, member: &Member) {
        if self.is_dead(id) {
            return;
        }
        let was = self.oracle.is_primary(id);
        let shows = self.clock(id).read(now);
        self.oracle.after(now, id, clock, shows, member);
        match (was, member.is_primary()) {
            (false, true) => {
                self.coverage.promoted(self.oracle.applied(id));
                let leases = member.lessor().len();
                self.record(now, Some(id), "role", format!("promoted, {leases} leases"));
            }
            (true, false) => self.record(now, Some(id), "role", "demoted".to_owned()),
            (true, true) | (false, false) => {}
        }
    }

    /// A member's host is about to do an output.
    pub fn output(&mut self, now: Duration, member: MemberId, clock: Instant, output: &Output) {
        if self.is_dead(member) {
            return;
        }
        let asked = self.asked_of(member, output);
        self.oracle.output(now, member, clock, output);
        let most = self.config.revoke_rate.get().div_ceil(2) as usize;
        self.coverage.output(now, member, most, output);
        match output {
            Output::Commit(transaction) => self.record_commit(now, member, transaction),
            Output::Expired(batch) => self.record_expired(now, member, &batch.leases),
            Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Waits(_)
            | Output::Answer { .. } => {
                self.record_output(now, member, output, asked.as_ref());
            }
        }
    }

    /// The run has ended in a panic.
    pub fn panicked(&mut self, panic: Panic) {
        if !panic.is_of_testbed() {
            let now = self.trace.lines().last().map_or(Duration::ZERO, |line| line.at);
            self.oracle.panicked(now, &panic.to_string());
        }
        self.panic = Some(panic);
    }
}
