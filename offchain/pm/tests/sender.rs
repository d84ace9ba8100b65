//! What a sender accepts and signs (payments.md §1.6, vectors of §7.6), and a payment's whole way.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use rand::{SeedableRng, rngs::StdRng};
use streamflow_pm::{
    FundsError, KeySigner, ParamsError, QuoteDomain, QuoteRequest, QuoteSecret, Recipient, RecipientConfig, Sender,
    SenderError, SenderLimits, TicketPolicy, signed_from_params, ticket_signer,
};
use streamflow_types::{ChainView, Expiration, Price, Round, SenderFunds, TicketParams, WinProb};

fn sender(limits: SenderLimits) -> Sender {
    Sender::new(Arc::new(KeySigner::from_bytes([0x11; 32]).unwrap()), limits)
}

fn limits(max_ticket_ev: u64, max_total_ev: u64, deposit_multiplier: u64) -> SenderLimits {
    SenderLimits {
        max_ticket_ev: U256::from(max_ticket_ev),
        max_total_ev: U256::from(max_total_ev),
        deposit_multiplier,
        ..SenderLimits::default()
    }
}

fn generous() -> SenderLimits {
    limits(1_000_000, 1_000_000_000, 1)
}

fn funds(deposit: u64) -> SenderFunds {
    SenderFunds { deposit: U256::from(deposit), reserve: U256::from(1), pool_size: 1, ..SenderFunds::default() }
}

fn chain() -> ChainView {
    ChainView {
        block: 100,
        round: Round(7),
        round_block_hash: B256::repeat_byte(0x41),
        round_initialized: true,
        pool_size: 1,
        base_fee: 1,
    }
}

/// Half of these tickets win.
fn params(face_value: u64) -> TicketParams {
    TicketParams {
        recipient: Address::repeat_byte(2),
        face_value: U256::from(face_value),
        win_prob: WinProb(U256::MAX >> 1),
        recipient_rand_hash: B256::repeat_byte(3),
        expiration_block: 110,
        expiration: Expiration { creation_round: Round(6), creation_round_block_hash: B256::repeat_byte(4) },
        ..TicketParams::default()
    }
}

fn check(limits: SenderLimits, params: &TicketParams, count: usize, funds: &SenderFunds) -> Result<(), ParamsError> {
    sender(limits).validate(Some(params), count, funds, &chain())
}

#[test]
fn face_value_limit_vectors() {
    let limit = |deposit, multiplier, face| check(limits(100, 1000, multiplier), &params(face), 1, &funds(deposit));
    let error = limit(300, 5, 61).unwrap_err();
    assert_eq!(error.to_string(), "ticket faceValue 61 > max faceValue 60");
    for (deposit, multiplier, face) in [(300, 5, 60), (300, 2, 149), (402, 2, 200), (399, 2, 199), (400, 2, 200)] {
        assert_eq!(limit(deposit, multiplier, face), Ok(()));
    }
    let error = limit(0, 5, 50).unwrap_err();
    assert_eq!(error.to_string(), "no sender deposit");
}

#[test]
fn expected_value_limit_vectors() {
    let rich = funds(1_000_000);
    let error = check(limits(1, 1000, 1), &params(202), 1, &rich).unwrap_err();
    assert!(matches!(error, ParamsError::TicketEv { .. }), "{error}");
    assert_eq!(error.to_string(), "ticket EV 100 > max ticket EV 1");
    let error = check(limits(150, 200, 1), &params(202), 2, &rich).unwrap_err();
    assert_eq!(error.to_string(), "total ticket EV 201 for 2 tickets > max total ticket EV 200");
    assert_eq!(check(limits(150, 200, 1), &params(202), 1, &rich), Ok(()));
}

#[test]
fn expiry_vectors() {
    let at = |expiration_block, win_prob| {
        let params = TicketParams { expiration_block, win_prob, ..params(100) };
        check(generous(), &params, 1, &funds(1_000_000))
    };
    let half = params(100).win_prob;
    for expired in [1, 99, 100, 101] {
        let error = at(expired, half).unwrap_err();
        assert_eq!(error.to_string(), "TicketParams expired");
        assert!(error.wants_refresh());
    }
    assert_eq!(at(102, half), Ok(()));
    assert_eq!(at(105, half), Ok(()));
    assert_eq!(at(0, half).unwrap_err().to_string(), "ticketParams expiration block is 0");
    // Expiry is looked at before the expected value.
    assert_eq!(at(0, WinProb::MAX), Err(ParamsError::NoExpirationBlock));
    assert_eq!(at(99, WinProb::ZERO), Err(ParamsError::Expired));
}

