//! Messages between members: what the links make of them, before the network has them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Action, Due, World};
use crate::env::raft::Envelope;
use crate::record::coverage::Mark;
use crate::scenario::Fault;

impl World {
    /// A message has come to a member.
    pub fn received(&mut self, now: Duration, envelope: Envelope) {
        if !self.is_dead(envelope.to) {
            self.record_hash_only(now, envelope.to, format_args!("hears {envelope}"));
            self.record_in_focus(now, Some(envelope.to), "hears", BTreeSet::new, |_| {
                envelope.in_words()
            });
            self.raft.received(now, envelope);
            self.settle(now);
        }
    }

    /// Sends a message, or loses it.
    pub(super) fn post(&mut self, now: Duration, envelope: Envelope) {
        let (from, to) = (envelope.from, envelope.to);
        let link = self.lasting.link(from, to);
        if link.blocked {
            self.coverage.mark(Mark::Blocked);
            return self.meets(|fault| fault.blocks(from, to));
        }
        let healed = self.healed;
        let network = self.scenario.network;
        let share = |own: u32, of_link: u32| if healed { of_link } else { own.max(of_link) };
        let noise = |fault: &Fault| matches!(fault, Fault::Noise { .. });
        if self.strikes(share(network.loss_ppm, link.loss_ppm)) {
            self.coverage.mark(Mark::Lost);
            return self.meets(noise);
        }
        if !link.slower.is_zero() {
            self.coverage.mark(Mark::Slowed);
            self.meets(|fault| fault.slows(from, to));
        }
        if self.strikes(share(network.duplicate_ppm, link.duplicate_ppm)) {
            self.coverage.mark(Mark::Doubled);
            self.meets(noise);
            self.send(now, link.slower, envelope.clone());
        }
        self.send(now, link.slower, envelope);
    }

    fn send(&mut self, now: Duration, slower: Duration, envelope: Envelope) {
        if slower.is_zero() {
            self.actions.push_back(Action::Send(envelope));
        } else {
            self.plan(now + slower, Due::Send(envelope));
        }
    }

    /// Whether something that happens to so many of a million happens now.
    fn strikes(&mut self, ppm: u32) -> bool {
        use rand_chacha::rand_core::Rng;

        ppm > 0 && self.network.next_u64() % 1_000_000 < u64::from(ppm)
    }
}
