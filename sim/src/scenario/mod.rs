//! A scenario: the one input of the simulator. Strict TOML, in which every mistake is met with one
//! sentence that names the file, the line, and what is allowed.
//!
//! `file` is what serde reads, `check` and `expect` make a scenario of it, `write` makes a file
//! of one. A fault has its form, its checks and its kind in `fault`.

use std::path::Path;
use std::time::Duration;

use lessor::{Config, Error, Item, LeaseId, MemberId, Request, RequestError, Response, Ttl};
use serde::Deserialize;

mod check;
mod error;
mod expect;
mod fault;
mod file;
mod part;
mod settings;
mod span;
mod step;
#[cfg(test)]
mod tests;
mod write;

pub use self::check::DELAYS;
pub(crate) use self::check::MOST_MEMBERS;
pub use self::error::ScenarioError;
pub use self::fault::{Crash, CrashWhen, Fault, FaultKind, Then};
pub use self::part::PartName;
pub use self::settings::{
    Clocks, Delays, Disks, Ending, Loss, MemberClock, Network, Unsynced, Upkeep,
};
pub use self::span::{Signed, Span};

/// What happens, to whom, when, and what is expected of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// The stem of its file.
    pub name: String,
    /// The comment at the head of its file.
    pub story: String,
    /// Where all chance comes from.
    pub seed: u64,
    /// Whether what it orders may meet nothing: what was drawn or shrunk was not written to prove
    /// something by each of its faults.
    pub may_miss: bool,
    /// Whether each member has a second one beside it, which is told the same and must say the same.
    pub twins: bool,
    /// Whether each commit is handed to its store a second time, which must change nothing.
    pub commits_twice: bool,
    /// How many members the group has, 1 to 7, named from 1 on.
    pub members: u8,
    /// When it ends.
    pub duration: Duration,
    /// What the members keep their leases in.
    pub store: PartName,
    /// What runs the members.
    pub host: PartName,
    /// The settings of every member.
    pub config: Config,
    /// What orders the log.
    pub log_name: PartName,
    /// How long the modelled log takes.
    pub log: Delays,
    /// How the modelled log keeps itself going.
    pub upkeep: Upkeep,
    /// How fast the disks are.
    pub disks: Disks,
    /// How messages travel.
    pub network: Network,
    /// How far the clocks may be off.
    pub clocks: Clocks,
    /// When everything heals, if it does.
    pub ending: Option<Ending>,
    /// What happens, by time; what happens at the same time stays in the order of the file.
    pub steps: Vec<Step>,
    /// Lessees in numbers.
    pub herds: Vec<Herd>,
    /// What must be seen.
    pub expects: Vec<Expect>,
}

/// Something that happens at a moment. Equality does not look at the line.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Debug)]
pub struct Step {
    pub at: Duration,
    /// The line of the file, for messages.
    pub line: usize,
    pub action: Action,
}

/// What can happen.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A lessee asks for something.
    Ask {
        request: Request,
        /// Whom; by default whoever leads.
        member: Option<MemberId>,
        lessee: Option<String>,
        /// The answer that it must get.
        answer: Option<AnswerKind>,
        /// After how long without an answer it gives up and asks another member, until one answers;
        /// by default it asks one member, and waits for ever.
        patience: Option<Duration>,
    },
    /// The world changes.
    Fault(Fault),
}

/// The kinds of answers that a step can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// Success.
    Ok,
    /// No such lease, or no lease that holds the item.
    NotFound,
    /// The id is in use.
    Exists,
    /// The ttl is too large.
    TooLarge,
    /// Refused: an item without a key.
    EmptyItem,
    /// Refused: another lease holds an item.
    ItemHeld,
    /// The member does not lead.
    NotPrimary,
    /// Nobody knows, or nobody was there.
    Unknown,
    /// No answer until the end.
    None,
}

