//! Messages between members: what the links make of them, before the network has them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::agenda::Due;
use super::{Action, World};
use crate::env::active_faults::Link;
use crate::env::raft::Envelope;
use crate::judge::{Disturbance, Kind};
use crate::scenario::{Fault, Network};

/// The links between members.
pub(super) struct Links {
    settings: Network,
    random: ChaCha8Rng,
}

impl Links {
    pub(super) fn new(settings: Network, random: ChaCha8Rng) -> Self {
        Self { settings, random }
    }

    /// From now on only faults that last lose messages or send them twice.
    pub(super) fn heal(&mut self) {
        self.settings.loss_ppm = 0;
        self.settings.duplicate_ppm = 0;
    }

    fn loses(&mut self, link: Link) -> bool {
        self.strikes(self.settings.loss_ppm.max(link.loss_ppm))
    }

    fn doubles(&mut self, link: Link) -> bool {
        self.strikes(self.settings.duplicate_ppm.max(link.duplicate_ppm))
    }

    /// Whether something happens now that happens to this many of a million.
    fn strikes(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random.next_u64() % 1_000_000 < u64::from(ppm)
    }
}

impl World {
    /// A message has come to a member.
    pub fn received(&mut self, envelope: Envelope) {
        if !self.is_dead(envelope.to) {
            self.emit(Some(envelope.to), Kind::Heard(&envelope));
            self.raft.received(self.now, envelope);
            self.settle();
        }
    }

    /// Sends a message, or loses it.
    pub(super) fn post(&mut self, envelope: Envelope) {
        let (from, to) = (envelope.from, envelope.to);
        let link = self.injected.lasting.link(from, to);
        if link.blocked {
            self.disturb(&envelope, Disturbance::Blocked);
            return self.injected.meets(|fault| fault.blocks(from, to));
        }
        let noise = |fault: &Fault| matches!(fault, Fault::Noise { .. });
        if self.links.loses(link) {
            self.disturb(&envelope, Disturbance::Lost);
            return self.injected.meets(noise);
        }
        if !link.slower.is_zero() {
            self.disturb(&envelope, Disturbance::Slowed);
            self.injected.meets(|fault| fault.slows(from, to));
        }
        if self.links.doubles(link) {
            self.disturb(&envelope, Disturbance::Doubled);
            self.injected.meets(noise);
            self.send(link, envelope.clone());
        }
        self.send(link, envelope);
    }

    fn disturb(&mut self, envelope: &Envelope, disturbance: Disturbance) {
        self.emit(Some(envelope.from), Kind::Disturbed(disturbance));
    }

    fn send(&mut self, link: Link, envelope: Envelope) {
        if link.slower.is_zero() {
            self.actions.push_back(Action::Send(envelope));
        } else {
            self.agenda.plan(self.now + link.slower, Due::Send(envelope));
        }
    }
}
