//! S14, linearizable: a single lessor that does one thing after the other could have given the same
//! answers, in an order in which no request comes before one that had ended before it began.
//!
//! The order is that of the log, so there is no search. Each answer takes effect at one index: not
//! before that of any answer that was there when its request was sent, and not after the last
//! committed index when it comes. A change takes effect where the log has it, a read where its
//! answer is right. The earliest such index restricts later answers least; if there is none, no
//! order is possible.
//!
//! Needs nothing: S1 and S2 say when leases may expire. Broken by etcd #14758, #15247 and #20418.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lessor::{
    Command, Error, Item, LeaseId, LeaseRecord, LeaseStatus, LogIndex, Request, RequestError,
    Response,
};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};
use crate::model::text;
use crate::model::{Applied, Lease};

/// The versions of each lease and item by index, the changes of the log, and the indexes of answers.
#[derive(Debug, Default)]
pub(super) struct Linearizable {
    leases: BTreeMap<LeaseId, Vec<(LogIndex, Option<Lease>)>>,
    holders: BTreeMap<Item, Vec<(LogIndex, Option<LeaseId>)>>,
    /// How many leases there were.
    counts: Vec<(LogIndex, usize)>,
    /// The changes that had an effect, by the lease that they were made to.
    done: BTreeMap<LeaseId, Vec<(LogIndex, Command)>>,
    /// When answers came, and the latest index at which one had taken effect by then.
    answered: Vec<(Duration, LogIndex)>,
}

