//! Keccak-256 of bytes that come in pieces.
use alloy_primitives::B256;

/// Hashes what it is given, piece by piece (Keccak-256, as Ethereum has it).
///
/// That of `alloy-primitives` is generic, and so compiled in each crate that uses it: in a debug build it takes a fifth of a
/// second for each mebibyte. This one is compiled here, where debug builds optimise.
#[derive(Clone, Debug, Default)]
pub struct Keccak256(alloy_primitives::Keccak256);

impl Keccak256 {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.absorb(bytes.as_ref());
    }

    #[inline(never)]
    fn absorb(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces together.
    #[inline(never)]
    #[must_use]
    pub fn finalize(self) -> B256 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn pieces_hash_as_the_whole() {
        let mut hasher = Keccak256::new();
        [&b"stream"[..], b"", b"flow"].into_iter().for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finalize(), keccak256("streamflow"));
    }
}
