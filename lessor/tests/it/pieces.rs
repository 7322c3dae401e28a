//! Commands of many items that are applied in pieces, while others are served.

use std::time::Duration;

use lessor::{
    Command, Config, Effect, Entry, Error, Instant, Item, LeaseId, Lessor, LogIndex, Member,
    Output, Proposal, Request, RequestError, Response, Role, StateAt, Term, Ticket, Ttl, Write,
};

/// Whatever the pieces, what is written and the digest are those of one call; and the rules hold between.
#[test]
fn a_command_in_pieces_writes_what_it_writes_at_once() {
    let commands = [
        Command::Attach { id: id(1), items: items(0..4_500) },
        Command::Attach { id: id(2), items: items(1_500..6_000) },
        Command::Detach { id: id(2), items: items(1_000..3_700) },
        Command::Attach { id: id(2), items: Vec::new() },
        Command::Revoke { id: id(2) },
        Command::Revoke { id: id(1) },
        Command::Claim { id: id(3), items: items(500..1_500) },
        Command::Claim { id: id(3), items: items(0..3_700) },
    ];
    let mut at_once = lessor();
    let mut in_pieces = at_once.clone();
    let mut calls = Vec::new();
    for command in commands {
        at_once.apply(NOW, command.clone()).unwrap();
        let mut done = in_pieces.begin(NOW, command).unwrap();
        calls.push(1);
        while !done {
            assert!(in_pieces.is_applying());
            in_pieces.check();
            done = in_pieces.go_on(NOW).unwrap();
            *calls.last_mut().unwrap() += 1;
        }
        in_pieces.check();
        assert!(!in_pieces.is_applying());
        assert_eq!(effects(&mut in_pieces), effects(&mut at_once));
        assert_eq!(in_pieces.snapshot(), at_once.snapshot());
        assert_eq!(in_pieces.digest(), at_once.digest());
    }
    assert_eq!(calls, [5, 5, 3, 1, 3, 2, 1, 8]);
    assert_eq!(in_pieces.go_on(NOW), Ok(true), "there is nothing to do");
}

/// A lease is renewed, and another one expires, between the pieces of a revoke; and the role changes.
#[test]
fn others_are_served_between_the_pieces() {
    let mut lessor = lessor();
    lessor.apply(NOW, Command::Attach { id: id(1), items: items(0..4_500) }).unwrap();
    lessor.renew(NOW, Ticket(1), id(1));
    effects(&mut lessor);
    assert_eq!(lessor.begin(NOW, Command::Revoke { id: id(1) }), Ok(false));

    let later = NOW + Duration::from_secs(10);
    lessor.handle_timeout(later);
    lessor.renew(later, Ticket(2), id(3));
    lessor.renew(later, Ticket(3), id(1));
    let ttl = Ttl::from_secs(30);
    let served = effects(&mut lessor);
    assert!(matches!(&served[0], Effect::Expired(batch) if batch.leases == [id(2)]));
    assert_eq!(served[1], Effect::Renewed { ticket: Ticket(2), result: Ok(ttl) });
    assert_eq!(served[2], Effect::Renewed { ticket: Ticket(3), result: Ok(ttl) });
    lessor.demote(later);
    lessor.promote(later, Duration::ZERO);
    lessor.handle_timeout(later + Duration::from_secs(30));
    lessor.renew(later + Duration::from_secs(30), Ticket(4), id(1));
    effects(&mut lessor);
    lessor.check();

    while lessor.go_on(later) == Ok(false) {
        assert_eq!(effects(&mut lessor), [], "all is deleted at once, at the end");
    }
    let ended = effects(&mut lessor);
    assert!(matches!(&ended[0], Effect::RangeDelete(all) if all.items == items(0..4_500)));
    assert_eq!(ended[1], Effect::Write(Write::DeleteLease(id(1))));
    let result = Err(Error::LeaseNotFound);
    assert_eq!(ended[2..], [Effect::Renewed { ticket: Ticket(4), result }]);
    lessor.check();
}

#[test]
fn a_refusal_begins_nothing_and_a_state_that_is_recovered_ends_what_was_begun() {
    let mut lessor = lessor();
    let unknown = Command::Attach { id: id(9), items: items(0..4_500) };
    assert_eq!(lessor.begin(NOW, unknown), Err(Error::LeaseNotFound));
    assert!(!lessor.is_applying());
    let before = lessor.snapshot();
    let attach = Command::Attach { id: id(1), items: items(0..4_500) };
    assert_eq!(lessor.begin(NOW, attach), Ok(false));
    lessor.recover(NOW, &before).unwrap();
    assert!(!lessor.is_applying());
    lessor.check();
    assert_eq!(lessor.snapshot(), before);
}

