//! What scenarios may name: the stores that leases are kept in, the logs that order what happens to them, and
//! the hosts that run members.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lessor::backend::{Backend, BackendError, RedbBackend};
use lessor::driver::Log;

use super::Seat;
use super::driver::DriverHost;
use super::log::{AnyLog, LogSeat};
use crate::env::disk::Mount;
use crate::env::journal::JournalBackend;
use crate::generate::generate;
use crate::scenario::{PartName, Scenario};

/// Runs a member on a machine of the simulation.
///
/// What it does must follow from what it is told: no clock, thread, random number or socket but those of
/// its [`Seat`], or a seed does not replay.
pub trait Host: Send + Sync + 'static {
    /// Runs the member until it is asked to stop, or until it fails. When its machine loses its power, or
    /// its process is killed, the future is dropped.
    ///
    /// # Errors
    ///
    /// Why it failed. A member that fails though its disk did what it was told breaks S4.
    fn run(&self, seat: Seat) -> impl Future<Output = Result<(), HostError>> + Send;
}

/// Why a host has ended.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// The parts that scenarios may name, and which of them the scenarios of seeds run on.
///
/// ```
/// use lessor::backend::RedbBackend;
/// use lessor_sim::host::Testbed;
///
/// let testbed = Testbed::new().backend("my-redb", |disk| RedbBackend::with_storage(disk));
/// let report = testbed.replay(&testbed.scenario(17));
/// println!("{:?}", report.verdict());
/// ```
#[derive(Clone)]
pub struct Testbed {
    stores: BTreeMap<PartName, Arc<Opener>>,
    hosts: BTreeMap<PartName, Arc<dyn AnyHost>>,
    /// `None` stands for the modelled one.
    logs: BTreeMap<PartName, Option<Arc<LogOpener>>>,
    /// What the scenarios of seeds are given, in place of what is drawn.
    store: Option<PartName>,
    host: Option<PartName>,
    log: Option<PartName>,
    command: Option<String>,
}

/// Opens a store on a disk.
pub(super) type Opener = dyn Fn(Mount) -> Result<Box<dyn Backend>, BackendError> + Send + Sync;

/// Opens a log at a member.
pub(super) type LogOpener = dyn Fn(LogSeat) -> Result<Box<dyn AnyLog>, HostError> + Send + Sync;

/// The parts that a scenario names.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) open: Arc<Opener>,
    pub(super) host: Arc<dyn AnyHost>,
    /// `None` if it is the modelled one.
    pub(super) log: Option<Arc<LogOpener>>,
}

/// A [`Host`] of any type.
pub(super) trait AnyHost: Send + Sync {
    fn run<'a>(
        &'a self,
        seat: Seat,
    ) -> Pin<Box<dyn Future<Output = Result<(), HostError>> + Send + 'a>>;
}

impl<H: Host> AnyHost for H {
    fn run<'a>(
        &'a self,
        seat: Seat,
    ) -> Pin<Box<dyn Future<Output = Result<(), HostError>> + Send + 'a>> {
        Box::pin(Host::run(self, seat))
    }
}

/// A scenario names a part that a testbed does not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{scenario}: its {kind} is \"{name}\", which this program does not have; it has {}",
    known.join(", ")
)]
#[expect(missing_docs, reason = "the names of some fields say it all")]
pub struct UnknownPart {
    /// The name of the scenario.
    pub scenario: String,
    /// `store`, `host` or `log`.
    pub kind: &'static str,
    pub name: PartName,
    /// The names that there are.
    pub known: Vec<String>,
}

impl Testbed {
    /// The parts that every testbed has: the stores `redb` and `journal`, the host `driver`, and the log
    /// `modelled`.
    #[must_use]
    pub fn new() -> Self {
        let none = Self {
            stores: BTreeMap::new(),
            hosts: BTreeMap::new(),
            logs: BTreeMap::from([(PartName::MODELLED, None)]),
            store: None,
            host: None,
            log: None,
            command: None,
        };
        let parts = none
            .backend(PartName::REDB.as_str(), RedbBackend::with_storage)
            .backend(PartName::JOURNAL.as_str(), JournalBackend::new)
            .host(PartName::DRIVER.as_str(), DriverHost);
        Self { store: None, host: None, ..parts }
    }

