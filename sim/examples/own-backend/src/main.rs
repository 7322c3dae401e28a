//! A lease store in an append-only file, under every fault that the simulator of lessor knows.
//!
//! A record is its length, a checksum and a transaction as JSON. What follows the last whole record was
//! torn by a loss of power and never acknowledged, so the next record is written over it. With the feature
//! `torn-tail` it is not, as a store that only ever appends might do: the campaign finds that in seconds.

use std::io;
use std::ops::Bound;
use std::process::ExitCode;

use lessor::backend::{Backend, BackendError, MemoryBackend, Stored};
use lessor::{LogIndex, Transaction};
use lessor_sim::host::{Mount, StorageBackend as _, Testbed};

fn main() -> ExitCode {
    lessor_sim::main(Testbed::new().backend("append-only", AppendOnly::open))
}

/// A file of transactions, each of which is synced before it counts.
struct AppendOnly {
    disk: Mount,
    /// Where the next record goes.
    end: u64,
    applied: LogIndex,
}

impl AppendOnly {
    fn open(disk: Mount) -> Result<Self, BackendError> {
        match disk.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(true) => Ok(Self { disk, end: 0, applied: LogIndex(0) }),
            Ok(false) => Err(BackendError::Locked { path: "append-only".into() }),
            Err(error) => Err(BackendError::other(error)),
        }
    }

    fn append(&self, record: &[u8]) -> io::Result<()> {
        self.disk.set_len(self.end + record.len() as u64)?;
        self.disk.write(self.end, record)?;
        self.disk.sync_data()
    }
}

impl Backend for AppendOnly {
    fn load(&mut self) -> Result<Stored, BackendError> {
        let len = self.disk.len().map_err(BackendError::other)?;
        let mut bytes = vec![0; usize::try_from(len).map_err(BackendError::other)?];
        self.disk.read(0, &mut bytes).map_err(BackendError::other)?;
        let (mut rest, mut state) = (&*bytes, MemoryBackend::new());
        while let Some((transaction, next)) = record(rest) {
            state.commit(transaction)?;
            rest = next;
        }
        // Only the last record can be torn: one that follows was acknowledged after it.
        if (1..rest.len()).any(|at| record(&rest[at..]).is_some()) {
            let what = "a whole record follows a broken one".to_owned();
            return Err(BackendError::Damaged { path: "append-only".into(), what });
        }
        let torn = if cfg!(feature = "torn-tail") { 0 } else { rest.len() as u64 };
        self.end = len - torn;
        let stored = state.load()?;
        self.applied = stored.applied;
        Ok(stored)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), BackendError> {
        if transaction.after != self.applied {
            let (after, stored) = (transaction.after, self.applied);
            return Err(BackendError::OutOfOrder { after, stored });
        }
        let body = serde_json::to_vec(&transaction).map_err(BackendError::other)?;
        let mut record = (body.len() as u64).to_le_bytes().to_vec();
        record.extend(checksum(&body).to_le_bytes());
        record.extend(body);
        self.append(&record).map_err(BackendError::other)?;
        self.end += record.len() as u64;
        self.applied = transaction.applied;
        Ok(())
    }
}

/// Whoever opens the file next finds it free.
impl Drop for AppendOnly {
    fn drop(&mut self) {
        // A process that was killed holds nothing.
        let _ = self.disk.close();
    }
}

/// The record that these bytes begin with, and what follows it.
fn record(bytes: &[u8]) -> Option<(Transaction, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    if length == 0 || checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    Some((serde_json::from_slice(body).ok()?, rest))
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
