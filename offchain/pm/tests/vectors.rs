//! Published vectors: payments.md §7.1–7.4, node.md §11.1, §11.2.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, U256, address, b256, hex, uint};
use streamflow_pm::{
    KeySigner, TicketEv, TicketSigner, aux_data, commitment, draw, eip191_digest, flatten, sign_ticket, ticket_hash,
    ticket_signer, wins,
};
use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb};

const SOME_HASH: B256 = b256!("41b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d");
const RECIPIENT: Address = address!("73AEd7b5dEb30222fa896f399d46cC99c7BEe57F");

fn signature(text: &str) -> Signature65 {
    Signature65::try_from(hex::decode(text).unwrap().as_slice()).unwrap()
}

#[test]
fn ticket_hashes() {
    let zero = Ticket::default();
    let rows = [
        (
            Ticket { sender_nonce: u32::MAX, ..zero },
            b256!("e1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280"),
        ),
        (Ticket { sender_nonce: 1, ..zero }, b256!("ce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68")),
        (
            Ticket { face_value: U256::ONE, win_prob: WinProb(U256::from(500)), ..zero },
            b256!("87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd"),
        ),
        (
            Ticket { face_value: U256::from(500), win_prob: WinProb(U256::ONE), ..zero },
            b256!("aa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b"),
        ),
        (
            Ticket { recipient: RECIPIENT, ..zero },
            b256!("81e353ae39046e2b77b9f996abbaeed527fda559b61ef90f299c4499dd508ccc"),
        ),
        (
            Ticket { recipient_rand_hash: SOME_HASH, ..zero },
            b256!("be5eaf9a49a39540b9bb02f1a21904f61324a29819e2c032824bfaa10c100b17"),
        ),
        (
            Ticket { creation_round: Round(10), creation_round_block_hash: SOME_HASH, ..zero },
            b256!("e502907c16036ab3d11b78c5a2e93c20f3d6415c67f91de4ed01348182b3b2e2"),
        ),
    ];
    for (ticket, hash) in rows {
        assert_eq!(ticket_hash(&ticket), hash);
    }
}

#[test]
fn aux_data_is_64_bytes_or_none() {
    let hash = b256!("7624778dedc75f8b322b9fa1632a610d40b85e106c7d9bf0e743a9ce291b9c6f");
    let aux = |round, creation_round_block_hash| {
        let creation_round = Round(round);
        aux_data(&Ticket { creation_round, creation_round_block_hash, ..Ticket::default() })
    };
    let word = |last: u8| [vec![0; 31], vec![last]].concat();
    assert_eq!(aux(5, hash), [word(5), hash.to_vec()].concat());
    assert_eq!(aux(0, hash), [word(0), hash.to_vec()].concat());
    assert_eq!(aux(5, B256::ZERO), [word(5), vec![0; 32]].concat());
    assert_eq!(aux(0, B256::ZERO), Vec::<u8>::new());
    assert_eq!(flatten(&Ticket::default()).len(), 168);
    assert_eq!(flatten(&Ticket { creation_round: Round(1), ..Ticket::default() }).len(), 232);
}

struct Redeemed {
    signed: SignedTicket,
    recipient_rand: U256,
    hash: B256,
    draw: B256,
    worth: u64,
}

