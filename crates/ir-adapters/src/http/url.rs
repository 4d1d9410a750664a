//! Addresses of plain HTTP servers.

use std::fmt;

use ir_core::{Error, ErrorKind, Result};

/// An address such as `http://127.0.0.1:9090/metrics?x=1`. Only `http`; credentials in an address are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl {
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
    /// `InvalidInput` when it is none, or not one of plain HTTP.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid =
            |what: &str| Error::new(ErrorKind::InvalidInput, "http", format!("`{text}` is no address: {what}"));
        let uri: hyper::Uri = text.parse().map_err(|error| invalid(&format!("{error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(invalid("this client has no TLS, so only `http` can be used")),
            _ => return Err(invalid("it must begin with `http://`")),
        }
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("credentials do not belong into it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), authority: authority.as_str().to_owned(), path })
    }

    /// The same server with another path, which must begin with `/`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the path cannot stand in an address.
    pub fn with_path(&self, path: &str) -> Result<Self> {
        Self::parse(&format!("http://{}{path}", self.authority))
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80 when the address names none.
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
        write!(f, "http://{}{}", self.authority, self.path)
    }
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
        ];
        for (text, host, port, path) in rows {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path), "{text}");
        }
        for text in ["", "db", "/metrics", "https://db/", "ftp://db/", "http://", "http://user:word@db/", "http://a b/"]
        {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }
}
