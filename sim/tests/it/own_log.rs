//! A log of one's own under the testbed: member 1 leads for ever, keeps the log on its disk, and the others
//! ask it for what they lack.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Bound;
use std::time::Duration;

use lessor::driver::{Log, LogEvent, Runtime};
use lessor::{Confirmation, Entry, Instant, LogIndex, MemberId, Proposal, Role, Term};
use lessor_sim::host::{
    HostError, LogSeat, Mount, Network, SimRuntime, StorageBackend as _, Testbed,
};
use lessor_sim::record::report::{Report, Verdict};
use lessor_sim::scenario::Scenario;
use serde::{Deserialize, Serialize};

/// What is wrong with a log on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// What it appends it does not sync.
    NoSync,
    /// Each member leads, and they have the same terms.
    AllLead,
    /// The others are handed only every second entry.
    Gap,
}

struct OneLeader {
    planted: Planted,
    member: MemberId,
    runtime: SimRuntime,
    network: Network,
    disk: Mount,
    /// Where the next entry is written.
    end: u64,
    entries: Vec<Entry>,
    /// How many its member was handed.
    handed: usize,
    leads: bool,
    term: Term,
    events: VecDeque<LogEvent>,
    /// When a follower asks again.
    again: Instant,
    patience: Duration,
}

#[derive(Serialize, Deserialize)]
enum Message {
    After(LogIndex),
    Entries(Vec<Entry>),
}

impl OneLeader {
    fn open(mut seat: LogSeat, planted: Planted) -> Result<Self, HostError> {
        let disk = seat.disk();
        if !disk.try_lock_range(Bound::Unbounded, Bound::Unbounded)? {
            return Err("the log is open".into());
        }
        let mut bytes = vec![0; usize::try_from(disk.len()?)?];
        disk.read(0, &mut bytes)?;
        let (mut entries, mut end) = (Vec::new(), 0);
        let mut rest = &bytes[..];
        while let Some((length, body)) = rest.split_first_chunk()
            && let Some((body, next)) = body.split_at_checked(u32::from_le_bytes(*length) as usize)
            && let Ok(entry) = serde_json::from_slice(body)
        {
            entries.push(entry);
            end += (rest.len() - next.len()) as u64;
            rest = next;
        }
        Ok(Self {
            planted,
            member: seat.member(),
            runtime: seat.runtime(),
            network: seat.network(),
            disk,
            end,
            entries,
            handed: 0,
            leads: false,
            term: Term(0),
            events: VecDeque::new(),
            again: Instant::ZERO,
            patience: Duration::from_millis(200 + seat.random() % 100),
        })
    }

    fn append(&mut self, proposal: Option<Proposal>) {
        let index = LogIndex(self.entries.len() as u64 + 1);
        let entry = Entry { index, term: self.term, proposal };
        let body = serde_json::to_vec(&entry).expect("it is data");
        let mut record = u32::try_from(body.len()).expect("it is small").to_le_bytes().to_vec();
        record.extend(body);
        // A machine without power notices soon enough.
        let _ = self.disk.set_len(self.end + record.len() as u64);
        let _ = self.disk.write(self.end, &record);
        if self.planted != Planted::NoSync {
            let _ = self.disk.sync_data();
        }
        self.end += record.len() as u64;
        self.entries.push(entry);
    }

    fn lead(&mut self) {
        let barrier = LogIndex(self.entries.len() as u64);
        let last = self.entries.last().map_or(Term(0), |entry| entry.term);
        self.term = Term(last.0.max(self.term.0) + 1);
        self.leads = true;
        self.append(None);
        self.events.push_back(LogEvent::Role(Role::Leader { term: self.term, barrier }));
    }

    fn may_lead(&self) -> bool {
        self.member == MemberId(1) || self.planted == Planted::AllLead
    }

