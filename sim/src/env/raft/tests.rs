//! The rules one by one, then all of them under an adversarial network; each planted bug is found.

use rand_chacha::rand_core::SeedableRng;

use super::*;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Planted {
    VotesTwice,
    AcceptsShortLogs,
    CommitsByCounting,
    ConfirmsAlone,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const DELAYS: Delays = Delays { commit: ms(2), apply: ms(1), confirm: ms(1) };

fn m(number: u64) -> MemberId {
    MemberId(number)
}

/// A group whose network is a list.
struct Group {
    log: Raft,
    now: Duration,
    mail: Vec<Envelope>,
    /// Nothing reaches these, and nothing leaves them.
    cut: BTreeSet<MemberId>,
    /// What each member's process was handed, by index.
    handed: BTreeMap<MemberId, u64>,
    confirmed: Vec<(MemberId, u64, Option<LogIndex>)>,
    asked_at: BTreeMap<u64, LogIndex>,
    notes: Vec<Note>,
    sequence: u64,
    /// How often a follower has answered that entries do not follow on its log.
    refused: usize,
}

impl Group {
    fn new(members: u8, seed: u64, compact_every: Option<u64>) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let mut group = Self {
            log: Raft::new(members, DELAYS, compact_every, random),
            now: Duration::ZERO,
            mail: Vec::new(),
            cut: BTreeSet::new(),
            handed: BTreeMap::new(),
            confirmed: Vec::new(),
            asked_at: BTreeMap::new(),
            notes: Vec::new(),
            sequence: 0,
            refused: 0,
        };
        for member in group.log.members() {
            group.start(member, 0);
        }
        group
    }

    fn start(&mut self, member: MemberId, applied: u64) {
        self.handed.insert(member, applied);
        self.log.start(self.now, member, LogIndex(applied));
        self.collect();
    }

    fn elect(&mut self, member: MemberId) {
        self.log.elect(self.now, member);
        self.collect();
    }

    /// Proposes on a member that believes it leads.
    fn propose(&mut self, member: MemberId) {
        let Part::Leader(_) = &self.log.peer(member).part else { return };
        self.sequence += 1;
        let id = lessor::LeaseId::new(1).expect("it is not 0");
        let command = Command::Revoke { id };
        let proposal =
            Proposal { term: self.log.peer(member).term, sequence: self.sequence, command };
        self.log.propose(self.now, member, proposal);
        self.collect();
    }

    fn confirm(&mut self, member: MemberId) {
        self.sequence += 1;
        self.asked_at.insert(self.sequence, self.log.last());
        self.log.confirm(self.now, member, Confirmation(self.sequence));
        self.collect();
    }

    /// Takes messages and events, and checks what members are handed.
    fn collect(&mut self) {
        while let Some(envelope) = self.log.poll_message() {
            self.mail.push(envelope);
        }
        while let Some((member, event)) = self.log.poll_event() {
            let handed = self.handed.entry(member).or_default();
            match event {
                LogEvent::Committed(entries) => {
                    for entry in entries {
                        assert!(entry.index.0 <= *handed + 1, "a gap: {handed}, then {entry:?}");
                        let known =
                            self.log.committed_after(0).nth(position(MemberId(entry.index.0)));
                        assert_eq!(known, Some(&entry));
                        *handed = entry.index.0.max(*handed);
                    }
                }
                LogEvent::Installed(state) => *handed = state.applied.0,
                LogEvent::Confirmed { confirmation, committed } => {
                    if let Some(committed) = committed {
                        assert!(
                            committed >= self.asked_at[&confirmation.0],
                            "a stale confirmation"
                        );
                    }
                    self.confirmed.push((member, confirmation.0, committed));
                }
                LogEvent::Role(_) => {}
            }
        }
        self.notes.extend(self.log.take_notes());
    }

    /// Delivers one message, unless it is cut off.
    fn deliver(&mut self, index: usize) {
        let envelope = self.mail.remove(index);
        let cut = self.cut.contains(&envelope.from) || self.cut.contains(&envelope.to);
        if !cut {
            let refuses = matches!(envelope.message, Message::Appended { agrees: false, .. });
            self.refused += usize::from(refuses);
            self.log.received(self.now, envelope);
            self.collect();
        }
    }

    /// Lets time pass with a perfect network, but for those who are cut off.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            while !self.mail.is_empty() {
                self.deliver(0);
            }
            let next = self.log.poll_timeout().unwrap_or(end).max(self.now + ms(1));
            self.now = next.min(end);
            self.log.advance(self.now);
            self.collect();
        }
    }

    fn noted(&self, which: impl Fn(&Note) -> bool) -> usize {
        self.notes.iter().filter(|note| which(note)).count()
    }
}