impl Invariant for Linearizable {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Agreed { entry, applied } => {
                let proposal = entry.proposal.as_ref();
                self.agreed(scene, proposal.map(|proposal| &proposal.command), applied);
            }
            Fact::Answered { request, began, answer, .. } => {
                let ended_before = self.answered.partition_point(|(at, _)| at < began);
                let earliest = ended_before.checked_sub(1).map(|last| self.answered[last].1);
                let between = (earliest.unwrap_or_default(), scene.state.applied);
                let Some(found) = self.index_of(request, answer, between) else { return Ok(()) };
                let Some(index) = found else {
                    let (first, last) = between;
                    let what = format!(
                        "no order allows that {request}, sent at {}, was answered {}: at no index \
                         from {first} to {last} is that right",
                        text::moment(*began),
                        text::answer(answer),
                    );
                    let lease = text::leases_of_request(request).first().copied();
                    let lease = lease.or_else(|| text::lease_of_answer(answer));
                    return Err(Broken::new(Property::S14, what).about(lease));
                };
                let before = self.answered.last().map_or(LogIndex(0), |(_, index)| *index);
                self.answered.push((scene.now, index.max(before)));
                return judged.hold(&[Property::S14]);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Linearizable {
    fn agreed(&mut self, scene: &Scene<'_>, command: Option<&Command>, applied: &Applied) {
        let (at, state) = (scene.state.applied, scene.state);
        let changed = |item: &Item| self.holders.get(item)?.last()?.1;
        // A lease changes with its items.
        let from: BTreeSet<LeaseId> = applied.items.iter().filter_map(changed).collect();
        let to = applied.items.iter().filter_map(|item| state.holders.get(item).copied());
        let leases = applied.leases.iter().copied().chain(from).chain(to);
        for id in leases.collect::<BTreeSet<_>>() {
            self.leases.entry(id).or_default().push((at, state.leases.get(&id).cloned()));
        }
        for item in &applied.items {
            let holder = state.holders.get(item).copied();
            self.holders.entry(item.clone()).or_default().push((at, holder));
        }
        if self.counts.last().is_none_or(|(_, count)| *count != state.leases.len()) {
            self.counts.push((at, state.leases.len()));
        }
        let Some(command) = command else { return };
        let done = match command {
            Command::Grant { id, .. } if applied.leases.contains(id) => *id,
            Command::Revoke { id } if applied.revoked.is_some() => *id,
            Command::Attach { id, .. } | Command::Detach { id, .. }
                if state.leases.contains_key(id) =>
            {
                *id
            }
            Command::Claim { id, items }
                if state.leases.contains_key(id)
                    && items.iter().all(|item| state.holders.get(item) == Some(id)) =>
            {
                *id
            }
            _ => return,
        };
        self.done.entry(done).or_default().push((at, command.clone()));
    }

    /// The first index at which an answer is right, if there is one; `None` if it does not speak of leases.
    fn index_of(
        &self,
        request: &Request,
        answer: &Result<Response, RequestError>,
        between: (LogIndex, LogIndex),
    ) -> Option<Option<LogIndex>> {
        let exists = |lease: Option<&Lease>| lease.is_some();
        Some(match (request, answer) {
            (Request::Grant { .. }, Ok(Response::Granted { id, ttl, index })) => {
                let command = Command::Grant { id: *id, ttl: *ttl };
                self.index_of_change(&command, *id, only(*index, between))
            }
            // Granted there, or found.
            (Request::GrantOnce { request, .. }, Ok(Response::Granted { id, ttl, index })) => {
                let granted = |lease: Option<&Lease>| {
                    *id == request.lease() && lease.is_some_and(|is| is.ttl == *ttl)
                };
                self.index_where(*id, only(*index, between), granted)
            }
            (Request::Revoke { id }, Ok(Response::Applied { index })) => {
                self.index_of_change(&Command::Revoke { id: *id }, *id, only(*index, between))
            }
            (Request::Attach { id, items }, Ok(Response::Applied { index })) => {
                let command = Command::Attach { id: *id, items: items.clone() };
                self.index_of_change(&command, *id, only(*index, between))
            }
            (Request::Detach { id, items }, Ok(Response::Applied { index })) => {
                let command = Command::Detach { id: *id, items: items.clone() };
                self.index_of_change(&command, *id, only(*index, between))
            }
            (Request::Claim { id, items }, Ok(Response::Applied { index })) => {
                let command = Command::Claim { id: *id, items: items.clone() };
                self.index_of_change(&command, *id, only(*index, between))
            }
            (Request::Claim { id, items }, Err(RequestError::Refused(Error::ItemHeld(holder)))) => {
                self.index_where_held(*id, items, *holder, between)
            }
            (Request::Renew { id }, Ok(Response::Renewed { ttl })) => {
                self.index_where(*id, between, |lease| lease.is_some_and(|is| is.ttl == *ttl))
            }
            (
                Request::Grant { id: Some(id), .. },
                Err(RequestError::Refused(Error::LeaseExists)),
            ) => self.index_where(*id, between, exists),
            (
                Request::Revoke { id }
                | Request::Renew { id }
                | Request::Attach { id, .. }
                | Request::Detach { id, .. }
                | Request::Claim { id, .. },
                Err(RequestError::Refused(Error::LeaseNotFound)),
            ) => self.index_where(*id, between, |lease| lease.is_none()),
            (Request::Lookup { id }, Ok(Response::Lookup(status))) => {
                self.index_where(*id, between, |lease| {
                    found(*id, lease) == status.as_ref().map(known)
                })
            }
            (Request::TimeToLive { id }, Ok(Response::TimeToLive(status))) => {
                self.index_where(*id, between, |lease| {
                    let held = found(*id, lease).map(|(record, items)| (record, items.len()));
                    held == status.map(|status| (status.record, status.items))
                })
            }
            (Request::LeaseOf { item }, Ok(Response::LeaseOf(holder))) => {
                let versions = self.holders.get(item).map_or(&[][..], Vec::as_slice);
                let mut indexes = changes(versions, between);
                indexes.find(|at| version(versions, *at).copied().flatten() == *holder)
            }
            (Request::Leases { limit, after: None, .. }, Ok(Response::Leases(leases))) => {
                let listed = |at| {
                    let right = |id| self.lease(id, at).map(|lease| (lease.ttl, lease.remaining));
                    leases
                        .iter()
                        .map(|lease| lease.record)
                        .all(|record| right(record.id) == Some((record.ttl, record.remaining)))
                        && leases.len() == (*limit).min(self.count(at))
                };
                (between.0.0..=between.1.0).map(LogIndex).find(|at| listed(*at))
            }
            _ => return None,
        })
    }

    /// The first index at which the log does this.
    fn index_of_change(
        &self,
        command: &Command,
        id: LeaseId,
        (first, last): (LogIndex, LogIndex),
    ) -> Option<LogIndex> {
        let done = self.done.get(&id)?;
        let done = &done[done.partition_point(|(at, _)| *at < first)..];
        let mut done = done.iter().take_while(|(at, _)| *at <= last);
        done.find(|(_, done)| done == command).map(|(at, _)| *at)
    }

    /// The first index at which a lease is as it must be.
    fn index_where(
        &self,
        id: LeaseId,
        between: (LogIndex, LogIndex),
        right: impl Fn(Option<&Lease>) -> bool,
    ) -> Option<LogIndex> {
        let versions = self.leases.get(&id).map_or(&[][..], Vec::as_slice);
        changes(versions, between).find(|at| right(self.lease(id, *at)))
    }

    /// The first index at which lease `by` holds the first of the items that `id` does not hold itself.
    fn index_where_held(
        &self,
        id: LeaseId,
        items: &[Item],
        by: LeaseId,
        between: (LogIndex, LogIndex),
    ) -> Option<LogIndex> {
        let versions = |item| self.holders.get(item).map_or(&[][..], Vec::as_slice);
        let mut candidates: Vec<LogIndex> =
            items.iter().flat_map(|item| changes(versions(item), between)).collect();
        candidates.sort_unstable();
        candidates.into_iter().find(|at| {
            let holders = items.iter().filter_map(|item| *version(versions(item), *at)?);
            holders.into_iter().find(|holder| *holder != id) == Some(by)
        })
    }

    fn lease(&self, id: LeaseId, at: LogIndex) -> Option<&Lease> {
        version(self.leases.get(&id)?, at)?.as_ref()
    }

    fn count(&self, at: LogIndex) -> usize {
        version(&self.counts, at).copied().unwrap_or_default()
    }
}

/// What a log says of a lease, and the same of what was answered.
type Known<'a> = (LeaseRecord, Vec<&'a Item>);

fn found(id: LeaseId, lease: Option<&Lease>) -> Option<Known<'_>> {
    let lease = lease?;
    let record = LeaseRecord { id, ttl: lease.ttl, remaining: lease.remaining };
    Some((record, lease.items.iter().collect()))
}

