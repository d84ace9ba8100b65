//! Secret numbers that put a ticket into the order of `redeemOrderedTickets` (docs/designs/002-ordered-batch.md). The layouts
//! are those of `OrderedTicketEncoding` in contracts/types/OrderedTicket.sol.
use alloy_primitives::U256;
use streamflow_types::Round;

/// Highest 64 bits of every number that is redeemed in order: the first 8 bytes of
/// keccak256("streamflow.ordered.ticket.v1"). Of numbers drawn without it, one in 2^64 carries it.
pub const MARKER: u64 = 0xdaad_dfba_8d87_e975;

/// Whether a secret number sends its ticket down the ordered path.
pub fn is_marked(recipient_rand: U256) -> bool {
    recipient_rand.as_limbs()[3] == MARKER
}

/// Place of a marked secret number among all of its recipient. Means nothing in an unmarked one.
pub fn serial(recipient_rand: U256) -> u64 {
    recipient_rand.as_limbs()[2]
}

/// Place of a ticket in its sender's order: creation round 64 bits | serial 64 | nonce 64.
pub fn key(creation_round: Round, serial: u64, sender_nonce: u32) -> U256 {
    U256::from_limbs([sender_nonce.into(), serial, creation_round.0, 0])
}

/// Marker 64 bits | serial 64 | the lower 128 bits of `secret`.
pub fn numbered(serial: u64, secret: U256) -> U256 {
    let [low, high, ..] = *secret.as_limbs();
    U256::from_limbs([low, high, serial, MARKER])
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{keccak256, uint};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_marker_is_the_published_one() {
        assert_eq!(MARKER.to_be_bytes(), keccak256("streamflow.ordered.ticket.v1")[..8]);
    }

    #[test]
    fn every_part_has_its_place() {
        let rand = numbered(0x1122_3344_5566_7788, U256::MAX >> 1);
        assert_eq!(rand, uint!(0xdaaddfba8d87e9751122334455667788ffffffffffffffffffffffffffffffff_U256));
        assert_eq!(
            key(Round(7), 0x1122_3344_5566_7788, 9),
            uint!(0x000000000000000711223344556677880000000000000009_U256)
        );
    }

    #[test]
    fn numbers_without_the_marker_are_not_marked() {
        let rand = numbered(5, U256::ONE);
        assert!(is_marked(rand));
        for bit in 192..256 {
            assert!(!is_marked(rand ^ (U256::ONE << bit)));
        }
        assert!(!is_marked(U256::ZERO));
        assert!(!is_marked(U256::MAX));
    }

    proptest! {
        #[test]
        fn a_numbered_secret_says_its_serial_and_keeps_the_lower_half(number: u64, secret: [u64; 4]) {
            let secret = U256::from_limbs(secret);
            let rand = numbered(number, secret);
            prop_assert!(is_marked(rand));
            prop_assert_eq!(serial(rand), number);
            prop_assert_eq!(rand << 128, secret << 128);
        }

        #[test]
        fn keys_order_by_round_then_serial_then_nonce(a: (u64, u64, u32), b: (u64, u64, u32)) {
            let place = |(round, serial, nonce)| key(Round(round), serial, nonce);
            prop_assert_eq!(place(a).cmp(&place(b)), a.cmp(&b));
        }
    }
}
