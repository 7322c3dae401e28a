//! The lanes of a run as text: who led, what was disturbed, and how much time each lease had left. The picture
//! of the run, for a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

/// What is drawn, and how wide.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// How many columns a line has at most.
    pub columns: usize,
    /// From which moment on, in nanoseconds; by default a while before the first violation.
    pub from: Option<u64>,
    /// Up to which moment; by default that of the first violation.
    pub to: Option<u64>,
}

/// Draws events (docs/EVENTS.md).
#[must_use]
pub fn lanes(events: &str, view: View) -> String {
    let parsed = events.lines().filter_map(|line| serde_json::from_str(line).ok());
    let lines: Vec<Value> = parsed.collect();
    let Some((header, events)) = lines.split_first() else { return String::new() };
    Drawing::new(header, events, view).text()
}

/// A stretch of time with what was so meanwhile.
struct Stretch {
    from: u64,
    to: u64,
    mark: char,
    label: String,
}

/// One line of the drawing.
struct Row {
    name: String,
    cells: Vec<char>,
}

struct Drawing<'e> {
    header: &'e Value,
    events: &'e [Value],
    from: u64,
    to: u64,
    width: usize,
    text: String,
}

impl<'e> Drawing<'e> {
    fn new(header: &'e Value, events: &'e [Value], view: View) -> Self {
        let end = number(&header["duration"]).unwrap_or(0).max(1);
        let judged = events.iter().find(|event| event["k"] == "judge");
        let at = judged.map(time);
        let ttl = judged.and_then(|judged| {
            let of = |event: &&Value| event["k"] == "due" && event["lease"] == judged["lease"];
            number(&events.iter().find(of)?["ttl"])
        });
        let before = ttl.unwrap_or(5_000).saturating_mul(1_200_000);
        let to = view.to.or(at.map(|at| at + before / 12)).unwrap_or(end).clamp(1, end.max(1));
        let from = view.from.unwrap_or(at.map_or(0, |at| at.saturating_sub(before))).min(to - 1);
        let width = view.columns.saturating_sub(GUTTER).max(20);
        Self { header, events, from, to, width, text: String::new() }
    }

    fn text(mut self) -> String {
        self.head();
        self.clock();
        self.log();
        for member in self.header["members"].as_array().into_iter().flatten() {
            self.member(&member["id"]);
        }
        for lease in self.leases() {
            self.lease(&lease);
        }
        self.judged();
        self.text.push_str(LEGEND);
        self.text
    }

    fn head(&mut self) {
        let word = |name: &str| self.header[name].as_str().unwrap_or_default();
        let (from, to) = (seconds(self.from), seconds(self.to));
        let column = seconds((self.to - self.from) / self.width as u64);
        let (name, verdict) = (word("name"), word("verdict"));
        let _ = writeln!(self.text, "{name}: {verdict}; {from} to {to} s, a column is {column} s");
        for finding in self.header["findings"].as_array().into_iter().flatten().take(2) {
            let _ = writeln!(self.text, "  {}", finding.as_str().unwrap_or_default());
        }
    }

