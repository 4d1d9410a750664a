//! The laws of sources hold for a sound one, and each one notices the fake that breaks it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ir_core::testkit::signal::{self as laws, Fed, Hostile, Hostility, Supply};
use ir_core::testkit::{AutoClock, Lawful};
use ir_core::{
    Ctx, Cursor, EntityId, Error, ErrorKind, EventKind, EventRecord, Labels, LogLevel, LogRecord, Polled, Result,
    SignalSource, Timestamp,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weakness {
    None,
    OneBadPartCostsAll,
    NamesNothing,
    BelievesEveryTime,
    IsMutedByATime,
    TakesEmptyForAName,
    ForgetsTheStateBetween,
    HasItsOwnLevels,
}

/// What is on the way to a source: several parts at once.
type Parcel = Vec<Part>;

#[derive(Debug, Clone, Copy)]
enum Part {
    Good,
    Bad,
    At(i64),
    WithEmptyLabel,
    State(bool),
    Level(&'static str),
}

#[derive(Debug)]
struct Receiver {
    parcels: Arc<Mutex<Vec<Parcel>>>,
    weakness: Weakness,
}

#[async_trait]
impl SignalSource for Receiver {
    fn name(&self) -> &str {
        "receiver"
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let parcels = self.parcels.lock().unwrap();
        let from = cursor.as_str().parse().unwrap_or(0);
        let now = ctx.now().wall;
        let mut polled = Polled { next: Cursor::new(parcels.len().to_string()), ..Polled::default() };
        let (mut seen, mut last) = (std::collections::BTreeSet::new(), None);
        let is = |weakness| self.weakness == weakness;
        let latest = parcels[..]
            .iter()
            .flatten()
            .filter_map(|part| if let Part::At(at) = part { Some(*at) } else { None })
            .max();
        for parcel in &parcels[from..] {
            let is_lost = is(Weakness::OneBadPartCostsAll) && parcel.iter().any(|part| matches!(part, Part::Bad));
            for part in parcel {
                let line = |at, level| LogRecord {
                    entity: EntityId::new("web").unwrap(),
                    at,
                    level,
                    message: String::new(),
                    fields: Labels::new(),
                };
                let bounded = |at: i64| {
                    let at = Timestamp::from_millis(at);
                    if is(Weakness::BelievesEveryTime) { at } else { now }
                };
                let muted = || is(Weakness::IsMutedByATime) && latest.is_some();
                let taken = match part {
                    _ if is_lost => None,
                    Part::Bad => None,
                    Part::Good if muted() => continue,
                    Part::Good => Some(line(now, None)),
                    Part::At(at) => Some(line(bounded(*at), None)),
                    Part::WithEmptyLabel => Some(line(now, None)).filter(|_| !is(Weakness::TakesEmptyForAName)),
                    Part::State(state) => {
                        let again = if is(Weakness::ForgetsTheStateBetween) {
                            !seen.insert(*state)
                        } else {
                            last == Some(*state)
                        };
                        last = Some(*state);
                        if again {
                            continue;
                        }
                        Some(line(now, None))
                    }
                    Part::Level(text) if is(Weakness::HasItsOwnLevels) => {
                        Some(line(now, (*text == "error").then_some(LogLevel::Error)))
                    }
                    Part::Level(text) => Some(line(now, LogLevel::parse(text))),
                };
                match taken {
                    Some(line) => polled.batch.logs.push(line),
                    None => {
                        polled.dropped += 1;
                        if !is(Weakness::NamesNothing) {
                            polled.problems.push("a part cannot be read".to_owned());
                        }
                    }
                }
            }
        }
        Ok(polled)
    }
}

struct Post(Arc<Mutex<Vec<Parcel>>>);

#[async_trait]
impl Supply for Post {
    async fn add(&self, n: usize) {
        self.0.lock().unwrap().push(vec![Part::Good; n]);
    }

    async fn spoil(&self, n: usize) -> u64 {
        self.0.lock().unwrap().push(vec![Part::Bad; n]);
        n as u64
    }

    async fn hang(&self) -> bool {
        false
    }
}

#[async_trait]
impl Hostile for Post {
    async fn feed(&self, what: Hostility) -> Option<Fed> {
        let (parcel, dropped) = match what {
            Hostility::BadParts => (vec![Part::Good, Part::Bad, Part::Good], 1),
            Hostility::WrongTimes => (vec![Part::At(0), Part::At(i64::MAX / 2_000_000)], 0),
            Hostility::EmptyLabel => (vec![Part::WithEmptyLabel], 0),
            Hostility::StateBetween => (vec![Part::State(true), Part::State(false), Part::State(true)], 0),
            Hostility::Level(text) => (vec![Part::Level(text)], 0),
            _ => return None,
        };
        let given = parcel.len() - usize::try_from(dropped).unwrap();
        self.0.lock().unwrap().push(parcel);
        Some(Fed { given, dropped })
    }
}

#[tokio::test]
async fn each_law_on_hostile_input_notices_the_source_that_breaks_it() {
    let rows = [
        (Weakness::None, None),
        (Weakness::OneBadPartCostsAll, Some(5)),
        (Weakness::NamesNothing, Some(5)),
        (Weakness::BelievesEveryTime, Some(6)),
        (Weakness::IsMutedByATime, Some(6)),
        (Weakness::TakesEmptyForAName, Some(7)),
        (Weakness::ForgetsTheStateBetween, Some(8)),
        (Weakness::HasItsOwnLevels, Some(9)),
    ];
    for (weakness, number) in rows {
        let ctx = Ctx::new(Arc::new(AutoClock::new()));
        let checked = laws::check_hostile(&ctx, async || {
            let parcels = Arc::new(Mutex::new(Vec::new()));
            let source: Box<dyn SignalSource> = Box::new(Receiver { parcels: parcels.clone(), weakness });
            (source, Box::new(Post(parcels)) as Box<dyn Hostile>)
        })
        .await;
        assert_eq!(checked.err().map(|violation| violation.law.number), number, "{weakness:?}");
    }
}
