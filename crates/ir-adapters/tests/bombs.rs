//! Bombs against the receivers of telemetry, in a process of their own: its memory grows by less than 50 MiB, what is dropped is
//! counted, and another source goes on as if nothing was.
#![cfg(all(feature = "otlp", feature = "remote-write", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::hook::PushAuth;
use ir_adapters::otlp::{OtlpConfig, OtlpSource};
use ir_adapters::remote_write::{RemoteWriteConfig, RemoteWriteSource};
use ir_core::{Ctx, Cursor, SignalSource, Stop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A line of `/proc/self/status` in bytes.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

async fn serve(router: axum::Router, ctx: &Ctx) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, ctx) = (listener.local_addr().unwrap(), ctx.clone());
    tokio::spawn(async move { ir_adapters::hook::serve(&ctx, listener, router).await });
    address
}

/// One request; the status.
async fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The other side may have answered and hung up before all of it was written.
    let _ = stream.write_all(body).await;
    let mut answer = [0; 12];
    match stream.read_exact(&mut answer).await {
        Ok(_) => std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap(),
        // Hung up on while it still wrote: refused as well.
        Err(_) => 0,
    }
}

fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for piece in pieces {
        packer.write_all(&piece).unwrap();
    }
    packer.finish().unwrap()
}

/// A field with length and content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

/// A gauge with one point and a label of its own.
fn gauge(n: u64, now: u64) -> Vec<u8> {
    let value = field(1, format!("{n:0>200}").as_bytes());
    let attribute = [field(1, b"user"), field(2, &value)].concat();
    let point = [&[0x19][..], &now.to_le_bytes(), &[0x31], &n.to_le_bytes(), &field(7, &attribute)].concat();
    field(2, &[field(1, b"m"), field(5, &field(1, &point))].concat())
}

fn resource(content: &[u8]) -> Vec<u8> {
    let name = [field(1, b"service.name"), field(2, &field(1, b"web"))].concat();
    field(1, &[field(1, &field(1, &name)), field(2, content)].concat())
}

/// A series of remote-write with a label of its own and one sample.
fn series(n: u64, millis: u64) -> Vec<u8> {
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let mut sample = vec![0x09];
    sample.extend(1.0_f64.to_le_bytes());
    sample.push(0x10);
    let mut left = millis;
    while left >= 0x80 {
        sample.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    sample.push(left as u8);
    let labels = [label("__name__", "m"), label("job", "web"), label("user", &format!("{n:0>200}"))].concat();
    field(1, &[labels, field(2, &sample)].concat())
}

fn stage() -> (Ctx, Stop, OtlpSource, RemoteWriteSource) {
    let (ctx, stop) = Ctx::stoppable(Arc::new(SystemClock::new()));
    let otlp = OtlpSource::new(&ctx, OtlpConfig::default(), PushAuth::Anybody).unwrap();
    let written = RemoteWriteSource::new(&ctx, RemoteWriteConfig::default(), PushAuth::Anybody).unwrap();
    (ctx, stop, otlp, written)
}

/// Says that this is the process that is bombed.
const INSIDE: &str = "IR_TEST_BOMBS_INSIDE";

#[test]
fn bombs_grow_the_memory_by_less_than_fifty_mebibytes() {
    if std::env::var_os(INSIDE).is_some() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        return runtime.worker_threads(2).enable_all().build().unwrap().block_on(bombs());
    }
    // Otherwise the C library keeps what was freed, some megabytes a thread, and one would see how it does that.
    let inside = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bombs_grow_the_memory_by_less_than_fifty_mebibytes", "--nocapture"])
        .envs([(INSIDE, "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")])
        .status()
        .unwrap();
    assert!(inside.success(), "{inside}");
}

