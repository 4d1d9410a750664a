//! The gate: the journal's only writer, and the only mint of permits.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::Either;
use serde::Deserialize;

use super::check::{AuthorizeRequest, check};
use super::halt::{HaltHandle, HaltRequest, Switch};
use super::permit::{Fence, Life, Permit, PermitWatch, Receipt};
use super::state::State;
use crate::ctx::Ctx;
use crate::decision::Person;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::id::{Digest, PartName, StepRef};
use crate::journal::{
    AuditSink, Batch, Body, Chain, Checkpoint, Content, Event, Fenced, GateFact, Halted, Holder, Journal, ReadFrom,
    Record, Resolved,
};
use crate::time::{Clock, Moment};

const PAGE: usize = 512;

/// The usual deadline of one call of the journal: far above what a disk needs for a sync, and short enough that a halt is recorded
/// and a lease renewed in time.
pub const APPEND_WITHIN_MS: u64 = 10_000;

/// A sink that must have an intention before a permit exists.
#[derive(Debug, Clone)]
pub struct RequiredSink(pub Arc<dyn AuditSink>);

/// What a gate is made of.
#[derive(Debug)]
pub struct GateConfig {
    /// Its name: the holder of the lease.
    pub name: PartName,
    /// The one log.
    pub journal: Arc<dyn Journal>,
    /// Sinks that must have an intention before a permit exists.
    pub required_sinks: Vec<RequiredSink>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How long the lease lasts without renewal. Milliseconds.
    pub lease_ttl_ms: u64,
    /// How long an append, a claim, or a read for a required sink may take. An append that takes longer has an unknown result, so the
    /// gate writes nothing any more. Reading the journal at the start has no such limit. Milliseconds; [`APPEND_WITHIN_MS`] unless
    /// there is a reason for another.
    pub append_within_ms: u64,
}

/// The journal's only writer. One gate, one loop: nothing is written between its check and its append.
///
/// Nobody else can write while it authorizes, because authorizing holds it:
///
/// ```compile_fail,E0499
/// # async fn both(gate: &mut ir_core::Gate, ctx: &ir_core::Ctx, request: &ir_core::kernel::AuthorizeRequest) {
/// let authorized = gate.authorize(ctx, request);
/// let appended = gate.append(ctx, &ctx.now(), Vec::new());
/// let _ = futures::join!(authorized, appended);
/// # }
/// ```
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    switch: Arc<Switch>,
    state: State,
    chain: Chain,
    epoch: u64,
    began_at: u64,
}

/// The answer to [`Gate::authorize`].
#[derive(Debug)]
pub enum Authorized {
    /// The intention is durable; here is the permit.
    Granted {
        /// The right to have the effect.
        permit: Box<Permit>,
        /// Tells whether it was redeemed.
        watch: PermitWatch,
        /// The record of the intention.
        record: Record,
    },
    /// The kernel said no; the record says why.
    Refused {
        /// Halts that were asked for meanwhile and had to be recorded first.
        halts: Vec<Record>,
        /// The record of the refusal.
        record: Record,
    },
    /// The intention is durable and a required sink does not have it: no permit, nothing will be sent.
    Withheld {
        /// The record of the intention.
        record: Record,
        /// What the sink said.
        failure: Failure,
    },
}

impl Gate {
    /// Claims the journal, reads it from its newest checkpoint on (each record also goes to `seen`, in order, the checkpoint first), and
    /// records the claim. What is older is verified by [`verify`](crate::journal::verify), beside the running engine.
    ///
    /// Where `seen` answers a checkpoint with `Unsupported`, or the kernel cannot read it, everything is read from the first record.
    ///
    /// # Errors
    ///
    /// Those of the journal; `Conflict` when another holder has the lease; `InvalidInput` when a record is illegal.
    pub async fn open(ctx: &Ctx, config: GateConfig, seen: impl FnMut(&Record) -> Result<()> + Send) -> Result<Self> {
        Self::open_with(ctx, config, seen, Vec::new()).await
    }

