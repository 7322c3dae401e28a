//! Calls in any order at any time, into the core and into a member.

#![no_main]

use lessor_fuzz::{Planted, inputs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: inputs::Case| inputs::run(&case, Planted::from_environment()));
