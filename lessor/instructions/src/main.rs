//! Counts the instructions of each hot path of the core, and fails if one is not what the baseline says.
//!
//! `just instructions`, docs/BENCHMARKS.md. valgrind runs this very program, once for each number of leases,
//! and writes a profile whenever [`measured`] returns; nothing outside of that function is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use self::figures::{Figures, Kind, TOLERANCE};
use self::paths::Count;

mod figures;
mod paths;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => guard(),
        ["--bless"] => bless(),
        ["measure", leases] => measure(leases, None, false),
        ["measure", leases, "slow-renew"] => measure(leases, None, true),
        ["measure", leases, path] => measure(leases, Some(path), false),
        _ => Err(format!("{arguments:?} is not understood; say nothing, or --bless")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("instructions: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Compares what is counted with the baseline, after it has seen that a slower renew would be found.
fn guard() -> Result<(), String> {
    let text = fs::read_to_string(BASELINE).map_err(|error| format!("{BASELINE}: {error}"))?;
    let baseline = Figures::parse(&text).map_err(|what| format!("{BASELINE}: {what}"))?;
    let found = count_all()?;
    print!("{found}");
    canary(&found)?;
    let differences = baseline.differences(&found);
    for difference in &differences {
        println!("{difference}");
    }
    if differences.is_empty() {
        println!("each is within {:.0} % of the baseline", 100.0 * TOLERANCE);
        return Ok(());
    }
    let compiler = if baseline.build == found.build {
        String::new()
    } else {
        format!(" (the baseline is of {}, and this is {})", baseline.build, found.build)
    };
    Err(format!(
        "{} of these are not within {:.0} % of the baseline{compiler}; if that is meant, \
        `just instructions --bless` takes them, and the commit says why",
        differences.len(),
        100.0 * TOLERANCE,
    ))
}

/// A renew that looks its lease up twice must be found dearer, and nothing else.
fn canary(found: &Figures) -> Result<(), String> {
    let mut before = found.clone();
    for row in before.rows.values_mut() {
        row.retain(|leases, _| *leases == SIZES[0]);
    }
    let mut slow = Figures::default();
    Counting::start(SIZES[0], true)?.finish(&mut slow)?;
    let differences = before.differences(&slow);
    match &differences[..] {
        [one] if one.path == "renew" && matches!(one.kind, Kind::Dearer { .. }) => {
            println!("canary, a renew that looks its lease up twice: {one}");
            Ok(())
        }
        _ => Err(format!("a renew that looks its lease up twice should be found: {differences:?}")),
    }
}

fn bless() -> Result<(), String> {
    let found = count_all()?;
    canary(&found)?;
    print!("{found}");
    fs::write(BASELINE, found.to_string()).map_err(|error| format!("{BASELINE}: {error}"))
}

fn count_all() -> Result<Figures, String> {
    let mut figures = Figures { build: build()?, ..Figures::default() };
    let counting: Result<Vec<_>, _> =
        SIZES.into_iter().map(|leases| Counting::start(leases, false)).collect();
    for counting in counting? {
        counting.finish(&mut figures)?;
    }
    Ok(figures)
}

fn build() -> Result<String, String> {
    if cfg!(debug_assertions) {
        return Err(
            "this is a debug build, whose figures mean nothing; run: just instructions".to_owned()
        );
    }
    let output = Command::new("rustc").arg("--version").output();
    let output = output.map_err(|error| format!("rustc --version: {error}"))?;
    let rustc = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(format!("{rustc}, {}-{}", std::env::consts::ARCH, std::env::consts::OS))
}

/// This program, as valgrind runs it.
struct Counting {
    leases: u64,
    valgrind: Child,
    profiles: PathBuf,
}

impl Counting {
    fn start(leases: u64, slow_renew: bool) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("no program: {error}"))?;
        let kind = if slow_renew { "slow-renew" } else { "paths" };
        let folder = program.with_file_name(format!("instructions-{kind}-{leases}"));
        // A profile of another run must not be taken for one of this.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let profiles = folder.join("profile");
        let valgrind = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .args([format!("--toggle-collect={MEASURED}"), format!("--dump-after={MEASURED}")])
            .arg(format!("--callgrind-out-file={}", profiles.display()))
            .arg(&program)
            .args(["measure", &leases.to_string()])
            .args(slow_renew.then_some(kind))
            .env("GLIBC_TUNABLES", SAME_ON_EVERY_PROCESSOR)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("valgrind: {error}; run: apt-get install valgrind"))?;
        Ok(Self { leases, valgrind, profiles })
    }

    /// The n-th profile is that of the n-th path that the program names.
    fn finish(self, figures: &mut Figures) -> Result<(), String> {
        let output = self.valgrind.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("valgrind with {} leases: {}", self.leases, output.status));
        }
        for (number, line) in (1..).zip(String::from_utf8_lossy(&output.stdout).lines()) {
            let (path, operations) = line.split_once(' ').ok_or("a path has no operations")?;
            let operations: f64 = operations.parse().map_err(|_| "operations are a number")?;
            let total = total(&self.profiles.with_extension(number.to_string()))?;
            figures.add(path, self.leases, total / operations);
        }
        Ok(())
    }
}

/// The instructions of a profile.
fn total(profile: &Path) -> Result<f64, String> {
    let text =
        fs::read_to_string(profile).map_err(|error| format!("{}: {error}", profile.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or(format!("{} has no total", profile.display()))
}

/// Does all paths, or the one of that name, and names each after it was done.
fn measure(leases: &str, only: Option<&str>, slow_renew: bool) -> Result<(), String> {
    let leases = leases.parse().map_err(|_| format!("{leases} is no number of leases"))?;
    paths::run(leases, slow_renew, &mut Named { only });
    Ok(())
}

struct Named<'a> {
    only: Option<&'a str>,
}

impl Count for Named<'_> {
    fn measure(&mut self, path: &'static str, operations: u64, work: &mut dyn FnMut()) {
        if self.only.is_none_or(|only| only == path) {
            measured(work);
            println!("{path} {operations}");
        } else {
            work();
        }
    }
}

/// What is counted. Valgrind sees it begin and end, so it must not be inlined, nor end in a jump.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    std::hint::black_box(());
}

const MEASURED: &str = "lessor_instructions::measured";
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.txt");
const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
/// glibc copies memory in the way that is best for the processor. This is the way that each of them has.
const SAME_ON_EVERY_PROCESSOR: &str = "\
    glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-SSSE3:\
    glibc.cpu.x86_non_temporal_threshold=0xc0000000";
