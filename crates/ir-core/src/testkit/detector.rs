//! The laws of [`Detector`], on signals that the tester brings and on hostile ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Law, Lawful};
use crate::anomaly::{Anomaly, Detector, Phase, Snapshot};
use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::ErrorKind;
use crate::id::{AnomalyId, PartName};
use crate::score::Score;
use crate::signal::{Gone, GoneReason, MetricSample, SignalBatch};
use crate::time::Timestamp;

const SPLITS: Law = Law::new("Detector", 1, "Splitting a batch anywhere gives the same anomalies.");
const HARDY: Law =
    Law::new("Detector", 2, "NaN, infinities, gaps, repeats and time going backwards do not make it fail.");
const RESTORES: Law = Law::new("Detector", 3, "`restore` of a snapshot goes on as the original would have.");
const FOREIGN: Law =
    Law::new("Detector", 4, "A snapshot of another name or version is `InvalidInput` and changes nothing.");
const EXPLAINS: Law = Law::new(
    "Detector",
    5,
    "Every anomaly names its detector, its entity, a score above 0, and says why in a sentence.",
);
const ENDS: Law = Law::new(
    "Detector",
    6,
    "After an entity is gone none of its episodes is open: each ends at once, and its sentence begins with `gone: `.",
);

/// Makes a detector that has seen nothing.
pub type Make<'a> = &'a (dyn Fn() -> Arc<dyn Detector> + Sync);

/// Runs every law on `signals`: batches in which the detector finds something, in their order.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    law_1_batches_may_be_split(ctx, make, signals).await?;
    law_2_survives_bad_signals(ctx, make, signals).await?;
    law_3_goes_on_from_a_snapshot(ctx, make, signals).await?;
    law_4_refuses_foreign_snapshots(ctx, make, signals).await?;
    law_5_explains_itself(ctx, make, signals).await?;
    law_6_ends_what_is_gone(ctx, make, signals).await
}

async fn feed(law: &Law, ctx: &Ctx, detector: &dyn Detector, signals: &[SignalBatch]) -> Lawful<Vec<Anomaly>> {
    let mut found = Vec::new();
    for batch in signals {
        found.extend(law.works("detecting", detector.detect(ctx, batch).await)?);
    }
    Ok(found)
}

/// Law 1: each batch in two parts, cut at several places in each kind of signal, and one by one.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_batches_may_be_split(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    let law = &SPLITS;
    let whole = feed(law, ctx, &*make(), signals).await?;
    for parts in [2, 3, 7, usize::MAX] {
        let split: Vec<SignalBatch> = signals.iter().flat_map(|batch| split(batch, parts)).collect();
        let found = feed(law, ctx, &*make(), &split).await?;
        law.hold(found == whole, || {
            format!("{} anomalies came of {} batches, {} of {}", whole.len(), signals.len(), found.len(), split.len())
        })?;
    }
    Ok(())
}

/// `batch` in `parts` parts of about the same length, each kind in its order.
fn split(batch: &SignalBatch, parts: usize) -> Vec<SignalBatch> {
    fn part<T: Clone>(list: &[T], n: usize, parts: usize) -> Vec<T> {
        list[list.len() * n / parts..list.len() * (n + 1) / parts].to_vec()
    }
    let parts = parts.min(batch.len()).max(1);
    (0..parts)
        .map(|n| SignalBatch {
            metrics: part(&batch.metrics, n, parts),
            logs: part(&batch.logs, n, parts),
            spans: part(&batch.spans, n, parts),
            events: part(&batch.events, n, parts),
            changes: part(&batch.changes, n, parts),
            // It takes effect after all other signals of the batch.
            gone: if n + 1 == parts { batch.gone.clone() } else { Vec::new() },
            // The parts are bare: where a scrape ends is not known of a part.
            scrapes: None,
        })
        .collect()
}

/// Law 2: the tester's own signals, spoiled in each of these ways.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_survives_bad_signals(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    let law = &HARDY;
    let detector = make();
    feed(law, ctx, &*detector, signals).await?;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, -0.0, f64::MIN_POSITIVE] {
        let spoiled = each_sample(signals, |sample| sample.value = value);
        feed(law, ctx, &*detector, &spoiled).await?;
    }
    // A gap of a year, the same again, and back to before the beginning of time.
    let later = 366 * 86_400 * 1_000_000_000_i64;
    let gap = each_sample(signals, |s| s.at = Timestamp::from_nanos(s.at.as_nanos().saturating_add(later)));
    feed(law, ctx, &*detector, &gap).await?;
    feed(law, ctx, &*detector, &gap).await?;
    feed(law, ctx, &*detector, signals).await?;
    let back = each_sample(signals, |s| s.at = Timestamp::from_nanos(s.at.as_nanos().saturating_neg()));
    feed(law, ctx, &*detector, &back).await?;
    for edge in [i64::MIN, i64::MAX] {
        feed(law, ctx, &*detector, &each_sample(signals, |s| s.at = Timestamp::from_nanos(edge))).await?;
    }
    feed(law, ctx, &*detector, &[SignalBatch::default()]).await?;
    law.works("a snapshot after bad signals", detector.snapshot(ctx).await).map(|_| ())
}

fn each_sample(signals: &[SignalBatch], change: impl Fn(&mut MetricSample)) -> Vec<SignalBatch> {
    let mut changed = signals.to_vec();
    for sample in changed.iter_mut().flat_map(|batch| &mut batch.metrics) {
        change(sample);
    }
    changed
}

