//! How answers, changes and faults read in a trace; requests and commands have words of their own.
#![expect(clippy::wildcard_enum_match_arm, reason = "faults of links have words of their own")]

use std::fmt::{self, Display};
use std::time::Duration;

use lessor::{Change, Command, Error, Item, LeaseId, RequestError, Response, Write};

use crate::scenario::Fault;

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
            ids_in_words(&ids).to_string()
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
        Error::EmptyItem => "an empty item",
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
pub(crate) fn changes(changes: &[Change]) -> impl Display {
    fmt::from_fn(move |f| {
        if changes.is_empty() {
            return f.write_str("nothing but the place");
        }
        for (place, change) in changes.iter().take(SHOWN).enumerate() {
            f.write_str(if place == 0 { "" } else { ", " })?;
            match change {
                Change::Write(Write::PutLease(record)) => write!(f, "put lease {}", record.id)?,
                Change::Write(Write::DeleteLease(id)) => write!(f, "delete lease {id}")?,
                Change::Write(Write::PutItem(item, id)) => write!(f, "put {item} of lease {id}")?,
                Change::Write(Write::DeleteItem(item)) => write!(f, "remove {item}")?,
                Change::RangeDelete(delete) => write!(f, "delete {}", keys(&delete.items))?,
            }
        }
        and_more(f, changes.len())
    })
}

/// Ids, the first few of them.
pub(crate) fn ids_in_words(ids: &[LeaseId]) -> impl Display {
    list(ids, "no leases")
}

/// Keys of items, the first few of them.
pub(crate) fn keys(items: &[Item]) -> impl Display {
    list(items, "no items")
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
            let side = list(side, "nobody");
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

fn list<T: Display>(words: &[T], nothing: &'static str) -> impl Display {
    fmt::from_fn(move |f| {
        if words.is_empty() {
            return f.write_str(nothing);
        }
        for (place, word) in words.iter().take(SHOWN).enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{word}")?;
        }
        and_more(f, words.len())
    })
}

/// Ends a list of so many, of which not all may be shown.
fn and_more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    if count > SHOWN { write!(f, ", … {count} in all") } else { Ok(()) }
}

/// How many of a list are shown.
const SHOWN: usize = 6;
