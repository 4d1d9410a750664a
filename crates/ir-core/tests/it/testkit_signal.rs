//! The laws of sources hold for a sound one, and each one notices the fake that breaks it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ir_core::testkit::signal::{self as laws, Supply};
use ir_core::testkit::{AutoClock, Lawful};
use ir_core::{
    Ctx, Cursor, EntityId, Error, ErrorKind, EventKind, EventRecord, Labels, Polled, Result, SignalSource, Timestamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ForgetsTheCursor,
    LosesWhatWasNotAcknowledged,
    HidesDrops,
    GivesUpAtABadOne,
    TakesItsTime,
    EmptyIsAnError,
}

#[derive(Debug, Default)]
struct Shelf {
    /// `None` cannot be read.
    items: Vec<Option<u64>>,
    hangs: bool,
    given: usize,
}

#[derive(Debug)]
struct Toy {
    shelf: Arc<Mutex<Shelf>>,
    flaw: Flaw,
}

#[async_trait]
impl SignalSource for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let hangs = self.shelf.lock().unwrap().hangs;
        if hangs {
            if self.flaw == Flaw::TakesItsTime {
                ctx.clock().sleep_until(ctx.now().mono_ns + 60_000_000_000).await;
            } else if let Some(left) = ctx.remaining() {
                ctx.clock().sleep_until(ctx.now().mono_ns + left.as_nanos() as u64).await;
            }
            return Err(Error::new(ErrorKind::Timeout, "toy", "no answer"));
        }
        let mut shelf = self.shelf.lock().unwrap();
        let from = match self.flaw {
            Flaw::ForgetsTheCursor => 0,
            Flaw::LosesWhatWasNotAcknowledged => shelf.given,
            _ => cursor.as_str().parse().unwrap_or(0),
        };
        let new = &shelf.items[from..];
        if new.is_empty() && self.flaw == Flaw::EmptyIsAnError {
            return Err(Error::new(ErrorKind::NotFound, "toy", "nothing new"));
        }
        let mut polled = Polled { next: Cursor::new(shelf.items.len().to_string()), ..Polled::default() };
        for item in new {
            match item {
                Some(n) => polled.batch.events.push(EventRecord {
                    entity: EntityId::new("web").unwrap(),
                    at: Timestamp::from_millis(*n as i64),
                    name: n.to_string(),
                    kind: EventKind::default(),
                    fields: Labels::new(),
                }),
                None if self.flaw == Flaw::GivesUpAtABadOne => {
                    polled.dropped = 3;
                    break;
                }
                None => polled.dropped += u64::from(self.flaw != Flaw::HidesDrops),
            }
        }
        shelf.given = shelf.items.len();
        Ok(polled)
    }
}

struct Filler(Arc<Mutex<Shelf>>);

#[async_trait]
impl Supply for Filler {
    async fn add(&self, n: usize) {
        let mut shelf = self.0.lock().unwrap();
        for _ in 0..n {
            let next = shelf.items.len() as u64;
            shelf.items.push(Some(next));
        }
    }

    async fn spoil(&self, n: usize) -> u64 {
        self.0.lock().unwrap().items.extend(std::iter::repeat_n(None, n));
        n as u64
    }

    async fn hang(&self) -> bool {
        self.0.lock().unwrap().hangs = true;
        true
    }
}

async fn check(flaw: Flaw) -> Lawful {
    let ctx = Ctx::new(Arc::new(AutoClock::new()));
    laws::check_all(&ctx, async || {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let source: Box<dyn SignalSource> = Box::new(Toy { shelf: shelf.clone(), flaw });
        (source, Box::new(Filler(shelf)) as Box<dyn Supply>)
    })
    .await
}

#[tokio::test]
async fn a_sound_source_keeps_every_law() {
    check(Flaw::None).await.unwrap();
}

#[tokio::test]
async fn each_law_notices_the_source_that_breaks_it() {
    let rows = [
        (Flaw::ForgetsTheCursor, 1),
        (Flaw::LosesWhatWasNotAcknowledged, 1),
        (Flaw::HidesDrops, 2),
        (Flaw::GivesUpAtABadOne, 2),
        (Flaw::TakesItsTime, 3),
        // An empty answer is the first thing that any law asks for.
        (Flaw::EmptyIsAnError, 4),
    ];
    for (flaw, number) in rows {
        let violation = check(flaw).await.expect_err("the law did not notice");
        assert_eq!(violation.law.number, number, "{flaw:?}: {violation}");
    }
}
