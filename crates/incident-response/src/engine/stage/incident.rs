//! Incidents: opened, joined, quiet, handed over, closed.

use std::collections::BTreeMap;

use ir_core::journal::{Fact, Observed};
use ir_core::{
    Anomaly, AnomalyId, Change, Grouping, Incident, IncidentId, IncidentState, PartName, Person, Phase, Placement,
    Severity, StepState,
};

use crate::engine::command::Command;
use crate::engine::machine::{IncidentRun, Machine};
use crate::engine::timer::TimerKey;

/// Changes that are kept, however many come.
const MAX_CHANGES: usize = 512;
/// Changes an incident carries.
const MAX_INCIDENT_CHANGES: usize = 32;
/// Anomalies an incident holds. Those that are over make room first; for what is left out there is one note an incident.
const MAX_INCIDENT_ANOMALIES: usize = 1024;
/// Anomalies that wait for an incident; the oldest names are dropped first, and that is noted.
const MAX_PENDING: usize = 4096;

impl Machine {
    pub(crate) fn on_observed(&mut self, observed: &Observed) {
        self.take_changes(&observed.changes);
        let mut touched: Vec<IncidentId> = Vec::new();
        for anomaly in &observed.anomalies {
            match self.incidents.values_mut().find_map(|run| holds(&mut run.incident, &anomaly.id)) {
                Some((incident, known)) => {
                    *known = anomaly.clone();
                    touched.push(incident.clone());
                    if let Some(run) = self.incidents.get_mut(&incident) {
                        run.forgotten.retain(|id| *id != anomaly.id);
                    }
                }
                None if anomaly.phase == Phase::Ended => {
                    self.pending.remove(&anomaly.id);
                    self.dismissed.remove(&anomaly.id);
                }
                // A person closed its incident, so it opens no other until it has ended.
                None if self.dismissed.contains(&anomaly.id) => {}
                None => {
                    self.pending.insert(anomaly.id.clone(), anomaly.clone());
                }
            }
        }
        let excess = self.pending.len().saturating_sub(MAX_PENDING);
        for _ in 0..excess {
            self.pending.pop_first();
        }
        if excess > 0 {
            let because = format!("more than {MAX_PENDING} anomalies wait for an incident, {excess} were dropped");
            self.degraded("correlation", because);
        }
        for incident in touched {
            self.watch_quiet(&incident);
        }
        self.correlate();
    }

    /// Asks where pending anomalies belong, unless that is being asked.
    fn correlate(&mut self) {
        if !self.pending.is_empty() && !self.waits_for(|c| matches!(c, Command::Correlate { .. })) {
            let anomalies = self.pending.values().cloned().collect();
            self.command(Command::Correlate { anomalies });
        }
    }

    fn take_changes(&mut self, changes: &[Change]) {
        let oldest = self.wall().minus(std::time::Duration::from_millis(self.settings().changes_for_ms));
        self.changes.extend(changes.iter().cloned());
        self.changes.retain(|change| change.at >= oldest);
        self.changes.sort_by(|a, b| (a.at, &a.entity).cmp(&(b.at, &b.entity)));
        self.changes.dedup();
        let excess = self.changes.len().saturating_sub(MAX_CHANGES);
        self.changes.drain(..excess);
        let known = self.changes.clone();
        for run in self.incidents.values_mut() {
            run.incident.changes = near(&known);
        }
    }

    /// Detectors that started anew will never report the end of what they reported before. What they do not report again
    /// within the time it takes to learn counts as over.
    pub(crate) fn await_forgotten(&mut self, forgetful: &[PartName]) {
        let mut waiting = Vec::new();
        for (id, run) in &mut self.incidents {
            let unknown = run.incident.ongoing().filter(|a| forgetful.contains(&a.detector)).map(|a| a.id.clone());
            run.forgotten = unknown.collect();
            if !run.forgotten.is_empty() {
                waiting.push(id.clone());
            }
        }
        let forget_ms = self.settings().forget_ms;
        for id in waiting {
            self.start_timer(TimerKey::Forget(id), forget_ms);
        }
    }

