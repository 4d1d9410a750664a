//! Prints what a reader wants to know, as it is recorded.

use incident_response::core::journal::{Body, Event, Fact, GateFact, Record, Report};
use incident_response::core::{IncidentState, Phase};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Tells every record until there are no more, or with `once` until the first incident is over.
pub(crate) async fn tell(mut records: Receiver<Record>, once: bool) {
    loop {
        match records.recv().await {
            Ok(record) => {
                for line in lines(&record) {
                    println!("{} {line}", record.at.wall);
                }
                let is_over = matches!(
                    record.body,
                    Body::Fact(Fact::IncidentMoved { to: IncidentState::Closed | IncidentState::HandedOver, .. })
                );
                if once && is_over {
                    return;
                }
            }
            Err(RecvError::Lagged(n)) => println!("({n} records went by too fast to be told)"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn lines(record: &Record) -> Vec<String> {
    match &record.body {
        Body::Event(Event::Observed(seen)) => {
            let began = seen.anomalies.iter().filter(|anomaly| anomaly.phase == Phase::Began);
            began.map(|anomaly| format!("  sees: {}", anomaly.because)).collect()
        }
        Body::Event(Event::Reported { report: Report::Diagnosed(hypothesis), .. }) => match hypothesis.leading() {
            Some(cause) => vec![format!("  suspects {}, probability {}", cause.entity, cause.probability)],
            None => Vec::new(),
        },
        Body::Fact(Fact::IncidentOpened { incident, because, .. }) => {
            vec![format!("{incident} opens: {}", because.join("; "))]
        }
        Body::Fact(Fact::PlanAccepted { plan, .. }) => {
            plan.steps.iter().map(|step| format!("  would do: {}, because {}", step.call, plan.because)).collect()
        }
        Body::Fact(Fact::StepPreviewed { preview, .. }) => vec![format!("  {}", preview.summary)],
        Body::Fact(Fact::Decided(decision)) => vec![format!("  decided: {}", decision.verdict)],
        Body::Gate(GateFact::Intent(intent)) => vec![format!("  does: {}", intent.call)],
        Body::Fact(Fact::StepMoved { to, because, .. }) => vec![format!("  {to}: {because}")],
        Body::Fact(Fact::IncidentMoved { incident, to: IncidentState::HandedOver, because }) => {
            vec![format!("{incident} is yours: {because}")]
        }
        Body::Fact(Fact::IncidentMoved { incident, to: IncidentState::Closed, because }) => {
            vec![format!("{incident} closes: {because}")]
        }
        _ => Vec::new(),
    }
}
