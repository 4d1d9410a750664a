//! When a level reaches its limit.

use serde::{Deserialize, Serialize};

use crate::stats::{Drift, Random};

/// Steps of a course at most.
const STEPS: f64 = 256.0;
/// What a rise does in future is not quite what it did: its logarithm differs by this much, and by so much more when less than a
/// day of it was seen, because work has its hours.
const RATE_UNSURE: f64 = 0.1;
const RATE_UNSURE_DAY: f64 = 0.35;
const DAY_SECS: f64 = 86_400.0;

/// When a limit will be reached, in seconds from now. An end that lies beyond what was looked at is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Sooner with a probability of 5 %.
    pub early_secs: Option<f64>,
    /// As likely sooner as later.
    pub median_secs: Option<f64>,
    /// Later with a probability of 5 %.
    pub late_secs: Option<f64>,
}

/// What a forecast starts from.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) drift: &'a Drift,
    /// Seconds of a step of `drift`.
    pub(crate) step_secs: f64,
    /// Seconds that `drift` was seen for.
    pub(crate) seen_secs: f64,
    /// The middle of the last step, and now, in seconds since the epoch.
    pub(crate) last_secs: f64,
    pub(crate) now_secs: f64,
    /// The limit, without what single values rise above means.
    pub(crate) limit: f64,
}

impl Start<'_> {
    /// Draws `courses` and tells when they reach the limit. `season` is what the hour adds at a time.
    pub(crate) fn forecast(&self, courses: usize, horizon_secs: f64, season: impl Fn(f64) -> f64) -> Forecast {
        // Half as far again as all but the slowest courses need, in at most so many steps.
        let room = (self.limit - self.drift.level()).max(0.0);
        let wanted = 6.0 * room / self.drift.per_step().max(f64::MIN_POSITIVE);
        let reach = wanted.clamp(16.0, horizon_secs / self.step_secs * 4.0);
        let stride = (reach / STEPS).max(0.25);
        // The same series gives the same forecast.
        let mut random = Random::new(self.now_secs.to_bits());
        let lack = (1.0 - self.seen_secs / DAY_SECS).max(0.0);
        let unsure = RATE_UNSURE.hypot(RATE_UNSURE_DAY * lack.sqrt());
        let mut times: Vec<Option<f64>> = Vec::with_capacity(courses);
        for _ in 0..courses {
            times.push(self.course(&mut random, unsure, (stride, reach), &season));
        }
        // Those that never arrive are the latest.
        times.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
        let at = |share: f64| times.get((share * courses as f64) as usize).copied().flatten();
        Forecast { early_secs: at(0.05), median_secs: at(0.5), late_secs: at(0.95) }
    }

    /// Seconds from now until one course reaches the limit.
    fn course(
        &self,
        random: &mut Random,
        unsure: f64,
        (stride, reach): (f64, f64),
        season: &impl Fn(f64) -> f64,
    ) -> Option<f64> {
        let course = self.drift.draw(random)?;
        let rate = course.drift * (unsure * random.normal()).exp();
        let kept = course.keep.powf(stride);
        // The variance of so many steps, each of which keeps a share of what was before.
        let steps = if course.keep < 1.0 { (1.0 - kept * kept) / (1.0 - course.keep * course.keep) } else { stride };
        let wander = course.wander * steps.sqrt();
        let (mut line, mut off, mut step) = (course.line, course.off, 0.0);
        while step < reach {
            step += stride;
            line += rate * stride;
            off = kept * off + wander * random.normal();
            let at = self.last_secs + step * self.step_secs;
            if line + off + season(at) >= self.limit {
                return Some((at - self.now_secs).max(0.0));
            }
        }
        None
    }
}
