//! The small choices that a case is made of. Few ids and items, so that much happens to each; times
//! and ttls of every order of magnitude.

use std::num::NonZeroU32;
use std::time::Duration;

use arbitrary::Arbitrary;
use lessor::{Checkpoint, Command, Config, Instant, Item, LeaseId, Ttl};

/// The settings of a lessor.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Settings {
    rate: u8,
    retry: u8,
    interval: u8,
    patience: u8,
    piece: u8,
}

impl Settings {
    pub(crate) fn config(self) -> Config {
        let millis = |table: &[u64], position| match pick(table, position) {
            u64::MAX => Duration::MAX,
            millis => Duration::from_millis(millis),
        };
        Config::default()
            .with_revoke_rate(NonZeroU32::new(pick(&[1, 2, 3, 10, 1_000], self.rate)).unwrap())
            .with_retry_interval(millis(&[3_000, 0, 1, 200, 700], self.retry))
            .with_checkpoint_interval(millis(&[u64::MAX, 0, 50, 1_000, 4_000], self.interval))
            .with_request_timeout(millis(&[7_000, 0, 300, u64::MAX], self.patience))
            .with_piece(NonZeroU32::new(pick(&[10_000, 1, 2, 4], self.piece)).unwrap())
    }
}

/// How the host's clock moves before a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Pass {
    Stay,
    Nanos(u8),
    Millis(u16),
    Secs(u16),
    Years(u8),
    BackMillis(u16),
    /// To the moment that was asked for, or a nanosecond before it.
    ToTimeout,
    AlmostToTimeout,
}

impl Pass {
    pub(crate) fn from(self, clock: Instant, timeout: Option<Instant>) -> Instant {
        let ahead = |span| clock.saturating_add(span);
        let back =
            |from: Instant, nanos| Instant::from_nanos(from.as_nanos().saturating_sub(nanos));
        let timeout = timeout.unwrap_or(clock);
        match self {
            Self::Stay => clock,
            Self::Nanos(nanos) => ahead(Duration::from_nanos(nanos.into())),
            Self::Millis(millis) => ahead(Duration::from_millis(millis.into())),
            Self::Secs(secs) => ahead(Duration::from_secs(secs.into())),
            Self::Years(years) => ahead(Duration::from_secs(u64::from(years) * 31_557_600)),
            Self::BackMillis(millis) => back(clock, u64::from(millis) * 1_000_000),
            Self::ToTimeout => timeout.max(clock),
            Self::AlmostToTimeout => back(timeout, 1).max(clock),
        }
    }
}

/// One of twelve ids.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Id(u8);

impl Id {
    const IDS: [i64; 12] = [1, 2, 3, i64::MIN, -2, -1, 4, 5, 6, 7, 1 << 40, i64::MAX];

    pub(crate) fn lease(self) -> LeaseId {
        LeaseId::new(pick(&Self::IDS, self.0)).expect("none of them is 0")
    }

    pub(crate) fn all() -> impl Iterator<Item = LeaseId> {
        Self::IDS.into_iter().filter_map(LeaseId::new)
    }
}

/// Some of six items, one bit each; two more bits say whether they come twice, and in which order.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Items(u8);

impl Items {
    pub(crate) fn keys(self) -> Vec<Item> {
        const KEYS: [&str; 6] = ["a", "b", "", "c", "eight888", "longer than eight bytes"];
        let chosen = KEYS.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        let mut keys: Vec<Item> = chosen.map(|(_, key)| Item::from(*key)).collect();
        if self.0 & 0x40 != 0 {
            keys.extend_from_within(..);
        }
        if self.0 & 0x80 != 0 {
            keys.reverse();
        }
        keys
    }

    /// One of the items.
    pub(crate) fn one(self) -> Item {
        self.keys().pop().unwrap_or_else(|| Item::from("nobody's"))
    }
}

/// A ttl, most often of milliseconds or seconds.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Span {
    Millis(u16),
    Secs(u16),
    Max,
    TooLarge,
    Millions(u64),
}

impl Span {
    pub(crate) fn ttl(self) -> Ttl {
        match self {
            Self::Millis(millis) => Ttl::from_millis(millis.into()),
            Self::Secs(secs) => Ttl::from_secs(secs.into()),
            Self::Max => Ttl::MAX,
            Self::TooLarge => Ttl::from_millis(Ttl::MAX.as_millis() + 1),
            Self::Millions(millis) => Ttl::from_millis(millis),
        }
    }
}

/// A command of the log.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Order {
    Grant(Id, Span),
    Revoke(Id),
    Attach(Id, Items),
    Detach(Id, Items),
    Claim(Id, Items),
    Checkpoint(Id, Option<Span>),
}

impl Order {
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Grant(id, span) => Command::Grant { id: id.lease(), ttl: span.ttl() },
            Self::Revoke(id) => Command::Revoke { id: id.lease() },
            Self::Attach(id, items) => Command::Attach { id: id.lease(), items: items.keys() },
            Self::Detach(id, items) => Command::Detach { id: id.lease(), items: items.keys() },
            Self::Claim(id, items) => Command::Claim { id: id.lease(), items: items.keys() },
            Self::Checkpoint(id, left) => {
                let (id, remaining) = (id.lease(), left.map(Span::ttl));
                Command::Checkpoint { checkpoints: vec![Checkpoint { id, remaining }] }
            }
        }
    }
}

fn pick<T: Copy>(table: &[T], position: u8) -> T {
    table[usize::from(position) % table.len()]
}
