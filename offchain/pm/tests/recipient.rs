//! Each check of a received payment, in its order (payments.md §1.7), and the session's balance.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Sign, U256, address};
use rand::{SeedableRng, rngs::StdRng};
use streamflow_pm::{
    AccountLimits, KeySigner, Payment, QuoteDomain, QuoteError, QuoteRequest, QuoteSecret, Receipt, Recipient,
    RecipientConfig, TicketError, TicketEv, TicketPolicy, TicketSig, TicketSigner, commitment, sign_ticket,
    signed_from_params, ticket_from_params, wins,
};
use streamflow_types::{ChainView, Price, Round, SenderFunds, Signature65, TicketParams, WinProb};

const RECIPIENT: Address = address!("73AEd7b5dEb30222fa896f399d46cC99c7BEe57F");
const SESSION: &str = "deadbeef";
const EV: u64 = 1_000_000;

fn key() -> KeySigner {
    KeySigner::from_bytes([0x11; 32]).unwrap()
}

fn price() -> Price {
    Price::new(3, 10).unwrap()
}

/// Half of all tickets win: the face value is twice the expected value.
fn policy() -> TicketPolicy {
    TicketPolicy {
        ev: U256::from(EV),
        redeem_gas: 1,
        min_gas_price: 10_000,
        tx_cost_multiplier: 200,
        params_life_blocks: 8,
        ..TicketPolicy::default()
    }
}

