//! A deterministic simulator for [`lessor`]: it replays seeded scenarios of promotion, demotion, crash
//! and recovery against the real core, the real driver and the real redb, and judges them by an
//! oracle of its own.
//!
//! ```text
//!  seed ─▶ schedule
//!             ▼
//!  Scenario ──▶ World ─────────────────────────────┐        Cluster (madsim)
//!  (TOML)       steps, lessees, faults, clocks,     │ ─does─▶ one node a member:
//!    ▲          Consensus, disks, coverage          │         Driver<SimRuntime, SimBackend, SimLog>
//!  shrink       Oracle ─▶ invariants, Trace ─▶ hash │ ◀─sees─ on redb or a journal on a FaultyDisk
//!    ▲          └───────────────────────────────────┘         messages over madsim's network
//!  fuzz ◀─ Report ◀──┘
//! ```
//!
//! The world decides everything and owns no clock, thread or socket; only [`cluster`] knows madsim.

pub mod bank;
#[cfg(madsim)]
pub mod campaign;
pub mod clock;
#[cfg(madsim)]
pub mod cluster;
pub mod consensus;
pub mod coverage;
pub mod disk;
pub mod fault;
#[cfg(madsim)]
pub mod fuzz;
mod inside;
pub mod invariant;
pub mod journal;
pub mod lessee;
pub mod model;
pub mod oracle;
pub mod report;
pub mod scenario;
pub mod schedule;
#[cfg(madsim)]
pub mod shrink;
pub mod trace;
mod words;
pub mod world;
