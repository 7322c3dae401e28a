//! The member as it is: inputs in, outputs out, with a log that the test plays.

use std::time::Duration;

use lessor::backend::{Backend, MemoryBackend};
use lessor::{
    Change, Command, Config, Confirmation, Entry, Error, Instant, Item, LeaseId, LeaseOrder,
    LeaseRecord, LogIndex, Member, MemberId, Output, Proposal, Request, RequestError, RequestId,
    Response, Role, Snapshot, StateAt, Term, Ticket, Ttl, Write,
};

/// Issue 14: the time of a lease cost a copy of all its items.
#[test]
fn a_lease_is_read_without_its_items_and_they_page_by_page() {
    let mut host = Host::with_lease(7, 10);
    let items: Vec<Item> = (0..10).map(|number| Item::from(format!("{number}"))).collect();
    host.ask(Request::Attach { id: id(7), items: items.clone() });
    let proposal = host.proposals().remove(0);
    host.commit(vec![entry(host.member.applied().0 + 1, 1, Some(proposal))]);
    host.take();
    let mut ask = |request| {
        host.ask(request);
        host.confirm();
        host.answers().remove(0).1.unwrap()
    };
    let Response::TimeToLive(Some(found)) = ask(Request::TimeToLive { id: id(7) }) else {
        panic!("the lease is there")
    };
    assert_eq!((found.record.id, found.items), (id(7), 10));
    assert!(found.remaining <= Duration::from_secs(10));
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let request = Request::Items { id: id(7), after: after.clone(), limit: 4 };
        let Response::Items(Some(page)) = ask(request) else { panic!("the lease is there") };
        after = page.last().cloned().or(after);
        seen.extend(page.iter().cloned());
        if page.len() < 4 {
            break;
        }
    }
    assert_eq!(seen, items);
    let none = Request::Items { id: id(8), after: None, limit: 4 };
    assert_eq!(ask(none), Response::Items(None));
    assert_eq!(ask(Request::TimeToLive { id: id(8) }), Response::TimeToLive(None));
}

/// Issue 14: a page of very many leases held up everything else.
#[test]
fn a_page_waits_until_the_leases_are_in_its_order_and_holds_nobody_up() {
    let record = |number| LeaseRecord { id: id(number), ttl: Ttl::from_secs(60), remaining: None };
    let leases: Vec<_> = (1..=25_000).map(record).collect();
    let snapshot = Snapshot { leases, items: Vec::new() };
    for order in [LeaseOrder::Id, LeaseOrder::Expiry] {
        let mut host = Host::primary();
        host.member.handle_role(host.now, Role::Follower { leader: None });
        let state = StateAt { applied: LogIndex(9), snapshot: snapshot.clone() };
        host.member.handle_installed(host.now, &state).unwrap();
        host.member.handle_role(host.now, leader(2, 0));
        for _ in 0..3 {
            host.ask(Request::Leases { order, after: None, limit: 2 });
            host.confirm();
        }
        host.ask(Request::Renew { id: id(7) });
        host.confirm();
        let renewed = Ok(Response::Renewed { ttl: Ttl::from_secs(60) });
        assert_eq!(host.answers(), [(4, renewed)], "the renew alone");
        host.member.forget(host.now, Ticket(2));
        host.member.handle_timeout(host.now);
        assert_eq!(host.answers(), [], "20,000 are in order");
        host.member.handle_timeout(host.now);
        let answers = host.answers();
        assert_eq!(answers.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [1, 3]);
        for (_, answer) in answers {
            let Ok(Response::Leases(page)) = answer else { panic!("a page, not {answer:?}") };
            assert!(page.iter().map(|lease| lease.record.id).eq([id(1), id(2)]), "{page:?}");
        }
        host.ask(Request::Leases { order, after: None, limit: 2 });
        host.confirm();
        assert_eq!(host.answers().len(), 1, "at once from now on");
    }
}

// Promotion

#[test]
fn a_leader_is_not_promoted_before_the_barrier_is_applied() {
    let mut host = Host::new();
    host.member.handle_role(host.now, leader(1, 2));
    host.commit(vec![entry(1, 0, None)]);
    assert!(!host.member.is_primary());
    host.commit(vec![entry(2, 0, None)]);
    assert!(host.member.is_primary());
}

