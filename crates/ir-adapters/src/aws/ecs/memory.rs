//! What was previewed and what was sent, as long as the process lives.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ir_core::execution::EffectKey;

/// So many effects and previews are remembered; older ones are answered with "unknown".
const MAX_REMEMBERED: usize = 1_024;

/// The latest values by key, in this process only: after a restart it is empty, and whoever asks has to say that he
/// does not know.
#[derive(Debug)]
pub(super) struct Memory<K, V>(Mutex<VecDeque<(K, V)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<K: PartialEq, V: Clone> Memory<K, V> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(K, V)>> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, key: K, value: V) {
        let mut entries = self.lock();
        entries.retain(|(known, _)| *known != key);
        entries.push_back((key, value));
        if entries.len() > MAX_REMEMBERED {
            entries.pop_front();
        }
    }

    pub(super) fn recall(&self, key: &K) -> Option<V> {
        self.lock().iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }
}

/// What was sent under which key.
pub(super) type Sent<V> = Memory<EffectKey, V>;
