//! One supervised process.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ir_core::execution::{Attempt, Probed};
use ir_core::kernel::Permit;
use ir_core::{Ctx, Error, ErrorKind, Result};
use rustix::process::Signal;

use super::memory::Memory;
use super::{Action, COMPONENT, ProcessId, ProcessSpec};

/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// What is kept of the time for killing and starting again, when a process takes its time to end.
const RESERVE_NS: u64 = 500_000_000;

/// One supervised process.
#[derive(Debug)]
pub(super) struct Slot {
    spec: ProcessSpec,
    memory: PathBuf,
    grace_ns: u64,
    /// Held while something is done to the process.
    busy: tokio::sync::Mutex<()>,
    /// The process, where this executor started it: to be collected when it ends.
    child: Mutex<Option<Child>>,
}

impl Slot {
    pub(super) fn new(spec: ProcessSpec, memory: PathBuf, stop_grace_ms: u64) -> Self {
        let grace_ns = stop_grace_ms.saturating_mul(1_000_000);
        Self { spec, memory, grace_ns, busy: tokio::sync::Mutex::default(), child: Mutex::default() }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Result<Memory> {
        Memory::load(&self.memory)
    }

    /// The process of `memory`, if it runs. Collects a child that has ended.
    fn running_of(&self, memory: &Memory) -> Option<ProcessId> {
        if let Some(child) = &mut *self.child() {
            // Whether collecting worked does not matter: the state in /proc tells whether it runs.
            let _ = child.try_wait();
        }
        memory.process.clone().filter(ProcessId::is_running)
    }

    pub(super) async fn running(&self) -> Result<Option<ProcessId>> {
        Ok(self.running_of(&self.load()?))
    }

    pub(super) async fn start_unless_running(&self) -> Result<()> {
        let _busy = self.busy.lock().await;
        let mut memory = self.load()?;
        if self.running_of(&memory).is_none() {
            self.start(&mut memory)?;
            memory.store(&self.memory)?;
        }
        Ok(())
    }

    /// For the end of the executor: no time is given.
    pub(super) fn kill_now(&self) {
        let Ok(memory) = self.load() else { return };
        if let Some(process) = self.running_of(&memory) {
            // The executor is going away, there is nobody left to tell.
            let _ = process.signal(Signal::KILL);
            if let Some(child) = &mut *self.child() {
                let _ = child.wait();
            }
        }
    }

    pub(super) async fn perform(&self, ctx: &Ctx, action: Action, permit: Permit) -> Result<Attempt> {
        let _busy = self.busy.lock().await;
        let mut memory = self.load()?;
        let effect = permit.redeem()?;
        let key = effect.key().to_string();
        if let Some(summary) = memory.done(&key) {
            return Ok(Attempt::applied(summary));
        }
        memory.begun = Some(key.clone());
        if let Err(error) = memory.store(&self.memory) {
            return Ok(effect.not_applied(error).into());
        }

        let running = self.running_of(&memory);
        let deadline = effect.deadline_mono_ns();
        let done = match (action, running) {
            (Action::Stop, None) => Ok("it did not run".to_owned()),
            (Action::Start, Some(id)) => Ok(format!("it ran as {id} before")),
            (Action::Stop, Some(id)) => self.stop(ctx, &id, deadline).await.map(|()| format!("stopped {id}")),
            (Action::Start | Action::Restart, None) => self.start_in_time(ctx, &mut memory, deadline, None),
            (Action::Restart, Some(id)) => match self.stop(ctx, &id, deadline).await {
                Ok(()) => self.start_in_time(ctx, &mut memory, deadline, Some(&id)),
                Err(failure) => Err(failure),
            },
        };
        match done {
            Ok(summary) => {
                memory.finish(&key, &summary);
                // The effect is there; when that cannot be remembered, nobody may later say that it is not.
                memory.store(&self.memory).map_err(|error| unknown(&format!("{summary}, but {}", error.message())))?;
                Ok(Attempt::applied(summary))
            }
            Err(error) if error.kind() == ErrorKind::Unknown => Err(error),
            Err(error) => {
                memory.begun = None;
                memory.store(&self.memory).map_err(|error| unknown(error.message()))?;
                Ok(effect.not_applied(error).into())
            }
        }
    }

    /// Ends the process: asked first, then by force, and never after the deadline.
    async fn stop(&self, ctx: &Ctx, process: &ProcessId, deadline: u64) -> Result<()> {
        let not_sent = |what: &str| Error::new(ErrorKind::Timeout, COMPONENT, what.to_owned());
        let now = ctx.now().mono_ns;
        if now >= deadline {
            return Err(not_sent("the deadline came before anything was sent"));
        }
        let asked_until = now.saturating_add(self.grace_ns).min(deadline.saturating_sub(RESERVE_NS));
        process.signal(Signal::TERM).map_err(|error| {
            Error::new(ErrorKind::Unauthorized, COMPONENT, format!("{process} could not be signalled: {error}"))
        })?;
        if self.ended(ctx, process, asked_until).await {
            return Ok(());
        }
        if ctx.now().mono_ns < deadline {
            process
                .signal(Signal::KILL)
                .map_err(|error| unknown(&format!("{process} could not be killed: {error}")))?;
        }
        if self.ended(ctx, process, deadline).await {
            return Ok(());
        }
        Err(unknown(&format!("{process} was told to end and still runs at the deadline")))
    }

    /// Whether the process ends before `until`.
    async fn ended(&self, ctx: &Ctx, process: &ProcessId, until: u64) -> bool {
        loop {
            if let Some(child) = &mut *self.child() {
                let _ = child.try_wait();
            }
            if !process.is_running() {
                return true;
            }
            let now = ctx.now().mono_ns;
            if now >= until {
                return false;
            }
            let look = u64::try_from(LOOK.as_nanos()).unwrap_or(u64::MAX);
            ctx.clock().sleep_until(now.saturating_add(look).min(until)).await;
        }
    }

    fn start_in_time(&self, ctx: &Ctx, memory: &mut Memory, deadline: u64, old: Option<&ProcessId>) -> Result<String> {
        let failed = |error: Error| match old {
            // Half of a restart is no "nothing was changed".
            Some(old) => unknown(&format!("{old} was stopped and not started again: {}", error.message())),
            None => error,
        };
        if ctx.now().mono_ns >= deadline {
            return Err(failed(Error::new(ErrorKind::Timeout, COMPONENT, "the deadline passed")));
        }
        let id = self.start(memory).map_err(failed)?;
        Ok(match old {
            Some(old) => format!("stopped {old}, started {id}"),
            None => format!("started {id}"),
        })
    }

    fn start(&self, memory: &mut Memory) -> Result<ProcessId> {
        let unavailable = |what: String| Error::new(ErrorKind::Unavailable, COMPONENT, what);
        let spec = &self.spec;
        let (program, arguments) =
            spec.command.split_first().ok_or_else(|| unavailable("there is no command".to_owned()))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(&spec.env).stdin(Stdio::null());
        match &spec.log {
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
            Some(path) => {
                let open = || std::fs::OpenOptions::new().create(true).append(true).open(path);
                let cannot = |error: std::io::Error| unavailable(format!("cannot write `{}`: {error}", path.display()));
                command.stdout(open().map_err(cannot)?).stderr(open().map_err(cannot)?);
            }
        }
        if let Some(workdir) = &spec.workdir {
            command.current_dir(workdir);
        }
        // A group of its own: what is typed at the executor's terminal does not reach it, and it can be signalled whole.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child =
            command.spawn().map_err(|error| unavailable(format!("`{program}` could not be started: {error}")))?;
        // A process that ends at once is still the one that was started.
        let id = ProcessId::of(child.id()).unwrap_or(ProcessId {
            pid: i32::try_from(child.id()).unwrap_or(0),
            started: 0,
            boot: String::new(),
        });
        *self.child() = Some(child);
        memory.process = Some(id.clone());
        Ok(id)
    }

    pub(super) async fn probe(&self, action: Action, key: &str) -> Result<Probed> {
        let memory = self.load()?;
        if memory.done(key).is_some() {
            return Ok(Probed::Applied);
        }
        if memory.begun.as_deref() != Some(key) {
            return Ok(Probed::NotApplied);
        }
        // Begun and not ended: only a stop can be seen from outside. Of a start that nobody remembers nothing can be known.
        let stopped = action == Action::Stop && memory.process.is_some() && self.running_of(&memory).is_none();
        Ok(if stopped { Probed::Applied } else { Probed::Unknown })
    }
}

fn unknown(what: &str) -> Error {
    Error::new(ErrorKind::Unknown, COMPONENT, what)
}