#[test]
fn missing_params_are_refused() {
    let error = sender(generous()).validate(None, 1, &funds(1), &chain()).unwrap_err();
    assert_eq!(error.to_string(), "ticketParams is nil");
    assert!(!error.wants_refresh());
}

#[test]
fn a_certain_win_is_refused() {
    let certain = TicketParams { win_prob: WinProb::MAX, ..params(1000) };
    let error = check(generous(), &certain, 1, &SenderFunds::default()).unwrap_err();
    assert_eq!(error.to_string(), "ticket faceValue too low faceValue=1000");
}

#[test]
fn free_tickets_need_no_funds() {
    let free = TicketParams { face_value: U256::ZERO, win_prob: WinProb::ZERO, ..params(0) };
    assert_eq!(check(limits(0, 0, 1), &free, 600, &SenderFunds::default()), Ok(()));
}

#[test]
fn unusable_funds_stop_the_stream() {
    let of = |funds: SenderFunds| check(generous(), &params(100), 1, &funds).unwrap_err();
    let unlocking = SenderFunds { withdraw_round: Round(8), ..SenderFunds::default() };
    let error = of(unlocking);
    assert_eq!(error, ParamsError::Funds(FundsError::UnlockingSoon { withdraw_round: Round(8) }));
    assert_eq!(error.to_string(), "unable to validate sender: deposit and reserve is set to unlock soon");
    assert_eq!(of(SenderFunds::default()).to_string(), "no sender reserve");
    let without_deposit = SenderFunds { reserve: U256::ONE, ..SenderFunds::default() };
    assert_eq!(of(without_deposit).to_string(), "no sender deposit");
    let later = SenderFunds { withdraw_round: Round(9), ..funds(1_000_000) };
    assert_eq!(check(generous(), &params(100), 1, &later), Ok(()));
}

fn pay(sender: &Sender, session: B256, count: usize, now: Instant) -> Result<Vec<u32>, SenderError> {
    let payment = sender.pay(session, count, Price::FREE, &funds(1_000_000), &chain(), now)?;
    Ok(payment.tickets.iter().map(|t| t.sender_nonce).collect())
}

#[test]
fn numbers_begin_at_one_and_go_on() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session(params(100), now).unwrap();
    assert_eq!(pay(&sender, session, 3, now).unwrap(), [1, 2, 3]);
    // The same params again do not begin anew.
    assert_eq!(sender.start_session(params(100), now).unwrap(), session);
    assert_eq!(pay(&sender, session, 2, now).unwrap(), [4, 5]);
    assert_eq!(pay(&sender, session, 0, now).unwrap(), [0; 0]);
}

#[test]
fn a_restored_session_goes_on_after_its_last_number() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session_with_nonce(params(100), 41, now).unwrap();
    assert_eq!(pay(&sender, session, 1, now).unwrap(), [42]);
    sender.start_session_with_nonce(params(100), 7, now).unwrap();
    assert_eq!(pay(&sender, session, 1, now).unwrap(), [43]);
}

#[test]
fn a_quote_is_used_up_after_600_tickets() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session_with_nonce(params(100), 598, now).unwrap();
    let error = pay(&sender, session, 3, now).unwrap_err();
    assert!(matches!(error, SenderError::UsedUp { left: 2, wanted: 3, .. }));
    assert!(error.wants_refresh());
    assert_eq!(pay(&sender, session, 2, now).unwrap(), [599, 600]);
    assert!(matches!(pay(&sender, session, usize::MAX, now), Err(SenderError::Params(ParamsError::TotalEv { .. }))));
    let wild = sender.start_session_with_nonce(
        TicketParams { recipient_rand_hash: B256::repeat_byte(9), ..params(100) },
        u32::MAX,
        now,
    );
    assert!(matches!(pay(&sender, wild.unwrap(), 1, now), Err(SenderError::UsedUp { left: 0, .. })));
}

#[test]
fn params_that_outlive_memory_are_refused() {
    let sender = sender(generous());
    let validate = |expiration_block| {
        let params = TicketParams { expiration_block, ..params(100) };
        sender.validate(Some(&params), 1, &funds(1_000_000), &chain())
    };
    let limit = chain().block + 50_000;
    assert_eq!(validate(limit), Ok(()));
    for expiration_block in [limit + 1, u64::MAX] {
        assert_eq!(validate(expiration_block), Err(ParamsError::TooLongLived { expiration_block }));
    }
}