/// Found by random groups: a checkpoint of the first reign could land behind a renew of the second.
#[test]
fn a_term_that_was_left_is_not_led_again() {
    let mut host = Host::primary();
    host.member.handle_role(host.now, Role::Follower { leader: None });
    host.member.handle_role(host.now, leader(1, 0));
    assert!(!host.member.is_primary());
    host.member.handle_role(host.now, leader(2, 0));
    assert!(host.member.is_primary());
}

/// D18: found by a law. The request had less time than one before it, and was looked at after that.
#[test]
fn a_request_has_its_whole_time_though_the_clock_goes_back() {
    let mut host = Host::primary();
    host.member.handle_timeout(Instant::from_secs(10));
    host.member.request(Instant::from_secs(7), Ticket(1), grant(7, 10));
    let patience = Config::default().request_timeout;
    assert_eq!(host.member.poll_timeout(), Some(Instant::from_secs(10).saturating_add(patience)));
}

#[test]
fn a_follower_answers_that_it_is_not_primary_and_who_is() {
    let mut host = Host::new();
    let leader = Some(MemberId(3));
    host.member.handle_role(host.now, Role::Follower { leader });
    host.ask(grant(7, 10));
    assert_eq!(host.answers(), [(1, Err(RequestError::NotPrimary { leader }))]);
    let not_primary = RequestError::from(Error::NotPrimary);
    assert_eq!(not_primary, RequestError::NotPrimary { leader: None });
    assert_eq!(RequestError::from(Error::LeaseExists), RequestError::Refused(Error::LeaseExists));
}

// Proposals and their answers

#[test]
fn an_answer_comes_behind_the_commit_of_what_it_speaks_of() {
    let mut host = Host::primary();
    host.ask(grant(7, 10));
    let proposal = host.proposals().remove(0);
    host.member.handle_committed(host.now, vec![entry(1, 1, Some(proposal))]);
    let outputs = host.outputs();
    let granted = Ok(Response::Granted { id: id(7), ttl: Ttl::from_secs(10), index: LogIndex(1) });
    assert!(
        matches!(&outputs[0], Output::Commit(transaction) if transaction.applied == LogIndex(1))
    );
    assert_eq!(outputs[1], Output::Answer { ticket: Ticket(1), answer: granted });
}

#[test]
fn commits_share_a_transaction_until_one_is_taken() {
    let mut host = Host::primary();
    for number in 1..=3 {
        host.ask(grant(number, 10));
    }
    let mut proposals = host.proposals().into_iter();
    let mut next = |index| vec![entry(index, 1, proposals.next())];
    host.member.handle_committed(host.now, next(1));
    host.member.handle_committed(host.now, next(2));
    let Some(Output::Commit(first)) = host.member.poll_output() else { panic!("no commit") };
    assert_eq!((first.after, first.applied, first.changes.len()), (LogIndex(0), LogIndex(2), 2));
    host.member.handle_committed(host.now, next(3));
    assert_eq!(host.outputs(), [], "nothing is done beside a commit that speaks of it");
    host.member.handle_persisted(host.now, first.applied);
    let commits: Vec<_> = host.outputs().into_iter().filter_map(commit).collect();
    assert_eq!(commits.len(), 1);
    assert_eq!((commits[0].after, commits[0].applied), (LogIndex(2), LogIndex(3)));
}

#[test]
fn commits_share_a_transaction_though_what_came_before_was_not_taken() {
    let mut host = Host::primary();
    host.ask(grant(1, 10));
    host.ask(grant(2, 10));
    let mut proposals = host.proposals().into_iter();
    let mut next = |index| vec![entry(index, 1, proposals.next())];
    host.ask(grant(3, 10));
    host.member.handle_committed(host.now, next(1));
    host.member.handle_committed(host.now, next(2));
    let commits: Vec<_> = host.outputs().into_iter().filter_map(commit).collect();
    assert_eq!(commits.len(), 1);
    assert_eq!((commits[0].applied, commits[0].changes.len()), (LogIndex(2), 2));
}

#[test]
fn an_entry_is_applied_once() {
    let mut host = Host::primary();
    host.ask(grant(7, 10));
    let proposal = host.proposals().remove(0);
    host.commit(vec![entry(1, 1, Some(proposal.clone()))]);
    let digest = host.member.lessor().digest();
    host.take();
    host.commit(vec![entry(1, 1, Some(proposal))]);
    assert_eq!(host.take(), []);
    assert_eq!(host.member.lessor().digest(), digest);
}