    pub(crate) fn on_forgotten(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get_mut(id) else { return };
        let forgotten = std::mem::take(&mut run.forgotten);
        let mut ended = Vec::new();
        for anomaly in run.incident.anomalies.iter_mut().filter(|a| forgotten.contains(&a.id)) {
            anomaly.phase = Phase::Ended;
            ended.push(anomaly.id.to_string());
        }
        if !ended.is_empty() {
            let because = format!("its detectors started anew and did not report again: {}", ended.join(", "));
            self.degraded(format!("anomalies of {id}"), because);
            self.watch_quiet(id);
        }
    }

    pub(crate) fn on_correlated(&mut self, asked: &[Anomaly], groupings: &[Grouping]) {
        let mut opening: BTreeMap<&str, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        let mut joining: BTreeMap<IncidentId, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        let mut following: BTreeMap<&IncidentId, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        for grouping in groupings {
            let waits = self.pending.contains_key(&grouping.anomaly) && asked.iter().any(|a| a.id == grouping.anomaly);
            let entry = (&grouping.anomaly, grouping.because.as_str());
            match &grouping.into {
                _ if !waits => {}
                Placement::Ignore => {}
                Placement::Open { key } => opening.entry(key).or_default().push(entry),
                // What a person has takes nothing in by itself: it might be another fault, of which nobody would look for the
                // cause. Once a cause is known, it joins what it belongs to.
                Placement::Join { incident } if self.is_escalated(incident) => match self.follower_of(incident) {
                    Some(follower) => joining.entry(follower).or_default().push(entry),
                    None => following.entry(incident).or_default().push(entry),
                },
                Placement::Join { incident } if self.incidents.contains_key(incident) => {
                    joining.entry(incident.clone()).or_default().push(entry);
                }
                Placement::Join { incident } => {
                    let because = format!("`{incident}` is not open, so `{}` opens one", grouping.anomaly);
                    self.degraded("correlation", because);
                    opening.entry(grouping.anomaly.as_str()).or_default().push(entry);
                }
            }
        }
        for members in opening.values() {
            self.open(members, None);
        }
        for (incident, members) in following {
            self.open(&members, Some(incident));
        }
        for (incident, members) in joining {
            self.join(&incident, members);
        }
    }

    /// The incident at work that gathers what would have joined the escalated one.
    fn follower_of(&self, escalated: &IncidentId) -> Option<IncidentId> {
        let follows = |run: &IncidentRun| run.follows.as_ref() == Some(escalated);
        self.incidents.iter().find(|(id, run)| follows(run) && !self.is_escalated(id)).map(|(id, _)| id.clone())
    }

    /// Both have the same cause, and a person is at work on `into`: they are one incident.
    pub(crate) fn merge(&mut self, id: &IncidentId, into: &IncidentId) {
        self.stop_thinking(id);
        self.cancel_unsent(id, "it is merged into another incident");
        self.move_incident(id, IncidentState::Closed, format!("it has the same cause as {into}, which a person has"));
        let Some(ended) = self.incidents.remove(id) else { return };
        self.timers.stop(&TimerKey::Quiet(id.clone()));
        self.timers.stop(&TimerKey::Forget(id.clone()));
        let members = ended.incident.anomalies;
        let ids: Vec<AnomalyId> = members.iter().map(|a| a.id.clone()).collect();
        self.pending.extend(members.into_iter().map(|anomaly| (anomaly.id.clone(), anomaly)));
        let because = "the same cause was found";
        self.join(into, ids.iter().map(|anomaly| (anomaly, because)).collect());
    }

    /// The correlator failed: one incident an entity, which loses grouping and nothing else.
    pub(crate) fn correlate_alone(&mut self, asked: &[Anomaly]) {
        let mut by_entity: BTreeMap<String, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        for anomaly in asked.iter().filter(|a| self.pending.contains_key(&a.id)) {
            let because = "the correlator failed, so each entity stands alone";
            by_entity.entry(anomaly.entity.to_string()).or_default().push((&anomaly.id, because));
        }
        for members in by_entity.values() {
            self.open(members, None);
        }
    }

