//! S17, a claim takes nothing: when a claim is answered with success, no other lease held any of
//! its items at the index that the answer names. A claim that is refused has changed nothing, and
//! names a lease that held one of the items. S17a, tokens rise: the index of a claim is larger than
//! that of every claim of the same item that was answered before this one was sent, and no other
//! claim has the same index.
//!
//! Needs nothing. Broken by locks without a token, whose late holder overwrites the work of the
//! next one.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Command, Error, Item, LeaseId, LogIndex, Request, RequestError, Response};

use super::{Broken, Fact, Invariant, Judgements, Property, Scene};
use crate::model::text;

/// What each claim of the log found, and what lessees know of the claims of each item.
#[derive(Debug, Default)]
pub(super) struct AClaimTakesNothing {
    holders: BTreeMap<Item, LeaseId>,
    /// Every lease that has ever held an item.
    held: BTreeMap<Item, Vec<LeaseId>>,
    claims: BTreeMap<LogIndex, Claim>,
    /// When lessees were told of claims of an item, and the largest token by then.
    told: BTreeMap<Item, Vec<(Duration, LogIndex)>>,
    /// The tokens that lessees have.
    tokens: BTreeMap<LogIndex, LeaseId>,
}

#[derive(Debug)]
struct Claim {
    id: LeaseId,
    items: Vec<Item>,
    /// A lease that held one of its items.
    obstacle: Option<LeaseId>,
}

