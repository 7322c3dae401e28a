//! The machines that members run on.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::MemberId;

use crate::env::disk::{FaultyDisk, Fuse, FuseAt};
use crate::judge::Exchange;
use crate::model::clock::Clock;
use crate::scenario::{Crash, CrashWhen, Scenario, Unsynced};

/// The machines of all members.
pub(super) struct Machines(BTreeMap<MemberId, Machine>);

/// A member's computer.
pub(super) struct Machine {
    pub(super) disk: FaultyDisk,
    /// Where a log of somebody else's keeps itself. It loses its power with the machine, and nothing else.
    pub(super) log_disk: FaultyDisk,
    pub(super) clock: Clock,
    pub(super) medium: Medium,
    /// How its disk was exchanged, if its store was not opened since.
    pub(super) exchanged: Option<Exchange>,
    /// What was copied of its disk, and what that is worth.
    pub(super) copy: Option<(Vec<u8>, Medium)>,
    /// How many of its commits are on their way.
    pub(super) committing: u32,
    /// Whether one of them has failed, of which its engine does not know yet.
    pub(super) write_failed: bool,
    pub(super) process: Process,
    /// Whether its process stands still.
    pub(super) paused: bool,
    /// How many processes it had.
    pub(super) processes: u64,
    /// When its process last began to start or to stop.
    pub(super) since: Duration,
    /// A power cut that waits.
    pub(super) crashing: Option<Crashing>,
}

/// How far a member's process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Process {
    Down,
    /// It has started, and takes no requests yet.
    Opening,
    /// It takes requests.
    Up,
    /// The same, and it was asked to stop.
    Stopping,
}

/// What the bits of a disk are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Medium {
    Sound,
    /// Some have flipped.
    Rotten,
    /// The same, and the store was refused for that.
    Refused,
}

/// A power cut that waits for the next commit or proposal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crashing {
    pub(super) step: usize,
    pub(super) crash: Crash,
    pub(super) seed: u64,
}

impl Machines {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let members = (1..=scenario.members.into()).map(MemberId);
        Self(members.map(|member| (member, Machine::new(scenario, member))).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (MemberId, &Machine)> {
        self.0.iter().map(|(member, machine)| (*member, machine))
    }

    pub(super) fn of(&self, member: MemberId) -> &Machine {
        &self.0[&member]
    }

    pub(super) fn of_mut(&mut self, member: MemberId) -> &mut Machine {
        self.0.get_mut(&member).expect("a scenario names only its own members")
    }

    /// Whether this member takes requests.
    pub(super) fn is_up(&self, member: MemberId) -> bool {
        self.0.get(&member).is_some_and(Machine::is_up)
    }

    /// The first member that takes requests.
    pub(super) fn first_up(&self) -> Option<MemberId> {
        self.iter().find(|(_, machine)| machine.is_up()).map(|(member, _)| member)
    }

    /// The first member after this one that takes requests; itself if no other does.
    pub(super) fn next_up(&self, member: MemberId) -> Option<MemberId> {
        let others = self.0.range(member..).chain(self.0.range(..=member)).skip(1);
        others.filter(|(_, machine)| machine.is_up()).map(|(id, _)| *id).next()
    }
}

impl Machine {
    fn new(scenario: &Scenario, member: MemberId) -> Self {
        let clocks = &scenario.clocks;
        Self {
            disk: FaultyDisk::default(),
            log_disk: FaultyDisk::default(),
            clock: Clock::new(clocks.offset(member), clocks.drift_ppm(member)),
            medium: Medium::Sound,
            exchanged: None,
            copy: None,
            committing: 0,
            write_failed: false,
            process: Process::Down,
            paused: false,
            processes: 0,
            since: Duration::ZERO,
            crashing: None,
        }
    }

    /// Whether it has a process.
    pub(super) fn is_started(&self) -> bool {
        self.process != Process::Down
    }

    /// Whether its process takes requests.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.process, Process::Up | Process::Stopping)
    }

    /// Whether bits have flipped on its disk.
    pub(super) fn is_rotten(&self) -> bool {
        self.medium != Medium::Sound
    }

    /// Whether nobody uses its disk: it has no engine, nor a commit that one has left behind.
    pub(super) fn disk_is_free(&self) -> bool {
        !self.is_started() && self.committing == 0
    }

    /// Its process has no more access to its disks.
    pub(super) fn kill_process(&mut self) {
        self.disk.kill_process();
        self.log_disk.kill_process();
    }

    /// Its power goes.
    pub(super) fn cut_power(&mut self, unsynced: Unsynced, seed: u64) {
        self.disk.cut_power(unsynced, seed);
        self.log_disk.cut_power(unsynced, !seed);
    }

    /// Its power comes back.
    pub(super) fn power_on(&mut self) {
        self.disk.power_on();
        self.log_disk.power_on();
    }

    /// Its process ends at once, and what that had begun does not go on.
    pub(super) fn loses_its_process(&mut self) {
        self.committing = 0;
        self.write_failed = false;
    }

    /// A commit is about to begin: a power cut that waited for it comes now, or on the way.
    pub(super) fn begins_commit(&mut self) {
        let Some(Crashing { crash, seed, .. }) = self.crashing else { return };
        let unsynced = crash.unsynced;
        match crash.when {
            CrashWhen::BeforeCommit => {
                self.cut_power(unsynced, seed);
            }
            CrashWhen::DuringCommit => {
                let at = FuseAt::Operation(crash.disk_operation);
                self.disk.set_fuse(Fuse { at, unsynced, seed });
            }
            CrashWhen::AfterCommit | CrashWhen::BeforePropose | CrashWhen::Now => {}
        }
    }

    /// A commit is done or has failed, and nobody knows yet.
    pub(super) fn ends_commit(&mut self, worked: bool) {
        if !worked && !self.disk.power_is_off() {
            self.write_failed = true;
        }
        self.cut_if(CrashWhen::AfterCommit);
        self.disk.remove_fuse();
    }

    /// Its power goes if a power cut waited for this moment. Says whether it has gone.
    pub(super) fn cut_if(&mut self, moment: CrashWhen) -> bool {
        let Some(Crashing { crash, seed, .. }) = self.crashing else { return false };
        if crash.when == moment {
            self.cut_power(crash.unsynced, seed);
        }
        crash.when == moment
    }
}
