//! The lease state machine. etcd: `server/lease/lessor.go`.
//!
//! Everything comes in as a call with the host's clock, everything goes out as an [`Effect`]. Two
//! indexes of the items agree at all times; a primary has exactly one deadline for each lease, a
//! member that is not primary has none.

use alloc::collections::{BTreeMap, BinaryHeap, VecDeque};
use alloc::vec::{IntoIter, Vec};
use core::time::Duration;

use crate::deadline::{Deadlines, Source};
use crate::limit::RateLimit;
use crate::order::Key;
use crate::spread::{Due, spread};
use crate::table::{Row, Table};
use crate::{
    Checkpoint, Command, Config, Digest, Effect, Error, ExpiredBatch, Input, Instant, Item, Lease,
    LeaseId, LeaseRecord, RangeDelete, Snapshot, SnapshotError, Ticket, Ttl, Write,
};

/// The lease state machine of one member.
///
/// It starts empty and not primary. After each call that takes `now`, drain
/// [`poll_effect`](Self::poll_effect) until it is `None`, and do what it says. Call
/// [`handle_timeout`](Self::handle_timeout) when the clock reaches
/// [`poll_timeout`](Self::poll_timeout). A `now` before the last one is taken as the last one.
///
/// A clone is an independent copy, with the same effects to take. It costs time and memory linear in the
/// state.
///
/// ```
/// use lessor::{Command, Config, Effect, Instant, LeaseId, Lessor, Ttl};
///
/// let mut lessor = Lessor::new(&Config::default());
/// let (id, ttl) = (LeaseId::new(7).unwrap(), Ttl::from_secs(10));
/// lessor.promote(Instant::ZERO, core::time::Duration::ZERO);
/// lessor.apply(Instant::ZERO, Command::Grant { id, ttl })?;
/// assert!(matches!(lessor.poll_effect(), Some(Effect::Write(_))));
///
/// // Ten seconds later nobody has renewed it.
/// lessor.handle_timeout(Instant::from_secs(10));
/// assert!(matches!(lessor.poll_effect(), Some(Effect::Expired(batch)) if batch.leases == [id]));
/// # Ok::<(), lessor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
pub struct Lessor {
    retry_interval: Duration,
    checkpoint_interval: Duration,
    revoke_rate: usize,
    /// The most items that are worked off at once.
    piece: usize,
    now: Instant,
    primary: bool,
    hold_expired: bool,
    table: Table,
    /// The lease that holds each item: the other direction of `Cold::items`.
    holders: BTreeMap<Item, LeaseId>,
    expiries: Deadlines,
    checkpoints: Deadlines,
    expired_rate: RateLimit,
    checkpoint_rate: RateLimit,
    digest: Digest,
    /// The leases that the last piece of a command took items from, to give them to another.
    moved_from: Vec<LeaseId>,
    effects: VecDeque<Effect>,
    /// What is left of a command that was begun.
    begun: Option<Begun>,
    /// When somebody last listed by expiry.
    listed_by_expiry: Instant,
}

/// The order of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum LeaseOrder {
    /// By id.
    #[default]
    Id,
    /// By expiry, then by id (etcd: `Leases`); by id on a member that is not primary.
    ///
    /// Each renew moves its lease to the end. So paging may go on for as long as leases are renewed;
    /// [`ExpiryUntil`](Self::ExpiryUntil) ends.
    Expiry,
    /// The same, but only leases that expire at this moment or before. Empty on a member that is not
    /// primary.
    ///
    /// Paging ends, because sooner or later each renewed lease expires after the moment. To see all
    /// leases, start with the expiry of the first one plus the longest ttl. A lease that is renewed
    /// meanwhile is shown again if it still expires by the moment. If it was not shown before, and now
    /// expires later, it is not shown at all.
    ExpiryUntil(Instant),
}

