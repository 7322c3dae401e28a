//! A host of its own for the bare core, on nothing but `std`: values that go with their lease.
//!
//! It is alone and keeps nothing on a disk, so it applies at once what the core asks for. Run it with
//! `cargo run --example embed`; it ends after three seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use lessor::{Command, Config, Effect, Instant, Item, LeaseId, Lessor, Ticket, Ttl};

#[derive(Default)]
struct Host {
    values: BTreeMap<Item, &'static str>,
}

impl Host {
    /// Does what the core says, after each call to it.
    fn drain(&mut self, lessor: &mut Lessor, now: Instant) -> Result<(), lessor::Error> {
        while let Some(effect) = lessor.poll_effect() {
            match effect {
                Effect::Write(_) => {} // what a durable host commits before it answers anybody
                Effect::RangeDelete(gone) => gone.items.iter().for_each(|item| {
                    println!("{now} {item} is deleted: {:?}", self.values.remove(item));
                }),
                Effect::Expired(batch) => {
                    for id in batch.leases {
                        println!("{now} lease {id} has expired");
                        lessor.apply(now, Command::Revoke { id })?;
                    }
                }
                Effect::Checkpoint(checkpoints) => {
                    lessor.apply(now, Command::Checkpoint { checkpoints })?;
                }
                Effect::Renewed { ticket, result } => println!("{now} {ticket:?}: {result:?}"),
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), lessor::Error> {
    let (clock, mut host, mut lessor) = (start(), Host::default(), Lessor::new(&Config::default()));
    let now = || Instant::ZERO.saturating_add(clock.elapsed());
    lessor.promote(now(), Duration::ZERO);
    for (id, key, secs) in [(1, "service/web", 1), (2, "service/db", 2)] {
        let (id, item) = (LeaseId::new(id).expect("not zero"), Item::from(key));
        lessor.apply(now(), Command::Grant { id, ttl: Ttl::from_secs(secs) })?;
        lessor.apply(now(), Command::Attach { id, items: vec![item.clone()] })?;
        host.values.insert(item, "10.0.0.7");
    }
    sleep(Duration::from_millis(900));
    lessor.renew(now(), Ticket(42), LeaseId::new(2).expect("not zero"));
    host.drain(&mut lessor, now())?;
    while let Some(deadline) = lessor.poll_timeout() {
        sleep(deadline.saturating_since(now()));
        lessor.handle_timeout(now());
        host.drain(&mut lessor, now())?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a host is where the clock is read")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this host has one thread and nothing else to do")]
fn sleep(span: Duration) {
    std::thread::sleep(span);
}
