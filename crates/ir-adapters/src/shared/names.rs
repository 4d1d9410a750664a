//! Which entity a signal is about, by the labels that its producer gave it.
//!
//! An empty label is no label, as in Prometheus. A name that no entity can have is changed by one rule: everything that a name may
//! not contain (white space, control characters, back quotes, `*`, `?`) becomes one `-`, and nothing of it stays at either end. So
//! `Payment Service` is the entity `Payment-Service`. Where the name was changed the label stays beside the entity, so that series
//! of differently named producers stay apart.

use ir_core::EntityId;

use super::excerpt;

/// So much of a name is quoted.
const MAX_QUOTED: usize = 80;

/// An entity, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named<'n> {
    /// The label that named it.
    pub(crate) by: &'n str,
    pub(crate) entity: EntityId,
    /// Whether its name is another one than the label's value.
    pub(crate) renamed: bool,
}

impl Named<'_> {
    /// Whether a label says nothing beyond the entity.
    #[cfg(any(feature = "prometheus", feature = "remote-write"))]
    pub(crate) fn covers(&self, label: &str) -> bool {
        !self.renamed && label == self.by
    }
}

/// The entity by the first of `names` that `label` has a value for; or why there is none.
pub(crate) fn entity<'n, 'v>(
    names: &'n [String],
    label: impl Fn(&str) -> Option<&'v str>,
) -> Result<Named<'n>, String> {
    let mut values = names.iter().filter_map(|name| Some((name.as_str(), present(label(name))?)));
    let (by, value) = values.next().ok_or("it has none of the labels that name an entity")?;
    if let Ok(entity) = EntityId::new(value) {
        return Ok(Named { by, entity, renamed: false });
    }
    let entity = EntityId::new(renamed(value))
        .map_err(|_| format!("`{by}` is `{}`, which is the name of no entity", excerpt(value, MAX_QUOTED)))?;
    Ok(Named { by, entity, renamed: true })
}

/// The value of a label that may be empty, which means that there is none.
pub(crate) fn present(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

fn renamed(value: &str) -> String {
    let barred = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '`' | '*' | '?');
    let words = value.split(barred).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(labels: &[(&str, &str)]) -> Result<(String, String, bool), String> {
        let names = ["service".to_owned(), "job".to_owned()];
        let label = |name: &str| labels.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        entity(&names, label).map(|named| (named.by.to_owned(), named.entity.to_string(), named.renamed))
    }

    #[test]
    fn the_first_label_with_a_value_names_the_entity() {
        let is = |by: &str, entity: &str, renamed| Ok((by.to_owned(), entity.to_owned(), renamed));
        assert_eq!(found(&[("job", "node"), ("service", "web")]), is("service", "web", false));
        assert_eq!(found(&[("job", "node"), ("service", "")]), is("job", "node", false));
        assert_eq!(found(&[("service", "Payment Service")]), is("service", "Payment-Service", true));
        assert_eq!(found(&[("service", "  a \t`b`*\u{a0}c ")]), is("service", "a-b-c", true));
        for labels in [&[][..], &[("service", ""), ("job", "")]] {
            assert!(found(labels).unwrap_err().contains("none of the labels"), "{labels:?}");
        }
        for (value, told) in [(" ", "` `"), ("*?", "`*?`")] {
            assert!(found(&[("service", value)]).unwrap_err().contains(told), "{value:?}");
        }
        assert!(found(&[("job", &"x".repeat(300))]).unwrap_err().contains("no entity"));
    }
}