    fn take(&mut self, from: MemberId, bytes: &[u8]) {
        match serde_json::from_slice(bytes).expect("only logs send") {
            Message::After(index) => {
                let after = usize::try_from(index.0).expect("it is small");
                let more: Vec<_> = self.entries.iter().skip(after).take(20).cloned().collect();
                if !more.is_empty() {
                    self.send(from, &Message::Entries(more));
                }
            }
            Message::Entries(entries) => {
                let had = self.entries.len();
                for entry in entries {
                    let gap = self.planted == Planted::Gap && had % 2 == 1;
                    if entry.index.0 == self.entries.len() as u64 + 1 + u64::from(gap) {
                        self.entries.push(entry);
                    }
                }
                if self.entries.len() > had {
                    self.ask();
                }
            }
        }
    }

    fn send(&self, to: MemberId, message: &Message) {
        self.network.send(to, serde_json::to_vec(message).expect("it is data"));
    }

    fn ask(&mut self) {
        self.again = self.runtime.now() + self.patience;
        self.send(MemberId(1), &Message::After(LogIndex(self.entries.len() as u64)));
    }
}

impl Log for OneLeader {
    fn start(&mut self, applied: LogIndex) {
        self.handed = usize::try_from(applied.0).expect("it is small");
        if self.may_lead() {
            self.lead();
        } else {
            let filler = (1..=applied.0).map(LogIndex);
            let filler = filler.map(|index| Entry { index, term: Term(0), proposal: None });
            self.entries = filler.collect();
            let leader = Some(MemberId(1));
            self.events.push_back(LogEvent::Role(Role::Follower { leader }));
        }
    }

    fn propose(&mut self, proposal: Proposal) {
        if self.leads && proposal.term == self.term {
            self.append(Some(proposal));
        }
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        let committed = self.leads.then_some(LogIndex(self.entries.len() as u64));
        self.events.push_back(LogEvent::Confirmed { confirmation, committed });
    }

    fn applied(&mut self, _: LogIndex) {}

    fn campaign(&mut self) {
        if self.may_lead() && !self.leads {
            self.lead();
        }
    }

    fn resign(&mut self) {
        if self.leads {
            self.leads = false;
            self.again = self.runtime.now() + self.patience;
            self.events.push_back(LogEvent::Role(Role::Follower { leader: None }));
        }
    }

    async fn next(&mut self) -> Option<LogEvent> {
        loop {
            if self.handed < self.entries.len() {
                let new = self.entries[self.handed..].to_vec();
                self.handed = self.entries.len();
                return Some(LogEvent::Committed(new));
            }
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let again = if self.leads { Instant::MAX } else { self.again };
            let (runtime, network) = (&self.runtime, &mut self.network);
            match first(network.recv(), runtime.sleep_until(again)).await {
                Some((from, bytes)) => self.take(from, &bytes),
                None if self.may_lead() => self.lead(),
                None => self.ask(),
            }
        }
    }
}

/// Whoever opens the log next finds it free.
impl Drop for OneLeader {
    fn drop(&mut self) {
        // A process that was killed holds nothing.
        let _ = self.disk.close();
    }
}

/// What the one returns, or `None` if the other is done before.
async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        biased;
        got = one => Some(got),
        () = other => None,
    }
}

fn testbed(planted: Planted) -> Testbed {
    Testbed::new().log("one-leader", move |seat| OneLeader::open(seat, planted))
}

fn properties(report: &Report) -> Vec<&'static str> {
    report.violations.iter().map(|violation| violation.property.id()).collect()
}

