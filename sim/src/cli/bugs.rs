//! `cargo sim bugs`: brings the bugs of the bank back, one at a time, and counts who finds them.
#![expect(
    clippy::disallowed_methods,
    reason = "programs are built and run, in real time; nothing of it gets into a trace"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::campaign::bank::{Baseline, Bug, Figures};
use crate::campaign::seeds::{Outcome, Tally};
use crate::record::report::Verdict;
use crate::scenario::Scenario;

use super::input::time;
use super::output::{BAD_INPUT, NOTHING_RAN, Target, complain, count, print};

#[derive(Args)]
pub(crate) struct BugsArgs {
    /// Which bugs, by their number or the begin of their name [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How many seeds each campaign replays, none of them stopped early
    #[arg(long, value_name = "N", default_value = "2000", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How long to shrink what a campaign finds, such as 30s; 0s for not at all
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time)]
    shrink: Duration,
    /// Runs the campaigns only, and not the tests of lessor
    #[arg(long)]
    no_tests: bool,
    /// Where the patches and their baseline are [default: scenarios/bugs, here or above]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Which package has the program that replays the seeds; of another than lessor-sim no tests are run
    #[arg(long, value_name = "NAME", default_value = OURS)]
    package: String,
    /// Only prints the table of the baseline, and runs nothing
    #[arg(long, conflicts_with_all = ["check", "gate", "bless", "no_tests", "json"])]
    list: bool,
    /// Only verifies that each patch applies, and lands in the function that it names
    #[arg(long, conflicts_with_all = ["gate", "bless", "no_tests"])]
    check: bool,
    /// Fails if a bug is missed, or found much less often than the baseline says
    #[arg(long, conflicts_with = "bless")]
    gate: bool,
    /// Takes the figures as the baseline, scenarios/bugs/baseline.json
    #[arg(long)]
    bless: bool,
    /// Writes the figures as JSON to a file, or to the standard output (`-`) in place of the table
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Measures the bugs of the bank, and gives the exit code.
pub(crate) fn run(args: &BugsArgs) -> u8 {
    let target = match Target::open(args.json.as_deref()) {
        Ok(target) => target,
        Err(code) => return code,
    };
    let bank = match Bank::open(args) {
        Ok(bank) => bank,
        Err((what, code)) => {
            complain(&what);
            return code;
        }
    };
    if args.list {
        return match bank.baseline() {
            Ok(mut baseline) => {
                baseline.bugs.retain(|name, _| bank.bugs.iter().any(|bug| bug.name == *name));
                print(&table(&bank.bugs, &baseline.bugs));
                0
            }
            Err(what) => {
                complain(&what);
                BAD_INPUT
            }
        };
    }
    let baseline = if args.gate { bank.baseline().map(Some) } else { Ok(None) };
    let baseline = match baseline {
        Ok(baseline) => baseline,
        Err(what) => {
            complain(&what);
            return BAD_INPUT;
        }
    };
    let bugs = count(bank.bugs.len(), "bug", "bugs");
    let verb = if args.check { "applies" } else { "plants, builds and measures" };
    complain(&format!("{verb} {bugs}, one after the other"));
    // Who measures the bank must know that what it finds are the bugs.
    if !args.check
        && (args.names.is_empty() || args.gate || args.bless)
        && let Err(what) = bank.control(args)
    {
        complain(&format!("the workspace as it is, without a bug: {what}"));
        return REGRESSED;
    }
    let (mut measured, mut stale) = (BTreeMap::new(), Vec::new());
    for (position, bug) in bank.bugs.iter().enumerate() {
        let outcome = bank.plant(bug).and_then(|()| {
            if args.check { Ok(None) } else { bank.measure(&bug.name, args).map(Some) }
        });
        match outcome {
            Ok(None) => {}
            Ok(Some(figures)) => {
                complain(&format!("{}/{} {}: {figures}", position + 1, bank.bugs.len(), bug.name));
                measured.insert(bug.name.clone(), figures);
                // At once, so that a run of an hour that is interrupted was not for nothing.
                if args.bless
                    && let Err(what) = bank.bless(&measured)
                {
                    complain(&what);
                    return BAD_INPUT;
                }
            }
            Err(what) => stale.push(format!("{}: {what}", bug.path.display())),
        }
    }
    for what in &stale {
        complain(what);
    }
    let stale = !stale.is_empty();
    if args.check {
        let patches = count(bank.bugs.len(), "patch", "patches");
        let all = if stale { "not all" } else { "all" };
        print(&format!("{patches}: {all} apply where they should\n"));
        return if stale { REGRESSED } else { 0 };
    }
    // What nobody ever found is no news to the gate.
    let failed = match &baseline {
        Some(baseline) => regressions(baseline, &measured) > 0,
        None => measured.values().any(|figures| !figures.is_found()),
    };
    let code = if stale || failed { REGRESSED } else { 0 };
    let prints = target.leaves_stdout();
    let document = json!({ "schema": 1, "exit_code": code, "bugs": measured });
    let code = target.write_json(code, &document);
    if prints {
        print(&table(&bank.bugs, &measured));
    }
    code
}

