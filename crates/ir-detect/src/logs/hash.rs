//! The hashes of tokens and forms: fixed for ever, because template ids are made of them.
//!
//! Folded multiplication as in wyhash (Wang Yi, 2019), written out here so that no upgrade of a dependency can change an id.
//! It is not keyed: whoever writes log lines on purpose to collide may join two of their own templates, and nothing else.

const K1: u64 = 0xa076_1d64_78bd_642f;
const K2: u64 = 0xe703_7ed1_a0b4_28db;
const K3: u64 = 0x8ebc_6af0_9c88_c6e3;
const K4: u64 = 0x5899_65cc_7537_4cc3;

/// Multiplies to 128 bits and folds the halves.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Up to eight bytes as a little-endian number; more are left out.
#[inline]
pub(super) fn load(bytes: &[u8]) -> u64 {
    if let Some((eight, _)) = bytes.split_first_chunk::<8>() {
        return u64::from_le_bytes(*eight);
    }
    if let Some((four, rest)) = bytes.split_first_chunk::<4>() {
        let mut value = u64::from(u32::from_le_bytes(*four));
        for (i, byte) in rest.iter().enumerate() {
            value |= u64::from(*byte) << (32 + 8 * i);
        }
        return value;
    }
    bytes.iter().enumerate().fold(0, |value, (i, byte)| value | (u64::from(*byte) << (8 * i)))
}

/// The hash of a token's bytes.
#[inline]
pub(super) fn bytes(text: &[u8]) -> u64 {
    let mut hash = K4 ^ (text.len() as u64);
    let mut rest = text;
    while let Some((eight, more)) = rest.split_first_chunk::<8>() {
        hash = fold(hash ^ u64::from_le_bytes(*eight), K1);
        rest = more;
    }
    fold(hash ^ load(rest), K2)
}

/// One more byte of separators.
#[inline]
pub(super) fn separator(hash: u64, byte: u8) -> u64 {
    hash.rotate_left(9).wrapping_add(u64::from(byte)).wrapping_mul(K3)
}

/// The running hash of a form, 128 bits wide.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormHash(u64, u64);

impl FormHash {
    /// Nothing read yet.
    pub(super) const fn new() -> Self {
        Self(K3, K4)
    }

    /// Adds a token with the separators before it.
    #[inline]
    pub(super) fn push(&mut self, separators: u64, token: u64) {
        let both = token ^ separators.wrapping_mul(K2);
        self.0 = fold(self.0 ^ both, K1);
        self.1 = fold(self.1.rotate_left(23) ^ both ^ K4, K3);
    }

    /// The hash of what was added.
    #[inline]
    pub(super) fn finish(self) -> u128 {
        (u128::from(self.0) << 64) | u128::from(self.1)
    }
}

/// A template's id: the hash of the kind of its stream and of its first form.
pub(super) fn id(kind: u64, form: u128) -> u64 {
    let mixed = fold(kind ^ (form >> 64) as u64, K1);
    fold(mixed ^ (form as u64), K2)
}

/// A hasher for keys that are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= load(bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }

    fn write_u128(&mut self, value: u128) {
        self.0 ^= value as u64;
    }
}

/// A map whose keys are hashes already.
pub(super) type HashedMap<K, V> = std::collections::HashMap<K, V, std::hash::BuildHasherDefault<Identity>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_change_between_versions() {
        // Written down once; a change here would make every stored id mean something else.
        let mut form = FormHash::new();
        form.push(0, bytes(b"session"));
        form.push(separator(0, b' '), bytes(b"opened for somebody"));
        assert_eq!(format!("{:016x}", id(bytes(b"sshd"), form.finish())), "6f481f8231df0c49");
    }

    #[test]
    fn length_is_part_of_a_tokens_hash() {
        assert_ne!(bytes(b"a"), bytes(b"a\0"));
        assert_ne!(bytes(b""), bytes(b"\0\0\0\0\0\0\0\0"));
    }
}
