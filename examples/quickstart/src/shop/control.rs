//! The two doors of the shop: control, for those who look after it, and fault, for nature and trials.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::effects::Author;
use super::operations::{Operations, Refusal, Wish};
use crate::clock;
use crate::fault::Fault;
use crate::http::{self, Request, Response};
use crate::records::EffectKind;

/// The control API; `README.md` lists it.
pub(crate) async fn control(operations: Arc<Operations>, request: Request) -> Response {
    let supervisor = &operations.supervisor;
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["v1", "services"]) => {
            let views: Vec<_> = supervisor.services().iter().map(|service| supervisor.view(service)).collect();
            http::json(200, &views)
        }
        ("GET", ["v1", "services", name]) => match supervisor.service(name) {
            Some(service) => http::json(200, &supervisor.view(service)),
            None => http::problem(404, format!("no service `{name}`")),
        },
        ("GET", ["v1", "changes"]) => changes(&operations, &query),
        ("GET", ["v1", "operations", key]) => operation(&operations, key),
        ("POST", ["v1", "services", name, "fence"]) => fence(&operations, name, request).await,
        ("POST", ["v1", "services", name, verb]) => act(&operations, name, verb, request).await,
        _ => http::problem(404, format!("no such thing: {method} {path}")),
    }
}

fn changes(operations: &Operations, query: &str) -> Response {
    let after = match query.strip_prefix("after=").unwrap_or("0").parse::<u64>() {
        Ok(after) => after,
        Err(_) => return http::problem(400, "`after` is a number"),
    };
    let (changes, head) = operations.supervisor.changes.after(after);
    http::json(200, &json!({ "changes": changes, "head": head }))
}

fn operation(operations: &Operations, key: &str) -> Response {
    match operations.look_up(key) {
        None => http::problem(404, format!("no operation `{key}`")),
        Some(None) => http::json(200, &json!({ "state": "running", "result": null })),
        Some(Some(answer)) => {
            let state = if answer.status == 200 { "done" } else { "failed" };
            http::json(200, &json!({ "state": state, "result": answer.body }))
        }
    }
}

async fn fence(operations: &Operations, service: &str, request: Request) -> Response {
    #[derive(Deserialize)]
    struct Body {
        token: u64,
    }
    match http::body::<Body>(request).await {
        Ok(Body { token }) => match operations.fence(service, token) {
            Ok(()) => http::json(200, &json!({ "service": service, "token": token })),
            Err(refusal) => refused(&refusal),
        },
        Err(error) => http::problem(400, error),
    }
}

async fn act(operations: &Arc<Operations>, service: &str, verb: &str, request: Request) -> Response {
    #[derive(Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Body {
        version: Option<String>,
        to: Option<String>,
    }
    let author = match author(&request) {
        Ok(author) => author,
        Err(error) => return http::problem(400, error),
    };
    let body = match http::body::<Body>(request).await {
        Ok(body) => body,
        Err(error) => return http::problem(400, error),
    };
    let (kind, version) = match (verb, body) {
        ("restart", Body { version: None, to: None }) => (EffectKind::Restart, None),
        ("rollback", Body { version: None, to }) => (EffectKind::Rollback, to),
        ("deploy", Body { version: Some(version), to: None }) => (EffectKind::Deploy, Some(version)),
        ("restart" | "rollback" | "deploy", _) => {
            return http::problem(400, "restart takes {}, rollback {} or {\"to\"}, deploy {\"version\"}");
        }
        _ => return http::problem(404, format!("no operation `{verb}`")),
    };
    let wish = Wish { kind, service: service.to_owned(), version };
    match operations.perform(wish, author).await {
        Ok(answer) => http::json(answer.status, &answer.body),
        Err(refusal) => refused(&refusal),
    }
}

/// Who asks. People and deployments carry no token; the responder must, or a stalled one could act after its successor.
fn author(request: &Request) -> Result<Author, String> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let by = header("x-actor").ok_or("header X-Actor is missing")?;
    let key = header("idempotency-key").filter(|key| !key.is_empty()).ok_or("header Idempotency-Key is missing")?;
    let token = match header("fencing-token") {
        Some(token) => Some(token.parse().map_err(|_| format!("Fencing-Token `{token}` is not a number"))?),
        None if by == "responder" => return Err("header Fencing-Token is missing".to_owned()),
        None => None,
    };
    Ok(Author { by, key, token })
}

fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::NoSuchService => http::problem(404, "no such service"),
        Refusal::OldToken(highest) => http::json(
            409,
            &json!({ "error": format!("the token is lower than {highest}, the highest seen"), "highest": highest }),
        ),
        Refusal::OtherWish => http::problem(422, "this key was used for something else"),
    }
}

/// The fault API: what is done here is weather, not work, and the control API does not show it (but a bad version is
/// deployed like any other).
pub(crate) async fn fault(operations: Arc<Operations>, request: Request) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strike {
        kind: Fault,
        service: String,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Knobs {
        hold_reply_ms: u64,
    }
    let path = request.uri().path().to_owned();
    match (request.method().as_str(), path.as_str()) {
        ("POST", "/v1/faults") => {
            let strike = match http::body::<Strike>(request).await {
                Ok(strike) => strike,
                Err(error) => return http::problem(400, error),
            };
            let Some(service) = operations.supervisor.service(&strike.service) else {
                return http::problem(404, "no such service");
            };
            match operations.supervisor.strike(service, strike.kind).await {
                Ok(at) => http::json(200, &json!({ "at": clock::rfc3339(at) })),
                Err(error) => http::problem(500, format!("{error:#}")),
            }
        }
        ("POST", "/v1/knobs") => match http::body::<Knobs>(request).await {
            Ok(knobs) => {
                operations.hold_next_reply(knobs.hold_reply_ms);
                http::json(200, &json!({}))
            }
            Err(error) => http::problem(400, error),
        },
        _ => http::problem(404, "no such thing"),
    }
}
