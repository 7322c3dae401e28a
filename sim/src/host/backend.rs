//! The store of a member, on its disk.

use lessor::backend::{Backend, BackendError, Stored};
use lessor::{MemberId, Transaction};

use super::Shared;
use super::testbed::Opener;

/// A store on the disk of a member, which may lose its power around or inside a commit.
pub struct SimBackend {
    shared: Shared,
    member: MemberId,
    store: Box<dyn Backend>,
}

impl SimBackend {
    pub(super) fn mount(
        shared: Shared,
        member: MemberId,
        open: &Opener,
    ) -> Result<Self, BackendError> {
        let mount = shared.world().disk(member).mount();
        let store = open(mount)?;
        Ok(Self { shared, member, store })
    }
}

impl Backend for SimBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        let stored = self.store.load();
        self.shared.tell(|world| match &stored {
            Ok(stored) => world.loaded(self.member, stored),
            Err(_) => world.unreadable(self.member),
        });
        stored
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.shared.world().before_commit(self.member);
        let again = self.shared.world().repeats_commits().then(|| transaction.clone());
        let result = self.store.commit(transaction);
        if let (Ok(()), Some(again)) = (&result, again) {
            let refused = matches!(self.store.commit(again), Err(BackendError::OutOfOrder { .. }));
            self.shared.world().repeated(self.member, refused);
        }
        self.shared.world().after_commit(self.member, result.is_ok());
        result
    }
}