    /// The same, with `first` in the append of the claim: what must be there as soon as the journal is.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); `InvalidInput` when one of `first` is illegal, or something that only the gate writes. The journal
    /// is as before then.
    pub async fn open_with(
        ctx: &Ctx,
        config: GateConfig,
        mut seen: impl FnMut(&Record) -> Result<()> + Send,
        first: Vec<Body>,
    ) -> Result<Self> {
        only_given(&first)?;
        let after_claim = first;
        let before = config.clock.now();
        let holder = Holder { name: config.name.clone(), ttl_ms: config.lease_ttl_ms };
        let lease = timed(&config, config.journal.claim(ctx, &holder)).await?;
        let switch = Arc::new(Switch::default());
        set_lease(&switch, &before, lease.ttl_ms);
        let mut gate =
            Self { switch, state: State::default(), chain: Chain::default(), epoch: lease.epoch, began_at: 1, config };
        gate.read_all(ctx, lease.checkpoint, &mut seen).await?;

        let mut first = Vec::new();
        if let Some(repair) = lease.repaired {
            first.push(Body::Event(Event::TailRepaired(repair)));
        }
        let at = gate.config.clock.now();
        let holder = gate.config.name.clone();
        let journal = gate.state.journal().unwrap_or_else(|| journal_id(&holder, &at));
        first.push(GateFact::Claimed { holder, epoch: lease.epoch, journal }.into());
        first.extend(after_claim);
        for record in gate.write(ctx, &at, first).await?.0 {
            seen(&record)?;
        }
        gate.switch.halt_epoch.store(gate.state.halt_epoch(), Ordering::SeqCst);
        gate.switch.halted.fetch_or(gate.state.halted().is_some(), Ordering::SeqCst);
        // Reading may have taken longer than the lease, and what is taken up first must not find it ended.
        gate.renew_when_short(ctx).await?;
        Ok(gate)
    }

    async fn read_all(
        &mut self,
        ctx: &Ctx,
        checkpoint: Option<u64>,
        seen: &mut (impl FnMut(&Record) -> Result<()> + Send),
    ) -> Result<()> {
        let journal = self.config.journal.clone();
        if let Some(seq) = checkpoint {
            self.begin_at(ctx, seq, seen).await?;
        }
        loop {
            let page = journal.read(ctx, &ReadFrom { seq: self.chain.next_seq(), max: PAGE }).await?;
            if page.records.is_empty() {
                return Ok(());
            }
            for stored in &page.records {
                let record = Resolved(&*journal).decode(ctx, stored).await?;
                if record.seq != self.chain.next_seq() || record.prev != self.chain.prev() {
                    let message = format!("record {} does not follow the record before it", stored.seq);
                    return Err(Error::new(ErrorKind::InvalidInput, "gate", message));
                }
                self.state.fold(&record)?;
                self.chain = Chain::after(stored.seq, stored.hash);
                seen(&record)?;
            }
        }
    }

