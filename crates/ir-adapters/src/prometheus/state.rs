//! What the server itself holds to be so: alerts of its rules, and the health of its targets.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::{
    AlertState, ConfigError, Ctx, Cursor, Digest, EntityId, Error, ErrorKind, EventKind, EventRecord, Labels,
    MetricKind, MetricSample, PartName, Polled, Result, Series, SignalSource, Timestamp,
};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::answer::{self, cut};
use super::client::Client;
use super::gone::{Answer, Departures, Discovered, Step};
use super::{COMPONENT, tell};
use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::shared::names::{self, Named};
use crate::shared::times::{self, Plausible};

/// What an alert without a name is called.
const UNNAMED: &str = "alert";
/// Labels and annotations kept of one alert.
const MAX_FIELDS: usize = 64;

/// What is asked of the server, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusStateConfig {
    /// The source's name in records. `prometheus-state`.
    pub name: String,
    /// Where the server is: `http://prometheus:9090`, with a path before `/api` if there is one.
    pub url: String,
    /// Whether alerts are read. Not where Alertmanager's webhook brings them already. True.
    pub alerts: bool,
    /// Whether the health of targets is read. Not where a query for `up` brings it already. True.
    pub targets: bool,
    /// Whether an entity is reported gone when service discovery no longer lists its targets. Only with `targets`. True.
    pub gone: bool,
    /// The labels that name the entity, the first that an alert or a target has counts. `service`, `job`.
    pub entity_labels: Vec<String>,
    /// Labels of targets that are left out: `pod`, `instance` ...
    pub drop_labels: Vec<String>,
    /// The most alerts followed at once; what is beyond is dropped and counted once. 500.
    #[schemars(range(min = 1))]
    pub max_alerts: usize,
    /// The most targets; what is beyond is dropped and counted with each poll. 5,000.
    #[schemars(range(min = 1))]
    pub max_targets: usize,
    /// How long one question may take, in milliseconds. 5,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// The most bytes of an answer. 32 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// How far ahead of our clock the beginning of an alert may be, in milliseconds. One beyond it is taken as of now, which is a
    /// problem of the poll. 600,000.
    pub max_ahead_ms: u64,
    /// How long ago an alert may have begun, in milliseconds. One beyond it is taken in the same way. 315,360,000,000: ten years.
    pub max_age_ms: u64,
}

impl Default for PrometheusStateConfig {
    fn default() -> Self {
        Self {
            name: "prometheus-state".to_owned(),
            url: String::new(),
            alerts: true,
            targets: true,
            gone: true,
            entity_labels: ["service", "job"].map(str::to_owned).to_vec(),
            drop_labels: Vec::new(),
            max_alerts: 500,
            max_targets: 5_000,
            timeout_ms: 5_000,
            max_bytes: 32 << 20,
            max_ahead_ms: times::MAX_AHEAD_MS,
            max_age_ms: times::MAX_AGE_MS,
        }
    }
}

/// Reads which alerts fire and which targets are up, without an Alertmanager and without a query.
///
/// An alert that has begun to fire since the cursor is an event of kind [`EventKind::Alert`], and so is one that no longer does.
/// What began and ended between two polls is not seen, nor is what ended and began anew. Of a firing alert the server says since
/// when its condition holds, which is before it fired by the rule's `for`. An alert is over when its rule was evaluated without
/// it: not when the server has just been restarted, or cannot evaluate the rule, which is a problem of the poll instead. One that
/// is pending again goes on.
///
/// Each poll gives the health of every target as a sample `up` at the time of the answer: 1 up, 0 down. One that was not scraped yet gives
/// none, and neither does one that is no longer there. What a target that is down said last is a problem of the poll.
///
/// An entity is [gone](ir_core::Gone) when it had an active target and two complete answers in a row have none: it was removed from
/// service discovery or scaled in. It is not gone when an answer fails or holds something that cannot be read or is beyond
/// `max_targets`; when relabelling drops its target, which is then there and no longer scraped; or when the server was restarted
/// meanwhile, because a server that has just started lists what it has found so far. Which entities had targets is kept in memory:
/// what goes away while the host is down is not reported, and its absence stays a symptom. Servers that do not answer
/// `/api/v1/status/runtimeinfo` never report an entity gone.
///
/// The cursor holds the alerts that fire, so that a restart of the host neither repeats nor forgets one. An alert or a target that
/// cannot be read is dropped and counted, and the others come. Entities are named by the rule of all adapters: an empty label is no
/// label, and white space becomes `-`.
#[derive(Debug)]
pub struct PrometheusState {
    config: PrometheusStateConfig,
    client: Client,
    departures: Departures,
}

