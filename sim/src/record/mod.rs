//! What is written down of a run.

pub mod coverage;
pub(crate) mod debug_text;
pub mod events;
pub mod lanes;
pub mod picture;
pub mod recorder;
pub mod report;
pub mod trace;
