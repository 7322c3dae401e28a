//! What somebody meets who has just cloned this: silence, verdicts, lost results, Ctrl-C, wrong names.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lessor_sim::scenario::{MOST_BYTES, Scenario, ScenarioError};
use tempfile::TempDir;

const CLEAN: &str = "scenarios/grant-renew-expire.toml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is in the workspace")
}

fn command<A: AsRef<OsStr>>(arguments: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lessor-sim"));
    command.current_dir(root()).args(arguments);
    command
}

/// The exit code, the standard output and the standard error.
fn sim<A: AsRef<OsStr>>(arguments: &[A]) -> (i32, String, String) {
    said(command(arguments).output().expect("the simulator runs"))
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    let code = output.status.code().expect("it was not killed");
    (code, text(output.stdout), text(output.stderr))
}

/// With a standard output that is a full disk.
fn sim_on_a_full_disk(arguments: &[&str]) -> (i32, String) {
    let full = File::create("/dev/full").expect("there is such a device");
    let mut command = command(arguments);
    let output = command.stdout(full).stderr(Stdio::piped()).output().expect("the simulator runs");
    let (code, _, errors) = said(output);
    (code, errors)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON alone")
}

/// A folder with a file in it.
fn file(name: &str, text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("it is written");
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    (folder, path)
}

/// Fails with code 1.
const WRONG: &str = "schema = 1\nduration = \"9s\"\n[[expect]]\nat = \"5s\"\nprimary = \"none\"\n";

// Silence

#[test]
fn cargo_shows_its_progress_and_the_tool_says_at_once_what_it_does() {
    let config = fs::read_to_string(root().join(".cargo/config.toml")).expect("it is there");
    let alias = config.lines().find(|line| line.starts_with("sim = ")).expect("there is an alias");
    assert!(!alias.contains("--quiet"), "{alias}");
    let (folder, wrong) = file("wrong.toml", WRONG);
    let short = folder.path().join("short.toml").display().to_string();
    let cases: [(&[&str], &str); 6] = [
        (&["run", CLEAN], "replays 1 scenario, each twice, 1 at a time"),
        (&["replay", "17"], "replays seed-17, seed 17: "),
        (&["fuzz", "--seeds", "2", "--jobs", "1"], "replays seeds 0 to 1, 1 at a time"),
        (&["diff", "3", "3"], "replays seed-3 and seed-3"),
        (&["determinism", "--seeds", "1"], "replays seeds 0 to 0 in 5 ways each"),
        (&["shrink", &wrong, "--time", "1", "-o", &short], "shrinks wrong of 0 steps, for 1 s"),
    ];
    for (arguments, says) in cases {
        let (_, _, errors) = sim(arguments);
        let first = errors.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("lessor-sim: {says}")), "{arguments:?}: {first}");
    }
}

// Verdicts

#[test]
fn a_seed_and_its_own_file_have_one_verdict_though_its_faults_meet_nothing() {
    let (_, text, _) = sim(&["replay", "17", "--scenario"]);
    assert!(text.contains("\nmay_miss = true\n"), "{text}");
    let (_folder, path) = file("seed-17.toml", &text);
    let (by_seed, by_file) =
        (sim(&["replay", "17", "--json", "-"]), sim(&["replay", &path, "--json", "-"]));
    let (seed, of_file) = (json(&by_seed.1), json(&by_file.1));
    assert_eq!((by_seed.0, by_file.0), (0, 0));
    assert_eq!((&seed["verdict"], &of_file["verdict"]), (&"clean".into(), &"clean".into()));
    assert_eq!((&seed["hash"], &seed["findings"]), (&of_file["hash"], &of_file["findings"]));
    assert!(seed["misses"].as_array().is_some_and(|misses| !misses.is_empty()), "{seed}");
    assert_eq!(sim(&["run", &path]).0, 0);
    // What was written to prove something is still held to it.
    let (_folder, path) = file("written.toml", &text.replace("may_miss = true\n", ""));
    assert_eq!((sim(&["replay", &path]).0, sim(&["run", &path]).0), (6, 6));
}

