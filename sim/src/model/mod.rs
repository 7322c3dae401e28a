//! Nouns that know nothing but `lessor`: what a log means, what is stored, what a clock shows.

pub mod clock;
mod state;
mod store;
pub(crate) mod text;

pub use self::state::{Applied, Lease, State};
pub use self::store::{Difference, Store, named};
