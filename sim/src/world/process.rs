//! What the process of a member tells of itself: its store, its log, its end.

use std::time::Duration;

use lessor::backend::Stored;
use lessor::driver::LogEvent;
use lessor::{Confirmation, Entry, LogIndex, MemberId, Proposal};
use rand_chacha::rand_core::Rng;

use super::machine::{Medium, Process};
use super::{Unseen, World};
use crate::env::disk::Met;
use crate::env::packet::Packet;
use crate::env::raft::Note;
use crate::judge::Kind;
use crate::scenario::{CrashWhen, FaultKind, Unsynced};

impl World {
    /// How long a member's disk takes for what it is asked.
    pub fn disk_latency(&mut self, member: MemberId) -> Duration {
        let slower = self.injected.lasting.slower_disk(member);
        if !slower.is_zero() {
            self.emit(Some(member), Kind::SlowDisk(slower));
            if slower >= SLOW && self.watch.oracle.is_primary(member) {
                self.stalls_guards(member, self.now + slower);
            }
            self.injected.meets_member(FaultKind::SlowDisk, member);
        }
        self.scenario.disks.latency + slower
    }

    /// A member has read its store.
    pub fn loaded(&mut self, member: MemberId, stored: &Stored) {
        self.show_disk(member);
        let machine = self.machines.of_mut(member);
        let (exchanged, rotten) = (machine.exchanged.take(), machine.is_rotten());
        self.emit(Some(member), Kind::Opened { stored, exchanged, rotten });
    }

    /// A member could not read its store.
    pub fn unreadable(&mut self, member: MemberId) {
        self.emit(Some(member), Kind::Unreadable);
    }

    /// A member's driver takes its place in the log.
    pub fn log_started(&mut self, member: MemberId, applied: LogIndex) {
        self.unseen.remove(&Unseen::Log);
        self.log.stands(member, applied);
        self.order(|raft, now| raft.start(now, member, applied));
        self.settle();
    }

    /// A member takes requests.
    pub fn booted(&mut self, member: MemberId) {
        self.machines.of_mut(member).process = Process::Up;
        if !self.all_were_up && self.machines.iter().all(|(_, machine)| machine.is_up()) {
            self.all_were_up = true;
            self.order(|raft, now| raft.elect(now, MemberId(1)));
        }
        self.settle();
    }

    /// A member's process has ended by itself.
    pub fn process_ended(&mut self, member: MemberId, outcome: Result<(), String>) {
        // When a run is over, its log is too, and its members end with it.
        if self.is_dead(member) || self.has_ended() {
            return;
        }
        self.show_disk(member);
        match outcome {
            Ok(()) => self.emit(Some(member), Kind::Stopped),
            Err(error) => self.failed(member, &error),
        }
        self.machines.of_mut(member).kill_process();
        self.down(member);
        self.settle();
    }

    fn failed(&mut self, member: MemberId, error: &str) {
        let machine = self.machines.of_mut(member);
        let met = machine.disk.take_met();
        let (rotten, opening) = (machine.is_rotten(), !machine.is_up());
        if rotten {
            machine.medium = if opening { Medium::Refused } else { Medium::Rotten };
        }
        self.emit(Some(member), Kind::Failed { error, met, rotten, opening });
        let Met { refused, failed_syncs } = met;
        for _ in 0..failed_syncs {
            self.injected.has_effect(FaultKind::FailSync);
        }
        if refused > 0 {
            self.injected.meets_member(FaultKind::FullDisk, member);
        }
    }

    /// A member proposes.
    pub fn proposed(&mut self, member: MemberId, proposal: Proposal) {
        if self.is_dead(member) {
            return;
        }
        if self.machines.of_mut(member).cut_if(CrashWhen::BeforePropose) {
            return self.power_lost(member);
        }
        self.emit(Some(member), Kind::Proposed(&proposal));
        self.order(|raft, now| raft.propose(now, member, proposal));
        self.settle();
    }

    /// A member asks whether it leads.
    pub fn confirm_asked(&mut self, member: MemberId, confirmation: Confirmation) {
        if self.is_dead(member) {
            return;
        }
        self.emit(Some(member), Kind::Confirm(confirmation));
        self.order(|raft, now| raft.confirm(now, member, confirmation));
        self.settle();
    }

    /// A log of somebody else's hands something to its member.
    pub fn handed(&mut self, member: MemberId, event: &LogEvent) {
        if self.is_dead(member) {
            return;
        }
        match event {
            LogEvent::Committed(entries) => {
                for entry in entries {
                    self.handed_entry(member, entry);
                }
            }
            LogEvent::Role(role) => self.log.role(member, role),
            LogEvent::Installed(state) => {
                self.log.stands(member, state.applied);
                self.note(&Note::Installed { member, index: state.applied });
            }
            LogEvent::Confirmed { .. } => {}
        }
        self.settle();
    }

    fn handed_entry(&mut self, member: MemberId, entry: &Entry) {
        let gap = self.log.hands(member, entry.index);
        if !gap && entry.index.0 == self.agreed as u64 + 1 {
            self.agreed += 1;
            self.emit(None, Kind::Committed(entry));
        } else {
            self.emit(Some(member), Kind::Handed { entry, gap });
        }
    }

