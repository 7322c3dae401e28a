//! The recording of a real engine, as it unfolds once more: its member is told again what it was told, must
//! say again what it said, and is judged as far as the recording shows. Time is that of the recording.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::backend::Stored;
use lessor::recording::{Begin, Checksum, FormatError, Reader, Record, Start, VERSION};
use lessor::{
    Checkpoint, Command, Entry, Instant, Item, LeaseId, LeaseRecord, LogIndex, Member, MemberId,
    MemberInput, Output, Proposal, Request, RequestError, Role, Snapshot, Term, Ticket,
};

use super::watch::Watch;
use crate::env::disk::Met;
use crate::env::raft::Note;
use crate::judge::{Asker, Event, Kind};
use crate::model::State;
use crate::model::clock::Clock;
use crate::model::text;
use crate::record::events::{Detail, EventLog};
use crate::record::report::{Panic, Report};
use crate::record::trace::Focus;
use crate::scenario::{Fault, MemberClock, Scenario};

/// The files of a recording.
#[derive(Clone, Debug)]
pub struct Recording {
    name: String,
    /// Each with its name, in order.
    files: Vec<(String, Vec<u8>)>,
}

/// A recording that is being replayed.
pub struct Recorded {
    recording: Recording,
    scenario: Scenario,
    watch: Watch,
    /// Virtual time since the recording began.
    now: Duration,
    clock: Clock,
    member: Option<Member>,
    primary: bool,
    /// The time of day at which it began.
    began: Duration,
    /// What its log has committed, as far as the recording tells.
    agreed: State,
    term: Term,
    /// What the member has proposed, and the log has not committed.
    proposed: BTreeSet<(Term, u64)>,
    /// Requests without an answer: the number of the call, what it asks, and since when.
    calls: BTreeMap<Ticket, (u64, Request, Duration)>,
    asked: u64,
    acknowledged: u64,
    /// How many inputs were told again, and how many outputs were said again.
    inputs: u64,
    outputs: u64,
    /// What a reader should know besides.
    notes: Vec<String>,
    panic: Option<Panic>,
}

impl Recording {
    /// The recording of this name with these files, each with its name, in order.
    ///
    /// # Errors
    ///
    /// A sentence, if one of them is no file of a recording, or none can be replayed.
    pub fn new(name: String, mut files: Vec<(String, Vec<u8>)>) -> Result<Self, String> {
        for (file, bytes) in &files {
            let wrong = |error: FormatError| {
                format!("{file} is no recording of this version, {error}; name another one")
            };
            Reader::new(bytes).map_err(wrong)?;
        }
        // One that was cut short before its first record tells nothing.
        files.retain(|(_, bytes)| {
            Reader::new(bytes).is_ok_and(|mut reader| reader.next().is_some())
        });
        if files.is_empty() {
            return Err(format!("{name} has no recording in it, nothing was written yet"));
        }
        Ok(Self { name, files })
    }

    /// The settings of the engine, when the recording began.
    fn first(&self) -> Option<Start> {
        let (_, bytes) = self.files.first()?;
        match Reader::new(bytes).ok()?.next()? {
            Record::Start(start) => Some(start),
            Record::Input { .. } | Record::Outputs { .. } => None,
        }
    }
}

impl Recorded {
    /// The recording before its first moment.
    ///
    /// # Errors
    ///
    /// A sentence, if its first file does not begin as one does.
    pub fn new(recording: &Recording) -> Result<Self, String> {
        let Some(start) = recording.first() else {
            let (file, _) = &recording.files[0];
            return Err(format!(
                "{file} does not begin with the state of a member; name another one"
            ));
        };
        let text = "schema = 1\nmembers = 1\nduration = \"1s\"\n";
        let mut scenario =
            Scenario::parse(&recording.name, text).map_err(|error| error.to_string())?;
        scenario.name.clone_from(&recording.name);
        scenario.config = start.config;
        let offset = Duration::from_nanos(start.now.as_nanos());
        scenario.clocks.members = vec![MemberClock { member: MEMBER, offset, drift_ppm: 0 }];
        Ok(Self {
            watch: Watch::new(&scenario),
            scenario,
            recording: recording.clone(),
            now: Duration::ZERO,
            clock: Clock::new(Duration::ZERO, 0),
            member: None,
            primary: false,
            began: start.unix_time,
            agreed: State::default(),
            term: Term(0),
            proposed: BTreeSet::new(),
            calls: BTreeMap::new(),
            asked: 0,
            acknowledged: 0,
            inputs: 0,
            outputs: 0,
            notes: Vec::new(),
            panic: None,
        })
    }

