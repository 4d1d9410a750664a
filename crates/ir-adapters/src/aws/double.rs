//! A server of the tests that answers as it is told, or not at all.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use ir_core::testkit::Lawful;
use ir_core::testkit::signal::{self, Supply};
use ir_core::{ConfigError, Ctx, Cursor, Error, ErrorKind, SignalSource};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::SystemClock;

/// A secret that must be seen nowhere.
pub(super) const CANARY: &str = "canary-of-the-secret-key";
/// A session token that must be seen nowhere.
pub(super) const TOKEN: &str = "canary-of-the-session-token";

/// CloudWatch says which protocol it speaks; the others do not mind.
const PROTOCOL: &str = "smithy-protocol: rpc-v2-cbor\r\n";

/// What came: head in small letters, and body, in which a character is a byte.
pub(super) type Asked = (String, String);

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Status and body.
    Says(u16, String),
    /// A body of CBOR.
    #[cfg(feature = "aws-cloudwatch")]
    SaysCbor(Vec<u8>),
    /// The connection breaks off after the request was read.
    HangsUp,
    /// Nothing ever comes.
    Hangs,
    /// A body without end.
    Endless,
}

impl Reply {
    /// AWS says no, and its words hold what was signed.
    pub(super) fn refuses(status: u16, code: &str) -> Self {
        Self::Says(status, json!({ "__type": code, "message": format!("signed with {TOKEN}") }).to_string())
    }
}

type Answers = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server, which keeps what it was asked.
#[derive(Clone)]
pub(super) struct Double {
    answers: Arc<Answers>,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) url: String,
}

impl Double {
    pub(super) async fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let double = Self { answers: Arc::new(answers), asked: Arc::default(), url };
        let shared = double.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        double
    }

    /// A service that the test can see and change, and the server before it.
    pub(super) async fn of<T: Send + Sync + 'static>(
        service: T,
        answer: impl Fn(&T, &Asked) -> Reply + Send + Sync + 'static,
    ) -> (Arc<T>, Self) {
        let service = Arc::new(service);
        let shared = service.clone();
        (service, Self::start(move |asked| answer(&shared, asked)).await)
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The host's configuration for it. What the parts here need and this lacks, they must add themselves.
    pub(super) fn sdk(&self) -> SdkConfig {
        sdk(&self.url)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let mut chunk = [0; 65_536];
        while let Ok(n) = stream.read(&mut chunk).await
            && n > 0
        {
            read.extend_from_slice(&chunk[..n]);
            let text: String = read.iter().map(|byte| char::from(*byte)).collect();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.chars().count() < length.map_or(0, |length| length.trim().parse().unwrap()) {
                continue;
            }
            read.clear();
            let asked = (head, body.to_owned());
            self.asked.lock().unwrap().push(asked.clone());
            let (status, body) = match (self.answers)(&asked) {
                Reply::Says(status, body) => (status, body.into_bytes()),
                #[cfg(feature = "aws-cloudwatch")]
                Reply::SaysCbor(body) => (200, body),
                Reply::HangsUp => return,
                Reply::Hangs => return std::future::pending().await,
                Reply::Endless => return endless(stream).await,
            };
            let mut answer =
                format!("HTTP/1.1 {status} X\r\n{PROTOCOL}content-length: {}\r\n\r\n", body.len()).into_bytes();
            // In one piece: the second of two would wait until the client has acknowledged the first.
            answer.extend_from_slice(&body);
            // A client that has seen enough hangs up.
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// A gigabyte of spaces, unless the client hangs up.
async fn endless(mut stream: TcpStream) {
    let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", 1 << 30);
    let chunk = b" ".repeat(1 << 20);
    let mut sent = stream.write_all(head.as_bytes()).await;
    for _ in 0..1024 {
        if sent.is_err() {
            return;
        }
        sent = stream.write_all(&chunk).await;
    }
}

/// A host's configuration with nothing in it but where to ask and as whom.
pub(super) fn sdk(url: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", CANARY, Some(TOKEN.to_owned()), None, "test");
    SdkConfig::builder()
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Time as it passes here, and nothing that ends it.
pub(super) fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

/// The fields that a configuration has wrong.
pub(super) fn mistakes<T: Debug>(made: Result<T, ConfigError>) -> Vec<String> {
    made.unwrap_err().into_problems().into_iter().map(|problem| problem.field).collect()
}

/// The laws of sources, for sources that are made with what supplies them.
pub(super) async fn keeps_the_laws<S: SignalSource, P: Supply + 'static>(fresh: impl AsyncFn() -> (S, P)) -> Lawful {
    let fresh = async || {
        let (source, supply) = fresh().await;
        let source: Box<dyn SignalSource> = Box::new(source);
        let supply: Box<dyn Supply> = Box::new(supply);
        (source, supply)
    };
    signal::check_all(&ctx(), fresh).await
}

/// A source that gets nothing but one reply fails with the kind beside it, and one with a foreign cursor does not ask.
/// `fresh` makes sources whose first poll asks.
pub(super) async fn fails_by_kind<S: SignalSource>(
    fresh: impl Fn(&SdkConfig) -> S,
    rows: impl IntoIterator<Item = (Reply, ErrorKind)>,
) {
    for (reply, kind) in rows {
        let said = reply.clone();
        let double = Double::start(move |_| said.clone()).await;
        let source = fresh(&double.sdk());
        let error = source.poll(&ctx(), &Cursor::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}: {error}");
        shows_no_secret(&source, &error);
        let asked = double.asked();
        assert!(!asked.is_empty() && asked.iter().all(|(head, _)| head.contains(TOKEN)), "{reply:?}: {asked:?}");
    }
    for cursor in ["nonsense", "7"] {
        let error = fresh(&sdk("http://127.0.0.1:1")).poll(&ctx(), &Cursor::new(cursor)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{cursor}: {error}");
    }
}

/// Neither a part nor its error shows a secret. Of what AWS says its words are told, unless it refused who asked.
pub(super) fn shows_no_secret(part: &dyn Debug, error: &Error) {
    for text in [format!("{part:?}"), format!("{error:?}"), format!("{error:#}")] {
        let is_refused = error.kind() == ErrorKind::Unauthorized;
        assert!(!text.contains(CANARY) && (!is_refused || !text.contains(TOKEN)), "{text}");
    }
}
