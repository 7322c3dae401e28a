//! The oracle: it watches everything that goes in and out of each member and what the lessees are
//! told, keeps its own idea of what the log means, and lets every one of the
//! [properties](super::Property) judge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::backend::Stored;
use lessor::{
    Config, Entry, Instant, Item, LeaseId, LogIndex, Member, MemberId, MemberInput, Output,
    Request, RequestError, Response, Role, StateAt,
};

use crate::env::disk::Met;
use crate::env::raft::Note;
use crate::judge::{
    Broken, End, Event, Fact, GuardNews, Invariant, Judgements, Kind, Property, Scene, Unanswered,
    Violation,
};
use crate::model::text;
use crate::model::{Difference, State, Store, named};
use crate::scenario::Clocks;

use self::watched::Watched;

mod told;
mod watched;

/// Watches a run, and judges it.
pub struct Oracle {
    config: Config,
    clocks: Clocks,
    twins: bool,
    /// Whether no clock has gone too fast, and whether none has stepped or gone too slow either.
    clocks_hold: bool,
    clocks_steady: bool,
    /// Since when faults are over, if they are, on the clock of lessees.
    healed: Option<Duration>,
    invariants: Vec<Box<dyn Invariant>>,
    /// How often each property was judged.
    judged: Judgements,
    violations: Vec<Violation>,
    /// What the log has committed.
    log: Vec<Entry>,
    /// Whether nobody tells what the log has committed.
    logless: bool,
    agreed: State,
    members: BTreeMap<MemberId, Watched>,
    /// When each lease first was in an expired batch.
    expired: BTreeMap<LeaseId, Duration>,
}

impl Oracle {
    /// An oracle of members with these settings; with `twins`, each has a second one beside it that must
    /// say the same.
    #[must_use]
    pub fn new(config: &Config, clocks: &Clocks, twins: bool) -> Self {
        Self {
            twins,
            config: config.clone(),
            clocks: clocks.clone(),
            clocks_hold: true,
            clocks_steady: true,
            healed: None,
            invariants: super::all(),
            judged: Judgements::default(),
            violations: Vec::new(),
            log: Vec::new(),
            logless: false,
            agreed: State::default(),
            members: BTreeMap::new(),
            expired: BTreeMap::new(),
        }
    }

