//! How requests, commands and changes read in a trace.
#![expect(clippy::wildcard_enum_match_arm, reason = "faults of links have words of their own")]

use std::fmt::Write as _;
use std::time::Duration;

use lessor::{
    Change, Command, Error, Item, LeaseId, LeaseOrder, Request, RequestError, Response, Write,
};

use crate::scenario::Fault;

/// A request, as somebody would ask it.
pub(crate) fn request(request: &Request) -> String {
    match request {
        Request::Grant { id: Some(id), ttl } => format!("grant lease {id}, ttl {ttl}"),
        Request::Grant { id: None, ttl } => format!("grant a lease, ttl {ttl}"),
        Request::Revoke { id } => format!("revoke lease {id}"),
        Request::Renew { id } => format!("renew lease {id}"),
        Request::Attach { id, items } => format!("attach {} to lease {id}", keys(items)),
        Request::Detach { id, items } => format!("detach {} from lease {id}", keys(items)),
        Request::Lookup { id } => format!("look up lease {id}"),
        Request::Leases { order, limit, .. } => {
            let order = match order {
                LeaseOrder::Id => "id",
                LeaseOrder::Expiry => "expiry",
            };
            format!("list {limit} leases by {order}")
        }
        Request::LeaseOf { item } => format!("who holds {item}"),
        Request::Promote => "promote".to_owned(),
        Request::Demote => "demote".to_owned(),
    }
}

/// An answer.
pub(crate) fn answer(answer: &Result<Response, RequestError>) -> String {
    match answer {
        Ok(Response::Granted { id, ttl }) => format!("granted lease {id}, ttl {ttl}"),
        Ok(Response::Renewed { ttl }) => format!("renewed, ttl {ttl}"),
        Ok(Response::Done) => "done".to_owned(),
        Ok(Response::Lookup(None)) => "no such lease".to_owned(),
        Ok(Response::Lookup(Some(status))) => {
            let left = status.remaining.as_millis();
            format!("{} of {} left, {}", millis(left), status.record.ttl, keys(&status.items))
        }
        Ok(Response::Leases(leases)) => {
            let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.record.id).collect();
            ids_in_words(&ids)
        }
        Ok(Response::LeaseOf(None)) => "no lease".to_owned(),
        Ok(Response::LeaseOf(Some(id))) => format!("lease {id}"),
        Err(RequestError::Refused(error)) => refusal(*error).to_owned(),
        Err(RequestError::NotPrimary { leader: Some(leader) }) => {
            format!("not primary, member {leader} leads")
        }
        Err(RequestError::NotPrimary { leader: None }) => "not primary".to_owned(),
        Err(RequestError::Unknown) => "unknown".to_owned(),
        Err(RequestError::Stopped) => "stopped".to_owned(),
    }
}

fn refusal(error: Error) -> &'static str {
    match error {
        Error::NotPrimary => "not primary",
        Error::LeaseNotFound => "not found",
        Error::LeaseExists => "exists",
        Error::TtlTooLarge => "too large a ttl",
    }
}

/// A command of the log.
pub(crate) fn command(command: &Command) -> String {
    match command {
        Command::Grant { id, ttl } => format!("grant lease {id}, ttl {ttl}"),
        Command::Revoke { id } => format!("revoke lease {id}"),
        Command::Attach { id, items } => format!("attach {} to lease {id}", keys(items)),
        Command::Detach { id, items } => format!("detach {} from lease {id}", keys(items)),
        Command::Checkpoint { checkpoints } => {
            let mut words = "checkpoint".to_owned();
            for (place, checkpoint) in checkpoints.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = match checkpoint.remaining {
                    _ if place == SHOWN => write!(words, ", … {} in all", checkpoints.len()),
                    _ if place > SHOWN => Ok(()),
                    Some(left) => write!(words, "{comma} lease {} {left} left", checkpoint.id),
                    None => write!(words, "{comma} lease {} unset", checkpoint.id),
                };
            }
            words
        }
    }
}

/// What a command is called when many are counted.
pub(crate) fn label(command: &Command) -> &'static str {
    match command {
        Command::Grant { .. } => "granted",
        Command::Revoke { .. } => "revoked",
        Command::Attach { .. } => "attached",
        Command::Detach { .. } => "detached",
        Command::Checkpoint { .. } => "checkpointed",
    }
}

/// The changes of a transaction.
pub(crate) fn changes(changes: &[Change]) -> String {
    let mut words = String::new();
    for (place, change) in changes.iter().enumerate() {
        if place == SHOWN {
            let _ = write!(words, ", … {} in all", changes.len());
            break;
        }
        let comma = if place == 0 { "" } else { ", " };
        let _ = match change {
            Change::Write(Write::PutLease(record)) => {
                write!(words, "{comma}put lease {}", record.id)
            }
            Change::Write(Write::DeleteLease(id)) => write!(words, "{comma}delete lease {id}"),
            Change::Write(Write::PutItem(item, id)) => {
                write!(words, "{comma}put {item} of lease {id}")
            }
            Change::Write(Write::DeleteItem(item)) => write!(words, "{comma}remove {item}"),
            Change::RangeDelete(delete) => write!(words, "{comma}delete {}", keys(&delete.items)),
        };
    }
    if words.is_empty() { "nothing but the place".to_owned() } else { words }
}

/// Ids, the first few of them.
pub(crate) fn ids_in_words(ids: &[LeaseId]) -> String {
    list(ids.iter().map(ToString::to_string), "no leases")
}

/// Keys of items, the first few of them.
pub(crate) fn keys(items: &[Item]) -> String {
    list(items.iter().map(ToString::to_string), "no items")
}

/// A span in milliseconds, in the unit of scenarios.
pub(crate) fn span(span: Duration) -> String {
    millis(span.as_millis())
}

/// A fault of links, as it begins.
pub(crate) fn links(fault: &Fault) -> String {
    let ppm = |ppm: &u32| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
    let words = match fault {
        Fault::Isolate { member, .. } => format!("member {member} is cut off"),
        Fault::Partition { side, .. } => {
            let side = list(side.iter().map(ToString::to_string), "nobody");
            format!("members {side} are cut off from the others")
        }
        Fault::Block { from, to, .. } => format!("nothing passes from member {from} to {to}"),
        Fault::Delay { from, to, by, .. } => {
            format!("from member {from} to {to} it takes {} longer", span(*by))
        }
        Fault::Noise { loss_ppm, duplicate_ppm, .. } => {
            format!("{} of all messages are lost, {} come twice", ppm(loss_ppm), ppm(duplicate_ppm))
        }
        other => format!("{} begins", other.name()),
    };
    match fault.span() {
        Some(lasts) => format!("{words} for {}", span(lasts)),
        None => words,
    }
}

fn millis(millis: u128) -> String {
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{}.{:03}s", millis / 1_000, millis % 1_000)
    }
}

fn list(words: impl ExactSizeIterator<Item = String>, nothing: &str) -> String {
    let count = words.len();
    if count == 0 {
        return nothing.to_owned();
    }
    let mut shown: Vec<String> = words.take(SHOWN).collect();
    if count > SHOWN {
        shown.push(format!("… {count} in all"));
    }
    shown.join(", ")
}

/// How many of a list are shown.
const SHOWN: usize = 6;
