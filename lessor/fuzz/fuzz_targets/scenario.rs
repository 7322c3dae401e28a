//! Any text as a scenario.

#![no_main]

use lessor_fuzz::{Planted, scenario};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| scenario::run(bytes, Planted::from_environment()));
