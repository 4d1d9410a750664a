//! What is kept per entity, and dropped when the entity is gone.

use std::collections::BTreeMap;

use ir_core::EntityId;

use crate::anomaly::episode::Key;

/// What a detector has learned, entity by entity.
pub(crate) trait PerEntity {
    /// Drops all that was learned of `entity`. What was learned of others stays, their calls to it included.
    fn drop_entity(&mut self, entity: &EntityId);
}

impl<V> PerEntity for BTreeMap<EntityId, V> {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.remove(entity);
    }
}

impl<V> PerEntity for BTreeMap<Key, V> {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.retain(|key, _| key.entity != *entity);
    }
}
