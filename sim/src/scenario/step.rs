//! A step as it stands in its file: a table with `at`, and one action under its name.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::LazyLock;

use serde::de::value::{EnumAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};
use strum::VariantNames;
use toml::Spanned;

use super::Fault;
use super::file::Ask;
use super::span::Span;

pub(super) struct Step {
    pub(super) at: Spanned<Span>,
    /// There must be one, which is checked later.
    pub(super) actions: Vec<(Action, Range<usize>)>,
}

/// What serde has read of an action.
pub(super) enum Action {
    Ask(Ask),
    Fault(Fault),
}

/// The names of all actions, in order.
pub(super) fn actions() -> &'static [&'static str] {
    &FIELDS[1..]
}

static FIELDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| [&["at"], Ask::VARIANTS, Fault::VARIANTS].concat());

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StepVisitor)
    }
}

struct StepVisitor;

impl<'de> Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Step, A::Error> {
        let (mut at, mut actions) = (None, Vec::new());
        while let Some(Field { name, location }) = map.next_key()? {
            let action = if name == "at" {
                at = Some(map.next_value()?);
                continue;
            } else if Ask::VARIANTS.contains(&name) {
                Action::Ask(map.next_value_seed(Named(name, PhantomData))?)
            } else {
                Action::Fault(map.next_value_seed(Named(name, PhantomData))?)
            };
            actions.push((action, location));
        }
        Ok(Step { at: at.ok_or_else(|| de::Error::missing_field("at"))?, actions })
    }
}

/// The name of a field, and where it stands.
struct Field {
    name: &'static str,
    location: Range<usize>,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Spanned::<String>::deserialize(deserializer)?;
        let known = FIELDS.iter().find(|field| *field == given.get_ref());
        let name = known.ok_or_else(|| de::Error::unknown_field(given.get_ref(), &FIELDS))?;
        Ok(Self { name, location: given.span() })
    }
}

/// Reads the variant of this name from the value of a field.
struct Named<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Named<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<T, D::Error> {
        T::deserialize(EnumAccessDeserializer::new(Variant(self.0, value)))
    }
}

/// The name of a variant, and what holds its fields.
struct Variant<D>(&'static str, D);

impl<'de, D: Deserializer<'de>> EnumAccess<'de> for Variant<D> {
    type Error = D::Error;
    type Variant = Fields<D>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Fields<D>), D::Error> {
        Ok((seed.deserialize(StrDeserializer::new(self.0))?, Fields(self.1)))
    }
}

struct Fields<D>(D);

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for Fields<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, D::Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
