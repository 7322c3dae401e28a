//! What the fuzz targets do with what libFuzzer gives them, and what must hold then.
//!
//! A target finds fault by a panic, so everything here asserts. [`Planted`] bugs show that it can.

mod choices;
pub mod inputs;
mod lessor_host;
mod member_host;
mod planted;
pub mod records;
pub mod scenario;
pub mod stores;

pub use self::planted::Planted;
