//! The last so many values, oldest first.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A queue that forgets its oldest value when it is full.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::Ring;
/// let mut ring = Ring::default();
/// for n in 0..5 {
///     ring.push(n, 3);
/// }
/// assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [2, 3, 4]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ring<T>(VecDeque<T>);

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Ring<T> {
    /// Adds a value and forgets the oldest ones beyond `capacity`; a capacity of 0 keeps nothing.
    pub fn push(&mut self, value: T, capacity: usize) {
        self.0.push_back(value);
        while self.0.len() > capacity {
            self.0.pop_front();
        }
    }

    /// Forgets from the oldest on while `old` says so; gives what was forgotten to `sink`.
    pub fn drain_while(&mut self, mut old: impl FnMut(&T) -> bool, mut sink: impl FnMut(T)) {
        while self.0.front().is_some_and(&mut old) {
            if let Some(value) = self.0.pop_front() {
                sink(value);
            }
        }
    }

    /// Takes the newest out.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop_back()
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.0.iter()
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.0.back()
    }

    /// The oldest.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.0.front()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
