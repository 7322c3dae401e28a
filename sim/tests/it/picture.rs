//! The picture of a run in a real browser: it tries itself there, and a broken one must say that it is.
//!
//! Without a browser these tests are passed over, unless `CI` is set. `.ci/run` installs one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lessor::backend::MemoryBackend;
use lessor_sim::host::Testbed;
use lessor_sim::record::picture::picture;
use lessor_sim::record::report::Verdict;
use lessor_sim::scenario::Scenario;

/// The picture of a scenario, and whether something was wrong in it.
fn drawn(testbed: &Testbed, text: &str) -> (String, bool) {
    let scenario = Scenario::parse("tale.toml", text).expect("it is well-formed");
    let report = testbed.replay(&scenario);
    (picture(&testbed.events(&scenario, &report)), report.verdict() != Verdict::Clean)
}

fn stale_primary() -> String {
    let (page, wrong) =
        drawn(&Testbed::new(), include_str!("../../../scenarios/stale-primary.toml"));
    assert!(!wrong);
    page
}

/// A store that forgets everything when it is opened, so that what was acknowledged is gone.
fn forgetful() -> String {
    let testbed = Testbed::new().backend("forgetful", |_| Ok(MemoryBackend::default()));
    let (page, wrong) = drawn(
        &testbed,
        "schema = 1\nstore = \"forgetful\"\nduration = \"30s\"\n\
         [[step]]\nat = \"1s\"\ngrant = { lease = 7, ttl = \"20s\" }\n\
         [[step]]\nat = \"2s\"\nkill = { member = 1 }\n\
         [[step]]\nat = \"3s\"\nrestart = { member = 1 }\n",
    );
    assert!(wrong);
    page
}

/// A browser, if there is one.
#[expect(clippy::disallowed_methods, reason = "which programs a machine has differs")]
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "the picture is tried in a browser; run: apt-get install chromium"
    );
    found
}

/// What a page says of itself in a browser, with a window of this size and these words in its link.
fn tried(browser: &Path, page: &str, size: &str, link: &str) -> String {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = folder.path().join("run.html");
    fs::write(&file, page).expect("the folder is ours");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--window-size={size}"))
        .arg(format!("file://{}#selftest=1{link}", file.display()))
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8_lossy(&output.stdout);
    match dom.split_once("<pre id=\"selftest\">") {
        Some((_, said)) => said.split("</pre>").next().unwrap_or_default().to_owned(),
        None => format!("it says nothing: {}", dom.chars().take(300).collect::<String>()),
    }
}

#[test]
fn the_picture_works_in_a_browser() {
    let Some(browser) = browser() else { return };
    let pages = [("stale-primary", stale_primary()), ("forgetful", forgetful())];
    for (name, page) in &pages {
        for (size, link) in [("1600,1000", "&theme=light"), ("1280,720", "&theme=dark")] {
            let said = tried(&browser, page, size, link);
            println!("{name} {size} {link}\n{said}");
            assert!(said.ends_with("SELFTEST PASSED"), "{name} {size} {link}: {said}");
        }
    }
}

#[test]
fn canary_a_broken_picture_says_so() {
    let Some(browser) = browser() else { return };
    let page = forgetful();
    let spoilt = [
        ("nothing is drawn", page.replace("  paint() {\n", "  paint() { return;\n")),
        ("a key does nothing", page.replace("w: () => this.zoom(0.7),", "w: () => {},")),
        ("no story is told", page.replace("  tellStory() {\n", "  tellStory() { return;\n")),
        ("it does not parse", page.replace("class View {", "class View {{")),
        (
            "its data is cut short",
            page.replacen("type=\"text/plain\">H4sI", "type=\"text/plain\">", 1),
        ),
    ];
    for (what, spoilt) in spoilt {
        assert_ne!(spoilt, page, "{what}: nothing was spoilt");
        let said = tried(&browser, &spoilt, "1280,720", "");
        assert!(!said.ends_with("SELFTEST PASSED"), "{what}: {said}");
    }
}

#[test]
fn a_picture_asks_nobody_for_anything_and_is_the_same_each_time() {
    let page = forgetful();
    assert_eq!(page, forgetful());
    assert!(page.contains(
        "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\""
    ));
    let asks =
        [" src=", " href=", "url(", "@import", "fetch(", "XMLHttpRequest", "http:", "https:"];
    let found: Vec<_> = asks.into_iter().filter(|word| page.contains(word)).collect();
    assert!(found.is_empty(), "{found:?}");
    let placeholders = page.matches("@@").count();
    assert_eq!(placeholders, 0);
}