/// etcd #12528, #15247: what a deposed primary decided changes nothing in another's term.
#[test]
fn an_entry_of_another_term_than_its_proposal_is_not_applied() {
    let mut host = Host::new();
    let command = Command::Grant { id: id(7), ttl: Ttl::from_secs(10) };
    let proposal = Proposal { term: Term(1), sequence: 1, command };
    host.commit(vec![entry(1, 2, Some(proposal))]);
    assert!(host.member.lessor().is_empty());
    assert_eq!(host.member.applied(), LogIndex(1));
}

#[test]
fn a_proposal_that_a_later_one_has_overtaken_is_of_unknown_fate() {
    let mut host = Host::primary();
    host.ask(grant(1, 10));
    host.ask(grant(2, 10));
    let second = host.proposals().remove(1);
    host.commit(vec![entry(1, 1, Some(second))]);
    let granted = Response::Granted { id: id(2), ttl: Ttl::from_secs(10), index: LogIndex(1) };
    assert_eq!(host.answers(), [(1, Err(RequestError::Unknown)), (2, Ok(granted))]);
}

/// Another member's numbers say nothing of one's own.
#[test]
fn an_entry_of_an_earlier_reign_settles_no_proposal_of_this_one() {
    let mut host = Host::new();
    host.member.handle_role(host.now, leader(2, 0));
    host.ask(grant(1, 10));
    let command = Command::Grant { id: id(2), ttl: Ttl::from_secs(10) };
    host.commit(vec![entry(1, 1, Some(Proposal { term: Term(1), sequence: 99, command }))]);
    assert_eq!(host.answers(), []);
    let proposal = host.proposals().remove(0);
    host.commit(vec![entry(2, 2, Some(proposal))]);
    assert_eq!(host.answers().len(), 1);
}

#[test]
fn what_was_proposed_is_of_unknown_fate_when_leadership_is_lost_or_time_is_up() {
    let mut host = Host::primary();
    host.ask(grant(1, 10));
    host.sleep(7);
    host.ask(grant(2, 10));
    assert_eq!(host.answers(), [(1, Err(RequestError::Unknown))]);
    host.member.handle_role(host.now, Role::Follower { leader: None });
    assert_eq!(host.answers(), [(2, Err(RequestError::Unknown))]);
    assert!(!host.member.is_primary());
}

#[test]
fn a_refusal_is_answered_when_it_is_applied() {
    let mut host = Host::primary();
    host.ask(Request::Revoke { id: id(7) });
    let proposal = host.proposals().remove(0);
    host.commit(vec![entry(1, 1, Some(proposal))]);
    assert_eq!(host.answers(), [(1, Err(Error::LeaseNotFound.into()))]);
}

#[test]
fn the_minimum_ttl_is_raised_where_a_grant_is_proposed_and_nowhere_else() {
    let mut host = Host::primary();
    host.ask(Request::Grant { id: Some(id(7)), ttl: Ttl::MIN });
    let raised = host.proposals().remove(0).command;
    assert_eq!(raised, Command::Grant { id: id(7), ttl: Ttl::from_secs(2) });
    let mut follower = Host::new();
    let command = Command::Grant { id: id(8), ttl: Ttl::MIN };
    follower.commit(vec![entry(1, 1, Some(Proposal { term: Term(1), sequence: 1, command }))]);
    assert_eq!(follower.member.lessor().lookup(id(8)).unwrap().record.ttl, Ttl::MIN);
}

