//! A lessor for the tests of a host: the real state machine, in memory, on a clock that is moved by
//! hand. etcd: `FakeLessor`, which answers 10 to everything; this one keeps the rules.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Command, Config, Effect, Error, Instant, Item, LeaseId, Lessor, Ticket, Ttl};

/// A primary lessor whose clock stands still until somebody [advances](Self::advance) it.
///
/// It is a host without a store or a log: a checkpoint that the lessor asks for is applied at once, and
/// writes are forgotten. What has expired is *not* revoked, that is what a host's test is about: take
/// [`expired`](Self::expired) and [`revoke`](Self::revoke).
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
    /// A primary without leases, with the default [`Config`], at [`Instant::ZERO`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(&Config::default())
    }

    /// A primary without leases, with this configuration, at [`Instant::ZERO`].
    ///
    /// [`Config::min_ttl`] is applied where a grant is proposed, so not here.
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

    /// Moves the clock by `span`, and does everything that falls due on the way at its own moment.
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

    /// Removes a lease, and returns the items whose keys a host would delete, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseNotFound`].
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Item>, Error> {
        self.apply(Command::Revoke { id })?;
        Ok(core::mem::take(&mut self.deleted))
    }

    /// Asks for an extension of a lease; see [`answer`](Self::answer).
    pub fn renew(&mut self, id: LeaseId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.lessor.renew(self.now, ticket, id);
        self.drain();
        ticket
    }

    /// Takes the answer to a renew, which comes once; `None` while it waits, because the lease has
    /// expired and was not revoked yet.
    ///
    /// The answer is the ttl from the moment of the renew on, [`Error::LeaseNotFound`] or
    /// [`Error::NotPrimary`].
    pub fn answer(&mut self, ticket: Ticket) -> Option<Result<Ttl, Error>> {
        self.answers.remove(&ticket)
    }

    /// Attaches items to a lease; an item that another lease holds moves.
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

    /// Detaches items from a lease; one that it does not hold is left alone.
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

    /// Attaches items to a lease if no other lease holds any of them; else nothing changes.
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

    /// Makes the lessor the primary, with `extend` more for every lease.
    pub fn promote(&mut self, extend: Duration) {
        self.lessor.promote(self.now, extend);
        self.drain();
    }

    /// Makes the lessor not primary: nothing expires any more, and renews are refused.
    pub fn demote(&mut self) {
        self.lessor.demote(self.now);
        self.drain();
    }

    /// Takes the leases that expired since the last call, in the order in which they left the lessor. One
    /// that is not revoked comes again after each [`Config::retry_interval`], by default 3 s.
    pub fn expired(&mut self) -> Vec<LeaseId> {
        core::mem::take(&mut self.expired)
    }

    /// The time on the clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time until a lease expires, zero if it has; `None` if there is no such lease or the lessor
    /// is not primary.
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