fn redeemed_on_mainnet() -> [Redeemed; 2] {
    let sender = address!("3eE860A4abA830AF84EbBCE2b381fc11DB8493e2");
    let a = Ticket {
        recipient: address!("9C10672CEE058Fd658103d90872fE431bb6C0AFa"),
        sender,
        face_value: U256::from(24_703_611_594_215_916_u64),
        win_prob: WinProb(uint!(4687253472865791949219216447262131914283161967982656133076290000000000000000_U256)),
        sender_nonce: 1,
        recipient_rand_hash: b256!("d00ef48a6825d9ae93097ad55bc76057fb50afc203aa98fd4e01aa6576d71298"),
        creation_round: Round(0x689),
        creation_round_block_hash: b256!("a9f81d59be53a90a12cb12f627aa9e87c505320bad20a98fd98d5ed23bfe9a54"),
        deployment: None,
    };
    let b = Ticket {
        recipient: address!("a5E37e0BA14655e92DEff29F32adbc7D09b8a2cF"),
        sender,
        face_value: U256::from(10_000_000_000_000_000_u64),
        win_prob: WinProb(uint!(11579208923731619542357098500868790785326998466564056403945759000000000000_U256)),
        sender_nonce: 14,
        recipient_rand_hash: b256!("5309662eee5608da45aaefe60433adec052acab8683dd12d78aad8a0192b3bec"),
        creation_round: Round(0x653),
        creation_round_block_hash: b256!("f3b1d2925fd1325a8a6ba8923fbe6de31dd93d9e85540eaf5a306f21177c3b8c"),
        deployment: None,
    };
    [
        Redeemed {
            signed: SignedTicket {
                ticket: a,
                sig: signature(
                    "5ff5265992f1a6563851d085f363b16ad65416baaee090ee368b59082437df7a0237214659511fc188d6a4ef57c988bb18faa3e99826c78e9e75eb29366745891b",
                ),
            },
            recipient_rand: uint!(21160157592767011607011497540409649304524524744605816319294275445072062630355_U256),
            hash: b256!("63d432158a2a3a15bdb5a87712e5cf0d1655d018a615d2e8806346536c0154c0"),
            draw: b256!("032acb381b86925047219e35056c8ed0de09d7ca369a7221c1ce9f8221b37732"),
            worth: 1_000_000_000_000_000,
        },
        Redeemed {
            signed: SignedTicket {
                ticket: b,
                sig: signature(
                    "90cb8a9280386cc77e9f3473bb87530cf9a1dbe5625013a9ed16675ad7607c800bf4e32ee4cc6b9c785e1c786c9965831a8216c408b251f98d6c18bf1bf4d1621c",
                ),
            },
            recipient_rand: uint!(31838803992704255588716800748284438047369588248489535212488229909862636233406_U256),
            hash: b256!("d5104bbecf755deaa03acf83486f2414d749f5e9d98b9feb9a0ad3791413f7e4"),
            draw: b256!("00048748a6c474056ae4994bbf827c769bfff306709b6a484140e4dfc8a93d65"),
            worth: 1_000_000_000_000,
        },
    ]
}

#[test]
fn tickets_redeemed_on_mainnet_win_here() {
    for Redeemed { signed, recipient_rand, hash, draw: drawn, worth } in redeemed_on_mainnet() {
        assert_eq!(ticket_hash(&signed.ticket), hash);
        assert_eq!(ticket_signer(&signed), Ok(signed.ticket.sender));
        assert_eq!(commitment(recipient_rand), signed.ticket.recipient_rand_hash);
        assert_eq!(draw(&signed.sig, recipient_rand), U256::from_be_bytes(drawn.0));
        assert!(wins(&signed, recipient_rand));
        let ev = TicketEv::new(signed.ticket.face_value, signed.ticket.win_prob);
        assert_eq!(ev.floor_wei(), U256::from(worth));
    }
}

#[test]
fn our_own_ticket_is_signed_as_published() {
    let signer = KeySigner::from_bytes([0x11; 32]).unwrap();
    let ticket = Ticket {
        recipient: RECIPIENT,
        sender: signer.address(),
        face_value: U256::from(10_u64.pow(15)),
        win_prob: WinProb(U256::MAX / U256::from(100)),
        sender_nonce: 7,
        recipient_rand_hash: b256!("c65a7bb8d6351c1cf70c95a316cc6a92839c986682d98bc35f958f4883f9d2a8"),
        creation_round: Round(10),
        creation_round_block_hash: SOME_HASH,
        deployment: None,
    };
    let recipient_rand = U256::from(10);
    assert_eq!(commitment(recipient_rand), ticket.recipient_rand_hash);
    let hash = b256!("76a75f6cccc3b23712a949eed71297adf8be0bbe14425dceed9e54eb1a171c30");
    assert_eq!(ticket_hash(&ticket), hash);
    assert_eq!(eip191_digest(hash), b256!("dd3fb7a48e2e48cef922c4b0719c66230b3bbe52281dccac93fa8f8eff283a0b"));
    let signed = sign_ticket(ticket, &signer).unwrap();
    assert_eq!(
        signed.sig,
        signature(
            "35af4e375d8301244569fb308ff8dca1c3b83824e35f2298ffdca3e1d45338487a2c94e6e2c1c7c404046a2268bce2f7470f4b6815535ae23d60655d90c965551c"
        )
    );
    assert!(!wins(&signed, recipient_rand));
}

#[test]
fn the_draw_must_be_strictly_below_the_probability() {
    let [Redeemed { mut signed, recipient_rand, .. }, _] = redeemed_on_mainnet();
    let drawn = draw(&signed.sig, recipient_rand);
    signed.ticket.win_prob = WinProb(drawn);
    assert!(!wins(&signed, recipient_rand));
    signed.ticket.win_prob = WinProb(drawn + U256::ONE);
    assert!(wins(&signed, recipient_rand));
    signed.ticket.win_prob = WinProb::ZERO;
    assert!(!wins(&signed, recipient_rand));
}
