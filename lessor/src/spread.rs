//! Smoothing of a pile-up: after a promotion every lease was extended from one moment, and those
//! that would expire together are spread so that no second holds more than the target.
//!
//! With leases in the order of their due times `D` and `target` of them a second, those after it are
//!
//! ```text
//! D'[i] = D[i]                                for i < target
//!         max(D[i], D'[i - target] + 1 s)     else
//! ```
//!
//! So a lease is never due earlier and any second holds at most `target`. The order is kept, because
//! both sides of the maximum rise with `i`.
//!
//! No lease could be due sooner. Whatever keeps the order, is never early and holds at most `target` in
//! a second must put lease `i` at `D[i]` or later, and a second or more behind lease `i - target`, for
//! else `target` + 1 of them were within one second; by induction over `i` it is at `D'[i]` or later. In
//! particular, leases could not also keep a distance of 1/`target` for nothing: 800 that come due each
//! second, at a target of 750, would be 5 s late after a minute instead of 4.
//!
//! etcd: `lessor.Promote`, which counts in windows that can overlap and so may put more than its rate
//! into one second.

use alloc::vec;
use core::time::Duration;

use crate::Instant;

/// A lease that is due, for the spreading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    /// When it is due; afterwards when it is due at the target rate.
    pub(crate) at: Instant,
    /// Its id with the sign bit turned, so that unsigned order is the order of ids.
    pub(crate) rank: u64,
    /// Its row in the table.
    pub(crate) slot: u32,
}

/// Sorts by (due time, id) and delays what piles up, in time linear in the number of leases.
pub(crate) fn spread(dues: &mut [Due], target: usize) {
    assert!(target > 0, "a rate is positive");
    sort(dues);
    for i in target..dues.len() {
        dues[i].at = dues[i].at.max(dues[i - target].at.saturating_add(SECOND));
    }
}

/// Sorts by due time, equal ones by id: radix sorts, because the number of leases may be millions.
fn sort(dues: &mut [Due]) {
    let mut scratch = vec![Due { at: Instant::ZERO, rank: 0, slot: 0 }; dues.len()];
    radix_sort(dues, &mut scratch, |due| due.at.as_nanos());
    for run in dues.chunk_by_mut(|a, b| a.at == b.at) {
        if run.len() < 1_024 {
            run.sort_unstable_by_key(|due| due.rank);
        } else {
            radix_sort(run, &mut scratch[..run.len()], |due| due.rank);
        }
    }
}

