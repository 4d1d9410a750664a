//! What happens to a request: some work here, a call to the next service, an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::state::{Pressure, State, count_request, pressure, resident_bytes};
use crate::clock;
use crate::http::{self, Call, CallError, Request, Response};
use crate::rng::fnv;

/// A healthy request takes this long in each service besides its call: the stand-in for a look into a store. Four of
/// these give clients a p95 near 85 ms. Twice that is the end of their range, so tens of milliseconds of scheduling
/// noise on a busy machine do not look like an outage, and half a second of fault does.
const WORK_MS: [f64; 2] = [8.0, 24.0];
/// One info line per so many requests.
const LOG_EVERY: u64 = 100;

/// The one route of each service.
pub(crate) fn route(service: &str) -> &'static str {
    match service {
        "gateway" => "/checkout",
        "orders" => "/orders",
        "inventory" => "/reservations",
        _ => "/entries",
    }
}

/// How long a service waits for the next one. Shorter further down, so that the one nearest to the trouble gives up
/// first and says so while the others still listen.
fn patience(service: &str) -> Duration {
    match service {
        "gateway" => Duration::from_millis(1200),
        "orders" => Duration::from_millis(1000),
        _ => Duration::from_millis(800),
    }
}

pub(crate) async fn answer(state: Arc<State>, request: Request) -> Response {
    // Metrics and health go through the same process as everything else: when it hangs, they hang.
    drop(state.turn.read().await);
    let mut response = match request.uri().path() {
        "/metrics" => http::text(200, "text/plain; version=0.0.4; charset=utf-8", state.metrics.text(resident_bytes())),
        "/healthz" => http::json(200, &serde_json::json!({ "status": "ok", "version": state.version.version })),
        path if path == route(&state.name) => business(&state, &request).await,
        _ => http::problem(404, "no such path"),
    };
    if state.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert("connection", hyper::header::HeaderValue::from_static("close"));
    }
    response
}

/// Why a request failed: the status for the caller and the line for the log.
struct Failure {
    status: u16,
    level: &'static str,
    message: String,
    peer_status: Option<u16>,
}

impl Failure {
    fn own(message: &str) -> Self {
        Self { status: 500, level: "error", message: message.to_owned(), peer_status: None }
    }
}

async fn business(state: &State, request: &Request) -> Response {
    let began = clock::monotonic();
    let number = count_request(state);
    let trace_id = match request.headers().get("x-trace-id").and_then(|id| id.to_str().ok()) {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", fnv(format!("{}{number}", clock::now()).as_bytes())),
    };
    let outcome = serve(state, &trace_id).await;
    let elapsed = began.elapsed();
    let status = outcome.as_ref().map_or_else(|failure| failure.status, |()| 200);
    state.metrics.request(route(&state.name), status, elapsed);

    let duration_ms = (elapsed.as_secs_f64() * 1e5).round() / 100.0;
    let mut fields: Vec<(&str, serde_json::Value)> = vec![
        ("trace_id", trace_id.into()),
        ("route", route(&state.name).into()),
        ("status", status.into()),
        ("duration_ms", duration_ms.into()),
    ];
    match outcome {
        Ok(()) => {
            if number.is_multiple_of(LOG_EVERY) {
                state.log.event("info", "request served", &fields);
            }
            http::json(200, &serde_json::json!({ "service": state.name, "version": state.version.version }))
        }
        Err(failure) => {
            if let Some(peer_status) = failure.peer_status {
                fields.push(("peer_status", peer_status.into()));
            }
            if let (Some((peer, _)), "warn") = (&state.peer, failure.level) {
                fields.push(("peer", peer.name.as_str().into()));
            }
            state.log.event(failure.level, &failure.message, &fields);
            http::problem(status, failure.message)
        }
    }
}

async fn serve(state: &State, trace_id: &str) -> Result<(), Failure> {
    let delay_ms = match pressure(resident_bytes()) {
        Pressure::Delay(ms) => ms,
        Pressure::Exhausted => return Err(Failure::own("out of memory budget")),
    };
    let [low, high] = state.version.extra_latency_ms;
    let work_ms = state.between(WORK_MS[0], WORK_MS[1]) + state.between(low, high) + delay_ms;
    tokio::time::sleep(Duration::from_secs_f64(work_ms / 1000.0)).await;

    if state.spoiled.load(Ordering::Relaxed) && state.chance(0.4) {
        return Err(Failure::own("price table is damaged: checksum mismatch"));
    }
    if state.chance(state.version.error_ratio) {
        return Err(Failure::own("cannot read request: field `currency` is missing"));
    }
    let Some((peer, client)) = &state.peer else { return Ok(()) };

    let began = clock::monotonic();
    let headers = [("x-trace-id", trace_id)];
    let call = Call { headers: &headers, ..Call::get(route(&peer.name)) };
    let called = client.call(call, patience(&state.name)).await;
    let code = match &called {
        Ok((status, _)) => status.to_string(),
        Err(error) => error.code().to_owned(),
    };
    state.metrics.call(&peer.name, &code, began.elapsed());
    let (status, message, peer_status) = match called {
        Ok((200, _)) => return Ok(()),
        Ok((status, _)) => (502, format!("{} failed", peer.name), Some(status)),
        Err(CallError::Timeout) => (504, format!("{} timed out", peer.name), None),
        Err(CallError::Refused(_)) => (502, format!("{} refused the connection", peer.name), None),
    };
    Err(Failure { status, level: "warn", message, peer_status })
}