/// An alert that fires, as the cursor keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Firing {
    entity: EntityId,
    name: String,
    since: Timestamp,
}

/// What was told already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Told {
    /// By key.
    firing: BTreeMap<String, Firing>,
    /// Keys of what was there and could not be taken, as far as they fit.
    dropped: BTreeSet<String>,
    /// Numbers the answers with targets. What they held is kept in memory.
    targets: u64,
}

#[derive(Default, Deserialize)]
struct Rules<'a> {
    #[serde(borrow, default)]
    groups: Vec<Group<'a>>,
}

#[derive(Deserialize)]
struct Group<'a> {
    #[serde(borrow, default)]
    rules: Vec<Rule<'a>>,
}

#[derive(Deserialize)]
struct Rule<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    health: Cow<'a, str>,
    #[serde(borrow, default, rename = "lastError")]
    error: Cow<'a, str>,
    #[serde(default)]
    alerts: Option<Vec<Part<Alert>>>,
}

/// Something in a list that may be of another form than it should be, or nothing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Part<T> {
    Read(T),
    Wrong(IgnoredAny),
}

#[derive(Deserialize)]
struct Alert {
    #[serde(default, deserialize_with = "or_none")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_none")]
    annotations: BTreeMap<String, String>,
    state: String,
    #[serde(default, rename = "activeAt", deserialize_with = "or_none")]
    active_at: String,
}

#[derive(Default, Deserialize)]
struct Targets {
    #[serde(default, rename = "activeTargets")]
    active: Option<Vec<Part<Target>>>,
    #[serde(default, rename = "droppedTargets")]
    dropped: Option<Vec<Part<Target>>>,
}

#[derive(Default, Deserialize)]
struct Runtime {
    #[serde(default, rename = "startTime")]
    started: String,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default, deserialize_with = "or_none")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_none")]
    health: String,
    #[serde(default, rename = "lastError", deserialize_with = "or_none")]
    error: String,
    #[serde(default, rename = "discoveredLabels", deserialize_with = "or_none")]
    discovered: BTreeMap<String, String>,
}

impl Target {
    fn discovered(&self) -> Discovered {
        let label = |name: &str| self.discovered.get(name).cloned().unwrap_or_default();
        (label("job"), label("__address__"))
    }
}

