//! What users type, see and get as an exit code.

use std::path::Path;
use std::process::{Command, Output};

use lessor_sim::judge::Property;

fn sim(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is in the workspace");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lessor-sim"));
    command.current_dir(root).args(arguments).output().expect("the simulator runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it writes UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it writes UTF-8")
}

/// Writes a scenario to a folder of its own, replays it, and returns the message without the folder.
fn refused(text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, text).expect("it is written");
    let output = sim(&["run", path.to_str().expect("a path in UTF-8")]);
    assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), text);
    assert_eq!(folder.path().read_dir().expect("it can be read").count(), 1);
    let folder = format!("{}/", folder.path().display());
    let said = stderr(&output).replace(&folder, "");
    let (begin, refusal) = said.split_once('\n').expect("it says what it is about to do");
    assert_eq!(begin, "lessor-sim: replays 1 scenario, each twice, 1 at a time");
    (code(&output), refusal.to_owned())
}

#[test]
fn a_bad_scenario_is_refused_with_one_sentence_and_code_2() {
    let head = "schema = 1\nmembers = 3\nduration = \"9s\"\n[[step]]\nat = \"1s\"\n";
    let cases = [
        (
            "renew = { lease = 7, foo = 1 }",
            "bad.toml:6: unknown field `foo` in renew; allowed: lease, member",
        ),
        (
            "renew = { lease = true }",
            "bad.toml:6: `lease` in renew is the boolean `true`, but must be",
        ),
        ("elect = { member = 9 }", "bad.toml:6: member 9, but the scenario has members 1 to 3"),
        (
            "pause = { member = 1, for = \"-5s\" }",
            "bad.toml:6: `for` in pause is the string \"-5s\", but must be",
        ),
    ];
    for (step, message) in cases {
        let (code, found) = refused(&format!("{head}{step}\n"));
        assert_eq!(code, 2, "{found}");
        assert!(found.starts_with(&format!("lessor-sim: {message}")), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn a_scenario_of_another_schema_cannot_be_judged() {
    let (code, message) = refused("schema = 2\n");
    assert_eq!(code, 125);
    assert!(message.contains("schema 2, but this version replays schema 1"), "{message}");
}

#[test]
fn a_file_that_is_not_there_and_a_folder_without_scenarios_have_their_codes() {
    assert_eq!(code(&sim(&["run", "no/such/file.toml"])), 2);
    assert_eq!(code(&sim(&["replay", "no/such/file.toml"])), 2);
    assert_eq!(code(&sim(&["run", "--no-such-flag"])), 2);
    let folder = tempfile::tempdir().expect("a folder");
    let output = sim(&["run", folder.path().to_str().expect("a path in UTF-8")]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("no scenario (*.toml) in"), "{}", stderr(&output));
}

#[test]
fn the_summary_and_the_trace_are_plain_text_where_nobody_looks() {
    let file = "scenarios/grant-renew-expire.toml";
    let (summary, trace) = (sim(&["run", file]), sim(&["replay", file]));
    assert_eq!((code(&summary), code(&trace)), (0, 0));
    assert!(
        stdout(&summary).contains("clean: 1 scenario: 1 clean, 0 not;"),
        "{}",
        stdout(&summary)
    );
    assert!(stdout(&trace).contains("granted lease 7, ttl 10s"), "{}", stdout(&trace));
    assert!(!stdout(&summary).contains('\u{1b}') && !stdout(&trace).contains('\u{1b}'));
}

#[test]
fn a_failure_says_how_to_reproduce_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.toml");
    let text = "schema = 1\nduration = \"9s\"\n[[expect]]\nat = \"5s\"\nprimary = \"none\"\n";
    std::fs::write(&path, text).expect("it is written");
    let output = sim(&["run", path.to_str().expect("a path in UTF-8")]);
    assert_eq!(code(&output), 1);
    let text = stdout(&output);
    assert!(
        text.contains("line 3: at 5.000 member 1 is primary, which was not expected"),
        "{text}"
    );
    assert!(text.contains(&format!("cargo sim replay {} --seed 0", path.display())), "{text}");
}

/// A fresh process has other addresses and other keys of std's hash tables.
#[test]
fn fresh_processes_give_the_same_hashes_as_json() {
    let files = ["scenarios/torn-write-recovery.toml", "scenarios/stale-primary.toml"];
    let records = || {
        let output = sim(&["run", files[0], files[1], "--json", "-"]);
        let mut json: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("the standard output is JSON alone");
        for record in json["scenarios"].as_array_mut().expect("a list") {
            record["wall_ms"].take();
            assert_eq!(record["hash"].as_str().map(str::len), Some(32), "{record}");
            assert_eq!(record["verdict"], "clean");
        }
        assert_eq!((&json["schema"], &json["exit_code"]), (&1.into(), &0.into()));
        assert_eq!(json["scenarios"][1]["name"], "stale-primary");
        json
    };
    assert_eq!(records(), records());
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("the standard output is JSON alone")
}

/// All of a campaign that does not depend on the wall clock.
fn timeless(mut tally: serde_json::Value) -> serde_json::Value {
    tally["wall_ms"].take();
    for outcome in tally["seeds"].as_array_mut().expect("a list") {
        outcome["wall_us"].take();
    }
    tally
}

#[test]
fn the_shards_of_a_campaign_joined_are_the_whole_whatever_the_jobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<_> = (1..=3)
        .map(|shard| {
            let file = folder.path().join(format!("{shard}.json"));
            let file = file.to_str().expect("a path in UTF-8").to_owned();
            let shard = format!("{shard}/3");
            let output = sim(&["fuzz", "--seeds", "8", "--shard", &shard, "--json", &file]);
            assert_eq!(code(&output), 0, "{}", stdout(&output));
            file
        })
        .collect();
    let joined = sim(&["merge", &files[2], &files[0], &files[1], "--json", "-"]);
    let whole = sim(&["fuzz", "--seeds", "8", "--jobs", "1", "--json", "-"]);
    assert_eq!((code(&joined), code(&whole)), (0, 0));
    assert_eq!(json(&whole)["seeds"].as_array().map(Vec::len), Some(8));
    assert_eq!(timeless(json(&joined)), timeless(json(&whole)));
    let twice = sim(&["merge", &files[0], &files[0]]);
    assert_eq!(code(&twice), 2);
    assert!(stderr(&twice).contains("shard 1 of 3 is in another file too"), "{}", stderr(&twice));
}

#[test]
fn a_seed_is_replayed_as_the_file_that_it_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("seed-5.toml");
    let printed = sim(&["replay", "0x5", "--scenario"]);
    std::fs::write(&path, stdout(&printed)).expect("it is written");
    let of_seed = json(&sim(&["replay", "5", "--json", "-"]));
    let of_file = json(&sim(&["replay", path.to_str().expect("a path in UTF-8"), "--json", "-"]));
    assert_eq!(of_seed["hash"], of_file["hash"]);
    assert_eq!((&of_seed["trace"], &of_seed["seed"]), (&of_file["trace"], &5.into()));
}

