//! What a member has applied of late, for those who count it.

use alloc::vec::Vec;

use crate::{Command, Effect, Ttl, Write};

/// What the latest piece of the log came to; the next piece begins anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// The ttl of each lease that was granted.
    pub(crate) granted: Vec<Ttl>,
    /// How many leases were revoked.
    pub(crate) revoked: u64,
}

impl Tally {
    pub(crate) fn clear(&mut self) {
        self.granted.clear();
        self.revoked = 0;
    }

    pub(crate) fn see(&mut self, effect: &Effect) {
        if matches!(effect, Effect::Write(Write::DeleteLease(_))) {
            self.revoked += 1;
        }
    }
}

/// The ttl of the lease that this command grants, if it succeeds.
pub(crate) fn ttl_if_granted(command: &Command) -> Option<Ttl> {
    match command {
        Command::Grant { ttl, .. } => Some(*ttl),
        Command::Revoke { .. }
        | Command::Attach { .. }
        | Command::Claim { .. }
        | Command::Detach { .. }
        | Command::Checkpoint { .. } => None,
    }
}