fn led() -> Group {
    let mut group = Group::new(3, 1, None);
    group.elect(m(1));
    group.pass(ms(100));
    assert_eq!(group.log.leader(), Some(m(1)));
    group
}

#[test]
fn what_a_leader_proposes_is_handed_to_all_and_then_it_is_silent() {
    let mut group = led();
    group.propose(m(1));
    group.propose(m(1));
    group.pass(ms(100));
    assert_eq!(group.handed, BTreeMap::from([(m(1), 3), (m(2), 3), (m(3), 3)]));
    assert_eq!((group.log.poll_timeout(), group.mail.len()), (None, 0));
}

#[test]
fn a_member_that_is_alone_needs_nobody() {
    let mut group = Group::new(1, 1, None);
    group.elect(m(1));
    group.propose(m(1));
    group.confirm(m(1));
    group.pass(ms(50));
    assert_eq!(group.handed[&m(1)], 2);
    assert_eq!(group.confirmed, [(m(1), 2, Some(LogIndex(2)))]);
    assert_eq!(group.log.poll_timeout(), None);
}

#[test]
fn a_leader_that_is_cut_off_believes_in_itself_and_proves_nothing() {
    let mut group = led();
    group.cut.insert(m(1));
    group.propose(m(1));
    group.confirm(m(1));
    group.elect(m(2));
    group.pass(ms(3_000));
    assert_eq!((group.log.leaders(), group.log.leader()), (2, Some(m(2))));
    assert_eq!(group.confirmed, []);
    group.propose(m(2));
    group.pass(ms(100));
    group.cut.clear();
    group.pass(ms(9_000));
    assert_eq!(group.log.leaders(), 1);
    assert_eq!(group.confirmed, [(m(1), 2, None)]);
    assert_eq!(
        group.noted(|note| matches!(note, Note::Overwritten { member: MemberId(1), .. })),
        1
    );
    assert_eq!(group.handed.values().collect::<Vec<_>>(), [&3; 3]);
}

#[test]
fn a_proposal_may_commit_after_its_proposer_has_fallen() {
    let mut group = led();
    group.propose(m(1));
    let to_two = group.mail.iter().position(|envelope| envelope.to == m(2)).expect("sent");
    group.deliver(to_two);
    group.mail.clear();
    group.log.crash(group.now, m(1));
    group.elect(m(3));
    group.pass(ms(100));
    assert_ne!(group.log.leader(), Some(m(3)), "its log is too short for a vote of member 2");
    group.elect(m(2));
    group.pass(ms(100));
    assert_eq!(group.log.leader(), Some(m(2)));
    let entries: Vec<_> = group.log.committed_after(0).map(|entry| entry.term).collect();
    assert_eq!(entries[1], Term(1), "the old proposal: {entries:?}");
    assert_eq!(group.handed[&m(3)], 3);
}

