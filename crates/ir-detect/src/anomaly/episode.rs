//! From verdicts to episodes: a report when it begins, when it grows clearly, when it ends, and none in between.
//!
//! De-duplication before everything else is what most improves detectors (measured on the
//! Numenta benchmark, A. Lavin and S. Ahmad 2015, doi:10.1109/ICMLA.2015.141). Hysteresis: several bad looks in a row begin an episode, several good ones end it, and looks in between do
//! neither.

use std::collections::BTreeMap;

use ir_core::anomaly::Direction;
use ir_core::{
    Anomaly, AnomalyId, Digest, EntityId, Feedback, Gone, Labels, Measured, PartName, Phase, Result, Score, Symptom,
    Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::Budgets;
use crate::check::Check;
use crate::pairs;
use crate::runtime::room::Room;
use crate::stats::score_of;

/// When an episode begins, grows and ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EpisodeConfig {
    /// So many bad looks in a row begin it. Default 2: one is chance, three cost a second more.
    #[schemars(range(min = 1, max = 1000))]
    pub begin_looks: u32,
    /// And so many seconds from the first bad look to the last. Default 0. For what a stalled machine does as well, more than
    /// the length of a stall.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub begin_secs: f64,
    /// So many good looks in a row end it. Default 4: half-healed services go up and down.
    #[schemars(range(min = 1, max = 1000))]
    pub end_looks: u32,
    /// It is reported again when the score rose by this much. Default 0.15, so at most six reports an episode.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub grow_by: f64,
    /// Nothing is learned from inside an episode for this long; then the new level is the usual one and the episode ends by
    /// itself. Seconds, default 900: people who live with it for a quarter of an hour have accepted it.
    #[schemars(range(min = 1.0, max = 864_000.0))]
    pub relearn_secs: f64,
    /// And not before it was judged this often, so that an episode at long intervals is not taken for the new level while a remedy is
    /// being measured. Default 20.
    #[serde(default = "default_relearn_scrapes")]
    pub relearn_scrapes: u32,
    /// So many episodes of one kind of symptom at one entity count in full in a day. Of further ones only those that are worse
    /// than all but so many of that day do; the others are told, and support, but open no incident alone. Default 12; 0 is no
    /// budget, for what cannot be a false alarm.
    #[schemars(range(min = 0, max = 10_000))]
    pub most_a_day: u32,
}

impl Default for EpisodeConfig {
    fn default() -> Self {
        Self {
            begin_looks: 2,
            begin_secs: 0.0,
            end_looks: 4,
            grow_by: 0.15,
            relearn_secs: 900.0,
            relearn_scrapes: default_relearn_scrapes(),
            most_a_day: 12,
        }
    }
}

impl EpisodeConfig {
    pub(crate) fn check(&self) -> Check {
        let mut check = Check::default();
        check.count("begin_looks", self.begin_looks as usize, 1, 1000);
        check.count("end_looks", self.end_looks as usize, 1, 1000);
        check.within("begin_secs", self.begin_secs, 0.0, 86_400.0);
        check.within("grow_by", self.grow_by, 0.01, 1.0);
        check.within("relearn_secs", self.relearn_secs, 1.0, 864_000.0);
        check.count("most_a_day", self.most_a_day as usize, 0, 10_000);
        check
    }
}

const fn default_relearn_scrapes() -> u32 {
    20
}

/// What an episode is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) entity: EntityId,
    pub(crate) peer: Option<EntityId>,
    pub(crate) subject: String,
    pub(crate) labels: Labels,
}

impl Key {
    pub(crate) fn new(entity: &EntityId, subject: impl Into<String>) -> Self {
        Self { entity: entity.clone(), peer: None, subject: subject.into(), labels: Labels::new() }
    }

    pub(crate) fn to(entity: &EntityId, peer: &EntityId, subject: impl Into<String>) -> Self {
        Self { peer: Some(peer.clone()), ..Self::new(entity, subject) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// Neither good nor bad: changes nothing.
    Unsure,
    Bad,
}

impl Verdict {
    /// Bad when `bad`, good when the surprise is below half of its limit.
    pub(crate) fn of(bad: bool, nats: f64, limit: f64) -> Self {
        match bad {
            true => Self::Bad,
            false if nats < limit / 2.0 => Self::Good,
            false => Self::Unsure,
        }
    }
}

/// What one look says of one key.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) nats: f64,
    pub(crate) symptom: Symptom,
    pub(crate) direction: Direction,
    /// When the trouble began, if that is known better than by the first bad look.
    pub(crate) onset: Option<Timestamp>,
    pub(crate) expected: f64,
    pub(crate) seen: f64,
    pub(crate) threshold: f64,
}

/// Who judges, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) detector: &'a PartName,
    pub(crate) version: u32,
    pub(crate) config: &'a EpisodeConfig,
    pub(crate) at: Timestamp,
}

