//! Which times of a series were given lately, so that what a sender repeats is told from what only comes late.

use std::collections::VecDeque;

/// The times remembered of each series. A sender repeats one request at a time, with at most some hundred samples in all.
const MAX_TIMES: usize = 64;

/// What a sample is beside those that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Later than all of them.
    New,
    /// Between them, and not one of them.
    Late,
    /// Its time was given already.
    Again,
    /// Older than what is remembered: nobody knows whether it came before.
    TooOld,
}

/// Times in milliseconds, ascending.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    times: VecDeque<i64>,
    /// Whether older ones were forgotten.
    forgot: bool,
}

impl Recent {
    /// The most memory that one takes.
    #[cfg(feature = "remote-write")]
    pub(crate) const MAX_BYTES: usize = size_of::<Self>() + 2 * MAX_TIMES * size_of::<i64>();

    /// What a sample at that time is; from now on it came.
    pub(crate) fn note(&mut self, millis: i64) -> Came {
        let came = match self.times.binary_search(&millis) {
            Ok(_) => return Came::Again,
            Err(at) if at == self.times.len() => {
                self.times.push_back(millis);
                Came::New
            }
            Err(0) if self.forgot => return Came::TooOld,
            Err(at) => {
                self.times.insert(at, millis);
                Came::Late
            }
        };
        if self.times.len() > MAX_TIMES {
            self.times.pop_front();
            self.forgot = true;
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_late_samples_are_told_apart() {
        let mut recent = Recent::default();
        for (millis, came) in
            [(10, Came::New), (20, Came::New), (10, Came::Again), (15, Came::Late), (15, Came::Again), (5, Came::Late)]
        {
            assert_eq!(recent.note(millis), came, "{millis}");
        }
        for millis in 100..100 + 2 * MAX_TIMES as i64 {
            assert_eq!(recent.note(millis), Came::New);
        }
        assert_eq!(recent.times.len(), MAX_TIMES);
        assert_eq!(recent.note(10), Came::TooOld);
        assert_eq!(recent.note(101), Came::TooOld);
        assert_eq!(recent.note(100 + MAX_TIMES as i64), Came::Again);
    }
}
