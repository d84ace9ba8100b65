//! The secret number behind each quote, derived so that the orchestrator keeps no state per quote (payments.md §1.5).
use std::fmt;

use alloy_primitives::{Address, B256, U256};
use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::Sha256;
use streamflow_types::{Price, TicketParams};

/// First word of the authenticated message, so that the key may also serve other purposes.
const DOMAIN: &[u8; 32] = b"streamflow/recipient-rand/v1\0\0\0\0";

/// Key of an orchestrator's quotes. Kept across restarts, or quotes lose their validity.
#[derive(Clone)]
pub struct QuoteSecret([u8; 32]);

impl QuoteSecret {
    /// Takes 32 random bytes.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }
}

impl fmt::Debug for QuoteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuoteSecret(..)")
    }
}

/// Where quotes count: tickets themselves name neither chain nor contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuoteDomain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The TicketBroker contract.
    pub broker: Address,
}

impl QuoteSecret {
    /// The secret number of the quote with these terms for `sender`: HMAC-SHA256 over words of 32 bytes. The params'
    /// own `recipient_rand_hash` does not enter.
    pub fn recipient_rand(&self, domain: &QuoteDomain, sender: Address, params: &TicketParams, price: Price) -> U256 {
        // In lowest terms: 1/10 and 10/100 are one price.
        let price = price.reduced();
        let words: [B256; 13] = [
            B256::new(*DOMAIN),
            U256::from(domain.chain_id).into(),
            domain.broker.into_word(),
            params.recipient.into_word(),
            sender.into_word(),
            params.seed.into(),
            params.face_value.into(),
            params.win_prob.0.into(),
            U256::from(params.expiration_block).into(),
            U256::from(price.wei_per_unit()).into(),
            U256::from(price.pixels_per_unit()).into(),
            U256::from(params.expiration.creation_round.0).into(),
            params.expiration.creation_round_block_hash,
        ];
        // HMAC pads a short key with zeros to the block of 64 bytes.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        for word in &words {
            mac.update(word.as_slice());
        }
        U256::from_be_bytes::<32>(mac.finalize().into_bytes().into())
    }
}
