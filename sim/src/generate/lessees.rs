//! What lessees do.

use std::time::Duration;

use lessor::{Item, LeaseId, LeaseOrder, Request, RequestId, Ttl};

use super::draw::Draw;
use super::step;
use crate::scenario::{Action, Fault, Herd, Scenario, Step};

/// What lessees ask, one by one: few leases and few items, so that they meet.
pub(super) fn one_by_one(draw: &mut Draw, members: u8, until: Duration) -> Vec<Step> {
    let count = draw.weighted(&[(2, 0_u32), (4, 30), (3, 80), (1, 200)]);
    let hostile = draw.chance(25);
    let plain = [7, 8, 9, 10, 11, 12];
    let ids = if hostile { [i64::MAX, i64::MIN, -1, 1, 7, 8] } else { plain };
    let few = 1 + draw.below(6) as usize;
    let elsewhere = draw.chance(30);
    let lessee = |draw: &mut Draw| Some(draw.pick(&["ann", "ben", "cyd"]).to_owned());
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..count {
        let at = draw.moment(until);
        let id = LeaseId::new(draw.pick(&ids[..few])).expect("none of them is 0");
        let request = match draw.below(100) {
            0..27 => Request::Grant { id: Some(id), ttl: ttl(draw) },
            27..30 => {
                // The few leases that are wished for are asked for again, by others too.
                let request = RequestId(id.get().unsigned_abs() % 1_000);
                Request::GrantOnce { request, ttl: ttl(draw) }
            }
            30..58 => Request::Renew { id },
            58..65 => Request::Attach { id, items: items(draw) },
            65..72 => Request::Claim { id, items: items(draw) },
            72..80 => Request::Detach { id, items: items(draw) },
            80..86 => Request::Revoke { id },
            86..92 => Request::Lookup { id },
            92..96 => Request::LeaseOf { item: items(draw).swap_remove(0) },
            _ => Request::Leases {
                order: draw.pick(&[LeaseOrder::Id, LeaseOrder::Expiry]),
                after: None,
                limit: 1 + draw.below(20) as usize,
            },
        };
        let member = (elsewhere && draw.chance(40)).then(|| draw.member(members));
        // The moment at which the ttl of a grant ends is the one to renew at.
        let granted = if let Request::Grant { ttl, .. } = &request {
            Some((id, *ttl))
        } else if let Request::GrantOnce { request, ttl } = &request {
            Some((request.lease(), *ttl))
        } else {
            None
        };
        if let Some((id, ttl)) = granted
            && draw.chance(30)
        {
            let end = at.saturating_add(ttl.as_duration());
            let end = end.saturating_sub(Duration::from_millis(u64::from(draw.below(20))));
            if end < until {
                let ask = Action::Ask {
                    request: Request::Renew { id },
                    member,
                    lessee: lessee(draw),
                    answer: None,
                    patience: None,
                };
                steps.push(step(end, ask));
            }
        }
        // An impatient lessee asks again.
        let again = draw.weighted(&[(90, 1), (6, 2), (3, 3), (1, 60)]);
        for time in 0..again {
            let ask = Action::Ask {
                request: request.clone(),
                member,
                lessee: lessee(draw),
                answer: None,
                patience: None,
            };
            steps.push(step(at + Duration::from_millis(time * 3), ask));
        }
    }
    steps
}

fn items(draw: &mut Draw) -> Vec<Item> {
    let count = 1 + draw.below(3);
    let items = (0..count).map(|_| draw.pick(&["a", "b", "c", "d"]).into());
    std::collections::BTreeSet::<Item>::from_iter(items).into_iter().collect()
}

/// So many leases end while somebody watches and reads nothing that it soon has no room for more.
pub(super) fn watched(draw: &mut Draw, scenario: &mut Scenario, until: Duration) {
    let watched = |step: &Step| matches!(step.action, Action::Fault(Fault::Observe { .. }));
    let Some(start) = scenario.steps.iter().find(|step| watched(step)).map(|step| step.at) else {
        return;
    };
    scenario.herds.push(Herd {
        name: "watched".to_owned(),
        leases: 30 + draw.below(60),
        first_lease: LeaseId::new(200_000).expect("it is not 0"),
        ttl: draw.span_ms(500, 3_000).into(),
        start,
        over: draw.span(2, 10).min(until.saturating_sub(start)),
        renew_every: None,
        until: None,
        items: 0,
        patience: None,
        keep_alive: false,
        drift_ppm: None,
    });
}

