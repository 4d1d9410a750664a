//! What people read of a campaign: a line per run, a table per fault, which services were the targets.

use super::record::Run;
use crate::table::table;
use std::collections::BTreeMap;

/// The middle value, or the mean of the two in the middle; none of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(*values.get(half.checked_sub(1)?)?, upper)) }
}

/// A number with one digit, or a dash where there is none.
pub(super) fn told(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}"))
}

/// One run, told as it ends.
pub(super) fn line(run: &Run) -> String {
    let target = run.target().map(|t| format!(" -> {t}")).unwrap_or_default();
    let verdict = if run.right() { "right".to_owned() } else { format!("WRONG ({})", run.reasons().join("; ")) };
    let number = |key| told(run.number(key));
    let facts = format!(
        "detected {} s, recovered {} s, outage {} bins, run {} s",
        number("detected_after_s"),
        number("recovered_after_s"),
        number("outage_bins"),
        told(Some(seconds(run)))
    );
    format!("{} seed {}{target}: {verdict}, {facts}", run.fault, run.seed)
}

/// The length of a run: what it says itself, else what we measured.
fn seconds(run: &Run) -> f64 {
    run.number("run_s").unwrap_or(run.wall_s)
}

/// The table by fault, the targets, and the count of right runs alone on the last line.
pub(super) fn report(runs: &[Run]) -> String {
    let mut faults: Vec<&str> = Vec::new();
    for run in runs {
        if !faults.contains(&run.fault.as_str()) {
            faults.push(&run.fault);
        }
    }
    let of = |fault: &str| runs.iter().filter(|r| r.fault == fault).collect::<Vec<_>>();
    let mut rows: Vec<Vec<String>> = faults.iter().map(|fault| row(fault, &of(fault))).collect();
    rows.push(row("all", &runs.iter().collect::<Vec<_>>()));
    let head =
        ["fault", "runs", "right", "detect s", "recover s", "outage bins", "run s", "longest s", "rank 1", "effects"];
    let mut targets: BTreeMap<&str, usize> = BTreeMap::new();
    for target in runs.iter().filter_map(Run::target) {
        *targets.entry(target).or_default() += 1;
    }
    let targets: Vec<String> = targets.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let right = runs.iter().filter(|r| r.right()).count();
    let targets = if targets.is_empty() { "none told".to_owned() } else { targets.join(", ") };
    format!(
        "{}(seconds and bins are medians)\ntargets: {targets}\n\n{right} of {} right\n",
        table(&head, &rows, &[0]),
        runs.len()
    )
}

fn row(name: &str, runs: &[&Run]) -> Vec<String> {
    let middle = |key: &str| told(median(runs.iter().filter_map(|r| r.number(key)).collect()));
    let lengths: Vec<f64> = runs.iter().map(|r| seconds(r)).collect();
    let longest = lengths.iter().copied().reduce(f64::max);
    let ranked: Vec<bool> = runs.iter().filter_map(|r| r.rank1()).collect();
    let rank1 = ranked.iter().filter(|first| **first).count();
    let effects: Vec<u64> = runs.iter().filter_map(|r| r.effects()).collect();
    vec![
        name.to_owned(),
        runs.len().to_string(),
        runs.iter().filter(|r| r.right()).count().to_string(),
        middle("detected_after_s"),
        middle("recovered_after_s"),
        middle("outage_bins"),
        told(median(lengths)),
        told(longest),
        if ranked.is_empty() { "-".into() } else { rank1.to_string() },
        if effects.is_empty() { "-".into() } else { effects.iter().sum::<u64>().to_string() },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(vec![9.0, 1.0, 4.0, 2.0]), Some(3.0));
    }

    #[test]
    fn a_run_is_told_in_one_line() {
        let report = json!({"right": true, "target": "ledger", "detected_after_s": 2.04, "recovered_after_s": 6.5,
            "outage_bins": 7, "run_s": 33.3});
        let want = "crash seed 3 -> ledger: right, detected 2.0 s, recovered 6.5 s, outage 7.0 bins, run 33.3 s";
        assert_eq!(line(&sample("crash", 3, report)), want);
        let want =
            "crash seed 4: WRONG (exit code 1; no report), detected - s, recovered - s, outage - bins, run 30.0 s";
        assert_eq!(line(&sample("crash", 4, Value::Null)), want);
    }

    #[test]
    fn the_table_has_a_row_for_each_fault_and_one_for_all() {
        let told = |target: &str, s: f64, first: bool| {
            json!({"right": first, "target": target, "detected_after_s": s, "recovered_after_s": s * 2.0,
                "outage_bins": 4, "run_s": 30.0 + s, "cause_rank1": first, "effects": 1})
        };
        let runs = [
            sample("crash", 1, told("ledger", 1.0, true)),
            sample("crash", 2, told("orders", 3.0, true)),
            sample("leak", 1, told("ledger", 8.0, false)),
        ];
        let want = "\
fault  runs  right  detect s  recover s  outage bins  run s  longest s  rank 1  effects
crash     2      2       2.0        4.0          4.0   32.0       33.0       2        2
leak      1      0       8.0       16.0          4.0   38.0       38.0       0        1
all       3      2       3.0        6.0          4.0   33.0       38.0       2        3
(seconds and bins are medians)
targets: ledger 2, orders 1

2 of 3 right
";
        assert_eq!(report(&runs), want);
    }
}
