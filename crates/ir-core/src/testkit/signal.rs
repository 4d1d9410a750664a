//! The laws of [`SignalSource`], run against a supply of the tester's: 1 to 4 by [`check_all`], and 5 to 9, which are about input that
//! is wrong, by [`check_hostile`].

use std::time::Duration;

use async_trait::async_trait;

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::signal::{Cursor, EventKind, LogLevel, Polled, SignalBatch, SignalSource};
use crate::time::Timestamp;

const CONTINUES: Law = Law::new(
    "SignalSource",
    1,
    "The same cursor gives a continuation: nothing acknowledged by a later cursor is lost, nothing given before it comes \
     again.",
);
const COUNTS: Law =
    Law::new("SignalSource", 2, "What cannot be read is counted in `dropped`, and the rest still comes.");
const IN_TIME: Law =
    Law::new("SignalSource", 3, "No call outlives the context's deadline, whatever the other side does.");
const EMPTY: Law =
    Law::new("SignalSource", 4, "An empty answer is an answer, not an error; a source that is away is an error.");

const PARTS: Law = Law::new(
    "SignalSource",
    5,
    "One bad part of what the other side gives costs that part alone, and what is dropped is named in `problems`.",
);
const TIMES: Law = Law::new("SignalSource", 6, "Times are bounded by the clock, and a wrong one mutes nothing.");
const LABELS: Law = Law::new("SignalSource", 7, "An empty label is no label.");
const STATES: Law = Law::new("SignalSource", 8, "A repetition is decided by the last state.");
const LEVELS: Law = Law::new("SignalSource", 9, "Levels are those of `LogLevel::parse`.");

/// How much later than its deadline a call may return on a busy machine.
const LEEWAY: Duration = Duration::from_secs(2);

/// What the tester controls: the other side of a source.
#[async_trait]
pub trait Supply: Send + Sync {
    /// Makes `n` new signals available; each is a sample, line, span, event or change of its own.
    async fn add(&self, n: usize);

    /// Makes `n` things available that cannot be read; returns how many of them the source must drop, where it can tell.
    async fn spoil(&self, n: usize) -> u64;

    /// From now on the other side does not answer, if there is one that could do that; returns whether it is so.
    async fn hang(&self) -> bool;
}

/// Runs every law on one source after another, each made by `fresh` with the supply behind it.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all<S, F>(ctx: &Ctx, fresh: F) -> Lawful
where
    S: std::ops::Deref<Target = dyn SignalSource>,
    F: AsyncFn() -> (S, Box<dyn Supply>),
{
    // The other laws begin with an empty answer, so this one comes first.
    let (source, _supply) = fresh().await;
    law_4_empty_is_an_answer(ctx, &*source).await?;
    let (source, supply) = fresh().await;
    law_1_goes_on_where_it_was(ctx, &*source, &*supply).await?;
    let (source, supply) = fresh().await;
    law_2_counts_what_it_drops(ctx, &*source, &*supply).await?;
    let (source, supply) = fresh().await;
    law_3_keeps_to_the_deadline(ctx, &*source, &*supply).await
}

async fn poll(law: &Law, ctx: &Ctx, source: &dyn SignalSource, cursor: &Cursor) -> Lawful<Polled> {
    law.works("a poll", source.poll(ctx, cursor).await)
}

/// How many signals of `new` were in `old` already. NaN is equal to nothing, so such samples are never found again.
fn n_again(old: &SignalBatch, new: &SignalBatch) -> usize {
    fn count<T: PartialEq>(old: &[T], new: &[T]) -> usize {
        new.iter().filter(|signal| old.contains(signal)).count()
    }
    count(&old.metrics, &new.metrics)
        + count(&old.logs, &new.logs)
        + count(&old.spans, &new.spans)
        + count(&old.events, &new.events)
        + count(&old.changes, &new.changes)
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_goes_on_where_it_was(ctx: &Ctx, source: &dyn SignalSource, supply: &dyn Supply) -> Lawful {
    let law = &CONTINUES;
    let start = poll(law, ctx, source, &Cursor::default()).await?.next;
    supply.add(3).await;
    let first = poll(law, ctx, source, &start).await?;
    law.hold(first.batch.len() >= 3, || format!("of 3 new signals {} came", first.batch.len()))?;
    // The poll is asked again as after a crash before its cursor was recorded.
    let again = poll(law, ctx, source, &start).await?;
    law.hold(again.batch.len() >= 3, || format!("asked again with the same cursor, {} of 3 came", again.batch.len()))?;
    supply.add(2).await;
    let second = poll(law, ctx, source, &again.next).await?;
    law.hold(second.batch.len() >= 2, || format!("of 2 new signals {} came", second.batch.len()))?;
    let n = n_again(&again.batch, &second.batch);
    law.hold(n == 0, || format!("{n} signals came again"))
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_counts_what_it_drops(ctx: &Ctx, source: &dyn SignalSource, supply: &dyn Supply) -> Lawful {
    let law = &COUNTS;
    let start = poll(law, ctx, source, &Cursor::default()).await?.next;
    supply.add(2).await;
    let expected = supply.spoil(3).await;
    supply.add(2).await;
    let polled = poll(law, ctx, source, &start).await?;
    law.same("the number of dropped", &polled.dropped, &expected)?;
    law.hold(polled.batch.len() >= 4, || format!("of 4 good signals among bad ones {} came", polled.batch.len()))
}

/// Law 3. Waits for a fifth of a second.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_keeps_to_the_deadline(ctx: &Ctx, source: &dyn SignalSource, supply: &dyn Supply) -> Lawful {
    let law = &IN_TIME;
    if !supply.hang().await {
        return Ok(());
    }
    let before = ctx.now();
    let allowed = Duration::from_millis(200);
    // The answer may be an error, or say in its signals that the other side is down.
    let _ = source.poll(&ctx.with_timeout(allowed), &Cursor::default()).await;
    let took = ctx.now().mono_since(&before).map(Duration::from_nanos);
    law.hold(took.is_some_and(|took| took <= allowed + LEEWAY), || format!("a call with {allowed:?} took {took:?}"))
}

/// Law 4, its first half: whether a source is away only its own tests can tell.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_4_empty_is_an_answer(ctx: &Ctx, source: &dyn SignalSource) -> Lawful {
    let law = &EMPTY;
    let mut cursor = Cursor::default();
    for _ in 0..3 {
        cursor = poll(law, ctx, source, &cursor).await?.next;
    }
    Ok(())
}

