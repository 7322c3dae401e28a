//! Laws of what expires when: smoothing only delays, and ids decide nothing but ties.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{
    Command, Config, Effect, Instant, LeaseId, LeaseOrder, LeaseRecord, Lessor, Snapshot, Ttl,
};
use quickcheck::{Arbitrary, Gen};

use super::any::{Any, Draw, HOSTILE_IDS, any, below, few, pick};
use super::{Outcome, ensure, equal, holds, refuted};

#[test]
fn a_promotion_spreads_a_pileup_by_delays_that_keep_the_order() {
    holds(CASES, |pile| smoothing(promoted, pile));
}

#[test]
fn a_smoothing_that_hurries_overtakes_or_leaves_a_full_second_is_refuted() {
    let full = "are due in the second from";
    refuted(CASES, full, |pile| smoothing(as_they_pile_up, pile));
    refuted(CASES, full, |pile| smoothing(second_by_second, pile));
    refuted(CASES, "is due earlier", |pile| smoothing(a_moment_early, pile));
    refuted(CASES, "is overtaken", |pile| smoothing(last_ones_first, pile));
    refuted(CASES, "is delayed by more", |pile| smoothing(one_a_second, pile));
    refuted(CASES, "is delayed by more", |pile| smoothing(at_a_distance, pile));
}

#[test]
fn leases_expire_by_deadline_and_then_by_id() {
    holds(CASES, |grants| order(granted, grants));
}

#[test]
fn the_order_in_which_leases_came_decides_nothing() {
    holds(CASES, |grants| arrival(granted, grants));
    holds(CASES, |grants| arrival(recovered, grants));
}

#[test]
fn an_order_by_arrival_or_of_unsigned_ids_is_refuted() {
    let order_differs = "another order of expiry";
    refuted(CASES, order_differs, |grants| order(ties_by_arrival, grants));
    refuted(CASES, order_differs, |grants| order(ties_by_unsigned_id, grants));
    refuted(CASES, order_differs, |grants| order(ties_by_low_bits, grants));
    refuted(CASES, "it matters who came first", |grants| arrival(ties_by_arrival, grants));
}

// Smoothing

/// Leases that a promotion finds, with what was left of each at its last checkpoint.
#[derive(Clone, Debug)]
struct Pile {
    rate: NonZeroU32,
    now: Instant,
    extend: Duration,
    leases: BTreeMap<LeaseId, Ttl>,
}

impl Arbitrary for Pile {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut ids: Vec<LeaseId> = few(g);
        ids.extend((0..below(g, 60)).filter_map(|_| LeaseId::new(i64::arbitrary(g))));
        // A few moments that many share, or any within some seconds.
        let ttl = |g: &mut Gen| match below(g, 3) {
            0 => Ttl::from_millis(1 + below(g, 6_000)),
            _ => Ttl::from_secs(1 + below(g, 3)),
        };
        Self {
            rate: NonZeroU32::new(pick(g, &RATES)).expect("it is not zero"),
            now: Instant::from_nanos(below(g, 1 << 40)),
            extend: Duration::from_millis(pick(g, &[0, 1, 1_000])),
            leases: ids.into_iter().map(|id| (id, ttl(g))).collect(),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let pile = self.clone();
        let ids: Vec<(LeaseId, Ttl)> = self.leases.clone().into_iter().collect();
        Box::new(
            ids.smaller()
                .map(move |ids| Self { leases: ids.into_iter().collect(), ..pile.clone() }),
        )
    }
}

/// When each lease of the pile is due.
type Dues = BTreeMap<LeaseId, Instant>;

fn smoothing(smooth: fn(&Pile) -> Dues, pile: &Pile) -> Outcome {
    let (before, after) = (as_they_pile_up(pile), smooth(pile));
    let mut in_order: Vec<(Instant, LeaseId)> = before.iter().map(|(id, at)| (*at, *id)).collect();
    in_order.sort_unstable();
    let rate = pile.rate.get() as usize;
    for (at, id) in &in_order {
        let smoothed = after[id];
        ensure(smoothed >= *at, || format!("{id} is due earlier, at {smoothed} and not {at}"))?;
    }
    let smoothed: Vec<Instant> = in_order.iter().map(|(_, id)| after[id]).collect();
    for (pair, (_, id)) in smoothed.windows(2).zip(&in_order) {
        ensure(pair[0] <= pair[1], || format!("{id} is overtaken: {smoothed:?}"))?;
    }
    let room = if before.len() < rate { rate } else { target(rate) as usize };
    for (position, from) in smoothed.iter().enumerate() {
        let end = from.saturating_add(SECOND);
        let many = smoothed[position..].iter().take_while(|at| **at < end).count();
        ensure(many <= room, || format!("{many} are due in the second from {from}"))?;
    }
    for (position, (at, id)) in in_order.iter().enumerate() {
        let full = position.checked_sub(room).map(|before| smoothed[before].saturating_add(SECOND));
        let soonest = full.max(Some(*at));
        ensure(soonest == Some(smoothed[position]), || format!("{id} is delayed by more: {at}"))?;
    }
    Ok(())
}

