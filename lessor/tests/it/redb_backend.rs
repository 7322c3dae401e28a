//! The store on redb: what survives, what is refused, and that a refusal leaves the file alone.
//!
//! Which damage is found depends on redb's own layout, so the tests of damage accept either answer
//! that is right: the file is refused and untouched, or it loads exactly what was stored.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lessor::backend::{Backend, BackendError, MemoryBackend, RedbBackend, Stored};
use lessor::{
    Change, Checkpoint, Command, Config, Digest, Effect, Instant, Item, LeaseId, LeaseRecord,
    Lessor, LogIndex, RangeDelete, Snapshot, Transaction, Ttl, Write,
};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use tempfile::TempDir;

#[test]
fn a_new_store_is_empty_and_leaves_nothing_beside_it() {
    let store = Store::new();
    assert_eq!(held(&mut store.open()), Stored::default());
    assert_eq!(store.names(), ["leases.redb"]);
}

#[test]
fn what_was_committed_is_there_after_a_drop_and_a_reopen() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    for transaction in [
        model.step([put(1, 10_000, None), put(-7, 1, Some(1)), put_item("a", 1)]),
        model.step([put(1, 10_000, Some(2_500)), put_item("", -7), put_item("b\0\u{ff}", 1)]),
        model.step([delete_item("a"), put(i64::MIN, Ttl::MAX.as_millis(), None)]),
        model.step([delete_item(""), delete(-7)]),
    ] {
        backend.commit(transaction).unwrap();
    }
    assert_eq!(held(&mut backend), model.stored());
    drop(backend);
    let mut backend = store.open();
    assert_eq!(held(&mut backend), model.stored());
    backend.commit(model.step([put(2, 7, None)])).unwrap();
    assert_eq!(held(&mut backend), model.stored());
}

#[test]
fn leases_and_their_checkpoints_are_there_for_a_lessor_after_a_restart() {
    let store = Store::new();
    let mut lessor = Lessor::new(&Config::default());
    let checkpoint = Checkpoint { id: id(2), remaining: Some(Ttl::from_secs(20)) };
    for command in [
        Command::Grant { id: id(1), ttl: Ttl::from_secs(10) },
        Command::Grant { id: id(2), ttl: Ttl::from_secs(60) },
        Command::Attach { id: id(2), items: vec!["a".into()] },
        Command::Checkpoint { checkpoints: vec![checkpoint] },
    ] {
        lessor.apply(Instant::ZERO, command).unwrap();
    }
    let effects = std::iter::from_fn(|| lessor.poll_effect());
    let changes = effects.map(|effect| {
        let Effect::Write(write) = effect else { panic!("{effect:?} is nothing to store") };
        Change::Write(write)
    });
    let changes = changes.collect();
    let (after, applied, digest) = (LogIndex(0), LogIndex(4), lessor.digest());
    let transaction = Transaction { after, applied, digest, reset: false, changes };
    store.open().commit(transaction).unwrap();

    let stored = held(&mut store.open());
    let mut lessor = Lessor::new(&Config::default());
    lessor.recover(Instant::ZERO, &stored.snapshot).unwrap();
    lessor.promote(Instant::from_secs(100), Duration::ZERO);
    assert_eq!((lessor.digest(), stored.applied), (digest, applied));
    let lease = |number| lessor.lookup(id(number)).unwrap();
    assert_eq!(
        lease(1).record,
        LeaseRecord { id: id(1), ttl: Ttl::from_secs(10), remaining: None }
    );
    assert_eq!(lease(1).expiry, Some(Instant::from_secs(110)));
    assert_eq!(lease(2).record.remaining, checkpoint.remaining);
    assert_eq!(lease(2).expiry, Some(Instant::from_secs(120)), "not after its whole ttl");
    assert_eq!(lessor.lease_of(&"a".into()), Some(id(2)));
}

/// The first load is what was read to open the store, unless there was a commit since.
#[test]
fn a_load_behind_a_commit_is_what_it_made() {
    let store = Store::new();
    let mut model = Model::default();
    store.open().commit(model.step([put(1, 10, None)])).unwrap();
    let mut backend = store.open();
    backend.commit(model.step([put(2, 20, None)])).unwrap();
    assert_eq!(held(&mut backend), model.stored());
    drop(backend);
    let mut backend = store.open();
    for _ in 0..2 {
        assert_eq!(held(&mut backend), model.stored());
    }
}

