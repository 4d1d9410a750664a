//! What ECS itself tells about deployments: a source of changes, without which a deployment cannot be blamed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::{Change, ChangeKind, ConfigError, Ctx, Cursor, EntityId, Error, Polled, Result, SignalSource, Timestamp};

use super::client::{self, Client, Service};
use super::{COMPONENT, EcsConfig, EcsService};
use crate::aws::poll::{self, tell};

/// Looks which task definition each service is to run, and tells a change when it is another one than before.
///
/// A revision that is lower than the one before counts as a roll-back, every other as a deployment. Its time is when
/// ECS began the deployment; where ECS does not say so, when it was seen. Two changes between two looks are one. Who
/// did it, ECS does not tell.
#[derive(Debug)]
pub struct EcsChanges {
    name: String,
    services: BTreeMap<EntityId, EcsService>,
    client: Client,
}

impl EcsChanges {
    /// Checks the configuration, which may be that of the executor. Nothing is connected yet. The source's name in
    /// records is that of the configuration, followed by `-changes`.
    ///
    /// # Errors
    ///
    /// As for [`EcsExecutor::new`](super::EcsExecutor::new).
    pub fn new(config: &EcsConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let (services, client) = config.checked(sdk)?;
        Ok(Self { name: format!("{}-changes", config.name), services, client })
    }
}

fn change(entity: &EntityId, before: &str, now: &Service, seen: Timestamp) -> Change {
    let number = |definition| client::revision(definition);
    let is_back = match (number(before), number(&now.definition)) {
        (Some((old_family, old)), Some((family, new))) => old_family == family && new < old,
        _ => false,
    };
    let short = |definition: &str| definition.rsplit('/').next().unwrap_or(definition).to_owned();
    Change {
        entity: entity.clone(),
        at: now.since.map_or(seen, Timestamp::from_millis),
        kind: if is_back { ChangeKind::Rollback } else { ChangeKind::Deploy },
        from: Some(short(before)),
        to: Some(short(&now.definition)),
        by: None,
    }
}

#[async_trait]
impl SignalSource for EcsChanges {
    fn name(&self) -> &str {
        &self.name
    }

    /// The cursor says what each service ran. A service that is not in it is only learnt.
    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let known: Option<BTreeMap<EntityId, String>> = poll::position(COMPONENT, cursor)?;
        let mut known = known.unwrap_or_default();
        known.retain(|entity, _| self.services.contains_key(entity));
        let mut polled = Polled::default();
        let mut failed: Option<Error> = None;
        let mut n_failed = 0;
        for (entity, service) in &self.services {
            match self.client.service(ctx, service).await {
                Ok(now) => {
                    let before = known.insert(entity.clone(), now.definition.clone());
                    let before = before.filter(|before| *before != now.definition);
                    polled.batch.changes.extend(before.map(|before| change(entity, &before, &now, ctx.now().wall)));
                }
                Err(error) => {
                    n_failed += 1;
                    tell(&mut polled, || format!("`{entity}`: {}", error.message()));
                    failed = failed.or(Some(error));
                }
            }
        }
        if let Some(error) = failed.filter(|_| n_failed == self.services.len()) {
            return Err(error);
        }
        polled.batch.changes.sort_by_key(|change| change.at);
        polled.next = poll::cursor(COMPONENT, &known)?;
        Ok(polled)
    }
}