#[test]
fn ids_that_nobody_chose_differ() {
    let mut host = Host::primary();
    for _ in 0..100 {
        host.ask(Request::Grant { id: None, ttl: Ttl::from_secs(10) });
    }
    let mut ids: Vec<_> = host
        .proposals()
        .into_iter()
        .map(|proposal| {
            let Command::Grant { id, .. } = proposal.command else { panic!("no grant") };
            id
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

/// Else a revoke of the old lease that comes twice would end the new one.
#[test]
fn a_grant_of_an_id_in_use_is_answered_without_a_proposal_once_leadership_is_confirmed() {
    let mut host = Host::with_lease(7, 10);
    host.ask(grant(7, 20));
    assert_eq!(host.proposals(), []);
    host.confirm();
    assert_eq!(host.answers(), [(2, Err(Error::LeaseExists.into()))]);
}

// Renews and reads

#[test]
fn a_renew_waits_for_the_confirmation_and_then_for_the_log() {
    let mut host = Host::with_lease(7, 10);
    host.ask(Request::Renew { id: id(7) });
    let asked = host.confirmations();
    assert_eq!(host.answers(), []);
    let committed = Some(LogIndex(2));
    host.member.handle_confirmed(host.now, *asked.last().unwrap(), committed);
    assert_eq!(host.answers(), [], "entry 2 was committed by then, and is not applied");
    host.commit(vec![entry(2, 1, None)]);
    assert_eq!(host.answers(), [(2, Ok(Response::Renewed { ttl: Ttl::from_secs(10) }))]);
}

#[test]
fn requests_that_come_together_share_a_question() {
    let mut host = Host::with_lease(7, 10);
    for _ in 0..10 {
        host.ask(Request::Lookup { id: id(7) });
    }
    // One for the first, and one for those that came after it was asked.
    assert_eq!(host.confirmations().len(), 1);
    host.confirm_number(host.asked);
    assert_eq!(host.answers().len(), 1);
    host.confirm();
    assert_eq!(host.answers().len(), 9);
}

#[test]
fn a_confirmation_that_fails_demotes_at_once() {
    let mut host = Host::with_lease(7, 10);
    host.ask(Request::Renew { id: id(7) });
    let asked = host.confirmations();
    host.member.handle_confirmed(host.now, asked[0], None);
    assert_eq!(host.answers(), [(2, Err(RequestError::NotPrimary { leader: None }))]);
    assert!(!host.member.is_primary());
}

/// Found by random scenarios: where only the latest counted, questions could come faster than answers.
#[test]
fn an_answer_counts_though_another_question_was_asked_since() {
    let mut host = Host::with_lease(7, 1_000);
    host.ask(Request::Lookup { id: id(7) });
    let first = host.confirmations()[0];
    host.sleep(4);
    host.ask(Request::Lookup { id: id(7) });
    host.sleep(3);
    let second = host.confirmations()[0];
    assert!(first < second, "the first request has timed out, and the member asks anew");
    host.ask(Request::Lookup { id: id(7) });
    host.answers();
    host.member.handle_confirmed(host.now, first, Some(LogIndex(1)));
    assert_eq!(host.answers(), [], "it says nothing of what came after the question");
    host.member.handle_confirmed(host.now, second, Some(LogIndex(1)));
    assert_eq!(host.answers().len(), 1);
}

#[test]
fn an_answer_to_a_question_of_an_earlier_reign_counts_for_nothing() {
    let mut host = Host::with_lease(7, 10);
    host.ask(Request::Renew { id: id(7) });
    let old = host.confirmations()[0];
    host.member.handle_role(host.now, Role::Follower { leader: None });
    host.member.handle_role(host.now, leader(2, 1));
    host.ask(Request::Renew { id: id(7) });
    host.answers();
    host.member.handle_confirmed(host.now, old, None);
    assert!(host.member.is_primary());
    host.member.handle_confirmed(host.now, old, Some(LogIndex(1)));
    assert_eq!(host.answers(), []);
}

/// S1c: the answer waits until the checkpoint is taken back, durably.
#[test]
fn a_renew_of_a_checkpointed_lease_is_answered_behind_the_commit_of_its_unset() {
    let mut host = Host::with_lease(7, 1_000);
    let checkpoint = lessor::Checkpoint { id: id(7), remaining: Some(Ttl::from_secs(500)) };
    let command = Command::Checkpoint { checkpoints: vec![checkpoint] };
    host.commit(vec![entry(2, 1, Some(Proposal { term: Term(1), sequence: 99, command }))]);
    host.take();
    host.ask(Request::Renew { id: id(7) });
    host.confirm();
    let unset = host.proposals().remove(0);
    assert_eq!(host.answers(), []);
    host.member.handle_committed(host.now, vec![entry(3, 1, Some(unset))]);
    let outputs = host.outputs();
    assert!(matches!(outputs[0], Output::Commit(_)));
    assert!(matches!(outputs[1], Output::Answer { answer: Ok(Response::Renewed { .. }), .. }));
}

// Expired leases

#[test]
fn an_expired_batch_is_revoked_after_a_confirmation() {
    let mut host = Host::with_lease(7, 10);
    host.sleep(10);
    let outputs = host.take();
    assert!(outputs.iter().any(|output| matches!(output, Output::Expired(_))));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Propose(_))));
    host.confirm();
    let revokes: Vec<_> = host.proposals().into_iter().map(|p| p.command).collect();
    assert_eq!(revokes, [Command::Revoke { id: id(7) }]);
}