async fn bombs() {
    const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
    let (ctx, _stop, otlp, written) = stage();
    // Another source of the same process, which nobody attacks.
    let other = OtlpSource::new(&ctx, OtlpConfig::default(), PushAuth::Anybody).unwrap();
    let (at_otlp, at_written) = (serve(otlp.router(), &ctx).await, serve(written.router(), &ctx).await);
    let at_other = serve(other.router(), &ctx).await;
    let now = u64::try_from(ctx.now().wall.as_nanos()).unwrap();

    let zeros = gzip((0..500).map(|_| vec![0; 1 << 20]));
    let lists = gzip((0..3).map(|_| [0x0a, 0].repeat(1 << 19)));
    let text = br#"{"resourceLogs":[{"resource":{"attributes":["#.to_vec();
    let objects = gzip(std::iter::once(text).chain([b"{},".repeat(1 << 20)]).chain([b"{}]}}]}".to_vec()]));
    let snappy = {
        let zeros = vec![0; (4 << 20) - 1];
        snap::raw::Encoder::new().compress_vec(&zeros).unwrap()
    };
    let gzipped = format!("{PROTOBUF}content-encoding: gzip\r\n");
    let json = "content-type: application/json\r\ncontent-encoding: gzip\r\n".to_owned();
    let snapped = format!("{PROTOBUF}content-encoding: snappy\r\n");

    let before = memory("VmRSS");
    let mut statuses = std::collections::BTreeMap::new();
    let mut note = |status: u16| *statuses.entry(status).or_insert(0) += 1;
    for _ in 0..4 {
        // Eight of each at once.
        let attacks = (0..8).flat_map(|_| {
            [
                (at_otlp, "/v1/traces", &gzipped, &zeros),
                (at_otlp, "/v1/metrics", &gzipped, &lists),
                (at_otlp, "/v1/logs", &json, &objects),
                (at_written, "/api/v1/write", &snapped, &snappy),
            ]
        });
        let attacks = attacks.map(|(address, path, headers, body)| post(address, path, headers, body));
        futures::future::join_all(attacks).await.into_iter().for_each(&mut note);
    }
    let bombs = memory("VmHWM").saturating_sub(before);
    // A hundred thousand series, each with its own label, by either way.
    let (mut cursor, mut cursor_2) = (Cursor::default(), Cursor::default());
    let (mut taken, mut dropped) = (0, 0);
    for round in 0..10_u64 {
        let ids = || round * 10_000..(round + 1) * 10_000;
        let metrics: Vec<u8> = ids().flat_map(|n| gauge(n, now + n)).collect();
        note(post(at_otlp, "/v1/metrics", PROTOBUF, &resource(&metrics)).await);
        let all: Vec<u8> = ids().flat_map(|n| series(n, now / 1_000_000)).collect();
        let all = snap::raw::Encoder::new().compress_vec(&all).unwrap();
        note(post(at_written, "/api/v1/write", &snapped, &all).await);
        for (source, cursor) in
            [(&otlp as &dyn SignalSource, &mut cursor), (&written as &dyn SignalSource, &mut cursor_2)]
        {
            let polled = source.poll(&ctx, cursor).await.unwrap();
            *cursor = polled.next;
            taken += polled.batch.len();
            dropped += polled.dropped;
        }
    }
    let grown = memory("VmHWM").saturating_sub(before);
    println!(
        "grown by {} KiB, {} by bombs alone; answers {statuses:?}; {taken} taken, {dropped} dropped",
        grown >> 10,
        bombs >> 10
    );
    assert!(grown < 50 << 20, "grown by {} MiB", grown >> 20);
    // 40,000 series at the most are known, by both of them, and every other sample was counted.
    assert!((10_000..=40_000).contains(&taken), "{taken} were taken");
    assert!(dropped >= 200_000 - taken as u64, "{dropped} were counted");

    // The other source did not notice.
    let fine = resource(&gauge(1, now));
    assert_eq!(post(at_other, "/v1/metrics", PROTOBUF, &fine).await, 200);
    let polled = other.poll(&ctx, &Cursor::default()).await.unwrap();
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (1, 0));
    // And who was attacked still takes what it knows.
    assert_eq!(post(at_otlp, "/v1/metrics", PROTOBUF, &resource(&gauge(1, now + 1))).await, 200);
    assert_eq!(otlp.poll(&ctx, &cursor).await.unwrap().batch.metrics.len(), 1);
}