/// Three quarters of the rate, so that a pile does not use all of it.
fn target(rate: usize) -> u32 {
    u32::try_from(3 * rate / 4).expect("a small rate").max(1)
}

fn promoted(pile: &Pile) -> Dues {
    dues(pile, pile.rate)
}

fn dues(pile: &Pile, revoke_rate: NonZeroU32) -> Dues {
    let record = |(id, left): (&LeaseId, &Ttl)| LeaseRecord {
        id: *id,
        ttl: Ttl::from_secs(60),
        remaining: Some(*left),
    };
    let leases = pile.leases.iter().map(record).collect();
    let mut lessor = Lessor::new(&Config::default().with_revoke_rate(revoke_rate));
    lessor.recover(pile.now, &Snapshot { leases, items: Vec::new() }).expect("ids differ");
    lessor.promote(pile.now, pile.extend);
    let due = |lease: lessor::Lease| (lease.record.id, lease.expiry.expect("it is primary"));
    lessor.leases(LeaseOrder::Expiry, None, usize::MAX).into_iter().map(due).collect()
}

// What the law of smoothing refutes; the first is what it starts from

fn as_they_pile_up(pile: &Pile) -> Dues {
    dues(pile, NonZeroU32::MAX)
}

/// As etcd counts: no second of those that it looks at is too full, but two halves may be.
fn second_by_second(pile: &Pile) -> Dues {
    let mut in_order: Vec<_> = as_they_pile_up(pile).into_iter().collect();
    in_order.sort_unstable_by_key(|(id, at)| (*at, *id));
    let (mut second, mut many) = (0, 0);
    let most = target(pile.rate.get() as usize);
    for (_, at) in &mut in_order {
        let own = at.as_nanos() / 1_000_000_000;
        if own > second {
            (second, many) = (own, 0);
        }
        if many == most {
            (second, many) = (second + 1, 0);
        }
        many += 1;
        *at = (*at).max(Instant::from_secs(second));
    }
    in_order.into_iter().collect()
}

fn a_moment_early(pile: &Pile) -> Dues {
    let earlier = |at: Instant| Instant::from_nanos(at.as_nanos() - 1);
    promoted(pile).into_iter().map(|(id, at)| (id, earlier(at))).collect()
}

/// Of those that pile up at one moment.
fn last_ones_first(pile: &Pile) -> Dues {
    let mut smoothed = promoted(pile);
    let mut piles: BTreeMap<Instant, Vec<LeaseId>> = BTreeMap::new();
    for (id, at) in as_they_pile_up(pile) {
        piles.entry(at).or_default().push(id);
    }
    for ids in piles.into_values() {
        let dues: Vec<Instant> = ids.iter().map(|id| smoothed[id]).collect();
        smoothed.extend(ids.into_iter().zip(dues.into_iter().rev()));
    }
    smoothed
}

/// As it once was: those that are delayed also keep a distance, which costs all of them up to a second.
fn at_a_distance(pile: &Pile) -> Dues {
    let mut in_order: Vec<_> = as_they_pile_up(pile).into_iter().collect();
    in_order.sort_unstable_by_key(|(id, at)| (*at, *id));
    let most = target(pile.rate.get() as usize);
    for position in most as usize..in_order.len() {
        let full = in_order[position - most as usize].1.saturating_add(SECOND);
        let before = in_order[position - 1].1;
        let at = &mut in_order[position].1;
        *at = if *at < full { full.max(before + SECOND / most) } else { before.max(*at) };
    }
    in_order.into_iter().collect()
}

fn one_a_second(pile: &Pile) -> Dues {
    dues(pile, NonZeroU32::MIN)
}

// Ids

/// Leases in the order in which they come, granted among others that are revoked again.
#[derive(Clone, Debug)]
struct Grants {
    leases: Vec<(LeaseId, Ttl)>,
    revoked: Vec<LeaseId>,
    rate: NonZeroU32,
    hash_key: u128,
}

