//! A leader election: three candidates of one process, and an office that listens to the latest leader only.
//!
//! Each candidate has a lease of its own, and *claims* the office as an item of that lease: only one can,
//! for as long as its lease lasts. The log index of the claim is its token. It goes along with
//! everything that a leader does, and the office refuses a token that is smaller than one that it has seen:
//! so a leader that has lost the office without noticing does no harm.
//!
//! Attaching would not do, because it moves an item away from who holds it. Nor would one lease whose id all
//! agree on: a late leader could renew and revoke it while it is another one's.
//!
//! The first leader hangs for so long that its lease ends, and acts again when another one leads; the others
//! resign. Run it with `cargo run --example leader_election --features tokio,redb`; it ends after some seconds.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use lessor::driver::{CallError, Handle, KeepAlive};
use lessor::{Config, LeaseId, LeaseOrder, LogIndex, Ttl};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    // A short ttl, so that nobody has to watch for long.
    let config = Config::default().with_min_ttl(TTL);
    let leases = lessor::open(folder.path().join("election.redb"), config).await?;
    let office = Arc::new(Office { clock: start(), seen: watch::Sender::default() });

    let first = tokio::spawn(run(leases.clone(), "ada", End::Hangs, office.clone()));
    office.seen.subscribe().wait_for(|seen| *seen > LogIndex(0)).await?;
    let others = ["bob", "cleo"];
    let others =
        others.map(|name| tokio::spawn(run(leases.clone(), name, End::Resigns, office.clone())));
    for candidate in [first].into_iter().chain(others) {
        candidate.await??;
    }

    let left = leases.leases(LeaseOrder::Id, None, 1).await?;
    assert!(left.is_empty(), "nobody is in office: {left:?}");
    Ok(leases.stop().await?)
}

/// How a leader goes.
enum End {
    Hangs,
    Resigns,
}

/// Campaigns until elected, leads for a while, and goes.
async fn run(
    leases: Handle,
    name: &'static str,
    end: End,
    office: Arc<Office>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Reign { lease, token, alive } = campaign(&leases).await?;
    office.act(token, name, "is the leader")?;
    sleep(3 * TTL.as_duration()).await;
    match end {
        End::Hangs => {
            // As when the process stands still: nobody renews its lease, and it does not notice.
            drop(alive);
            office.seen.subscribe().wait_for(|seen| *seen > token).await?;
            let late = office.act(token, name, "goes on as if it were the leader");
            let late = late.expect_err("another one leads");
            office.say(name, &late.to_string());
        }
        End::Resigns => {
            office.act(token, name, "resigns")?;
            drop(alive);
            leases.revoke(lease).await?;
        }
    }
    Ok(())
}

/// What a leader has: its lease, what keeps that alive, and the token of its claim.
struct Reign {
    lease: LeaseId,
    token: LogIndex,
    alive: KeepAlive,
}

/// Returns when this candidate is the leader.
async fn campaign(leases: &Handle) -> Result<Reign, CallError> {
    let lease = leases.grant(None, TTL).await?.id;
    let alive = leases.keep_alive(lease).await?;
    loop {
        match leases.claim(lease, ["office"]).await {
            Ok(token) => return Ok(Reign { lease, token, alive }),
            Err(error) if matches!(error.refusal(), Some(lessor::Error::ItemHeld(_))) => {
                sleep(TTL.as_duration() / 10).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What only the leader may use: it knows nothing of leases, and checks tokens.
struct Office {
    clock: Instant,
    /// The largest token that it has seen.
    seen: watch::Sender<LogIndex>,
}

/// Why the office refuses somebody.
#[derive(Debug)]
struct Late {
    token: LogIndex,
    seen: LogIndex,
}

impl Office {
    fn act(&self, token: LogIndex, name: &str, what: &str) -> Result<(), Late> {
        let mut seen = LogIndex(0);
        self.seen.send_if_modified(|largest| {
            seen = *largest;
            *largest = token.max(seen);
            token > seen
        });
        if token < seen {
            return Err(Late { token, seen });
        }
        self.say(name, &format!("{what} (token {token})"));
        Ok(())
    }

    fn say(&self, name: &str, what: &str) {
        println!("{:4.1} s  {name} {what}", self.clock.elapsed().as_secs_f32());
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, seen } = self;
        write!(f, "is refused: the office has seen {seen}, which is behind {token}")
    }
}

impl Error for Late {}

#[expect(clippy::disallowed_methods, reason = "a program that says when things happen")]
fn start() -> Instant {
    Instant::now()
}

const TTL: Ttl = Ttl::from_millis(600);
