//! Real processes break and are healed, with every step explained and recorded.
//!
//! One binary, several roles: the first word chooses. Without one it is the director, which starts all others, breaks
//! something, and judges what became of it.

mod cli;
mod clock;
mod director;
mod fault;
mod http;
mod judge;
mod load;
mod parent;
mod person;
mod records;
mod responder;
mod rng;
mod service;
mod shop;
mod story;

use std::process::ExitCode;

use anyhow::{Context, Result};
use cli::Role;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let role = cli::parse(std::env::args_os().skip(1))?;
    // One thread per process: the shop is many small processes, as in life, and two cores are enough for all of them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match role {
            Role::Help => {
                print!("{}", cli::HELP);
                Ok(ExitCode::SUCCESS)
            }
            Role::Replay(journal) => director::replay::run(&journal).await,
            Role::Director(options) => director::run(options).await,
            Role::Shop(run) => shop::run(run, program()?).await.map(|()| ExitCode::SUCCESS),
            Role::Service(options) => service::run(options).await.map(|()| ExitCode::SUCCESS),
            Role::Load(options) => load::run(options).await.map(|()| ExitCode::SUCCESS),
            Role::Responder(options) => responder::run(options).await.map(|()| ExitCode::SUCCESS),
        }
    });
    // Whatever still runs in the background (a reader of the terminal, a hung request) must not keep us.
    runtime.shutdown_background();
    done
}

fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find our own program")
}
