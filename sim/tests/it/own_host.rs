//! Hosts that have leases and no lessor: a port that keeps them by itself over the modelled log, and a table
//! without any log. What they do not show is not judged; what they answer is.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what these hosts do not serve they do not name"
)]

use std::collections::BTreeMap;

use lessor::driver::{CallError, Log, LogEvent, Runtime};
use lessor::{
    Command, Config, Error, Instant, LeaseId, LogIndex, Proposal, Request, RequestError, Response,
    Role, Term, Ttl,
};
use lessor_sim::host::{Host, HostError, Seat, SimLog, Testbed};
use lessor_sim::judge::Property;
use lessor_sim::record::report::{Report, Verdict};
use lessor_sim::scenario::Scenario;
use tokio::sync::{mpsc, oneshot};

type Reply = oneshot::Sender<Result<Response, RequestError>>;

/// A port: no lessor, no member, no store.
struct Port {
    /// Answers a revoke before it is in the log.
    hasty: bool,
}

impl Host for Port {
    async fn run(&self, mut seat: Seat) -> Result<(), HostError> {
        let mut log = seat.log()?;
        log.start(LogIndex(0));
        let (sender, mut asked) = mpsc::unbounded_channel();
        seat.serve_with(move |request| {
            let (reply, answer) = oneshot::channel();
            let _ = sender.send((request, reply));
            async { answer.await.unwrap_or(Err(RequestError::Unknown)).map_err(CallError::Request) }
        });
        let (runtime, config) = (seat.runtime(), seat.config());
        let mut table = Table { hasty: self.hasty, config, ..Table::default() };
        loop {
            tokio::select! {
                biased;
                event = log.next() => {
                    table.told(runtime.now(), event.ok_or("the log has ended")?);
                }
                Some((request, reply)) = asked.recv() => {
                    table.asked(runtime.now(), &mut log, &request, reply);
                }
                () = runtime.sleep_until(table.next_end()) => table.expire(runtime.now(), &mut log),
                () = seat.stopped() => return Ok(()),
            }
        }
    }
}

/// Leases with their ends, if this member leads.
#[derive(Default)]
struct Table {
    hasty: bool,
    config: Config,
    leads: Option<Term>,
    sequence: u64,
    leases: BTreeMap<LeaseId, (Ttl, Instant)>,
    waiting: BTreeMap<u64, Reply>,
}

impl Table {
    fn told(&mut self, now: Instant, event: LogEvent) {
        match event {
            LogEvent::Role(role) => {
                self.waiting.clear();
                self.leads = match role {
                    Role::Leader { term, .. } => Some(term),
                    Role::Follower { .. } => None,
                };
                for (ttl, end) in self.leases.values_mut() {
                    *end = now + ttl.as_duration() + self.config.extend;
                }
            }
            LogEvent::Committed(entries) => {
                for entry in entries {
                    let Some(proposal) = entry.proposal.filter(|of| of.term == entry.term) else {
                        continue;
                    };
                    let answer = self.apply(now, entry.index, &proposal.command);
                    let ours = self.leads == Some(proposal.term);
                    if let Some(reply) = self.waiting.remove(&proposal.sequence).filter(|_| ours) {
                        let _ = reply.send(answer);
                    }
                }
            }
            LogEvent::Confirmed { .. } | LogEvent::Installed(_) => {}
        }
    }

    fn apply(
        &mut self,
        now: Instant,
        index: LogIndex,
        command: &Command,
    ) -> Result<Response, RequestError> {
        match *command {
            Command::Grant { id, .. } if self.leases.contains_key(&id) => {
                Err(RequestError::Refused(Error::LeaseExists))
            }
            Command::Grant { id, ttl } => {
                self.leases.insert(id, (ttl, now + ttl.as_duration()));
                Ok(Response::Granted { id, ttl, index })
            }
            Command::Revoke { id } => match self.leases.remove(&id) {
                Some(_) => Ok(Response::Applied { index }),
                None => Err(RequestError::Refused(Error::LeaseNotFound)),
            },
            _ => Err(RequestError::Unknown),
        }
    }

    fn asked(&mut self, now: Instant, log: &mut SimLog, request: &Request, reply: Reply) {
        let Some(_) = self.leads else {
            let _ = reply.send(Err(RequestError::NotPrimary { leader: None }));
            return;
        };
        match *request {
            Request::Grant { id: Some(id), ttl } => {
                // As the product does, it never grants less than the least ttl.
                let ttl = ttl.max(self.config.min_ttl);
                self.propose(log, Command::Grant { id, ttl }, Some(reply));
            }
            Request::Revoke { id } if self.hasty => {
                self.propose(log, Command::Revoke { id }, None);
                let _ = reply.send(Ok(Response::Applied { index: LogIndex(1) }));
            }
            Request::Revoke { id } => self.propose(log, Command::Revoke { id }, Some(reply)),
            Request::Renew { id } => {
                let lease = self.leases.get_mut(&id).filter(|(_, end)| *end > now);
                let _ = reply.send(match lease {
                    Some((ttl, end)) => {
                        *end = now + ttl.as_duration();
                        Ok(Response::Renewed { ttl: *ttl })
                    }
                    None => Err(RequestError::Refused(Error::LeaseNotFound)),
                });
            }
            // Dropped, so nobody knows.
            _ => {}
        }
    }

