//! Recordings of engines: what was recorded is said again by the replay, whatever happens to the engine, and
//! what is wrong in one is found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lessor::driver::{Driver, Observer};
use lessor::recording::{Begin, Reader, Record, Start, Writer};
use lessor::{Config, Instant, LeaseId, Member, MemberId, MemberInput, Output, Request, Ttl};
use lessor_sim::generate::generate;
use lessor_sim::host::{Host, HostError, Options, Seat, Tap, Testbed, replay_recording};
use lessor_sim::judge::{Property, Violation};
use lessor_sim::record::events::Detail;
use lessor_sim::record::report::{Report, Verdict};
use lessor_sim::scenario::{Action, FaultKind, PartName, Scenario, Step};
use lessor_sim::world::Recording;

type Files = Arc<Mutex<BTreeMap<MemberId, Vec<(String, Vec<u8>)>>>>;

/// The driver with a recorder, which writes into memory.
#[derive(Clone, Default)]
struct RecordedHost {
    files: Files,
    /// A file begins after so many inputs.
    inputs_a_file: usize,
}

impl Host for RecordedHost {
    async fn run(&self, mut seat: Seat) -> Result<(), HostError> {
        let backend = seat.open_backend().await?;
        let (config, runtime, log) = (seat.config(), seat.runtime(), seat.log()?);
        let (handle, driver) = Driver::open(&config, runtime, backend, log).await?;
        seat.serve(handle);
        let recorder = Recorder {
            tap: seat.tap(),
            of: seat.member(),
            host: self.clone(),
            writer: Writer::new(),
            config: Config::default(),
            inputs: 0,
        };
        Ok(driver.observe(recorder).run().await?)
    }
}

struct Recorder {
    tap: Tap,
    of: MemberId,
    host: RecordedHost,
    writer: Writer,
    config: Config,
    inputs: usize,
}

impl Recorder {
    fn begin(&mut self, begin: Begin, now: Instant, member: &Member) {
        let mut files = self.host.files.lock().unwrap();
        let files = files.entry(self.of).or_default();
        let name = format!("file {}", files.len() + 1);
        files.push((name, Writer::HEADER.to_vec()));
        // The time of day of this world: the clock goes on while the process is down.
        let time = Duration::from_nanos(now.as_nanos());
        self.writer.start(begin, time, now, &self.config, member);
    }

    /// Each block is written at once: a process of the simulation ends at any moment.
    fn write(&mut self) {
        let mut files = self.host.files.lock().unwrap();
        let (_, file) = files.get_mut(&self.of).unwrap().last_mut().unwrap();
        file.extend(block(&mut self.writer));
    }
}

impl Observer for Recorder {
    fn opened(&mut self, now: Instant, config: &Config, member: &Member) {
        self.config = config.clone();
        self.begin(Begin::Opened, now, member);
        self.write();
    }

    fn before(&mut self, now: Instant, input: &MemberInput) {
        self.tap.before(now, input);
        self.writer.input(now, input);
        self.write();
    }

    fn after(&mut self, now: Instant, member: &Member) {
        self.tap.after(now, member);
        self.inputs += 1;
        if self.inputs.is_multiple_of(self.host.inputs_a_file) {
            self.begin(Begin::NextFile, now, member);
            self.write();
        }
    }

    fn output(&mut self, now: Instant, output: &Output) {
        self.tap.output(now, output);
        self.writer.output(now, output);
        self.write();
    }
}

fn block(writer: &mut Writer) -> Vec<u8> {
    let mut records = Vec::new();
    writer.take_records(&mut records);
    [&Writer::head(&records)[..], &records].concat()
}

/// What each member of a scenario has recorded.
fn record(scenario: &Scenario, inputs_a_file: usize) -> Vec<Vec<(String, Vec<u8>)>> {
    let host = RecordedHost { files: Files::default(), inputs_a_file };
    let mut scenario = scenario.clone();
    scenario.host = PartName::new("recorded").unwrap();
    let _ = Testbed::new().host("recorded", host.clone()).replay(&scenario);
    std::mem::take(&mut *host.files.lock().unwrap()).into_values().collect()
}

