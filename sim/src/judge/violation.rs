//! What a property objects to, and how often each was judged.

use std::fmt;

use lessor::{LeaseId, MemberId};

use super::property::Property;

/// A property that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub property: Property,
    /// What was seen, as a sentence.
    pub what: String,
    /// On which member, if that is not where the event happened.
    pub member: Option<MemberId>,
}

impl Broken {
    /// An objection to what has just happened.
    #[must_use]
    pub fn new(property: Property, what: String) -> Self {
        Self { property, what, member: None }
    }

    /// The same, of a member that the event does not name.
    #[must_use]
    pub fn of(self, member: MemberId) -> Self {
        Self { member: Some(member), ..self }
    }
}

/// A property that did not hold, with the place.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Violation {
    /// The number of the property.
    pub property: &'static str,
    /// What was seen, as a sentence.
    pub what: String,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// On which member, 0 if on none.
    pub member: u64,
    /// The lease that it is about, if it is about one.
    pub lease: Option<i64>,
    /// Whose lease that is, where the scenario has a name for it.
    pub lessee: Option<String>,
}

impl Violation {
    /// A violation, of the lease that its sentence names, if it names one.
    #[must_use]
    pub fn new(property: &'static str, what: String, at_ms: u64, member: u64) -> Self {
        let lease = named_lease(&what).map(LeaseId::get);
        Self { property, what, at_ms, member, lease, lessee: None }
    }

    /// Whether it is about something that must happen, rather than something that must not.
    #[must_use]
    pub fn is_liveness(&self) -> bool {
        self.property.starts_with('L')
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Property::of_id(self.property);
        let title = known.map_or("", Property::title);
        let (secs, millis) = (self.at_ms / 1_000, self.at_ms % 1_000);
        write!(f, "{} ({title}) at {secs}.{millis:03}", self.property)?;
        if self.member > 0 {
            write!(f, " on member {}", self.member)?;
        }
        write!(f, ": {}", self.what)?;
        match &self.lessee {
            Some(lessee) => write!(f, " (its lessee is {lessee})"),
            None => Ok(()),
        }
    }
}

/// The first lease that a sentence names.
fn named_lease(what: &str) -> Option<LeaseId> {
    let behind = what.match_indices("lease ").map(|(at, word)| &what[at + word.len()..]);
    behind.into_iter().find_map(|behind| {
        let end = behind.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(behind.len());
        LeaseId::new(behind[..end].parse().ok()?)
    })
}

/// How often each property was judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgements([u64; Property::ALL.len()]);

impl Default for Judgements {
    fn default() -> Self {
        Self([0; Property::ALL.len()])
    }
}

impl Judgements {
    /// These properties were judged, and hold.
    ///
    /// # Errors
    ///
    /// None: it is what an invariant returns.
    pub fn hold(&mut self, properties: &[Property]) -> Result<(), Broken> {
        for property in properties {
            self.add_one(*property);
        }
        Ok(())
    }

    /// This property was judged.
    pub fn add_one(&mut self, property: Property) {
        self.0[property as usize] += 1;
    }

    /// Each property, with how often it was judged.
    pub fn iter(&self) -> impl Iterator<Item = (Property, u64)> {
        Property::ALL.into_iter().zip(self.0)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_knows_the_lease_that_its_sentence_names() {
        let of = |what: &str| Violation::new("S2", what.to_owned(), 12_034, 2).lease;
        assert_eq!(of("lease 1000042 is gone 1.5s too early"), Some(1_000_042));
        assert_eq!(of("member 1 never answered request 3, renew lease -7, which"), Some(-7));
        assert_eq!(of("there are leases, and lease of one, but no lease"), None);
        let mut named = Violation::new("S2", "lease 7 is gone".to_owned(), 12_034, 2);
        named.lessee = Some("session/7".to_owned());
        let text = "S2 (a promise is kept) at 12.034 on member 2: lease 7 is gone \
            (its lessee is session/7)";
        assert_eq!(named.to_string(), text);
    }
}
