//! Instructions per operation, as they were counted or as the baseline says, and how the two differ.

use std::collections::BTreeMap;
use std::fmt;

/// Instructions per operation, by path and by the number of leases.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Figures {
    /// What was counted: the compiler and the machine, in words.
    pub(crate) build: String,
    pub(crate) rows: BTreeMap<String, BTreeMap<u64, f64>>,
}

/// What is not as the baseline says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) leases: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    Dearer {
        from: f64,
        to: f64,
    },
    Cheaper {
        from: f64,
        to: f64,
    },
    /// It was counted, and the baseline has nothing of it.
    New,
    /// The baseline has it, and it was not counted.
    Gone,
}

impl Figures {
    pub(crate) fn add(&mut self, path: &str, leases: u64, instructions: f64) {
        self.rows.entry(path.to_owned()).or_default().insert(leases, instructions);
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// The line that is wrong, and what it should be.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (build, table) = text.split_once('\n').unwrap_or_default();
        let mut lines = table.lines();
        let head = lines.next().and_then(|line| line.strip_prefix("leases"));
        let sizes = head.map(|head| head.split_whitespace().map(str::parse).collect());
        let Some(Ok(sizes)) = sizes else {
            return Err("line 2 should be `leases` and numbers of leases".to_owned());
        };
        let sizes: Vec<u64> = sizes;
        let mut figures = Self { build: build.to_owned(), ..Self::default() };
        for (number, line) in (3..).zip(lines) {
            let mut words = line.split_whitespace();
            let path = words.next().unwrap_or_default();
            let counts: Result<Vec<f64>, _> = words.map(str::parse).collect();
            let counts = counts.ok().filter(|counts| counts.len() == sizes.len());
            let counts = counts.ok_or(format!(
                "line {number} should be a path and {} numbers of instructions",
                sizes.len()
            ))?;
            for (leases, count) in sizes.iter().zip(counts) {
                figures.add(path, *leases, count);
            }
        }
        Ok(figures)
    }

    /// Everything in `found` that is not within the [`TOLERANCE`] of this baseline.
    pub(crate) fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (path, leases, to) in found.each() {
            let from = self.rows.get(path).and_then(|row| row.get(&leases)).copied();
            let kind = match from {
                None => Kind::New,
                Some(from) if to > from * (1.0 + TOLERANCE) => Kind::Dearer { from, to },
                Some(from) if to < from * (1.0 - TOLERANCE) => Kind::Cheaper { from, to },
                Some(_) => continue,
            };
            differences.push(Difference { path: path.to_owned(), leases, kind });
        }
        for (path, leases, _) in self.each() {
            if found.rows.get(path).is_none_or(|row| !row.contains_key(&leases)) {
                differences.push(Difference { path: path.to_owned(), leases, kind: Kind::Gone });
            }
        }
        differences
    }

    fn each(&self) -> impl Iterator<Item = (&str, u64, f64)> {
        let rows = self.rows.iter();
        rows.flat_map(|(path, row)| {
            row.iter().map(|(leases, count)| (path.as_str(), *leases, *count))
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{:<18}", self.build, "leases")?;
        for leases in self.rows.values().next().into_iter().flat_map(BTreeMap::keys) {
            write!(f, "{leases:>10}")?;
        }
        for (path, row) in &self.rows {
            write!(f, "\n{path:<18}")?;
            for count in row.values() {
                write!(f, "{count:>10.1}")?;
            }
        }
        writeln!(f)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} leases: ", self.path, self.leases)?;
        let percent = |from: f64, to: f64| 100.0 * (to - from).abs() / from;
        match self.kind {
            Kind::Dearer { from, to } => write!(
                f,
                "{:.1} % dearer, {from:.1} instructions before and {to:.1} now",
                percent(from, to)
            ),
            Kind::Cheaper { from, to } => write!(
                f,
                "{:.1} % cheaper, {from:.1} instructions before and {to:.1} now",
                percent(from, to)
            ),
            Kind::New => write!(f, "not in the baseline"),
            Kind::Gone => write!(f, "in the baseline, but nobody counted it"),
        }
    }
}

/// How much dearer or cheaper an operation may become before somebody has to say so. What is cheaper
/// counts as well: a baseline above the code would let the next change eat up the gain unseen.
pub(crate) const TOLERANCE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_per_cent_are_seen_and_nine_are_not() {
        assert_eq!(kinds(&[("renew", 100.0)], &[("renew", 109.0)]), []);
        assert_eq!(kinds(&[("renew", 100.0)], &[("renew", 91.0)]), []);
        let dearer = Kind::Dearer { from: 100.0, to: 111.0 };
        assert_eq!(kinds(&[("renew", 100.0)], &[("renew", 111.0)]), [dearer]);
        let cheaper = Kind::Cheaper { from: 100.0, to: 89.0 };
        assert_eq!(kinds(&[("renew", 100.0)], &[("renew", 89.0)]), [cheaper]);
    }

    #[test]
    fn a_path_that_is_new_or_gone_is_seen() {
        assert_eq!(kinds(&[("renew", 1.0)], &[("renew", 1.0), ("grant", 1.0)]), [Kind::New]);
        assert_eq!(kinds(&[("renew", 1.0), ("grant", 1.0)], &[("renew", 1.0)]), [Kind::Gone]);
        assert_eq!(kinds(&[("renew", 1.0)], &[]), [Kind::Gone]);
    }

    #[test]
    fn a_number_of_leases_is_compared_with_its_own() {
        let (mut baseline, mut found) = (Figures::default(), Figures::default());
        for (leases, from, to) in [(1_000, 100.0, 100.0), (100_000, 200.0, 300.0)] {
            baseline.add("renew", leases, from);
            found.add("renew", leases, to);
        }
        let kind = Kind::Dearer { from: 200.0, to: 300.0 };
        let difference = Difference { path: "renew".to_owned(), leases: 100_000, kind };
        assert_eq!(baseline.differences(&found), [difference]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut figures = figures(&[("grant", 868.4), ("renew", 300.5)]);
        figures.build = "rustc 1.95.0, x86_64".to_owned();
        assert_eq!(Figures::parse(&figures.to_string()), Ok(figures));
    }

    #[test]
    fn a_line_that_is_damaged_is_refused() {
        let text = figures(&[("renew", 300.5)]).to_string();
        for (whole, damaged) in [("leases", "sizes"), ("300.5", "30o.5"), ("300.5", "300.5 1.0")] {
            let damaged = text.replace(whole, damaged);
            assert!(Figures::parse(&damaged).is_err(), "{damaged}");
        }
    }

    fn kinds(baseline: &[(&str, f64)], found: &[(&str, f64)]) -> Vec<Kind> {
        let differences = figures(baseline).differences(&figures(found));
        differences.into_iter().map(|difference| difference.kind).collect()
    }

    fn figures(rows: &[(&str, f64)]) -> Figures {
        let mut figures = Figures::default();
        for (path, count) in rows {
            figures.add(path, 1_000, *count);
        }
        figures
    }
}
