//! Where a client may connect to, decided on the very addresses that it connects to.
//!
//! # Why the address and not the text
//!
//! `http://2130706433/`, `http://0x7f.1/`, `http://[::ffff:127.0.0.1]/` and a name that somebody else's server answers for all
//! lead to this machine. So the text is not looked at: a name is resolved once, each address that came of it is judged, and the
//! connection is made to that address. A name that leads elsewhere the next time it is asked for is judged the next time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ir_core::{Error, ErrorKind, Result};

/// A network: `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Which addresses a client may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    public_only: bool,
    allowed: Vec<Network>,
}

/// IPv4 addresses that are not public: IANA's special-purpose registry (RFC 6890 and what it was updated by), multicast, and
/// what is reserved.
const NOT_PUBLIC_4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, and what is reserved up to the broadcast address.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// What is not public among the global unicast addresses of IPv6, 2000::/3: protocols (Teredo among them), documentation, 6to4.
/// The latter carry an IPv4 address that somebody else may have chosen.
const NOT_PUBLIC_6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

const GLOBAL_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// IPv4 addresses as hosts without IPv4 reach them (RFC 6052).
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Network {
    /// The network of `address` whose first `bits` bits count.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the address has not so many bits.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(Error::new(ErrorKind::InvalidInput, "http", format!("`{address}` has no {bits} bits")));
        }
        Ok(Self { address, bits })
    }

    /// Whether the address is of this network. An IPv4 address within IPv6 is that IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same_4(own, other, self.bits),
            (IpAddr::V6(own), IpAddr::V6(other)) => same_6(own, other, self.bits),
            _ => false,
        }
    }
}

fn same_4(a: Ipv4Addr, b: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    (a.to_bits() ^ b.to_bits()) & mask == 0
}

fn same_6(a: Ipv6Addr, b: Ipv6Addr, bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    (a.to_bits() ^ b.to_bits()) & mask == 0
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::new(ErrorKind::InvalidInput, "http", format!("`{text}` is no network such as `10.0.0.0/8`"));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = bits.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
        Self::new(address, bits).map_err(|_| wrong())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Reach {
    /// Everywhere: for addresses that the operator chose, such as a server of the same network.
    #[must_use]
    pub const fn anywhere() -> Self {
        Self { public_only: false, allowed: Vec::new() }
    }

    /// Public addresses alone: not this machine, not private or link-local networks (where clouds tell secrets about the
    /// machine), nothing that is reserved.
    #[must_use]
    pub const fn public() -> Self {
        Self { public_only: true, allowed: Vec::new() }
    }

    /// The same, and `network`.
    #[must_use]
    pub fn and(mut self, network: Network) -> Self {
        self.allowed.push(network);
        self
    }

    /// Whether a connection to the address may be made.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        !self.public_only || is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !NOT_PUBLIC_4.iter().any(|(network, bits)| same_4(*network, address, *bits)),
        IpAddr::V6(address) if same_6(NAT64.0, address, NAT64.1) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::from([a, b, c, d]))
        }
        IpAddr::V6(address) => {
            same_6(GLOBAL_UNICAST.0, address, GLOBAL_UNICAST.1)
                && !NOT_PUBLIC_6.iter().any(|(network, bits)| same_6(*network, address, *bits))
        }
    }
}
