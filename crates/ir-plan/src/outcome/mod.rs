//! Whether a step helped: from the signals alone, never from the executor.

use async_trait::async_trait;
use ir_core::{Check, Comparison, Ctx, Holds, Limit, Measured, PartName, Phase, Reading, Result, Verified, Verifier};

/// Looks whether the incident's anomalies have ended and the limits of the plan hold.
///
/// Only what was measured after the effect counts. A target of which no series, or a limit of whose metric no series has a
/// sample since then is a missing signal: the answer is `Unknown` then, never `Yes`. Of several series of one metric those that
/// fell silent are passed over, since what is started again often goes on under other labels.
#[derive(Debug, Clone)]
pub struct SignalVerifier {
    name: PartName,
}

impl Default for SignalVerifier {
    fn default() -> Self {
        Self::new()
    }
}

impl SignalVerifier {
    /// The verifier has nothing to set: limits are in the plan.
    #[must_use]
    pub fn new() -> Self {
        Self { name: PartName::literal("signals") }
    }
}

#[async_trait]
impl Verifier for SignalVerifier {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    async fn verify(&self, _ctx: &Ctx, check: &Check) -> Result<Verified> {
        let mut readings = Vec::new();
        if check.verification.anomalies_end {
            readings.push(fresh(check));
            readings.push(anomalies(check));
        }
        readings.extend(check.verification.limits.iter().map(|limit| measured(check, limit)));
        let holds = readings.iter().map(|reading| reading.holds).fold(Holds::Yes, worse);
        let holds = if readings.is_empty() { Holds::Unknown } else { holds };
        let because = match readings.iter().find(|reading| reading.holds == holds && holds != Holds::Yes) {
            None if readings.is_empty() => "nothing was demanded, so nothing can be told".to_owned(),
            None => "all that was demanded holds".to_owned(),
            Some(reading) if reading.holds == Holds::Unknown => format!("{}: not measured since", reading.what),
            Some(reading) => format!("{}: {:.4} against {:.4}", reading.what, reading.value, reading.limit),
        };
        Ok(Verified { by: self.name.clone(), holds, readings, because })
    }
}

const fn worse(a: Holds, b: Holds) -> Holds {
    match (a, b) {
        (Holds::No, _) | (_, Holds::No) => Holds::No,
        (Holds::Unknown, _) | (_, Holds::Unknown) => Holds::Unknown,
        (Holds::Yes, Holds::Yes) => Holds::Yes,
    }
}

/// The target must have been measured since the effect: an entity that fell silent shows no anomalies either.
fn fresh(check: &Check) -> Reading {
    let since = check
        .observations
        .series
        .iter()
        .filter(|history| history.series.entity == check.call.target)
        .filter_map(|history| history.times.last())
        .filter(|at| **at > check.applied)
        .count();
    #[expect(clippy::cast_precision_loss, reason = "a count of series")]
    let value = Measured(since as f64);
    Reading {
        what: format!("series of `{}` measured since the effect", check.call.target),
        value,
        limit: Measured(1.0),
        holds: if since > 0 { Holds::Yes } else { Holds::Unknown },
    }
}

fn anomalies(check: &Check) -> Reading {
    let ongoing = check.incident.anomalies.iter().filter(|a| a.phase != Phase::Ended).count();
    #[expect(clippy::cast_precision_loss, reason = "a count of anomalies")]
    let value = Measured(ongoing as f64);
    Reading {
        what: "anomalies that go on".to_owned(),
        value,
        limit: Measured(0.0),
        holds: if ongoing == 0 { Holds::Yes } else { Holds::No },
    }
}

/// The worst of the latest values of all series of that metric that were measured since the effect.
fn measured(check: &Check, limit: &Limit) -> Reading {
    let entity = limit.entity.as_ref().unwrap_or(&check.call.target);
    let since = check
        .observations
        .series
        .iter()
        .filter(|history| history.series.entity == *entity && history.series.metric == limit.metric)
        .filter_map(|history| {
            let (at, value) = (history.times.last()?, history.values.last()?);
            (*at > check.applied && !value.is_nan()).then_some(*value)
        });
    let (worst, sign) = match limit.is {
        Comparison::AtMost => (since.reduce(f64::max), "at most"),
        Comparison::AtLeast => (since.reduce(f64::min), "at least"),
    };
    let holds = match (worst, limit.is) {
        (None, _) => Holds::Unknown,
        (Some(value), Comparison::AtMost) if value <= limit.value.0 => Holds::Yes,
        (Some(value), Comparison::AtLeast) if value >= limit.value.0 => Holds::Yes,
        (Some(_), _) => Holds::No,
    };
    Reading {
        what: format!("`{}` of `{entity}`, {sign} {}", limit.metric, limit.value),
        value: Measured(worst.unwrap_or(f64::NAN)),
        limit: limit.value,
        holds,
    }
}

#[cfg(test)]
mod tests;
