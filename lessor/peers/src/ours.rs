//! The lessor as a host uses it: with all its effects taken out.

use std::hint::black_box;
use std::time::Duration;

use lessor::{Command, Config, Effect, Instant, LeaseId, Lessor, Ticket, Ttl};

use crate::{Clocked, EXTEND, Peer, START};

/// The lessor.
pub struct Ours {
    /// What no peer has is called directly.
    pub lessor: Lessor,
}

impl Peer for Ours {
    const NAME: &str = "lessor";

    fn new() -> Self {
        let mut ours = Self::follower();
        ours.lessor.promote(START, Duration::ZERO);
        ours
    }

    fn grant(&mut self, now: Instant, id: LeaseId, ttl: Ttl) {
        self.lessor.apply(now, Command::Grant { id, ttl }).expect("no other has this id");
        self.drain();
    }

    fn renew(&mut self, now: Instant, id: LeaseId) {
        self.lessor.renew(now, Ticket(0), id);
        let answer = self.lessor.poll_effect();
        assert!(matches!(answer, Some(Effect::Renewed { result: Ok(_), .. })), "it is there");
        black_box(answer);
        self.drain();
    }

    fn revoke(&mut self, now: Instant, id: LeaseId) {
        self.lessor.apply(now, Command::Revoke { id }).expect("it is there");
        self.drain();
    }
}

impl Clocked for Ours {
    fn follower() -> Self {
        Self { lessor: Lessor::new(&Config::default()) }
    }

    fn expire(&mut self, now: Instant) -> usize {
        self.lessor.handle_timeout(now);
        let Some(Effect::Expired(batch)) = self.lessor.poll_effect() else { return 0 };
        for id in &batch.leases {
            self.revoke(now, *id);
        }
        batch.leases.len()
    }

    fn promote(&mut self, now: Instant) {
        self.lessor.promote(now, EXTEND);
        self.drain();
    }
}

impl Ours {
    fn drain(&mut self) {
        while let Some(effect) = self.lessor.poll_effect() {
            black_box(effect);
        }
    }
}