#[test]
fn a_bundle_is_replayed_and_says_whether_it_is_the_same_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.zip");
    let bundle = path.to_str().expect("a path in UTF-8");
    let packed = sim(&["bundle", "scenarios/stale-primary.toml", "-o", bundle]);
    assert_eq!(code(&packed), 0, "{}", stderr(&packed));
    let bytes = std::fs::read(&path).expect("it is there");
    sim(&["bundle", "scenarios/stale-primary.toml", "-o", bundle]);
    assert_eq!(std::fs::read(&path).expect("it is there"), bytes, "the same run, the same bytes");

    let same = sim(&["replay", bundle]);
    assert_eq!(code(&same), 0, "{}", stderr(&same));
    let trace = stdout(&sim(&["replay", "scenarios/stale-primary.toml"]));
    assert!(stdout(&same).contains("the same run as in the bundle"), "{}", stdout(&same));
    assert!(trace.lines().all(|line| stdout(&same).contains(line)));
    let other = stdout(&sim(&["replay", bundle, "--seed", "7"]));
    assert!(other.contains("another run than in the bundle, which has the hash"), "{other}");

    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("it is written");
    let damaged = sim(&["replay", bundle]);
    assert_eq!(code(&damaged), 2);
    assert!(stderr(&damaged).contains("name a file that `bundle` has written"));
    assert_eq!(stderr(&damaged).lines().count(), 1, "{}", stderr(&damaged));
}

