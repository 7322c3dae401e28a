//! A lessor for the tests of a host: the real state machine, in memory, with a clock that the test moves.
//! etcd has `FakeLessor`, which answers 10 to everything; this one keeps the rules.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Command, Config, Effect, Error, Instant, Item, LeaseId, Lessor, Ticket, Ttl};

/// A primary lessor whose clock stands still until the test [advances](Self::advance) it.
///
/// It is a host without a store or a log. Checkpoints are applied at once, and writes are forgotten.
/// Expired leases are *not* revoked, because a host's test wants to do that itself: take them by
/// [`expired`](Self::expired) and [`revoke`](Self::revoke) them.
///
/// ```
/// use core::time::Duration;
/// use lessor::testing::ManualLessor;
/// use lessor::{Error, Item, LeaseId};
///
/// let mut lessor = ManualLessor::new();
/// let id = LeaseId::new(7).unwrap();
/// lessor.grant(id, Duration::from_secs(10))?;
/// lessor.attach(id, ["a", "b"])?;
///
/// lessor.advance(Duration::from_secs(9));
/// let ticket = lessor.renew(id);
/// assert_eq!(lessor.answer(ticket), Some(Ok(Duration::from_secs(10).into())));
///
/// lessor.advance(Duration::from_secs(10));
/// assert_eq!(lessor.expired(), [id]);
/// let late = lessor.renew(id);
/// assert_eq!(lessor.answer(late), None, "it waits for the revoke");
/// assert_eq!(lessor.revoke(id)?, [Item::from("a"), Item::from("b")]);
/// assert_eq!(lessor.answer(late), Some(Err(Error::LeaseNotFound)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct ManualLessor {
    lessor: Lessor,
    now: Instant,
    tickets: u64,
    answers: BTreeMap<Ticket, Result<Ttl, Error>>,
    expired: Vec<LeaseId>,
    deleted: Vec<Item>,
}

impl ManualLessor {
    /// Creates a primary without leases, with the default [`Config`], at [`Instant::ZERO`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(&Config::default())
    }

    /// Creates a primary without leases, with these settings, at [`Instant::ZERO`].
    ///
    /// [`Config::min_ttl`] has no effect, because only a [`Member`](crate::Member) applies it.
    #[must_use]
    pub fn with_config(config: &Config) -> Self {
        let mut lessor = Lessor::new(config);
        lessor.promote(Instant::ZERO, Duration::ZERO);
        Self {
            lessor,
            now: Instant::ZERO,
            tickets: 0,
            answers: BTreeMap::new(),
            expired: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Moves the clock by `span`, and handles everything that falls due meanwhile at its own moment.
    pub fn advance(&mut self, span: Duration) {
        let end = self.now.saturating_add(span);
        while let Some(due) = self.lessor.poll_timeout().filter(|due| *due < end) {
            self.now = self.now.max(due);
            self.lessor.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.lessor.handle_timeout(end);
        self.drain();
    }

    /// Creates a lease.
    ///
    /// # Errors
    ///
    /// [`Error::TtlTooLarge`], [`Error::LeaseExists`].
    pub fn grant(&mut self, id: LeaseId, ttl: impl Into<Ttl>) -> Result<(), Error> {
        self.apply(Command::Grant { id, ttl: ttl.into() })
    }

    /// Removes a lease, and returns its items in order, whose keys a host would delete.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`].
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Item>, Error> {
        self.apply(Command::Revoke { id })?;
        Ok(core::mem::take(&mut self.deleted))
    }

    /// Requests an extension of a lease. [`answer`](Self::answer) takes the answer.
    pub fn renew(&mut self, id: LeaseId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.lessor.renew(self.now, ticket, id);
        self.drain();
        ticket
    }

    /// Takes the answer to a renew, which comes once. `None` while the renew waits because its lease has
    /// expired and is not revoked yet.
    ///
    /// The answer is the ttl, counted from the moment of the renew, [`Error::LeaseNotFound`] or
    /// [`Error::NotPrimary`].
    pub fn answer(&mut self, ticket: Ticket) -> Option<Result<Ttl, Error>> {
        self.answers.remove(&ticket)
    }

    /// Attaches items to a lease. An item that another lease holds moves.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`].
    pub fn attach(
        &mut self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<(), Error> {
        self.apply(Command::Attach { id, items: items.into_iter().map(Into::into).collect() })
    }

    /// Detaches items from a lease. Items that it does not hold are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`].
    pub fn detach(
        &mut self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<(), Error> {
        self.apply(Command::Detach { id, items: items.into_iter().map(Into::into).collect() })
    }

    /// Attaches items to a lease if no other lease holds any of them. Otherwise nothing changes.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`], [`Error::ItemHeld`].
    pub fn claim(
        &mut self,
        id: LeaseId,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<(), Error> {
        self.apply(Command::Claim { id, items: items.into_iter().map(Into::into).collect() })
    }

    /// Makes the lessor the primary, and adds `extend` to every lease.
    pub fn promote(&mut self, extend: Duration) {
        self.lessor.promote(self.now, extend);
        self.drain();
    }

    /// Ends the primacy of the lessor. No lease expires, and renews are refused.
    pub fn demote(&mut self) {
        self.lessor.demote(self.now);
        self.drain();
    }

    /// Takes the leases that expired since the last call, in the order in which they left the lessor. A
    /// lease that is not revoked comes again after each [`Config::retry_interval`], by default 3 s.
    pub fn expired(&mut self) -> Vec<LeaseId> {
        core::mem::take(&mut self.expired)
    }

    /// The time on the clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time until a lease expires, zero if it has expired. `None` if there is no such lease or the
    /// lessor is not primary.
    #[must_use]
    pub fn remaining(&self, id: LeaseId) -> Option<Duration> {
        self.lessor.remaining(self.now, id)
    }

    /// The lessor itself, to look at leases and items.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    fn apply(&mut self, command: Command) -> Result<(), Error> {
        let result = self.lessor.apply(self.now, command);
        self.drain();
        result
    }

    fn drain(&mut self) {
        while let Some(effect) = self.lessor.poll_effect() {
            match effect {
                Effect::Write(_) => {}
                Effect::RangeDelete(delete) => self.deleted.extend(delete.items),
                Effect::Expired(batch) => self.expired.extend(batch.leases),
                Effect::Checkpoint(checkpoints) => {
                    let checkpoint = Command::Checkpoint { checkpoints };
                    self.lessor.apply(self.now, checkpoint).expect("a checkpoint is never refused");
                }
                Effect::Renewed { ticket, result } => {
                    self.answers.insert(ticket, result);
                }
            }
        }
    }
}

impl Default for ManualLessor {
    fn default() -> Self {
        Self::new()
    }
}
