//! One keeper's books at the end.
use alloy::primitives::{B256, U256};
use streamflow_store::{Store, TicketRecord, TicketState};

const ALL: u32 = 1_000_000;

/// What was found to be paid.
#[derive(Debug)]
pub(crate) struct PaidInFull {
    pub(crate) tickets: Vec<TicketRecord>,
    /// Sum of their face values.
    pub(crate) wei: U256,
    pub(crate) transactions: u64,
}

/// Every stored ticket is paid its whole face value, and the keeper's earnings are their sum.
pub(crate) async fn paid_in_full(keeper: &Store) -> PaidInFull {
    let tickets = keeper.tickets(None, ALL).await.unwrap();
    let mut wei = U256::ZERO;
    for record in &tickets {
        let face_value = record.ticket.signed.ticket.face_value;
        match &record.state {
            TicketState::Redeemed(payout) => assert_eq!(payout.amount, face_value, "{record:?}"),
            other => panic!("ticket {} is not paid: {other:?}", record.hash),
        }
        wei += face_value;
    }
    let books = keeper.redemption_summary().await.unwrap();
    assert_eq!(books.payout, wei, "the earnings of the keeper");
    PaidInFull { tickets, wei, transactions: books.transactions }
}

/// Tickets that are not paid, for a failure's message.
pub(crate) async fn unpaid(store: &Store) -> Vec<(B256, TicketState)> {
    let unpaid = |record: &TicketRecord| !matches!(record.state, TicketState::Redeemed(_));
    let all = store.tickets(None, ALL).await.unwrap();
    all.into_iter().filter(unpaid).map(|record| (record.hash, record.state)).collect()
}