/// The bugs, and a copy of the workspace to plant them in.
struct Bank {
    bugs: Vec<Bug>,
    /// Where the patches are.
    patches: PathBuf,
    /// The repository.
    root: PathBuf,
    /// Where in it cargo runs.
    inside: PathBuf,
    /// Where all that is made is kept.
    folder: PathBuf,
    tree: PathBuf,
    /// Held, so that nobody else plants a bug there meanwhile.
    _lock: File,
}

impl Bank {
    fn open(args: &BugsArgs) -> Result<Self, (String, u8)> {
        let names = &args.names;
        let here = std::env::current_dir().unwrap_or_default();
        let workspace = match &args.folder {
            Some(_) => Some(&*here),
            None => here.ancestors().find(|folder| folder.join(BUGS).is_dir()),
        };
        let workspace = workspace.ok_or_else(|| {
            let what = format!(
                "no folder {BUGS} here or above; run this in the workspace, or name one with --folder"
            );
            (what, NOTHING_RAN)
        })?;
        let patches = workspace.join(args.folder.as_deref().unwrap_or(Path::new(BUGS)));
        let mut bugs = Bug::load_all(&patches).map_err(|what| (what, BAD_INPUT))?;
        if let Some(name) = names.iter().find(|name| !bugs.iter().any(|bug| is_named(bug, name))) {
            let folder = args.folder.as_deref().unwrap_or(Path::new(BUGS)).display();
            return Err((format!("no bug of {folder} is named {name}…"), NOTHING_RAN));
        }
        let root = repository(workspace);
        let inside = workspace.strip_prefix(&root).unwrap_or(Path::new("")).to_path_buf();
        bugs.retain(|bug| names.is_empty() || names.iter().any(|name| is_named(bug, name)));
        // Of its own, so that `just check` does not get into the way of a measurement.
        let folder = if args.check { "target/sim/bugs-check" } else { "target/sim/bugs" };
        let folder = workspace.join(folder);
        let lock = lock(&folder).map_err(|what| (what, BAD_INPUT))?;
        let tree = folder.join("tree");
        Ok(Self { bugs, patches, root, inside, tree, folder, _lock: lock })
    }

    /// Makes the copy what the workspace is, with this bug in it.
    fn plant(&self, bug: &Bug) -> Result<(), String> {
        self.copy().map_err(|error| format!("cannot copy the workspace: {error}"))?;
        // Else a patch that only adds lines might be applied twice.
        if self.git_apply(bug, &["--reverse", "--check"])?.status.success() {
            let name = bug.path.strip_prefix(&self.root).unwrap_or(&bug.path).display();
            return Err(format!(
                "the workspace has this bug already; take it out: git apply --reverse {name}"
            ));
        }
        let applied = self.git_apply(bug, &[])?;
        if !applied.status.success() {
            let what = String::from_utf8_lossy(&applied.stderr);
            return Err(format!("does not apply: {}", what.trim().replace('\n', "; ")));
        }
        bug.has_landed(&self.tree)
    }

    /// Applies a patch to the copy.
    fn git_apply(&self, bug: &Bug, how: &[&str]) -> Result<Output, String> {
        let mut apply = Command::new("git");
        // Else git would take the copy for a part of the repository around it.
        apply.env("GIT_CEILING_DIRECTORIES", &self.folder);
        apply.args(["apply", "--whitespace=nowarn"]).args(how).arg(&bug.path);
        apply.current_dir(&self.tree).output().map_err(|error| format!("git: {error}"))
    }

    /// Verifies that a campaign and the tests find nothing where there is no bug.
    fn control(&self, args: &BugsArgs) -> Result<(), String> {
        self.copy().map_err(|error| format!("cannot copy the workspace: {error}"))?;
        let figures = self.measure("control", args)?;
        if figures.is_found() {
            return Err(format!("found {}", found_by(&figures).join(", ")));
        }
        complain(&format!("control, no bug: {figures}"));
        Ok(())
    }