/// Three members, one of which is always behind, and a leader that loses its power and comes back.
const STORY: &str = r#"
schema = 1
seed = 3
members = 3
duration = "40s"
store = "journal"
[log]
name = "one-leader"
[network]
latency = "2ms"
jitter = "3ms"
loss_ppm = 100000
duplicate_ppm = 50000
[ending]
at = "20s"
[[herd]]
name = "session"
leases = 30
first_lease = 100
ttl = "5s"
start = "1s"
over = "1s"
renew_every = "1s"
until = "30s"
[[step]]
at = "5s"
crash = { member = 1, unsynced = "drop" }
[[step]]
at = "6s"
restart = { member = 1 }
[[step]]
at = "9s"
kill = { member = 2 }
[[step]]
at = "10s"
restart = { member = 2 }
[[step]]
at = "12s"
demote = { member = 1 }
[[step]]
at = "14s"
promote = { member = 1 }
[[expect]]
at = "20s"
member = 3
leases = 30
[[expect]]
at = "39s"
leases = 0
"#;

#[test]
fn a_log_of_ones_own_runs_under_every_judge() {
    let testbed = testbed(Planted::Nothing);
    let scenario = Scenario::parse("story.toml", STORY).expect("it is one");
    let report = testbed.replay(&scenario);
    assert_eq!(report.verdict(), Verdict::Clean, "{report:#?}");
    assert!(report.acknowledged > 500, "{}", report.acknowledged);
    for property in ["S1", "S3", "S4", "S5", "S7", "S9", "S14", "L1", "L2"] {
        let judged = report.judged.iter().find(|(of, _)| of.id() == property);
        assert!(judged.is_some_and(|(_, count)| count > 0), "{property} was not judged");
    }
    assert_eq!(testbed.replay(&scenario).trace.hash(), report.trace.hash(), "it replays");
    let text = scenario.to_toml();
    assert_eq!(Scenario::parse("story.toml", &text).expect("it is one"), scenario);
}

#[test]
fn seeds_of_one_member_are_clean_on_it() {
    let testbed = testbed(Planted::Nothing);
    let alone = (0..).map(|seed| testbed.scenario(seed)).filter(|one| one.members == 1);
    for scenario in alone.take(40) {
        let report = testbed.replay(&scenario);
        assert!(report.violations.is_empty(), "seed {}: {:?}", scenario.seed, report.violations);
        assert!(report.panic.is_none(), "seed {}: {:?}", scenario.seed, report.panic);
    }
}

#[test]
fn canary_a_log_that_breaks_its_contract_is_found() {
    let scenario = Scenario::parse("story.toml", STORY).expect("it is one");
    let found = [(Planted::NoSync, "L1"), (Planted::AllLead, "S5"), (Planted::Gap, "S5")];
    for (planted, property) in found {
        let report = testbed(planted).replay(&scenario);
        assert_eq!(properties(&report).first(), Some(&property), "{:?}", report.violations);
    }
}

#[test]
fn what_orders_the_modelled_log_about_is_refused_with_a_sentence() {
    let with = |more: &str| {
        let text = format!("{STORY}\n{more}");
        Scenario::parse("story.toml", &text).expect_err("it is refused").to_string()
    };
    for (step, what) in [
        ("elect = { member = 2 }", "elect"),
        ("depose = {}", "depose"),
        ("lose = { member = 1, what = \"expired\", count = 1 }", "lose"),
        ("repeat = { member = 1, count = 1 }", "repeat"),
    ] {
        let said = with(&format!("[[step]]\nat = \"3s\"\n{step}\n"));
        let wanted = format!(
            "`{what}` is for the modelled log, but the log is \"one-leader\"; leave it out"
        );
        assert!(said.ends_with(&wanted), "{said}");
    }
    let text = STORY.replace("[network]", "commit_delay = \"2ms\"\n[network]");
    let said = Scenario::parse("story.toml", &text).expect_err("it is refused").to_string();
    assert!(said.contains("`commit_delay` is for the modelled log"), "{said}");
    let said = Testbed::new().check(&Scenario::parse("story.toml", STORY).expect("it is one"));
    let said = said.expect_err("this testbed does not have it").to_string();
    assert_eq!(
        said,
        "story: its log is \"one-leader\", which this program does not have; it has modelled"
    );
}
