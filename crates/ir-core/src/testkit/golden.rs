//! Text that people read, compared with a checked-in file.

use std::path::Path;

use super::Lawful;
use super::{Law, Violation};

/// Set to `1`, this variable has files written anew instead of compared.
pub const UPDATE: &str = "IR_UPDATE_GOLDEN";

const GOLDEN: Law = Law::new("golden text", 0, "The text is the one that was looked at and checked in.");

/// Compares `text` with the file at `path`; with [`UPDATE`] set to `1` it writes the file instead, to be looked at and
/// checked in.
///
/// # Errors
///
/// The first line that differs; or that the file cannot be read or written, and how to make it.
pub fn golden(path: impl AsRef<Path>, text: &str) -> Lawful {
    let update = std::env::var(UPDATE).is_ok_and(|value| value == "1");
    compare(path.as_ref(), text, update)
}

fn compare(path: &Path, text: &str, update: bool) -> Lawful {
    let broken = |what: String| -> Violation { GOLDEN.broken(format!("`{}` {what}", path.display())) };
    if update {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| broken(format!("has no folder: {error}")))?;
        }
        return std::fs::write(path, text).map_err(|error| broken(format!("cannot be written: {error}")));
    }
    let kept = std::fs::read_to_string(path)
        .map_err(|error| broken(format!("cannot be read: {error}; run the test with {UPDATE}=1 to make it")))?;
    if kept == text {
        return Ok(());
    }
    let (mut old, mut new) = (kept.lines(), text.lines());
    for n in 1.. {
        match (old.next(), new.next()) {
            (Some(a), Some(b)) if a == b => {}
            (None, None) => break,
            (a, b) => {
                let line = |line: Option<&str>| line.map_or("the end".to_owned(), |text| format!("`{text}`"));
                let told = format!(
                    "differs in line {n}: it has {}, the text has {}; if that is right, run with {UPDATE}=1",
                    line(a),
                    line(b)
                );
                return Err(broken(told));
            }
        }
    }
    Err(broken(format!("differs in its line breaks; if that is right, run with {UPDATE}=1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named_and_a_missing_file_can_be_made() {
        let path = std::env::temp_dir().join(format!("ir-golden-{}", std::process::id()));
        let missing = compare(&path, "a\nb\n", false).unwrap_err();
        assert!(missing.found.contains("IR_UPDATE_GOLDEN=1"), "{missing}");
        compare(&path, "a\nb\n", true).unwrap();
        compare(&path, "a\nb\n", false).unwrap();
        let other = compare(&path, "a\nc\n", false).unwrap_err();
        assert!(other.found.contains("line 2: it has `b`, the text has `c`"), "{other}");
        assert!(compare(&path, "a\nb", false).unwrap_err().found.contains("line breaks"));
        assert!(compare(&path, "a\n", false).unwrap_err().found.contains("the text has the end"));
        std::fs::remove_file(&path).unwrap();
    }
}
