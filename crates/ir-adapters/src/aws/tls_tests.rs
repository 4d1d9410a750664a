//! The client of our own speaks TLS, and believes nobody whose certificate no authority of this machine signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use ir_core::execution::Executor as _;
use ir_core::plan::Call;
use ir_core::{ActionName, Ctx, EntityId, ErrorKind};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::ecs::{EcsConfig, EcsExecutor, EcsService};
use super::{AwsConfig, sdk_config};
use crate::SystemClock;

/// A server for `localhost` whose certificate it has signed itself; counts the clients that believe it.
async fn impostor() -> (String, Arc<AtomicUsize>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let believed = Arc::new(AtomicUsize::new(0));
    let shared = believed.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            shared.fetch_add(usize::from(acceptor.accept(stream).await.is_ok()), Ordering::SeqCst);
        }
    });
    (url, believed)
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_not_believed() {
    let (url, believed) = impostor().await;
    let config = AwsConfig { region: Some("eu-central-1".to_owned()), endpoint_url: Some(url), ..AwsConfig::default() };
    let provider = SharedCredentialsProvider::new(Credentials::new("AKIAIOSFODNN7EXAMPLE", "x", None, None, "test"));
    let sdk = sdk_config(&config).await.unwrap().into_builder().credentials_provider(provider).build();
    let entity = EntityId::literal("web");
    let service = EcsService {
        entity: entity.clone(),
        cluster: "main".to_owned(),
        service: "web".to_owned(),
        min_count: 1,
        max_count: 2,
    };
    let executor = EcsExecutor::new(EcsConfig { service: vec![service], ..EcsConfig::default() }, &sdk).unwrap();
    let call = Call { action: ActionName::literal("ecs.redeploy"), target: entity, params: Default::default() };
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let error = executor.preview(&ctx, &call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("certificate"), "{error}");
    assert_eq!(believed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_this_machine_is_asked_without_tls() {
    let is_refused = async |url: &str| {
        let (region, endpoint_url) = (Some("eu-central-1".to_owned()), Some(url.to_owned()));
        sdk_config(&AwsConfig { region, endpoint_url, ..AwsConfig::default() }).await.is_err()
    };
    for url in
        ["https://vpce.example", "http://127.0.0.1:5000", "http://localhost", "http://[::1]:80/x", "http://127.8.9.1/"]
    {
        assert!(!is_refused(url).await, "{url}");
    }
    let elsewhere = [
        "http://ecs.example",
        "http://127.0.0.1.example",
        "http://localhost.example:80",
        "http://127.0.0.1@evil.example",
        "http://10.0.0.1:80",
        "HTTP://10.0.0.1",
        "",
    ];
    for url in elsewhere {
        assert!(is_refused(url).await, "{url}");
    }
}

#[tokio::test]
async fn every_mistake_of_a_configuration_is_told() {
    let config = AwsConfig {
        region: Some("eu.evil.example/".to_owned()),
        endpoint_url: Some("ftp://x".to_owned()),
        connect_timeout_ms: 0,
        timeout_ms: 0,
        ..AwsConfig::default()
    };
    let error = sdk_config(&config).await.unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["endpoint_url", "region", "connect_timeout_ms", "timeout_ms"]);
}
