//! The laws of [`Approver`].

use std::time::Duration;

use super::{Law, Lawful, samples};
use crate::ctx::Ctx;
use crate::decision::Approver;

const DELIVERS: Law =
    Law::new("Approver", 1, "`ask` returns when the request was delivered; it does not wait for the answer.");
const AGAIN: Law =
    Law::new("Approver", 2, "Asking the same request again is delivered again or recognised, and never an error.");
const SILENT: Law = Law::new(
    "Approver",
    3,
    "`ask` never answers by itself: answers come through the engine's handle, from an authenticated person.",
);

/// How long delivering may take.
const SOON: Duration = Duration::from_secs(10);

/// Runs every law. `n_answers` counts the answers that reached the engine's handle so far.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, approver: &dyn Approver, n_answers: &(dyn Fn() -> u64 + Sync)) -> Lawful {
    law_1_does_not_wait(ctx, approver).await?;
    law_2_may_be_asked_again(ctx, approver).await?;
    law_3_never_answers(ctx, approver, n_answers).await
}

/// Law 1: nobody answers, and it returns all the same.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_does_not_wait(ctx: &Ctx, approver: &dyn Approver) -> Lawful {
    let request = samples::approval_request();
    let before = ctx.now();
    let bounded = ctx.with_timeout(SOON);
    DELIVERS.works("asking", bounded.run("law", approver.ask(&bounded, &request)).await)?;
    let took = ctx.now().mono_since(&before).map(Duration::from_nanos);
    DELIVERS.hold(took.is_some_and(|took| took <= SOON), || format!("it took {took:?}"))
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_may_be_asked_again(ctx: &Ctx, approver: &dyn Approver) -> Lawful {
    let request = samples::approval_request();
    for n in 1..=3 {
        AGAIN.works(&format!("asking time {n}"), approver.ask(ctx, &request).await)?;
    }
    Ok(())
}

/// Law 3.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_never_answers(ctx: &Ctx, approver: &dyn Approver, n_answers: &(dyn Fn() -> u64 + Sync)) -> Lawful {
    let before = n_answers();
    SILENT.works("asking", approver.ask(ctx, &samples::approval_request()).await)?;
    SILENT.same("the number of answers", &n_answers(), &before)
}
