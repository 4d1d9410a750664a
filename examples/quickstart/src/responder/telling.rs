//! The journal told as a story: each record that matters to a reader is one line.

use incident_response::core::journal::{Body, Event, Fact, GateFact, Record};
use incident_response::core::{Anomaly, Direction, IncidentState, Phase, StepState, Timestamp};

/// The line for a record; `None` for those that only machines need.
pub(crate) fn line(record: &Record) -> Option<String> {
    match &record.body {
        Body::Event(event) => of_event(event),
        Body::Fact(fact) => of_fact(fact, record.at.wall),
        Body::Gate(fact) => of_gate(fact),
        Body::Spilled { .. } => None,
    }
}

fn of_event(event: &Event) -> Option<String> {
    match event {
        Event::Observed(observed) => {
            let began = observed.anomalies.iter().filter(|a| a.phase == Phase::Began);
            let lines: Vec<String> = began.map(sighting).collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        }
        Event::TailRepaired(repair) => Some(format!("cut {} bytes of an unfinished record", repair.bytes)),
        _ => None,
    }
}

/// `sees inventory: error_ratio:own is 0.219, usually 0.000`
fn sighting(anomaly: &Anomaly) -> String {
    let peer = anomaly.peer.as_ref().map(|peer| format!(" of calls to {peer}")).unwrap_or_default();
    let (subject, seen, expected) = (&anomaly.subject, anomaly.seen, anomaly.expected);
    format!("sees {}: {subject}{peer} is {seen:.3}, usually {expected:.3}", anomaly.entity)
}

fn of_fact(fact: &Fact, at: Timestamp) -> Option<String> {
    Some(match fact {
        Fact::IncidentOpened { incident, anomalies, onset, .. } => {
            let secs = at.since(*onset).as_secs_f64();
            format!("opens {incident}: {} anomalies, the first {secs:.1} s ago", anomalies.len())
        }
        Fact::HypothesisFormed { suspect: Some(suspect), .. } => format!("thinks it is {}", suspect.entity),
        Fact::HypothesisFormed { suspect: None, .. } => "cannot tell the cause yet".to_owned(),
        Fact::PlanAccepted { plan, .. } => {
            let calls: Vec<String> = plan.steps.iter().map(|step| step.call.to_string()).collect();
            format!("plans {} ({}, confidence {})", calls.join(", then "), plan.provenance, plan.confidence)
        }
        Fact::PlanRejected { problems, .. } => format!("drops a plan: {}", problems.join("; ")),
        Fact::Decided(decision) => {
            let nearest = decision.nearest.as_deref().map(|text| format!("; {text}")).unwrap_or_default();
            format!("decides: {} at tier {}{nearest}", decision.verdict, decision.tier.short())
        }
        Fact::StepMoved { to: StepState::Done, because, .. } => format!("verified: {because}"),
        Fact::StepMoved { to: to @ (StepState::Applied | StepState::RolledBack), because, .. } => {
            format!("{}: {because}", if *to == StepState::Applied { "did it" } else { "took it back" })
        }
        Fact::StepMoved { to, because, .. } if to.is_terminal() => format!("stops there ({to}): {because}"),
        Fact::AttemptUnknown { because, .. } => format!("does not know what became of it ({because}) and finds out"),
        Fact::AnswerRejected { because, .. } => format!("an answer does not count: {because}"),
        Fact::IncidentMoved { incident, to: IncidentState::Closed, because } => format!("closes {incident}: {because}"),
        Fact::IncidentMoved { incident, to: IncidentState::HandedOver, because } => {
            format!("hands {incident} over to people: {because}")
        }
        Fact::LessonDrawn(lesson) => {
            let tried: Vec<String> = lesson.tried.iter().map(|t| format!("{} ({:?})", t.call, t.recovery)).collect();
            format!(
                "notes for next time: {}",
                if tried.is_empty() { "nothing was done".to_owned() } else { tried.join(", ") }
            )
        }
        Fact::Degraded { what, because } => format!("goes on with less: {what}: {because}"),
        _ => return None,
    })
}

fn of_gate(fact: &GateFact) -> Option<String> {
    Some(match fact {
        GateFact::Intent(intent) => {
            let what = if intent.direction == Direction::Do { "does" } else { "takes back by" };
            format!("{what} {} (attempt {}, recorded first)", intent.call, intent.attempt)
        }
        GateFact::Refused { refusals, .. } => {
            let because: Vec<&str> = refusals.iter().map(|r| r.because.as_str()).collect();
            format!("does not do it: {}", because.join("; "))
        }
        GateFact::Halted(halted) => format!("halted by {}: {}", halted.by, halted.reason),
        GateFact::Resumed { reason, .. } => format!("resumed: {reason}"),
        GateFact::Claimed { .. } | GateFact::Checkpoint(_) | GateFact::Fenced(_) => return None,
    })
}
