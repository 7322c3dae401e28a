//! What came of a campaign, as a page for a browser: `fuzz --html`.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::path::{Component, Path, PathBuf};

use super::fuzz::{PICTURE, folder, verdict_in_words};
use crate::campaign::seeds::{Outcome, Tally};

/// A page that is to be at this path, from which it names the pictures of failures.
pub(super) fn campaign_page(command: &str, tally: &Tally, path: &Path) -> String {
    let verdict = tally.verdict().word();
    let line = verdict_in_words(tally);
    let line = line.trim().split_once(": ").map_or(line.as_str(), |(_, rest)| rest);
    let class = if verdict == "clean" { "good" } else { "bad" };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>campaign: {verdict}</title>\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n\
         <h1><span class=\"{class}\">{verdict}</span> {}</h1>\n",
        escaped(line),
    );
    failures(&mut page, command, tally, path);
    growth(&mut page, tally);
    let faults = tally.faults.iter().map(|(kind, injected)| {
        let words = format!("{} of {}", injected.effective, injected.ordered);
        (kind.as_str(), injected.effective, injected.ordered.max(1), words)
    });
    bars(&mut page, "Faults that met something, of those that were ordered", faults);
    counts(&mut page, "Marks, the rarest first (on a scale of powers)", &tally.marks);
    counts(&mut page, "How often each property was judged (on a scale of powers)", &tally.judged);
    let mut slowest: Vec<&Outcome> = tally.seeds.iter().collect();
    slowest.sort_by_key(|outcome| (std::cmp::Reverse(outcome.wall_us), outcome.seed));
    let longest = slowest.first().map_or(1, |outcome| outcome.wall_us.max(1));
    let seeds: Vec<_> = slowest
        .iter()
        .take(10)
        .map(|outcome| (outcome.seed.to_string(), outcome.wall_us, outcome.events))
        .collect();
    let slowest = seeds.iter().map(|(seed, wall, events)| {
        (seed.as_str(), *wall, longest, format!("{} ms, {events} events", wall / 1_000))
    });
    bars(&mut page, "The slowest seeds", slowest);
    page.push_str("</body>\n</html>\n");
    page
}

fn failures(page: &mut String, command: &str, tally: &Tally, path: &Path) {
    let failures = tally.failures();
    if failures.is_empty() {
        return;
    }
    page.push_str("<h2>Failures</h2>\n");
    for (fingerprint, outcomes) in failures {
        let first = outcomes[0];
        let seeds: Vec<_> =
            outcomes.iter().take(20).map(|outcome| outcome.seed.to_string()).collect();
        let picture = from(path, &folder(first).join(PICTURE));
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "<section><h3>{} in {} of {} seeds</h3>\n<p>{}</p>\n\
             <p><a href=\"{}\">the picture of seed {seed}</a>; seeds {}</p>\n\
             <pre>{command} replay {seed}\n{command} shrink {seed}\n{command} why {seed}</pre></section>\n",
            escaped(fingerprint),
            outcomes.len(),
            tally.seeds.len(),
            escaped(first.findings.first().map_or("", String::as_str)),
            escaped(&picture.display().to_string()),
            seeds.join(", "),
            seed = first.seed,
            command = escaped(command).to_string(),
        );
    }
}

/// How many marks were reached within how many seeds, as a curve.
fn growth(page: &mut String, tally: &Tally) {
    let (seeds, marks) = (tally.seeds.len().max(1), tally.marks.len().max(1));
    let position = |seed: &u64| tally.seeds.partition_point(|outcome| outcome.seed < *seed) + 1;
    let mut first: Vec<usize> = tally.first_reached.values().map(position).collect();
    first.sort_unstable();
    let mut points = String::from("0,100");
    for (reached, after) in first.iter().enumerate() {
        let x = after * 600 / seeds;
        let (before, now) = (100 - reached * 100 / marks, 100 - (reached + 1) * 100 / marks);
        let _ = write!(points, " {x},{before} {x},{now}");
    }
    let _ = write!(points, " 600,{}", 100 - first.len() * 100 / marks);
    let last = first.last().copied().unwrap_or(0);
    let _ = write!(
        page,
        "<h2>Growth</h2>\n<p>{} of {marks} marks were reached; the last new one after {last} of {seeds} seeds.</p>\n\
         <svg viewBox=\"0 -4 600 108\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"marks reached, over seeds\">\
         <polyline points=\"{points}\"/></svg>\n",
        first.len(),
    );
}