    /// Judges an event.
    pub fn observe(&mut self, event: &Event<'_>) {
        let Event { now, clock, .. } = *event;
        let member = event.member.unwrap_or(NOBODY);
        match &event.kind {
            Kind::Committed(entry) => self.agreed(now, entry),
            Kind::Handed { entry, gap } => {
                let agreed = entry_at(&self.log, entry.index).filter(|_| !gap).cloned();
                let handed = Fact::Handed { entry, agreed: agreed.as_ref() };
                self.judge(now, member, clock, &handed);
            }
            Kind::Log(note) => {
                if let Note::Elected { term, leader, .. } = note {
                    let (term, leader) = (*term, *leader);
                    self.judge(now, NOBODY, Instant::ZERO, &Fact::Elected { term, leader });
                }
            }
            // It may have begun in the middle, and nothing of it is judged.
            Kind::Input(_) | Kind::Handled { .. } | Kind::Output(_) if self.logless => {}
            Kind::Input(input) => self.before(now, member, clock, input),
            Kind::Handled { member: handled, shows, .. } => {
                self.after(now, member, clock, *shows, handled);
            }
            Kind::Output(output) => self.output(now, member, clock, output),
            Kind::Compared { output, differs } => {
                let lease = differs.and(*output).and_then(lease_of);
                let differs = differs.map(str::to_owned);
                self.judge(now, member, clock, &Fact::Twin { differs, lease });
            }
            Kind::Opened { stored, rotten, .. } => self.opened(now, member, clock, stored, *rotten),
            Kind::Unreadable => self.judge(now, member, Instant::ZERO, &Fact::Unreadable),
            Kind::OpenedAgain(None) => {
                let what = "the store was opened a second time while an engine had it".to_owned();
                self.object(now, member, Broken::new(Property::S4, what));
            }
            Kind::Failed { error, met, rotten, opening } => {
                if *rotten && *opening {
                    self.judge(now, member, Instant::ZERO, &Fact::Refused);
                }
                if *met == Met::default() && !rotten {
                    let what = format!("the member failed: {error}");
                    self.object(now, member, Broken::new(Property::S4, what));
                }
            }
            Kind::Down { .. } => {
                self.watched(member).primary = false;
                self.judge(now, member, Instant::ZERO, &Fact::Demoted);
                self.judge(now, member, Instant::ZERO, &Fact::Gone);
            }
            Kind::WriteFailed => self.judge(now, member, Instant::ZERO, &Fact::WriteFailed),
            Kind::CommittedAgain { refused } => {
                self.judge(now, member, Instant::ZERO, &Fact::Repeated { refused: *refused });
            }
            Kind::Exchanged(_) => {
                *self.watched(member) = Watched::default();
                self.judge(now, member, Instant::ZERO, &Fact::Replaced);
            }
            Kind::Resumed => self.judge(now, member, clock, &Fact::Resumed),
            Kind::ClockUnsteady { ahead } => {
                self.clocks_steady = false;
                self.clocks_hold &= !ahead;
            }
            Kind::Healed { .. } => self.healed = Some(self.clocks.of_lessees(now)),
            Kind::Asked { request, .. } => {
                self.judge(now, NOBODY, Instant::ZERO, &Fact::Asked { request });
            }
            Kind::Sent { request, .. } => self.judge(now, member, clock, &Fact::Sent { request }),
            Kind::Answered { request, sent, answer, .. } => {
                self.judge(now, member, clock, &Fact::Left { request });
                self.answered(now, *sent, request, answer);
            }
            Kind::GaveUp { request, lost: false, .. }
            | Kind::LostOnTheWay { request, answer: Some(_), .. } => {
                self.judge(now, member, clock, &Fact::Left { request });
            }
            Kind::Guard { lease, news, .. } => {
                if matches!(news, GuardNews::Lives) {
                    let request = &Request::Renew { id: *lease };
                    self.judge(now, member, clock, &Fact::Left { request });
                }
                let (lease, news) = (*lease, *news);
                self.judge(now, NOBODY, Instant::ZERO, &Fact::Guard { lease, news });
            }
            Kind::Panicked(what) => {
                self.judge(now, NOBODY, Instant::ZERO, &Fact::Panicked { what });
            }
            Kind::Ended(end) => self.finish(now, (*end).clone()),
            Kind::Proposed(_)
            | Kind::Confirm(_)
            | Kind::Posted(_)
            | Kind::Disturbed(_)
            | Kind::Heard(_)
            | Kind::LockedOut
            | Kind::OpenedAgain(Some(_))
            | Kind::Stopped
            | Kind::PowerLost { .. }
            | Kind::Disk(_)
            | Kind::SlowDisk(_)
            | Kind::StoreHeld
            | Kind::Observed { .. }
            | Kind::Ordered { .. }
            | Kind::Fault { .. }
            | Kind::Over { .. }
            | Kind::ClockSet { .. }
            | Kind::Restarted
            | Kind::NobodyToAsk { .. }
            | Kind::GaveUp { lost: true, .. }
            | Kind::LostOnTheWay { answer: None, .. }
            | Kind::Expected { .. } => {}
        }
    }

    /// Nobody knows what happened in which order: only panics are judged, and whether twins say the same.
    pub fn knows_no_log(&mut self) {
        self.logless = true;
    }

    /// The log has committed the next entry.
    fn agreed(&mut self, now: Duration, entry: &Entry) {
        let applied = self.agreed.apply(entry);
        self.log.push(entry.clone());
        self.judge(now, NOBODY, Instant::ZERO, &Fact::Agreed { entry, applied: &applied });
    }

    /// A member has loaded its store.
    fn opened(
        &mut self,
        now: Duration,
        member: MemberId,
        clock: Instant,
        stored: &Stored,
        rotten: bool,
    ) {
        let watched = self.members.entry(member).or_default();
        let mut state = std::mem::take(&mut watched.durable);
        if state.applied > stored.applied {
            // The last commit did not survive; whether it had to is for S4a to say.
            state = State::default();
        }
        while state.applied < stored.applied
            && let Some(entry) = entry_after(&self.log, state.applied)
        {
            state.apply(entry);
        }
        let known = state.applied == stored.applied;
        let difference = known.then(|| state.difference(&stored.snapshot));
        let leases = stored.snapshot.leases.iter();
        let store = Store {
            leases: leases.map(|record| (record.id, (record.ttl, record.remaining))).collect(),
            items: stored.snapshot.items.iter().cloned().collect(),
        };
        let twin = self.twins.then(|| {
            let (applied, snapshot) = (stored.applied, stored.snapshot.clone());
            Member::new(&self.config, &StateAt { applied, snapshot }).ok()
        });
        let twin = twin.flatten();
        let persisted = stored.applied;
        let durable = state.clone();
        *watched = Watched { state, durable, store, twin, persisted, ..Watched::default() };
        self.judge(now, member, clock, &Fact::Opened { stored, difference, rotten });
        let (applied, digest) = (stored.applied, stored.digest);
        let before = self.violations.len();
        self.judge(now, member, clock, &Fact::Stands { applied, digest });
        self.name_the_difference(before, member, &stored.snapshot);
    }

