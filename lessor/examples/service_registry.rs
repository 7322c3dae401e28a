//! A service registry: a name is there for as long as the process behind it renews its lease.
//!
//! Without a command it tells its whole story by itself in about ten seconds, in a folder of its own
//! or in the one that is named, and fails if the story does not hold:
//!
//! ```sh
//! cargo run --example service_registry --features recording,tokio,redb [-- FOLDER]
//! ```
//!
//! By hand, in two steps (the store is one process's at a time, as any embedded one):
//!
//! ```sh
//! service_registry register web 10.0.0.7:8080 --ttl 5   # until killed: kill -9
//! service_registry watch                                # afterwards
//! ```
//!
//! The name survives the kill, because its lease is durable, and nobody renews it any more. No clock
//! outlives its process, so whoever opens the store gives every lease its whole ttl once more, and
//! [`Config::extend`](lessor::Config::extend) (1 s) on top: `watch` shows `web` for six seconds, and
//! then it is gone. `list` shows what is there and ends. A folder before the command is where the store
//! is; without one it is in the system's folder for temporary files.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use lessor::driver::{FlightRecorder, Handle};
use lessor::{Config, Item, LeaseId, LeaseOrder};
use tokio::time::{Instant, sleep, timeout};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let shared = std::env::temp_dir().join("lessor-service-registry");
    let (folder, command) = match &arguments[..] {
        [] | ["register" | "list" | "watch", ..] => (shared.as_path(), &arguments[..]),
        [folder, command @ ..] => (Path::new(folder), command),
    };
    let outcome = match *command {
        [] if arguments.is_empty() => story_in_a_new_folder().await,
        [] if !arguments[0].starts_with('-') => story(folder).await,
        ["register", name, address] => register(folder, name, address, "5").await,
        ["register", name, address, "--ttl", secs] => register(folder, name, address, secs).await,
        ["list"] => list(folder).await,
        ["watch"] => watch(folder).await,
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service_registry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Registers a service and keeps it registered until the process is killed.
async fn register(folder: &Path, name: &str, address: &str, secs: &str) -> Result<()> {
    let log = Clock::start();
    let leases = open(folder).await?;
    let ttl = Duration::from_secs(secs.parse()?);
    let lessor::driver::Granted { id, ttl, .. } = leases.grant(None, ttl).await?;
    leases.attach(id, [item(name, address).as_str()]).await?;
    let mut alive = leases.keep_alive(id).await?;
    log.say(&format!("registered {name} at {address} under lease {id}, ttl {ttl}"));
    Err(alive.lost().await.into())
}

/// Shows the services that are registered.
async fn list(folder: &Path) -> Result<()> {
    let log = Clock::start();
    let leases = open(folder).await?;
    show(&log, &services(&leases).await?);
    Ok(leases.stop().await?)
}

/// Shows the services that are registered, and each as it goes, until there are none.
async fn watch(folder: &Path) -> Result<()> {
    let log = Clock::start();
    let leases = open(folder).await?;
    let mut expired = leases.expired().await?;
    let mut there = services(&leases).await?;
    show(&log, &there);
    while !there.is_empty() {
        let batch = expired.recv().await.ok_or("the engine has ended")??;
        there.retain(|service| !batch.leases.contains(&service.lease));
        log.say(&format!("lease {:?} has expired", batch.leases));
        show(&log, &there);
    }
    Ok(leases.stop().await?)
}

async fn story_in_a_new_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    story(folder.path()).await
}

