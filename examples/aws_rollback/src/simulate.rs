//! Plays the service: moto starts no tasks, so this is what they would do. You need nothing of it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::options::Simulated;

/// Requests of its imaginary clients in each of these times: a hundred a second.
const TICK: Duration = Duration::from_millis(50);
const REQUESTS: u64 = 5;
/// How often the API is asked what runs.
const LOOK: Duration = Duration::from_millis(200);

/// What was served so far.
#[derive(Debug, Default)]
struct Served {
    good: u64,
    bad: u64,
    pages: u64,
    is_bad: bool,
}

impl Served {
    fn tick(&mut self) {
        let bad = if self.is_bad { REQUESTS / 2 } else { 0 };
        self.bad += bad;
        self.good += REQUESTS - bad;
    }

    fn page(&mut self) -> String {
        self.pages += 1;
        let mut page = "# TYPE http_requests_total counter\n".to_owned();
        for (code, count) in [(200, self.good), (500, self.bad)] {
            // Writing to a string cannot fail.
            let _ = writeln!(page, "http_requests_total{{code=\"{code}\"}} {count}");
        }
        let _ = writeln!(page, "# TYPE simulated_pages_total counter\nsimulated_pages_total {}", self.pages);
        page
    }
}

pub(crate) async fn run(options: Simulated) -> Result<()> {
    let sdk = crate::sdk(options.region.clone(), options.endpoint.clone()).await?;
    let client = aws_sdk_ecs::Client::new(&sdk);
    let listener = TcpListener::bind(options.listen).await.context("cannot listen")?;
    println!("{} is played on {}", options.service, options.listen);
    let served = Rc::new(RefCell::new(Served::default()));
    let (mut tick, mut look) = (tokio::time::interval(TICK), tokio::time::interval(LOOK));
    let tasks = tokio::task::LocalSet::new();
    let playing = async {
        loop {
            tokio::select! {
                _ = tick.tick() => served.borrow_mut().tick(),
                _ = look.tick() => match is_bad(&client, &options).await {
                    Ok(is_bad) => served.borrow_mut().is_bad = is_bad,
                    // What runs goes on as it is.
                    Err(error) => eprintln!("{error:#}"),
                },
                accepted = listener.accept() => {
                    let (stream, _) = accepted.context("cannot accept")?;
                    tokio::task::spawn_local(answer(stream, served.clone()));
                }
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    };
    tasks.run_until(playing).await
}

/// Whether the task definition that the API says is current is a bad one.
async fn is_bad(client: &aws_sdk_ecs::Client, options: &Simulated) -> Result<bool> {
    let found = client.describe_services().cluster(&options.cluster).services(&options.service).send().await?;
    let service = found.services().first().context("there is no such service")?;
    let definition = service.task_definition().context("the service has no task definition")?;
    let found = client.describe_task_definition().task_definition(definition).send().await?;
    let definition = found.task_definition().context("the task definition is gone")?;
    Ok(definition.container_definitions().iter().any(|one| one.image().is_some_and(|image| image.ends_with("-bad"))))
}

/// One page for one connection, whatever is asked.
async fn answer(mut stream: TcpStream, served: Rc<RefCell<Served>>) {
    let mut chunk = [0; 4_096];
    if !stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {
        return;
    }
    let page = served.borrow_mut().page();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    // Whoever asked may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}
