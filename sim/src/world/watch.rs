//! Those who are told what happens: the oracle judges it, marks are counted from it, and trace and events
//! are written.

use crate::judge::Event;
use crate::judge::oracle::Oracle;
use crate::model::clock::Clock;
use crate::record::coverage::Coverage;
use crate::record::events::{EventLog, Seen};
use crate::record::recorder::{Recorder, WithRole};
use crate::scenario::Scenario;

/// Those who are told what happens.
pub(super) struct Watch {
    pub(super) oracle: Oracle,
    pub(super) coverage: Coverage,
    pub(super) recorder: Recorder,
    /// Writes events as data, if that is wanted.
    pub(super) events: Option<Box<EventLog>>,
}

impl Watch {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            oracle: Oracle::new(&scenario.config, &scenario.clocks, scenario.twins),
            coverage: Coverage::new(&scenario.config),
            recorder: Recorder::new(&scenario.herds),
            events: None,
        }
    }

    /// Something happens.
    pub(super) fn judge(&mut self, event: &Event<'_>) {
        self.coverage.observe(event, &self.oracle);
        self.oracle.observe(event);
    }

    /// The same event, once it is judged: on this member, with its role and its clock.
    pub(super) fn write(
        &mut self,
        event: &Event<'_>,
        member: Option<WithRole>,
        clock: Option<Clock>,
    ) {
        let shown = self.recorder.trace().lines().len();
        self.recorder.observe(event, member, &self.oracle);
        if let Some(events) = &mut self.events {
            let lines = &self.recorder.trace().lines()[shown..];
            events.observe(event, &Seen { clock, lines, oracle: &self.oracle });
        }
    }
}
