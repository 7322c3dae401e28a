//! The properties that must hold, with the numbers of docs/SIMULATION.md. A file is named after the title of
//! the property that it begins with, and judges those that need the same memory as well:
//!
//! | property | file |
//! |---|---|
//! | S1 never early | `never_early` |
//! | S1a smoothing only delays | `smoothing_only_delays` |
//! | S1b no deadline goes down | `no_deadline_goes_down` |
//! | S1c no checkpoint outlives a renew | `a_promise_is_kept` |
//! | S1d no renew in time is overtaken | `no_renew_in_time_is_overtaken` |
//! | S2 a promise is kept | `a_promise_is_kept` |
//! | S2a granted is what was asked | `answered_by_who_leads` |
//! | S3 deleted only for cause | `deleted_only_for_cause` |
//! | S3a a revoke is complete | `deleted_only_for_cause` |
//! | S3b nothing is done to what is gone | `nothing_is_done_to_what_is_gone` |
//! | S4 all or nothing | `all_or_nothing` |
//! | S4a acknowledged is durable | `all_or_nothing` |
//! | S4b recovered is what was durable | `all_or_nothing` |
//! | S4c the log may be split anywhere | `the_log_alone_decides` |
//! | S4d damage is never used | `all_or_nothing` |
//! | S5 one history | `one_history` |
//! | S5a the log alone decides | `the_log_alone_decides` |
//! | S6 only the primary decides | `only_the_primary_decides` |
//! | S6a nothing of a reign outlives it | `one_deadline_a_lease` |
//! | S6b promoted behind the barrier | `only_the_primary_decides` |
//! | S7 no resurrection | `no_resurrection` |
//! | S7a each proposal once | `fenced` |
//! | S8 one deadline a lease | `one_deadline_a_lease` |
//! | S9 exactly one answer | `exactly_one_answer` |
//! | S9a no success behind its revoke | `no_resurrection` |
//! | S9b answered by who leads | `answered_by_who_leads` |
//! | S9c a renew waits for the revoke | `answered_by_who_leads` |
//! | S9d an answer comes in time | `an_answer_comes_in_time` |
//! | S9e a place that is free is given | `a_place_that_is_free_is_given` |
//! | S10 as many a second as the rate | `as_many_a_second_as_the_rate` |
//! | S11 fenced | `fenced` |
//! | S12 pure | `pure`, `no_timer_storm` |
//! | S12a done twice is done once | `done_twice_is_done_once` |
//! | S12b a lost write ends the member | `done_twice_is_done_once` |
//! | S12c nothing out of order | `done_twice_is_done_once` |
//! | S13 deadlines are truthful | `no_deadline_goes_down` |
//! | S14 linearizable | `linearizable` |
//! | S15 no panic | `no_panic` |
//! | S16 a clock may step back | `no_deadline_goes_down` |
//! | S17 a claim takes nothing | `a_claim_takes_nothing` |
//! | S17a tokens rise | `a_claim_takes_nothing` |
//! | S18 a guard tells in time | `a_guard_tells_in_time` |
//! | S18a what is guarded stays | `a_guard_tells_in_time` |
//! | L1 revoked in time | `revoked_in_time` |
//! | L2 a renewed lease stays | `a_promise_is_kept` |
//! | L3 convergence | `convergence` |
//! | L4 what was lost leaves again | `due_first_out_first` |
//! | L4a what is due leaves | `what_is_due_leaves` |
//! | L5 an end for any number of reigns | `an_end_for_any_number_of_reigns` |
//! | L6 every request is answered | `exactly_one_answer` |
//! | L7 a majority has a primary | `convergence` |
//! | L8 due first, out first | `due_first_out_first` |
//! | L9 no timer storm | `no_timer_storm` |
//! | L10 opening and stopping end | `convergence` |
//!
//! The oracle itself judges S4 where that takes no memory. S1 and S1d share `earliest`,
//! L4, L4a and L8 `waiting`.
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

