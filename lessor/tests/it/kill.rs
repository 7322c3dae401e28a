//! A process that is killed with SIGKILL in the middle of its work loses nothing it has acknowledged.
//!
//! The test runs this very binary again as its child, which grants leases as fast as it can and says on
//! its standard output what was acknowledged. The parent kills it after some lines and opens its store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lessor::driver::Handle;
use lessor::{Config, Item, LeaseId, LeaseOrder};

#[test]
fn every_acknowledged_grant_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("leases.redb");
    let mut promised = Promised::default();
    for round in 0..ROUNDS {
        let mut child = spawn_child(&store);
        let lines = 1 + (round * 7_919) % 400;
        read_acknowledgements(&mut child, lines, &mut promised);
        check(&store, round, &mut promised);
    }
    assert!(promised.items.len() > 1_000, "the children got something done");
}

/// Not a test but the child: does nothing unless the parent has started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_grants_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells its child that it is one")]
    let Some(store) = std::env::var_os(STORE) else { return };
    let leases = lessor::open(store, Config::default()).await.unwrap();
    let lessees: Vec<_> = (0..LESSEES).map(|_| tokio::spawn(live(leases.clone()))).collect();
    for lessee in lessees {
        lessee.await.unwrap();
    }
}

/// Grants, attaches and now and then revokes, and says each time what was acknowledged.
async fn live(leases: Handle) {
    for round in 0_u64.. {
        let id = leases.grant(None, HOUR).await.unwrap().id;
        say(format_args!("granted {id}"));
        leases.attach(id, items(id)).await.unwrap();
        say(format_args!("attached {id}"));
        if round % 4 == 3 {
            say(format_args!("revoking {id}"));
            leases.revoke(id).await.unwrap();
            say(format_args!("revoked {id}"));
        }
    }
}

/// One write a line. It begins with a line break, because the test runner leaves one out.
fn say(what: std::fmt::Arguments<'_>) {
    let line = format!("\n{what};\n");
    let mut out = std::io::stdout().lock();
    // The parent has gone if this fails, and the child is about to.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

fn spawn_child(store: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_grants_until_it_is_killed", "--nocapture"])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads so many lines, kills the child, and reads what it has said besides.
fn read_acknowledgements(child: &mut Child, lines: usize, promised: &mut Promised) {
    let mut read = 0;
    let out = BufReader::new(child.stdout.take().unwrap());
    for line in out.lines() {
        let line = line.unwrap();
        // The last line may be torn.
        let Some((what, id)) = line.strip_suffix(';').and_then(|line| line.split_once(' ')) else {
            continue;
        };
        promised.note(what, LeaseId::new(id.parse().unwrap()).unwrap());
        read += 1;
        if read == lines {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(read >= lines, "the child ended by itself after {read} lines: {status}");
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        const SIGKILL: i32 = 9;
        assert_eq!(status.signal(), Some(SIGKILL), "it was not killed: {status}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn check(store: &Path, round: usize, promised: &mut Promised) {
    let leases = lessor::open(store, Config::default()).await.unwrap();
    let found = leases.leases(LeaseOrder::Id, None, usize::MAX).await.unwrap();
    let found: BTreeMap<_, _> = found.iter().map(|lease| (lease.record.id, lease.items)).collect();
    for (id, least) in &promised.items {
        let items = found.get(id).copied();
        assert!(items >= Some(*least), "round {round}: {id} has {items:?} of {least} items");
    }
    for id in &promised.revoked {
        assert!(!found.contains_key(id), "round {round}: {id} was revoked");
    }
    for id in std::mem::take(&mut promised.fresh) {
        let holder = found.contains_key(&id).then_some(id);
        if promised.items.get(&id) == Some(&ITEMS) || promised.revoked.contains(&id) {
            for item in items(id) {
                assert_eq!(leases.lease_of(item).await.unwrap(), holder, "round {round}");
            }
        }
    }
    // All or nothing: the items of a lease were attached by one command.
    assert!(found.values().all(|items| *items == 0 || *items == ITEMS), "round {round}");
    leases.stop().await.unwrap();
}

/// What the children have said.
#[derive(Default)]
struct Promised {
    /// Leases that must be there, with the least number of items.
    items: BTreeMap<LeaseId, usize>,
    revoked: BTreeSet<LeaseId>,
    /// What was said since the last check.
    fresh: BTreeSet<LeaseId>,
}

impl Promised {
    fn note(&mut self, what: &str, id: LeaseId) {
        self.fresh.insert(id);
        match what {
            "granted" => assert_eq!(self.items.insert(id, 0), None, "{id} was granted twice"),
            "attached" => assert_eq!(self.items.insert(id, ITEMS), Some(0)),
            // Until it is acknowledged it may be there or not.
            "revoking" => assert_eq!(self.items.remove(&id), Some(ITEMS)),
            "revoked" => assert!(self.revoked.insert(id)),
            other => panic!("the child says {other:?}"),
        }
    }
}

fn items(id: LeaseId) -> Vec<Item> {
    (0..ITEMS).map(|number| Item::new(format!("{id}/{number}"))).collect()
}

/// The environment variable that makes the binary the child of this test, on the store that it names.
const STORE: &str = "LESSOR_TEST_KILL_STORE";
const ROUNDS: usize = 20;
const LESSEES: usize = 16;
const ITEMS: usize = 3;
const HOUR: Duration = Duration::from_secs(3_600);
