//! `ir-sim`: what the library does in worlds that a seed makes, where it is known what was planted and what was not.

mod behaviour;
mod clean;
mod incidents;
mod leaks;
mod series;
mod year;

use std::process::ExitCode;

/// What a subcommand does with its first seed and the number of seeds, and how it is called.
type Subcommand = (&'static str, fn(u64, u64) -> String);

/// Every subcommand, one file each.
const SUBCOMMANDS: &[Subcommand] = &[
    ("behaviour", behaviour::run),
    ("clean", clean::run),
    ("incidents", incidents::run),
    ("leaks", leaks::run),
    ("series", series::run),
    ("telling", incidents::run_telling),
    ("year", year::run),
];

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("ir-sim: {why}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<String, String> {
    let names: Vec<&str> = SUBCOMMANDS.iter().map(|(name, _)| *name).collect();
    let usage = || format!("usage: ir-sim {} [SEEDS [FIRST]], for example `ir-sim leaks 100`", names.join("|"));
    let mut words = std::env::args().skip(1);
    let wanted = words.next().ok_or_else(usage)?;
    let (_, subcommand) = SUBCOMMANDS.iter().find(|(name, _)| *name == wanted).ok_or_else(usage)?;
    let mut number = |default: u64| match words.next() {
        Some(word) => word.parse().map_err(|_| format!("`{word}` is not a number; {}", usage())),
        None => Ok(default),
    };
    let (seeds, first) = (number(100)?, number(1)?);
    Ok(subcommand(first, seeds))
}
