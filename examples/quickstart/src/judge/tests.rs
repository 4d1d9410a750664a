//! Hand-made runs: one that is right, and each way of being wrong.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::records::EffectKind;

fn at(secs: f64) -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap() + SignedDuration::from_secs_f64(secs)
}

/// 50 requests in each second of `-22..until`; `broken` says which seconds from the fault on fail.
fn clients(until: i64, broken: impl Fn(i64) -> bool) -> Vec<ClientRecord> {
    let mut records = Vec::new();
    for second in -22..until {
        for number in 0..50 {
            let failed = second >= 0 && broken(second) && number % 2 == 0;
            let status = if failed { 502 } else { 200 };
            let due = at(second as f64) + SignedDuration::from_millis(20 * number);
            records.push(ClientRecord {
                at: due,
                latency_ms: 40.0 + number as f64 / 10.0,
                status: Some(status),
                error: None,
            });
        }
    }
    records
}

fn effect(kind: EffectKind, service: &str, by: &str, secs: f64) -> Effect {
    Effect {
        seq: 1,
        at: at(secs),
        kind,
        service: service.to_owned(),
        key: "k".to_owned(),
        token: Some(1),
        by: by.to_owned(),
        from_version: "1.2.0".to_owned(),
        to_version: "1.1.0".to_owned(),
        generation: 3,
        ok: true,
    }
}

fn report() -> ResponderReport {
    ResponderReport {
        replay_identical: Some(true),
        open_steps: Vec::new(),
        detected_at: Some(at(1.5).to_string()),
        cause: Some("orders".to_owned()),
        cause_path: vec!["orders".to_owned(), "gateway".to_owned()],
        action: Some("rollback".to_owned()),
        journal_verified: Some(true),
    }
}

/// A run of which every part can be spoiled.
struct Case {
    fault: Fault,
    healer: Healer,
    clients: Vec<ClientRecord>,
    effects: Vec<Effect>,
    responder: Option<ResponderReport>,
}

impl Case {
    /// The bad deploy of orders, rolled back after 3.2 s; clients suffered in seconds 0 to 3.
    fn right() -> Self {
        Self {
            fault: Fault::BadDeploy,
            healer: Healer::Responder,
            clients: clients(12, |second| second < 4),
            effects: vec![
                effect(EffectKind::Deploy, "ledger", "director", -2.0),
                effect(EffectKind::Deploy, "orders", "director", 0.0),
                effect(EffectKind::Rollback, "orders", "responder", 3.2),
            ],
            responder: Some(report()),
        }
    }

    fn none() -> Self {
        Self {
            fault: Fault::None,
            clients: clients(12, |_| false),
            effects: vec![effect(EffectKind::Deploy, "ledger", "director", 0.0)],
            responder: Some(ResponderReport { cause: None, ..report() }),
            ..Self::right()
        }
    }

    fn judge(&self) -> Judgement {
        judge(&Evidence {
            fault: self.fault,
            target: "orders",
            fault_at: at(0.0),
            healer: self.healer,
            clients: &self.clients,
            effects: &self.effects,
            responder: self.responder.as_ref(),
            first_alert: None,
        })
    }

    #[track_caller]
    fn is_wrong_because(&self, word: &str) {
        let judgement = self.judge();
        assert!(!judgement.right);
        assert!(judgement.reasons.iter().any(|reason| reason.contains(word)), "{:?}", judgement.reasons);
    }
}

#[test]
fn a_right_run_is_right_and_its_figures_are_those_of_the_records() {
    let judgement = Case::right().judge();
    assert_eq!(judgement.reasons, Vec::<String>::new());
    assert!(judgement.right);
    assert_eq!(judgement.outage_bins, 4);
    assert_eq!(judgement.left_after_s, Some(0.0));
    assert_eq!(judgement.recovered_after_s, Some(4.0));
    assert_eq!(judgement.acted_after_s, Some(3.2));
    assert_eq!(judgement.detected_after_s, Some(1.5));
    assert_eq!(judgement.cause_right, Some(true));
    assert_eq!(judgement.effects.len(), 1);
    assert_eq!(judgement.n_bins, 12);
    // Latencies are 40.0 to 44.9 in every bin; the 48th of 50 is 44.7.
    let range = judgement.range.unwrap();
    assert!((range.usual_p95_ms - 44.7).abs() < 1e-9 && (range.max_p95_ms - 89.4).abs() < 1e-9);
}

#[test]
fn doing_nothing_is_wrong_when_something_is_broken() {
    let mut case = Case::right();
    case.effects.truncate(2);
    case.is_wrong_because("nothing was done");
}

#[test]
fn the_wrong_service_the_wrong_remedy_and_a_second_effect_are_wrong() {
    let mut case = Case::right();
    case.effects[2].service = "gateway".to_owned();
    case.is_wrong_because("touched gateway, but orders is broken");

    let mut case = Case::right();
    case.effects[2].kind = EffectKind::Restart;
    case.is_wrong_because("restart does not heal bad-deploy");

    let mut case = Case::right();
    case.effects.push(effect(EffectKind::Rollback, "orders", "responder", 5.0));
    case.is_wrong_because("2 effects where one heals");
}

