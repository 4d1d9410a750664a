//! The real Alertmanager posts to our receiver: firing, through a restart of its own, and resolved.

use std::net::SocketAddr;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::alertmanager::{AlertmanagerConfig, AlertmanagerSource};
use ir_adapters::hook::{HookAuth, Token};
use ir_adapters::http::{HttpClient, HttpConfig, HttpUrl};
use ir_core::{Ctx, Cursor, EventKind, Secret, SignalSource, Stop};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::server::{Server, free_address, wait_for};

const TOKEN: &str = "a-token-of-some-length";

struct Stage {
    ctx: Ctx,
    _stop: Stop,
    source: AlertmanagerSource,
    cursor: Cursor,
    receiver: SocketAddr,
    client: HttpClient,
}

impl Stage {
    async fn new() -> Self {
        let (ctx, stop) = Ctx::stoppable(Arc::new(SystemClock::new()));
        let auth = HookAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
        let config = AlertmanagerConfig { repeat_ms: 500, ..AlertmanagerConfig::default() };
        let source = AlertmanagerSource::new(&ctx, config, auth).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = listener.local_addr().unwrap();
        let (serving, of) = (source.clone(), ctx.clone());
        tokio::spawn(async move { serving.serve(&of, listener).await });
        let client = HttpClient::new("test", HttpConfig::default());
        Self { ctx, _stop: stop, source, cursor: Cursor::default(), receiver, client }
    }

    /// Starts Alertmanager so that it sends with `token`, and waits until it is ready.
    async fn alertmanager(&self, token: &str, folder: TempDir) -> (Server, SocketAddr) {
        let config = format!(
            "route: {{ receiver: us, group_wait: 0s, group_interval: 1s, repeat_interval: 2s }}\n\
             receivers:\n- name: us\n  webhook_configs:\n  - url: http://{}/\n    send_resolved: true\n    \
             http_config: {{ authorization: {{ credentials: {token} }} }}\n",
            self.receiver
        );
        let path = folder.path().join("alertmanager.yml");
        std::fs::write(&path, config).unwrap();
        let address = free_address();
        let arguments = [
            format!("--config.file={}", path.display()),
            format!("--storage.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
            // Otherwise it talks to the whole network.
            "--cluster.listen-address=".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = "prometheus-alertmanager";
        let server = Server::start(program, program, folder, &arguments);
        let ready = HttpUrl::parse(&format!("http://{address}/-/ready")).unwrap();
        wait_for("Alertmanager is ready", async || {
            self.client.get(&self.ctx, &ready).await.ok().filter(|reply| reply.status == 200)
        })
        .await;
        (server, address)
    }

    async fn raise(&self, address: SocketAddr, alert: &Value) {
        let url = HttpUrl::parse(&format!("http://{address}/api/v2/alerts")).unwrap();
        let headers = [("content-type", "application/json")];
        let reply = self.client.post(&self.ctx, &url, &headers, json!([alert]).to_string().into_bytes()).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Waits for a report about the alert in that state, and gives its key and its beginning.
    async fn hears(&mut self, firing: bool) -> (String, String) {
        let Self { ctx, source, cursor, .. } = self;
        wait_for(if firing { "the alert fires" } else { "the alert is resolved" }, async || {
            let polled = source.poll(ctx, cursor).await.unwrap();
            *cursor = polled.next;
            polled.batch.events.into_iter().find_map(|event| match event.kind {
                EventKind::Alert(alert) if alert.firing == firing => {
                    assert_eq!((event.entity.as_str(), event.name.as_str()), ("checkout", "HighErrorRate"));
                    Some((alert.key, alert.since.to_string()))
                }
                _ => None,
            })
        })
        .await
    }
}

fn alert(ends_at: Option<&str>) -> Value {
    let mut alert = json!({
        "labels": { "alertname": "HighErrorRate", "service": "checkout" },
        "annotations": { "summary": "one of ten requests fails" },
        "startsAt": "2026-11-20T10:00:00Z",
    });
    if let Some(ends_at) = ends_at {
        alert["endsAt"] = json!(ends_at);
    }
    alert
}

#[tokio::test]
async fn an_alert_is_the_same_before_and_after_alertmanager_was_killed() {
    let mut stage = Stage::new().await;
    let (server, address) = stage.alertmanager(TOKEN, TempDir::new().unwrap()).await;
    stage.raise(address, &alert(None)).await;
    let first = stage.hears(true).await;

    let folder = server.kill();
    let (_server, address) = stage.alertmanager(TOKEN, folder).await;
    // It keeps what it sent, not the alerts: whoever raised it raises it again, as Prometheus does.
    stage.raise(address, &alert(None)).await;
    assert_eq!(stage.hears(true).await, first);

    stage.raise(address, &alert(Some("2026-11-20T10:05:00Z"))).await;
    assert_eq!(stage.hears(false).await, first);
    assert_eq!(stage.source.refused(), 0);
}

#[tokio::test]
async fn alertmanager_with_another_token_is_refused() {
    let mut stage = Stage::new().await;
    let (_server, address) = stage.alertmanager("some-other-token-here", TempDir::new().unwrap()).await;
    stage.raise(address, &alert(None)).await;
    wait_for("it was refused", async || (stage.source.refused() > 0).then_some(())).await;
    let polled = stage.source.poll(&stage.ctx, &stage.cursor).await.unwrap();
    assert!(polled.batch.is_empty() && polled.dropped == 0);
    stage.cursor = polled.next;
}
