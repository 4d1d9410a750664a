//! Change events of the shop as a source of signals.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use incident_response::core::{
    Change, ChangeKind, Ctx, Cursor, EntityId, Error, ErrorKind, Polled, Result, SignalBatch, SignalSource, Timestamp,
};
use serde::Deserialize;

use crate::http::{Call, Client};
use crate::records::{self, EffectKind};

const NAME: &str = "shop-changes";

/// Reads what was deployed, rolled back and restarted, and by whom. The cursor is the number of the last change seen.
#[derive(Debug)]
pub(crate) struct ChangeSource {
    client: Client,
}

impl ChangeSource {
    pub(crate) fn new(control: SocketAddr) -> Self {
        Self { client: Client::new(control) }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    changes: Vec<records::Change>,
}

#[async_trait]
impl SignalSource for ChangeSource {
    fn name(&self) -> &str {
        NAME
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let after: u64 = match cursor.as_str() {
            "" => 0,
            text => {
                text.parse().map_err(|_| Error::new(ErrorKind::InvalidInput, NAME, format!("`{text}` is no cursor")))?
            }
        };
        let path = format!("/v1/changes?after={after}");
        let patience = ctx.remaining().unwrap_or(Duration::MAX).min(Duration::from_secs(1));
        let unavailable = |message: String| Error::new(ErrorKind::Unavailable, NAME, message);
        let (status, body) =
            self.client.call(Call::get(&path), patience).await.map_err(|error| unavailable(error.to_string()))?;
        if status != 200 {
            return Err(unavailable(format!("status {status}")));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| unavailable(error.to_string()))?;
        let mut polled = Polled { next: cursor.clone(), ..Polled::default() };
        let mut batch = SignalBatch::default();
        for change in answer.changes {
            polled.next = Cursor::new(change.seq.to_string());
            match EntityId::new(&change.service) {
                Ok(entity) => batch.changes.push(convert(entity, change)),
                Err(error) => {
                    polled.dropped += 1;
                    polled.problems.push(error.message().to_owned());
                }
            }
        }
        polled.batch = batch;
        Ok(polled)
    }
}

fn convert(entity: EntityId, change: records::Change) -> Change {
    let nanos = i64::try_from(change.at.as_nanosecond()).unwrap_or(i64::MAX);
    Change {
        entity,
        at: Timestamp::from_nanos(nanos),
        kind: match change.kind {
            EffectKind::Deploy => ChangeKind::Deploy,
            EffectKind::Rollback => ChangeKind::Rollback,
            EffectKind::Restart => ChangeKind::Restart,
        },
        from: Some(change.from),
        to: Some(change.to),
        by: Some(change.by),
    }
}
