//! The hot paths of the core, each with the effects drained as a host would, on so many leases.
//!
//! What is counted is what happens within [`Count::measure`]; making the leases is not. All is a function
//! of the number of leases: two runs of one build have the same count.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{
    Command, Config, Effect, Instant, Item, LeaseId, LeaseRecord, Lessor, Snapshot, Ticket, Ttl,
};

/// Whoever counts the instructions of a path.
pub(crate) trait Count {
    /// Does the work once, which is so many operations.
    fn measure(&mut self, path: &'static str, operations: u64, work: &mut dyn FnMut());
}

/// All paths with so many leases; for the guard's canary with a renew that looks its lease up twice.
pub(crate) fn run(leases: u64, slow_renew: bool, count: &mut dyn Count) {
    from_grant_to_revoke(leases, slow_renew, count);
    checkpoint(leases, count);
    let mut lessor = from_recover_to_demote(leases, count);
    // The last, because the boxes that it leaves behind make the allocator search in what would follow.
    attach_and_detach(&mut lessor, leases, count);
}

/// A primary from its first lease to none, with deadlines that a renew has moved, and that all come at once.
fn from_grant_to_revoke(leases: u64, slow_renew: bool, count: &mut dyn Count) {
    let mut lessor = Lessor::new(&any_rate());
    lessor.promote(NOW, Duration::ZERO);
    count.measure("grant", leases, &mut || {
        for number in 0..leases {
            apply(&mut lessor, NOW, Command::Grant { id: id(number), ttl: TTL });
        }
    });
    count.measure("nothing-due", FEW, &mut || {
        for _ in 0..FEW {
            black_box(lessor.poll_timeout());
            lessor.handle_timeout(NOW);
            drain(&mut lessor);
        }
    });
    let ids = in_no_order(leases);
    let later = NOW.saturating_add(TTL.as_duration() / 2);
    count.measure("renew", leases, &mut || {
        for id in &ids {
            if slow_renew {
                black_box(lessor.lookup(*id));
            }
            lessor.renew(later, Ticket(0), *id);
            drain(&mut lessor);
        }
    });
    let end = later.saturating_add(TTL.as_duration());
    let mut expired = 0;
    count.measure("expire", leases, &mut || {
        lessor.handle_timeout(end);
        while let Some(effect) = lessor.poll_effect() {
            if let Effect::Expired(batch) = effect {
                expired += batch.leases.len() as u64;
            }
        }
    });
    assert!(expired == leases, "{expired} of {leases} leases have expired");
    count.measure("revoke", leases, &mut || {
        for id in &ids {
            apply(&mut lessor, end, Command::Revoke { id: *id });
        }
    });
    assert!(lessor.is_empty(), "all are revoked");
}

/// Checkpoints of all leases, proposed and applied.
fn checkpoint(leases: u64, count: &mut dyn Count) {
    let mut lessor = Lessor::new(&any_rate());
    lessor.recover(NOW, &snapshot_of(leases, |_| Ttl::from_secs(600))).expect("it is sound");
    lessor.promote(NOW, Duration::ZERO);
    let (mut now, mut done) = (NOW.saturating_add(Config::default().checkpoint_interval), 0);
    count.measure("checkpoint", leases, &mut || {
        for _ in 0..=leases / A_HALF_SECOND {
            lessor.handle_timeout(now);
            let effects: Vec<_> = std::iter::from_fn(|| lessor.poll_effect()).collect();
            for effect in effects {
                let Effect::Checkpoint(checkpoints) = effect else { continue };
                done += checkpoints.len() as u64;
                apply(&mut lessor, now, Command::Checkpoint { checkpoints });
            }
            now = now.saturating_add(Duration::from_millis(500));
        }
    });
    assert!(done == leases, "{done} of {leases} leases had a checkpoint");
}

/// A new primary, whose leases are due in the order of their ttls; and another one with so many that are
/// due at once that they are spread.
fn from_recover_to_demote(leases: u64, count: &mut dyn Count) -> Lessor {
    let snapshot = snapshot_of(leases, |number| Ttl::from_millis(60_000 + 2 * number));
    let mut lessor = Lessor::new(&Config::default());
    count.measure("recover", leases, &mut || {
        lessor.recover(NOW, &snapshot).expect("it is sound");
    });
    count.measure("promote", leases, &mut || lessor.promote(NOW, EXTEND));
    count.measure("demote", leases, &mut || lessor.demote(NOW));
    lessor.recover(NOW, &snapshot_of(leases, |_| TTL)).expect("it is sound");
    count.measure("promote-piled-up", leases, &mut || lessor.promote(NOW, EXTEND));
    lessor
}

/// An item for each lease, or for each of many of them, attached and then detached in no order.
fn attach_and_detach(lessor: &mut Lessor, leases: u64, count: &mut dyn Count) {
    let commands = |make: fn(LeaseId, Vec<Item>) -> Command| {
        let command = |id: LeaseId| make(id, vec![Item::new(id.get().to_be_bytes())]);
        in_no_order(leases).into_iter().take(MANY).map(command).collect::<Vec<_>>()
    };
    let attach = commands(|id, items| Command::Attach { id, items });
    let detach = commands(|id, items| Command::Detach { id, items });
    let (operations, mut commands) = (attach.len() as u64, attach.into_iter().chain(detach));
    count.measure("attach-and-detach", operations, &mut || {
        for command in commands.by_ref() {
            apply(lessor, NOW, command);
        }
    });
}

fn any_rate() -> Config {
    Config::default().with_revoke_rate(NonZeroU32::MAX)
}

fn apply(lessor: &mut Lessor, now: Instant, command: Command) {
    lessor.apply(now, command).expect("it is sound");
    drain(lessor);
}

fn drain(lessor: &mut Lessor) {
    while let Some(effect) = lessor.poll_effect() {
        black_box(effect);
    }
}

fn snapshot_of(leases: u64, ttl: impl Fn(u64) -> Ttl) -> Snapshot {
    let record = |number| LeaseRecord { id: id(number), ttl: ttl(number), remaining: None };
    Snapshot { leases: (0..leases).map(record).collect(), items: Vec::new() }
}

/// The ids of all leases, in another order than that of their grants.
fn in_no_order(leases: u64) -> Vec<LeaseId> {
    (0..leases).map(|number| id(number * 7_368_787 % leases)).collect()
}

/// Ids that differ in any of their bits; none is 0.
fn id(number: u64) -> LeaseId {
    let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
    LeaseId::new(id.cast_signed()).expect("its highest bit is set")
}

const FEW: u64 = 1_000;
/// Items are dear to emulate, and their path is long enough with so many.
const MANY: usize = 100_000;
/// As many checkpoints leave in half a second.
const A_HALF_SECOND: u64 = 500_000;
const NOW: Instant = Instant::from_secs(1);
const TTL: Ttl = Ttl::from_secs(60);
const EXTEND: Duration = Duration::from_secs(1);
