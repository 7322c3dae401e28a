//! The settings of a lease engine: plain values, with etcd's as the defaults.

use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::Ttl;

/// The settings of a lease engine.
///
/// Nothing that is replicated depends on them, so members may differ.
///
/// Any release may add settings. So start from the [default](Self::default) and change it, by methods or
/// by fields:
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
/// With the feature `serde` it is a map of its fields. Fields may be left out; unknown ones are refused.
/// Times are whole milliseconds, rounded up; `u64::MAX` is [`Duration::MAX`]. As JSON:
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
    /// The shortest ttl. [`Member`](crate::Member) raises shorter ones to it when it *proposes* a grant.
    /// The lessor itself never raises one, because members may have different settings.
    ///
    /// At most [`Ttl::MAX`]; a driver with more cannot be opened.
    ///
    /// Default 2 s (etcd: `minTTL`, from 10 election ticks of 100 ms; rounded up from 1.5 s).
    pub min_ttl: Ttl,
    /// The most expired leases that leave the lessor in a second. At most half of them leave in any half
    /// second; a rate of 1 is one a second.
    ///
    /// Default 1000 a second (etcd: `defaultLeaseRevokeRate`).
    pub revoke_rate: NonZeroU32,
    /// The time after which an expired lease that was not revoked leaves again.
    ///
    /// Default 3 s (etcd: `defaultExpiredleaseRetryInterval`). Zero is taken as 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub retry_interval: Duration,
    /// The time between two checkpoints of a lease. A lease with no more than this left has none.
    ///
    /// Default 5 min (etcd: `defaultLeaseCheckpointInterval`). Zero is taken as 1 ms;
    /// [`Duration::MAX`] turns checkpoints off.
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub checkpoint_interval: Duration,
    /// The time that a promotion adds to every lease, for the lessees that could not reach a primary.
    ///
    /// Default 1 s (etcd: the election timeout).
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub extend: Duration,
    /// The time after which a request without an answer is answered with
    /// [`RequestError::Unknown`](crate::RequestError::Unknown).
    ///
    /// Default 7 s (etcd: `ReqTimeout`, 5 s and two election timeouts).
    #[cfg_attr(feature = "serde", serde(with = "millis"))]
    pub request_timeout: Duration,
    /// How long expired leases are not revoked because a subscriber takes no batches. After that it misses
    /// batches, and its stream says how many. All subscribers together have one patience.
    ///
    /// Default 10 s (etcd: none, it drops at once). With zero a subscriber without room misses batches at
    /// once; with [`Duration::MAX`] it can hold up revokes for ever.
    pub subscriber_patience: Duration,
    /// The most requests in a driver at once. Further ones wait. A renew that waits for the revoke of its
    /// lease does not count.
    ///
    /// Default 4096.
    pub queue: NonZeroU32,
    /// The most items of a command, and the most entries of the log, that are applied in one piece. Other
    /// requests are served between pieces, so this bounds how long they wait.
    ///
    /// Default 1000, a few milliseconds (etcd: none, a large command holds up all others).
    pub piece: NonZeroU32,
    /// The secret key of the hash index, which protects against ids that are chosen to collide. Nothing
    /// observable depends on it.
    ///
    /// Default `None`: the driver draws one from the system, the bare core uses zero.
    pub hash_key: Option<u128>,
    /// A number that is mixed into the ids that a [`Member`](crate::Member) picks, so that two engines
    /// pick different ones. Equal salts give equal ids.
    ///
    /// The ids follow from the salt, the term and the number of the grant. A store that is restored from
    /// an older copy goes through the same terms again. So an engine that is alone needs another salt for
    /// each opening, or it may pick an id that a lessee still holds. A group whose log goes on needs none.
    ///
    /// Default `None`: `lessor::open` draws one from the system at each opening, a driver takes that
    /// of its store (`Stored::id_salt`), and a bare member uses zero.
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

    /// Checks the settings. A driver does so when it is opened.
    ///
    /// # Errors
    ///
    /// The first setting that no engine can work with.
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
    /// [`Config::min_ttl`] is above [`Ttl::MAX`], so no ttl can be raised to it.
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
