//! For the tests of checks: a check must find the damage that is done on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;

/// What a check says when it fails.
///
/// # Panics
///
/// If it does not fail, for then it would not notice a bug either.
pub(crate) fn complaint(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("the check finds nothing");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a check panics with a text")).into(),
    }
}