#[test]
fn a_reset_replaces_everything_that_was_stored() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    backend.commit(model.step([put(1, 10, None), put_item("a", 1), put_item("b", 1)])).unwrap();
    backend.commit(model.reset(40, [put(2, 20, Some(5)), put_item("b", 2)])).unwrap();
    drop(backend);
    let stored = held(&mut store.open());
    assert_eq!(stored, model.stored());
    assert_eq!(stored.applied, LogIndex(40));
    assert_eq!(stored.snapshot.items, [(Item::from("b"), id(2))]);
}

#[test]
fn the_changes_of_a_transaction_are_done_in_their_order() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    let changes = [
        put(1, 10, None),
        put(2, 10, None),
        put_item("a", 1),
        put_item("a", 2),
        put_item("b", 1),
        range_delete(1, ["b"]),
        delete(1),
        put_item("b", 2),
        put(2, 30, Some(9)),
    ];
    backend.commit(model.step(changes)).unwrap();
    let stored = held(&mut backend);
    assert_eq!(stored, model.stored());
    assert_eq!(stored.snapshot.items, [(Item::from("a"), id(2)), (Item::from("b"), id(2))]);
}

#[test]
fn a_transaction_that_does_not_follow_is_refused_and_nothing_is_lost() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    let stale = Transaction { after: LogIndex(0), ..model.clone().step([put(2, 10, None)]) };
    let refused = backend.commit(stale).unwrap_err();
    assert!(
        matches!(refused, BackendError::OutOfOrder { after: LogIndex(0), stored: LogIndex(1) }),
        "{refused}"
    );
    assert_eq!(held(&mut backend), model.stored());
    backend.commit(model.step([put(2, 10, None)])).unwrap();
    assert_eq!(held(&mut backend), model.stored());
}

#[test]
fn a_store_keeps_the_salt_that_was_drawn_when_it_was_created() {
    let store = Store::new();
    let mut model = Model::default();
    let drawn = store.open().load().unwrap().id_salt;
    assert_ne!(drawn, Store::new().open().load().unwrap().id_salt);
    let mut backend = store.open().with_id_salt(7);
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    assert_eq!(backend.load().unwrap().id_salt, drawn);
    drop(backend);
    assert_eq!(store.open().load().unwrap().id_salt, drawn);
}

#[test]
fn a_store_of_an_earlier_version_gets_its_salt_with_its_next_commit() {
    let store = Store::filled().0;
    store.with_redb(|database| {
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().remove("id_salt").unwrap();
        write.commit().unwrap();
    });
    let unkept = store.open().load().unwrap();
    let mut backend = store.open();
    let stored = backend.load().unwrap();
    assert_ne!(stored.id_salt, unkept.id_salt, "it is not written before a commit is");
    let (after, applied, digest) = (stored.applied, stored.applied.next(), stored.digest);
    let changes = Vec::new();
    backend.commit(Transaction { after, applied, digest, reset: false, changes }).unwrap();
    drop(backend);
    assert_eq!(store.open().load().unwrap(), Stored { applied, ..stored });
}

#[test]
fn storage_of_a_host_has_no_salt_until_the_host_gives_it_one() {
    let disk = FlakyDisk::default();
    let mut model = Model::default();
    let mut backend = RedbBackend::with_storage(disk.clone()).unwrap();
    assert_eq!(backend.load().unwrap().id_salt, 0);
    backend = backend.with_id_salt(7);
    assert_eq!(backend.load().unwrap().id_salt, 7);
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    drop(backend);
    let mut backend = RedbBackend::with_storage(disk).unwrap().with_id_salt(8);
    assert_eq!(backend.load().unwrap().id_salt, 7);
}

#[test]
fn a_text_file_is_no_store() {
    let store = Store::new();
    fs::write(&store.path, "dear diary\n").unwrap();
    store.refused(|error| matches!(error, BackendError::Foreign { .. }));
}

#[test]
fn an_empty_file_is_no_store() {
    let store = Store::new();
    fs::write(&store.path, "").unwrap();
    let refused = store.refused(|error| matches!(error, BackendError::Foreign { .. }));
    assert!(refused.contains("an empty file"), "{refused}");
}

