//! The laws of each part, as itself, in a box and in an arc.

use ir_core::testkit::{AutoClock, approver, audit_sink, lesson, samples, signal};

use super::*;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

#[tokio::test]
async fn the_lesson_store_keeps_every_law() {
    lesson::check_all(&ctx(), async || Box::new(MemoryLessonStore::new()) as Box<dyn LessonStore>).await.unwrap();
    lesson::check_all(&ctx(), async || Box::new(Box::new(MemoryLessonStore::new())) as Box<dyn LessonStore>)
        .await
        .unwrap();
    lesson::check_all(&ctx(), async || Box::new(Arc::new(MemoryLessonStore::new())) as Box<dyn LessonStore>)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_sink_keeps_every_law() {
    let wraps: [fn(MemoryAuditSink) -> Arc<dyn AuditSink>; 3] =
        [|sink| Arc::new(sink), |sink| Arc::new(Box::new(sink)), |sink| Arc::new(Arc::new(sink))];
    for wrap in wraps {
        let fresh = || {
            let sink = MemoryAuditSink::new();
            Ok(Box::new(move || Ok(wrap(sink.clone()))) as audit_sink::Open)
        };
        audit_sink::check_all(&ctx(), &fresh).await.unwrap();
    }
}

#[tokio::test]
async fn the_approver_keeps_every_law_and_lets_a_test_wait() {
    let none = || 0;
    let plain = Arc::new(ScriptedApprover::new());
    approver::check_all(&ctx(), &*plain, &none).await.unwrap();
    approver::check_all(&ctx(), &Box::new(ScriptedApprover::new()), &none).await.unwrap();
    approver::check_all(&ctx(), &Arc::new(ScriptedApprover::new()), &none).await.unwrap();
    assert_eq!(plain.requests(), [samples::approval_request()], "asked many times, told once");

    let away = Arc::new(ScriptedApprover::away_for(1));
    assert!(away.ask(&ctx(), &samples::approval_request()).await.is_err());
    let waiting = tokio::spawn({
        let away = away.clone();
        async move { away.request(0).await }
    });
    away.ask(&ctx(), &samples::approval_request()).await.unwrap();
    assert_eq!(waiting.await.unwrap(), samples::approval_request());
}

struct Filler(Arc<ScriptedSource>);

#[async_trait]
impl signal::Supply for Filler {
    async fn add(&self, n: usize) {
        for _ in 0..n {
            let mut change = samples::change();
            change.at = change.at.plus(std::time::Duration::from_secs(lock(&self.0.script).len() as u64));
            self.0.push(SignalBatch { changes: vec![change], ..SignalBatch::default() });
        }
    }

    async fn spoil(&self, _n: usize) -> u64 {
        0
    }

    async fn hang(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn the_source_keeps_every_law() {
    let fresh = async || {
        let source = Arc::new(ScriptedSource::new());
        (Box::new(source.clone()) as Box<dyn SignalSource>, Box::new(Filler(source)) as Box<dyn signal::Supply>)
    };
    signal::check_all(&ctx(), fresh).await.unwrap();
}
