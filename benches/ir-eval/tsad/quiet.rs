//! What is said of stretches in which nobody labelled anything.

use super::data::File;

/// Rows this near to a label do not count: labels begin late and end early.
const NEAR: usize = 200;
/// The share of a series that is left out at its beginning, and at most so many rows.
const WARM: f64 = 0.15;
const WARM_ROWS: usize = 750;
/// Alerts so many rows apart are one episode.
const GAP: usize = 5;
const DAY_SECS: f64 = 86_400.0;

/// Counts of rows far from labels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Quiet {
    rows: usize,
    alerts: usize,
    episodes: usize,
    days: f64,
}

impl Quiet {
    /// Of one file; NAB's windows where it has some, else its labelled rows.
    pub(super) fn of(file: &File, windows: Option<&[(usize, usize)]>, alerts: &[bool]) -> Self {
        let n = file.rows.len();
        let mut near = vec![false; n];
        let mut mark = |from: usize, to: usize| {
            near[from.saturating_sub(NEAR)..(to + NEAR + 1).min(n)].fill(true);
        };
        windows.unwrap_or_default().iter().for_each(|(from, to)| mark(*from, *to));
        file.rows.iter().enumerate().filter(|(_, row)| row.label).for_each(|(at, _)| mark(at, at));
        let start = ((n as f64 * WARM) as usize).min(WARM_ROWS);
        let quiet: Vec<usize> = (start..n).filter(|at| !near[*at]).collect();
        let at: Vec<usize> = quiet.iter().copied().filter(|at| alerts.get(*at) == Some(&true)).collect();
        let episodes = at.iter().enumerate().filter(|(n, row)| *n == 0 || **row - at[n - 1] > GAP).count();
        Self { rows: quiet.len(), alerts: at.len(), episodes, days: quiet.len() as f64 * interval(file) / DAY_SECS }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            alerts: self.alerts + other.alerts,
            episodes: self.episodes + other.episodes,
            days: self.days + other.days,
        }
    }

    /// A line; empty without rows.
    pub(super) fn text(self) -> String {
        if self.rows == 0 {
            return String::new();
        }
        format!(
            "{NEAR} rows and more from any label: {} alerts in {} rows, {:.4} %; {} episodes in {:.0} days, {:.4} a series and day\n",
            self.alerts,
            self.rows,
            100.0 * self.alerts as f64 / self.rows as f64,
            self.episodes,
            self.days,
            self.episodes as f64 / self.days.max(f64::MIN_POSITIVE)
        )
    }
}

/// The median of the seconds between rows.
fn interval(file: &File) -> f64 {
    let mut steps: Vec<f64> =
        file.rows.windows(2).map(|two| two[1].secs - two[0].secs).filter(|step| *step > 0.0).collect();
    steps.sort_by(f64::total_cmp);
    steps.get(steps.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::data::Row;
    use super::*;

    #[test]
    fn only_rows_far_from_labels_count() {
        let row = |at: usize| Row { stamp: String::new(), secs: at as f64 * 864.0, value: 0.0, label: at == 1500 };
        let file = File { path: String::new(), rows: (0..3000).map(row).collect(), labelled: true };
        let mut alerts = vec![false; 3000];
        // In the warm-up, near the label, and two episodes of three alerts.
        for at in [100, 1301, 1700, 2000, 2003, 2500] {
            alerts[at] = true;
        }
        let quiet = Quiet::of(&file, None, &alerts);
        assert_eq!(quiet, Quiet { rows: 3000 - 450 - 401, alerts: 3, episodes: 2, days: 21.49 });
    }
}