    /// A member is about to handle an input.
    fn before(&mut self, now: Duration, member: MemberId, clock: Instant, input: &MemberInput) {
        self.watched(member).pass(clock);
        self.watched(member).timer = *input == MemberInput::Timeout;
        if let Some(twin) = &mut self.watched(member).twin {
            // If it refuses the input, so does the member, whose driver stops.
            let _ = twin.handle_input(clock, input.clone());
        }
        let watched = self.watched(member);
        watched.unset.clear();
        watched.renewed_and_gone.clear();
        match input {
            MemberInput::Role(Role::Leader { barrier, term }) => {
                watched.barrier = *barrier;
                self.judge(now, member, clock, &Fact::Leads { term: *term });
            }
            MemberInput::Request { ticket, request } => {
                watched.asked.insert(*ticket, (now, clock, request.clone()));
                let barrier = watched.barrier;
                self.judge(now, member, clock, &Fact::Came { ticket: *ticket, request });
                let watched = self.watched(member);
                if *request == Request::Promote && watched.primary {
                    // Its clock has gone on since that was asked.
                    let clock = watched.latest;
                    self.judge(now, member, clock, &Fact::Promoted { again: true, barrier });
                }
            }
            MemberInput::Installed(installed) => {
                let watched = self.members.entry(member).or_default();
                // It ignores one that is not ahead of it.
                if installed.applied > watched.state.applied {
                    watched.undurable.installed = installed.applied;
                }
                let state = &mut watched.state;
                while state.applied < installed.applied
                    && let Some(entry) = entry_after(&self.log, state.applied)
                {
                    state.apply(entry);
                }
                self.judge(now, member, clock, &Fact::Installed);
            }
            MemberInput::Persisted(applied) => {
                watched.persisted = *applied;
                watched.undurable.persisted(*applied);
                self.judge(now, member, clock, &Fact::Durable { applied: *applied });
            }
            MemberInput::Forget(ticket) => {
                watched.asked.remove(ticket);
                watched.decided.remove(ticket);
                watched.queued -= watched.queued_of.remove(ticket).unwrap_or_default();
                self.judge(now, member, clock, &Fact::Forgot { ticket: *ticket });
            }
            MemberInput::HoldExpired(hold) => {
                self.judge(now, member, clock, &Fact::Held { hold: *hold });
            }
            // How much of it the member applies shows afterwards.
            MemberInput::Committed(_) | MemberInput::GoOn => {}
            MemberInput::Role(Role::Follower { .. })
            | MemberInput::Confirmed { .. }
            | MemberInput::Timeout
            | MemberInput::Stop => {}
        }
    }