/// Found by random scenarios: the id may be that of another lease by the time of the confirmation.
#[test]
fn a_lease_that_was_granted_anew_meanwhile_is_spared() {
    let mut host = Host::with_lease(7, 10);
    host.sleep(10);
    host.take();
    let command = |sequence, command| Some(Proposal { term: Term(1), sequence, command });
    let granted = Command::Grant { id: id(7), ttl: Ttl::from_secs(60) };
    host.commit(vec![
        entry(2, 1, command(50, Command::Revoke { id: id(7) })),
        entry(3, 1, command(51, granted)),
    ]);
    host.confirm();
    assert_eq!(host.proposals(), []);
}

// The rest

#[test]
fn stop_answers_everything_once_and_everything_later_as_stopped() {
    let mut host = Host::with_lease(7, 10);
    host.ask(Request::Revoke { id: id(7) });
    host.ask(Request::Renew { id: id(7) });
    host.member.stop(host.now);
    host.member.stop(host.now);
    let not_primary = Err(RequestError::NotPrimary { leader: None });
    assert_eq!(host.answers(), [(2, Err(RequestError::Unknown)), (3, not_primary)]);
    host.ask(Request::Renew { id: id(7) });
    assert_eq!(host.answers(), [(4, Err(RequestError::Stopped))]);
    assert_eq!(host.member.poll_timeout(), None);
}

#[test]
fn an_installed_state_replaces_everything_in_one_transaction() {
    let mut host = Host::with_lease(7, 10);
    let record = LeaseRecord { id: id(8), ttl: Ttl::from_secs(5), remaining: None };
    let items = vec![(Item::from("a"), id(8))];
    let state =
        StateAt { applied: LogIndex(9), snapshot: Snapshot { leases: vec![record], items } };
    host.member.handle_installed(host.now, &state).unwrap();
    let commits: Vec<_> = host.take().into_iter().filter_map(commit).collect();
    assert_eq!(commits.len(), 1);
    assert!(commits[0].reset);
    assert_eq!((commits[0].after, commits[0].applied), (LogIndex(1), LogIndex(9)));
    let writes = [Write::PutLease(record), Write::PutItem("a".into(), id(8))];
    assert_eq!(commits[0].changes, writes.map(Change::Write));
    assert_eq!(host.member.state().as_ref(), Some(&state));
    assert!(!host.member.is_primary());
    host.member.handle_installed(host.now, &StateAt::default()).unwrap();
    assert_eq!(host.member.state().as_ref(), Some(&state), "one that is behind is ignored");
}

/// Members that differ in role, settings and deliveries: same indexes, same digests, same stores.
#[test]
fn members_that_apply_the_same_log_are_equal_however_it_was_delivered() {
    let slow = Config::default().with_min_ttl(Ttl::from_secs(60)).with_hash_key(7);
    let commands = (1..=400_u64).map(|step| {
        let id = id(i64::try_from(step * 7 % 23).unwrap() + 1);
        let items =
            vec![Item::from(format!("k{}", step % 11)), Item::from(format!("k{}", step % 5))];
        match step % 6 {
            0 | 1 => Command::Grant { id, ttl: Ttl::from_millis(step) },
            2 | 3 => Command::Attach { id, items },
            4 => Command::Detach { id, items },
            _ => Command::Revoke { id },
        }
    });
    let log: Vec<Entry> = (1..)
        .zip(commands)
        .map(|(index, command)| {
            entry(index, 1, Some(Proposal { term: Term(1), sequence: index, command }))
        })
        .collect();
    let mut ends = Vec::new();
    for (config, size, leads) in [(Config::default(), 1, true), (slow, 37, false)] {
        let (mut store, mut host) = (MemoryBackend::new(), Host::with(&config));
        if leads {
            host.member.handle_role(host.now, leader(1, 0));
        }
        for chunk in log.chunks(size) {
            host.member.handle_committed(host.now, chunk.to_vec());
            for transaction in host.outputs().into_iter().filter_map(commit) {
                store.commit(transaction).unwrap();
            }
        }
        host.member.lessor().check();
        let stored = store.load().unwrap();
        assert_eq!(stored.snapshot, host.member.lessor().snapshot());
        assert_eq!(stored.digest, host.member.lessor().digest());
        ends.push(stored);
    }
    assert_eq!(ends[0], ends[1]);
    assert!(ends[0].snapshot.leases.len() > 3);
}

