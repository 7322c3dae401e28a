//! The flight recorder: what an engine does is replayed from its files, from each of them on, and whatever
//! becomes of the files, the engine goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lessor::backend::MemoryBackend;
use lessor::driver::{Driver, FlightRecorder, Handle, LocalLog, Observer, TokioRuntime};
use lessor::recording::{Begin, Checksum, Reader, Record};
use lessor::{
    Config, Instant, Item, LeaseId, LeaseRecord, LogIndex, Member, MemberInput, Snapshot, StateAt,
    Ttl,
};
use tokio::task::JoinHandle;

async fn open(recorder: FlightRecorder) -> (Handle, JoinHandle<()>) {
    let (config, runtime) = (Config::default(), TokioRuntime::new());
    let engine = Driver::open(&config, runtime, MemoryBackend::new(), LocalLog::new());
    let (handle, driver) = engine.await.unwrap();
    let engine = driver.observe(recorder);
    (handle, tokio::spawn(async { engine.run().await.unwrap() }))
}

/// Grants ten leases and renews them, so often.
async fn work(leases: &Handle, renews: usize) {
    let ids: Vec<_> = (1..=10).filter_map(LeaseId::new).collect();
    for id in &ids {
        leases.grant(Some(*id), Duration::from_secs(60)).await.unwrap();
        leases.attach(*id, [format!("service/{id}").as_str()]).await.unwrap();
    }
    for id in ids.iter().cycle().take(renews) {
        leases.renew(*id).await.unwrap();
    }
}

async fn stop(leases: Handle, engine: JoinHandle<()>) {
    leases.stop().await.unwrap();
    drop(leases);
    engine.await.unwrap();
}

/// Replays these files, and says why each begins and how many outputs were said again.
fn replay(files: &[impl AsRef<Path>]) -> (Vec<Begin>, usize) {
    let (mut begins, mut outputs) = (Vec::new(), 0);
    let mut member: Option<Member> = None;
    for file in files {
        let bytes = fs::read(file).unwrap();
        let mut reader = Reader::new(&bytes).unwrap();
        for record in reader.by_ref() {
            match record {
                Record::Start(start) => {
                    begins.push(start.begin);
                    if let Some(member) = member.filter(|_| start.begin == Begin::NextFile) {
                        // Also the private parts.
                        let [now, then] = [&member, &start.member]
                            .map(|m| format!("{:?}", m.outputs().collect::<Vec<_>>()));
                        assert_eq!(now, then);
                        assert_eq!(member.lessor().digest(), start.member.lessor().digest());
                        assert_eq!(member.poll_timeout(), start.member.poll_timeout());
                    }
                    start.member.lessor().check();
                    member = Some(start.member);
                }
                Record::Input { now, input } => {
                    member.as_mut().unwrap().handle_input(now, input).unwrap();
                }
                Record::Outputs { count, checksum, .. } => {
                    let mut said = Checksum::default();
                    for _ in 0..count {
                        said.add(&member.as_mut().unwrap().poll_output().unwrap());
                    }
                    assert_eq!(said.finish(), checksum);
                    outputs += count as usize;
                }
            }
        }
        assert_eq!(reader.unread(), 0);
    }
    (begins, outputs)
}

fn bytes_of(files: &[impl AsRef<Path>]) -> u64 {
    files.iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

#[tokio::test]
async fn an_engine_is_replayed_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for run in 1..=2 {
        let (leases, engine) = open(FlightRecorder::create(folder.path()).unwrap()).await;
        work(&leases, 500).await;
        stop(leases, engine).await;
        let files = FlightRecorder::files(folder.path()).unwrap();
        let (begins, outputs) = replay(&files);
        assert_eq!(begins, vec![Begin::Opened; run]);
        assert!(outputs > run * 500, "{outputs}");
    }
}

#[tokio::test]
async fn the_files_stay_within_their_limit_and_each_is_enough_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 200_000;
    let recorder = FlightRecorder::create(folder.path()).unwrap().with_limit(limit);
    let (leases, engine) = open(recorder).await;
    work(&leases, 20_000).await;
    stop(leases, engine).await;
    let files = FlightRecorder::files(folder.path()).unwrap();
    // The last block may go beyond it, and then the oldest file goes.
    assert!((limit / 2..=limit).contains(&bytes_of(&files)), "{} bytes", bytes_of(&files));
    assert!(files.len() > 2 && !files[0].ends_with("flight-00000001.rec"), "{files:?}");
    let (begins, outputs) = replay(&files);
    assert_eq!(begins, vec![Begin::NextFile; files.len()]);
    for from in 1..files.len() {
        let (_, fewer) = replay(&files[from..]);
        assert!(fewer < outputs, "{fewer} of {outputs}");
    }
}

#[tokio::test]
async fn an_engine_goes_on_when_its_recorder_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let recorder = FlightRecorder::create(&gone).unwrap().with_limit(10_000);
    fs::remove_dir(&gone).unwrap();
    let (leases, engine) = open(recorder).await;
    work(&leases, 2_000).await;
    stop(leases, engine).await;
    assert!(!gone.exists());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(FlightRecorder::create(&file).is_err());
}

/// Its first file begins with more bytes than may wait for a disk.
#[test]
fn a_large_state_is_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let record =
        LeaseRecord { id: LeaseId::new(7).unwrap(), ttl: Ttl::from_secs(60), remaining: None };
    let item = |number: u8| (Item::from(&vec![number; 1 << 20][..]), record.id);
    let snapshot = Snapshot { leases: vec![record], items: (0..40).map(item).collect() };
    let (config, applied) = (Config::default(), LogIndex(2));
    let member = Member::new(&config, &StateAt { applied, snapshot }).unwrap();
    let mut recorder = FlightRecorder::create(folder.path()).unwrap();
    recorder.opened(Instant::ZERO, &config, &member);
    for second in 1..=100 {
        let now = Instant::from_secs(second);
        recorder.before(now, &MemberInput::Timeout);
        recorder.after(now, &member);
        recorder.idle();
    }
    drop(recorder);
    let files = FlightRecorder::files(folder.path()).unwrap();
    let [file] = &files[..] else { panic!("{files:?}") };
    let bytes = fs::read(file).unwrap();
    assert_eq!(Reader::new(&bytes).unwrap().count(), 1 + 100);
}