#[test]
fn a_replay_that_is_stopped_is_not_called_clean() {
    let arguments = ["replay", "scenarios/renew-waits-for-revoke.toml", "--until", "4s"];
    let (code, text, _) = sim(&arguments);
    assert_eq!(code, 0);
    assert!(text.contains("renew-waits-for-revoke: stopped\n"), "{text}");
    assert!(text.contains("nothing was wrong until 4.000"), "{text}");
    let (_, text, _) = sim(&[&arguments[..], &["--json", "-"]].concat());
    assert_eq!(json(&text)["verdict"], "stopped");
    // One that is wrong before is still wrong, and one that reaches its end is not stopped.
    let (_folder, wrong) = file("wrong.toml", WRONG);
    assert_eq!(sim(&["replay", &wrong, "--until", "6"]).0, 1);
    assert!(sim(&["replay", CLEAN, "--until", "1d"]).1.contains("grant-renew-expire: clean\n"));
}

// Shards

#[test]
fn a_merge_without_all_shards_of_one_campaign_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = |name: &str, arguments: &[&str]| {
        let file = folder.path().join(name).display().to_string();
        let (code, ..) = sim(&[&["fuzz", "--json", &file], arguments].concat());
        (code, file)
    };
    let (_, first) = shard("1.json", &["--seeds", "2", "--shard", "1/3"]);
    let (_, second) = shard("2.json", &["--seeds", "2", "--shard", "2/3"]);
    let (idle, third) = shard("3.json", &["--seeds", "2", "--shard", "3/3"]);
    let (_, other) = shard("o.json", &["--seeds", "2", "--start", "9", "--shard", "3/3"]);
    assert_eq!(idle, 4, "it has nothing to do, and says so");
    let written = json(&fs::read_to_string(&second).expect("it is there"));
    assert_eq!((&written["shards"], &written["campaign"]["of"]), (&[2].into(), &3.into()));
    assert_eq!(sim(&["merge", &first, &second, &third]).0, 0);
    let cases: [(&[&str], &str); 3] = [
        (&[&first, &third], "of the 3 shards of the campaign these are missing: 2;"),
        (&[&first, &second, &second], "shard 2 of 3 is in another file too"),
        (&[&first, &second, &other], "it starts at 9, not 0"),
    ];
    for (files, sentence) in cases {
        let (code, _, errors) = sim(&[&["merge"], files].concat());
        assert_eq!((code, errors.lines().count()), (2, 1), "{errors}");
        assert!(errors.contains(sentence), "{errors}");
    }
}

#[test]
fn seeds_end_with_the_last_one_there_is() {
    let last = u64::MAX.to_string();
    for verb in ["fuzz", "determinism"] {
        let (code, _, errors) = sim(&[verb, "--start", &last, "--seeds", "2"]);
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains("there are only 1, up to 2^64 - 1"), "{errors}");
    }
    let (code, text, _) = sim(&["fuzz", "--start", &last, "--json", "-"]);
    let seeds = json(&text)["seeds"].as_array().map(Vec::len);
    assert_eq!((code, seeds), (0, Some(1)));
}

// Results

#[test]
fn a_result_that_cannot_be_written_is_refused_before_the_work() {
    let nowhere = "/proc/no/such/folder.json";
    let cases: [&[&str]; 5] = [
        &["run", CLEAN, "--json", nowhere],
        &["replay", "17", "--json", nowhere],
        &["fuzz", "--seeds", "1", "--json", nowhere],
        &["shrink", "17", "-o", nowhere],
        &["properties", "--json", nowhere],
    ];
    for arguments in cases {
        let (code, text, errors) = sim(arguments);
        assert_eq!((code, text.as_str()), (2, ""), "{arguments:?}");
        assert!(errors.contains("folder.json: cannot write to it: "), "{errors}");
        assert!(!errors.contains("replays") && !errors.contains("shrinks"), "{errors}");
    }
}

#[test]
fn a_result_that_a_full_disk_does_not_take_is_printed_and_the_failure_kept() {
    let (_folder, wrong) = file("wrong.toml", WRONG);
    for (file, expected) in [(wrong.as_str(), 1), (CLEAN, 2)] {
        let (code, text, errors) = sim(&["run", file, "--json", "/dev/full"]);
        assert_eq!(code, expected, "{errors}");
        assert!(text.contains("\"schema\": 1"), "{text}");
        assert!(errors.contains("/dev/full: cannot write the result, here it is: "), "{errors}");
        let (code, errors) = sim_on_a_full_disk(&["run", file]);
        assert_eq!(code, expected, "{errors}");
        assert!(errors.contains("cannot write to the standard output: "), "{errors}");
    }
    for arguments in [&["--help"][..], &["properties"], &["replay", CLEAN], &["bugs", "--list"]] {
        assert_eq!(sim_on_a_full_disk(arguments).0, 2, "{arguments:?}");
    }
}

