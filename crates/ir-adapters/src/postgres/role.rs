//! A role as the catalogue has it, and what is altered about it.

use ir_core::plan::Call;
use ir_core::{Ctx, Digest, Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::fault::{NOT_OURS, TOO_LATE, told};
use super::link::Session;
use super::{Action, COMPONENT, MAX_SETTING_CHARS, text};

/// Everything that is asked of a role, at once.
const LOOK: &str = "\
SELECT r.oid::int8, r.rolsuper OR r.rolreplication, r.rolconnlimit,
       r.rolname IN (current_user, session_user),
       (SELECT substr(c, length('statement_timeout=') + 1)
          FROM pg_db_role_setting s, unnest(s.setconfig) c
         WHERE s.setrole = r.oid AND s.setdatabase = 0 AND starts_with(c, 'statement_timeout=')),
       (SELECT count(*) FROM pg_db_role_setting s, unnest(s.setconfig) c
         WHERE s.setrole = r.oid AND s.setdatabase <> 0 AND starts_with(c, 'statement_timeout=')),
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid),
       pg_has_role('pg_signal_backend', 'USAGE'),
       pg_has_role('pg_read_all_stats', 'USAGE'),
       (SELECT me.rolcreaterole OR me.rolsuper FROM pg_roles me WHERE me.rolname = current_user)
  FROM pg_roles r WHERE r.rolname = $1";

/// A role, and what we may do with it.
#[derive(Debug)]
pub(super) struct Role {
    name: String,
    oid: i64,
    /// A superuser, or for replication.
    is_special: bool,
    limit: i32,
    is_own: bool,
    /// The role's own setting, for all databases.
    timeout: Option<String>,
    /// Settings for single databases, which win.
    n_overriding: i64,
    pub(super) n_sessions: i64,
    can_signal: bool,
    can_see: bool,
    can_alter: bool,
}

/// Reads the role.
pub(super) async fn look(session: &mut Session, ctx: &Ctx, name: &str) -> Result<Role> {
    let rows = session.query(ctx, LOOK, &[&name]).await?;
    let Some(row) = rows.first() else {
        return Err(Error::new(ErrorKind::NotFound, COMPONENT, format!("there is no role `{name}`")));
    };
    let read = || {
        Ok(Role {
            name: name.to_owned(),
            oid: row.try_get(0)?,
            is_special: row.try_get(1)?,
            limit: row.try_get(2)?,
            is_own: row.try_get(3)?,
            timeout: row.try_get(4)?,
            n_overriding: row.try_get(5)?,
            n_sessions: row.try_get(6)?,
            can_signal: row.try_get(7)?,
            can_see: row.try_get(8)?,
            can_alter: row.try_get::<_, Option<bool>>(9)?.unwrap_or(false),
        })
    };
    read().map_err(|error: tokio_postgres::Error| told(&error))
}

impl Role {
    fn may_be_touched(&self) -> Result<()> {
        let refused = |why: &str| {
            Err(Error::new(
                ErrorKind::Unauthorized,
                COMPONENT,
                format!("the role `{}` {why}, which is never touched", self.name),
            ))
        };
        match (self.is_special, self.is_own) {
            (true, _) => refused("is a superuser or for replication"),
            (false, true) => refused("is the executor's own"),
            (false, false) => Ok(()),
        }
    }

    pub(super) fn may_be_signalled(&self) -> Result<()> {
        self.may_be_touched()?;
        missing(self.can_signal, "pg_signal_backend")?;
        // Without it everybody else's sessions look as if they did nothing.
        missing(self.can_see, "pg_read_all_stats")
    }

    pub(super) fn may_be_altered(&self) -> Result<()> {
        self.may_be_touched()?;
        missing(self.can_alter, "CREATEROLE")
    }

    /// What signalling its sessions relies on: that it is the same role. Sessions come and go.
    pub(super) fn identity(&self) -> Digest {
        Digest::of_parts([b"postgres role 1".as_slice(), &self.oid.to_be_bytes()])
    }
}

fn missing(is_there: bool, what: &str) -> Result<()> {
    if is_there {
        return Ok(());
    }
    let message = format!("the executor's role lacks `{what}`: see `postgres/grants.sql`");
    Err(Error::new(ErrorKind::Unauthorized, COMPONENT, message))
}

/// What is altered, and to what.
#[derive(Debug)]
pub(super) struct Alteration {
    pub(super) role: String,
    to: To,
}

#[derive(Debug)]
enum To {
    Limit(i32),
    /// `None` takes the role's own setting away.
    Timeout(Option<String>),
}