/// A table of bars: a name, a part of a whole, and what to say of it.
fn bars<'a>(
    page: &mut String,
    title: &str,
    rows: impl Iterator<Item = (&'a str, u64, u64, String)>,
) {
    let _ = write!(page, "<h2>{title}</h2>\n<table>\n");
    for (name, part, whole, words) in rows {
        let none = if part == 0 { " class=\"none\"" } else { "" };
        let _ = writeln!(
            page,
            "<tr{none}><th>{}</th><td><i style=\"width:{}%\"></i></td><td>{}</td></tr>",
            escaped(name),
            part.min(whole) * 100 / whole.max(1),
            escaped(&words),
        );
    }
    page.push_str("</table>\n");
}

/// A table of counts that are far apart, the least first.
fn counts(page: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    let most = counts.values().max().copied().unwrap_or(1);
    let mut sorted: Vec<_> = counts.iter().map(|(name, count)| (*count, name.as_str())).collect();
    sorted.sort_unstable();
    let rows = sorted.into_iter();
    bars(page, title, rows.map(|(count, name)| (name, log(count), log(most), count.to_string())));
}

/// The place of a count on a scale of powers of two.
fn log(count: u64) -> u64 {
    u64::from(u64::BITS - count.leading_zeros())
}

/// A path, as the page at another one names it.
fn from(page: &Path, path: &Path) -> PathBuf {
    let folder = page.parent().unwrap_or(Path::new(""));
    if page.is_absolute() || folder.components().any(|of| matches!(of, Component::ParentDir)) {
        return std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    }
    let up = folder.components().filter(|of| matches!(of, Component::Normal(_)));
    up.map(|_| "..").collect::<PathBuf>().join(path)
}

/// Text in a page.
fn escaped(text: &str) -> impl Display {
    fmt::from_fn(move |f| {
        text.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    })
}

const STYLE: &str = include_str!("campaign_page.css");

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, fingerprint: &str) -> Outcome {
        Outcome {
            seed,
            hash: String::new(),
            verdict: if fingerprint.is_empty() { "clean" } else { "safety" }.to_owned(),
            fingerprint: fingerprint.to_owned(),
            findings: vec!["S2: 1 < 2 & \"so\"".to_owned()],
            events: 7,
            virtual_ms: 1,
            wall_us: 2_000,
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally {
            seeds: vec![outcome(0, ""), outcome(5, "S2"), outcome(9, "")],
            ..Tally::default()
        };
        tally.marks = [("rare".to_owned(), 0), ("common".to_owned(), 1_000)].into();
        tally.first_reached = [("common".to_owned(), 5)].into();
        tally
    }

    #[test]
    fn a_page_has_the_failures_with_commands_and_pictures_and_asks_nobody() {
        let page = campaign_page("cargo sim", &tally(), Path::new("reports/today/page.html"));
        for part in [
            "S2 in 1 of 3 seeds",
            "S2: 1 &lt; 2 &amp; &quot;so&quot;",
            "href=\"../../target/sim/failures/S2/seed-5/timeline.html\"",
            "cargo sim replay 5\ncargo sim shrink 5\ncargo sim why 5",
            "1 of 2 marks were reached; the last new one after 2 of 3 seeds",
            "<tr class=\"none\"><th>rare</th>",
            "default-src 'none'",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("http:") && !page.contains("<script"));
    }

    #[test]
    fn a_page_in_another_folder_finds_the_pictures() {
        let picture = Path::new("target/x.html");
        assert_eq!(from(Path::new("page.html"), picture), picture);
        assert_eq!(from(Path::new("a/b/page.html"), picture), Path::new("../../target/x.html"));
        assert!(from(Path::new("../page.html"), picture).is_absolute());
    }
}