#[test]
fn a_result_makes_its_folder_and_nothing_is_left_of_one_that_never_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (_folder, wrong) = file("wrong.toml", WRONG);
    let short = path("some/folders/short.toml");
    assert_eq!(sim(&["shrink", &wrong, "-o", &short, "--time", "5"]).0, 1);
    assert!(Scenario::load(Path::new(&short)).is_ok_and(|short| short.may_miss));
    let result = path("more/result.json");
    assert_eq!(sim(&["run", CLEAN, "--json", &result]).0, 0);
    let before = fs::read_to_string(&result).expect("it is there");
    assert_eq!(sim(&["run", "no/such/file.toml", "--json", &result]).0, 2);
    assert_eq!(fs::read_to_string(&result).expect("it is still there"), before);
    let never = path("never.toml");
    assert_eq!(sim(&["shrink", CLEAN, "-o", &never]).0, 2);
    assert!(!Path::new(&never).exists());
}

// Ctrl-C

/// Long enough to be interrupted: thousands of lessees for ten days.
const LONG: &str = "schema = 1\nstore = \"journal\"\nduration = \"10d\"\n[[herd]]\nname = \"s\"\n\
    leases = 20000\nfirst_lease = 1\nttl = \"5s\"\nstart = \"1s\"\nrenew_every = \"1s\"\n";

#[test]
fn ctrl_c_says_what_it_waits_for_and_a_second_one_ends_at_once() {
    let (_folder, long) = file("long.toml", LONG);
    let mut child = command(&["run", &long]).stderr(Stdio::piped()).spawn().expect("it runs");
    let id = child.id().to_string();
    let interrupt = || {
        let status = Command::new("kill").args(["-INT", &id]).status();
        assert!(status.expect("there is a kill").success());
    };
    let errors = child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(errors).lines();
    let mut until = |begin: &str| {
        let mut lines = lines.by_ref().map(|line| line.expect("it writes UTF-8"));
        lines.find(|line| line.starts_with(begin)).expect("it says so")
    };
    until("lessor-sim: replays 1 scenario");
    interrupt();
    let said = until("lessor-sim: interrupted: ");
    assert!(said.contains("waits for what is being replayed"), "{said}");
    assert!(said.ends_with("; Ctrl-C again ends at once"), "{said}");
    interrupt();
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(130));
}

// Failures

#[test]
fn a_failure_is_told_when_it_is_found_and_the_summary_begins_with_the_verdict() {
    let (_folder, wrong) = file("wrong.toml", WRONG);
    let (code, text, errors) = sim(&["run", CLEAN, &wrong]);
    assert_eq!(code, 1);
    let finding = "line 3: at 5.000 member 1 is primary, which was not expected";
    let news = format!(
        "lessor-sim: safety: wrong: {finding}\n\
         lessor-sim:   reproduce with: cargo sim replay {wrong} --seed 0\n"
    );
    assert!(errors.contains(&news), "{errors}");
    assert!(text.starts_with("safety: 2 scenarios: 1 clean, 1 not; "), "{text}");
    let (_, text, _) = sim(&["fuzz", "--seeds", "2"]);
    assert!(text.starts_with("clean: 2 seeds: 2 clean, 0 not; "), "{text}");
}

/// 200 lessees, of whom a trace counts what they do.
const HERD: &str = "schema = 1\nstore = \"journal\"\nduration = \"20s\"\n[[herd]]\nname = \"session\"\n\
    leases = 200\nfirst_lease = 900\nttl = \"5s\"\nstart = \"1s\"\nrenew_every = \"1s\"\nuntil = \"9s\"\n";