#[test]
fn a_replay_shows_a_part_of_the_world_and_of_the_time() {
    let file = "scenarios/stale-primary.toml";
    let output = sim(&["replay", file, "--kind", "role", "--from", "5", "--to", "9s"]);
    let text = stdout(&output);
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(' ')).collect();
    assert!(lines.iter().any(|line| line.contains("promoted")), "{text}");
    for line in lines.iter().filter(|line| !line.contains('…')) {
        let at: f32 = line.trim().split(' ').next().and_then(|at| at.parse().ok()).expect("a time");
        assert!((5.0..=9.0).contains(&at) && line.contains(" role "), "{line}");
    }
}

/// A leader that is cut off leads on, its successor extends the lease, and the renew is never decided.
#[test]
fn lanes_show_who_led_and_what_each_lease_had_left() {
    for columns in ["80", "100"] {
        let window = ["--from", "4", "--to", "30", "--columns", columns];
        let replay = ["replay", "scenarios/stale-primary.toml", "--lanes"];
        let text = stdout(&sim(&[&replay[..], &window].concat()));
        let most: usize = columns.parse().expect("a number");
        assert!(text.lines().all(|line| line.chars().count() <= most), "{text}");
        let row = |name: &str| {
            let mut lines = text.lines().skip_while(|line| !line.starts_with("lease 7"));
            let found = lines.find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
        };
        let is_down = |digits: &str| digits.as_bytes().is_sorted_by(|a, b| a >= b || *b == b'_');
        let (one, two) = (row("  left, by 1"), row("  left, by 2"));
        assert!(one.starts_with('8') && one.ends_with('_') && is_down(one), "{text}");
        assert!(two.starts_with('9') && two.ends_with('0') && is_down(two), "{text}");
        assert!(row("lease 7").starts_with("R-") && row("lease 7").ends_with("-?"), "{text}");
        assert!(row("  exists on").starts_with('3') && row("  exists on").ends_with('1'), "{text}");
        for shown in ["PRIMARY 1", "PRIMARY 2", "isolate~", "^2 elected, term 2", "  found expired"]
        {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }
}

#[test]
fn a_campaign_that_makes_no_sense_is_refused() {
    for wrong in [["--shard", "0/4"], ["--shard", "5/4"], ["--time", "soon"], ["--start", "x"]] {
        assert_eq!(code(&sim(&["fuzz", wrong[0], wrong[1]])), 2, "{wrong:?}");
    }
    assert_eq!(code(&sim(&["fuzz", "--seeds", "2", "--shard", "3/3"])), 4);
    assert_eq!(code(&sim(&["merge", "no/such/file.json"])), 2);
}

#[test]
fn canary_a_program_that_makes_another_trace_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other");
    let script = "#!/bin/sh\necho '{\"hash\": \"0\", \"trace\": [\"something else\"]}'\n";
    std::fs::write(&other, script).expect("it is written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&other, mode).expect("it can be run");
    let other = other.to_str().expect("a path in UTF-8");
    let output = sim(&["determinism", "--seeds", "2", "--against", other]);
    let text = stdout(&output);
    assert_eq!(code(&output), 5, "{text}");
    assert!(text.contains("there: something else"), "{text}");
    let output = sim(&["determinism", "--seeds", "2"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
}

#[test]
fn diff_shows_where_two_runs_part() {
    let same = sim(&["diff", "3", "3"]);
    assert_eq!(code(&same), 0);
    assert!(stdout(&same).starts_with("the same: hash "), "{}", stdout(&same));
    let other = sim(&["diff", "scenarios/stale-primary.toml", "scenarios/leader-cut-off.toml"]);
    assert_eq!(code(&other), 1);
    let text = stdout(&other);
    let parted = |sign: &str| text.lines().filter(|line| line.starts_with(sign)).count();
    assert!(parted("-") > 0 && parted("+") > 0, "{text}");
}

#[test]
fn a_replay_can_stop_before_its_end_and_judges_no_end_then() {
    let whole = stdout(&sim(&["replay", "scenarios/renew-waits-for-revoke.toml"]));
    let begun = sim(&["replay", "scenarios/renew-waits-for-revoke.toml", "--until", "4s"]);
    assert_eq!(code(&begun), 0, "{}", stderr(&begun));
    let begun = stdout(&begun);
    let (events, _) = begun.split_once("hash ").expect("it ends with a hash");
    assert!(events.lines().count() > 3, "{begun}");
    assert!(whole.starts_with(events) && !whole[events.len()..].starts_with("hash"), "{begun}");
    assert_eq!(code(&sim(&["replay", "3", "--until", "soon"])), 2);
}

#[test]
fn what_the_members_log_is_shown_with_virtual_time_and_changes_no_trace() {
    let plain = sim(&["replay", "scenarios/stale-primary.toml"]);
    let logged = sim(&["replay", "scenarios/stale-primary.toml", "--log", "debug"]);
    assert_eq!(stdout(&plain), stdout(&logged));
    assert!(!stderr(&plain).contains("committing"), "{}", stderr(&plain));
    assert!(stderr(&logged).contains("committing applied=1"), "{}", stderr(&logged));
}

#[test]
fn the_properties_are_listed() {
    let table = stdout(&sim(&["properties"]));
    assert!(table.contains("\nS15  no panic\n     broken by #6093, #6537, #21186\n"), "{table}");
    let json = stdout(&sim(&["properties", "--json", "-"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let ids: Vec<&str> = json["properties"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|p| p["id"].as_str())
        .collect();
    let all: Vec<&str> = Property::ALL.iter().map(|property| property.id()).collect();
    assert_eq!(ids, all);
}

#[test]
fn bugs_of_a_folder_of_ones_own_are_planted_in_a_copy_of_its_repository() {
    let repository = tempfile::tempdir().expect("a folder");
    let mine = repository.path().join("mine");
    let write = |name: &str, text: &str| {
        let path = mine.join(name);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it is made");
        std::fs::write(path, text).expect("it is written");
    };
    let git = Command::new("git").args(["init", "--quiet"]).current_dir(&repository).status();
    assert!(git.expect("git runs").success());
    write("src/lib.rs", "fn sum(a: u32, b: u32) -> u32 {\n    a + b\n}\n");
    let patch = |before: &str| {
        format!(
            "title = \"It takes away\"\norigin = \"a test\"\nbreaks = [\"S4\"]\nsites = [\"sum\"]\n\n\
             diff --git a/mine/src/lib.rs b/mine/src/lib.rs\n--- a/mine/src/lib.rs\n\
             +++ b/mine/src/lib.rs\n@@ -1,3 +1,3 @@\n fn sum(a: u32, b: u32) -> u32 {{\n\
             -    {before}\n+    a - b\n }}\n"
        )
    };
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lessor-sim"));
        let command = command.args(["bugs", "--folder", "bugs", "--check"]).current_dir(&mine);
        command.output().expect("the simulator runs")
    };
    let none = check();
    assert_eq!(code(&none), 2, "{}", stderr(&none));
    write("bugs/01-it-takes-away.patch", &patch("a + b"));
    let fits = check();
    assert_eq!(stdout(&fits), "1 patch: all apply where they should\n", "{}", stderr(&fits));
    assert_eq!(code(&fits), 0);
    write("bugs/01-it-takes-away.patch", &patch("a * b"));
    let stale = check();
    assert_eq!(code(&stale), 6, "{}", stderr(&stale));
    assert!(stderr(&stale).contains("does not apply"), "{}", stderr(&stale));
}