    /// The time at every tenth column or so.
    fn clock(&mut self) {
        let mut row = self.row("seconds");
        let span = self.to - self.from;
        let steps = (0..12).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power + 6)));
        let fits = |step: &u64| u128::from(*step) * self.width as u128 >= 11 * u128::from(span);
        let step = steps.into_iter().find(fits).unwrap_or(span);
        let first = self.from.div_ceil(step);
        for at in (first..).map(|tick| tick * step).take_while(|at| *at < self.to) {
            self.put(
                &mut row,
                at,
                &format!("|{}", seconds(at).trim_end_matches('0').trim_end_matches('.')),
            );
        }
        self.push(row);
    }

    /// What happened to the log and the network, on as many lines as it takes, up to a few.
    fn log(&mut self) {
        let mut rows: Vec<(usize, Row)> = Vec::new();
        let happened =
            self.events.iter().filter(|event| event["k"] == "log" && self.shows(time(event)));
        for event in happened {
            let words = event["w"].as_str().or(event["what"].as_str()).unwrap_or_default();
            let words = words.split(", barrier").next().unwrap_or_default();
            let label = format!(
                "^{}",
                words.replace("member ", "").replace(" is elected for term ", " elected, term ")
            );
            let column = self.column(time(event));
            let free = rows.iter().position(|(end, _)| *end <= column).unwrap_or(rows.len());
            if free == MOST_LINES {
                continue;
            }
            if free == rows.len() {
                rows.push((0, self.row(if free == 0 { "log" } else { "" })));
            }
            let (end, row) = &mut rows[free];
            *end = column + label.chars().count() + 1;
            self.put(row, time(event), &label);
        }
        for (_, row) in rows {
            self.push(row);
        }
        let of_links = |fault: &Value| fault["members"].as_array().is_none_or(Vec::is_empty);
        self.faults("network", |fault| LINKS.contains(&word(fault, "what")) || of_links(fault));
    }

    /// The faults that last, of which this holds, on one line.
    fn faults(&mut self, name: &str, is_one: impl Fn(&Value) -> bool) {
        let mut row = self.row(name);
        let faults =
            self.events.iter().filter(|event| event["k"] == "fault" && event["lasts"] == true);
        for fault in faults.filter(|fault| is_one(fault)) {
            let over =
                self.events.iter().find(|event| event["k"] == "over" && event["id"] == fault["id"]);
            let to = over.map_or(self.to, time);
            self.fill(
                &mut row,
                &Stretch {
                    from: time(fault),
                    to,
                    mark: '~',
                    label: word(fault, "what").to_owned(),
                },
            );
        }
        self.push_if_any(row);
    }

    fn member(&mut self, id: &Value) {
        let of: Vec<_> = self.events.iter().filter(|event| event["m"] == *id).collect();
        let mut row = self.row(&format!("member {id}"));
        for stretch in self.roles(&of) {
            self.fill(&mut row, &stretch);
        }
        self.push(row);
        self.faults("", |fault| {
            let members = fault["members"].as_array();
            !LINKS.contains(&word(fault, "what"))
                && members.is_some_and(|members| members.contains(id))
        });
        let mut marks = self.row("");
        for event in of.iter().filter(|event| self.shows(time(event))) {
            let label = match word(event, "k") {
                "effect" => format!("^{}", word(event, "what")),
                "process" if word(event, "what") != "opened" => format!("^{}", word(event, "what")),
                _ => continue,
            };
            self.put(&mut marks, time(event), &label);
        }
        self.push_if_any(marks);
        let mut expired = self.row("  found expired");
        for event in of.iter().filter(|event| event["k"] == "expire" && self.shows(time(event))) {
            self.put(&mut expired, time(event), "!");
        }
        self.push_if_any(expired);
    }

    /// What a member was, one after the other.
    fn roles(&self, events: &[&Value]) -> Vec<Stretch> {
        let mut roles: Vec<Stretch> = Vec::new();
        let mut term = String::new();
        for event in events {
            let (mark, label) = match (word(event, "k"), word(event, "role"), word(event, "what")) {
                ("role", "leader", _) => {
                    term = event["term"].to_string();
                    ('L', format!("LEADER {term}"))
                }
                ("role", "primary", _) => ('P', format!("PRIMARY {term}")),
                ("role", "follower", _) if event["leader"].is_null() => {
                    ('.', "follows nobody".to_owned())
                }
                ("role", "follower", _) => ('.', format!("follows {}", event["leader"])),
                ("role", "demoted", _) => ('.', "demoted".to_owned()),
                ("process", _, "down" | "power-lost" | "stopped" | "failed") => {
                    ('#', "DOWN".to_owned())
                }
                ("process", _, "opened") => ('.', String::new()),
                _ => continue,
            };
            let at = time(event);
            if let Some(last) = roles.last_mut() {
                last.to = at;
            }
            roles.push(Stretch { from: at, to: self.to, mark, label });
        }
        roles
    }

    /// The leases worth a lane: the one that is judged, then those that somebody asks about.
    fn leases(&self) -> Vec<Value> {
        let judged = self.events.iter().filter(|event| event["k"] == "judge");
        let asked =
            self.events.iter().filter(|event| event["k"] == "ask" && self.shows(time(event)));
        let mut leases = Vec::new();
        for lease in judged.chain(asked).map(|event| &event["lease"]) {
            if !lease.is_null() && !leases.contains(lease) {
                leases.push(lease.clone());
            }
        }
        leases.truncate(MOST_LEASES);
        leases
    }

    fn lease(&mut self, lease: &Value) {
        let name = lease.as_str().map_or_else(|| lease.to_string(), ToOwned::to_owned);
        let mut asked = self.row(&format!("lease {name}"));
        for ask in
            self.events.iter().filter(|event| event["k"] == "ask" && event["lease"] == *lease)
        {
            let ends = |event: &&Value| {
                ["told", "gave-up"].contains(&word(event, "k")) && event["call"] == ask["call"]
            };
            let told = self.events.iter().find(ends);
            let op = word(ask, "op").chars().next().unwrap_or('?').to_ascii_uppercase();
            let to = told.map_or(self.to, time);
            if to < self.from || time(ask) >= self.to {
                continue;
            }
            self.fill(
                &mut asked,
                &Stretch { from: time(ask), to, mark: '-', label: String::new() },
            );
            self.put(&mut asked, time(ask), &op.to_string());
            let outcome = match told {
                None => continue,
                Some(told) if told["ok"] == true => "+",
                Some(told) if word(told, "k") == "gave-up" || word(told, "why") == "unknown" => "?",
                Some(_) => "x",
            };
            self.put(&mut asked, to, outcome);
        }
        self.push(asked);
        let mut dues: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for due in
            self.events.iter().filter(|event| event["k"] == "due" && event["lease"] == *lease)
        {
            dues.entry(due["m"].as_u64().unwrap_or(0)).or_default().push(due);
        }
        let ttl = dues.values().flatten().find_map(|due| number(&due["ttl"])).unwrap_or(1).max(1)
            * 1_000_000;
        for (member, dues) in &dues {
            let deadlines = dues.iter().map(|due| (time(due), number(&due["at"])));
            self.time_left(&format!("  left, by {member}"), ttl, &deadlines.collect::<Vec<_>>());
        }
        let told =
            self.events.iter().filter(|event| event["k"] == "told" && event["lease"] == *lease);
        let promises = told.filter_map(|told| Some((time(told), Some(number(&told["until"])?))));
        self.time_left("  left, told", ttl, &promises.collect::<Vec<_>>());
        self.exists_on(&dues);
    }

    /// The tenths of the ttl that are left, until each of these deadlines, from when on it counts.
    fn time_left(&mut self, name: &str, ttl: u64, deadlines: &[(u64, Option<u64>)]) {
        let mut row = self.row(name);
        for (column, cell) in row.cells.iter_mut().enumerate() {
            let at = self.middle(column);
            let counts = deadlines.iter().rfind(|(from, _)| *from <= at);
            if let Some((_, Some(deadline))) = counts {
                let tenths = deadline.saturating_sub(at) * 10 / ttl;
                let digit = char::from_digit(u32::try_from(tenths.min(9)).unwrap_or(9), 10);
                *cell = if *deadline > at { digit.unwrap_or('9') } else { '_' };
            }
        }
        self.push_if_any(row);
    }

    /// On how many members the lease is.
    fn exists_on(&mut self, dues: &BTreeMap<u64, Vec<&Value>>) {
        let mut row = self.row("  exists on");
        for (column, cell) in row.cells.iter_mut().enumerate() {
            let at = self.middle(column);
            let is_there = |dues: &&Vec<&Value>| {
                let last = dues.iter().rfind(|due| time(due) <= at);
                last.is_some_and(|due| !["end", "down"].contains(&word(due, "why")))
            };
            let count = dues.values().filter(is_there).count();
            if count > 0 {
                *cell = char::from_digit(u32::try_from(count).unwrap_or(9), 10).unwrap_or('9');
            }
        }
        self.push_if_any(row);
    }

    fn judged(&mut self) {
        let judged: BTreeSet<(u64, &str)> = self
            .events
            .iter()
            .filter(|event| event["k"] == "judge")
            .map(|judged| (time(judged).min(self.to - 1), word(judged, "property")))
            .collect();
        if let Some((at, property)) = judged.into_iter().find(|(at, _)| self.shows(*at)) {
            let mut row = self.row(&format!("{property} broken"));
            self.put(&mut row, at, "X");
            self.push(row);
        }
    }

    fn row(&self, name: &str) -> Row {
        Row { name: name.to_owned(), cells: vec![' '; self.width] }
    }

    fn push_if_any(&mut self, row: Row) {
        if row.cells.iter().any(|cell| *cell != ' ') {
            self.push(row);
        }
    }

    fn push(&mut self, row: Row) {
        let cells: String = row.cells.into_iter().collect();
        let name: String = row.name.chars().take(GUTTER - 1).collect();
        let line = format!("{name:GUTTER$}{cells}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn shows(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// The column of a moment: the first for what was before, one too many for what comes after.
    fn column(&self, at: u64) -> usize {
        let passed = u128::from(at.saturating_sub(self.from)) * self.width as u128;
        let column = passed / u128::from(self.to - self.from);
        usize::try_from(column).unwrap_or(self.width).min(self.width)
    }

    /// The moment in the middle of a column.
    fn middle(&self, column: usize) -> u64 {
        self.from + (self.to - self.from) * (2 * column as u64 + 1) / (2 * self.width as u64)
    }

    /// Writes from a moment on.
    fn put(&self, row: &mut Row, at: u64, text: &str) {
        let free = row.cells.iter_mut().skip(self.column(at));
        for (cell, letter) in free.zip(text.chars()) {
            *cell = letter;
        }
    }

    /// Draws what was so for a while, with a label if there is room.
    fn fill(&self, row: &mut Row, stretch: &Stretch) {
        if stretch.to < self.from || stretch.from >= self.to {
            return;
        }
        let (first, end) = (self.column(stretch.from), self.column(stretch.to));
        let end = end.max(first + 1).min(self.width);
        row.cells[first..end].fill(stretch.mark);
        if stretch.label.chars().count() <= end - first {
            self.put(row, stretch.from.max(self.from), &stretch.label);
        }
    }
}

fn time(event: &Value) -> u64 {
    number(&event["t"]).unwrap_or(0)
}

/// A number, which is text if it is a large one.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000)
}

fn word<'v>(event: &'v Value, name: &str) -> &'v str {
    event[name].as_str().unwrap_or_default()
}

/// The width of the names.
const GUTTER: usize = 16;
const MOST_LEASES: usize = 4;
const MOST_LINES: usize = 3;
/// Faults that are of no single member.
const LINKS: [&str; 5] = ["partition", "block", "delay", "noise", "heal"];
const LEGEND: &str = "\
P primary, L leader that is not promoted, . follower, # down, ~ a fault,
! found expired; G grant, R renew and so on: + ok, ? unknown, x refused;
digits: tenths of the ttl that are left, _ none
";
