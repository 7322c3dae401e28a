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
use lessor::{
    Config, LogIndex, Member, MemberInput, Output, Request, RequestError, Response, StateAt, Ticket,
};
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
        let stored = stored?;
        let id_salt = Some(seat.config().id_salt.unwrap_or(stored.id_salt));
        let at = StateAt { applied: stored.applied, snapshot: stored.snapshot };
        let member = Member::new(&Config { id_salt, ..seat.config() }, &at)?;
        if member.lessor().digest() != stored.digest {
            return Err("the store has another digest than its leases".into());
        }
        let mut log = seat.log();
        log.start(at.applied);
        let (sender, asked) = mpsc::unbounded_channel();
        seat.serve_with(move |request| ask(sender.clone(), request));
        let tap = seat.tap();
        let (backend, callers) = (Some(backend), BTreeMap::new());
        let committing = None;
        Running { runtime, member, log, tap, backend, committing, callers, asked, tickets: 0 }
            .run(&seat)
            .await
    }
}

type Reply = oneshot::Sender<Result<Response, RequestError>>;
type Asked = (Request, Reply);

/// Hands a request to the loop, and waits for its answer.
async fn ask(loop_: mpsc::UnboundedSender<Asked>, request: Request) -> Result<Response, CallError> {
    let (reply, answer) = oneshot::channel();
    loop_.send((request, reply)).map_err(|_| CallError::Request(RequestError::Stopped))?;
    Ok(answer.await.unwrap_or(Err(RequestError::Unknown))?)
}

type Committed = (LogIndex, SimBackend, Result<(), BackendError>);

/// What a future gives, if there is one.
async fn or_never<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

struct Running {
    runtime: SimRuntime,
    member: Member,
    log: SimLog,
    tap: Tap,
    /// Away while it commits.
    backend: Option<SimBackend>,
    committing: Option<Pin<Box<dyn Future<Output = Committed> + Send>>>,
    callers: BTreeMap<Ticket, Reply>,
    asked: mpsc::UnboundedReceiver<Asked>,
    tickets: u64,
}

impl Running {
    async fn run(mut self, seat: &Seat) -> Result<(), HostError> {
        let mut stopping = false;
        loop {
            self.do_outputs()?;
            if stopping && self.committing.is_none() {
                if self.member.is_stopped() {
                    return Ok(());
                }
                if self.member.is_idle() {
                    self.input(MemberInput::Stop)?;
                    continue;
                }
            }
            let timer = self.member.poll_timeout();
            // In this order whatever is there at the same time: requests before the timer, because a renew
            // may have come before its lease was due.
            let input = tokio::select! {
                biased;
                (applied, backend, result) = or_never(self.committing.as_mut()) => {
                    (self.backend, self.committing) = (Some(backend), None);
                    result?;
                    self.log.applied(applied);
                    let hasty = cfg!(feature = "hasty");
                    MemberInput::Persisted(if hasty { self.member.applied() } else { applied })
                }
                event = self.log.next() => event.ok_or("the log has ended")?.into(),
                Some((request, reply)) = self.asked.recv() => {
                    if stopping {
                        // Whoever asked may have gone.
                        let _ = reply.send(Err(RequestError::Stopped));
                        continue;
                    }
                    self.tickets += 1;
                    self.callers.insert(Ticket(self.tickets), reply);
                    MemberInput::Request { ticket: Ticket(self.tickets), request }
                }
                () = or_never(timer.map(|at| Box::pin(self.runtime.sleep_until(at)))) => {
                    MemberInput::Timeout
                }
                () = seat.stopped(), if !stopping => {
                    stopping = true;
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

    fn do_outputs(&mut self) -> Result<(), HostError> {
        while let Some(output) = self.member.poll_output() {
            self.tap.output(self.runtime.now(), &output);
            match output {
                Output::Propose(proposal) => self.log.propose(proposal),
                Output::Confirm(confirmation) => self.log.confirm(confirmation),
                Output::Campaign => self.log.campaign(),
                Output::Resign => self.log.resign(),
                Output::Commit(transaction) => {
                    let applied = transaction.applied;
                    let mut backend = self.backend.take().ok_or("one commit at a time")?;
                    let work = move || (backend.commit(transaction), backend);
                    let work = self.runtime.run_blocking(work);
                    self.committing = Some(Box::pin(async move {
                        let (result, backend) = work.await;
                        (applied, backend, result)
                    }));
                }
                Output::Answer { ticket, answer } => {
                    if let Some(reply) = self.callers.remove(&ticket) {
                        // Whoever asked may have gone.
                        let _ = reply.send(answer);
                    }
                }
                // Nobody watches, and nothing waits for a place here.
                Output::Expired(_) | Output::Waits(_) => {}
            }
        }
        Ok(())
    }
}