    /// A member has handled an input, and its host has not taken the outputs yet. The input may be older than
    /// what its clock shows: a request comes with the moment at which it was asked.
    fn after(
        &mut self,
        now: Duration,
        id: MemberId,
        clock: Instant,
        shows: Instant,
        member: &Member,
    ) {
        let clock = clock.max(shows.min(self.watched(id).latest));
        if member.lessor().len() <= CHECKED_LEASES {
            member.lessor().check();
        }
        self.catch_up(now, id, clock, member.applied());
        let watched = self.watched(id);
        let was = std::mem::replace(&mut watched.primary, member.is_primary());
        let seen = watched.queued - watched.taken;
        watched.queued = watched.taken + decided(member).count();
        let quiet = decided(member).count() == seen;
        if !was && member.is_primary() {
            let barrier = self.watched(id).barrier;
            self.judge(now, id, clock, &Fact::Promoted { again: false, barrier });
        }
        for output in decided(member).skip(seen) {
            if let Output::Answer { ticket, .. } | Output::Waits(ticket) = output {
                *self.watched(id).queued_of.entry(*ticket).or_default() += 1;
            }
            match output {
                Output::Expired(batch) => {
                    for lease in &batch.leases {
                        self.expired.entry(*lease).or_insert(now);
                    }
                    self.judge(now, id, clock, &Fact::Expired { batch });
                }
                Output::Answer { ticket, answer: answer @ Ok(response) } => {
                    self.judge(now, id, clock, &Fact::Decided { ticket: *ticket, answer });
                    let applied = member.applied();
                    let watched = self.watched(id);
                    let asked = watched.asked.get(ticket).cloned();
                    if let Some((came, asked, request)) = asked {
                        let request = &request;
                        let speaks_of = watched.undurable.of(request, response, applied);
                        watched.decided.insert(*ticket, speaks_of);
                        let served = Fact::Served { request, asked, came, response };
                        self.judge(now, id, clock, &served);
                    }
                }
                Output::Answer { ticket, answer: answer @ Err(_) } => {
                    self.judge(now, id, clock, &Fact::Decided { ticket: *ticket, answer });
                }
                Output::Waits(ticket) => {
                    self.judge(now, id, clock, &Fact::Waits { ticket: *ticket });
                }
                Output::Propose(_)
                | Output::Confirm(_)
                | Output::Campaign
                | Output::Resign
                | Output::Commit(_) => {}
            }
        }
        if was && !member.is_primary() {
            self.judge(now, id, clock, &Fact::Demoted);
        }
        // In the middle of a command it stands at no index.
        let in_between = member.lessor().is_applying();
        let (applied, digest) = (member.applied(), member.lessor().digest());
        let before = self.violations.len();
        if !in_between {
            self.judge(now, id, clock, &Fact::Stands { applied, digest });
        }
        if self.violations.len() > before {
            self.name_the_difference(before, id, &member.lessor().snapshot());
        }
        if std::mem::take(&mut self.watched(id).timer) {
            let due = member.poll_timeout().is_some_and(|at| at <= clock);
            let idle = due && quiet;
            self.judge(now, id, clock, &Fact::Timer { idle });
        }
        let few = member.lessor().len() <= SEEN_LEASES;
        if !in_between && (few || (!was && member.is_primary())) {
            self.look_inside(now, id, clock, member);
        }
    }

    /// A member has applied everything up to `applied`; so does the oracle in its own fold.
    fn catch_up(&mut self, now: Duration, member: MemberId, clock: Instant, applied: LogIndex) {
        loop {
            let stands = self.watched(member).state.applied;
            let next = entry_after(&self.log, stands).filter(|_| stands < applied);
            let Some(entry) = &next.cloned() else { break };
            let watched = self.watched(member);
            watched.undurable.note(&watched.state, entry);
            let applied = watched.state.apply(entry);
            self.watched(member).note_unset(entry, &applied);
            self.judge(now, member, clock, &Fact::Applied { entry, applied: &applied });
        }
    }

    /// Asks a member for all that it knows.
    fn look_inside(&mut self, now: Duration, id: MemberId, clock: Instant, member: &Member) {
        let lessor = member.lessor();
        let snapshot = lessor.snapshot();
        let deadline = |id| lessor.remaining(clock, id).map(|left| clock.saturating_add(left));
        let deadlines = snapshot.leases.iter().map(|record| (record.id, deadline(record.id)));
        let (deadlines, items) = (&deadlines.collect(), &snapshot.items.iter().cloned().collect());
        let records = &*snapshot.leases;
        let (timer, primary) = (lessor.poll_timeout().is_some(), member.is_primary());
        self.judge(now, id, clock, &Fact::After { records, deadlines, timer, primary, items });
    }

