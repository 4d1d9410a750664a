//! The laws of [`Diagnoser`].

use std::collections::BTreeSet;

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::entity::{Entity, EntityId};
use crate::hypothesis::{Case, Diagnoser, Hypothesis};
use crate::topology::{Topology, TopologyDocument};

const SAME: Law = Law::new("Diagnoser", 1, "The same case gives the same answer.");
const SUMS: Law = Law::new("Diagnoser", 2, "Probabilities do not rise along the list and sum up to 1 at most.");
const KNOWN: Law =
    Law::new("Diagnoser", 3, "Every cause is an entity of the topology, once, with a path that begins with it.");
const ORDER: Law =
    Law::new("Diagnoser", 4, "The order of anomalies, changes, series and entities in the case does not matter.");
const HEALTHY: Law =
    Law::new("Diagnoser", 5, "A healthy entity without symptoms or changes does not change who leads.");
const ABSTAINS: Law = Law::new("Diagnoser", 6, "No anomalies: it abstains.");

/// Runs every law on `case`, which should have anomalies and a cause to be found.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    law_1_same_answer(ctx, diagnoser, case).await?;
    law_2_probabilities_add_up(ctx, diagnoser, case).await?;
    law_3_causes_are_known(ctx, diagnoser, case).await?;
    law_4_order_does_not_matter(ctx, diagnoser, case).await?;
    law_5_the_healthy_change_nothing(ctx, diagnoser, case).await?;
    law_6_nothing_to_explain(ctx, diagnoser, case).await
}

async fn ask(law: &Law, ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful<Hypothesis> {
    law.works("diagnosing", diagnoser.diagnose(ctx, case).await)
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_same_answer(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    let first = ask(&SAME, ctx, diagnoser, case).await?;
    for _ in 0..3 {
        SAME.same("the answer to the same case", &ask(&SAME, ctx, diagnoser, case).await?, &first)?;
    }
    Ok(())
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_probabilities_add_up(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    let answer = ask(&SUMS, ctx, diagnoser, case).await?;
    let falls = answer.causes.is_sorted_by(|a, b| a.probability >= b.probability);
    SUMS.hold(falls, || "a probability rises along the list".to_owned())?;
    let sum: u64 = answer.causes.iter().map(|cause| u64::from(cause.probability.millionths())).sum();
    SUMS.hold(sum <= 1_000_000, || format!("they sum up to {sum} millionths"))
}

/// Law 3.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_causes_are_known(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    let answer = ask(&KNOWN, ctx, diagnoser, case).await?;
    KNOWN.same("the name of the answer", &answer.id, &case.id)?;
    let mut seen = BTreeSet::new();
    for cause in &answer.causes {
        let entity = &cause.entity;
        KNOWN.hold(case.topology.entity(entity).is_some(), || format!("nobody knows `{entity}`"))?;
        KNOWN.hold(seen.insert(entity), || format!("`{entity}` comes twice"))?;
        KNOWN.hold(cause.path.first() == Some(entity), || format!("the path of `{entity}` begins elsewhere"))?;
    }
    Ok(())
}

/// Law 4.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_4_order_does_not_matter(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    let first = ask(&ORDER, ctx, diagnoser, case).await?;
    let mut turned = case.clone();
    let document = TopologyDocument::from(case.topology.clone());
    let reversed = TopologyDocument {
        entity: document.entity.into_iter().rev().collect(),
        dependency: document.dependency.into_iter().rev().collect(),
    };
    turned.topology = Topology::new(reversed).map_err(|error| ORDER.broken(error.to_string()))?;
    turned.incident.anomalies.reverse();
    turned.incident.changes.reverse();
    turned.observations.series.reverse();
    turned.observations.targets.reverse();
    ORDER.same("the answer to another order", &ask(&ORDER, ctx, diagnoser, &turned).await?, &first)
}

/// Law 5.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_5_the_healthy_change_nothing(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    let law = &HEALTHY;
    let first = ask(law, ctx, diagnoser, case).await?;
    let mut larger = case.clone();
    let mut document = TopologyDocument::from(case.topology.clone());
    let bystander = law.works("naming", EntityId::new("law-bystander"))?;
    document.entity.push(Entity::service(bystander));
    larger.topology = Topology::new(document).map_err(|error| law.broken(error.to_string()))?;
    let second = ask(law, ctx, diagnoser, &larger).await?;
    let leads = |answer: &Hypothesis| answer.leading().map(|cause| cause.entity.clone());
    law.same("who leads beside a healthy stranger", &leads(&second), &leads(&first))
}

/// Law 6.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_6_nothing_to_explain(ctx: &Ctx, diagnoser: &dyn Diagnoser, case: &Case) -> Lawful {
    let mut quiet = case.clone();
    quiet.incident.anomalies.clear();
    let answer = ask(&ABSTAINS, ctx, diagnoser, &quiet).await?;
    let leader = answer.leading().map(|cause| cause.entity.to_string());
    ABSTAINS.hold(answer.abstains.is_some(), || format!("it names {leader:?}"))
}