    /// Makes the copy what git knows of the workspace, and leaves alone what is the same already, so that
    /// little is built anew.
    fn copy(&self) -> std::io::Result<()> {
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = list.current_dir(&self.root).output()?;
        if !listed.status.success() {
            return Err(std::io::Error::other("git does not know the workspace"));
        }
        let names = String::from_utf8_lossy(&listed.stdout);
        let mut known = BTreeSet::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (self.root.join(name), self.tree.join(name));
            let Ok(bytes) = std::fs::read(&from) else { continue };
            known.insert(to.clone());
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().expect("it is in the copy"))?;
            std::fs::write(&to, bytes)?;
        }
        remove_others(&self.tree, &known)
    }

    /// Builds the copy, and lets a campaign, the shrinker and the tests look for the bug.
    fn measure(&self, name: &str, args: &BugsArgs) -> Result<Figures, String> {
        let kept = self.folder.join(name);
        // Nothing of an earlier run is to be taken for one of this.
        let emptied = if kept.exists() { std::fs::remove_dir_all(&kept) } else { Ok(()) };
        let made = emptied.and_then(|()| std::fs::create_dir_all(&kept));
        made.map_err(|error| format!("{}: {error}", kept.display()))?;
        let log = |name| Log(kept.join(name));
        let mut build = vec!["build", "--release", "--package", &args.package];
        // A bug touches a file or two, and little is built anew; the code runs as fast as that of a release.
        for setting in [
            "profile.release.incremental=true",
            "profile.release.codegen-units=64",
            "profile.release.debug=false",
            "profile.release.opt-level=2",
        ] {
            build.extend(["--config", setting]);
        }
        let [program] = &self.build(&build, &log("build.json"))?[..] else {
            return Err("cargo has not built one program".to_owned());
        };
        let (seeds, json) = (args.seeds.to_string(), kept.join("campaign.json"));
        let mut fuzz = Command::new(program);
        fuzz.args(["fuzz", "--keep-going", "--seeds", &seeds, "--json"]).arg(&json);
        if within(fuzz.current_dir(&self.tree), LONGEST_CAMPAIGN, &log("campaign.txt"))?.is_none() {
            return Err(format!(
                "the campaign did not end within {} s",
                LONGEST_CAMPAIGN.as_secs()
            ));
        }
        let tally = std::fs::read(&json).map_err(|error| format!("no campaign: {error}"))?;
        let tally: Tally = serde_json::from_slice(&tally).map_err(|error| error.to_string())?;
        let mut figures = Figures { seeds: tally.seeds.len() as u64, ..Figures::default() };
        if figures.seeds != args.seeds {
            return Err(format!("the campaign ended after {} seeds", figures.seeds));
        }
        let mut commonest = None;
        for (fingerprint, outcomes) in tally.failures() {
            let of_testbed =
                |one: &&&Outcome| Verdict::of_word(&one.verdict) == Some(Verdict::Testbed);
            if let Some(outcome) = outcomes.iter().find(of_testbed) {
                return Err(format!("the testbed itself fails: {}", outcome.findings.join("; ")));
            }
            figures.hits += outcomes.len() as u64;
            figures.by.insert(fingerprint.to_owned(), outcomes.len() as u64);
            commonest = commonest.max(Some((outcomes.len(), outcomes[0].seed)));
        }
        if let Some((_, seed)) = commonest.filter(|_| !args.shrink.is_zero()) {
            let (file, time) =
                (kept.join("shrunk.toml"), format!("{}s", args.shrink.as_secs_f64()));
            let mut shrink = Command::new(program);
            shrink.args(["shrink", &seed.to_string(), "--time", &time, "-o"]).arg(&file);
            within(
                shrink.current_dir(&self.tree),
                args.shrink + LONGEST_REPLAYS,
                &log("shrink.txt"),
            )?;
            let shrunk = Scenario::load(&file).map_err(|error| error.to_string())?;
            figures.steps = Some((shrunk.steps.len() + shrunk.herds.len()) as u64);
        }
        if !args.no_tests && args.package == OURS {
            figures.tests = Some(self.test(&kept)?);
        }
        Ok(figures)
    }

    /// How many tests of `lessor` fail, by their kind; `hang` is for a binary of them that had to be ended.
    fn test(&self, kept: &Path) -> Result<BTreeMap<String, u64>, String> {
        let build = ["test", "--no-run", "--package", "lessor", "--lib", "--test", "it"];
        let programs = self.build(&build, &Log(kept.join("tests.json")))?;
        if programs.len() != 2 {
            return Err(format!("cargo has built {} programs of tests, not 2", programs.len()));
        }
        let mut failed = BTreeMap::<String, u64>::new();
        for program in programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let log = Log(kept.join(format!("tests-{name}.txt")));
            let mut tests = Command::new(&program);
            // Nobody looks at the cases, and shrinking one may take longer than all tests.
            tests.env("PROPTEST_MAX_SHRINK_ITERS", "0").current_dir(self.tree.join("lessor"));
            let ended = within(&mut tests, LONGEST_TESTS, &log)?;
            let text = log.read()?;
            let names = text.lines().filter_map(|line| {
                line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
            });
            let (mut silent, mut count) = (true, |kind: &str| {
                *failed.entry(kind.to_owned()).or_default() += 1;
            });
            for name in names {
                silent = false;
                count(kind_of(name));
            }
            match ended {
                None => count("hang"),
                Some(code) if code != 0 && silent => count("crash"),
                Some(_) => {}
            }
        }
        Ok(failed)
    }

    /// Runs cargo in the copy, and gives the programs that it has built.
    fn build(&self, args: &[&str], log: &Log) -> Result<Vec<PathBuf>, String> {
        let mut cargo = Command::new("cargo");
        cargo.args(args).args(["--message-format", "json"]);
        cargo.env("CARGO_TARGET_DIR", self.folder.join("build"));
        cargo.current_dir(self.tree.join(&self.inside));
        match within(&mut cargo, LONGEST_BUILD, log)? {
            Some(0) => {
                let said = log.read()?;
                let lines =
                    said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                Ok(lines.filter_map(|line| Some(line["executable"].as_str()?.into())).collect())
            }
            Some(_) => Err(format!("does not build, see {}", log.errors().display())),
            None => Err(format!("is not built within {} s", LONGEST_BUILD.as_secs())),
        }
    }

    fn baseline(&self) -> Result<Baseline, String> {
        let path = self.patches.join(BASELINE);
        let text = std::fs::read(path).map_err(|error| format!("{BASELINE}: {error}"))?;
        serde_json::from_slice(&text).map_err(|error| format!("{BASELINE}: {error}"))
    }

    fn bless(&self, measured: &BTreeMap<String, Figures>) -> Result<(), String> {
        let path = self.patches.join(BASELINE);
        let mut baseline = if path.exists() { self.baseline()? } else { Baseline::default() };
        baseline.bugs.extend(measured.clone());
        let mut text =
            serde_json::to_string_pretty(&baseline).map_err(|error| error.to_string())?;
        text.push('\n');
        std::fs::write(&path, text).map_err(|error| format!("{BASELINE}: {error}"))
    }
}

