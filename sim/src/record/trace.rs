//! What a run did, one aligned line an event, and a hash of all of it.
//!
//! The hash is the 128-bit XXH3 of every line with its time in nanoseconds, also of the lines that
//! are too many to show. Nothing in it depends on an address, the wall clock, a path or a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use lessor::{LeaseId, MemberId};
use twox_hash::xxhash3_128::Hasher;

/// The events of a run.
#[derive(Clone)]
pub struct Trace {
    lines: Vec<Line>,
    hasher: Hasher,
    events: u64,
    /// What happened too often for a line each since `second`, by member and kind, then by words.
    gathered: BTreeMap<(u64, &'static str), BTreeMap<String, u64>>,
    second: u64,
    /// The line that is being hashed, kept for its memory.
    buffer: String,
}

/// A shown line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Virtual time since the start.
    pub at: Duration,
    /// On which member, with the letter of its role: **P**rimary, **L**eader that is not promoted yet,
    /// **F**ollower, or `-` if it is down.
    pub member: Option<(MemberId, char)>,
    /// The part of the world.
    pub kind: &'static str,
    /// What happened.
    pub words: String,
}

/// What is shown besides what always is. It adds lines, and changes no hash.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Focus {
    /// Every event, also those that are only hashed or counted.
    pub all: bool,
    /// Every event whose line has this text.
    pub text: Option<String>,
    /// Every event of these leases.
    pub leases: BTreeSet<LeaseId>,
    /// Every event of these members, with the operations of their disks.
    pub members: BTreeSet<MemberId>,
}

impl Focus {
    /// Whether it adds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { all, text, leases, members } = self;
        !all && text.is_none() && leases.is_empty() && members.is_empty()
    }

    /// Whether the disk of a member is looked at.
    #[must_use]
    pub fn sees_disk(&self, member: MemberId) -> bool {
        self.all || self.text.is_some() || self.members.contains(&member)
    }
}

impl Line {
    /// Whether it differs from this one by its time only.
    fn says_what(&self, other: &Self) -> bool {
        let Self { at: _, member, kind, words } = self;
        (member, kind, words) == (&other.member, &other.kind, &other.words)
    }

    /// Whether it speaks of this lease.
    #[must_use]
    pub fn names(&self, lease: LeaseId) -> bool {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
        let (named, bare) = (format!("lease {lease}"), lease.to_string());
        let words = self.words.as_str();
        let is_named = words.match_indices(&named).any(|(at, _)| ends(&words[at + named.len()..]));
        let is_listed = || {
            let listed = words.strip_prefix("expired: ").unwrap_or_default();
            listed.split([',', ' ']).any(|word| word == bare)
        };
        is_named || is_listed()
    }

    /// Whether it is about the members, the links or the log, and so bears on all leases.
    #[must_use]
    pub fn is_general(&self) -> bool {
        ["boot", "fault", "log", "role", "stop"].contains(&self.kind)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            hasher: Hasher::new(),
            events: 0,
            gathered: BTreeMap::new(),
            second: 0,
            buffer: String::new(),
        }
    }
}

impl Trace {
    /// Notes an event.
    pub fn record(&mut self, line: Line) {
        self.pass(line.at);
        let Line { at, member, kind, words } = &line;
        self.absorb(&Columns { at: *at, member: *member, kind, words: format_args!("{words}") });
        self.lines.push(line);
    }

    /// Shows an event that was, or will be, hashed by itself.
    pub fn show(&mut self, line: Line) {
        self.pass(line.at);
        self.lines.push(line);
    }

    /// Notes an event of a kind that comes in thousands: it is hashed, and counted in one line a
    /// second under `label`.
    pub fn record_aggregated(
        &mut self,
        at: Duration,
        member: Option<(MemberId, char)>,
        kind: &'static str,
        words: fmt::Arguments<'_>,
        label: &str,
    ) {
        self.pass(at);
        self.absorb(&Columns { at, member, kind, words });
        let member = member.map_or(0, |(member, _)| member.0);
        let counts = self.gathered.entry((member, kind)).or_default();
        match counts.get_mut(label) {
            Some(count) => *count += 1,
            None => {
                counts.insert(label.to_owned(), 1);
            }
        }
    }

    /// Notes an event that nobody needs to see: it is only hashed, as a line with these words.
    pub fn record_hash_only(
        &mut self,
        at: Duration,
        member: Option<(MemberId, char)>,
        kind: &'static str,
        words: fmt::Arguments<'_>,
    ) {
        self.absorb(&Columns { at, member, kind, words });
    }

    /// Ends the run: afterwards [`hash`](Self::hash) covers all of it.
    pub fn finish(&mut self, at: Duration) {
        self.pass(at + Duration::from_secs(1));
    }

