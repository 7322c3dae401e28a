//! Messages between members: what the links make of them, before the network has them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::agenda::Due;
use super::{HostAction, World};
use crate::env::active_faults::Link;
use crate::env::consensus::Consensus;
use crate::env::packet::Packet;
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

    /// Its chance is another one from now on.
    pub(super) fn draw_from(&mut self, random: ChaCha8Rng) {
        self.random = random;
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
    pub fn received(&mut self, packet: Packet) {
        if self.is_dead(packet.to()) {
            return;
        }
        self.emit(Some(packet.to()), Kind::Heard(&packet));
        match (&mut self.log, packet) {
            (Consensus::Modelled(raft), Packet::Raft(envelope)) => {
                raft.received(self.now, envelope);
            }
            (_, Packet::Bytes { from, to, bytes }) => {
                self.actions.push_back(HostAction::Receive(from, to, bytes));
            }
            (Consensus::Own(_), Packet::Raft(_)) => unreachable!("no model sends anything"),
        }
        self.settle();
    }

    /// Sends a message, or loses it.
    pub(super) fn post(&mut self, packet: Packet) {
        let (from, to) = (packet.from(), packet.to());
        let link = self.injected.lasting.link(from, to);
        self.emit(Some(from), Kind::Posted(&packet));
        if link.blocked {
            self.disturb(&packet, Disturbance::Blocked);
            return self.injected.meets(|fault| fault.blocks(from, to));
        }
        let noise = |fault: &Fault| matches!(fault, Fault::Noise { .. });
        if self.links.loses(link) {
            self.disturb(&packet, Disturbance::Lost);
            return self.injected.meets(noise);
        }
        if !link.slower.is_zero() {
            self.disturb(&packet, Disturbance::Slowed);
            self.injected.meets(|fault| fault.slows(from, to));
        }
        if self.links.doubles(link) {
            self.disturb(&packet, Disturbance::Doubled);
            self.injected.meets(noise);
            self.send(link, packet.clone());
        }
        self.send(link, packet);
    }

    fn disturb(&mut self, packet: &Packet, disturbance: Disturbance) {
        self.emit(Some(packet.from()), Kind::Disturbed(disturbance));
    }

    fn send(&mut self, link: Link, packet: Packet) {
        if link.slower.is_zero() {
            self.actions.push_back(HostAction::Send(packet));
        } else {
            self.agenda.plan(self.now + link.slower, Due::Send(packet));
        }
    }
}
