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
