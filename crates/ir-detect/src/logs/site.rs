//! The place in the code that a line names: `OrderService#68`, `orders.go:132`, `(Ledger.java:7)`.
//!
//! Two statements may write the same words; where the header says which of them it was, they are told apart. What looks like a place
//! and takes many values for one template (`worker#17`) is data, and is left out again.

use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::TemplateId;
use super::hash;
use super::severity::Severity;

/// Bytes of a line in which a place is looked for.
const REACH: usize = 160;
/// Digits of a line number, at most.
const DIGITS: usize = 6;
/// Places of one template that are told apart, and how long one counts that is not seen: programs change, and their lines move.
const MAX_PLACES: usize = 4;
const STALE: Duration = Duration::from_secs(3600);

/// Endings of source files.
const ENDINGS: [&[u8]; 22] = [
    b"c", b"cc", b"cpp", b"cs", b"cxx", b"ex", b"go", b"groovy", b"h", b"hpp", b"java", b"js", b"kt", b"php", b"pl",
    b"py", b"rb", b"rs", b"scala", b"swift", b"ts", b"tsx",
];

/// The hash of the first place that the line names; 0 where there is none.
pub(super) fn of(line: &[u8]) -> u64 {
    let line = &line[..line.len().min(REACH)];
    let marks = line.iter().enumerate().filter(|(_, byte)| matches!(byte, b'#' | b':'));
    for (at, mark) in marks {
        let digits = line[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let ends = line.get(at + 1 + digits).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        if digits == 0 || digits > DIGITS || !ends {
            continue;
        }
        let named = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$');
        let length = line[..at].iter().rev().take_while(named).count();
        let name = &line[at - length..at];
        let ending = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        let is_file = ending.len() < name.len() && ENDINGS.contains(&ending);
        if is_file || (*mark == b'#' && name.iter().any(u8::is_ascii_alphabetic)) {
            return hash::bytes(&line[at - length..at + 1 + digits]);
        }
    }
    0
}

/// The id of a statement: its template, the place, and how bad it says it is, because the same words may be written at two levels.
pub(super) fn statement(template: TemplateId, place: u64, severity: Severity) -> TemplateId {
    match (place, severity) {
        (0, Severity::Plain) => template,
        _ => TemplateId(hash::id(place ^ (severity as u64), u128::from(template.0))),
    }
}

/// The places of all templates of one entity.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Places(#[serde(with = "crate::pairs")] BTreeMap<TemplateId, Known>);

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Known {
    /// Whether there were too many, so that they tell nothing.
    is_data: bool,
    places: SmallVec<[(u64, Timestamp); MAX_PLACES]>,
}

/// What a place turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It tells statements apart.
    Told(u64),
    /// It does not.
    Data,
    /// It does not from now on, and did before.
    DataNow,
}

impl Places {
    /// What `place` is for a line of `template`.
    pub(super) fn see(&mut self, template: TemplateId, place: u64, at: Timestamp) -> Place {
        let known = self.0.entry(template).or_default();
        if known.is_data {
            return Place::Data;
        }
        if let Some((_, last)) = known.places.iter_mut().find(|(held, _)| *held == place) {
            *last = at;
            return Place::Told(place);
        }
        if known.places.len() >= MAX_PLACES {
            let stale = known.places.iter().position(|(_, last)| at.since(*last) > STALE);
            let Some(stale) = stale else {
                *known = Known { is_data: true, places: SmallVec::new() };
                return Place::DataNow;
            };
            known.places.swap_remove(stale);
        }
        known.places.push((place, at));
        Place::Told(place)
    }

    /// Forgets the templates that are gone.
    pub(super) fn retain(&mut self, stays: impl Fn(TemplateId) -> bool) {
        self.0.retain(|template, _| stays(*template));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_where_headers_have_them() {
        for line in [
            "10:00:01.123 INFO o.s.OrderService#68 TraceID: 4bf9 done",
            "I0205 10:00:00.123 1234 orders.cc:68] done",
            "level=info caller=orders.go:68 msg=done",
            "ERROR (Ledger.java:7) done",
        ] {
            assert_ne!(of(line.as_bytes()), 0, "{line}");
        }
        for line in [
            "Jan 8 10:00:01 host-1 app[1234]: done",
            "listening on 10.0.0.1:8080 and host.example:443",
            "ticket #17 is #3",
            "OrderService#68x",
            "",
            "#",
            ":7",
        ] {
            assert_eq!(of(line.as_bytes()), 0, "{line}");
        }
        assert_ne!(of(b"A#1 x"), of(b"A#2 x"));
    }

    #[test]
    fn what_takes_many_values_is_data_and_what_moves_slowly_is_none() {
        let template = TemplateId(7);
        let at = |secs: u64| Timestamp::default().plus(Duration::from_secs(secs));
        let mut places = Places::default();
        for place in 1..=4 {
            assert_eq!(places.see(template, place, at(0)), Place::Told(place));
        }
        assert_eq!(places.see(template, 5, at(7200)), Place::Told(5), "the old ones are stale");
        let mut places = Places::default();
        let seen: Vec<Place> = (1..=6).map(|place| places.see(template, place, at(place))).collect();
        assert_eq!(seen[4..], [Place::DataNow, Place::Data]);
        assert_eq!(places.see(template, 1, at(9)), Place::Data);
    }
}
