//! A lease engine: time-limited leases over arbitrary keys, with the semantics of etcd's `lease`
//! package.
//!
//! A *lease* is a promise with a time limit. Whoever holds it, the *lessee*, renews it; if nobody does
//! for a whole *ttl*, the lease ends, and with it every *item* that is attached to it. That is enough
//! for service registries, leader elections, locks, sessions and presence.
//!
//! # Layers
//!
//! ```text
//!               commands, time                    requests                       calls
//!   any host ──────────────────▶ Lessor ◀──────────────────  Member  ◀────────────────── Driver ◀── Handle
//!            ◀────────────────── (core) ──────────────────▶ (sans-IO) ──────────────────▶ (async)
//!                  effects                        effects                       outputs      │
//!                                                                    Runtime, Backend, Log ◀─┘
//! ```
//!
//! - [`Lessor`] is the state machine: `no_std` with `alloc`, no clock, I/O, thread, lock or random
//!   number. Everything comes in as a call with the time, everything goes out as an [`Effect`].
//! - [`Member`] is what every *replicated* host of a lessor needs around it, still without I/O:
//!   proposals and their answers, promotion behind a barrier, confirmed reads, revokes of what expired.
//! - `driver` (feature `tokio`) moves bytes and time for a member: a `Driver` over a `Runtime`, a
//!   `Backend` and a `Log`, asked through a `Handle`.
//! - `backend` (features `tokio` or `redb`) is where leases are kept; `open` (both features) puts it all
//!   together in a line.
//! - [`testing`] has a lessor with a clock that is moved by hand, for the tests of hosts.
//!
//! # The contract of the core
//!
//! 1. **Time is an argument.** Each call takes `now`, a moment on a clock of the host's that never goes
//!    back. A `now` before the last one is taken as the last one.
//! 2. **Drain after each call.** Take [`poll_effect`](Lessor::poll_effect) until it is `None`, in order.
//! 3. **One drain, one transaction.** Its [`Write`](Effect::Write)s and
//!    [`RangeDelete`](Effect::RangeDelete)s are made durable together, in their order, with the log
//!    index at which they stand if there is a log.
//! 4. **Answer after the commit.** [`Renewed`](Effect::Renewed) and the results of
//!    [`apply`](Lessor::apply) leave the host only when that transaction is durable.
//! 5. **Expired is a request.** For each lease of an [`Expired`](Effect::Expired) batch, apply a
//!    [`Command::Revoke`]; until then the lease and its items are there. What is not revoked comes
//!    again. [`Checkpoint`](Effect::Checkpoint) is a request of the same kind.
//! 6. **Wake it.** Call [`handle_timeout`](Lessor::handle_timeout) when the clock reaches
//!    [`poll_timeout`](Lessor::poll_timeout). Early is harmless, late is late.
//! 7. **Only a primary tells time.** [`promote`](Lessor::promote) one member, once it has applied
//!    everything that was decided before; [`demote`](Lessor::demote) it as soon as that is in doubt.
//! 8. **After a restart** hand what was stored to [`recover`](Lessor::recover), then promote. Every
//!    lease then has its ttl before it, because no clock outlives its process.
//! 9. **Replicas apply the same commands in the same order.** Renew, promote, demote and time are
//!    local; the [`digest`](Lessor::digest) of members that have applied the same log is equal.
//!
//! Steps 3 to 5 and 7 to 9 are what [`Member`] does for a host that has a log.
//!
//! # A host in twenty lines
//!
//! This one keeps its values in memory and has no log, so it applies at once what the core asks for.
//!
//! ```
//! use lessor::{Command, Config, Effect, Instant, Item, LeaseId, Lessor, Ttl};
//! use std::{collections::BTreeMap, time::Duration};
//!
//! fn drain(lessor: &mut Lessor, now: Instant, values: &mut BTreeMap<Item, String>) {
//!     while let Some(effect) = lessor.poll_effect() {
//!         match effect {
//!             Effect::Write(_write) => {} // a row for whoever wants to recover after a restart
//!             Effect::RangeDelete(delete) => values.retain(|key, _| !delete.items.contains(key)),
//!             Effect::Expired(batch) => {
//!                 for id in batch.leases {
//!                     let _gone_already = lessor.apply(now, Command::Revoke { id });
//!                 }
//!             }
//!             Effect::Checkpoint(checkpoints) => {
//!                 lessor.apply(now, Command::Checkpoint { checkpoints }).expect("never refused");
//!             }
//!             Effect::Renewed { ticket, result } => println!("renew {ticket} gets {result:?}"),
//!         }
//!     }
//! }
//!
//! let (mut lessor, mut values) = (Lessor::new(&Config::default()), BTreeMap::new());
//! let (id, key, now) = (LeaseId::new(7).unwrap(), Item::from("service/web"), Instant::ZERO);
//! lessor.promote(now, Duration::ZERO);
//! lessor.apply(now, Command::Grant { id, ttl: Ttl::from_secs(10) })?;
//! lessor.apply(now, Command::Attach { id, items: vec![key.clone()] })?;
//! values.insert(key, "10.0.0.7:8080".to_owned());
//! drain(&mut lessor, now, &mut values);
//! assert_eq!(values.len(), 1);
//!
//! // A loop sleeps until `poll_timeout`; here the clock jumps to where nobody has renewed in time.
//! let now = Instant::from_secs(10);
//! lessor.handle_timeout(now);
//! drain(&mut lessor, now, &mut values);
//! assert!(values.is_empty() && lessor.is_empty());
//! # Ok::<(), lessor::Error>(())
//! ```
//!
//! # Features
//!
//! None is on by default; what is left is the core, on `alloc`, a hash table and a hasher.
//!
//! - `std`: what the features below share.
//! - `serde`: `Serialize` and `Deserialize` for everything that a trace or a wire carries.
//! - `redb`: the backend on the embedded store redb.
//! - `tokio`: the driver, its handle, and the runtime on tokio.
//! - `metrics`: the driver counts and measures through the facade [`metrics`](https://docs.rs/metrics);
//!   without a recorder, which the program installs before it opens an engine, that goes nowhere.

#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(any(feature = "redb", feature = "tokio"))]
pub mod backend;
#[cfg(test)]
mod canary;
#[cfg(feature = "redb")]
mod chance;
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
mod order;
mod outputs;
mod request_id;
mod spread;
mod table;
#[cfg(feature = "metrics")]
mod tally;
pub mod testing;
mod time;
mod transaction;
mod words;

pub use self::command::{Checkpoint, Command, Input};
pub use self::config::{Config, ConfigError};
pub use self::digest::Digest;
#[cfg(all(feature = "redb", feature = "tokio"))]
pub use self::driver::open;
pub use self::effect::{Effect, ExpiredBatch, RangeDelete, Ticket, Write};
pub use self::error::{Error, ParseError, SnapshotError};
pub use self::lease::{Item, Lease, LeaseId, LeaseRecord, Snapshot, Ttl};
pub use self::lessor::{LeaseOrder, Lessor};
pub use self::log::{Confirmation, Entry, LogIndex, MemberId, Proposal, Role, StateAt, Term};
pub use self::member::{
    LeaseStatus, Member, MemberInput, Output, Request, RequestError, Response, TimeToLive,
};
pub use self::request_id::RequestId;
pub use self::time::Instant;
pub use self::transaction::{Change, Transaction};

/// Compiles the examples of the documents, and runs what can be run.
#[cfg(all(doctest, feature = "redb", feature = "tokio"))]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/EMBEDDING.md")]
    struct Embedding;
}
