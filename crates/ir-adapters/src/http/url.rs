//! Addresses of HTTP servers.

use std::fmt;

use ir_core::{Error, ErrorKind, Result};

/// An address such as `http://127.0.0.1:9090/metrics?x=1` or `https://metrics.example.org/`. Credentials in it are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    tls: bool,
    host: String,
    port: u16,
    /// Host and port as they stand in the address.
    authority: String,
    /// Path and query, `/` at least.
    path: String,
}

impl HttpUrl {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is none, or neither `http` nor `https`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid =
            |what: &str| Error::new(ErrorKind::InvalidInput, "http", format!("`{text}` is no address: {what}"));
        let uri: hyper::Uri = text.parse().map_err(|error| invalid(&format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid("it must begin with `http://` or `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("credentials do not belong into it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// The same server with another path, which must begin with `/`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the path cannot stand in an address.
    pub fn with_path(&self, path: &str) -> Result<Self> {
        Self::parse(&format!("{}{path}", self.origin()))
    }

    /// Whether the server is spoken to over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Scheme, host and port, as they stand in the address.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80 when the address names none, 443 with TLS.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// Percent-encodes a value of a query string (RFC 3986).
#[cfg(any(feature = "loki", feature = "prometheus"))]
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused() {
        // Text, host, port, path.
        let rows = [
            ("http://127.0.0.1:9100/metrics", "127.0.0.1", 9100, "/metrics"),
            ("http://db", "db", 80, "/"),
            ("http://[::1]:80/a?b=c", "::1", 80, "/a?b=c"),
            ("https://db/", "db", 443, "/"),
        ];
        for (text, host, port, path) in rows {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path), "{text}");
            assert_eq!(url.is_tls(), text.starts_with("https"));
            assert_eq!(url.with_path("/other").unwrap().to_string(), format!("{}/other", url.origin()));
        }
        for text in ["", "db", "/metrics", "ftp://db/", "http://", "http://user:word@db/", "http://a b/"] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }
}
