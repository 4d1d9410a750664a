//! TLS against servers with certificates good and bad.

use std::sync::Arc;
use std::time::Duration;

use ir_core::{Clock, Ctx, ErrorKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{HttpClient, HttpConfig, HttpUrl, Tls};
use crate::SystemClock;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server that shows a certificate for `name`, and answers every request.
    async fn serve(&self, name: &str, expired: bool) -> HttpUrl {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = HttpUrl::parse(&format!("https://localhost:{}/x", listener.local_addr().unwrap().port())).unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(async move {
                    let mut chunk = [0; 4096];
                    while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await.unwrap();
                    }
                });
            }
        });
        url
    }
}

fn ctx() -> Ctx {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ctx::new(clock).with_timeout(Duration::from_secs(20))
}

fn client(authority: &Authority) -> HttpClient {
    HttpClient::new("test", HttpConfig::default()).with_tls(Tls::with_roots(authority.pem.as_bytes()).unwrap())
}

#[tokio::test]
async fn a_good_certificate_is_believed_and_the_connection_kept() {
    let authority = Authority::new();
    let url = authority.serve("localhost", false).await;
    let client = client(&authority);
    for _ in 0..3 {
        assert_eq!(&*client.get(&ctx(), &url).await.unwrap().body, b"secret");
    }
    assert_eq!(&*client.post(&ctx(), &url, &[], b"x".to_vec()).await.unwrap().body, b"secret");
}

#[tokio::test]
async fn a_bad_certificate_is_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let rows = [
        ("expired", authority.serve("localhost", true).await),
        ("of another host", authority.serve("elsewhere.example", false).await),
        ("of an unknown authority", other.serve("localhost", false).await),
    ];
    for (what, url) in rows {
        let error = client(&authority).get(&ctx(), &url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
        assert!(error.to_string().contains("certificate"), "{what}: {error}");
        // Nothing was sent, so nothing can have been done.
        let error = client(&authority).post(&ctx(), &url, &[], b"x".to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
    }
}

#[tokio::test]
async fn plain_and_tls_do_not_mix() {
    let authority = Authority::new();
    let url = authority.serve("localhost", false).await;
    // Without TLS nothing at all is sent to an address that asks for it.
    let error = HttpClient::new("test", HttpConfig::default()).get(&ctx(), &url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    // A server that speaks plain HTTP where TLS was asked for.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = HttpUrl::parse(&format!("https://localhost:{}/x", listener.local_addr().unwrap().port())).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let error = client(&authority).get(&ctx(), &plain).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn roots_that_are_none_are_refused() {
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no certificate", garbled] {
        assert_eq!(Tls::with_roots(pem.as_bytes()).unwrap_err().kind(), ErrorKind::InvalidConfig, "{pem:?}");
    }
}

#[cfg(feature = "scrape")]
#[tokio::test]
async fn a_target_is_scraped_over_tls_only_when_the_source_was_given_tls() {
    use crate::scrape::{ScrapeConfig, ScrapeSource, ScrapeTarget};
    use ir_core::{Cursor, EntityId, SignalSource as _};

    let authority = Authority::new();
    let url = authority.serve("localhost", false).await.to_string();
    let target = vec![ScrapeTarget { entity: EntityId::literal("web"), url }];
    let config = ScrapeConfig { target, ..ScrapeConfig::default() };
    let error = ScrapeSource::new(config.clone()).unwrap_err();
    assert!(error.to_string().contains("target[0].url") && error.to_string().contains("TLS"), "{error}");
    let source = ScrapeSource::with_tls(config, &Tls::with_roots(authority.pem.as_bytes()).unwrap()).unwrap();
    let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    // It answers, and nothing of what it says can be read.
    assert_eq!((polled.batch.metrics[0].value, polled.dropped), (0.0, 1));
}
