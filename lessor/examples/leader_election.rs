//! A leader election: three candidates of one process, of whom at most one leads at any time.
//!
//! Whoever is granted the lease of the office leads, and shows its name as an item of that lease. The
//! *grant of one well-known id* is what only one can win: it is refused while the lease is there.
//! Attaching the item alone would not do, because attaching moves an item away from who holds it.
//!
//! The first leader dies without a word, so the office is free when its ttl has passed; the second
//! resigns, so it is free at once. Run it with
//! `cargo run --example leader_election --features tokio,redb`; it ends after some seconds.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lessor::driver::{CallError, Handle, KeepAlive};
use lessor::{Config, LeaseId, LeaseOrder, Ttl};
use tokio::time::{Instant, sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // A short ttl, so that nobody has to watch for long.
    let config = Config { min_ttl: TTL, ..Config::default() };
    let leases = lessor::open(folder.path().join("election.redb"), config).await?;
    let reigns = Arc::new(Reigns { clock: start(), leading: AtomicUsize::new(0) });

    let candidates = [("ada", End::Dies), ("bob", End::Resigns), ("cleo", End::Resigns)];
    let candidates =
        candidates.map(|(name, end)| tokio::spawn(run(leases.clone(), name, end, reigns.clone())));
    for candidate in candidates {
        candidate.await??;
    }

    let left = leases.leases(LeaseOrder::Id, None, 1).await?;
    assert!(left.is_empty(), "nobody is in office: {left:?}");
    Ok(leases.stop().await?)
}

/// How a leader goes.
enum End {
    Dies,
    Resigns,
}

/// Campaigns until elected, leads for a while, and goes.
async fn run(leases: Handle, name: &str, end: End, reigns: Arc<Reigns>) -> Result<(), CallError> {
    let alive = campaign(&leases, name).await?;
    reigns.begin(name);
    sleep(3 * TTL.as_duration()).await;
    // A leader stops to act as one *before* it lets go of the office.
    match end {
        End::Dies => {
            reigns.end(name, "dies, and nobody renews its lease any more");
            drop(alive);
        }
        End::Resigns => {
            reigns.end(name, "resigns");
            drop(alive);
            leases.revoke(OFFICE).await?;
        }
    }
    Ok(())
}

/// Returns when this candidate is the leader, with what keeps it in office.
async fn campaign(leases: &Handle, name: &str) -> Result<KeepAlive, CallError> {
    loop {
        match leases.grant(Some(OFFICE), TTL).await {
            Ok(_) => {
                leases.attach(OFFICE, [format!("leader/{name}").as_str()]).await?;
                return leases.keep_alive(OFFICE).await;
            }
            Err(error) if error.refusal() == Some(lessor::Error::LeaseExists) => {
                sleep(TTL.as_duration() / 10).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Says who leads when, and that it is one at most.
struct Reigns {
    clock: Instant,
    leading: AtomicUsize,
}

impl Reigns {
    fn begin(&self, name: &str) {
        assert_eq!(self.leading.fetch_add(1, Ordering::SeqCst), 0, "{name} is not alone");
        self.say(name, "is the leader");
    }

    fn end(&self, name: &str, how: &str) {
        assert_eq!(self.leading.fetch_sub(1, Ordering::SeqCst), 1);
        self.say(name, how);
    }

    fn say(&self, name: &str, what: &str) {
        println!("{:4.1} s  {name} {what}", self.clock.elapsed().as_secs_f32());
    }
}

#[expect(clippy::disallowed_methods, reason = "a program that says when things happen")]
fn start() -> Instant {
    Instant::now()
}

/// The lease of the office.
const OFFICE: LeaseId = LeaseId::new(1).unwrap();
const TTL: Ttl = Ttl::from_millis(600);