fn known(status: &LeaseStatus) -> Known<'_> {
    (status.record, status.items.iter().collect())
}

/// The one index that an answer names, as a range; empty if that index is not in the other range.
fn only(index: LogIndex, (first, last): (LogIndex, LogIndex)) -> (LogIndex, LogIndex) {
    (first.max(index), last.min(index))
}

/// The version that counts at an index.
fn version<T>(versions: &[(LogIndex, T)], at: LogIndex) -> Option<&T> {
    let until = versions.partition_point(|(since, _)| *since <= at);
    Some(&versions[until.checked_sub(1)?].1)
}

/// The first index of a range, and those in it at which something changed.
fn changes<T>(
    versions: &[(LogIndex, T)],
    (first, last): (LogIndex, LogIndex),
) -> impl Iterator<Item = LogIndex> {
    let after = versions.partition_point(|(since, _)| *since <= first);
    let later = versions[after..].iter().map(|(since, _)| *since);
    std::iter::once(first).chain(later.take_while(move |at| *at <= last))
}

#[cfg(test)]
mod tests {
    use lessor::{LeaseOrder, Ttl};

    use super::super::harness::{History, Judged, granted, lease, renew, renewed, revoked};
    use super::*;

    /// Asks at a moment, is answered a millisecond later.
    fn ask(
        history: &mut History<Linearizable>,
        at: u64,
        request: &Request,
        answer: &Result<Response, RequestError>,
    ) -> Result<Judged, Property> {
        history.at(at + 1);
        let began = Duration::from_millis(at);
        let answered = Fact::Answered { request, began, sent: began, answer };
        history.see(answered).map_err(|broken| broken.property)
    }

    const NOT_FOUND: Result<Response, RequestError> =
        Err(RequestError::Refused(Error::LeaseNotFound));