/// The episodes of all keys, how sensitive each key is, and what was spent of the budgets. Bounded.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tracks {
    #[serde(with = "pairs")]
    keys: BTreeMap<Key, Track>,
    budgets: Budgets,
    /// Series that were left out of a scrape, and bad findings that opened no track, because there was no room.
    refused: [u64; 2],
    /// Of the detector's table of series.
    room: Room,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Track {
    bad: u32,
    first_bad: Timestamp,
    good: u32,
    open: Option<Open>,
    /// Kept after the end, because people judge later.
    last_id: Option<AnomalyId>,
    factor: f64,
    seen: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open {
    id: AnomalyId,
    onset: Timestamp,
    /// What the detector said last.
    said: Score,
    /// What of it was reported.
    reported: Score,
    /// How often it was judged since it began.
    judged: u32,
    last: Last,
}

/// The finding that was reported last, for an end without one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Last {
    symptom: Symptom,
    direction: Direction,
    expected: f64,
    seen: f64,
    threshold: f64,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            bad: 0,
            first_bad: Timestamp::default(),
            good: 0,
            open: None,
            last_id: None,
            factor: 1.0,
            seen: Timestamp::default(),
        }
    }
}

/// Feedback moves a limit between half and four times what is configured: no number of complaints may blind a detector.
const FACTOR_RANGE: [f64; 2] = [0.5, 4.0];
const FACTOR_FALSE_ALARM: f64 = 1.25;
const FACTOR_MISSED: f64 = 0.8;
const MAX_TRACKS: usize = 100_000;

impl Tracks {
    /// By how much the limit of `key` was moved by feedback; 1 at first.
    pub(crate) fn factor(&self, key: &Key) -> f64 {
        self.keys.get(key).map_or(1.0, |track| track.factor)
    }

    /// Whether `key` may be learned from: not while it looks bad, unless that has become the usual state.
    pub(crate) fn may_learn(&self, key: &Key, now: Timestamp, config: &EpisodeConfig) -> bool {
        match self.keys.get(key) {
            Some(Track { open: Some(open), .. }) => {
                let long = now.since(open.onset).as_secs_f64() > config.relearn_secs;
                long && open.judged >= config.relearn_scrapes
            }
            Some(track) => track.bad == 0,
            None => true,
        }
    }

    /// Whether the detector may walk its full table of series to evict the silent ones.
    pub(crate) fn may_make_room(&mut self, now: Timestamp) -> bool {
        self.room.is_due(now)
    }

    /// Counts a series that the detector leaves out because it has no room for it.
    pub(crate) fn refuse_series(&mut self) {
        let [series, _] = &mut self.refused;
        *series += 1;
    }

    /// How often a series was left out of a scrape, and a bad finding opened no track.
    pub(crate) fn refused(&self) -> [u64; 2] {
        self.refused
    }