impl Alteration {
    /// What a checked call asks for.
    pub(super) fn of(action: Action, role: String, call: &Call) -> Result<Self> {
        let invalid = |what: &str| Error::new(ErrorKind::InvalidInput, COMPONENT, what.to_owned());
        let to = if action == Action::Cap {
            let limit = call.params.get("limit").and_then(Value::as_i64).and_then(|limit| i32::try_from(limit).ok());
            To::Limit(limit.ok_or_else(|| invalid("`limit` is missing"))?)
        } else {
            let setting = text(call, "setting").ok_or_else(|| invalid("`setting` is missing"))?;
            if setting.contains('\0') {
                return Err(invalid("`setting` has a character that no setting has"));
            }
            To::Timeout(Some(setting).filter(|setting| !setting.is_empty()))
        };
        Ok(Self { role, to })
    }

    /// Lets the server say whether it takes the value, in a transaction that ends with the question.
    pub(super) async fn check(&self, session: &mut Session, ctx: &Ctx) -> Result<()> {
        if let To::Timeout(Some(setting)) = &self.to {
            session.query(ctx, "SELECT set_config('statement_timeout', $1, true)", &[setting]).await?;
        }
        Ok(())
    }

    /// The parameters of the call that brings back what is there now.
    pub(super) fn former(&self, role: &Role) -> Result<Map<String, Value>> {
        let (name, value) = match &self.to {
            To::Limit(_) => ("limit", json!(role.limit)),
            To::Timeout(_) => {
                let former = role.timeout.clone().unwrap_or_default();
                if former.chars().count() > MAX_SETTING_CHARS {
                    let message = "the former setting is too long to be brought back exactly";
                    return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
                }
                ("setting", json!(former))
            }
        };
        Ok(Map::from_iter([("role".to_owned(), json!(self.role)), (name.to_owned(), value)]))
    }

    /// The digest of exactly what is altered, as it is now.
    pub(super) fn state(&self, role: &Role) -> Digest {
        match &self.to {
            To::Limit(_) => Digest::of_parts([b"postgres limit 1".as_slice(), &role.limit.to_be_bytes()]),
            To::Timeout(_) => {
                let (tag, text) = role.timeout.as_ref().map_or((b"-", ""), |text| (b"+", text));
                Digest::of_parts([b"postgres timeout 1".as_slice(), tag, text.as_bytes()])
            }
        }
    }

    /// Whether it is so.
    pub(super) fn is_done(&self, role: &Role) -> bool {
        match &self.to {
            To::Limit(limit) => role.limit == *limit,
            To::Timeout(setting) => role.timeout == *setting,
        }
    }

    /// What is there now, and what would be.
    pub(super) fn foretell(&self, role: &Role) -> String {
        let name = &self.role;
        match &self.to {
            To::Limit(limit) => format!(
                "the role `{name}` has {} sessions and may have {}; it may have {} from then on",
                role.n_sessions,
                shown_limit(role.limit),
                shown_limit(*limit),
            ),
            To::Timeout(setting) => {
                let overriding = match role.n_overriding {
                    0 => String::new(),
                    n => format!("; {n} settings for single databases go before it and stay"),
                };
                let (now, then) = (shown_setting(role.timeout.as_deref()), shown_setting(setting.as_deref()));
                format!("new sessions of the role `{name}` have {now}; from then on {then}{overriding}")
            }
        }
    }

    pub(super) fn done(&self) -> String {
        match &self.to {
            To::Limit(limit) => format!("the role `{}` may have {} sessions", self.role, shown_limit(*limit)),
            To::Timeout(setting) => {
                format!("new sessions of the role `{}` have {}", self.role, shown_setting(setting.as_deref()))
            }
        }
    }

    /// One command that does it unless the server's clock is past `until_us`.
    pub(super) fn command(&self, until_us: i64) -> String {
        let role = identifier(&self.role);
        let alter = match &self.to {
            To::Limit(limit) => format!("ALTER ROLE {role} CONNECTION LIMIT {limit}"),
            To::Timeout(Some(setting)) => format!("ALTER ROLE {role} SET statement_timeout TO {}", literal(setting)),
            To::Timeout(None) => format!("ALTER ROLE {role} RESET statement_timeout"),
        };
        // ALTER has no condition, so a block around it has one; both are one statement in one transaction.
        let block = format!(
            "BEGIN \
             IF (extract(epoch FROM clock_timestamp()) * 1000000)::int8 >= {until_us} THEN \
             RAISE EXCEPTION USING ERRCODE = '{TOO_LATE}', MESSAGE = 'too late'; END IF; \
             IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name} AND NOT rolsuper AND NOT rolreplication) THEN \
             RAISE EXCEPTION USING ERRCODE = '{NOT_OURS}', MESSAGE = 'not ours'; END IF; \
             {alter}; END",
            name = literal(&self.role),
        );
        format!("DO LANGUAGE plpgsql {}", literal(&block))
    }
}

fn shown_limit(limit: i32) -> String {
    if limit < 0 { "any number of".to_owned() } else { limit.to_string() }
}

fn shown_setting(setting: Option<&str>) -> String {
    setting
        .map_or_else(|| "no statement timeout of its own".to_owned(), |text| format!("a statement timeout of `{text}`"))
}

/// A name as SQL writes it, whatever characters it has.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it while `standard_conforming_strings` is on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