#[test]
fn a_redb_file_of_somebody_else_is_no_store() {
    let store = Store::new();
    store.with_redb(|database| insert(database, HOSTS, "theirs", 1));
    let refused = store.refused(|error| matches!(error, BackendError::Foreign { .. }));
    assert!(refused.contains("lessor.meta"), "{refused}");
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    let store = Store::filled().0;
    store.with_redb(|database| insert(database, META, "format", 2));
    store.refused(|error| matches!(error, BackendError::Newer { found: 2, supported: 1, .. }));
}

#[test]
fn a_store_without_a_format_or_another_key_is_damaged() {
    for key in ["format", "applied", "digest"] {
        let store = Store::filled().0;
        store.with_redb(|database| {
            let write = database.begin_write().unwrap();
            write.open_table(META).unwrap().remove(key).unwrap();
            write.commit().unwrap();
        });
        let refused = store.refused(is_damaged);
        assert!(refused.contains("lessor.meta") && refused.contains(key), "{refused}");
    }
}

#[test]
fn a_format_of_zero_is_damaged() {
    let store = Store::filled().0;
    store.with_redb(|database| insert(database, META, "format", 0));
    store.refused(is_damaged);
}

#[test]
fn a_changed_row_is_found_through_the_digest() {
    let store = Store::filled().0;
    store.with_redb(|database| insert_lease(database, 1, 10_001, u64::MAX));
    let refused = store.refused(is_damaged);
    assert!(refused.contains("digest"), "{refused}");
}

#[test]
fn a_changed_log_index_is_no_damage_that_the_rows_could_show() {
    // Canary of the test above: what the digest does not cover is trusted.
    let (store, stored) = Store::filled();
    store.with_redb(|database| insert(database, META, "applied", 99));
    assert_eq!(store.open().load().unwrap(), Stored { applied: LogIndex(99), ..stored });
}

#[test]
fn a_row_out_of_its_range_is_named() {
    let max = Ttl::MAX.as_millis();
    for (id, ttl, remaining) in
        [(0, 1, u64::MAX), (5, 0, u64::MAX), (5, max + 1, u64::MAX), (5, 9, 10), (5, 9, 0)]
    {
        let store = Store::filled().0;
        store.with_redb(|database| insert_lease(database, id, ttl, remaining));
        let refused = store.refused(is_damaged);
        assert!(refused.contains(&format!("lessor.leases, key {id}:")), "{refused}");
    }
}

#[test]
fn an_item_whose_lease_is_missing_is_named() {
    let store = Store::filled().0;
    store.with_redb(|database| insert(database, ITEMS, "lost".as_bytes(), 404));
    let refused = store.refused(is_damaged);
    assert!(refused.contains("lessor.items, key \"lost\": its lease 404"), "{refused}");
}

#[test]
fn a_missing_table_is_damage() {
    let store = Store::filled().0;
    store.with_redb(|database| {
        let write = database.begin_write().unwrap();
        write.delete_table(ITEMS).unwrap();
        write.commit().unwrap();
    });
    let refused = store.refused(is_damaged);
    assert!(refused.contains("lessor.items"), "{refused}");
}

#[test]
fn a_store_that_was_cut_off_is_refused_at_any_length() {
    let (store, stored) = Store::filled();
    let bytes = fs::read(&store.path).unwrap();
    let pages = (0..bytes.len()).step_by(28 * 1_024);
    for len in (0..400).step_by(31).chain(pages).chain([bytes.len() - 4_096, bytes.len() - 1]) {
        store.either_refused_or(&bytes[..len], &stored, &format!("cut off at {len}"));
    }
}

#[test]
fn a_flipped_byte_is_refused_or_harmless() {
    let (store, stored) = Store::filled();
    let mut bytes = fs::read(&store.path).unwrap();
    let used: Vec<usize> = (0..bytes.len())
        .step_by(4_096)
        .filter(|page| bytes[*page..].iter().take(4_096).any(|byte| *byte != 0))
        .collect();
    let header = (0..320).step_by(7);
    let rest = used.iter().flat_map(|page| (*page..page + 4_096).step_by(97));
    let mut refused = 0;
    for at in header.chain(rest) {
        bytes[at] ^= 0x41;
        refused += usize::from(store.either_refused_or(&bytes, &stored, &format!("flip at {at}")));
        bytes[at] ^= 0x41;
    }
    assert!(refused > 100, "only {refused} flips were found at all");
}

