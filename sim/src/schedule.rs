//! A seed → a complete scenario, drawn swarm style: which faults there are at all, how often, how many
//! members, lessees and leases, and which settings are themselves drawn.
//!
//! Each part draws from a ChaCha stream of its own name, so that one more draw in one part shifts no
//! other. Nothing of the generator is needed to replay what it made. Integers only.

use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{Config, Item, LeaseId, LeaseOrder, MemberId, Request, Ttl};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::consensus::{Delays, Loss};
use crate::disk::Unsynced;
use crate::scenario::{Action, Crash, CrashWhen, Fault, Herd, Scenario, Step};

/// The scenario of a seed. Its name is `seed-` and the number.
#[must_use]
pub fn generate(seed: u64) -> Scenario {
    let mut sizes = Draw::stream(seed, "sizes");
    let members = sizes.weighted(&[(20, 1), (6, 2), (46, 3), (8, 4), (20, 5)]);
    let unrest = sizes.span(10, 120);
    let rest = sizes.span(60, 150);
    let mut scenario = Scenario {
        name: format!("seed-{seed}"),
        story: format!(
            "Drawn from seed {seed}. Faults strike until {} s, then all members are healed.",
            unrest.as_secs()
        ),
        seed,
        members,
        duration: unrest + rest,
        config: config(&mut Draw::stream(seed, "config")),
        log: delays(&mut Draw::stream(seed, "log")),
        steps: Vec::new(),
        herds: herds(&mut Draw::stream(seed, "herds"), unrest),
        expects: Vec::new(),
    };
    scenario.steps.extend(lessees(&mut Draw::stream(seed, "lessees"), members, unrest));
    let mut swarm = Draw::stream(seed, "swarm");
    for kind in Kind::ALL {
        if swarm.chance(40) {
            let most = swarm.weighted(&[(5, 1), (3, 3), (2, 8)]);
            let mut draw = Draw::stream(seed, kind.name());
            for _ in 0..=draw.below(most) {
                let at = draw.moment(unrest);
                kind.strike(&mut draw, members, at, unrest, &mut scenario.steps);
            }
        }
    }
    elections(&mut Draw::stream(seed, "elections"), members, unrest, &mut scenario.steps);
    heal(&mut Draw::stream(seed, "heal"), members, unrest, &mut scenario.steps);
    scenario.steps.sort_by_key(|step| step.at);
    scenario
}

/// A kind of fault that a swarm has or has not.
#[derive(Clone, Copy)]
enum Kind {
    Crash,
    Kill,
    Stop,
    Pause,
    Isolate,
    Depose,
    Lose,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Crash, Self::Kill, Self::Stop, Self::Pause, Self::Isolate, Self::Depose, Self::Lose];

    fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::Depose => "depose",
            Self::Lose => "lose",
        }
    }

    /// Adds one fault and what ends it.
    fn strike(
        self,
        draw: &mut Draw,
        members: u8,
        at: Duration,
        until: Duration,
        steps: &mut Vec<Step>,
    ) {
        let member = draw.member(members);
        let mut after = |draw: &mut Draw, fault| {
            let span = draw.span_ms(200, 20_000);
            if at + span < until {
                steps.push(step(at + span, Action::Fault(fault)));
            }
        };
        let fault = match self {
            Self::Crash => {
                let when = match draw.below(5) {
                    0 => CrashWhen::Now,
                    1 => CrashWhen::BeforeCommit,
                    2 => CrashWhen::AfterCommit,
                    _ => CrashWhen::DuringCommit { disk_operation: 1 + u64::from(draw.below(24)) },
                };
                let kinds = [Unsynced::Drop, Unsynced::Keep, Unsynced::Tear, Unsynced::Tear];
                let unsynced = draw.pick(&kinds);
                after(draw, Fault::Restart(member));
                Fault::Crash(Crash { member, when, unsynced })
            }
            Self::Kill => {
                after(draw, Fault::Restart(member));
                Fault::Kill(member)
            }
            Self::Stop => {
                after(draw, Fault::Restart(member));
                Fault::Stop(member)
            }
            Self::Pause => {
                let span = draw.span_ms(100, 30_000).min(until.saturating_sub(at));
                Fault::Pause { member, span }
            }
            Self::Isolate => {
                after(draw, Fault::Heal(Some(member)));
                Fault::Isolate(member)
            }
            Self::Depose => Fault::Depose,
            Self::Lose => {
                let losses = [Loss::Revokes, Loss::Revokes, Loss::Checkpoints, Loss::Proposals];
                Fault::Lose { member, loss: draw.pick(&losses), count: 1 + draw.below(6) }
            }
        };
        steps.push(step(at, Action::Fault(fault)));
    }
}

