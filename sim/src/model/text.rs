//! How answers and changes read in a trace; requests and commands have words of their own.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::time::Duration;

use lessor::{
    Change, Command, Error, Item, LeaseId, MemberInput, Output, Proposal, Request, RequestError,
    Response, Role, Write,
};

/// An answer.
pub(crate) fn answer(answer: &Result<Response, RequestError>) -> String {
    match answer {
        Ok(Response::Granted { id, ttl, index }) => {
            format!("granted lease {id}, ttl {ttl}, at {index}")
        }
        Ok(Response::Applied { index }) => format!("done at {index}"),
        Ok(Response::Renewed { ttl }) => format!("renewed, ttl {ttl}"),
        Ok(Response::Done) => "done".to_owned(),
        Ok(Response::Lookup(None)) => "no such lease".to_owned(),
        Ok(Response::Lookup(Some(status))) => {
            let left = status.remaining.as_millis();
            format!("{} of {} left, {}", millis(left), status.record.ttl, keys(&status.items))
        }
        Ok(Response::TimeToLive(None) | Response::Items(None)) => "no such lease".to_owned(),
        Ok(Response::TimeToLive(Some(found))) => {
            let left = millis(found.remaining.as_millis());
            let (ttl, items) = (found.record.ttl, found.items);
            format!("{left} of {ttl} left, {items} items")
        }
        Ok(Response::Items(Some(items))) => keys(items).to_string(),
        Ok(Response::Leases(leases)) => {
            let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.record.id).collect();
            ids_in_words(&ids).to_string()
        }
        Ok(Response::LeaseOf(None)) => "no lease".to_owned(),
        Ok(Response::LeaseOf(Some(id))) => format!("lease {id}"),
        Err(RequestError::Refused(error)) => refusal(*error),
        Err(RequestError::NotPrimary { leader: Some(leader) }) => {
            format!("not primary, member {leader} leads")
        }
        Err(RequestError::NotPrimary { leader: None }) => "not primary".to_owned(),
        Err(RequestError::Unknown) => "unknown".to_owned(),
        Err(RequestError::Stopped) => "stopped".to_owned(),
    }
}

fn refusal(error: Error) -> String {
    let words = match error {
        Error::ItemHeld(holder) => return format!("held by lease {holder}"),
        Error::NotPrimary => "not primary",
        Error::LeaseNotFound => "not found",
        Error::LeaseExists => "exists",
        Error::TtlTooLarge => "ttl too large",
        Error::EmptyItem => "empty item",
    };
    words.to_owned()
}

/// A proposal.
pub(crate) fn proposal(proposal: &Proposal) -> impl Display {
    fmt::from_fn(move |f| {
        let Proposal { term, sequence, command: of } = proposal;
        write!(f, "{sequence} of term {term}: {of}")
    })
}

/// What a member is told.
pub(crate) fn input(input: &MemberInput) -> impl Display {
    fmt::from_fn(move |f| match input {
        MemberInput::Request { ticket, request } => write!(f, "request {}: {request}", ticket.0),
        MemberInput::Committed(entries) => write!(f, "committed entries: {}", entries.len()),
        MemberInput::Role(Role::Leader { term, barrier }) => {
            write!(f, "leads term {term}, barrier {barrier}")
        }
        MemberInput::Role(Role::Follower { leader: Some(leader) }) => {
            write!(f, "follows member {leader}")
        }
        MemberInput::Role(Role::Follower { leader: None }) => f.write_str("follows nobody"),
        MemberInput::GoOn => f.write_str("goes on applying"),
        MemberInput::Confirmed { confirmation, committed: Some(index) } => {
            write!(f, "learns that it leads, with {index} committed (question {})", confirmation.0)
        }
        MemberInput::Confirmed { confirmation, committed: None } => {
            write!(f, "learns that it does not lead (question {})", confirmation.0)
        }
        MemberInput::Installed(state) => {
            write!(f, "is given the whole state at {}", state.applied)
        }
        MemberInput::Persisted(index) => write!(f, "all up to {index} is durable"),
        MemberInput::Forget(ticket) => write!(f, "nobody waits for request {} any more", ticket.0),
        MemberInput::HoldExpired(true) => f.write_str("is to hold back what expires"),
        MemberInput::HoldExpired(false) => f.write_str("is to hold back nothing more"),
        MemberInput::Timeout => f.write_str("its timer fires"),
        MemberInput::Stop => f.write_str("is told to stop"),
    })
}