#[test]
fn an_empty_item_is_not_attached() {
    let mut host = Host::with_lease(7, 60);
    let attach =
        |keys: [&str; 2]| Request::Attach { id: id(7), items: keys.map(Item::from).into() };
    host.ask(attach(["a", ""]));
    host.ask(Request::Claim { id: id(7), items: vec!["".into()] });
    let refused = RequestError::Refused(Error::EmptyItem);
    assert_eq!(host.answers(), [(2, Err(refused)), (3, Err(refused))]);
    assert_eq!(host.proposals(), []);
    host.ask(attach(["a", "b"]));
    assert_eq!(host.proposals().len(), 1);
    // The log of an earlier version may hold one; that can be detached.
    let command = Command::Attach { id: id(7), items: vec!["".into()] };
    host.commit(vec![entry(2, 1, Some(Proposal { term: Term(1), sequence: 9, command }))]);
    assert_eq!(host.member.lessor().lease_of(&"".into()), Some(id(7)));
    host.ask(Request::Detach { id: id(7), items: vec!["".into()] });
    assert_eq!(host.proposals().len(), 1);
}

// Claims and wishes

#[test]
fn a_claim_is_answered_with_its_index_or_with_who_holds_the_item() {
    let mut host = Host::with_lease(7, 60);
    host.ask(grant(8, 60));
    for number in [7, 8, 7] {
        host.ask(Request::Claim { id: id(number), items: vec!["lock".into()] });
    }
    let proposals = host.proposals().into_iter();
    host.commit((2..).zip(proposals).map(|(at, one)| entry(at, 1, Some(one))).collect());
    let at = |index| Ok(Response::Applied { index: LogIndex(index) });
    let granted = Response::Granted { id: id(8), ttl: Ttl::from_secs(60), index: LogIndex(2) };
    let held = Err(RequestError::Refused(Error::ItemHeld(id(7))));
    assert_eq!(host.answers(), [(2, Ok(granted)), (3, at(3)), (4, held), (5, at(5))]);
}

/// The first asking is of unknown fate, and was done; then nothing of it is left.
#[test]
fn a_wish_that_is_made_again_finds_its_lease() {
    let mut host = Host::primary();
    let wish = RequestId(7);
    let ask = |host: &mut Host, secs| {
        host.ask(Request::GrantOnce { request: wish, ttl: Ttl::from_secs(secs) });
    };
    let granted = |index| {
        let ttl = Ttl::from_secs(10);
        Ok(Response::Granted { id: wish.lease(), ttl, index: LogIndex(index) })
    };
    ask(&mut host, 10);
    host.sleep(7);
    assert_eq!(host.answers(), [(1, Err(RequestError::Unknown))]);
    // The first is on its way when the second is made, with another ttl.
    ask(&mut host, 20);
    let both = host.proposals().into_iter();
    host.commit((1..).zip(both).map(|(at, one)| entry(at, 1, Some(one))).collect());
    assert_eq!(host.answers(), [(2, granted(2))]);
    // The lease is there: that is a read, and proposes nothing.
    ask(&mut host, 30);
    assert_eq!((host.answers(), host.proposals()), (Vec::new(), Vec::new()));
    host.confirm();
    assert_eq!(host.answers(), [(3, granted(2))]);
    // It has ended: another one is granted.
    host.ask(Request::Revoke { id: wish.lease() });
    let revoke = host.proposals();
    host.commit(vec![entry(3, 1, revoke.into_iter().next())]);
    ask(&mut host, 10);
    let again = host.proposals();
    host.commit(vec![entry(4, 1, again.into_iter().next())]);
    assert_eq!(host.answers()[1..], [(5, granted(4))]);
}

