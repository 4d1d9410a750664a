//! The codec of snapshots: what a detector has learned, as compressed postcard under its name and the version of its form.
//!
//! One byte names the codec, the rest is a zlib stream of [postcard](https://postcard.jamesmunns.com). Postcard writes numbers as
//! they are in memory, so NaN and infinities are read back. It writes no names of fields: a change of a state's types needs a new
//! version, and a field must not be left out when it is empty, as the nouns of `ir-core` do in documents ([`series`],
//! [`target`], [`as_json`] are for those).

use ir_core::{Error, ErrorKind, PartName, Result, Snapshot};
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The form in which one kind of detector stores what it has learned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredForm {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    /// Decompressed bytes at most. A larger state is not written, and a larger snapshot is refused before it is parsed.
    pub(crate) max_bytes: usize,
}

/// The first byte of all snapshots. The JSON of earlier versions begins with `{`.
const CODEC: u8 = 1;
/// The fastest that finds repetitions: higher levels take several times as long and save a tenth.
const LEVEL: u8 = 1;

impl StoredForm {
    pub(crate) fn write(&self, learned: &impl Serialize) -> Result<Snapshot> {
        let name = PartName::new(self.name)?;
        let failed = |error| Error::new(ErrorKind::Unknown, self.name, "cannot write the snapshot").with_source(error);
        let state = postcard::to_allocvec(learned).map_err(failed)?;
        if state.len() > self.max_bytes {
            let message = format!("cannot write the snapshot: {} bytes are more than {}", state.len(), self.max_bytes);
            return Err(Error::new(ErrorKind::Unknown, self.name, message));
        }
        let mut bytes = compress_to_vec_zlib(&state, LEVEL);
        bytes.insert(0, CODEC);
        Ok(Snapshot { name, version: self.version, bytes })
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, from: &Snapshot) -> Result<T> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, self.name, message);
        if from.name.as_str() != self.name || from.version != self.version {
            let (name, version, own, own_version) = (&from.name, from.version, self.name, self.version);
            return Err(invalid(format!(
                "a snapshot of `{name}` version {version} is not one of `{own}` version {own_version}"
            )));
        }
        let Some((&CODEC, compressed)) = from.bytes.split_first() else {
            return Err(invalid("cannot read the snapshot: it has another codec".to_owned()));
        };
        let state = decompress_to_vec_zlib_with_limit(compressed, self.max_bytes)
            .map_err(|error| invalid(format!("cannot read the snapshot: {error}")))?;
        match postcard::take_from_bytes(&state) {
            Ok((learned, [])) => Ok(learned),
            Ok((_, rest)) => Err(invalid(format!("cannot read the snapshot: {} bytes are left over", rest.len()))),
            Err(error) => Err(invalid(format!("cannot read the snapshot: {error}"))),
        }
    }
}

/// For `#[serde(with = "...")]`: a shared series with all of its fields.
pub(crate) mod series {
    use std::sync::Arc;

    use ir_core::Series;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(series: &Arc<Series>, to: S) -> Result<S::Ok, S::Error> {
        let Series { entity, metric, kind, unit, labels } = &**series;
        (entity, metric, kind, unit, labels).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Series>, D::Error> {
        let (entity, metric, kind, unit, labels) = Deserialize::deserialize(from)?;
        Ok(Arc::new(Series { entity, metric, kind, unit, labels }))
    }
}

/// For `#[serde(with = "...")]`: a shared target with all of its fields.
pub(crate) mod target {
    use std::sync::Arc;