#[test]
fn a_store_that_a_crash_left_open_loses_no_commit_and_none_to_damage() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    for n in 1..20 {
        backend.commit(model.step([put(n, 10, None), put_item(&format!("item {n}"), n)])).unwrap();
    }
    // What a killed process leaves; the backend is dropped only afterwards.
    let bytes = fs::read(&store.path).unwrap();
    drop(backend);
    fs::write(&store.path, &bytes).unwrap();
    assert_eq!(held(&mut store.open()), model.stored());

    // Half a page of the last commit is lost although it was answered: redb must not fall back to
    // the commit before, in silence.
    let needle = b"item 19";
    let positions: Vec<usize> =
        (0..bytes.len() - 7).filter(|at| &bytes[*at..*at + 7] == needle).collect();
    assert!(!positions.is_empty());
    let mut damaged = bytes.clone();
    for at in positions {
        damaged[at..at + 7].fill(0);
    }
    assert!(store.either_refused_or(&damaged, &model.stored(), "a lost page"));
}

#[test]
fn a_store_that_is_open_is_locked() {
    let store = Store::new();
    let backend = store.open();
    let refused = RedbBackend::open(&store.path).unwrap_err();
    assert!(matches!(refused, BackendError::Locked { .. }), "{refused}");
    drop(backend);
    drop(store.open());
    let backend = store.open();
    let refused = RedbBackend::open(&store.path).unwrap_err();
    assert!(matches!(refused, BackendError::Locked { .. }), "{refused}");
    drop(backend);
}

#[test]
fn a_locked_file_is_locked_whatever_is_in_it() {
    let store = Store::new();
    store.with_redb(|database| {
        insert(database, HOSTS, "theirs", 1);
        let refused = RedbBackend::open(&store.path).unwrap_err();
        assert!(matches!(refused, BackendError::Locked { .. }), "{refused}");
    });
}

#[test]
fn a_folder_is_no_file() {
    let store = Store::new();
    let refused = RedbBackend::open(store.folder.path()).unwrap_err();
    assert!(matches!(refused, BackendError::Io { doing: "open", .. }), "{refused}");
    println!("{refused}");
}

#[test]
fn a_device_is_no_store() {
    let refused = RedbBackend::open("/dev/null").unwrap_err();
    assert!(matches!(refused, BackendError::Foreign { .. }), "{refused}");
    println!("{refused}");
}

#[test]
fn a_missing_folder_is_named() {
    let store = Store::new();
    let refused = RedbBackend::open(store.folder.path().join("no/leases.redb")).unwrap_err();
    assert!(matches!(refused, BackendError::Io { doing: "create", .. }), "{refused}");
    assert!(refused.to_string().contains("does not exist"), "{refused}");
    println!("{refused}");
}

#[test]
fn a_path_without_a_name_creates_nothing() {
    let refused = RedbBackend::open("").unwrap_err();
    assert!(matches!(refused, BackendError::Io { doing: "create", .. }), "{refused}");
    assert!(!Path::new(".new").exists());
    println!("{refused}");
}

#[test]
fn a_folder_that_takes_no_files_is_reported() {
    // Root may write to any folder on a disk, but nobody creates files here.
    let folder = Path::new("/sys");
    if !folder.exists() {
        println!("skipped: this system has no /sys");
        return;
    }
    let refused = RedbBackend::open(folder.join("leases.redb")).unwrap_err();
    assert!(matches!(refused, BackendError::Io { doing: "create", .. }), "{refused}");
    println!("{refused}");
}

#[test]
fn a_dangling_link_is_not_overwritten() {
    let store = Store::new();
    std::os::unix::fs::symlink("nowhere", &store.path).unwrap();
    let refused = RedbBackend::open(&store.path).unwrap_err();
    assert!(matches!(refused, BackendError::Io { doing: "create", .. }), "{refused}");
    assert_eq!(fs::read_link(&store.path).unwrap(), Path::new("nowhere"));
    assert_eq!(store.names(), ["leases.redb"]);
    println!("{refused}");
}

