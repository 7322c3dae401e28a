//! The core as docs/SEMANTICS.md describes it: plain maps, full scans, deadlines as numbers.
//!
//! It is slow, shares no code with the lessor, and says what every call must answer and emit.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use lessor::{
    Checkpoint, Command, Error, Input, Item, LeaseId, LeaseRecord, Snapshot, Ticket, Ttl,
};

/// Time is in nanoseconds, what is stored of a lease in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) rate: usize,
    pub(crate) retry: u64,
    interval: u64,
    pub(crate) now: u64,
    pub(crate) primary: bool,
    pub(crate) held: bool,
    pub(crate) leases: BTreeMap<LeaseId, Row>,
    pub(crate) items: BTreeMap<Item, LeaseId>,
    /// When each lease left in a batch, for the rate.
    left: Vec<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    ttl: u64,
    pub(crate) remaining: Option<u64>,
    /// The rest means something on a primary only.
    pub(crate) expiry: u64,
    /// When it comes again, once it has left in a batch.
    again: Option<u64>,
    checkpoint: Option<u64>,
    /// What this primary proposed for it and was not applied yet, in order.
    road: Vec<Proposed>,
    waiting: Vec<Ticket>,
    /// Whether those who wait came in time, and so wait for an unset.
    in_time: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proposed {
    Left,
    Unset,
}

/// What a call must answer and emit, beside its writes.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    pub(crate) result: Result<(), Error>,
    pub(crate) answers: BTreeMap<Ticket, Result<Ttl, Error>>,
    pub(crate) expired: Vec<LeaseId>,
    /// By id.
    pub(crate) proposals: Vec<(LeaseId, Option<Ttl>)>,
}

impl Expected {
    pub(crate) fn nothing() -> Self {
        let (answers, expired, proposals) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { result: Ok(()), answers, expired, proposals }
    }
}

