//! TLS to a server that has a certificate, and takes nothing in clear from this role.

use ir_adapters::http::Tls;
use ir_adapters::postgres::PostgresActions;
use ir_core::{ErrorKind, Executor, Secret};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::cluster::{Cluster, write_for_server};
use super::{PASSWORD, call, config, ctx};

/// An authority, and a certificate and key of it for a server of that name.
fn authority(name: &str) -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (pem, certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn it_speaks_tls_with_who_proves_to_be_the_server_and_with_nobody_else() {
    let cluster = Cluster::start(&[]).await;
    let (ours, certificate, key) = authority("localhost");
    let (theirs, _, _) = authority("localhost");
    write_for_server(&cluster.data().join("server.crt"), &certificate);
    write_for_server(&cluster.data().join("server.key"), &key);
    cluster.with_roles("unused").await;
    cluster
        .sql(&format!("CREATE ROLE tls LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_stats, pg_signal_backend"))
        .await;
    cluster.sql("ALTER SYSTEM SET ssl TO on").await;
    cluster.sql("SELECT pg_reload_conf()").await;
    let is_on = async || (cluster.value("SHOW ssl").await == "on").then_some(());
    crate::server::wait_for("the server has its certificate", is_on).await;
    let end = call("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 1, "max_sessions": 1 }));
    let executor = |host: &str| {
        let url = format!("postgresql://tls:{PASSWORD}@{host}:{}/postgres", cluster.address.port());
        PostgresActions::new(config(), &Secret::new(url)).unwrap()
    };
    let good = executor("localhost").with_tls(Tls::with_roots(ours.as_bytes()).unwrap());
    good.preview(&ctx(), &end).await.unwrap();
    // Whether it was really encrypted, the server knows.
    good.connect(&ctx()).await.unwrap();
    let encrypted =
        "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'tls' AND s.ssl";
    assert_eq!(cluster.value(encrypted).await, "1");
    // In clear; with an authority that is not the server's; under a name that is not in its certificate.
    let stranger = Tls::with_roots(theirs.as_bytes()).unwrap();
    let wrong = [
        (executor("localhost"), ErrorKind::Unauthorized),
        (executor("localhost").with_tls(stranger), ErrorKind::Unavailable),
        (executor("127.0.0.1").with_tls(Tls::with_roots(ours.as_bytes()).unwrap()), ErrorKind::Unavailable),
    ];
    for (executor, kind) in wrong {
        let error = executor.preview(&ctx(), &end).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
}