    /// A member's host is about to do an output.
    fn output(&mut self, now: Duration, member: MemberId, clock: Instant, output: &Output) {
        let watched = self.watched(member);
        watched.taken += usize::from(!matches!(output, Output::Commit(_)));
        if let Output::Answer { ticket, .. } | Output::Waits(ticket) = output
            && let Some(count) = watched.queued_of.get_mut(ticket)
        {
            *count -= 1;
            if *count == 0 {
                watched.queued_of.remove(ticket);
            }
        }
        if let Some(twin) = &mut watched.twin {
            let said = twin.poll_output();
            let differs = (said.as_ref() != Some(output)).then(|| differs(said.as_ref(), output));
            watched.twin.take_if(|_| differs.is_some());
            let lease = differs
                .as_ref()
                .and_then(|_| said.as_ref().and_then(lease_of).or_else(|| lease_of(output)));
            self.judge(now, member, clock, &Fact::Twin { differs, lease });
        }
        match output {
            Output::Commit(transaction) => {
                let watched = self.members.entry(member).or_default();
                let deletes = watched.store.commit(transaction);
                let (mut leases, mut items) = named(transaction);
                let mut revoked: Vec<(LeaseId, Vec<Item>)> = Vec::new();
                while watched.durable.applied < transaction.applied
                    && let Some(entry) = entry_after(&self.log, watched.durable.applied)
                {
                    let applied = watched.durable.apply(entry);
                    leases.extend(applied.leases);
                    items.extend(applied.items);
                    // A whole state has no revokes of its own; entries after it may share its transaction.
                    let installed = transaction.reset && entry.index <= watched.undurable.installed;
                    revoked.extend(applied.revoked.filter(|_| !installed));
                }
                if transaction.reset {
                    // All of it is compared.
                    leases.extend(watched.durable.leases.keys().copied());
                    items.extend(watched.durable.holders.keys().cloned());
                }
                let difference = watched.store.compare(&watched.durable, &leases, &items);
                let (revoked, deletes) = (&*revoked, &*deletes);
                let commit = Fact::Commit { transaction, revoked, deletes, difference };
                self.judge(now, member, clock, &commit);
            }
            Output::Answer { ticket, answer } => {
                let watched = self.watched(member);
                let decided = watched.decided.remove(ticket);
                if decided.is_some() && answer.is_err() {
                    // The member has given up its decision since.
                    self.judge(now, member, clock, &Fact::Decided { ticket: *ticket, answer });
                }
                let speaks_of = decided.filter(|_| answer.is_ok());
                let watched = self.watched(member);
                let asked = watched.asked.remove(ticket);
                let told = Fact::Told {
                    ticket: *ticket,
                    asked: asked.is_some(),
                    speaks_of: speaks_of.unwrap_or_default(),
                    durable: watched.persisted,
                };
                if let Some((_, _, request)) = asked {
                    watched.answered.truncate(KNOWN_ANSWERS - 1);
                    watched.answered.push_front((*ticket, request));
                }
                let before = self.violations.len();
                self.judge(now, member, clock, &told);
                self.name_the_request(before, member, *ticket);
            }
            Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Waits(_)
            | Output::Expired(_) => {}
        }
    }

    /// A lessee has an answer to what it sent at `sent`.
    fn answered(
        &mut self,
        now: Duration,
        sent: Duration,
        request: &Request,
        answer: &Result<Response, RequestError>,
    ) {
        if *answer != Err(RequestError::Unknown) {
            let (began, sent) = (sent, self.clocks.of_lessees(sent));
            let answered = Fact::Answered { request, began, sent, answer };
            self.judge(now, NOBODY, Instant::ZERO, &answered);
        }
    }

    /// The scenario has ended. The oracle itself adds the unanswered requests.
    fn finish(&mut self, now: Duration, mut end: End) {
        for member in end.connected.iter().filter(|_| end.primary.is_some()) {
            let asked = self.members.get(member).into_iter().flat_map(|m| &m.asked);
            let asked = asked.map(|(ticket, (came, _, request))| Unanswered {
                member: *member,
                ticket: *ticket,
                came: *came,
                request: request.clone(),
            });
            end.unanswered.extend(asked);
        }
        let end = &end;
        for member in &end.connected {
            let watched = self.watched(*member);
            let (leases, items) = (&watched.durable.leases, &watched.durable.holders);
            let names = leases.keys().chain(watched.store.leases.keys());
            let keys = items.keys().chain(watched.store.items.keys());
            let difference = watched.store.compare(&watched.durable, names, keys);
            self.stands_as_the_log_says(now, *member, difference);
        }
        self.judge(now, NOBODY, Instant::ZERO, &Fact::Ended { end });
    }

    fn stands_as_the_log_says(
        &mut self,
        now: Duration,
        member: MemberId,
        difference: Option<Difference>,
    ) {
        if let Some(difference) = difference {
            let broken = Broken::new(Property::S4, format!("at the end: {difference}"));
            self.object(now, member, broken.about(difference.lease()));
        }
    }

    fn judge(&mut self, now: Duration, member: MemberId, clock: Instant, fact: &Fact<'_>) {
        if self.logless && !matches!(fact, Fact::Panicked { .. } | Fact::Twin { .. }) {
            return;
        }
        let (state, renewed_and_gone, latest) = match self.members.get(&member) {
            Some(watched) => (&watched.state, &watched.renewed_and_gone, watched.latest.max(clock)),
            None => (&self.agreed, &BTreeSet::new(), clock),
        };
        let lessees = self.clocks.of_lessees(now);
        let (clocks_hold, clocks_steady) = (self.clocks_hold, self.clocks_steady);
        let bound_ppm = self.clocks.bound_ppm;
        let config = &self.config;
        let scene = Scene {
            now,
            lessees,
            clocks_hold,
            clocks_steady,
            healed: self.healed,
            bound_ppm,
            member,
            clock,
            latest,
            renewed_and_gone,
            state,
            config,
        };
        let mut broken = Vec::new();
        for invariant in &mut self.invariants {
            if let Err(wrong) = invariant.observe(&scene, fact, &mut self.judged) {
                self.judged.add_one(wrong.property);
                broken.push(wrong);
            }
        }
        for broken in broken {
            self.object(now, member, broken);
        }
    }

