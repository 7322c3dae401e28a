//! Whether a run keeps what is promised.

mod event;
mod invariant;
pub mod oracle;
mod property;
mod violation;

pub use self::event::{End, Event, GuardNews, Scene, Unanswered};
pub use self::invariant::{Invariant, all};
pub use self::property::Property;
pub use self::violation::{Broken, Judgements, Violation};
