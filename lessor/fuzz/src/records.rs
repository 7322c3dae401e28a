//! Any bytes as what a member is sent or has stored. The first byte says what they are taken for: a
//! letter for JSON, its capital for postcard, or the content of a store.

use lessor::{
    Command, Config, Input, Instant, Item, LeaseId, Lessor, Member, MemberInput, Snapshot, StateAt,
    Ttl,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Planted, stores};

/// Takes the bytes for what they say they are.
pub fn run(bytes: &[u8], planted: Planted) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let decoder = if kind.is_ascii_uppercase() { Decoder::Postcard } else { Decoder::Json };
    match kind.to_ascii_lowercase() {
        b's' => decoder.decode(bytes).iter().for_each(|snapshot| recover(snapshot, planted)),
        b't' => decoder.decode(bytes).into_iter().for_each(|all| stores::same_in_all(all, planted)),
        b'i' => decoder.decode(bytes).into_iter().for_each(live),
        // What a member may be given depends on its log, so these are only read and written.
        b'm' => drop(decoder.decode::<Vec<(Instant, MemberInput)>>(bytes)),
        b'j' => stores::any_journal(bytes, planted),
        b'd' => stores::damaged_journal(bytes, planted),
        b'r' => stores::damaged_redb(bytes, planted),
        _ => {}
    }
}

enum Decoder {
    Json,
    Postcard,
}

impl Decoder {
    /// Reads a value, which must then survive the way through both formats.
    fn decode<T: DeserializeOwned + Serialize + PartialEq>(&self, bytes: &[u8]) -> Option<T> {
        let value: T = match self {
            Self::Json => serde_json::from_slice(bytes).ok()?,
            Self::Postcard => postcard::from_bytes(bytes).ok()?,
        };
        let text = serde_json::to_vec(&value).expect("there are only lists and text as keys");
        let again: T = serde_json::from_slice(&text).expect("what was written can be read");
        assert!(again == value, "another value after JSON: {}", String::from_utf8_lossy(&text));
        let packed = postcard::to_allocvec(&value).expect("it has a length");
        let again: T = postcard::from_bytes(&packed).expect("what was written can be read");
        assert!(again == value, "another value after postcard: {packed:?}");
        Some(value)
    }
}

/// A snapshot replaces everything or nothing.
pub(crate) fn recover(snapshot: &Snapshot, planted: Planted) {
    let mut lessor = Lessor::new(&Config::default());
    lessor.promote(Instant::ZERO, std::time::Duration::ZERO);
    let (id, items) = (LeaseId::new(7).expect("it is not 0"), vec![Item::from("a")]);
    for command in [Command::Grant { id, ttl: Ttl::MIN }, Command::Attach { id, items }] {
        lessor.apply(Instant::ZERO, command).expect("there is nothing yet");
    }
    let before = (lessor.snapshot(), lessor.digest(), lessor.poll_timeout());
    let result = lessor.recover(Instant::from_secs(1), snapshot);
    if result.is_err() && planted == Planted::HalfRecovered {
        lessor.apply(Instant::ZERO, Command::Revoke { id }).expect("it is there");
    }
    lessor.check();
    let mut found = lessor.snapshot();
    if result.is_err() {
        assert_eq!((found, lessor.digest(), lessor.poll_timeout()), before, "{result:?}");
        assert!(lessor.is_primary(), "{result:?}");
    } else {
        if planted == Planted::LostLease {
            found.leases.pop();
        }
        let mut expected = snapshot.clone();
        expected.leases.sort_unstable();
        expected.items.sort_unstable();
        assert_eq!(found, expected, "it is the same in the order of ids and keys");
        assert!(!lessor.is_primary());
        reign(&mut lessor);
        assert_eq!(lessor.snapshot(), expected, "a reign alone changes nothing that is stored");
    }
    let state = StateAt { applied: lessor::LogIndex(u64::MAX), snapshot: snapshot.clone() };
    assert_eq!(Member::new(&Config::default(), &state).err(), result.err(), "a member's verdict");
}

/// Lets time pass for a primary whose proposals all get lost.
fn reign(lessor: &mut Lessor) {
    lessor.promote(Instant::from_secs(2), std::time::Duration::ZERO);
    for _ in 0..8 {
        let Some(next) = lessor.poll_timeout().filter(|at| *at < Instant::MAX) else { break };
        lessor.handle_timeout(next);
        lessor.check();
        while lessor.poll_effect().is_some() {}
    }
}

/// Any calls at any time: no answer is wrong here, but it may not panic.
fn live(inputs: Vec<(Instant, Input)>) {
    let mut lessor = Lessor::new(&Config::default());
    for (now, input) in inputs {
        let _refused = lessor.handle_input(now, input);
        lessor.check();
        while lessor.poll_effect().is_some() {}
    }
}
