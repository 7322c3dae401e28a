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
//! let mut block = Vec::new();
//! writer.take_records(&mut block);
//! let file = [Writer::HEADER, &Writer::head(&block), &block].concat();
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
use core::time::Duration;

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::{Config, Instant, LeaseId, Member, MemberInput, Output, Request, Response, Ticket};

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
    /// The member has said these, one after the other.
    Outputs {
        /// When its host took the first.
        now: Instant,
        /// How many.
        count: u32,
        /// Their [`Checksum`].
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
    /// The ticket of the renew before.
    ticket: u64,
    records: Vec<u8>,
    /// Outputs of which no record tells yet: since when, how many, and their checksum.
    outputs: Option<(Instant, u32)>,
    checksum: Checksum,
}

impl Writer {
    /// What each file begins with.
    pub const HEADER: &'static [u8] = b"lessor recording 1\n";

    /// Has written nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file begins. Take what belongs into the one before first.
    pub fn start(
        &mut self,
        begin: Begin,
        unix_time: Duration,
        now: Instant,
        config: &Config,
        member: &Member,
    ) {
        (self.last, self.ticket) = (0, 0);
        let start = Start { version: VERSION, begin, unix_time, now, config, member };
        self.write(&Record::<_, MemberInput>::Start(start));
    }

    /// The member is about to handle an input.
    pub fn input(&mut self, now: Instant, input: &MemberInput) {
        self.end_outputs();
        let now = self.since_last(now);
        if let MemberInput::Request { ticket, request: Request::Renew { id } } = input {
            return self.renew(now.as_nanos(), *ticket, *id);
        }
        self.write(&Record::<Start, _>::Input { now, input });
    }

    /// Renews are most of all inputs, so they have a form of their own.
    fn renew(&mut self, time: u64, ticket: Ticket, id: LeaseId) {
        let last = core::mem::replace(&mut self.ticket, ticket.0);
        self.write_short(
            RENEW,
            [time, zigzag(ticket.0.wrapping_sub(last))],
            id.get().to_le_bytes(),
        );
    }

    /// The member has said something.
    pub fn output(&mut self, now: Instant, output: &Output) {
        self.checksum.add(output);
        let (_, count) = self.outputs.get_or_insert((now, 0));
        *count += 1;
    }

    /// Moves the records that were written since the last time behind those of `block`.
    pub fn take_records(&mut self, block: &mut Vec<u8>) {
        self.end_outputs();
        block.append(&mut self.records);
    }

