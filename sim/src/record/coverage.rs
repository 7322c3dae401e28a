//! Places that a campaign must have come by: each is counted, and one that is never reached makes the
//! campaign vacuous.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a mark is about a few kinds of events, and a new kind need not be one"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{
    Change, Command, Config, Entry, Error, Item, LeaseId, LogIndex, Member, MemberId, MemberInput,
    Output, Request, RequestError, Response, Role, Ticket, Ttl,
};

use crate::env::disk::{Met, PowerCut};
use crate::env::raft::Note;
use crate::judge::oracle::Oracle;
use crate::judge::{Disturbance, Event, Exchange, GuardNews, Kind};
use crate::model::State;
use crate::scenario::{CrashWhen, Fault, Signed};

macro_rules! marks {
    ($($mark:ident $name:literal $what:literal)*) => {
        /// Something worth reaching.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mark {
            $(#[doc = $what] $mark,)*
        }

        /// All of them, with their names and what they stand for.
        pub const MARKS: [(Mark, &str, &str); [$($name),*].len()] = [$((Mark::$mark, $name, $what),)*];
    };
}

marks! {
    TwoLeaders "two-leaders" "two members believed that they lead"
    FencedRevoke "fenced-revoke" "a stale leader's revoke was refused or gave way"
    Overwritten "overwritten" "entries that were never committed gave way to a newer leader's"
    Survived "survived" "entries of an earlier term were still to commit when a leader was elected"
    NotElected "not-elected" "a candidate was not elected"
    Installed "installed" "a member took a whole state"
    InstalledWithLeases "installed-with-leases" "a member that held leases took a whole state"
    Blocked "blocked" "a message was lost on a blocked link"
    Lost "lost" "a message was lost by chance"
    Slowed "slowed" "a message was overtaken on a slow link"
    Doubled "doubled" "a message came twice"
    EntryAgain "entry-again" "a member was handed an entry that it had applied"
    TornWrite "torn-write" "a power cut tore a write"
    DroppedWrites "dropped-writes" "a power cut dropped writes"
    KeptWrites "kept-writes" "a power cut kept everything that was not synced"
    CutBeforePropose "cut-before-propose" "the power went before a proposal"
    CutBeforeCommit "cut-before-commit" "the power went before a commit"
    CutDuringCommit "cut-during-commit" "the power went inside a commit"
    CutAfterCommit "cut-after-commit" "the power went after a commit, before anybody learnt of it"
    StoreBehind "store-behind" "a store opened behind the last commit that was handed to it"
    FailedSync "failed-sync" "a failed sync stopped a member"
    FullDisk "full-disk" "a full disk stopped a member"
    RotRefused "rot-refused" "a store with flipped bits was refused"
    RotHarmless "rot-harmless" "a store with flipped bits was what it had been"
    EmptyDisk "empty-disk" "a member came back with an empty disk"
    OldDisk "old-disk" "a member came back with a store that was older"
    AbortedInCommit "aborted-in-commit" "an engine was aborted while its commit was on its way"
    LockedOut "locked-out" "a store was refused, as somebody had it open"
    HeldByObserver "held-by-observer" "a primary held expired batches, as an observer had no room for one"
    Missed "missed" "an observer that was too slow was told what it missed"
    HeldByHost "held-by-host" "a commit waited for a transaction of the host"
    AllDown "all-down" "all members were down"
    PrimaryPaused "primary-paused" "a primary stood still"
    PrimaryBack "primary-back" "the clock of a primary stepped back"
    PrimaryAhead "primary-ahead" "the clock of a primary stepped ahead"
    PrimaryStill "primary-still" "the clock of a primary stood still"
    PromotedWithLeases "promoted-with-leases" "a member with leases was promoted"
    PromotedFromCheckpoint "promoted-from-checkpoint" "a promotion started from what a checkpoint left"
    WaitedForBarrier "waited-for-barrier" "a leader had entries to apply before it could be promoted"
    PromotedAgain "promoted-again" "a primary was asked to be promoted"
    DemotedByLog "demoted-by-log" "a primary was told of another leader"
    DemotedInDoubt "demoted-in-doubt" "a primary learnt that it does not lead when it asked"
    WaitingRenewDemoted "waiting-renew-demoted" "a renew waited, and was answered by demotion"
    RenewTooLate "renew-too-late" "a renew waited for the revoke of its lease"
    ExpiredAgain "expired-again" "an expired lease came again, as its revoke was lost"
    FullBatch "full-batch" "an expired batch was as large as one may be"
    ItemMoved "item-moved" "an item moved to another lease"
    ItemMovedFromExpiring "item-moved-from-expiring" "an item moved while its old lease was expiring"
    RenewedWhileExpiring "renewed-while-expiring" "a lessee asked to renew a lease that was expiring"
    RevokedByLesseeWhileExpiring "revoked-while-expiring" "a lessee revoked a lease that was expiring"
    Checkpointed "checkpointed" "a checkpoint was applied"
    CheckpointUnset "checkpoint-unset" "a checkpoint was overtaken by a renew"
    CheckpointOfGone "checkpoint-of-gone" "a checkpoint named a lease that was gone"
    RevokeOfGone "revoke-of-gone" "a revoke came for a lease that was gone"
    RangeOfMany "range-of-many" "a revoke deleted several items"
    Claimed "claimed" "items that nobody else held were claimed"
    ClaimedAgain "claimed-again" "a lease claimed an item that it held already"
    ClaimRefused "claim-refused" "an item that was claimed was held by another lease"
    ClaimedFromRevoked "claimed-from-revoked" "an item was claimed that a revoked lease had held"
    FoundAgain "found-again" "a wish for a lease that was made again found it"
    ExistsRefused "exists-refused" "a grant of an id in use was refused"
    GrantedAnew "granted-anew" "an id was granted again after its revoke"
    MostTtl "most-ttl" "a lease got the longest ttl that there is"
    ExtremeId "extreme-id" "a lease had the first or the last id that there is"
    AnsweredUnknown "answered-unknown" "nobody could say what became of a request"
    AskedElsewhere "asked-elsewhere" "a lessee asked somebody who is not primary"
    GaveUp "gave-up" "a lessee waited for an answer no longer"
    RequestLost "request-lost" "a request did not come to the member that was asked"
    AnswerLost "answer-lost" "an answer of success did not come to the lessee that had asked"
    ServedElsewhere "served-elsewhere" "a lessee that asked in vain was served by another member"
    GuardLost "guard-lost" "a guard lost its lease"
    GuardOutlived "guard-outlived" "a guard went on while a commit of its primary took 1 s or longer"
    Stalled "stalled" "a commit of a primary took 5 s or longer"
    Crowded "crowded" "a member had as many requests as its queue has places"
    ThousandLeases "thousand-leases" "a member held a thousand leases"
    CoreEnding "core-ending" "only a majority healed"
}

