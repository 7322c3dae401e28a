//! What is accepted and what is not, and in which words.

use std::fs;

use lessor::LeaseOrder;

use super::*;

fn scenario(text: &str) -> Scenario {
    Scenario::parse("a/tale.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> String {
    match Scenario::parse("x.toml", text) {
        Ok(scenario) => panic!("it is accepted: {scenario:?}"),
        Err(error) => error.to_string(),
    }
}

/// The refusal of what begins in line 4.
fn error(body: &str) -> String {
    refusal(&format!("schema = 1\nmembers = 3\nduration = \"60s\"\n{body}"))
}

fn of_step(action: &str) -> String {
    error(&format!("[[step]]\nat = \"1s\"\n{action}"))
}

#[test]
fn a_scenario_is_what_its_file_says() {
    let scenario = scenario(
        "# A story\n#  of two lines.\nschema = 1\nseed = 9\nmembers = 2\nduration = \"1m\"\n\
        [config]\nextend = \"0s\"\n[log]\napply_delay = \"9ms\"\n[[step]]\nat = \"1.5s\"\n\
        crash = { member = 2, when = \"during-commit\", unsynced = \"tear\" }\n[[step]]\nat = \"1s\"\n\
        grant = { lease = 7, ttl = \"10s\", lessee = \"a\", answer = \"ok\" }\n\
        [[herd]]\nname = \"h\"\nleases = 3\nfirst_lease = 10\nttl = \"9s\"\nstart = \"1s\"\n\
        [[expect]]\nat = \"2s\"\nlease = 7\nitems = [\"b\", \"a\"]\npresent = true\n",
    );
    assert_eq!((&*scenario.name, &*scenario.story), ("tale", "A story\n of two lines."));
    assert_eq!((scenario.seed, scenario.members), (9, 2));
    assert_eq!(scenario.duration, Duration::from_secs(60));
    assert_eq!((scenario.config.extend, scenario.config.hash_key), (Duration::ZERO, Some(0)));
    let [commit, apply, confirm] = [2, 9, 1].map(Duration::from_millis);
    assert_eq!(scenario.log, Delays { commit, apply, confirm });

    let id = LeaseId::new(7).expect("it is not 0");
    let request = Request::Grant { id: Some(id), ttl: Ttl::from_secs(10) };
    let (lessee, answer) = (Some("a".to_owned()), Some(AnswerKind::Ok));
    let grant = Action::Ask { request, member: None, lessee, answer, patience: None };
    let (member, when, unsynced) = (MemberId(2), CrashWhen::DuringCommit, Unsynced::Tear);
    let crash = Fault::Crash(Crash { member, when, disk_operation: 1, unsynced });
    assert_eq!(
        scenario.steps,
        [
            Step { at: Duration::from_secs(1), line: 14, action: grant },
            Step { at: Duration::from_millis(1_500), line: 11, action: Action::Fault(crash) },
        ]
    );
    assert_eq!(scenario.steps.iter().map(|step| step.line).collect::<Vec<_>>(), [14, 11]);

    let [herd] = &scenario.herds[..] else { panic!("{:?}", scenario.herds) };
    assert_eq!((herd.over, herd.items, herd.last_lease().get()), (Duration::ZERO, 1, 12));
    let what = AtMoment::Items(id, vec!["a".into(), "b".into()]);
    let what = Expectation::At { at: Duration::from_secs(2), member: None, what };
    assert_eq!(scenario.expects, [Expect { line: 23, what }]);
}

#[test]
fn equality_does_not_look_at_lines_and_times_order_the_steps() {
    let head = "schema = 1\nduration = \"9s\"\n";
    let (one, two) = ("[[step]]\nat = \"1s\"\ndepose = {}\n", "[[step]]\nat = \"2s\"\nheal = {}\n");
    let sorted = scenario(&format!("{head}{one}{two}"));
    assert_eq!(scenario(&format!("{head}\n\n{two}\n{one}")), sorted);
    let together = two.replace("2s", "1s");
    assert_ne!(
        scenario(&format!("{head}{one}{together}")),
        scenario(&format!("{head}{together}{one}"))
    );
}

#[test]
fn everything_that_can_be_said_survives_the_way_through_a_file() {
    let text = everything();
    let first = scenario(&text);
    assert_eq!(first.steps.len(), ACTIONS.len());
    assert_eq!(first.expects.len(), EXPECTS.len());
    let written = first.to_toml();
    assert_eq!(scenario(&written), first, "{written}");
    assert_eq!(scenario(&written).to_toml(), written);
    let orders = first.steps.iter().filter_map(|step| match &step.action {
        Action::Ask { request: Request::Leases { order, .. }, .. } => Some(*order),
        Action::Ask { .. } | Action::Fault(_) => None,
    });
    assert_eq!(orders.collect::<Vec<_>>(), [LeaseOrder::Id, LeaseOrder::Expiry]);
}

#[test]
fn a_file_is_written_without_what_is_at_its_default() {
    let text = "# Told\n#\n# in lines.\nschema = 1\nduration = \"1.5s\"\n\n\
        [[step]]\nat = \"250ms\"\ngrant = { lease = 7, ttl = \"2h\" }\n\n\
        [[step]]\nat = \"1s\"\ncrash = { member = 1 }\n\n\
        [[expect]]\nat = \"1s\"\nprimary = \"none\"\n";
    assert_eq!(scenario(text).to_toml(), text);
    let defaults = text
        .replace("schema = 1\n", "schema = 1\nseed = 0\nmembers = 1\n")
        .replace(
            "\n\n[[expect]]",
            "\n\n[log]\ncommit_delay = \"2ms\"\n[config]\nqueue = 4096\n[[expect]]",
        )
        .replace("member = 1 }", "member = 1, when = \"now\", unsynced = \"drop\" }");
    assert_eq!(scenario(&defaults).to_toml(), text);
}

#[test]
fn a_story_keeps_its_empty_lines() {
    for story in ["", "A\n\nB", "A\n", "\nA", "\n"] {
        let scenario = scenario("schema = 1\nduration = \"9s\"\n");
        let told = Scenario { story: story.to_owned(), ..scenario };
        let read = Scenario::parse("a/tale.toml", &told.to_toml()).expect("it is well-formed");
        assert_eq!(read.story, story);
    }
}

#[test]
fn every_scenario_of_the_repository_survives_the_way_through_a_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut count = 0;
    for path in paths.filter(|path| path.extension().is_some_and(|kind| kind == "toml")) {
        let first = Scenario::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Scenario::parse(&path, &first.to_toml()).expect("it is well-formed"), first);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn what_is_not_of_the_format_is_met_with_what_is() {
    let cases = [
        (
            of_step("grant = { lease = 7, ttll = \"10s\" }"),
            "x.toml:6: unknown field `ttll` in grant; allowed: lease, ttl, member, lessee, answer, patience",
        ),
        (
            of_step("explode = { member = 1 }"),
            "x.toml:6: unknown action `explode` in step; allowed: at, and one of grant, grant-once, revoke, renew, attach, detach, claim, lookup, leases, lease-of, promote, demote, elect, crash, kill, restart, stop, pause, isolate, partition, block, delay, noise, depose, heal, lose, repeat, slow-disk, full-disk, fail-sync, rot, replace-disk, copy-disk, jump, drift, observe, hold-store, abort, put-back, open-again, lose-requests, lose-answers",
        ),
        (
            of_step("depose = { member = 1 }"),
            "x.toml:6: unknown field `member` in depose; it has none: write depose = {}",
        ),
        (
            of_step("grant = { lease = 7 }"),
            "x.toml:6: `ttl` is missing in grant; add it, such as ttl = \"10s\"",
        ),
        (
            of_step("grant = { lease = \"7\", ttl = \"10s\" }"),
            "x.toml:6: `lease` in grant is the string \"7\", but must be a whole number",
        ),
        (
            of_step("grant = { lease = 7, ttl = \"-1s\" }"),
            "x.toml:6: `ttl` in grant is the string \"-1s\", but must be a number and a unit in a string: \"250ms\", \"1.5s\", \"10m\", \"2h\" or \"30d\"",
        ),
        (
            of_step("grant = { lease = 7, ttl = \"10 parsecs\" }"),
            "x.toml:6: `ttl` in grant is the string \"10 parsecs\", but must be a number and a unit in a string: \"250ms\", \"1.5s\", \"10m\", \"2h\" or \"30d\"",
        ),
        (
            of_step("pause = { member = 1, for = 10 }"),
            "x.toml:6: `for` in pause is the integer `10`, but must be a number and a unit in a string: \"250ms\", \"1.5s\", \"10m\", \"2h\" or \"30d\"",
        ),
        (
            of_step("crash = { member = 1, when = \"soon\" }"),
            "x.toml:6: `when` in crash is `soon`; allowed: now, before-propose, before-commit, during-commit, after-commit",
        ),
        (
            of_step("attach = { lease = 7, items = [1] }"),
            "x.toml:6: `items` in attach holds the integer `1`, but must be an array of strings",
        ),
        (of_step("elect = 1"), "x.toml:6: `elect` in step is the integer `1`, but must be a table"),
        (
            error("[config]\nqueue = 0"),
            "x.toml:5: `queue` in config is the integer `0`, but must be a whole number from 1 to 4294967295",
        ),
        (
            error("[step]\nat = \"1s\""),
            "x.toml:4: `step` is the map, but must be a list of tables, each headed [[step]]",
        ),
        (
            error("[[expect]]\nat = \"1s\"\nprimary = \"nobody\""),
            "x.toml:6: `primary` in expect is the string \"nobody\", but must be a whole number or \"none\"",
        ),
        (
            error("colour = 1"),
            "x.toml:4: unknown field `colour`; allowed: schema, seed, may_miss, twins, commits_twice, members, duration, store, host, config, log, disk, network, clocks, clock, ending, step, herd, expect",
        ),
        (error("members = 3"), "x.toml:4: this key or table is there twice; keep one of them"),
        (
            of_step("grant = { lease = 7,"),
            "x.toml:6: this is no TOML: unclosed inline table, expected `}`",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_makes_no_sense_is_met_with_what_does() {
    let herd = "[[herd]]\nname = \"a\"\nleases = 3\nttl = \"9s\"\nstart = \"1s\"\n";
    let cases = [
        (
            of_step("\nrenew = { lease = 7, member = 9 }"),
            "x.toml:7: member 9, but the scenario has members 1 to 3",
        ),
        (
            of_step("grant = { lease = 0, ttl = \"1s\" }"),
            "x.toml:6: lease 0, but an id is any other whole number",
        ),
        (
            of_step("grant = { lease = 1, ttl = \"0s\" }"),
            "x.toml:6: `ttl` is 0s, but must be longer",
        ),
        (
            of_step("grant = { lease = 1, ttl = \"104167d\" }"),
            "x.toml:6: ttl is 104167d, but a lessor refuses more than 9000000000s; a grant may ask for it with answer = \"too-large\"",
        ),
        (
            of_step("renew = { lease = 7 }\nrevoke = { lease = 7 }"),
            &format!(
                "x.toml:4: a step has exactly one action, this one has 2; allowed: {}",
                step::actions().join(", ")
            ),
        ),
        (
            of_step(""),
            &format!(
                "x.toml:4: a step has exactly one action, this one has none; allowed: {}",
                step::actions().join(", ")
            ),
        ),
        (
            of_step("crash = { member = 1, disk_operation = 2 }"),
            "x.toml:6: disk_operation needs when = \"during-commit\"",
        ),
        (
            of_step("crash = { member = 1, when = \"during-commit\", disk_operation = 0 }"),
            "x.toml:6: disk_operation counts from 1",
        ),
        (
            of_step("lose = { member = 1, what = \"expired\", count = 0 }"),
            "x.toml:6: count is 0, but must be at least 1",
        ),
        (
            of_step("jump = { member = 1, by = \"+5s\" }"),
            "x.toml:6: `by` in jump is the string \"+5s\", but must be a number and a unit in a string: \"250ms\", \"1.5s\", \"10m\", \"2h\" or \"30d\", with a minus if it goes back",
        ),
        (
            of_step("noise = { loss_ppm = 1000001 }"),
            "x.toml:6: `loss_ppm` is 1000001, but must be 0 to 1000000",
        ),
        (
            of_step("drift = { member = 1, ppm = -1000001 }"),
            "x.toml:6: `ppm` is -1000001, but must be -1000000 to 1000000",
        ),
        (
            of_step("block = { from = 1, to = 1 }"),
            "x.toml:6: a link has two ends, `from` and `to` must differ",
        ),
        (
            of_step("partition = { side = [1, 2, 3] }"),
            "x.toml:6: `side` must name some members and not all",
        ),
        (
            of_step("rot = { member = 1, pages = 0 }"),
            "x.toml:6: pages is 0, but must be at least 1",
        ),
        (
            error("[ending]\nat = \"9s\"\ncore = [1]"),
            "x.toml:6: `core` must name more than half of the members",
        ),
        (
            error("[[clock]]\nmember = 1\n[[clock]]\nmember = 1"),
            "x.toml:7: member 1 has two clocks; keep one of them",
        ),
        (
            error("[[step]]\nat = \"61s\"\ndepose = {}"),
            "x.toml:5: `at` is 61s, after the end of the scenario at 60s",
        ),
        (
            error(&format!("{herd}first_lease = -1")),
            "x.toml:9: first_lease is -1, but no id may be 0 or too large",
        ),
        (
            error(&format!("{herd}first_lease = 9223372036854775806")),
            "x.toml:9: first_lease is 9223372036854775806, but no id may be 0 or too large",
        ),
        (
            error(&format!("{herd}first_lease = 5\n{herd}first_lease = 7")),
            "x.toml:15: leases 7 to 9 overlap with those of herd a",
        ),
        (
            error(&format!(
                "{}first_lease = 5\n{herd}first_lease = 7",
                herd.replace("\"a\"", "\"\\n\"")
            )),
            "x.toml:15: leases 7 to 9 overlap with those of herd \\n",
        ),
        (
            error(&format!("{herd}first_lease = 5\nover = \"60s\"")),
            "x.toml:10: `start` and `over` reach past the end of the scenario at 60s",
        ),
        (
            error(&format!("{herd}first_lease = 5\nrenew_every = \"1s\"\nkeep_alive = true")),
            "x.toml:10: `renew_every` and `keep_alive` are both there, but a guard renews by itself",
        ),
        (
            error(&format!("{herd}first_lease = 5\ndrift_ppm = 5")),
            "x.toml:10: `drift_ppm` is of the clocks of guards, so it needs `keep_alive = true`",
        ),
        (
            error(&herd.replace("leases = 3", "leases = 1000001\nfirst_lease = 1")),
            "x.toml:6: leases is 1000001, but must be 1 to 1000000",
        ),
        (
            error(&format!("{herd}first_lease = 5\nuntil = \"61s\"")),
            "x.toml:10: `until` is 61s, after the end of the scenario at 60s",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn an_expectation_is_about_one_thing_and_says_something_of_it() {
    let cases = [
        (
            "at = \"1s\"",
            "x.toml:4: an expectation is about nothing; allowed: lease, item, primary, leases, or from with to and every",
        ),
        (
            "at = \"1s\"\nprimary = 1\nleases = 3",
            "x.toml:7: an expectation is about one thing, not `primary` and `leases`; make two of it",
        ),
        (
            "at = \"1s\"\nlease = 7",
            "x.toml:4: `lease` needs `present`, `items`, `remaining_at_least` or `remaining_at_most`",
        ),
        (
            "lease = 7\npresent = true",
            "x.toml:4: `lease` needs `at`, the moment that it is expected for",
        ),
        (
            "at = \"1s\"\nprimary = 1\nholder = 7",
            "x.toml:7: `holder` does not go with `primary`; allowed: at",
        ),
        ("at = \"1s\"\nprimary = 4", "x.toml:6: member 4, but the scenario has members 1 to 3"),
        ("at = \"1s\"\nitem = \"a\"", "x.toml:4: `item` needs `holder`"),
        (
            "at = \"1s\"\nlease = 7\nitems = []\nremaining_at_least = \"1s\"",
            "x.toml:7: `items` and `remaining` are two expectations; make two of it",
        ),
        (
            "at = \"1s\"\nlease = 7\npresent = false\nitems = []",
            "x.toml:7: a lease that is not present has no items and no time left",
        ),
        (
            "at = \"1s\"\nlease = 7\nremaining_at_least = \"2s\"\nremaining_at_most = \"1s\"",
            "x.toml:8: `remaining_at_most` is less than `remaining_at_least`",
        ),
        (
            "from = \"2s\"\nto = \"2s\"\nevery = \"1s\"\nexpired_at_most = 1",
            "x.toml:6: `to` is 2s, but must be after `from` at 2s",
        ),
        ("from = \"2s\"\nto = \"3s\"", "x.toml:4: `from` needs `to` and `every`"),
        (
            "from = \"2s\"\nto = \"3s\"\nevery = \"1s\"",
            "x.toml:4: `from` needs `expired_at_least` or `expired_at_most`",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(error(&format!("[[expect]]\n{body}")), expected);
    }
}

#[test]
fn the_head_of_a_file_is_checked() {
    let cases = [
        (
            "schema = 2\nnew_field = 1",
            "x.toml:1: the scenario has schema 2, but this version replays schema 1; use the lessor-sim that it was written for",
        ),
        ("duration = \"1s\"", "x.toml:1: `schema` is missing; add it, such as schema = 1"),
        ("schema = 1", "x.toml:1: `duration` is missing; add it, such as duration = \"60s\""),
        (
            "schema = 1\nmembers = 8\nduration = \"1s\"",
            "x.toml:2: members is 8, but must be 1 to 7",
        ),
        (
            "schema = 1\nduration = \"0s\"",
            "x.toml:2: duration must be more than 0s and at most 30d",
        ),
        (
            "schema = 1\nduration = \"31d\"",
            "x.toml:2: duration must be more than 0s and at most 30d",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected);
    }
    let other = Scenario::parse("x.toml", "schema = 2");
    assert!(matches!(other, Err(ScenarioError::OtherSchema { found: 2, line: 1, .. })));
    let wrong = Scenario::parse("x.toml", "schema = ");
    assert!(matches!(wrong, Err(ScenarioError::Invalid { line: 1, .. })));
}

#[test]
fn a_file_that_is_no_text_or_is_not_there_is_met_with_its_path() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let path = folder.path().join("x.toml");
    let absent = Scenario::load(&path).expect_err("it is not there");
    assert!(matches!(&absent, ScenarioError::Io { .. }), "{absent}");
    fs::write(&path, b"schema = 1\n# \xff").expect("the folder is ours");
    let error = Scenario::load(&path).expect_err("it is no text").to_string();
    let expected =
        format!("{}:2: this line is not UTF-8; save the file as UTF-8 text", path.display());
    assert_eq!(error, expected);
}

/// A scenario that leaves nothing out.
fn everything() -> String {
    let mut text = "# All of it,\n#\n#   in one.\nschema = 1\nseed = 18446744073709551615\nmembers = 5\n\
        duration = \"30d\"\nstore = \"journal\"\n[config]\nmin_ttl = \"1ms\"\nrevoke_rate = 1\nretry_interval = \"0s\"\n\
        checkpoint_interval = \"10m\"\nextend = \"1.5s\"\nrequest_timeout = \"2h\"\nobserver_patience = \"30s\"\nqueue = 1\npiece = 3\n\
        [log]\ncommit_delay = \"20ms\"\napply_delay = \"0s\"\nconfirm_delay = \"3s\"\n\
        election_timeout = \"3s\"\ncompact_every = 20\n\
        [disk]\nlatency = \"7ms\"\n\
        [network]\nlatency = \"1ms\"\njitter = \"2ms\"\nloss_ppm = 3\nduplicate_ppm = 4\n\
        [clocks]\nbound_ppm = 5\nlessees_ppm = -5\n\
        [[clock]]\nmember = 2\n[[clock]]\nmember = 1\noffset = \"9d\"\ndrift_ppm = 5\n\
        [ending]\nat = \"5h\"\ncore = [1, 2, 5]\n\
        [[herd]]\nname = \"plain\"\nleases = 1\nfirst_lease = -5\nttl = \"9s\"\nstart = \"0s\"\n\
        [[herd]]\nname = \"a \\\"b\\\"\"\nleases = 9\nfirst_lease = 10\nttl = \"9s\"\nstart = \"1s\"\n\
        over = \"1h\"\nrenew_every = \"3s\"\nuntil = \"1d\"\nitems = 0\npatience = \"2s\"\n\
        [[herd]]\nname = \"g\"\nleases = 2\nfirst_lease = 100\nttl = \"9s\"\nstart = \"1s\"\n\
        keep_alive = true\ndrift_ppm = -5\n"
        .to_owned();
    for (position, action) in ACTIONS.iter().enumerate() {
        text += &format!("[[step]]\nat = \"{position}s\"\n{action}\n");
    }
    for expect in EXPECTS {
        text += &format!("[[expect]]\n{expect}\n");
    }
    text
}

const ACTIONS: &[&str] = &[
    "grant = { lease = 7, ttl = \"10s\" }",
    "grant = { lease = -7, ttl = \"200000d\", member = 2, lessee = \"a 'b'\", answer = \"too-large\" }",
    "revoke = { lease = 7, answer = \"not-found\" }",
    "renew = { lease = 7, answer = \"not-primary\" }",
    "renew = { lease = 7, patience = \"1500ms\" }",
    "attach = { lease = 7, items = [\"a\", \"b\\n\\\"c\\\"\"], answer = \"unknown\" }",
    "detach = { lease = 7, items = [], answer = \"none\" }",
    "claim = { lease = 7, items = [\"a\"], answer = \"item-held\" }",
    "grant-once = { request = 4294967295, ttl = \"10s\", member = 2, patience = \"1s\" }",
    "lookup = { lease = 7, lessee = \"b\", answer = \"exists\" }",
    "leases = { limit = 0 }",
    "leases = { order = \"expiry\", limit = 9, member = 5, answer = \"ok\" }",
    "lease-of = { item = \"k\\\\\\u0000\" }",
    "promote = { member = 1, answer = \"ok\" }",
    "promote = { member = 1 }",
    "promote = {}",
    "demote = { member = 1 }",
    "elect = { member = 2 }",
    "depose = {}",
    "crash = { member = 1 }",
    "crash = { member = 1, when = \"before-commit\", unsynced = \"keep\" }",
    "crash = { member = 1, when = \"during-commit\", unsynced = \"tear\" }",
    "crash = { member = 1, when = \"during-commit\", disk_operation = 7 }",
    "crash = { member = 1, when = \"after-commit\", unsynced = \"drop\" }",
    "kill = { member = 3 }",
    "restart = { member = 3 }",
    "stop = { member = 3 }",
    "pause = { member = 3, for = \"5s\" }",
    "isolate = { member = 4 }",
    "isolate = { member = 4, for = \"9s\" }",
    "partition = { side = [1, 4], for = \"9s\" }",
    "partition = { side = [2] }",
    "block = { from = 1, to = 2, for = \"9s\" }",
    "block = { from = 1, to = 2 }",
    "delay = { from = 3, to = 2, by = \"1s\", for = \"9s\" }",
    "delay = { from = 3, to = 2, by = \"5ms\" }",
    "noise = { loss_ppm = 1000000 }",
    "noise = { duplicate_ppm = 1, for = \"1h\" }",
    "slow-disk = { member = 1, by = \"100ms\", for = \"9s\" }",
    "full-disk = { member = 1, for = \"9s\" }",
    "full-disk = { member = 1 }",
    "fail-sync = { member = 1, count = 1 }",
    "fail-sync = { member = 1, count = 2, unsynced = \"keep\" }",
    "rot = { member = 1, pages = 3 }",
    "replace-disk = { member = 1 }",
    "copy-disk = { member = 1 }",
    "put-back = { member = 1 }",
    "abort = { member = 1 }",
    "open-again = { member = 1 }",
    "observe = { member = 1 }",
    "observe = { member = 1, for = \"9s\", then = \"leave\" }",
    "lose-requests = { member = 1 }",
    "lose-answers = { member = 1, for = \"9s\" }",
    "hold-store = { member = 1 }",
    "hold-store = { member = 1, for = \"9s\" }",
    "jump = { member = 1, by = \"5s\" }",
    "jump = { member = 1, by = \"-500ms\" }",
    "drift = { member = 1, ppm = -1000000, for = \"5s\" }",
    "drift = { member = 1, ppm = 30 }",
    "repeat = { member = 2, count = 4 }",
    "crash = { member = 1, when = \"before-propose\" }",
    "heal = {}",
    "heal = { member = 4 }",
    "lose = { member = 1, what = \"expired\", count = 1 }",
    "lose = { member = 1, what = \"checkpoints\", count = 2 }",
    "lose = { member = 1, what = \"proposals\", count = 3 }",
    "lookup = { lease = 9223372036854775807 }",
    "lookup = { lease = -9223372036854775808 }",
];

const EXPECTS: [&str; 13] = [
    "at = \"1s\"\nlease = 7\npresent = true",
    "at = \"1s\"\nlease = 7\npresent = false\nmember = 2",
    "at = \"1s\"\nlease = 7\nremaining_at_least = \"1s\"",
    "at = \"1s\"\nlease = 7\nremaining_at_least = \"1s\"\nremaining_at_most = \"1500ms\"\npresent = true",
    "at = \"1s\"\nlease = 7\nitems = [\"b\", \"a\"]",
    "at = \"1s\"\nlease = 7\nitems = []\npresent = true",
    "at = \"1s\"\nitem = \"k\"\nholder = 7",
    "at = \"1s\"\nitem = \"k\"\nholder = \"none\"\nmember = 1",
    "at = \"1s\"\nprimary = 2",
    "at = \"1s\"\nprimary = \"none\"",
    "at = \"1s\"\nleases = 0",
    "from = \"0s\"\nto = \"9s\"\nevery = \"1s\"\nexpired_at_least = 1",
    "from = \"0s\"\nto = \"9s\"\nevery = \"1s\"\nexpired_at_least = 1\nexpired_at_most = 2",
];