    /// Has it show more than what is always shown.
    pub fn look_at(&mut self, focus: &Focus) {
        self.watch.recorder.look_at(focus);
    }

    /// Has it write its events as data.
    pub fn record_events(&mut self, detail: &Detail) {
        self.look_at(&detail.focus());
        self.watch.events = Some(Box::new(EventLog::new(&self.scenario, detail.clone())));
    }

    /// Replays all of it, up to the first thing that is wrong.
    pub fn run(&mut self) {
        let recording = self.recording.clone();
        for (file, bytes) in &recording.files {
            let Ok(mut reader) = Reader::new(bytes) else { continue };
            for record in reader.by_ref() {
                self.record(record);
                if !self.watch.oracle.violations().is_empty() {
                    return self.watch.recorder.finish(self.now);
                }
            }
            if reader.unread() > 0 {
                let bytes = reader.unread();
                self.notes.push(format!(
                    "{file} was cut short or is damaged: its last {bytes} bytes are not read"
                ));
            }
        }
        self.watch.recorder.finish(self.now);
    }

    /// The replay has ended in a panic.
    pub fn panicked(&mut self, panic: Panic) {
        if !panic.is_of_testbed() {
            self.emit(None, self.clock.read(self.now), Kind::Panicked(&panic.to_string()));
        }
        self.panic = Some(panic);
    }

    /// How it went.
    #[must_use]
    pub fn report(&mut self) -> Report {
        let violations = self.watch.oracle.violations().to_vec();
        let judged = self.watch.oracle.judged().clone();
        let hidden =
            judged.iter().filter(|(_, count)| *count == 0).map(|(property, _)| property.id());
        let mut report = Report {
            name: self.recording.name.clone(),
            seed: 0,
            may_miss: true,
            stopped_at: None,
            virtual_time: self.now,
            violations,
            unmet: Vec::new(),
            without_effect: Vec::new(),
            faults: BTreeMap::new(),
            acknowledged: self.acknowledged,
            marks: self.watch.coverage.counts(),
            hidden: hidden.collect(),
            panic: self.panic.clone(),
            judged: judged.clone(),
            trace: self.watch.recorder.trace().clone(),
            events: None,
        };
        report.events = self.watch.events.take().map(|log| log.finish(&self.scenario, &report));
        report
    }

    /// What was replayed, in sentences.
    pub fn summary(&self) -> impl Iterator<Item = String> {
        let (inputs, outputs, files) = (self.inputs, self.outputs, self.recording.files.len());
        let first = format!("{inputs} inputs from {files} files, {outputs} outputs said again");
        [first].into_iter().chain(self.notes.iter().cloned())
    }

    fn record(&mut self, record: Record) {
        match record {
            Record::Start(start) => self.start(start),
            Record::Input { now, input } => self.input(now, input),
            Record::Outputs { now, count, checksum } => self.outputs(now, count, checksum),
        }
    }

    fn start(&mut self, start: Start) {
        match (start.begin, &self.member) {
            (Begin::NextFile, Some(member)) => {
                let (now, then) = (Glance::at(member), Glance::at(&start.member));
                let differs = (now != then).then(|| {
                    format!(
                        "the next file begins with {then:?}, where the replay stands at {now:?}"
                    )
                });
                self.compared(start.now, None, differs.as_deref());
            }
            (Begin::Opened, _) => self.opened(start),
            (Begin::NextFile, None) => self.joined(start, "what came before was overwritten"),
            (Begin::Gap, _) => {
                self.joined(start, "a part is missing, as the disk was too slow for it");
            }
        }
    }

    /// An engine is opened: the first one, or one more after it.
    fn opened(&mut self, start: Start) {
        let Start { version, unix_time, now, member, .. } = start;
        self.says_version(&version);
        self.now = self.now.max(unix_time.saturating_sub(self.began));
        if let Some(last) = self.member.take() {
            self.ended(&last);
        }
        self.clock = Clock::that_shows(now, self.now);
        self.open(now, member);
    }