    use ir_core::Target;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(target: &Arc<Target>, to: S) -> Result<S::Ok, S::Error> {
        let Target { entity, labels } = &**target;
        (entity, labels).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Target>, D::Error> {
        let (entity, labels) = Deserialize::deserialize(from)?;
        Ok(Arc::new(Target { entity, labels }))
    }
}

/// For `#[serde(with = "...")]`: as JSON text, for the few nouns whose form is made for documents.
pub(crate) mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The snapshot with its postcard changed: well compressed nonsense.
#[cfg(test)]
pub(crate) fn spoiled(snapshot: &Snapshot, change: impl FnOnce(&mut Vec<u8>)) -> Snapshot {
    let mut state = decompress_to_vec_zlib_with_limit(&snapshot.bytes[1..], usize::MAX).unwrap();
    change(&mut state);
    let mut bytes = compress_to_vec_zlib(&state, LEVEL);
    bytes.insert(0, CODEC);
    Snapshot { bytes, ..snapshot.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ir_core::{EntityId, Labels};
    use proptest::prelude::*;

    use super::*;

    const FORM: StoredForm = StoredForm { name: "mine", version: 2, max_bytes: 64 };

    fn message<T: DeserializeOwned>(change: impl FnOnce(&mut Snapshot)) -> String {
        let mut snapshot = FORM.write(&vec![1_u8, 2, 3]).unwrap();
        change(&mut snapshot);
        let error = FORM.read::<T>(&snapshot).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.message().to_owned()
    }

    #[test]
    fn only_its_own_is_read() {
        let snapshot = FORM.write(&vec![1_u8, 2, 3]).unwrap();
        assert_eq!(FORM.read::<Vec<u8>>(&snapshot).unwrap(), [1, 2, 3]);
        let foreign = message::<Vec<u8>>(|snapshot| snapshot.name = PartName::new("yours").unwrap());
        assert_eq!(foreign, "a snapshot of `yours` version 2 is not one of `mine` version 2");
        let old = message::<Vec<u8>>(|snapshot| snapshot.version = 1);
        assert_eq!(old, "a snapshot of `mine` version 1 is not one of `mine` version 2");
        // One row a reason: the JSON of earlier versions, nothing at all, torn, more than one value.
        for bytes in [b"[1,2,3]".to_vec(), Vec::new(), snapshot.bytes[..5].to_vec()] {
            assert!(message::<Vec<u8>>(|snapshot| snapshot.bytes = bytes).starts_with("cannot read the snapshot: "));
        }
        let longer = FORM.write(&(vec![1_u8, 2, 3], 4_u8)).unwrap().bytes;
        let left = message::<Vec<u8>>(|snapshot| snapshot.bytes = longer);
        assert_eq!(left, "cannot read the snapshot: 1 bytes are left over");
    }

    #[test]
    fn what_grows_beyond_the_bound_is_refused() {
        let error = FORM.write(&vec![0_u8; 64]).unwrap_err();
        assert_eq!(error.message(), "cannot write the snapshot: 65 bytes are more than 64");
        let bomb = StoredForm { max_bytes: usize::MAX, ..FORM }.write(&vec![0_u8; 10_000_000]).unwrap();
        assert!(bomb.bytes.len() < 100_000);
        let text = message::<Vec<u8>>(|snapshot| snapshot.bytes = bomb.bytes);
        assert!(text.starts_with("cannot read the snapshot: "), "{text}");
    }

    #[test]
    fn a_length_that_is_a_lie_allocates_nothing() {
        let empty = FORM.write(&()).unwrap();
        let raw = |state: &[u8]| spoiled(&empty, |bytes| bytes.extend(state)).bytes;
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        message::<Vec<[f64; 8]>>(|snapshot| snapshot.bytes = raw(&huge));
        message::<String>(|snapshot| snapshot.bytes = raw(&huge));
        message::<BTreeMap<String, Labels>>(|snapshot| snapshot.bytes = raw(&huge));
        message::<Labels>(|snapshot| snapshot.bytes = raw(&huge));
        message::<EntityId>(|snapshot| snapshot.bytes = raw(&huge));
    }

    proptest! {
        #[test]
        fn all_bits_of_numbers_are_kept(bits in any::<u64>()) {
            for bits in [bits, f64::NAN.to_bits(), f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits(), (-0.0_f64).to_bits()] {
                let read: f64 = FORM.read(&FORM.write(&f64::from_bits(bits)).unwrap()).unwrap();
                prop_assert_eq!(read.to_bits(), bits);
            }
        }
    }
}
