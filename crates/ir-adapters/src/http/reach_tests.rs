//! Addresses that lead where nobody may be led: none gets through.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use ir_core::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::SystemClock;

fn ctx() -> Ctx {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ctx::new(clock).with_timeout(Duration::from_secs(20))
}

fn client() -> HttpClient {
    HttpClient::new("test", HttpConfig::default()).with_reach(Reach::public())
}

/// Counts whoever gets through, and sends everybody on to itself.
async fn forbidden() -> (SocketAddr, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    // On all addresses of this machine, of both kinds where it has both.
    let listener = match TcpListener::bind("[::]:0").await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
    };
    let address = listener.local_addr().unwrap();
    let count = reached.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {
                    let location = format!("http://127.0.0.1:{}/again", address.port());
                    let answer = format!("HTTP/1.1 307 Go on\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    (address, reached)
}

/// Forms of addresses that are not public; `@` stands for the port.
const HOSTILE: [&str; 86] = [
    // This machine, as it is usually written, and in the numbers that resolvers understand: with fewer parts, decimal, octal,
    // hexadecimal, mixed, with zeros in front, with a dot behind.
    "127.0.0.1:@",
    "127.0.0.2:@",
    "127.255.255.254:@",
    "127.1:@",
    "127.0.1:@",
    "2130706433:@",
    "0x7f000001:@",
    "0x7F000001:@",
    "017700000001:@",
    "0x7f.0.0.1:@",
    "0x7f.1:@",
    "0177.0.0.1:@",
    "0177.0.0.01:@",
    "0177.1:@",
    "00177.0.0.1:@",
    "127.0x0.0.0x1:@",
    "0x7f.0x0.0x0.0x1:@",
    "0177.0x0.0.01:@",
    "127.0.0.01:@",
    "127.00.0.1:@",
    "127.0.0.1.:@",
    "2130706434:@",
    "0x7f000002:@",
    "localhost:@",
    "LOCALHOST:@",
    "localhost.:@",
    "localhost.localdomain:@",
    "ip6-localhost:@",
    "ip6-loopback:@",
    // Any address is this machine as well.
    "0.0.0.0:@",
    "0:@",
    "0x0:@",
    "00000000:@",
    "0.0:@",
    "[::]:@",
    "[0:0:0:0:0:0:0:0]:@",
    "0.0.0.1:@",
    "0.255.255.255:@",
    // The same in IPv6: long, short, mapped, compatible, translated, in other tunnels.
    "[::1]:@",
    "[0:0:0:0:0:0:0:1]:@",
    "[0000:0000:0000:0000:0000:0000:0000:0001]:@",
    "[::ffff:127.0.0.1]:@",
    "[::ffff:7f00:1]:@",
    "[0:0:0:0:0:ffff:127.0.0.1]:@",
    "[::FFFF:7F00:0001]:@",
    "[::127.0.0.1]:@",
    "[::7f00:1]:@",
    "[::ffff:0:127.0.0.1]:@",
    "[::ffff:0.0.0.0]:@",
    "[64:ff9b::127.0.0.1]:@",
    "[64:ff9b::7f00:1]:@",
    "[64:ff9b::a9fe:a9fe]:@",
    "[64:ff9b:1::127.0.0.1]:@",
    "[2002:7f00:1::]:@",
    "[2002:a9fe:a9fe::1]:@",
    "[2001:0:7f00:1::]:@",
    // Where clouds tell about the machine.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    // Networks of others that are nobody's business.
    "10.0.0.1",
    "167772161",
    "10.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "3232235521",
    "100.64.0.1",
    "198.18.0.1",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    // Nobody's address at all.
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[ff02::1]",
];

#[tokio::test]
async fn of_all_hostile_forms_none_gets_through() {
    let (address, reached) = forbidden().await;
    let mut through = Vec::new();
    for form in HOSTILE {
        let text = format!("http://{}/x", form.replace('@', &address.port().to_string()));
        // What is no address at all is refused even earlier.
        let Ok(url) = HttpUrl::parse(&text) else { continue };
        let replies = [client().get(&ctx(), &url).await, client().post(&ctx(), &url, &[], b"x".to_vec()).await];
        let refused = match System.resolve(url.host(), url.port()).await {
            // Every address that it leads to is refused, and the client says so.
            Ok(addresses) => {
                addresses.iter().all(|address| !Reach::public().allows(address.ip()))
                    && replies
                        .iter()
                        .all(|reply| reply.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidConfig))
            }
            // A form that this machine's resolver does not understand leads nowhere.
            Err(_) => replies.iter().all(Result::is_err),
        };
        if !refused {
            through.push((form, replies));
        }
    }
    assert!(HOSTILE.len() >= 60 && through.is_empty(), "{through:?}");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // The trap is one: without the bounds many of them do get there.
    let open = HttpClient::new("test", HttpConfig::default());
    let mut n = 0;
    for form in HOSTILE.iter().filter(|form| form.ends_with('@')) {
        let url = HttpUrl::parse(&format!("http://{}/x", form.replace('@', &address.port().to_string())));
        let Ok(url) = url else { continue };
        let here = |address: &SocketAddr| {
            let ip = address.ip().to_canonical();
            ip.is_loopback() || ip.is_unspecified()
        };
        // Nothing is sent to anybody else.
        if !System.resolve(url.host(), url.port()).await.is_ok_and(|addresses| addresses.iter().all(here)) {
            continue;
        }
        if let Ok(reply) = open.get(&ctx(), &url).await {
            // And nobody goes on from there.
            assert_eq!(reply.status, 307);
            n += 1;
        }
    }
    assert!(n >= 20, "only {n} forms lead to this machine");
    assert_eq!(reached.load(Ordering::SeqCst), n);
}