impl Invariant for AClaimTakesNothing {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        fact: &Fact<'_>,
        judged: &mut Judgements,
    ) -> Result<(), Broken> {
        match fact {
            Fact::Agreed { entry, applied } => {
                let proposal = entry.proposal.as_ref();
                if let Some(Command::Claim { id, items }) = proposal.map(|of| &of.command) {
                    let mut holders = items.iter().filter_map(|item| self.holders.get(item));
                    let obstacle = holders.find(|holder| *holder != id).copied();
                    let claim = Claim { id: *id, items: items.clone(), obstacle };
                    self.claims.insert(entry.index, claim);
                }
                for item in &applied.items {
                    match scene.state.holders.get(item) {
                        Some(holder) => {
                            self.holders.insert(item.clone(), *holder);
                            self.held.entry(item.clone()).or_default().push(*holder);
                        }
                        None => drop(self.holders.remove(item)),
                    }
                }
                Ok(())
            }
            Fact::Answered { request: Request::Claim { id, items }, began, answer, .. } => {
                match answer {
                    Ok(Response::Applied { index }) => {
                        self.judge_success(*id, items, *index)?;
                        self.judge_token(*id, items, *index, *began)?;
                        self.tell(items, *index, scene.now);
                        judged.hold(&[Property::S17, Property::S17a])
                    }
                    Err(RequestError::Refused(Error::ItemHeld(by))) => {
                        self.judge_refusal(*id, items, *by)?;
                        judged.hold(&[Property::S17])
                    }
                    Ok(_) | Err(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl AClaimTakesNothing {
    fn judge_success(&self, id: LeaseId, items: &[Item], index: LogIndex) -> Result<(), Broken> {
        let claim = self.claims.get(&index).filter(|claim| claim.id == id && claim.items == items);
        let what = match claim.map(|claim| claim.obstacle) {
            Some(None) => return Ok(()),
            Some(Some(holder)) => {
                format!("lease {id} claimed at {index} what lease {holder} held")
            }
            None => format!("lease {id} was told of its claim at {index}, where there is none"),
        };
        Err(Broken::new(Property::S17, what).about(id))
    }

    fn judge_refusal(&self, id: LeaseId, items: &[Item], by: LeaseId) -> Result<(), Broken> {
        let held = |item| self.held.get(item).is_some_and(|held| held.contains(&by));
        if by != id && items.iter().any(held) {
            return Ok(());
        }
        let keys = text::keys(items);
        let what = format!("lease {id} cannot claim {keys} for lease {by}, which held none of it");
        Err(Broken::new(Property::S17, what).about(id))
    }

    fn judge_token(
        &mut self,
        id: LeaseId,
        items: &[Item],
        index: LogIndex,
        began: Duration,
    ) -> Result<(), Broken> {
        if let Some(other) = self.tokens.insert(index, id) {
            let what = format!("lease {id} has the token {index}, and so has lease {other}");
            return Err(Broken::new(Property::S17a, what).about(id));
        }
        for item in items {
            let told = self.told.get(item).map_or(&[][..], Vec::as_slice);
            let before = told.partition_point(|(at, _)| *at < began);
            let largest = before.checked_sub(1).map(|last| told[last].1);
            if let Some(largest) = largest.filter(|largest| *largest >= index) {
                let what = format!(
                    "lease {id} has the token {index} for {item}, but {largest} was told before"
                );
                return Err(Broken::new(Property::S17a, what).about(id));
            }
        }
        Ok(())
    }

    fn tell(&mut self, items: &[Item], index: LogIndex, now: Duration) {
        for item in items {
            let told = self.told.entry(item.clone()).or_default();
            let largest = told.last().map_or(index, |(_, largest)| index.max(*largest));
            told.push((now, largest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{History, Judged, granted, lease, revoked};
    use super::*;

    fn claimed(id: i64) -> Command {
        Command::Claim { id: lease(id), items: vec!["k".into()] }
    }

    /// Claims the one item at a moment, and is answered a millisecond later.
    fn ask(
        history: &mut History<AClaimTakesNothing>,
        id: i64,
        at: u64,
        answer: &Result<Response, RequestError>,
    ) -> Result<Judged, Property> {
        history.at(at + 1);
        let request = Request::Claim { id: lease(id), items: vec!["k".into()] };
        let began = Duration::from_millis(at);
        let answered = Fact::Answered { request: &request, began, sent: began, answer };
        history.see(answered).map_err(|broken| broken.property)
    }

    fn at(index: u64) -> Result<Response, RequestError> {
        Ok(Response::Applied { index: LogIndex(index) })
    }

    fn held_by(id: i64) -> Result<Response, RequestError> {
        Err(RequestError::Refused(Error::ItemHeld(lease(id))))
    }

    /// Two leases, of which the first claims at index 3 and the second cannot at index 4.
    fn claims() -> History<AClaimTakesNothing> {
        let mut history = History::<AClaimTakesNothing>::default();
        history.log(1, granted(7, 10_000));
        history.log(2, granted(8, 10_000));
        history.log(3, claimed(7));
        history.log(4, claimed(8));
        history
    }

    #[test]
    fn canary_a_claim_of_what_another_holds_is_found() {
        let mut history = claims();
        assert_eq!(ask(&mut history, 7, 0, &at(3)), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 8, 0, &held_by(7)), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 8, 0, &at(4)), Err(Property::S17));
    }

    #[test]
    fn canary_a_claim_that_the_log_does_not_have_is_found() {
        assert_eq!(ask(&mut claims(), 8, 0, &at(3)), Err(Property::S17));
        assert_eq!(ask(&mut claims(), 7, 0, &at(2)), Err(Property::S17));
    }

    #[test]
    fn canary_a_refusal_that_names_the_wrong_holder_is_found() {
        assert_eq!(ask(&mut claims(), 8, 0, &held_by(8)), Err(Property::S17));
        assert_eq!(ask(&mut claims(), 8, 0, &held_by(9)), Err(Property::S17));
    }

    #[test]
    fn canary_a_token_that_does_not_rise_is_found() {
        let mut history = claims();
        history.log(5, revoked(7));
        history.log(6, claimed(8));
        history.log(7, claimed(8));
        assert_eq!(ask(&mut history, 8, 2_000, &at(6)), Ok(Judged::Holds));
        // It was sent before the larger one was told.
        assert_eq!(ask(&mut history, 7, 1_000, &at(3)), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 8, 3_000, &at(6)), Err(Property::S17a));
        assert_eq!(ask(&mut history, 8, 4_000, &at(7)), Ok(Judged::Holds));
        let mut history = claims();
        history.log(5, claimed(7));
        assert_eq!(ask(&mut history, 7, 1_000, &at(5)), Ok(Judged::Holds));
        assert_eq!(ask(&mut history, 7, 2_000, &at(3)), Err(Property::S17a));
    }
}
