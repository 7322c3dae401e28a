//! The rules of Raft.

#[allow(clippy::wildcard_imports, reason = "one module in two files")]
use super::*;
use crate::scenario::MOST_MEMBERS;

impl Raft {
    /// Takes a message that has arrived. A peer that is down hears nothing.
    pub fn received(&mut self, now: Duration, envelope: Envelope) {
        let Envelope { from, to, term, message } = envelope;
        if !self.peer(to).up {
            return;
        }
        if term > self.peer(to).term {
            if self.step_down(to) {
                self.tell_role(to);
            }
            let peer = self.peer_mut(to);
            (peer.term, peer.voted) = (term, None);
            peer.part = Part::default();
        }
        let old = term < self.peer(to).term;
        match message {
            Message::Vote(last_term, last) => self.vote(from, to, old, (last_term, last)),
            Message::Voted(granted) if granted && !old => {
                if let Part::Candidate { votes, .. } = &mut self.peer_mut(to).part {
                    votes.insert(from);
                    self.count_votes(now, to);
                }
            }
            Message::Voted(_) => {}
            Message::Append(append) => self.appends(now, from, to, old, append),
            Message::Install(index, at, round) => {
                if !old {
                    self.follow(to, from);
                    self.take_state(to, index, at);
                }
                let matched = if old { LogIndex(0) } else { index };
                self.answer(to, from, matched, !old, round);
            }
            Message::Appended { matched, agrees, committed, round } if !old => {
                self.appended(now, from, to, (matched, agrees, committed, round));
            }
            Message::Appended { .. } => {}
        }
        self.advance(now);
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Duration) {
        for member in self.members() {
            if !self.peer(member).runs() {
                continue;
            }
            self.campaign_again(now, member);
            if matches!(self.peer(member).part, Part::Leader(_)) {
                self.commit(now, member);
                self.confirm_what_is_heard(now, member);
                self.say_again(now, member);
            }
            self.hand_out(now, member);
        }
    }

