//! Protobuf as it stands on the wire: numbered fields of four kinds, borrowed from the message.
//!
//! Source: Protocol Buffers documentation, "Encoding". What a field means is the caller's business; here it is only found and
//! never trusted. Groups, which nobody writes any more, are found as a whole.

/// Groups within groups beyond this are no message.
const MAX_GROUPS: u32 = 64;

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Group,
}

impl<'a> Value<'a> {
    pub(crate) const fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed),
        }
    }

    pub(crate) const fn fixed64(self) -> Result<u64, Malformed> {
        match self {
            Self::Fixed64(value) => Ok(value),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn double(self) -> Result<f64, Malformed> {
        self.fixed64().map(f64::from_bits)
    }

    pub(crate) const fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// The fields of a message within this one.
    pub(crate) fn fields(self) -> Result<Fields<'a>, Malformed> {
        self.bytes().map(Fields::new)
    }
}

/// The fields of a message one after another, up to the first that is malformed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all tags and lengths are of one byte.
        if let Some((&first, rest)) = self.0.split_first()
            && first < 0x80
        {
            self.0 = rest;
            return Ok(u64::from(first));
        }
        let mut value = 0;
        for (n, &byte) in self.0.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if n == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                self.0 = &self.0[n + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Number and kind of the next field.
    fn tag(&mut self) -> Result<(u32, u64), Malformed> {
        let tag = self.varint()?;
        match u32::try_from(tag) {
            Ok(of) if of >> 3 > 0 => Ok((of >> 3, tag & 7)),
            _ => Err(Malformed),
        }
    }

    fn value(&mut self, kind: u64) -> Result<Value<'a>, Malformed> {
        Ok(match kind {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let n = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(n)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed),
        })
    }

    /// Passes over a group whose beginning was read.
    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), Malformed> {
        loop {
            match self.tag()? {
                (end, 4) if end == number => return Ok(()),
                (inner, 3) if depth < MAX_GROUPS => self.skip_group(inner, depth + 1)?,
                (_, kind) => {
                    self.value(kind)?;
                }
            }
        }
    }

    fn read(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.tag()?;
        if kind == 3 {
            self.skip_group(number, 0)?;
            return Ok(Some((number, Value::Group)));
        }
        Ok(Some((number, self.value(kind)?)))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        read.transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// A message with a field of each kind, as another library writes and reads it.
    #[derive(Clone, PartialEq, Message)]
    struct Other {
        #[prost(uint64, tag = "1")]
        varint: u64,
        #[prost(fixed64, tag = "2")]
        fixed64: u64,
        #[prost(double, tag = "3")]
        double: f64,
        #[prost(bytes = "vec", tag = "4")]
        bytes: Vec<u8>,
        #[prost(string, tag = "2047")]
        text: String,
        #[prost(fixed32, tag = "536870911")]
        fixed32: u32,
        #[prost(message, repeated, tag = "7")]
        inner: Vec<Other>,
    }

    fn read(message: &[u8], depth: u32) -> Result<Other, Malformed> {
        let mut read_so_far = Other::default();
        for field in Fields::new(message) {
            let (number, value) = field?;
            match number {
                1 => read_so_far.varint = value.varint()?,
                2 => read_so_far.fixed64 = value.fixed64()?,
                3 => read_so_far.double = value.double()?,
                4 => read_so_far.bytes = value.bytes()?.to_vec(),
                2047 => read_so_far.text = value.text()?.to_owned(),
                536_870_911 => match value {
                    Value::Fixed32(value) => read_so_far.fixed32 = value,
                    _ => return Err(Malformed),
                },
                7 if depth > 90 => return Err(Malformed),
                7 => read_so_far.inner.push(read(value.bytes()?, depth + 1)?),
                _ => {}
            }
        }
        Ok(read_so_far)
    }

    fn message() -> impl Strategy<Value = Other> {
        let leaf = (any::<u64>(), any::<u64>(), any::<f64>(), any::<Vec<u8>>(), ".{0,20}", any::<u32>());
        let leaf = leaf.prop_map(|(varint, fixed64, double, bytes, text, fixed32)| Other {
            varint,
            fixed64,
            double,
            bytes,
            text,
            fixed32,
            inner: Vec::new(),
        });
        leaf.prop_recursive(3, 12, 4, |inner| {
            (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(outer, inner)| Other { inner, ..outer })
        })
    }

    /// NaN is not equal to itself, its bits are.
    fn bits(message: &Other) -> Vec<u8> {
        message.encode_to_vec()
    }

    proptest! {
        #[test]
        fn what_another_library_writes_is_read(message in message()) {
            prop_assert_eq!(bits(&read(&message.encode_to_vec(), 0).unwrap()), bits(&message));
        }

        #[test]
        fn of_garbled_messages_the_same_is_read_as_by_another_library(
            message in message(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(), whole in any::<bool>(),
        ) {
            let mut bytes = message.encode_to_vec();
            if !bytes.is_empty() {
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                if !whole {
                    bytes.truncate(cut.index(bytes.len()));
                }
            }
            match (read(&bytes, 0), Other::decode(&*bytes)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(bits(&ours), bits(&theirs)),
                (Err(_), Err(_)) => {}
                (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read(&bytes, 0).is_ok(), Other::decode(&*bytes).is_ok());
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        // A number of 0, a number too high, a varint without end, one of 65 bits, lengths beyond the end, an end of no group,
        // a group without end, kinds that do not exist.
        let rows: [&[u8]; 10] = [
            &[0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x10],
            &[0x08, 0x80],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x0a, 0x02, 0x00],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0c],
            &[0x0b, 0x08, 0x01],
            &[0x0e],
            &[0x09, 1, 2, 3],
        ];
        for row in rows {
            assert!(Fields::new(row).any(|field| field.is_err()), "{row:?}");
        }
        // Groups without end do not exhaust the stack.
        let groups = vec![0x0b; 1 << 20];
        assert_eq!(Fields::new(&groups).next(), Some(Err(Malformed)));
        // A group is one field, whatever is in it.
        let fields: Vec<_> = Fields::new(&[0x13, 0x08, 1, 0x14, 0x08, 2]).map(Result::unwrap).collect();
        assert_eq!(fields, [(2, Value::Group), (1, Value::Varint(2))]);
    }
}