/// What other systems are known to give. None of it may mislead a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hostility {
    /// Good signals with bad ones among them, in one request, answer or file.
    BadParts,
    /// A signal whose time is far ahead of the clock, and one whose time is of 1970.
    WrongTimes,
    /// A signal of which the first label that names the entity is empty, and another one names it.
    EmptyLabel,
    /// One thing that is so, is not so, and is so again.
    StateBetween,
    /// A log line whose level is this text.
    Level(&'static str),
}

/// What a source must make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// How many signals must come, at least.
    pub given: usize,
    /// How many must be dropped and counted.
    pub dropped: u64,
}

/// A supply that can also give what no sound system gives.
#[async_trait]
pub trait Hostile: Supply {
    /// Makes it available; nothing where the source knows nothing of the kind.
    async fn feed(&self, what: Hostility) -> Option<Fed>;
}

/// Texts of levels, of several products.
const TEXTS: [&str; 8] = ["dpanic", "WARN+1", "Information", "50", "3", "eror", "SEVERITY_NUMBER_FATAL", "unknown"];

/// Runs the laws on hostile input (5 to 9) on one source after another, each made by `fresh` with the supply behind it. What
/// each one tests stands at [`SignalSource`]. A law of which the supply feeds nothing is passed over.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_hostile<S, F>(ctx: &Ctx, fresh: F) -> Lawful
where
    S: std::ops::Deref<Target = dyn SignalSource>,
    F: AsyncFn() -> (S, Box<dyn Hostile>),
{
    let laws = [
        (&PARTS, Hostility::BadParts),
        (&TIMES, Hostility::WrongTimes),
        (&LABELS, Hostility::EmptyLabel),
        (&STATES, Hostility::StateBetween),
    ];
    let levels = TEXTS.map(|text| (&LEVELS, Hostility::Level(text)));
    for (law, what) in laws.into_iter().chain(levels) {
        let (source, supply) = fresh().await;
        withstands(law, ctx, &*source, &*supply, what).await?;
    }
    Ok(())
}

/// Feeds a source, and checks what comes then and afterwards.
async fn withstands(law: &Law, ctx: &Ctx, source: &dyn SignalSource, supply: &dyn Hostile, what: Hostility) -> Lawful {
    let start = poll(law, ctx, source, &Cursor::default()).await?.next;
    let Some(fed) = supply.feed(what).await else { return Ok(()) };
    let polled = poll(law, ctx, source, &start).await?;
    let n = polled.batch.len();
    law.hold(n >= fed.given, || format!("{what:?}: of {} signals {n} came", fed.given))?;
    law.same("the number of dropped", &polled.dropped, &fed.dropped)?;
    let is_named = polled.dropped == 0 || !polled.problems.is_empty();
    law.hold(is_named, || format!("{what:?}: {} are dropped and no problem says so", polled.dropped))?;
    let now = ctx.now().wall;
    let (earliest, latest) = (now.minus(TWENTY_YEARS), now.plus(ONE_DAY));
    let wrong = times(&polled.batch).find(|at| *at < earliest || *at > latest);
    law.hold(wrong.is_none(), || format!("{what:?}: a signal of {wrong:?} came"))?;
    if let Hostility::Level(text) = what {
        let levels: Vec<_> = polled.batch.logs.iter().map(|line| line.level).collect();
        let expected = LogLevel::parse(text);
        law.hold(levels.contains(&expected), || format!("`{text}` became {levels:?} and is {expected:?}"))?;
    }
    supply.add(2).await;
    let after = poll(law, ctx, source, &polled.next).await?;
    law.hold(after.batch.len() >= 2, || format!("{what:?}: of 2 good signals afterwards {} came", after.batch.len()))
}

const ONE_DAY: Duration = Duration::from_secs(86_400);
const TWENTY_YEARS: Duration = Duration::from_secs(20 * 365 * 86_400);

/// All times in a batch.
fn times(batch: &SignalBatch) -> impl Iterator<Item = Timestamp> {
    let metrics = batch.metrics.iter().map(|sample| sample.at);
    let (logs, spans) = (batch.logs.iter().map(|line| line.at), batch.spans.iter().map(|span| span.at));
    let events = batch.events.iter().flat_map(|event| match &event.kind {
        EventKind::Alert(alert) => [event.at, alert.since],
        _ => [event.at; 2],
    });
    metrics.chain(logs).chain(spans).chain(events).chain(batch.changes.iter().map(|change| change.at))
}