mod a_claim_takes_nothing;
mod a_guard_tells_in_time;
mod a_place_that_is_free_is_given;
mod a_promise_is_kept;
mod all_or_nothing;
mod an_answer_comes_in_time;
mod an_end_for_any_number_of_reigns;
mod answered_by_who_leads;
mod as_many_a_second_as_the_rate;
mod convergence;
mod deleted_only_for_cause;
mod done_twice_is_done_once;
mod due_first_out_first;
mod earliest;
mod exactly_one_answer;
mod fenced;
mod linearizable;
mod never_early;
mod no_deadline_goes_down;
mod no_panic;
mod no_renew_in_time_is_overtaken;
mod no_resurrection;
mod no_timer_storm;
mod nothing_is_done_to_what_is_gone;
mod one_deadline_a_lease;
mod one_history;
mod only_the_primary_decides;
mod pure;
mod revoked_in_time;
mod smoothing_only_delays;
mod the_log_alone_decides;
mod waiting;
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
        Box::<no_renew_in_time_is_overtaken::NoRenewInTimeIsOvertaken>::default(),
        Box::<a_promise_is_kept::APromiseIsKept>::default(),
        Box::<deleted_only_for_cause::DeletedOnlyForCause>::default(),
        Box::<all_or_nothing::AllOrNothing>::default(),
        Box::<one_history::OneHistory>::default(),
        Box::<only_the_primary_decides::OnlyThePrimaryDecides>::default(),
        Box::<no_resurrection::NoResurrection>::default(),
        Box::<one_deadline_a_lease::OneDeadlineALease>::default(),
        Box::<exactly_one_answer::ExactlyOneAnswer>::default(),
        Box::<an_answer_comes_in_time::AnAnswerComesInTime>::default(),
        Box::<a_place_that_is_free_is_given::APlaceThatIsFreeIsGiven>::default(),
        Box::<answered_by_who_leads::AnsweredByWhoLeads>::default(),
        Box::<a_guard_tells_in_time::AGuardTellsInTime>::default(),
        Box::<as_many_a_second_as_the_rate::AsManyASecondAsTheRate>::default(),
        Box::<fenced::Fenced>::default(),
        Box::<pure::Pure>::default(),
        Box::<linearizable::Linearizable>::default(),
        Box::<a_claim_takes_nothing::AClaimTakesNothing>::default(),
        Box::<no_deadline_goes_down::NoDeadlineGoesDown>::default(),
        Box::<due_first_out_first::DueFirstOutFirst>::default(),
        Box::<what_is_due_leaves::WhatIsDueLeaves>::default(),
        Box::<an_end_for_any_number_of_reigns::AnEndForAnyNumberOfReigns>::default(),
        Box::<smoothing_only_delays::SmoothingOnlyDelays>::default(),
        Box::<the_log_alone_decides::TheLogAloneDecides>::default(),
        Box::<done_twice_is_done_once::DoneTwiceIsDoneOnce>::default(),
        Box::<nothing_is_done_to_what_is_gone::NothingIsDoneToWhatIsGone>::default(),
        Box::<no_panic::NoPanic>::default(),
        Box::<revoked_in_time::RevokedInTime>::default(),
        Box::<convergence::Convergence>::default(),
        Box::<no_timer_storm::NoTimerStorm>::default(),
    ]
}

/// The ttl that a successful answer promises to a lessee, and for which lease.
///
/// After a pause a member may apply a grant, its revoke and a grant of the same id in one delivery, and
/// answer all three at the end. An answer with another ttl than the lease has is about an earlier lease,
/// and promises nothing of this one. An answer with the same ttl promises no more than the grant of
/// this lease does.
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

/// How much time a lease has after a promotion, besides the extension.
fn left(lease: &crate::model::Lease) -> Duration {
    lease.remaining.unwrap_or(lease.ttl).as_duration()
}

#[cfg(test)]
pub(crate) mod harness;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// The rows of the table above, as they are read.
    #[test]
    fn the_table_has_each_property_and_the_files_that_judge_it() {
        let table: Vec<(&str, Vec<&str>)> = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | `"))
            .map(|(property, files)| {
                (property, files.trim_end_matches("` |").split("`, `").collect())
            })
            .collect();
        let named = Property::ALL.map(|property| format!("{} {}", property.id(), property.title()));
        assert!(table.iter().map(|(property, _)| *property).eq(&named), "{table:?}");
        let code = code();
        for (property, (_, files)) in Property::ALL.into_iter().zip(&table) {
            for file in files {
                let text = code.get(*file).unwrap_or_else(|| panic!("there is no {file}.rs"));
                let id = property.id();
                assert!(judged_by(text).contains(id), "{file}.rs does not judge {id}");
            }
        }
        let listed: BTreeSet<&str> = table.iter().flat_map(|(_, files)| files).copied().collect();
        for (file, text) in code.iter().filter(|(_, text)| !judged_by(text).is_empty()) {
            assert!(listed.contains(file.as_str()), "{file}.rs is not in the table");
            let of_name = |property: &&Property| snake_case(property.title()) == *file;
            let first = Property::ALL.iter().find(of_name);
            let first = first.unwrap_or_else(|| panic!("{file}.rs has the name of no property"));
            let head = format!("//! {}, {}: ", first.id(), first.title());
            assert!(text.starts_with(&head), "{file}.rs does not begin with {head}");
        }
    }

    /// Each file here but this one, without its tests.
    fn code() -> BTreeMap<String, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/judge/invariant");
        let files = fs::read_dir(folder).expect("the source is there").map(|file| {
            let path = file.expect("it can be listed").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in ASCII");
            let text = fs::read_to_string(&path).expect("it can be read");
            let until_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
            (name.to_owned(), until_tests.to_owned())
        });
        files.filter(|(name, _)| name != "mod").collect()
    }

    /// The properties that a text names.
    fn judged_by(text: &str) -> BTreeSet<&str> {
        let named = text.split("Property::").skip(1);
        let ids = named.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
        ids.flatten().filter(|id| Property::of_id(id).is_some()).collect()
    }

    fn snake_case(title: &str) -> String {
        title.replace(',', "").replace(' ', "_")
    }

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
