//! The small values: how they read, how they are read back, what they can be asked as, and forks.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use lessor::backend::BackendError;
use lessor::driver::{CallError, DriverError};
use lessor::{
    Checkpoint, Command, Config, Effect, Entry, Instant, Item, LeaseId, LeaseOrder, Lessor,
    LogIndex, Member, MemberId, Output, ParseError, Request, RequestError, RequestId, Role,
    StateAt, Term, Ticket, Ttl,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(47),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_displayed_reads_back(number in any::<i64>(), bits in 0_u32..64) {
        let millis = number.cast_unsigned() >> bits;
        let ttl = Ttl::from_millis(millis);
        prop_assert_eq!(ttl.to_string().parse(), Ok(ttl));
        prop_assert_eq!(MemberId(millis).to_string().parse(), Ok(MemberId(millis)));
        let id = LeaseId::try_from(number);
        prop_assert_eq!(number.to_string().parse(), id);
        prop_assert_eq!(id.map(i64::from).unwrap_or(0), number);
    }

    #[test]
    fn items_are_ordered_and_hashed_as_their_keys(
        one in prop::collection::vec(0_u8..4, 0..6),
        other in prop::collection::vec(0_u8..4, 0..6),
    ) {
        let items = (Item::new(&one), Item::new(&other));
        let keys: (&[u8], &[u8]) = (items.0.borrow(), items.1.as_ref());
        prop_assert_eq!(keys, (&one[..], &other[..]));
        prop_assert_eq!(items.0.cmp(&items.1), one.cmp(&other));
        prop_assert_eq!(items.0 == items.1, one == other);
        prop_assert_eq!(hash(&items.0), hash(&one[..]));
    }

    /// What is escaped in one way could be taken for another key.
    #[test]
    fn different_keys_read_differently(keys in prop::collection::btree_set(key(), 0..40)) {
        let shown: BTreeSet<_> = keys.iter().map(|key| Item::new(key).to_string()).collect();
        prop_assert_eq!(shown.len(), keys.len());
        prop_assert!(shown.iter().all(|text| !text.chars().any(char::is_control)));
    }
}

#[test]
fn ids_and_ttls_are_read_from_text() {
    assert_eq!("-7".parse(), Ok(LeaseId::new(-7).unwrap()));
    assert_eq!("10s".parse(), Ok(Ttl::from_secs(10)));
    assert_eq!("1.5s".parse(), Ok(Ttl::from_millis(1_500)));
    assert_eq!("0.25s".parse(), Ok(Ttl::from_millis(250)));
    assert_eq!("250ms".parse(), Ok(Ttl::from_millis(250)));
    let largest = Ttl::from_millis(u64::MAX);
    assert_eq!("18446744073709551.615s".parse(), Ok(largest));

    for text in ["", "0", "x", "7 ", "0x7", "9223372036854775808"] {
        assert_eq!(text.parse::<LeaseId>(), Err(ParseError::LeaseId), "{text:?}");
    }
    let short = ["", "s", "ms", "10", "0s", "0ms", "0.000s", "1.s", ".5s", "1.2345s"];
    let wrong = ["-1s", "+1s", "1.+1s", "1.5ms", " 1s", "1 s", "1m", "18446744073709551.616s"];
    for text in short.into_iter().chain(wrong) {
        assert_eq!(text.parse::<Ttl>(), Err(ParseError::Ttl), "{text:?}");
    }
    assert_eq!("-1".parse::<MemberId>(), Err(ParseError::MemberId));
    assert_eq!(LeaseId::try_from(0), Err(ParseError::LeaseId));
    let sentences = [ParseError::LeaseId, ParseError::MemberId, ParseError::Ttl];
    assert_eq!(
        sentences.map(|error| error.to_string()),
        [
            "a lease id is a whole number of 64 bits, such as 7 or -7, and not 0",
            "a member id is a whole number from 0 to 18446744073709551615",
            "a ttl is a time of at least 1ms in whole milliseconds, such as 10s, 1.5s or 250ms",
        ]
    );
}

