//! A lease engine: time-limited leases over arbitrary keys, with the semantics of etcd's `lease`
//! package.
//!
//! A *lease* is a promise with a time limit. Its holder, the *lessee*, renews it. If nobody renews it
//! for a whole *ttl*, the lease ends, and every *item* attached to it is deleted. That is enough for
//! service registries, leader elections, locks, sessions and presence.
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
//!   number. Calls carry the time in, and every consequence goes out as an [`Effect`].
//! - [`Member`] adds what a *replicated* host needs, still without I/O: proposals and their answers,
//!   promotion after a barrier, confirmed reads, revokes of expired leases.
//! - `driver` (feature `tokio`) moves bytes and time for a member: a `Driver` runs it over a `Runtime`,
//!   a `Backend` and a `Log`, and a `Handle` asks it.
//! - `backend` (features `tokio` or `redb`) stores leases. `open` (both features) combines all of it in
//!   one call.
//! - [`testing`] has a lessor with a clock that a test moves by hand.
//!
//! # The contract of the core
//!
//! 1. **Time is an argument.** Each call takes `now`, a moment on the host's clock. That clock must
//!    never go back; a `now` before the last one is taken as the last one.
//! 2. **Drain after each call.** Take [`poll_effect`](Lessor::poll_effect) until it is `None`, in order.
//! 3. **One drain, one transaction.** Its [`Write`](Effect::Write)s and
//!    [`RangeDelete`](Effect::RangeDelete)s are made durable together, in their order, with the log
//!    index at which they stand if there is a log.
//! 4. **Answer after the commit.** [`Renewed`](Effect::Renewed) and the results of
//!    [`apply`](Lessor::apply) leave the host only when that transaction is durable.
//! 5. **Expired is a request.** For each lease of an [`Expired`](Effect::Expired) batch, apply a
//!    [`Command::Revoke`]. Until then the lease and its items exist, and a lease that is not revoked
//!    comes again. [`Checkpoint`](Effect::Checkpoint) is a request of the same kind.
//! 6. **Wake it.** Call [`handle_timeout`](Lessor::handle_timeout) when the clock reaches
//!    [`poll_timeout`](Lessor::poll_timeout). An early call does nothing, a late one is only late.
//! 7. **Only a primary tells time.** [`promote`](Lessor::promote) one member, once it has applied
//!    everything decided before. [`demote`](Lessor::demote) it as soon as its leadership is in doubt.
//! 8. **After a restart** hand the stored state to [`recover`](Lessor::recover), then promote. Every
//!    lease then starts with its whole ttl, because no clock outlives its process.
//! 9. **Replicas apply the same commands in the same order.** Renew, promote, demote and time are
//!    local. Members that have applied the same log have the same [`digest`](Lessor::digest).
//!
//! Steps 3 to 5 and 7 to 9 are what [`Member`] does for a host that has a log.
//!
//! # A host in twenty lines
//!
//! It keeps its values in memory and has no log, so it applies at once whatever the core requests.
//!
//! ```
//! use lessor::{Command, Config, Effect, Instant, Item, LeaseId, Lessor, Ttl};
//! use std::{collections::BTreeMap, time::Duration};
//!
//! fn drain(lessor: &mut Lessor, now: Instant, values: &mut BTreeMap<Item, String>) {
//!     while let Some(effect) = lessor.poll_effect() {
//!         match effect {
//!             Effect::Write(_write) => {} // a durable host stores this row
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
//! // A loop would sleep until `poll_timeout`. Here the clock jumps to the expiry.
//! let now = Instant::from_secs(10);
//! lessor.handle_timeout(now);
//! drain(&mut lessor, now, &mut values);
//! assert!(values.is_empty() && lessor.is_empty());
//! # Ok::<(), lessor::Error>(())
//! ```
//!
//! # Features
//!
//! None is on by default. The core alone needs `alloc`, a hash table and a hasher.
//!
//! - `std`: shared by the features below.
//! - `serde`: `Serialize` and `Deserialize` for everything that a trace or a wire carries.
//! - `recording`: what a member was told and said, as bytes; with `tokio`, a flight recorder that writes
//!   them to files.
//! - `redb`: a backend on the embedded store redb.
//! - `tokio`: the driver, its handle, and the runtime on tokio.
//! - `metrics`: the driver counts and measures through the facade [`metrics`](https://docs.rs/metrics).
//!   The program must install a recorder before it opens an engine; without one nothing is recorded.

// The table "Layers" in docs/ARCHITECTURE.md says what each file is for.

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
#[cfg(feature = "recording")]
pub mod recording;
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
pub use self::driver::{open, open_observed};
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
