//! The store of a member, on its disk.

use super::*;

/// The store on the member's disk, which may lose its power around or inside a commit.
pub(super) struct SimBackend {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
    pub(super) store: Store,
}

/// What the scenario says that the leases are kept in.
pub(super) enum Store {
    Redb(RedbBackend),
    Journal(JournalBackend),
}

impl Store {
    pub(super) fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        match self {
            Self::Redb(store) => store.commit(transaction),
            Self::Journal(store) => store.commit(transaction),
        }
    }
}

impl SimBackend {
    pub(super) fn mount(shared: Shared, member: MemberId) -> Result<Self, BackendError> {
        let (mount, kind) = {
            let world = shared.world();
            (world.disk(member).mount(), world.store())
        };
        let store = match kind {
            StoreKind::Redb => Store::Redb(RedbBackend::with_storage(mount)?),
            StoreKind::Journal => Store::Journal(JournalBackend::new(mount)?),
        };
        Ok(Self { shared, member, store })
    }
}

impl Backend for SimBackend {
    fn load(&mut self) -> Result<Stored, BackendError> {
        let stored = match &mut self.store {
            Store::Redb(store) => store.load(),
            Store::Journal(store) => store.load(),
        };
        self.shared.tell(|world, now| match &stored {
            Ok(stored) => world.loaded(now, self.member, stored),
            Err(_) => world.unreadable(now, self.member),
        });
        stored
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        self.shared.world().before_commit(self.member);
        let again = self.shared.world().repeats_commits().then(|| transaction.clone());
        let result = self.store.commit(transaction);
        if let (Ok(()), Some(again)) = (&result, again) {
            let refused = matches!(self.store.commit(again), Err(BackendError::OutOfOrder { .. }));
            self.shared.world().repeated(self.shared.now(), self.member, refused);
        }
        self.shared.world().after_commit(self.shared.now(), self.member, result.is_ok());
        result
    }
}
