//! Calls in any order at any time: into a bare core, or into a member over a log.

use arbitrary::Arbitrary;

use crate::{Planted, lessor_host, member_host};

/// What libFuzzer's bytes stand for.
#[derive(Arbitrary, Debug)]
pub enum Case {
    Lessor(lessor_host::Life),
    Member(member_host::Life),
}

/// Lives through a case.
pub fn run(case: &Case, planted: Planted) {
    match case {
        Case::Lessor(life) => lessor_host::run(life, planted),
        Case::Member(life) => member_host::run(life, planted),
    }
}