    #[test]
    fn canary_a_read_of_the_past_is_found() {
        let lookup = Request::Lookup { id: lease(7) };
        let absent = Ok(Response::Lookup(None));
        let record = LeaseRecord { id: lease(7), ttl: Ttl::from_secs(10), remaining: None };
        let status = LeaseStatus { record, remaining: Duration::ZERO, items: Vec::new() };
        let present = Ok(Response::Lookup(Some(status)));
        let mut history = History::<Linearizable>::default();
        history.log(1, granted(7, 10_000));
        // Nobody knows of the grant yet.
        assert_eq!(ask(&mut history, 1_000, &lookup, &absent), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 2_000, &lookup, &present), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 3_000, &lookup, &absent), Err(Property::S14));
        // One that was sent before the answer that knew of it.
        assert_eq!(ask(&mut history, 2_000, &lookup, &absent), Ok(Judged::Holds));
    }

    #[test]
    fn canary_a_change_that_the_log_does_not_have_is_found() {
        let mut history = History::<Linearizable>::default();
        history.log(1, granted(7, 10_000));
        let grant = Request::Grant { id: Some(lease(7)), ttl: Ttl::from_secs(10) };
        let (ttl, place) = (Ttl::from_secs(10), LogIndex(1));
        let ok = Ok(Response::Granted { id: lease(7), ttl, index: place });
        assert_eq!(ask(&mut history, 0, &grant, &ok), Ok(Judged::Holds));
        let revoke = Request::Revoke { id: lease(7) };
        let done = Ok(Response::Applied { index: LogIndex(2) });
        assert_eq!(ask(&mut history, 0, &revoke, &done), Err(Property::S14));
        history.log(2, revoked(7));
        assert_eq!(ask(&mut history, 1_000, &revoke, &done), Ok(Judged::Holds));
        // The grant was before the revoke.
        assert_eq!(ask(&mut history, 2_000, &grant, &ok), Err(Property::S14));
    }

    #[test]
    fn canary_a_renew_after_an_answered_revoke_is_found() {
        let mut history = History::<Linearizable>::default();
        history.log(1, granted(7, 10_000));
        history.log(2, revoked(7));
        let revoke = Request::Revoke { id: lease(7) };
        let done = Ok(Response::Applied { index: LogIndex(2) });
        assert_eq!(ask(&mut history, 1_000, &revoke, &done), Ok(Judged::Holds));
        let renewed = Ok(renewed(10_000));
        assert_eq!(ask(&mut history, 500, &renew(7), &renewed), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 2_000, &renew(7), &renewed), Err(Property::S14));
        assert_eq!(ask(&mut history, 2_000, &renew(7), &NOT_FOUND), Ok(Judged::Holds));
    }

    #[test]
    fn canary_an_index_that_an_answer_names_wrongly_is_found() {
        let mut history = History::<Linearizable>::default();
        history.log(1, granted(7, 10_000));
        history.log(2, granted(8, 10_000));
        history.log(3, Command::Claim { id: lease(7), items: vec!["k".into()] });
        history.log(4, Command::Claim { id: lease(8), items: vec!["k".into()] });
        let claim = |id| Request::Claim { id: lease(id), items: vec!["k".into()] };
        let at = |index| Ok(Response::Applied { index: LogIndex(index) });
        let held = |by| Err(RequestError::Refused(Error::ItemHeld(lease(by))));
        assert_eq!(ask(&mut history, 0, &claim(7), &at(2)), Err(Property::S14));
        assert_eq!(ask(&mut history, 0, &claim(7), &at(3)), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 0, &claim(8), &at(4)), Err(Property::S14));
        assert_eq!(ask(&mut history, 0, &claim(8), &held(7)), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 0, &claim(8), &held(9)), Err(Property::S14));
        assert_eq!(ask(&mut history, 0, &claim(7), &held(7)), Err(Property::S14));
    }

    #[test]
    fn canary_a_list_and_a_holder_of_the_past_are_found() {
        let mut history = History::<Linearizable>::default();
        history.log(1, granted(7, 10_000));
        history.log(2, Command::Attach { id: lease(7), items: vec!["k".into()] });
        let of = Request::LeaseOf { item: "k".into() };
        let list = Request::Leases { order: LeaseOrder::Id, after: None, limit: 9 };
        let record = LeaseRecord { id: lease(7), ttl: Ttl::from_secs(10), remaining: None };
        let one = vec![lessor::Lease { record, expiry: None, items: 1 }];
        let held = Ok(Response::LeaseOf(Some(lease(7))));
        assert_eq!(ask(&mut history, 1_000, &of, &held), Ok(Judged::Holds));
        let free = Ok(Response::LeaseOf(None));
        assert_eq!(ask(&mut history, 2_000, &of, &free), Err(Property::S14));
        let (listed, none) = (Ok(Response::Leases(one)), Ok(Response::Leases(Vec::new())));
        assert_eq!(ask(&mut history, 2_000, &list, &listed), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 2_000, &list, &none), Err(Property::S14));
    }
}
