//! Drawing a lesson from a closed incident. Pure: the same incident teaches the same.

use ir_core::{EntityId, Incident, Lesson, LessonId, Timestamp, Tried};

/// What `incident`, over at `at`, teaches; `cause` was blamed last, `tried` is what was done, in order.
#[must_use]
pub fn draw(incident: &Incident, cause: Option<EntityId>, tried: Vec<Tried>, at: Timestamp) -> Lesson {
    let mut symptoms: Vec<_> = incident.anomalies.iter().map(|a| (a.entity.clone(), a.symptom)).collect();
    symptoms.sort();
    symptoms.dedup();
    Lesson {
        id: LessonId::of(&incident.id),
        incident: incident.id.clone(),
        at,
        class: incident.classification.as_ref().map(|c| c.class.clone()),
        cause,
        symptoms,
        tried,
        lasted_ms: u64::try_from(at.since(incident.onset).as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use ir_core::anomaly::{Phase, Symptom};
    use ir_core::{ClassName, Provenance, Recovery};

    use super::*;
    use crate::samples::{anomaly, at, call, classification, id, incident};

    #[test]
    fn a_lesson_says_who_showed_what_once_and_sorted() {
        let mut incident = incident(vec![
            anomaly("web", Symptom::Errors, Phase::Ended),
            anomaly("db", Symptom::Latency, Phase::Began),
            anomaly("web", Symptom::Errors, Phase::Grew),
            anomaly("web", Symptom::Latency, Phase::Ended),
        ]);
        incident.classification = Some(classification("errors", 0.9));
        let provenance = Provenance::Playbook { name: "b".to_owned(), version: 2 };
        let tried =
            |action: &str, recovery| Tried { call: call(action, "db"), provenance: provenance.clone(), recovery };
        let both = vec![tried("restart", Recovery::NotRecovered), tried("clear", Recovery::Recovered)];
        let lesson = draw(&incident, Some(id("db")), both.clone(), at(130));
        let symptoms: Vec<(&str, Symptom)> = lesson.symptoms.iter().map(|(e, s)| (e.as_str(), *s)).collect();
        assert_eq!(symptoms, [("db", Symptom::Latency), ("web", Symptom::Latency), ("web", Symptom::Errors)]);
        assert_eq!((lesson.class, lesson.cause), (Some(ClassName::literal("errors")), Some(id("db"))));
        assert_eq!(lesson.tried, both, "in the order in which it was tried");
        assert_eq!((lesson.id.as_str(), lesson.at, lesson.lasted_ms), ("inc-7/lesson", at(130), 30_000));
        assert_eq!(lesson.incident, incident.id);
    }

    #[test]
    fn a_lesson_of_nothing_known_is_a_lesson_all_the_same() {
        // Closed before its onset, as after a jump of the wall clock.
        let lesson = draw(&incident(vec![]), None, vec![], at(50));
        assert_eq!((&lesson.class, &lesson.cause, lesson.lasted_ms), (&None, &None, 0));
        assert_eq!(lesson, draw(&incident(vec![]), None, vec![], at(50)));
    }
}