#[test]
fn an_effect_that_failed_or_came_early_or_from_somebody_else_is_wrong() {
    let mut case = Case::right();
    case.effects[2].ok = false;
    case.is_wrong_because("failed");

    let mut case = Case::right();
    case.effects[2].at = at(-0.5);
    case.is_wrong_because("before anything was broken");

    let mut case = Case::right();
    case.effects[2].by = "person".to_owned();
    case.is_wrong_because("not by the one who heals here");
}

#[test]
fn clients_must_be_back_for_five_seconds_in_a_row() {
    let mut case = Case::right();
    case.clients = clients(30, |second| second < 4 || second % 5 == 0);
    case.is_wrong_because("not back");
    case.clients = clients(9, |second| second < 4);
    assert!(case.judge().right, "seconds 4 to 8 are inside");
    case.clients.pop();
    assert_eq!(case.judge().n_bins, 8, "the last bin is cut short and does not count");
    case.is_wrong_because("not back");
}

#[test]
fn one_error_of_fifty_or_a_p95_above_twice_the_usual_is_outside() {
    let range = Range { usual_p95_ms: 45.0, max_p95_ms: 90.0, max_error_ratio: 0.01 };
    assert!(range.holds(&Bin { n: 50, n_errors: 0, p95_ms: 90.0 }));
    assert!(!range.holds(&Bin { n: 50, n_errors: 0, p95_ms: 90.1 }));
    assert!(!range.holds(&Bin { n: 50, n_errors: 1, p95_ms: 45.0 }));
    assert!(range.holds(&Bin { n: 100, n_errors: 1, p95_ms: 45.0 }));
    assert!(!range.holds(&Bin { n: 0, n_errors: 0, p95_ms: 0.0 }), "a second without requests is no good second");
}

#[test]
fn slow_answers_count_as_outage_like_errors_do() {
    let mut case = Case::right();
    case.fault = Fault::Slow;
    case.clients = clients(12, |_| false);
    for record in &mut case.clients {
        if record.at >= at(0.0) && record.at < at(4.0) {
            record.latency_ms += 500.0;
        }
    }
    let judgement = case.judge();
    assert!(judgement.right, "{:?}", judgement.reasons);
    assert_eq!(judgement.outage_bins, 4);
}

#[test]
fn a_missing_report_or_journal_or_cause_is_wrong_and_says_so() {
    let mut case = Case::right();
    case.responder = None;
    case.is_wrong_because("left no report");
    case.responder = Some(ResponderReport { journal_verified: Some(false), ..report() });
    case.is_wrong_because("does not verify");
    case.responder = Some(ResponderReport { journal_verified: None, ..report() });
    case.is_wrong_because("does not say");
    case.responder = Some(ResponderReport { cause: None, ..report() });
    case.is_wrong_because("names no cause");
}

#[test]
fn a_wrong_cause_is_reported_even_when_the_right_thing_was_done() {
    let mut case = Case::right();
    case.responder = Some(ResponderReport { cause: Some("gateway".to_owned()), ..report() });
    let judgement = case.judge();
    assert_eq!((judgement.right, judgement.cause_right), (true, Some(false)));
}

#[test]
fn with_nothing_broken_only_doing_nothing_is_right() {
    let case = Case::none();
    assert!(case.judge().right, "{:?}", case.judge().reasons);
    let mut case = Case::none();
    case.effects.push(effect(EffectKind::Restart, "orders", "responder", 9.0));
    case.is_wrong_because("nothing was broken");
    let mut case = Case::none();
    case.responder = None;
    case.is_wrong_because("left no report");
}

#[test]
fn a_person_needs_no_journal_but_must_be_as_right() {
    let mut case = Case::right();
    case.healer = Healer::Person;
    case.responder = None;
    case.effects[2].by = "person".to_owned();
    assert!(case.judge().right, "{:?}", case.judge().reasons);
    case.effects.push(effect(EffectKind::Rollback, "orders", "responder", 5.0));
    case.is_wrong_because("not by the one who heals here");
}

#[test]
fn too_few_seconds_before_the_fault_cannot_be_judged() {
    let mut case = Case::right();
    case.clients.retain(|record| record.at > at(-15.0));
    case.is_wrong_because("s before the fault");
}

#[test]
fn who_heals_before_clients_suffer_must_still_show_five_good_seconds() {
    assert_eq!(back_at(&[true; 12], None), None, "nothing happened yet");
    assert_eq!(back_at(&[true; 12], Some(7.9)), Some(0), "bins 7 to 11");
    assert_eq!(back_at(&[true; 11], Some(7.9)), None);
}

#[test]
fn a_fault_left_alone_is_seen_to_stay() {
    let mut case = Case::right();
    case.effects.truncate(2);
    case.healer = Healer::Nobody;
    case.clients = clients(30, |second| second >= 3);
    let judgement = case.judge();
    assert_eq!((judgement.left_after_s, judgement.stayed_out), (Some(3.0), true));
    case.clients = clients(30, |second| second >= 3 && second != 20);
    assert!(!case.judge().stayed_out);
}
