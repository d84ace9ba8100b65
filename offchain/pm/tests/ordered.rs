//! Quotes with a place in the order of redemption, from the desk to the winner.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::time::Instant;

use alloy_primitives::{Address, B256, U256, address, b256, uint};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use streamflow_pm::{
    KeySigner, Payment, QuoteDomain, QuoteRequest, QuoteSecret, Receipt, Recipient, RecipientConfig, SerialLease, Slot,
    TicketError, TicketPolicy, TicketSig, TicketSigner, commitment, ordered, sign_ticket, ticket_from_params,
};
use streamflow_types::{ChainView, Price, Round, SenderFunds, TicketParams};

const RECIPIENT: Address = address!("73AEd7b5dEb30222fa896f399d46cC99c7BEe57F");
const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
const SERIAL: u64 = 0x00c0_ffee;
const LIFE: u64 = 40;

fn secret() -> QuoteSecret {
    QuoteSecret::new([7; 32])
}

fn sender() -> KeySigner {
    KeySigner::from_bytes([0x11; 32]).unwrap()
}

fn price() -> Price {
    Price::new(3, 10).unwrap()
}

/// The face value is the expected value, so every ticket wins.
fn policy() -> TicketPolicy {
    TicketPolicy {
        ev: U256::from(1_000_000),
        redeem_gas: 1,
        min_gas_price: 10_000,
        params_life_blocks: LIFE,
        ..TicketPolicy::default()
    }
}

fn desk() -> Recipient {
    Recipient::new(RecipientConfig::new(RECIPIENT, DOMAIN, policy()), secret())
}

fn funds() -> SenderFunds {
    let wealth = U256::ONE << 120;
    SenderFunds { deposit: wealth, reserve: wealth, pool_size: 2, ..SenderFunds::default() }
}

fn chain() -> ChainView {
    ChainView {
        block: 100,
        round: Round(7),
        round_block_hash: B256::repeat_byte(0x41),
        round_initialized: true,
        pool_size: 2,
        base_fee: 10_000_000,
    }
}

/// The serial of a lease that was taken a little before.
fn slot(serial: u64) -> Option<Slot> {
    SerialLease::new(serial..=serial, Round(7), 135).draw(&policy(), &chain())
}

fn quote_at(desk: &Recipient, slot: Option<Slot>, chain: &ChainView, gas_price: u128) -> TicketParams {
    let funds = funds();
    let sender = sender().address();
    let request = QuoteRequest { sender, price: price(), funds: &funds, pending: U256::ZERO, gas_price, chain };
    desk.quote(&request, slot, &mut StdRng::seed_from_u64(1)).unwrap()
}

fn quote(desk: &Recipient, slot: Option<Slot>) -> TicketParams {
    quote_at(desk, slot, &chain(), 0)
}

fn pay(desk: &Recipient, params: &TicketParams) -> Receipt {
    let key = sender();
    let own = |sender_nonce| {
        let ticket = ticket_from_params(params, key.address(), sender_nonce);
        TicketSig { sender_nonce, sig: sign_ticket(ticket, &key).unwrap().sig }
    };
    let payment = Payment {
        sender: key.address(),
        expected_price: Some(price()),
        params: Some(*params),
        tickets: (1..=3).map(own).collect(),
    };
    desk.receive(&payment, "deadbeef", &funds(), &chain(), Instant::now())
}

fn rand_of(params: &TicketParams) -> U256 {
    secret().quoted_rand(&DOMAIN, sender().address(), params, price()).unwrap()
}

#[test]
fn a_quote_with_a_slot_says_what_its_lease_says() {
    let params = quote(&desk(), slot(SERIAL));
    assert_eq!((params.expiration.creation_round, params.expiration_block), (Round(7), 135));
    let rand = rand_of(&params);
    assert!(ordered::is_marked(rand));
    assert_eq!(ordered::serial(rand), SERIAL);
}

#[test]
fn winners_on_it_carry_marker_and_serial() {
    let desk = desk();
    let params = quote(&desk, slot(SERIAL));
    let receipt = pay(&desk, &params);
    assert_eq!((receipt.credited, receipt.winners.len(), receipt.error), (3, 3, None));
    for winner in &receipt.winners {
        assert!(ordered::is_marked(winner.recipient_rand));
        assert_eq!(ordered::serial(winner.recipient_rand), SERIAL);
        assert_eq!(winner.params_expiration_block, 135);
    }
}