    fn take_pending(&mut self, members: &[(&AnomalyId, &str)]) -> (Vec<Anomaly>, Vec<String>) {
        let anomalies: Vec<Anomaly> = members.iter().filter_map(|(id, _)| self.pending.remove(*id)).collect();
        let mut because: Vec<String> = members.iter().map(|(_, because)| (*because).to_owned()).collect();
        because.sort();
        because.dedup();
        (anomalies, because)
    }

    fn open(&mut self, members: &[(&AnomalyId, &str)], follows: Option<&IncidentId>) {
        let Some(now) = self.now.clone() else { return };
        let (mut anomalies, because) = self.take_pending(members);
        let Some(onset) = anomalies.iter().map(|a| a.onset).min() else { return };
        self.n_incidents += 1;
        let id = IncidentId::numbered(self.n_incidents);
        let left_out = anomalies.split_off(MAX_INCIDENT_ANOMALIES.min(anomalies.len())).len();
        let ids = anomalies.iter().map(|a| a.id.clone()).collect();
        let incident = Incident {
            id: id.clone(),
            state: IncidentState::Open,
            severity: Severity::Low,
            onset,
            opened: now.wall,
            anomalies,
            changes: near(&self.changes),
            classification: None,
        };
        let run = IncidentRun {
            incident,
            opened: now,
            hypothesis: None,
            diagnoses: 0,
            abstentions: 0,
            grew: false,
            ordered: None,
            plans: 0,
            plans_before: 0,
            follows: follows.cloned(),
            run: None,
            tried: Vec::new(),
            forgotten: Vec::new(),
            is_full: false,
        };
        self.incidents.insert(id.clone(), run);
        self.fact(Fact::IncidentOpened { incident: id.clone(), anomalies: ids, onset, because });
        self.note_left_out(&id, left_out);
        // The neighbours are scraped once more before the cause is looked for: what they show belongs to it.
        let settle_ms = self.settings().settle_ms.max(self.interval_ms(&id));
        self.start_timer(TimerKey::Settle(id.clone()), settle_ms);
        self.watch_quiet(&id);
    }

    fn join(&mut self, id: &IncidentId, members: Vec<(&AnomalyId, &str)>) {
        let (mut anomalies, because) = self.take_pending(&members);
        let Some(run) = self.incidents.get_mut(id) else { return };
        if run.incident.anomalies.len() + anomalies.len() > MAX_INCIDENT_ANOMALIES {
            run.incident.anomalies.retain(|a| a.phase != Phase::Ended);
        }
        let room = MAX_INCIDENT_ANOMALIES.saturating_sub(run.incident.anomalies.len());
        let left_out = anomalies.split_off(room.min(anomalies.len())).len();
        let ids: Vec<AnomalyId> = anomalies.iter().map(|a| a.id.clone()).collect();
        self.note_left_out(id, left_out);
        let Some(run) = self.incidents.get_mut(id).filter(|_| !ids.is_empty()) else { return };
        run.incident.onset = anomalies.iter().map(|a| a.onset).fold(run.incident.onset, std::cmp::Ord::min);
        run.incident.anomalies.extend(anomalies);
        self.fact(Fact::IncidentGrew { incident: id.clone(), anomalies: ids, because });
        self.watch_quiet(id);
        self.reconsider(id);
    }

    /// Says once an incident that it holds no more.
    fn note_left_out(&mut self, id: &IncidentId, left_out: usize) {
        let Some(run) = self.incidents.get_mut(id) else { return };
        if left_out > 0 && !std::mem::replace(&mut run.is_full, true) {
            let because = format!("it holds {MAX_INCIDENT_ANOMALIES} anomalies and takes no more");
            self.degraded(format!("anomalies of {id}"), because);
        }
    }

    /// Starts or stops the wait for quiet, whichever the anomalies say.
    fn watch_quiet(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get(id) else { return };
        let key = TimerKey::Quiet(id.clone());
        let is_quiet = run.incident.ongoing().next().is_none();
        if !is_quiet {
            self.timers.stop(&key);
        } else if !self.timers.runs(&key) {
            let quiet_ms = self.quiet_ms(id);
            self.start_timer(key, quiet_ms);
        }
    }

