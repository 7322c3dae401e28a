//! The settings of a lease engine: plain values, with etcd's as the defaults.

use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::Ttl;

/// The settings of a lease engine.
///
/// Nothing that is replicated depends on them, so members may differ.
///
/// Settings may be added in any release. So it is made from the [default](Self::default), by methods or
/// by its fields, and not by a literal:
///
/// ```
/// use std::time::Duration;
///
/// use lessor::{Config, Ttl};
///
/// let config = Config::default().with_min_ttl(Ttl::from_secs(5)).with_extend(Duration::ZERO);
/// assert_eq!(config.retry_interval, Duration::from_secs(3));
/// ```
///
/// With the feature `serde` it reads and writes as a map of its fields, of which any may be left out and
/// no other is taken. Times are whole milliseconds, of which the largest number is [`Duration::MAX`];
/// what is finer is rounded up. As JSON:
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), serde_json::Error> {
/// let config: lessor::Config = serde_json::from_str(r#"{ "min_ttl": 5000, "revoke_rate": 200 }"#)?;
/// assert_eq!(config.min_ttl, lessor::Ttl::from_secs(5));
/// assert_eq!(config.queue, lessor::Config::default().queue);
/// # Ok(()) }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Config {
    /// What a shorter ttl is raised to where a grant is *proposed*, by [`Member`](crate::Member).
    /// The lessor itself never raises one, or members with different settings would part.
    ///
    /// Up to [`Ttl::MAX`]; opening a driver with more is refused, or every grant would be.
    ///
    /// Default 2 s (etcd: `minTTL`, from 10 election ticks of 100 ms; rounded up from 1.5 s).
    pub min_ttl: Ttl,
    /// The most expired leases that leave the lessor in any second: half of it in any half second.
    /// A rate of 1 is one a second.
    ///
    /// Default 1000 a second (etcd: `defaultLeaseRevokeRate`).
    pub revoke_rate: NonZeroU32,
    /// The time after which an expired lease that was not revoked comes again.
    ///
    /// Default 3 s (etcd: `defaultExpiredleaseRetryInterval`). Zero is taken as 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub retry_interval: Duration,
    /// The time between two checkpoints of a lease; a lease with no more than this left has none.
    ///
    /// Default 5 min (etcd: `defaultLeaseCheckpointInterval`). Zero is taken as 1 ms;
    /// [`Duration::MAX`] turns checkpoints off.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub checkpoint_interval: Duration,
    /// The time that a promotion adds to every lease, for lessees that could reach no primary.
    ///
    /// Default 1 s (etcd: the election timeout).
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub extend: Duration,
    /// The time after which a proposal or a read that got no answer is answered as unknown.
    ///
    /// Default 7 s (etcd: `ReqTimeout`, 5 s and two election timeouts).
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub request_timeout: Duration,
    /// How long leases that have expired stay because a subscriber takes no batches: then it misses
    /// them, and its stream says how many. One patience for all subscribers together.
    ///
    /// Default 10 s (etcd: none, it drops at once). Zero makes a subscriber miss what it has no room
    /// for; [`Duration::MAX`] lets it hold up revokes for ever.
    pub subscriber_patience: Duration,
    /// The most requests that a driver works on; the next one waits for a permit. A renew that waits
    /// for the revoke of its lease has given its permit back.
    ///
    /// Default 4096.
    pub queue: NonZeroU32,
    /// The most items of a command, and the most entries of the log, that are worked off at once. In between
    /// whatever else has come is served, so this bounds how long it waits.
    ///
    /// Default 1000, a few milliseconds (etcd: none, a large command holds up all others).
    pub piece: NonZeroU32,
    /// The secret key of the hash index, against ids that are chosen to collide. Nothing observable
    /// depends on it.
    ///
    /// Default `None`: the driver draws one from the system, the bare core uses zero.
    pub hash_key: Option<u128>,
    /// What the ids that a [`Member`](crate::Member) picks are mixed with, besides the term and the
    /// number of the grant, so that no two engines pick the same ones. Equal salts give equal ids.
    ///
    /// A store that is put back from an older copy goes through the same terms again. An engine that is
    /// alone, whose log is not older than its store, needs a salt of its own for each opening, or it
    /// picks ids again that somebody still holds; a group whose log goes on needs none.
    ///
    /// Default `None`: `lessor::open` draws one from the system at each opening, a driver takes that
    /// of its store (`Stored::id_salt`), and a bare member zero.
    pub id_salt: Option<u64>,
}

