//! The director: starts everybody, breaks something, waits, and lets the judge speak.

mod kill;
pub(crate) mod replay;
mod report;
mod troupe;
mod wait;
mod watch;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::cli::{DirectorOptions, Tier};
use crate::clock::{self, seconds_between};
use crate::fault::{Fault, Harmless};
use crate::http::{self, Call, Client};
use crate::judge::{Evidence, Healer, describe, judge};
use crate::parent;
use crate::person;
use crate::records::{self, Alert, Effect, Processes, ResponderReport, RunDir, ShopFile, Tail, Version, next_version};
use crate::story::{Story, Voice};
use kill::Killer;
use report::Outcome;
use troupe::Player;
use watch::Watch;

/// How often we look around.
const TICK: Duration = Duration::from_millis(100);
/// The shop must be up, and clients answered, by then.
const READY_SECS: f64 = 15.0;
/// A bad deployment drains for at most 2.5 s after a start of at most 5 s.
const STRIKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one story; success only if it went right.
pub(crate) async fn run(options: DirectorOptions) -> Result<ExitCode> {
    let mut terminated = std::pin::pin!(parent::asked_to_stop());
    // Whatever is dropped here takes its processes with it.
    tokio::select! {
        done = Director::play(options) => done,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        _ = &mut terminated => Ok(ExitCode::from(143)),
    }
}

struct Director {
    options: DirectorOptions,
    healer: Healer,
    run: RunDir,
    story: Story,
    shop: Player,
    load: Player,
    responder: Player,
    typed: Option<mpsc::UnboundedReceiver<String>>,
    watch: Watch,
    control: SocketAddr,
    fault: SocketAddr,
    fault_at: Option<Timestamp>,
    alerts: Tail,
    /// After the fault.
    first_alert: Option<Timestamp>,
    effects: Tail,
    /// When somebody other than us first did something.
    acted_at: Option<Timestamp>,
    responder_deaths: u32,
    revive_at: Option<f64>,
    killer: Option<Killer>,
}

impl Director {
    async fn play(mut options: DirectorOptions) -> Result<ExitCode> {
        if let Some(seed) = options.kill {
            options.revive_secs.get_or_insert(kill::REVIVE_SECS);
            if kill::is_in_flight(seed) {
                options.hold_reply_ms.get_or_insert(kill::HOLD_REPLY_MS);
            }
        }
        let mut director = Self::set_up(options).await?;
        let learned_at = director.learn().await?;
        let harmless = Harmless::draw(director.options.seed, director.options.target);
        let harmless_at = director.deploy_harmlessly(harmless.service).await?;
        let fault_at = match director.options.fault {
            Fault::None => harmless_at,
            fault => director.strike(fault, harmless_at, harmless.seconds_before).await?,
        };
        director.fault_at = Some(fault_at);
        director.watch.count_from(fault_at);
        director.see_it_through(learned_at, fault_at).await?;
        director.stop().await?;
        director.close(fault_at, harmless.service)
    }

    /// Starts the shop, then its clients, then whoever is to heal it.
    async fn set_up(options: DirectorOptions) -> Result<Self> {
        let mut story = Story::begin();
        let run = run_dir(&options)?;
        run.create()?;
        story.tell(Voice::Director, &format!("run directory {}", run.0.display()));

        let mut shop = Player::start("shop", &[OsString::from("--run"), run.0.clone().into()], &run)?;
        let file: ShopFile = loop {
            match records::read_json(&run.shop()) {
                Ok(file) => break file,
                Err(_) if story.secs() < READY_SECS => tokio::time::sleep(TICK / 4).await,
                Err(error) => return Err(error.context("the shop does not come up")),
            }
            if let Some(status) = shop.ended()? {
                return Err(shop.complaint(status));
            }
        };
        let names: Vec<&str> = file.services.iter().map(|service| service.name.as_str()).collect();
        story.tell(Voice::Shop, &format!("{} are up, each a process behind a stable port", names.join(" -> ")));

        let gateway = file.services.first().context("the shop has no services")?;
        let load = Player::start(
            "load",
            &[
                "--address".into(),
                http::address_of(&gateway.url)?.to_string().into(),
                "--path".into(),
                "/checkout".into(),
                "--rate".into(),
                options.rate.to_string().into(),
                "--out".into(),
                run.clients().into(),
            ],
            &run,
        )?;
        story.tell(Voice::Clients, &format!("{} requests per second to {}", options.rate, gateway.name));
        let responder = start_responder(&options, &run)?;

        let (control, fault) = (http::address_of(&file.control)?, http::address_of(&file.fault)?);
        if let Some(ms) = options.hold_reply_ms {
            post(fault, "/v1/knobs", &serde_json::json!({ "hold_reply_ms": ms })).await?;
        }
        // Only a person at tier approve or veto types anything that matters.
        let asks = matches!(options.tier, Tier::Approve | Tier::Veto) && options.answer.is_none();
        let killer = options.kill.map(|seed| Killer::new(seed, options.fault, journal_of(&options, &run)));
        let director = Self {
            healer: healer(&options),
            watch: Watch::new(Tail::new(run.clients()), options.rate),
            alerts: Tail::new(run.alerts()),
            effects: Tail::new(run.effects()),
            typed: asks.then(parent::typed),
            options,
            run,
            story,
            shop,
            load,
            responder,
            control,
            fault,
            fault_at: None,
            first_alert: None,
            acted_at: None,
            responder_deaths: 0,
            revive_at: None,
            killer,
        };
        director.write_processes()?;
        Ok(director)
    }