#[test]
fn keys_are_shown_as_text() {
    let shown = |key: &[u8]| Item::new(key).to_string();
    assert_eq!(shown("dienst/größe/鍵/ключ".as_bytes()), "dienst/größe/鍵/ключ");
    assert_eq!(shown("e\u{301} in two characters".as_bytes()), "e\u{301} in two characters");
    assert_eq!(shown(br#"it's "quoted""#), r#"it's "quoted""#);
    assert_eq!(shown(b"a\n\t\0\x1b[2J"), r"a\n\t\0\u{1b}[2J");
    assert_eq!(shown("\u{202e}turned".as_bytes()), r"\u{202e}turned");
    assert_eq!(shown(b"\xff\xfe and a cut \xe9\x8d"), r"\xff\xfe and a cut \xe9\x8d");
    assert_eq!(shown(br"\xff"), r"\\xff");
    assert_eq!(shown(b""), "");
}

#[test]
fn a_map_by_items_can_be_asked_for_a_key() {
    let map = BTreeMap::from([(Item::from("a"), 1), (Item::from("b"), 2)]);
    assert_eq!(map.get(&b"b"[..]), Some(&2));
    let behind = (Bound::Excluded(&b"a"[..]), Bound::Unbounded);
    assert_eq!(map.range::<[u8], _>(behind).next(), Some((&Item::from("b"), &2)));
}

#[test]
fn tickets_commands_and_requests_are_said_in_words() {
    let (id, ttl) = (id(7), Ttl::from_secs(10));
    let items = || vec![Item::from("a"), Item::from("ö")];
    let checkpoints = [Some(Ttl::from_millis(500)), None];
    let checkpoints = checkpoints.map(|remaining| Checkpoint { id, remaining }).to_vec();
    let commands = [
        (Command::Grant { id, ttl }, "grant lease 7, ttl 10s"),
        (Command::Revoke { id }, "revoke lease 7"),
        (Command::Attach { id, items: items() }, "attach a, ö to lease 7"),
        (Command::Detach { id, items: Vec::new() }, "detach no items from lease 7"),
        (Command::Claim { id, items: items() }, "claim a, ö for lease 7"),
        (Command::Checkpoint { checkpoints }, "checkpoint lease 7 500ms left, lease 7 unset"),
    ];
    for (command, words) in commands {
        assert_eq!(command.to_string(), words);
    }
    let many = (0..1_000).map(|n| Item::from(n.to_string())).collect();
    let leases = |order| Request::Leases { order, after: None, limit: 100 };
    let requests = [
        (Request::Grant { id: Some(id), ttl }, "grant lease 7, ttl 10s"),
        (Request::Grant { id: None, ttl }, "grant a lease, ttl 10s"),
        (
            Request::GrantOnce { request: RequestId(42), ttl },
            "grant the lease of request 42, ttl 10s",
        ),
        (Request::Claim { id, items: items() }, "claim a, ö for lease 7"),
        (Request::Revoke { id }, "revoke lease 7"),
        (Request::Renew { id }, "renew lease 7"),
        (Request::Attach { id, items: many }, "attach 0, 1, 2, 3, 4, 5, … 1000 in all to lease 7"),
        (Request::Detach { id, items: items() }, "detach a, ö from lease 7"),
        (Request::Lookup { id }, "look up lease 7"),
        (Request::TimeToLive { id }, "how long has lease 7"),
        (Request::Items { id, after: None, limit: 9 }, "list 9 items of lease 7"),
        (
            Request::Items { id, after: Some(Item::from("ö")), limit: 9 },
            "list 9 items of lease 7 behind ö",
        ),
        (
            leases(LeaseOrder::ExpiryUntil(Instant::from_secs(3))),
            "list 100 leases that expire by 3.000000000s",
        ),
        (leases(LeaseOrder::Id), "list 100 leases by id"),
        (leases(LeaseOrder::Expiry), "list 100 leases by expiry"),
        (Request::LeaseOf { item: Item::from("ö") }, "who holds ö"),
        (Request::Promote, "promote"),
        (Request::Demote, "demote"),
    ];
    for (request, words) in requests {
        assert_eq!(request.to_string(), words);
    }
    assert_eq!(Ticket(7).to_string(), "7");
}

#[test]
fn moments_are_reckoned_with_and_end_at_both_ends_of_time() {
    let (moment, span) = (Instant::from_secs(10), Duration::from_secs(3));
    assert_eq!(moment + span, Instant::from_secs(13));
    assert_eq!(moment - span, Instant::from_secs(7));
    assert_eq!(moment - Instant::from_secs(7), span);
    assert_eq!(Instant::from_secs(7) - moment, Duration::ZERO);
    assert_eq!(moment + Duration::MAX, Instant::MAX);
    assert_eq!(moment - Duration::MAX, Instant::ZERO);
    let mut clock = moment;
    clock += span;
    clock -= Duration::from_secs(1);
    assert_eq!(clock, Instant::from_secs(12));
}

#[test]
fn a_config_is_a_map_of_any_of_its_fields() {
    let read = serde_json::from_str::<Config>;
    assert_eq!(read("{}").unwrap(), Config::default());
    let some = r#"{ "min_ttl": 250, "checkpoint_interval": 18446744073709551615, "queue": 1 }"#;
    let config = read(some).unwrap();
    assert_eq!(config.min_ttl, Ttl::from_millis(250));
    assert_eq!(config.checkpoint_interval, Duration::MAX);
    assert_eq!((config.queue.get(), config.retry_interval), (1, Duration::from_secs(3)));

    let error = read(r#"{ "min_tll": 250 }"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `min_tll`, expected one of `min_ttl`"), "{error}");
    let error = read(r#"{ "queue": 0 }"#).unwrap_err().to_string();
    assert!(error.contains("nonzero"), "{error}");
}

#[test]
fn a_config_survives_the_way_through_text_rounded_up_to_the_millisecond() {
    let config = Config::default()
        .with_retry_interval(Duration::from_micros(1_001))
        .with_extend(Duration::ZERO)
        .with_checkpoint_interval(Duration::MAX)
        .with_hash_key(u128::MAX);
    let text = serde_json::to_string(&config).unwrap();
    let back: Config = serde_json::from_str(&text).unwrap();
    assert_eq!(back, config.with_retry_interval(Duration::from_millis(2)));
}

#[test]
fn errors_of_calls_can_be_compared() {
    let failed = || CallError::Failed(Arc::new(DriverError::Backend(full())));
    let full = failed();
    assert_eq!(full, full.clone());
    assert_ne!(full, failed(), "the same words of another engine");
    let unknown = CallError::from(RequestError::Unknown);
    assert_eq!(unknown, CallError::Request(RequestError::Unknown));
    assert_ne!(unknown, CallError::Request(RequestError::Stopped));
    assert_ne!(unknown, full);
}

#[test]
fn a_lessor_and_its_fork_go_on_alike_and_apart() {
    let mut lessor = Lessor::new(&Config::default());
    let now = Instant::from_secs(1);
    lessor.promote(now, Duration::ZERO);
    for number in 1..=40_i64 {
        let ttl = Ttl::from_secs(number.unsigned_abs());
        lessor.apply(now, Command::Grant { id: id(number), ttl }).unwrap();
    }
    let mut fork = lessor.clone();
    let life = |lessor: &mut Lessor| {
        let items = vec![Item::from("a")];
        lessor.apply(now, Command::Attach { id: id(30), items }).unwrap();
        lessor.renew(now, Ticket(1), id(2));
        lessor.handle_timeout(Instant::from_secs(20));
        lessor.check();
        let effects: Vec<Effect> = std::iter::from_fn(|| lessor.poll_effect()).collect();
        (effects, lessor.snapshot(), lessor.digest(), lessor.poll_timeout())
    };
    let first = life(&mut lessor);
    assert_eq!(first, life(&mut fork));
    assert!(first.0.len() > 40, "what was not drained before is handed out by both");

    fork.apply(now, Command::Revoke { id: id(30) }).unwrap();
    assert_eq!(lessor.lease_of(&Item::from("a")), Some(id(30)));
    assert_eq!(fork.lease_of(&Item::from("a")), None);
}

#[test]
fn a_member_and_its_fork_go_on_alike_and_apart() {
    let mut member = Member::new(&Config::default(), &StateAt::default()).unwrap();
    let now = Instant::from_secs(1);
    member.handle_role(now, Role::Leader { term: Term(1), barrier: LogIndex(0) });
    member.request(now, Ticket(1), Request::Grant { id: None, ttl: Ttl::from_secs(10) });
    let mut fork = member.clone();
    let life = |member: &mut Member| {
        let mut outputs = Vec::new();
        while let Some(output) = member.poll_output() {
            if let Output::Propose(proposal) = &output {
                let (index, term) = (member.applied().next(), proposal.term);
                member.handle_committed(
                    now,
                    vec![Entry { index, term, proposal: Some(proposal.clone()) }],
                );
            }
            outputs.push(output);
        }
        (outputs, member.state(), member.poll_timeout())
    };
    let first = life(&mut member);
    assert_eq!(first, life(&mut fork));
    assert_eq!(first.1.as_ref().expect("nothing is applied in part").snapshot.leases.len(), 1);

    fork.stop(now);
    assert!(fork.is_stopped() && !member.is_stopped());
}

/// Bytes that make text, bytes that do not, and what escapes are written with.
fn key() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 9] = [b"a", b"\\", b"x", b"f", b"\xff", b"\n", b"n", b"'", b"\xc3\xbc"];
    let piece = prop::sample::select(&PIECES[..]);
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn hash(value: &(impl Hash + ?Sized)) -> Vec<u8> {
    /// Keeps what it is fed instead of making a number of it.
    struct Fed(Vec<u8>);
    impl Hasher for Fed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut fed = Fed(Vec::new());
    value.hash(&mut fed);
    fed.0
}

fn full() -> BackendError {
    let error = io::Error::from(io::ErrorKind::StorageFull);
    BackendError::Io { path: "leases".into(), doing: "write", error }
}

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).unwrap()
}
