//! A server of the tests that answers as it is told, or not at all.

use std::sync::{Arc, Mutex};

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[cfg(any(feature = "aws-cloudtrail", feature = "aws-cloudwatch", feature = "aws-events", feature = "aws-logs"))]
mod sources;
#[cfg(any(feature = "aws-cloudtrail", feature = "aws-cloudwatch", feature = "aws-events", feature = "aws-logs"))]
pub(super) use sources::{ctx, fails_by_kind, keeps_the_laws, mistakes};

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