    fn write_processes(&self) -> Result<()> {
        let processes = Processes {
            director: Some(std::process::id()),
            shop: self.shop.pid(),
            load: self.load.pid(),
            responder: self.responder.pid(),
        };
        records::write_json(&self.run.processes(), &processes)
    }

    /// A moment passes: what the others say is told, what they wrote is read.
    async fn tick(&mut self) -> Result<()> {
        tokio::time::sleep(TICK).await;
        while let Some(line) = self.responder.said() {
            self.story.tell(Voice::Responder, &line);
        }
        while let Some(line) = self.typed.as_mut().and_then(|typed| typed.try_recv().ok()) {
            self.responder.tell(&line).await;
        }
        for player in [&mut self.shop, &mut self.load] {
            if let Some(status) = player.ended()? {
                return Err(player.complaint(status));
            }
        }
        self.kill_when_due().await?;
        self.mind_the_responder()?;
        self.watch.poll(clock::now())?;
        for alert in self.alerts.poll::<Alert>()? {
            // An alert from before the fault is about something else.
            if self.fault_at.is_some_and(|fault_at| alert.at >= fault_at) {
                self.first_alert = self.first_alert.or(Some(alert.at));
            }
        }
        for effect in self.effects.poll::<Effect>()? {
            if effect.by == "director" {
                continue;
            }
            self.story.tell(Voice::Shop, &describe(&effect));
            self.acted_at = self.acted_at.or(Some(effect.at));
        }
        Ok(())
    }

    async fn kill_when_due(&mut self) -> Result<()> {
        let now = self.story.secs();
        let Some(killer) = &mut self.killer else { return Ok(()) };
        if killer.is_due(now)? {
            self.responder.kill().await?;
            let stage = killer.note_killed()?;
            self.story.tell(Voice::Nature, &format!("the responder is killed (kill -9) at stage {stage:?}"));
        }
        Ok(())
    }

