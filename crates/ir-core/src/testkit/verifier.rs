//! The laws of [`Verifier`].

use std::time::Duration;

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::outcome::{Check, Holds, Verified, Verifier};

const SAME: Law = Law::new("Verifier", 1, "The same check gives the same answer.");
const MISSING: Law = Law::new("Verifier", 2, "A missing signal is `Unknown`, never `Yes`.");
const AFTER: Law = Law::new("Verifier", 3, "What was measured before the effect does not count.");

/// Runs every law on `check`, which should hold, demand a limit, and have measurements from after the effect.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, verifier: &dyn Verifier, check: &Check) -> Lawful {
    law_1_same_answer(ctx, verifier, check).await?;
    law_2_missing_is_unknown(ctx, verifier, check).await?;
    law_3_only_what_came_after(ctx, verifier, check).await
}

async fn ask(law: &Law, ctx: &Ctx, verifier: &dyn Verifier, check: &Check) -> Lawful<Verified> {
    law.works("verifying", verifier.verify(ctx, check).await)
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_same_answer(ctx: &Ctx, verifier: &dyn Verifier, check: &Check) -> Lawful {
    let first = ask(&SAME, ctx, verifier, check).await?;
    for _ in 0..3 {
        SAME.same("the answer to the same check", &ask(&SAME, ctx, verifier, check).await?, &first)?;
    }
    Ok(())
}

/// Law 2: the series that a limit needs are taken away, all and then only those of the limited metrics.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_missing_is_unknown(ctx: &Ctx, verifier: &dyn Verifier, check: &Check) -> Lawful {
    let law = &MISSING;
    law.hold(!check.verification.limits.is_empty(), || "the check was said to demand a limit".to_owned())?;
    let whole = ask(law, ctx, verifier, check).await?;
    law.hold(whole.holds == Holds::Yes, || format!("the check was said to hold: {}", whole.because))?;
    let mut none = check.clone();
    none.observations.series.clear();
    let mut others = check.clone();
    let limited = |metric: &str| check.verification.limits.iter().any(|limit| limit.metric == metric);
    others.observations.series.retain(|history| !limited(&history.series.metric));
    let mut emptied = check.clone();
    for history in &mut emptied.observations.series {
        history.times.clear();
        history.values.clear();
    }
    for (what, check) in [("no series", &none), ("no series of the limits", &others), ("empty series", &emptied)] {
        let answer = ask(law, ctx, verifier, check).await?;
        law.hold(answer.holds == Holds::Unknown, || format!("with {what} it says {:?}", answer.holds))?;
    }
    Ok(())
}

/// Law 3: the effect is moved behind everything that was measured.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_only_what_came_after(ctx: &Ctx, verifier: &dyn Verifier, check: &Check) -> Lawful {
    let mut late = check.clone();
    late.applied = check.observations.until.plus(Duration::from_secs(1));
    let answer = ask(&AFTER, ctx, verifier, &late).await?;
    AFTER.hold(answer.holds != Holds::Yes, || "it holds by what was measured before the effect".to_owned())
}
