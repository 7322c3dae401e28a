//! The schedule of further attempts to delete what a range deleter could not.

use core::time::Duration;

use crate::Instant;

/// Decides when to call [`delete_again`](super::Backend::delete_again): 1 s after something was left
/// undeleted, then after twice the time for each attempt, up to 5 min. An attempt that deletes something
/// resets the delay to 1 s.
///
/// The driver does this by itself. This type is for hosts that drive a backend by hand.
///
/// ```
/// use std::time::Duration;
/// use lessor::Instant;
/// use lessor::backend::DeletionRetry;
///
/// let mut retry = DeletionRetry::default();
/// retry.handle_committed(Instant::ZERO, 1);
/// assert_eq!(retry.poll_timeout(), Some(Instant::from_secs(1)));
/// assert!(retry.handle_timeout(Instant::from_secs(1)));
/// retry.handle_tried(Instant::from_secs(1), 1);
/// assert_eq!(retry.poll_timeout(), Some(Instant::from_secs(3)));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletionRetry {
    wait: Duration,
    at: Option<Instant>,
    /// An attempt is under way.
    trying: bool,
    undeleted: usize,
}

impl Default for DeletionRetry {
    fn default() -> Self {
        Self { wait: SHORTEST, at: None, trying: false, undeleted: 0 }
    }
}

impl DeletionRetry {
    /// The store was opened, or a commit ended, and this number of leases is undeleted.
    pub fn handle_committed(&mut self, now: Instant, undeleted: usize) {
        self.undeleted = undeleted;
        if undeleted == 0 {
            *self = Self { trying: self.trying, ..Self::default() };
        } else if self.at.is_none() && !self.trying {
            self.at = Some(now.saturating_add(self.wait));
        }
    }

    /// An attempt ended, and this number of leases is still undeleted.
    pub fn handle_tried(&mut self, now: Instant, undeleted: usize) {
        self.wait =
            if undeleted < self.undeleted { SHORTEST } else { (self.wait * 2).min(LONGEST) };
        self.trying = false;
        self.handle_committed(now, undeleted);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if there is nothing to wait for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.at
    }

    /// Returns whether to try now. If so, call [`handle_tried`](Self::handle_tried) when the attempt ended.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = None;
            self.trying = true;
        }
        due
    }
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_twice_as_long_each_time_up_to_five_minutes() {
        let mut retry = DeletionRetry::default();
        let mut now = Instant::ZERO;
        retry.handle_committed(now, 2);
        let mut waits = Vec::new();
        for _ in 0..11 {
            // What is committed meanwhile changes nothing.
            retry.handle_committed(now.saturating_add(Duration::from_millis(1)), 2);
            let at = retry.poll_timeout().unwrap();
            assert!(!retry.handle_timeout(now));
            waits.push(at.saturating_since(now).as_secs());
            now = at;
            assert!(retry.handle_timeout(now));
            assert!(!retry.handle_timeout(now), "it is under way");
            retry.handle_committed(now, 2);
            assert_eq!(retry.poll_timeout(), None, "it is under way");
            retry.handle_tried(now, 2);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn it_begins_anew_once_something_was_deleted() {
        let mut retry = DeletionRetry::default();
        let mut now = Instant::ZERO;
        retry.handle_committed(now, 20);
        for _ in 0..4 {
            now = retry.poll_timeout().unwrap();
            assert!(retry.handle_timeout(now));
            retry.handle_tried(now, 20);
        }
        now = retry.poll_timeout().unwrap();
        assert!(retry.handle_timeout(now));
        retry.handle_tried(now, 4);
        let soon = now.saturating_add(SHORTEST);
        assert_eq!(retry.poll_timeout(), Some(soon));
        assert!(retry.handle_timeout(soon));
        retry.handle_tried(soon, 0);
        assert_eq!(retry, DeletionRetry::default());
    }

    #[test]
    fn it_has_nothing_to_do_for_a_lease_whose_items_were_attached_again() {
        let mut retry = DeletionRetry::default();
        retry.handle_committed(Instant::ZERO, 1);
        retry.handle_committed(Instant::ZERO, 0);
        assert_eq!(retry.poll_timeout(), None);
        assert!(!retry.handle_timeout(Instant::from_secs(9)));
    }
}