/// Many lessees with a lease each.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Herd {
    /// What they are called, and how their items begin.
    pub name: String,
    pub leases: u32,
    /// The id of the first lease; the others follow.
    pub first_lease: LeaseId,
    pub ttl: Ttl,
    /// When the first one starts.
    pub start: Duration,
    /// Over which time the others do.
    pub over: Duration,
    /// How often each renews, if it does.
    pub renew_every: Option<Duration>,
    /// When all of them vanish, if they do.
    pub until: Option<Duration>,
    /// How many items each attaches.
    pub items: u32,
    /// After how long without an answer one gives up and asks another member; by default
    /// [`Herd::patience`].
    pub patience: Option<Duration>,
    /// Whether each keeps its lease alive by a guard, the product's own, in place of renews.
    pub keep_alive: bool,
    /// The rate of the guards' clocks, less one, in millionths; by default that of lessees.
    pub drift_ppm: Option<i32>,
}

/// Something that must be seen. Equality does not look at the line.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, Debug)]
pub struct Expect {
    /// The line of the file, for messages.
    pub line: usize,
    pub what: Expectation,
}

/// What can be expected.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// Something of a moment.
    At {
        at: Duration,
        /// On which member's store; by default on that of whoever leads.
        member: Option<MemberId>,
        what: AtMoment,
    },
    /// How many leases expire for the first time in each window of a stretch of time.
    Expired {
        from: Duration,
        /// The end, which is not part of it.
        to: Duration,
        /// The length of a window.
        every: Duration,
        /// At least so many.
        at_least: Option<u32>,
        /// At most so many.
        at_most: Option<u32>,
    },
}

/// What can be expected of a moment.
#[expect(missing_docs, reason = "the names of some fields say it all")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AtMoment {
    /// A lease is there, or is not.
    Present(LeaseId, bool),
    /// A lease has this much left, by the primary's own word.
    Remaining {
        lease: LeaseId,
        /// At least.
        at_least: Option<Duration>,
        /// At most.
        at_most: Option<Duration>,
    },
    /// A lease holds exactly these items.
    Items(LeaseId, Vec<Item>),
    /// An item is held by this lease, or by none.
    Holder(Item, Option<LeaseId>),
    /// This member is primary, or none is.
    Primary(Option<MemberId>),
    /// There are so many leases.
    Leases(usize),
}

impl Scenario {
    /// Reads a scenario from its file.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Io`] if it cannot be read, [`ScenarioError::NoFile`] if it is no regular file,
    /// [`ScenarioError::TooLarge`] if it has more than [`MOST_BYTES`], else as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let bytes = read(path)?;
        let text = std::str::from_utf8(&bytes);
        Self::parse(path, text.map_err(|error| error::not_utf8(path, &bytes, error))?)
    }

    /// Reads a scenario from the text of a file. The label stands for the file in errors, and its
    /// stem is the scenario's name.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::OtherSchema`] if it is for another version, [`ScenarioError::Invalid`] for
    /// the first mistake in it.
    pub fn parse(label: impl AsRef<Path>, text: &str) -> Result<Self, ScenarioError> {
        check::parse(label.as_ref(), text)
    }

    /// The same scenario on another log. If that is not the modelled one, all that orders the modelled one
    /// about is left out.
    #[must_use]
    pub fn on_log(mut self, name: PartName) -> Self {
        if name != PartName::MODELLED {
            self.steps.retain(|step| {
                !matches!(&step.action, Action::Fault(fault) if fault.is_of_the_modelled_log())
            });
            (self.log, self.upkeep) = (DELAYS, Upkeep::default());
        }
        self.log_name = name;
        self
    }

    /// The text of a file that says the same, without what is at its default anyway.
    ///
    /// Parsed again under the same name it gives an equal scenario, if this one was parsed itself
    /// or says nothing that a file cannot: times have whole milliseconds, keys are text, a grant
    /// has an id.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }
}

/// A span of time as a scenario writes it, such as `1.5s`: a number and `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    span::parse(text)
}

/// How many bytes a file may have: that is some 300,000 steps.
pub const MOST_BYTES: u64 = 32 << 20;