/// Reads a field in which `null` says that it is not there.
fn or_none<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl PrometheusState {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: an address that is none, nothing to read, bounds of 0.
    pub fn new(config: PrometheusStateConfig) -> Result<Self, ConfigError> {
        let http = HttpConfig {
            timeout_ms: config.timeout_ms,
            connect_timeout_ms: config.timeout_ms,
            max_bytes: config.max_bytes,
        };
        Self::with_client(config, HttpClient::new(COMPONENT, http))
    }

    /// The same with a client of the host's own: with credentials, with TLS, with other bounds.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_client(config: PrometheusStateConfig, client: HttpClient) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        match HttpUrl::parse(&config.url) {
            Ok(url) if !url.path().contains('?') => {
                let client = Client { http: client, url };
                ConfigError::check(problems, Self { config, client, departures: Departures::default() })
            }
            Ok(_) => {
                problems.push(Problem::at("url", "parameters do not belong into it"));
                Err(ConfigError::of(problems))
            }
            Err(error) => {
                problems.push(Problem::at("url", error.message()));
                Err(ConfigError::of(problems))
            }
        }
    }

    fn named(&self, labels: &BTreeMap<String, String>) -> Result<Named<'_>, String> {
        names::entity(&self.config.entity_labels, |label| labels.get(label).map(String::as_str))
    }

    /// Tells what changed since `told`.
    fn take_alerts(&self, rules: Rules<'_>, told: &mut Told, now: Timestamp, gathered: &mut Polled) {
        let before = std::mem::take(told);
        // Alerts of these rules are not over because they are not in the list.
        let mut unsettled = BTreeSet::new();
        for rule in rules.groups.into_iter().flat_map(|group| group.rules) {
            match rule.health.as_ref() {
                "ok" | "" => {}
                health => {
                    unsettled.insert(rule.name.clone().into_owned());
                    if health == "err" {
                        tell(gathered, || {
                            format!("rule `{}` cannot be evaluated: {}", cut(&rule.name), cut(&rule.error))
                        });
                    }
                }
            }
            for alert in rule.alerts.into_iter().flatten() {
                match alert {
                    Part::Read(alert) => self.take_alert(alert, &before, told, now, gathered),
                    Part::Wrong(_) => {
                        // Which one it is nobody knows, so that none of this rule is over.
                        unsettled.insert(rule.name.clone().into_owned());
                        gathered.dropped += 1;
                        tell(gathered, || format!("an alert of the rule `{}` cannot be read", cut(&rule.name)));
                    }
                }
            }
        }
        for (key, firing) in before.firing {
            if told.firing.contains_key(&key) {
                continue;
            }
            if unsettled.contains(&firing.name) {
                told.firing.insert(key, firing);
            } else {
                gathered.batch.events.push(firing.event(key, false, now, Labels::new()));
            }
        }
    }

    fn take_alert(&self, alert: Alert, before: &Told, told: &mut Told, now: Timestamp, gathered: &mut Polled) {
        let key = alert.key();
        if told.firing.contains_key(&key) {
            return;
        }
        if let Some(known) = before.firing.get(&key) {
            told.firing.insert(key, known.clone());
            return;
        }
        if alert.state != "firing" {
            return;
        }
        let taken = match alert.firing(self, now) {
            _ if told.firing.len() >= self.config.max_alerts => {
                Err(format!("more than {} alerts", self.config.max_alerts))
            }
            taken => taken,
        };
        match taken {
            Ok((firing, fields, problem)) => {
                if let Some(problem) = problem {
                    tell(gathered, || problem);
                }
                gathered.batch.events.push(firing.event(key.clone(), true, now, fields));
                told.firing.insert(key, firing);
            }
            Err(problem) => {
                // It is told and counted when it is first seen. What does not fit into the cursor is counted anew.
                if !before.dropped.contains(&key) {
                    gathered.dropped += 1;
                    tell(gathered, || format!("an alert: {problem}"));
                }
                if told.dropped.len() < self.config.max_alerts {
                    told.dropped.insert(key);
                }
            }
        }
    }

    /// Gives the targets by entity; `None` when something of the answer was left out.
    fn take_targets(
        &self,
        targets: Targets,
        now: Timestamp,
        gathered: &mut Polled,
    ) -> Option<BTreeMap<EntityId, BTreeSet<Discovered>>> {
        let mut active: BTreeMap<EntityId, BTreeSet<Discovered>> = BTreeMap::new();
        let mut is_complete = targets.active.is_some();
        for (n, target) in targets.active.into_iter().flatten().enumerate() {
            let taken = match target {
                _ if n >= self.config.max_targets => Err(format!("more than {} targets", self.config.max_targets)),
                Part::Read(target) => self.named(&target.labels).map(|named| (target, named)),
                Part::Wrong(_) => Err("it cannot be read".to_owned()),
            };
            let (target, named) = match taken {
                Ok(taken) => taken,
                Err(problem) => {
                    is_complete = false;
                    gathered.dropped += 1;
                    tell(gathered, || format!("a target: {problem}"));
                    continue;
                }
            };
            active.entry(named.entity.clone()).or_default().insert(target.discovered());
            let value = match target.health.as_str() {
                "up" => 1.0,
                "down" => {
                    tell(gathered, || format!("`{}` is not up: {}", named.entity, cut(&target.error)));
                    0.0
                }
                // Not scraped yet.
                _ => continue,
            };
            let kept = |key: &str| !named.covers(key) && !self.config.drop_labels.iter().any(|drop| drop == key);
            let labels = target.labels.iter().filter(|(key, value)| !value.is_empty() && kept(key));
            let labels = labels.map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let (metric, entity) = ("up".to_owned(), named.entity);
            let series = Arc::new(Series { entity, metric, kind: MetricKind::Up, unit: String::new(), labels });
            gathered.batch.metrics.push(MetricSample { series, at: now, value });
        }
        is_complete.then_some(active)
    }

    /// Reads the health of targets, and which entities have none any more.
    async fn read_targets(&self, ctx: &Ctx, told: &mut Told, gathered: &mut Polled) -> Result<()> {
        // Asked before the targets: a server that is restarted in between lists too few of them once, which is not enough.
        let started = if self.config.gone { self.started(ctx).await } else { None };
        let reply = self.client.targets(ctx).await?;
        let at = ctx.now().wall;
        let active = self.take_targets(answer::read_data(&reply)?, at, gathered);
        let answer = started.zip(active).map(|(started, active)| Answer { at, started, active });
        let mut step: Step = self.departures.step(told.targets, answer);
        if step.has_suspects() {
            let dropped = self.dropped(ctx).await;
            gathered.batch.gone = step.gone(dropped.as_ref());
        }
        told.targets = self.departures.keep(step);
        Ok(())
    }

    /// When the server was started, in its own words; `None` when it does not say.
    async fn started(&self, ctx: &Ctx) -> Option<String> {
        let reply = self.client.runtime(ctx).await.ok()?;
        let Runtime { started } = answer::read_data(&reply).ok()?;
        (!started.is_empty()).then_some(started)
    }

    /// The targets that relabelling drops; `None` when the server does not say.
    async fn dropped(&self, ctx: &Ctx) -> Option<BTreeSet<Discovered>> {
        let reply = self.client.dropped_targets(ctx).await.ok()?;
        let targets: Targets = answer::read_data(&reply).ok()?;
        let discovered = |target| match target {
            Part::Read(target) => Some(Target::discovered(&target)),
            Part::Wrong(_) => None,
        };
        targets.dropped?.into_iter().map(discovered).collect()
    }
}

