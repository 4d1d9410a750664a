//! The laws of executors hold for ours, as a value, in `Box` and in `Arc`. Keep this file when you write your own.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use incident_response::core::testkit::{AutoClock, executor};
use incident_response::prelude::{ActionName, Call, Ctx, EntityId, Executor};

use crate::executor::WorkerExecutor;
use crate::platform::Platform;

/// Wraps an executor as users may hold it.
type Wrap = fn(WorkerExecutor) -> Arc<dyn Executor>;

/// A new platform for each law, which counts its restarts by itself.
struct Workers {
    platform: Mutex<Platform>,
    wrap: Wrap,
}

#[async_trait]
impl executor::World for Workers {
    async fn fresh(&self) -> Arc<dyn Executor> {
        let platform = Platform::start(&["worker-1", "worker-2"]);
        *self.platform.lock().unwrap() = platform.clone();
        (self.wrap)(WorkerExecutor(platform))
    }

    fn calls(&self) -> Vec<Call> {
        let (action, target) = (ActionName::literal("worker.restart"), EntityId::literal("worker-1"));
        vec![Call { action, target, params: Default::default() }]
    }

    async fn effects(&self) -> u64 {
        self.platform.lock().unwrap().restarts().len() as u64
    }

    fn timeout_ms(&self) -> u64 {
        1_000
    }
}

#[tokio::test]
async fn every_law_of_executors_holds() {
    let wraps: [Wrap; 3] = [
        |executor| Arc::new(executor),
        |executor| Arc::new(Box::new(executor) as Box<dyn Executor>),
        |executor| Arc::new(Arc::new(executor) as Arc<dyn Executor>),
    ];
    for wrap in wraps {
        // A clock that jumps to whatever is waited for, so that no law takes time.
        let ctx = Ctx::new(Arc::new(AutoClock::new()));
        let world = Workers { platform: Mutex::new(Platform::start(&[])), wrap };
        executor::check_all(&ctx, &world).await.unwrap();
    }
}

#[tokio::test]
async fn the_documents_pass_their_check() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::start(&["worker-1", "worker-2", "worker-3"]);
    crate::responder(&platform, folder.path()).unwrap();
}
