//! What the oracle tells, and how it says what differs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lessor::{LeaseId, MemberId, Request, Snapshot, Ticket};

use super::Oracle;
use crate::judge::{Judgements, Property, Violation};
use crate::model::{State, text};

impl Oracle {
    /// Everything that was found to be wrong, in order.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each property was judged.
    #[must_use]
    pub fn judged(&self) -> &Judgements {
        &self.judged
    }

    /// When each lease first was in an expired batch.
    #[must_use]
    pub fn expired(&self) -> &BTreeMap<LeaseId, Duration> {
        &self.expired
    }

    /// What the log says at the index where a member's store stands.
    #[must_use]
    pub fn stored(&self, member: MemberId) -> Option<&State> {
        self.members.get(&member).map(|watched| &watched.durable)
    }

    /// What a member has applied in memory.
    #[must_use]
    pub fn applied(&self, member: MemberId) -> Option<&State> {
        self.members.get(&member).map(|watched| &watched.state)
    }

    /// How many requests a member has that it has not answered.
    #[must_use]
    pub fn unanswered(&self, member: MemberId) -> usize {
        self.members.get(&member).map_or(0, |watched| watched.asked.len())
    }

    /// What the log has committed.
    #[must_use]
    pub fn agreed_state(&self) -> &State {
        &self.agreed
    }

    /// Whether a member was promoted and not demoted since.
    #[must_use]
    pub fn is_primary(&self, member: MemberId) -> bool {
        self.members.get(&member).is_some_and(|watched| watched.primary)
    }

    /// The request that a ticket of a member is for, until a while after it was answered.
    #[must_use]
    pub fn request_of(&self, member: MemberId, ticket: Ticket) -> Option<&Request> {
        let watched = self.members.get(&member)?;
        let asked = watched.asked.get(&ticket).map(|(_, _, request)| request);
        asked.or_else(|| watched.answered_with(ticket))
    }

    /// Adds to the violations from `first` on, which name a ticket, the request that came with it.
    pub(super) fn name_the_request(&mut self, first: usize, member: MemberId, ticket: Ticket) {
        let Some(violations) = self.violations.get_mut(first..) else { return };
        let known = self.members.get(&member).and_then(|watched| watched.answered_with(ticket));
        for violation in violations {
            if let Some(request) = known {
                let _ = write!(violation.what, "; it was to {request}");
                let lease = text::leases_of_request(request).first().copied();
                violation.lease = violation.lease.or(lease);
            }
        }
    }

    /// Adds to violations of S5, from `first` on, the first lease or item that is not as the log says: a
    /// digest alone only tells that something differs.
    pub(super) fn name_the_difference(
        &mut self,
        first: usize,
        member: MemberId,
        snapshot: &Snapshot,
    ) {
        let Some(violations) = self.violations.get_mut(first..) else { return };
        let Some(watched) = self.members.get(&member) else { return };
        for violation in violations.iter_mut().filter(|one| one.property == Property::S5) {
            let what = &mut violation.what;
            let _ = match watched.state.difference(snapshot) {
                Some(difference) => {
                    violation.lease = violation.lease.or(difference.lease());
                    write!(what, "; member {member} is wrong: {difference}")
                }
                None => {
                    write!(what, "; the leases and items of member {member} are as the log says")
                }
            };
        }
    }
}
