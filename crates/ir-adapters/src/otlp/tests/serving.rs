//! The door: who may send, what is answered, and what waits.

use std::time::Duration;

use ir_core::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::sent::*;
use super::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

pub(super) fn spans(from: u8, n: u8) -> Request<Span> {
    request((from..from + n).map(span).collect())
}

pub(super) fn span(n: u8) -> Span {
    let (trace_id, span_id) = (vec![n + 1; 16], vec![n + 1; 8]);
    Span { trace_id, span_id, name: "work".to_owned(), start: now(), end: now(), ..Span::default() }
}

#[tokio::test]
async fn the_same_request_is_taken_once_within_a_minute() {
    let (source, clock) = source(config());
    for _ in 0..3 {
        assert_eq!(post(&source, Kind::Traces, &spans(0, 2)).await.status, 200);
        clock.advance(Duration::from_secs(10));
    }
    assert_eq!(post(&source, Kind::Traces, &spans(1, 2)).await.status, 200);
    assert_eq!(all(&source).await.batch.spans.len(), 4);
    // The same bytes sent elsewhere are another request, and here one of which nothing makes sense.
    let answer = post(&source, Kind::Logs, &spans(0, 2)).await;
    assert_eq!((answer.status, answer.rejected), (200, 2));
    clock.advance(Duration::from_secs(60));
    assert_eq!(post(&source, Kind::Traces, &spans(0, 2)).await.status, 200);
    assert_eq!(all(&source).await.batch.spans.len(), 6);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_taken_when_it_comes_again() {
    let (source, _) = source(OtlpConfig { max_signals: 100, max_waiting: 150, ..config() });
    assert_eq!(post(&source, Kind::Traces, &spans(0, 50)).await.status, 200);
    assert_eq!(post(&source, Kind::Traces, &spans(50, 1)).await.status, 200);
    let answer = post(&source, Kind::Traces, &spans(60, 50)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.response(Kind::Traces, 7).headers()["retry-after"], "7");
    let polled = all(&source).await;
    assert_eq!((polled.batch.spans.len(), polled.dropped), (51, 0));
    // Given out is not arrived.
    assert_eq!(post(&source, Kind::Traces, &spans(60, 50)).await.status, 503);
    poll(&source, &polled.next).await;
    assert_eq!(post(&source, Kind::Traces, &spans(60, 50)).await.status, 200);
    assert_eq!(poll(&source, &polled.next).await.batch.spans.len(), 50);
}

#[tokio::test]
async fn a_sender_is_told_what_was_not_taken_in_its_own_words() {
    let (source, _) = source(config());
    let one_bad = request(vec![span(1), Span { trace_id: Vec::new(), ..span(2) }]);
    let answer = post(&source, Kind::Traces, &one_bad).await;
    let body = |answer: &Answer, kind| {
        let body = answer.response(kind, 1).into_body();
        async { axum::body::to_bytes(body, 1 << 20).await.unwrap() }
    };
    #[derive(Clone, PartialEq, Message)]
    struct Partial {
        #[prost(int64, tag = "1")]
        rejected: i64,
        #[prost(string, tag = "2")]
        message: String,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Response {
        #[prost(message, optional, tag = "1")]
        partial_success: Option<Partial>,
    }
    let read = Response::decode(body(&answer, Kind::Traces).await).unwrap().partial_success.unwrap();
    assert_eq!((read.rejected, read.message.as_str()), (1, "span `work` has no trace id of 16 bytes"));
    let many = Answer { rejected: 300, ..answer.clone() };
    let read = Response::decode(body(&many, Kind::Traces).await).unwrap().partial_success.unwrap();
    assert_eq!(read.rejected, 300);
    let json: Value =
        serde_json::from_slice(&body(&Answer { form: super::super::Form::Json, ..many }, Kind::Logs).await).unwrap();
    assert_eq!(json["partialSuccess"]["rejectedLogRecords"], "300");
    // All taken: nothing to say.
    let fine = post(&source, Kind::Traces, &spans(5, 1)).await;
    assert!(body(&fine, Kind::Traces).await.is_empty());
    let fine = Answer { form: super::super::Form::Json, ..fine };
    assert_eq!(&*body(&fine, Kind::Traces).await, b"{}");
    // An error is a status with a message.
    let refused = post_as(&source, Kind::Traces, &[PROTOBUF], vec![0xff]).await;
    let read = Response::decode(body(&refused, Kind::Traces).await);
    assert!(read.is_ok() && body(&refused, Kind::Traces).await.starts_with(&[0x12]), "{read:?}");
}

#[tokio::test]
async fn what_is_not_understood_is_not_guessed() {
    let (source, _) = source(config());
    let rows: [(&[(&str, &str)], u16); 6] = [
        (&[], 415),
        (&[("content-type", "text/plain")], 415),
        (&[PROTOBUF, ("content-encoding", "br")], 415),
        (&[PROTOBUF, ("content-encoding", "gzip")], 400),
        (&[PROTOBUF, ("content-encoding", "identity")], 200),
        (&[("content-type", "application/x-protobuf; charset=x")], 200),
    ];
    for (n, (headers, status)) in (0_u8..).zip(rows) {
        let answer = post_as(&source, Kind::Traces, headers, spans(n, 1).encode_to_vec()).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    assert_eq!(all(&source).await.dropped, 4);
}

#[tokio::test]
async fn gzip_is_what_it_was_before() {
    use std::io::Write as _;
    let (source, _) = source(config());
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&spans(0, 3).encode_to_vec()).unwrap();
    let body = packer.finish().unwrap();
    assert_eq!(post_as(&source, Kind::Traces, &[PROTOBUF, ("content-encoding", "gzip")], body).await.status, 200);
    assert_eq!(all(&source).await.batch.spans.len(), 3);
}

/// One request over a real connection; the answer's head.
async fn send(address: std::net::SocketAddr, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // The other side may have answered and hung up before all of it was written.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "no answer");
        answer.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn over_the_wire_only_who_may_send_is_heard() {
    let (ctx, stop) = Ctx::stoppable(Arc::new(crate::SystemClock::new()));
    let auth = PushAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
    let source = OtlpSource::new(&ctx, config(), auth).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let (source, ctx) = (source.clone(), ctx.clone());
        async move { source.serve(&ctx, listener).await }
    });
    let typed = "content-type: application/x-protobuf\r\n";
    let shown = format!("{typed}authorization: Bearer {TOKEN}\r\n");
    let body = spans(0, 1).encode_to_vec();
    let huge = vec![0; 3 << 20];
    let rows: [(&str, &str, &str, &[u8], &str); 6] = [
        ("nothing to show", "/v1/traces", typed, &body, "401"),
        ("another token", "/v1/traces", &format!("{typed}authorization: Bearer {TOKEN}x\r\n"), &body, "401"),
        ("nothing to show and no end of it", "/v1/traces", typed, &huge, "401"),
        ("the token", "/v1/traces", &shown, &body, "200"),
        ("another place", "/v1/profiles", &shown, &body, "404"),
        ("too large", "/v1/logs", &shown, &huge, "413"),
    ];
    for (what, path, headers, body, status) in rows {
        let head = send(address, path, headers, body).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{what}");
        assert!(!head.contains(TOKEN), "{what}");
    }
    assert_eq!((source.refused(), all(&source).await.batch.spans.len()), (3, 1));
    stop.stop();
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), ErrorKind::Stopped);
}

#[tokio::test]
async fn anybody_is_heard_only_where_the_host_says_so() {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let source = OtlpSource::new(&ctx, config(), PushAuth::Anybody).unwrap();
    let headers = [("content-type", "application/x-protobuf")].into_iter();
    let headers: HeaderMap = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let answer = source.0.answer(Kind::Traces, &headers, Body::from(spans(0, 1).encode_to_vec())).await;
    assert_eq!((answer.status, source.refused()), (200, 0));
    assert!(!format!("{:?}", self::source(config()).0).contains(TOKEN));
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let config = OtlpConfig {
        name: "no name".into(),
        entity_attributes: Vec::new(),
        max_bytes: 0,
        max_waiting: 10,
        max_unpacked_bytes: 64 << 20,
        ..OtlpConfig::default()
    };
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let error = OtlpSource::new(&ctx, config, PushAuth::Anybody).unwrap_err();
    assert_eq!(error.problems().len(), 5, "{error}");
}
