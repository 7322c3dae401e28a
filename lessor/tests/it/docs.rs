//! What docs/SEMANTICS.md claims to be tested is tested.

use std::fs;
use std::path::Path;

#[test]
fn every_test_and_scenario_that_the_parity_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace");
    let table = fs::read_to_string(root.join("docs/SEMANTICS.md")).expect("it is there");
    let mut named = 0;
    for word in table.split('`').skip(1).step_by(2) {
        if word.starts_with("scenarios/") {
            assert!(root.join(word).is_file(), "{word} is not there");
            named += 1;
        } else if let Some((file, test)) = word.split_once("::")
            && let Ok(tests) = fs::read_to_string(root.join(format!("lessor/tests/it/{file}.rs")))
        {
            assert!(tests.contains(&format!("fn {test}()")), "{word} is not there");
            named += 1;
        }
    }
    assert!(named > 80, "only {named} names were found");
}
