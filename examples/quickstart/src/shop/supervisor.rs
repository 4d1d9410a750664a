//! Runs one process per service and replaces it when told. It never restarts or rolls back anything by itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Serialize;

use super::effects::{Author, Changes, Effects};
use super::instance::{Instance, Start};
use super::proxy::Proxy;
use crate::clock;
use crate::fault::{Fault, SERVICES};
use crate::records::{self, Effect, EffectKind, RunDir, Version, next_version};

/// How long a process may take to stop before it is killed. It must finish what it is doing, but whoever restarts a
/// service wants it back soon.
const RESTART_GRACE: Duration = Duration::from_secs(1);
/// As above for the old process of a deployment, which nobody waits for: longer than the longest call (1.2 s).
const DRAIN_GRACE: Duration = Duration::from_millis(2500);
/// What ran before the run began, and what runs when it begins.
const HISTORY: [(&str, &str); 2] = [("1.0.0", "first release"), ("1.1.0", "clearer receipts")];

#[derive(Debug)]
pub(crate) struct Supervisor {
    run: RunDir,
    program: PathBuf,
    services: Vec<Arc<Service>>,
    effects: Effects,
    pub(crate) changes: Changes,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) calls: Option<&'static str>,
    proxy: Proxy,
    /// One thing is done to a service at a time.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<ServiceState>,
}

#[derive(Debug)]
struct ServiceState {
    /// Versions in the order of deployment; the last one is what runs or should run.
    history: Vec<String>,
    /// Counts the processes started for this service; each has its own number, also one that never served.
    n_started: u64,
    /// The number of the last process that served.
    generation: u64,
    phase: Phase,
    current: Option<Instance>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Running,
    Down,
    Starting,
}

/// A service as the control API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceView {
    name: String,
    version: String,
    previous_version: Option<String>,
    instance: Option<String>,
    generation: u64,
    state: Phase,
    url: String,
    calls: Vec<String>,
    log: PathBuf,
}

/// What came of an operation.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Done {
    pub(crate) key: String,
    pub(crate) effect: EffectKind,
    pub(crate) seq: u64,
    pub(crate) service: String,
    pub(crate) generation: u64,
    pub(crate) version: String,
    /// When it took hold: the new process serves, or the old one was told to stop.
    #[serde(with = "clock::text")]
    pub(crate) at: Timestamp,
}

impl Service {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    fn with<T>(&self, f: impl FnOnce(&mut ServiceState) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn version(&self) -> String {
        self.with(|state| state.history.last().cloned().unwrap_or_default())
    }

    /// Lets `instance` serve, and notices when it is gone.
    fn install(self: &Arc<Self>, instance: Instance) {
        self.proxy.point_to(Some(instance.address));
        self.with(|state| {
            state.phase = Phase::Running;
            state.generation = instance.generation;
            state.current = Some(instance.clone());
        });
        let service = Arc::clone(self);
        tokio::spawn(async move {
            let how = instance.exited().await;
            service.lost(&instance, &how);
        });
    }

    /// A process is gone. If it was the one that served, nobody does now; that is all we do about it.
    fn lost(&self, instance: &Instance, how: &str) {
        let was_current = self.with(|state| {
            let was_current = state.current.as_ref().is_some_and(|current| current.id == instance.id);
            if was_current {
                state.current = None;
                state.phase = Phase::Down;
            }
            was_current
        });
        if was_current {
            self.proxy.point_to(None);
            eprintln!("{} {} is down: {how}", clock::rfc3339(clock::now()), instance.id);
        }
    }
}

impl Supervisor {
    /// Starts all services; returns once each is healthy.
    pub(crate) async fn start(run: RunDir, program: PathBuf) -> Result<Arc<Self>> {
        let mut services = Vec::new();
        for (index, name) in SERVICES.into_iter().enumerate() {
            for (version, notes) in HISTORY {
                records::write_json(&run.version(name, version), &Version::good(version, notes))?;
            }
            let state = ServiceState {
                history: HISTORY.iter().map(|(version, _)| (*version).to_owned()).collect(),
                n_started: 0,
                generation: 0,
                phase: Phase::Starting,
                current: None,
            };
            services.push(Arc::new(Service {
                name,
                calls: SERVICES.get(index + 1).copied(),
                proxy: Proxy::start().await?,
                turn: tokio::sync::Mutex::default(),
                state: Mutex::new(state),
            }));
        }
        let effects = Effects::open(&run.effects())?;
        let supervisor = Arc::new(Self { run, program, services, effects, changes: Changes::default() });
        for service in &supervisor.services {
            let first = supervisor.launch(service, &service.version()).await?;
            service.install(first);
        }
        Ok(supervisor)
    }

