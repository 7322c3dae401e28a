//! What docs/SEMANTICS.md claims to be tested is tested.

use std::fs;
use std::path::Path;

#[test]
fn every_test_and_scenario_that_the_parity_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace");
    let table = fs::read_to_string(root.join("docs/SEMANTICS.md")).expect("it is there");
    let named = table.split('`').skip(1).step_by(2);
    let missing: Vec<_> =
        named.clone().filter(|word| is_there(root, word) == Some(false)).collect();
    assert!(missing.is_empty(), "docs/SEMANTICS.md names what is not there: {missing:?}");
    assert!(named.filter(|word| is_there(root, word).is_some()).count() > 80, "it names its tests");
}

#[test]
fn canary_what_is_not_there_is_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace");
    let found = |word| is_there(root, word);
    assert_eq!(found("docs::canary_what_is_not_there_is_noticed"), Some(true));
    assert_eq!(found("driver::keys_are_read_while_others_attach_and_detach"), Some(true));
    assert_eq!(found("docs::is_there"), Some(false), "no test");
    assert_eq!(found("conformnce::a_grant_is_stored_and_found"), Some(false));
    assert_eq!(found("scenarios/none.toml"), Some(false));
    assert_eq!(found("Lessor::renew"), None);
    assert_eq!(found("member.rs"), None);
}

/// Whether there is the scenario or the test of this name, `file::name`; none if it is no such name.
fn is_there(root: &Path, word: &str) -> Option<bool> {
    if word.starts_with("scenarios/") {
        return Some(root.join(word).is_file());
    }
    let (file, test) = word.split_once("::")?;
    let plain =
        |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // `lessor::x` is a module of the crate.
    if file == "lessor" || !plain(file) || !plain(test) {
        return None;
    }
    let tests =
        fs::read_to_string(root.join(format!("lessor/tests/it/{file}.rs"))).unwrap_or_default();
    let lines: Vec<_> = tests.lines().map(str::trim).collect();
    let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let found = lines.windows(2).any(|pair| {
        is_test(pair[0])
            && pair[1].trim_start_matches("async ").starts_with(&format!("fn {test}()"))
    });
    Some(found)
}
