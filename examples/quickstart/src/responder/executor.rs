//! The one part that is ours: how the library acts on the shop. A team would write its own in place of this.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use incident_response::core::{
    ActionName, ActionSpec, Attempt, Call, Ctx, Digest, Error, ErrorKind, Executor, Permit, Preview, Probe, Probed,
    RecoveryClass, Result, Reversibility, RiskClass,
};
use serde::Deserialize;
use serde_json::json;

use crate::http::{self, CallError, Client};

const NAME: &str = "shop";
const RESTART: &str = "shop.restart";
const ROLLBACK: &str = "shop.rollback";
const DEPLOY: &str = "shop.deploy";

/// Acts through the shop's control API, which honours idempotency keys: every action is `Keyed`.
#[derive(Debug)]
pub(crate) struct ShopExecutor {
    control: SocketAddr,
}

/// A service as the control API shows it, as far as it matters here.
#[derive(Debug, Deserialize)]
struct View {
    version: String,
    previous_version: Option<String>,
    generation: u64,
    state: String,
}

impl ShopExecutor {
    pub(crate) fn new(control: SocketAddr) -> Self {
        Self { control }
    }

    /// The service as it is now. An action or a service that is not ours is refused, for `preview` and `execute` alike.
    async fn own(&self, call: &Call) -> Result<View> {
        if ![RESTART, ROLLBACK, DEPLOY].contains(&call.action.as_str()) {
            return Err(Error::new(ErrorKind::Unsupported, NAME, format!("no action is named `{}`", call.action)));
        }
        self.view(call.target.as_str()).await
    }

    async fn view(&self, service: &str) -> Result<View> {
        let path = format!("/v1/services/{service}");
        let answer = Client::new(self.control).call(http::Call::get(&path), Duration::from_secs(2)).await;
        let (status, body) = answer.map_err(|error| unavailable(&error.to_string()))?;
        match status {
            200 => serde_json::from_slice(&body).map_err(|error| unavailable(&error.to_string())),
            404 => Err(Error::new(ErrorKind::Unsupported, NAME, format!("the shop has no service `{service}`"))),
            _ => Err(unavailable(&format!("status {status}"))),
        }
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

fn action(name: &'static str, description: &str, params: serde_json::Value, undo: Option<&'static str>) -> ActionSpec {
    ActionSpec {
        name: ActionName::literal(name),
        description: description.to_owned(),
        params,
        risk: if undo.is_some() { RiskClass::Medium } else { RiskClass::Low },
        reversibility: match undo {
            Some(undo) => Reversibility::Undo { action: ActionName::literal(undo) },
            None => Reversibility::Transient,
        },
        recovery: RecoveryClass::Keyed,
        blast_radius: 1,
        changes_target: true,
    }
}

#[async_trait]
impl Executor for ShopExecutor {
    fn name(&self) -> &str {
        NAME
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let version = |field: &str, required: &[&str]| {
            let text = json!({ "type": "string", "minLength": 1, "maxLength": 40 });
            json!({ "type": "object", "properties": { field: text }, "required": required })
        };
        vec![
            action(RESTART, "starts the same version of a service again", ActionSpec::no_params(), None),
            action(ROLLBACK, "puts the former version of a service back", version("to", &[]), Some(DEPLOY)),
            action(DEPLOY, "puts a version of a service in place", version("version", &["version"]), Some(ROLLBACK)),
        ]
    }

    /// What a restart relies on is the running process; what a rollback or a deploy relies on is the version in place.
    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let view = self.own(call).await?;
        let (service, version) = (&call.target, &view.version);
        let back = |action: &'static str, field: &str| Call {
            action: ActionName::literal(action),
            target: call.target.clone(),
            params: serde_json::Map::from_iter([(field.to_owned(), json!(version))]),
        };
        let (state, summary, undo) = match call.action.as_str() {
            RESTART => {
                let state = format!("{version} generation {}", view.generation);
                (state, format!("{service} {version} is {}; it starts again", view.state), None)
            }
            ROLLBACK => {
                let to = text(call, "to").or(view.previous_version).unwrap_or_else(|| "nothing".to_owned());
                (version.clone(), format!("{service} goes from {version} to {to}"), Some(back(DEPLOY, "version")))
            }
            _ => {
                let to = text(call, "version").unwrap_or_default();
                (version.clone(), format!("{service} goes from {version} to {to}"), Some(back(ROLLBACK, "to")))
            }
        };
        Ok(Preview { state: Digest::of(state.as_bytes()), summary, undo })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        self.own(permit.call()).await?;
        // The last thing before the first byte goes out.
        let effect = permit.redeem()?;
        let call = effect.call();
        let (verb, body) = match call.action.as_str() {
            RESTART => ("restart", json!({})),
            ROLLBACK => ("rollback", json!(call.params)),
            _ => ("deploy", json!(call.params)),
        };
        let path = format!("/v1/services/{}/{verb}", call.target);
        let (key, token) = (effect.key().to_string(), effect.token().to_string());
        let headers = [
            ("content-type", "application/json"),
            ("x-actor", "responder"),
            ("idempotency-key", key.as_str()),
            ("fencing-token", token.as_str()),
        ];
        let request =
            http::Call { method: "POST", path: &path, headers: &headers, body: Bytes::from(body.to_string()) };
        let patience = ctx.remaining().unwrap_or(Duration::from_secs(10));
        let (status, answer) = Client::new(self.control).call(request, patience).await.map_err(|error| lost(&error))?;
        let said = String::from_utf8_lossy(&answer).into_owned();
        match status {
            200 => Ok(Attempt::applied(format!("{verb} of {} done", call.target))),
            // The shop says that it did nothing: this attempt is proved to have had no effect.
            400..=499 => {
                let refused = Error::new(ErrorKind::Conflict, NAME, format!("refused with {status}: {said}"));
                Ok(effect.not_applied(refused).into())
            }
            // It was begun and did not end well; only looking can tell what is left of it.
            _ => Err(Error::new(ErrorKind::Unknown, NAME, format!("status {status}: {said}"))),
        }
    }

    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        if let Some(fence) = &probe.fence {
            let path = format!("/v1/services/{}/fence", probe.call.target);
            let body = Bytes::from(json!({ "token": fence.token() }).to_string());
            let headers = [("content-type", "application/json")];
            let request = http::Call { method: "POST", path: &path, headers: &headers, body };
            let raised = Client::new(self.control).call(request, Duration::from_secs(2)).await;
            let (status, _) = raised.map_err(|error| unavailable(&error.to_string()))?;
            if status != 200 {
                return Ok(Probed::Unknown);
            }
        }
        #[derive(Deserialize)]
        struct Operation {
            state: String,
        }
        let path = format!("/v1/operations/{}", probe.key);
        let answer = Client::new(self.control).call(http::Call::get(&path), Duration::from_secs(2)).await;
        let (status, body) = answer.map_err(|error| unavailable(&error.to_string()))?;
        if status == 404 {
            // Without a fence an attempt could still be on its way.
            return Ok(if probe.fence.is_some() { Probed::NotApplied } else { Probed::Unknown });
        }
        let done = serde_json::from_slice(&body).is_ok_and(|operation: Operation| operation.state == "done");
        Ok(if done { Probed::Applied } else { Probed::Unknown })
    }
}

