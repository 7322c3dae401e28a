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
    lost: oneshot::Receiver<CallError>,
}

impl KeepAlive {
    /// Returns when the lease can no longer be counted on: it is gone, the engine has ended, or no
    /// renew has succeeded for a whole ttl.
    pub async fn lost(&mut self) -> CallError {
        let stopped = CallError::Request(RequestError::Stopped);
        (&mut self.lost).await.unwrap_or(stopped)
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
        let (sender, lost) = oneshot::channel();
        let handle = self.clone();
        let task = tokio::spawn(async move {
            // The receiver is there for as long as this task is not aborted.
            let _ = sender.send(handle.renew_until_lost(id, asked, ttl).await);
        });
        Ok(KeepAlive { task, lost })
    }

    async fn renew_until_lost(&self, id: LeaseId, mut renewed: Instant, mut ttl: Ttl) -> CallError {
        let mut pause = ttl.as_duration() / 3;
        loop {
            sleep(pause.max(Duration::from_millis(1))).await;
            let asked = now();
            let answer = tokio::time::timeout(ttl.as_duration(), self.renew(id)).await;
            let error = match answer.unwrap_or(Err(RequestError::Unknown.into())) {
                Ok(again) => {
                    (renewed, ttl) = (asked, again);
                    pause = ttl.as_duration() / 3;
                    continue;
                }
                Err(error) => error,
            };
            let may_succeed = matches!(
                error,
                CallError::Request(RequestError::Unknown | RequestError::NotPrimary { .. })
            );
            if !may_succeed || renewed.elapsed() >= ttl.as_duration() {
                return error;
            }
            pause = ttl.as_duration() / 10;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a keep-alive lives on the lessee's own clock")]
fn now() -> Instant {
    Instant::now()
}