#[test]
fn one_lease_of_a_herd_can_be_followed_and_so_can_a_member_down_to_its_disk() {
    let (_folder, herd) = file("herd.toml", HERD);
    let hash = |arguments: &[&str]| {
        let (_, text, _) = sim(&[&["replay", &herd, "--json", "-"], arguments].concat());
        json(&text)["hash"].to_string()
    };
    let (_, plain, _) = sim(&["replay", &herd]);
    assert!(!plain.contains("lease 1000"), "{plain}");
    let (_, of_lease, _) = sim(&["replay", &herd, "--lease", "1000"]);
    let story = [
        "grant lease 1000, ttl 5s [of member 1]",
        "request 1: grant lease 900, ttl 5s",
        "grant lease 1000, ttl 5s [of member 1]: granted lease 1000, ttl 5s",
        "put session/1000/0 of lease 1000",
        "renewed, ttl 5s (renew lease 1000)",
        "lease 1000",
        "revoke lease 1000",
    ];
    for (place, part) in story.into_iter().enumerate() {
        assert_eq!(of_lease.contains(part), place != 1, "{part}: {of_lease}");
    }
    let (_, grepped, _) = sim(&["replay", &herd, "--grep", "renew lease 1000"]);
    assert!(grepped.lines().count() > 10, "{grepped}");
    let (_, of_member, _) = sim(&["replay", &herd, "--member", "1"]);
    for part in ["1 P  disk    syncs, operations made durable: ", "1 P  input   its timer fires"] {
        assert!(of_member.contains(part), "{part}");
    }
    for more in [&["--lease", "1000"][..], &["--member", "1"], &["--all"], &["--grep", "x"]] {
        assert_eq!(hash(more), hash(&[]), "{more:?}");
    }
    assert_eq!(sim(&["replay", &herd, "--member", "2"]).0, 2);
    assert_eq!(sim(&["replay", &herd, "--lease", "0"]).0, 2);
}

#[test]
fn nothing_that_is_shown_is_rusts_own_notation() {
    for seed in ["3", "17", "24"] {
        let (_, text, _) = sim(&["replay", seed, "--all"]);
        let odd = |line: &&str| {
            ["{ id", "Some(", "Ok(", "Err(", "None", "line 0"]
                .iter()
                .any(|sign| line.contains(sign))
        };
        assert_eq!(text.lines().find(odd), None, "seed {seed}");
        assert!(text.lines().count() > 100, "{text}");
    }
}

#[test]
fn diff_shows_an_event_that_a_trace_only_counts() {
    let (_folder, herd) = file("herd.toml", HERD);
    let (_other, other) =
        file("herd.toml", &HERD.replace("first_lease = 900", "first_lease = 901"));
    let (code, text, _) = sim(&["diff", &herd, &other]);
    assert_eq!(code, 1);
    assert!(text.contains("grant lease 900, ttl 5s"), "{text}");
    assert!(text.contains("grant lease 901, ttl 5s"), "{text}");
}

#[test]
fn items_are_shown_as_text() {
    let text = "schema = 1\nduration = \"9s\"\n[[step]]\nat = \"1s\"\ngrant = { lease = 7, ttl = \"5s\" }\n\
        [[step]]\nat = \"2s\"\nattach = { lease = 7, items = [\"straße/日本\"] }\n";
    let (_folder, path) = file("items.toml", text);
    let (_, trace, _) = sim(&["replay", &path]);
    assert!(trace.contains("attach straße/日本 to lease 7: done"), "{trace}");
}

// Wrong names

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is a mkfifo").success());
    for path in [pipe.as_path(), Path::new("/dev/zero")] {
        for verb in ["run", "replay", "shrink", "merge"] {
            let (code, _, errors) = sim(&[OsStr::new(verb), path.as_os_str()]);
            assert_eq!(code, 2, "{verb} {}", path.display());
            assert!(errors.contains("regular file"), "{errors}");
        }
    }
    let large = folder.path().join("large.toml");
    let made = File::create(&large).and_then(|file| file.set_len(MOST_BYTES + 1));
    made.expect("a hole takes no room");
    let refused = Scenario::load(&large);
    assert!(matches!(refused, Err(ScenarioError::TooLarge { .. })), "{refused:?}");
    let (code, _, errors) = sim(&[OsStr::new("replay"), large.as_os_str()]);
    assert_eq!(code, 2);
    assert!(
        errors.contains("it has 33554433 bytes, but a scenario has at most 33554432"),
        "{errors}"
    );
}