    pub(crate) fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.name == name)
    }

    pub(crate) fn view(&self, service: &Service) -> ServiceView {
        service.with(|state| ServiceView {
            name: service.name.to_owned(),
            version: state.history.last().cloned().unwrap_or_default(),
            previous_version: state.history.iter().rev().nth(1).cloned(),
            instance: state.current.as_ref().map(|instance| instance.id.clone()),
            generation: state.generation,
            state: state.phase,
            url: service.url(),
            calls: service.calls.iter().map(|peer| (*peer).to_owned()).collect(),
            log: self.run.log(service.name),
        })
    }

    /// A new process beside whatever runs, healthy but not yet serving.
    async fn launch(&self, service: &Service, version: &str) -> Result<Instance> {
        let generation = service.with(|state| {
            state.n_started += 1;
            state.n_started
        });
        let peer = service.calls.and_then(|peer| self.service(peer));
        Instance::start(Start {
            program: self.program.clone(),
            service: service.name,
            id: format!("{}-{generation}", service.name),
            generation,
            version_file: self.run.version(service.name, version),
            log: self.run.log(service.name),
            peer: peer.map(|peer| (peer.name, peer.proxy.address())),
        })
        .await
    }

    /// Stops the process, by force if need be, and starts the same version again.
    pub(crate) async fn restart(&self, service: &Arc<Service>, author: &Author) -> Result<Done> {
        let _turn = service.turn.lock().await;
        let version = service.version();
        let change = self.changes.record(EffectKind::Restart, service.name, &version, &version, &author.by);
        service.proxy.point_to(None);
        let old = service.with(|state| {
            state.phase = Phase::Starting;
            state.current.take()
        });
        if let Some(old) = old {
            old.stop(RESTART_GRACE).await;
        }
        let started = self.launch(service, &version).await;
        let ok = started.is_ok();
        match started {
            Ok(new) => service.install(new),
            Err(_) => service.with(|state| state.phase = Phase::Down),
        }
        // Recorded in both cases: the service was touched.
        let done = self.record(service, author, EffectKind::Restart, (&version, &version), change.at, ok).await?;
        if ok { Ok(done) } else { bail!("{} was stopped but does not come up again", service.name) }
    }

    /// Deploys `version` without losing a request.
    pub(crate) async fn deploy(&self, service: &Arc<Service>, version: &str, author: &Author) -> Result<Done> {
        let _turn = service.turn.lock().await;
        self.replace(service, version, EffectKind::Deploy, author).await
    }

    /// Back to the version before the present one, or to `to`.
    pub(crate) async fn rollback(&self, service: &Arc<Service>, to: Option<&str>, author: &Author) -> Result<Done> {
        let _turn = service.turn.lock().await;
        let previous = service.with(|state| state.history.iter().rev().nth(1).cloned());
        let to = match to {
            Some(to) => to.to_owned(),
            None => previous.with_context(|| format!("{} has no earlier version", service.name))?,
        };
        self.replace(service, &to, EffectKind::Rollback, author).await
    }

    /// The new process starts beside the old one; only when it is healthy does it take over, and only then does the
    /// old one finish and stop. If the new one does not come up, nothing has changed.
    async fn replace(&self, service: &Arc<Service>, to: &str, kind: EffectKind, author: &Author) -> Result<Done> {
        let from = service.version();
        if !self.run.version(service.name, to).exists() {
            bail!("{} has no version `{to}`", service.name);
        }
        let new = self.launch(service, to).await?;
        let old = service.with(|state| {
            match kind {
                // Everything after the version we go back to is undone with it.
                EffectKind::Rollback => {
                    let depth = state.history.iter().rposition(|version| version == to);
                    state.history.truncate(depth.unwrap_or(0));
                    state.history.push(to.to_owned());
                }
                EffectKind::Deploy if from != to => state.history.push(to.to_owned()),
                EffectKind::Deploy | EffectKind::Restart => {}
            }
            state.current.take()
        });
        let change = self.changes.record(kind, service.name, &from, to, &author.by);
        service.install(new);
        if let Some(old) = old {
            old.stop(DRAIN_GRACE).await;
        }
        self.record(service, author, kind, (&from, to), change.at, true).await
    }

    async fn record(
        &self,
        service: &Service,
        author: &Author,
        kind: EffectKind,
        (from, to): (&str, &str),
        at: Timestamp,
        ok: bool,
    ) -> Result<Done> {
        let generation = service.with(|state| state.generation);
        let effect = Effect {
            seq: 0,
            at,
            kind,
            service: service.name.to_owned(),
            key: author.key.clone(),
            token: author.token,
            by: author.by.clone(),
            from_version: from.to_owned(),
            to_version: to.to_owned(),
            generation,
            ok,
        };
        let seq = self.effects.record(effect).await?;
        let (key, service) = (author.key.clone(), service.name.to_owned());
        Ok(Done { key, effect: kind, seq, service, generation, version: to.to_owned(), at })
    }

    /// Nature strikes; returns when.
    pub(crate) async fn strike(&self, service: &Arc<Service>, fault: Fault) -> Result<Timestamp> {
        if let Some(bad) = fault.bad_version(&next_version(&service.version())) {
            records::write_json(&self.run.version(service.name, &bad.version), &bad)?;
            let key = format!("deploy-{}-{}", service.name, bad.version);
            let author = Author { by: "director".to_owned(), key, token: None };
            return Ok(self.deploy(service, &bad.version, &author).await?.at);
        }
        let current = service.with(|state| state.current.clone());
        let current = current.with_context(|| format!("{} does not run", service.name))?;
        let at = clock::now();
        current.tell(fault.name());
        if fault == Fault::Crash {
            current.exited().await;
        }
        Ok(at)
    }
}