    /// The engine before has ended: it was stopped, or its process was killed.
    fn ended(&mut self, last: &Member) {
        let clock = self.clock.read(self.now);
        for (call, request, sent) in std::mem::take(&mut self.calls).into_values() {
            self.answered(clock, (call, &request, sent), &Err(RequestError::Unknown));
        }
        if last.is_stopped() {
            self.emit(Some(MEMBER), clock, Kind::Stopped);
        } else {
            let (fault, words) =
                (&Fault::Kill { member: MEMBER }, "ends without having been stopped");
            self.emit(Some(MEMBER), clock, Kind::Fault { fault, words });
        }
        self.emit(Some(MEMBER), clock, Kind::Down { all: false });
        self.emit(Some(MEMBER), clock, Kind::Restarted);
    }

    /// The recording goes on in the middle of something: from here on only its outputs are compared.
    fn joined(&mut self, start: Start, why: &str) {
        let Start { version, now, member, .. } = start;
        self.says_version(&version);
        let at = text::span(self.now);
        self.notes.push(format!("at {at} {why}: from there on only outputs and panics are judged"));
        self.watch.oracle.knows_no_log();
        if self.member.is_none() {
            self.clock = Clock::that_shows(now, self.now);
        }
        self.pass(now);
        self.calls.clear();
        self.open(now, member);
    }

    fn open(&mut self, now: Instant, member: Member) {
        let (applied, snapshot) = (member.applied(), member.lessor().snapshot());
        for entry in self.bridge(applied, &snapshot) {
            self.agree(&entry);
        }
        self.primary = member.is_primary();
        let digest = member.lessor().digest();
        let stored = &Stored { applied, digest, id_salt: 0, snapshot };
        self.emit(Some(MEMBER), now, Kind::Opened { stored, exchanged: None, rotten: false });
        self.member = Some(member);
    }

    fn says_version(&mut self, version: &str) {
        let ours = VERSION;
        if version != ours {
            self.notes.push(format!(
                "recorded by lessor {version} and replayed by {ours}, which may rightly say something else"
            ));
        }
    }

    fn input(&mut self, now: Instant, input: MemberInput) {
        let Some(mut member) = self.member.take() else { return };
        self.pass(now);
        self.inputs += 1;
        match &input {
            MemberInput::Committed(entries) => {
                for entry in entries {
                    if entry.index > self.agreed.applied {
                        self.agree(entry);
                    }
                }
            }
            MemberInput::Installed(state) if state.applied > self.agreed.applied => {
                for entry in self.bridge(state.applied, &state.snapshot) {
                    self.agree(&entry);
                }
            }
            MemberInput::Role(Role::Leader { term, barrier }) => {
                let (leader, in_flight, survived) = (MEMBER, 0, 0);
                let elected =
                    Note::Elected { leader, term: *term, barrier: *barrier, in_flight, survived };
                self.emit(None, now, Kind::Log(&elected));
            }
            MemberInput::Request { ticket, request } => self.asked(now, *ticket, request),
            MemberInput::Forget(ticket) => {
                self.calls.remove(ticket);
            }
            MemberInput::Installed(_)
            | MemberInput::Role(Role::Follower { .. })
            | MemberInput::Confirmed { .. }
            | MemberInput::GoOn
            | MemberInput::Persisted(_)
            | MemberInput::HoldExpired(_)
            | MemberInput::Timeout
            | MemberInput::Stop => {}
        }
        self.emit(Some(MEMBER), now, Kind::Input(&input));
        let was_primary = member.is_primary();
        match member.handle_input(now, input) {
            Ok(()) => {
                let shows = self.clock.read(self.now);
                let member = &member;
                self.emit(Some(MEMBER), now, Kind::Handled { member, was_primary, shows });
            }
            Err(error) => {
                let (error, met) = (&*error.to_string(), Met::default());
                let failed = Kind::Failed { error, met, rotten: false, opening: false };
                self.emit(Some(MEMBER), now, failed);
            }
        }
        self.member = Some(member);
    }

