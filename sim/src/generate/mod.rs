//! A seed → a complete scenario, drawn swarm style: which faults there are at all, how often, how many
//! members, lessees and leases, and which settings are themselves drawn.
//!
//! Each part draws from a ChaCha stream of its own name, so that one more draw in one part shifts no
//! other. Nothing of the generator is needed to replay what it made. Integers only.

use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{Config, MemberId};

use self::draw::Draw;
use self::faults::Limits;
use crate::scenario::{
    Action, Clocks, Delays, Disks, Ending, FaultKind, MemberClock, Network, PartName, Scenario,
    Step, Upkeep,
};

mod draw;
mod faults;
mod lessees;
mod succession;

/// The scenario of a seed. Its name is `seed-` and the number.
#[must_use]
pub fn generate(seed: u64) -> Scenario {
    let stream = |name| Draw::stream(seed, name);
    let mut sizes = stream("sizes");
    let members = sizes.weighted(&[(18, 1), (6, 2), (46, 3), (8, 4), (20, 5), (2, 7)]);
    let unrest = sizes.span(10, 120);
    let rest = sizes.span(60, 150);
    let ending = ending(&mut stream("ending"), members, unrest);
    let upkeep = upkeep(&mut stream("upkeep"));
    let mut scenario = Scenario {
        name: format!("seed-{seed}"),
        story: format!(
            "Drawn from seed {seed}. Faults strike until {} s, then {} heal.",
            unrest.as_secs(),
            if ending.core.is_empty() { "all members" } else { "most members" },
        ),
        seed,
        may_miss: true,
        twins: stream("twins").chance(25),
        commits_twice: stream("commits-twice").chance(25),
        members,
        duration: unrest + rest,
        store: stream("store").weighted(&[(80, PartName::JOURNAL), (20, PartName::REDB)]),
        host: PartName::DRIVER,
        config: config(&mut stream("config")).with_queue(queue(&mut stream("queue"))),
        log_name: PartName::MODELLED,
        log: delays(&mut stream("log")),
        upkeep,
        disks: disks(&mut stream("disks")),
        network: network(&mut stream("network")),
        clocks: clocks(&mut stream("clocks"), members),
        ending: Some(ending),
        steps: Vec::new(),
        herds: lessees::herds(&mut stream("herds"), unrest),
        expects: Vec::new(),
    };
    let steps = &mut scenario.steps;
    steps.extend(lessees::one_by_one(&mut stream("lessees"), members, unrest));
    steps.extend(lessees::probes(&mut stream("probes"), unrest, rest));
    let operations = if scenario.store == PartName::REDB { 24 } else { 3 };
    let (mut swarm, limits) = (stream("swarm"), Limits { members, until: unrest, operations });
    let calm = swarm.chance(5);
    for kind in FaultKind::drawn() {
        let (drawn, most) = (swarm.chance(kind.share()), swarm.weighted(&[(5, 1), (3, 3), (2, 8)]));
        let mut draw = stream(kind.name());
        for _ in 0..=draw.below(most) {
            if drawn && !calm && (members > 1 || !kind.is_of_links()) {
                kind.strike(&mut draw, &limits, steps);
            }
        }
    }
    let by_itself = upkeep.election_timeout.is_some();
    faults::elections(&mut stream("elections"), &limits, by_itself, steps);
    if swarm.chance(15) {
        faults::blackout(&mut stream("blackout"), &limits, steps);
    }
    let mut promotions = stream("promotions");
    if promotions.chance(10) {
        // So that renews wait for their unsets, which a promotion must not disturb.
        scenario.config.checkpoint_interval = Duration::from_secs(1);
        faults::promotions(&mut promotions, &limits, steps);
    }
    let mut turns = stream("succession");
    if turns.chance(3) {
        succession::take_turns(&mut turns, &mut scenario);
    }
    scenario.steps.sort_by_key(|step| step.at);
    lessees::watched(&mut stream("watched"), &mut scenario, unrest);
    lessees::patience(&mut stream("patience"), &mut scenario);
    lessees::guards(&mut stream("guards"), &mut scenario);
    scenario
}

/// All heal, or a majority.
fn ending(draw: &mut Draw, members: u8, at: Duration) -> Ending {
    let mut core: Vec<_> = (1..=u64::from(members)).map(MemberId).collect();
    let majority = usize::from(members / 2) + 1;
    if !draw.chance(35) || core.len() == majority {
        return Ending { at, core: Vec::new() };
    }
    while core.len() > majority {
        let index = draw.below(u32::from(members)) as usize % core.len();
        core.remove(index);
    }
    Ending { at, core }
}

