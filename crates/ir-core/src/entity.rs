//! What can be observed and acted on, and the labels that tell things apart.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::error::{Error, ErrorKind, Result};
pub use crate::id::EntityId;

/// Labels: sorted by key, each key once. Up to four live without an allocation of their own list. Clones share the texts.
///
/// # Examples
///
/// ```
/// # use ir_core::Labels;
/// let labels: Labels = [("zone", "b"), ("app", "shop"), ("zone", "a")].into_iter().collect();
/// assert_eq!(labels.get("zone"), Some("a"));
/// assert_eq!(labels.to_string(), r#"{app="shop",zone="a"}"#);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(SmallVec<[(Arc<str>, Arc<str>); 4]>);

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`, replacing what was there.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        let (key, value) = (key.into(), value.into());
        match self.0.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        Some(self.0[at].1.as_ref())
    }

    /// Removes `key` and gives its value.
    pub fn remove(&mut self, key: &str) -> Option<Arc<str>> {
        let at = self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        Some(self.0.remove(at).1)
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
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
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (key, value) in pairs {
            labels.insert(key, value);
        }
        labels
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (key, value)) in self.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(map.into_iter().collect())
    }
}

impl JsonSchema for Labels {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Labels".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        std::collections::BTreeMap::<String, String>::json_schema(generator)
    }
}

/// One thing of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// Its name.
    pub id: EntityId,
    /// What it is, in the user's words: `service`, `database`, `host` ...
    #[serde(default = "default_kind")]
    pub kind: String,
    /// Where it runs: `production`, `staging` ... Limits are counted per environment.
    #[serde(default = "default_environment")]
    pub environment: String,
    /// The replicas it is one of, if any: limits on how many of a group may change hold over all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Nothing touches it without a person, whatever the policy says.
    #[serde(default)]
    pub protected: bool,
    /// Anything else worth knowing.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

fn default_kind() -> String {
    "service".to_owned()
}

fn default_environment() -> String {
    "default".to_owned()
}

impl Entity {
    /// A service in environment `default`, in no group, not protected.
    #[must_use]
    pub fn service(id: EntityId) -> Self {
        Self {
            id,
            kind: default_kind(),
            environment: default_environment(),
            group: None,
            protected: false,
            labels: Labels::new(),
        }
    }
}

/// Refuses names of entities that the topology does not know: text alone never becomes a target.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] naming the entity.
pub fn require_known(topology: &crate::topology::Topology, id: &EntityId) -> Result<Entity> {
    topology
        .entity(id)
        .cloned()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "topology", format!("no entity is named `{id}`")))
}