/// The reply was lost, so the effect may have taken place.
fn lost(error: &CallError) -> Error {
    Error::new(ErrorKind::Unknown, NAME, format!("the reply was lost: {error}"))
}

fn text(call: &Call, param: &str) -> Option<String> {
    call.params.get(param)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use incident_response::core::testkit::{AutoClock, executor};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A control API that knows no service and counts what it is told to do.
    struct Nowhere {
        control: SocketAddr,
        n_posts: Arc<AtomicU64>,
    }

    impl Nowhere {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (control, n_posts) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
            let posts = n_posts.clone();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut head = [0; 4];
                    if stream.read_exact(&mut head).await.is_ok() && head.starts_with(b"POST") {
                        posts.fetch_add(1, Ordering::SeqCst);
                    }
                    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                    // What is left of the request is read, or closing would reset the answer away.
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            });
            Self { control, n_posts }
        }
    }

    #[async_trait]
    impl executor::World for Nowhere {
        async fn fresh(&self) -> Arc<dyn Executor> {
            Arc::new(ShopExecutor::new(self.control))
        }

        fn calls(&self) -> Vec<Call> {
            let (action, target) = (ActionName::literal(RESTART), incident_response::core::EntityId::literal("orders"));
            vec![Call { action, target, params: serde_json::Map::new() }]
        }

        async fn effects(&self) -> u64 {
            self.n_posts.load(Ordering::SeqCst)
        }

        fn timeout_ms(&self) -> u64 {
            10_000
        }
    }

    #[tokio::test]
    async fn what_is_not_ours_is_refused_before_anything_is_sent() {
        let world = Nowhere::start().await;
        let ctx = Ctx::new(Arc::new(AutoClock::new()));
        let call = &executor::World::calls(&world)[0];
        executor::law_11_strangers_are_refused(&ctx, &world, call).await.unwrap();
    }
}
