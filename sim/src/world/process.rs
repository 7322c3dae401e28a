//! What the process of a member tells of itself: its store, its log, its end.

use super::*;

impl World {
    /// How long a member's disk takes for what it is asked.
    pub fn disk_latency(&mut self, now: Duration, member: MemberId) -> Duration {
        let slower = self.lasting.slower_disk(member);
        let stalled = slower >= STALL && self.oracle.is_primary(member);
        self.coverage.mark_if(stalled, Mark::Stalled);
        if slower >= SLOW && self.oracle.is_primary(member) {
            self.stalls_guards(member, now + slower);
        }
        if !slower.is_zero() {
            self.meets(
                |fault| matches!(fault, Fault::SlowDisk { member: of, .. } if *of == member),
            );
        }
        self.scenario.disks.latency + slower
    }

    /// A member has read its store.
    pub fn loaded(&mut self, now: Duration, member: MemberId, stored: &Stored) {
        let clock = self.clock(member).read(now);
        let behind = self.oracle.applied(member).is_some_and(|was| was.applied > stored.applied);
        let exchanged = self.machine(member).exchanged.take();
        let rotten = self.machines[&member].rotten;
        self.coverage.mark_if(behind && exchanged.is_none(), Mark::StoreBehind);
        if let Some(mark) = exchanged {
            self.coverage.mark(mark);
        }
        self.coverage.mark_if(rotten, Mark::RotHarmless);
        self.oracle.opened(now, member, clock, stored, rotten);
        self.show_disk(now, member);
        let (applied, leases) = (stored.applied, stored.snapshot.leases.len());
        self.record(
            now,
            Some(member),
            "boot",
            format!("store opened at {applied}, {leases} leases"),
        );
    }

    /// A member could not read its store.
    pub fn unreadable(&mut self, now: Duration, member: MemberId) {
        self.oracle.unreadable(now, member);
    }

    /// A member's driver takes its place in the log.
    pub fn log_started(&mut self, now: Duration, member: MemberId, applied: LogIndex) {
        self.raft.start(now, member, applied);
        self.settle(now);
    }

    /// A member takes requests.
    pub fn booted(&mut self, now: Duration, member: MemberId) {
        self.machine(member).up = true;
        let all_up = self.machines.values().all(|machine| machine.up);
        if all_up && !std::mem::replace(&mut self.all_were_up, all_up) {
            self.raft.elect(now, MemberId(1));
        }
        self.settle(now);
    }

    /// A member's process has ended by itself.
    pub fn process_ended(&mut self, now: Duration, member: MemberId, outcome: Result<(), String>) {
        // When a run is over, its log is too, and its members end with it.
        if self.is_dead(member) || self.has_ended() {
            return;
        }
        self.show_disk(now, member);
        match outcome {
            Ok(()) => self.record(now, Some(member), "stop", "stopped".to_owned()),
            Err(error) => {
                let what = format!("the member failed: {error}");
                self.record(now, Some(member), "stop", what.clone());
                let machine = self.machine(member);
                machine.refused = machine.rotten && !machine.up;
                let met = machine.disk.take_met();
                let refused = self.machines[&member].refused;
                self.coverage.mark_if(met.failed_syncs > 0, Mark::FailedSync);
                self.coverage.mark_if(met.refused > 0, Mark::FullDisk);
                self.coverage.mark_if(refused, Mark::RotRefused);
                if refused {
                    self.oracle.refused(now, member);
                }
                for _ in 0..met.failed_syncs {
                    self.has_effect(FAIL_SYNC);
                }
                if met.refused > 0 {
                    self.meets(|fault| matches!(fault, Fault::FullDisk { member: of, .. } if *of == member));
                }
                if met == Met::default() && !self.machines[&member].rotten {
                    let at_ms = millis(now);
                    self.broken.push(Violation::new("S4", what, at_ms, member.0));
                }
            }
        }
        self.machine(member).disk.kill_process();
        self.down(now, member);
        self.settle(now);
    }

    /// A member proposes.
    pub fn proposed(&mut self, now: Duration, member: MemberId, proposal: Proposal) {
        if self.is_dead(member) {
            return;
        }
        if let Some(Crashing { when: CrashWhen::BeforePropose, unsynced, seed, .. }) =
            self.machines[&member].crashing
        {
            self.machine(member).disk.cut_power(unsynced, seed);
            return self.power_lost(now, member);
        }
        self.record_hash_only(
            now,
            member,
            format_args!("propose {}", debug_text::proposal(&proposal)),
        );
        let leases = || text::leases_of_command(&proposal.command);
        self.record_in_focus(now, Some(member), "log", leases, |_| {
            format!("takes proposal {}", text::proposal(&proposal))
        });
        self.raft.propose(now, member, proposal);
        self.settle(now);
    }

    /// A member asks whether it leads.
    pub fn confirm_asked(&mut self, now: Duration, member: MemberId, confirmation: Confirmation) {
        if self.is_dead(member) {
            return;
        }
        self.record_hash_only(now, member, format_args!("confirm {confirmation:?}"));
        self.record_in_focus(now, Some(member), "log", BTreeSet::new, |_| {
            format!("is asked whether it leads (question {})", confirmation.0)
        });
        self.raft.confirm(now, member, confirmation);
        self.settle(now);
    }

    /// A member wants to lead.
    pub fn campaigned(&mut self, now: Duration, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        self.raft.campaign(now, member);
        self.settle(now);
    }