#[test]
fn what_a_creation_left_over_is_removed_and_nothing_else() {
    let store = Store::new();
    let kept = ["leases.redb.new.1.0.bak", "leases.redb.old", "other.redb.new"];
    for name in kept.into_iter().chain(["leases.redb.new", "leases.redb.new.1.0"]) {
        fs::write(store.folder.path().join(name), "half a store").unwrap();
    }
    assert_eq!(held(&mut store.open()), Stored::default());
    let mut names = store.names();
    assert_eq!(names.remove(0), "leases.redb");
    assert_eq!(names, kept);
}

#[test]
fn a_creation_that_is_under_way_is_left_alone() {
    let store = Store::new();
    let new = store.folder.path().join("leases.redb.new.1.0");
    let other = Database::create(&new).unwrap();
    let backend = store.open();
    assert_eq!(store.names(), ["leases.redb", "leases.redb.new.1.0"]);
    drop((other, backend));
}

/// What was acknowledged while somebody took the store away would be gone at the next opening.
#[test]
fn a_store_that_is_taken_away_while_it_is_open_fails_the_next_commit() {
    type Fault = fn(&Store);
    let faults: [(&str, Fault); 5] = [
        ("removed", |store| fs::remove_file(&store.path).unwrap()),
        ("renamed", |store| fs::rename(&store.path, store.beside("moved")).unwrap()),
        ("another file has its name", |store| {
            fs::rename(store.beside("copy"), &store.path).unwrap();
        }),
        ("another file has its name", |store| {
            fs::remove_file(&store.path).unwrap();
            drop(store.open());
        }),
        // This one keeps the file and puts an older content into it.
        ("something else was written", |store| {
            fs::copy(store.beside("copy"), &store.path).unwrap();
        }),
    ];
    for (says, fault) in faults {
        let store = Store::new();
        let mut model = Model::default();
        let mut backend = store.open();
        backend.commit(model.step([put(1, 10, None)])).unwrap();
        fs::copy(&store.path, store.beside("copy")).unwrap();
        backend.commit(model.step([put(2, 10, None)])).unwrap();
        fault(&store);
        let failed = backend.commit(model.step([put(3, 10, None)])).unwrap_err();
        assert!(matches!(failed, BackendError::Replaced { .. }), "{failed}");
        assert!(failed.to_string().contains(says), "{says}: {failed}");
        println!("{failed}");
        assert!(backend.commit(model.step([put(4, 10, None)])).is_err(), "nothing works any more");
    }
}

/// The transaction of a host that runs meanwhile does not hide what was written to the file either.
#[test]
fn a_store_that_was_put_back_in_place_is_noticed_behind_a_transaction_of_the_host() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    fs::copy(&store.path, store.beside("copy")).unwrap();
    backend.commit(model.step([put(2, 10, None)])).unwrap();
    fs::copy(store.beside("copy"), &store.path).unwrap();
    let database = backend.database();
    let write = database.begin_write().unwrap();
    write.open_table(HOSTS).unwrap().insert("a", 1).unwrap();
    assert!(write.commit().unwrap_err().to_string().contains("something else was written"));
    let failed = backend.commit(model.step([put(3, 10, None)])).unwrap_err();
    assert!(matches!(failed, BackendError::Replaced { .. }), "{failed}");
}

#[test]
fn a_savepoint_that_the_host_restores_fails_the_next_commit() {
    for disk in [None, Some(FlakyDisk::default())] {
        let store = Store::new();
        let mut model = Model::default();
        let mut backend = match disk {
            None => store.open(),
            Some(disk) => RedbBackend::with_storage(disk).unwrap(),
        };
        backend.commit(model.step([put(1, 10, None)])).unwrap();
        let database = backend.database();
        let savepoint = {
            let write = database.begin_write().unwrap();
            let savepoint = write.ephemeral_savepoint().unwrap();
            write.commit().unwrap();
            savepoint
        };
        backend.commit(model.step([put(2, 10, None)])).unwrap();
        let mut write = database.begin_write().unwrap();
        write.restore_savepoint(&savepoint).unwrap();
        write.commit().unwrap();
        let failed = backend.commit(model.step([put(3, 10, None)])).unwrap_err();
        assert!(matches!(failed, BackendError::Replaced { .. }), "{failed}");
        assert!(failed.to_string().contains("savepoint"), "{failed}");
        println!("{failed}");
    }
}