impl Lessor {
    /// Creates a lessor without leases that is not primary.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let revoke_rate = config.revoke_rate.get() as usize;
        let window = if revoke_rate == 1 { 2 * HALF_SECOND } else { HALF_SECOND };
        Self {
            retry_interval: config.retry_interval.max(SHORTEST_INTERVAL),
            checkpoint_interval: config.checkpoint_interval.max(SHORTEST_INTERVAL),
            revoke_rate,
            piece: config.piece.get() as usize,
            now: Instant::ZERO,
            primary: false,
            hold_expired: false,
            table: Table::new(config.hash_key.unwrap_or_default()),
            holders: BTreeMap::new(),
            expiries: Deadlines::new(),
            checkpoints: Deadlines::new(),
            expired_rate: RateLimit::new((revoke_rate / 2).max(1), window),
            checkpoint_rate: RateLimit::new(CHECKPOINTS_A_HALF_SECOND, HALF_SECOND),
            digest: Digest::default(),
            moved_from: Vec::new(),
            effects: VecDeque::new(),
            begun: None,
            listed_by_expiry: Instant::ZERO,
        }
    }

    /// Makes one of the calls below, given as data.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply).
    pub fn handle_input(&mut self, now: Instant, input: Input) -> Result<(), Error> {
        match input {
            Input::Apply(command) => return self.apply(now, command),
            Input::Renew { ticket, id } => self.renew(now, ticket, id),
            Input::RenewAsked { asked, ticket, id } => self.renew_asked(now, asked, ticket, id),
            Input::ForgetRenew { ticket, id } => self.forget_renew(now, ticket, id),
            Input::Promote { extend } => self.promote(now, extend),
            Input::Demote => self.demote(now),
            Input::HoldExpired(hold) => self.hold_expired(now, hold),
            Input::Timeout => self.handle_timeout(now),
        }
        Ok(())
    }

    /// Applies a command of the replicated log. It changes the replicated state in the same way, with the
    /// same writes as effects, on every member in any role.
    ///
    /// # Errors
    ///
    /// A refusal, which is the same on every member and changes nothing:
    /// - [`Error::LeaseExists`], [`Error::TtlTooLarge`] for a grant;
    /// - [`Error::LeaseNotFound`] for a revoke, an attach, a detach or a claim;
    /// - [`Error::ItemHeld`] for a claim.
    pub fn apply(&mut self, now: Instant, command: Command) -> Result<(), Error> {
        let mut done = self.begin(now, command)?;
        while !done {
            done = self.go_on(now)?;
        }
        Ok(())
    }

    /// Begins to [apply](Self::apply) a command, and returns whether it is done. A command with many items
    /// is not done at once: call [`go_on`](Self::go_on) until it is. Each call applies
    /// [`Config::piece`] items.
    ///
    /// Between the calls a host may do everything except apply: renew, let time pass, promote, demote,
    /// look up leases. Items, [`lease_of`](Self::lease_of), the [digest](Self::digest) and the
    /// [snapshot](Self::snapshot) then show a command that is half done. The writes of all pieces belong
    /// into one transaction, with the log index of the command.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply). Then nothing was begun. If a claim has more items than one piece,
    /// [`go_on`](Self::go_on) may refuse it, because another lease may hold its last item.
    ///
    /// # Panics
    ///
    /// If another command is not done yet.
    pub fn begin(&mut self, now: Instant, command: Command) -> Result<bool, Error> {
        assert!(self.begun.is_none(), "a command that was begun comes to its end first");
        self.set_clock(now);
        self.moved_from.clear();
        match command {
            Command::Grant { id, ttl } => self.grant(id, ttl)?,
            Command::Checkpoint { checkpoints } => {
                for checkpoint in checkpoints {
                    self.checkpoint(checkpoint);
                }
            }
            Command::Revoke { id } => {
                let slot = self.table.find(id).ok_or(Error::LeaseNotFound)?;
                if self.table.row(slot).items().len() == 0 {
                    self.revoke(slot, Vec::new());
                    return Ok(true);
                }
                let deleted = Vec::with_capacity(self.table.row(slot).items().len());
                return self.go_on_with(Begun::Revoke { id, deleted });
            }
            Command::Attach { id, items } => {
                self.table.find(id).ok_or(Error::LeaseNotFound)?;
                return self.go_on_with(Begun::Attach { id, items: items.into_iter() });
            }
            Command::Detach { id, items } => {
                self.table.find(id).ok_or(Error::LeaseNotFound)?;
                return self.go_on_with(Begun::Detach { id, items: items.into_iter() });
            }
            Command::Claim { id, items } => {
                self.table.find(id).ok_or(Error::LeaseNotFound)?;
                return self.go_on_with(Begun::Claim { id, items, free: 0 });
            }
        }
        Ok(true)
    }

    /// Applies the next piece of the command that was [begun](Self::begin), and returns whether it is
    /// done. Without such a command it does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ItemHeld`] for a claim. Then the command is over and has changed nothing.
    pub fn go_on(&mut self, now: Instant) -> Result<bool, Error> {
        self.set_clock(now);
        self.moved_from.clear();
        match self.begun.take() {
            Some(begun) => self.go_on_with(begun),
            None => Ok(true),
        }
    }

    /// Whether a command was [begun](Self::begin) and is not done yet.
    #[must_use]
    pub fn is_applying(&self) -> bool {
        self.begun.is_some()
    }

    /// Extends a lease to `now` + ttl, and answers the ticket by an [`Effect::Renewed`]. The answer comes
    /// at once, or
    /// - when the lease is revoked, if it has expired already (with [`Error::LeaseNotFound`]);
    /// - when an "unset" is applied, if a checkpoint may be in the log. Otherwise that checkpoint would
    ///   shorten the promised time after the next promotion;
    /// - when the member is demoted (with [`Error::NotPrimary`]).
    ///
    /// Each ticket is answered exactly once, unless it is [forgotten](Self::forget_renew). A later deadline
    /// stays as it is.
    pub fn renew(&mut self, now: Instant, ticket: Ticket, id: LeaseId) {
        self.set_clock(now);
        self.renew_asked(now, self.now, ticket, id);
    }

    /// Extends a lease for a renew that arrived at `asked` and is handled only `now`. It is in time if the
    /// lease had not expired at `asked`. Otherwise it is the same as [`renew`](Self::renew).
    ///
    /// Between the two moments the host must not revoke the lease for having expired.
    pub fn renew_asked(&mut self, now: Instant, asked: Instant, ticket: Ticket, id: LeaseId) {
        self.set_clock(now);
        if !self.primary {
            return self.answer(ticket, Err(Error::NotPrimary));
        }
        let Some(slot) = self.table.find(id) else {
            return self.answer(ticket, Err(Error::LeaseNotFound));
        };
        match self.extend_at_once(slot) {
            Some(ttl) => self.answer(ticket, Ok(ttl)),
            None => self.renew_or_wait(asked.min(self.now), ticket, slot),
        }
    }

    /// Renews a lease if that can be answered at once, by far the most frequent case.
    pub(crate) fn renew_at_once(&mut self, now: Instant, id: LeaseId) -> Option<Ttl> {
        self.set_clock(now);
        let slot = self.table.find(id).filter(|_| self.primary)?;
        self.extend_at_once(slot)
    }

    /// Nothing but the row is touched, unless somebody lists by expiry. A call of it would cost a renew a
    /// tenth of its instructions.
    #[inline(always)]
    fn extend_at_once(&mut self, slot: u32) -> Option<Ttl> {
        let row = self.table.row(slot);
        if row.expiry() <= self.now || row.is_waited_for() || row.needs_unset() {
            return None;
        }
        let ttl = row.ttl;
        self.table.set_expiry(slot, row.expiry().max(ttl.after(self.now)));
        Some(ttl)
    }

    /// A renew that comes late, has to wait, or whose lease is due.
    fn renew_or_wait(&mut self, asked: Instant, ticket: Ticket, slot: u32) {
        let row = self.table.row_mut(slot);
        let id = row.id;
        if row.expiry() <= asked && !row.is_kept() {
            let cold = row.cold_mut();
            cold.waiting.push(ticket);
            cold.in_time = false;
        } else if row.needs_unset() {
            let first = !row.is_kept();
            let cold = row.cold_mut();
            cold.waiting.push(ticket);
            cold.in_time = true;
            if first {
                cold.unsets_in_flight += 1;
                self.effects
                    .push_back(Effect::Checkpoint(alloc::vec![Checkpoint { id, remaining: None }]));
                self.schedule_checkpoint(slot);
            }
        } else {
            let ttl = row.ttl;
            // Those that came too late, and were worked off before this one.
            let waiting = row.cold_if_any().map(|cold| core::mem::take(&mut cold.waiting));
            row.tidy();
            self.extend(slot);
            self.answer(ticket, Ok(ttl));
            for ticket in waiting.into_iter().flatten() {
                self.answer(ticket, Ok(ttl));
            }
        }
    }

    /// Forgets a renew that waits: its ticket is not answered. Harmless if it does not wait.
    pub fn forget_renew(&mut self, now: Instant, ticket: Ticket, id: LeaseId) {
        self.set_clock(now);
        let Some(slot) = self.table.find(id) else { return };
        let row = self.table.row_mut(slot);
        let was_kept = row.is_kept();
        if let Some(cold) = row.cold_if_any() {
            cold.waiting.retain(|waiting| *waiting != ticket);
            row.tidy();
        }
        if was_kept && !self.table.row(slot).is_kept() {
            self.let_go(id);
        }
    }

    /// Makes this member the primary. Counted from `now`, every lease gets the time that it had left at
    /// its last checkpoint, or else its whole ttl, plus `extend`. If there are at least
    /// [`Config::revoke_rate`] leases, those that would expire together are spread.
    ///
    /// Promoting a primary again only moves deadlines later. It does not change leases that have expired
    /// and wait for their revoke.
    ///
    /// The host must have applied every entry of earlier terms first.
    pub fn promote(&mut self, now: Instant, extend: Duration) {
        self.set_clock(now);
        let (now, again) = (self.now, core::mem::replace(&mut self.primary, true));
        let smooth = self.table.len() >= self.revoke_rate;
        let mut dues = Vec::with_capacity(if smooth { self.table.len() } else { 0 });
        self.table.set_all_expiries(|slot, row| {
            if again && row.is_expired(now) {
                return row.expiry();
            }
            let base = now.saturating_add(extend);
            let due = row.left_to_promote().after(base);
            let at = if again { row.expiry().max(due) } else { due };
            if smooth {
                let rank = row.id.get().cast_unsigned() ^ (1 << 63);
                dues.push(Due { at, rank, slot });
            }
            at
        });
        spread(&mut dues, (3 * self.revoke_rate / 4).max(1));
        for due in dues {
            self.table.set_expiry(due.slot, due.at);
        }
        if !again {
            self.expiries.advance(now, &Expiries(&self.table));
            self.checkpoints.advance(now, &Checkpoints(&self.table));
            for slot in 0..self.slots() {
                self.arm(slot);
            }
        }
    }

    /// Ends the primacy of this member. It forgets every deadline and checkpoint schedule, and answers
    /// every waiting renew with [`Error::NotPrimary`]. Harmless if it is not primary.
    pub fn demote(&mut self, now: Instant) {
        self.set_clock(now);
        self.primary = false;
        self.expiries = Deadlines::new();
        self.checkpoints = Deadlines::new();
        let effects = &mut self.effects;
        self.table.set_all_expiries(|_, row| {
            if let Some(cold) = row.cold_if_any() {
                cold.checkpoints_in_flight = 0;
                cold.unsets_in_flight = 0;
                cold.stale_unsets = 0;
                for ticket in core::mem::take(&mut cold.waiting) {
                    let result = Err(Error::NotPrimary);
                    effects.push_back(Effect::Renewed { ticket, result });
                }
                row.tidy();
            }
            Instant::MAX
        });
    }

    /// Holds expired batches back while the host has no room for them (`true`), or lets them leave
    /// (`false`, the default). Leases that expire while they are held leave afterwards, in order and at the
    /// usual rate.
    ///
    /// etcd drops a batch if its channel is full, until the retry.
    pub fn hold_expired(&mut self, now: Instant, hold: bool) {
        self.set_clock(now);
        self.hold_expired = hold;
    }

    /// Handles everything that is due: a batch of expired leases, checkpoints to propose. An early call
    /// changes nothing. A late one makes up for what was missed, at the usual rates.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.set_clock(now);
        if self.table.has_order_by_id() {
            self.table.put_in_order_by_id(PIECE);
        }
        if self.table.has_order_by_expiry() {
            if self.is_listed_by_expiry() {
                self.table.put_in_order_by_expiry(PIECE);
            } else {
                self.table.give_up_order_by_expiry(PIECE);
            }
        }
        if self.primary {
            self.emit_expired();
            self.emit_checkpoints();
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if there is nothing to wait for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let not_before = |first: Instant, free: Option<Instant>| free.unwrap_or(first).max(first);
        let expired = self.expiries.first().filter(|_| !self.hold_expired);
        let expired = expired.map(|first| not_before(first, self.expired_rate.free_at()));
        let checkpoint = self.checkpoints.first();
        let checkpoint = checkpoint.map(|first| not_before(first, self.checkpoint_rate.free_at()));
        let by_id = self.table.has_order_by_id() && self.table.by_id().is_none();
        let by_expiry = self.table.has_order_by_expiry()
            && !(self.is_listed_by_expiry() && self.table.by_expiry().is_some());
        let order = (by_id || by_expiry).then_some(self.now);
        expired.into_iter().chain(checkpoint).chain(order).min()
    }

    /// Returns the next effect, which the host must carry out.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Replaces all state by a stored one. Afterwards the member is not primary, and renews that waited
    /// are answered with [`Error::NotPrimary`]. Each ttl stays as it was stored, whatever
    /// [`Config::min_ttl`] is. There are no writes among the effects.
    ///
    /// # Errors
    ///
    /// The first fault of the snapshot. Then nothing was replaced.
    pub fn recover(&mut self, now: Instant, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let mut table = self.table.emptied(snapshot.leases.len());
        let mut holders = BTreeMap::new();
        let mut digest = Digest::default();
        for record in &snapshot.leases {
            if record.ttl > Ttl::MAX || record.remaining.is_some_and(|left| left > record.ttl) {
                return Err(SnapshotError::TtlOutOfRange(record.id));
            }
            let slot = table
                .insert(record.id, record.ttl, Instant::MAX)
                .ok_or(SnapshotError::LeaseTwice(record.id))?;
            if record.remaining.is_some() {
                table.row_mut(slot).cold_mut().remaining = record.remaining;
            }
            digest.add_lease(record);
        }
        for (item, holder) in &snapshot.items {
            let slot = table.find(*holder).ok_or(SnapshotError::UnknownHolder(*holder))?;
            if holders.insert(item.clone(), *holder).is_some() {
                return Err(SnapshotError::ItemTwice(*holder));
            }
            table.row_mut(slot).cold_mut().items.insert(item.clone());
            digest.add_item(item, *holder);
        }
        self.demote(now);
        self.begun = None;
        (self.table, self.holders, self.digest) = (table, holders, digest);
        Ok(())
    }

    /// Returns the whole replicated state, in an order that is the same on every member.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut leases: Vec<LeaseRecord> = self.table.rows().iter().map(Row::record).collect();
        leases.sort_unstable_by_key(|record| record.id);
        let items = self.holders.iter().map(|(item, id)| (item.clone(), *id)).collect();
        Snapshot { leases, items }
    }

    /// How many leases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no lease.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this member is the primary, the one that expires and renews.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// The lease with this id.
    #[must_use]
    pub fn lookup(&self, id: LeaseId) -> Option<Lease> {
        self.table.find(id).map(|slot| self.lease(self.table.row(slot)))
    }

    /// The items of a lease in the order of their keys. Empty if there is no such lease.
    pub fn items(&self, id: LeaseId) -> impl Iterator<Item = &Item> {
        self.table.find(id).into_iter().flat_map(|slot| self.table.row(slot).items())
    }

    /// The items of a lease after this one, in the order of their keys. With `None` the same as
    /// [`items`](Self::items). The lease need not hold the item; finding where to begin costs O(log n).
    pub fn items_after(&self, id: LeaseId, after: Option<&Item>) -> impl Iterator<Item = &Item> {
        let row = self.table.find(id).map(|slot| self.table.row(slot));
        row.into_iter().flat_map(move |row| row.items_after(after))
    }

    /// The lease that holds an item (etcd: `GetLease`).
    #[must_use]
    pub fn lease_of(&self, item: &Item) -> Option<LeaseId> {
        self.holders.get(item).copied()
    }

    /// The time until a lease expires, zero if it has expired. `None` if there is no such lease, or if this
    /// member is not primary and does not know.
    #[must_use]
    pub fn remaining(&self, now: Instant, id: LeaseId) -> Option<Duration> {
        let expiry = self.lookup(id)?.expiry?;
        Some(expiry.saturating_since(now.max(self.now)))
    }

    /// Returns up to `limit` leases in `order`, starting after the lease `after`, the last one of the
    /// previous page.
    ///
    /// A page costs O(`limit` · log n) if the leases are [in that order](Self::put_in_order). Otherwise it
    /// costs one pass over all leases, about 10 ms for a million.
    #[must_use]
    pub fn leases(&self, order: LeaseOrder, after: Option<&Lease>, limit: usize) -> Vec<Lease> {
        let until = match order {
            LeaseOrder::ExpiryUntil(_) if !self.primary => return Vec::new(),
            LeaseOrder::ExpiryUntil(until) => until,
            LeaseOrder::Id | LeaseOrder::Expiry => Instant::MAX,
        };
        let of_page = |id| self.lookup(id);
        if self.is_by_id(order) {
            let after = after.map(|lease| lease.record.id);
            match self.table.by_id() {
                Some(order) => order.behind(after).take(limit).filter_map(of_page).collect(),
                None => self.pass(after, limit, |_| true),
            }
        } else {
            let key = |lease: &Lease| (lease.expiry.unwrap_or(Instant::MAX), lease.record.id);
            let after = after.map(key);
            match self.table.by_expiry() {
                Some(order) => {
                    let behind = order.behind(after).take_while(|(expiry, _)| *expiry <= until);
                    behind.take(limit).filter_map(|(_, id)| of_page(id)).collect()
                }
                None => self.pass(after, limit, |(expiry, _)| *expiry <= until),
            }
        }
    }

    /// A page of leases in the order of their keys, from a pass over all of them.
    fn pass<K: Key>(
        &self,
        after: Option<K>,
        limit: usize,
        belongs: impl Fn(&K) -> bool,
    ) -> Vec<Lease> {
        // The greatest of the first `limit` is on top, so most leases cost one comparison.
        let mut first: BinaryHeap<(K, u32)> = BinaryHeap::new();
        for (slot, row) in (0_u32..).zip(self.table.rows()) {
            let key = K::of(row);
            if !belongs(&key) || after.is_some_and(|after| key <= after) {
                continue;
            }
            if first.len() < limit {
                first.push((key, slot));
            } else if let Some(mut greatest) = first.peek_mut()
                && key < greatest.0
            {
                *greatest = (key, slot);
            }
        }
        let first = first.into_sorted_vec();
        first.into_iter().map(|(_, slot)| self.lease(self.table.row(slot))).collect()
    }

    /// Keeps all leases in an order from now on, for [listings](Self::leases), and returns whether they
    /// are in it yet. Many leases are sorted step by step, by [`handle_timeout`](Self::handle_timeout),
    /// which [`poll_timeout`](Self::poll_timeout) asks for. After [`recover`](Self::recover) this starts
    /// again.
    ///
    /// - By id: about 12 bytes per lease. From then on a grant and a revoke cost O(log n).
    /// - By expiry: about 24 bytes per lease. A renew costs O(log n) too, five to ten times its usual cost.
    ///   So this order is dropped if nobody asks for it for a minute, and a promotion starts it again. On a
    ///   member that is not primary it is the order by id.
    pub fn put_in_order(&mut self, now: Instant, order: LeaseOrder) -> bool {
        self.set_clock(now);
        if self.is_by_id(order) {
            if !self.table.has_order_by_id() {
                self.table.put_in_order_by_id(PIECE);
            }
            return self.table.by_id().is_some();
        }
        self.listed_by_expiry = self.now;
        if !self.table.has_order_by_expiry() {
            self.table.put_in_order_by_expiry(PIECE);
        }
        self.table.by_expiry().is_some()
    }

    fn is_by_id(&self, order: LeaseOrder) -> bool {
        order == LeaseOrder::Id || !self.primary
    }

    /// Whether the order by expiry is to be kept.
    fn is_listed_by_expiry(&self) -> bool {
        self.now.saturating_since(self.listed_by_expiry) < A_MINUTE
    }

    /// Returns a hash of the replicated state. Members that applied the same log have the same one.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether a lease has expired and waits for its revoke.
    pub(crate) fn is_expired(&self, id: LeaseId) -> bool {
        self.table.find(id).is_some_and(|slot| self.table.row(slot).is_expired(self.now))
    }

    /// Lets a lease leave that is due and was kept for a renew which came to nothing, without waiting for
    /// its retry.
    pub(crate) fn let_go(&mut self, id: LeaseId) {
        if let Some(slot) = self.table.find(id)
            && self.primary
            && self.table.row(slot).expiry() <= self.now
        {
            let expiry = self.table.row(slot).expiry();
            self.expiries.set(slot, expiry, &Expiries(&self.table));
        }
    }

    /// The leases that the last piece of a command took items from, to give them to another.
    pub(crate) fn moved_from(&self) -> &[LeaseId] {
        &self.moved_from
    }

    /// Verifies every rule that spans two parts of the state, in time linear in its size.
    ///
    /// # Panics
    ///
    /// If a rule is broken, which is a bug.
    pub fn check(&self) {
        self.table.check();
        self.check_leases();
        self.expiries.check(&Expiries(&self.table));
        self.checkpoints.check(&Checkpoints(&self.table));
        let leases = if self.primary { self.len() } else { 0 };
        assert!(self.expiries.len() == leases, "a primary has one deadline a lease, others none");
        assert!(self.checkpoints.len() <= leases, "only leases of a primary have checkpoints due");
    }

    fn check_leases(&self) {
        let (mut digest, mut attached) = (Digest::default(), 0);
        for (slot, row) in (0..).zip(self.table.rows()) {
            let id = row.id;
            digest.add_lease(&row.record());
            assert!(row.ttl <= Ttl::MAX, "lease {id} has a ttl that can be granted");
            assert!(row.remaining() <= Some(row.ttl), "lease {id} has no more left than its ttl");
            for item in row.items() {
                attached += 1;
                digest.add_item(item, id);
                assert!(self.lease_of(item) == Some(id), "{item} of lease {id} is indexed so");
            }
            if self.primary {
                let armed = self.expiries.armed(slot);
                let latest = row.expiry().max(self.now.saturating_add(self.retry_interval));
                assert!(armed.is_some_and(|at| at <= latest), "lease {id} fires at {armed:?}");
            } else {
                assert!(row.expiry() == Instant::MAX, "lease {id} has no expiry");
                assert!(!row.is_waited_for(), "nobody waits for lease {id}");
            }
            let waits_for = row.is_expired(self.now) || row.needs_unset();
            assert!(!row.is_waited_for() || waits_for, "renews of lease {id} wait for something");
        }
        assert!(attached == self.holders.len(), "every item is held by a lease");
        assert!(digest == self.digest, "the digest is that of the state");
    }

    fn grant(&mut self, id: LeaseId, ttl: Ttl) -> Result<(), Error> {
        if ttl > Ttl::MAX {
            return Err(Error::TtlTooLarge);
        }
        let expiry = ttl.after(self.now);
        let expiry = if self.primary { expiry } else { Instant::MAX };
        let slot = self.table.insert(id, ttl, expiry).ok_or(Error::LeaseExists)?;
        let record = LeaseRecord { id, ttl, remaining: None };
        self.digest.add_lease(&record);
        self.effects.push_back(Effect::Write(Write::PutLease(record)));
        if self.primary {
            self.arm(slot);
        }
        Ok(())
    }

    /// Does one piece of a command, and keeps what is left of it.
    fn go_on_with(&mut self, mut begun: Begun) -> Result<bool, Error> {
        if let Begun::Claim { id, items, free } = begun {
            let end = items.len().min(free + self.piece);
            self.look_at(id, &items[free..end])?;
            if end < items.len() {
                self.begun = Some(Begun::Claim { id, items, free: end });
                return Ok(false);
            }
            begun = Begun::Attach { id, items: items.into_iter() };
            if free > 0 {
                self.begun = Some(begun);
                return Ok(false);
            }
        }
        let done = match &mut begun {
            Begun::Claim { .. } => unreachable!("looked at above"),
            Begun::Attach { id, items } => {
                self.attach(*id, items.by_ref().take(self.piece));
                items.len() == 0
            }
            Begun::Detach { id, items } => {
                self.detach(*id, items.by_ref().take(self.piece));
                items.len() == 0
            }
            Begun::Revoke { id, deleted } => {
                let slot = self.table.find(*id).expect("only its revoke removes a lease");
                let done = self.delete_items(slot, deleted);
                if done {
                    self.revoke(slot, core::mem::take(deleted));
                }
                done
            }
        };
        if !done {
            self.begun = Some(begun);
        }
        Ok(done)
    }

    /// Refuses a claim if another lease holds one of these items.
    fn look_at(&self, id: LeaseId, items: &[Item]) -> Result<(), Error> {
        let mut holders = items.iter().filter_map(|item| self.lease_of(item));
        holders.find(|holder| *holder != id).map_or(Ok(()), |holder| Err(Error::ItemHeld(holder)))
    }

    /// Takes the first items out of a lease that is revoked, and says whether they were the last.
    fn delete_items(&mut self, slot: u32, deleted: &mut Vec<Item>) -> bool {
        let row = self.table.row_mut(slot);
        let id = row.id;
        let Some(cold) = row.cold_if_any() else { return true };
        for _ in 0..self.piece {
            let Some(item) = cold.items.pop_first() else { break };
            self.holders.remove(&item);
            self.digest.remove_item(&item, id);
            deleted.push(item);
        }
        let done = cold.items.is_empty();
        row.tidy();
        done
    }

    /// Removes a lease whose items are deleted already.
    fn revoke(&mut self, slot: u32, items: Vec<Item>) {
        self.expiries.clear(slot, &Expiries(&self.table));
        self.checkpoints.clear(slot, &Checkpoints(&self.table));
        let last = self.slots() - 1;
        if slot != last {
            self.expiries.rename(last, slot, &Expiries(&self.table));
            self.checkpoints.rename(last, slot, &Checkpoints(&self.table));
        }
        let mut row = self.table.swap_remove(slot);
        self.expiries.shrink(self.table.len());
        self.checkpoints.shrink(self.table.len());

        let lease = row.id;
        self.digest.remove_lease(&row.record());
        if !items.is_empty() {
            self.effects.push_back(Effect::RangeDelete(RangeDelete { lease, items }));
        }
        self.effects.push_back(Effect::Write(Write::DeleteLease(lease)));
        let waiting = row.cold_if_any().map(|cold| core::mem::take(&mut cold.waiting));
        for ticket in waiting.unwrap_or_default() {
            self.answer(ticket, Err(Error::LeaseNotFound));
        }
    }

    fn attach(&mut self, id: LeaseId, items: impl Iterator<Item = Item>) {
        let slot = self.table.find(id).expect("only its revoke removes a lease");
        for item in items {
            let holder = self.holders.insert(item.clone(), id);
            if holder == Some(id) {
                continue;
            }
            if let Some(holder) = holder {
                self.take_item(holder, &item);
                if self.moved_from.last() != Some(&holder) {
                    self.moved_from.push(holder);
                }
            }
            self.table.row_mut(slot).cold_mut().items.insert(item.clone());
            self.digest.add_item(&item, id);
            self.effects.push_back(Effect::Write(Write::PutItem(item, id)));
        }
    }

    fn detach(&mut self, id: LeaseId, items: impl Iterator<Item = Item>) {
        for item in items {
            if self.lease_of(&item) == Some(id) {
                self.holders.remove(&item);
                self.take_item(id, &item);
                self.effects.push_back(Effect::Write(Write::DeleteItem(item)));
            }
        }
    }

    /// Takes an item out of the lease that holds it; the other direction is the caller's.
    fn take_item(&mut self, holder: LeaseId, item: &Item) {
        let slot = self.table.find(holder).expect("every item is held by a lease");
        let row = self.table.row_mut(slot);
        let removed = row.cold_mut().items.remove(item);
        assert!(removed, "both indexes of the items agree");
        row.tidy();
        self.digest.remove_item(item, holder);
    }

    fn checkpoint(&mut self, Checkpoint { id, remaining }: Checkpoint) {
        let Some(slot) = self.table.find(id) else { return };
        let row = self.table.row_mut(slot);
        let before = row.record();
        // Not `remaining.map(|left| left.min(row.ttl))`, of which rustc 1.95 takes `None` for a value when
        // it compiles incrementally with optimisation: then an unset wrote what was there already.
        let capped = match remaining {
            Some(left) if left > row.ttl => Some(row.ttl),
            Some(_) | None => remaining,
        };
        let after = LeaseRecord { remaining: capped, ..before };
        if before != after {
            row.cold_mut().remaining = after.remaining;
            self.digest.remove_lease(&before);
            self.digest.add_lease(&after);
            self.effects.push_back(Effect::Write(Write::PutLease(after)));
        }
        if self.primary {
            if remaining.is_none() {
                self.finish_renews(slot);
            } else if let Some(cold) = self.table.row_mut(slot).cold_if_any() {
                cold.checkpoints_in_flight = cold.checkpoints_in_flight.saturating_sub(1);
            }
            self.schedule_checkpoint(slot);
        }
        self.table.row_mut(slot).tidy();
    }

    /// Answers the renews that waited for the "unset" which was just applied.
    fn finish_renews(&mut self, slot: u32) {
        let now = self.now;
        let row = self.table.row_mut(slot);
        let (ttl, expired) = (row.ttl, row.is_expired(now));
        let Some(cold) = row.cold_if_any() else { return };
        cold.unsets_in_flight = cold.unsets_in_flight.saturating_sub(1);
        if cold.checkpoints_in_flight > 0 && cold.stale_unsets > 0 {
            // Proposed before a checkpoint that may come behind it.
            cold.stale_unsets -= 1;
            return;
        }
        (cold.checkpoints_in_flight, cold.stale_unsets) = (0, 0);
        if expired || cold.waiting.is_empty() {
            return;
        }
        let waiting = core::mem::take(&mut cold.waiting);
        self.extend(slot);
        for ticket in waiting {
            self.answer(ticket, Ok(ttl));
        }
    }

    /// Gives a lease its whole ttl from now. Its deadline finds that out by itself when it comes, unless it
    /// has come already.
    fn extend(&mut self, slot: u32) {
        let row = self.table.row(slot);
        let before = row.expiry();
        self.table.set_expiry(slot, before.max(row.ttl.after(self.now)));
        if before <= self.now {
            self.arm(slot);
        }
    }

    fn emit_expired(&mut self) {
        let now = self.now;
        self.expiries.advance(now, &Expiries(&self.table));
        let room = if self.hold_expired { 0 } else { self.expired_rate.room(now) };
        let mut batch = Vec::new();
        while batch.len() < room {
            let Some(slot) = self.expiries.pop_due(now, &Expiries(&self.table)) else { break };
            let row = self.table.row(slot);
            if !row.is_kept() {
                batch.push((row.expiry(), row.id));
            }
            let again = now.saturating_add(self.retry_interval);
            self.expiries.set(slot, again, &Expiries(&self.table));
        }
        if !batch.is_empty() {
            self.expired_rate.take(now, batch.len());
            batch.sort_unstable();
            let leases = batch.into_iter().map(|(_, id)| id).collect();
            self.effects.push_back(Effect::Expired(ExpiredBatch { leases }));
        }
    }

    fn emit_checkpoints(&mut self) {
        let now = self.now;
        self.checkpoints.advance(now, &Checkpoints(&self.table));
        let room = self.checkpoint_rate.room(now);
        let mut checkpoints = Vec::new();
        while checkpoints.len() < room {
            let Some(slot) = self.checkpoints.pop_due(now, &Checkpoints(&self.table)) else {
                break;
            };
            let row = self.table.row_mut(slot);
            if row.is_expired(now) {
                continue;
            }
            let left = Ttl::from(row.expiry().saturating_since(now));
            if row.is_waited_for() {
                checkpoints.push(Checkpoint { id: row.id, remaining: None });
                row.cold_mut().unsets_in_flight += 1;
            } else if left < row.ttl {
                checkpoints.push(Checkpoint { id: row.id, remaining: Some(left) });
                let cold = row.cold_mut();
                cold.checkpoints_in_flight += 1;
                cold.stale_unsets = cold.unsets_in_flight;
            }
            self.schedule_checkpoint(slot);
        }
        self.checkpoint_rate.take(now, checkpoints.len());
        for batch in checkpoints.chunks(Checkpoint::MAX_BATCH) {
            self.effects.push_back(Effect::Checkpoint(batch.to_vec()));
        }
    }

    /// Arms the deadlines of a lease that is new to this reign.
    fn arm(&mut self, slot: u32) {
        self.expiries.set(slot, self.table.row(slot).expiry(), &Expiries(&self.table));
        self.schedule_checkpoint(slot);
    }

    /// Sets when the lease's next checkpoint is due, if it needs one: soon if renews wait for an
    /// "unset" that may have been lost, else an interval from now if there is more than that left.
    fn schedule_checkpoint(&mut self, slot: u32) {
        let row = self.table.row(slot);
        let after = if row.is_expired(self.now) {
            None
        } else if row.is_waited_for() {
            Some(self.retry_interval)
        } else {
            let left = row.left_to_promote().as_duration();
            (left > self.checkpoint_interval).then_some(self.checkpoint_interval)
        };
        let source = Checkpoints(&self.table);
        match after {
            Some(after) => self.checkpoints.set(slot, self.now.saturating_add(after), &source),
            None => self.checkpoints.clear(slot, &source),
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<Ttl, Error>) {
        self.effects.push_back(Effect::Renewed { ticket, result });
    }

    fn lease(&self, row: &Row) -> Lease {
        Lease {
            record: row.record(),
            expiry: self.primary.then_some(row.expiry()),
            items: row.items().len(),
        }
    }

    fn slots(&self) -> u32 {
        u32::try_from(self.table.len()).expect("fewer than 2^32 leases")
    }

    /// The clock never goes back, and never reaches the end of time, where deadlines saturate.
    fn set_clock(&mut self, now: Instant) {
        self.now = self.now.max(now.min(LAST));
    }
}