#[test]
fn a_quote_without_a_slot_is_not_marked_and_lives_for_the_policys_blocks() {
    let params = quote(&desk(), None);
    assert!(!ordered::is_marked(rand_of(&params)));
    assert_eq!(params.expiration_block, chain().block + LIFE);
    assert_eq!(pay(&desk(), &params).error, Some(TicketError::ParamsExpired));
}

#[test]
fn a_slot_of_another_round_is_left_unused() {
    let next = ChainView { round: Round(8), ..chain() };
    let params = quote_at(&desk(), slot(SERIAL), &next, 0);
    assert!(!ordered::is_marked(rand_of(&params)));
    assert_eq!(params.expiration.creation_round, Round(8));
}

#[test]
fn a_face_value_of_more_than_96_bits_stays_out_of_the_order() {
    // The face value is a hundred times the gas price.
    for (gas_price, marked) in [((1 << 96) / 100, true), ((1 << 96) / 100 + 1, false)] {
        let params = quote_at(&desk(), slot(SERIAL), &chain(), gas_price);
        assert_eq!(params.face_value > U256::MAX >> 160, !marked);
        assert_eq!(ordered::is_marked(rand_of(&params)), marked);
    }
}

#[test]
fn quotes_of_a_slot_outlive_the_process() {
    let params = quote(&desk(), slot(SERIAL));
    let restarted = desk();
    let receipt = pay(&restarted, &params);
    // No credit: nobody knows any more which numbers were seen.
    assert_eq!((receipt.credited, receipt.error), (0, Some(TicketError::ParamsExpired)));
    assert_eq!(receipt.winners.len(), 3);
    assert!(receipt.winners.iter().all(|winner| ordered::serial(winner.recipient_rand) == SERIAL));
}

/// As quoted by programs that drew the whole seed at random; made with Python's hmac.
#[test]
fn winners_on_quotes_of_earlier_programs_are_kept_unmarked() {
    let params = TicketParams {
        recipient: RECIPIENT,
        face_value: U256::from(2_000_000),
        win_prob: streamflow_types::WinProb::MAX,
        recipient_rand_hash: b256!("d8e0c75b3f0c24da3c2b8293d6d5e0c031741c317bc3ddf6efc79f2e2dbb1976"),
        seed: uint!(0x2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819_U256),
        expiration_block: 140,
        ..quote(&desk(), None)
    };
    let receipt = pay(&desk(), &params);
    assert_eq!((receipt.credited, receipt.error), (0, Some(TicketError::ParamsExpired)));
    assert_eq!(receipt.winners.len(), 3);
    assert!(receipt.winners.iter().all(|winner| !ordered::is_marked(winner.recipient_rand)));
}

proptest! {
    #[test]
    fn no_other_seed_is_accepted_for_a_quote(serial in 1_u64.., change in 1_u128.., shift in 0..2_usize) {
        let desk = desk();
        let params = quote(&desk, slot(serial));
        let seed = params.seed ^ (U256::from(change) << (128 * shift));
        let receipt = pay(&desk, &TicketParams { seed, ..params });
        prop_assert_eq!(receipt.error, Some(TicketError::NotQuoted));
        prop_assert!(receipt.winners.is_empty());
    }

    /// Whoever knows the layout knows marker and serial of the number behind a quote, and nothing of the rest.
    #[test]
    fn a_sender_cannot_move_its_quote_in_the_order(serial in 1_u64.., other in 0_u64..) {
        prop_assume!(serial != other);
        let desk = desk();
        let params = quote(&desk, slot(serial));
        let [low, high, _, epoch] = *params.seed.as_limbs();
        let moved = TicketParams { seed: U256::from_limbs([low, high, other, epoch]), ..params };
        prop_assert_eq!(pay(&desk, &moved).error, Some(TicketError::NotQuoted));
        let renumbered = ordered::numbered(other, rand_of(&params));
        let forged = TicketParams { recipient_rand_hash: commitment(renumbered), ..moved };
        prop_assert_eq!(pay(&desk, &forged).error, Some(TicketError::NotQuoted));
    }
}
