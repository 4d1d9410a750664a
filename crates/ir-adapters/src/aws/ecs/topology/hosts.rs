//! Known hosts in the values of environments.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::EntityId;

/// Environments whose name ends so hold a host, and nothing else, where their value is one word.
const HOLD_A_HOST: [&str; 6] = ["HOST", "HOSTNAME", "ADDR", "ADDRESS", "ENDPOINT", "SERVER"];
/// What is longer is looked at so far.
const MAX_BYTES: usize = 16_384;

/// Whose host is whose, by names in small letters.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<String, BTreeSet<Owner>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    entity: EntityId,
    /// The port that goes with the name, where it is known.
    port: Option<i32>,
}

impl Hosts {
    pub(super) fn new(named: &BTreeMap<String, EntityId>) -> Self {
        let mut hosts = Self::default();
        for (name, entity) in named {
            hosts.add(entity, &[(name.clone(), None)]);
        }
        hosts
    }

    pub(super) fn add(&mut self, entity: &EntityId, names: &[(String, Option<i32>)]) {
        for (name, port) in names {
            let owner = Owner { entity: entity.clone(), port: *port };
            self.0.entry(name.to_ascii_lowercase()).or_default().insert(owner);
        }
    }

    /// The owners of the hosts that a value names.
    pub(super) fn named<'a>(&'a self, key: &str, value: &str) -> BTreeSet<&'a EntityId> {
        let mut owners = BTreeSet::new();
        let value = value.get(..MAX_BYTES).unwrap_or(value).to_ascii_lowercase();
        let mut rest = value.as_str();
        let mut begin = 0;
        while let Some(at) = rest.find(is_of_host) {
            let word = &rest[at..];
            let word = &word[..word.find(|c| !is_of_host(c)).unwrap_or(word.len())];
            let (from, until) = (begin + at, begin + at + word.len());
            let port = port_after(&value[until..]);
            for owner in self.0.get(word.trim_end_matches('.')).into_iter().flatten() {
                let is_place = value[..from].ends_with("//") || value[..from].ends_with('@');
                let is_port = port.is_some() && (owner.port.is_none() || owner.port == port);
                let is_all =
                    word.len() == value.len() && HOLD_A_HOST.iter().any(|end| key.to_ascii_uppercase().ends_with(end));
                // A word without a dot may be any word, unless it stands where only hosts stand.
                if word.contains('.') || is_place || is_port || is_all {
                    owners.insert(&owner.entity);
                }
            }
            begin = until;
            rest = &value[until..];
        }
        owners
    }
}

const fn is_of_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// The port that `rest` begins with: `:5432/orders`.
fn port_after(rest: &str) -> Option<i32> {
    let digits = rest.strip_prefix(':')?;
    let digits = &digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())];
    digits.parse().ok()
}