/// What a member says.
pub(crate) fn output(output: &Output) -> impl Display {
    fmt::from_fn(move |f| match output {
        Output::Propose(of) => write!(f, "proposes {}", proposal(of)),
        Output::Confirm(confirmation) => {
            write!(f, "asks whether it leads (question {})", confirmation.0)
        }
        Output::Campaign => f.write_str("asks to lead"),
        Output::Resign => f.write_str("gives up leading"),
        Output::Commit(transaction) => {
            write!(f, "commits {} {}", transaction.applied, changes(&transaction.changes))
        }
        Output::Waits(ticket) => write!(f, "lets request {} wait for a revoke", ticket.0),
        Output::Answer { ticket, answer: of } => {
            write!(f, "answers request {}: {}", ticket.0, answer(of))
        }
        Output::Expired(batch) => write!(f, "expired: {}", ids_in_words(&batch.leases)),
    })
}

/// The lease that a request names, if it names one.
pub(crate) fn leases_of_request(request: &Request) -> BTreeSet<LeaseId> {
    let lease = match request {
        Request::Grant { id, .. } => *id,
        Request::GrantOnce { request, .. } => Some(request.lease()),
        Request::Revoke { id }
        | Request::Renew { id }
        | Request::Attach { id, .. }
        | Request::Detach { id, .. }
        | Request::Claim { id, .. }
        | Request::Lookup { id }
        | Request::TimeToLive { id }
        | Request::Items { id, .. } => Some(*id),
        Request::Leases { .. } | Request::LeaseOf { .. } | Request::Promote | Request::Demote => {
            None
        }
    };
    lease.into_iter().collect()
}

/// The lease that an answer names, if it names one and only that.
pub(crate) fn lease_of_answer(answer: &Result<Response, RequestError>) -> Option<LeaseId> {
    match answer {
        Ok(Response::Granted { id, .. } | Response::LeaseOf(Some(id)))
        | Err(RequestError::Refused(Error::ItemHeld(id))) => Some(*id),
        Ok(
            Response::Applied { .. }
            | Response::Renewed { .. }
            | Response::Done
            | Response::Lookup(_)
            | Response::TimeToLive(_)
            | Response::Items(_)
            | Response::Leases(_)
            | Response::LeaseOf(None),
        )
        | Err(
            RequestError::Refused(
                Error::NotPrimary
                | Error::LeaseNotFound
                | Error::LeaseExists
                | Error::TtlTooLarge
                | Error::EmptyItem,
            )
            | RequestError::NotPrimary { .. }
            | RequestError::Unknown
            | RequestError::Stopped,
        ) => None,
    }
}

/// The leases that a command names.
pub(crate) fn leases_of_command(command: &Command) -> BTreeSet<LeaseId> {
    match command {
        Command::Grant { id, .. }
        | Command::Revoke { id }
        | Command::Attach { id, .. }
        | Command::Detach { id, .. }
        | Command::Claim { id, .. } => BTreeSet::from([*id]),
        Command::Checkpoint { checkpoints } => {
            checkpoints.iter().map(|checkpoint| checkpoint.id).collect()
        }
    }
}

/// The lease that a change is of, if it names one.
pub(crate) fn lease_of_change(change: &Change) -> Option<LeaseId> {
    match change {
        Change::Write(Write::PutLease(record)) => Some(record.id),
        Change::Write(Write::DeleteLease(id) | Write::PutItem(_, id)) => Some(*id),
        Change::Write(Write::DeleteItem(_)) => None,
        Change::RangeDelete(delete) => Some(delete.lease),
    }
}