    /// Takes the checkpoint as the state, if it is one that can be read.
    async fn begin_at(
        &mut self,
        ctx: &Ctx,
        seq: u64,
        seen: &mut (impl FnMut(&Record) -> Result<()> + Send),
    ) -> Result<()> {
        let journal = self.config.journal.clone();
        let page = journal.read(ctx, &ReadFrom { seq, max: 1 }).await?;
        let Some(stored) = page.records.first() else { return Ok(()) };
        let record = Resolved(&*journal).decode(ctx, stored).await?;
        let Some(checkpoint) = checkpoint_in(&record).filter(|_| record.seq == seq) else { return Ok(()) };
        let Ok(state) = State::deserialize(checkpoint.kernel.here()?) else {
            tracing::warn!(
                seq,
                version = checkpoint.version,
                "the checkpoint has another form: the journal is read whole"
            );
            return Ok(());
        };
        match seen(&record) {
            Ok(()) => {
                (self.state, self.chain) = (state, Chain::after(stored.seq, stored.hash));
                self.began_at = seq;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!(seq, %error, "the checkpoint has another form: the journal is read whole");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The fold of everything written so far.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The record with which reading began: 1, or a checkpoint. What is older was not looked at.
    #[must_use]
    pub const fn began_at(&self) -> u64 {
        self.began_at
    }

    /// Its name: every effect that it authorizes carries it.
    #[must_use]
    pub const fn name(&self) -> &PartName {
        &self.config.name
    }

    /// The lease's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Stops this gate from any thread.
    #[must_use]
    pub fn halt_handle(&self) -> HaltHandle {
        HaltHandle(self.switch.clone())
    }

    /// How many permits of this gate were redeemed since it was opened.
    #[must_use]
    pub fn redeemed(&self) -> u64 {
        self.switch.redeemed.load(Ordering::SeqCst)
    }

    /// Whether an append failed, so that this gate writes and authorizes nothing any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.switch.broken.load(Ordering::SeqCst)
    }

    /// Makes events and facts durable, all together, and gives the records. What the gate does itself cannot be given.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an illegal record: nothing is written, and the gate goes on. Any error of the journal, and `Timeout` when it
    /// does not answer within `append_within_ms`: the result is unknown, and this gate writes nothing any more.
    pub async fn append(&mut self, ctx: &Ctx, at: &Moment, bodies: Vec<Body>) -> Result<(Vec<Record>, Receipt)> {
        only_given(&bodies)?;
        self.write(ctx, at, bodies).await
    }

    async fn write(&mut self, ctx: &Ctx, at: &Moment, bodies: Vec<Body>) -> Result<(Vec<Record>, Receipt)> {
        if self.is_broken() {
            return Err(Error::new(ErrorKind::Stopped, "gate", "the journal's writer has failed"));
        }
        let mut chain = self.chain.clone();
        let expected_seq = chain.next_seq();
        let (records, encoded, blobs) = chain.encode(at, bodies)?;
        let mut state = self.state.clone();
        for record in &records {
            state.fold(record)?;
        }
        let checkpoint = records.last().is_some_and(|record| checkpoint_in(record).is_some());
        let batch = Batch { expected_seq, epoch: self.epoch, checkpoint, blobs, records: encoded };
        let appended = match timed(&self.config, self.config.journal.append(ctx, &batch)).await {
            Ok(appended) => appended,
            Err(error) => {
                // Nobody knows what is on the disk now. Only reading it again, in a new gate, can tell.
                self.switch.broken.store(true, Ordering::SeqCst);
                tracing::error!(%error, expected_seq, "an append failed: this writer stops for good");
                return Err(error);
            }
        };
        self.state = state;
        self.chain = chain;
        Ok((records, Receipt { first_seq: appended.first_seq, last_seq: appended.last_seq }))
    }

    async fn write_one(&mut self, ctx: &Ctx, at: &Moment, fact: GateFact) -> Result<Record> {
        let (mut records, _) = self.write(ctx, at, vec![fact.into()]).await?;
        records.pop().ok_or_else(|| Error::new(ErrorKind::Unknown, "gate", "an append of one record gave none"))
    }

    /// Checks, makes the intention (or the refusal) durable, waits for the required sinks, and mints the permit.
    ///
    /// # Errors
    ///
    /// When the record could not be written: no permit, and this gate writes nothing any more.
    pub async fn authorize(&mut self, ctx: &Ctx, request: &AuthorizeRequest) -> Result<Authorized> {
        self.renew_when_short(ctx).await?;
        let now = self.config.clock.now();
        let mut halts = Vec::new();
        if self.switch.halted.load(Ordering::SeqCst) && self.state.halted().is_none() {
            // A wish to halt is in force before its record is written, so it is written first.
            halts = self.record_halts(ctx).await?;
        }
        let intent = match check(&self.state, request, &now) {
            Ok(intent) => intent,
            Err(refusals) => {
                let fact = GateFact::Refused {
                    step: request.step.clone(),
                    direction: request.direction,
                    precondition: request.precondition.clone(),
                    refusals,
                };
                return Ok(Authorized::Refused { halts, record: self.write_one(ctx, &now, fact).await? });
            }
        };
        let record = self.write_one(ctx, &now, GateFact::Intent(intent.clone())).await?;
        for sink in self.config.required_sinks.clone() {
            if let Err(error) = self.feed(ctx, &*sink.0, record.seq).await {
                return Ok(Authorized::Withheld { record, failure: error.to_failure() });
            }
        }
        let life = Arc::new(Life::default());
        let permit = Permit {
            gate: self.config.name.clone(),
            intent,
            clock: self.config.clock.clone(),
            switch: self.switch.clone(),
            life: life.clone(),
        };
        Ok(Authorized::Granted { permit: Box::new(permit), watch: PermitWatch(life), record })
    }

    /// Copies everything up to `seq` that the sink does not have yet.
    async fn feed(&self, ctx: &Ctx, sink: &dyn AuditSink, seq: u64) -> Result<()> {
        let mut next = sink.position(ctx).await?;
        while next <= seq {
            let from = ReadFrom { seq: next, max: PAGE };
            let page = timed(&self.config, self.config.journal.read(ctx, &from)).await?;
            let Some(last) = page.records.last() else {
                let message = format!("`{}` wants record {next}, which is not there", sink.name());
                return Err(Error::new(ErrorKind::Conflict, "gate", message));
            };
            next = last.seq + 1;
            sink.copy(ctx, &page.records).await?;
        }
        Ok(())
    }

    /// Mints a fence, so that attempts of `step` sent before cannot have an effect any more.
    ///
    /// # Errors
    ///
    /// When the record could not be written.
    pub async fn fence(&mut self, ctx: &Ctx, step: &StepRef) -> Result<(Fence, Record)> {
        let token = self.state.next_token();
        let at = self.config.clock.now();
        let record = self.write_one(ctx, &at, GateFact::Fenced(Fenced { step: step.clone(), token })).await?;
        Ok((Fence { token }, record))
    }

    /// Records the wishes to halt that came by [`HaltHandle`].
    ///
    /// # Errors
    ///
    /// When a record could not be written; the halt is in force all the same.
    pub async fn record_halts(&mut self, ctx: &Ctx) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for HaltRequest { by, reason } in self.switch.take_wishes() {
            let at = self.config.clock.now();
            let epoch = self.state.halt_epoch() + 1;
            let record = self.write_one(ctx, &at, GateFact::Halted(Halted { epoch, by, reason })).await?;
            self.switch.halt_epoch.store(epoch, Ordering::SeqCst);
            records.push(record);
        }
        Ok(records)
    }

    /// Ends a halt.
    ///
    /// # Errors
    ///
    /// `Unauthorized` with fewer different people than the limits ask for; else when the record could not be written.
    pub async fn resume(&mut self, ctx: &Ctx, by: Vec<Person>, reason: String) -> Result<Vec<Record>> {
        let people: std::collections::BTreeSet<&str> = by.iter().map(|p| p.name.as_str()).collect();
        let needed = self.state.limits().resume_people.max(1);
        if (people.len() as u64) < u64::from(needed) {
            let message = format!("{needed} people must resume, {} did", people.len());
            return Err(Error::new(ErrorKind::Unauthorized, "gate", message));
        }
        let mut records = self.record_halts(ctx).await?;
        let epoch = self.state.halt_epoch() + 1;
        let at = self.config.clock.now();
        records.push(self.write_one(ctx, &at, GateFact::Resumed { epoch, by, reason }).await?);
        self.switch.halt_epoch.store(epoch, Ordering::SeqCst);
        self.switch.resume();
        Ok(records)
    }

    /// Writes down where everything stands: a later start may begin with that record. `engine` and `config` are the states of whoever
    /// writes with this gate, and are given back as they are.
    ///
    /// # Errors
    ///
    /// When a state has no text form, or the record could not be written.
    pub async fn checkpoint(
        &mut self,
        ctx: &Ctx,
        engine: serde_json::Value,
        config: serde_json::Value,
    ) -> Result<Record> {
        let kernel = serde_json::to_value(&self.state)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, "gate", format!("the state has no text: {error}")))?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let [kernel, engine, config] = [kernel, engine, config].map(Content::Here);
        let at = self.config.clock.now();
        self.write_one(ctx, &at, GateFact::Checkpoint(Box::new(Checkpoint { version, kernel, engine, config }))).await
    }

    /// Renews the lease.
    ///
    /// # Errors
    ///
    /// Those of the journal. Permits end with the old lease then.
    pub async fn renew(&mut self, ctx: &Ctx) -> Result<()> {
        let before = self.config.clock.now();
        let holder = Holder { name: self.config.name.clone(), ttl_ms: self.config.lease_ttl_ms };
        let lease = timed(&self.config, self.config.journal.claim(ctx, &holder)).await?;
        if lease.epoch != self.epoch {
            self.switch.broken.store(true, Ordering::SeqCst);
            return Err(Error::new(ErrorKind::Conflict, "gate", "somebody else held the lease in between"));
        }
        set_lease(&self.switch, &before, lease.ttl_ms);
        Ok(())
    }

    /// Renews a lease of which less than half is left, so that no permit is minted that its lease would end at once.
    async fn renew_when_short(&mut self, ctx: &Ctx) -> Result<()> {
        let left =
            self.switch.lease_until_mono_ns.load(Ordering::SeqCst).saturating_sub(self.config.clock.now().mono_ns);
        if left < self.config.lease_ttl_ms.saturating_mul(1_000_000) / 2 { self.renew(ctx).await } else { Ok(()) }
    }
}

