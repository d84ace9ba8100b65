//! Tests that look behind the public calls. Durability across processes is tested in `tests/`.

mod backlog;
mod closings;
mod convictions;
mod disk_full;
mod leases;
mod model;
mod orchestrators;
mod outbox;
mod receipts;
mod serials;
mod server;
mod transactions;
mod transitions;

use alloy_primitives::{Address, B256, U256, keccak256};
use streamflow_testkit::Database;
use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

use crate::{Payout, Store, TicketOutcome};

pub(super) async fn open(database: &Database) -> Store {
    Store::open_url(database.url()).await.unwrap()
}

pub(super) fn winner(n: u32) -> WinningTicket {
    winner_of_round(n, Round(7))
}

pub(super) fn winner_of_round(n: u32, round: Round) -> WinningTicket {
    let rand = U256::from(n);
    let ticket = Ticket {
        recipient: Address::repeat_byte(0xaa),
        sender: Address::repeat_byte(0xbb),
        face_value: U256::from(1_000_u64 + u64::from(n)) << 128,
        win_prob: WinProb(U256::MAX >> 2),
        sender_nonce: n,
        recipient_rand_hash: keccak256(rand.to_be_bytes::<32>()),
        creation_round: round,
        creation_round_block_hash: B256::repeat_byte(0xcc),
        deployment: None,
    };
    WinningTicket {
        signed: SignedTicket { ticket, sig: Signature65::new([n as u8; 65]) },
        recipient_rand: rand,
        params_expiration_block: 100 + u64::from(n),
    }
}

pub(super) fn hash(winner: &WinningTicket) -> B256 {
    streamflow_pm::ticket_hash(&winner.signed.ticket)
}

pub(super) fn paid(n: u8) -> TicketOutcome {
    TicketOutcome::Redeemed(Payout { amount: U256::from(n), tx_hash: B256::repeat_byte(n), block: 120 })
}

pub(super) fn waiting(not_before: u64) -> TicketOutcome {
    TicketOutcome::Waiting { reason: "sender is underfunded".to_owned(), not_before }
}

pub(super) fn dead() -> TicketOutcome {
    TicketOutcome::Dead { reason: "ticket did not win".to_owned() }
}