#[cfg(test)]
mod tests;

/// A command of which a part is applied.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
enum Begun {
    Attach {
        id: LeaseId,
        #[cfg_attr(feature = "recording", serde(with = "saved_items"))]
        items: IntoIter<Item>,
    },
    Detach {
        id: LeaseId,
        #[cfg_attr(feature = "recording", serde(with = "saved_items"))]
        items: IntoIter<Item>,
    },
    /// Nobody else holds the first `free` items. When all are free they are attached.
    Claim { id: LeaseId, items: Vec<Item>, free: usize },
    /// What was under the lease is here already; the lease itself goes last.
    Revoke { id: LeaseId, deleted: Vec<Item> },
}

/// The items that are still to come.
#[cfg(feature = "recording")]
mod saved_items {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{IntoIter, Item, Vec};

    pub(super) fn serialize<S: Serializer>(
        items: &IntoIter<Item>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        items.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<IntoIter<Item>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter())
    }
}

/// The expiries as the deadline queue sees them: a renew has moved them later.
struct Expiries<'a>(&'a Table);

impl Source for Expiries<'_> {
    fn id(&self, slot: u32) -> LeaseId {
        self.0.row(slot).id
    }

    fn due(&self, slot: u32) -> Instant {
        self.0.row(slot).expiry()
    }
}

/// The checkpoints as the deadline queue sees them: they are due when they were armed for.
struct Checkpoints<'a>(&'a Table);

impl Source for Checkpoints<'_> {
    fn id(&self, slot: u32) -> LeaseId {
        self.0.row(slot).id
    }

    fn due(&self, _: u32) -> Instant {
        Instant::ZERO
    }
}

/// So many leases are put in order by one call, in a few milliseconds.
const PIECE: usize = 10_000;
/// For so long the order by expiry is kept when nobody lists by it.
const A_MINUTE: Duration = Duration::from_secs(60);
const HALF_SECOND: Duration = Duration::from_millis(500);
/// etcd: at each tick of half a second 500 batches (`leaseCheckpointRate` / 2).
const CHECKPOINTS_A_HALF_SECOND: usize = 500 * Checkpoint::MAX_BATCH;
/// What an interval of zero is raised to, so that nothing is due again at once for ever.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const LAST: Instant = Instant::from_nanos(u64::MAX - 1);
