//! What the tests of all sources ask of them.

use std::fmt::Debug;
use std::sync::Arc;

use aws_config::SdkConfig;
use ir_core::testkit::Lawful;
use ir_core::testkit::signal::{self, Supply};
use ir_core::{ConfigError, Ctx, Cursor, Error, ErrorKind, SignalSource};
use serde_json::json;

use super::{Asked, CANARY, Double, Reply, TOKEN, sdk};
use crate::SystemClock;

impl Reply {
    /// AWS says no, and its words hold what was signed.
    pub(in crate::aws) fn refuses(status: u16, code: &str) -> Self {
        Self::Says(status, json!({ "__type": code, "message": format!("signed with {TOKEN}") }).to_string())
    }
}

impl Double {
    /// A service that the test can see and change, and the server before it.
    pub(in crate::aws) async fn of<T: Send + Sync + 'static>(
        service: T,
        answer: impl Fn(&T, &Asked) -> Reply + Send + Sync + 'static,
    ) -> (Arc<T>, Self) {
        let service = Arc::new(service);
        let shared = service.clone();
        (service, Self::start(move |asked| answer(&shared, asked)).await)
    }
}

/// Time as it passes here, and nothing that ends it.
pub(in crate::aws) fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

/// The fields that a configuration has wrong.
pub(in crate::aws) fn mistakes<T: Debug>(made: Result<T, ConfigError>) -> Vec<String> {
    made.unwrap_err().into_problems().into_iter().map(|problem| problem.field).collect()
}

/// The laws of sources, for sources that are made with what supplies them.
pub(in crate::aws) async fn keeps_the_laws<S: SignalSource, P: Supply + 'static>(
    fresh: impl AsyncFn() -> (S, P),
) -> Lawful {
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
pub(in crate::aws) async fn fails_by_kind<S: SignalSource>(
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
fn shows_no_secret(part: &dyn Debug, error: &Error) {
    for text in [format!("{part:?}"), format!("{error:?}"), format!("{error:#}")] {
        let is_refused = error.kind() == ErrorKind::Unauthorized;
        assert!(!text.contains(CANARY) && (!is_refused || !text.contains(TOKEN)), "{text}");
    }
}
