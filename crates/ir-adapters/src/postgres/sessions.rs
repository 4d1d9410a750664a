//! Which sessions are meant, and signalling them.

use std::collections::BTreeMap;

use ir_core::plan::Call;
use ir_core::{Ctx, Error, ErrorKind, Result};
use serde_json::Value;
use tokio_postgres::{Row, Statement};

use super::fault::{Fault, told};
use super::link::Session;
use super::{Action, COMPONENT, text};

/// What a session may be doing. The first is the default.
pub(super) const STATES: [&str; 3] = ["active", "idle_in_transaction", "any"];
const TOO_LATE: &str = "the statement reached the server after its deadline and nobody was signalled";
/// So many fingerprints are told in words.
const MAX_TOLD: usize = 3;

/// A query without its literals: pg's own id of it where it counts them (`compute_query_id`), else a hash of its text with
/// comments taken out, texts and numbers replaced and white space evened. A text that was cut off in the middle of a literal loses
/// that, too. The hash is for telling queries apart on one server, not for keeping.
const FINGERPRINT: &str = r"coalesce('id:' || a.query_id, 'text:' || to_hex(hashtextextended(
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(lower(a.query),
        '/\*([^*]|\*+[^*/])*\*+/', ' ', 'g'),
        '\me''([^''\\]|\\.|'''')*(''|$)', '?', 'g'),
        '''([^'']|'''')*(''|$)', '?', 'g'),
        '--[^\n]*', ' ', 'g'),
        '\m[0-9][0-9a-z_.]*', '?', 'g'),
        '\s+', ' ', 'g'), 0)))";

/// Whom it is about: parameters 1 to 5 are the role, the state, seconds, the fingerprint, how many.
fn matching(columns: &str, and: &str) -> String {
    format!(
        "SELECT {columns} FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid \
         WHERE r.rolname = $1 AND NOT r.rolsuper AND NOT r.rolreplication \
         AND r.rolname NOT IN (current_user, session_user) \
         AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() \
         AND CASE $2 WHEN 'active' THEN a.state = 'active' \
             WHEN 'idle_in_transaction' THEN a.state IN ('idle in transaction', 'idle in transaction (aborted)') \
             ELSE a.state <> 'disabled' END \
         AND {AGE} >= $3::int8 AND ($4::text IS NULL OR {FINGERPRINT} = $4) {and} \
         ORDER BY {AGE} DESC, a.pid LIMIT $5"
    )
}

/// Whole seconds that the query runs, or that the session waits for the next one.
const AGE: &str = "extract(epoch FROM clock_timestamp() - \
                   CASE a.state WHEN 'active' THEN a.query_start ELSE a.state_change END)::int8";

/// Microseconds since 1970, by which a session and its query are told from any other.
fn micros(of: &str) -> String {
    format!("coalesce((extract(epoch FROM {of}) * 1000000)::int8, 0)")
}

/// One query of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pid: i32,
    /// When the session began.
    session: i64,
    /// When its query began.
    query: i64,
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Found {
    /// Those that would be hit.
    pub(super) targets: Vec<Target>,
    /// How many fit, whether they would be hit or not.
    total: i64,
    oldest_secs: i64,
    /// By fingerprint, of those that would be hit.
    fingerprints: BTreeMap<String, usize>,
}

/// Whom a call means.
#[derive(Debug)]
pub(super) struct Selection {
    action: Action,
    pub(super) role: String,
    state: String,
    min_seconds: i64,
    max_sessions: i64,
    fingerprint: Option<String>,
}

impl Selection {
    /// Whom a checked call means.
    pub(super) fn of(action: Action, role: String, call: &Call) -> Self {
        let number = |name: &str, otherwise| call.params.get(name).and_then(Value::as_i64).unwrap_or(otherwise);
        Self {
            action,
            role,
            state: text(call, "state").unwrap_or_else(|| STATES[0].to_owned()),
            min_seconds: number("min_seconds", i64::MAX),
            max_sessions: number("max_sessions", 0),
            fingerprint: text(call, "fingerprint"),
        }
    }

    /// The statement that looks again and signals whom it finds, unless it comes too late. Parameter 6 is the deadline.
    pub(super) fn effect(&self) -> String {
        let signal = if self.action == Action::Cancel { "pg_cancel_backend" } else { "pg_terminate_backend" };
        let now = micros("clock_timestamp()");
        // What is materialized is chosen to the end before the first is signalled.
        format!(
            "WITH due AS MATERIALIZED (SELECT {now} < $6::int8 AS in_time), chosen AS MATERIALIZED ({}) \
             SELECT (SELECT in_time FROM due), (SELECT count(*) FROM chosen), \
             (SELECT count(*) FILTER (WHERE {signal}(pid)) FROM chosen)",
            matching("a.pid", "AND (SELECT in_time FROM due)")
        )
    }

    fn what(&self) -> &'static str {
        match (self.action, self.state.as_str()) {
            (Action::Cancel, _) => "queries",
            (_, "active") => "sessions with queries",
            (_, "idle_in_transaction") => "idle transactions",
            _ => "sessions",
        }
    }

    /// What would be hit, without a word of any query.
    pub(super) fn foretell(&self, found: &Found, n_sessions: i64) -> String {
        let Self { role, min_seconds, max_sessions, .. } = self;
        let (what, total, oldest) = (self.what(), found.total, found.oldest_secs);
        let which = self.fingerprint.as_ref().map(|text| format!(" of fingerprint {text}")).unwrap_or_default();
        if total == 0 {
            return format!(
                "no {what}{which} of role `{role}` are {min_seconds} s old or older (it has {n_sessions} sessions): nothing is done"
            );
        }
        let mut by_count: Vec<(&String, &usize)> = found.fingerprints.iter().collect();
        by_count.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
        let told: Vec<String> =
            by_count.iter().take(MAX_TOLD).map(|(name, count)| format!("{name} ({count})")).collect();
        let more = by_count.len().saturating_sub(MAX_TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let does = if self.action == Action::Cancel { "cancelled" } else { "ended" };
        format!(
            "{total} {what}{which} of role `{role}` are {min_seconds} s old or older, the oldest {oldest} s, of its {n_sessions} \
             sessions; at most {max_sessions} are {does}; fingerprints: {}{more}",
            told.join(", ")
        )
    }
}

/// Who would be hit now.
pub(super) async fn look(session: &mut Session, ctx: &Ctx, selection: &Selection) -> Result<Found> {
    let columns = format!(
        "a.pid, {}, {}, coalesce({FINGERPRINT}, ''), {AGE}, count(*) OVER ()",
        micros("a.backend_start"),
        micros("a.query_start")
    );
    let Selection { role, state, min_seconds, max_sessions, fingerprint, .. } = selection;
    let sql = matching(&columns, "");
    let rows = session.query(ctx, &sql, &[role, state, min_seconds, fingerprint, max_sessions]).await?;
    let mut found = Found { targets: Vec::new(), total: 0, oldest_secs: 0, fingerprints: BTreeMap::new() };
    for row in &rows {
        take(&mut found, row).map_err(|error| told(&error))?;
    }
    Ok(found)
}

fn take(found: &mut Found, row: &Row) -> Result<(), tokio_postgres::Error> {
    found.targets.push(Target { pid: row.try_get(0)?, session: row.try_get(1)?, query: row.try_get(2)? });
    *found.fingerprints.entry(row.try_get(3)?).or_default() += 1;
    found.oldest_secs = found.oldest_secs.max(row.try_get(4)?);
    found.total = row.try_get(5)?;
    Ok(())
}

/// Signals them, once.
pub(super) async fn act(
    session: &mut Session,
    ctx: &Ctx,
    statement: &Statement,
    selection: &Selection,
    until_us: i64,
) -> Result<String, Fault> {
    let Selection { role, state, min_seconds, max_sessions, fingerprint, .. } = selection;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [role, state, min_seconds, fingerprint, max_sessions, &until_us];
    let rows = session.act(ctx, statement, &params).await?;
    let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let (in_time, chosen, signalled): (bool, i64, i64) = match rows.first().map(read) {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => return Err(Fault::Lost(told(&error))),
        None => return Err(Fault::Lost(Error::new(ErrorKind::Unknown, COMPONENT, "the server answered with no row"))),
    };
    if !in_time {
        return Err(Fault::Refused(Error::new(ErrorKind::Timeout, COMPONENT, TOO_LATE)));
    }
    let signal = if selection.action == Action::Cancel { "told to cancel" } else { "told to end" };
    let gone = match chosen - signalled {
        0 => String::new(),
        n => format!("; {n} were gone already"),
    };
    Ok(format!("{signalled} {} of role `{role}` were {signal}{gone}", selection.what()))
}

/// Whether the statement itself says that it did nothing.
pub(super) fn is_too_late(error: &Error) -> bool {
    error.message() == TOO_LATE
}

/// How many of `targets` are as they were: the same query of the same session, or for an end the same session.
pub(super) async fn left(session: &mut Session, ctx: &Ctx, action: Action, targets: &[Target]) -> Result<i64> {
    let sql = format!(
        "SELECT count(*) FROM unnest($1::int4[], $2::int8[], $3::int8[]) AS t (pid, began, query) \
         JOIN pg_stat_activity a ON a.pid = t.pid AND {} = t.began \
         AND ($4 OR (a.state = 'active' AND {} = t.query))",
        micros("a.backend_start"),
        micros("a.query_start")
    );
    let pids: Vec<i32> = targets.iter().map(|target| target.pid).collect();
    let sessions: Vec<i64> = targets.iter().map(|target| target.session).collect();
    let queries: Vec<i64> = targets.iter().map(|target| target.query).collect();
    let whole = action == Action::Terminate;
    let rows = session.query(ctx, &sql, &[&pids, &sessions, &queries, &whole]).await?;
    let count = rows.first().map(|row| row.try_get(0)).transpose().map_err(|error| told(&error))?;
    count.ok_or_else(|| Error::new(ErrorKind::Unavailable, COMPONENT, "the server answered with no row"))
}