#[test]
fn links_that_go_in_circles_or_nowhere_are_no_trouble() {
    let (folder, path) = file("only.toml", HERD);
    let inside = |name: &str| folder.path().join(name);
    symlink(folder.path(), inside("again")).expect("it can be made");
    symlink(&path, inside("the-same.toml")).expect("it can be made");
    let (code, text, _) = sim(&[OsStr::new("run"), folder.path().as_os_str()]);
    assert_eq!(code, 0);
    assert!(text.starts_with("clean: 1 scenario: "), "{text}");
    symlink("no/such/file", inside("gone.toml")).expect("it can be made");
    let (code, _, errors) = sim(&[OsStr::new("run"), folder.path().as_os_str()]);
    assert_eq!(code, 2);
    let sentence = "gone.toml: a link to no/such/file, which leads nowhere; remove it or mend it";
    assert!(errors.contains(sentence), "{errors}");
}

#[test]
fn a_wrong_seed_is_met_with_what_a_seed_may_be() {
    for seed in ["0XFF", "1_000", "2^64", "18446744073709551616", "0x"] {
        let (code, _, errors) = sim(&["replay", seed]);
        assert_eq!((code, errors.lines().count()), (2, 1), "{errors}");
        let begin = format!("lessor-sim: {seed}: a seed is a number from 0 to 2^64 - 1");
        assert!(errors.starts_with(&begin), "{errors}");
    }
}

#[test]
fn seconds_may_go_without_a_unit_for_every_verb() {
    let (_folder, wrong) = file("wrong.toml", WRONG);
    let verbs: [&[&str]; 3] = [
        &["replay", CLEAN, "--until"],
        &["fuzz", "--seeds", "1", "--time"],
        &["shrink", &wrong, "--time"],
    ];
    for verb in verbs {
        for (time, right) in
            [("5", true), ("5s", true), ("0.5m", true), ("5ss", false), ("soon", false)]
        {
            let (_, _, errors) = sim(&[verb, &[time, "--help"]].concat());
            assert_eq!(errors.is_empty(), right, "{verb:?} {time}: {errors}");
        }
    }
}

/// Where it was quadratic, this took minutes.
#[test]
fn a_scenario_with_many_steps_is_read_in_one_pass() {
    let mut text = "schema = 1\nduration = \"1d\"\n".to_owned();
    for step in 0..40_000 {
        text.push_str(&format!("[[step]]\nat = \"{step}ms\"\nlookup = {{ lease = 7 }}\n"));
    }
    let scenario = Scenario::parse("many.toml", &text).expect("it is one");
    assert_eq!(scenario.steps.last().map(|step| step.line), Some(3 + 3 * 39_999));
}

// The rest

#[test]
fn a_bug_that_is_planted_already_is_said_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let bugs = folder.path().join("scenarios/bugs");
    fs::create_dir_all(&bugs).expect("it can be made");
    let write = |path: PathBuf, text: &str| fs::write(path, text).expect("it is written");
    let lines =
        |bug: &str| format!("fn one() {{\n    a();\n    b();\n{bug}    c();\n    d();\n}}\n");
    write(folder.path().join("code.rs"), &lines("    bug();\n"));
    let patch = "title = \"A bug\"\norigin = \"this test\"\nbreaks = [\"S1\"]\nsites = [\"one\"]\n\n\
        diff --git a/code.rs b/code.rs\n--- a/code.rs\n+++ b/code.rs\n@@ -1,6 +1,7 @@\n fn one() {\n     \
        a();\n     b();\n+    bug();\n     c();\n     d();\n }\n";
    write(bugs.join("07-a-bug.patch"), patch);
    let init = Command::new("git").args(["init", "--quiet"]).current_dir(folder.path()).status();
    assert!(init.expect("there is a git").success());
    let check = || {
        let mut command = command(&["bugs", "7", "--check"]);
        said(command.current_dir(folder.path()).output().expect("the simulator runs"))
    };
    let (code, _, errors) = check();
    assert_eq!(code, 6, "{errors}");
    let sentence = "the workspace has this bug already; take it out: \
        git apply --reverse scenarios/bugs/07-a-bug.patch";
    assert!(errors.contains(sentence), "{errors}");
    write(folder.path().join("code.rs"), &lines(""));
    let (code, text, errors) = check();
    assert_eq!((code, text.as_str()), (0, "1 patch: all apply where they should\n"), "{errors}");
}

#[test]
fn determinism_is_also_said_to_compare_a_good_build_with_a_bad_one() {
    let (_, help, _) = sim(&["determinism", "--help"]);
    assert!(help.contains("it compares a good build with a bad one"), "{help}");
    let docs = fs::read_to_string(root().join("docs/SIMULATION.md")).expect("it is there");
    assert!(docs.contains("a good build with a bad one"));
}