/// Somebody else holds what comes last, so a part of the items is looked at and none is attached.
#[test]
fn a_claim_in_pieces_is_refused_as_a_whole() {
    let mut lessor = lessor();
    lessor.apply(NOW, Command::Attach { id: id(2), items: items(4_498..4_499) }).unwrap();
    lessor.apply(NOW, Command::Attach { id: id(1), items: items(4_499..4_500) }).unwrap();
    effects(&mut lessor);
    let before = lessor.snapshot();
    let claim = || Command::Claim { id: id(3), items: items(0..4_500) };
    assert_eq!(lessor.begin(NOW, claim()), Ok(false));
    let refusal = std::iter::from_fn(|| Some(lessor.go_on(NOW))).find(|one| *one != Ok(false));
    assert_eq!(refusal, Some(Err(Error::ItemHeld(id(2)))));
    assert!(!lessor.is_applying());
    assert_eq!((effects(&mut lessor), lessor.snapshot()), (Vec::new(), before));
    assert_eq!(lessor.apply(NOW, claim()), refusal.unwrap().map(drop));
    lessor.check();
}

/// A renew waits for nothing that bears not on its lease; it waited for the whole command, a second and a
/// half for a million items. One whose lease is revoked behind it waits and is told so.
#[test]
fn a_renew_goes_beside_a_command_that_is_applied_in_part() {
    let mut member = Member::new(&Config::default(), &StateAt::default()).unwrap();
    member.handle_role(NOW, Role::Leader { term: Term(1), barrier: LogIndex(0) });
    let granted = (1..=3).map(|number| Command::Grant { id: id(number), ttl: Ttl::from_secs(30) });
    commit(&mut member, granted);
    member.handle_persisted(NOW, LogIndex(3));
    commit(
        &mut member,
        [Command::Attach { id: id(1), items: items(0..4_500) }, Command::Revoke { id: id(2) }],
    );
    assert!(member.is_applying());
    for number in 1..=3_u8 {
        let request = Request::Renew { id: id(number.into()) };
        member.request(NOW, Ticket(number.into()), request);
    }
    member.request(NOW, Ticket(4), Request::TimeToLive { id: id(3) });
    let renewed = Ok(Response::Renewed { ttl: Ttl::from_secs(30) });
    assert_eq!(answers(&mut member), [(Ticket(3), renewed.clone())]);
    let mut pieces = 0;
    while member.is_applying() {
        assert_eq!(answers(&mut member), [], "what it speaks of may be half done");
        member.go_on(NOW);
        pieces += 1;
    }
    assert_eq!(pieces, 5, "four more of the items, and one of what is behind");
    member.handle_persisted(NOW, LogIndex(5));
    let rest = answers(&mut member);
    assert_eq!(rest.len(), 3, "{rest:?}");
    assert!(rest.contains(&(Ticket(1), renewed)));
    let gone = Err(RequestError::Refused(Error::LeaseNotFound));
    assert!(rest.contains(&(Ticket(2), gone)));
    assert!(rest.iter().any(|(ticket, answer)| *ticket == Ticket(4) && answer.is_ok()));
}

/// Hands the member what its term has committed.
fn commit(member: &mut Member, commands: impl IntoIterator<Item = Command>) {
    let mut index = member.applied();
    let entries = commands.into_iter().map(|command| {
        index = index.next();
        let proposal = Proposal { term: Term(1), sequence: 1_000 + index.0, command };
        Entry { index, term: Term(1), proposal: Some(proposal) }
    });
    member.handle_committed(NOW, entries.collect());
}

/// What it answers, once it is told that it leads and what is committed.
fn answers(member: &mut Member) -> Vec<(Ticket, Result<Response, RequestError>)> {
    let mut answers = Vec::new();
    while let Some(output) = member.poll_output() {
        match output {
            Output::Answer { ticket, answer } => answers.push((ticket, answer)),
            Output::Confirm(confirmation) => {
                member.handle_confirmed(NOW, confirmation, Some(LogIndex(5)));
            }
            Output::Propose(_)
            | Output::Campaign
            | Output::Resign
            | Output::Commit(_)
            | Output::Waits(_)
            | Output::Expired(_) => {}
        }
    }
    answers
}

/// A primary with three leases, of which the second expires first.
fn lessor() -> Lessor {
    let mut lessor = Lessor::new(&Config::default());
    lessor.promote(NOW, Duration::ZERO);
    for (number, secs) in [(1, 30), (2, 10), (3, 30)] {
        let ttl = Ttl::from_secs(secs);
        lessor.apply(NOW, Command::Grant { id: id(number), ttl }).unwrap();
    }
    effects(&mut lessor);
    lessor
}

fn items(numbers: std::ops::Range<u32>) -> Vec<Item> {
    numbers.map(|number| Item::from(format!("{number:05}"))).collect()
}

fn effects(lessor: &mut Lessor) -> Vec<Effect> {
    std::iter::from_fn(|| lessor.poll_effect()).collect()
}

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}

const NOW: Instant = Instant::from_secs(1);
