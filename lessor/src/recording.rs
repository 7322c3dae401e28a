//! A recording of a member: how it was at first, everything that it was told since, and a checksum of
//! each thing that it said. Fed to the same member again, the same inputs give the same outputs, so a
//! recording is enough to see at a desk what happened in production.
//!
//! This is the format, without I/O. [`FlightRecorder`](crate::driver::FlightRecorder) writes it to files
//! while an engine runs; `cargo sim replay FOLDER` of `lessor-sim` replays them. To write your own:
//!
//! ```
//! use lessor::recording::{Begin, Reader, Record, Writer};
//! use lessor::{Config, Instant, Member, MemberInput, StateAt};
//!
//! let config = Config::default();
//! let mut member = Member::new(&config, &StateAt::default())?;
//! let (mut writer, now) = (Writer::new(), Instant::from_secs(1));
//! writer.start(Begin::Opened, core::time::Duration::ZERO, now, &config, &member);
//! writer.input(now, &MemberInput::Timeout);
//! member.handle_input(now, MemberInput::Timeout)?;
//! let file: Vec<u8> = [Writer::HEADER, &writer.take_block()].concat();
//!
//! let mut reader = Reader::new(&file)?;
//! assert!(matches!(reader.next(), Some(Record::Start(start)) if start.config == config));
//! assert!(matches!(reader.next(), Some(Record::Input { input: MemberInput::Timeout, .. })));
//! assert!(reader.next().is_none() && reader.unread() == 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hasher as _;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::{Config, Instant, Member, MemberInput, Output};

/// One thing that a recording says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record<S = Start, I = MemberInput> {
    /// The first of each file: how the member is.
    Start(S),
    /// The member is about to handle this.
    Input {
        /// The moment that it is told with it.
        now: Instant,
        /// What it is told.
        input: I,
    },
    /// The member has said something.
    Output {
        /// When its host took it.
        now: Instant,
        /// The [checksum] of it.
        checksum: u32,
    },
}

/// How a member is when a file begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start<V = String, C = Config, M = Member> {
    /// The version of this crate that has written it. Another one may rightly say something else.
    pub version: V,
    /// Why a file begins.
    pub begin: Begin,
    /// The time of day, since 1970 in UTC. Only people look at it: all other times are those of the
    /// member's clock.
    pub unix_time: Duration,
    /// The member's clock.
    pub now: Instant,
    /// The settings that the engine was opened with, its times rounded up to milliseconds.
    pub config: C,
    /// The member, with all that it has not said yet.
    pub member: M,
}

/// Why a file begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Begin {
    /// An engine was opened.
    Opened,
    /// The file before was full, and goes on here.
    NextFile,
    /// The disk was too slow, and what came between was not recorded.
    Gap,
}

/// Turns what happens into the bytes of a file.
///
/// A file is [`HEADER`](Self::HEADER), then blocks: the length of what follows and a checksum of it,
/// both four bytes with the lowest first, then records. A block that is not whole was cut short.
#[derive(Debug, Default)]
pub struct Writer {
    /// The clock of the record before, in nanoseconds: times are written as differences.
    last: u64,
    /// Room for the head of a block, and its records.
    block: Vec<u8>,
}

impl Writer {
    /// What each file begins with.
    pub const HEADER: &'static [u8] = b"lessor recording 1\n";

    /// Has written nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file begins. [Take](Self::take_block) what belongs into the one before first.
    pub fn start(
        &mut self,
        begin: Begin,
        unix_time: Duration,
        now: Instant,
        config: &Config,
        member: &Member,
    ) {
        self.last = 0;
        let start = Start { version: VERSION, begin, unix_time, now, config, member };
        self.write(&Record::<_, MemberInput>::Start(start));
    }

    /// The member is about to handle an input.
    pub fn input(&mut self, now: Instant, input: &MemberInput) {
        let now = self.since_last(now);
        self.write(&Record::<Start, _>::Input { now, input });
    }

