//! Tests of the halt file.

use super::*;
use ir_core::kernel::GateConfig;
use ir_core::{Gate, HaltHandle, MemoryJournal, Person};

#[tokio::test]
async fn a_file_halts_with_its_content_and_again_after_a_resume_while_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("halt");
    let clock: Arc<dyn Clock> = Arc::new(crate::SystemClock::new());
    let (ctx, stop) = Ctx::stoppable(clock.clone());
    let config = GateConfig {
        name: PartName::new("gate").unwrap(),
        journal: Arc::new(MemoryJournal::new()),
        required_sinks: Vec::new(),
        clock,
        lease_ttl_ms: 60_000,
        append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
    };
    let mut gate = Gate::open(&ctx, config, |_| Ok(())).await.unwrap();
    let handle = gate.halt_handle();
    let watcher = {
        let (file, ctx, handle) = (HaltFile::new(&path), ctx.clone(), handle.clone());
        tokio::spawn(async move { file.watch(&ctx, &handle).await })
    };
    let bounded = ctx.with_timeout(std::time::Duration::from_secs(20));
    let halted = async |handle: &HaltHandle, ctx: &Ctx| {
        while !handle.is_halted() {
            ctx.sleep("test", std::time::Duration::from_millis(5)).await.unwrap();
        }
    };
    assert!(!handle.is_halted());
    std::fs::write(&path, "  ann: the database is being moved\n").unwrap();
    halted(&handle, &bounded).await;
    gate.record_halts(&ctx).await.unwrap();
    assert_eq!(gate.state().halted().unwrap().reason, "ann: the database is being moved");
    assert_eq!(gate.state().halted().unwrap().by, "file");

    gate.resume(&ctx, vec![Person::named("ann")], "done".to_owned()).await.unwrap();
    halted(&handle, &bounded).await;

    std::fs::remove_file(&path).unwrap();
    stop.stop();
    watcher.await.unwrap().unwrap();
}

#[test]
fn what_cannot_be_looked_at_halts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plain");
    std::fs::write(&file, "").unwrap();
    assert_eq!(super::super::halt::look(&dir.path().join("missing")), None);
    assert!(super::super::halt::look(&file).unwrap().contains("exists"));
    assert!(super::super::halt::look(dir.path()).unwrap().contains("exists"), "a folder is as good");
    let beyond = super::super::halt::look(&file.join("halt"));
    assert!(beyond.unwrap().contains("cannot be looked at"), "a path through a file cannot be looked at");
}
