//! Every scenario of the folder, against its snapshot, and replays against each other.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lessor_sim::host::Testbed;
use lessor_sim::judge::Judgements;
use lessor_sim::record::report::{Report, Verdict};
use lessor_sim::scenario::Scenario;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is in the workspace").to_path_buf()
}

fn scenarios() -> Vec<PathBuf> {
    let entries = root().join("scenarios").read_dir().expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

fn load(path: &Path) -> Scenario {
    Scenario::load(path).unwrap_or_else(|error| panic!("{error}"))
}

/// Story, trace, hash, and what the trace proves.
fn snapshot(scenario: &Scenario, report: &Report) -> String {
    let story: String = scenario.story.lines().map(|line| format!("# {line}\n")).collect();
    format!("{story}\n{}{}\n", report.trace, report.verdict().word())
}

#[test]
fn every_scenario_is_clean_and_leaves_the_trace_of_its_snapshot() {
    let mut differ = Vec::new();
    for path in scenarios() {
        let scenario = load(&path);
        let report = Testbed::new().replay(&scenario);
        let findings: Vec<_> = report.findings().collect();
        assert_eq!(report.verdict(), Verdict::Clean, "{}: {findings:#?}", scenario.name);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(root().join("snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let text = snapshot(&scenario, &report);
        let check = || settings.bind(|| insta::assert_snapshot!(scenario.name.clone(), text));
        if catch_unwind(AssertUnwindSafe(check)).is_err() {
            differ.push(scenario.name.clone());
        }
    }
    assert!(
        differ.is_empty(),
        "the traces have changed, see above; if they should: just bless ({differ:?})"
    );
}

#[test]
fn every_snapshot_has_its_scenario_and_every_scenario_its_story() {
    let names: BTreeSet<_> = scenarios().iter().map(|path| load(path).name).collect();
    let snapshots = root().join("snapshots").read_dir().expect("the folder is there");
    let snapshots: BTreeSet<_> = snapshots
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".snap").map(ToOwned::to_owned))
        .collect();
    assert_eq!(names, snapshots);
    for path in scenarios() {
        assert!(load(&path).story.len() > 40, "{} tells no story", path.display());
    }
}

/// What campaigns have found, shrunk, with the fix beside it.
#[test]
fn nothing_that_was_found_comes_back() {
    let entries = root().join("scenarios/found").read_dir().expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(!paths.is_empty());
    for path in paths {
        let scenario = load(&path);
        let report = Testbed::new().replay(&scenario);
        let findings: Vec<_> = report.findings().collect();
        assert_eq!(report.verdict(), Verdict::Clean, "{}: {findings:#?}", scenario.name);
        assert!(scenario.story.len() > 40, "{} tells no story", path.display());
    }
}

#[test]
fn every_property_is_judged() {
    let mut judged = Judgements::default();
    let generated = (0..GENERATED).map(lessor_sim::generate::generate);
    for scenario in scenarios().iter().map(|path| load(path)).chain(generated) {
        judged.add(&Testbed::new().replay(&scenario).judged);
    }
    for (property, count) in judged.iter() {
        assert!(count > 0, "{}, {}, was never judged", property.id(), property.title());
    }
}

/// So many seeds come by what the scenarios leave out.
const GENERATED: u64 = 100;

#[test]
fn a_replay_is_the_same_again_and_another_under_another_seed() {
    let mut scenario = load(&root().join("scenarios/torn-write-recovery.toml"));
    let hash = |scenario: &Scenario| Testbed::new().replay(scenario).trace.hash();
    let first = hash(&scenario);
    assert_eq!(hash(&scenario), first);
    scenario.seed += 1;
    assert_ne!(hash(&scenario), first);
}

/// What docs/SIMULATION.md shows as a scenario is one, and clean.
#[test]
fn the_scenario_of_the_documentation_is_clean() {
    let text = std::fs::read_to_string(root().join("docs/SIMULATION.md")).expect("it is there");
    let (_, behind) = text.split_once("## A scenario\n\n```toml\n").expect("it has an example");
    let (example, _) = behind.split_once("```").expect("the example ends");
    assert_eq!(verdict_of(example), (Verdict::Clean, Vec::new()));
}

/// Nothing observable may depend on the key of the index, which a real host draws by chance.
#[test]
fn the_key_of_the_index_changes_no_trace() {
    let mut scenario = load(&root().join("scenarios/promote-spreads-pileup.toml"));
    let hash = |scenario: &Scenario| Testbed::new().replay(scenario).trace.hash();
    let first = hash(&scenario);
    scenario.config.hash_key = Some(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(hash(&scenario), first);
}

/// The scenarios hold under other seeds too, not just under the one that they were written with.
#[test]
fn every_scenario_is_clean_under_other_seeds() {
    for path in scenarios() {
        let mut scenario = load(&path);
        if !scenario.herds.is_empty() {
            continue;
        }
        for seed in 100..120 {
            scenario.seed = seed;
            let report = Testbed::new().replay(&scenario);
            let findings: Vec<_> = report.findings().collect();
            let verdict = report.verdict();
            assert_eq!(verdict, Verdict::Clean, "{} --seed {seed}: {findings:#?}", scenario.name);
        }
    }
}

fn verdict_of(text: &str) -> (Verdict, Vec<String>) {
    let scenario = Scenario::parse(Path::new("canary.toml"), text);
    let report = Testbed::new().replay(&scenario.unwrap_or_else(|error| panic!("{error}")));
    (report.verdict(), report.findings().collect())
}

const HEAD: &str = "schema = 1\nmembers = 1\nduration = \"20s\"\n\
    [[step]]\nat = \"1s\"\ngrant = { lease = 7, ttl = \"5s\", answer = \"ok\" }\n";

#[test]
fn canary_an_expectation_that_is_not_met_is_found() {
    let (verdict, findings) =
        verdict_of(&format!("{HEAD}[[expect]]\nat = \"10s\"\nlease = 7\npresent = true\n"));
    assert_eq!(verdict, Verdict::Safety);
    assert_eq!(findings, ["line 7: at 10.000 lease 7 is absent, which was not expected"]);
}

#[test]
fn canary_an_answer_that_is_not_given_is_found() {
    let (verdict, findings) = verdict_of(&HEAD.replace("\"ok\"", "\"exists\""));
    assert_eq!(verdict, Verdict::Safety);
    assert_eq!(findings, ["line 4: grant lease 7, ttl 5s was answered ok, not exists"]);
}

#[test]
fn canary_a_fault_that_meets_nothing_makes_a_scenario_vacuous() {
    let late = "[[step]]\nat = \"19s\"\ncrash = { member = 1, when = \"before-commit\" }\n";
    let (verdict, findings) = verdict_of(&format!("{HEAD}{late}"));
    assert_eq!(verdict, Verdict::Vacuous);
    assert_eq!(findings, ["line 7: the crash never came, for want of a commit"]);
    let twice = "[[step]]\nat = \"8s\"\nrestart = { member = 1 }\n";
    assert_eq!(verdict_of(&format!("{HEAD}{twice}")).0, Verdict::Vacuous);
}

/// With patience for one second and a confirmation that takes two, nothing that must be confirmed is
/// ever done.
#[test]
fn canary_a_lease_that_is_never_revoked_is_found() {
    let text = "schema = 1\nmembers = 3\nduration = \"15s\"\n\
        [config]\nrequest_timeout = \"1s\"\n[log]\nconfirm_delay = \"2s\"\n\
        [[step]]\nat = \"1s\"\ngrant = { lease = 7, ttl = \"5s\" }\n";
    // It expires at 6 s, and was not owed before a retry and four times the delays of the log are over.
    assert_eq!(verdict_of(text).0, Verdict::Clean);
    let (verdict, findings) = verdict_of(&text.replace("15s", "40s"));
    assert_eq!(verdict, Verdict::Liveness, "{findings:?}");
    assert!(findings[0].starts_with("L1 (revoked in time)"), "{findings:?}");
}
