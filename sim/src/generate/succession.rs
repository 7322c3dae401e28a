//! Leaders in turn: calm but for elections, for so long that a lease which nobody renews outlives its
//! bound if a new leader gives it more than it had left. That is rare by chance: it takes many reigns,
//! each shorter than what the lease has left and longer than what the bound allows for.

use std::time::Duration;

use lessor::{Config, LeaseId, MemberId, Request, Ttl};

use super::draw::Draw;
use super::step;
use crate::scenario::{Action, Ending, Fault, Herd, Scenario, Step};

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
    scenario.config.revoke_rate = Config::default().revoke_rate;
    scenario.steps.clear();
    let lease = |number| LeaseId::new(number).expect("it is not 0");
    // The first reign checkpoints the lease that nobody renews; the herd keeps the log going, by a grant
    // every half a second.
    let steps: &mut Vec<Step> = &mut scenario.steps;
    let request = Request::Grant { id: Some(lease(7)), ttl: Ttl::from_secs(40) };
    let grant = Action::Ask { request, member: None, lessee: None, answer: None, patience: None };
    steps.push(step(Duration::from_millis(500), grant));
    scenario.herds = vec![Herd {
        name: "herd".to_owned(),
        leases: 2 * u32::try_from(UNREST.as_secs()).expect("it is minutes"),
        first_lease: lease(1_000),
        ttl: Ttl::from_secs(2),
        start: Duration::from_secs(1),
        over: UNREST - Duration::from_secs(1),
        renew_every: None,
        until: None,
        items: 0,
        patience: None,
        keep_alive: false,
        drift_ppm: None,
    }];
    let (mut at, mut leader) = (Duration::from_secs(6), MemberId(1));
    while at < UNREST {
        leader = draw.other(leader, scenario.members);
        steps.push(step(at, Action::Fault(Fault::Elect { member: leader })));
        at += draw.span(20, 28);
    }
}

const UNREST: Duration = Duration::from_secs(400);