    /// A log of somebody else's sends something to that of another member.
    pub fn sends(&mut self, from: MemberId, to: MemberId, bytes: Vec<u8>) {
        if !self.is_dead(from) {
            self.post(Packet::Bytes { from, to, bytes });
        }
    }

    /// The next number by chance for a log of somebody else's.
    pub fn draw_for_log(&mut self) -> u64 {
        self.logs.next_u64()
    }

    /// A member wants to lead.
    pub fn campaigned(&mut self, member: MemberId) {
        if !self.is_dead(member) {
            self.order(|raft, now| raft.campaign(now, member));
            self.settle();
        }
    }

    /// A member gives up leading.
    pub fn resigned(&mut self, member: MemberId) {
        if !self.is_dead(member) {
            self.order(|raft, now| raft.resign(now, member));
            self.settle();
        }
    }

    /// A member is about to commit to its disk, and its power may go right now or on the way.
    pub fn before_commit(&mut self, member: MemberId) {
        self.machines.of_mut(member).begins_commit();
    }

    /// A member's commit is done or has failed, and its power may go before anybody learns of it.
    pub fn after_commit(&mut self, member: MemberId, worked: bool) {
        self.show_disk(member);
        self.machines.of_mut(member).ends_commit(worked);
    }

    /// Whether a commit has to wait for a transaction of the member's host. It cannot begin meanwhile: what
    /// redb's own lock does when a host has [`database`](lessor::backend::RedbBackend::database) and writes.
    pub fn store_is_held(&mut self, member: MemberId) -> bool {
        let held = self.injected.lasting.has(FaultKind::HoldStore, member);
        if held {
            self.emit(Some(member), Kind::StoreHeld);
            self.injected.meets_member(FaultKind::HoldStore, member);
        }
        held
    }

    /// Work that blocks has begun on a member's machine, or has ended: it goes on without its engine.
    pub fn blocked(&mut self, member: MemberId, begins: bool) {
        let machine = self.machines.of_mut(member);
        let committing = &mut machine.committing;
        *committing = if begins { *committing + 1 } else { committing.saturating_sub(1) };
        if !begins && std::mem::take(&mut machine.write_failed) {
            self.emit(Some(member), Kind::WriteFailed);
        }
    }

    /// A member that starts finds its store open: the engine before it was aborted, and its commit is on its
    /// way. Its host tries again.
    pub fn locked_out(&mut self, member: MemberId) {
        self.emit(Some(member), Kind::LockedOut);
    }

    /// Somebody has opened a member's store a second time, and was let in or was not.
    pub fn opened_again(&mut self, member: MemberId, refusal: Option<&str>) {
        self.emit(Some(member), Kind::OpenedAgain(refusal));
        if refusal.is_some() {
            self.injected.has_effect(FaultKind::OpenAgain);
        }
    }

    /// Whether an observer that takes nothing goes on doing so.
    #[must_use]
    pub fn observer_sleeps(&self, step: usize) -> bool {
        self.injected.lasting.lasts(step)
    }

    /// An observer has taken a batch, or is told that it missed some.
    pub fn observed(&mut self, member: MemberId, missed: bool) {
        self.emit(Some(member), Kind::Observed { missed });
    }

    /// A member's host serves without a handle of the product, so nobody can watch or keep alive there.
    pub fn has_no_handle(&mut self) {
        self.unseen.insert(Unseen::Handle);
    }

    /// Whether each commit is to be handed to the stores twice.
    #[must_use]
    pub fn repeats_commits(&self) -> bool {
        self.scenario.commits_twice
    }

    /// A member's store was handed its last transaction once more.
    pub fn repeated(&mut self, member: MemberId, refused: bool) {
        self.emit(Some(member), Kind::CommittedAgain { refused });
    }

    /// A member's machine has lost its power.
    pub fn power_lost(&mut self, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        self.show_disk(member);
        self.injected.has_effect(FaultKind::Crash);
        let machine = self.machines.of_mut(member);
        let crashing = machine.crashing.take();
        let waited = crashing.map(|it| it.crash.when);
        let (unsynced, seed) =
            crashing.map_or((Unsynced::Drop, 0), |it| (it.crash.unsynced, it.seed));
        machine.log_disk.cut_power(unsynced, !seed);
        let cut = machine.disk.last_cut();
        machine.loses_its_process();
        self.emit(Some(member), Kind::PowerLost { waited, cut });
        self.actions.push_back(super::HostAction::Kill(member));
        self.down(member);
        self.settle();
    }

    /// Shows what a member's disk was asked since it was last looked at.
    fn show_disk(&mut self, member: MemberId) {
        for operation in self.machines.of(member).disk.take_operations() {
            self.emit(Some(member), Kind::Disk(&operation));
        }
    }
}

/// A commit that takes this long is longer than what a guard of a short lease waits between two renews.
const SLOW: Duration = Duration::from_secs(1);
