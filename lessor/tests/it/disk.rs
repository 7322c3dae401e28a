//! Disks of which a test can see what a crash would leave, for a store in memory and for redb.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use lessor::Transaction;
use lessor::backend::{Backend, BackendError, MemoryBackend, RedbBackend, Stored};
use redb::StorageBackend;

use super::crash_planted::Planted;

/// Where a store keeps what it has, so that the test can see what a crash would leave of it.
pub(crate) trait Disk: Sized {
    type Store: Backend;

    fn new(planted: Planted) -> Self;

    /// Opens the store.
    fn mount(&self) -> Self::Store;

    /// Another disk with what is durable on this one.
    fn durable(&self) -> Self;

    /// What was durable at each moment since this was last asked, latest last.
    fn images(&mut self) -> Vec<Self>;
}

/// A store in memory, of which each commit is durable.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<MemoryState>>);

#[derive(Clone, Default)]
pub(crate) struct MemoryState {
    store: MemoryBackend,
    images: Vec<MemoryBackend>,
    planted: Planted,
}

impl Memory {
    fn with(store: MemoryBackend, planted: Planted) -> Self {
        Self(Arc::new(Mutex::new(MemoryState { store, images: Vec::new(), planted })))
    }
}

impl Disk for Memory {
    type Store = Self;

    fn new(planted: Planted) -> Self {
        Self::with(MemoryBackend::new(), planted)
    }

    fn mount(&self) -> Self {
        self.clone()
    }

    fn durable(&self) -> Self {
        let state = self.0.lock().unwrap();
        Self::with(state.store.clone(), state.planted)
    }

    fn images(&mut self) -> Vec<Self> {
        let mut state = self.0.lock().unwrap();
        let planted = state.planted;
        state.images.drain(..).map(|store| Self::with(store, planted)).collect()
    }
}

impl Backend for Memory {
    fn load(&mut self) -> Result<Stored, BackendError> {
        self.0.lock().unwrap().store.load()
    }

    fn commit(&mut self, mut transaction: Transaction) -> Result<(), BackendError> {
        let mut state = self.0.lock().unwrap();
        if state.planted == Planted::TakenAgain {
            transaction.after = state.store.load()?.applied;
        }
        state.store.commit(transaction)?;
        let image = state.store.clone();
        state.images.push(image);
        Ok(())
    }
}

/// A disk for redb that keeps only what was synced.
#[derive(Clone, Default)]
pub(crate) struct Platter(Arc<Mutex<PlatterState>>);

#[derive(Default)]
pub(crate) struct PlatterState {
    written: Vec<u8>,
    synced: Vec<u8>,
    images: Vec<Vec<u8>>,
    planted: Planted,
}

impl Platter {
    fn with(synced: Vec<u8>, planted: Planted) -> Self {
        let written = synced.clone();
        Self(Arc::new(Mutex::new(PlatterState { written, synced, images: Vec::new(), planted })))
    }
}

impl Disk for Platter {
    type Store = RedbBackend;

    fn new(planted: Planted) -> Self {
        Self::with(Vec::new(), planted)
    }

    fn mount(&self) -> RedbBackend {
        RedbBackend::with_storage(self.clone()).expect("what is synced can be opened")
    }

    fn durable(&self) -> Self {
        let state = self.0.lock().unwrap();
        Self::with(state.synced.clone(), state.planted)
    }

    fn images(&mut self) -> Vec<Self> {
        let mut state = self.0.lock().unwrap();
        let planted = state.planted;
        state.images.drain(..).map(|image| Self::with(image, planted)).collect()
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).expect("it fits into memory");
        out.copy_from_slice(&self.0.lock().unwrap().written[from..from + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("it fits into memory");
        self.0.lock().unwrap().written.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.planted != Planted::LyingSync && state.synced != state.written {
            state.synced = state.written.clone();
            let image = state.synced.clone();
            state.images.push(image);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).expect("it fits into memory");
        self.0.lock().unwrap().written[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl fmt::Debug for Platter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platter").finish_non_exhaustive()
    }
}