/// Somebody else leads now and then, and somebody soon after whatever befell the leader.
fn elections(draw: &mut Draw, members: u8, until: Duration, steps: &mut Vec<Step>) {
    let faults: Vec<_> = steps
        .iter()
        .filter(|step| matches!(step.action, Action::Fault(ref fault) if !matches!(fault, Fault::Lose { .. })))
        .map(|step| step.at)
        .collect();
    for at in faults {
        let at = at + draw.span_ms(100, 6_000);
        if at < until {
            steps.push(step(at, Action::Fault(Fault::Elect(draw.member(members)))));
        }
    }
    if draw.chance(50) {
        for _ in 0..draw.below(5) {
            let (at, member) = (draw.moment(until), draw.member(members));
            let fault = match draw.below(3) {
                0 => Action::Ask {
                    request: draw.pick(&[Request::Promote, Request::Demote]),
                    member: Some(member),
                    lessee: None,
                    answer: None,
                },
                _ => Action::Fault(Fault::Elect(member)),
            };
            steps.push(step(at, fault));
        }
    }
}

/// The end of all faults: links work, everybody is up, and somebody leads.
fn heal(draw: &mut Draw, members: u8, at: Duration, steps: &mut Vec<Step>) {
    steps.push(step(at, Action::Fault(Fault::Heal(None))));
    for number in 1..=members {
        let member = MemberId(u64::from(number));
        // A fault may wait for a commit that never came: a kill takes it away.
        steps.push(step(at, Action::Fault(Fault::Kill(member))));
        let again = at + Duration::from_millis(100 * u64::from(number));
        steps.push(step(again, Action::Fault(Fault::Restart(member))));
    }
    let elected = at + Duration::from_secs(2);
    steps.push(step(elected, Action::Fault(Fault::Elect(draw.member(members)))));
}

/// What lessees ask, one by one: few leases and few items, so that they meet.
fn lessees(draw: &mut Draw, members: u8, until: Duration) -> Vec<Step> {
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
            0..30 => Request::Grant { id: Some(id), ttl: ttl(draw) },
            30..58 => Request::Renew { id },
            58..72 => Request::Attach { id, items: items(draw) },
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
        if let Request::Grant { ttl, .. } = &request
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
                };
                steps.push(step(end, ask));
            }
        }
        // An impatient lessee asks again.
        let again = if draw.chance(10) { 1 + draw.below(3) } else { 1 };
        for time in 0..again {
            let ask = Action::Ask {
                request: request.clone(),
                member,
                lessee: lessee(draw),
                answer: None,
            };
            steps.push(step(at + Duration::from_millis(u64::from(time) * 3), ask));
        }
    }
    steps
}

fn items(draw: &mut Draw) -> Vec<Item> {
    let count = 1 + draw.below(3);
    let items = (0..count).map(|_| draw.pick(&["a", "b", "c", "d"]).into());
    std::collections::BTreeSet::<Item>::from_iter(items).into_iter().collect()
}

/// Lessees in numbers, each with a lease of its own.
fn herds(draw: &mut Draw, until: Duration) -> Vec<Herd> {
    let mut herds = Vec::new();
    let count = draw.weighted(&[(4, 0_usize), (4, 1), (2, 2)]);
    for name in ["herd", "flock"].into_iter().take(count) {
        let leases = draw.weighted(&[(50, 5_u32), (40, 40), (12, 200), (3, 1_000), (1, 5_000)]);
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
        });
    }
    herds
}