    /// When to call [`advance`](Self::advance).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let running = self.members().filter(|member| self.peer(*member).runs());
        running.filter_map(|member| self.next_of(member)).min()
    }

    fn next_of(&self, member: MemberId) -> Option<Duration> {
        let peer = self.peer(member);
        let handed = peer.ready.front().map(|(_, at)| (*at).max(peer.deaf_until));
        let own = match &peer.part {
            Part::Follower { .. } => None,
            Part::Candidate { again, .. } => Some(*again),
            Part::Leader(leader) => {
                let may_commit = |(index, _): &&(LogIndex, _)| *index <= self.reach(member);
                let commit = leader.proposed.front().filter(may_commit);
                let asked = leader.asked.front().filter(|asked| {
                    asked.round <= self.heard(member)
                        && peer.term_at(peer.committed) == Some(peer.term)
                });
                let owes =
                    |follower: &&Follower| follower.owes(peer.last(), peer.committed, leader.round);
                let again = leader.followers.values().filter(owes).map(|f| f.again).min();
                let commit = commit.map(|(_, ready)| *ready);
                [commit, asked.map(|asked| asked.ready), again].into_iter().flatten().min()
            }
        };
        handed.into_iter().chain(own).min()
    }

    fn vote(&mut self, from: MemberId, to: MemberId, old: bool, last: (Term, LogIndex)) {
        let peer = self.peer_mut(to);
        let mut granted = !old
            && peer.voted.is_none_or(|voted| voted == from)
            && last >= (peer.last_term(), peer.last());
        #[cfg(test)]
        {
            let up_to_date = last >= (self.peer(to).last_term(), self.peer(to).last());
            granted |= !old && self.has(tests::Planted::VotesTwice) && up_to_date;
            granted |= !old && self.has(tests::Planted::AcceptsShortLogs) && !up_to_date;
        }
        let peer = self.peer_mut(to);
        if granted {
            peer.voted = Some(from);
        }
        granted &= !old;
        self.send(to, from, Message::Voted(granted));
    }

    /// Makes a candidate with a majority of votes the leader.
    pub(super) fn count_votes(&mut self, now: Duration, member: MemberId) {
        let Part::Candidate { votes, .. } = &self.peer(member).part else { return };
        if 2 * votes.len() <= self.peers.len() {
            return;
        }
        let (term, barrier) = (self.peer(member).term, self.peer(member).last());
        let other = self.leaders.insert(term, member);
        assert!(other.is_none_or(|other| other == member), "two leaders in term {term}");
        let last = self.last().0;
        let longest = self.peers.iter().map(|peer| peer.last().0).max().unwrap_or_default();
        self.notes.push(Note::Elected {
            leader: member,
            term,
            barrier,
            in_flight: longest.saturating_sub(last),
            survived: barrier.0.saturating_sub(last),
        });
        let follower = Follower {
            matched: LogIndex(0),
            next: barrier.next(),
            committed: LogIndex(0),
            round: 0,
            again: now,
            wait: FIRST_WAIT,
        };
        let others = self.members().filter(|other| *other != member);
        let followers = others.map(|other| (other, follower)).collect();
        self.peer_mut(member).part = Part::Leader(Leader { followers, ..Leader::default() });
        self.events.push_back((member, LogEvent::Role(Role::Leader { term, barrier })));
        self.append(now, member, now + self.delays.commit, None);
    }

    /// Asks for votes again, and gives up at last.
    fn campaign_again(&mut self, now: Duration, member: MemberId) {
        let Part::Candidate { tries, again, .. } = &mut self.peer_mut(member).part else { return };
        if *again > now {
            return;
        }
        *tries += 1;
        *again = now + FIRST_WAIT * (1 << *tries);
        if *tries > MOST_TRIES {
            self.peer_mut(member).part = Part::default();
            let why = "no majority has answered";
            return self.notes.push(Note::NotElected { candidate: member, why });
        }
        let (term, last) = (self.peer(member).last_term(), self.peer(member).last());
        for other in self.members().filter(|other| *other != member) {
            self.send(member, other, Message::Vote(term, last));
        }
    }

    /// A leader puts an entry into its log, and sends it.
    pub(super) fn append(
        &mut self,
        now: Duration,
        member: MemberId,
        ready: Duration,
        proposal: Option<Proposal>,
    ) {
        let peer = self.peer_mut(member);
        let (index, term) = (peer.last().next(), peer.term);
        peer.log.push_back(Entry { index, term, proposal });
        if let Some(leader) = peer.leader() {
            leader.proposed.push_back((index, ready));
        }
        self.broadcast(now, member);
    }

    /// Sends to all followers what they have not been sent.
    pub(super) fn broadcast(&mut self, now: Duration, member: MemberId) {
        for other in self.members().filter(|other| *other != member) {
            self.update(now, member, other);
        }
    }

    /// Sends a follower what it has not been sent: entries, commits, the question of a round.
    fn update(&mut self, now: Duration, member: MemberId, other: MemberId) {
        let peer = &mut self.peers[position(member)];
        let (base, last, committed) = (peer.base, peer.last(), peer.committed);
        let Part::Leader(leader) = &mut peer.part else { return };
        let round = leader.round;
        let Some(follower) = leader.followers.get_mut(&other) else { return };
        if !follower.owes(last, committed, round) {
            return;
        }
        if follower.again <= now {
            follower.again = now + follower.wait;
        }
        let next = follower.next;
        let sent = LogIndex(last.0.min(next.0 - 1 + MOST_ENTRIES));
        follower.next = if next <= base { base.next() } else { sent.next() };
        let message = if next <= base {
            Message::Install(base, self.peer(member).base_term, round)
        } else {
            let previous = LogIndex(next.0 - 1);
            let peer = self.peer(member);
            let previous_term = peer.term_at(previous).unwrap_or_default();
            let entries = peer.between(next, sent);
            Message::Append(Append { previous, previous_term, entries, committed, round })
        };
        self.send(member, other, message);
    }

    /// Says again what was not answered.
    fn say_again(&mut self, now: Duration, member: MemberId) {
        for other in self.members().filter(|other| *other != member) {
            let peer = &mut self.peers[position(member)];
            let (last, committed) = (peer.last(), peer.committed);
            let Part::Leader(leader) = &mut peer.part else { return };
            let round = leader.round;
            let Some(follower) = leader.followers.get_mut(&other) else { continue };
            if follower.again <= now && follower.owes(last, committed, round) {
                follower.next = follower.matched.next();
                follower.wait = (follower.wait * 2).min(LAST_WAIT);
                self.update(now, member, other);
            }
        }
    }

    /// Something reaches somebody again, as heartbeats would soon tell: what is not answered is said
    /// again as at first.
    pub fn reconnected(&mut self, now: Duration) {
        for leader in self.peers.iter_mut().filter_map(Peer::leader) {
            for follower in leader.followers.values_mut() {
                follower.wait = FIRST_WAIT;
                follower.again = follower.again.min(now + FIRST_WAIT);
            }
        }
    }

    fn appends(&mut self, now: Duration, from: MemberId, to: MemberId, old: bool, append: Append) {
        if old {
            return self.answer(to, from, LogIndex(0), false, append.round);
        }
        self.follow(to, from);
        let (previous, count) = (append.previous, append.entries.len() as u64);
        let peer = self.peer(to);
        let known =
            previous <= peer.committed || peer.term_at(previous) == Some(append.previous_term);
        if !known {
            // What may be equal ends before all that it has of the term that is wrong there: one step
            // back for each answer would take longer than a long log of that term has time.
            let (mut hint, wrong) = (previous.min(peer.last().next()), peer.term_at(previous));
            loop {
                hint = LogIndex(hint.0.saturating_sub(1));
                if hint <= peer.committed || wrong.is_none() || peer.term_at(hint) != wrong {
                    break;
                }
            }
            let hint = hint.max(peer.committed);
            return self.answer(to, from, hint, false, append.round);
        }
        let peer = self.peer_mut(to);
        let (mut dropped, mut revokes) = (0, 0);
        for entry in append.entries {
            if entry.index <= peer.committed || peer.term_at(entry.index) == Some(entry.term) {
                continue;
            }
            let keep = usize::try_from(entry.index.0 - peer.base.0 - 1).unwrap_or(usize::MAX);
            dropped += peer.log.len().saturating_sub(keep) as u64;
            revokes += peer.log.iter().skip(keep).filter(|entry| is_revoke(entry)).count() as u64;
            peer.log.truncate(keep);
            peer.log.push_back(entry);
        }
        let matched = LogIndex(previous.0 + count);
        let committed = append.committed.min(matched);
        if committed > peer.committed {
            peer.committed = committed;
            let ready = now + self.delays.apply;
            self.peer_mut(to).ready.push_back((committed, ready));
        }
        if dropped > 0 {
            self.notes.push(Note::Overwritten { member: to, count: dropped, revokes });
        }
        self.answer(to, from, matched, true, append.round);
    }

    fn appended(
        &mut self,
        now: Duration,
        from: MemberId,
        to: MemberId,
        (matched, agrees, committed, round): (LogIndex, bool, LogIndex, u64),
    ) {
        let last = self.peer(to).last();
        let Some(leader) = self.peer_mut(to).leader() else { return };
        let Some(follower) = leader.followers.get_mut(&from) else { return };
        follower.round = follower.round.max(round);
        follower.committed = follower.committed.max(committed);
        (follower.wait, follower.again) = (FIRST_WAIT, now + FIRST_WAIT);
        if agrees {
            follower.matched = follower.matched.max(matched).min(last);
            follower.next = follower.next.max(follower.matched.next());
        } else {
            follower.next = matched.next().max(follower.matched.next());
        }
        if follower.next <= last {
            self.update(now, to, from);
        }
    }

    /// The last index that a majority has.
    fn reach(&self, member: MemberId) -> LogIndex {
        let Part::Leader(leader) = &self.peer(member).part else { return LogIndex(0) };
        let followers = leader.followers.values().map(|f| f.matched);
        self.of_a_majority(followers.chain([self.peer(member).last()]))
    }

    /// The last round that a majority has answered.
    fn heard(&self, member: MemberId) -> u64 {
        let Part::Leader(leader) = &self.peer(member).part else { return 0 };
        #[cfg(test)]
        if self.has(tests::Planted::ConfirmsAlone) {
            return leader.round;
        }
        self.of_a_majority(leader.followers.values().map(|f| f.round).chain([leader.round]))
    }

    /// The most that a majority has, of what each peer has. It is asked for at each event, so it goes
    /// without a list of its own in memory.
    fn of_a_majority<T: Copy + Default + Ord>(&self, each: impl Iterator<Item = T>) -> T {
        let mut sorted = [T::default(); MOST_MEMBERS as usize];
        for (count, one) in each.enumerate() {
            let behind = sorted[..count].partition_point(|other| *other <= one);
            sorted.copy_within(behind..count, behind + 1);
            sorted[behind] = one;
        }
        sorted[(self.peers.len() - 1) / 2]
    }

    /// Commits what a majority has, once its time has come: entries of earlier terms only together
    /// with one of its own.
    fn commit(&mut self, now: Duration, member: MemberId) {
        let peer = self.peer_mut(member);
        let nothing = peer.leader().is_some_and(|leader| leader.proposed.is_empty());
        let mut to = if nothing { LogIndex(0) } else { self.reach(member) };
        let peer = self.peer_mut(member);
        let term = peer.term;
        let mut own = None;
        if let Some(leader) = peer.leader() {
            while let Some((index, ready)) = leader.proposed.front()
                && *index <= to
                && *ready <= now
            {
                own = Some(*index);
                leader.proposed.pop_front();
            }
            if own.is_none() || leader.proposed.front().is_some() {
                to = own.unwrap_or(LogIndex(0));
            }
        }
        #[cfg(test)]
        if self.has(tests::Planted::CommitsByCounting) {
            to = to.max(self.reach(member));
        }
        let peer = self.peer_mut(member);
        if to <= peer.committed {
            return;
        }
        let fresh: Vec<_> = (peer.committed.0 + 1..=to.0)
            .filter_map(|index| peer.entry(LogIndex(index)).cloned())
            .collect();
        peer.committed = to;
        peer.ready.push_back((to, now));
        for entry in fresh {
            let known = usize::try_from(entry.index.0 - 1).ok().and_then(|i| self.committed.get(i));
            match known {
                Some(known) => assert_eq!(*known, entry, "a commit was undone in term {term}"),
                None => self.committed.push(entry),
            }
        }
        self.broadcast(now, member);
    }

    fn confirm_what_is_heard(&mut self, now: Duration, member: MemberId) {
        if self.peer_mut(member).leader().is_none_or(|leader| leader.asked.is_empty()) {
            return;
        }
        let heard = self.heard(member);
        let peer = self.peer_mut(member);
        let committed = peer.committed;
        if peer.term_at(committed) != Some(peer.term) {
            return;
        }
        let Some(leader) = peer.leader() else { return };
        let mut confirmed = Vec::new();
        while let Some(asked) = leader.asked.front()
            && asked.round <= heard
            && asked.ready <= now
            && let Some(asked) = leader.asked.pop_front()
        {
            confirmed.push(asked.confirmation);
        }
        for confirmation in confirmed {
            let committed = Some(committed);
            self.events.push_back((member, LogEvent::Confirmed { confirmation, committed }));
        }
    }

    /// Hands a member what is committed, and lets its log forget that now and then.
    fn hand_out(&mut self, now: Duration, member: MemberId) {
        let every = self.compact_every;
        let peer = self.peer_mut(member);
        let mut entries = Vec::new();
        while let Some((to, at)) = peer.ready.front()
            && (*at).max(peer.deaf_until) <= now
        {
            let to = *to;
            peer.ready.pop_front();
            for index in peer.handed.0 + 1..=to.0 {
                entries.extend(peer.entry(LogIndex(index)).cloned());
            }
            peer.handed = peer.handed.max(to);
        }
        let (handed, base) = (peer.handed, peer.base);
        if every.is_some_and(|every| handed.0 >= base.0 + every)
            && let Some(term) = peer.term_at(handed)
        {
            peer.compact(handed, term);
        }
        if !entries.is_empty() {
            self.events.push_back((member, LogEvent::Committed(entries)));
        }
    }

    /// Takes a whole state in place of entries that its leader no longer has.
    fn take_state(&mut self, member: MemberId, index: LogIndex, term: Term) {
        let peer = self.peer_mut(member);
        if index <= peer.committed {
            return;
        }
        if peer.term_at(index) == Some(term) {
            peer.compact(index, term);
        } else {
            peer.log.clear();
            (peer.base, peer.base_term) = (index, term);
        }
        peer.committed = index;
        peer.ready.clear();
        self.install(member, index);
    }

    /// Hands a member the state at an index, which every log agrees on.
    pub(super) fn install(&mut self, member: MemberId, index: LogIndex) {
        let mut state = State::default();
        for entry in self.committed.iter().take_while(|entry| entry.index <= index) {
            state.apply(entry);
        }
        self.peer_mut(member).handed = index;
        self.notes.push(Note::Installed { member, index });
        let state = StateAt { applied: index, snapshot: state.snapshot() };
        self.events.push_back((member, LogEvent::Installed(state)));
    }

    /// Takes another for the leader of its term.
    fn follow(&mut self, member: MemberId, leader: MemberId) {
        let peer = self.peer_mut(member);
        if !matches!(peer.part, Part::Follower { leader: Some(known) } if known == leader) {
            peer.part = Part::Follower { leader: Some(leader) };
            self.tell_role(member);
        }
    }

    /// Leads no more, if it did; what was asked of it gets no for an answer.
    pub(super) fn step_down(&mut self, member: MemberId) -> bool {
        let peer = self.peer_mut(member);
        let term = peer.term;
        let Some(leader) = peer.leader() else { return false };
        for asked in std::mem::take(&mut leader.asked) {
            let confirmation = asked.confirmation;
            self.events.push_back((member, LogEvent::Confirmed { confirmation, committed: None }));
        }
        self.peer_mut(member).part = Part::default();
        self.notes.push(Note::Deposed { leader: member, term });
        true
    }

    pub(super) fn tell_role(&mut self, member: MemberId) {
        let leader = match &self.peer(member).part {
            Part::Follower { leader } => *leader,
            Part::Candidate { .. } | Part::Leader(_) => None,
        };
        self.events.push_back((member, LogEvent::Role(Role::Follower { leader })));
    }

    fn answer(
        &mut self,
        from: MemberId,
        to: MemberId,
        matched: LogIndex,
        agrees: bool,
        round: u64,
    ) {
        let committed = self.peer(from).committed;
        self.send(from, to, Message::Appended { matched, agrees, committed, round });
    }

    fn send(&mut self, from: MemberId, to: MemberId, message: Message) {
        let peer = self.peer_mut(from);
        let term = peer.term;
        let twice = matches!(message, Message::Append(_)) && peer.repeats > 0;
        let envelope = Envelope { from, to, term, message };
        if twice {
            peer.repeats -= 1;
            self.notes.push(Note::Repeated);
            self.messages.push_back(envelope.clone());
        }
        self.messages.push_back(envelope);
    }
}

fn is_revoke(entry: &Entry) -> bool {
    let command = entry.proposal.as_ref().map(|proposal| &proposal.command);
    matches!(command, Some(Command::Revoke { .. }))
}

/// What is not answered is said again after this time, then after twice as long, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(4);
/// So many entries a message has at most; the rest follow when it is answered.
const MOST_ENTRIES: u64 = if cfg!(test) { 1 } else { 64 };
/// So often a candidate asks for votes.
const MOST_TRIES: u32 = 4;