/// Transactions of the host are none of that.
#[test]
fn a_host_that_writes_to_its_own_tables_disturbs_no_commit() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    for n in 1..20 {
        backend.commit(model.step([put(n, 10, None)])).unwrap();
        insert(&backend.database(), HOSTS, "row", n.cast_unsigned());
    }
    assert_eq!(held(&mut backend), model.stored());
}

#[test]
fn the_hosts_rows_go_in_the_transaction_that_removes_the_lease() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open().range_deleter(|write, delete| {
        assert_eq!(delete.lease, id(1));
        let mut table = write.open_table(HOSTS).map_err(|error| error.to_string())?;
        for item in &delete.items {
            let key = std::str::from_utf8(item.key()).unwrap();
            table.remove(key).map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    insert(&backend.database(), HOSTS, "a", 1);
    insert(&backend.database(), HOSTS, "kept", 2);
    backend.commit(model.step([put(1, 10, None), put_item("a", 1)])).unwrap();
    backend.commit(model.step([range_delete(1, ["a"]), delete(1)])).unwrap();
    assert_eq!(hosts_rows(&backend.database()), ["kept"]);
    assert_eq!(held(&mut backend), model.stored());
    drop(backend);
    let mut backend = store.open();
    assert_eq!(hosts_rows(&backend.database()), ["kept"]);
    assert_eq!(backend.load().unwrap().snapshot, Snapshot::default());
}

#[test]
fn the_host_may_keep_tables_of_its_own_in_the_file() {
    let store = Store::new();
    let mut model = Model::default();
    let mut backend = store.open();
    insert(&backend.database(), HOSTS, "one", 1);
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    insert(&backend.database(), HOSTS, "two", 2);
    drop(backend);
    let mut backend = store.open();
    assert_eq!(hosts_rows(&backend.database()), ["one", "two"]);
    assert_eq!(held(&mut backend), model.stored());
}

#[test]
fn after_a_failed_commit_everything_fails_until_the_store_is_opened_again() {
    let disk = FlakyDisk::default();
    let mut model = Model::default();
    let mut backend = RedbBackend::with_storage(disk.clone()).unwrap();
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    let before = model.stored();
    let lost = model.step([put(2, 10, None)]);
    disk.broken.store(true, Ordering::Relaxed);
    let failed = backend.commit(lost.clone()).unwrap_err();
    assert!(matches!(failed, BackendError::Io { doing: "write", .. }), "{failed}");
    println!("{failed}");
    disk.broken.store(false, Ordering::Relaxed);
    let failed = backend.commit(lost.clone()).unwrap_err();
    assert!(matches!(failed, BackendError::Io { doing: "write", .. }), "{failed}");
    println!("{failed}");
    let failed = backend.load().unwrap_err();
    assert!(matches!(failed, BackendError::Io { doing: "read", .. }), "{failed}");
    println!("{failed}");
    drop(backend);
    let mut backend = RedbBackend::with_storage(disk).unwrap();
    assert_eq!(held(&mut backend), before);
    backend.commit(lost).unwrap();
    assert_eq!(held(&mut backend), model.stored());
}

#[test]
fn storage_of_a_host_is_created_once_and_opened_again() {
    let disk = FlakyDisk::default();
    let mut model = Model::default();
    let mut backend = RedbBackend::with_storage(disk.clone()).unwrap();
    assert_eq!(held(&mut backend), Stored::default());
    backend.commit(model.step([put(1, 10, None), put_item("a", 1)])).unwrap();
    drop(backend);
    assert_eq!(RedbBackend::with_storage(disk).unwrap().load().unwrap(), model.stored());
}

#[test]
fn storage_in_which_a_creation_was_cut_short_is_created_anew() {
    // The length is set, the header is not yet written, or it is but for the magic number.
    let lengthened = FlakyDisk::default();
    lengthened.set_len(1_000_000).unwrap();
    let without_magic = FlakyDisk::default();
    without_magic.set_len(1_000_000).unwrap();
    without_magic.write(9, &[7; 300]).unwrap();
    // A database of redb's, but nothing of ours in it yet.
    let bare = FlakyDisk::default();
    drop(Database::builder().create_with_backend(bare.clone()).unwrap());
    for disk in [lengthened, without_magic, bare] {
        assert_eq!(RedbBackend::with_storage(disk).unwrap().load().unwrap(), Stored::default());
    }
}

#[test]
fn storage_that_holds_something_else_is_refused_and_untouched() {
    let text = FlakyDisk::default();
    text.set_len(5_000).unwrap();
    text.write(0, b"dear diary").unwrap();
    // Nine zeros do not make it ours.
    let zeros = FlakyDisk::default();
    zeros.set_len(10_000).unwrap();
    zeros.write(9_000, b"dear diary").unwrap();
    for disk in [text, zeros] {
        let before = disk.bytes();
        let refused = RedbBackend::with_storage(disk.clone()).unwrap_err();
        assert!(matches!(refused, BackendError::Foreign { .. }), "{refused}");
        assert_eq!(disk.bytes(), before);
    }
    let theirs = FlakyDisk::default();
    let database = Database::builder().create_with_backend(theirs.clone()).unwrap();
    insert(&database, HOSTS, "theirs", 1);
    drop(database);
    let refused = RedbBackend::with_storage(theirs).unwrap_err();
    assert!(matches!(refused, BackendError::Foreign { .. }), "{refused}");
}

#[test]
fn tampered_rows_in_storage_of_a_host_are_found_by_the_load() {
    let disk = FlakyDisk::default();
    let mut model = Model::default();
    let mut backend = RedbBackend::with_storage(disk.clone()).unwrap();
    backend.commit(model.step([put(1, 10, None)])).unwrap();
    insert_lease(&backend.database(), 1, 11, u64::MAX);
    assert!(matches!(backend.load(), Err(BackendError::Damaged { .. })));
}

const META: TableDefinition<&str, u64> = TableDefinition::new("lessor.meta");
const LEASES: TableDefinition<i64, (u64, u64)> = TableDefinition::new("lessor.leases");
const ITEMS: TableDefinition<&[u8], i64> = TableDefinition::new("lessor.items");
pub(crate) const HOSTS: TableDefinition<&str, u64> = TableDefinition::new("host.rows");

/// A folder of its own with room for a store.
pub(crate) struct Store {
    folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Store {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("leases.redb"), folder }
    }

    /// A closed store with a few leases and items, and what is in it.
    pub(crate) fn filled() -> (Self, Stored) {
        let store = Self::new();
        let mut model = Model::default();
        let mut backend = store.open();
        for n in 1..=40 {
            let remaining = (n % 3 == 0).then_some(5_000);
            let item = format!("a key that belongs to lease number {n}");
            backend.commit(model.step([put(n, 10_000, remaining), put_item(&item, n)])).unwrap();
        }
        let id_salt = backend.load().unwrap().id_salt;
        (store, Stored { id_salt, ..model.stored() })
    }

    pub(crate) fn open(&self) -> RedbBackend {
        RedbBackend::open(&self.path).unwrap()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Lets plain redb at the file.
    fn with_redb(&self, change: impl FnOnce(&Database)) {
        change(&Database::create(&self.path).unwrap());
    }

    /// Asserts that the store is refused for this reason and left as it was; gives the message.
    #[track_caller]
    fn refused(&self, reason: impl FnOnce(&BackendError) -> bool) -> String {
        let before = fs::read(&self.path).unwrap();
        let refused = RedbBackend::open(&self.path).unwrap_err();
        assert!(reason(&refused), "{refused}");
        assert!(fs::read(&self.path).unwrap() == before, "a refusal wrote to the file");
        assert_eq!(self.names(), ["leases.redb"]);
        println!("{refused}");
        refused.to_string()
    }

    /// Asserts that these bytes are refused and left as they are, or load as this; tells which.
    fn either_refused_or(&self, bytes: &[u8], stored: &Stored, what: &str) -> bool {
        // In place, because a new file costs more than all the rest.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path);
        let file = file.unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        match RedbBackend::open(&self.path) {
            Ok(mut backend) => {
                assert_eq!(backend.load().unwrap(), *stored, "{what}");
                false
            }
            Err(refused) => {
                println!("{what}: {refused}");
                assert!(
                    matches!(
                        refused,
                        BackendError::Damaged { .. }
                            | BackendError::Foreign { .. }
                            | BackendError::Newer { .. }
                    ),
                    "{what}: {refused}"
                );
                assert!(fs::read(&self.path).unwrap() == bytes, "{what}: the file was written to");
                true
            }
        }
    }
}

/// Makes transactions that follow each other, with the digests that a real lessor would have.
#[derive(Clone, Default)]
pub(crate) struct Model(MemoryBackend);

impl Model {
    pub(crate) fn step(&mut self, changes: impl IntoIterator<Item = Change>) -> Transaction {
        let after = self.stored().applied;
        self.transaction(after.next(), false, changes.into_iter().collect())
    }

    pub(crate) fn reset(
        &mut self,
        to: u64,
        changes: impl IntoIterator<Item = Change>,
    ) -> Transaction {
        self.transaction(LogIndex(to), true, changes.into_iter().collect())
    }

    fn transaction(&mut self, applied: LogIndex, reset: bool, changes: Vec<Change>) -> Transaction {
        let after = self.stored().applied;
        let digest = Digest::default();
        let mut transaction = Transaction { after, applied, digest, reset, changes };
        let mut after = self.0.clone();
        after.commit(transaction.clone()).unwrap();
        let mut lessor = Lessor::new(&Config::default());
        lessor.recover(Instant::ZERO, &after.load().unwrap().snapshot).unwrap();
        transaction.digest = lessor.digest();
        self.0.commit(transaction.clone()).unwrap();
        transaction
    }

    pub(crate) fn stored(&self) -> Stored {
        self.0.clone().load().unwrap()
    }
}

/// Memory that fails every write while it is broken; a clone is another handle to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlakyDisk {
    memory: Arc<InMemoryBackend>,
    broken: Arc<AtomicBool>,
}

impl FlakyDisk {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.memory.len().unwrap()).unwrap()];
        self.memory.read(0, &mut bytes).unwrap();
        bytes
    }

    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is full"));
        }
        Ok(())
    }
}

