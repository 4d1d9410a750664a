//! The shop: it supervises four services behind stable addresses and does to them what it is told, never more.

mod control;
mod effects;
mod instance;
mod operations;
mod proxy;
mod supervisor;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fault::SERVICES;
use crate::http;
use crate::parent;
use crate::records::{self, RunDir, ServiceEntry, ShopFile};
use operations::Operations;
use supervisor::Supervisor;

/// Runs until asked to stop. The services go with us: their standard input ends when we do.
pub(crate) async fn run(run: RunDir, program: PathBuf) -> Result<()> {
    let _lines = parent::lines();
    // The services stand elsewhere, so their paths must not depend on where we stand.
    let run = RunDir(std::path::absolute(run.0)?);
    run.create()?;
    let supervisor = Supervisor::start(run.clone(), program).await?;
    let operations = Operations::new(Arc::clone(&supervisor));

    let (_stop, stopped) = watch::channel(false);
    let control = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen for control")?;
    let fault = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen for faults")?;
    let file = ShopFile {
        control: format!("http://{}", control.local_addr()?),
        fault: format!("http://{}", fault.local_addr()?),
        services: entries(&run, &supervisor),
    };
    tokio::spawn(http::serve(control, stopped.clone(), {
        let operations = Arc::clone(&operations);
        move |request| control::control(Arc::clone(&operations), request)
    }));
    tokio::spawn(http::serve(fault, stopped, move |request| control::fault(Arc::clone(&operations), request)));

    records::write_text(&run.topology(), &topology())?;
    // Last, because whoever finds this file may rely on all the rest.
    records::write_json(&run.shop(), &file)?;
    parent::asked_to_stop().await
}

fn entries(run: &RunDir, supervisor: &Supervisor) -> Vec<ServiceEntry> {
    supervisor
        .services()
        .iter()
        .map(|service| ServiceEntry {
            name: service.name.to_owned(),
            url: service.url(),
            metrics_url: format!("{}/metrics", service.url()),
            log: run.log(service.name),
            calls: service.calls.iter().map(|peer| (*peer).to_owned()).collect(),
        })
        .collect()
}

/// Who depends on whom, in the form that the library reads: `from` depends on `to`.
fn topology() -> String {
    let mut text = String::from("# Written by the shop. `from` depends on `to`.\n");
    for service in SERVICES {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "\n[[entity]]\nid = \"{service}\"\nkind = \"service\"\nenvironment = \"demo\"\n");
    }
    for pair in SERVICES.windows(2) {
        let _ = write!(text, "\n[[dependency]]\nfrom = \"{}\"\nto = \"{}\"\nkind = \"calls\"\n", pair[0], pair[1]);
    }
    text
}
