//! The command line.

use anyhow::Result;
use lexopt::prelude::{Long, Short};

pub(crate) const HELP: &str = "\
A database drowns in somebody's runaway reports; the library takes them out before the shop's customers notice.

    db_overload               with the library at work
    db_overload --left-alone  the same load, and nobody does anything

It starts PostgreSQL, the exporter and Prometheus of Debian on free ports in a folder of its own, and ends them. The exit code
is 0 when all was as it should be: healed without a trace, or, left alone, not healed at all.
";

pub(crate) struct Options {
    pub(crate) left_alone: bool,
}

impl Options {
    /// Nothing when help was asked for.
    pub(crate) fn from_command_line() -> Result<Option<Self>> {
        let mut options = Self { left_alone: false };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("left-alone") => options.left_alone = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}
