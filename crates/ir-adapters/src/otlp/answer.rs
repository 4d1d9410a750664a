//! What a sender is answered, in the form in which it asked.
//!
//! Source: OTLP specification, "OTLP/HTTP Response": what was taken in part says how many were rejected and why, an error is a
//! `google.rpc.Status`, and what may be sent again later is answered with 503 and `Retry-After`.

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
}

/// Which signals a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Metrics,
    Traces,
    Logs,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) form: Form,
    /// How many signals were not taken, of a request that was.
    pub(super) rejected: u64,
    pub(super) message: String,
}

impl Form {
    /// By the header `content-type`.
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        match content_type?.split(';').next()?.trim() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Answer {
    fn body(&self, kind: Kind) -> Vec<u8> {
        let taken = self.status == 200;
        match self.form {
            Form::Json if !taken => json!({ "message": self.message }).to_string().into_bytes(),
            Form::Json if self.rejected == 0 => b"{}".to_vec(),
            Form::Json => {
                let field = match kind {
                    Kind::Metrics => "rejectedDataPoints",
                    Kind::Traces => "rejectedSpans",
                    Kind::Logs => "rejectedLogRecords",
                };
                let partial = json!({ field: self.rejected.to_string(), "errorMessage": self.message });
                json!({ "partialSuccess": partial }).to_string().into_bytes()
            }
            // Field 2 of a status is its message.
            Form::Protobuf if !taken => text(2, &self.message),
            Form::Protobuf if self.rejected == 0 => Vec::new(),
            Form::Protobuf => {
                let mut partial = vec![0x08];
                varint(&mut partial, self.rejected);
                partial.extend(text(2, &self.message));
                let mut body = vec![0x0a];
                varint(&mut body, partial.len() as u64);
                body.extend(partial);
                body
            }
        }
    }

    pub(super) fn response(&self, kind: Kind, retry_after_secs: u32) -> Response {
        let content_type = match self.form {
            Form::Protobuf => "application/x-protobuf",
            Form::Json => "application/json",
        };
        let mut response = Response::builder().status(self.status).header("content-type", content_type);
        if self.status == 503 {
            response = response.header("retry-after", retry_after_secs);
        }
        // Status and headers are sound, so the body alone is never sent.
        response.body(Body::from(self.body(kind))).unwrap_or_default()
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A field with a text.
fn text(number: u8, text: &str) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
    out
}
