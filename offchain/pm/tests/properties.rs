//! Tickets under random change, and the arithmetic against an independent one.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, Keccak256, U256};
use proptest::prelude::*;
use streamflow_pm::{KeySigner, TicketEv, TicketSigner, sign_ticket, ticket_signer, wins};
use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb};

fn signer() -> KeySigner {
    KeySigner::from_bytes([0x11; 32]).unwrap()
}

prop_compose! {
    fn tickets()(
        recipient: [u8; 20],
        face_value: [u8; 32],
        win_prob: [u8; 32],
        sender_nonce: u32,
        recipient_rand_hash: [u8; 32],
        // Round 0 with a zero hash has no aux data, so that it differs from every other round in more than one bit.
        creation_round in 1_u64..,
        creation_round_block_hash: [u8; 32],
        deployment in prop::option::of(any::<[u8; 32]>()),
    ) -> Ticket {
        Ticket {
            recipient: Address::new(recipient),
            sender: signer().address(),
            face_value: U256::from_be_bytes(face_value),
            win_prob: WinProb(U256::from_be_bytes(win_prob)),
            sender_nonce,
            recipient_rand_hash: B256::new(recipient_rand_hash),
            creation_round: Round(creation_round),
            creation_round_block_hash: B256::new(creation_round_block_hash),
            deployment: deployment.map(B256::new),
        }
    }
}

/// Lengths of the ticket's fields and the signature, in bits.
const BITS: [usize; 10] = [160, 160, 256, 256, 32, 256, 64, 256, 520, 256];

/// Flips bit `bit` of field `field`; in a ticket that is not bound, binds it.
fn flip(signed: &mut SignedTicket, field: usize, bit: usize) {
    let ticket = &mut signed.ticket;
    let in_bytes = |bytes: &mut [u8]| bytes[bit / 8] ^= 1 << (bit % 8);
    match field {
        0 => in_bytes(ticket.recipient.as_mut_slice()),
        1 => in_bytes(ticket.sender.as_mut_slice()),
        2 => ticket.face_value ^= U256::ONE << bit,
        3 => ticket.win_prob.0 ^= U256::ONE << bit,
        4 => ticket.sender_nonce ^= 1 << bit,
        5 => in_bytes(ticket.recipient_rand_hash.as_mut_slice()),
        6 => ticket.creation_round.0 ^= 1 << bit,
        7 => in_bytes(ticket.creation_round_block_hash.as_mut_slice()),
        9 => in_bytes(ticket.deployment.get_or_insert_default().as_mut_slice()),
        _ => {
            let mut sig = *signed.sig.as_bytes();
            in_bytes(&mut sig);
            signed.sig = Signature65::new(sig);
        }
    }
}

fn is_authentic(signed: &SignedTicket) -> bool {
    ticket_signer(signed) == Ok(signed.ticket.sender)
}

#[test]
fn every_single_bit_of_a_ticket_is_covered() {
    for deployment in [None, Some(B256::repeat_byte(0xd0))] {
        every_bit_is_covered(deployment);
    }
}

fn every_bit_is_covered(deployment: Option<B256>) {
    let ticket = Ticket { sender: signer().address(), creation_round: Round(6), deployment, ..Ticket::default() };
    let signed = sign_ticket(ticket, &signer()).unwrap();
    assert!(is_authentic(&signed));
    for (field, bits) in BITS.into_iter().enumerate() {
        for bit in 0..bits {
            let mut flipped = signed;
            flip(&mut flipped, field, bit);
            assert!(!is_authentic(&flipped), "field {field}, bit {bit}");
        }
    }
}

/// Long multiplication in base 2^32, least digit first.
fn product(a: U256, b: U256) -> Vec<u32> {
    let digits = |n: U256| -> Vec<u64> { n.to_le_bytes::<32>().chunks(4).map(digit).collect() };
    let (a, b) = (digits(a), digits(b));
    let mut product = vec![0_u32; 16];
    for (i, x) in a.iter().enumerate() {
        let mut carry = 0_u64;
        for (j, y) in b.iter().enumerate() {
            let sum = x * y + u64::from(product[i + j]) + carry;
            product[i + j] = sum as u32;
            carry = sum >> 32;
        }
        product[i + 8] = carry as u32;
    }
    product
}

fn digit(bytes: &[u8]) -> u64 {
    u32::from_le_bytes(bytes.try_into().unwrap()).into()
}

/// `product / (2^256 − 1)`, rounded down: with product = high · 2^256 + low it is high, and one more if high + low is at
/// least 2^256 − 1, because 2^256 = (2^256 − 1) + 1.
fn over_certain(product: &[u32]) -> U256 {
    let half = |digits: &[u32]| {
        let bytes: Vec<u8> = digits.iter().flat_map(|d| d.to_le_bytes()).collect();
        U256::from_le_slice(&bytes)
    };
    let (low, high) = (half(&product[..8]), half(&product[8..]));
    let (rest, carried) = low.overflowing_add(high);
    if carried || rest == U256::MAX { high + U256::ONE } else { high }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_ticket_with_any_bit_flipped_is_refused(ticket in tickets(), field in 0..BITS.len(), at: prop::sample::Index) {
        let signed = sign_ticket(ticket, &signer()).unwrap();
        prop_assert!(is_authentic(&signed));
        let mut flipped = signed;
        flip(&mut flipped, field, at.index(BITS[field]));
        prop_assert!(flipped != signed);
        prop_assert!(!is_authentic(&flipped));
    }

    #[test]
    fn winners_are_those_of_a_byte_wise_comparison(ticket in tickets(), sig: [u8; 32], rand: [u8; 32]) {
        let mut bytes = [27; 65];
        bytes[..32].copy_from_slice(&sig);
        let mut hasher = Keccak256::new();
        hasher.update(bytes);
        hasher.update(rand);
        let drawn = hasher.finalize();
        let below = drawn.iter().cmp(ticket.win_prob.0.to_be_bytes::<32>().iter()).is_lt();
        let signed = SignedTicket { ticket, sig: Signature65::new(bytes) };
        prop_assert_eq!(wins(&signed, U256::from_be_bytes(rand)), below);
    }

    #[test]
    fn expected_value_agrees_with_long_multiplication(face: [u8; 32], prob: [u8; 32]) {
        let (face, prob) = (U256::from_be_bytes(face), U256::from_be_bytes(prob));
        prop_assert_eq!(TicketEv::new(face, WinProb(prob)).floor_wei(), over_certain(&product(face, prob)));
    }
}

#[test]
fn about_a_quarter_of_tickets_wins_at_a_quarter() {
    let signer = signer();
    let win_prob = WinProb(U256::MAX / U256::from(4));
    let won = (0..4000)
        .filter(|sender_nonce| {
            let ticket =
                Ticket { sender_nonce: *sender_nonce, win_prob, sender: signer.address(), ..Ticket::default() };
            wins(&sign_ticket(ticket, &signer).unwrap(), U256::from(77))
        })
        .count();
    // Expected 1000, standard deviation 27. The tickets are always the same ones, so the test cannot fail by chance.
    assert!((880..=1120).contains(&won), "{won}");
}