/// Some lessees give up what takes them too long, each herd and each of those that come one by one.
pub(super) fn patience(draw: &mut Draw, scenario: &mut Scenario) {
    for herd in &mut scenario.herds {
        // Shorter than a round trip of the log, or for ever.
        let own = [
            (6, None),
            (1, Some(Duration::from_millis(100))),
            (2, Some(draw.span_ms(200, 8_000))),
            (1, Some(Duration::from_secs(3_600))),
        ];
        herd.patience = draw.weighted(&own);
    }
    let share = draw.weighted(&[(5, 0_u32), (3, 30), (2, 100)]);
    for step in &mut scenario.steps {
        let Action::Ask { request, patience, .. } = &mut step.action else { continue };
        let of_handle = matches!(request, Request::Promote | Request::Demote);
        if !of_handle && draw.chance(share) {
            *patience = Some(draw.span_ms(500, 8_000));
        }
    }
}

/// Some herds that renew leave that to guards, each herd on clocks of a rate of its own.
pub(super) fn guards(draw: &mut Draw, scenario: &mut Scenario) {
    let bound_ppm = scenario.clocks.bound_ppm;
    for herd in &mut scenario.herds {
        let keeps = draw.chance(35);
        let drift_ppm = draw.chance(60).then(|| draw.rate(bound_ppm));
        if keeps && herd.renew_every.is_some() && herd.leases <= MOST_GUARDS {
            herd.renew_every = None;
            herd.keep_alive = true;
            herd.drift_ppm = drift_ppm;
        }
    }
}

/// When all is well again, lessees are served as ever.
pub(super) fn probes(draw: &mut Draw, from: Duration, rest: Duration) -> Vec<Step> {
    let at = from + Duration::from_secs(rest.as_secs() / 3);
    let id = LeaseId::new(55).expect("it is not 0");
    let ttl = Ttl::from_secs(10 + u64::from(draw.below(20)));
    let asks = [
        (0, Request::Grant { id: Some(id), ttl }),
        (2_000, Request::Attach { id, items: items(draw) }),
        (4_000, Request::Renew { id }),
        (6_000, Request::Lookup { id }),
    ];
    let ask = |(millis, request)| {
        let lessee = Some("probe".to_owned());
        let ask = Action::Ask { request, member: None, lessee, answer: None, patience: None };
        step(at + Duration::from_millis(millis), ask)
    };
    asks.into_iter().map(ask).collect()
}

/// Lessees in numbers, each with a lease of its own.
pub(super) fn herds(draw: &mut Draw, until: Duration) -> Vec<Herd> {
    let mut herds = Vec::new();
    let count = draw.weighted(&[(4, 0_usize), (4, 1), (2, 2)]);
    for name in ["herd", "flock"].into_iter().take(count) {
        let leases = draw.weighted(&[
            (1_000, 5_u32),
            (800, 40),
            (240, 200),
            (60, 1_000),
            (8, 5_000),
            (1, 20_000),
        ]);
        let leases = 1 + draw.below(leases);
        let ttl = Ttl::from_millis(draw.pick(&[1_000, 2_000, 5_000, 10_000, 40_000]));
        let start = draw.moment(until / 2);
        let over = draw.span_ms(1, 10_000).min(until.saturating_sub(start));
        // From well in time over the last moment to too late.
        let share = u32::from(draw.weighted(&[(5, 33_u8), (3, 50), (2, 90), (1, 99), (1, 110)]));
        let renews = draw.chance(75) || leases > 1_000;
        herds.push(Herd {
            name: name.to_owned(),
            leases,
            first_lease: LeaseId::new(if name == "herd" { 1_000 } else { 100_000 })
                .expect("it is not 0"),
            ttl,
            start,
            over,
            renew_every: renews.then(|| ttl.as_duration() * share / 100),
            until: draw.chance(60).then(|| (start + over + draw.span(1, 60)).min(until)),
            items: draw.below(3),
            patience: None,
            keep_alive: false,
            drift_ppm: None,
        });
    }
    herds
}

/// Each guard is two tasks.
const MOST_GUARDS: u32 = 200;

/// From a quarter of a second to years, and the most of all.
fn ttl(draw: &mut Draw) -> Ttl {
    match draw.below(20) {
        0 => Ttl::MAX,
        1 => Ttl::from_secs(3_600 * u64::from(1 + draw.below(40_000))),
        2 => Ttl::from_millis(250),
        _ => draw.span_ms(250, 40_000).into(),
    }
}