fn config(draw: &mut Draw) -> Config {
    let ms = |draw: &mut Draw, spans: &[u64]| Duration::from_millis(draw.pick(spans));
    Config {
        min_ttl: ms(draw, &[250, 1_000, 2_000]).into(),
        revoke_rate: NonZeroU32::new(draw.pick(&[1, 4, 20, 100, 1_000, 1_000]))
            .expect("it is not 0"),
        retry_interval: ms(draw, &[500, 3_000, 3_000, 7_000]),
        checkpoint_interval: ms(draw, &[1_000, 3_000, 10_000, 300_000]),
        extend: ms(draw, &[0, 500, 1_000, 3_000]),
        request_timeout: ms(draw, &[2_000, 5_000, 15_000]),
        hash_key: Some(0),
        ..Config::default()
    }
}

fn delays(draw: &mut Draw) -> Delays {
    Delays {
        commit: draw.span_ms(1, 200),
        apply: draw.span_ms(1, 500),
        confirm: draw.span_ms(1, 200),
    }
}

/// From a quarter of a second to years, and the most of all.
fn ttl(draw: &mut Draw) -> Ttl {
    match draw.below(20) {
        0 => Ttl::MAX,
        1 => Ttl::from_secs(3_600 * u64::from(1 + draw.below(40_000))),
        2 => Ttl::from_millis(250),
        _ => draw.span_ms(250, 40_000).into(),
    }
}

fn step(at: Duration, action: Action) -> Step {
    Step { at, line: 0, action }
}

/// Draws from a named stream of a seed.
struct Draw(ChaCha8Rng);

impl Draw {
    fn stream(seed: u64, name: &str) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a, so that the number of a stream follows from its name alone.
        let number = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        random.set_stream(number);
        Self(random)
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: u32) -> u32 {
        let draw = self.0.next_u64() % u64::from(end.max(1));
        u32::try_from(draw).expect("it is below an u32")
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        let count = u32::try_from(among.len()).expect("a short list");
        among[self.below(count) as usize].clone()
    }

    /// One of these, each as often as its weight says.
    fn weighted<T: Clone>(&mut self, among: &[(u32, T)]) -> T {
        let mut left = self.below(among.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in among {
            if left < *weight {
                return one.clone();
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of all weights")
    }

    /// Whole seconds, `least` to `most`.
    fn span(&mut self, least: u32, most: u32) -> Duration {
        Duration::from_secs((least + self.below(most - least + 1)).into())
    }

    /// Milliseconds, `least` to `most`, short ones as often as long ones.
    fn span_ms(&mut self, least: u32, most: u32) -> Duration {
        let top = most >> self.below(1 + (most / least.max(1)).max(1).ilog2());
        Duration::from_millis((least + self.below(top.max(least) - least + 1)).into())
    }

    /// A moment before `end`, but not in the first tenth of a second.
    fn moment(&mut self, end: Duration) -> Duration {
        let end = u32::try_from(end.as_millis()).unwrap_or(u32::MAX);
        Duration::from_millis((100 + self.below(end.saturating_sub(200))).into())
    }

    fn member(&mut self, members: u8) -> MemberId {
        MemberId(u64::from(1 + self.below(members.into())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_generated_survives_the_way_through_a_file() {
        for seed in 0..200 {
            let scenario = generate(seed);
            let text = scenario.to_toml();
            let again = Scenario::parse(format!("{}.toml", scenario.name), &text);
            assert_eq!(again.unwrap_or_else(|error| panic!("{error}\n{text}")), scenario);
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
                    seen.insert(fault.name());
                }
            }
        }
        assert_eq!(members, BTreeSet::from([1, 2, 3, 4, 5]));
        for kind in Kind::ALL.map(Kind::name).into_iter().chain(["elect", "heal", "restart"]) {
            assert!(seen.contains(kind), "{kind} is not in {seen:?}");
        }
    }

    #[test]
    fn a_part_draws_from_a_stream_of_its_own() {
        let mut one = Draw::stream(7, "sizes");
        let first = one.0.next_u64();
        let mut other = Draw::stream(7, "herds");
        other.0.next_u64();
        assert_eq!(Draw::stream(7, "sizes").0.next_u64(), first);
        assert_ne!(Draw::stream(7, "herds").0.next_u64(), first);
    }
}