    /// Whether an episode of `key` goes on.
    pub(crate) fn is_open(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|track| track.open.is_some())
    }

    /// Takes what a look says; reports go to `out`. `because` gets the onset and gives the sentence.
    pub(crate) fn judge(
        &mut self,
        judge: Judge<'_>,
        key: &Key,
        finding: &Finding,
        because: impl FnOnce(Timestamp) -> String,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        if !self.keys.contains_key(key) {
            if finding.verdict != Verdict::Bad {
                return Ok(());
            }
            if self.keys.len() >= MAX_TRACKS {
                self.keys.retain(|_, track| track.open.is_some() || judge.at.since(track.seen).as_secs() < 3_600);
                if self.keys.len() >= MAX_TRACKS {
                    let [_, episodes] = &mut self.refused;
                    *episodes += 1;
                    tracing::warn!(detector = %judge.detector, "too many episodes at once, one is not followed");
                    return Ok(());
                }
            }
        }
        let track = self.keys.entry(key.clone()).or_default();
        track.seen = judge.at;
        if let Some(open) = &mut track.open {
            open.judged = open.judged.saturating_add(1);
        }
        let score = score_of(finding.nats);
        let (budgets, most) = (&mut self.budgets, judge.config.most_a_day as usize);
        let mut worth = |id: &AnomalyId| budgets.spend((&key.entity, finding.symptom), (id, judge.at, score), most);
        let mut beyond = None;
        let phase = match (finding.verdict, &mut track.open) {
            (Verdict::Unsure, _) => {
                track.bad = 0;
                return Ok(());
            }
            (Verdict::Good, None) => {
                track.bad = 0;
                return Ok(());
            }
            (Verdict::Bad, None) => {
                track.first_bad = if track.bad == 0 { judge.at } else { track.first_bad };
                track.bad += 1;
                let bad_secs = judge.at.since(track.first_bad).as_secs_f64();
                if track.bad < judge.config.begin_looks || bad_secs < judge.config.begin_secs {
                    return Ok(());
                }
                let onset = finding.onset.unwrap_or(track.first_bad);
                let id = id_of(judge.detector, key, onset)?;
                let worth = worth(&id);
                beyond = worth.beyond;
                let last = Last::of(finding);
                track.open = Some(Open { id, onset, said: score, reported: worth.score, judged: 0, last });
                track.good = 0;
                Phase::Began
            }
            (Verdict::Bad, Some(open)) => {
                track.good = 0;
                if score.as_f64() < open.said.as_f64() + judge.config.grow_by {
                    return Ok(());
                }
                open.said = score;
                let worth = worth(&open.id);
                if worth.score <= open.reported {
                    // It grew, and within what the day has seen often.
                    return Ok(());
                }
                (open.reported, open.last) = (worth.score, Last::of(finding));
                Phase::Grew
            }
            (Verdict::Good, Some(_)) => {
                track.good += 1;
                if track.good < judge.config.end_looks {
                    return Ok(());
                }
                track.bad = 0;
                Phase::Ended
            }
        };
        let Some(open) = &track.open else { return Ok(()) };
        let (id, onset, reported) = (open.id.clone(), open.onset, open.reported);
        if phase == Phase::Ended {
            track.last_id = Some(id.clone());
            track.open = None;
        }
        out.push(Anomaly {
            id,
            detector: judge.detector.clone(),
            version: judge.version,
            entity: key.entity.clone(),
            peer: key.peer.clone(),
            subject: key.subject.clone(),
            labels: key.labels.clone(),
            symptom: finding.symptom,
            direction: finding.direction,
            phase,
            onset,
            at: judge.at,
            // The end of an episode says how bad it had been: a score of 0 would say nothing.
            score: reported,
            expected: Measured(finding.expected),
            seen: Measured(finding.seen),
            threshold: Measured(finding.threshold),
            because: match beyond {
                Some(before) => format!(
                    "{}; {before} of its kind came here within a day before it, and it is no worse than the worst {most}, so it \
                     counts as support only",
                    because(onset)
                ),
                None => because(onset),
            },
        });
        Ok(())
    }

    /// Ends every episode that goes on, because nobody can say whether it still does. `finding` says how it is reported.
    pub(crate) fn end_all(
        &mut self,
        judge: Judge<'_>,
        finding: impl Fn(&Key) -> Finding,
        because: impl Fn(Timestamp) -> String,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let keys: Vec<Key> =
            self.keys.iter().filter(|(_, track)| track.open.is_some()).map(|(key, _)| key.clone()).collect();
        let at_once = EpisodeConfig { end_looks: 1, ..judge.config.clone() };
        for key in keys {
            let finding = Finding { verdict: Verdict::Good, ..finding(&key) };
            self.judge(Judge { config: &at_once, ..judge }, &key, &finding, &because, out)?;
        }
        Ok(())
    }

    /// Ends the episodes of an entity that is gone, and drops what is kept of it: how sensitive its keys are, and its budgets.
    pub(crate) fn end_gone(&mut self, judge: Judge<'_>, gone: &Gone, out: &mut Vec<Anomaly>) {
        self.budgets.refund(&gone.entity);
        for (key, track) in self.keys.extract_if(.., |key, _| key.entity == gone.entity) {
            let Some(Open { id, onset, reported, last, .. }) = track.open else { continue };
            out.push(Anomaly {
                id,
                detector: judge.detector.clone(),
                version: judge.version,
                entity: key.entity,
                peer: key.peer,
                subject: key.subject,
                labels: key.labels,
                symptom: last.symptom,
                direction: last.direction,
                phase: Phase::Ended,
                onset,
                at: gone.at.max(onset),
                score: reported,
                expected: Measured(last.expected),
                seen: Measured(last.seen),
                threshold: Measured(last.threshold),
                because: because_gone(gone, onset),
            });
        }
    }

    /// Moves limits within their bounds. As many complaints of one kind as of the other bring a limit back to where it was.
    pub(crate) fn feedback(&mut self, feedback: &Feedback) {
        if let Feedback::Missed { entity, .. } = feedback {
            self.budgets.refund(entity);
        }
        for (key, track) in &mut self.keys {
            let by = match feedback {
                Feedback::FalseAlarm { anomaly } => {
                    let open = track.open.as_ref().map(|open| &open.id);
                    (open == Some(anomaly) || track.last_id.as_ref() == Some(anomaly)).then_some(FACTOR_FALSE_ALARM)
                }
                Feedback::Missed { entity, .. } => (key.entity == *entity).then_some(FACTOR_MISSED),
            };
            if let Some(by) = by {
                track.factor = (track.factor * by).clamp(FACTOR_RANGE[0], FACTOR_RANGE[1]);
            }
        }
    }
}

impl Last {
    fn of(finding: &Finding) -> Self {
        let Finding { symptom, direction, expected, seen, threshold, .. } = *finding;
        Self { symptom, direction, expected, seen, threshold }
    }
}

/// Why an episode of an entity that is gone ended.
pub(crate) fn because_gone(gone: &Gone, onset: Timestamp) -> String {
    format!("gone: {} since {}; the episode was open since {onset}", gone.reason, gone.at)
}

/// The same episode has the same name wherever it is computed.
fn id_of(detector: &PartName, key: &Key, onset: Timestamp) -> Result<AnomalyId> {
    let peer = key.peer.as_ref().map_or("", EntityId::as_str);
    let labels = key.labels.to_string();
    let digest =
        Digest::of_parts([key.entity.as_str(), peer, key.subject.as_str(), labels.as_str()].map(str::as_bytes)).short();
    AnomalyId::new(format!("{detector}/{digest}/{}", onset.as_nanos()))
}

#[cfg(test)]
mod tests;
