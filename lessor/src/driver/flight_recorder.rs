//! The flight recorder: writes down what a member is told and says, for a replay at a desk.
#![expect(
    clippy::disallowed_methods,
    reason = "it writes from a thread of its own, and notes the time of day for people; nothing comes back"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, warn};

use super::Observer;
use crate::recording::{Begin, Writer};
use crate::{Config, Instant, Member, MemberInput, Output};

/// Records an engine into a folder, so that what happened in production can be replayed:
/// `cargo sim replay FOLDER` of the crate `lessor-sim`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use lessor::driver::FlightRecorder;
///
/// let recorder = FlightRecorder::create("flight")?;
/// let leases = lessor::open_observed("leases.redb", lessor::Config::default(), recorder).await?;
/// # Ok(()) }
/// ```
///
/// With a driver of your own: `driver.observe(recorder)`.
///
/// The folder holds a ring of files of the format [`recording`](crate::recording). Together they stay
/// [within a limit](Self::with_limit) of 64 MiB; the oldest goes first. Each file begins with the whole
/// state of the member, so that it can be replayed without those before it. A folder may be used again and
/// again, by one engine at a time. It shows as much as the store does: every id, item and ttl.
///
/// The engine never waits for it. A thread writes every few milliseconds, so a process that is killed loses
/// the last few, and a machine that loses its power what its file system had not written. If the disk is
/// too slow for it, a part is left out, and the replay says so. If the disk fails, the recorder reports an
/// error to [`tracing`](https://docs.rs/tracing) and ends; the engine goes on.
///
/// What it costs is in docs/BENCHMARKS.md.
#[derive(Debug)]
pub struct FlightRecorder {
    /// Where the thread will write; there until it does.
    ring: Option<Ring>,
    thread: Option<JoinHandle<()>>,
    queue: Arc<Queue>,
    writer: Writer,
    /// There once the engine is open.
    config: Option<Config>,
    /// When a file has so many bytes, the next one begins.
    file_limit: usize,
    /// How many bytes of records the current file has, and how many of them are the state of the member.
    in_file: usize,
    state: usize,
    /// Whether it waits for the thread, and leaves out what comes.
    behind: bool,
}

impl FlightRecorder {
    /// A recorder into this folder, which is created if it is not there. Nothing is written before an
    /// engine is observed.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created or read.
    pub fn create(folder: impl AsRef<Path>) -> io::Result<Self> {
        let recorder = Self {
            ring: Some(Ring::open(folder.as_ref())?),
            thread: None,
            queue: Arc::default(),
            writer: Writer::new(),
            config: None,
            file_limit: 0,
            in_file: 0,
            state: 0,
            behind: false,
        };
        Ok(recorder.with_limit(DEFAULT_LIMIT))
    }

    /// How many bytes all files together may have. The two newest stay in any case, and each has room for
    /// several times the state of the member.
    ///
    /// Default 64 MiB.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.file_limit = usize::try_from(bytes / FILES).unwrap_or(usize::MAX);
        if let Some(ring) = &mut self.ring {
            ring.limit = bytes;
        }
        self
    }

    /// The files of the recording in a folder, in order.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn files(folder: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let mut files = paths.collect::<io::Result<Vec<_>>>()?;
        files.retain(|path| number(path).is_some());
        files.sort_unstable_by_key(|path| number(path));
        Ok(files)
    }

    /// The next file begins, with how the member is now.
    fn start(&mut self, begin: Begin, now: Instant, member: &Member) {
        let Some(config) = &self.config else { return };
        {
            let mut pending = self.queue.lock();
            self.writer.take_records(&mut pending.block);
            let last = std::mem::take(&mut pending.block);
            pending.ended.push(last);
        }
        self.writer.start(begin, time_of_day(), now, config, member);
        self.state = self.hand_over();
        self.in_file = self.state;
        self.behind = false;
    }

    /// Lets the thread have what was written, and gives its length.
    fn hand_over(&mut self) -> usize {
        let mut pending = self.queue.lock();
        let before = pending.block.len();
        self.writer.take_records(&mut pending.block);
        let after = pending.block.len();
        self.behind = after > MOST_PENDING.max(2 * self.state);
        if before == 0 && after > 0 {
            self.queue.wake.notify_one();
        }
        after - before
    }
}

impl Observer for FlightRecorder {
    fn opened(&mut self, now: Instant, config: &Config, member: &Member) {
        let Some(ring) = self.ring.take() else { return };
        // The key is nobody's business, and nothing depends on it.
        self.config = Some(Config { hash_key: None, ..config.clone() });
        self.start(Begin::Opened, now, member);
        let queue = Arc::clone(&self.queue);
        let thread = thread::Builder::new().name("lessor-recorder".to_owned());
        match thread.spawn(move || ring.record(&queue)) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                error!(%error, "the engine is not recorded, its recorder has no thread");
                self.behind = true;
            }
        }
    }

    fn before(&mut self, now: Instant, input: &MemberInput) {
        if !self.behind {
            self.writer.input(now, input);
        }
    }

    fn after(&mut self, now: Instant, member: &Member) {
        if self.behind {
            let lives = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            if lives && self.queue.lock().is_empty() {
                self.start(Begin::Gap, now, member);
            }
        } else if self.in_file > self.file_limit.max(SHARE * self.state) {
            self.start(Begin::NextFile, now, member);
        }
    }

    fn output(&mut self, now: Instant, output: &Output) {
        if !self.behind {
            self.writer.output(now, output);
        }
    }

    fn idle(&mut self) {
        if !self.behind {
            self.in_file += self.hand_over();
        }
    }
}