/// How often each of [`MARKS`] was reached, and what is kept to know.
#[derive(Clone, Debug)]
pub struct Coverage {
    counts: [u64; MARKS.len()],
    expiring: BTreeSet<LeaseId>,
    revoked: BTreeSet<LeaseId>,
    /// Where each lease was granted last.
    granted: BTreeMap<LeaseId, LogIndex>,
    /// Items that a revoked lease has held.
    freed: BTreeSet<Item>,
    renews: BTreeMap<(MemberId, Ticket), Duration>,
    /// How many leases fit into an expired batch, if it is more than one.
    full_batch: Option<usize>,
    /// How many requests may wait at a member.
    queue: usize,
}

impl Coverage {
    /// Of members with these settings.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let full_batch = config.revoke_rate.get().div_ceil(2) as usize;
        Self {
            counts: [0; MARKS.len()],
            expiring: BTreeSet::new(),
            revoked: BTreeSet::new(),
            granted: BTreeMap::new(),
            freed: BTreeSet::new(),
            renews: BTreeMap::new(),
            full_batch: Some(full_batch).filter(|most| *most > 1),
            queue: usize::try_from(config.queue.get()).unwrap_or(usize::MAX),
        }
    }

    /// Counts the marks that an event reaches. The oracle has not seen it yet.
    pub fn observe(&mut self, event: &Event<'_>, oracle: &Oracle) {
        let primary = event.member.is_some_and(|member| oracle.is_primary(member));
        let state = event.member.and_then(|member| oracle.applied(member));
        match &event.kind {
            Kind::Log(note) => self.note(note),
            Kind::Committed(entry) => self.agreed(oracle.agreed_state(), entry),
            Kind::Disturbed(disturbance) => self.mark(match disturbance {
                Disturbance::Blocked => Mark::Blocked,
                Disturbance::Lost => Mark::Lost,
                Disturbance::Slowed => Mark::Slowed,
                Disturbance::Doubled => Mark::Doubled,
            }),
            Kind::Input(input) => {
                let Some(member) = event.member else { return };
                self.before(event.now, member, primary, state, input);
                let comes = matches!(input, MemberInput::Request { .. });
                let asked = oracle.unanswered(member) + usize::from(comes);
                self.mark_if(asked >= self.queue, Mark::Crowded);
            }
            Kind::Handled { member, was_primary: false, .. } if member.is_primary() => {
                self.promoted(member);
            }
            Kind::Output(output) => {
                let Some(member) = event.member else { return };
                self.output(event.now, member, output);
            }
            Kind::Opened { stored, exchanged, rotten } => {
                let behind = state.is_some_and(|was| was.applied > stored.applied);
                self.mark_if(behind && exchanged.is_none(), Mark::StoreBehind);
                self.mark_if(*exchanged == Some(Exchange::Empty), Mark::EmptyDisk);
                self.mark_if(*exchanged == Some(Exchange::Older), Mark::OldDisk);
                self.mark_if(*rotten, Mark::RotHarmless);
            }
            Kind::LockedOut | Kind::OpenedAgain(Some(_)) => self.mark(Mark::LockedOut),
            Kind::Failed { met: Met { refused, failed_syncs }, rotten, opening, .. } => {
                self.mark_if(*failed_syncs > 0, Mark::FailedSync);
                self.mark_if(*refused > 0, Mark::FullDisk);
                self.mark_if(*rotten && *opening, Mark::RotRefused);
            }
            Kind::Down { all } => self.mark_if(*all, Mark::AllDown),
            Kind::PowerLost { waited, cut } => {
                if let Some(when) = waited {
                    self.mark(match when {
                        CrashWhen::BeforePropose => Mark::CutBeforePropose,
                        CrashWhen::AfterCommit => Mark::CutAfterCommit,
                        CrashWhen::DuringCommit => Mark::CutDuringCommit,
                        CrashWhen::BeforeCommit | CrashWhen::Now => Mark::CutBeforeCommit,
                    });
                }
                self.power_cut(cut.unwrap_or_default());
            }
            Kind::SlowDisk(by) => self.mark_if(*by >= STALL && primary, Mark::Stalled),
            Kind::StoreHeld => self.mark(Mark::HeldByHost),
            Kind::Observed { missed } => self.mark_if(*missed, Mark::Missed),
            Kind::Fault { fault, .. } => match fault {
                Fault::Pause { .. } => self.mark_if(primary, Mark::PrimaryPaused),
                Fault::Jump { by: Signed { back: true, .. }, .. } => {
                    self.mark_if(primary, Mark::PrimaryBack);
                }
                Fault::Jump { by: Signed { back: false, .. }, .. } => {
                    self.mark_if(primary, Mark::PrimaryAhead);
                }
                Fault::Drift { ppm: -1_000_000, .. } => self.mark_if(primary, Mark::PrimaryStill),
                _ => {}
            },
            Kind::Healed { all, .. } => self.mark_if(!all, Mark::CoreEnding),
            Kind::Asked { request, .. } => self.asked(request),
            Kind::Answered { request, answer, elsewhere, .. } => {
                self.mark_if(*elsewhere, Mark::ServedElsewhere);
                self.answered(request, answer);
            }
            Kind::LostOnTheWay { answer: None, .. } => self.mark(Mark::RequestLost),
            Kind::LostOnTheWay { answer: Some(Ok(_)), .. } => self.mark(Mark::AnswerLost),
            Kind::GaveUp { .. } => self.mark(Mark::GaveUp),
            Kind::Guard { news: GuardNews::Lost { .. }, .. } => self.mark(Mark::GuardLost),
            _ => {}
        }
    }

    /// How often each of [`MARKS`] was reached.
    #[must_use]
    pub fn counts(&self) -> [u64; MARKS.len()] {
        self.counts
    }

    /// It was reached.
    pub fn mark(&mut self, mark: Mark) {
        self.counts[mark as usize] += 1;
    }

    /// It was reached if this holds.
    pub fn mark_if(&mut self, holds: bool, mark: Mark) {
        if holds {
            self.mark(mark);
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Elected { survived, .. } => self.mark_if(*survived > 0, Mark::Survived),
            Note::NotElected { .. } => self.mark(Mark::NotElected),
            Note::Overwritten { revokes, .. } => {
                self.mark(Mark::Overwritten);
                self.mark_if(*revokes > 0, Mark::FencedRevoke);
            }
            Note::Installed { .. } => self.mark(Mark::Installed),
            Note::Fenced { proposal, .. } => {
                let revoke = matches!(proposal.command, Command::Revoke { .. });
                self.mark_if(revoke, Mark::FencedRevoke);
            }
            Note::Repeated => self.mark(Mark::Doubled),
            Note::Deposed { .. } | Note::Lost { .. } => {}
        }
    }

    fn power_cut(&mut self, cut: PowerCut) {
        self.mark_if(cut.torn > 0, Mark::TornWrite);
        self.mark_if(cut.dropped > 0, Mark::DroppedWrites);
        self.mark_if(cut.kept > 0 && cut.kept == cut.unsynced, Mark::KeptWrites);
    }

    /// The log has committed an entry on this state.
    fn agreed(&mut self, state: &State, entry: &Entry) {
        let Some(proposal) = &entry.proposal else { return };
        let known = |id: &LeaseId| state.leases.contains_key(id);
        match &proposal.command {
            Command::Grant { id, ttl } if !known(id) => {
                self.mark_if(*ttl == Ttl::MAX, Mark::MostTtl);
                self.mark_if([i64::MIN, i64::MAX].contains(&id.get()), Mark::ExtremeId);
                self.mark_if(self.revoked.contains(id), Mark::GrantedAnew);
                self.granted.insert(*id, entry.index);
            }
            Command::Grant { .. } => {}
            Command::Revoke { id } => {
                self.mark_if(!known(id), Mark::RevokeOfGone);
                self.expiring.remove(id);
                self.revoked.insert(*id);
                self.freed.extend(state.leases.get(id).into_iter().flat_map(|l| l.items.clone()));
            }
            Command::Attach { id, items } => {
                for old in items.iter().filter_map(|item| state.holders.get(item)) {
                    self.mark_if(old != id, Mark::ItemMoved);
                    let expiring = old != id && self.expiring.contains(old);
                    self.mark_if(expiring, Mark::ItemMovedFromExpiring);
                }
            }
            Command::Claim { id, items } if known(id) => {
                let mut holders = items.iter().filter_map(|item| state.holders.get(item));
                let refused = holders.any(|holder| holder != id);
                let own = items.iter().any(|item| state.holders.get(item) == Some(id));
                self.mark_if(refused, Mark::ClaimRefused);
                self.mark_if(!refused, Mark::Claimed);
                self.mark_if(!refused && own, Mark::ClaimedAgain);
                let freed = items.iter().any(|item| self.freed.contains(item));
                self.mark_if(!refused && freed, Mark::ClaimedFromRevoked);
            }
            Command::Claim { .. } | Command::Detach { .. } => {}
            Command::Checkpoint { checkpoints } => {
                for checkpoint in checkpoints {
                    let unset = checkpoint.remaining.is_none();
                    self.mark(if unset { Mark::CheckpointUnset } else { Mark::Checkpointed });
                    self.mark_if(!known(&checkpoint.id), Mark::CheckpointOfGone);
                }
            }
        }
    }

    fn asked(&mut self, request: &Request) {
        match request {
            Request::Renew { id } if self.expiring.contains(id) => {
                self.mark(Mark::RenewedWhileExpiring);
            }
            Request::Revoke { id } if self.expiring.contains(id) => {
                self.mark(Mark::RevokedByLesseeWhileExpiring);
            }
            _ => {}
        }
    }

    /// A member that has applied up to here is told something.
    fn before(
        &mut self,
        now: Duration,
        member: MemberId,
        primary: bool,
        state: Option<&State>,
        input: &MemberInput,
    ) {
        let applied = state.map_or(LogIndex(0), |state| state.applied);
        let holds = state.is_some_and(|state| !state.leases.is_empty());
        match input {
            MemberInput::Request { ticket, request } => {
                if matches!(request, Request::Renew { .. }) && primary {
                    self.renews.insert((member, *ticket), now);
                }
                self.mark_if(*request == Request::Promote && primary, Mark::PromotedAgain);
                self.mark_if(!primary, Mark::AskedElsewhere);
            }
            MemberInput::Role(Role::Leader { barrier, .. }) => {
                self.mark_if(*barrier > applied, Mark::WaitedForBarrier);
            }
            MemberInput::Role(Role::Follower { .. }) => self.mark_if(primary, Mark::DemotedByLog),
            MemberInput::Confirmed { committed: None, .. } => {
                self.mark_if(primary, Mark::DemotedInDoubt);
            }
            MemberInput::Installed(_) => self.mark_if(holds, Mark::InstalledWithLeases),
            MemberInput::HoldExpired(true) => self.mark(Mark::HeldByObserver),
            MemberInput::Committed(entries) => {
                let again = entries.iter().any(|entry| entry.index <= applied);
                self.mark_if(again, Mark::EntryAgain);
                let many = state.is_some_and(|state| state.leases.len() >= 1_000);
                self.mark_if(many, Mark::ThousandLeases);
            }
            _ => {}
        }
    }

    fn promoted(&mut self, member: &Member) {
        let leases = member.lessor().snapshot().leases;
        self.mark_if(!leases.is_empty(), Mark::PromotedWithLeases);
        let checkpointed = leases.iter().any(|lease| lease.remaining.is_some());
        self.mark_if(checkpointed, Mark::PromotedFromCheckpoint);
    }

    fn output(&mut self, now: Duration, member: MemberId, output: &Output) {
        match output {
            Output::Expired(batch) => {
                let full = self.full_batch.is_some_and(|most| batch.leases.len() >= most);
                self.mark_if(full, Mark::FullBatch);
                for lease in &batch.leases {
                    let again = !self.expiring.insert(*lease);
                    self.mark_if(again, Mark::ExpiredAgain);
                }
            }
            Output::Commit(transaction) => {
                let many = transaction.changes.iter().any(|change| {
                    matches!(change, Change::RangeDelete(delete) if delete.items.len() > 1)
                });
                self.mark_if(many, Mark::RangeOfMany);
            }
            Output::Answer { ticket, answer } => {
                let waited = self.renews.remove(&(member, *ticket)).is_some_and(|at| at < now);
                match answer {
                    Err(RequestError::NotPrimary { .. }) => {
                        self.mark_if(waited, Mark::WaitingRenewDemoted);
                    }
                    Err(RequestError::Refused(Error::LeaseNotFound)) => {
                        self.mark_if(waited, Mark::RenewTooLate);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, request: &Request, answer: &Result<Response, RequestError>) {
        self.mark_if(*answer == Err(RequestError::Unknown), Mark::AnsweredUnknown);
        let exists = *answer == Err(RequestError::Refused(Error::LeaseExists));
        self.mark_if(exists, Mark::ExistsRefused);
        if let (Request::GrantOnce { .. }, Ok(Response::Granted { id, index, .. })) =
            (request, answer)
        {
            self.mark_if(self.granted.get(id) != Some(index), Mark::FoundAgain);
        }
    }
}

/// A commit that takes this long is one in which leases can end.
const STALL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_many() {
        let names: BTreeSet<_> = MARKS.iter().map(|(_, name, _)| name).collect();
        assert_eq!(names.len(), MARKS.len());
        assert!(MARKS.len() >= 40);
        assert!(MARKS.iter().enumerate().all(|(position, (mark, ..))| *mark as usize == position));
    }

    #[test]
    fn an_item_that_leaves_an_expiring_lease_is_noticed() {
        let lease = |id| LeaseId::new(id).expect("it is not 0");
        let entry = |index, command| {
            let term = lessor::Term(1);
            let proposal = lessor::Proposal { term, sequence: index, command };
            Entry { index: LogIndex(index), term, proposal: Some(proposal) }
        };
        let (mut coverage, mut state) = (Coverage::new(&Config::default()), State::default());
        let ttl = Ttl::from_secs(1);
        let attach = |id| Command::Attach { id: lease(id), items: vec!["k".into()] };
        let commands = [
            Command::Grant { id: lease(1), ttl },
            Command::Grant { id: lease(2), ttl },
            attach(1),
            attach(2),
        ];
        for (index, command) in (1..).zip(commands) {
            if index == 4 {
                let batch = lessor::ExpiredBatch { leases: vec![lease(1)] };
                coverage.output(Duration::ZERO, MemberId(1), &Output::Expired(batch));
            }
            let entry = entry(index, command);
            coverage.agreed(&state, &entry);
            state.apply(&entry);
        }
        let count = |mark| coverage.counts()[mark as usize];
        assert_eq!((count(Mark::ItemMoved), count(Mark::ItemMovedFromExpiring)), (1, 1));
        assert_eq!((count(Mark::ExpiredAgain), count(Mark::RevokeOfGone)), (0, 0));
    }
}
