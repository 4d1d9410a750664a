//! Finds in records what opening a journal needs: the newest checkpoint and the highest epoch of a claim.

use ir_core::Digest;
use ir_core::journal::{Body, EncodedRecord, GateFact, decode};
use serde::{Deserialize, Serialize};

/// What a run of records holds that opening needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marks {
    /// The number of the newest checkpoint.
    pub(super) checkpoint: Option<u64>,
    /// The highest epoch of a recorded claim; 0 without one.
    pub(super) epoch: u64,
}

impl Marks {
    /// The marks of the record `seq`. Records that are no checkpoint and no claim, nearly all, are not parsed.
    pub(super) fn of(seq: u64, bytes: &[u8]) -> Self {
        let holds = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
        // Canonical JSON has no blanks, and quotation marks within a string are escaped.
        if !holds(r#""type":"checkpoint""#) && !holds(r#""type":"claimed""#) {
            return Self::default();
        }
        // A content may look the same, so the record is parsed. One that cannot be parsed marks nothing.
        let stored = EncodedRecord { seq, hash: Digest::ZERO, bytes: bytes.into() };
        match decode(&stored).map(|record| (record.body, record.left)) {
            // The gate begins to read behind a checkpoint, so it must be the last record of its append.
            Ok((Body::Gate(GateFact::Checkpoint(_)), 0)) => Self { checkpoint: Some(seq), epoch: 0 },
            Ok((Body::Gate(GateFact::Claimed { epoch, .. }), _)) => Self { checkpoint: None, epoch },
            _ => Self::default(),
        }
    }

    /// Adds the marks of later records.
    pub(super) fn add(&mut self, later: Self) {
        self.checkpoint = later.checkpoint.or(self.checkpoint);
        self.epoch = self.epoch.max(later.epoch);
    }
}