impl StorageBackend for FlakyDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

/// What is in a store but for its salt, which is another one in each.
pub(crate) fn held(store: &mut impl Backend) -> Stored {
    Stored { id_salt: 0, ..store.load().unwrap() }
}

fn is_damaged(error: &BackendError) -> bool {
    matches!(error, BackendError::Damaged { .. })
}

pub(crate) fn id(id: i64) -> LeaseId {
    LeaseId::new(id).unwrap()
}

pub(crate) fn put(lease: i64, ttl_ms: u64, remaining_ms: Option<u64>) -> Change {
    let (ttl, remaining) = (Ttl::from_millis(ttl_ms), remaining_ms.map(Ttl::from_millis));
    Change::Write(Write::PutLease(LeaseRecord { id: id(lease), ttl, remaining }))
}

pub(crate) fn delete(lease: i64) -> Change {
    Change::Write(Write::DeleteLease(id(lease)))
}

pub(crate) fn put_item(item: &str, lease: i64) -> Change {
    Change::Write(Write::PutItem(item.into(), id(lease)))
}

pub(crate) fn delete_item(item: &str) -> Change {
    Change::Write(Write::DeleteItem(item.into()))
}

pub(crate) fn range_delete<const N: usize>(lease: i64, items: [&str; N]) -> Change {
    Change::RangeDelete(RangeDelete { lease: id(lease), items: items.map(Item::from).into() })
}

pub(crate) fn insert<K: redb::Key + 'static, V: redb::Value + 'static>(
    database: &Database,
    table: TableDefinition<'_, K, V>,
    key: K::SelfType<'_>,
    value: V::SelfType<'_>,
) {
    let write = database.begin_write().unwrap();
    write.open_table(table).unwrap().insert(key, value).unwrap();
    write.commit().unwrap();
}

fn insert_lease(database: &Database, id: i64, ttl_ms: u64, remaining_ms: u64) {
    insert(database, LEASES, id, (ttl_ms, remaining_ms));
}

pub(crate) fn hosts_rows(database: &Database) -> Vec<String> {
    let table = database.begin_read().unwrap().open_table(HOSTS).unwrap();
    let rows = table.range::<&str>(..).unwrap();
    rows.map(|row| row.unwrap().0.value().to_owned()).collect()
}
