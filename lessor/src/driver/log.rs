//! The interface to a consensus library, and the log of a member that is alone.

use std::collections::VecDeque;
use std::future::Future;

use crate::{Confirmation, Entry, LogIndex, Proposal, Role, StateAt, Term};

/// A replicated log, as one member sees it.
///
/// A consensus library implements it, and must guarantee:
/// - every member gets the same entries in the same order, without gaps;
/// - a proposal is committed in its own term or never, and at most once;
/// - the proposals of one term are committed in the order in which they were made; any may be lost;
/// - at most one member leads in a term, and it is told the last index of earlier terms;
/// - a member that stops leading leads again only in a later term.
///
/// A log whose consensus runs in another task, connected by two channels:
///
/// ```
/// use lessor::driver::{Log, LogEvent};
/// use lessor::{Confirmation, LogIndex, Proposal};
/// use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
///
/// /// What the task is asked to do.
/// enum Ask {
///     Start(LogIndex),
///     Propose(Proposal),
///     Confirm(Confirmation),
///     Compact(LogIndex),
///     Campaign,
///     Resign,
/// }
///
/// struct ChannelLog {
///     consensus: UnboundedSender<Ask>,
///     events: UnboundedReceiver<LogEvent>,
/// }
///
/// impl ChannelLog {
///     fn ask(&self, what: Ask) {
///         // If the task has ended, so have its events, and `next` says so.
///         let _ = self.consensus.send(what);
///     }
/// }
///
/// impl Log for ChannelLog {
///     fn start(&mut self, applied: LogIndex) {
///         self.ask(Ask::Start(applied));
///     }
///
///     fn propose(&mut self, proposal: Proposal) {
///         self.ask(Ask::Propose(proposal));
///     }
///
///     fn confirm(&mut self, confirmation: Confirmation) {
///         self.ask(Ask::Confirm(confirmation));
///     }
///
///     fn applied(&mut self, applied: LogIndex) {
///         self.ask(Ask::Compact(applied));
///     }
///
///     fn campaign(&mut self) {
///         self.ask(Ask::Campaign);
///     }
///
///     fn resign(&mut self) {
///         self.ask(Ask::Resign);
///     }
///
///     async fn next(&mut self) -> Option<LogEvent> {
///         self.events.recv().await
///     }
/// }
/// ```
pub trait Log: Send + 'static {
    /// Starts the log, which must deliver the entries after `applied`. Called once, before any other call.
    fn start(&mut self, applied: LogIndex);

    /// Takes a proposal. Must not block. If it is committed, it appears among the committed entries.
    fn propose(&mut self, proposal: Proposal);

    /// Takes the question whether this member leads. The answer is a [`LogEvent::Confirmed`], from a quorum
    /// that was asked after this call.
    fn confirm(&mut self, confirmation: Confirmation);

    /// Takes the news that everything up to `applied` is durable here, so the log need not keep it for this
    /// member.
    fn applied(&mut self, applied: LogIndex);

    /// Tries to make this member the leader.
    fn campaign(&mut self);

    /// Makes this member give up leading.
    fn resign(&mut self);

    /// Returns the next event, or `None` if the log has ended. Dropping the future must lose no event.
    fn next(&mut self) -> impl Future<Output = Option<LogEvent>> + Send;
}

/// An event that a log reports to its member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEvent {
    /// Entries were committed. They follow the previous ones in order, without a gap.
    Committed(Vec<Entry>),
    /// This member's role changed.
    Role(Role),
    /// The answer to [`Log::confirm`]: the commit index at the moment when a quorum confirmed that this
    /// member leads, or `None` if it does not lead.
    Confirmed {
        /// The question.
        confirmation: Confirmation,
        /// The answer.
        committed: Option<LogIndex>,
    },
    /// This member is too far behind for entries and gets a whole state.
    Installed(StateAt),
}

/// The log of a member that is alone. It leads from the start, and commits and confirms at once.
///
/// It stores nothing: an entry is safe when the backend has committed it. Its first term is one above the
/// last applied index, and the term of an entry is never above its index. So after a restart the term is
/// new if anything was committed before.
#[derive(Debug, Default)]
pub struct LocalLog {
    index: LogIndex,
    term: Term,
    leads: bool,
    entries: Vec<Entry>,
    events: VecDeque<LogEvent>,
}

impl LocalLog {
    /// Creates a log that is not started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lead(&mut self) {
        self.leads = true;
        self.term = Term(self.term.0 + 1);
        let (term, barrier) = (self.term, self.index);
        self.events.push_back(LogEvent::Role(Role::Leader { term, barrier }));
    }

    fn append(&mut self, proposal: Option<Proposal>) {
        self.index = self.index.next();
        let (index, term) = (self.index, self.term);
        self.entries.push(Entry { index, term, proposal });
    }

    /// Puts what was proposed so far behind the events so far.
    fn flush(&mut self) {
        if !self.entries.is_empty() {
            self.events.push_back(LogEvent::Committed(std::mem::take(&mut self.entries)));
        }
    }
}

impl Log for LocalLog {
    fn start(&mut self, applied: LogIndex) {
        self.index = applied;
        self.term = Term(applied.0);
        self.lead();
    }

    fn propose(&mut self, proposal: Proposal) {
        if self.leads && proposal.term == self.term {
            self.append(Some(proposal));
        }
    }

    fn confirm(&mut self, confirmation: Confirmation) {
        self.flush();
        let committed = self.leads.then_some(self.index);
        self.events.push_back(LogEvent::Confirmed { confirmation, committed });
    }

    fn applied(&mut self, _: LogIndex) {}

    fn campaign(&mut self) {
        if !self.leads {
            // Else terms could rise above the index, from which a restart tells a new one.
            self.append(None);
            self.flush();
            self.lead();
        }
    }

    fn resign(&mut self) {
        if self.leads {
            self.flush();
            self.leads = false;
            self.events.push_back(LogEvent::Role(Role::Follower { leader: None }));
        }
    }

    async fn next(&mut self) -> Option<LogEvent> {
        self.flush();
        match self.events.pop_front() {
            Some(event) => Some(event),
            None => std::future::pending().await,
        }
    }
}
