//! Finds the known name that a misspelt one probably means.

/// Longer names are not compared: the distance of two takes time by the product of their lengths.
const MAX_CHARS: usize = 64;

/// The name among `known` that is nearest to `name`, if one is near enough to be meant: at most one edit in three characters,
/// upper and lower case being equal. Of equally near ones the first. `name` itself is not near to itself.
///
/// The edits are those of the optimal string alignment distance: a character inserted, removed or replaced, or two neighbours
/// swapped.
///
/// # Examples
///
/// ```
/// # use ir_core::document::nearest;
/// assert_eq!(nearest("wroker", ["service", "worker"]), Some("worker"));
/// assert_eq!(nearest("Production", ["production"]), Some("production"));
/// assert_eq!(nearest("database", ["service", "worker"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    if wanted.len() > MAX_CHARS {
        return None;
    }
    let near = |candidate: &'a str| {
        let chars: Vec<char> = candidate.to_lowercase().chars().collect();
        let longer = wanted.len().max(chars.len());
        if candidate == name || longer > MAX_CHARS {
            return None;
        }
        let distance = distance(&wanted, &chars);
        (distance <= (longer / 3).max(1) && distance < longer).then_some((distance, candidate))
    };
    known.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Row by row of the table of distances between the beginnings of both.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        // One row a kind of mistake: neighbours swapped, a character too few, too many, another, the plural, other case; then
        // what is no mistake of a name: another word, one of two short words, the name itself.
        let table = [
            ("wroker", Some("worker")),
            ("workr", Some("worker")),
            ("workker", Some("worker")),
            ("wirker", Some("worker")),
            ("workers", Some("worker")),
            ("WORKER", Some("worker")),
            ("prodcution", Some("production")),
            ("queue", None),
            ("x", None),
            ("", None),
            ("worker", None),
        ];
        for (name, wanted) in table {
            assert_eq!(nearest(name, ["db", "worker", "production"]), wanted, "{name}");
        }
    }

    #[test]
    fn the_nearest_of_several_is_taken_and_of_equals_the_first() {
        assert_eq!(nearest("reatart", ["rostart", "restart", "retart"]), Some("restart"));
        assert_eq!(nearest("web-3", ["web-1", "web-2"]), Some("web-1"));
    }

    #[test]
    fn a_very_long_name_is_compared_with_nothing() {
        let long = "x".repeat(1_000_000);
        assert_eq!(nearest(&long, [long[1..].as_ref(), "x"]), None);
        assert_eq!(nearest("x", [long.as_str()]), None);
    }

    proptest! {
        #[test]
        fn the_distance_is_a_distance(a in "[abc]{0,8}", b in "[abc]{0,8}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let between = distance(&a, &b);
            prop_assert_eq!(between, distance(&b, &a));
            prop_assert_eq!(between == 0, a == b);
            prop_assert!(between <= a.len().max(b.len()) && between >= a.len().abs_diff(b.len()));
        }

        #[test]
        fn one_edit_is_one(word in "[a-z]{4,12}", at in 0_usize..4, with in "[a-z]") {
            let mut edited: Vec<char> = word.chars().collect();
            edited.insert(at, with.chars().next().unwrap());
            prop_assert_eq!(distance(&word.chars().collect::<Vec<_>>(), &edited), 1);
        }
    }
}
