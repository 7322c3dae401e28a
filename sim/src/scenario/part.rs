//! The parts of a testbed that a scenario names: what runs a member, what it keeps its leases
//! in, and what orders its log.
//!
//! A scenario has names only. Whether there is a part of that name the testbed knows that replays it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// The name of a part: 1 to 32 of the characters `a` to `z`, `0` to `9` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartName(Cow<'static, str>);

impl PartName {
    /// The store that is the real redb.
    pub const REDB: Self = Self(Cow::Borrowed("redb"));
    /// The store that is a journal, which costs less and crashes alike.
    pub const JOURNAL: Self = Self(Cow::Borrowed("journal"));
    /// The host that is the product's own driver.
    pub const DRIVER: Self = Self(Cow::Borrowed("driver"));

    /// The log that is modelled, which scenarios can order about.
    pub const MODELLED: Self = Self(Cow::Borrowed("modelled"));

    /// This name; `None` if a part cannot be called so.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=LONGEST).contains(&name.len()) && name.chars().all(allowed);
        fits.then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PartName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let wanted = "a name of 1 to 32 characters of `a` to `z`, `0` to `9` and `-`";
        Self::new(&name).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&name), &wanted))
    }
}

const LONGEST: usize = 32;