/// A stable sort by a key of 64 bits, byte by byte from the lowest, without the bytes that all share.
fn radix_sort(dues: &mut [Due], scratch: &mut [Due], key: impl Fn(&Due) -> u64) {
    let Some(first) = dues.first().map(&key) else { return };
    let differ = dues.iter().fold(0, |bits, due| bits | (key(due) ^ first));
    for shift in (0..64).step_by(8) {
        if (differ >> shift) & 0xff == 0 {
            continue;
        }
        let digit = |due: &Due| ((key(due) >> shift) & 0xff) as usize;
        let mut starts = [0_usize; 256];
        for due in dues.iter() {
            starts[digit(due)] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += core::mem::replace(start, sum);
        }
        for due in dues.iter() {
            let start = &mut starts[digit(due)];
            scratch[*start] = *due;
            *start += 1;
        }
        dues.copy_from_slice(scratch);
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(47),
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_linear_sort_is_the_sort_of_the_standard_library(
            keys in keys(any_time()),
        ) {
            let mut found = dues(&keys);
            sort(&mut found);
            prop_assert_eq!(found, sorted(&keys));
        }

        #[test]
        fn nothing_comes_earlier_or_overtakes_and_no_second_holds_more_than_the_target(
            keys in keys(piled_time()),
            target in 1_usize..40,
        ) {
            let before = sorted(&keys);
            let mut after = dues(&keys);
            spread(&mut after, target);
            let slots = |dues: &[Due]| dues.iter().map(|due| due.slot).collect::<Vec<_>>();
            prop_assert_eq!(slots(&after), slots(&before), "the order is kept");
            prop_assert!(after.is_sorted_by_key(|due| due.at));
            let most = SECOND * u32::try_from(keys.len().saturating_sub(1) / target).unwrap();
            for (due, was) in after.iter().zip(&before) {
                prop_assert!(due.at >= was.at, "{due:?} was due at {}", was.at);
                prop_assert!(due.at <= was.at.saturating_add(most), "{due:?} was at {}", was.at);
            }
            for pair in after.windows(target + 1) {
                let full = pair[0].at.saturating_add(SECOND);
                prop_assert!(pair[target].at >= full, "too many from {} on", pair[0].at);
            }
            let stays = target.min(keys.len());
            prop_assert_eq!(&after[..stays], &before[..stays]);
        }

        #[test]
        fn no_lease_could_be_due_sooner(
            mut ticks in vec(0_usize..5, 0..6),
            target in 1_usize..4,
        ) {
            let tick = |tick: usize| tick as u64 * 1_000_000_000 / TICKS_A_SECOND as u64;
            ticks.sort_unstable();
            let keys: Vec<_> = (0..).zip(&ticks).map(|(rank, at)| (tick(*at), rank)).collect();
            let mut found = dues(&keys);
            spread(&mut found, target);
            let soonest = soonest(&ticks, target);
            let expected = soonest.iter().map(|at| Instant::from_nanos(tick(*at)));
            prop_assert!(found.iter().map(|due| due.at).eq(expected), "{found:?}, not {soonest:?}");
        }

        #[test]
        fn what_is_below_the_target_already_stays(
            gaps in vec(0_u64..1_000, 0..100),
            target in 1_usize..10,
        ) {
            let mut at = 0;
            let keys: Vec<_> = (0..).zip(gaps).map(|(rank, gap)| {
                at += 1_000_000_000 / target as u64 + 1 + gap;
                (at, rank)
            }).collect();
            let mut after = dues(&keys);
            spread(&mut after, target);
            prop_assert_eq!(after, sorted(&keys));
        }
    }

    /// So long a run of equal due times that the ids are sorted by radix as well.
    #[test]
    fn thousands_that_are_due_together_come_in_the_order_of_their_ids() {
        let ids = (0..5_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let keys: Vec<_> = ids.map(|id| (7, id)).collect();
        let mut found = dues(&keys);
        sort(&mut found);
        assert_eq!(found, sorted(&keys));
    }

    /// Issue 14: with a distance of 1/750 s between those that are delayed it was 4.999 s.
    #[test]
    fn eight_hundred_a_second_at_a_rate_of_a_thousand_are_four_seconds_late_after_a_minute() {
        let keys: Vec<_> = (0..48_000).map(|n| (n / 800 * 1_000_000_000, n)).collect();
        let mut found = dues(&keys);
        spread(&mut found, 750);
        let late = found.iter().zip(&keys).map(|(due, (at, _))| due.at - Instant::from_nanos(*at));
        assert_eq!(late.max(), Some(Duration::from_secs(4)));
    }

    #[test]
    fn the_end_of_time_is_not_passed() {
        let mut found = dues(&[(u64::MAX, 2), (u64::MAX - 1, 1), (u64::MAX, 3)]);
        spread(&mut found, 1);
        assert_eq!(found[0].at, Instant::from_nanos(u64::MAX - 1));
        assert!(found[1..].iter().all(|due| due.at == Instant::MAX));
    }

    /// By trying all: the soonest that each lease could be due in any schedule of whole ticks that is
    /// never early, keeps the order and holds no more than `target` in any second.
    fn soonest(ticks: &[usize], target: usize) -> Vec<usize> {
        let mut best = vec![usize::MAX; ticks.len()];
        try_all(ticks, target, &mut Vec::new(), &mut best);
        best
    }

    fn try_all(ticks: &[usize], target: usize, so_far: &mut Vec<usize>, best: &mut Vec<usize>) {
        let Some(due) = ticks.get(so_far.len()) else {
            for (best, at) in best.iter_mut().zip(so_far) {
                *best = *at.min(best);
            }
            return;
        };
        let latest = ticks[ticks.len() - 1] + ticks.len() * TICKS_A_SECOND;
        for at in so_far.last().unwrap_or(due).max(due).to_owned()..=latest {
            let within = so_far.iter().filter(|earlier| *earlier + TICKS_A_SECOND > at).count();
            if within < target {
                so_far.push(at);
                try_all(ticks, target, so_far, best);
                so_far.pop();
            }
        }
    }

    const TICKS_A_SECOND: usize = 3;

    /// Times and ranks, which are those of ids and so differ, in any order.
    fn keys(time: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<(u64, u64)>> {
        btree_map(prop_oneof![0_u64..500, any::<u64>()], time, 0..300)
            .prop_map(|keys| keys.into_iter().map(|(rank, at)| (at, rank)).collect::<Vec<_>>())
            .prop_shuffle()
    }

    fn any_time() -> impl Strategy<Value = u64> {
        prop_oneof![4 => piled_time(), 1 => any::<u64>(), 1 => Just(u64::MAX)]
    }

    /// A few moments that many share, or any within some seconds.
    fn piled_time() -> impl Strategy<Value = u64> {
        prop_oneof![(0_u64..4).prop_map(|second| second * 1_000_000_000), 0_u64..9_000_000_000]
    }

    fn dues(keys: &[(u64, u64)]) -> Vec<Due> {
        let due = |(slot, &(at, rank))| Due { at: Instant::from_nanos(at), rank, slot };
        (0..).zip(keys).map(due).collect()
    }

    fn sorted(keys: &[(u64, u64)]) -> Vec<Due> {
        let mut dues = dues(keys);
        dues.sort_by_key(|due| (due.at, due.rank));
        dues
    }
}
