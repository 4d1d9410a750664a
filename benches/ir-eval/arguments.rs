//! What every subcommand is given: a folder to read, a folder to write, and flags of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The parsed words behind the subcommand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The data set, in the layout of its README.
    pub(crate) input: PathBuf,
    /// Where results go, in the layout its scorer reads. Made when it is not there.
    pub(crate) output: PathBuf,
    flags: BTreeSet<String>,
}

impl Arguments {
    /// `--in FOLDER --out FOLDER`, and flags without values in any order.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut input, mut output, mut flags) = (None, None, BTreeSet::new());
        let mut words = words;
        while let Some(word) = words.next() {
            let mut folder = || words.next().map(PathBuf::from).ok_or_else(|| format!("`{word}` needs a folder"));
            match word.as_str() {
                "--in" => input = Some(folder()?),
                "--out" => output = Some(folder()?),
                flag if flag.starts_with("--") => {
                    flags.insert(flag.to_owned());
                }
                other => return Err(format!("`{other}` is not understood")),
            }
        }
        let input = input.ok_or("`--in FOLDER` is missing")?;
        let output = output.ok_or("`--out FOLDER` is missing")?;
        Ok(Self { input, output, flags })
    }

    /// Refuses every flag that is not among `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.flags.iter().find(|flag| !known.contains(&flag.as_str())) {
            Some(flag) => Err(format!("`{flag}` is not known here")),
            None => Ok(()),
        }
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
        assert_eq!(parse("a").unwrap_err(), "`a` is not understood");
    }
}
