//! A look at a file that changes nothing in it: what redb would repair is repaired in memory only.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;

use super::file::StoreFile;

/// A file whose writes stay in memory. Its locks are those of the file, and outlive it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: StoreFile,
    /// Made by the first use, which is after redb has taken its lock.
    image: Mutex<Option<Image>>,
}

impl Overlay {
    pub(super) fn new(file: StoreFile) -> Self {
        Self { file, image: Mutex::default() }
    }

    fn with_image<T>(&self, f: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let mut image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        if image.is_none() {
            let len = self.file.len()?;
            *image = Some(Image { len, base: len, blocks: BTreeMap::new() });
        }
        f(image.as_mut().expect("made if it was not there"))
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        self.with_image(|image| Ok(image.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with_image(|image| image.read(&self.file, offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_image(|image| {
            image.set_len(len);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_image(|image| image.write(&self.file, offset, data))
    }

    /// The file is opened again at once, and nobody is to come in between.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<(), redb::BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// What an [`Overlay`] looks like.
#[derive(Debug)]
struct Image {
    len: u64,
    /// How much of the file shows through; what is beyond and not written is zero.
    base: u64,
    /// What was written, by the offset of the block.
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

/// The size of a page of redb, which is what it mostly writes.
pub(super) const BLOCK: usize = 4096;

impl Image {
    fn read(&self, file: &StoreFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, part) in split(offset, out.len()) {
            let out = &mut out[part];
            match self.blocks.get(&block) {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + out.len()]),
                None => self.read_base(file, block + within as u64, out)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &StoreFile, offset: u64, data: &[u8]) -> io::Result<()> {
        for (block, within, part) in split(offset, data.len()) {
            if !self.blocks.contains_key(&block) {
                let mut bytes = Box::new([0; BLOCK]);
                self.read_base(file, block, &mut bytes[..])?;
                self.blocks.insert(block, bytes);
            }
            let bytes = self.blocks.get_mut(&block).expect("inserted if it was not there");
            bytes[within..within + part.len()].copy_from_slice(&data[part]);
        }
        self.len = self.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.base = self.base.min(len);
        self.blocks.retain(|block, _| *block < len);
        let within = usize::try_from(len % BLOCK as u64).expect("less than a block");
        if let Some(bytes) = self.blocks.get_mut(&(len - within as u64)) {
            bytes[within..].fill(0);
        }
        self.len = len;
    }

    fn read_base(&self, file: &StoreFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let left = usize::try_from(self.base.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (shown, rest) = out.split_at_mut(left.min(out.len()));
        rest.fill(0);
        file.read(offset, shown)
    }
}

/// Splits a range of bytes into parts of one block each: block, offset within it, offset in the range.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % BLOCK as u64).expect("less than a block");
        let part = done..len.min(done + BLOCK - within);
        done = part.end;
        (!part.is_empty()).then_some((at - within as u64, within, part))
    })
}
