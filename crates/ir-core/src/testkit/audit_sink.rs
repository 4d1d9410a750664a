//! The laws of [`AuditSink`].

use std::sync::Arc;

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::journal::{AuditSink, Body, Chain, EncodedRecord, Event};

const KEEPS: Law =
    Law::new("AuditSink", 1, "`copy` keeps all given records before it returns; they come in order, without gaps.");
const AGAIN: Law = Law::new("AuditSink", 2, "Records it has already are taken again without harm (at least once).");
const POSITION: Law =
    Law::new("AuditSink", 3, "`position` is the number of the next record it wants, 1 at first; it never goes back.");

/// Opens the copy that is kept in one place. Called again only after the value from the call before was dropped.
pub type Open = Box<dyn Fn() -> Result<Arc<dyn AuditSink>> + Send + Sync>;

/// Runs every law, each in a place of its own that `fresh` makes.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, fresh: &(dyn Fn() -> Result<Open> + Sync)) -> Lawful {
    law_1_keeps_everything(ctx, &KEEPS.works("making a place", fresh())?).await?;
    law_2_takes_again(ctx, &AGAIN.works("making a place", fresh())?).await?;
    law_3_position_only_rises(ctx, &POSITION.works("making a place", fresh())?).await
}

/// Ten records as the gate writes them.
fn records(law: &Law, ctx: &Ctx) -> Lawful<Vec<EncodedRecord>> {
    let body = |n: u32| Body::Event(Event::TimerFired { timer: format!("t{n}") });
    let mut chain = Chain::default();
    let mut all = Vec::new();
    for n in 0..5 {
        let encoded = law.works("encoding records", chain.encode(&ctx.now(), vec![body(2 * n), body(2 * n + 1)]))?;
        all.extend(encoded.1);
    }
    Ok(all)
}

async fn position(law: &Law, ctx: &Ctx, sink: &dyn AuditSink) -> Lawful<u64> {
    law.works("asking for the position", sink.position(ctx).await)
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_keeps_everything(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &KEEPS;
    let records = records(law, ctx)?;
    let mut sink = law.works("opening", open())?;
    for (n, part) in [&records[..3], &records[3..4], &records[4..7]].into_iter().enumerate() {
        law.works("a copy", sink.copy(ctx, part).await)?;
        drop(sink);
        sink = law.works("opening again", open())?;
        let kept = [3, 4, 7][n];
        law.same("the position after opening again", &position(law, ctx, &*sink).await?, &(kept + 1))?;
    }
    // Whether a gap is an error is its own business, but it must not pass as complete.
    let _ = sink.copy(ctx, &records[8..]).await;
    let after = position(law, ctx, &*sink).await?;
    law.hold(after == 8, || format!("record 8 never came and the next it wants is {after}"))
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_takes_again(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &AGAIN;
    let records = records(law, ctx)?;
    let sink = law.works("opening", open())?;
    law.works("a copy", sink.copy(ctx, &records[..4]).await)?;
    law.works("the same copy again", sink.copy(ctx, &records[..4]).await)?;
    law.same("the position", &position(law, ctx, &*sink).await?, &5)?;
    law.works("a copy of old and new ones", sink.copy(ctx, &records[2..6]).await)?;
    law.same("the position", &position(law, ctx, &*sink).await?, &7)
}

/// Law 3.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_position_only_rises(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &POSITION;
    let records = records(law, ctx)?;
    let sink = law.works("opening", open())?;
    law.same("the position at first", &position(law, ctx, &*sink).await?, &1)?;
    let mut before = 1;
    for part in [&records[..5], &records[..2], &records[..5], &records[4..8], &records[..1]] {
        law.works("a copy", sink.copy(ctx, part).await)?;
        let after = position(law, ctx, &*sink).await?;
        law.hold(after >= before, || format!("{after} came after {before}"))?;
        before = after;
    }
    law.same("the position at last", &before, &9)
}