    /// Adds a store that scenarios may name, and has the scenarios of seeds use it. `open` opens it on a
    /// simulated disk, which is empty at first and keeps what was synced.
    ///
    /// # Panics
    ///
    /// If no part can have this name, or there is one.
    #[must_use]
    pub fn backend<B: Backend + 'static>(
        mut self,
        name: &str,
        open: impl Fn(Mount) -> Result<B, BackendError> + Send + Sync + 'static,
    ) -> Self {
        let open = move |mount| open(mount).map(|store| Box::new(store) as Box<dyn Backend>);
        self.store = Some(add(&mut self.stores, "store", name, Arc::new(open)));
        self
    }

    /// Adds a host that scenarios may name, and has the scenarios of seeds use it.
    ///
    /// # Panics
    ///
    /// If no part can have this name, or there is one.
    #[must_use]
    pub fn host(mut self, name: &str, host: impl Host) -> Self {
        self.host = Some(add(&mut self.hosts, "host", name, Arc::new(host)));
        self
    }

    /// Adds a log that scenarios may name, and has the scenarios of seeds use it. `open` opens a member's end
    /// of it, and finds there what it needs: the clock, the network, a disk of its own.
    ///
    /// Nothing of such a log is ordered about: a scenario that names it has no `elect`, `depose`, `lose` or
    /// `repeat`, and no delays; those of seeds leave them out. What it commits the testbed learns from what
    /// it tells its members. If it hands them different entries, leaves one out, or has two leaders in one
    /// term, that breaks S5.
    ///
    /// # Panics
    ///
    /// If no part can have this name, or there is one.
    #[must_use]
    pub fn log<L: Log>(
        mut self,
        name: &str,
        open: impl Fn(LogSeat) -> Result<L, HostError> + Send + Sync + 'static,
    ) -> Self {
        let open = move |seat| open(seat).map(|log| Box::new(log) as Box<dyn AnyLog>);
        self.log = Some(add(&mut self.logs, "log", name, Some(Arc::new(open))));
        self
    }

    /// Says how people call the program, for its help and for what it tells them to type; by default as it
    /// was called.
    #[must_use]
    pub fn called(self, command: &str) -> Self {
        Self { command: Some(command.to_owned()), ..self }
    }

    /// How people call the program, if somebody said.
    pub(crate) fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// The scenario of a seed, on the parts that were added last.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Scenario {
        let mut scenario = generate(seed);
        scenario.store = self.store.clone().unwrap_or(scenario.store);
        scenario.host = self.host.clone().unwrap_or(scenario.host);
        let log = self.log.clone().unwrap_or(PartName::MODELLED);
        scenario.on_log(log)
    }

    /// Verifies that there are the parts that a scenario names.
    ///
    /// # Errors
    ///
    /// Which it names in vain.
    pub fn check(&self, scenario: &Scenario) -> Result<(), UnknownPart> {
        let wanted = [
            ("store", &scenario.store, names(&self.stores)),
            ("host", &scenario.host, names(&self.hosts)),
            ("log", &scenario.log_name, names(&self.logs)),
        ];
        for (kind, name, known) in wanted {
            if !known.iter().any(|one| one == name.as_str()) {
                let (scenario, name) = (scenario.name.clone(), name.clone());
                return Err(UnknownPart { scenario, kind, name, known });
            }
        }
        Ok(())
    }

    /// The parts that a scenario names, which there are.
    pub(super) fn parts_of(&self, scenario: &Scenario) -> Parts {
        Parts {
            open: self.stores[&scenario.store].clone(),
            host: self.hosts[&scenario.host].clone(),
            log: self.logs[&scenario.log_name].clone(),
        }
    }
}

impl Default for Testbed {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Testbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Testbed")
            .field("stores", &names(&self.stores))
            .field("hosts", &names(&self.hosts))
            .field("logs", &names(&self.logs))
            .finish_non_exhaustive()
    }
}

fn names<T>(parts: &BTreeMap<PartName, T>) -> Vec<String> {
    parts.keys().map(ToString::to_string).collect()
}

/// Adds a part under a name that is free.
fn add<T>(parts: &mut BTreeMap<PartName, T>, kind: &str, name: &str, part: T) -> PartName {
    let allowed = PartName::new(name);
    let name = allowed.unwrap_or_else(|| panic!("\"{name}\" is no name of a part: a-z, 0-9 and -"));
    let before = parts.insert(name.clone(), part);
    assert!(before.is_none(), "there is a {kind} {name} already");
    name
}
