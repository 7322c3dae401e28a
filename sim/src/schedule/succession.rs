//! Leaders in turn: calm but for elections, for so long that a lease which nobody renews outlives its
//! bound if a new leader gives it more than it had left. That is rare by chance: it takes many reigns,
//! each shorter than what the lease has left and longer than what the bound allows for.

use std::time::Duration;

use lessor::{LeaseId, MemberId, Request, Ttl};

use super::draw::Draw;
use super::step;
use crate::scenario::{Action, Ending, Fault, Scenario, Step};

/// Makes a scenario one of many short reigns.
pub(super) fn take_turns(draw: &mut Draw, scenario: &mut Scenario) {
    let rest = scenario.duration - scenario.ending.as_ref().map_or(UNREST, |ending| ending.at);
    scenario.story = format!("Drawn from seed {}. Members lead in turn.", scenario.seed);
    scenario.members = scenario.members.max(3);
    scenario.clocks.members.clear();
    scenario.duration = UNREST + rest;
    scenario.ending = Some(Ending { at: UNREST, core: Vec::new() });
    scenario.config.checkpoint_interval = Duration::from_secs(1);
    scenario.config.extend = scenario.config.extend.min(Duration::from_millis(500));
    scenario.config.retry_interval = Duration::from_millis(500);
    scenario.herds.clear();
    scenario.steps.clear();
    let ask =
        |at, request| step(at, Action::Ask { request, member: None, lessee: None, answer: None });
    let lease = |number| LeaseId::new(number).expect("it is not 0");
    let grant = |number, ttl| Request::Grant { id: Some(lease(number)), ttl };
    // The first reign checkpoints the lease that nobody renews; the other keeps the log going.
    let steps: &mut Vec<Step> = &mut scenario.steps;
    steps.push(ask(Duration::from_millis(500), grant(7, Ttl::from_secs(40))));
    steps.push(ask(Duration::from_millis(600), grant(8, Ttl::MAX)));
    let mut at = Duration::from_secs(1);
    while at < UNREST {
        let items = vec![draw.pick(&["a", "b"]).into()];
        steps.push(ask(at, Request::Attach { id: lease(8), items }));
        at += draw.span_ms(400, 700);
    }
    let (mut at, mut leader) = (Duration::from_secs(6), MemberId(1));
    while at < UNREST {
        leader = draw.other(leader, scenario.members);
        steps.push(step(at, Action::Fault(Fault::Elect(leader))));
        at += draw.span(20, 28);
    }
}

const UNREST: Duration = Duration::from_secs(400);
