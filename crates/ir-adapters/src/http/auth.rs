//! Credentials of a client. Their text is in no message and no `Debug`.

use std::fmt;

use ir_core::{Error, ErrorKind, Result, Secret};

/// What a client shows with every request. Give it an address that you trust, over TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAuth(Secret);

impl HttpAuth {
    /// A bearer token.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, without the text, when it is empty or cannot stand in a header.
    pub fn bearer(token: &Secret) -> Result<Self> {
        let token = token.expose();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "http",
                "a bearer token is printable text without spaces",
            ));
        }
        Ok(Self(Secret::new(format!("Bearer {token}"))))
    }

    /// A user and a password (RFC 7617).
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, without the text, when the user's name has a colon.
    pub fn basic(user: &str, password: &Secret) -> Result<Self> {
        use base64::Engine as _;
        if user.contains(':') {
            return Err(Error::new(ErrorKind::InvalidConfig, "http", "the name of a user has no colon"));
        }
        let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
        Ok(Self(Secret::new(format!("Basic {both}"))))
    }

    /// The content of the header `authorization`.
    pub(super) fn header(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for HttpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpAuth(..)")
    }
}