    /// The member says as many things as were recorded, which must be the same.
    fn outputs(&mut self, now: Instant, count: u32, recorded: u32) {
        let Some(member) = &mut self.member else { return };
        let (mut checksum, mut said) = (Checksum::default(), Vec::new());
        for _ in 0..count {
            let Some(output) = member.poll_output() else { break };
            checksum.add(&output);
            said.push(output);
        }
        self.pass(now);
        let differs = (checksum.finish() != recorded).then(|| {
            let said: Vec<_> = said.iter().map(|output| text::output(output).to_string()).collect();
            let said = if said.is_empty() { "nothing".to_owned() } else { said.join("; ") };
            format!("of {count} outputs one is not as it was recorded; the replay says: {said}")
        });
        self.compared(now, said.first(), differs.as_deref());
        if differs.is_none() {
            for output in said {
                self.output(now, &output);
            }
        }
    }

    fn output(&mut self, now: Instant, output: &Output) {
        self.outputs += 1;
        self.emit(Some(MEMBER), now, Kind::Output(output));
        match output {
            Output::Propose(proposal) => {
                self.proposed.insert((proposal.term, proposal.sequence));
                self.emit(Some(MEMBER), now, Kind::Proposed(proposal));
            }
            Output::Confirm(question) => self.emit(Some(MEMBER), now, Kind::Confirm(*question)),
            Output::Answer { ticket, answer } => {
                if let Some((call, request, sent)) = self.calls.remove(ticket) {
                    self.acknowledged += u64::from(answer.is_ok());
                    self.answered(now, (call, &request, sent), answer);
                }
            }
            Output::Campaign
            | Output::Resign
            | Output::Commit(_)
            | Output::Waits(_)
            | Output::Expired(_) => {}
        }
    }

    fn asked(&mut self, now: Instant, ticket: Ticket, request: &Request) {
        self.asked += 1;
        let call = self.asked;
        self.emit(None, now, Kind::Asked { call, by: SOMEBODY, request, again: false });
        self.emit(Some(MEMBER), now, Kind::Sent { call, request });
        self.calls.insert(ticket, (call, request.clone(), self.now));
    }

    fn answered(
        &mut self,
        now: Instant,
        (call, request, sent): (u64, &Request, Duration),
        answer: &Result<lessor::Response, RequestError>,
    ) {
        let (by, elsewhere) = (SOMEBODY, false);
        self.emit(Some(MEMBER), now, Kind::Answered { call, by, request, sent, elsewhere, answer });
    }

    fn compared(&mut self, now: Instant, output: Option<&Output>, differs: Option<&str>) {
        self.emit(Some(MEMBER), now, Kind::Compared { output, differs });
    }

    /// Entries for what the log has committed meanwhile, which nobody has recorded.
    fn bridge(&self, applied: LogIndex, to: &Snapshot) -> Vec<Entry> {
        bridge(&self.agreed, self.term, applied, to)
    }

    /// The log has committed an entry.
    fn agree(&mut self, entry: &Entry) {
        self.agreed.apply(entry);
        self.term = entry.term;
        self.asked_elsewhere(entry);
        self.emit(None, Instant::ZERO, Kind::Committed(entry));
    }

    /// Who revokes a lease through another member, or unseen, may do so; so the oracle takes it as asked for.
    fn asked_elsewhere(&mut self, entry: &Entry) {
        let Some(proposal) = &entry.proposal else { return };
        let own = self.proposed.remove(&(proposal.term, proposal.sequence));
        if let (false, Command::Revoke { id }) = (own, &proposal.command) {
            let (call, request, again) = (0, &Request::Revoke { id: *id }, false);
            let kind = Kind::Asked { call, by: SOMEBODY, request, again };
            let (now, clock) = (self.now, Instant::ZERO);
            self.watch.judge(&Event { now, member: None, clock, kind });
        }
    }

    /// Time goes on to what the member's clock shows. A request may have been asked a little before.
    fn pass(&mut self, clock: Instant) {
        let passed = clock.saturating_since(self.clock.read(self.now));
        self.now += passed;
    }

