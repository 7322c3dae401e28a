//! Judges whether a run keeps the promises of docs/SEMANTICS.md.

mod event;
mod fact;
mod invariant;
pub mod oracle;
mod property;
mod violation;

pub use self::event::{Asker, Disturbance, Event, Exchange, GuardNews, Kind, OverBy};
pub use self::fact::{End, Fact, Scene, Unanswered};
pub use self::invariant::{Invariant, all};
pub use self::property::Property;
pub use self::violation::{Broken, Judgements, Violation};