impl Alert {
    /// What tells it from its siblings.
    fn key(&self) -> String {
        Digest::of_parts(self.labels.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]))
            .short()
            .to_string()
    }

    /// The alert, its fields, and what is wrong with its beginning, which is now then.
    fn firing(&self, source: &PrometheusState, now: Timestamp) -> Result<(Firing, Labels, Option<String>), String> {
        let name = cut(self.labels.get("alertname").map_or(UNNAMED, String::as_str));
        let named = source.named(&self.labels).map_err(|problem| format!("`{name}`: {problem}"))?;
        let since = self.active_at.parse().map_err(|_| format!("`{name}` has no time: `{}`", cut(&self.active_at)))?;
        let plausible = Plausible::at(now, source.config.max_ahead_ms, source.config.max_age_ms);
        let (since, problem) = match plausible.check(since) {
            Ok(since) => (since, None),
            Err(problem) => (now, Some(format!("alert `{name}` {problem}: {since}; it is taken as of now"))),
        };
        let fields = self.labels.iter().chain(&self.annotations).filter(|(_, value)| !value.is_empty());
        let fields = fields.take(MAX_FIELDS).map(|(key, value)| (cut(key), cut(value))).collect();
        Ok((Firing { entity: named.entity, name, since }, fields, problem))
    }
}

impl Firing {
    fn event(&self, key: String, firing: bool, at: Timestamp, fields: Labels) -> EventRecord {
        let kind = EventKind::Alert(AlertState { key, firing, since: self.since });
        EventRecord { entity: self.entity.clone(), at, name: self.name.clone(), kind, fields }
    }
}

impl PrometheusStateConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if !self.alerts && !self.targets {
            problems.push(Problem::at("alerts", "with neither `alerts` nor `targets` there is nothing to read"));
        }
        if self.entity_labels.is_empty() {
            problems.push(Problem::at("entity_labels", "name at least one label"));
        }
        let bounds = [
            ("max_alerts", self.max_alerts == 0),
            ("max_targets", self.max_targets == 0),
            ("timeout_ms", self.timeout_ms == 0),
            ("max_bytes", self.max_bytes == 0),
        ];
        let zero = bounds.into_iter().filter(|(_, is_zero)| *is_zero);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        problems
    }
}

#[async_trait]
impl SignalSource for PrometheusState {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let wrong =
            |error| Error::new(ErrorKind::InvalidInput, COMPONENT, format!("the cursor is not one of it: {error}"));
        let mut told = match cursor.as_str() {
            "" => Told::default(),
            text => serde_json::from_str(text).map_err(wrong)?,
        };
        let mut gathered = Polled::default();
        // The time is that of the answer: before it, the server may yet have evaluated its rules.
        if self.config.alerts {
            let reply = self.client.rules(ctx).await?;
            self.take_alerts(answer::read_data(&reply)?, &mut told, ctx.now().wall, &mut gathered);
        }
        if self.config.targets {
            self.read_targets(ctx, &mut told, &mut gathered).await?;
        }
        let text = serde_json::to_string(&told).map_err(|error| {
            Error::new(ErrorKind::Unknown, COMPONENT, "the cursor cannot be written").with_source(error)
        })?;
        gathered.next = Cursor::new(text);
        Ok(gathered)
    }
}