#[test]
fn a_long_wrong_log_is_found_in_a_few_steps() {
    let mut group = Group::new(5, 1, None);
    group.elect(m(1));
    group.pass(ms(100));
    group.cut.extend([m(3), m(4), m(5)]);
    for _ in 0..300 {
        group.propose(m(1));
    }
    group.pass(ms(100));
    assert_eq!(group.log.peer(m(2)).last(), LogIndex(301), "it has what will never be committed");
    group.cut = BTreeSet::from([m(1), m(2)]);
    group.elect(m(3));
    for _ in 0..300 {
        group.pass(ms(10));
        group.propose(m(3));
    }
    group.refused = 0;
    group.cut.clear();
    group.pass(ms(9_000));
    assert_eq!(group.handed.values().collect::<Vec<_>>(), [&302; 5]);
    assert!((1..10).contains(&group.refused), "{} refusals", group.refused);
}

#[test]
fn what_is_not_answered_is_said_again_ever_more_rarely() {
    let mut group = led();
    group.cut.extend([m(2), m(3)]);
    group.propose(m(1));
    group.pass(ms(60_000));
    let next = group.log.poll_timeout().expect("it goes on") - group.now;
    assert!(next <= ms(4_000) && group.log.peer(m(1)).committed == LogIndex(1), "{next:?}");
    group.cut.clear();
    group.pass(ms(4_100));
    assert_eq!(group.log.last(), LogIndex(2));
}

#[test]
fn who_starts_again_is_told_what_is_committed() {
    let mut group = led();
    group.propose(m(1));
    group.pass(ms(100));
    group.log.crash(group.now, m(2));
    group.start(m(2), 0);
    group.pass(ms(1_000));
    assert_eq!((group.handed[&m(2)], group.log.poll_timeout()), (2, None));
}

#[test]
fn who_is_far_behind_takes_a_whole_state() {
    let mut group = Group::new(3, 1, Some(4));
    group.elect(m(1));
    group.pass(ms(100));
    group.cut.insert(m(3));
    for _ in 0..20 {
        group.propose(m(1));
        group.pass(ms(50));
    }
    group.cut.clear();
    group.pass(ms(9_000));
    assert!(group.noted(|note| matches!(note, Note::Installed { member: MemberId(3), .. })) > 0);
    assert_eq!(group.handed[&m(3)], 21);
    // And one whose store is older than its own log.
    group.log.crash(group.now, m(2));
    group.start(m(2), 0);
    group.propose(m(1));
    group.pass(ms(9_000));
    assert_eq!(group.handed[&m(2)], 22);
}

/// The fifth member leads a term of which nobody else hears, after the first has left an entry on the
/// second; then the first leads again and brings that entry to a majority, but none of its own.
fn an_entry_of_an_earlier_term_on_a_majority(planted: Option<Planted>) -> Group {
    let mut group = Group::new(5, 1, None);
    group.log.planted = planted;
    group.elect(m(1));
    group.pass(ms(100));
    group.propose(m(1));
    group.mail.retain(|envelope| envelope.to == m(2));
    group.deliver(0);
    group.mail.clear();
    group.log.crash(group.now, m(1));
    group.cut.insert(m(2));
    group.elect(m(5));
    while group.log.leader() != Some(m(5)) {
        group.log.advance(group.now);
        group.collect();
        group.deliver(0);
    }
    group.log.crash(group.now, m(5));
    group.mail.clear();
    group.cut.clear();
    group.start(m(1), 1);
    group.cut.insert(m(5));
    for _ in 0..2 {
        group.elect(m(1));
        while group.log.peer(m(3)).last() < LogIndex(2) && !group.mail.is_empty() {
            group.deliver(0);
        }
    }
    assert_eq!(group.log.peer(m(3)).term_at(LogIndex(2)), Some(Term(1)));
    while group.log.peer(m(1)).committed < LogIndex(2) && !group.mail.is_empty() {
        group.mail.retain(|envelope| !matches!(&envelope.message, Message::Append(append) if append.previous > LogIndex(1)));
        if !group.mail.is_empty() {
            group.deliver(0);
        }
    }
    group.now += ms(10);
    group.log.advance(group.now);
    group.collect();
    group
}

#[test]
fn an_entry_of_an_earlier_term_commits_only_together_with_one_of_this_term() {
    let group = an_entry_of_an_earlier_term_on_a_majority(None);
    assert_eq!(group.log.last(), LogIndex(1));
    let wrong = an_entry_of_an_earlier_term_on_a_majority(Some(Planted::CommitsByCounting));
    assert_eq!(wrong.log.last(), LogIndex(2), "the canary");
}

