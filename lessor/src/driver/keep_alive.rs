//! Keeps a lease alive for as long as a guard lives, on a clock of the lessee's own.

use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{CallError, Handle, Runtime, TokioRuntime};
use crate::{Instant, LeaseId, RequestError, Ttl};

/// A guard that renews a lease until it is dropped. The lease then lasts for its remaining time.
#[derive(Debug)]
pub struct KeepAlive {
    loss: oneshot::Receiver<CallError>,
    /// What `loss` gave, which it gives only once.
    lost: Option<CallError>,
}

impl KeepAlive {
    /// Returns when the lease is lost, with the reason. Later calls return the same at once.
    ///
    /// - At once if the engine has ended ([`CallError::Failed`], [`RequestError::Stopped`]), or if the task
    ///   that renews the lease is gone, for instance with its runtime ([`CallError::Unattended`]).
    /// - Within a third of the ttl if the lease was revoked, because the next renew is refused.
    /// - If renews fail otherwise, one ttl after the last successful renew was requested, on the clock of the
    ///   guard ([`RequestError::Unknown`], or the error of the last renew).
    pub async fn lost(&mut self) -> CallError {
        if self.lost.is_none() {
            self.lost = Some((&mut self.loss).await.unwrap_or(CallError::Unattended));
        }
        self.lost.clone().expect("it was set above")
    }
}

impl Handle {
    /// Renews a lease now, and then every third of its ttl until the guard is dropped. If a renew fails but
    /// may succeed later, it tries again after a tenth of the ttl.
    ///
    /// Must be called within a tokio runtime, which runs the renews.
    ///
    /// # Errors
    ///
    /// Those of the first [`renew`](Handle::renew).
    pub async fn keep_alive(&self, id: LeaseId) -> Result<KeepAlive, CallError> {
        let (guard, renewing) = self.keep_alive_on(TokioRuntime::new(), id).await?;
        // It ends when the guard is dropped.
        drop(tokio::spawn(renewing));
        Ok(guard)
    }

    /// The same as [`keep_alive`](Self::keep_alive) on another runtime, whose clock the guard uses. The
    /// returned future renews the lease, so it must be run until it ends.
    ///
    /// # Errors
    ///
    /// Those of the first [`renew`](Handle::renew).
    pub async fn keep_alive_on<R: Runtime>(
        &self,
        runtime: R,
        id: LeaseId,
    ) -> Result<(KeepAlive, impl Future<Output = ()> + Send + 'static + use<R>), CallError> {
        let asked = runtime.now();
        let ttl = self.renew(id).await?;
        let (mut guard, loss) = oneshot::channel();
        let lessee = Lessee { handle: self.clone(), runtime, id };
        let renewing = async move {
            let lost = tokio::select! {
                biased;
                () = guard.closed() => return,
                lost = lessee.renew_until_lost(asked, ttl) => lost,
            };
            // The guard may have been dropped just now.
            let _ = guard.send(lost);
        };
        Ok((KeepAlive { loss, lost: None }, renewing))
    }
}

/// Who renews on behalf of a guard.
struct Lessee<R> {
    handle: Handle,
    runtime: R,
    id: LeaseId,
}

impl<R: Runtime> Lessee<R> {
    async fn renew_until_lost(&self, asked: Instant, ttl: Ttl) -> CallError {
        let mut end = ttl.after(asked);
        let mut next = asked.saturating_add(ttl.as_duration() / 3);
        let mut failure = CallError::Request(RequestError::Unknown);
        loop {
            tokio::select! {
                biased;
                error = self.handle.ended() => return error,
                () = self.sleep_until(next.min(end)) => {}
            }
            let asked = self.runtime.now();
            // Whoever is told later than this would count on a lease that may be gone.
            if asked >= end {
                return failure;
            }
            let renewed = tokio::select! {
                biased;
                renewed = self.handle.renew(self.id) => renewed,
                () = self.sleep_until(end) => return CallError::Request(RequestError::Unknown),
            };
            let pause = match renewed {
                Ok(ttl) => {
                    end = ttl.after(asked);
                    ttl.as_duration() / 3
                }
                Err(error) if may_succeed_later(&error) => {
                    failure = error;
                    ttl.as_duration() / 10
                }
                Err(error) => return error,
            };
            next = asked.saturating_add(pause.max(SHORTEST_PAUSE));
        }
    }

    /// A runtime may wake early.
    async fn sleep_until(&self, deadline: Instant) {
        while self.runtime.now() < deadline {
            self.runtime.sleep_until(deadline).await;
        }
    }
}

fn may_succeed_later(error: &CallError) -> bool {
    matches!(error, CallError::Request(RequestError::Unknown | RequestError::NotPrimary { .. }))
}

/// Between two renews.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
