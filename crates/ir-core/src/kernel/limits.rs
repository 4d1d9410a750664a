//! Limits that hold at every instant, and the ledger they are counted in.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state::{State, StepEntry};
use crate::entity::EntityId;
use crate::id::PlanId;
use crate::journal::Refusal;
use crate::persistent::PersistentMap;
use crate::time::{BootId, Moment};

const DAY_MS: u64 = 86_400_000;

/// The kernel's limits. A policy may tighten them, and loosen only those marked so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Members of a group that may be under change at once, in percent; at least one always may. 5.
    pub group_percent: u32,
    /// Changes per environment within `environment_window_ms`. 10.
    pub per_environment: u32,
    /// Milliseconds; 600,000 (ten minutes).
    pub environment_window_ms: u64,
    /// Changes per target within a day. 3.
    pub per_target_day: u32,
    /// From this share of suspected members on, in percent, single members of a group are not touched. 30.
    pub unhealthy_percent: u32,
    /// The rule above applies to groups of at least so many. 4.
    pub unhealthy_from: u32,
    /// Sends of one step in one direction. 3.
    pub attempts: u32,
    /// How old the reading of the precondition may be. Milliseconds; 10,000.
    pub precondition_age_ms: u64,
    /// People needed to resume after a halt. 1; may be raised.
    pub resume_people: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            group_percent: 5,
            per_environment: 10,
            environment_window_ms: 600_000,
            per_target_day: 3,
            unhealthy_percent: 30,
            unhealthy_from: 4,
            attempts: 3,
            precondition_age_ms: 10_000,
            resume_people: 1,
        }
    }
}

impl Limits {
    /// The tighter of both in every field.
    #[must_use]
    pub fn tighten(&self, other: &Self) -> Self {
        Self {
            group_percent: self.group_percent.min(other.group_percent),
            per_environment: self.per_environment.min(other.per_environment),
            environment_window_ms: self.environment_window_ms.max(other.environment_window_ms),
            per_target_day: self.per_target_day.min(other.per_target_day),
            unhealthy_percent: self.unhealthy_percent.min(other.unhealthy_percent),
            unhealthy_from: self.unhealthy_from.min(other.unhealthy_from),
            attempts: self.attempts.min(other.attempts),
            precondition_age_ms: self.precondition_age_ms.min(other.precondition_age_ms),
            resume_people: self.resume_people.max(other.resume_people),
        }
    }
}

/// One change that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    target: EntityId,
    environment: String,
    #[serde(with = "crate::wire::int53")]
    mono_ns: u64,
}

/// What was changed lately. Windows are measured on the monotonic clock, so that a jump of the wall clock frees no budget;
/// after a new boot every entry counts as made at its start, so that every wait begins anew in full. What a record of the same boot
/// proves to be older than the longest window is forgotten at once, and no reboot brings it back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    boot: Option<BootId>,
    entries: Vec<Entry>,
}

impl Ledger {
    pub(super) fn count(&mut self, target: &EntityId, environment: &str, at: &Moment) {
        self.enter_boot(at);
        self.entries.push(Entry { target: target.clone(), environment: environment.to_owned(), mono_ns: at.mono_ns });
    }

    /// Takes over a change that another journal counted at `change`: where the boot is the same as now its age is known, else it counts
    /// as made now.
    pub(super) fn carry(&mut self, target: &EntityId, environment: &str, change: &Moment, now: &Moment) {
        self.enter_boot(now);
        let mono_ns = if change.boot == now.boot { change.mono_ns.min(now.mono_ns) } else { now.mono_ns };
        self.entries.push(Entry { target: target.clone(), environment: environment.to_owned(), mono_ns });
        self.entries.sort_by_key(|entry| entry.mono_ns);
    }

    /// A record was written at `at`.
    pub(super) fn pass(&mut self, at: &Moment) {
        let oldest = at.mono_ns.saturating_sub(DAY_MS * 1_000_000);
        if self.boot.as_ref() == Some(&at.boot) && self.entries.first().is_some_and(|entry| entry.mono_ns < oldest) {
            self.entries.retain(|entry| entry.mono_ns >= oldest);
        }
    }

    pub(super) fn enter_boot(&mut self, at: &Moment) {
        if self.boot.as_ref() != Some(&at.boot) {
            self.boot = Some(at.boot.clone());
            for entry in &mut self.entries {
                entry.mono_ns = at.mono_ns;
            }
        }
    }

    fn within(&self, at: &Moment, window_ms: u64) -> impl Iterator<Item = &Entry> {
        let same_boot = self.boot.as_ref() == Some(&at.boot);
        let since = at.mono_ns.saturating_sub(window_ms.saturating_mul(1_000_000));
        self.entries.iter().filter(move |entry| !same_boot || entry.mono_ns >= since)
    }
}

