//! What a server's refusal means, in words of our own: what a server writes never stands in an error, since it may repeat a
//! password or the text of a query.

use ir_core::{Error, ErrorKind};
use tokio_postgres::error::{Severity, SqlState};

use super::COMPONENT;

/// Raised by our own statements that came after their deadline.
pub(super) const TOO_LATE: &str = "IR001";
/// Raised by our own statements whose role is not one that may be touched any more.
pub(super) const NOT_OURS: &str = "IR002";

/// What a statement that changes something came to.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server refused it, and its transaction was rolled back.
    Refused(Error),
    /// The session ended or the time was over: nobody knows.
    Lost(Error),
}

impl Fault {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        // An error that ends the session may come after the commit as well.
        let refused = error.as_db_error().is_some_and(|db| db.parsed_severity() == Some(Severity::Error));
        if refused { Self::Refused(told(error)) } else { Self::Lost(told(error)) }
    }
}

/// The error as it may be recorded: the code of the server, and what it means.
pub(super) fn told(error: &tokio_postgres::Error) -> Error {
    let Some(code) = error.code() else {
        return Error::new(ErrorKind::Unavailable, COMPONENT, broken(error));
    };
    let (kind, meaning) = meaning(code);
    Error::new(kind, COMPONENT, format!("{meaning} (SQLSTATE {})", code.code()))
}

/// Without a word of the server: only the kind of what went wrong below it.
fn broken(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    match io {
        // The text of an error of TLS is the library's own and says which certificate is wrong.
        Some(io) if io.kind() == std::io::ErrorKind::InvalidData => format!("the connection failed: {io}"),
        Some(io) => format!("the connection failed: {}", io.kind()),
        None if error.is_closed() => "the connection was closed".to_owned(),
        None => "the connection could not be made, or the server does not speak as PostgreSQL does".to_owned(),
    }
}

fn meaning(code: &SqlState) -> (ErrorKind, &'static str) {
    match code.code() {
        TOO_LATE => (ErrorKind::Timeout, "the statement reached the server after its deadline and changed nothing"),
        NOT_OURS => (ErrorKind::Conflict, "the role is gone, or is a superuser or for replication by now"),
        "28000" | "28P01" => (ErrorKind::Unauthorized, "the server does not accept the credentials"),
        "42501" => (ErrorKind::Unauthorized, "the executor's role may not do that: see `postgres/grants.sql`"),
        "53300" => (ErrorKind::Unavailable, "no connection is free"),
        "57014" => (ErrorKind::Timeout, "the statement took too long and was cancelled"),
        "55P03" => (ErrorKind::Conflict, "somebody else holds a lock on it"),
        "3D000" => (ErrorKind::InvalidConfig, "the database does not exist"),
        "22023" => (ErrorKind::InvalidInput, "the value is not one that the setting takes"),
        "25006" => (ErrorKind::Unavailable, "the server takes no changes: it is a standby or read-only"),
        "42704" => (ErrorKind::NotFound, "the role or the language PL/pgSQL does not exist"),
        "42703" | "42883" | "42P01" => (ErrorKind::Unsupported, "the server is too old: PostgreSQL 14 is the oldest"),
        // `tuple concurrently updated`: somebody altered the same role at the same moment.
        "XX000" => (ErrorKind::Conflict, "the server could not do it, perhaps because somebody else did the like"),
        other if other.starts_with("57P") => (ErrorKind::Unavailable, "the server is ending, starting or recovering"),
        other if other.starts_with("53") => (ErrorKind::Unavailable, "the server has not enough of something"),
        other if other.starts_with("08") => (ErrorKind::Unavailable, "the connection failed"),
        _ => (ErrorKind::Unavailable, "the server refused it"),
    }
}