    /// A member gives up leading.
    pub fn resigned(&mut self, now: Duration, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        self.raft.resign(now, member);
        self.settle(now);
    }

    /// A member is about to commit to its disk, and its power may go right now or on the way.
    pub fn before_commit(&mut self, member: MemberId) {
        let machine = self.machine(member);
        let Some(crashing) = machine.crashing else { return };
        match crashing.when {
            CrashWhen::BeforeCommit => {
                machine.disk.cut_power(crashing.unsynced, crashing.seed);
            }
            CrashWhen::DuringCommit { disk_operation } => {
                let at = FuseAt::Operation(disk_operation);
                machine.disk.set_fuse(Fuse {
                    at,
                    unsynced: crashing.unsynced,
                    seed: crashing.seed,
                });
            }
            CrashWhen::AfterCommit | CrashWhen::BeforePropose | CrashWhen::Now => {}
        }
    }

    /// A member's commit is done or has failed, and its power may go before anybody learns of it.
    pub fn after_commit(&mut self, now: Duration, member: MemberId, worked: bool) {
        if !worked && !self.machines[&member].disk.power_is_off() {
            self.machine(member).write_failed = true;
        }
        self.show_disk(now, member);
        let machine = self.machine(member);
        if let Some(crashing) = machine.crashing
            && crashing.when == CrashWhen::AfterCommit
        {
            machine.disk.cut_power(crashing.unsynced, crashing.seed);
        }
        machine.disk.remove_fuse();
    }

    /// Whether a commit has to wait for a transaction of the member's host. It cannot begin meanwhile: what
    /// redb's own lock does when a host has [`database`](lessor::backend::RedbBackend::database) and writes.
    pub fn store_is_held(&mut self, member: MemberId) -> bool {
        let held = self.lasting.store_is_held(member);
        if held {
            self.coverage.mark(Mark::HeldByHost);
            self.meets(
                |fault| matches!(fault, Fault::HoldStore { member: of, .. } if *of == member),
            );
        }
        held
    }

    /// Work that blocks has begun on a member's machine, or has ended: it goes on without its engine.
    pub fn blocked(&mut self, now: Duration, member: MemberId, begins: bool) {
        let committing = &mut self.machine(member).committing;
        *committing = if begins { *committing + 1 } else { committing.saturating_sub(1) };
        if !begins && std::mem::take(&mut self.machine(member).write_failed) {
            self.oracle.write_failed(now, member);
        }
    }

    /// A member that starts finds its store open: the engine before it was aborted, and its commit is on its
    /// way. Its host tries again.
    pub fn locked_out(&mut self, now: Duration, member: MemberId) {
        self.coverage.mark(Mark::LockedOut);
        self.record(
            now,
            Some(member),
            "boot",
            "the store is open elsewhere, tries again".to_owned(),
        );
    }

    /// Somebody has opened a member's store a second time, and was let in or was not.
    pub fn opened_again(&mut self, now: Duration, member: MemberId, refusal: Option<String>) {
        let Some(refusal) = refusal else {
            let what = "the store was opened a second time while an engine had it".to_owned();
            let at_ms = millis(now);
            return self.broken.push(Violation::new("S4", what, at_ms, member.0));
        };
        self.coverage.mark(Mark::LockedOut);
        self.has_effect(OPEN_AGAIN);
        self.record(now, Some(member), "fault", format!("a second engine is refused: {refusal}"));
    }

    /// Whether an observer that takes nothing goes on doing so.
    #[must_use]
    pub fn observer_sleeps(&self, place: usize) -> bool {
        self.lasting.lasts(place)
    }

    /// An observer has taken a batch, or is told that it missed some.
    pub fn observed(&mut self, now: Duration, member: MemberId, missed: bool) {
        self.coverage.mark_if(missed, Mark::Missed);
        self.record_hash_only(now, member, format_args!("observed, missed: {missed}"));
    }

    /// A member's host serves without a handle of the product, so nobody can watch or keep alive there.
    pub fn has_no_handle(&mut self) {
        self.no_handle = true;
    }

    /// Whether each commit is to be handed to the stores twice.
    #[must_use]
    pub fn repeats_commits(&self) -> bool {
        self.scenario.commits_twice
    }

    /// A member's store was handed its last transaction once more.
    pub fn repeated(&mut self, now: Duration, member: MemberId, refused: bool) {
        self.oracle.repeated(now, member, refused);
    }

    /// A member's machine has lost its power.
    pub fn power_lost(&mut self, now: Duration, member: MemberId) {
        if self.is_dead(member) {
            return;
        }
        if let Some(crashing) = self.machine(member).crashing.take() {
            self.coverage.mark(match crashing.when {
                CrashWhen::BeforePropose => Mark::CutBeforePropose,
                CrashWhen::AfterCommit => Mark::CutAfterCommit,
                CrashWhen::DuringCommit { .. } => Mark::CutDuringCommit,
                CrashWhen::BeforeCommit | CrashWhen::Now => Mark::CutBeforeCommit,
            });
        }
        self.has_effect(CRASH);
        self.show_disk(now, member);
        let cut = self.machine(member).disk.last_cut();
        self.coverage.power_cut(cut.unwrap_or_default());
        self.record(now, Some(member), "fault", inject::power_cut_in_words(cut));
        self.machine(member).loses_its_process();
        self.actions.push_back(Action::Kill(member));
        self.down(now, member);
        self.settle(now);
    }
}
