//! How many episodes of one kind at one entity count in full: the budget of false alarms.
//!
//! Whether an alarm was false is known later or never, but how often it comes is known at once. A kind of symptom that shows at an
//! entity many times a day is either the nature of that entity or a fault that people know of; what is new then must stand out of
//! what was. The limit is the empirical quantile that is exceeded as often as the budget allows, as in the peaks over a threshold
//! of extreme-value theory (A. Siffer and others, KDD 2017, doi:10.1145/3097983.3098144), with the day's own episodes as the
//! sample and no law fitted to them: a dozen values bear none. An episode beyond the budget is still told, still counts as support
//! for others and still ends; it opens no incident alone.

use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::{AnomalyId, EntityId, Score, Symptom, Timestamp};
use serde::{Deserialize, Serialize};

use crate::pairs;
use crate::stats::score_of;

/// The time that a budget is for.
const DAY: Duration = Duration::from_secs(86_400);
/// What an episode beyond the budget is worth at most, in nats: a score of 0.33, which supports and opens nothing alone.
const SUPPORT_NATS: f64 = 12.0;
/// More episodes than this many budgets are not remembered.
const REMEMBERED: usize = 4;
const MAX_KEYS: usize = 100_000;

/// What was spent, by who and what.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Budgets(#[serde(with = "pairs")] BTreeMap<(EntityId, Symptom), Vec<Spent>>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spent {
    id: AnomalyId,
    at: Timestamp,
    /// What the detector said.
    score: Score,
}

/// What an episode is worth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Worth {
    pub(crate) score: Score,
    /// How many came before it in a day, when that made it worth less.
    pub(crate) beyond: Option<usize>,
}

impl Budgets {
    /// What an episode of this score is worth, and notes it; asked again for the same id, the newer score counts. `most` is how
    /// many a day count in full, 0 for all.
    pub(crate) fn spend(
        &mut self,
        (entity, symptom): (&EntityId, Symptom),
        (id, at, score): (&AnomalyId, Timestamp, Score),
        most: usize,
    ) -> Worth {
        if most == 0 {
            return Worth { score, beyond: None };
        }
        let key = (entity.clone(), symptom);
        if !self.0.contains_key(&key) && self.0.len() >= MAX_KEYS {
            self.0.retain(|_, spent| spent.last().is_some_and(|last| at.since(last.at) < DAY));
            if self.0.len() >= MAX_KEYS {
                return Worth { score, beyond: None };
            }
        }
        let spent = self.0.entry(key).or_default();
        // What a clock that was set back left ahead of now would never leave.
        spent.retain(|one| one.id != *id && one.at <= at && at.since(one.at) < DAY);
        let as_bad = spent.iter().filter(|one| one.score >= score).count();
        let before = spent.len();
        spent.push(Spent { id: id.clone(), at, score });
        if spent.len() > most.saturating_mul(REMEMBERED) {
            spent.remove(0);
        }
        let beyond = (as_bad >= most).then_some(before);
        let score = if beyond.is_some() { score.min(score_of(SUPPORT_NATS)) } else { score };
        Worth { score, beyond }
    }

    /// Somebody missed a report here: its episodes count in full again.
    pub(crate) fn refund(&mut self, entity: &EntityId) {
        self.0.retain(|(of, _), _| of != entity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(budgets: &mut Budgets, entity: &str, minute: i64, nats: f64) -> Worth {
        let entity = EntityId::new(entity).unwrap();
        let at = Timestamp::from_nanos(minute * 60_000_000_000);
        let id = AnomalyId::new(format!("test/{entity}/{minute}")).unwrap();
        budgets.spend((&entity, Symptom::Latency), (&id, at, score_of(nats)), 5)
    }

    #[test]
    fn what_comes_often_must_stand_out_of_what_came() {
        let mut budgets = Budgets::default();
        let full = |worth: &Worth, nats: f64| worth.score == score_of(nats) && worth.beyond.is_none();
        for minute in 0..5 {
            assert!(full(&spend(&mut budgets, "orders", minute * 30, 20.0), 20.0));
        }
        for minute in 5..10 {
            let worth = spend(&mut budgets, "orders", minute * 30, 20.0);
            assert_eq!(worth, Worth { score: score_of(SUPPORT_NATS), beyond: Some(minute as usize) });
        }
        // Five worse ones pass, the sixth is no worse than five.
        for minute in 10..15 {
            assert!(full(&spend(&mut budgets, "orders", minute * 30, 40.0), 40.0));
        }
        assert!(spend(&mut budgets, "orders", 450, 40.0).beyond.is_some());
        // Others have budgets of their own.
        assert!(full(&spend(&mut budgets, "ledger", 451, 20.0), 20.0));
        // And a day later it is another day.
        assert!(full(&spend(&mut budgets, "orders", 451 + 1_440, 20.0), 20.0));
    }

    #[test]
    fn an_episode_that_grows_spends_once_and_one_missed_report_gives_all_back() {
        let mut budgets = Budgets::default();
        for nats in 0..20 {
            assert_eq!(spend(&mut budgets, "orders", 7, 20.0 + f64::from(nats)).beyond, None);
        }
        for minute in 8..30 {
            spend(&mut budgets, "orders", minute, 50.0);
        }
        assert!(spend(&mut budgets, "orders", 31, 20.0).beyond.is_some());
        budgets.refund(&EntityId::new("orders").unwrap());
        assert_eq!(spend(&mut budgets, "orders", 32, 20.0).beyond, None);
    }

    #[test]
    fn a_weak_episode_beyond_the_budget_is_not_made_stronger() {
        let mut budgets = Budgets::default();
        let weak: Vec<Worth> = (0..9).map(|minute| spend(&mut budgets, "orders", minute, 3.0)).collect();
        assert!(weak.iter().all(|worth| worth.score == score_of(3.0)));
    }
}