    fn object(&mut self, now: Duration, member: MemberId, broken: Broken) {
        let Broken { property, what, member: of, lease } = broken;
        let member = of.or((member != NOBODY).then_some(member));
        self.violations.push(Violation { property, what, at: now, member, lease, lessee: None });
    }

    fn watched(&mut self, member: MemberId) -> &mut Watched {
        self.members.entry(member).or_default()
    }
}

/// The outputs that a host has not taken yet, without commits, which grow until they are taken.
fn decided(member: &Member) -> impl Iterator<Item = &Output> {
    member.outputs().filter(|output| !matches!(output, Output::Commit(_)))
}

/// How an output of a member differs from that of its twin.
fn differs(twin: Option<&Output>, output: &Output) -> String {
    let says = text::output(output);
    match twin {
        None => format!("its twin says nothing, where it says: {says}"),
        Some(twin) if text::output(twin).to_string() == says.to_string() => {
            format!("its twin says it with other details: {says}")
        }
        Some(twin) => format!("its twin says: {}; where it says: {says}", text::output(twin)),
    }
}

/// The first lease that a member speaks of.
fn lease_of(output: &Output) -> Option<LeaseId> {
    match output {
        Output::Answer { answer, .. } => text::lease_of_answer(answer),
        Output::Propose(_)
        | Output::Confirm(_)
        | Output::Campaign
        | Output::Resign
        | Output::Commit(_)
        | Output::Waits(_)
        | Output::Expired(_) => text::leases_of_output(output).first().copied(),
    }
}

fn entry_at(log: &[Entry], index: LogIndex) -> Option<&Entry> {
    log.binary_search_by_key(&index, |entry| entry.index).ok().map(|at| &log[at])
}

/// The next entry that is known: in the log of a recording some are missing.
fn entry_after(log: &[Entry], applied: LogIndex) -> Option<&Entry> {
    log.get(log.partition_point(|entry| entry.index <= applied))
}

/// How many answers of a member are remembered.
const KNOWN_ANSWERS: usize = 256;
/// Stands for the member of a fact that belongs to none.
const NOBODY: MemberId = MemberId(0);
/// Up to this many leases the lessor's own check runs after each input.
const CHECKED_LEASES: usize = 64;
/// Up to this many it is asked for each of them.
const SEEN_LEASES: usize = 16;

#[cfg(test)]
mod tests {
    use lessor::{Digest, LeaseRecord, Snapshot, Ttl};

    use super::*;

    #[test]
    fn digests_that_differ_say_what_differs() {
        let mut oracle = Oracle::new(&Config::default(), &Clocks::default(), false);
        let mut open = |member, snapshot, digest| {
            let (applied, digest) = (LogIndex(0), Digest::from_u64(digest));
            let stored = Stored { applied, digest, snapshot, id_salt: 0 };
            oracle.opened(Duration::ZERO, MemberId(member), Instant::ZERO, &stored, false);
        };
        open(1, Snapshot::default(), 1);
        let id = LeaseId::new(7).expect("not 0");
        let record = LeaseRecord { id, ttl: Ttl::from_secs(5), remaining: None };
        open(2, Snapshot { leases: vec![record], items: Vec::new() }, 2);
        open(3, Snapshot::default(), 3);
        let of_digests = oracle.violations().iter().filter(|one| one.property == Property::S5);
        let of_digests: Vec<_> = of_digests.collect();
        let leases: Vec<_> = of_digests.iter().map(|violation| violation.lease).collect();
        assert_eq!(leases, [Some(id), None]);
        let said: Vec<_> = of_digests.iter().map(|violation| violation.what.as_str()).collect();
        let wrong = "; member 2 is wrong: lease 7: ttl 5s in the store, no record by the log";
        assert!(said[0].ends_with(wrong), "{said:?}");
        let right = "; the leases and items of member 3 are as the log says";
        assert!(said[1].ends_with(right), "{said:?}");
    }
}