    /// A responder that ended is told of once, and started again if so ordered: it must find its way by its journal.
    fn mind_the_responder(&mut self) -> Result<()> {
        let Some(status) = self.responder.ended()? else { return Ok(()) };
        let now = self.story.secs();
        match self.revive_at {
            None => {
                self.responder_deaths += 1;
                let complaint = self.responder.complaint(status);
                self.story.tell(Voice::Director, &complaint.to_string());
                self.revive_at = Some(self.options.revive_secs.map_or(f64::INFINITY, |secs| now + secs));
            }
            Some(at) if now >= at => {
                self.responder = start_responder(&self.options, &self.run)?;
                self.revive_at = None;
                self.write_processes()?;
                self.story.tell(Voice::Director, "the responder is started again");
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A good new version on another service: a change that is not the cause.
    async fn deploy_harmlessly(&mut self, service: &'static str) -> Result<Timestamp> {
        let path = format!("/v1/services/{service}");
        let (status, body) = Client::new(self.control).call(Call::get(&path), STRIKE_TIMEOUT).await?;
        ensure!(status == 200, "the shop does not know {service}");
        let view: serde_json::Value = serde_json::from_slice(&body)?;
        let version = next_version(view["version"].as_str().context("the shop shows no version")?);
        records::write_json(&self.run.version(service, &version), &Version::good(&version, "tidier logs"))?;

        self.story.tell(Voice::Shop, &format!("harmless deploy: {service} {version}"));
        let at = clock::now();
        let body = serde_json::json!({ "version": version }).to_string();
        person::operate(self.control, "director", service, "deploy", &body).await?;
        Ok(at)
    }

    async fn strike(&mut self, fault: Fault, harmless_at: Timestamp, secs_after: f64) -> Result<Timestamp> {
        while seconds_between(harmless_at, clock::now()) < secs_after {
            self.tick().await?;
        }
        let target = self.options.target;
        self.story.tell(Voice::Nature, &format!("{target}: {}", fault.story()));
        let answer = post(self.fault, "/v1/faults", &serde_json::json!({ "kind": fault, "service": target })).await?;
        let at = answer["at"].as_str().context("the shop does not say when it broke")?;
        Ok(at.parse()?)
    }

    /// Clients first, so that none of them sees the rest go; then the responder, which closes its journal.
    async fn stop(&mut self) -> Result<()> {
        self.load.stop(crate::load::PATIENCE + Duration::from_millis(500)).await?;
        self.responder.stop(Duration::from_secs(5)).await?;
        while let Some(line) = self.responder.said() {
            self.story.tell(Voice::Responder, &line);
        }
        self.shop.stop(Duration::from_secs(1)).await
    }

    fn close(mut self, fault_at: Timestamp, harmless_service: &str) -> Result<ExitCode> {
        // From the start again: the tail we followed was for telling the story.
        let clients = Tail::new(self.run.clients()).poll()?;
        let effects: Vec<Effect> = Tail::new(self.run.effects()).poll()?;
        let report = ResponderReport::read(&self.run.responder());
        let judgement = judge(&Evidence {
            fault: self.options.fault,
            target: self.options.target,
            fault_at,
            healer: self.healer,
            clients: &clients,
            effects: &effects,
            responder: report.as_ref(),
            first_alert: self.first_alert,
        });
        let mut judgement = judgement;
        if let Some(killer) = &self.killer
            && killer.killed.is_none_or(|stage| matches!(stage, kill::Stage::Watching | kill::Stage::Over))
        {
            judgement.right = false;
            judgement
                .reasons
                .push("the kill did not fall between the first anomaly and the end of verification".to_owned());
        }
        let right = judgement.right;
        let outcome = Outcome {
            fault: self.options.fault,
            target: self.options.target.to_owned(),
            seed: self.options.seed,
            tier: self.options.tier.name(),
            healer: self.healer,
            fault_at: clock::rfc3339(fault_at),
            harmless_service: harmless_service.to_owned(),
            run_s: self.story.secs(),
            responder_deaths: self.responder_deaths,
            killed_while: self.killer.as_ref().and_then(|killer| killer.killed),
            judgement,
        };
        report::close(&mut self.story, &outcome, report.as_ref());
        if let Some(path) = &self.options.json {
            records::write_json(path, &outcome)?;
        }
        // A run that went wrong is worth looking at, and a directory that the caller chose is the caller's.
        if right && !self.options.keep && self.options.run.is_none() {
            std::fs::remove_dir_all(&self.run.0)?;
        } else {
            self.story.print(&format!("\nAll records are in {}", self.run.0.display()));
        }
        report::what_next(&mut self.story, &self.options);
        Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn healer(options: &DirectorOptions) -> Healer {
    if options.person_after_secs.is_some() {
        Healer::Person
    } else if options.tier.acts() && options.answer.as_deref() != Some("refuse") {
        Healer::Responder
    } else {
        Healer::Nobody
    }
}

fn run_dir(options: &DirectorOptions) -> Result<RunDir> {
    let Some(path) = &options.run else {
        let name = format!("quickstart-{}-{}", clock::now().as_millisecond(), std::process::id());
        return Ok(RunDir(std::env::temp_dir().join(name)));
    };
    // Absolute, because the services' logs are read by others from wherever they stand.
    let path = std::path::absolute(path)?;
    let run = RunDir(path);
    if run.shop().exists() {
        bail!("`{}` holds a run already", run.0.display());
    }
    Ok(run)
}

fn start_responder(options: &DirectorOptions, run: &RunDir) -> Result<Player> {
    let journal = journal_of(options, run);
    let mut args: Vec<OsString> = vec!["--run".into(), run.0.clone().into()];
    args.extend(["--tier".into(), options.tier.name().into(), "--journal".into(), journal.into()]);
    if let Some(answer) = &options.answer {
        args.extend(["--answer".into(), answer.into()]);
    }
    Player::start("responder", &args, run)
}

fn journal_of(options: &DirectorOptions, run: &RunDir) -> PathBuf {
    options.journal.clone().unwrap_or_else(|| run.journal())
}

async fn post(address: SocketAddr, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let body = Bytes::from(body.to_string());
    let headers = [("content-type", "application/json")];
    let call = Call { method: "POST", path, headers: &headers, body };
    let (status, answer) = Client::new(address).call(call, STRIKE_TIMEOUT).await?;
    ensure!(status == 200, "{path}: {status} {}", String::from_utf8_lossy(&answer));
    Ok(serde_json::from_slice(&answer)?)
}
