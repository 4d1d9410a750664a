//! Bodies of requests: read within bounds that hold over all requests together, and unpacked within bounds of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt as _;

/// How long a sender may take over one body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// Why a request is not taken: the status that says it, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Whether its sender does not send it again, so that what is in it is lost.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self.status, 400..=499) && self.status != 429
    }

    /// Come again later.
    pub(crate) fn full() -> Self {
        Self::new(503, "too much waits already")
    }
}

/// Counts the bytes of all bodies that are being read or decoded, so that many senders at once cannot fill the memory either.
#[derive(Debug)]
pub(crate) struct InFlight {
    n_bytes: AtomicUsize,
    max: usize,
}

/// A body, and its share of what is in flight.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    pub(crate) bytes: Vec<u8>,
    share: usize,
    of: &'a InFlight,
}

impl InFlight {
    pub(crate) const fn new(max: usize) -> Self {
        Self { n_bytes: AtomicUsize::new(0), max }
    }

    /// Reads a body of at most `max_bytes`.
    pub(crate) async fn read(&self, body: Body, max_bytes: usize) -> Result<Held<'_>, Refused> {
        // What a sender announces is reserved and not yet used, so it costs nothing before it comes.
        let announced = axum::body::HttpBody::size_hint(&body).exact().and_then(|n| usize::try_from(n).ok());
        let mut held = Held { bytes: Vec::new(), share: 0, of: self };
        held.bytes.reserve_exact(announced.filter(|n| *n <= max_bytes).unwrap_or_default());
        let mut frames = body.into_data_stream();
        let read = async {
            while let Some(frame) = frames.next().await {
                let frame = frame.map_err(|_| Refused::new(400, "the body broke off"))?;
                if held.bytes.len().saturating_add(frame.len()) > max_bytes {
                    return Err(Refused::new(413, format!("the body is larger than {max_bytes} bytes")));
                }
                held.take(&frame)?;
            }
            Ok(())
        };
        match tokio::time::timeout(BODY_WITHIN, read).await {
            Ok(read) => read.map(|()| held),
            Err(_) => Err(Refused::new(408, "the body took too long")),
        }
    }
}

impl Held<'_> {
    fn take(&mut self, frame: &[u8]) -> Result<(), Refused> {
        let before = self.of.n_bytes.fetch_add(frame.len(), Ordering::Relaxed);
        self.share += frame.len();
        if before.saturating_add(frame.len()) > self.of.max {
            return Err(Refused::full());
        }
        if self.bytes.capacity() - self.bytes.len() < frame.len() {
            // By a quarter and not by half: what is reserved beyond the content is counted by nobody.
            self.bytes.reserve_exact(frame.len().max(self.bytes.len() / 4));
        }
        self.bytes.extend_from_slice(frame);
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.n_bytes.fetch_sub(self.share, Ordering::Relaxed);
    }
}

/// Unpacks gzip, and stops before more than `max_bytes`.
#[cfg(feature = "otlp")]
pub(crate) fn gunzip(packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, Refused> {
    use std::io::Read as _;
    let mut unpacker = flate2::bufread::MultiGzDecoder::new(packed);
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match unpacker.read(&mut chunk) {
            Err(error) => return Err(Refused::new(400, format!("the body is no gzip: {error}"))),
            Ok(0) => return Ok(bytes),
            Ok(n) if bytes.len() + n > max_bytes => return Err(too_large(max_bytes)),
            Ok(n) => {
                if bytes.capacity() - bytes.len() < n {
                    bytes.reserve_exact(bytes.len().max(chunk.len()).min(max_bytes - bytes.len()));
                }
                bytes.extend_from_slice(&chunk[..n]);
            }
        }
    }
}

/// Unpacks a block of snappy. It says its length first, and nothing is done for one that says too much.
#[cfg(feature = "remote-write")]
pub(crate) fn unsnap(packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, Refused> {
    let wrong = |error: snap::Error| Refused::new(400, format!("the body is no snappy: {error}"));
    if snap::raw::decompress_len(packed).map_err(wrong)? > max_bytes {
        return Err(too_large(max_bytes));
    }
    snap::raw::Decoder::new().decompress_vec(packed).map_err(wrong)
}

#[cfg(any(feature = "otlp", feature = "remote-write"))]
fn too_large(max_bytes: usize) -> Refused {
    Refused::new(413, format!("the body unpacks to more than {max_bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "otlp")]
    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn gzip_is_unpacked_up_to_its_bound() {
        let text = b"some text ".repeat(100);
        assert_eq!(gunzip(&gzip(&text), 1000).unwrap(), text);
        assert_eq!(gunzip(&gzip(&text), 999).unwrap_err().status, 413);
        // Two members in a row are one text, and the bound holds over both.
        let two = [gzip(&text), gzip(&text)].concat();
        assert_eq!(gunzip(&two, 2000).unwrap().len(), 2000);
        assert_eq!(gunzip(&two, 1999).unwrap_err().status, 413);
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert_eq!(gunzip(&bomb, 1 << 20).unwrap_err().status, 413);
        for broken in [&b""[..], b"text", &gzip(&text)[..20], &[0x1f, 0x8b]] {
            assert_eq!(gunzip(broken, 1000).unwrap_err().status, 400, "{broken:?}");
        }
    }

    #[cfg(feature = "remote-write")]
    #[test]
    fn snappy_that_says_too_much_is_not_begun() {
        let packed = snap::raw::Encoder::new().compress_vec(&[7; 1000]).unwrap();
        assert_eq!(unsnap(&packed, 1000).unwrap(), [7; 1000]);
        assert_eq!(unsnap(&packed, 999).unwrap_err().status, 413);
        // Says four gigabytes, and has nothing.
        assert_eq!(unsnap(&[0xff, 0xff, 0xff, 0xff, 0x0f], 1 << 20).unwrap_err().status, 413);
        for broken in [&b""[..], &packed[..packed.len() - 1], &[0xff; 20], b"text"] {
            assert_eq!(unsnap(broken, 1000).unwrap_err().status, 400, "{broken:?}");
        }
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded_and_their_share_is_given_back() {
        let all = InFlight::new(1000);
        let first = all.read(Body::from(vec![0; 600]), 700).await.unwrap();
        assert_eq!(all.read(Body::from(vec![0; 600]), 700).await.unwrap_err().status, 503);
        assert_eq!(all.read(Body::from(vec![0; 701]), 700).await.unwrap_err().status, 413);
        assert_eq!(all.read(Body::from(vec![0; 400]), 700).await.unwrap().bytes.len(), 400);
        drop(first);
        assert_eq!(all.read(Body::from(vec![0; 600]), 700).await.unwrap().bytes.len(), 600);
        assert_eq!(all.n_bytes.load(Ordering::Relaxed), 0);
    }
}
