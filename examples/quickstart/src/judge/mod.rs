//! Was it right? Decided from what the shop and the clients wrote down, and only the journal from the responder.

mod bins;
#[cfg(test)]
mod tests;

pub(crate) use bins::{Bin, Range, cut, index_of};

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::seconds_between;
use crate::fault::Fault;
use crate::records::{ClientRecord, Effect, ResponderReport};

/// Clients are back when so many bins in a row are inside the range.
pub(crate) const BACK_BINS: usize = 5;
/// The range is learned from so many bins before the fault.
pub(crate) const LEARN_BINS: usize = 20;
/// Who is supposed to heal in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Healer {
    Responder,
    Person,
    Nobody,
}

impl Healer {
    /// The name under which it acts in the shop.
    pub(crate) fn actor(self) -> Option<&'static str> {
        match self {
            Self::Responder => Some("responder"),
            Self::Person => Some("person"),
            Self::Nobody => None,
        }
    }
}

/// All that the verdict rests on.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) fault: Fault,
    pub(crate) target: &'a str,
    /// When it broke; with [`Fault::None`], when the harmless deploy was.
    pub(crate) fault_at: Timestamp,
    pub(crate) healer: Healer,
    pub(crate) clients: &'a [ClientRecord],
    pub(crate) effects: &'a [Effect],
    pub(crate) responder: Option<&'a ResponderReport>,
    pub(crate) first_alert: Option<Timestamp>,
}

/// The verdict, with its reasons and the figures of the run. Times are seconds from the fault on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Judgement {
    pub(crate) right: bool,
    /// Why it is not right; empty when it is.
    pub(crate) reasons: Vec<String>,
    pub(crate) detected_after_s: Option<f64>,
    pub(crate) acted_after_s: Option<f64>,
    /// From when on clients were inside the range again; 0 if they never left it.
    pub(crate) recovered_after_s: Option<f64>,
    /// When clients left the range.
    pub(crate) left_after_s: Option<f64>,
    /// Whether every bin from then on was outside.
    pub(crate) stayed_out: bool,
    /// What clients suffered: bins outside the range from the fault on.
    pub(crate) outage_bins: usize,
    pub(crate) n_bins: usize,
    pub(crate) range: Option<Range>,
    /// Everything done to the services by anybody but the director.
    pub(crate) effects: Vec<Effect>,
    pub(crate) cause: Option<String>,
    pub(crate) cause_right: Option<bool>,
    pub(crate) cause_path: Vec<String>,
    pub(crate) action: Option<String>,
    pub(crate) journal_verified: Option<bool>,
    pub(crate) replay_identical: Option<bool>,
}

/// Decides. Effects of the director itself (the harmless deploy, a bad one) are the run, not its answer.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Judgement {
    let mut reasons = Vec::new();
    let effects: Vec<Effect> = evidence.effects.iter().filter(|effect| effect.by != "director").cloned().collect();
    let acted = effects.first().map(|effect| seconds_between(evidence.fault_at, effect.at));

    let before = cut(evidence.clients, evidence.fault_at, -(LEARN_BINS as i64)..0);
    let range = match Range::learn(&before) {
        Ok(range) => Some(range),
        Err(why) => {
            reasons.push(why);
            None
        }
    };
    let after =
        cut(evidence.clients, evidence.fault_at, 0..bins::n_whole(evidence.clients, evidence.fault_at, &before));
    let inside: Vec<bool> = after.iter().map(|bin| range.is_some_and(|range| range.holds(bin))).collect();
    let left = inside.iter().position(|inside| !inside);
    let back = back_at(&inside, acted);

    let report = evidence.responder;
    let cause = report.and_then(|report| report.cause.clone());
    let cause_right = cause.as_ref().map(|cause| cause == evidence.target);
    let journal_verified = report.and_then(|report| report.journal_verified);

    judge_effects(evidence, &effects, &mut reasons);
    if evidence.fault != Fault::None && back.is_none() {
        reasons.push(format!("clients were not back in the pre-fault range for {BACK_BINS} s"));
    }
    if evidence.healer == Healer::Responder {
        match (report, journal_verified) {
            (None, _) => reasons.push("the responder left no report".to_owned()),
            (Some(_), None) => reasons.push("the responder does not say whether its journal verifies".to_owned()),
            (Some(_), Some(false)) => reasons.push("the journal does not verify".to_owned()),
            (Some(_), Some(true)) => {}
        }
        if report.is_some_and(|report| report.replay_identical == Some(false)) {
            reasons.push("deciding again offline comes to something else".to_owned());
        }
        for step in report.iter().flat_map(|report| &report.open_steps) {
            reasons.push(format!("step {step} did not come to an end"));
        }
        if evidence.fault != Fault::None && report.is_some() && cause.is_none() {
            reasons.push("the responder names no cause".to_owned());
        }
    }
    let detected = report.and_then(ResponderReport::detected).or(evidence.first_alert);
    Judgement {
        right: reasons.is_empty(),
        reasons,
        detected_after_s: detected.map(|at| seconds_between(evidence.fault_at, at)),
        acted_after_s: acted,
        recovered_after_s: back.map(|bin| bin as f64),
        left_after_s: left.map(|bin| bin as f64),
        stayed_out: left.is_some_and(|left| inside[left..].iter().all(|inside| !inside)),
        outage_bins: inside.iter().filter(|inside| !**inside).count(),
        n_bins: after.len(),
        range,
        effects,
        cause,
        cause_right,
        cause_path: report.map(|report| report.cause_path.clone()).unwrap_or_default(),
        action: report.and_then(|report| report.action.clone()),
        journal_verified,
        replay_identical: report.and_then(|report| report.replay_identical),
    }
}

