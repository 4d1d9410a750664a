//! Every document and record survives its text form, and records survive the journal's.

use std::collections::BTreeSet;
use std::fmt::Debug;

use ir_core::journal::{Body, Chain, Event, Fact, GateFact, Report, canonical, decode};
use ir_core::testkit::{samples, strategies};
use ir_core::{Clock, Plan, Topology, TopologyDocument};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value, "{text}");
    let bytes = canonical::to_bytes(value).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&bytes).unwrap(), *value, "{}", String::from_utf8_lossy(&bytes));
    let again = serde_json::from_slice::<T>(&bytes).unwrap();
    assert_eq!(canonical::to_bytes(&again).unwrap(), bytes, "canonical bytes are the same every time");
}

#[test]
fn every_sample_survives_its_text() {
    survives(&samples::incident());
    survives(&samples::hypothesis());
    survives(&samples::case());
    survives(&samples::classification());
    survives(&samples::plan_draft());
    survives(&samples::decision());
    survives(&samples::approval_request());
    survives(&samples::check());
    survives(&samples::lesson());
    survives(&samples::correlation_input());
    survives(&samples::topology());
    survives(&TopologyDocument::from(samples::topology()));
    for record in samples::records() {
        survives(&record);
    }
}

#[test]
fn the_samples_fit_together() {
    let plan = Plan::check(samples::plan_draft(), &samples::catalogue(), &samples::topology()).unwrap();
    assert_eq!(plan.into_draft(), samples::plan_draft());
    let text = "[[entity]]\nid = \"web\"\n";
    assert_eq!(Topology::parse(text, "t.toml").unwrap().entities().len(), 1);
}

/// The kind of a record's content. A new kind breaks this match, and then the count below asks for its sample.
fn kind(body: &Body) -> (&'static str, usize) {
    match body {
        Body::Event(event) => match event {
            Event::Started(_) => ("event", 0),
            Event::TailRepaired(_) => ("event", 1),
            Event::Observed(_) => ("event", 2),
            Event::Reported { report, .. } => match report {
                Report::Correlated { .. } => ("report", 0),
                Report::Diagnosed(_) => ("report", 1),
                Report::Classified(_) => ("report", 2),
                Report::Planned(_) => ("report", 3),
                Report::Previewed { .. } => ("report", 4),
                Report::Asked { .. } => ("report", 5),
                Report::Probed { .. } => ("report", 6),
                Report::Verified { .. } => ("report", 7),
                Report::Kept => ("report", 8),
                Report::Failed(_) => ("report", 9),
            },
            Event::Executed(_) => ("event", 3),
            Event::Answered(_) => ("event", 4),
            Event::Overridden { .. } => ("event", 5),
            Event::TimerFired { .. } => ("event", 6),
            Event::Stopping => ("event", 7),
            Event::SettledByPerson { .. } => ("event", 8),
            Event::Judged { .. } => ("event", 9),
            Event::ClosedByPerson { .. } => ("event", 10),
            Event::PlaybookOrdered { .. } => ("event", 11),
            Event::AutomationResumed { .. } => ("event", 12),
            Event::LeftInFlight { .. } => ("event", 13),
            Event::Dropped { .. } => ("event", 14),
            Event::CarriedOver(_) => ("event", 15),
        },
        Body::Fact(fact) => match fact {
            Fact::IncidentOpened { .. } => ("fact", 0),
            Fact::IncidentGrew { .. } => ("fact", 1),
            Fact::IncidentMoved { .. } => ("fact", 2),
            Fact::HypothesisFormed { .. } => ("fact", 3),
            Fact::PlanAccepted { .. } => ("fact", 4),
            Fact::PlanRejected { .. } => ("fact", 5),
            Fact::StepPreviewed { .. } => ("fact", 6),
            Fact::Decided(_) => ("fact", 7),
            Fact::ApprovalOpened(_) => ("fact", 8),
            Fact::ApprovalCounted(_) => ("fact", 9),
            Fact::AnswerRejected { .. } => ("fact", 10),
            Fact::StepMoved { .. } => ("fact", 11),
            Fact::AttemptCleared { .. } => ("fact", 12),
            Fact::AttemptUnknown { .. } => ("fact", 13),
            Fact::OutcomeReached(_) => ("fact", 14),
            Fact::LessonDrawn(_) => ("fact", 15),
            Fact::Degraded { .. } => ("fact", 16),
            Fact::PlanRevised { .. } => ("fact", 17),
            Fact::ApprovalDelivered { .. } => ("fact", 18),
            Fact::OrderRejected { .. } => ("fact", 19),
            Fact::StepDelayed { .. } => ("fact", 20),
            Fact::AttemptFound { .. } => ("fact", 21),
        },
        Body::Gate(fact) => match fact {
            GateFact::Claimed { .. } => ("gate", 0),
            GateFact::Intent(_) => ("gate", 1),
            GateFact::Refused { .. } => ("gate", 2),
            GateFact::Fenced(_) => ("gate", 3),
            GateFact::Halted(_) => ("gate", 4),
            GateFact::Resumed { .. } => ("gate", 5),
            GateFact::Checkpoint(_) => ("gate", 6),
        },
        Body::Spilled { .. } => ("spilled", 0),
    }
}

#[test]
fn there_is_a_sample_of_every_kind_of_record() {
    let kinds: BTreeSet<_> = samples::records().iter().map(|record| kind(&record.body)).collect();
    assert_eq!(kinds.len(), 16 + 10 + 22 + 7 + 1);
}

proptest! {
    #[test]
    fn nouns_survive_their_text(
        anomaly in strategies::anomalies(),
        call in strategies::calls(),
        change in strategies::changes(),
        moment in strategies::moments(),
        labels in strategies::labels(),
        verdict in strategies::verdicts(),
        limits in strategies::limits(),
        people in strategies::people(),
    ) {
        survives(&anomaly);
        survives(&call);
        survives(&change);
        survives(&moment);
        survives(&labels);
        survives(&verdict);
        survives(&limits);
        survives(&people);
    }

    #[test]
    fn records_survive_their_text(record in strategies::records()) {
        survives(&record);
    }
}

#[test]
fn whole_numbers_beyond_what_json_readers_keep_are_refused_and_never_changed() {
    let mut plan = samples::plan_draft();
    plan.steps[0].timeout_ms = u64::MAX;
    let body = || {
        Body::Event(Event::Reported {
            command: ir_core::journal::CommandId(1),
            report: Report::Planned(ir_core::plan::Planned { by: "p".parse().unwrap(), drafts: vec![plan.clone()] }),
        })
    };
    let mut chain = Chain::default();
    let at = ir_core::ManualClock::new().now();
    match chain.encode(&at, vec![body()]) {
        // Refused is right; what is taken must read back as it was.
        Err(error) => assert_eq!(error.kind(), ir_core::ErrorKind::InvalidInput, "{error}"),
        Ok((records, encoded, _)) => assert_eq!(decode(&encoded[0]).unwrap(), records[0]),
    }
    assert_eq!(chain, Chain::default(), "a refused record leaves the chain as it was");
}