fn upkeep(draw: &mut Draw) -> Upkeep {
    let (timeout, entries) = (draw.span_ms(500, 8_000), 5 + u64::from(draw.below(100)));
    Upkeep {
        election_timeout: draw.chance(80).then_some(timeout),
        compact_every: draw.chance(50).then_some(entries),
    }
}

fn network(draw: &mut Draw) -> Network {
    let mut some = |most: &[u32]| if draw.chance(25) { draw.pick(most) } else { 0 };
    let (loss_ppm, duplicate_ppm) = (some(&[1_000, 20_000]), some(&[1_000, 20_000]));
    let jitter = draw.pick(&[0, 2, 10, 100]);
    Network {
        latency: draw.span_ms(1, 30),
        jitter: Duration::from_millis(jitter),
        loss_ppm,
        duplicate_ppm,
    }
}

/// From that of memory to that of a disk that turns.
fn disks(draw: &mut Draw) -> Disks {
    Disks { latency: Duration::from_millis(draw.pick(&[0, 1, 1, 1, 5, 20, 50])) }
}

/// How many requests are in a member at a time: as many as there are, or so few that each is felt.
fn queue(draw: &mut Draw) -> NonZeroU32 {
    let few = 1 + draw.below(16);
    let queue = draw.weighted(&[(6, Config::default().queue.get()), (1, 1), (1, 2), (2, few)]);
    NonZeroU32::new(queue).expect("it is not 0")
}

/// Every clock at a rate of its own, within what a lessee allows for.
fn clocks(draw: &mut Draw, members: u8) -> Clocks {
    let bound_ppm = draw.weighted(&[(5, 0_u16), (3, 200), (2, 20_000)]);
    let bound_ppm = u32::from(bound_ppm);
    let mut clock = |number: u8| MemberClock {
        member: MemberId(u64::from(number)),
        offset: Duration::from_secs(u64::from(draw.below(30 * 86_400))),
        drift_ppm: draw.rate(bound_ppm),
    };
    let members = (1..=members).map(&mut clock).collect();
    Clocks { bound_ppm, lessees_ppm: draw.rate(bound_ppm), members }
}

fn config(draw: &mut Draw) -> Config {
    let ms = |draw: &mut Draw, spans: &[u64]| Duration::from_millis(draw.pick(spans));
    let count =
        |draw: &mut Draw, counts: &[u32]| NonZeroU32::new(draw.pick(counts)).expect("it is not 0");
    Config::default()
        .with_min_ttl(ms(draw, &[250, 1_000, 2_000]))
        .with_revoke_rate(count(draw, &[1, 4, 20, 100, 1_000, 1_000]))
        .with_retry_interval(ms(draw, &[500, 3_000, 3_000, 7_000]))
        .with_checkpoint_interval(ms(draw, &[1_000, 3_000, 10_000, 300_000]))
        .with_extend(ms(draw, &[0, 500, 1_000, 3_000]))
        .with_request_timeout(ms(draw, &[2_000, 5_000, 15_000]))
        .with_piece(count(draw, &[1, 2, 1_000, 1_000]))
        .with_subscriber_patience(ms(draw, &[1_000, 10_000, 30_000]))
        .with_hash_key(0)
}

fn delays(draw: &mut Draw) -> Delays {
    Delays {
        commit: draw.span_ms(1, 200),
        apply: draw.span_ms(1, 500),
        confirm: draw.span_ms(1, 200),
    }
}

fn step(at: Duration, action: Action) -> Step {
    Step { at, line: 0, action }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::*;

    #[test]
    fn what_is_generated_survives_the_way_through_a_file() {
        for seed in 0..200 {
            let scenario = generate(seed);
            let text = scenario.to_toml();
            let again = Scenario::parse(format!("{}.toml", scenario.name), &text);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(again.to_toml(), text);
            assert_eq!(again, scenario, "{text}");
        }
    }

    #[test]
    fn every_kind_of_fault_and_every_size_comes_up() {
        let mut seen = BTreeSet::new();
        let mut members = BTreeSet::new();
        for seed in 0..200 {
            let scenario = generate(seed);
            members.insert(scenario.members);
            for step in &scenario.steps {
                if let Action::Fault(fault) = &step.action {
                    seen.insert(fault.kind());
                }
            }
        }
        assert_eq!(members, BTreeSet::from([1, 2, 3, 4, 5, 7]));
        // Links heal by themselves, or when the ending comes.
        let never = |kind: &&FaultKind| !seen.contains(*kind);
        let unseen: Vec<_> = FaultKind::VARIANTS.iter().filter(never).collect();
        assert_eq!(unseen, [&FaultKind::Heal]);
    }
}
