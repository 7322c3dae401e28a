//! Smoothing of a pile-up: after a promotion every lease was extended from one moment, and those
//! that would expire together are spread so that no second holds more than the target.
//!
//! With leases in the order of their due times and `target` of them a second, a lease stays where it
//! is unless the `target`-th before it is less than a second away; then it comes a second after that
//! one, and no closer than 1/`target` of a second behind the one before it. So a lease is never due
//! earlier, the order is kept, and any second holds at most `target`. etcd: `lessor.Promote`, which
//! counts in windows that can overlap and so may put more than its rate into one second.

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
    /// Its place in the table.
    pub(crate) slot: u32,
}

/// Sorts by (due time, id) and delays what piles up, in time linear in the number of leases.
pub(crate) fn spread(dues: &mut [Due], target: usize) {
    assert!(target > 0, "a rate is positive");
    sort(dues);
    let step = SECOND / u32::try_from(target).unwrap_or(u32::MAX);
    for i in target..dues.len() {
        let full = dues[i - target].at.saturating_add(SECOND);
        let before = dues[i - 1].at;
        dues[i].at = if dues[i].at < full {
            full.max(before.saturating_add(step))
        } else {
            dues[i].at.max(before)
        };
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
