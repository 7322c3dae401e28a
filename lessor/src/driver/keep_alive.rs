//! Keeps a lease alive for as long as a guard lives.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{CallError, Handle};
use crate::{LeaseId, RequestError, Ttl};

/// Renews a lease until it is dropped; the lease then lives on for what it has left.
#[derive(Debug)]
pub struct KeepAlive {
    task: JoinHandle<()>,
    loss: oneshot::Receiver<CallError>,
    /// What `loss` gave, which it gives only once.
    lost: Option<CallError>,
}

impl KeepAlive {
    /// Returns when the lease can no longer be counted on: it is gone, the engine has ended, or no
    /// renew has succeeded for a whole ttl. It may be asked again, and says the same.
    pub async fn lost(&mut self) -> CallError {
        if self.lost.is_none() {
            let stopped = CallError::Request(RequestError::Stopped);
            self.lost = Some((&mut self.loss).await.unwrap_or(stopped));
        }
        self.lost.clone().expect("it was set above")
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Handle {
    /// Renews a lease now, and from then on each third of its ttl until the guard is dropped. After a
    /// renew that may succeed later it tries again after a tenth of the ttl.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of the first [`renew`](Handle::renew).
    pub async fn keep_alive(&self, id: LeaseId) -> Result<KeepAlive, CallError> {
        let asked = now();
        let ttl = self.renew(id).await?;
        let (sender, loss) = oneshot::channel();
        let handle = self.clone();
        let task = tokio::spawn(async move {
            // The receiver is there for as long as this task is not aborted.
            let _ = sender.send(handle.renew_until_lost(id, asked, ttl).await);
        });
        Ok(KeepAlive { task, loss, lost: None })
    }

    async fn renew_until_lost(&self, id: LeaseId, mut renewed: Instant, mut ttl: Ttl) -> CallError {
        let mut pause = ttl.as_duration() / 3;
        let mut failure = CallError::Request(RequestError::Unknown);
        loop {
            sleep(pause.max(Duration::from_millis(1)).min(left(renewed, ttl))).await;
            let asked = now();
            // Whoever is told later than this would count on a lease that may be gone.
            let patience = left(renewed, ttl);
            if patience.is_zero() {
                return failure;
            }
            match tokio::time::timeout(patience, self.renew(id)).await {
                Ok(Ok(again)) => {
                    (renewed, ttl) = (asked, again);
                    pause = ttl.as_duration() / 3;
                }
                Ok(Err(error)) if may_succeed_later(&error) => {
                    failure = error;
                    pause = ttl.as_duration() / 10;
                }
                Ok(Err(error)) => return error,
                Err(_) => return CallError::Request(RequestError::Unknown),
            }
        }
    }
}

fn may_succeed_later(error: &CallError) -> bool {
    matches!(error, CallError::Request(RequestError::Unknown | RequestError::NotPrimary { .. }))
}

/// What a lessee can count on after a renew.
fn left(renewed: Instant, ttl: Ttl) -> Duration {
    ttl.as_duration().saturating_sub(renewed.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "a keep-alive lives on the lessee's own clock")]
fn now() -> Instant {
    Instant::now()
}