    /// The member has said something.
    pub fn output(&mut self, now: Instant, output: &Output) {
        let now = self.since_last(now);
        self.write(&Record::<Start>::Output { now, checksum: checksum(output) });
    }

    /// How many bytes wait to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Whether nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// What was written since the last time, as a block of a file; empty if nothing was.
    #[must_use]
    pub fn take_block(&mut self) -> Vec<u8> {
        let mut block = core::mem::take(&mut self.block);
        if let Some((head, records)) = block.split_at_mut_checked(HEAD) {
            let length = u32::try_from(records.len()).expect("a block is taken before it is 4 GiB");
            head[..4].copy_from_slice(&length.to_le_bytes());
            head[4..].copy_from_slice(&hash(records).to_le_bytes());
        }
        block
    }

    /// The difference to the time of the record before, modulo 2^64: a request may be older.
    fn since_last(&mut self, now: Instant) -> Instant {
        let last = core::mem::replace(&mut self.last, now.as_nanos());
        Instant::from_nanos(zigzag(now.as_nanos().wrapping_sub(last)))
    }

    fn write(&mut self, record: &impl Serialize) {
        if self.block.is_empty() {
            self.block.resize(HEAD, 0);
        }
        let block = core::mem::take(&mut self.block);
        self.block = postcard::to_extend(record, block).expect("a vector takes all bytes");
    }
}

/// Reads a file of a recording, up to where it was cut short.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    last: u64,
    /// What is left of the block that is being read.
    block: &'a [u8],
    /// What is behind it.
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins to read a file.
    ///
    /// # Errors
    ///
    /// [`FormatError`] if it is something else, or of another version of the format.
    pub fn new(file: &'a [u8]) -> Result<Self, FormatError> {
        let rest = file.strip_prefix(Writer::HEADER).ok_or(FormatError)?;
        Ok(Self { last: 0, block: &[], rest })
    }

    /// How many bytes at the end were not read, once [`next`](Iterator::next) is `None`: zero, unless the
    /// file was cut short or is damaged there.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.block.len() + self.rest.len()
    }

    /// The records of the next block, if it is whole.
    fn next_block(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (head, rest) = self.rest.split_at_checked(HEAD)?;
        let (length, sum) = head.split_at(4);
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (records, rest) = rest.split_at_checked(length)?;
        (hash(records).to_le_bytes() == sum).then_some((records, rest))
    }

    fn time(&mut self, difference: Instant) -> Instant {
        self.last = self.last.wrapping_add(unzigzag(difference.as_nanos()));
        Instant::from_nanos(self.last)
    }
}

/// The records, in order. None follows one that cannot be read.
impl Iterator for Reader<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.block.is_empty() {
            (self.block, self.rest) = self.next_block()?;
        }
        let (record, left) = postcard::take_from_bytes(self.block).ok()?;
        self.block = left;
        Some(match record {
            Record::Input { now, input } => Record::Input { now: self.time(now), input },
            Record::Output { now, checksum } => Record::Output { now: self.time(now), checksum },
            Record::Start(start) => {
                self.last = 0;
                Record::Start(start)
            }
        })
    }
}

/// A file is no recording, or one of another version of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FormatError;

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = Writer::HEADER.trim_ascii_end().escape_ascii();
        write!(f, "it does not begin with \"{header}\"")
    }
}

impl core::error::Error for FormatError {}

/// A checksum by which a recording tells whether a replay says the same.
#[must_use]
pub fn checksum(output: &Output) -> u32 {
    let bytes = postcard::to_extend(output, Vec::with_capacity(64));
    hash(&bytes.expect("a vector takes all bytes"))
}

/// Against damage, not against somebody who forges.
fn hash(bytes: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Puts small differences of either sign next to zero, where they take few bytes.
fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ 0_u64.wrapping_sub(difference >> 63)
}

