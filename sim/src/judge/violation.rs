//! What a property objects to, and how often each was judged.

use std::fmt;
use std::time::Duration;

use lessor::{LeaseId, MemberId};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::property::Property;

/// A property that does not hold.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    pub property: Property,
    /// What was seen, as a sentence.
    pub what: String,
    /// On which member, if that is not where the event happened.
    pub member: Option<MemberId>,
    /// The lease that it is about: the first one, if the sentence names several.
    pub lease: Option<LeaseId>,
}

impl Broken {
    /// An objection to what has just happened.
    #[must_use]
    pub fn new(property: Property, what: String) -> Self {
        Self { property, what, member: None, lease: None }
    }

    /// The same, of a member that the event does not name.
    #[must_use]
    pub fn of(self, member: MemberId) -> Self {
        Self { member: Some(member), ..self }
    }

    /// The same, about a lease, if there is one that it is about.
    #[must_use]
    pub fn about(self, lease: impl Into<Option<LeaseId>>) -> Self {
        Self { lease: lease.into(), ..self }
    }
}

/// A property that did not hold, with when and where.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    pub property: Property,
    /// What was seen, as a sentence.
    pub what: String,
    /// When, in virtual time.
    pub at: Duration,
    /// On which member, if on one.
    pub member: Option<MemberId>,
    /// The lease that it is about, if any.
    pub lease: Option<LeaseId>,
    /// Whose lease that is, where the scenario has a name for it.
    pub lessee: Option<String>,
}

impl Violation {
    /// Traces and results tell milliseconds.
    fn at_ms(&self) -> u64 {
        u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, title) = (self.property.id(), self.property.title());
        let (secs, millis) = (self.at_ms() / 1_000, self.at_ms() % 1_000);
        write!(f, "{id} ({title}) at {secs}.{millis:03}")?;
        if let Some(member) = self.member {
            write!(f, " on member {member}")?;
        }
        write!(f, ": {}", self.what)?;
        match &self.lessee {
            Some(lessee) => write!(f, " (its lessee is {lessee})"),
            None => Ok(()),
        }
    }
}

/// For results that machines read: the member is a number, and 0 if there is none.
impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Violation", 6)?;
        fields.serialize_field("property", self.property.id())?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field("at_ms", &self.at_ms())?;
        fields.serialize_field("member", &self.member.map_or(0, |member| member.0))?;
        fields.serialize_field("lease", &self.lease.map(LeaseId::get))?;
        fields.serialize_field("lessee", &self.lessee)?;
        fields.end()
    }
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
    /// Never; the type is that of `Invariant::observe`, so that it can be returned there.
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

    fn violation() -> Violation {
        Violation {
            property: Property::S2,
            what: "lease 7 is gone".to_owned(),
            at: Duration::from_micros(12_034_567),
            member: Some(MemberId(2)),
            lease: LeaseId::new(7),
            lessee: Some("session/7".to_owned()),
        }
    }

    #[test]
    fn a_violation_reads_as_a_sentence_with_time_member_and_lessee() {
        let text = "S2 (a promise is kept) at 12.034 on member 2: lease 7 is gone \
            (its lessee is session/7)";
        assert_eq!(violation().to_string(), text);
        let bare = Violation { member: None, lease: None, lessee: None, ..violation() };
        assert_eq!(bare.to_string(), "S2 (a promise is kept) at 12.034: lease 7 is gone");
    }

    #[test]
    fn a_violation_is_a_record_of_numbers_for_machines() {
        let record = serde_json::to_value(violation()).expect("it can be written");
        assert_eq!(
            record,
            serde_json::json!({
                "property": "S2",
                "what": "lease 7 is gone",
                "at_ms": 12_034,
                "member": 2,
                "lease": 7,
                "lessee": "session/7",
            })
        );
        let bare = Violation { member: None, lease: None, lessee: None, ..violation() };
        let record = serde_json::to_value(bare).expect("it can be written");
        assert_eq!((&record["member"], &record["lease"]), (&0.into(), &serde_json::Value::Null));
    }
}
