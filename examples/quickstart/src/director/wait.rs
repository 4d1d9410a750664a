//! What the director waits for: first for the usual to be known, then for clients to be well again.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Director, READY_SECS};
use crate::clock::{self, seconds_between};
use crate::fault::Fault;
use crate::judge::{Healer, back_at};
use crate::person;
use crate::records::{self, Alert};
use crate::story::{Voice, bar};

/// A run ends after 90 s; so much of it is kept for stopping and judging.
const DEADLINE_SECS: f64 = 85.0;
/// The learning time for which the deadline is made; who wants to learn longer, waits longer.
const USUAL_LEARN_SECS: f64 = 22.0;
/// How long a fault is watched that nobody heals: time to leave the range, and as long again to stay outside.
const ALONE_SECS: f64 = 40.0;
/// With nothing broken, how long after learning nothing may be done.
const NONE_SECS: f64 = 60.0;
/// A person at the terminal may take so long to answer.
const THINK_SECS: f64 = 120.0;
/// Once clients are well, the responder gets so long to finish its own checks.
const SETTLE_SECS: f64 = 10.0;

impl Director {
    /// Lets healthy seconds pass, for the responder to learn and for the judge to know what clients are used to.
    pub(super) async fn learn(&mut self) -> Result<Timestamp> {
        let first = loop {
            self.tick().await?;
            if let Some(first) = self.watch.first_answer() {
                break first;
            }
            ensure!(self.story.secs() < READY_SECS, "no client got an answer within {READY_SECS} s");
        };
        self.watch.count_from(first);
        let learn_secs = self.options.learn_secs;
        self.story.tell(Voice::Director, &format!("{learn_secs:.0} s in health, to learn what is usual"));
        loop {
            let secs = seconds_between(first, clock::now());
            if secs >= learn_secs {
                return Ok(clock::now());
            }
            let line =
                format!("learning {} {secs:2.0} of {learn_secs:.0} s   {}", bar(secs / learn_secs), self.watch.words());
            self.story.status(&line);
            self.tick().await?;
        }
    }

    /// Waits until clients are well again, or until there is nothing more to wait for.
    pub(super) async fn see_it_through(&mut self, learned_at: Timestamp, fault_at: Timestamp) -> Result<()> {
        let deadline = self.deadline_secs();
        let mut person: Option<oneshot::Receiver<Result<String>>> = None;
        let mut was_inside = true;
        loop {
            self.tick().await?;
            let since = seconds_between(fault_at, clock::now());
            self.tell_of_clients(&mut was_inside)?;
            self.mind_the_person(&mut person)?;
            self.story.status(&format!("{since:4.0} s after   {}", self.watch.words()));

            let acted_secs = self.acted_at.map(|at| seconds_between(fault_at, at));
            let done = match (self.options.fault, self.healer) {
                (Fault::None, _) => seconds_between(learned_at, clock::now()) >= NONE_SECS,
                (_, Healer::Nobody) => since >= ALONE_SECS,
                _ => back_at(&self.watch.inside, acted_secs).is_some(),
            };
            if done {
                break;
            }
            if self.story.secs() >= deadline {
                self.story.tell(Voice::Director, "time is up");
                return Ok(());
            }
        }
        if self.options.fault != Fault::None && self.healer == Healer::Responder {
            self.let_it_settle(deadline).await?;
        }
        Ok(())
    }

    /// Clients are well; the responder may still be checking whether it helped, or be coming back from a kill.
    async fn let_it_settle(&mut self, deadline: f64) -> Result<()> {
        let until = self.story.secs() + SETTLE_SECS + self.options.revive_secs.unwrap_or(0.0);
        let is_gone = |director: &Self| director.revive_at.is_some_and(f64::is_infinite);
        while self.story.secs() < until.min(deadline) && !self.run.settled().exists() && !is_gone(self) {
            self.story.status("clients are well; the responder finishes");
            self.tick().await?;
        }
        Ok(())
    }

    fn deadline_secs(&self) -> f64 {
        let think = if self.typed.is_some() { THINK_SECS } else { 0.0 };
        let person = self.options.person_after_secs.unwrap_or(0.0);
        DEADLINE_SECS + (self.options.learn_secs - USUAL_LEARN_SECS).max(0.0) + think + person
    }

    /// Tells when clients leave the range and when they are inside again.
    fn tell_of_clients(&mut self, was_inside: &mut bool) -> Result<()> {
        let Some(inside) = self.watch.inside.last().copied() else { return Ok(()) };
        if inside != *was_inside {
            let words = self.watch.words();
            let how = if inside { "well again" } else { "suffer" };
            self.story.tell(Voice::Clients, &format!("{how}: {words}"));
            *was_inside = inside;
        }
        if self.options.alert_now && !inside && self.first_alert.is_none() {
            let text = format!("clients suffer: {}", self.watch.words());
            records::append_line(&self.run.alerts(), &Alert { at: clock::now(), text })?;
        }
        Ok(())
    }

    /// Calls the simulated person when their time has come, and tells what they did.
    fn mind_the_person(&mut self, person: &mut Option<oneshot::Receiver<Result<String>>>) -> Result<()> {
        let (Some(after), Some(alert)) = (self.options.person_after_secs, self.first_alert) else { return Ok(()) };
        if self.options.fault == Fault::None {
            return Ok(());
        }
        match person {
            None if seconds_between(alert, clock::now()) >= after => {
                self.story.tell(Voice::Person, &format!("looks into it, {after:.0} s after the alert"));
                let (sender, receiver) = oneshot::channel();
                let (control, fault, target) = (self.control, self.options.fault, self.options.target);
                tokio::spawn(async move { sender.send(person::heal(control, fault, target).await) });
                *person = Some(receiver);
            }
            Some(receiver) => match receiver.try_recv() {
                Ok(Ok(done)) => self.story.tell(Voice::Person, &format!("{done}: done")),
                Ok(Err(error)) => return Err(error.context("the person could not act")),
                Err(_) => {}
            },
            None => {}
        }
        Ok(())
    }
}
