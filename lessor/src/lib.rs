//! placeholder
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(any(feature = "redb", feature = "tokio"))]
pub mod backend;
mod command;
mod config;
mod deadline;
mod digest;
#[cfg(feature = "tokio")]
pub mod driver;
mod effect;
mod error;
mod lease;
mod lessor;
mod limit;
mod log;
mod member;
mod spread;
mod table;
mod time;
mod transaction;

pub use self::command::{Checkpoint, Command, Input};
pub use self::config::Config;
pub use self::digest::Digest;
pub use self::effect::{Effect, ExpiredBatch, RangeDelete, Ticket, Write};
pub use self::error::{Error, SnapshotError};
pub use self::lease::{Item, Lease, LeaseId, LeaseRecord, Snapshot, Ttl};
pub use self::lessor::{LeaseOrder, Lessor};
pub use self::log::{Entry, LogIndex, MemberId, Proposal, Role, StateAt, Term};
pub use self::member::{
    Confirmation, LeaseStatus, Member, MemberInput, Output, Request, RequestError, Response,
};
pub use self::time::Instant;
pub use self::transaction::{Change, Transaction};