fn only_given(bodies: &[Body]) -> Result<()> {
    if bodies.iter().any(|body| matches!(body, Body::Gate(_) | Body::Spilled { .. })) {
        return Err(Error::new(ErrorKind::InvalidInput, "gate", "only the gate writes what the gate does"));
    }
    Ok(())
}

/// The name of a journal that begins now. Two that begin at the same nanosecond of one boot under one name would share it, and such
/// two would be one journal.
fn journal_id(holder: &PartName, at: &Moment) -> Digest {
    Digest::of_parts([
        b"incident-response journal 1".as_slice(),
        holder.as_str().as_bytes(),
        at.boot.as_str().as_bytes(),
        &at.wall.as_nanos().to_be_bytes(),
        &at.mono_ns.to_be_bytes(),
    ])
}

fn checkpoint_in(record: &Record) -> Option<&Checkpoint> {
    if let Body::Gate(GateFact::Checkpoint(checkpoint)) = &record.body { Some(checkpoint) } else { None }
}

/// Waits for the journal no longer than its deadline. The stop of a context does not end the wait: what is being written while the
/// engine stops must become durable too.
async fn timed<T>(config: &GateConfig, call: impl Future<Output = Result<T>>) -> Result<T> {
    let deadline = config.clock.now().mono_ns.saturating_add(config.append_within_ms.saturating_mul(1_000_000));
    let too_late = config.clock.sleep_until(deadline);
    futures::pin_mut!(call);
    match futures::future::select(call, too_late).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            let message = format!("the journal did not answer within {} ms", config.append_within_ms);
            Err(Error::new(ErrorKind::Timeout, "gate", message))
        }
    }
}

fn set_lease(switch: &Switch, before: &Moment, ttl_ms: u64) {
    let until = before.mono_ns.saturating_add(ttl_ms.saturating_mul(1_000_000));
    switch.lease_until_mono_ns.store(until, Ordering::SeqCst);
}
