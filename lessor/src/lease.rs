//! The nouns of a lease: its id, its ttl, its items, and its stored record.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::num::{NonZeroI64, NonZeroU64};
use core::str::FromStr;
use core::time::Duration;

use crate::{Instant, ParseError};

/// The id of a lease: any 64-bit integer except zero.
///
/// "No lease" is `None` (etcd: `NoLease`, the id 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct LeaseId(NonZeroI64);

impl LeaseId {
    /// The id with this number, or `None` for zero.
    #[must_use]
    pub const fn new(id: i64) -> Option<Self> {
        match NonZeroI64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number of this id, never zero.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0.get()
    }
}

impl TryFrom<i64> for LeaseId {
    type Error = ParseError;

    fn try_from(id: i64) -> Result<Self, ParseError> {
        Self::new(id).ok_or(ParseError::LeaseId)
    }
}

impl From<LeaseId> for i64 {
    fn from(id: LeaseId) -> Self {
        id.get()
    }
}

/// The number in decimal digits, as it is displayed.
impl FromStr for LeaseId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self).map_err(|_| ParseError::LeaseId)
    }
}

/// The number in decimal digits.
impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How long a lease lasts without being renewed: whole milliseconds, at least one.
///
/// etcd counts whole seconds. A [`Duration`] is rounded *up* to the millisecond ([`From<Duration>`]).
/// To show a ttl in coarser units, round *down*, so that no lessee is told more than it has. A lessor
/// refuses a ttl above [`Ttl::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Ttl(NonZeroU64);

impl Ttl {
    /// One millisecond.
    pub const MIN: Self = Self(NonZeroU64::MIN);
    /// 9,000,000,000 seconds, about 285 years (etcd: `MaxLeaseTTL`).
    pub const MAX: Self = Self::from_secs(9_000_000_000);

    /// A ttl of `millis` milliseconds; zero becomes [`Ttl::MIN`].
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        match NonZeroU64::new(millis) {
            Some(millis) => Self(millis),
            None => Self::MIN,
        }
    }

    /// A ttl of `secs` seconds, at least [`Ttl::MIN`]. It saturates at `u64::MAX` milliseconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// The ttl in milliseconds, at least 1.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0.get()
    }

    /// The moment this much after another, at most [`Instant::MAX`].
    pub(crate) fn after(self, begin: Instant) -> Instant {
        Instant::from_nanos(
            begin.as_nanos().saturating_add(self.as_millis().saturating_mul(1_000_000)),
        )
    }

    /// The ttl as a span of time.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0.get())
    }
}

/// Rounds up to the millisecond, so that a ttl is never shorter than requested.
impl From<Duration> for Ttl {
    fn from(span: Duration) -> Self {
        Self::from_millis(u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Self {
        ttl.as_duration()
    }
}

/// Reads seconds with up to three decimals (`10s`, `1.5s`) or milliseconds (`250ms`), at least 1 ms.
/// The displayed text of a ttl reads back as the same ttl.
impl FromStr for Ttl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let millis = match text.strip_suffix("ms") {
            Some(millis) => digits(millis),
            None => text.strip_suffix('s').and_then(millis_of_seconds),
        };
        millis.and_then(NonZeroU64::new).map(Self).ok_or(ParseError::Ttl)
    }
}

/// Seconds with up to three decimals, in milliseconds.
fn millis_of_seconds(text: &str) -> Option<u64> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let unit = match decimals.len() {
        1 => 100,
        2 => 10,
        3 => 1,
        _ => return None,
    };
    digits(seconds)?.checked_mul(1_000)?.checked_add(digits(decimals)? * unit)
}

/// A number of nothing but digits; the standard library takes a sign as well.
fn digits(text: &str) -> Option<u64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// Seconds, with decimals where they are needed, or milliseconds below a second: `10s`, `1.5s`, `250ms`.
impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_duration(), f)
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that is attached to a lease and deleted with it: any bytes (etcd: `LeaseItem`).
///
/// Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "Vec<u8>", into = "Vec<u8>"))]
pub struct Item(Arc<[u8]>);

impl Item {
    /// The item with this key.
    #[must_use]
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self(Arc::from(key.as_ref()))
    }

    /// The key, as bytes.
    ///
    /// An empty key can be looked up and detached. Attaching it is refused with
    /// [`Error::EmptyItem`](crate::Error::EmptyItem).
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Item {
    fn as_ref(&self) -> &[u8] {
        self.key()
    }
}

/// Items compare and hash like their keys, so a map with items as keys can be searched by bytes.
impl Borrow<[u8]> for Item {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl From<Vec<u8>> for Item {
    fn from(key: Vec<u8>) -> Self {
        Self(Arc::from(key))
    }
}

impl From<String> for Item {
    fn from(key: String) -> Self {
        key.into_bytes().into()
    }
}

#[cfg(feature = "serde")]
impl From<Item> for Vec<u8> {
    fn from(item: Item) -> Self {
        item.key().into()
    }
}

impl From<&str> for Item {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<&[u8]> for Item {
    fn from(key: &[u8]) -> Self {
        Self::new(key)
    }
}

/// The key as text. Invisible characters and backslashes are escaped as in a Rust string (`\n`,
/// `\u{202e}`, `\\`), bytes outside UTF-8 as `\xff`. So different keys have different texts.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // Quotes are no trouble outside of a literal, so they stay as they are.
            for part in chunk.valid().split_inclusive(QUOTES) {
                let plain = part.trim_end_matches(QUOTES);
                write!(f, "{}{}", plain.escape_debug(), &part[plain.len()..])?;
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

const QUOTES: [char; 2] = ['\'', '"'];

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of a lease that is replicated and stored.
///
/// It contains no moment in time, because moments belong to the clock of one member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LeaseRecord {
    /// The lease's id.
    pub id: LeaseId,
    /// The ttl it was granted with.
    pub ttl: Ttl,
    /// The time that was left at the last checkpoint since the last renew, if there was one.
    pub remaining: Option<Ttl>,
}

/// One lease, as a member sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lease {
    /// The replicated part.
    pub record: LeaseRecord,
    /// When it expires on this member's clock. `None` on a member that is not primary.
    pub expiry: Option<Instant>,
    /// How many items are attached to it.
    pub items: usize,
}

/// The whole replicated state, in an order that is the same on every member.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// All leases, by id.
    pub leases: alloc::vec::Vec<LeaseRecord>,
    /// All attached items with their holders, by key.
    pub items: alloc::vec::Vec<(Item, LeaseId)>,
}
