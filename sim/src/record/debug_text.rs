//! What only the hash of a trace sees: inputs and outputs of members, as their `Debug` has them.
//!
//! There is one of these for each event, and `Debug` is slow where structures are nested. So the commonest
//! few, which say that somebody asks for a renew and gets it, are written out here, byte by byte the same. Only
//! the index of an answer has another name, `place`, as the hashes of all traces have it.
#![expect(clippy::wildcard_enum_match_arm, reason = "all that is not common is left to `Debug`")]

use std::fmt::{self, Display};

use lessor::{
    Command, Confirmation, MemberInput, Output, Proposal, Request, RequestError, Response, Term,
    Ticket, Ttl,
};

/// What a member is told.
pub(crate) fn input(input: &MemberInput) -> impl Display {
    fmt::from_fn(move |f| match input {
        MemberInput::Request { ticket: Ticket(ticket), request: Request::Renew { id } } => {
            write!(f, "Request {{ ticket: Ticket({ticket}), request: Renew {{ id: {id} }} }}")
        }
        MemberInput::Confirmed { confirmation: Confirmation(of), committed: Some(place) } => {
            write!(f, "Confirmed {{ confirmation: Confirmation({of}), committed: Some({place}) }}")
        }
        other => write!(f, "{other:?}"),
    })
}

/// What a member says.
pub(crate) fn output(output: &Output) -> impl Display {
    fmt::from_fn(move |f| match output {
        Output::Answer { ticket: Ticket(ticket), answer: of } => {
            write!(f, "Answer {{ ticket: Ticket({ticket}), answer: {} }}", answer(of))
        }
        Output::Propose(of) => write!(f, "Propose({})", proposal(of)),
        other => write!(f, "{other:?}"),
    })
}

/// What a request was answered.
pub(crate) fn answer(answer: &Result<Response, RequestError>) -> impl Display {
    fmt::from_fn(move |f| match answer {
        Ok(Response::Granted { id, ttl, index: place }) => {
            write!(f, "Ok(Granted {{ id: {id}, ttl: {}, place: {place} }})", span(*ttl))
        }
        Ok(Response::Applied { index: place }) => write!(f, "Ok(Applied {{ place: {place} }})"),
        Ok(Response::Renewed { ttl }) => write!(f, "Ok(Renewed {{ ttl: {} }})", span(*ttl)),
        Ok(Response::Done) => f.write_str("Ok(Done)"),
        other => write!(f, "{other:?}"),
    })
}

/// What a member proposes.
pub(crate) fn proposal(proposal: &Proposal) -> impl Display {
    fmt::from_fn(move |f| {
        let Proposal { term: Term(term), sequence, command } = proposal;
        write!(f, "Proposal {{ term: Term({term}), sequence: {sequence}, command: ")?;
        match command {
            Command::Grant { id, ttl } => {
                write!(f, "Grant {{ id: {id}, ttl: {} }}", span(*ttl))?;
            }
            Command::Revoke { id } => write!(f, "Revoke {{ id: {id} }}")?,
            other => write!(f, "{other:?}")?,
        }
        f.write_str(" }")
    })
}

/// A ttl; most are whole seconds.
fn span(ttl: Ttl) -> impl Display {
    fmt::from_fn(move |f| {
        let ttl = ttl.as_duration();
        if ttl.subsec_nanos() == 0 { write!(f, "{}s", ttl.as_secs()) } else { write!(f, "{ttl:?}") }
    })
}

#[cfg(test)]
mod tests {
    use lessor::{Checkpoint, Error, LeaseId, LogIndex, MemberId};

    use super::*;

    /// Ids and ttls with few and many digits, with fractions, and the extremes.
    fn leases() -> Vec<(LeaseId, Ttl)> {
        let ids = [1, -7, 20_000, i64::MAX, i64::MIN].map(|id| LeaseId::new(id).expect("not 0"));
        let ttls = [1, 250, 1_000, 9_999, 3_600_000].map(Ttl::from_millis);
        let both = |id| ttls.into_iter().chain([Ttl::MAX]).map(move |ttl| (id, ttl));
        ids.into_iter().flat_map(both).collect()
    }

    #[test]
    fn what_is_written_out_is_what_debug_has() {
        for (id, ttl) in leases() {
            let checkpoint = Checkpoint { id, remaining: Some(ttl) };
            let commands = [
                Command::Grant { id, ttl },
                Command::Revoke { id },
                Command::Attach { id, items: vec!["a\"b".into()] },
                Command::Detach { id, items: Vec::new() },
                Command::Checkpoint { checkpoints: vec![checkpoint] },
            ];
            let propose = |command| Proposal { term: Term(3), sequence: 1_234, command };
            let answers = [
                Ok(Response::Granted { id, ttl, index: LogIndex(12) }),
                Ok(Response::Applied { index: LogIndex(12) }),
                Ok(Response::Renewed { ttl }),
                Ok(Response::Done),
                Ok(Response::Lookup(None)),
                Ok(Response::LeaseOf(Some(id))),
                Err(RequestError::Refused(Error::LeaseNotFound)),
                Err(RequestError::NotPrimary { leader: Some(MemberId(2)) }),
            ];
            let requests = [
                Request::Grant { id: Some(id), ttl },
                Request::Revoke { id },
                Request::Renew { id },
                Request::Lookup { id },
                Request::Promote,
            ];
            for of in commands.map(propose) {
                assert_eq!(proposal(&of).to_string(), format!("{of:?}"));
                let of = Output::Propose(of);
                assert_eq!(output(&of).to_string(), format!("{of:?}"));
            }
            for of in answers {
                let debug = |of: &dyn fmt::Debug| format!("{of:?}").replace("index: ", "place: ");
                assert_eq!(answer(&of).to_string(), debug(&of));
                let of = Output::Answer { ticket: Ticket(17), answer: of };
                assert_eq!(output(&of).to_string(), debug(&of));
            }
            for request in requests {
                let of = MemberInput::Request { ticket: Ticket(17), request };
                assert_eq!(input(&of).to_string(), format!("{of:?}"));
            }
        }
        for committed in [None, Some(LogIndex(12))] {
            let of = MemberInput::Confirmed { confirmation: Confirmation(9), committed };
            assert_eq!(input(&of).to_string(), format!("{of:?}"));
        }
        for of in [MemberInput::Timeout, MemberInput::Stop, MemberInput::HoldExpired(true)] {
            assert_eq!(input(&of).to_string(), format!("{of:?}"));
        }
        for of in [Output::Confirm(Confirmation(9)), Output::Campaign, Output::Resign] {
            assert_eq!(output(&of).to_string(), format!("{of:?}"));
        }
    }
}
