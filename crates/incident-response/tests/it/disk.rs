//! The engine on a journal that is kept on disk: torn, damaged, full, or failing after all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use incident_response::adapters::file::{FileJournal, verify};
use incident_response::core::journal::{Appended, Batch, Body, Event, GateFact, Holder, Lease, Page, ReadFrom};
use incident_response::core::*;

use crate::world::*;

/// A file journal under simulated time: time stands still while the disk works.
#[derive(Debug, Clone)]
struct Patient(Arc<FileJournal>);

impl Patient {
    /// Opens it as soon as the life before has let go of it.
    async fn open(dir: &Path) -> Self {
        for _ in 0..5000 {
            match FileJournal::open(dir) {
                Ok(journal) => return Self(Arc::new(journal)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
            tokio::task::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(1))).await.unwrap();
        }
        panic!("the lock is never free");
    }

    async fn calm<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(work)).await.unwrap()
    }
}

#[async_trait]
impl Journal for Patient {
    fn name(&self) -> &str {
        self.0.name()
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let (journal, ctx, batch) = (self.0.clone(), ctx.clone(), batch.clone());
        self.calm(async move { journal.append(&ctx, &batch).await }).await
    }
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.0.read(ctx, from).await
    }
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.0.blob(ctx, digest).await
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        let (journal, ctx, holder) = (self.0.clone(), ctx.clone(), holder.clone());
        self.calm(async move { journal.claim(&ctx, &holder).await }).await
    }
}

fn sick() -> (World, SimClock) {
    let (world, clock) = (World::new(RecoveryClass::Keyed), SimClock::new());
    world.fall_sick("middle");
    (world, clock)
}

/// One life on the journal in `dir`, up to its record `n`.
async fn live(world: &World, clock: &SimClock, dir: &Path, n: usize) -> bool {
    let journal = Patient::open(dir).await;
    die_after(responder(world, clock, &journal, "act"), n).await
}

/// Another life, to the end of the incident; then all that is demanded of it.
async fn end(world: &World, clock: &SimClock, dir: &Path, what: &str) -> Vec<Record> {
    {
        let journal = Patient::open(dir).await;
        run_until(responder(world, clock, &journal, "act"), clock, ended).await;
    }
    let journal = Patient::open(dir).await;
    assert_safe(world, clock, &journal, what).await;
    assert!(world.effects().len() <= 1, "{what}: {:?}", world.effects());
    assert!(world.lock().sick.is_empty(), "{what}: not healed");
    let records = all_records(&journal, clock).await;
    drop(journal);
    assert_eq!(verify(dir).unwrap().fault, None, "{what}");
    records
}