impl Config {
    /// Sets [`min_ttl`](Self::min_ttl).
    #[must_use]
    pub fn with_min_ttl(mut self, min_ttl: impl Into<Ttl>) -> Self {
        self.min_ttl = min_ttl.into();
        self
    }

    /// Sets [`revoke_rate`](Self::revoke_rate).
    #[must_use]
    pub fn with_revoke_rate(mut self, revoke_rate: NonZeroU32) -> Self {
        self.revoke_rate = revoke_rate;
        self
    }

    /// Sets [`retry_interval`](Self::retry_interval).
    #[must_use]
    pub fn with_retry_interval(mut self, retry_interval: Duration) -> Self {
        self.retry_interval = retry_interval;
        self
    }

    /// Sets [`checkpoint_interval`](Self::checkpoint_interval).
    #[must_use]
    pub fn with_checkpoint_interval(mut self, checkpoint_interval: Duration) -> Self {
        self.checkpoint_interval = checkpoint_interval;
        self
    }

    /// Sets [`extend`](Self::extend).
    #[must_use]
    pub fn with_extend(mut self, extend: Duration) -> Self {
        self.extend = extend;
        self
    }

    /// Sets [`request_timeout`](Self::request_timeout).
    #[must_use]
    pub fn with_request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Sets [`subscriber_patience`](Self::subscriber_patience).
    #[must_use]
    pub fn with_subscriber_patience(mut self, subscriber_patience: Duration) -> Self {
        self.subscriber_patience = subscriber_patience;
        self
    }

    /// Sets [`queue`](Self::queue).
    #[must_use]
    pub fn with_queue(mut self, queue: NonZeroU32) -> Self {
        self.queue = queue;
        self
    }

    /// Sets [`piece`](Self::piece).
    #[must_use]
    pub fn with_piece(mut self, piece: NonZeroU32) -> Self {
        self.piece = piece;
        self
    }

    /// Sets [`hash_key`](Self::hash_key).
    #[must_use]
    pub fn with_hash_key(mut self, hash_key: impl Into<Option<u128>>) -> Self {
        self.hash_key = hash_key.into();
        self
    }

    /// Sets [`id_salt`](Self::id_salt).
    #[must_use]
    pub fn with_id_salt(mut self, id_salt: impl Into<Option<u64>>) -> Self {
        self.id_salt = id_salt.into();
        self
    }

    /// Whether a lease engine can work with these settings; a driver asks when it is opened.
    ///
    /// # Errors
    ///
    /// What it cannot work with.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.min_ttl > Ttl::MAX {
            return Err(ConfigError::MinTtlTooLarge(self.min_ttl));
        }
        Ok(())
    }
}

/// Why a lease engine cannot work with a [`Config`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// [`Config::min_ttl`] is above [`Ttl::MAX`], to which no ttl can be raised.
    MinTtlTooLarge(Ttl),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinTtlTooLarge(min_ttl) => write!(
                f,
                "min_ttl is {} ms, but no ttl may be above {} ms; set it lower",
                min_ttl.as_millis(),
                Ttl::MAX.as_millis()
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_ttl: Ttl::from_secs(2),
            revoke_rate: const { NonZeroU32::new(1_000).unwrap() },
            retry_interval: Duration::from_secs(3),
            checkpoint_interval: Duration::from_secs(300),
            extend: Duration::from_secs(1),
            request_timeout: Duration::from_secs(7),
            subscriber_patience: Duration::from_secs(10),
            queue: const { NonZeroU32::new(4_096).unwrap() },
            piece: const { NonZeroU32::new(1_000).unwrap() },
            hash_key: None,
            id_salt: None,
        }
    }
}

/// Spans as whole milliseconds, rounded up, as a [`Ttl`] is.
#[cfg(feature = "serde")]
mod millis {
    use core::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let millis = span.as_nanos().div_ceil(1_000_000);
        to.serialize_u64(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Ok(match u64::deserialize(from)? {
            u64::MAX => Duration::MAX,
            millis => Duration::from_millis(millis),
        })
    }
}
