//! The log of the code under test, with virtual time and the member that wrote each line.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Prints what `lessor` logs from now on, to the standard error.
pub(crate) fn start(level: Level) {
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(VirtualTime)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    let lessor = Targets::new().with_target("lessor", LevelFilter::from(level));
    tracing_subscriber::registry().with(lines).with(lessor).init();
}

struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        let passed = madsim::time::TimeHandle::try_current().map(|time| time.elapsed());
        let passed = passed.unwrap_or(Duration::ZERO);
        // Members are the first nodes, in the order of their numbers.
        let member = madsim::plugin::node();
        write!(to, "{:>6}.{:03}  member {member}", passed.as_secs(), passed.subsec_millis())
    }
}
