//! What the contracts make of a marked ticket: the figures of test/contracts/OrderedEncoding.t.sol.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, U256, address, b256, hex, uint};
use streamflow_pm::{KeySigner, TicketSigner, commitment, ordered, sign_ticket, ticket_hash, ticket_signer, wins};
use streamflow_types::{Round, Ticket, WinProb};

const RAND: U256 = uint!(0xdaaddfba8d87e9750000000000c0ffee37c914059d614cd0fba86028854399cb_U256);
const UNMARKED: U256 = uint!(0x08b7d4c5796b6b662c269f555a67f5397a5657baa89f5409779f80458d0d41a3_U256);
const RECIPIENT: Address = address!("73AEd7b5dEb30222fa896f399d46cC99c7BEe57F");
const BLOCK_HASH: B256 = b256!("41b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d");

fn key() -> KeySigner {
    KeySigner::from_bytes([0x46; 32]).unwrap()
}

fn ticket() -> Ticket {
    Ticket {
        recipient: RECIPIENT,
        sender: key().address(),
        face_value: U256::from(10_u64.pow(15)),
        win_prob: WinProb(U256::ONE << 255),
        sender_nonce: 0x2a,
        recipient_rand_hash: commitment(RAND),
        creation_round: Round(7),
        creation_round_block_hash: BLOCK_HASH,
        deployment: None,
    }
}

#[test]
fn marker_and_key() {
    assert!(ordered::is_marked(RAND));
    assert!(!ordered::is_marked(UNMARKED));
    let key = ordered::key(Round(7), ordered::serial(RAND), 0x2a);
    assert_eq!(key, uint!(0x70000000000c0ffee000000000000002a_U256));
}

#[test]
fn the_unbound_ticket() {
    let signed = sign_ticket(ticket(), &key()).unwrap();
    assert_eq!(ticket_hash(&signed.ticket), b256!("b77417f4b57628a5da41bcb3a227e5c4266b4e4c81f2170d32b9037dc0187c6f"));
    assert_eq!(
        *signed.sig.as_bytes(),
        hex!(
            "516a035e5e57c2840e82f15407cff350353e2084639820b2f5cc38eadbd0704e"
            "2c97528e824bf232c8cd6e4387a479a09739091e38a61c445787d9ed2dc8962f1c"
        )
    );
    assert_eq!(ticket_signer(&signed), Ok(key().address()));
    assert!(wins(&signed, RAND));
}

#[test]
fn the_ticket_bound_to_a_contract_on_chain_42161() {
    let tag = b256!("721b634f948fbb397f4c6b06089f5c300c0c629efe02744c1df89fd780c27ae3");
    let signed = sign_ticket(Ticket { deployment: Some(tag), ..ticket() }, &key()).unwrap();
    assert_eq!(ticket_hash(&signed.ticket), b256!("d6fdf5ade3daa2aac7020a93182e77d18d979adde2106e481cb4874764f285ab"));
    assert_eq!(
        *signed.sig.as_bytes(),
        hex!(
            "5804451c473a9b06de238daf616ffcb9a6120a0626e93777a72c89b419b56454"
            "6376c01d8728589cfa6d295523e10ddccf148c74efa11a45f32be9861a3b7e811b"
        )
    );
    assert!(wins(&signed, RAND));
}