impl Arbitrary for Grants {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut ids: Vec<LeaseId> = any(g);
        ids.extend(HOSTILE_IDS.into_iter().filter_map(LeaseId::new));
        let ttl = |g: &mut Gen| Ttl::from_secs(1 + below(g, 4));
        let leases: BTreeMap<_, _> = ids.into_iter().map(|id| (id, ttl(g))).collect();
        let mut leases: Vec<_> = leases.into_iter().collect();
        leases.sort_by_cached_key(|_| u64::arbitrary(g));
        Self {
            leases,
            revoked: any(g),
            rate: NonZeroU32::new(pick(g, &RATES)).expect("it is not zero"),
            hash_key: u128::arbitrary(g),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let grants = self.clone();
        let lists = (Any(self.leases.clone()), Any(self.revoked.clone())).shrink();
        Box::new(lists.map(move |(leases, revoked)| Self {
            leases: leases.0,
            revoked: revoked.0,
            ..grants.clone()
        }))
    }
}

fn order(expire: fn(&Grants) -> Vec<LeaseId>, grants: &Grants) -> Outcome {
    let mut in_order: Vec<(Ttl, LeaseId)> =
        grants.leases.iter().map(|(id, ttl)| (*ttl, *id)).collect();
    in_order.sort_unstable();
    let in_order: Vec<LeaseId> = in_order.into_iter().map(|(_, id)| id).collect();
    equal(&expire(grants), &in_order, "another order of expiry")
}

fn arrival(expire: fn(&Grants) -> Vec<LeaseId>, grants: &Grants) -> Outcome {
    let mut sorted = grants.clone();
    sorted.leases.sort_unstable();
    sorted.hash_key = 0;
    equal(&expire(grants), &expire(&sorted), "it matters who came first")
}

/// Those that are revoked again leave holes, into which the last rows of the table move.
fn granted(grants: &Grants) -> Vec<LeaseId> {
    let mut lessor = lessor_for(grants);
    lessor.promote(Instant::ZERO, Duration::ZERO);
    let is_granted = |id: &LeaseId| grants.leases.iter().any(|(other, _)| other == id);
    let revoked: BTreeSet<LeaseId> = grants.revoked.iter().copied().collect();
    let revoked: Vec<LeaseId> = revoked.into_iter().filter(|id| !is_granted(id)).collect();
    let others = revoked.iter().map(|id| (*id, Ttl::MIN));
    for (id, ttl) in others.chain(grants.leases.iter().copied()) {
        lessor.apply(Instant::ZERO, Command::Grant { id, ttl }).expect("ids differ");
    }
    for id in revoked {
        lessor.apply(Instant::ZERO, Command::Revoke { id }).expect("it was granted");
    }
    expired(lessor)
}

/// Here smoothing decides on the deadlines.
fn recovered(grants: &Grants) -> Vec<LeaseId> {
    let record = |(id, ttl): &(LeaseId, Ttl)| LeaseRecord { id: *id, ttl: *ttl, remaining: None };
    let leases = grants.leases.iter().map(record).collect();
    let mut lessor = lessor_for(grants);
    let snapshot = Snapshot { leases, items: Vec::new() };
    lessor.recover(Instant::ZERO, &snapshot).expect("ids differ");
    lessor.promote(Instant::ZERO, Duration::ZERO);
    expired(lessor)
}

fn lessor_for(grants: &Grants) -> Lessor {
    Lessor::new(
        &Config::default()
            .with_revoke_rate(grants.rate)
            // What has expired does not come again.
            .with_retry_interval(Duration::MAX)
            .with_hash_key(grants.hash_key),
    )
}

/// Everything that leaves, in order.
fn expired(mut lessor: Lessor) -> Vec<LeaseId> {
    let mut leases = Vec::new();
    while leases.len() < lessor.len() {
        let next = lessor.poll_timeout().expect("something has yet to expire");
        lessor.handle_timeout(next);
        for effect in std::iter::from_fn(|| lessor.poll_effect()) {
            if let Effect::Expired(batch) = effect {
                leases.extend(batch.leases);
            }
        }
    }
    leases
}

// What the law of their order refutes

fn ties_by_arrival(grants: &Grants) -> Vec<LeaseId> {
    let mut leases = grants.leases.clone();
    leases.sort_by_key(|(_, ttl)| *ttl);
    leases.into_iter().map(|(id, _)| id).collect()
}

fn ties_by_unsigned_id(grants: &Grants) -> Vec<LeaseId> {
    by_rank(grants, |id| id.get().cast_unsigned())
}

fn ties_by_low_bits(grants: &Grants) -> Vec<LeaseId> {
    by_rank(grants, |id| id.get().cast_unsigned() & 0xffff_ffff)
}

fn by_rank(grants: &Grants, rank: fn(LeaseId) -> u64) -> Vec<LeaseId> {
    let mut leases = grants.leases.clone();
    leases.sort_by_key(|(id, ttl)| (*ttl, rank(*id)));
    leases.into_iter().map(|(id, _)| id).collect()
}

const SECOND: Duration = Duration::from_secs(1);
const RATES: [u32; 6] = [1, 2, 3, 4, 10, 40];
const CASES: usize = 3_000;
