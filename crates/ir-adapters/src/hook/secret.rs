//! What proves who sends: tokens and keys, which are never printed.

use std::fmt;

use hmac::{KeyInit as _, Mac as _};
use ir_core::{Error, ErrorKind, Result, Secret};
use sha2::Sha256;

use super::COMPONENT;

type HmacSha256 = hmac::Hmac<Sha256>;

/// The shortest key that may sign, in bytes. Standard Webhooks asks for 24 to 64.
const MIN_KEY_BYTES: usize = 24;
const MAX_KEY_BYTES: usize = 64;

/// A bearer token. Its text is in no message and no `Debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(Secret);

impl Token {
    /// A token of at least 16 printable characters without spaces.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, without the text.
    pub fn new(text: &Secret) -> Result<Self> {
        let bytes = text.expose().as_bytes();
        if bytes.len() < 16 || !bytes.iter().all(u8::is_ascii_graphic) {
            let message = "a bearer token has at least 16 printable characters and no spaces";
            return Err(Error::new(ErrorKind::InvalidConfig, COMPONENT, message));
        }
        Ok(Self(text.clone()))
    }

    /// Compares in a time that says nothing about where the texts differ: what is compared are their keyed hashes.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let hash = |text: &[u8]| HmacSha256::new_from_slice(COMPONENT.as_bytes()).map(|mac| mac.chain_update(text));
        let (Ok(own), Ok(given)) = (hash(self.0.expose().as_bytes()), hash(given)) else { return false };
        own.verify(&given.finalize().into_bytes()).is_ok()
    }
}

/// A key that signs webhooks as [Standard Webhooks](https://www.standardwebhooks.com) describes: HMAC with SHA-256 over id,
/// time and content. It is in no message and no `Debug`.
#[derive(Clone)]
pub struct SigningKey(HmacSha256);

impl SigningKey {
    /// From the text in which keys are handed around: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, without the text.
    pub fn from_text(text: &Secret) -> Result<Self> {
        use base64::Engine as _;
        let wrong = || {
            let message = "a signing key is `whsec_` and 24 to 64 bytes in base64";
            Error::new(ErrorKind::InvalidConfig, COMPONENT, message)
        };
        let text = text.expose().strip_prefix("whsec_").ok_or_else(wrong)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?;
        Self::from_bytes(&bytes)
    }

    /// From 24 to 64 bytes.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::InvalidConfig, COMPONENT, "a signing key has 24 to 64 bytes");
        if !(MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&bytes.len()) {
            return Err(wrong());
        }
        HmacSha256::new_from_slice(bytes).map(Self).map_err(|_| wrong())
    }

    /// The content of the header `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, unix_secs: i64, body: &[u8]) -> String {
        use base64::Engine as _;
        let mac = self.mac(id, unix_secs, body).finalize().into_bytes();
        format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac))
    }

    /// Whether one of the signatures in the header, which are separated by spaces, is of this key. Takes the same time wherever
    /// they differ.
    pub(super) fn signed(&self, header: &str, id: &str, unix_secs: i64, body: &[u8]) -> bool {
        use base64::Engine as _;
        // Rotating keys takes two; a header with thousands would buy thousands of comparisons.
        header.split(' ').take(8).filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| {
            let given = base64::engine::general_purpose::STANDARD.decode(signature);
            given.is_ok_and(|given| self.mac(id, unix_secs, body).verify_slice(&given).is_ok())
        })
    }

    fn mac(&self, id: &str, unix_secs: i64, body: &[u8]) -> HmacSha256 {
        let time = unix_secs.to_string();
        let mac = self.0.clone();
        mac.chain_update(id).chain_update(".").chain_update(time).chain_update(".").chain_update(body)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}