/// Says something else each time, as the owner of a name can.
#[derive(Debug)]
struct Rebinding {
    answers: Vec<Vec<SocketAddr>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Resolve for Rebinding {
    async fn resolve(&self, _host: &str, _port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.answers[n % self.answers.len()].clone())
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_by_where_it_leads() {
    let (address, reached) = forbidden().await;
    let inside = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port());
    // A network nobody answers in, allowed so that it takes the place of the public one.
    let outside: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let reach = || Reach::public().and("192.0.2.0/24".parse().unwrap());
    // First the one, then the other; both at once, in either order; only the wrong one.
    let rows = [
        vec![vec![outside], vec![inside]],
        vec![vec![outside, inside]],
        vec![vec![inside, outside]],
        vec![vec![inside]],
    ];
    for answers in rows {
        let asked = Arc::new(AtomicUsize::new(0));
        let config = HttpConfig { connect_timeout_ms: 100, ..HttpConfig::default() };
        let mut client = HttpClient::new("test", config).with_reach(reach());
        client.resolver = Box::new(Rebinding { answers: answers.clone(), asked: asked.clone() });
        let url = HttpUrl::parse("http://rebinding.example/x").unwrap();
        for _ in 0..4 {
            assert!(client.get(&ctx(), &url).await.is_err(), "{answers:?}");
            assert!(client.post(&ctx(), &url, &[], Vec::new()).await.is_err(), "{answers:?}");
        }
        // Asked once for each connection: there is no second answer that could differ from the judged one.
        assert_eq!(asked.load(Ordering::SeqCst), 8);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_allowed_by_name_is_reached_and_a_redirect_from_there_is_not_followed() {
    let (address, reached) = forbidden().await;
    let url = HttpUrl::parse(&format!("http://127.0.0.1:{}/x", address.port())).unwrap();
    let client = client().with_reach(Reach::public().and("127.0.0.1".parse().unwrap()));
    assert_eq!(client.get(&ctx(), &url).await.unwrap().status, 307);
    assert_eq!(client.post(&ctx(), &url, &[], Vec::new()).await.unwrap().status, 307);
    let other = HttpUrl::parse(&format!("http://127.0.0.2:{}/x", address.port())).unwrap();
    assert_eq!(client.get(&ctx(), &other).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert_eq!(reached.load(Ordering::SeqCst), 2);
    // A kept connection is not used by who may not go there.
    let client = client.with_reach(Reach::public());
    assert_eq!(client.get(&ctx(), &url).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert_eq!(reached.load(Ordering::SeqCst), 2);
}

#[test]
fn public_addresses_are_public() {
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "126.0.0.1",
        "128.0.0.1",
        "169.253.0.1",
        "11.0.0.0",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2001:200::1",
        "3ffe::1",
    ];
    for address in public {
        assert!(Reach::public().allows(address.parse().unwrap()), "{address}");
    }
    let not = [
        "100.127.255.255",
        "198.19.255.255",
        "203.0.113.9",
        "2001:1ff::1",
        "2001:db8::1",
        "3fff:fff::1",
        "4000::1",
        "fec0::1",
        "64:ff9b::10.0.0.1",
        "100::1",
        "5f00::1",
    ];
    for address in not {
        assert!(!Reach::public().allows(address.parse().unwrap()), "{address}");
        assert!(Reach::anywhere().allows(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn networks_are_read_and_others_refused() {
    let network: Network = "10.1.0.0/16".parse().unwrap();
    assert_eq!(network.to_string(), "10.1.0.0/16");
    for (address, is_in) in [("10.1.255.1", true), ("10.2.0.0", false), ("::ffff:10.1.2.3", true), ("fc00::1", false)] {
        assert_eq!(network.contains(address.parse().unwrap()), is_in, "{address}");
    }
    let all: Network = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("9.9.9.9".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
    let all: Network = "::/0".parse().unwrap();
    assert!(all.contains("::1".parse().unwrap()) && !all.contains("9.9.9.9".parse().unwrap()));
    assert!("::1".parse::<Network>().unwrap().contains("::1".parse().unwrap()));
    for wrong in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "localhost", "10.0.0.0/-1"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong:?}");
    }
}