/// All of a file, if it is one.
fn read(path: &Path) -> Result<Vec<u8>, ScenarioError> {
    let failed = |error| ScenarioError::Io { path: path.to_path_buf(), error };
    let meta = std::fs::metadata(path).map_err(failed)?;
    // A pipe or a device may never end, and never begin.
    if !meta.is_file() {
        return Err(ScenarioError::NoFile { path: path.to_path_buf() });
    }
    if meta.len() > MOST_BYTES {
        return Err(ScenarioError::TooLarge { path: path.to_path_buf(), bytes: meta.len() });
    }
    std::fs::read(path).map_err(failed)
}

impl Action {
    /// The members that it names.
    pub fn members_mut(&mut self) -> Vec<&mut MemberId> {
        match self {
            Self::Ask { member, .. } => member.iter_mut().collect(),
            Self::Fault(fault) => fault.members_mut(),
        }
    }

    /// It is of a group of so many members from now on: those that there are not are others.
    pub fn fold_members(&mut self, members: u64) {
        for member in self.members_mut() {
            *member = MemberId((member.0 - 1) % members + 1);
        }
    }
}

impl Step {
    /// Where it stands, for messages: a step that was drawn is in no file.
    #[must_use]
    pub fn location(&self) -> String {
        match self.line {
            0 => format!("the step at {}", crate::model::text::moment(self.at)),
            line => format!("line {line}"),
        }
    }

    /// It, as its file has it.
    #[must_use]
    pub fn action_in_words(&self) -> String {
        write::action(&self.action)
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        (self.at, &self.action) == (other.at, &other.action)
    }
}

impl Eq for Step {}

impl PartialEq for Expect {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

impl Eq for Expect {}

impl Herd {
    /// The id of its last lease.
    #[must_use]
    pub fn last_lease(&self) -> LeaseId {
        let id = self.first_lease.get() + i64::from(self.leases) - 1;
        LeaseId::new(id).expect("a herd's ids were checked")
    }

    /// Whether a lease is one of them.
    #[must_use]
    pub fn has(&self, lease: LeaseId) -> bool {
        (self.first_lease..=self.last_lease()).contains(&lease)
    }

    /// How long each waits for an answer: by default a third of its ttl, so that two other members can be
    /// asked before the lease ends, but 1 s at least, which the log may take, and at most 5 s.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let third = self.ttl.as_duration() / 3;
        self.patience.unwrap_or(third.clamp(Duration::from_secs(1), Duration::from_secs(5)))
    }
}

impl AnswerKind {
    /// The kind of an answer.
    #[must_use]
    pub fn of(answer: &Result<Response, RequestError>) -> Self {
        match answer {
            Ok(
                Response::Lookup(None)
                | Response::TimeToLive(None)
                | Response::Items(None)
                | Response::LeaseOf(None),
            ) => Self::NotFound,
            Ok(_) => Self::Ok,
            Err(RequestError::Refused(Error::LeaseNotFound)) => Self::NotFound,
            Err(RequestError::Refused(Error::LeaseExists)) => Self::Exists,
            Err(RequestError::Refused(Error::TtlTooLarge)) => Self::TooLarge,
            Err(RequestError::Refused(Error::EmptyItem)) => Self::EmptyItem,
            Err(RequestError::Refused(Error::ItemHeld(_))) => Self::ItemHeld,
            Err(RequestError::Refused(Error::NotPrimary) | RequestError::NotPrimary { .. }) => {
                Self::NotPrimary
            }
            Err(RequestError::Unknown | RequestError::Stopped) => Self::Unknown,
        }
    }

    /// As it is written in a scenario.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not-found",
            Self::Exists => "exists",
            Self::TooLarge => "too-large",
            Self::EmptyItem => "empty-item",
            Self::ItemHeld => "item-held",
            Self::NotPrimary => "not-primary",
            Self::Unknown => "unknown",
            Self::None => "none",
        }
    }
}

/// The version of the format that this simulator reads.
pub const SCHEMA: u64 = 1;
