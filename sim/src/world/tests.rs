//! What a report shows of a run.

use std::time::Duration;

use lessor::{LeaseId, MemberId, Term};

use super::{HostAction, NEEDS_HANDLE, World};
use crate::env::packet::Packet;
use crate::env::raft::{Envelope, Message};
use crate::judge::{Property, Violation};
use crate::record::coverage::MARKS;
use crate::record::trace::Line;
use crate::scenario::{Fault, FaultKind, Scenario, Span};

#[test]
fn what_is_shown_of_a_failure_ends_where_the_lease_was_last_heard_of() {
    let mut report = World::new(&scenario()).report();
    let what = "member 1 never answered request 3, renew lease 7, which came at 20.000";
    report.violations = vec![Violation {
        property: Property::L6,
        what: what.to_owned(),
        at: Duration::from_secs(99),
        member: Some(MemberId(1)),
        lease: LeaseId::new(7),
        lessee: None,
    }];
    for second in 1..90 {
        let (kind, words) = match second {
            20 => ("apply", "#5 renew lease 7".to_owned()),
            21 => ("apply", "#6 renew lease 77".to_owned()),
            _ => ("role", format!("request {second}: promote; it is primary")),
        };
        let at = Duration::from_secs(second);
        report.trace.show(Line { at, member: None, kind, words });
    }
    let shown = report.relevant(6);
    let seconds: Vec<_> = shown.iter().map(|line| line.at.as_secs()).collect();
    assert_eq!(seconds, [19, 20, 22, 23, 24, 25]);
}

#[test]
fn what_a_host_does_not_show_is_hidden_by_names_that_there_are() {
    let mut world = World::new(&scenario());
    let judged = world.report().judged;
    let unseen = judged.iter().filter(|(_, count)| *count == 0).count();
    assert_eq!(world.report().hidden.len(), unseen, "nothing was shown of any member");
    world.unseen.clear();
    assert!(world.report().hidden.is_empty());
    world.has_no_handle();
    let hidden = world.report().hidden;
    assert_eq!(hidden.len(), NEEDS_HANDLE.len());
    for name in hidden {
        let is_mark = MARKS.iter().any(|(_, mark, _)| *mark == name);
        assert!(
            Property::of_id(name).is_some() || is_mark || name == FaultKind::Observe.name(),
            "{name}"
        );
    }
}

#[test]
fn a_message_that_is_slowed_down_comes_later_and_whole() {
    let (from, to) = (MemberId(1), MemberId(2));
    let mut world = World::new(&scenario());
    let by = Duration::from_secs(1);
    world.injected.lasting.begin(0, Fault::Delay { from, to, by: Span(by), span: None });
    let vote = |term| Envelope { from, to, term: Term(term), message: Message::Voted(true) };
    world.post(Packet::Raft(vote(1)));
    world.set_now(Duration::from_millis(500));
    world.post(Packet::Raft(vote(2)));
    let mut sent_by = |millis| {
        world.set_now(Duration::from_millis(millis));
        world.advance();
        let actions = std::iter::from_fn(|| world.poll_action());
        let sent = actions.filter_map(|action| {
            let HostAction::Send(Packet::Raft(envelope)) = action else { return None };
            Some(envelope.term)
        });
        sent.collect::<Vec<_>>()
    };
    assert_eq!(sent_by(999), []);
    assert_eq!(sent_by(1_000), [Term(1)]);
    assert_eq!(sent_by(1_499), []);
    assert_eq!(sent_by(1_500), [Term(2)]);
}

fn scenario() -> Scenario {
    let text = "schema = 1\nduration = \"99s\"\n";
    Scenario::parse("x.toml", text).expect("it is one")
}
