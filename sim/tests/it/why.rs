//! When a failure was decided: by a store that forgets everything when it is opened again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lessor::backend::MemoryBackend;
use lessor_sim::campaign::why::{FUTURES, steepest, why};
use lessor_sim::host::Testbed;
use lessor_sim::scenario::Scenario;

#[test]
fn what_decides_a_failure_is_found_and_the_same_each_time() {
    let testbed = Testbed::new().backend("forgetful", |_| Ok(MemoryBackend::default()));
    let text = "schema = 1\nstore = \"forgetful\"\nduration = \"30s\"\n\
        [[step]]\nat = \"1s\"\ngrant = { lease = 7, ttl = \"20s\" }\n\
        [[step]]\nat = \"2s\"\nlookup = { lease = 7 }\n\
        [[step]]\nat = \"3s\"\nkill = { member = 1 }\n\
        [[step]]\nat = \"4s\"\nrestart = { member = 1 }\n";
    let scenario = Scenario::parse("tale.toml", text).expect("it is well-formed");
    let first = testbed.replay(&scenario);
    let interrupted = Arc::new(AtomicBool::new(false));
    let look = || why(&testbed, &scenario, &first, None, &interrupted, || {});
    let moments = look();
    let (before, after) = steepest(&moments).expect("something decides it");
    let restart = Duration::from_secs(4);
    assert!(before.at < restart && after.at == restart, "{before:?} {after:?}");
    // In some futures from before, other seeds restart it.
    assert!(2 * before.failed < FUTURES && after.failed == FUTURES, "{before:?} {after:?}");
    assert_eq!(moments, look());
}
