//! Signatures of 65 bytes over a digest: made by a [`TicketSigner`], checked by recovery (payments.md §1.3).
use std::fmt;

use alloy_primitives::{Address, B256, U256, keccak256, uint};
use secp256k1::{
    Message, PublicKey, SECP256K1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use streamflow_types::Signature65;

/// Half of the group order, rounded down. A higher s is the other encoding of the same signature.
const HALF_ORDER: U256 = uint!(0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0_U256);

/// Why bytes are not a signature. Peers match on the first three texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 65 bytes; EIP-2098's 64 are refused too.
    #[error("invalid signature length")]
    Length,
    /// s is in the upper half.
    #[error("signature s value too high")]
    HighS,
    /// v is neither 27 nor 28.
    #[error("signature v value must be 27 or 28")]
    V,
    /// No public key fits.
    #[error("signature does not recover to a public key")]
    Unrecoverable,
}

/// The signer could not sign.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign")]
pub struct SignError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl SignError {
    /// Keeps what went wrong.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// An account that signs: a key in memory ([`KeySigner`]), or the node's wallet.
pub trait TicketSigner: Send + Sync {
    /// The account.
    fn address(&self) -> Address;

    /// Signs these 32 bytes as they are; callers apply EIP-191 before. Low s, v 27 or 28.
    fn sign_hash(&self, hash: B256) -> Result<Signature65, SignError>;
}

/// A secp256k1 key in memory. `Debug` shows the address only.
#[derive(Clone)]
pub struct KeySigner {
    key: SecretKey,
    address: Address,
}

/// The 32 bytes are 0 or not below the group order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 secret key")]
pub struct KeyError;

impl KeySigner {
    /// The account of a secret key.
    pub fn from_bytes(key: [u8; 32]) -> Result<Self, KeyError> {
        let key = SecretKey::from_byte_array(key).map_err(|_| KeyError)?;
        Ok(Self { key, address: account(&PublicKey::from_secret_key(SECP256K1, &key)) })
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySigner").field("address", &self.address).finish_non_exhaustive()
    }
}

impl TicketSigner for KeySigner {
    fn address(&self) -> Address {
        self.address
    }

    fn sign_hash(&self, hash: B256) -> Result<Signature65, SignError> {
        let (id, compact) =
            SECP256K1.sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.key).serialize_compact();
        let mut sig = [0; 65];
        sig[..64].copy_from_slice(&compact);
        // Ids 2 and 3 stand for an x coordinate above the group order, which no one will meet.
        sig[64] = match id {
            RecoveryId::Zero => 27,
            RecoveryId::One => 28,
            RecoveryId::Two | RecoveryId::Three => return Err(SignError::new("recovery id above 1")),
        };
        Ok(Signature65::new(sig))
    }
}

/// Account whose key signed `digest`.
///
/// Recovery, not plain verification: that would take a flipped v, which the contract refuses.
pub fn recover_signer(digest: B256, sig: &[u8]) -> Result<Address, SignatureError> {
    let sig: &[u8; 65] = sig.try_into().map_err(|_| SignatureError::Length)?;
    let (compact, v) = (&sig[..64], sig[64]);
    if U256::from_be_slice(&compact[32..]) > HALF_ORDER {
        return Err(SignatureError::HighS);
    }
    let id = match v {
        27 => RecoveryId::Zero,
        28 => RecoveryId::One,
        _ => return Err(SignatureError::V),
    };
    let sig = RecoverableSignature::from_compact(compact, id).map_err(|_| SignatureError::Unrecoverable)?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(digest.0), &sig);
    Ok(account(&key.map_err(|_| SignatureError::Unrecoverable)?))
}

/// Last 20 bytes of the hash of the uncompressed key without its tag.
fn account(key: &PublicKey) -> Address {
    Address::from_slice(&keccak256(&key.serialize_uncompressed()[1..])[12..])
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256};

    use super::*;
    use crate::ticket::eip191_digest;

    const MESSAGE: B256 = b256!("b7da355477356fc4c47fcabcf232dc77a6db9b07b7e48b76261cc55cc8fbabb3");
    const GOOD: &str = "206443228e8f784bc3a122de0d85eb3ebff82d6a79cca26c7eeb907099a6404f6dff57bc6828f28bd6cd073c89d94cf3364204679ed8365fa45b5ee6af19a9841c";
    const HIGH_S: &str = "e742ff452d41413616a5bf43fe15dd88294e983d3d36206c2712f39083d638bde0a0fc89be718fbc1033e1d30d78be1c68081562ed2e97af876f286f3453231d1b";

    fn recover(sig: &[u8]) -> Result<Address, SignatureError> {
        recover_signer(eip191_digest(MESSAGE), sig)
    }

    #[test]
    fn the_published_signature_recovers() {
        let good = hex::decode(GOOD).unwrap();
        assert_eq!(recover(&good), Ok(address!("3BadDb1eeE2105893136A3F96c8a963E9C6309d6")));
    }

    #[test]
    fn every_other_encoding_is_refused() {
        let good = hex::decode(GOOD).unwrap();
        assert_eq!(recover(&hex::decode(HIGH_S).unwrap()), Err(SignatureError::HighS));
        assert_eq!(recover(&good[..64]), Err(SignatureError::Length));
        assert_eq!(recover(&[good.as_slice(), &[0]].concat()), Err(SignatureError::Length));
        for v in [0, 1, 26, 29, 255] {
            let mut other = good.clone();
            other[64] = v;
            assert_eq!(recover(&other), Err(SignatureError::V));
        }
    }

    #[test]
    fn texts_are_those_that_peers_match() {
        assert_eq!(SignatureError::Length.to_string(), "invalid signature length");
        assert_eq!(SignatureError::HighS.to_string(), "signature s value too high");
        assert_eq!(SignatureError::V.to_string(), "signature v value must be 27 or 28");
    }

    #[test]
    fn zero_r_and_s_recover_to_nobody() {
        let mut zero = [0; 65];
        zero[64] = 27;
        assert_eq!(recover(&zero), Err(SignatureError::Unrecoverable));
    }

    #[test]
    fn half_the_order_is_the_last_low_s() {
        // n = 2 · HALF_ORDER + 1, from SEC 2.
        let order = uint!(0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141_U256);
        assert_eq!(HALF_ORDER, order >> 1);
    }

    #[test]
    fn keys_out_of_range_are_refused_and_good_ones_not_printed() {
        assert_eq!(KeySigner::from_bytes([0; 32]).unwrap_err(), KeyError);
        assert_eq!(KeySigner::from_bytes([0xff; 32]).unwrap_err(), KeyError);
        let signer = KeySigner::from_bytes([0x11; 32]).unwrap();
        assert_eq!(signer.address(), address!("19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"));
        assert!(!format!("{signer:?}").contains("1111"));
    }
}