impl Model {
    pub(crate) fn new(rate: NonZeroU32, retry: Duration, interval: Duration) -> Self {
        Self {
            rate: rate.get() as usize,
            retry: nanos(retry.max(Duration::from_millis(1))),
            interval: nanos(interval.max(Duration::from_millis(1))),
            now: 0,
            primary: false,
            held: false,
            leases: BTreeMap::new(),
            items: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    /// D18: time does not go back, and does not reach its end.
    fn clock(&mut self, now: u64) {
        self.now = self.now.max(now.min(u64::MAX - 1));
    }

    pub(crate) fn input(&mut self, now: u64, input: &Input) -> Expected {
        self.clock(now);
        let mut expected = Expected::nothing();
        match input {
            Input::Apply(command) => expected.result = self.apply(command, &mut expected),
            Input::Renew { ticket, id } => self.renew(self.now, *ticket, *id, &mut expected),
            Input::RenewAsked { asked, ticket, id } => {
                self.renew(asked.as_nanos().min(self.now), *ticket, *id, &mut expected);
            }
            Input::ForgetRenew { ticket, id } => {
                if let Some(row) = self.leases.get_mut(id) {
                    let was_kept = row.is_kept();
                    row.waiting.retain(|waiting| waiting != ticket);
                    if was_kept && !row.is_kept() {
                        row.let_go(self.now);
                    }
                }
            }
            Input::Promote { extend } => self.promote(nanos(*extend)),
            Input::Demote => self.demote(&mut expected),
            Input::HoldExpired(hold) => self.held = *hold,
            Input::Timeout => self.timeout(&mut expected),
        }
        expected
    }

    fn apply(&mut self, command: &Command, expected: &mut Expected) -> Result<(), Error> {
        match command {
            Command::Grant { id, ttl } => {
                if ttl.as_millis() > 9_000_000_000_000 {
                    return Err(Error::TtlTooLarge);
                }
                if self.leases.contains_key(id) {
                    return Err(Error::LeaseExists);
                }
                let expiry = self.now.saturating_add(ttl.as_millis() * MILLI);
                let record = LeaseRecord { id: *id, ttl: *ttl, remaining: None };
                self.leases.insert(*id, Row { expiry, ..Row::new(&record) });
                self.schedule(*id);
            }
            Command::Revoke { id } => {
                let row = self.leases.remove(id).ok_or(Error::LeaseNotFound)?;
                self.items.retain(|_, holder| holder != id);
                for ticket in row.waiting {
                    expected.answers.insert(ticket, Err(Error::LeaseNotFound));
                }
            }
            Command::Attach { id, items } => {
                self.leases.get(id).ok_or(Error::LeaseNotFound)?;
                self.items.extend(items.iter().map(|item| (item.clone(), *id)));
            }
            Command::Detach { id, items } => {
                self.leases.get(id).ok_or(Error::LeaseNotFound)?;
                self.items.retain(|item, holder| holder != id || !items.contains(item));
            }
            Command::Claim { id, items } => {
                self.leases.get(id).ok_or(Error::LeaseNotFound)?;
                let holders = items.iter().filter_map(|item| self.items.get(item));
                if let Some(other) = holders.copied().find(|holder| holder != id) {
                    return Err(Error::ItemHeld(other));
                }
                self.items.extend(items.iter().map(|item| (item.clone(), *id)));
            }
            Command::Checkpoint { checkpoints } => {
                for checkpoint in checkpoints {
                    self.checkpoint(*checkpoint, expected);
                }
            }
        }
        Ok(())
    }

    /// Whether a lease is there and has not expired.
    pub(crate) fn lasts(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|row| row.lasts(self.now))
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, expected: &mut Expected) {
        let Some(row) = self.leases.get_mut(&checkpoint.id) else { return };
        row.remaining = checkpoint.remaining.map(|left| left.as_millis().min(row.ttl));
        if !self.primary {
            return;
        }
        let kind = if checkpoint.remaining.is_some() { Proposed::Left } else { Proposed::Unset };
        let position = row.road.iter().position(|proposed| *proposed == kind);
        let behind = match position {
            Some(position) => {
                row.road.remove(position);
                row.road.split_off(position)
            }
            None => Vec::new(),
        };
        if kind == Proposed::Left {
            row.road.extend(behind);
        } else if behind.contains(&Proposed::Left) {
            // A checkpoint that may come behind this unset would cut the promise short.
            row.road.extend(behind);
        } else {
            row.road.retain(|proposed| *proposed == Proposed::Unset);
            row.road.extend(behind);
            if row.lasts(self.now) && !row.waiting.is_empty() {
                row.again = None;
                row.expiry = row.expiry.max(self.now.saturating_add(row.ttl * MILLI));
                for ticket in row.waiting.drain(..) {
                    expected.answers.insert(ticket, Ok(Ttl::from_millis(row.ttl)));
                }
            }
        }
        self.schedule(checkpoint.id);
    }

    /// A renew that came when the lease had not expired is in time, and the lease lasts until it is
    /// answered.
    fn renew(&mut self, asked: u64, ticket: Ticket, id: LeaseId, expected: &mut Expected) {
        if !self.primary {
            expected.answers.insert(ticket, Err(Error::NotPrimary));
            return;
        }
        let Some(row) = self.leases.get_mut(&id) else {
            expected.answers.insert(ticket, Err(Error::LeaseNotFound));
            return;
        };
        let may_be_in_the_log = row.remaining.is_some() || row.road.contains(&Proposed::Left);
        if row.expiry <= asked && !row.is_kept() {
            row.waiting.push(ticket);
            row.in_time = false;
        } else if may_be_in_the_log {
            let first = !row.is_kept();
            row.waiting.push(ticket);
            row.in_time = true;
            if first {
                row.road.push(Proposed::Unset);
                expected.proposals.push((id, None));
                self.schedule(id);
            }
        } else {
            let was_due = row.expiry <= self.now;
            row.again = None;
            row.expiry = row.expiry.max(self.now.saturating_add(row.ttl * MILLI));
            for ticket in row.waiting.drain(..).chain([ticket]) {
                expected.answers.insert(ticket, Ok(Ttl::from_millis(row.ttl)));
            }
            if was_due {
                self.schedule(id);
            }
        }
    }

    fn promote(&mut self, extend: u64) {
        let again = std::mem::replace(&mut self.primary, true);
        let mut dues = Vec::new();
        for (id, row) in &mut self.leases {
            let left = row.remaining.unwrap_or(row.ttl) * MILLI;
            let due = self.now.saturating_add(extend).saturating_add(left);
            if !again {
                row.expiry = due;
                row.again = None;
            } else if row.lasts(self.now) {
                row.expiry = row.expiry.max(due);
            } else {
                continue;
            }
            dues.push((row.expiry, *id));
        }
        if self.leases.len() >= self.rate {
            // D2 without what it has come to for others: a lease waits as many seconds as there are
            // targets of leases before it that are due no earlier than so much before it.
            dues.sort_unstable();
            let target = (self.rate * 3 / 4).max(1);
            for i in (0..dues.len()).rev() {
                let before = (0..=i).rev().step_by(target).zip(0..);
                let waits = before.map(|(j, seconds)| dues[j].0.saturating_add(SECOND * seconds));
                dues[i].0 = waits.max().unwrap();
            }
        }
        for (due, id) in dues {
            self.leases.get_mut(&id).unwrap().expiry = due;
        }
        if !again {
            let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
            for id in ids {
                self.schedule(id);
            }
        }
    }

    fn demote(&mut self, expected: &mut Expected) {
        self.primary = false;
        for row in self.leases.values_mut() {
            (row.again, row.checkpoint) = (None, None);
            row.road.clear();
            for ticket in row.waiting.drain(..) {
                expected.answers.insert(ticket, Err(Error::NotPrimary));
            }
        }
    }

    fn timeout(&mut self, expected: &mut Expected) {
        if !self.primary {
            return;
        }
        let now = self.now;
        if !self.held {
            let mut due: Vec<_> = self.leases.iter().map(|(id, row)| (row.fires(), *id)).collect();
            due.retain(|(fires, _)| *fires <= now);
            due.sort_unstable();
            let room = self.room(now);
            let mut batch = Vec::new();
            for (_, id) in due {
                if batch.len() == room {
                    break;
                }
                let row = self.leases.get_mut(&id).unwrap();
                row.again = Some(now.saturating_add(self.retry));
                if !row.is_kept() {
                    batch.push((row.expiry, id));
                    self.left.push(now);
                }
            }
            batch.sort_unstable();
            expected.expired = batch.into_iter().map(|(_, id)| id).collect();
        }
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            let row = self.leases.get_mut(&id).unwrap();
            if row.checkpoint.is_none_or(|at| at > now) {
                continue;
            }
            row.checkpoint = None;
            if let Some(proposal) = row.proposal(now) {
                let kind = if proposal.is_some() { Proposed::Left } else { Proposed::Unset };
                row.road.push(kind);
                expected.proposals.push((id, proposal));
            }
            self.schedule(id);
        }
    }