    /// The shown lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many events there were, shown or not.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash, as 32 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        format!("{:032x}", self.hasher.finish_128())
    }

    /// Shows what was gathered, if its second is over.
    fn pass(&mut self, at: Duration) {
        if at.as_secs() <= self.second {
            return;
        }
        let over = Duration::from_secs(self.second + 1) - Duration::from_millis(1);
        self.second = at.as_secs();
        for ((member, kind), counts) in std::mem::take(&mut self.gathered) {
            let member = (member > 0).then_some((MemberId(member), ' '));
            let counts = counts.iter().map(|(label, count)| format!("{count} {label}"));
            let words = format!("this second: {}", counts.collect::<Vec<_>>().join(", "));
            self.lines.push(Line { at: over, member, kind, words });
        }
    }

    fn absorb(&mut self, line: &Columns<'_>) {
        self.events += 1;
        self.buffer.clear();
        self.buffer.push_str(itoa::Buffer::new().format(line.at.as_nanos()));
        self.buffer.push(' ');
        line.write_to(&mut self.buffer).expect("a string takes everything");
        self.buffer.push('\n');
        self.hasher.write(self.buffer.as_bytes());
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, member, kind, words } = self;
        let words = format_args!("{words}");
        let mut line = String::new();
        Columns { at: *at, member: *member, kind, words }.write_to(&mut line)?;
        f.write_str(&line)
    }
}

/// A line whose words are still to be written.
struct Columns<'w> {
    at: Duration,
    member: Option<(MemberId, char)>,
    kind: &'static str,
    words: fmt::Arguments<'w>,
}

impl Columns<'_> {
    /// Each event is written, so all but its words goes without the machinery of formats.
    fn write_to(&self, line: &mut String) -> fmt::Result {
        let mut digits = itoa::Buffer::new();
        let secs = digits.format(self.at.as_secs());
        line.extend(std::iter::repeat_n(' ', 6_usize.saturating_sub(secs.len())));
        line.push_str(secs);
        line.push('.');
        line.push_str(&digits.format(1_000 + self.at.subsec_millis())[1..]);
        line.push_str("  ");
        match self.member {
            Some((member, role)) => {
                line.push_str(digits.format(member.0));
                line.push(' ');
                line.push(role);
            }
            None => line.push_str("   "),
        }
        line.push_str("  ");
        line.push_str(self.kind);
        line.extend(std::iter::repeat_n(' ', 8_usize.saturating_sub(self.kind.len()).max(1)));
        line.write_fmt(self.words)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash()).field("events", &self.events).finish()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "hash {} over {} events", self.hash(), self.events)
    }
}

/// Lines as they are shown: of those that say the same one after the other only the first, and how often it
/// comes again.
#[must_use]
pub fn folded(lines: &[&Line]) -> Vec<String> {
    let mut shown = Vec::new();
    for run in lines.chunk_by(|a, b| a.says_what(b)) {
        shown.push(run[0].to_string());
        if let [_, again @ .., last] = run {
            let (more, secs, millis) =
                (again.len() + 1, last.at.as_secs(), last.at.subsec_millis());
            shown.push(format!("{:24}… {more} more of this until {secs}.{millis:03}", ""));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(millis: u64, words: &str) -> Line {
        let at = Duration::from_millis(millis);
        Line { at, member: Some((MemberId(1), 'P')), kind: "apply", words: words.to_owned() }
    }

    #[test]
    fn the_hash_is_xxh3() {
        // Of no bytes, as the specification of XXH3 has it.
        assert_eq!(Trace::default().hash(), "99aa06d3014798d86001c324468d497f");
    }

    #[test]
    fn what_is_said_again_and_again_is_shown_once() {
        let lines = [line(5, "x"), line(6, "x"), line(9, "x"), line(9, "y"), line(12, "x")];
        let shown = folded(&lines.iter().collect::<Vec<_>>());
        let more = "                        … 2 more of this until 0.009".to_owned();
        let [first, .., y, last] = &lines;
        assert_eq!(shown, [first.to_string(), more, y.to_string(), last.to_string()]);
    }

    #[test]
    fn canary_a_hidden_nanosecond_changes_the_hash() {
        let (mut one, mut other) = (Trace::default(), Trace::default());
        one.record(line(5, "x"));
        other.record(Line { at: Duration::from_nanos(5_000_001), ..line(5, "x") });
        assert_eq!(one.lines()[0].to_string(), other.lines()[0].to_string());
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn what_comes_in_thousands_is_one_line_a_second() {
        let mut trace = Trace::default();
        for millis in 0..2_000 {
            let (at, words) = (Duration::from_millis(millis), format_args!("one of many"));
            trace.record_aggregated(at, None, "apply", words, "renewed");
        }
        trace.finish(Duration::from_secs(2));
        let shown: Vec<_> = trace.lines().iter().map(|line| line.words.clone()).collect();
        assert_eq!(shown, ["this second: 1000 renewed"; 2]);
        assert_eq!(trace.events(), 2_000);
    }
}