    /// Long enough for two more scrapes to say so.
    fn quiet_ms(&self, id: &IncidentId) -> u64 {
        self.settings().quiet_ms.max(self.interval_ms(id).saturating_mul(2))
    }

    /// All anomalies have been over for a while. While steps are under way their own verification decides.
    pub(crate) fn on_quiet(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get(id) else { return };
        let under_way = run.run.as_ref().is_some_and(|plan| {
            let steps = self.kernel.plan(&plan.plan.id).map(|entry| &entry.steps);
            steps.is_some_and(|steps| {
                steps.values().any(|s| {
                    s.open.is_some()
                        || matches!(s.state, StepState::Applied | StepState::Verifying | StepState::Compensating)
                })
            })
        });
        if under_way {
            let quiet_ms = self.quiet_ms(id);
            self.start_timer(TimerKey::Quiet(id.clone()), quiet_ms);
            return;
        }
        self.cancel_unsent(id, "the signals came back by themselves");
        self.close(id, "the signals came back");
    }

    pub(crate) fn move_incident(&mut self, id: &IncidentId, to: IncidentState, because: impl Into<String>) {
        let Some(run) = self.incidents.get_mut(id) else { return };
        if run.incident.state != to {
            run.incident.state = to;
            self.fact(Fact::IncidentMoved { incident: id.clone(), to, because: because.into() });
        }
    }

    /// A person gets it; the library goes on watching, and closes it when the signals have come back.
    pub(crate) fn hand_over(&mut self, id: &IncidentId, because: impl Into<String>) {
        self.timers.stop(&TimerKey::Settle(id.clone()));
        self.move_incident(id, IncidentState::HandedOver, because);
        self.watch_quiet(id);
    }

    fn is_escalated(&self, id: &IncidentId) -> bool {
        self.incidents.get(id).is_some_and(|run| run.incident.state == IncidentState::HandedOver)
    }

    /// Ends an incident. INVARIANT (no anomaly is lost): what goes on is pending again, so that it opens or joins another.
    pub(crate) fn close(&mut self, id: &IncidentId, because: impl Into<String>) {
        self.draw_lesson(id);
        self.move_incident(id, IncidentState::Closed, because);
        let ended = self.incidents.remove(id);
        let ongoing = ended.iter().flat_map(|run| run.incident.ongoing()).filter(|a| !self.dismissed.contains(&a.id));
        let ongoing: Vec<Anomaly> = ongoing.cloned().collect();
        self.pending.extend(ongoing.into_iter().map(|anomaly| (anomaly.id.clone(), anomaly)));
        self.stop_thinking(id);
        self.timers.stop(&TimerKey::Quiet(id.clone()));
        self.timers.stop(&TimerKey::Forget(id.clone()));
        self.correlate();
    }

    /// Why a person's order about an incident cannot be carried out: it is not open, no reason is given, or steps are under way.
    fn against(&self, id: &IncidentId, reason: &str) -> Option<String> {
        let Some(run) = self.incidents.get(id) else { return Some("no incident of that name is open".to_owned()) };
        if reason.trim().is_empty() {
            return Some("it gives no reason".to_owned());
        }
        let steps = run.run.as_ref().and_then(|plan| self.kernel.plan(&plan.plan.id)).map(|plan| &plan.steps);
        let under_way =
            steps.into_iter().flatten().find(|(_, step)| !step.state.is_terminal() && !step.state.is_unsent());
        under_way.map(|(step, entry)| format!("step `{step}` is {}: take the incident over first", entry.state))
    }

    /// Whatever waits to be diagnosed, classified or planned is left.
    fn stop_thinking(&mut self, id: &IncidentId) {
        self.timers.stop(&TimerKey::Settle(id.clone()));
        self.forget_commands(|command| match command {
            Command::Diagnose { incident, .. } | Command::Classify { incident } | Command::Plan { incident, .. } => {
                incident == id
            }
            _ => false,
        });
    }

