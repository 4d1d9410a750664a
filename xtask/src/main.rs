//! The project's own commands: `cargo xtask test`, `trial`, `fuzz`, `packages` and `schema`. This file is the command line only.

mod fail;
mod fuzz;
mod hash;
mod run;
mod stages;
mod table;
mod trial;
mod workspace;

use fail::{Context, Failure, Result};
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt as _};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test [--deep] [--from STAGE | --only STAGE] [--keep-going] [--no-install]
    all checks, stage by stage; stops at the first failure
    --deep          each feature alone, the costly features too, more cases
    --from STAGE    leave out the stages before it
    --only STAGE    this stage alone
    --keep-going    go on after a failure
    --no-install    never install what is missing, only name it

cargo xtask trial [--faults all|A,B] [--seeds 1..10] [--kill | --baseline] [--busy] [--fresh] [--out DIR] [--bin PATH]
    a campaign of the quickstart; what is already recorded for the same build is not run again
    --faults        all, or some of crash, hang, leak, slow, errors, bad-deploy, none
    --seeds         1..10 (both ends included), or 1,4,7
    --kill          the responder is killed and started again on the way (crash and bad-deploy by default)
    --baseline      the responder only watches, a simulated person acts after 5 minutes (seeds 1..2 by default)
    --busy          two busy loops beside each run
    --fresh         forget the selected runs first
    --out DIR       where the results go, ./trials by default
    --bin PATH      run this program instead of building the quickstart

cargo xtask fuzz [--secs 60] [TARGET ...]
    the fuzz targets, each for so long; needs a nightly compiler and cargo-fuzz

cargo xtask packages [--write]
    how many packages each library and feature brings; --write refreshes docs/packages.toml

cargo xtask schema [--check]
    refreshes the JSON schemas in docs/schema, or only compares them
";

fn main() -> ExitCode {
    match command() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the command line asks for; false when it ran and the answer is no.
fn command() -> Result<bool> {
    let mut parser = Parser::from_env();
    let name = match next(&mut parser)? {
        Some(Value(name)) => name.to_string_lossy().into_owned(),
        Some(Long("help") | Short('h')) | None => "help".to_owned(),
        Some(other) => return Err(Failure::new(other.unexpected().to_string())),
    };
    match name.as_str() {
        "test" => stages::test(&test_options(&mut parser)?),
        "trial" => trial::trial(&trial_options(&mut parser)?),
        "fuzz" => fuzz::fuzz(&fuzz_options(&mut parser)?).map(|()| true),
        "packages" => stages::packages::command(flag(&mut parser, "write")?).map(|()| true),
        "schema" => stages::schema::command(flag(&mut parser, "check")?).map(|()| true),
        "help" => {
            print!("{HELP}\nstages: {}\n", stages::names());
            Ok(true)
        }
        trial::SUBCOMMAND => {
            trial::spin();
            Ok(true)
        }
        other => Err(Failure::new(format!("no command `{other}`\n\n{HELP}"))),
    }
}

fn test_options(parser: &mut Parser) -> Result<stages::Options> {
    let mut options = stages::Options::default();
    while let Some(arg) = next(parser)? {
        match arg {
            Long("deep") => options.deep = true,
            Long("keep-going") => options.keep_going = true,
            Long("no-install") => options.no_install = true,
            Long("from") => options.from = Some(text(parser)?),
            Long("only") => options.only = Some(text(parser)?),
            other => return Err(Failure::new(other.unexpected().to_string())),
        }
    }
    Ok(options)
}

fn trial_options(parser: &mut Parser) -> Result<trial::Options> {
    let mut options = trial::Options { out: "trials".into(), ..trial::Options::default() };
    while let Some(arg) = next(parser)? {
        match arg {
            Long("faults") => options.faults = Some(trial::parse_faults(&text(parser)?)?),
            Long("seeds") => options.seeds = Some(trial::parse_seeds(&text(parser)?)?),
            Long("kill") => options.kill = true,
            Long("busy") => options.busy = true,
            Long("baseline") => options.baseline = true,
            Long("fresh") => options.fresh = true,
            Long("out") => options.out = text(parser)?.into(),
            Long("bin") => options.bin = Some(text(parser)?.into()),
            other => return Err(Failure::new(other.unexpected().to_string())),
        }
    }
    Ok(options)
}

fn fuzz_options(parser: &mut Parser) -> Result<fuzz::Options> {
    let mut options = fuzz::Options::default();
    while let Some(arg) = next(parser)? {
        match arg {
            Long("secs") => {
                let secs = text(parser)?;
                options.secs =
                    secs.parse().map_err(|_| Failure::new(format!("`{secs}` is not a number of seconds")))?;
            }
            Value(target) => options.targets.push(target.to_string_lossy().into_owned()),
            other => return Err(Failure::new(other.unexpected().to_string())),
        }
    }
    Ok(options)
}

/// Whether the one flag of a small command is set.
fn flag(parser: &mut Parser, name: &str) -> Result<bool> {
    let mut set = false;
    while let Some(arg) = next(parser)? {
        match arg {
            Long(found) if found == name => set = true,
            other => return Err(Failure::new(other.unexpected().to_string())),
        }
    }
    Ok(set)
}

fn next(parser: &mut Parser) -> Result<Option<lexopt::Arg<'_>>> {
    parser.next().context(|| "cannot read the command line".into())
}

fn text(parser: &mut Parser) -> Result<String> {
    parser.value().and_then(|v| v.string()).context(|| "cannot read the command line".into())
}
