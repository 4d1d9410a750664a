//! What every subcommand is given: a folder to read, a folder to write, and flags of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The parsed words behind the subcommand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The data set, in the layout of its README. Empty where data is made up.
    pub(crate) input: PathBuf,
    /// Where results go, in the layout its scorer reads. Made when it is not there.
    pub(crate) output: PathBuf,
    flags: BTreeSet<String>,
    values: BTreeMap<String, String>,
}

/// Flags that are followed by a value.
const VALUED: &[&str] = &["--clean", "--flood", "--seed", "--speed"];

impl Arguments {
    /// `--in FOLDER --out FOLDER`, and flags in any order.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut input, mut output) = (None, None);
        let (mut flags, mut values) = (BTreeSet::new(), BTreeMap::new());
        let mut words = words;
        while let Some(word) = words.next() {
            let mut folder = || words.next().map(PathBuf::from).ok_or_else(|| format!("`{word}` needs a folder"));
            match word.as_str() {
                "--in" => input = Some(folder()?),
                "--out" => output = Some(folder()?),
                flag if VALUED.contains(&flag) => {
                    let value = words.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
                    values.insert(flag.to_owned(), value);
                    flags.insert(flag.to_owned());
                }
                flag if flag.starts_with("--") => {
                    flags.insert(flag.to_owned());
                }
                other => return Err(format!("`{other}` is not understood")),
            }
        }
        // Made-up data, and a single file, need no folder.
        let spare = ["--clean", "--flood", "--speed"].iter().any(|flag| flags.contains(*flag)).then(PathBuf::new);
        let input = input.or_else(|| spare.clone()).ok_or("`--in FOLDER` is missing")?;
        let output = output.or(spare).ok_or("`--out FOLDER` is missing")?;
        Ok(Self { input, output, flags, values })
    }

    /// Refuses every flag that is not among `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.flags.iter().find(|flag| !known.contains(&flag.as_str())) {
            Some(flag) => Err(format!("`{flag}` is not known here")),
            None => Ok(()),
        }
    }

    /// The value of a flag that has one.
    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).map(String::as_str)
    }

    /// Whether a flag was given.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn folders_and_flags_come_in_any_order() {
        let arguments = parse("--raw --out b --in a").unwrap();
        assert_eq!((arguments.input.to_str(), arguments.output.to_str()), (Some("a"), Some("b")));
        assert!(arguments.has("--raw") && !arguments.has("--other"));
        assert!(arguments.only(&["--raw"]).is_ok() && arguments.only(&[]).is_err());
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        assert_eq!(parse("--in a").unwrap_err(), "`--out FOLDER` is missing");
        assert_eq!(parse("--in a --out").unwrap_err(), "`--out` needs a folder");
        assert_eq!(parse("--seed").unwrap_err(), "`--seed` needs a value");
        let made_up = parse("--clean 2 --seed 7").unwrap();
        assert_eq!((made_up.value("--clean"), made_up.value("--seed")), (Some("2"), Some("7")));
        assert_eq!(parse("a").unwrap_err(), "`a` is not understood");
    }
}