    pub(crate) fn on_closed_by_person(&mut self, id: &IncidentId, by: &Person, reason: &str) {
        if let Some(because) = self.against(id, reason) {
            return self.fact(Fact::OrderRejected { order: format!("close {id}"), because });
        }
        let because = format!("closed by {}: {reason}", by.name);
        self.cancel_unsent(id, &because);
        let ongoing: Vec<AnomalyId> =
            self.incidents.get(id).iter().flat_map(|run| run.incident.ongoing()).map(|a| a.id.clone()).collect();
        self.dismissed.extend(ongoing);
        while self.dismissed.len() > MAX_PENDING {
            self.dismissed.pop_first();
        }
        self.close(id, because);
    }

    pub(crate) fn on_playbook_ordered(&mut self, id: &IncidentId, playbook: &str, by: &Person, reason: &str) {
        let run = self.incidents.get(id);
        let known = run.is_some_and(|run| {
            run.incident.classification.is_some() && run.hypothesis.as_ref().is_some_and(|h| h.leading().is_some())
        });
        let unknown = (!known).then(|| "no cause is known for it yet, so the playbook has no target".to_owned());
        if let Some(because) = self.against(id, reason).or(unknown) {
            return self.fact(Fact::OrderRejected { order: format!("run `{playbook}` for {id}"), because });
        }
        let because = format!("{} ordered playbook `{playbook}`: {reason}", by.name);
        self.stop_thinking(id);
        self.cancel_unsent(id, &because);
        self.move_incident(id, IncidentState::Open, because);
        if let Some(run) = self.incidents.get_mut(id) {
            run.run = None;
            run.ordered = Some(playbook.to_owned());
        }
        self.plan(id);
    }

    /// The library takes an escalated incident up again, as if it had just been opened; what was tried is remembered.
    pub(crate) fn on_automation_resumed(&mut self, id: &IncidentId, by: &Person, reason: &str) {
        let kept = (!self.is_escalated(id)).then(|| "the library is at work on it".to_owned());
        if let Some(because) = self.against(id, reason).or(kept) {
            return self.fact(Fact::OrderRejected { order: format!("resume {id}"), because });
        }
        self.move_incident(id, IncidentState::Open, format!("{} gave it back: {reason}", by.name));
        if let Some(run) = self.incidents.get_mut(id) {
            (run.abstentions, run.plans_before, run.run) = (0, run.plans, None);
        }
        self.diagnose(id);
    }

    pub(crate) fn on_overridden(&mut self, id: &IncidentId, by: &Person, reason: &str, undo: bool) {
        if !self.incidents.contains_key(id) {
            let because = "no incident of that name is open".to_owned();
            return self.fact(Fact::OrderRejected { order: format!("take over {id}"), because });
        }
        let because = format!("{} took it over: {reason}", by.name);
        self.leave_to_person(id, &because, undo);
    }

    /// A person gets the incident: nothing further is begun for it, and with `undo` what was done is taken back.
    pub(crate) fn leave_to_person(&mut self, id: &IncidentId, because: &str, undo: bool) {
        if let Some(run) = self.incidents.get_mut(id).and_then(|run| run.run.as_mut()) {
            run.overridden = true;
            run.taking_back = undo;
            run.failing.get_or_insert_with(|| because.to_owned());
        }
        self.stop_thinking(id);
        self.cancel_unsent(id, because);
        self.hand_over(id, because);
        if undo {
            self.undo_all(id, because);
        }
        self.advance(id);
    }
}

fn holds<'a>(incident: &'a mut Incident, id: &AnomalyId) -> Option<(IncidentId, &'a mut Anomaly)> {
    let name = incident.id.clone();
    incident.anomalies.iter_mut().find(|a| a.id == *id).map(|a| (name, a))
}

/// The newest changes, oldest first.
fn near(changes: &[Change]) -> Vec<Change> {
    changes[changes.len().saturating_sub(MAX_INCIDENT_CHANGES)..].to_vec()
}