/// Registers in a child, kills it, opens its store, and sees the name stay and go.
async fn story(folder: &Path) -> Result<()> {
    let log = Clock::start();
    let (ttl, extend) = (Duration::from_secs(3), Config::default().extend);
    log.say("another process registers web with a ttl of 3 s, and keeps it alive");
    let mut child = Registered::spawn(folder, "web", "10.0.0.7:8080", ttl)?;
    let kept = Duration::from_secs(4);
    sleep(kept).await;
    if let Some(status) = child.0.try_wait()? {
        return Err(format!("it lost its lease: {status}").into());
    }
    log.say("after 4 s it is still alive; kill -9");
    child.kill()?;

    let leases = open(folder).await?;
    let (opened, mut expired) = (Clock::start().0, leases.expired().await?);
    let there = services(&leases).await?;
    log.say("its store, opened again:");
    show(&log, &there);
    let [web] = &there[..] else { return Err(format!("{} services, not 1", there.len()).into()) };
    let lease = web.lease;
    if web.remaining > ttl + extend || web.remaining + Duration::from_millis(500) < ttl + extend {
        return Err(format!("it should have {:?} left", ttl + extend).into());
    }
    sleep(ttl).await;
    if services(&leases).await?.len() != 1 {
        return Err("it is gone before its time".into());
    }
    log.say("3 s later it is still there, and nobody renews it");

    let batch = timeout(ttl, expired.recv()).await?.ok_or("the engine has ended")??;
    let after = opened.elapsed();
    log.say(&format!(
        "lease {:?} has expired, {after:.1?} after the store was opened",
        batch.leases
    ));
    if batch.leases != [lease] || after + Duration::from_millis(50) < ttl + extend {
        return Err("that is not what was promised".into());
    }
    until_gone(&leases).await?;
    show(&log, &services(&leases).await?);
    leases.stop().await?;

    let leases = open(folder).await?;
    let there = services(&leases).await?;
    log.say("the store, opened once more:");
    show(&log, &there);
    leases.stop().await?;
    if there.is_empty() { Ok(()) } else { Err("it came back".into()) }
}

/// A service as the registry knows it.
struct Service {
    item: Item,
    lease: LeaseId,
    remaining: Duration,
}

async fn open(folder: &Path) -> Result<Handle> {
    std::fs::create_dir_all(folder)?;
    let recorder = FlightRecorder::create(folder.join("flight"))?;
    Ok(lessor::open_observed(folder.join("registry.redb"), Config::default(), recorder).await?)
}

async fn services(leases: &Handle) -> Result<Vec<Service>> {
    let (mut services, mut last) = (Vec::new(), None);
    loop {
        let page = leases.leases(LeaseOrder::Id, last, 100).await?;
        let Some(lease) = page.last() else { return Ok(services) };
        last = Some(*lease);
        for lease in page {
            // It may have gone since the page was read.
            let Some(status) = leases.lookup(lease.record.id).await? else { continue };
            let (lease, remaining) = (status.record.id, status.remaining);
            services.extend(status.items.into_iter().map(|item| Service {
                item,
                lease,
                remaining,
            }));
        }
    }
}

/// An expired batch is shown before its leases are revoked, which takes a commit more.
async fn until_gone(leases: &Handle) -> Result<()> {
    let gone = async {
        while !services(leases).await?.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    timeout(Duration::from_secs(2), gone).await?
}

fn item(name: &str, address: &str) -> String {
    format!("{name} {address}")
}

fn show(log: &Clock, services: &[Service]) {
    if services.is_empty() {
        log.say("  no service is registered");
    }
    for Service { item, lease, remaining } in services {
        log.say(&format!("  {item}, lease {lease}, {:.1} s left", remaining.as_secs_f32()));
    }
}

/// A process that has registered a service. It is killed when this is dropped.
struct Registered(Child);

impl Registered {
    fn spawn(folder: &Path, name: &str, address: &str, ttl: Duration) -> Result<Self> {
        let program: PathBuf = std::env::current_exe()?;
        let child = Command::new(program)
            .arg(folder)
            .args(["register", name, address, "--ttl", &ttl.as_secs().to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut registered = Self(child);
        let out = registered.0.stdout.take().ok_or("it has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        if !line.contains("registered") {
            return Err("it could not register".into());
        }
        println!("    child: {}", line.trim());
        Ok(registered)
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}

/// Puts the time since the start before each line.
struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a program that says when things happen")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn say(&self, what: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever listened may have gone.
        let _ = writeln!(out, "{:5.1} s  {what}", self.0.elapsed().as_secs_f32());
        let _ = out.flush();
    }
}

const USAGE: &str =
    "usage: service_registry [FOLDER] [register NAME ADDRESS [--ttl SECONDS] | list | watch]";