    fn propose(&mut self, log: &mut SimLog, command: Command, reply: Option<Reply>) {
        let Some(term) = self.leads else { return };
        self.sequence += 1;
        if let Some(reply) = reply {
            self.waiting.insert(self.sequence, reply);
        }
        log.propose(Proposal { term, sequence: self.sequence, command });
    }

    fn next_end(&self) -> Instant {
        let ends = self.leases.values().map(|(_, end)| *end);
        ends.min().filter(|_| self.leads.is_some()).unwrap_or(Instant::MAX)
    }

    fn expire(&mut self, now: Instant, log: &mut SimLog) {
        let retry = now + self.config.retry_interval;
        let due = self.leases.iter_mut().filter(|(_, (_, end))| *end <= now);
        let due = due.map(|(id, (_, end))| {
            *end = retry;
            *id
        });
        for id in due.collect::<Vec<_>>() {
            self.propose(log, Command::Revoke { id }, None);
        }
    }
}

/// Leases in a table, of one member, with no log at all.
struct NoLog;

impl Host for NoLog {
    async fn run(&self, seat: Seat) -> Result<(), HostError> {
        let leases = std::sync::Mutex::new(BTreeMap::new());
        seat.serve_with(move |request| {
            let mut leases = leases.lock().expect("nobody panics with it");
            let answer = match request {
                Request::Grant { id: Some(id), ttl } => {
                    leases.insert(id, ttl);
                    Ok(Response::Granted { id, ttl, index: LogIndex(1) })
                }
                Request::Renew { id } => leases
                    .get(&id)
                    .map(|ttl| Response::Renewed { ttl: *ttl })
                    .ok_or(RequestError::Refused(Error::LeaseNotFound)),
                _ => Err(RequestError::Unknown),
            };
            async { answer.map_err(CallError::Request) }
        });
        seat.stopped().await;
        Ok(())
    }
}

const STORY: &str = r#"
schema = 1
members = 2
duration = "60s"
[[step]]
at = "1s"
grant = { lease = 7, ttl = "10s", answer = "ok" }
[[step]]
at = "5s"
renew = { lease = 7, answer = "ok" }
[[step]]
at = "6s"
renew = { lease = 8, answer = "not-found" }
[[step]]
at = "7s"
grant = { lease = 9, ttl = "30s", answer = "ok" }
[[step]]
at = "20s"
revoke = { lease = 9, answer = "ok" }
"#;

fn replay(testbed: &Testbed, text: &str) -> Report {
    testbed.replay(&scenario(text))
}

fn scenario(text: &str) -> Scenario {
    let mut scenario = Scenario::parse("story.toml", text).expect("it is one");
    scenario.host = lessor_sim::scenario::PartName::new("own").expect("it is a name");
    scenario
}

fn count(report: &Report, property: Property) -> u64 {
    report.judged.iter().find(|(of, _)| *of == property).map_or(0, |(_, count)| count)
}

#[test]
fn a_port_without_a_lessor_is_judged_by_its_answers_and_the_log() {
    let testbed = Testbed::new().host("own", Port { hasty: false });
    let report = replay(&testbed, STORY);
    assert_eq!(report.verdict(), Verdict::Clean, "{report:#?}");
    for property in [Property::S14, Property::S2, Property::S5] {
        assert!(count(&report, property) > 0, "{property:?} was not judged");
        assert!(!report.hidden.contains(property.id()), "{property:?}");
    }
    // Nothing of a member is shown, and there is no store.
    for property in [Property::S1, Property::S3, Property::S4, Property::S8, Property::S12] {
        assert_eq!(count(&report, property), 0);
        assert!(report.hidden.contains(property.id()), "{property:?} seems to hold");
    }
}

#[test]
fn canary_a_port_that_answers_before_the_log_is_found() {
    let testbed = Testbed::new().host("own", Port { hasty: true });
    let report = replay(&testbed, STORY);
    assert_eq!(report.violations.first().map(|one| one.property), Some(Property::S14));
    // What led to it are its causes, and not the other leases nor what came later.
    let events = testbed.events(&scenario(STORY), &report);
    let lines = report.causes(&events, 30);
    let at = report.violations[0].at;
    assert!(lines.len() < report.relevant(30).len(), "{lines:#?}");
    assert!(lines.iter().any(|line| line.words.starts_with("revoke lease 9")), "{lines:#?}");
    let other = lessor::LeaseId::new(7).expect("not 0");
    assert!(lines.iter().all(|line| line.at <= at && !line.names(other)), "{lines:#?}");
}

#[test]
fn of_a_host_without_a_log_only_its_answers_are_expected() {
    let testbed = Testbed::new().host("own", NoLog);
    let until_revoke = STORY.split("[[step]]\nat = \"20s\"").next().expect("there is a beginning");
    let report = replay(&testbed, until_revoke);
    assert_eq!(report.verdict(), Verdict::Clean, "{report:#?}");
    let held = report.judged.iter().filter(|(_, count)| *count > 0).map(|(of, _)| of);
    assert_eq!(held.collect::<Vec<_>>(), [] as [Property; 0]);
    assert_eq!(report.hidden.len(), report.judged.iter().count());
    // What it answers is compared with what the scenario expects.
    let report = replay(&testbed, STORY);
    assert_eq!(report.verdict(), Verdict::Safety);
    assert_eq!(report.unmet.len(), 1, "{:?}", report.unmet);
}
