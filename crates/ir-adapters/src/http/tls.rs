//! TLS by rustls with ring. No default provider is installed: that is the program's right.

use std::sync::Arc;

use ir_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const COMPONENT: &str = "tls";

/// Whom a client believes, and how it speaks TLS (1.2 or 1.3). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Believes the certificate authorities of this machine.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` when the machine has none that can be read.
    pub fn system() -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(invalid(format!("this machine has no certificate authorities{why}")));
        }
        Self::of(roots)
    }

    /// Believes the given certificate authorities and nobody else.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` when `pem` holds no certificate, or one that cannot be an authority.
    pub fn with_roots(pem: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| invalid(format!("a certificate cannot be read: {error}")))?;
            roots.add(certificate).map_err(|error| invalid(format!("a certificate is no authority: {error}")))?;
        }
        if roots.is_empty() {
            return Err(invalid("the text holds no certificate".to_owned()));
        }
        Self::of(roots)
    }

    /// The host's own configuration, with its own provider, certificates of the client and so on.
    #[must_use]
    pub const fn with_config(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }

    fn of(roots: RootCertStore) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(format!("{error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Speaks TLS over `stream` with whoever proves to be `host`.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, COMPONENT, message)
}
