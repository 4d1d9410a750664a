//! The laws of [`SignalSource`], run against a supply of the tester's.

use std::time::Duration;

use async_trait::async_trait;

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::signal::{Cursor, Polled, SignalBatch, SignalSource};

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
