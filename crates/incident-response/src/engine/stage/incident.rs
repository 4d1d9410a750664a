//! Incidents: opened, joined, quiet, handed over, closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir_core::journal::{Fact, Observed};
use ir_core::{
    Anomaly, AnomalyId, Change, Grouping, Incident, IncidentId, IncidentState, PartName, Person, Phase, Placement,
    Severity, StepState,
};

use crate::engine::command::Command;
use crate::engine::machine::{IncidentRun, Machine, Pending};
use crate::engine::outstanding::Subject;
use crate::engine::timer::TimerKey;

/// Changes that are kept, however many come.
const MAX_CHANGES: usize = 512;
/// Changes an incident carries.
const MAX_INCIDENT_CHANGES: usize = 32;
/// Anomalies an incident holds. Those that are over make room first; for what is left out there is one note an incident.
const MAX_INCIDENT_ANOMALIES: usize = 1024;
/// Incidents that one answer of the correlator opens.
const MAX_OPENED: usize = 256;
/// Anomalies that wait for an incident; the oldest names are dropped first, and that is noted.
const MAX_PENDING: usize = 4096;

impl Machine {
    pub(crate) fn on_observed(&mut self, observed: &Observed) {
        self.take_changes(&observed.changes);
        let mut touched: Vec<IncidentId> = Vec::new();
        for anomaly in &observed.anomalies {
            let home = self.homes.get(&anomaly.id).cloned();
            match home.and_then(|id| self.incidents.get_mut(&id)) {
                Some(run) => {
                    let incident = Arc::make_mut(&mut run.incident);
                    if let Some(known) = incident.anomalies.iter_mut().find(|known| known.id == anomaly.id) {
                        *known = anomaly.clone();
                    }
                    run.forgotten.retain(|id| *id != anomaly.id);
                    touched.push(incident.id.clone());
                    self.uncorrelated = true;
                }
                None if anomaly.phase == Phase::Ended => {
                    self.uncorrelated |= self.pending.remove(&anomaly.id).is_some();
                    self.dismissed.remove(&anomaly.id);
                }
                // A person closed its incident, so it opens no other until it has ended.
                None if self.dismissed.contains_key(&anomaly.id) => {}
                None => self.await_incident(anomaly.clone()),
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

    /// The incident carries the changes near it, as they are known now.
    fn note_changes(&mut self, id: &IncidentId) {
        let changes = near(&self.changes);
        if let Some(run) = self.incidents.get_mut(id).filter(|run| run.incident.changes != changes) {
            Arc::make_mut(&mut run.incident).changes = changes;
        }
    }

    fn await_incident(&mut self, anomaly: Anomaly) {
        self.uncorrelated = true;
        let ignored = self.pending.get(&anomaly.id).and_then(|known| known.ignored.clone());
        self.pending.insert(anomaly.id.clone(), Pending { anomaly, ignored });
    }

    /// Asks where pending anomalies belong: once for whatever the answer depends on, and not while that is being asked.
    pub(crate) fn correlate(&mut self) {
        let asks = self.waits_for(Subject::Correlation, |_| true);
        if self.uncorrelated && !self.pending.is_empty() && !asks {
            self.uncorrelated = false;
            let anomalies = self.pending.keys().cloned().collect();
            self.command(Command::Correlate { anomalies });
        }
    }

    fn take_changes(&mut self, changes: &[Change]) {
        let oldest = self.wall().minus(std::time::Duration::from_millis(self.settings().changes_for_ms));
        if changes.is_empty() && self.changes.first().is_none_or(|change| change.at >= oldest) {
            return;
        }
        let mut known = self.changes.to_vec();
        known.extend(changes.iter().cloned());
        known.retain(|change| change.at >= oldest);
        known.sort_by(|a, b| (a.at, &a.entity).cmp(&(b.at, &b.entity)));
        known.dedup();
        let excess = known.len().saturating_sub(MAX_CHANGES);
        known.drain(..excess);
        if known != *self.changes {
            self.changes = Arc::new(known);
            self.uncorrelated = true;
            // A change is rare, and whoever has an incident must see it.
            let open: Vec<IncidentId> = self.incidents.keys().cloned().collect();
            open.iter().for_each(|id| self.note_changes(id));
        }
    }

    /// Detectors that started anew will never report the end of what they reported before. What they do not report again
    /// within the time it takes to learn counts as over.
    pub(crate) fn await_forgotten(&mut self, forgetful: &[PartName]) {
        let mut waiting = Vec::new();
        for (id, run) in self.incidents.iter() {
            let unknown = run.incident.ongoing().filter(|a| forgetful.contains(&a.detector)).map(|a| a.id.clone());
            let forgotten: Vec<AnomalyId> = unknown.collect();
            if forgotten != run.forgotten {
                waiting.push((id.clone(), forgotten));
            }
        }
        let forget_ms = self.settings().forget_ms;
        for (id, forgotten) in waiting {
            if !forgotten.is_empty() {
                self.start_timer(TimerKey::Forget(id.clone()), forget_ms);
            }
            if let Some(run) = self.incidents.get_mut(&id) {
                run.forgotten = forgotten;
            }
        }
    }

    pub(crate) fn on_forgotten(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get_mut(id) else { return };
        let forgotten = std::mem::take(&mut run.forgotten);
        let mut ended = Vec::new();
        let incident = Arc::make_mut(&mut run.incident);
        for anomaly in incident.anomalies.iter_mut().filter(|a| forgotten.contains(&a.id)) {
            anomaly.phase = Phase::Ended;
            ended.push(anomaly.id.to_string());
        }
        if !ended.is_empty() {
            self.uncorrelated = true;
            let because = format!("its detectors started anew and did not report again: {}", ended.join(", "));
            self.degraded(format!("anomalies of {id}"), because);
            self.watch_quiet(id);
        }
    }

    pub(crate) fn on_correlated(&mut self, asked: &BTreeSet<AnomalyId>, groupings: &[Grouping]) {
        let mut opening: BTreeMap<&str, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        let mut joining: BTreeMap<IncidentId, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        let mut following: BTreeMap<&IncidentId, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        for grouping in groupings {
            let waits = self.pending.contains_key(&grouping.anomaly) && asked.contains(&grouping.anomaly);
            let entry = (&grouping.anomaly, grouping.because.as_str());
            match &grouping.into {
                _ if !waits => {}
                Placement::Ignore => {
                    if let Some(pending) = self.pending.get_mut(&grouping.anomaly) {
                        pending.ignored = Some(grouping.because.clone());
                    }
                }
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
        // The others stay pending and are asked about again, so that no single event keeps everybody waiting.
        self.uncorrelated |= opening.len() > MAX_OPENED;
        for members in opening.values().take(MAX_OPENED) {
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
        self.cancel_unsent(id, "it is merged into another incident");
        self.move_incident(id, IncidentState::Closed, format!("it has the same cause as {into}, which a person has"));
        let members = self.leave_incident(id);
        let ids: Vec<AnomalyId> = members.iter().map(|a| a.id.clone()).collect();
        for anomaly in members {
            self.await_incident(anomaly);
        }
        let because = "the same cause was found";
        self.join(into, ids.iter().map(|anomaly| (anomaly, because)).collect());
    }

    /// The correlator failed: one incident an entity, which loses grouping and nothing else.
    pub(crate) fn correlate_alone(&mut self, asked: &BTreeSet<AnomalyId>) {
        let mut by_entity: BTreeMap<String, Vec<(&AnomalyId, &str)>> = BTreeMap::new();
        for (id, pending) in asked.iter().filter_map(|id| Some((id, self.pending.get(id)?))) {
            let because = "the correlator failed, so each entity stands alone";
            by_entity.entry(pending.anomaly.entity.to_string()).or_default().push((id, because));
        }
        for members in by_entity.values() {
            self.open(members, None);
        }
    }

    fn take_pending(&mut self, members: &[(&AnomalyId, &str)]) -> (Vec<Anomaly>, Vec<String>) {
        let taken = members.iter().filter_map(|(id, _)| self.pending.remove(*id));
        let anomalies: Vec<Anomaly> = taken.map(|pending| pending.anomaly).collect();
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
        let ids: Vec<AnomalyId> = anomalies.iter().map(|a| a.id.clone()).collect();
        self.homes.extend(ids.iter().map(|anomaly| (anomaly.clone(), id.clone())));
        self.uncorrelated = true;
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
        let run = IncidentRun { follows: follows.cloned(), ..IncidentRun::new(incident, now) };
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
        let incident = Arc::make_mut(&mut run.incident);
        if incident.anomalies.len() + anomalies.len() > MAX_INCIDENT_ANOMALIES {
            for ended in incident.anomalies.iter().filter(|a| a.phase == Phase::Ended) {
                self.homes.remove(&ended.id);
            }
            incident.anomalies.retain(|a| a.phase != Phase::Ended);
        }
        let room = MAX_INCIDENT_ANOMALIES.saturating_sub(incident.anomalies.len());
        let left_out = anomalies.split_off(room.min(anomalies.len())).len();
        let ids: Vec<AnomalyId> = anomalies.iter().map(|a| a.id.clone()).collect();
        self.note_left_out(id, left_out);
        let Some(run) = self.incidents.get_mut(id).filter(|_| !ids.is_empty()) else { return };
        let incident = Arc::make_mut(&mut run.incident);
        incident.onset = anomalies.iter().map(|a| a.onset).fold(incident.onset, std::cmp::Ord::min);
        incident.anomalies.extend(anomalies);
        self.homes.extend(ids.iter().map(|anomaly| (anomaly.clone(), id.clone())));
        self.uncorrelated = true;
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
            Arc::make_mut(&mut run.incident).state = to;
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
        let members = self.leave_incident(id);
        self.await_ongoing(members);
        self.correlate();
    }

    /// Forgets an incident, and gives its anomalies.
    pub(crate) fn leave_incident(&mut self, id: &IncidentId) -> Vec<Anomaly> {
        self.uncorrelated = true;
        self.stop_thinking(id);
        self.timers.stop(&TimerKey::Quiet(id.clone()));
        self.timers.stop(&TimerKey::Forget(id.clone()));
        let Some(run) = self.incidents.remove(id) else { return Vec::new() };
        let members = Arc::unwrap_or_clone(run.incident).anomalies;
        for anomaly in &members {
            self.homes.remove(&anomaly.id);
        }
        members
    }

    /// What goes on of an incident that was left is pending again.
    pub(crate) fn await_ongoing(&mut self, members: Vec<Anomaly>) {
        for anomaly in members {
            if anomaly.phase != Phase::Ended && !self.dismissed.contains_key(&anomaly.id) {
                self.await_incident(anomaly);
            }
        }
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
        self.forget_commands(id, |_| true);
    }

    pub(crate) fn on_closed_by_person(&mut self, id: &IncidentId, by: &Person, reason: &str) {
        if let Some(because) = self.against(id, reason) {
            return self.fact(Fact::OrderRejected { order: format!("close {id}"), because });
        }
        let because = format!("closed by {}: {reason}", by.name);
        self.cancel_unsent(id, &because);
        let ongoing: Vec<AnomalyId> =
            self.incidents.get(id).iter().flat_map(|run| run.incident.ongoing()).map(|a| a.id.clone()).collect();
        self.dismissed.extend(ongoing.into_iter().map(|anomaly| (anomaly, ())));
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

/// The newest changes, oldest first.
fn near(changes: &[Change]) -> Vec<Change> {
    changes[changes.len().saturating_sub(MAX_INCIDENT_CHANGES)..].to_vec()
}
