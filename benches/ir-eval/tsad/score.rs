//! The scorers' rules, so that the table needs no other program: NAB's standard profile, and precision and recall by row and event.

/// NAB's cost of a false alert in its standard profile.
const FALSE_ALERT: f64 = 0.11;

/// A. Lavin, S. Ahmad (2015), doi:10.1109/ICMLA.2015.141: 1 at the left of a window, 0 at its right, below 0 behind it.
fn sigmoid(y: f64) -> f64 {
    if y > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * y).exp()) - 1.0 }
}

/// The rows of all files of NAB that are scored: score, worth of an alert there, and the window it lies in.
#[derive(Default)]
pub(super) struct Nab {
    rows: Vec<(f64, f64, Option<usize>)>,
    windows: usize,
    /// Those that do not end before scoring begins.
    reachable: Vec<bool>,
}

impl Nab {
    /// Adds a file with its windows, first and last row of each.
    pub(super) fn add(&mut self, scores: &[f64], windows: &[(usize, usize)]) {
        let start = (scores.len() * 15 / 100).min(750);
        let first = self.windows;
        self.windows += windows.len();
        self.reachable.extend(windows.iter().map(|(_, last)| *last >= start));
        for (at, score) in scores.iter().enumerate().skip(start) {
            let inside = windows.iter().position(|(from, to)| (*from..=*to).contains(&at));
            let (worth, window) = match inside {
                Some(window) => {
                    let (from, to) = windows[window];
                    let y = -((to - at + 1) as f64) / ((to - from + 1) as f64);
                    (sigmoid(y) / sigmoid(-1.0), Some(first + window))
                }
                None => {
                    let before = windows.iter().rfind(|(_, to)| *to < at);
                    let past = |(from, to): &(usize, usize)| sigmoid((at - to) as f64 / (to - from).max(1) as f64);
                    (before.map_or(-1.0, past) * FALSE_ALERT, None)
                }
            };
            self.rows.push((*score, worth, window));
        }
    }

    /// The best score over all limits, and the limit.
    pub(super) fn best(&self) -> (f64, f64) {
        let mut rows = self.rows.clone();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut best = vec![-1.0; self.windows];
        let (mut total, mut found) = (0.0, (0.0, f64::INFINITY));
        let mut at = 0;
        while let Some((limit, ..)) = rows.get(at).copied().filter(|(score, ..)| *score > 0.0) {
            while let Some((_, worth, window)) = rows.get(at).filter(|(score, ..)| *score == limit) {
                match window {
                    None => total += worth,
                    Some(window) if *worth > best[*window] => {
                        total += worth - best[*window];
                        best[*window] = *worth;
                    }
                    Some(_) => {}
                }
                at += 1;
            }
            let score = self.normal(total);
            if score > found.0 {
                found = (score, limit);
            }
        }
        found
    }

    /// The score at a limit, and how many windows were hit.
    pub(super) fn at(&self, limit: f64) -> (f64, usize) {
        let mut best = vec![-1.0_f64; self.windows];
        let mut total = 0.0;
        for (_, worth, window) in self.rows.iter().filter(|(score, ..)| *score >= limit) {
            match window {
                None => total += worth,
                Some(window) if *worth > best[*window] => {
                    total += worth - best[*window];
                    best[*window] = *worth;
                }
                Some(_) => {}
            }
        }
        (self.normal(total), best.iter().filter(|worth| **worth > -1.0).count())
    }

    /// 0 for saying nothing, 100 for one alert at the left of every window; `total` is over saying nothing.
    fn normal(&self, total: f64) -> f64 {
        let nothing = -(self.reachable.iter().filter(|reachable| **reachable).count() as f64);
        100.0 * total / (self.windows as f64 - nothing)
    }
}

/// The share of a series that is left out of scoring by row.
const WARM: f64 = 0.15;
/// Alerts so many rows apart are one episode, and so many rows early is not false.
const GAP: usize = 5;

