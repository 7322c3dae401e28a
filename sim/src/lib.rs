//! A deterministic simulator for [`lessor`]: it replays seeded scenarios of promotion, demotion, crash
//! and recovery against the real core, the real driver and the real redb, and judges them by an
//! oracle of its own.
//!
//! A seed becomes a scenario, a scenario unfolds as a world, a host runs its members under madsim, judges
//! look at every event, and a report says what came of it. Each of these has a room, and a room imports
//! only rooms above it:
//!
//! | room | what is in it |
//! |---|---|
//! | `model/` | state, store, clock: nouns that know only `lessor` |
//! | `scenario/` | the input as data: read, checked, written |
//! | `generate/` | a scenario from a seed |
//! | `env/` | what surrounds a member: disk, journal, Raft, lasting faults, lessees |
//! | `judge/` | the properties, and the oracle that asks them |
//! | `record/` | what is written down: trace, coverage, report |
//! | `world/` | a scenario as it unfolds |
//! | `host/` | how the process of a member is run |
//! | `campaign/` | many seeds, many files, shrinking, planted bugs |
//! | `cli/` | a verb a file |
//!
//! The world decides everything and owns no clock, thread or socket. Only `host/` and `cli/` name madsim.

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs `--cfg madsim` for the whole build: put `[build] rustflags = [\"--cfg\", \"madsim\"]` \
     into .cargo/config.toml of your workspace, and unset an exported RUSTFLAGS, which would replace it"
);

#[cfg(madsim)]
pub mod campaign;
#[cfg(madsim)]
mod cli;
pub mod env;
pub mod generate;
#[cfg(madsim)]
pub mod host;
pub mod judge;
pub mod model;
pub mod record;
pub mod scenario;
pub mod world;

#[cfg(madsim)]
pub use self::cli::main;
