//! Prints what a reader wants to know, as it is recorded.

use incident_response::core::journal::{Body, Event, Fact, Record, Report};
use incident_response::core::{IncidentState, Phase, Verdict};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Tells every record until there are no more.
pub(crate) async fn tell(mut records: Receiver<Record>) {
    let mut failing: Vec<String> = Vec::new();
    loop {
        match records.recv().await {
            Ok(record) => {
                for line in lines(&record, &mut failing) {
                    println!("{} {line}", record.at.wall);
                }
            }
            Err(RecvError::Lagged(n)) => println!("({n} records went by too fast to be told)"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// `failing` is what does not answer, so that it is told when it changes and not each time.
fn lines(record: &Record, failing: &mut Vec<String>) -> Vec<String> {
    match &record.body {
        Body::Event(Event::Observed(seen)) => {
            let mut lines: Vec<String> = Vec::new();
            for anomaly in &seen.anomalies {
                match anomaly.phase {
                    Phase::Began => lines.push(format!("  sees: {}", anomaly.because)),
                    Phase::Ended => lines.push(format!("  over: {} of {}", anomaly.subject, anomaly.entity)),
                    Phase::Grew => {}
                }
            }
            let now: Vec<String> = seen.failures.iter().map(ToString::to_string).collect();
            if now != *failing {
                lines.extend(now.iter().map(|failure| format!("  cannot see: {failure}")));
                if now.is_empty() {
                    lines.push("  sees again".to_owned());
                }
                *failing = now;
            }
            lines
        }
        Body::Fact(Fact::IncidentOpened { incident, because, .. }) => {
            vec![format!("{incident} opens: {}", because.join("; "))]
        }
        Body::Event(Event::Reported { report: Report::Diagnosed(hypothesis), .. }) => match hypothesis.leading() {
            Some(cause) => vec![format!("  suspects {}, probability {}", cause.entity, cause.probability)],
            None => vec![format!("  suspects nobody: {}", hypothesis.abstains.as_deref().unwrap_or("no evidence"))],
        },
        Body::Fact(Fact::PlanAccepted { plan, .. }) => {
            plan.steps.iter().map(|step| format!("  would do: {}, because {}", step.call, plan.because)).collect()
        }
        Body::Fact(Fact::Decided(decision)) if decision.verdict != Verdict::Recommend => {
            vec![format!("  decided: {}", decision.verdict)]
        }
        Body::Fact(Fact::IncidentMoved { incident, to: IncidentState::HandedOver, because }) => {
            vec![format!("{incident} is yours: {because}")]
        }
        Body::Fact(Fact::IncidentMoved { incident, to: IncidentState::Closed, because }) => {
            vec![format!("{incident} closes: {because}")]
        }
        _ => Vec::new(),
    }
}