/// What a limit still allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// The rule of the kernel: `budget_target`, `budget_environment`, `budget_group`.
    pub rule: String,
    /// What it is about, in words.
    pub of: String,
    /// How many more changes it allows now.
    pub left: u32,
    /// How many it allows in all.
    pub limit: u32,
}

/// What the limits still allow before the do of `step` is sent, for the people who are asked. Empty for a step that changes nothing.
#[must_use]
pub fn allowances(state: &State, step: &StepEntry, now: &Moment) -> Vec<Allowance> {
    if !step.terms.changes_target {
        return Vec::new();
    }
    let used = Used::of(state, step, now);
    let limits = state.limits();
    let allowance = |rule: &str, of: String, used: usize, limit: u32| {
        let left = limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        Allowance { rule: rule.to_owned(), of, left, limit }
    };
    let minutes = limits.environment_window_ms / 60_000;
    let mut found = vec![
        allowance(
            "budget_target",
            format!("changes of `{}` within a day", step.call.target),
            used.target,
            limits.per_target_day,
        ),
        allowance(
            "budget_environment",
            format!("changes in environment `{}` within {minutes} min", step.terms.environment),
            used.environment,
            limits.per_environment,
        ),
    ];
    if let Some(group) = &step.terms.group {
        let of = format!("members of group `{group}` under change at once");
        found.push(allowance("budget_group", of, used.group, group_allows(limits, step)));
    }
    found
}

/// How much of each limit is used up.
struct Used {
    target: usize,
    environment: usize,
    group: usize,
}

impl Used {
    fn of(state: &State, step: &StepEntry, now: &Moment) -> Self {
        let (target, environment) = (&step.call.target, &step.terms.environment);
        let (ledger, window_ms) = (state.ledger(), state.limits().environment_window_ms);
        let group = step.terms.group.as_ref().map(|group| state.locked_in_group(environment, group, target));
        Self {
            target: ledger.within(now, DAY_MS).filter(|entry| entry.target == *target).count(),
            environment: ledger.within(now, window_ms).filter(|entry| entry.environment == *environment).count(),
            group: group.unwrap_or_default(),
        }
    }
}

fn group_allows(limits: &Limits, step: &StepEntry) -> u32 {
    let allowed = (u64::from(step.terms.group_size) * u64::from(limits.group_percent) / 100).max(1);
    u32::try_from(allowed).unwrap_or(u32::MAX)
}

/// What speaks against sending the do of `step` of `plan` now.
pub(super) fn check(state: &State, plan: &PlanId, step: &StepEntry, now: &Moment) -> Vec<Refusal> {
    let limits = state.limits();
    let target = &step.call.target;
    let mut refusals = Vec::new();
    let mut refuse = |rule: &str, because: String| refusals.push(Refusal { rule: rule.to_owned(), because });

    if let Some(holder) = state.lock_of(target)
        && holder != plan
    {
        refuse("locked", format!("`{target}` is being changed by plan `{holder}`"));
    }
    if !step.terms.changes_target {
        return refusals;
    }

    let used = Used::of(state, step, now);
    let (today, recent) = (used.target, used.environment);
    if over(today, limits.per_target_day) {
        refuse(
            "budget_target",
            format!("`{target}` was changed {today} times within a day, {} are allowed", limits.per_target_day),
        );
    }
    let environment = &step.terms.environment;
    if over(recent, limits.per_environment) {
        refuse(
            "budget_environment",
            format!(
                "{recent} changes in environment `{environment}` within {} s, {} are allowed",
                limits.environment_window_ms / 1000,
                limits.per_environment
            ),
        );
    }
    if let Some(group) = &step.terms.group {
        let (under_change, allowed) = (used.group, group_allows(limits, step));
        if over(under_change, allowed) {
            refuse("budget_group", format!("{under_change} of group `{group}` are under change, {allowed} may be"));
        }
        let suspected: BTreeSet<&EntityId> = state.suspects_in_group(environment, group).collect();
        let (n, size) = (suspected.len() as u64, u64::from(step.terms.group_size));
        if step.terms.group_size >= limits.unhealthy_from && n * 100 > size * u64::from(limits.unhealthy_percent) {
            refuse(
                "group_unhealthy",
                format!("{n} of {size} of group `{group}` are suspected: this is no matter of single members"),
            );
        }
    }
    refusals
}

fn over(count: usize, limit: u32) -> bool {
    count >= usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Targets under change, by the plan that changes them.
pub(super) type Locks = PersistentMap<EntityId, PlanId>;