fn segment(dir: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir.join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found.pop().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_record_and_a_new_opening() {
    for n in (1..).step_by(3) {
        let folder = Folder::new();
        let (world, clock) = sick();
        if !live(&world, &clock, folder.path(), n).await {
            break;
        }
        clock.reboot("second");
        end(&world, &clock, folder.path(), &format!("after record {n}")).await;
    }
}

/// A copy of a world as it is now.
fn fork(world: &World) -> World {
    let copy = World::new(RecoveryClass::Keyed);
    copy.take_over(world);
    copy
}

#[tokio::test(start_paused = true)]
async fn a_tail_torn_anywhere_in_the_last_append_is_repaired_and_told() {
    // The first moment, the middle of thinking, right after the intention, while it is measured.
    for n in [2, 9, 16, 22] {
        let folder = Folder::new();
        let (world, clock) = sick();
        assert!(live(&world, &clock, folder.path(), n).await, "the run is shorter than {n} records");
        drop(Patient::open(folder.path()).await);
        clock.reboot("second");
        let path = segment(folder.path());
        let content = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
        // The last append began behind the last record before it that was followed by none of its own append.
        let ends = |line: &[u8]| String::from_utf8_lossy(line).contains("\"left\":0,");
        let whole = lines[..lines.len() - 1].iter().rposition(|line| ends(line)).map_or(0, |i| i + 1);
        let start: usize = lines[..whole].iter().map(|line| line.len()).sum();
        for cut in start..content.len() {
            std::fs::write(&path, &content[..cut]).unwrap();
            let what = format!("{n} records, cut at {} of {}", cut - start, content.len() - start);
            // What an effect follows from was acknowledged, so it is in no torn tail: without it there was no effect.
            let kept = String::from_utf8_lossy(&content[..start]);
            let possible = world.effects().iter().all(|effect| kept.contains(&effect.key));
            let again = if possible { fork(&world) } else { sick().0 };
            if (cut - start) % 97 < 2 || content.len() - cut < 3 {
                let clock = clock.clone();
                let copy = Folder::new();
                std::fs::create_dir(copy.path().join("segments")).unwrap();
                std::fs::copy(&path, copy.path().join("segments").join(path.file_name().unwrap())).unwrap();
                let records = end(&again, &clock, copy.path(), &what).await;
                let told = records.iter().any(|r| matches!(r.body, Body::Event(Event::TailRepaired(_))));
                assert_eq!(told, cut > start, "{what}");
            } else {
                let journal = FileJournal::open(folder.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
                drop(journal);
                assert_eq!(std::fs::metadata(&path).unwrap().len(), start as u64, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_changed_at_rest_is_found_and_nothing_starts() {
    let folder = Folder::new();
    let (world, clock) = sick();
    end(&world, &clock, folder.path(), "the first life").await;
    let path = segment(folder.path());
    let content = std::fs::read(&path).unwrap();
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..400 {
        let (at, bit) = (random(content.len()), random(8));
        let mut changed = content.clone();
        changed[at] ^= 1 << bit;
        std::fs::write(&path, &changed).unwrap();
        let seq = 1 + content[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let what = format!("bit {bit} of byte {at}, in record {seq}");
        let fault = verify(folder.path()).unwrap().fault.unwrap_or_else(|| panic!("{what} is not found"));
        assert_eq!(fault.seq, seq, "{what}: {fault}");
        let error = match FileJournal::open(folder.path()) {
            Err(error) => error,
            Ok(journal) => {
                let journal = Patient(Arc::new(journal));
                let opened = responder(&world, &clock, &journal, "act").build().unwrap().open().await;
                opened.map(|_| ()).unwrap_err()
            }
        };
        assert!(error.message().contains(&format!("record {seq}")), "{what}: {error}");
        assert!(!error.message().contains("unwrap"), "{what}: {error}");
    }
    assert_eq!(world.effects().len(), 1);
}

/// A journal whose disk is full after so many appends.
#[derive(Debug, Clone)]
struct Full {
    inner: MemoryJournal,
    left: Arc<AtomicI64>,
    /// Whether the append that fails is durable all the same.
    durable: bool,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
}

#[async_trait]
impl Journal for Full {
    fn name(&self) -> &str {
        "full"
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left <= 0 {
            if self.durable && left == 0 {
                self.inner.append(ctx, batch).await?;
            }
            return Err(Error::new(ErrorKind::Unavailable, "full", "no space left on device"));
        }
        let appended = self.inner.append(ctx, batch).await?;
        self.acknowledged.lock().unwrap().extend(appended.first_seq..=appended.last_seq);
        Ok(appended)
    }
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.inner.read(ctx, from).await
    }
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.inner.blob(ctx, digest).await
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        self.inner.claim(ctx, holder).await
    }
}

async fn full_disk(class: RecoveryClass, durable: bool) {
    for n in 0.. {
        let (world, clock, inner) = (World::new(class), SimClock::new(), MemoryJournal::new());
        world.fall_sick("middle");
        let left = Arc::new(AtomicI64::new(n));
        let journal = Full { inner: inner.clone(), left, durable, acknowledged: Arc::default() };
        let what = format!("{class:?}, full after {n} appends, durable: {durable}");
        let mut healed = false;
        match responder(&world, &clock, &journal, "act").build().unwrap().open().await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}"),
            Ok(engine) => {
                let handle = engine.handle();
                let mut news = handle.records();
                let run = engine.run_until(async {
                    while let Ok(record) = news.recv().await {
                        if closed(std::slice::from_ref(&record)) {
                            return;
                        }
                    }
                });
                let ran = tokio::time::timeout(std::time::Duration::from_secs(300), run).await;
                match ran.unwrap_or_else(|_| panic!("{what}: it never ends")) {
                    Ok(()) => healed = true,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
                        assert!(error.message().contains("no space left"), "{what}: {error}");
                        assert!(handle.status().writer_failed, "{what}: the status does not say so");
                    }
                }
            }
        }
        let kept = all_records(&inner, &clock).await;
        let acknowledged = journal.acknowledged.lock().unwrap().clone();
        assert!(acknowledged.iter().all(|seq| kept.iter().any(|r| r.seq == *seq)), "{what}: something is lost");
        for effect in world.effects() {
            let intended = kept.iter().any(|r| {
                matches!(&r.body, Body::Gate(GateFact::Intent(intent))
                    if intent.key.to_string() == effect.key && acknowledged.contains(&r.seq))
            });
            assert!(intended, "{what}: an effect without an acknowledged intention");
        }
        if healed {
            assert!(n > 10, "{what}: healed too soon");
            return;
        }
        clock.reboot("second");
        run_until(responder(&world, &clock, &inner, "act"), &clock, ended).await;
        assert_safe(&world, &clock, &inner, &what).await;
        assert!(world.effects().len() <= 1, "{what}: {:?}", world.effects());
        let well = world.lock().sick.is_empty();
        assert!(well || class == RecoveryClass::Blind, "{what}: not healed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_acting_and_loses_nothing_acknowledged() {
    for class in [RecoveryClass::Keyed, RecoveryClass::FenceProbe, RecoveryClass::Blind] {
        full_disk(class, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_after_it_was_durable_is_settled_by_the_next_start() {
    for class in [RecoveryClass::Keyed, RecoveryClass::Probe { settles_within_ms: 500 }, RecoveryClass::Blind] {
        full_disk(class, true).await;
    }
}