#[test]
fn terms_cannot_change_under_a_commitment() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session(params(100), now).unwrap();
    let dearer = TicketParams { face_value: params(100).face_value + U256::ONE, ..params(100) };
    let refused = sender.start_session(dearer, now);
    assert!(matches!(refused, Err(SenderError::Params(ParamsError::Changed))));
    assert_eq!(sender.params(session), Some(params(100)));
}

#[test]
fn every_ticket_is_signed_by_the_sender() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session(params(100), now).unwrap();
    let payment = sender.pay(session, 5, Price::FREE, &funds(1_000_000), &chain(), now).unwrap();
    let params = payment.params.unwrap();
    assert_eq!(payment.last_nonce(), Some(5));
    for own in &payment.tickets {
        assert_eq!(ticket_signer(&signed_from_params(&params, payment.sender, own)), Ok(sender.address()));
    }
}

#[test]
fn a_missing_round_is_filled_with_our_own() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session(TicketParams { expiration: Expiration::default(), ..params(100) }, now).unwrap();
    let payment = sender.pay(session, 1, Price::FREE, &funds(1_000_000), &chain(), now).unwrap();
    let expected = Expiration { creation_round: Round(7), creation_round_block_hash: B256::repeat_byte(0x41) };
    assert_eq!(payment.params.unwrap().expiration, expected);
}

#[test]
fn refused_terms_use_no_number() {
    let (sender, now) = (sender(generous()), Instant::now());
    let session = sender.start_session(params(100), now).unwrap();
    let error = sender.pay(session, 1, Price::FREE, &funds(0), &chain(), now).unwrap_err();
    assert!(matches!(error, SenderError::Params(ParamsError::Funds(FundsError::NoDeposit))));
    assert_eq!(pay(&sender, session, 1, now).unwrap(), [1]);
}

#[test]
fn sessions_are_bounded_and_pruned() {
    let limits = SenderLimits { max_sessions: 2, idle: Duration::from_secs(60), ..generous() };
    let (sender, start) = (sender(limits), Instant::now());
    let with_hash = |n, expiration_block| TicketParams {
        recipient_rand_hash: B256::repeat_byte(n),
        expiration_block,
        ..params(100)
    };
    sender.start_session(with_hash(1, 110), start).unwrap();
    sender.start_session(with_hash(2, 120), start + Duration::from_secs(30)).unwrap();
    let full = sender.start_session(with_hash(3, 120), start + Duration::from_secs(60));
    assert!(matches!(full, Err(SenderError::TooManySessions)));
    sender.prune(start + Duration::from_secs(60), 110);
    assert_eq!(sender.params(B256::repeat_byte(1)), None);
    assert!(sender.params(B256::repeat_byte(2)).is_some());
    sender.prune(start + Duration::from_secs(91), 110);
    assert!(matches!(
        pay(&sender, B256::repeat_byte(2), 1, start),
        Err(SenderError::UnknownSession(session)) if session == B256::repeat_byte(2)
    ));
}

#[test]
fn what_a_sender_pays_its_orchestrator_credits() {
    let now = Instant::now();
    let sender = sender(SenderLimits::default());
    let price = Price::new(1200, 1).unwrap();
    let policy = TicketPolicy { min_gas_price: 10_000_000, ..TicketPolicy::default() };
    let domain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
    let recipient =
        Recipient::new(RecipientConfig::new(Address::repeat_byte(2), domain, policy), QuoteSecret::new([9; 32]));
    let rich = SenderFunds {
        deposit: U256::from(10_u64.pow(18)),
        reserve: U256::from(10_u64.pow(18)),
        pool_size: 2,
        ..SenderFunds::default()
    };
    let request = QuoteRequest {
        sender: sender.address(),
        price,
        funds: &rich,
        pending: U256::ZERO,
        gas_price: 1,
        chain: &chain(),
    };
    let params = recipient.quote(&request, None, &mut StdRng::seed_from_u64(1)).unwrap();
    let session = sender.start_session(params, now).unwrap();
    let payment = sender.pay(session, 12, price, &rich, &chain(), now).unwrap();
    let receipt = recipient.receive(&payment, "00c0ffee", &rich, &chain(), now);
    assert_eq!((receipt.credited, receipt.error), (12, None));
    assert_eq!(receipt.credit, sender.ticket_ev(session).unwrap().times(12));
}
