//! The laws of [`Correlator`] and [`Classifier`].

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::error::ErrorKind;
use crate::hypothesis::Hypothesis;
use crate::incident::{Classifier, CorrelationInput, Correlator, Incident, Placement, UNKNOWN_CLASS};

const PLACES: Law =
    Law::new("Correlator", 1, "Every anomaly of the input gets exactly one placement, in the order of the input.");
const JOINS: Law = Law::new("Correlator", 2, "`Join` names an incident of the input.");
const SAME: Law = Law::new("Correlator", 3, "The same input gives the same answer.");
const ORDER: Law = Law::new("Correlator", 4, "The order of incidents and changes in the input does not matter.");

const CLASSIFIES_SAME: Law = Law::new("Classifier", 1, "The same incident and hypothesis give the same answer.");
const NEEDS_ANOMALIES: Law = Law::new("Classifier", 2, "An incident without anomalies is `InvalidInput`.");
const CITES: Law = Law::new("Classifier", 3, "A classification cites at least one reason.");
const NAMES_CLASSES: Law = Law::new(
    "Classifier",
    4,
    "`classes` is the same at every call, and names every class that a classification can have.",
);

/// Runs every law of [`Correlator`] on `input`, which should hold several anomalies, incidents and changes.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_correlator(ctx: &Ctx, correlator: &dyn Correlator, input: &CorrelationInput) -> Lawful {
    correlator_law_1_places_every_anomaly(ctx, correlator, input).await?;
    correlator_law_2_joins_known_incidents(ctx, correlator, input).await?;
    correlator_law_3_same_answer(ctx, correlator, input).await?;
    correlator_law_4_order_does_not_matter(ctx, correlator, input).await
}

/// Law 1 of [`Correlator`].
///
/// # Errors
///
/// When it does not hold.
pub async fn correlator_law_1_places_every_anomaly(
    ctx: &Ctx,
    correlator: &dyn Correlator,
    input: &CorrelationInput,
) -> Lawful {
    let placed = PLACES.works("correlating", correlator.correlate(ctx, input).await)?;
    let placed: Vec<_> = placed.iter().map(|grouping| &grouping.anomaly).collect();
    let given: Vec<_> = input.anomalies.iter().map(|anomaly| &anomaly.id).collect();
    PLACES.same("the list of what was placed", &placed, &given)
}

/// Law 2 of [`Correlator`].
///
/// # Errors
///
/// When it does not hold.
pub async fn correlator_law_2_joins_known_incidents(
    ctx: &Ctx,
    correlator: &dyn Correlator,
    input: &CorrelationInput,
) -> Lawful {
    for grouping in JOINS.works("correlating", correlator.correlate(ctx, input).await)? {
        if let Placement::Join { incident } = &grouping.into {
            let known = input.open.iter().any(|open| open.id == *incident);
            JOINS.hold(known, || format!("`{}` joins `{incident}`, which is not open", grouping.anomaly))?;
        }
    }
    Ok(())
}

/// Law 3 of [`Correlator`].
///
/// # Errors
///
/// When it does not hold.
pub async fn correlator_law_3_same_answer(ctx: &Ctx, correlator: &dyn Correlator, input: &CorrelationInput) -> Lawful {
    let first = SAME.works("correlating", correlator.correlate(ctx, input).await)?;
    for _ in 0..3 {
        let again = SAME.works("correlating", correlator.correlate(ctx, input).await)?;
        SAME.same("the answer to the same input", &again, &first)?;
    }
    Ok(())
}

/// Law 4 of [`Correlator`].
///
/// # Errors
///
/// When it does not hold.
pub async fn correlator_law_4_order_does_not_matter(
    ctx: &Ctx,
    correlator: &dyn Correlator,
    input: &CorrelationInput,
) -> Lawful {
    let first = ORDER.works("correlating", correlator.correlate(ctx, input).await)?;
    let mut turned = input.clone();
    turned.open.reverse();
    turned.changes.reverse();
    for _ in 0..turned.open.len().max(turned.changes.len()).max(1) {
        let again = ORDER.works("correlating", correlator.correlate(ctx, &turned).await)?;
        ORDER.same("the answer to another order", &again, &first)?;
        rotate(&mut turned.open);
        rotate(&mut turned.changes);
    }
    Ok(())
}

fn rotate<T>(list: &mut [T]) {
    if !list.is_empty() {
        list.rotate_left(1);
    }
}

/// Runs every law of [`Classifier`] on an incident with anomalies.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_classifier(
    ctx: &Ctx,
    classifier: &dyn Classifier,
    incident: &Incident,
    hypothesis: &Hypothesis,
) -> Lawful {
    classifier_law_1_same_answer(ctx, classifier, incident, hypothesis).await?;
    classifier_law_2_needs_anomalies(ctx, classifier, incident, hypothesis).await?;
    classifier_law_3_cites_reasons(ctx, classifier, incident, hypothesis).await?;
    classifier_law_4_names_its_classes(ctx, classifier, incident, hypothesis).await
}

/// Law 1 of [`Classifier`].
///
/// # Errors
///
/// When it does not hold.
pub async fn classifier_law_1_same_answer(
    ctx: &Ctx,
    classifier: &dyn Classifier,
    incident: &Incident,
    hypothesis: &Hypothesis,
) -> Lawful {
    let law = &CLASSIFIES_SAME;
    let first = law.works("classifying", classifier.classify(ctx, incident, hypothesis).await)?;
    for _ in 0..3 {
        let again = law.works("classifying", classifier.classify(ctx, incident, hypothesis).await)?;
        law.same("the answer to the same input", &again, &first)?;
    }
    Ok(())
}

/// Law 2 of [`Classifier`].
///
/// # Errors
///
/// When it does not hold.
pub async fn classifier_law_2_needs_anomalies(
    ctx: &Ctx,
    classifier: &dyn Classifier,
    incident: &Incident,
    hypothesis: &Hypothesis,
) -> Lawful {
    let empty = Incident { anomalies: Vec::new(), ..incident.clone() };
    let result = classifier.classify(ctx, &empty, hypothesis).await;
    NEEDS_ANOMALIES.fails("classifying nothing", ErrorKind::InvalidInput, result)
}

/// Law 3 of [`Classifier`].
///
/// # Errors
///
/// When it does not hold.
pub async fn classifier_law_3_cites_reasons(
    ctx: &Ctx,
    classifier: &dyn Classifier,
    incident: &Incident,
    hypothesis: &Hypothesis,
) -> Lawful {
    let answer = CITES.works("classifying", classifier.classify(ctx, incident, hypothesis).await)?;
    let cites = answer.because.iter().any(|reason| !reason.trim().is_empty());
    CITES.hold(cites, || format!("`{}` comes without a reason", answer.class))
}

/// Law 4 of [`Classifier`].
///
/// # Errors
///
/// When it does not hold.
pub async fn classifier_law_4_names_its_classes(
    ctx: &Ctx,
    classifier: &dyn Classifier,
    incident: &Incident,
    hypothesis: &Hypothesis,
) -> Lawful {
    let law = &NAMES_CLASSES;
    let classes = classifier.classes();
    law.same("the classes", &classifier.classes(), &classes)?;
    let answer = law.works("classifying", classifier.classify(ctx, incident, hypothesis).await)?;
    let named = answer.class.as_str() == UNKNOWN_CLASS || classes.contains(&answer.class);
    law.hold(named, || format!("`{}` is not among its classes", answer.class))
}