    /// What comes before the records of a block.
    ///
    /// # Panics
    ///
    /// If they have 4 GiB or more.
    #[must_use]
    pub fn head(block: &[u8]) -> [u8; 8] {
        let length = u32::try_from(block.len()).expect("a block has less than 4 GiB");
        let (mut head, checksum) = ([0; 8], Checksum::of(block));
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    fn end_outputs(&mut self) {
        if let Some((now, count)) = self.outputs.take() {
            let now = self.since_last(now);
            let checksum = core::mem::take(&mut self.checksum).finish();
            self.write_short(OUTPUTS, [now.as_nanos(), count.into()], checksum.to_le_bytes());
        }
    }

    /// The difference to the time of the record before, modulo 2^64: a request may be older.
    fn since_last(&mut self, now: Instant) -> Instant {
        let last = core::mem::replace(&mut self.last, now.as_nanos());
        Instant::from_nanos(zigzag(now.as_nanos().wrapping_sub(last)))
    }

    /// Writes two numbers, most of them small, and some bytes.
    fn write_short<const N: usize>(&mut self, kind: u8, numbers: [u64; 2], rest: [u8; N]) {
        let mut bytes = [kind; 32];
        let mut end = 1;
        for mut number in numbers {
            while number > 0x7f {
                bytes[end] = 0x80 | number.to_le_bytes()[0];
                number >>= 7;
                end += 1;
            }
            bytes[end] = number.to_le_bytes()[0];
            end += 1;
        }
        bytes[end..end + N].copy_from_slice(&rest);
        // A copy of a known length is much cheaper than one of the right length.
        self.records.extend_from_slice(&bytes);
        self.records.truncate(self.records.len() - bytes.len() + end + N);
    }

    fn write(&mut self, record: &impl Serialize) {
        let bytes = Bytes(&mut self.records);
        postcard::serialize_with_flavor(record, bytes).expect("a vector takes all bytes");
    }
}

/// Reads a file of a recording, up to where it was cut short.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    last: u64,
    ticket: u64,
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
        Ok(Self { last: 0, ticket: 0, block: &[], rest })
    }

    /// How many bytes at the end were not read, once [`next`](Iterator::next) is `None`: zero, unless the
    /// file was cut short or is damaged there.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.block.len() + self.rest.len()
    }

    /// The records of the next block, if it is whole.
    fn next_block(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (head, rest) = self.rest.split_at_checked(8)?;
        let (length, sum) = head.split_at(4);
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (records, rest) = rest.split_at_checked(length)?;
        (Checksum::of(records).to_le_bytes() == sum).then_some((records, rest))
    }

    fn renew(&mut self, bytes: &'a [u8]) -> Option<Record> {
        let ([time, ticket], id) = self.short(bytes)?;
        self.ticket = self.ticket.wrapping_add(unzigzag(ticket));
        let (ticket, id) = (Ticket(self.ticket), LeaseId::new(i64::from_le_bytes(id))?);
        let (now, request) = (self.time(Instant::from_nanos(time)), Request::Renew { id });
        Some(Record::Input { now, input: MemberInput::Request { ticket, request } })
    }

    fn outputs(&mut self, bytes: &'a [u8]) -> Option<Record> {
        let ([time, count], checksum) = self.short(bytes)?;
        let (now, count) = (self.time(Instant::from_nanos(time)), u32::try_from(count).ok()?);
        Some(Record::Outputs { now, count, checksum: u32::from_le_bytes(checksum) })
    }

    fn short<const N: usize>(&mut self, bytes: &'a [u8]) -> Option<([u64; 2], [u8; N])> {
        let (numbers, bytes) = postcard::take_from_bytes::<(u64, u64)>(bytes).ok()?;
        let (rest, left) = bytes.split_first_chunk()?;
        self.block = left;
        Some((numbers.into(), *rest))
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
        match self.block {
            [RENEW, renew @ ..] => return self.renew(renew),
            [OUTPUTS, outputs @ ..] => return self.outputs(outputs),
            _ => {}
        }
        let (record, left) = postcard::take_from_bytes(self.block).ok()?;
        self.block = left;
        Some(match record {
            Record::Input { now, input } => Record::Input { now: self.time(now), input },
            Record::Outputs { now, count, checksum } => {
                Record::Outputs { now: self.time(now), count, checksum }
            }
            Record::Start(start) => {
                (self.last, self.ticket) = (0, 0);
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

/// A checksum by which a recording tells whether a replay says the same. Against damage and mistakes, not
/// against somebody who forges.
#[derive(Clone, Debug, Default)]
pub struct Checksum {
    state: u64,
    /// The next bytes, and how many.
    word: [u8; 8],
    filled: usize,
}

impl Checksum {
    /// Adds what a member has said.
    pub fn add(&mut self, output: &Output) {
        // Most of all outputs.
        if let Output::Answer { ticket, answer: Ok(Response::Renewed { ttl }) } = output {
            self.mix(ticket.0);
            return self.mix(ttl.as_millis());
        }
        postcard::serialize_with_flavor(output, &mut *self).expect("it takes all bytes");
    }

    /// The checksum of all that was added.
    #[must_use]
    pub fn finish(mut self) -> u32 {
        self.word[self.filled..].fill(0);
        self.mix(u64::from_le_bytes(self.word) ^ (self.filled as u64) << 56);
        let [a, b, c, d, ..] = self.state.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn of(bytes: &[u8]) -> u32 {
        let mut checksum = Self::default();
        checksum.extend(bytes);
        checksum.finish()
    }

    fn extend(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.push(*byte);
        }
    }

    fn push(&mut self, byte: u8) {
        self.word[self.filled] = byte;
        self.filled += 1;
        if self.filled == self.word.len() {
            self.mix(u64::from_le_bytes(self.word));
            self.filled = 0;
        }
    }

    fn mix(&mut self, word: u64) {
        let mixed = (self.state ^ word).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state = mixed ^ mixed >> 32;
    }
}

impl Flavor for &mut Checksum {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends to a vector.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Flavor for Bytes<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Puts small differences of either sign next to zero, where they take few bytes.
fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ 0_u64.wrapping_sub(difference >> 63)
}

fn unzigzag(code: u64) -> u64 {
    (code >> 1) ^ 0_u64.wrapping_sub(code & 1)
}

/// Before a renew and before outputs, where other records have their kind.
const RENEW: u8 = 0x7f;
const OUTPUTS: u8 = 0x7e;
/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, StateAt, Term, Ttl};

    const RENEW_7: Request = Request::Renew { id: LeaseId::new(7).unwrap() };

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
            (9, MemberInput::Request { ticket: Ticket(u64::MAX), request: RENEW_7 }),
            (8, MemberInput::Request { ticket: Ticket(2), request: RENEW_7 }),
        ];
        for (now, input) in inputs {
            let now = Instant::from_secs(now);
            writer.input(now, &input);
            member.handle_input(now, input).unwrap();
            while let Some(output) = member.poll_output() {
                writer.output(now, &output);
            }
        }
        let mut block = Vec::new();
        writer.take_records(&mut block);
        (member, [Writer::HEADER, &Writer::head(&block), &block].concat())
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
                Record::Outputs { count, checksum, .. } => {
                    let mut said = Checksum::default();
                    for _ in 0..count {
                        said.add(&again.as_mut().unwrap().poll_output().unwrap());
                    }
                    assert_eq!(said.finish(), checksum);
                    outputs += count;
                }
            }
        }
        assert_eq!(times, [5, 3, 9, 9, 8].map(Instant::from_secs));
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
        let before = writer.records.len();
        writer.input(Instant::from_secs(1) - Duration::from_nanos(9), &MemberInput::Timeout);
        assert_eq!(writer.records.len() - before, 3);
    }
}
