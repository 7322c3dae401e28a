//! Any bytes as what was stored or sent: records, a journal, a redb file.

#![no_main]

use lessor_fuzz::{Planted, records, stores};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: stores::let_open_catch_panics(),
    |bytes: &[u8]| records::run(bytes, Planted::from_environment())
);
