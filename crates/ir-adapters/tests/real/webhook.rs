//! The library of Standard Webhooks receives what our sink sends, and finds every signature right.

use std::sync::Arc;

use base64::Engine as _;
use ir_adapters::SystemClock;
use ir_adapters::hook::SigningKey;
use ir_adapters::http::{HttpClient, HttpConfig, HttpUrl};
use ir_adapters::webhook::{WebhookConfig, WebhookSink};
use ir_core::journal::{AuditSink, Body, Chain, Event};
use ir_core::{Ctx, Secret};
use tempfile::TempDir;

use crate::server::{Server, free_address, venv, wait_for};

const RECEIVER: &str = include_str!("webhook_receiver.py");

#[tokio::test]
async fn the_standards_own_library_finds_every_signature_right() {
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let (folder, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let taken = folder.path().join("taken");
    let secret = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode([7; 32]));
    let address = free_address();
    let arguments = ["-c", RECEIVER, &address.port().to_string(), &secret, taken.to_str().unwrap()];
    let python = venv("bin/python", "standardwebhooks==1.1.0");
    let _receiver = Server::start(python.to_str().unwrap(), "python3", folder, &arguments);
    let url = format!("http://{address}/");
    let client = HttpClient::new("test", HttpConfig::default());
    wait_for("the receiver listens", async || client.get(&ctx, &HttpUrl::parse(&url).unwrap()).await.ok()).await;

    let timer = |n: usize| Body::Event(Event::TimerFired { timer: format!("timer {n} \u{e4} \"") });
    let (_, records, _) = Chain::default().encode(&ctx.now(), (0..12).map(timer).collect()).unwrap();
    let config = WebhookConfig {
        url,
        allow: vec!["127.0.0.1".to_owned()],
        position: kept.path().join("position.json"),
        backoff_ms: 1,
        ..WebhookConfig::default()
    };
    let sink = WebhookSink::new(config, vec![SigningKey::from_text(&Secret::new(secret)).unwrap()]).unwrap();
    let mut n_failed = 0;
    while sink.position(&ctx).await.unwrap() <= 12 {
        n_failed += u32::from(sink.copy(&ctx, &records).await.is_err());
        assert!(n_failed <= 4, "more failed than the receiver let fail");
    }
    assert_eq!(n_failed, 4);
    let wanted = records.iter().map(|record| format!("{}-{} event.timer_fired\n", record.seq, record.hash));
    assert_eq!(std::fs::read_to_string(taken).unwrap(), wanted.collect::<String>());
}