/// Waits until everything is written.
impl Drop for FlightRecorder {
    fn drop(&mut self) {
        self.idle();
        self.queue.lock().closed = true;
        self.queue.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the recorder has panicked; the end of the recording is missing");
        }
    }
}

/// Between the engine and the thread that writes.
#[derive(Debug, Default)]
struct Queue {
    pending: Mutex<Pending>,
    wake: Condvar,
}

/// What the thread has not taken.
#[derive(Debug, Default)]
struct Pending {
    /// The records that end the files before the last.
    ended: Vec<Vec<u8>>,
    /// Those of the last.
    block: Vec<u8>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // What a thread has left half done that panicked is a block less, or one that is not whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write, and a little longer for more: what ends files, and the next block.
    /// Nothing comes after `None`.
    fn next(&self, block: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
        let idles = |pending: &mut Pending| pending.is_empty() && !pending.closed;
        let pending = self.wake.wait_while(self.lock(), idles);
        let gathers = |pending: &mut Pending| !pending.closed;
        let pending = pending.unwrap_or_else(PoisonError::into_inner);
        let pending = self.wake.wait_timeout_while(pending, GATHER, gathers);
        let (mut pending, _) = pending.unwrap_or_else(PoisonError::into_inner);
        let some = !pending.is_empty();
        // The engine goes on in the room of the block before.
        block.clear();
        std::mem::swap(block, &mut pending.block);
        some.then(|| std::mem::take(&mut pending.ended))
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.block.is_empty()
    }
}

/// The files.
#[derive(Debug)]
struct Ring {
    folder: PathBuf,
    limit: u64,
    /// Their lengths, oldest first.
    files: VecDeque<(PathBuf, u64)>,
    next: u64,
    current: Option<File>,
}

impl Ring {
    fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut files = VecDeque::new();
        for path in FlightRecorder::files(folder)? {
            let bytes = fs::metadata(&path)?.len();
            files.push_back((path, bytes));
        }
        let next = files.back().and_then(|(path, _)| number(path)).map_or(1, |last| last + 1);
        Ok(Self { folder: folder.to_owned(), limit: DEFAULT_LIMIT, files, next, current: None })
    }

    /// Writes whatever comes, until nothing does any more.
    fn record(mut self, queue: &Queue) {
        let mut block = Vec::new();
        while let Some(ended) = queue.next(&mut block) {
            if let Err(error) = self.write_all(ended, &block) {
                let folder = self.folder.display();
                error!(%error, %folder, "the engine is recorded no more");
                return;
            }
        }
    }

    fn write_all(&mut self, ended: Vec<Vec<u8>>, block: &[u8]) -> io::Result<()> {
        for last in ended {
            self.write_block(&last)?;
            self.begin_file()?;
        }
        self.write_block(block)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let path = self.folder.join(format!("{PREFIX}{:08}{SUFFIX}", self.next));
        self.current = Some(File::create_new(&path)?);
        self.next += 1;
        self.files.push_back((path, 0));
        self.write(Writer::HEADER)
    }

    fn write_block(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(&Writer::head(records))?;
        self.write(records)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(file), Some((_, length))) = (&mut self.current, self.files.back_mut()) else {
            return Ok(());
        };
        file.write_all(bytes)?;
        *length += bytes.len() as u64;
        while self.files.len() > 2
            && self.files.iter().map(|(_, bytes)| bytes).sum::<u64>() > self.limit
        {
            if let Some((oldest, _)) = self.files.pop_front()
                && let Err(error) = fs::remove_file(&oldest)
            {
                let file = oldest.display();
                warn!(%error, %file, "an old file of a recording cannot be removed");
            }
        }
        Ok(())
    }
}

/// The number of a file, if it is one of a recording.
fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

const PREFIX: &str = "flight-";
const SUFFIX: &str = ".rec";
const DEFAULT_LIMIT: u64 = 64 << 20;
/// How many files share the limit.
const FILES: u64 = 8;
/// A file has this many times the bytes of the state that it begins with, if that is more.
const SHARE: usize = 4;
/// If so many bytes wait for the disk, and twice the state that the file begins with, what comes is left out.
const MOST_PENDING: usize = 16 << 20;
/// How long the thread waits for more, so that it writes seldom.
const GATHER: Duration = Duration::from_millis(5);