/// The leases that are named by what a member is told.
pub(crate) fn leases_of_input(input: &MemberInput) -> BTreeSet<LeaseId> {
    match input {
        MemberInput::Request { request, .. } => leases_of_request(request),
        MemberInput::Committed(entries) => {
            let proposals = entries.iter().filter_map(|entry| entry.proposal.as_ref());
            proposals.flat_map(|proposal| leases_of_command(&proposal.command)).collect()
        }
        MemberInput::Role(_)
        | MemberInput::Confirmed { .. }
        | MemberInput::Installed(_)
        | MemberInput::GoOn
        | MemberInput::Persisted(_)
        | MemberInput::Forget(_)
        | MemberInput::HoldExpired(_)
        | MemberInput::Timeout
        | MemberInput::Stop => BTreeSet::new(),
    }
}

/// The leases that are named by what a member says.
pub(crate) fn leases_of_output(output: &Output) -> BTreeSet<LeaseId> {
    match output {
        Output::Propose(proposal) => leases_of_command(&proposal.command),
        Output::Commit(transaction) => {
            transaction.changes.iter().filter_map(lease_of_change).collect()
        }
        Output::Expired(batch) => batch.leases.iter().copied().collect(),
        Output::Answer { answer: Ok(Response::Granted { id, .. }), .. } => BTreeSet::from([*id]),
        Output::Answer { .. }
        | Output::Waits(_)
        | Output::Confirm(_)
        | Output::Campaign
        | Output::Resign => BTreeSet::new(),
    }
}

/// The name of a command.
pub(crate) fn name_of_command(command: &Command) -> &'static str {
    match command {
        Command::Grant { .. } => "grant",
        Command::Revoke { .. } => "revoke",
        Command::Attach { .. } => "attach",
        Command::Detach { .. } => "detach",
        Command::Claim { .. } => "claim",
        Command::Checkpoint { .. } => "checkpoint",
    }
}

/// The name of a request: as a step of a scenario has it, if one can ask so.
pub(crate) fn name_of_request(request: &Request) -> &'static str {
    match request {
        Request::Grant { .. } => "grant",
        Request::GrantOnce { .. } => "grant-once",
        Request::Revoke { .. } => "revoke",
        Request::Renew { .. } => "renew",
        Request::Attach { .. } => "attach",
        Request::Detach { .. } => "detach",
        Request::Claim { .. } => "claim",
        Request::Lookup { .. } => "lookup",
        Request::TimeToLive { .. } => "time-to-live",
        Request::Items { .. } => "items",
        Request::Leases { .. } => "leases",
        Request::LeaseOf { .. } => "lease-of",
        Request::Promote => "promote",
        Request::Demote => "demote",
    }
}

/// What a command is called when many are counted.
pub(crate) fn label(command: &Command) -> &'static str {
    match command {
        Command::Grant { .. } => "granted",
        Command::Revoke { .. } => "revoked",
        Command::Attach { .. } => "attached",
        Command::Detach { .. } => "detached",
        Command::Claim { .. } => "claimed",
        Command::Checkpoint { .. } => "checkpointed",
    }
}

/// The changes of a transaction.
pub(crate) fn changes(changes: &[Change]) -> impl Display {
    fmt::from_fn(move |f| {
        if changes.is_empty() {
            return f.write_str("no changes");
        }
        for (position, change) in changes.iter().take(SHOWN).enumerate() {
            f.write_str(if position == 0 { "" } else { ", " })?;
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

/// A moment of virtual time, as a trace has it.
pub(crate) fn moment(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

/// A span in milliseconds, in the unit of scenarios.
pub(crate) fn span(span: Duration) -> String {
    millis(span.as_millis())
}

fn millis(millis: u128) -> String {
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{}.{:03}s", millis / 1_000, millis % 1_000)
    }
}

pub(crate) fn list<T: Display>(words: &[T], nothing: &'static str) -> impl Display {
    fmt::from_fn(move |f| {
        if words.is_empty() {
            return f.write_str(nothing);
        }
        for (position, word) in words.iter().take(SHOWN).enumerate() {
            let comma = if position == 0 { "" } else { ", " };
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
pub(crate) const SHOWN: usize = 6;