/// Runs a group through everything that can happen to it.
fn adversary(seed: u64, planted: Option<Planted>) -> Group {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut below =
        |end: usize| usize::try_from(random.next_u64() % end.max(1) as u64).unwrap_or(0);
    let members = [1, 2, 3, 3, 4, 5, 5][below(7)];
    let compact = [None, Some(3), Some(20)][below(3)];
    let mut group = Group::new(members, seed, compact);
    group.log.planted = planted;
    for _ in 0..1_500 {
        let member = m(1 + below(usize::from(members)) as u64);
        let up = group.log.peer(member).up;
        match below(100) {
            0..45 => {
                if !group.mail.is_empty() {
                    let index = below(group.mail.len());
                    group.deliver(index);
                }
            }
            45..50 => {
                if !group.mail.is_empty() {
                    let index = below(group.mail.len());
                    if below(2) == 0 {
                        group.mail.swap_remove(index);
                    } else {
                        group.mail.push(group.mail[index].clone());
                    }
                }
            }
            50..65 => group.propose(member),
            65..70 => group.confirm(member),
            70..74 => group.elect(member),
            74 if up => group.log.crash(group.now, member),
            75..80 if !up => {
                let applied = group.handed[&member].saturating_sub(below(4) as u64);
                group.start(member, applied);
            }
            80 => group.log.pause(group.now, member, below(2) == 0),
            81 => group.log.resign(group.now, member),
            82 => group.log.repeat(member, 3),
            83 => {
                if !group.cut.remove(&member) {
                    group.cut.insert(member);
                }
            }
            _ => {
                group.now += ms(below(60) as u64);
                group.log.advance(group.now);
            }
        }
        group.collect();
    }
    // All heals: it converges, and serves.
    group.cut.clear();
    for member in group.log.members() {
        group.log.pause(group.now, member, false);
        if !group.log.peer(member).up {
            let applied = group.handed[&member];
            group.start(member, applied);
        }
    }
    group.pass(ms(20_000));
    // A candidate may be behind in its term or its log, and is ahead in its term the next time.
    for number in (1..=u64::from(members)).cycle().take(20) {
        if group.log.leader().is_none_or(|leader| {
            group.log.peers.iter().any(|peer| peer.term > group.log.peer(leader).term)
        }) {
            group.elect(m(number));
            group.pass(ms(10_000));
        }
    }
    let leader = group.log.leader().expect("somebody leads");
    group.propose(leader);
    group.pass(ms(10_000));
    let last = group.log.last().0;
    assert!(group.handed.values().all(|handed| *handed == last), "{last}: {:?}", group.handed);
    assert_eq!((group.log.poll_timeout(), group.log.leaders()), (None, 1));
    group
}

#[test]
fn an_adversary_finds_no_way_round_the_rules() {
    let (mut committed, mut overwritten, mut installed) = (0, 0, 0);
    for seed in 0..300 {
        let group = adversary(seed, None);
        committed += group.log.last().0;
        overwritten += group.noted(|note| matches!(note, Note::Overwritten { .. }));
        installed += group.noted(|note| matches!(note, Note::Installed { .. }));
    }
    assert!(
        committed > 3_000 && overwritten > 100 && installed > 100,
        "{committed} {overwritten} {installed}"
    );
}

#[test]
fn canary_each_rule_that_is_broken_is_found() {
    use Planted::{AcceptsShortLogs, ConfirmsAlone, VotesTwice};
    for planted in [VotesTwice, AcceptsShortLogs, ConfirmsAlone] {
        let fails = |seed| {
            let run = std::panic::AssertUnwindSafe(|| drop(adversary(seed, Some(planted))));
            std::panic::catch_unwind(run).is_err()
        };
        assert!((0..4_000).any(fails), "{planted:?} is not found");
    }
}
