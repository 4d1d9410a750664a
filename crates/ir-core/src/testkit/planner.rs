//! The laws of [`Planner`].

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::plan::{Plan, PlanDraft, PlanInput, Planner};

const SAME: Law = Law::new("Planner", 1, "The same input gives the same answer.");
const KNOWN: Law = Law::new(
    "Planner",
    2,
    "Plans use actions of the catalogue and targets of the topology only (the engine checks it again).",
);
const TRIED: Law = Law::new("Planner", 3, "A call that was tried is not proposed again.");
const NO_CAUSE: Law = Law::new("Planner", 4, "No cause, no plan: an empty answer, not an error.");

/// Runs every law on `input`, for which the planner should have a plan.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, planner: &dyn Planner, input: &PlanInput) -> Lawful {
    law_1_same_answer(ctx, planner, input).await?;
    law_2_plans_pass_the_check(ctx, planner, input).await?;
    law_3_nothing_is_tried_twice(ctx, planner, input).await?;
    law_4_no_cause_no_plan(ctx, planner, input).await
}

async fn ask(law: &Law, ctx: &Ctx, planner: &dyn Planner, input: &PlanInput) -> Lawful<Vec<PlanDraft>> {
    law.works("planning", planner.plan(ctx, input).await)
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_same_answer(ctx: &Ctx, planner: &dyn Planner, input: &PlanInput) -> Lawful {
    let first = ask(&SAME, ctx, planner, input).await?;
    for _ in 0..3 {
        SAME.same("the answer to the same input", &ask(&SAME, ctx, planner, input).await?, &first)?;
    }
    Ok(())
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_plans_pass_the_check(ctx: &Ctx, planner: &dyn Planner, input: &PlanInput) -> Lawful {
    let drafts = ask(&KNOWN, ctx, planner, input).await?;
    KNOWN.hold(!drafts.is_empty(), || "it has no plan for an input that was said to have one".to_owned())?;
    KNOWN.same("the name of the first plan", &drafts.first().map(|draft| &draft.id), &Some(&input.id))?;
    for draft in drafts {
        let id = draft.id.clone();
        if let Err(error) = Plan::check(draft, &input.catalogue, &input.topology) {
            return Err(KNOWN.broken(format!("plan `{id}` does not pass: {error}")));
        }
    }
    Ok(())
}

/// Law 3: everything it proposes is marked as tried, until it proposes nothing more.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_nothing_is_tried_twice(ctx: &Ctx, planner: &dyn Planner, input: &PlanInput) -> Lawful {
    let mut input = input.clone();
    for _ in 0..20 {
        let drafts = ask(&TRIED, ctx, planner, &input).await?;
        for call in drafts.iter().flat_map(|draft| draft.steps.iter().map(|step| &step.call)) {
            TRIED.hold(!input.tried.contains(call), || format!("`{call}` was tried and is proposed again"))?;
        }
        if drafts.is_empty() {
            break;
        }
        input.tried.extend(drafts.into_iter().flat_map(|draft| draft.steps.into_iter().map(|step| step.call)));
    }
    Ok(())
}

/// Law 4.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_4_no_cause_no_plan(ctx: &Ctx, planner: &dyn Planner, input: &PlanInput) -> Lawful {
    let mut nobody = input.clone();
    nobody.hypothesis.causes.clear();
    let mut abstains = input.clone();
    abstains.hypothesis.abstains = Some("the signal that would tell is missing".to_owned());
    for (what, input) in [("without a cause", &nobody), ("when the diagnoser abstains", &abstains)] {
        let drafts = ask(&NO_CAUSE, ctx, planner, input).await?;
        NO_CAUSE.hold(drafts.is_empty(), || format!("{what} it has {} plans", drafts.len()))?;
    }
    Ok(())
}
