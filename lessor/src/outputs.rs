//! What a member's host has yet to do. An answer is held back until what it speaks of is durable, and a
//! commit while another one is on its way; nothing else waits for a disk.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;

use crate::{
    Command, Instant, LeaseId, LogIndex, Output, RequestError, Response, Ticket, Transaction,
};

/// The outputs of a member, in the order in which they were decided.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Outputs {
    queue: VecDeque<Queued>,
    /// What is before this position in the queue is held back.
    position: usize,
    /// The first moment at which an answer that is held back may have to be given up.
    give_up: Option<Instant>,
    /// What gathers for the next commits: each an [`Output::Commit`].
    gathered: VecDeque<Output>,
    /// Up to where the commit on its way goes.
    committing: Option<LogIndex>,
    durable: LogIndex,
    /// Where each lease was changed last, if that is not durable yet.
    touched: BTreeMap<LeaseId, LogIndex>,
    /// Up to where `touched` was looked through for what is durable by now; all of it if `None`.
    looked_through: Option<LeaseId>,
    /// Where a lease lost an item last, and where everything may have changed.
    detached: LogIndex,
    replaced: LogIndex,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
struct Queued {
    output: Output,
    /// What must be durable before it leaves.
    after: LogIndex,
    /// When it is given up, if it is an answer.
    deadline: Instant,
}

impl Outputs {
    /// No outputs of a member whose store stands here.
    pub(crate) fn new(durable: LogIndex) -> Self {
        Self {
            queue: VecDeque::new(),
            position: 0,
            give_up: None,
            gathered: VecDeque::new(),
            committing: None,
            durable,
            touched: BTreeMap::new(),
            looked_through: None,
            detached: LogIndex::default(),
            replaced: LogIndex::default(),
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        let (after, deadline) = (LogIndex::default(), Instant::MAX);
        self.queue.push_back(Queued { output, after, deadline });
    }

    /// Answers a request with what is true whatever becomes of the store.
    pub(crate) fn answer_now(&mut self, ticket: Ticket, answer: Result<Response, RequestError>) {
        self.push(Output::Answer { ticket, answer });
    }

    /// Answers a request when everything up to `after` is durable; at `deadline` its fate is unknown.
    pub(crate) fn answer(
        &mut self,
        ticket: Ticket,
        answer: Result<Response, RequestError>,
        after: LogIndex,
        deadline: Instant,
    ) {
        let output = Output::Answer { ticket, answer };
        self.queue.push_back(Queued { output, after, deadline });
        if after > self.durable {
            self.give_up = Some(self.give_up.map_or(deadline, |first| first.min(deadline)));
        }
    }

    /// Asks for a commit, or adds it to the last one that was not handed out yet, unless it is so large
    /// that moving it would take long.
    pub(crate) fn commit(&mut self, mut transaction: Transaction) {
        if transaction.reset {
            if let Some(Output::Commit(first)) = self.gathered.front() {
                transaction.after = first.after;
            }
            self.gathered.clear();
        }
        match self.gathered.back_mut() {
            Some(Output::Commit(gathered)) if transaction.changes.len() <= PIECE => {
                gathered.applied = transaction.applied;
                gathered.digest = transaction.digest;
                gathered.changes.extend(transaction.changes);
            }
            Some(_) | None => self.gathered.push_back(Output::Commit(transaction)),
        }
    }

    /// The next output that waits for nothing.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        if self.committing.is_none()
            && let Some(output) = self.gathered.pop_front()
        {
            if let Output::Commit(transaction) = &output {
                self.committing = Some(transaction.applied);
            }
            return Some(output);
        }
        while self.queue.get(self.position)?.after > self.durable {
            self.position += 1;
        }
        self.queue.remove(self.position).map(|queued| queued.output)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Output> {
        let queue = self.queue.iter().map(|queued| &queued.output);
        self.gathered.iter().chain(queue)
    }

    /// Everything up to here is durable.
    pub(crate) fn persisted(&mut self, applied: LogIndex) {
        self.committing.take_if(|committing| *committing <= applied);
        self.durable = self.durable.max(applied);
        self.forget_durable();
        self.position = 0;
        self.give_up = self.first_deadline();
    }

    /// When to call [`give_up`](Self::give_up).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.give_up
    }