/// What rows with labels tell of one series.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) events: usize,
    pub(super) found: usize,
    pub(super) false_episodes: usize,
    pub(super) episodes: usize,
    pub(super) normal_rows: usize,
    pub(super) false_rows: usize,
    /// The area under the curve of precision over recall, where there is a labelled row.
    pub(super) auc_pr: Option<f64>,
}

impl Rows {
    pub(super) fn of(labels: &[bool], scores: &[f64], alerts: &[bool]) -> Self {
        let start = (labels.len() as f64 * WARM) as usize;
        let labels = &labels[start..];
        let (scores, alerts) = (&scores[start..], &alerts[start..]);
        let events = runs(labels);
        let at: Vec<usize> = alerts.iter().enumerate().filter(|(_, alert)| **alert).map(|(at, _)| at).collect();
        let begins = at.iter().enumerate().filter(|(n, at_n)| *n == 0 || **at_n - at[n - 1] > GAP).map(|(_, at)| *at);
        let begins: Vec<usize> = begins.collect();
        let good = |begin: &usize| events.iter().any(|(from, to)| begin + GAP >= *from && begin <= to);
        Self {
            events: events.len(),
            found: events.iter().filter(|(from, to)| at.iter().any(|at| (*from..=*to).contains(at))).count(),
            false_episodes: begins.iter().filter(|begin| !good(begin)).count(),
            episodes: begins.len(),
            normal_rows: labels.iter().filter(|label| !**label).count(),
            false_rows: at.iter().filter(|at| !labels[**at]).count(),
            auc_pr: auc_pr(scores, labels),
        }
    }
}

/// First and last of each run of labelled rows.
fn runs(labels: &[bool]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for at in (0..labels.len()).filter(|at| labels[*at]) {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => found.push((at, at)),
        }
    }
    found
}

/// The area under precision over recall, steps at ties taken whole.
pub(super) fn auc_pr(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let positives = labels.iter().filter(|label| **label).count() as f64;
    if positives == 0.0 {
        return None;
    }
    let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut area, mut recall, mut at) = (0.0, 0.0, 0.0, 0);
    while let Some((limit, _)) = pairs.get(at).copied() {
        while let Some((_, label)) = pairs.get(at).filter(|(score, _)| *score == limit) {
            hits += f64::from(u8::from(*label));
            at += 1;
        }
        area += (hits / positives - recall) * hits / at as f64;
        recall = hits / positives;
    }
    Some(area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nab_gives_0_for_silence_and_nearly_100_for_early_alerts() {
        let mut scores = vec![0.0; 1000];
        let silence = {
            let mut nab = Nab::default();
            nab.add(&scores, &[(400, 500)]);
            nab.at(0.5).0
        };
        scores[400] = 1.0;
        let mut early = Nab::default();
        early.add(&scores, &[(400, 500)]);
        assert_eq!((silence, early.at(0.5)), (0.0, (100.0, 1)));
        scores[200] = 0.9;
        let mut one_false = Nab::default();
        one_false.add(&scores, &[(400, 500)]);
        assert!((one_false.at(0.5).0 - (100.0 - 5.5)).abs() < 1e-9);
        assert_eq!(one_false.best(), (100.0, 1.0));
    }

    #[test]
    fn rows_are_counted_by_event_and_episode() {
        let label = |at: usize| (40..50).contains(&at) || (70..72).contains(&at);
        let rows: Vec<bool> = (0..100).map(label).collect();
        let mut alerts = vec![false; 100];
        for at in [20, 22, 41, 45, 90] {
            alerts[at] = true;
        }
        let scores: Vec<f64> = (0..100).map(|at| if (40..50).contains(&at) { 1.0 } else { 0.0 }).collect();
        let found = Rows::of(&rows, &scores, &alerts);
        assert_eq!((found.events, found.found, found.episodes, found.false_episodes), (2, 1, 3, 2));
        assert_eq!((found.normal_rows, found.false_rows), (73, 3));
        // Ten of twelve are ranked first, the two others share the last place with all the rest.
        let area = found.auc_pr.unwrap();
        assert!((area - (10.0 / 12.0 + 2.0 / 12.0 * 12.0 / 85.0)).abs() < 1e-9, "{area}");
    }
}
