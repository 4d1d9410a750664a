//! Commands that wait for their answers, found by number and by what they are about.

use std::collections::BTreeSet;

use ir_core::journal::CommandId;
use ir_core::persistent::PersistentMap;
use ir_core::{IncidentId, StepRef};
use serde::{Deserialize, Serialize};

use super::command::{Command, Ordered};

/// What a command is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Correlation,
    Incident(IncidentId),
    Step(StepRef),
    Lesson,
}

impl From<&IncidentId> for Subject {
    fn from(id: &IncidentId) -> Self {
        Self::Incident(id.clone())
    }
}

impl From<&StepRef> for Subject {
    fn from(step: &StepRef) -> Self {
        Self::Step(step.clone())
    }
}

impl Command {
    fn subject(&self) -> Subject {
        match self {
            Self::Correlate { .. } => Subject::Correlation,
            Self::Diagnose { incident, .. } | Self::Classify { incident } | Self::Plan { incident, .. } => {
                incident.into()
            }
            Self::Preview { step, .. }
            | Self::Send { step, .. }
            | Self::Probe { step, .. }
            | Self::Verify { step, .. } => step.into(),
            Self::Ask { request, .. } => (&request.step).into(),
            Self::Keep { .. } => Subject::Lesson,
        }
    }
}

/// A command that waits, and how often it has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) command: Command,
    pub(crate) failures: u32,
}

/// All commands that wait, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    commands: PersistentMap<CommandId, Waiting>,
    about: PersistentMap<Subject, BTreeSet<CommandId>>,
}

impl Outstanding {
    pub(crate) fn insert(&mut self, id: CommandId, command: Command, failures: u32) {
        self.about.get_or_insert_with(&command.subject(), BTreeSet::new).insert(id);
        self.commands.insert(id, Waiting { command, failures });
    }

    pub(crate) fn remove(&mut self, id: CommandId) -> Option<Waiting> {
        let waiting = self.commands.remove(&id)?;
        let subject = waiting.command.subject();
        if let Some(ids) = self.about.get_mut(&subject) {
            ids.remove(&id);
            if ids.is_empty() {
                self.about.remove(&subject);
            }
        }
        Some(waiting)
    }

    pub(crate) fn get(&self, id: CommandId) -> Option<&Command> {
        self.commands.get(&id).map(|waiting| &waiting.command)
    }

    /// In the order of their numbers.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (CommandId, &Command)> {
        self.commands.iter().map(|(id, waiting)| (*id, &waiting.command))
    }

    /// Those about one thing, in the order of their numbers.
    pub(crate) fn about<'a>(&'a self, subject: &Subject) -> impl Iterator<Item = (CommandId, &'a Command)> {
        let ids = self.about.get(subject).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// Those to send or to send again, as a start that goes on from here must know them.
    pub(crate) fn sends(&self) -> impl Iterator<Item = Ordered> {
        let sends = self.iter().filter(|(_, command)| matches!(command, Command::Send { .. }));
        sends.map(|(id, command)| Ordered { id, command: command.clone() })
    }
}

/// A list, since numbers are no keys of JSON.
impl Serialize for Outstanding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.commands.iter())
    }
}

impl<'de> Deserialize<'de> for Outstanding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut outstanding = Self::default();
        for (id, Waiting { command, failures }) in Vec::<(CommandId, Waiting)>::deserialize(deserializer)? {
            outstanding.insert(id, command, failures);
        }
        Ok(outstanding)
    }
}