/// Acceptable is exactly one effect, the remedy of the fault on the service that is broken, by whoever heals here.
fn judge_effects(evidence: &Evidence<'_>, effects: &[Effect], reasons: &mut Vec<String>) {
    let Some(remedy) = evidence.fault.remedy() else {
        for effect in effects {
            reasons.push(format!("nothing was broken, but {} did: {}", effect.by, describe(effect)));
        }
        return;
    };
    if effects.is_empty() {
        reasons.push("nothing was done".to_owned());
    }
    if effects.len() > 1 {
        reasons.push(format!("{} effects where one heals", effects.len()));
    }
    for effect in effects {
        if effect.service != evidence.target {
            reasons.push(format!(
                "touched {}, but {} is broken: {}",
                effect.service,
                evidence.target,
                describe(effect)
            ));
        } else if effect.kind != remedy {
            reasons.push(format!(
                "{} does not heal {}: {}",
                effect.kind.name(),
                evidence.fault.name(),
                describe(effect)
            ));
        }
        if Some(effect.by.as_str()) != evidence.healer.actor() {
            reasons.push(format!("not by the one who heals here: {}", describe(effect)));
        }
        if !effect.ok {
            reasons.push(format!("failed: {}", describe(effect)));
        }
        if effect.at < evidence.fault_at {
            reasons.push(format!("before anything was broken: {}", describe(effect)));
        }
    }
}

/// An effect in words.
pub(crate) fn describe(effect: &Effect) -> String {
    let Effect { kind, service, from_version, to_version, by, .. } = effect;
    if from_version == to_version {
        format!("{} of {service} ({from_version}) by {by}", kind.name())
    } else {
        format!("{} of {service} ({from_version} to {to_version}) by {by}", kind.name())
    }
}

/// The bin from which on clients are back: the first of [`BACK_BINS`] inside in a row, once they had left the range
/// and once something was done, if it was. `inside` are the bins from the fault on, `acted_secs` counts from there.
/// Who heals before any client suffers has clients that are back at once, but shows it for as long.
pub(crate) fn back_at(inside: &[bool], acted_secs: Option<f64>) -> Option<usize> {
    let left = inside.iter().position(|inside| !inside);
    let acted = acted_secs.map(|secs| secs.max(0.0) as usize);
    let from = match (left, acted) {
        (None, None) => return None,
        (Some(bin), None) | (None, Some(bin)) => bin,
        (Some(left), Some(acted)) => left.max(acted),
    };
    let run = (from..).take_while(|bin| bin + BACK_BINS <= inside.len());
    let back = run.into_iter().find(|bin| inside[*bin..bin + BACK_BINS].iter().all(|inside| *inside))?;
    Some(if left.is_none() { 0 } else { back })
}
