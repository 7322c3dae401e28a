//! When a failure was decided: a run is kept up to a moment and the rest drawn anew, from many seeds, at many
//! moments. Where the share of these futures that fail rises, the failure was decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::pool;
use super::seeds::fingerprint;
use crate::host::{Fork, Options, Testbed};
use crate::record::report::Report;
use crate::scenario::{Action, Scenario, Step};

/// A moment of a run, and how many of the futures from there fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Virtual time.
    pub at: Duration,
    /// How many of [`FUTURES`] fail in the same way.
    pub failed: u32,
}

/// How many futures each moment has.
pub const FUTURES: u32 = 64;
/// At how many moments one looks at first.
const MOMENTS: usize = 40;
/// At how many more between the two where the share rises most.
const CLOSER: u32 = 8;
/// How long a future goes on after the moment of the failure, if that is no matter of the end.
const BEHIND: Duration = Duration::from_secs(10);

/// Looks at a run that fails in a way (`goal`), at moments up to the first violation: the moments by time, as
/// far as it came before it was interrupted.
pub fn why(
    testbed: &Testbed,
    scenario: &Scenario,
    first: &Report,
    jobs: Option<u16>,
    interrupted: &Arc<AtomicBool>,
    done: impl Fn() + Sync,
) -> Vec<Moment> {
    let goal = fingerprint(first);
    let violation = first.violations.first();
    let failed_at = violation.map_or(first.virtual_time, |violation| violation.at);
    let waits = violation.is_none_or(|violation| violation.property.is_liveness());
    let until = Some(failed_at + BEHIND).filter(|_| !waits);
    let look = |moments: &[Duration]| {
        pool::map(jobs, moments, interrupted, |_, at| {
            let at = *at;
            let fails = |seed: &u64| {
                let future = future(testbed, scenario, at, *seed);
                let fork = Some(Fork { at, seed: *seed });
                let give_up = Some(interrupted.clone());
                let options = Options { fork, until, give_up, ..Options::default() };
                fingerprint(&testbed.replay_with(&future, &options)) == goal
            };
            let failed = (1..=u64::from(FUTURES)).filter(fails).count();
            let failed = u32::try_from(failed).unwrap_or(FUTURES);
            done();
            Moment { at, failed }
        })
    };
    let mut moments = look(&moments(scenario, failed_at));
    if let Some((before, after)) = steepest(&moments) {
        let step = (after.at - before.at) / (CLOSER + 1);
        let closer: Vec<_> = (1..=CLOSER).map(|number| before.at + step * number).collect();
        if step >= Duration::from_millis(1) {
            moments.extend(look(&closer));
            moments.sort_by_key(|moment| moment.at);
        }
    }
    moments
}

/// The two moments between which the share of futures that fail rises most, if it rises at all.
#[must_use]
pub fn steepest(moments: &[Moment]) -> Option<(Moment, Moment)> {
    let pairs = moments.windows(2).map(|pair| (pair[0], pair[1]));
    let rises = pairs.filter(|(before, after)| after.failed > before.failed);
    // The first of several.
    rises.rev().max_by_key(|(before, after)| after.failed - before.failed)
}

/// The moments to look at: when something is ordered, and others between.
fn moments(scenario: &Scenario, until: Duration) -> Vec<Duration> {
    let steps = scenario.steps.iter().map(|step| step.at).filter(|at| *at < until);
    let mut moments: BTreeSet<Duration> = steps.chain([Duration::ZERO, until]).collect();
    let few = u32::try_from(MOMENTS.saturating_sub(moments.len())).unwrap_or(0);
    moments.extend((1..=few).map(|number| until * number / (few + 1)));
    let all: Vec<_> = moments.into_iter().collect();
    let every = all.len().div_ceil(MOMENTS).max(1);
    // The last ones are nearest to the failure.
    let skip = (all.len() - 1) % every;
    all.into_iter().skip(skip).step_by(every).collect()
}

/// The same scenario up to a moment, and then what another seed draws.
fn future(testbed: &Testbed, scenario: &Scenario, at: Duration, seed: u64) -> Scenario {
    let mut future = scenario.clone();
    future.may_miss = true;
    future.expects.clear();
    future.steps.retain(|step| step.at <= at);
    future.herds.retain(|herd| herd.start <= at);
    let drawn = testbed.scenario(seed).steps.into_iter().filter(|step| step.at > at);
    future.steps.extend(drawn.filter_map(|step| of_group(step, scenario)));
    future.on_log(scenario.log_name.clone())
}

/// A step for a group with fewer members, if it makes sense there.
fn of_group(mut step: Step, scenario: &Scenario) -> Option<Step> {
    step.action.fold_members(scenario.members.into());
    let makes_sense = match &step.action {
        Action::Ask { .. } => true,
        Action::Fault(fault) => fault.mistake(scenario.members).is_none(),
    };
    (makes_sense && step.at < scenario.duration).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_rise_is_the_first_of_several() {
        let moment = |secs, failed| Moment { at: Duration::from_secs(secs), failed };
        let moments = [moment(0, 1), moment(1, 5), moment(2, 5), moment(3, 60), moment(4, 64)];
        assert_eq!(steepest(&moments), Some((moments[2], moments[3])));
        assert_eq!(steepest(&[moment(0, 9), moment(1, 9), moment(2, 3)]), None);
        let equal = [moment(0, 0), moment(1, 9), moment(2, 0), moment(3, 9)];
        assert_eq!(steepest(&equal), Some((equal[0], equal[1])));
    }

    #[test]
    fn moments_are_those_of_the_steps_and_others_up_to_the_failure() {
        let scenario = crate::generate::generate(17);
        let until = Duration::from_secs(40);
        let moments = moments(&scenario, until);
        assert!(moments.len() <= MOMENTS && moments.is_sorted() && moments.last() == Some(&until));
        let mut short = scenario;
        short.steps.truncate(3);
        let (few, steps) = (super::moments(&short, until), &short.steps);
        assert!(
            few.len() > 30 && steps.iter().all(|step| few.contains(&step.at) || step.at >= until)
        );
    }

    #[test]
    fn a_future_is_the_run_until_it_forks_and_another_one_then() {
        let testbed = Testbed::new();
        let scenario = crate::generate::generate(5);
        let at = Duration::from_secs(20);
        let fork = |seed| {
            let options = Options { fork: Some(Fork { at, seed }), ..Options::default() };
            testbed.replay_with(&future(&testbed, &scenario, at, seed), &options).trace
        };
        let (run, one, other) = (testbed.replay(&scenario).trace, fork(1), fork(2));
        let before = |trace: &crate::record::trace::Trace| -> Vec<String> {
            let lines = trace.lines().iter().filter(|line| line.at <= at);
            lines.map(ToString::to_string).collect()
        };
        assert!(before(&run).len() > 50);
        assert_eq!(before(&run), before(&one));
        assert_eq!(before(&one), before(&other));
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.hash(), fork(1).hash(), "a future is determined");
    }
}
