//! Tickets bound to a deployment where both sides know of it, and to none where one does not.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::{sync::Arc, time::Instant};

use alloy_primitives::{Address, B256, U256};
use rand::{SeedableRng, rngs::StdRng};
use streamflow_pm::{
    KeySigner, ParamsError, Payment, QuoteDomain, QuoteRequest, QuoteSecret, Receipt, Recipient, RecipientConfig,
    Sender, SenderError, SenderLimits, TicketError, TicketPolicy, TicketSigner, flatten,
};
use streamflow_types::{ChainView, Price, Round, SenderFunds, TicketParams};

const HERE: Option<B256> = Some(B256::repeat_byte(0xd0));
const ELSEWHERE: Option<B256> = Some(B256::repeat_byte(0xd1));

fn key() -> KeySigner {
    KeySigner::from_bytes([0x11; 32]).unwrap()
}

fn price() -> Price {
    Price::new(3, 10).unwrap()
}

fn funds() -> SenderFunds {
    let wealth = U256::from(10_u64.pow(18));
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

/// Nine of ten tickets win.
fn desk(deployment: Option<B256>) -> Recipient {
    let policy =
        TicketPolicy { ev: U256::from(900_000), redeem_gas: 1, min_gas_price: 10_000, ..TicketPolicy::default() };
    let domain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
    let config = RecipientConfig::new(Address::repeat_byte(2), domain, policy);
    Recipient::new(RecipientConfig { deployment, ..config }, QuoteSecret::new([9; 32]))
}

fn quote(desk: &Recipient) -> TicketParams {
    let (funds, chain) = (funds(), chain());
    let sender = key().address();
    let request =
        QuoteRequest { sender, price: price(), funds: &funds, pending: U256::ZERO, gas_price: 0, chain: &chain };
    desk.quote(&request, None, &mut StdRng::seed_from_u64(1)).unwrap()
}

fn pay(deployment: Option<B256>, params: TicketParams) -> Result<Payment, SenderError> {
    let sender = Sender::new(Arc::new(key()), SenderLimits::default()).bound_to(deployment);
    let now = Instant::now();
    let session = sender.start_session(params, now)?;
    sender.pay(session, 20, price(), &funds(), &chain(), now)
}

fn receive(desk: &Recipient, payment: &Payment) -> Receipt {
    desk.receive(payment, "deadbeef", &funds(), &chain(), Instant::now())
}

#[test]
fn tickets_are_bound_where_both_sides_can() {
    for (recipient, sender, bound) in [(HERE, HERE, HERE), (HERE, None, None), (None, HERE, None), (None, None, None)] {
        let desk = desk(recipient);
        let params = quote(&desk);
        assert_eq!(params.deployment, recipient);
        let payment = pay(sender, params).unwrap();
        assert_eq!(payment.params.unwrap().deployment, bound);
        let receipt = receive(&desk, &payment);
        assert_eq!((receipt.credited, receipt.error), (20, None));
        assert!(!receipt.winners.is_empty());
        for winner in receipt.winners {
            assert_eq!(winner.signed.ticket.deployment, bound);
            assert_eq!(flatten(&winner.signed.ticket).len(), if bound.is_some() { 264 } else { 232 });
        }
    }
}

#[test]
fn nothing_is_signed_for_another_deployment() {
    let refused = pay(HERE, quote(&desk(ELSEWHERE))).unwrap_err();
    assert!(matches!(refused, SenderError::Params(ParamsError::OtherDeployment)));
}

#[test]
fn tickets_bound_elsewhere_are_refused() {
    let elsewhere = desk(ELSEWHERE);
    let payment = pay(ELSEWHERE, quote(&elsewhere)).unwrap();
    for here in [desk(HERE), desk(None)] {
        let receipt = receive(&here, &payment);
        assert_eq!((receipt.winners.len(), receipt.error), (0, Some(TicketError::Deployment)));
    }
}

#[test]
fn nobody_can_bind_or_free_a_signed_ticket() {
    let desk = desk(HERE);
    for (signed_as, sent_as) in [(HERE, None), (None, HERE)] {
        let mut payment = pay(signed_as, quote(&desk)).unwrap();
        payment.params.as_mut().unwrap().deployment = sent_as;
        let receipt = receive(&desk, &payment);
        assert_eq!((receipt.winners.len(), receipt.error), (0, Some(TicketError::Signature)));
    }
}