fn unzigzag(code: u64) -> u64 {
    (code >> 1) ^ 0_u64.wrapping_sub(code & 1)
}

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The bytes of a block before its records.
const HEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LeaseId, Request, Role, StateAt, Term, Ticket, Ttl};

    /// A member that leads, with a lease; and what was recorded of it.
    fn recorded() -> (Member, Vec<u8>) {
        let config = Config::default();
        let mut member = Member::new(&config, &StateAt::default()).unwrap();
        let mut writer = Writer::new();
        writer.start(Begin::Opened, Duration::ZERO, Instant::ZERO, &config, &member);
        let grant = Request::Grant { id: LeaseId::new(7), ttl: Ttl::from_secs(10) };
        let inputs = [
            (5, MemberInput::Role(Role::Leader { term: Term(1), barrier: crate::LogIndex(0) })),
            (3, MemberInput::Request { ticket: Ticket(1), request: grant }),
            (9, MemberInput::Timeout),
        ];
        for (now, input) in inputs {
            let now = Instant::from_secs(now);
            writer.input(now, &input);
            member.handle_input(now, input).unwrap();
            while let Some(output) = member.poll_output() {
                writer.output(now, &output);
            }
        }
        let file = [Writer::HEADER, &writer.take_block()].concat();
        assert!(writer.is_empty() && writer.take_block().is_empty());
        (member, file)
    }

    #[test]
    fn a_replay_says_the_same_and_ends_the_same() {
        let (member, file) = recorded();
        let (mut again, mut times, mut outputs) = (None, Vec::new(), 0);
        for record in Reader::new(&file).unwrap() {
            match record {
                Record::Start(start) => again = Some(start.member),
                Record::Input { now, input } => {
                    times.push(now);
                    again.as_mut().unwrap().handle_input(now, input).unwrap();
                }
                Record::Output { checksum: said, .. } => {
                    let output = again.as_mut().unwrap().poll_output().unwrap();
                    assert_eq!(checksum(&output), said, "{output:?}");
                    outputs += 1;
                }
            }
        }
        assert_eq!(times, [5, 3, 9].map(Instant::from_secs));
        assert!(outputs > 0);
        let image = |member: &Member| postcard::to_allocvec(member).unwrap();
        assert_eq!(image(&again.unwrap()), image(&member));
    }

    #[test]
    fn a_file_is_read_up_to_where_it_was_cut_short_or_damaged() {
        let (_, whole) = recorded();
        let mut twice = whole.clone();
        twice.extend(&whole[Writer::HEADER.len()..]);
        let records = Reader::new(&whole).unwrap().count();
        for cut in whole.len()..twice.len() {
            let mut reader = Reader::new(&twice[..cut]).unwrap();
            assert_eq!((reader.by_ref().count(), reader.unread()), (records, cut - whole.len()));
        }
        for damaged in whole.len()..twice.len() {
            let mut file = twice.clone();
            file[damaged] ^= 0x10;
            let mut reader = Reader::new(&file).unwrap();
            assert_eq!(reader.by_ref().count(), records, "byte {damaged}");
            assert!(reader.unread() > 0);
        }
        assert_eq!(Reader::new(&twice).unwrap().count(), 2 * records);
        assert_eq!(Reader::new(b"lessor recording 2\n").err(), Some(FormatError));
    }

    #[test]
    fn times_may_go_back_and_small_steps_take_few_bytes() {
        for difference in [0, 1, 5, 1 << 40, u64::MAX, u64::MAX - 6, 1 << 63] {
            assert_eq!(unzigzag(zigzag(difference)), difference);
        }
        assert_eq!([0, 1, u64::MAX].map(zigzag), [0, 2, 1]);
        let mut writer = Writer::new();
        writer.input(Instant::from_secs(1), &MemberInput::Timeout);
        let before = writer.len();
        writer.input(Instant::from_secs(1) - Duration::from_nanos(9), &MemberInput::Timeout);
        assert_eq!(writer.len() - before, 3);
    }
}
