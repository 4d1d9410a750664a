//! Reading what people write (TOML or JSON): every mistake with its line and field, as many as can be found at once, in the
//! words of documents.
//!
//! A syntax error ends the reading, since nothing after it can be trusted. Everything else is collected: mistakes of form are
//! noted, mended and passed over, and then the checks of the whole run over the mended document, so that mistakes of form and
//! of meaning are reported together. A document with a mistake is never used.

use serde::de::DeserializeOwned;

use crate::config::{ConfigError, Problem};

mod mend;
mod near;
mod places;
mod source;
mod words;

pub use near::nearest;
pub use places::Places;

/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Reads `text` as `D`, then runs `check` on it. `origin` names the document in errors.
///
/// # Errors
///
/// All problems found, each with its origin, line and field.
pub fn read<D, T>(text: &str, origin: &str, check: impl FnOnce(D) -> Result<T, ConfigError>) -> Result<T, ConfigError>
where
    D: DeserializeOwned,
{
    read_with_places(text, origin, |document, _| check(document))
}

/// Reads `text` as [`read`] does; `check` gets the places of all fields as well, to keep them for later checks.
///
/// # Errors
///
/// As for [`read`].
pub fn read_with_places<D, T>(
    text: &str,
    origin: &str,
    check: impl FnOnce(D, &Places) -> Result<T, ConfigError>,
) -> Result<T, ConfigError>
where
    D: DeserializeOwned,
{
    let source = source::Source::parse(text, origin)?;
    let first = words::attempt::<D>(&source.value);
    if let (Ok(document), true) = (first, source.unreadable.is_empty()) {
        let places = Places::new(origin, source.lines);
        return check(document, &places).map_err(|error| located(error.into_problems(), &places));
    }
    let mut found = mend::Found::new(source.unreadable);
    let mended = mend::search::<D>(&source.value, &mut found);
    let places = Places::new(origin, source.lines);
    if let Some(Ok(document)) = mended.as_ref().map(words::attempt::<D>)
        && let Err(error) = check(document, &places)
    {
        found.add_all(error.into_problems());
    }
    Err(located(found.problems, &places))
}

fn located(problems: Vec<Problem>, places: &Places) -> ConfigError {
    ConfigError::of(problems.into_iter().map(|problem| places.locate(problem)).collect())
}

#[cfg(test)]
mod tests;