fn config() -> RecipientConfig {
    let domain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
    RecipientConfig::new(RECIPIENT, domain, policy())
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

struct Desk {
    recipient: Recipient,
    params: TicketParams,
    start: Instant,
}

impl Desk {
    fn with(config: RecipientConfig) -> Self {
        let recipient = Recipient::new(config, QuoteSecret::new([7; 32]));
        let params = quote(&recipient, 1, price());
        Self { recipient, params, start: Instant::now() }
    }

    fn new() -> Self {
        Self::with(config())
    }

    fn pay(&self, nonces: impl IntoIterator<Item = u32>) -> Payment {
        payment(&self.params, nonces)
    }

    fn receive(&self, payment: &Payment) -> Receipt {
        self.recipient.receive(payment, SESSION, &funds(), &chain(), self.start)
    }

    fn refusal(&self, payment: &Payment) -> TicketError {
        let receipt = self.receive(payment);
        assert_eq!((receipt.credited, receipt.winners.len()), (0, 0));
        assert_eq!(self.recipient.balance(payment.sender, SESSION), None);
        receipt.error.unwrap()
    }

    fn held(&self) -> (Sign, U256) {
        self.recipient.balance(key().address(), SESSION).unwrap().floor_wei()
    }
}

fn quote(recipient: &Recipient, seed: u64, price: Price) -> TicketParams {
    let (funds, chain) = (funds(), chain());
    let request = QuoteRequest {
        sender: key().address(),
        price,
        funds: &funds,
        pending: U256::ZERO,
        gas_price: 0,
        chain: &chain,
    };
    recipient.quote(&request, None, &mut StdRng::seed_from_u64(seed)).unwrap()
}

fn payment(params: &TicketParams, nonces: impl IntoIterator<Item = u32>) -> Payment {
    let key = key();
    let own = |sender_nonce| {
        let ticket = ticket_from_params(params, key.address(), sender_nonce);
        TicketSig { sender_nonce, sig: sign_ticket(ticket, &key).unwrap().sig }
    };
    Payment {
        sender: key.address(),
        expected_price: Some(price()),
        params: Some(*params),
        tickets: nonces.into_iter().map(own).collect(),
    }
}

fn wei(amount: u64) -> U256 {
    U256::from(amount)
}

#[test]
fn good_tickets_are_credited_at_their_expected_value() {
    let desk = Desk::new();
    let receipt = desk.receive(&desk.pay(1..=10));
    assert_eq!((receipt.credited, receipt.error), (10, None));
    assert_eq!(receipt.credit.floor_wei(), wei(10 * EV));
    assert_eq!(desk.held(), (Sign::Positive, wei(10 * EV)));
    assert_eq!(desk.recipient.pinned_price(key().address(), SESSION), Some(price()));
    assert!(desk.recipient.hold(key().address(), SESSION, 0, desk.start));
}

#[test]
fn winners_carry_what_redemption_needs() {
    let desk = Desk::new();
    let payment = desk.pay(1..=40);
    let receipt = desk.receive(&payment);
    assert!((8..=32).contains(&receipt.winners.len()), "{}", receipt.winners.len());
    for winner in &receipt.winners {
        assert!(wins(&winner.signed, winner.recipient_rand));
        assert_eq!(commitment(winner.recipient_rand), desk.params.recipient_rand_hash);
        assert_eq!(winner.params_expiration_block, 108);
        assert_eq!(winner.signed.ticket.creation_round, Round(7));
    }
    let rand = receipt.winners[0].recipient_rand;
    let won = payment.tickets.iter().map(|own| signed_from_params(&desk.params, payment.sender, own));
    assert_eq!(won.filter(|signed| wins(signed, rand)).count(), receipt.winners.len());
}

#[test]
fn nonces_may_come_in_any_order() {
    let desk = Desk::new();
    assert_eq!(desk.receive(&desk.pay([9, 2, 600, 5])).credited, 4);
    assert_eq!(desk.receive(&desk.pay([1, 3])).error, None);
}

#[test]
fn a_payment_without_tickets_changes_nothing() {
    let desk = Desk::new();
    let receipt = desk.receive(&Payment::without_tickets(key().address(), Some(price())));
    assert_eq!((receipt.credited, receipt.error), (0, None));
    assert_eq!(desk.recipient.pinned_price(key().address(), SESSION), None);
    assert!(!desk.recipient.hold(key().address(), SESSION, 0, desk.start));
}

#[test]
fn worthless_tickets_are_not_remembered() {
    let desk = Desk::new();
    let params = quote(&desk.recipient, 2, Price::FREE);
    let payment = Payment { expected_price: Some(Price::FREE), ..payment(&params, [1]) };
    let receipt = desk.receive(&payment);
    assert_eq!((receipt.credited, receipt.error), (0, None));
    assert_eq!(desk.recipient.sizes(), (0, 0));
}

#[test]
fn an_unlocking_sender_is_refused_before_everything_else() {
    let desk = Desk::new();
    let unlocking = SenderFunds { withdraw_round: Round(8), ..funds() };
    let mut payment = desk.pay([1]);
    payment.params.as_mut().unwrap().recipient = Address::ZERO;
    let receipt = desk.recipient.receive(&payment, SESSION, &unlocking, &chain(), desk.start);
    let error = receipt.error.unwrap();
    assert_eq!(
        error.to_string(),
        "deposit and reserve for sender 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A is set to unlock soon"
    );
    assert!(error.is_fatal());
}

#[test]
fn a_ticket_for_somebody_else_is_refused() {
    let desk = Desk::new();
    let mut payment = desk.pay([1]);
    payment.params.as_mut().unwrap().recipient = Address::repeat_byte(1);
    payment.sender = Address::ZERO; // the recipient is looked at first
    let error = desk.refusal(&payment);
    assert_eq!(error.to_string(), "invalid ticket recipient");
    assert!(error.is_fatal());
}

#[test]
fn a_ticket_of_nobody_is_refused() {
    let desk = Desk::new();
    let error = desk.refusal(&Payment { sender: Address::ZERO, ..desk.pay([1]) });
    assert_eq!(error.to_string(), "invalid ticket sender");
    assert!(error.is_fatal());
}

#[test]
fn terms_that_were_not_quoted_are_refused() {
    let desk = Desk::new();
    let good = desk.params;
    let mut expiration = good.expiration;
    expiration.creation_round = Round(6);
    let changed = [
        TicketParams { face_value: good.face_value - U256::ONE, ..good },
        TicketParams { face_value: good.face_value + U256::ONE, ..good },
        TicketParams { win_prob: WinProb(good.win_prob.0 - U256::ONE), ..good },
        TicketParams { win_prob: WinProb::MAX, ..good },
        TicketParams { expiration_block: good.expiration_block + 1, ..good },
        TicketParams { seed: good.seed ^ U256::ONE, ..good },
        TicketParams { recipient_rand_hash: commitment(U256::ONE), ..good },
        TicketParams { expiration, ..good },
    ];
    for params in changed {
        let error = desk.refusal(&payment(&params, [1]));
        assert_eq!(error.to_string(), "invalid recipientRand for ticket recipientRandHash");
        assert!(error.is_fatal());
    }
}

#[test]
fn a_quote_for_another_sender_is_refused() {
    let desk = Desk::new();
    let other = KeySigner::from_bytes([0x22; 32]).unwrap();
    let ticket = ticket_from_params(&desk.params, other.address(), 1);
    let own = TicketSig { sender_nonce: 1, sig: sign_ticket(ticket, &other).unwrap().sig };
    let payment = Payment { sender: other.address(), tickets: vec![own], ..desk.pay([]) };
    assert_eq!(desk.refusal(&payment), TicketError::NotQuoted);
}

#[test]
fn another_price_than_the_quoted_is_refused() {
    let desk = Desk::new();
    for other in [Price::FREE, Price::new(2, 10).unwrap(), Price::new(4, 10).unwrap()] {
        let error = desk.refusal(&Payment { expected_price: Some(other), ..desk.pay([1]) });
        assert_eq!(error, TicketError::NotQuoted);
    }
    let error = desk.refusal(&Payment { expected_price: None, ..desk.pay([1]) });
    assert_eq!(error.to_string(), "invalid expected price sent with payment err=expected price is nil");
}

#[test]
fn the_quoted_price_in_other_terms_is_accepted() {
    let desk = Desk::new();
    let payment = Payment { expected_price: Some(Price::new(30, 100).unwrap()), ..desk.pay([1]) };
    assert_eq!(desk.receive(&payment).error, None);
}

#[test]
fn a_price_below_the_pinned_one_is_refused() {
    let desk = Desk::new();
    assert_eq!(desk.receive(&desk.pay([1])).error, None);
    let cheap = Price::new(1, 10).unwrap();
    let params = quote(&desk.recipient, 2, cheap);
    let payment = Payment { expected_price: Some(cheap), ..payment(&params, [1]) };
    let receipt = desk.receive(&payment);
    assert_eq!(receipt.error, Some(TicketError::PriceBelowPinned { got: cheap, pinned: price() }));
    assert_eq!(desk.held(), (Sign::Positive, wei(EV)));
    // Another session may begin at our cheaper quote.
    let receipt = desk.recipient.receive(&payment, "00000001", &funds(), &chain(), desk.start);
    assert_eq!(receipt.error, None);
}

#[test]
fn a_higher_price_does_not_move_the_pinned_one() {
    let desk = Desk::new();
    desk.receive(&desk.pay([1]));
    let dear = Price::new(9, 10).unwrap();
    let params = quote(&desk.recipient, 2, dear);
    let payment = Payment { expected_price: Some(dear), ..payment(&params, [1]) };
    assert_eq!(desk.receive(&payment).error, None);
    assert_eq!(desk.recipient.pinned_price(key().address(), SESSION), Some(price()));
    let left = desk.recipient.debit(key().address(), SESSION, 0, 100, desk.start).unwrap();
    assert_eq!(left.floor_wei(), (Sign::Positive, wei(2 * EV - 30)));
}

#[test]
fn a_bad_signature_stops_credit_and_is_not_drawn() {
    let desk = Desk::new();
    let mut payment = desk.pay(1..=20);
    let mut sig = *payment.tickets[4].sig.as_bytes();
    sig[0] ^= 1;
    payment.tickets[4].sig = Signature65::new(sig);
    let receipt = desk.receive(&payment);
    assert_eq!(receipt.error, Some(TicketError::Signature));
    assert!(!receipt.error.unwrap().is_fatal());
    assert_eq!(receipt.credited, 4);
    assert_eq!(desk.held(), (Sign::Positive, wei(4 * EV)));
    assert!(receipt.winners.iter().all(|w| w.signed.ticket.sender_nonce != 5));
    // Later tickets earn nothing, but those that won are kept.
    assert!(receipt.winners.iter().any(|w| w.signed.ticket.sender_nonce > 5));
}

#[test]
fn a_ticket_signed_by_another_key_is_refused() {
    let desk = Desk::new();
    let thief = KeySigner::from_bytes([0x22; 32]).unwrap();
    let mut payment = desk.pay([1]);
    let ticket = ticket_from_params(&desk.params, payment.sender, 1);
    payment.tickets[0].sig = sign_ticket(ticket, &thief).unwrap().sig;
    let error = desk.refusal(&payment);
    assert_eq!(error.to_string(), "invalid ticket signature");
}

#[test]
fn a_replayed_nonce_is_refused_before_its_signature_is_looked_at() {
    let desk = Desk::new();
    let first = desk.receive(&desk.pay(1..=20));
    let again = desk.receive(&desk.pay(1..=20));
    assert_eq!(again.error, Some(TicketError::NonceSeen { nonce: 20 }));
    assert!(again.error.unwrap().to_string().starts_with("invalid ticket senderNonce: already seen"));
    assert_eq!(again.credited, 0);
    assert!(!first.winners.is_empty() && again.winners.is_empty(), "they were returned once");
    assert_eq!(desk.held(), (Sign::Positive, wei(20 * EV)));
    // A ticket on the chain has one number, so a second signature cannot make another winner of it.
    let mut forged = desk.pay([20]);
    forged.tickets[0].sig = Signature65::new([0; 65]);
    assert_eq!(desk.receive(&forged).error, Some(TicketError::NonceSeen { nonce: 20 }));
}

#[test]
fn a_payment_resent_a_hundred_times_is_credited_once() {
    let desk = Desk::new();
    let payment = desk.pay([1]);
    let credited: usize = (0..100).map(|_| desk.receive(&payment).credited).sum();
    assert_eq!(credited, 1);
}

#[test]
fn a_nonce_repeated_within_a_payment_is_credited_once() {
    let desk = Desk::new();
    let receipt = desk.receive(&desk.pay([1, 2, 2, 3]));
    assert_eq!(receipt.error, Some(TicketError::NonceSeen { nonce: 2 }));
    assert_eq!(receipt.credited, 2);
}

#[test]
fn six_hundred_tickets_per_quote_and_no_more() {
    let desk = Desk::new();
    let receipt = desk.receive(&desk.pay(1..=600));
    assert_eq!((receipt.credited, receipt.error), (600, None));
    let error = desk.receive(&desk.pay([601])).error.unwrap();
    assert_eq!(error, TicketError::TooManyNonces { nonce: 601 });
    assert!(error.to_string().starts_with("invalid ticket senderNonce: too many values"));
    let too_many = Payment { tickets: vec![desk.pay([1]).tickets[0]; 601], ..desk.pay([]) };
    let error = desk.receive(&too_many).error.unwrap();
    assert_eq!(error, TicketError::TooManyTickets { got: 601, max: 600 });
    assert!(error.is_fatal());
}

#[test]
fn expired_params_earn_nothing_but_winners_are_kept() {
    let desk = Desk::new();
    let at = |block| ChainView { block, ..chain() };
    let last = desk.recipient.receive(&desk.pay([1]), SESSION, &funds(), &at(107), desk.start);
    assert_eq!((last.credited, last.error), (1, None));
    let late = desk.recipient.receive(&desk.pay(2..=21), SESSION, &funds(), &at(108), desk.start);
    assert_eq!(late.error.as_ref().unwrap().to_string(), "TicketParams expired");
    assert!(!late.error.unwrap().is_fatal());
    assert_eq!(late.credited, 0);
    assert!(!late.winners.is_empty());
    assert_eq!(desk.recipient.sizes(), (1, 0), "numbers under expired params are forgotten");
}

#[test]
fn winners_on_params_whose_secret_may_be_known_are_not_kept() {
    let desk = Desk::new();
    let winners = |block, tickets| {
        let chain = ChainView { block, ..chain() };
        desk.recipient.receive(&desk.pay(tickets), SESSION, &funds(), &chain, desk.start).winners.len()
    };
    let late = config().late_blocks;
    assert!(winners(108 + late - 1, 1..=20) > 0);
    assert_eq!(winners(108 + late, 21..=600), 0);
    assert_eq!(winners(100, 21..=600), 0, "nor when a reorganisation takes blocks back");
}

#[test]
fn while_the_chain_is_out_of_sight_winners_are_kept_and_nothing_is_credited() {
    let desk = Desk::new();
    let payment = desk.pay(1..=20);
    let salvaged = desk.recipient.salvage(&payment, SESSION, &funds(), &chain(), desk.start);
    assert_eq!((salvaged.credited, salvaged.error), (0, None));
    assert_eq!(desk.recipient.pinned_price(key().address(), SESSION), None);
    let received = desk.receive(&payment);
    assert_eq!((received.credited, received.error), (20, None), "the same tickets may be sent again");
    assert_eq!(salvaged.winners, received.winners);
    assert!(!salvaged.winners.is_empty());
}

#[test]
fn a_reorg_does_not_revive_expired_params() {
    let desk = Desk::new();
    let payment = desk.pay([1]);
    assert_eq!(desk.receive(&payment).credited, 1);
    desk.recipient.prune(desk.start, 108);
    let again = desk.receive(&payment); // at block 100 once more
    assert_eq!((again.credited, again.error), (0, Some(TicketError::ParamsExpired)));
}

#[test]
fn the_last_error_is_the_one_returned() {
    let desk = Desk::new();
    let mut payment = desk.pay([1, 2, 2]);
    payment.tickets[0].sig = Signature65::new([0; 65]);
    assert_eq!(desk.receive(&payment).error, Some(TicketError::NonceSeen { nonce: 2 }));
}

#[test]
fn work_is_debited_at_the_pinned_price_and_may_leave_a_debt() {
    let desk = Desk::new();
    let sender = key().address();
    assert_eq!(desk.recipient.debit(sender, SESSION, 0, 1, desk.start), None);
    desk.receive(&desk.pay([1]));
    desk.recipient.debit(sender, SESSION, 0, 3_333_330, desk.start).unwrap();
    assert_eq!(desk.held(), (Sign::Positive, wei(1)));
    assert!(!desk.recipient.hold(sender, SESSION, 0, desk.start));
    desk.recipient.debit(sender, SESSION, 0, 10, desk.start).unwrap();
    assert_eq!(desk.held(), (Sign::Negative, wei(2)));
    assert!(desk.recipient.end_session(sender, SESSION).is_some());
    assert_eq!(desk.recipient.balance(sender, SESSION), None);
}

#[test]
fn segments_under_way_cannot_share_the_credit_for_one() {
    let desk = Desk::new();
    let sender = key().address();
    let hold = |pixels| desk.recipient.hold(sender, SESSION, pixels, desk.start);
    assert!(!hold(0), "nothing was paid");
    // Three tickets of 1,000,000 wei; a pixel costs 0.3 wei.
    desk.receive(&desk.pay([1, 2, 3]));
    assert!(!hold(10_000_010), "more than was paid for");
    assert!(hold(6_666_660));
    assert!(!hold(3_333_350), "the rest is worth a ticket, and no more");
    assert!(hold(3_333_330));
    assert!(!hold(0), "all is held");
    // The first failed, the second made fewer pixels than were held.
    desk.recipient.debit(sender, SESSION, 6_666_660, 0, desk.start).unwrap();
    desk.recipient.debit(sender, SESSION, 3_333_330, 1_000_000, desk.start).unwrap();
    assert_eq!(desk.held(), (Sign::Positive, wei(2_700_000)));
    assert!(hold(9_000_000));
}

#[test]
fn tickets_on_quotes_of_an_earlier_run_win_but_earn_no_credit_again() {
    let desk = Desk::new();
    let all = desk.pay(1..=40);
    let first = desk.receive(&all);
    assert_eq!(first.credited, 40);
    let restarted = Recipient::new(config(), QuoteSecret::new([7; 32]));
    for run in 0..2 {
        let again = restarted.receive(&all, SESSION, &funds(), &chain(), desk.start);
        assert_eq!((again.credited, again.error), (0, Some(TicketError::ParamsExpired)), "{run}");
        assert_eq!(again.winners, first.winners);
        // From now on there is an epoch to compare with.
        quote(&restarted, 2, price());
    }
    assert_eq!(restarted.sizes(), (0, 0));
}

#[test]
fn another_secret_knows_no_quote_of_ours() {
    let desk = Desk::new();
    let stranger = Recipient::new(config(), QuoteSecret::new([8; 32]));
    let receipt = stranger.receive(&desk.pay([1]), SESSION, &funds(), &chain(), desk.start);
    assert_eq!(receipt.error, Some(TicketError::NotQuoted));
}

#[test]
fn idle_sessions_are_dropped_and_a_full_book_refuses() {
    let accounts = AccountLimits { max_sessions: 1, idle: Duration::from_secs(600) };
    let desk = Desk::with(RecipientConfig { accounts, ..config() });
    desk.receive(&desk.pay([1]));
    let open = |nonce, after| {
        let now = desk.start + Duration::from_secs(after);
        desk.recipient.receive(&desk.pay([nonce]), "00000001", &funds(), &chain(), now)
    };
    let refused = open(2, 600);
    assert_eq!((refused.credited, refused.error), (0, Some(TicketError::TooManySessions)));
    assert_eq!(open(3, 601).error, None);
    desk.recipient.prune(desk.start + Duration::from_secs(1202), 108);
    assert_eq!(desk.recipient.sizes(), (0, 0));
}

#[test]
fn a_quote_is_worth_the_policy_and_lives_for_its_blocks() {
    let desk = Desk::new();
    let params = desk.params;
    let ev = TicketEv::new(params.face_value, params.win_prob);
    assert!(ev >= TicketEv::from_wei(wei(EV)));
    assert_eq!((params.recipient, params.expiration_block), (RECIPIENT, 108));
    assert_eq!(params.expiration.creation_round_block_hash, chain().round_block_hash);
    assert_ne!(quote(&desk.recipient, 2, price()).recipient_rand_hash, params.recipient_rand_hash);
}

#[test]
fn quotes_need_a_round_a_reserve_and_a_locked_sender() {
    let desk = Desk::new();
    let refused = |funds: SenderFunds, chain: ChainView, price| {
        let sender = key().address();
        let request = QuoteRequest { sender, price, funds: &funds, pending: U256::ZERO, gas_price: 0, chain: &chain };
        desk.recipient.quote(&request, None, &mut StdRng::seed_from_u64(3))
    };
    let no_hash = ChainView { round_block_hash: B256::ZERO, ..chain() };
    assert_eq!(refused(funds(), no_hash, price()), Err(QuoteError::NoRound));
    let low = refused(SenderFunds { pool_size: 2, ..SenderFunds::default() }, chain(), price()).unwrap_err();
    assert_eq!(
        low.to_string(),
        "LowPMBalance: insufficient sender reserve: a winning ticket of this sender is covered up to 0 wei, 1000000 wei are \
         needed, and 0 wei won from it are not redeemed yet: what would do is 2000000 wei more reserve, or 1000000 wei \
         committed to this recipient"
    );
    let unlocking = SenderFunds { withdraw_round: Round(8), ..funds() };
    let sender = key().address();
    assert_eq!(refused(unlocking, chain(), price()), Err(QuoteError::UnlockingSoon { sender }));
    let free = refused(SenderFunds::default(), chain(), Price::FREE).unwrap();
    assert_eq!((free.face_value, free.win_prob), (U256::ZERO, WinProb::ZERO));
}

#[test]
fn a_new_largest_face_value_holds_for_the_next_quote() {
    let desk = Desk::new();
    assert_eq!(desk.params.face_value, U256::from(2 * EV));
    let cap = U256::from(2 * EV - 1);
    desk.recipient.set_max_face_value(Some(cap));
    let (funds, chain) = (funds(), chain());
    let sender = key().address();
    let request =
        QuoteRequest { sender, price: price(), funds: &funds, pending: U256::ZERO, gas_price: 0, chain: &chain };
    let capped = desk.recipient.quote(&request, None, &mut StdRng::seed_from_u64(4)).unwrap();
    assert_eq!(capped.face_value, cap);
    desk.recipient.set_max_face_value(None);
    assert_eq!(quote(&desk.recipient, 5, price()).face_value, U256::from(2 * EV));
}
