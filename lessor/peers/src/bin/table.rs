//! Makes one table of the files of samples that it is given, and says which goals of the project they meet.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Samples::read(std::env::args().skip(1)).and_then(|samples| {
        let table = samples.table();
        Ok(format!("{table}\n{}", samples.goals()?))
    }) {
        Ok(tables) => {
            print!("{tables}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("lessor/peers: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The sorted values by operation, number of leases and peer.
struct Samples(BTreeMap<(String, u64, String), Vec<f64>>);

impl Samples {
    fn read(files: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut samples = BTreeMap::new();
        for file in files {
            let text =
                std::fs::read_to_string(&file).map_err(|e| format!("cannot read {file}: {e}"))?;
            for line in text.lines() {
                let (key, value) =
                    parse(line).ok_or_else(|| format!("{file}: no sample: {line:?}"))?;
                samples.entry(key).or_insert_with(Vec::new).push(value);
            }
        }
        samples.values_mut().for_each(|values| values.sort_unstable_by(f64::total_cmp));
        Ok(Self(samples))
    }

    /// A row for each operation and number of leases, a column for each peer.
    fn table(&self) -> String {
        let mut table = format!("| | {OURS} | {ETCD} | {ETCD} / {OURS} |");
        for peer in OTHERS {
            table += &format!(" {peer} |");
        }
        table += &format!("\n|{}\n", "---|".repeat(4 + OTHERS.len()));
        for (operation, label) in OPERATIONS {
            let measured = self.0.keys().filter(|key| key.0 == operation);
            for leases in measured.map(|key| key.1).collect::<BTreeSet<_>>() {
                let ratio =
                    self.ratio(operation, leases).map_or("-".into(), |ratio| format!("{ratio:.1}"));
                let cell = |peer| self.cell(operation, leases, peer);
                let (ours, etcd) = (cell(OURS), cell(ETCD));
                table += &format!("| {label}, {} | {ours} | {etcd} | {ratio} |", grouped(leases));
                for peer in OTHERS {
                    table += &format!(" {} |", cell(peer));
                }
                table += "\n";
            }
        }
        table
    }

    /// What was asked for, what was measured, and whether it is enough.
    fn goals(&self) -> Result<String, String> {
        let mut goals = String::from("| goal | asked for | measured | |\n|---|---|---|---|\n");
        let mut goal = |what: &str, asked: String, measured: f64, met: bool| {
            let verdict = if met { "met" } else { "missed" };
            goals += &format!("| {what} | {asked} | {measured:.1} | {verdict} |\n");
        };
        for (operation, leases, least) in RATIOS {
            let missing =
                || format!("{operation} of {leases} leases was not measured of {ETCD} and {OURS}");
            let ratio = self.ratio(operation, leases).ok_or_else(missing)?;
            let what = format!("{operation}, {}: times faster than etcd", grouped(leases));
            goal(&what, format!("at least {least}"), ratio, ratio >= least);
        }
        let ours =
            self.median("bytes", MEMORY, OURS).ok_or("the memory of a lease was not measured")?;
        goal("bytes a lease", format!("at most {BYTES}"), ours, ours <= BYTES);
        let ratio =
            self.ratio("bytes", MEMORY).ok_or("the memory of etcd's lease was not measured")?;
        goal(
            "bytes a lease: times fewer than etcd",
            format!("at least {FEWER}"),
            ratio,
            ratio >= FEWER,
        );
        Ok(goals)
    }

    /// By what etcd's median is greater than ours; without its store where it was only measured so.
    fn ratio(&self, operation: &str, leases: u64) -> Option<f64> {
        let etcd = self.median(operation, leases, ETCD);
        let etcd = etcd.or_else(|| self.median(operation, leases, ETCD_ALONE))?;
        Some(etcd / self.median(operation, leases, OURS)?)
    }

    fn median(&self, operation: &str, leases: u64, peer: &str) -> Option<f64> {
        let values = self.0.get(&(operation.into(), leases, peer.into()))?;
        Some(values[values.len() / 2])
    }

    /// The median, and from where to where the samples go.
    fn cell(&self, operation: &str, leases: u64, peer: &str) -> String {
        match self.0.get(&(operation.into(), leases, peer.into())).map(Vec::as_slice) {
            None | Some([]) => "-".into(),
            Some([value]) => format!("{value:.0}"),
            Some(values @ [least, .., most]) => {
                format!("{:.0} ({least:.0}..{most:.0})", values[values.len() / 2])
            }
        }
    }
}

fn parse(line: &str) -> Option<((String, u64, String), f64)> {
    let mut fields = line.split('\t');
    let (operation, leases, peer) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?);
    let known = OPERATIONS.iter().any(|(name, _)| *name == operation)
        && [OURS, ETCD].iter().chain(&OTHERS).any(|name| *name == peer);
    let value = fields.next()?.parse().ok()?;
    (known && fields.next().is_none()).then(|| ((operation.into(), leases, peer.into()), value))
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    if number < 1_000 {
        return number.to_string();
    }
    format!("{},{:03}", grouped(number / 1_000), number % 1_000)
}

const OURS: &str = "lessor";
const ETCD: &str = "etcd";
const ETCD_ALONE: &str = "etcd, no store";
const OTHERS: [&str; 7] =
    [ETCD_ALONE, "etcd, same ids", "DelayQueue", "BTree", "heap", "priority-queue", "moka"];

/// In the order of the rows.
const OPERATIONS: [(&str, &str); 10] = [
    ("grant", "grant"),
    ("renew", "renew"),
    ("revoke", "revoke"),
    ("expire", "expire"),
    ("expire-left-over", "of which etcd's left-overs"),
    ("promote-piled", "promote, piled up"),
    ("promote-spread", "promote, spread already"),
    ("bytes", "bytes"),
    ("bytes-long", "bytes, with checkpoints"),
    ("bytes-item", "bytes, with an item each"),
];

/// The goals of the project that a run can judge: so many times faster than etcd.
const RATIOS: [(&str, u64, f64); 5] = [
    ("renew", 100_000, 20.0),
    ("grant", 100_000, 12.0),
    ("revoke", 100_000, 10.0),
    ("expire", 100_000, 6.0),
    ("promote-piled", 1_000_000, 10.0),
];
const MEMORY: u64 = 1_000_000;
const BYTES: f64 = 64.0;
const FEWER: f64 = 4.0;