    fn emit(&mut self, member: Option<MemberId>, clock: Instant, kind: Kind<'_>) {
        let event = Event { now: self.now, member, clock, kind };
        self.watch.judge(&event);
        if let Kind::Handled { member, .. } = &event.kind {
            self.primary = member.is_primary();
        }
        let role = if self.primary { 'P' } else { 'F' };
        let clock = member.map(|_| self.clock);
        self.watch.write(&event, member.map(|member| (member, role)), clock);
    }
}

/// What a file that goes on must agree on with the replay of the one before.
#[derive(PartialEq, Eq)]
struct Glance {
    applied: LogIndex,
    digest: lessor::Digest,
    timeout: Option<Instant>,
    primary: bool,
}

impl Glance {
    fn at(member: &Member) -> Self {
        Self {
            applied: member.applied(),
            digest: member.lessor().digest(),
            timeout: member.poll_timeout(),
            primary: member.is_primary(),
        }
    }
}

impl std::fmt::Debug for Glance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { applied, digest, timeout, primary } = self;
        let role = if *primary { "a primary" } else { "no primary" };
        write!(f, "{role} at index {applied} with the digest {digest}, due at {timeout:?}")
    }
}

/// Entries of a log that make this state of that one, where what happened between is not known. The last
/// one has the index `applied`.
fn bridge(from: &State, term: Term, applied: LogIndex, to: &Snapshot) -> Vec<Entry> {
    if applied <= from.applied {
        return Vec::new();
    }
    let mut commands = Vec::new();
    let mut state = from.clone();
    let ttls: BTreeMap<_, _> = to.leases.iter().map(|record| (record.id, record.ttl)).collect();
    for (id, lease) in &from.leases {
        if ttls.get(id) != Some(&lease.ttl) {
            commands.push(Command::Revoke { id: *id });
            state.leases.remove(id);
            state.holders.retain(|_, holder| holder != id);
        }
    }
    let granted = ttls.iter().filter(|(id, _)| !state.leases.contains_key(id));
    commands.extend(granted.map(|(id, ttl)| Command::Grant { id: *id, ttl: *ttl }));
    let holders: BTreeMap<_, _> = to.items.iter().map(|(item, holder)| (item, *holder)).collect();
    let gone = state.holders.iter().filter(|(item, _)| !holders.contains_key(item));
    commands.extend(by_lease(gone).map(|(id, items)| Command::Detach { id, items }));
    let pairs = to.items.iter().map(|(item, holder)| (item, holder));
    let new = pairs.filter(|(item, holder)| state.holders.get(*item) != Some(*holder));
    commands.extend(by_lease(new).map(|(id, items)| Command::Attach { id, items }));
    let checkpoint = |record: &LeaseRecord| {
        let known = state.leases.get(&record.id).and_then(|lease| lease.remaining);
        let is_new = known != record.remaining;
        is_new.then_some(Checkpoint { id: record.id, remaining: record.remaining })
    };
    let checkpoints: Vec<_> = to.leases.iter().filter_map(checkpoint).collect();
    if !checkpoints.is_empty() {
        commands.push(Command::Checkpoint { checkpoints });
    }
    let first = from.applied.0 + 1;
    let entry = |(index, command): (u64, Command)| {
        // No proposal of the engine has such a number.
        let proposal = Some(Proposal { term, sequence: u64::MAX - index, command });
        Entry { index: LogIndex(index), term, proposal }
    };
    let mut entries: Vec<Entry> = (first..).zip(commands).map(entry).collect();
    match entries.last_mut() {
        Some(last) if last.index >= applied => {}
        _ => entries.push(Entry { index: applied, term, proposal: None }),
    }
    entries
}

/// Items with their holders, by holder.
fn by_lease<'a>(
    items: impl Iterator<Item = (&'a Item, &'a LeaseId)>,
) -> impl Iterator<Item = (LeaseId, Vec<Item>)> {
    let mut of: BTreeMap<LeaseId, Vec<Item>> = BTreeMap::new();
    for (item, holder) in items {
        of.entry(*holder).or_default().push(item.clone());
    }
    of.into_iter()
}

/// A recording is one of one member.
const MEMBER: MemberId = MemberId(1);
/// Who asks, of whom a recording tells nothing.
const SOMEBODY: Asker<'static> = Asker::Step { lessee: None, member: Some(MEMBER), line: 0 };
