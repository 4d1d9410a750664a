//! `ir-eval`: runs the library with its default configuration over a folder of data, and writes what it said for a scorer.

mod arguments;
mod faults;
mod logs;
mod seq;
mod table;
mod tsad;
mod wait;

use std::process::ExitCode;

use arguments::Arguments;

/// What a subcommand does, and how it is called.
type Subcommand = (&'static str, fn(&Arguments) -> Result<(), String>);

/// Every subcommand, one file each.
const SUBCOMMANDS: &[Subcommand] =
    &[("faults", faults::run), ("logs", logs::run), ("seq", seq::run), ("tsad", tsad::run)];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ir-eval: {why}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut words = std::env::args().skip(1);
    let names: Vec<&str> = SUBCOMMANDS.iter().map(|(name, _)| *name).collect();
    let usage = || format!("usage: ir-eval {} --in FOLDER --out FOLDER", names.join("|"));
    let wanted = words.next().ok_or_else(usage)?;
    let (_, subcommand) = SUBCOMMANDS.iter().find(|(name, _)| *name == wanted).ok_or_else(usage)?;
    subcommand(&Arguments::parse(words)?)
}