/// Law 3: a snapshot after each batch.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_goes_on_from_a_snapshot(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    let law = &RESTORES;
    for n in 0..=signals.len() {
        let original = make();
        feed(law, ctx, &*original, &signals[..n]).await?;
        let snapshot = law.works("a snapshot", original.snapshot(ctx).await)?;
        let wanted = feed(law, ctx, &*original, &signals[n..]).await?;
        let restored = make();
        law.works("restoring", restored.restore(ctx, &snapshot).await)?;
        let found = feed(law, ctx, &*restored, &signals[n..]).await?;
        law.hold(found == wanted, || {
            format!(
                "after {n} batches the original went on with {} anomalies, the restored one with {}",
                wanted.len(),
                found.len()
            )
        })?;
    }
    Ok(())
}

/// Law 4.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_4_refuses_foreign_snapshots(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    let law = &FOREIGN;
    let (first, rest) = signals.split_at(signals.len() / 2);
    let detector = make();
    feed(law, ctx, &*detector, first).await?;
    let own = law.works("a snapshot", detector.snapshot(ctx).await)?;
    let empty = law.works("a snapshot", make().snapshot(ctx).await)?;
    let name = law.works("naming", PartName::new("somebody-else"))?;
    let foreign = [Snapshot { name, ..empty.clone() }, Snapshot { version: own.version.wrapping_add(1), ..empty }];
    for snapshot in &foreign {
        let what = format!("restoring a snapshot of `{}` version {}", snapshot.name, snapshot.version);
        law.fails(&what, ErrorKind::InvalidInput, detector.restore(ctx, snapshot).await)?;
    }
    let untouched = make();
    feed(law, ctx, &*untouched, first).await?;
    let wanted = feed(law, ctx, &*untouched, rest).await?;
    let found = feed(law, ctx, &*detector, rest).await?;
    law.hold(found == wanted, || "after it was refused, the detector finds something else".to_owned())
}

/// Law 5.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_5_explains_itself(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    let law = &EXPLAINS;
    let detector = make();
    let found = feed(law, ctx, &*detector, signals).await?;
    law.hold(!found.is_empty(), || "it found nothing in signals that were said to hold something".to_owned())?;
    let known: BTreeSet<&EntityId> = signals
        .iter()
        .flat_map(|batch| {
            let metrics = batch.metrics.iter().map(|signal| &signal.series.entity);
            let logs = batch.logs.iter().map(|signal| &signal.entity);
            let spans = batch.spans.iter().map(|signal| &signal.entity);
            let events = batch.events.iter().map(|signal| &signal.entity);
            metrics.chain(logs).chain(spans).chain(events)
        })
        .collect();
    for anomaly in &found {
        let id = &anomaly.id;
        law.same(&format!("the detector of `{id}`"), &anomaly.detector.as_str(), &detector.name())?;
        law.hold(known.contains(&anomaly.entity), || {
            format!("`{id}` is about `{}`, who sent nothing", anomaly.entity)
        })?;
        law.hold(anomaly.score > Score::ZERO, || format!("`{id}` has score 0"))?;
        law.hold(!anomaly.because.trim().is_empty(), || format!("`{id}` does not say why"))?;
    }
    Ok(())
}

/// Law 6: after each batch with which episodes began, all entities that have some are gone, one after the other.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_6_ends_what_is_gone(ctx: &Ctx, make: Make<'_>, signals: &[SignalBatch]) -> Lawful {
    let law = &ENDS;
    let detector = make();
    let mut open = BTreeMap::new();
    for n in 0..signals.len() {
        let found = feed(law, ctx, &*detector, &signals[n..=n]).await?;
        let began = found.iter().any(|anomaly| anomaly.phase == Phase::Began);
        follow(&mut open, &found);
        if began && !open.is_empty() {
            let detector = make();
            feed(law, ctx, &*detector, &signals[..=n]).await?;
            let at = found.iter().map(|anomaly| anomaly.at).max().unwrap_or_default();
            take_away(ctx, &*detector, open.clone(), at).await?;
        }
    }
    Ok(())
}

/// The entities of the episodes that go on.
fn follow(open: &mut BTreeMap<AnomalyId, EntityId>, found: &[Anomaly]) {
    for anomaly in found {
        match anomaly.phase {
            Phase::Began => drop(open.insert(anomaly.id.clone(), anomaly.entity.clone())),
            Phase::Grew => {}
            Phase::Ended => drop(open.remove(&anomaly.id)),
        }
    }
}

async fn take_away(
    ctx: &Ctx,
    detector: &dyn Detector,
    mut open: BTreeMap<AnomalyId, EntityId>,
    at: Timestamp,
) -> Lawful {
    let law = &ENDS;
    let entities: BTreeSet<EntityId> = open.values().cloned().collect();
    for entity in entities {
        let gone = Gone { entity: entity.clone(), at, reason: GoneReason::ScaledIn };
        let batch = SignalBatch { gone: vec![gone], ..SignalBatch::default() };
        let ended = feed(law, ctx, detector, std::slice::from_ref(&batch)).await?;
        for anomaly in &ended {
            let id = &anomaly.id;
            law.same(&format!("the phase of `{id}`"), &anomaly.phase, &Phase::Ended)?;
            law.same(&format!("the entity of `{id}`"), &anomaly.entity, &entity)?;
            law.hold(open.remove(id).is_some(), || format!("`{id}` ended without having begun"))?;
            law.hold(anomaly.because.starts_with("gone: "), || format!("`{id}` ended because `{}`", anomaly.because))?;
            law.hold(anomaly.onset <= anomaly.at, || format!("`{id}` ended before it began"))?;
        }
        law.hold(!open.values().any(|of| *of == entity), || format!("an episode of `{entity}` is still open"))?;
        let again = feed(law, ctx, detector, &[batch]).await?;
        law.hold(again.is_empty(), || format!("what is gone already ends again: {again:?}"))?;
    }
    Ok(())
}
