//! Tests of the client against a server that misbehaves on purpose.

use std::sync::Arc;

use ir_core::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::SystemClock;

fn ctx() -> Ctx {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ctx::new(clock).with_timeout(Duration::from_secs(20))
}

/// Answers each request of each connection with the next of `replies`, and closes after those that end with `!`.
async fn serve(replies: &'static [&'static str]) -> HttpUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let mut replies = replies.iter();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            loop {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut chunk = [0; 1024];
                    match stream.read(&mut chunk).await {
                        Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
                        _ => break,
                    }
                }
                if request.is_empty() {
                    break;
                }
                let Some(reply) = replies.next() else { return };
                let (text, close) = reply.strip_suffix('!').map_or((*reply, false), |text| (text, true));
                stream.write_all(text.as_bytes()).await.unwrap();
                if close {
                    break;
                }
            }
        }
    });
    url
}

fn client() -> HttpClient {
    HttpClient::new("test", HttpConfig { timeout_ms: 500, max_bytes: 100, ..HttpConfig::default() })
}

#[tokio::test]
async fn a_connection_is_kept_and_made_anew_when_it_was_closed() {
    let url = serve(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\ntwo!",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nth\r\n3\r\nree\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end!",
    ])
    .await;
    let client = client();
    for (status, body) in [(200, "one"), (404, "two"), (200, "three"), (200, "until the end")] {
        let reply = client.get(&ctx(), &url).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (status, body.as_bytes()));
    }
}

#[tokio::test]
async fn answers_too_large_broken_or_missing_are_errors_of_their_kind() {
    // One row a way of misbehaving: too large at once, too large in pieces, cut off, no HTTP at all, silence.
    let rows: [(&'static [&'static str], ErrorKind); 5] = [
        (
            &[
                "HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x",
            ],
            ErrorKind::InvalidInput,
        ),
        (
            &[
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n32\r\n01234567890123456789012345678901234567890123456789\r\n33\r\n012345678901234567890123456789012345678901234567890\r\n0\r\n\r\n",
            ],
            ErrorKind::InvalidInput,
        ),
        (&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort!"], ErrorKind::Unavailable),
        (&["what?\r\n\r\n!"], ErrorKind::Unavailable),
        (&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"], ErrorKind::Timeout),
    ];
    for (replies, kind) in rows {
        let url = serve(replies).await;
        let error = client().get(&ctx(), &url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let url = serve(replies).await;
        let error = client().post(&ctx(), &url, &[], Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "after a POST went out nobody knows: {error}");
    }
}

#[tokio::test]
async fn without_a_server_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    assert_eq!(client().get(&ctx(), &url).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = client().post(&ctx(), &url, &[("idempotency-key", "k")], b"{}".to_vec()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn a_status_has_its_kind() {
    for (status, kind) in [(401, ErrorKind::Unauthorized), (404, ErrorKind::NotFound), (429, ErrorKind::RateLimited)] {
        let error =
            HttpReply { status, body: Bytes::new(), content_type: None, retry_after: None, content_encoding: None }
                .into_body("test")
                .unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    assert!(
        HttpReply { status: 204, body: Bytes::new(), content_type: None, retry_after: None, content_encoding: None }
            .into_body("test")
            .is_ok()
    );
}
