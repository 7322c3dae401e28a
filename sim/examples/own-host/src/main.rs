//! A host of its own: a loop around the member of lessor, without its driver, under every fault that the
//! simulator knows.
//!
//! With the feature `hasty` it takes all that is applied for durable when a commit ends, though what was
//! applied meanwhile is in the next commit only.

use std::collections::BTreeMap;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::process::ExitCode;

use lessor::backend::{Backend, BackendError};
use lessor::driver::{CallError, Log, Observer, Runtime};
use lessor::{Instant, LogIndex, Member, MemberInput, Output};
use lessor::{Request, RequestError, Response, StateAt, Ticket};
use lessor_sim::host::{Host, HostError, Seat, SimBackend, SimLog, SimRuntime, Tap, Testbed};
use tokio::sync::{mpsc, oneshot};

fn main() -> ExitCode {
    lessor_sim::main(Testbed::new().host("plain-loop", PlainLoop))
}

struct PlainLoop;

impl Host for PlainLoop {
    async fn run(&self, mut seat: Seat) -> Result<(), HostError> {
        let (runtime, mut backend) = (seat.runtime(), seat.open_backend().await?);
        let load = move || (backend.load(), backend);
        let (stored, backend) = runtime.run_blocking(load).await;
        let (stored, backend) = (stored?, Some(backend));
        let id_salt = Some(seat.config().id_salt.unwrap_or(stored.id_salt));
        let at = StateAt { applied: stored.applied, snapshot: stored.snapshot };
        let member = Member::new(&seat.config().with_id_salt(id_salt), &at)?;
        if member.lessor().digest() != stored.digest {
            return Err("the store has another digest than its leases".into());
        }
        let (mut log, tap) = (seat.log()?, seat.tap());
        log.start(at.applied);
        let (sender, asked) = mpsc::unbounded_channel();
        seat.serve_with(move |request| {
            let (reply, answer) = oneshot::channel();
            // A loop that has ended drops the reply, and nobody knows what became of the request.
            let _ = sender.send((request, reply));
            async { answer.await.unwrap_or(Err(RequestError::Unknown)).map_err(CallError::Request) }
        });
        let (committing, callers) = (Box::pin(pending()), BTreeMap::new());
        Running { runtime, member, log, tap, backend, committing, callers, tickets: 0, asked }
            .run(&seat)
            .await
    }
}

type Reply = oneshot::Sender<Result<Response, RequestError>>;
type Committed = (SimBackend, LogIndex, Result<(), BackendError>);

struct Running {
    runtime: SimRuntime,
    member: Member,
    log: SimLog,
    tap: Tap,
    /// Away while it commits.
    backend: Option<SimBackend>,
    committing: Pin<Box<dyn Future<Output = Committed> + Send>>,
    callers: BTreeMap<Ticket, Reply>,
    tickets: u64,
    asked: mpsc::UnboundedReceiver<(Request, Reply)>,
}

impl Running {
    async fn run(mut self, seat: &Seat) -> Result<(), HostError> {
        loop {
            while let Some(output) = self.member.poll_output() {
                self.tap.output(self.runtime.now(), &output);
                self.handle_output(output)?;
            }
            if self.asked.is_closed() && self.asked.is_empty() && self.backend.is_some() {
                if self.member.is_stopped() {
                    return Ok(());
                }
                if self.member.is_idle() {
                    self.input(MemberInput::Stop)?;
                    continue;
                }
            }
            let timer = self.member.poll_timeout().unwrap_or(Instant::MAX);
            // In this order whatever is there at the same time: requests before the timer, because a renew
            // may have come before its lease was due.
            let input = tokio::select! {
                biased;
                (backend, applied, result) = &mut self.committing => {
                    (self.backend, self.committing) = (Some(backend), Box::pin(pending()));
                    result?;
                    self.log.applied(applied);
                    let hasty = cfg!(feature = "hasty");
                    MemberInput::Persisted(if hasty { self.member.applied() } else { applied })
                }
                event = self.log.next() => event.ok_or("the log has ended")?.into(),
                Some((request, reply)) = self.asked.recv() => {
                    self.tickets += 1;
                    self.callers.insert(Ticket(self.tickets), reply);
                    MemberInput::Request { ticket: Ticket(self.tickets), request }
                }
                () = self.runtime.sleep_until(timer) => MemberInput::Timeout,
                () = seat.stopped() => {
                    self.asked.close();
                    continue;
                }
                () = ready(()), if self.member.is_applying() => MemberInput::GoOn,
            };
            self.input(input)?;
        }
    }

    fn input(&mut self, input: MemberInput) -> Result<(), HostError> {
        let now = self.runtime.now();
        self.tap.before(now, &input);
        self.member.handle_input(now, input)?;
        self.tap.after(now, &self.member);
        Ok(())
    }

    fn handle_output(&mut self, output: Output) -> Result<(), HostError> {
        match output {
            Output::Propose(proposal) => self.log.propose(proposal),
            Output::Confirm(confirmation) => self.log.confirm(confirmation),
            Output::Campaign => self.log.campaign(),
            Output::Resign => self.log.resign(),
            Output::Commit(transaction) => {
                let applied = transaction.applied;
                let mut backend = self.backend.take().ok_or("one commit at a time")?;
                let commit = move || (backend.commit(transaction), backend);
                let commit = self.runtime.run_blocking(commit);
                self.committing = Box::pin(async move {
                    let (result, backend) = commit.await;
                    (backend, applied, result)
                });
            }
            Output::Answer { ticket, answer } => {
                // Whoever asked may have gone.
                self.callers.remove(&ticket).map(|reply| reply.send(answer));
            }
            // Nobody watches, and nothing waits for a place here.
            Output::Expired(_) | Output::Waits(_) => {}
        }
        Ok(())
    }
}