/// Says what is worse than in the baseline, and how much that is.
fn regressions(baseline: &Baseline, measured: &BTreeMap<String, Figures>) -> usize {
    let worse = measured.iter().filter_map(|(name, figures)| {
        let worse = match baseline.bugs.get(name) {
            Some(before) => figures.is_no_worse_than(before),
            None => Err(format!("{BASELINE} has no figures of it, --bless takes these")),
        };
        worse.err().map(|what| format!("{name}: {what}"))
    });
    worse.inspect(|what| complain(what)).count()
}

/// The repository that a folder is in, whose names the patches have; without one, the folder.
fn repository(folder: &Path) -> PathBuf {
    let mut asked = Command::new("git");
    let asked = asked.args(["rev-parse", "--show-toplevel"]).current_dir(folder).output();
    let found = asked.ok().filter(|output| output.status.success());
    let found = found.and_then(|output| String::from_utf8(output.stdout).ok());
    found.map_or(folder.to_path_buf(), |path| path.trim_end().into())
}

/// Makes a folder, and keeps others from using it for as long as the file is open.
fn lock(folder: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(format!("{}: another run plants its bugs there; wait for it", folder.display()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The file that what a program prints goes to.
struct Log(PathBuf);

impl Log {
    /// Where its standard error goes.
    fn errors(&self) -> PathBuf {
        self.0.with_extension("err")
    }

    fn read(&self) -> Result<String, String> {
        let text = std::fs::read(&self.0).map_err(|error| self.failed(&error))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn failed(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.0.display())
    }
}

/// Runs a program, and gives its exit code. None if it had to be ended.
fn within(command: &mut Command, limit: Duration, log: &Log) -> Result<Option<i32>, String> {
    let failed = |error: std::io::Error| format!("cannot run a program: {error}");
    let output = File::create(&log.0).map_err(|error| log.failed(&error))?;
    let errors = File::create(log.errors()).map_err(|error| log.failed(&error))?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let (start, mut child) = (Instant::now(), command.spawn().map_err(failed)?);
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if start.elapsed() > limit {
            // First what it has started, which would go on and slow down whoever comes next.
            let mut children = Command::new("pkill");
            children.args(["-KILL", "-P", &child.id().to_string()]).status().ok();
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Removes the files below a folder that are not among these.
fn remove_others(folder: &Path, known: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, known)?;
        } else if !known.contains(&path) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// By its number, or by the begin of its name.
fn is_named(bug: &Bug, name: &str) -> bool {
    let number = bug.name.split('-').next().unwrap_or_default();
    let is_number = name.parse::<u32>().is_ok_and(|named| number.parse() == Ok(named));
    is_number || (name.len() > number.len() && bug.name.starts_with(name))
}

/// The layer that a test of `lessor` belongs to.
fn kind_of(test: &str) -> &'static str {
    let module = test.split("::").next().unwrap_or_default();
    match module {
        "conformance" => "conformance",
        "random" | "member_machine" | "crash_machine" | "crash_driver" | "laws" => "proptest",
        _ => "unit",
    }
}

/// Who found a bug how often: the properties of the campaign that did most often, then kinds of tests.
fn found_by(figures: &Figures) -> Vec<String> {
    let mut by: Vec<_> = figures.by.iter().collect();
    by.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let campaign = by.into_iter().take(3);
    let all = campaign.chain(figures.tests.iter().flatten());
    all.map(|(who, count)| format!("{who} {count}")).collect()
}

fn table(bugs: &[Bug], measured: &BTreeMap<String, Figures>) -> String {
    let width = bugs.iter().map(|bug| bug.name.len()).max().unwrap_or_default();
    let mut text = format!(
        "{:width$}  {:>9}  {:>13}  {:>6}  {:>5}  found by\n",
        "bug", "hits", "95 %", "1 in", "steps"
    );
    for bug in bugs {
        let Some(figures) = measured.get(&bug.name) else {
            let _ = writeln!(text, "{:width$}  no figures", bug.name);
            continue;
        };
        let found = found_by(figures);
        let found = if found.is_empty() { "nobody".to_owned() } else { found.join(", ") };
        let _ = writeln!(text, "{:width$}  {figures}  {found}", bug.name);
    }
    let these = |is: &dyn Fn(&Figures) -> bool| measured.values().filter(|one| is(one)).count();
    let found = these(&Figures::is_found);
    let campaign = these(&|figures| figures.hits > 0);
    let (all, missed) = (measured.len(), measured.len() - found);
    let _ = writeln!(
        text,
        "{}: {campaign} found by the campaign, {} by tests alone, {missed} missed",
        count(all, "bug", "bugs"),
        found - campaign
    );
    text
}

const BUGS: &str = "scenarios/bugs";
const BASELINE: &str = "baseline.json";
/// The package of the product's own simulator.
const OURS: &str = "lessor-sim";
const REGRESSED: u8 = 6;
const LONGEST_BUILD: Duration = Duration::from_secs(1_200);
const LONGEST_CAMPAIGN: Duration = Duration::from_secs(1_800);
const LONGEST_TESTS: Duration = Duration::from_secs(300);
/// What the shrinker replays before and after its time.
const LONGEST_REPLAYS: Duration = Duration::from_secs(120);

pub(crate) const BUGS_HELP: &str = "\
Examples:
  cargo sim bugs                                       all bugs: campaigns of 2000 seeds, and the tests
  cargo sim bugs 07 24 --seeds 500                     two of them, by their numbers
  cargo sim bugs --list                                what is there, and what the baseline says of it
  cargo sim bugs --check                               does each patch apply where it should?
  cargo sim bugs --gate --no-tests                     has a campaign become blind?
  cargo sim bugs --folder my/bugs --package my-sim     those of a simulator of one's own

What is found is kept in target/sim/bugs, with the shrunk scenario. Exit codes: 0 every bug is found ·
2 bad input · 4 no such bug · 6 a bug is missed, a patch is stale, something is found where no bug is, or
the gate has failed.";
