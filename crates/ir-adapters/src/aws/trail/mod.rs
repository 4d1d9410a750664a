//! What CloudTrail writes down of a call, and what it says about the things of a topology. It is read in one way, whether
//! it comes by EventBridge ([`events`](super::events)) or by CloudTrail's own look-up ([`cloudtrail`](super::cloudtrail)).
//!
//! # What becomes of a record
//!
//! - A call that only reads is nothing, and neither is access to data.
//! - A call that changed something which the configuration names is a [`Change`] of each of its entities, with who did
//!   it. Calls that are known not to matter to what runs (tags, sessions, the reports of agents) are none.
//! - With an [`account`](super::events::EventsConfig::account), every call that writes is an [`Activity`] of that entity
//!   as well, refused ones and logins among them: this is what detectors of behaviour go by.
//!
//! All texts of a record are somebody else's. They are cut, they are compared, and nothing obeys them: a name that the
//! configuration does not have is nobody's, however much it looks like an entity.
//!
//! # Names
//!
//! Region and account are not compared: what is read is that of one region of one account, or of names that are unique.
//!
//! | thing | name |
//! |---|---|
//! | ECS service | `ecs:CLUSTER/SERVICE` |
//! | Auto Scaling group | `autoscaling:GROUP` |
//! | instance, security group, anything of EC2 with an id | `ec2:i-...`, `ec2:sg-...` |
//! | Lambda function | `lambda:FUNCTION` |
//! | RDS instance or cluster | `rds:IDENTIFIER` |
//! | target group, load balancer | `elasticloadbalancing:targetgroup/NAME`, `elasticloadbalancing:loadbalancer/NAME` |
//! | stack | `cloudformation:STACK` |
//! | table, bucket, secret, parameter | `dynamodb:TABLE`, `s3:BUCKET`, `secretsmanager:SECRET`, `ssm:PARAMETER` |
//! | ElastiCache cluster, CodeDeploy application, CodePipeline pipeline, AppConfig application | `elasticache:ID`, `codedeploy:NAME`, `codepipeline:NAME`, `appconfig:ID` |
//! | anything else | its ARN |
//!
//! An ARN may stand for any of them.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::config::Problem;
use ir_core::signal::{Act, Activity};
use ir_core::{Change, Digest, EntityId, EventKind, EventRecord, Labels, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod meaning;
mod name;
mod record;
#[cfg(test)]
mod tests;

use meaning::Meaning;
use record::Record;

/// So much of a text of AWS's is kept.
const MAX_CHARS: usize = 256;

/// What AWS calls a thing of the topology. A thing may have several names, and several things one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrailThing {
    /// Its name in the topology.
    pub entity: EntityId,
    /// What AWS calls it: `ecs:main/web`, `ec2:sg-0123456789abcdef0`, or an ARN. The table of [`trail`](self) has them all.
    pub name: String,
}

/// Who is meant by which name.
#[derive(Debug)]
pub(super) struct Book {
    things: BTreeMap<String, BTreeSet<EntityId>>,
    account: Option<EntityId>,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// When it happened.
    pub(super) at: Timestamp,
    pub(super) changes: Vec<Change>,
    pub(super) events: Vec<EventRecord>,
}

impl Told {
    pub(super) const fn nothing(at: Timestamp) -> Self {
        Self { at, changes: Vec::new(), events: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }
}

impl Book {
    /// Checks the names.
    pub(super) fn new(things: &[TrailThing], account: Option<&EntityId>, problems: &mut Vec<Problem>) -> Self {
        if things.is_empty() && account.is_none() {
            problems.push(Problem::at("thing", "at least one thing is needed, or an `account`"));
        }
        let mut known: BTreeMap<String, BTreeSet<EntityId>> = BTreeMap::new();
        for (n, thing) in things.iter().enumerate() {
            match name::checked(&thing.name) {
                Ok(name) => {
                    if !known.entry(name).or_default().insert(thing.entity.clone()) {
                        let message = format!("`{}` has this name twice", thing.entity);
                        problems.push(Problem::at(format!("thing[{n}].name"), message));
                    }
                }
                Err(problem) => problems.push(Problem::at(format!("thing[{n}].name"), problem)),
            }
        }
        Self { things: known, account: account.cloned() }
    }

    /// The entities that are called by any of these names, in order, each with the first such name.
    pub(super) fn entities<'a>(&'a self, names: &'a BTreeSet<String>) -> BTreeMap<&'a EntityId, &'a str> {
        let mut found = BTreeMap::new();
        for name in names {
            for entity in self.things.get(name).into_iter().flatten() {
                found.entry(entity).or_insert(name.as_str());
            }
        }
        found
    }

    /// What the record says; or, in words, why it cannot be read.
    pub(super) fn tell(&self, record: &Value) -> Result<Told, String> {
        let record = Record::read(record)?;
        let mut told = Told::nothing(record.at);
        if record.is_reading() || !record.is_management() {
            return Ok(told);
        }
        let names = name::of_record(&record);
        let found = self.entities(&names);
        if let Some(Meaning { kind, from, to }) = record.error.is_none().then(|| meaning::of(&record)).flatten() {
            let change = |entity: &EntityId| Change {
                entity: entity.clone(),
                at: record.at,
                kind,
                from: from.clone(),
                to: to.clone(),
                by: record.by(),
            };
            told.changes.extend(found.keys().map(|entity| change(entity)));
        }
        if let Some(account) = &self.account {
            let target = found.values().next().copied().or_else(|| names.iter().next().map(String::as_str));
            told.events.push(activity(account, &record, target));
        }
        Ok(told)
    }
}

/// That somebody did this, or tried.
fn activity(account: &EntityId, record: &Record, target: Option<&str>) -> EventRecord {
    let act = match record.login() {
        Some(succeeded) => Act::LoggedIn { from: record.from.as_deref().map(cut), succeeded },
        None => Act::Did {
            action: format!("{}:{}", cut(record.service()), cut(record.action())),
            target: target.map(cut),
            succeeded: record.error.is_none(),
        },
    };
    let said = [("from", &record.from), ("region", &record.region), ("error", &record.error)];
    let fields: Labels = said.into_iter().filter_map(|(key, text)| Some((key, cut(text.as_deref()?)))).collect();
    EventRecord {
        entity: account.clone(),
        at: record.at,
        name: cut(&record.name),
        kind: EventKind::Activity(Activity { user: record.by(), program: None, act }),
        fields,
    }
}

/// The mark by which an event is known again: as good as its id, and of one length.
pub(super) fn mark(id: &str) -> String {
    let mut mark = Digest::of(id.as_bytes()).to_string();
    mark.truncate(16);
    mark
}

/// The name of what an ARN names.
#[cfg(feature = "aws-events")]
pub(super) fn name_of(arn: &str) -> String {
    name::of_arn(arn)
}

/// The id that CloudTrail gave the record, if it has one.
pub(super) fn id(record: &Value) -> Option<&str> {
    record.get("eventID").and_then(Value::as_str).filter(|id| !id.is_empty())
}

/// So much of a text as is kept, and nothing that would move a terminal's cursor.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