    pub(crate) fn recover(&mut self, now: u64) -> Expected {
        self.clock(now);
        let mut expected = Expected::nothing();
        self.demote(&mut expected);
        expected
    }

    /// Recovers from another state than its own.
    pub(crate) fn restore(&mut self, now: u64, snapshot: &Snapshot) -> Expected {
        let expected = self.recover(now);
        self.items = snapshot.items.iter().cloned().collect();
        self.leases = snapshot.leases.iter().map(|record| (record.id, Row::new(record))).collect();
        expected
    }

    /// D11: at most one checkpoint is scheduled, while the lease lasts and if it has enough left.
    fn schedule(&mut self, id: LeaseId) {
        let row = self.leases.get_mut(&id).unwrap();
        let left = row.remaining.unwrap_or(row.ttl) * MILLI;
        let after = if !row.waiting.is_empty() {
            Some(self.retry)
        } else {
            (left > self.interval).then_some(self.interval)
        };
        let lasts = self.primary && row.lasts(self.now);
        row.checkpoint = after.filter(|_| lasts).map(|after| self.now.saturating_add(after));
    }

    /// How many of a batch may leave at a moment, by the window that slides.
    fn room(&self, at: u64) -> usize {
        let recent = self.left.iter().filter(|left| left.saturating_add(self.window()) > at);
        self.limit() - recent.count()
    }

    pub(crate) fn limit(&self) -> usize {
        (self.rate / 2).max(1)
    }

    pub(crate) fn window(&self) -> u64 {
        if self.rate == 1 { SECOND } else { SECOND / 2 }
    }

    /// The first moment from now on at which a timeout has something to emit.
    pub(crate) fn next(&self) -> Option<u64> {
        if !self.primary {
            return None;
        }
        let free_again = self.left.iter().map(|left| left.saturating_add(self.window()));
        let free = free_again.chain([self.now]).filter(|at| *at >= self.now);
        let free = free.filter(|at| self.room(*at) > 0).min().unwrap_or(u64::MAX);
        let expired = self.leases.values().map(|row| row.fires().max(free));
        let checkpoints = self.leases.values().filter_map(|row| {
            let at = row.checkpoint?.max(self.now);
            row.proposal(at).map(|_| at)
        });
        let expired = expired.filter(|_| !self.held);
        expired.chain(checkpoints).min().filter(|at| *at < u64::MAX)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let leases = self.leases.iter().map(|(id, row)| row.record(*id)).collect();
        let items = self.items.iter().map(|(item, id)| (item.clone(), *id)).collect();
        Snapshot { leases, items }
    }
}

impl Row {
    /// A lease as it is stored, with no deadline yet.
    fn new(record: &LeaseRecord) -> Self {
        Self {
            ttl: record.ttl.as_millis(),
            remaining: record.remaining.map(Ttl::as_millis),
            expiry: u64::MAX,
            again: None,
            checkpoint: None,
            road: Vec::new(),
            waiting: Vec::new(),
            in_time: false,
        }
    }

    /// A renew for which it was kept though it was due has come to nothing: it leaves without a retry.
    pub(crate) fn let_go(&mut self, now: u64) {
        if self.expiry <= now {
            self.again = None;
        }
    }

    fn is_kept(&self) -> bool {
        self.in_time && !self.waiting.is_empty()
    }

    fn lasts(&self, now: u64) -> bool {
        self.expiry > now || self.is_kept()
    }

    pub(crate) fn record(&self, id: LeaseId) -> LeaseRecord {
        let remaining = self.remaining.map(Ttl::from_millis);
        LeaseRecord { id, ttl: Ttl::from_millis(self.ttl), remaining }
    }

    fn fires(&self) -> u64 {
        self.again.unwrap_or(self.expiry)
    }

    /// What a scheduled checkpoint has to say at a moment.
    fn proposal(&self, at: u64) -> Option<Option<Ttl>> {
        let left = self.expiry.saturating_sub(at).div_ceil(MILLI);
        if !self.lasts(at) {
            None
        } else if !self.waiting.is_empty() {
            Some(None)
        } else {
            (left < self.ttl).then(|| Some(Ttl::from_millis(left)))
        }
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