fn replay(files: &[(String, Vec<u8>)]) -> (Report, Vec<String>) {
    let recording = Recording::new("recording".to_owned(), files.to_vec()).unwrap();
    replay_recording(&recording, &Options::default()).unwrap()
}

fn says_something_else(report: &Report) -> bool {
    report.violations.iter().any(|violation| violation.property == Property::S12)
}

/// Whole or from any of its files on, which begin in the middle of whatever the member does.
#[test]
fn every_recording_is_said_again() {
    let (mut outputs, mut whole) = (0, 0);
    for seed in 0..SEEDS {
        let scenario = generate(seed);
        let sound = is_sound(&scenario);
        for files in record(&scenario, 97) {
            for from in [0, files.len() / 2, files.len() - 1] {
                let (report, _) = replay(&files[from..]);
                let wrong = &report.violations;
                assert!(!says_something_else(&report), "seed {seed}, file {from}: {wrong:?}");
                assert!(report.panic.is_none(), "seed {seed}, file {from}: {:?}", report.panic);
                assert!(!sound || wrong.is_empty(), "seed {seed}, file {from}: {wrong:?}");
                outputs += judged(&report, Property::S12);
                whole += u64::from(sound && judged(&report, Property::S5a) > 0);
            }
        }
    }
    assert!(outputs > 1_000 * SEEDS, "{outputs} outputs");
    assert!(whole > SEEDS, "{whole} recordings in which all is judged");
}

/// Whether what a member records is all that there is to know: neither its clock nor its disk is another one
/// without its knowledge.
fn is_sound(scenario: &Scenario) -> bool {
    let is_hidden = |step: &Step| {
        let Action::Fault(fault) = &step.action else { return false };
        let hidden = [
            FaultKind::Jump,
            FaultKind::Drift,
            FaultKind::ReplaceDisk,
            FaultKind::PutBack,
            FaultKind::Rot,
        ];
        hidden.contains(&fault.kind())
    };
    let clocks = &scenario.clocks;
    let rates = clocks.members.iter().map(|clock| clock.drift_ppm).chain([clocks.lessees_ppm]);
    !scenario.steps.iter().any(is_hidden) && rates.into_iter().all(|ppm| ppm == 0)
}

fn judged(report: &Report, property: Property) -> u64 {
    let counts = report.judged.iter();
    counts.filter(|(of, _)| *of == property).map(|(_, count)| count).sum()
}

/// What the member of the story has recorded, a file for each of its two processes.
fn a_recording() -> Vec<(String, Vec<u8>)> {
    let scenario = Scenario::parse("story.toml", STORY).unwrap();
    let files = record(&scenario, 1_000).remove(0);
    assert_eq!(files.len(), 2);
    files
}

