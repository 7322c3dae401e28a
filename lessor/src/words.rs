//! Commands and requests in words, as a person would say them.

use core::fmt::{self, Display};

use crate::{Checkpoint, Command, Item, LeaseOrder, Request};

/// In words: `grant lease 7, ttl 10s`. Of a long list, the first six and how many there are.
impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant { id, ttl } => write!(f, "grant lease {id}, ttl {ttl}"),
            Self::Revoke { id } => write!(f, "revoke lease {id}"),
            Self::Attach { id, items } => write!(f, "attach {} to lease {id}", keys(items)),
            Self::Detach { id, items } => write!(f, "detach {} from lease {id}", keys(items)),
            Self::Claim { id, items } => write!(f, "claim {} for lease {id}", keys(items)),
            Self::Checkpoint { checkpoints } => {
                write!(f, "checkpoint {}", list(checkpoints, "no leases"))
            }
        }
    }
}

/// In words: `lease 7 5s left`, or `lease 7 unset`.
impl Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remaining {
            Some(left) => write!(f, "lease {} {left} left", self.id),
            None => write!(f, "lease {} unset", self.id),
        }
    }
}

/// In words: `grant a lease, ttl 10s`. Of a long list, the first six and how many there are.
impl Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant { id: Some(id), ttl } => write!(f, "grant lease {id}, ttl {ttl}"),
            Self::Grant { id: None, ttl } => write!(f, "grant a lease, ttl {ttl}"),
            Self::GrantOnce { request, ttl } => {
                write!(f, "grant the lease of request {request}, ttl {ttl}")
            }
            Self::Revoke { id } => write!(f, "revoke lease {id}"),
            Self::Renew { id } => write!(f, "renew lease {id}"),
            Self::Attach { id, items } => write!(f, "attach {} to lease {id}", keys(items)),
            Self::Detach { id, items } => write!(f, "detach {} from lease {id}", keys(items)),
            Self::Claim { id, items } => write!(f, "claim {} for lease {id}", keys(items)),
            Self::Lookup { id } => write!(f, "look up lease {id}"),
            Self::TimeToLive { id } => write!(f, "how long has lease {id}"),
            Self::Items { id, after: None, limit } => write!(f, "list {limit} items of lease {id}"),
            Self::Items { id, after: Some(after), limit } => {
                write!(f, "list {limit} items of lease {id} behind {after}")
            }
            Self::Leases { order: LeaseOrder::Id, limit, .. } => {
                write!(f, "list {limit} leases by id")
            }
            Self::Leases { order: LeaseOrder::Expiry, limit, .. } => {
                write!(f, "list {limit} leases by expiry")
            }
            Self::Leases { order: LeaseOrder::ExpiryUntil(latest), limit, .. } => {
                write!(f, "list {limit} leases that expire by {latest}")
            }
            Self::LeaseOf { item } => write!(f, "who holds {item}"),
            Self::Promote => f.write_str("promote"),
            Self::Demote => f.write_str("demote"),
        }
    }
}

fn keys(items: &[Item]) -> impl Display {
    list(items, "no items")
}

fn list<T: Display>(words: &[T], nothing: &'static str) -> impl Display {
    fmt::from_fn(move |f| {
        if words.is_empty() {
            return f.write_str(nothing);
        }
        for (position, word) in words.iter().take(SHOWN).enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{word}")?;
        }
        if words.len() > SHOWN { write!(f, ", … {} in all", words.len()) } else { Ok(()) }
    })
}

/// How many of a list are shown.
const SHOWN: usize = 6;
