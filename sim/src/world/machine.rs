//! A machine that a member runs on.

use super::*;

/// A member's computer.
pub(super) struct Machine {
    pub(super) disk: FaultyDisk,
    pub(super) clock: Clock,
    /// Whether bits have flipped on its disk, and whether its store was refused since.
    pub(super) rotten: bool,
    pub(super) refused: bool,
    /// What its disk is, if it was exchanged and not opened yet.
    pub(super) exchanged: Option<Mark>,
    /// What was copied of its disk, and whether bits had flipped there.
    pub(super) copy: Option<(Vec<u8>, bool)>,
    /// How many of its commits are on their way.
    pub(super) committing: u32,
    /// Whether one of them has failed, of which its engine does not know yet.
    pub(super) write_failed: bool,
    /// Whether its process was asked to stop.
    pub(super) stopping: bool,
    /// When it last began to start or to stop.
    pub(super) since: Duration,
    /// Whether its process has started, whether it takes requests, and how many it had.
    pub(super) started: bool,
    pub(super) up: bool,
    pub(super) process: u64,
    pub(super) paused: bool,
    pub(super) crashing: Option<Crashing>,
}

impl Machine {
    /// What its process had begun does not go on.
    pub(super) fn loses_its_process(&mut self) {
        self.committing = 0;
        self.write_failed = false;
    }

    pub(super) fn new(scenario: &Scenario, member: MemberId) -> Self {
        let clocks = &scenario.clocks;
        Self {
            disk: FaultyDisk::default(),
            clock: Clock::new(clocks.offset(member), clocks.drift_ppm(member)),
            rotten: false,
            refused: false,
            exchanged: None,
            copy: None,
            committing: 0,
            write_failed: false,
            stopping: false,
            since: Duration::ZERO,
            started: false,
            up: false,
            process: 0,
            paused: false,
            crashing: None,
        }
    }
}
