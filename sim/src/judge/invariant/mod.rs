//! The properties that must hold, one file each, with the numbers of docs/SEMANTICS.md.
//!
//! An invariant is shown [facts](Fact) and keeps what it needs to judge the next one. It is written
//! from the property, never from the code that it judges, and each has a canary among its tests: a
//! history with a planted bug that it must object to.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an invariant names the facts that it speaks of, and a new one need not touch it"
)]

use std::time::Duration;

use lessor::{LeaseId, Request, Response, Ttl};

use super::event::GuardNews;
use super::fact::{End, Fact, Scene, Unanswered};
use super::property::Property;
use super::violation::{Broken, Judgements};
use crate::model::State;

mod all_or_nothing;
mod answered_in_time;
mod bounded;
mod calm;
mod claims;
mod confirmed;
mod converged;
mod deadlines;
mod due_first;
mod earliest;
mod fenced;
mod guarded;
mod host;
mod in_time;
mod linearizable;
mod log_only;
mod never_early;
mod no_op;
mod no_panic;
mod no_resurrection;
mod one_answer;
mod one_history;
mod only_for_cause;
mod only_the_primary;
mod promise;
mod pure;
mod reigns;
mod revoked_in_time;
mod smoothed;
mod structure;
mod taken_at_once;
mod what_is_due_leaves;

/// One or more properties, as they are judged fact by fact.
pub trait Invariant: Send {
    /// Judges a fact and notes what it needs for later ones.
    ///
    /// # Errors
    ///
    /// What is wrong, and by which property.
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken>;
}

/// A fresh judge for each of [`Property`]: each of these speaks for one or a few.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<never_early::NeverEarly>::default(),
        Box::<in_time::InTime>::default(),
        Box::<promise::PromiseKept>::default(),
        Box::<only_for_cause::OnlyForCause>::default(),
        Box::<all_or_nothing::AllOrNothing>::default(),
        Box::<one_history::OneHistory>::default(),
        Box::<only_the_primary::OnlyThePrimary>::default(),
        Box::<no_resurrection::NoResurrection>::default(),
        Box::<structure::Structure>::default(),
        Box::<one_answer::OneAnswer>::default(),
        Box::<answered_in_time::AnsweredInTime>::default(),
        Box::<taken_at_once::TakenAtOnce>::default(),
        Box::<confirmed::Confirmed>::default(),
        Box::<guarded::Guarded>::default(),
        Box::<bounded::Bounded>::default(),
        Box::<fenced::Fenced>::default(),
        Box::<pure::Pure>::default(),
        Box::<linearizable::Linearizable>::default(),
        Box::<claims::Claims>::default(),
        Box::<deadlines::Deadlines>::default(),
        Box::<due_first::DueFirst>::default(),
        Box::<what_is_due_leaves::WhatIsDueLeaves>::default(),
        Box::<reigns::Reigns>::default(),
        Box::<smoothed::Smoothed>::default(),
        Box::<log_only::LogOnly>::default(),
        Box::<host::Host>::default(),
        Box::<no_op::NoOp>::default(),
        Box::<no_panic::NoPanic>::default(),
        Box::<revoked_in_time::RevokedInTime>::default(),
        Box::<converged::Converged>::default(),
        Box::<calm::Calm>::default(),
    ]
}

/// The ttl that a successful answer promises to a lessee, and for which lease.
///
/// After a pause a member may apply a grant, its revoke and a grant of the same id in one delivery,
/// and tell all of it at the end: what is told of another ttl than the lease has is about an earlier
/// lease, and promises nothing of this one. One that has the same ttl promises no more than the
/// grant of this lease does.
fn promised(state: &State, request: &Request, response: &Response) -> Option<(LeaseId, Ttl)> {
    let (id, ttl) = match (request, response) {
        // It may have been there already, and keeps its deadline.
        (Request::GrantOnce { .. }, _) => return None,
        (_, Response::Granted { id, ttl, .. }) => (*id, *ttl),
        (Request::Renew { id }, Response::Renewed { ttl }) => (*id, *ttl),
        _ => return None,
    };
    let of_another = state.leases.get(&id).is_some_and(|lease| lease.ttl != ttl);
    (!of_another).then_some((id, ttl))
}

/// What a lease has from a promotion on, besides the extension.
fn left(lease: &crate::model::Lease) -> Duration {
    lease.remaining.unwrap_or(lease.ttl).as_duration()
}

#[cfg(test)]
pub(crate) mod harness;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Whether all canaries sing in a process in which the objections of a property are ignored.
    fn canaries_are_green(blind: &str) -> bool {
        let program = std::env::current_exe().expect("a test runs from a file");
        let mut command = Command::new(program);
        command.args(["invariant::", "--skip", "every_property"]).env(harness::BLIND, blind);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.expect("the tests can be run").success()
    }

    /// Without its check, the canary of a property is red.
    #[test]
    fn every_property_has_a_canary() {
        assert!(canaries_are_green(""), "all are green with all checks");
        for property in Property::ALL {
            let (id, title) = (property.id(), property.title());
            assert!(!canaries_are_green(id), "{id}, {title}, has no canary");
            println!("{id:<4} {title}: green with its check, red without");
        }
    }
}
