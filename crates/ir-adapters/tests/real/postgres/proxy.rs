//! Stands between a client and a server, and does something wrong at a chosen moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The request arrives and the answer is lost with the connection.
    LosesTheAnswer,
    /// The request is held back until it is released.
    HoldsTheRequest,
}

/// When it goes wrong: at the request so many after the first one with these words in it.
#[derive(Debug, Clone, Copy)]
struct Plan {
    wrong: Wrong,
    words: &'static str,
    after: usize,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    plan: Arc<Mutex<Option<Plan>>>,
    released: watch::Sender<bool>,
    forwarded: watch::Receiver<u32>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan: Arc<Mutex<Option<Plan>>> = Arc::default();
        let released = watch::Sender::new(false);
        let (count, forwarded) = watch::channel(0);
        let (shared, release, count) = (plan.clone(), released.subscribe(), Arc::new(count));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(upstream) = TcpStream::connect(server).await else { continue };
                tokio::spawn(serve(client, upstream, shared.clone(), release.clone(), count.clone()));
            }
        });
        Self { address, plan, released, forwarded }
    }

    /// From now on, once.
    pub(crate) fn goes_wrong(&self, wrong: Wrong, words: &'static str, after: usize) {
        *self.plan.lock().unwrap() = Some(Plan { wrong, words, after });
    }

    /// Lets go what was held back, and waits until the server has answered it.
    pub(crate) async fn release(&mut self) {
        self.released.send_replace(true);
        self.forwarded.wait_for(|n| *n > 0).await.unwrap();
    }
}

async fn serve(
    mut client: TcpStream,
    mut server: TcpStream,
    plan: Arc<Mutex<Option<Plan>>>,
    mut release: watch::Receiver<bool>,
    count: Arc<watch::Sender<u32>>,
) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut waiting: Option<usize> = None;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                let chunk = &up[..n];
                let planned = *plan.lock().unwrap();
                let has_words = |words: &str| chunk.windows(words.len()).any(|window| window == words.as_bytes());
                if let Some(planned) = planned {
                    waiting = match waiting {
                        Some(left) => Some(left.saturating_sub(1)),
                        None => has_words(planned.words).then_some(planned.after),
                    };
                }
                let now = planned.filter(|_| waiting == Some(0)).map(|planned| planned.wrong);
                if now.is_some() {
                    *plan.lock().unwrap() = None;
                }
                if now == Some(Wrong::HoldsTheRequest) {
                    release.wait_for(|released| *released).await.unwrap();
                }
                server.write_all(chunk).await.unwrap();
                if now.is_some() {
                    // The answer is awaited, so that what was asked is done, and kept.
                    let _ = server.read(&mut down).await;
                    count.send_modify(|n| *n += 1);
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
