//! The laws of sinks, lesson stores and approvers hold for sound toys, and each one notices the toy that breaks it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ir_core::journal::EncodedRecord;
use ir_core::testkit::{AutoClock, Lawful, approver, audit_sink, lesson};
use ir_core::{ApprovalRequest, Approver, AuditSink, Ctx, Error, ErrorKind, Lesson, LessonQuery, LessonStore, Result};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

fn noticed(result: Lawful, law: u32) {
    let violation = result.expect_err("the law did not notice");
    assert_eq!(violation.law.number, law, "{violation}");
}

#[derive(Debug, Default)]
struct Toy {
    flaw: u32,
    next: Arc<AtomicU64>,
    lessons: Mutex<Vec<Lesson>>,
    asked: AtomicU64,
    answers: Arc<AtomicU64>,
}

#[async_trait]
impl AuditSink for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn copy(&self, _ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        let next = self.next.load(Ordering::SeqCst) + 1;
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let refused = (self.flaw != 1 && first.seq > next) || (self.flaw == 2 && first.seq < next);
        if refused {
            return Err(Error::new(ErrorKind::Conflict, "toy", "not the next"));
        }
        let end = if self.flaw == 3 { last.seq } else { last.seq.max(next - 1) };
        self.next.store(end, Ordering::SeqCst);
        Ok(())
    }

    async fn position(&self, _ctx: &Ctx) -> Result<u64> {
        Ok(self.next.load(Ordering::SeqCst) + 1)
    }
}

fn sinks(flaw: u32, forgets: bool) -> impl Fn() -> Result<audit_sink::Open> + Sync {
    move || {
        let next = Arc::new(AtomicU64::new(0));
        Ok(Box::new(move || {
            let next = if forgets { Arc::default() } else { next.clone() };
            Ok(Arc::new(Toy { flaw, next, ..Toy::default() }) as Arc<dyn AuditSink>)
        }))
    }
}

#[tokio::test]
async fn each_law_of_sinks_notices_the_sink_that_breaks_it() {
    audit_sink::check_all(&ctx(), &sinks(0, false)).await.unwrap();
    for flaw in 1..=3 {
        let fresh = sinks(flaw, false);
        let result = match flaw {
            1 => audit_sink::law_1_keeps_everything(&ctx(), &fresh().unwrap()).await,
            2 => audit_sink::law_2_takes_again(&ctx(), &fresh().unwrap()).await,
            _ => audit_sink::law_3_position_only_rises(&ctx(), &fresh().unwrap()).await,
        };
        noticed(result, flaw);
    }
    noticed(audit_sink::check_all(&ctx(), &sinks(0, true)).await, 1);
}

#[async_trait]
impl LessonStore for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn put(&self, _ctx: &Ctx, lesson: &Lesson) -> Result<()> {
        let mut lessons = self.lessons.lock().unwrap();
        if self.flaw != 2 {
            lessons.retain(|kept| kept.id != lesson.id);
        }
        lessons.push(lesson.clone());
        if self.flaw != 3 {
            lessons.sort_by_key(|lesson| std::cmp::Reverse(lesson.at));
        }
        Ok(())
    }

    async fn recall(&self, _ctx: &Ctx, query: &LessonQuery) -> Result<Vec<Lesson>> {
        let lessons = self.lessons.lock().unwrap();
        let fits = |lesson: &&Lesson| {
            self.flaw == 1
                || (query.class.is_none() || query.class == lesson.class)
                    && (query.cause.is_none() || query.cause == lesson.cause)
        };
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        Ok(lessons.iter().filter(fits).take(limit).cloned().collect())
    }
}

#[tokio::test]
async fn each_law_of_lesson_stores_notices_the_store_that_breaks_it() {
    let fresh = |flaw: u32| async move || Box::new(Toy { flaw, ..Toy::default() }) as Box<dyn LessonStore>;
    lesson::check_all(&ctx(), fresh(0)).await.unwrap();
    for flaw in [1, 2] {
        noticed(lesson::check_all(&ctx(), fresh(flaw)).await, flaw);
    }
    let store = Toy { flaw: 3, ..Toy::default() };
    noticed(lesson::law_3_newest_first(&ctx(), &store).await, 3);
}

#[async_trait]
impl Approver for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn ask(&self, ctx: &Ctx, _request: &ApprovalRequest) -> Result<()> {
        match self.flaw {
            1 => ctx.clock().sleep_until(ctx.now().mono_ns + 3_600_000_000_000).await,
            2 if self.asked.fetch_add(1, Ordering::SeqCst) > 1 => {
                return Err(Error::new(ErrorKind::Conflict, "toy", "asked before"));
            }
            3 => {
                self.answers.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test]
async fn each_law_of_approvers_notices_the_approver_that_breaks_it() {
    for flaw in 0..=3 {
        let toy = Toy { flaw, ..Toy::default() };
        let answers = toy.answers.clone();
        let result = approver::check_all(&ctx(), &toy, &|| answers.load(Ordering::SeqCst)).await;
        if flaw == 0 { result.unwrap() } else { noticed(result, flaw) }
    }
}