    /// Answers as unknown what was held back for too long.
    pub(crate) fn give_up(&mut self, now: Instant) {
        if self.give_up.is_none_or(|first| first > now) {
            return;
        }
        for queued in &mut self.queue {
            if queued.after > self.durable
                && queued.deadline <= now
                && let Output::Answer { answer, .. } = &mut queued.output
            {
                *answer = Err(RequestError::Unknown);
                queued.after = LogIndex::default();
            }
        }
        self.give_up = self.first_deadline();
        self.position = 0;
    }

    fn first_deadline(&self) -> Option<Instant> {
        let held_back = self.queue.iter().filter(|queued| queued.after > self.durable);
        held_back.map(|queued| queued.deadline).min()
    }

    /// Drops the answer to a request, if it has not left.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.queue.retain(|queued| match &queued.output {
            Output::Answer { ticket: of, .. } | Output::Waits(of) => *of != ticket,
            Output::Propose(_)
            | Output::Confirm(_)
            | Output::Campaign
            | Output::Resign
            | Output::Commit(_)
            | Output::Expired(_) => true,
        });
        self.position = 0;
    }

    // What an answer speaks of

    /// Notes that a command at this index changes leases.
    pub(crate) fn touch(&mut self, command: &Command, at: LogIndex) {
        match command {
            Command::Grant { id, .. } | Command::Attach { id, .. } | Command::Claim { id, .. } => {
                self.touch_all(&[*id], at);
            }
            Command::Revoke { id } | Command::Detach { id, .. } => {
                self.touch_all(&[*id], at);
                self.detached = at;
            }
            Command::Checkpoint { checkpoints } => {
                self.touched.extend(checkpoints.iter().map(|checkpoint| (checkpoint.id, at)));
            }
        }
    }

    pub(crate) fn touch_all(&mut self, leases: &[LeaseId], at: LogIndex) {
        self.touched.extend(leases.iter().map(|id| (*id, at)));
        if self.looked_through.is_some() {
            self.forget_durable();
        }
    }

    /// Forgets some of the leases whose last change is durable, which bear on no answer.
    fn forget_durable(&mut self) {
        let from = self.looked_through.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.touched.range((from, Bound::Unbounded));
        let some: Vec<(LeaseId, LogIndex)> =
            behind.take(PIECE).map(|(id, at)| (*id, *at)).collect();
        self.looked_through = some.last().filter(|_| some.len() == PIECE).map(|(id, _)| *id);
        for (id, at) in some {
            if at <= self.durable {
                self.touched.remove(&id);
            }
        }
    }

    /// Notes that a whole state was put in place of this one.
    pub(crate) fn touch_everything(&mut self, at: LogIndex) {
        self.replaced = at;
    }

    /// Where a lease was changed last; where that is durable, some index before.
    pub(crate) fn touched(&self, id: LeaseId) -> LogIndex {
        self.touched.get(&id).copied().unwrap_or_default().max(self.replaced)
    }

    /// Where any lease lost an item last, so that nobody may hold it.
    pub(crate) fn detached(&self) -> LogIndex {
        self.detached.max(self.replaced)
    }
}

/// The most leases, or changes, that are moved at once.
const PIECE: usize = 10_000;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn an_answer_waits_for_what_it_speaks_of_and_for_nothing_else() {
        let mut outputs = Outputs::new(LogIndex(4));
        outputs.answer(Ticket(1), Ok(Response::Done), LogIndex(5), Instant::MAX);
        outputs.answer(Ticket(2), Ok(Response::Done), LogIndex(4), Instant::MAX);
        assert_eq!(tickets(&mut outputs), [2]);
        outputs.persisted(LogIndex(5));
        assert_eq!(tickets(&mut outputs), [1]);
    }

    fn tickets(outputs: &mut Outputs) -> Vec<u64> {
        let ticket = |output| {
            let Output::Answer { ticket, .. } = output else { panic!("{output:?} is no answer") };
            ticket.0
        };
        core::iter::from_fn(|| outputs.poll()).map(ticket).collect()
    }
}