#[test]
fn a_recording_is_judged_and_drawn() {
    let recording = Recording::new("recording".to_owned(), a_recording()).unwrap();
    let events = Some(Detail { all: true, ..Detail::default() });
    let options = Options { events, ..Options::default() };
    let (report, summary) = replay_recording(&recording, &options).unwrap();
    assert_eq!(report.verdict(), Verdict::Clean, "{:?}", report.violations);
    let lines: Vec<_> = report.trace.lines().iter().map(ToString::to_string).collect();
    for words in
        ["grant lease 7, ttl 10s: granted", "ends without having been stopped", "expired: 7"]
    {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:#?}");
    }
    for property in [Property::S2, Property::S4a, Property::S5a, Property::S12] {
        assert!(judged(&report, property) > 0, "{property:?}");
    }
    assert_eq!(summary.len(), 1, "{summary:?}");
    let events = report.events.unwrap();
    assert!(events.contains(r#""k":"expire""#) && events.contains(r#""verdict":"clean""#));
}

/// The same file, begun for another reason perhaps, and with other inputs than the member was told.
fn rewritten(
    file: &[u8],
    begun: Option<Begin>,
    mut change: impl FnMut(&mut MemberInput),
) -> Vec<u8> {
    let (mut writer, mut member) = (Writer::new(), None);
    for record in Reader::new(file).unwrap() {
        match record {
            Record::Start(start) => {
                let Start { begin, unix_time, now, config, member: first, .. } = start;
                writer.start(begun.unwrap_or(begin), unix_time, now, &config, &first);
                member = Some(first);
            }
            Record::Input { now, input } => {
                let mut told = input.clone();
                change(&mut told);
                writer.input(now, &told);
                member.as_mut().unwrap().handle_input(now, input).unwrap();
            }
            Record::Outputs { now, count, .. } => {
                for _ in 0..count {
                    writer.output(now, &member.as_mut().unwrap().poll_output().unwrap());
                }
            }
        }
    }
    [Writer::HEADER, &block(&mut writer)].concat()
}

/// The member was told of another ttl than the recording says.
#[test]
fn canary_an_output_that_is_not_said_again_is_found() {
    let mut files = a_recording();
    let mut forged = 0;
    files[0].1 = rewritten(&files[0].1, None, |input| {
        if let MemberInput::Request { request: Request::Grant { ttl, .. }, .. } = input {
            *ttl = Ttl::from_secs(9);
            forged += 1;
        }
    });
    assert_eq!(forged, 1);
    let (report, _) = replay(&files);
    let [violation] = &report.violations[..] else { panic!("{:?}", report.violations) };
    let Violation { property, lease, what, .. } = violation;
    assert_eq!((*property, *lease), (Property::S12, LeaseId::new(7)), "{what}");
    assert!(what.contains("grant lease 7, ttl 9s"), "{what}");
}

/// What is missing may be what would excuse the rest, so nothing of it is judged but that it is said again.
#[test]
fn after_a_gap_only_what_is_said_again_is_judged() {
    let mut files = a_recording();
    files[1].1 = rewritten(&files[1].1, None, |_| {});
    let (whole, _) = replay(&files);
    files[1].1 = rewritten(&files[1].1, Some(Begin::Gap), |_| {});
    let (report, summary) = replay(&files);
    assert_eq!(report.verdict(), Verdict::Clean, "{:?}", report.violations);
    assert!(summary[1].contains("a part is missing, as the disk was too slow"), "{summary:?}");
    assert_eq!(judged(&report, Property::S12), judged(&whole, Property::S12));
    assert!(judged(&report, Property::S5a) < judged(&whole, Property::S5a));
}

/// The second process opens an empty store.
#[test]
fn canary_a_store_that_has_lost_what_was_durable_is_found() {
    let mut files = a_recording();
    let first = files[0].clone();
    files[1] = first;
    let (report, _) = replay(&files);
    let found = report.violations.iter().any(|violation| violation.property == Property::S4a);
    assert!(found, "{:?}", report.violations);
}

#[test]
fn what_is_no_recording_is_refused_and_one_that_was_cut_short_is_read_up_to_there() {
    let new = |files: &[(String, Vec<u8>)]| Recording::new("recording".to_owned(), files.to_vec());
    let none = new(&[("notes.rec".to_owned(), b"notes".to_vec())]).unwrap_err();
    assert!(none.starts_with("notes.rec is no recording"), "{none}");
    let empty = new(&[("a.rec".to_owned(), Writer::HEADER.to_vec())]).unwrap_err();
    assert!(empty.contains("nothing was written yet"), "{empty}");
    let mut files = a_recording();
    let (name, last) = files.last_mut().unwrap();
    let cut = format!("{name} was cut short or is damaged: its last 3 bytes are not read");
    last.extend([9, 0, 0]);
    let (report, summary) = replay(&files);
    assert_eq!((report.verdict(), &summary[1..]), (Verdict::Clean, &[cut][..]));
}

const STORY: &str = r#"
schema = 1
seed = 1
members = 1
duration = "30s"

[[step]]
at = "1s"
grant = { lease = 7, ttl = "10s", answer = "ok" }

[[step]]
at = "2s"
attach = { lease = 7, items = ["web"], answer = "ok" }

[[step]]
at = "4s"
renew = { lease = 7, answer = "ok" }

[[step]]
at = "5s"
kill = { member = 1 }

[[step]]
at = "6s"
restart = { member = 1 }

[ending]
at = "7s"
"#;

const SEEDS: u64 = 40;
