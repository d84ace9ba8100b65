//! The secret number behind each quote, derived so that the orchestrator keeps no state per quote (payments.md §1.5).
use std::fmt;

use alloy_primitives::{Address, B256, U256};
use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::Sha256;
use streamflow_types::{Price, TicketParams};

use crate::{commitment, ordered, seed::Seed};

/// First word of the authenticated message, so that the key may also serve other purposes.
const PLAIN: &[u8; 32] = b"streamflow/recipient-rand/v1\0\0\0\0";
/// The same for numbers that have a place in the order.
const NUMBERED: &[u8; 32] = b"streamflow/numbered-rand/v1\0\0\0\0\0";

/// Key of an orchestrator's quotes. Kept across restarts, or quotes lose their validity.
#[derive(Clone)]
pub struct QuoteSecret {
    /// Has taken the key in, which is a quarter of the work.
    keyed: Hmac<Sha256>,
}

impl QuoteSecret {
    /// Takes 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        // HMAC pads a short key with zeros to the block of 64 bytes.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key);
        Self { keyed: <Hmac<Sha256> as KeyInit>::new(&block.into()) }
    }
}

/// The keys that quotes are known by: the one in use, and the one before it, whose quotes are valid to their end.
#[derive(Clone, Debug)]
pub struct QuoteSecrets {
    /// Makes quotes.
    pub current: QuoteSecret,
    /// Made quotes until lately.
    pub previous: Option<QuoteSecret>,
}

impl From<QuoteSecret> for QuoteSecrets {
    fn from(current: QuoteSecret) -> Self {
        Self { current, previous: None }
    }
}

impl QuoteSecrets {
    /// The secret number behind params that were quoted to `sender` under either key; none if they were not.
    pub fn quoted_rand(
        &self,
        domain: &QuoteDomain,
        sender: Address,
        params: &TicketParams,
        price: Price,
    ) -> Option<U256> {
        let under = |secret: &QuoteSecret| secret.quoted_rand(domain, sender, params, price);
        under(&self.current).or_else(|| self.previous.as_ref().and_then(under))
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
    /// The secret number of the quote with these terms for `sender`. The params' own `recipient_rand_hash` does not enter.
    ///
    /// With a serial in the seed: marker, serial, and half of an HMAC over everything that the quote says, the serial
    /// included. Without: a whole HMAC.
    pub fn recipient_rand(&self, domain: &QuoteDomain, sender: Address, params: &TicketParams, price: Price) -> U256 {
        match Seed(params.seed).serial() {
            Some(serial) => ordered::numbered(serial, self.mac(NUMBERED, domain, sender, params, price)),
            None => self.mac(PLAIN, domain, sender, params, price),
        }
    }

    /// The secret number behind params that were quoted to `sender`; none if they were not. Takes quotes of programs that
    /// knew no serials too, so that no winner is lost when a node is brought up to date.
    pub fn quoted_rand(
        &self,
        domain: &QuoteDomain,
        sender: Address,
        params: &TicketParams,
        price: Price,
    ) -> Option<U256> {
        let quoted = |rand: &U256| commitment(*rand) == params.recipient_rand_hash;
        let rand = self.recipient_rand(domain, sender, params, price);
        if quoted(&rand) {
            return Some(rand);
        }
        // Without a serial that was the plain number already.
        Seed(params.seed).serial()?;
        Some(self.mac(PLAIN, domain, sender, params, price)).filter(quoted)
    }

    /// HMAC-SHA256 over words of 32 bytes.
    fn mac(
        &self,
        purpose: &[u8; 32],
        domain: &QuoteDomain,
        sender: Address,
        params: &TicketParams,
        price: Price,
    ) -> U256 {
        // In lowest terms: 1/10 and 10/100 are one price.
        let price = price.reduced();
        let words: [B256; 13] = [
            B256::new(*purpose),
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
        let mut mac = self.keyed.clone();
        for word in &words {
            mac.update(word.as_slice());
        }
        U256::from_be_bytes::<32>(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::uint;
    use streamflow_types::{Expiration, Round, WinProb};

    use super::*;

    const SENDER: Address = Address::repeat_byte(5);
    const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };

    fn params() -> TicketParams {
        TicketParams {
            recipient: Address::repeat_byte(0x0c),
            face_value: U256::from(10_u64.pow(15)),
            win_prob: WinProb(U256::ONE << 254),
            recipient_rand_hash: B256::ZERO,
            seed: U256::ONE,
            expiration_block: 41,
            expiration: Expiration { creation_round: Round(7), creation_round_block_hash: B256::repeat_byte(0x41) },
            deployment: None,
        }
    }

    fn rand(domain: QuoteDomain, sender: Address, params: TicketParams, price: (u64, u64)) -> U256 {
        let price = Price::new(price.0, price.1).unwrap();
        QuoteSecret::new([7; 32]).recipient_rand(&domain, sender, &params, price)
    }

    #[test]
    fn the_number_is_the_one_that_pythons_hmac_gives() {
        let expected = uint!(0x08b7d4c5796b6b662c269f555a67f5397a5657baa89f5409779f80458d0d41a3_U256);
        assert_eq!(rand(DOMAIN, SENDER, params(), (1, 10)), expected);
        assert_eq!(rand(DOMAIN, SENDER, params(), (10, 100)), expected);
    }

    #[test]
    fn with_a_serial_it_is_marker_serial_and_half_of_the_hmac() {
        let params = TicketParams { seed: U256::from_limbs([1, 0, 0xc0ffee, 0]), ..params() };
        let expected = uint!(0xdaaddfba8d87e9750000000000c0ffee37c914059d614cd0fba86028854399cb_U256);
        assert_eq!(rand(DOMAIN, SENDER, params, (1, 10)), expected);
    }

    #[test]
    fn every_input_changes_the_number() {
        for seed in [U256::ONE, U256::ONE | U256::ONE << 128] {
            every_input_changes_the_number_of(TicketParams { seed, ..params() });
        }
    }

    fn every_input_changes_the_number_of(base: TicketParams) {
        let later = Expiration { creation_round: Round(8), ..base.expiration };
        let forked = Expiration { creation_round_block_hash: B256::repeat_byte(0x42), ..base.expiration };
        let price = (1, 10);
        let mut numbers = vec![
            rand(DOMAIN, SENDER, base, price),
            rand(QuoteDomain { chain_id: 1, ..DOMAIN }, SENDER, base, price),
            rand(QuoteDomain { broker: SENDER, ..DOMAIN }, SENDER, base, price),
            rand(DOMAIN, Address::ZERO, base, price),
            rand(DOMAIN, SENDER, TicketParams { recipient: SENDER, ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { face_value: U256::ONE, ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { win_prob: WinProb::MAX, ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { seed: base.seed ^ U256::ONE, ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { seed: base.seed ^ (U256::ONE << 129), ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { seed: base.seed ^ (U256::ONE << 192), ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { expiration_block: 42, ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { expiration: later, ..base }, price),
            rand(DOMAIN, SENDER, TicketParams { expiration: forked, ..base }, price),
            rand(DOMAIN, SENDER, base, (2, 10)),
            rand(DOMAIN, SENDER, base, (1, 11)),
            QuoteSecret::new([8; 32]).recipient_rand(&DOMAIN, SENDER, &base, Price::new(1, 10).unwrap()),
        ];
        // Marker and serial stand apart: it is the secret half that has to change.
        numbers.iter_mut().for_each(|number| *number <<= 128);
        let count = numbers.len();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", QuoteSecret::new([7; 32])), "QuoteSecret(..)");
    }
}
