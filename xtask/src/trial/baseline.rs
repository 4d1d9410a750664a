//! Compares the outage that clients saw with the responder acting against that with a person acting after five minutes.

use super::record::Run;
use super::summary::{median, told};
use crate::table::table;

/// The same fault and seed, once with the responder acting and once with the person.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    fault: String,
    seed: u64,
    /// Outage bins with the responder acting.
    acting: f64,
    /// Outage bins with the person.
    person: f64,
    /// Whether both were run with the same build.
    same_build: bool,
}

impl Pair {
    /// By how many per cent the outage is shorter; none where the person's run had no outage to shorten.
    fn shorter_percent(&self) -> Option<f64> {
        (self.person > 0.0).then(|| 100.0 * (1.0 - self.acting / self.person))
    }
}

/// Pairs the runs by fault and seed: the acting run of the same build where there is one, else the latest of another.
///
/// Runs whose report tells no outage have no pair.
pub(super) fn pairs(acting: &[Run], person: &[Run]) -> Vec<Pair> {
    let pair = |run: &Run| {
        let same = |other: &&Run| other.fault == run.fault && other.seed == run.seed;
        let build = |other: &&Run| same(other) && other.binary == run.binary;
        let other = acting.iter().rfind(build).or_else(|| acting.iter().rfind(same))?;
        Some(Pair {
            fault: run.fault.clone(),
            seed: run.seed,
            acting: other.number("outage_bins")?,
            person: run.number("outage_bins")?,
            same_build: other.binary == run.binary,
        })
    };
    person.iter().filter_map(pair).collect()
}

/// The pairs, the medians of both sides, and the median of what each pair saves.
pub(super) fn report(acting: &[Run], person: &[Run]) -> String {
    let pairs = pairs(acting, person);
    let row = |p: &Pair| {
        let note = if p.same_build { "" } else { "another build acted" };
        let numbers = [told(Some(p.person)), told(Some(p.acting)), told(p.shorter_percent())];
        [vec![p.fault.clone(), p.seed.to_string()], numbers.to_vec(), vec![note.to_owned()]].concat()
    };
    let rows: Vec<Vec<String>> = pairs.iter().map(row).collect();
    let middle = |of: fn(&Pair) -> f64| told(median(pairs.iter().map(of).collect()));
    let saved = told(median(pairs.iter().filter_map(Pair::shorter_percent).collect()));
    let alone = person.len() - pairs.len();
    let alone = if alone == 0 { String::new() } else { format!("{alone} runs have no acting run to compare with\n") };
    format!(
        "{}{alone}median outage: {} bins with a person, {} bins acting\nmedian reduction: {saved} %\n",
        table(&["fault", "seed", "person bins", "acting bins", "shorter %", ""], &rows, &[0, 5]),
        middle(|p| p.person),
        middle(|p| p.acting),
    )
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;
    use serde_json::{Value, json};

    fn run(fault: &str, seed: u64, bins: f64, binary: &str) -> Run {
        Run { binary: binary.into(), ..sample(fault, seed, json!({"right": true, "outage_bins": bins})) }
    }

    #[test]
    fn runs_are_paired_by_fault_and_seed_and_the_same_build_wins() {
        let acting = [
            run("crash", 1, 5.0, "b1"),
            run("crash", 1, 9.0, "b2"),
            run("leak", 1, 7.0, "b2"),
            run("leak", 2, 1.0, "b1"),
        ];
        let person = [run("crash", 1, 300.0, "b1"), run("leak", 1, 350.0, "b1"), run("slow", 1, 300.0, "b1")];
        let found = pairs(&acting, &person);
        let told: Vec<_> = found.iter().map(|p| (p.fault.as_str(), p.acting, p.same_build)).collect();
        assert_eq!(told, [("crash", 5.0, true), ("leak", 7.0, false)]);
    }

    #[test]
    fn a_run_that_tells_no_outage_has_no_pair() {
        let silent = sample("crash", 1, Value::Null);
        assert!(pairs(&[run("crash", 1, 5.0, "b1")], std::slice::from_ref(&silent)).is_empty());
        assert!(pairs(&[silent], &[run("crash", 1, 5.0, "b1")]).is_empty());
    }

    #[test]
    fn the_reduction_is_the_median_over_the_pairs() {
        // 1 - 30/300 = 90 %, 1 - 10/200 = 95 %, 1 - 4/400 = 99 %.
        let acting = [run("a", 1, 30.0, "b1"), run("b", 1, 10.0, "b1"), run("c", 1, 4.0, "b1")];
        let person =
            [run("a", 1, 300.0, "b1"), run("b", 1, 200.0, "b1"), run("c", 1, 400.0, "b1"), run("d", 1, 1.0, "b1")];
        let text = report(&acting, &person);
        let end = "1 runs have no acting run to compare with\n\
            median outage: 300.0 bins with a person, 10.0 bins acting\nmedian reduction: 95.0 %\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn no_outage_to_shorten_is_no_reduction() {
        let pair = Pair { fault: "a".into(), seed: 1, acting: 0.0, person: 0.0, same_build: true };
        assert_eq!(pair.shorter_percent(), None);
        let longer = Pair { acting: 3.0, person: 2.0, ..pair };
        assert_eq!(longer.shorter_percent(), Some(-50.0));
    }
}