/// A member with a clock, and what it said that nobody has looked at.
struct Host {
    member: Member,
    now: Instant,
    tickets: u64,
    /// The latest question for the leadership.
    asked: Confirmation,
    unseen: Vec<Output>,
}

impl Host {
    fn with(config: &Config) -> Self {
        let member = Member::new(config, &StateAt::default()).unwrap();
        let asked = Confirmation(0);
        Self { member, now: Instant::ZERO, tickets: 0, asked, unseen: Vec::new() }
    }

    fn new() -> Self {
        Self::with(&Config::default())
    }

    /// Leads term 1, with nothing in the log.
    fn primary() -> Self {
        let mut host = Self::new();
        host.member.handle_role(host.now, leader(1, 0));
        assert!(host.member.is_primary());
        host
    }

    /// And has granted one lease, at index 1.
    fn with_lease(number: i64, secs: u64) -> Self {
        let mut host = Self::primary();
        host.ask(grant(number, secs));
        let proposal = host.proposals().remove(0);
        host.commit(vec![entry(1, 1, Some(proposal))]);
        assert_eq!(host.answers().len(), 1);
        host.take();
        host
    }

    fn ask(&mut self, request: Request) {
        self.tickets += 1;
        self.member.request(self.now, Ticket(self.tickets), request);
    }

    fn commit(&mut self, entries: Vec<Entry>) {
        self.member.handle_committed(self.now, entries);
    }

    fn sleep(&mut self, secs: u64) {
        self.now = self.now.saturating_add(Duration::from_secs(secs));
        self.member.handle_timeout(self.now);
    }

    /// Answers the latest question with yes.
    fn confirm(&mut self) {
        self.confirmations();
        self.confirm_number(self.asked);
    }

    fn confirm_number(&mut self, confirmation: Confirmation) {
        self.member.handle_confirmed(self.now, confirmation, Some(self.member.applied()));
    }

    /// Commits are done at once.
    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.member.poll_output() {
            if let Output::Commit(transaction) = &output {
                self.member.handle_persisted(self.now, transaction.applied);
            }
            outputs.push(output);
        }
        outputs
    }

    fn take(&mut self) -> Vec<Output> {
        let new = self.outputs();
        for output in &new {
            if let Output::Confirm(confirmation) = output {
                self.asked = *confirmation;
            }
        }
        self.unseen.extend(new);
        std::mem::take(&mut self.unseen)
    }

    /// Takes the outputs that `pick` picks, and leaves the others.
    fn pick<T>(&mut self, pick: impl Fn(&Output) -> Option<T>) -> Vec<T> {
        let (mut picked, mut left) = (Vec::new(), Vec::new());
        for output in self.take() {
            match pick(&output) {
                Some(wanted) => picked.push(wanted),
                None => left.push(output),
            }
        }
        self.unseen = left;
        picked
    }

    fn proposals(&mut self) -> Vec<Proposal> {
        self.pick(|output| {
            if let Output::Propose(proposal) = output { Some(proposal.clone()) } else { None }
        })
    }

    fn confirmations(&mut self) -> Vec<Confirmation> {
        self.pick(|output| if let Output::Confirm(asked) = output { Some(*asked) } else { None })
    }

    fn answers(&mut self) -> Vec<(u64, Result<Response, RequestError>)> {
        self.pick(|output| {
            if let Output::Answer { ticket, answer } = output {
                Some((ticket.0, answer.clone()))
            } else {
                None
            }
        })
    }
}

fn commit(output: Output) -> Option<lessor::Transaction> {
    if let Output::Commit(transaction) = output { Some(transaction) } else { None }
}

fn leader(term: u64, barrier: u64) -> Role {
    Role::Leader { term: Term(term), barrier: LogIndex(barrier) }
}

fn entry(index: u64, term: u64, proposal: Option<Proposal>) -> Entry {
    Entry { index: LogIndex(index), term: Term(term), proposal }
}

fn grant(number: i64, secs: u64) -> Request {
    Request::Grant { id: Some(id(number)), ttl: Ttl::from_secs(secs) }
}

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}
