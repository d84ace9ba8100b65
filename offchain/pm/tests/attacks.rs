//! The attacks of payments.md §6 that the two desks withstand by themselves, by their numbers (docs/designs/018-attacks.md).
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use proptest::{prelude::*, test_runner::TestCaseError};
use rand::{SeedableRng, rngs::StdRng};
use streamflow_pm::{
    Backing, DepositDivisor, KeySigner, ParamsError, Payment, PriceGuard, PriceGuardError, QuoteDomain, QuoteError,
    QuoteRequest, QuoteSecret, QuoteSecrets, Receipt, Recipient, RecipientConfig, RecoveryQuota, Remedy, Sender,
    SenderError, SenderLimits, TicketError, TicketEv, TicketPolicy, TicketSig, TicketSigner, commitment, sign_ticket,
    ticket_from_params, wins,
};
use streamflow_types::{ChainView, Expiration, Price, Round, SenderFunds, Signature65, TicketParams, WinProb};

const EV: u64 = 1_000_000;
/// Half of all tickets win.
const FACE: u64 = 2 * EV;
const SESSION: &str = "deadbeef";
const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };

fn wei(amount: u64) -> U256 {
    U256::from(amount)
}

fn key() -> KeySigner {
    KeySigner::from_bytes([0x11; 32]).unwrap()
}

fn price() -> Price {
    Price::new(3, 10).unwrap()
}

fn policy() -> TicketPolicy {
    TicketPolicy {
        ev: wei(EV),
        redeem_gas: 1,
        min_gas_price: 10_000,
        tx_cost_multiplier: 200,
        ..TicketPolicy::default()
    }
}

fn config(recipient: Address) -> RecipientConfig {
    RecipientConfig::new(recipient, DOMAIN, policy())
}

fn desk() -> Recipient {
    Recipient::new(config(Address::repeat_byte(0x0c)), QuoteSecret::new([7; 32]))
}

fn rich() -> SenderFunds {
    let wealth = wei(10_u64.pow(18));
    SenderFunds { deposit: wealth, reserve: wealth, pool_size: 2, ..SenderFunds::default() }
}

fn chain() -> ChainView {
    ChainView {
        block: 100,
        round: Round(7),
        round_block_hash: B256::repeat_byte(0x41),
        round_initialized: true,
        pool_size: 2,
        base_fee: 0,
    }
}

fn ask(desk: &Recipient, backing: &Backing, chain: &ChainView, price: Price) -> Result<TicketParams, QuoteError> {
    let request = QuoteRequest {
        sender: key().address(),
        price,
        funds: &backing.funds,
        pending: backing.pending,
        gas_price: 0,
        chain,
    };
    desk.quote(&request, None, &mut StdRng::seed_from_u64(1))
}

fn quote(desk: &Recipient) -> TicketParams {
    ask(desk, &Backing::from(&rich()), &chain(), price()).unwrap()
}

/// A desk and a quote of it.
fn quoted() -> (Recipient, TicketParams) {
    let desk = desk();
    let params = quote(&desk);
    (desk, params)
}

fn ticket(params: &TicketParams, sender_nonce: u32) -> TicketSig {
    let unsigned = ticket_from_params(params, key().address(), sender_nonce);
    TicketSig { sender_nonce, sig: sign_ticket(unsigned, &key()).unwrap().sig }
}

fn pay(params: &TicketParams, nonces: impl IntoIterator<Item = u32>) -> Payment {
    let tickets = nonces.into_iter().map(|nonce| ticket(params, nonce)).collect();
    Payment { sender: key().address(), expected_price: Some(price()), params: Some(*params), tickets }
}

fn receive(desk: &Recipient, payment: &Payment) -> Receipt {
    desk.receive(payment, SESSION, &rich(), &chain(), Instant::now())
}

fn refusal(desk: &Recipient, payment: &Payment) -> TicketError {
    let receipt = receive(desk, payment);
    assert_eq!((receipt.credited, receipt.winners.len()), (0, 0));
    receipt.error.unwrap()
}

/// Winners among the tickets that earned credit.
fn credited_winners(receipt: &Receipt, payment: &Payment) -> u64 {
    let credited: Vec<u32> = payment.tickets[..receipt.credited].iter().map(|own| own.sender_nonce).collect();
    let won = receipt.winners.iter().filter(|winner| credited.contains(&winner.signed.ticket.sender_nonce));
    won.count() as u64
}

/// What a sender does to five orchestrators, and what they do.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many tickets to one of them, on terms that are fetched now or on the first that were.
    Pay { to: usize, count: u32, fresh: bool },
    /// One of them redeems its oldest winner.
    Redeem { by: usize },
    /// The sender's own orchestrator, one more in the set, takes this part of the deposit, percent.
    Drain { percent: u64 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_usize, 1..12_u32, any::<bool>()).prop_map(|(to, count, fresh)| Step::Pay { to, count, fresh }),
        2 => (0..5_usize).prop_map(|by| Step::Redeem { by }),
        1 => (0..=100_u64).prop_map(|percent| Step::Drain { percent }),
    ]
}

/// The money of one sender by the rules of the contract, within one round: a winner is paid all or nothing, from the deposit
/// first, the rest from the recipient's share of the reserve.
struct Purse {
    deposit: u64,
    reserve: u64,
    claimed: [u64; 5],
}

/// Five victims and the sender's own.
const POOL: u64 = 6;

impl Purse {
    fn funds(&self, recipient: usize) -> SenderFunds {
        let claimed: u64 = self.claimed.iter().sum();
        SenderFunds {
            deposit: wei(self.deposit),
            reserve: wei(self.reserve - claimed),
            claimed_in_current_round: wei(claimed),
            claimed_by_recipient: wei(self.claimed[recipient]),
            pool_size: POOL,
            ..SenderFunds::default()
        }
    }

    fn pay(&mut self, recipient: usize, face: u64) -> bool {
        let rest = face.saturating_sub(self.deposit);
        if self.claimed[recipient] + rest > self.reserve / POOL {
            return false;
        }
        self.deposit -= face - rest;
        self.claimed[recipient] += rest;
        true
    }
}

/// One of the orchestrators.
struct Victim {
    desk: Recipient,
    first: Option<TicketParams>,
    nonce: u32,
    held: Vec<u64>,
    worked_for: u64,
    paid: u64,
}

impl Victim {
    fn take(&mut self, funds: SenderFunds, count: u32, fresh: bool) -> Result<(), TestCaseError> {
        let backing = Backing { funds, pending: wei(self.held.iter().sum()) };
        let quote = if fresh { ask(&self.desk, &backing, &chain(), price()).ok() } else { self.first };
        let Some(params) = quote else { return Ok(()) };
        let payment = pay(&params, self.nonce + 1..=self.nonce + count);
        self.nonce += count;
        let receipt = self.desk.receive(&payment, SESSION, backing, &chain(), Instant::now());
        let face = params.face_value.to::<u64>();
        self.worked_for += credited_winners(&receipt, &payment) * face;
        self.held.extend(receipt.winners.iter().map(|_| face));
        if receipt.credited < payment.tickets.len() {
            let told = receipt.error.unwrap().to_string();
            prop_assert!(told.starts_with("LowPMBalance: insufficient sender reserve: "), "{told}");
        }
        Ok(())
    }

    /// Redeems the first winner that is paid.
    fn redeem(&mut self, own: usize, purse: &mut Purse) -> bool {
        let Some(at) = self.held.iter().position(|face| purse.pay(own, *face)) else { return false };
        self.paid += self.held.remove(at);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One sender promises five orchestrators the same money, and drains its deposit whenever it likes. Whatever the order of
    /// payments and redemptions, none of them works for more than what it is paid, a part of the deposit, and what is left of
    /// its share because it is less than a face value.
    #[test]
    fn a01_a_sender_that_promises_everybody_the_same_money_is_stopped_by_each(
        deposit in 0..60_u64, reserve in 6..200_u64, steps in prop::collection::vec(steps(), 1..90), last: [u8; 5],
    ) {
        let mut purse = Purse { deposit: deposit * FACE, reserve: reserve * FACE, claimed: [0; 5] };
        let part = DepositDivisor::default().part(&purse.funds(0)).to::<u64>();
        prop_assert_eq!(part, deposit * FACE / POOL, "there are fewer than ten of them");
        let mut victims: Vec<Victim> = (0..5)
            .map(|own| {
                let tag = own as u8 + 1;
                let desk = Recipient::new(config(Address::repeat_byte(tag)), QuoteSecret::new([tag; 32]));
                let first = ask(&desk, &Backing::from(&purse.funds(own)), &chain(), price()).ok();
                Victim { desk, first, nonce: 0, held: Vec::new(), worked_for: 0, paid: 0 }
            })
            .collect();
        for step in steps {
            match step {
                Step::Pay { to, count, fresh } => victims[to].take(purse.funds(to), count, fresh)?,
                Step::Redeem { by } => drop(victims[by].redeem(by, &mut purse)),
                Step::Drain { percent } => purse.deposit -= purse.deposit * percent / 100,
            }
        }
        purse.deposit = 0;
        let mut order: Vec<usize> = (0..5).collect();
        order.sort_by_key(|own| last[*own]);
        for own in order {
            while victims[own].redeem(own, &mut purse) {}
            let Victim { worked_for, paid, .. } = victims[own];
            prop_assert!(worked_for < paid + part + FACE, "worked for {worked_for}, paid {paid}, part {part}");
        }
    }
}

#[test]
fn a02_a_sender_about_to_withdraw_gets_no_terms_and_no_credit() {
    let (desk, params) = quoted();
    let unlocking = SenderFunds { withdraw_round: Round(9), ..rich() };
    let at = |round| ChainView { round: Round(round), ..chain() };
    let asked = |round| ask(&desk, &Backing::from(&unlocking), &at(round), price()).map(drop);
    let paid = |round, nonce| {
        let params = ask(&desk, &Backing::from(&rich()), &at(round), price()).unwrap();
        desk.receive(&pay(&params, [nonce]), SESSION, &unlocking, &at(round), Instant::now()).error
    };
    let sender = key().address();
    // A ticket of round 7 is redeemed in 8 at the latest, and the money stays until 9.
    assert_eq!((asked(7), paid(7, 1)), (Ok(()), None));
    assert_eq!(asked(8), Err(QuoteError::UnlockingSoon { sender }));
    assert_eq!(paid(8, 2), Some(TicketError::UnlockingSoon { sender }));
    assert_eq!(params.expiration.creation_round, Round(7));
}

#[test]
fn a03_a_deposit_drained_by_the_senders_own_orchestrator_leaves_the_share_of_the_reserve() {
    let desk = desk();
    let funds =
        SenderFunds { deposit: wei(100 * FACE), reserve: wei(8 * FACE), pool_size: 2, ..SenderFunds::default() };
    let drained = SenderFunds { deposit: U256::ZERO, ..funds };
    let params = ask(&desk, &Backing::from(&funds), &chain(), price()).unwrap();
    // No face value counts on the deposit, whatever it is: half of a reserve of one ticket makes half a ticket.
    let little = SenderFunds { reserve: wei(FACE), ..funds };
    assert_eq!(ask(&desk, &Backing::from(&little), &chain(), price()).unwrap().face_value, wei(FACE / 2));
    let (mut pending, mut worked_for) = (0, 0);
    for payment in (0..20).map(|n| pay(&params, n * 10 + 1..=n * 10 + 10)) {
        let backing = Backing { funds: drained, pending: wei(pending) };
        let receipt = desk.receive(&payment, SESSION, backing, &chain(), Instant::now());
        worked_for += credited_winners(&receipt, &payment) * FACE;
        pending += receipt.winners.len() as u64 * FACE;
    }
    assert_eq!(worked_for, 4 * FACE, "what its share pays, and no more");
}

#[test]
fn a05_the_number_is_chosen_before_the_sender_signs() {
    let (desk, params) = quoted();
    let receipt = receive(&desk, &pay(&params, 1..=20));
    let rand = receipt.winners[0].recipient_rand;
    assert_eq!(commitment(rand), params.recipient_rand_hash);
    // An orchestrator that would rather draw with another number has another commitment, over which nobody signed.
    for other in 1..=64_u64 {
        let other = rand ^ wei(other);
        assert_ne!(commitment(other), params.recipient_rand_hash);
        let moved = TicketParams { recipient_rand_hash: commitment(other), ..params };
        let payment = Payment { tickets: vec![ticket(&params, 21)], ..pay(&moved, []) };
        assert_eq!(refusal(&desk, &payment), TicketError::NotQuoted);
    }
    // Nor does another seed lead to the commitment.
    let moved = TicketParams { seed: params.seed ^ U256::ONE, ..params };
    assert_eq!(refusal(&desk, &pay(&moved, [22])), TicketError::NotQuoted);
}

#[test]
fn a06_a_sender_signs_each_number_once_and_the_secret_stays_ours() {
    let (desk, params) = quoted();
    let first = receive(&desk, &pay(&params, 1..=600));
    assert_eq!(first.credited, 600);
    // A second signature over a number that has lost does not make it win, and one over a winner does not undo it.
    for nonce in [1, 300, 600] {
        let again = receive(&desk, &pay(&params, [nonce]));
        assert_eq!((again.credited, again.error), (0, Some(TicketError::NonceSeen { nonce })));
    }
    // More numbers than are remembered cannot be tried.
    assert_eq!(receive(&desk, &pay(&params, [601])).error, Some(TicketError::TooManyNonces { nonce: 601 }));
    // What the params tell does not draw a ticket: only the number behind the commitment does.
    let winner = first.winners[0];
    let public = [params.seed, params.recipient_rand_hash.into(), U256::ZERO];
    assert!(public.iter().all(|guess| *guess != winner.recipient_rand));
    assert!(wins(&winner.signed, winner.recipient_rand));
}

#[test]
fn a07_a_payment_sent_a_thousand_times_is_credited_once() {
    let (desk, params) = quoted();
    // Of a quote that is new, and of one that has been paid on.
    for payment in [pay(&params, 1..=3), pay(&params, 4..=6)] {
        let credited: usize = (0..1000).map(|_| receive(&desk, &payment).credited).sum();
        assert_eq!(credited, 3);
    }
    assert_eq!(desk.balance(key().address(), SESSION).unwrap().floor_wei().1, wei(6 * EV));
    // Nor is it in another session.
    let payment = pay(&params, 1..=3);
    let elsewhere = desk.receive(&payment, "00000001", &rich(), &chain(), Instant::now());
    assert_eq!((elsewhere.credited, elsewhere.winners.len()), (0, 0));
}

#[test]
fn a08_tickets_of_another_chain_contract_or_round_are_not_taken() {
    let (desk, params) = quoted();
    let payment = pay(&params, 1..=3);
    let elsewhere = |domain| {
        let config = RecipientConfig { domain, ..config(params.recipient) };
        Recipient::new(config, QuoteSecret::new([7; 32]))
    };
    for domain in
        [QuoteDomain { chain_id: 42161, ..DOMAIN }, QuoteDomain { broker: Address::repeat_byte(0xbc), ..DOMAIN }]
    {
        assert_eq!(refusal(&elsewhere(domain), &payment), TicketError::NotQuoted);
    }
    let fork = Expiration { creation_round_block_hash: B256::repeat_byte(0x42), ..params.expiration };
    assert_eq!(refusal(&desk, &pay(&TicketParams { expiration: fork, ..params }, [1])), TicketError::NotQuoted);
    let bound = TicketParams { deployment: Some(B256::repeat_byte(1)), ..params };
    assert_eq!(refusal(&desk, &pay(&bound, [1])), TicketError::Deployment);
}

#[test]
fn a09_no_ticket_says_another_round_than_its_quote() {
    let (desk, params) = quoted();
    for round in [0, 5, 6, 8, u64::MAX] {
        let expiration = Expiration { creation_round: Round(round), ..params.expiration };
        assert_eq!(refusal(&desk, &pay(&TicketParams { expiration, ..params }, [1])), TicketError::NotQuoted);
    }
    let unhashed = Expiration { creation_round_block_hash: B256::ZERO, ..params.expiration };
    assert_eq!(refusal(&desk, &pay(&TicketParams { expiration: unhashed, ..params }, [1])), TicketError::NotQuoted);
    // A round without a hash is not quoted either: the contract would refuse its tickets.
    let no_hash = ChainView { round_block_hash: B256::ZERO, ..chain() };
    assert_eq!(ask(&desk, &Backing::from(&rich()), &no_hash, price()), Err(QuoteError::NoRound));
}

#[test]
fn a10_a_smaller_share_is_counted_from_the_next_ticket_on() {
    let funds = SenderFunds { reserve: wei(8 * FACE), pool_size: 2, ..SenderFunds::default() };
    let claimed = SenderFunds {
        claimed_in_current_round: wei(4 * FACE),
        claimed_by_recipient: wei(4 * FACE),
        reserve: wei(4 * FACE),
        ..funds
    };
    let cases = [
        (funds, true),
        // The pool has grown.
        (SenderFunds { pool_size: 9, ..funds }, false),
        // Our share was claimed; and the pool has grown since, so that it was more than our share.
        (claimed, false),
        (SenderFunds { pool_size: 5, ..claimed }, false),
        // Nobody is in the set, and so nobody shares the reserve: only what is committed to us counts.
        (SenderFunds { pool_size: 0, ..funds }, false),
        (SenderFunds { pool_size: 0, committed: wei(FACE), ..funds }, true),
    ];
    for (now, covered) in cases {
        let desk = desk();
        let params = ask(&desk, &Backing::from(&funds), &chain(), price()).unwrap();
        let receipt = desk.receive(&pay(&params, [1]), SESSION, &now, &chain(), Instant::now());
        assert_eq!(receipt.error.is_none(), covered, "{now:?}");
        assert_eq!(matches!(receipt.error, Some(TicketError::LowPmBalance(_))), !covered, "{now:?}");
    }
}

proptest! {
    /// Whatever the funds are, a winner on the quote is paid from what is sure.
    #[test]
    fn a11_no_quote_is_above_what_is_covered_or_below_what_it_costs(
        deposit in 0..100_u64, reserve in 0..100_u64, claimed in 0..20_u64, pending in 0..100_u64, pool in 0..5_u64,
    ) {
        let funds = SenderFunds {
            deposit: wei(deposit * EV),
            reserve: wei(reserve * EV),
            claimed_by_recipient: wei(claimed * EV),
            pool_size: pool,
            ..SenderFunds::default()
        };
        let backing = Backing { funds, pending: wei(pending * EV) };
        match ask(&desk(), &backing, &chain(), price()) {
            Ok(params) => {
                prop_assert!(backing.shortfall(params.face_value, DepositDivisor::default()).is_none());
                prop_assert!(params.face_value >= policy().least_face_value(0));
            }
            Err(QuoteError::LowPmBalance(missing)) => {
                prop_assert!(missing.float < missing.needed);
                let committed = funds.committed + missing.more_committed;
                let helped = Backing { funds: SenderFunds { committed, ..funds }, ..backing };
                prop_assert!(ask(&desk(), &helped, &chain(), price()).is_ok(), "what is told would do, does");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn a12_terms_that_differ_from_the_quote_in_any_bit_are_refused() {
    let (desk, params) = quoted();
    for bit in 0..256 {
        let flip = U256::ONE << bit;
        let mut changed = vec![
            TicketParams { face_value: params.face_value ^ flip, ..params },
            TicketParams { win_prob: WinProb(params.win_prob.0 ^ flip), ..params },
            TicketParams { seed: params.seed ^ flip, ..params },
            TicketParams { recipient_rand_hash: params.recipient_rand_hash ^ B256::from(flip), ..params },
        ];
        if bit < 64 {
            changed.push(TicketParams { expiration_block: params.expiration_block ^ (1 << bit), ..params });
        }
        for changed in changed {
            assert_eq!(refusal(&desk, &pay(&changed, [1])), TicketError::NotQuoted, "bit {bit}");
        }
    }
}

#[test]
fn a13_work_is_debited_at_our_price_whatever_the_payment_says() {
    let (desk, params) = quoted();
    for other in [Price::FREE, Price::new(1, 10).unwrap(), Price::new(3, 11).unwrap(), Price::new(4, 10).unwrap()] {
        let payment = Payment { expected_price: Some(other), ..pay(&params, [1]) };
        assert_eq!(refusal(&desk, &payment), TicketError::NotQuoted);
    }
    assert_eq!(refusal(&desk, &Payment { expected_price: None, ..pay(&params, [1]) }), TicketError::NoPrice);
    // Without tickets no price is fixed, and no work begins.
    let (sender, now) = (key().address(), Instant::now());
    let ticketless = Payment::without_tickets(sender, Some(Price::FREE));
    assert_eq!(desk.receive(&ticketless, SESSION, &rich(), &chain(), now).error, None);
    assert_eq!(desk.pinned_price(sender, SESSION), None);
    assert!(!desk.hold(sender, SESSION, 0, now));
    // The first good ticket fixes ours.
    assert_eq!(receive(&desk, &pay(&params, [1])).credited, 1);
    assert_eq!(desk.pinned_price(sender, SESSION), Some(price()));
    let left = desk.debit(sender, SESSION, 0, 1_000_000, now).unwrap();
    assert_eq!(left.floor_wei().1, wei(EV - 300_000));
}

fn sender() -> Sender {
    Sender::new(
        Arc::new(key()),
        SenderLimits { max_total_ev: wei(10 * EV), max_ticket_ev: wei(2 * EV), ..SenderLimits::default() },
    )
}

proptest! {
    /// Whatever an orchestrator asks, a payment is signed only within all limits at once.
    #[test]
    fn a15_no_ticket_is_signed_beyond_a_limit(
        face in 0..100_u64, prob in prop_oneof![9 => any::<u64>(), 1 => Just(u64::MAX)], count in 1..20_usize, expiry in 90..160_u64, deposit in 0..100_u64,
    ) {
        let win_prob = if prob == u64::MAX { WinProb::MAX } else { WinProb(U256::from(prob) << 192) };
        let params = TicketParams {
            face_value: wei(face * EV / 4),
            win_prob,
            expiration_block: expiry,
            recipient_rand_hash: B256::repeat_byte(3),
            ..TicketParams::default()
        };
        let funds = SenderFunds { deposit: wei(deposit * EV / 4), reserve: wei(1), pool_size: 1, ..SenderFunds::default() };
        let (sender, now) = (sender(), Instant::now());
        let session = sender.start_session(params, now).unwrap();
        let ev = TicketEv::new(params.face_value, win_prob);
        match sender.pay(session, count, price(), &funds, &chain(), now) {
            Ok(payment) => {
                prop_assert_eq!(payment.tickets.len(), count);
                prop_assert!(expiry > chain().block + 1);
                prop_assert!(ev.times(count) <= TicketEv::from_wei(wei(10 * EV)) && ev <= TicketEv::from_wei(wei(2 * EV)));
                prop_assert!(ev.is_zero() || (params.face_value <= funds.deposit && ev < TicketEv::from_wei(params.face_value)));
            }
            Err(SenderError::Params(error)) => {
                let expected = match &error {
                    ParamsError::Expired => Remedy::Refresh,
                    ParamsError::Funds(_) | ParamsError::FaceValueTooHigh { .. } => Remedy::Fund,
                    _ => Remedy::Leave,
                };
                prop_assert_eq!(error.remedy(), expected);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn a16_a_price_that_rises_after_the_bait_is_not_paid() {
    let first = Price::new(100, 1).unwrap();
    let guard = PriceGuard::new(first, Price::new(300, 1).ok());
    assert_eq!(guard.check(Price::new(200, 1).unwrap()), Ok(()));
    let switched = Price::new(2001, 10).unwrap();
    assert_eq!(guard.check(switched), Err(PriceGuardError::MoreThanDoubled { current: switched, first }));
    let dear = Price::new(301, 1).unwrap();
    assert!(matches!(
        PriceGuard::new(dear, Price::new(300, 1).ok()).check(dear),
        Err(PriceGuardError::AboveMax { .. })
    ));
    // At the other end: what was quoted stays the price of the session.
    let (desk, params) = quoted();
    receive(&desk, &pay(&params, [1]));
    let cheaper = ask(&desk, &Backing::from(&rich()), &chain(), Price::new(1, 10).unwrap()).unwrap();
    let switched = Payment { expected_price: Price::new(1, 10).ok(), ..pay(&cheaper, [1]) };
    assert!(matches!(receive(&desk, &switched).error, Some(TicketError::PriceBelowPinned { .. })));
}

#[test]
fn a18_a_flood_of_bad_tickets_costs_next_to_nothing_and_good_ones_have_a_quota() {
    let recoveries = RecoveryQuota { per_second: 600, burst: 1200 };
    // With a secret of before, so that each bad payment is looked for under both.
    let secrets = QuoteSecrets { current: QuoteSecret::new([7; 32]), previous: Some(QuoteSecret::new([8; 32])) };
    let desk = Recipient::new(RecipientConfig { recoveries, ..config(Address::repeat_byte(0x0c)) }, secrets);
    let params = quote(&desk);
    let now = Instant::now();
    let good = pay(&params, 1..=600);
    let received = clocked(|| assert_eq!(receive(&desk, &good).credited, 600));
    // Terms that nobody quoted, and numbers that were seen: 600 tickets of each for much less than 30 signatures.
    let unquoted = Payment { params: Some(TicketParams { seed: params.seed ^ U256::ONE, ..params }), ..good.clone() };
    for (bad, why) in [(&unquoted, TicketError::NotQuoted), (&good, TicketError::NonceSeen { nonce: 600 })] {
        let refused = clocked(|| assert_eq!(receive(&desk, bad).error, Some(why.clone())));
        assert!(refused < received / 20, "{refused:?} of {received:?} for {why}");
    }
    // Made-up signatures on a good quote cost one each, and there are only so many.
    let other = ask(&desk, &Backing::from(&rich()), &ChainView { block: 101, ..chain() }, price()).unwrap();
    let forged = TicketSig { sig: Signature65::new([27; 65]), sender_nonce: 1 };
    let forged = Payment { tickets: vec![forged; 600], ..pay(&other, []) };
    let refused = |now| desk.receive(&forged, SESSION, &rich(), &chain(), now).error.unwrap();
    assert_eq!(refused(now), TicketError::Signature);
    let too_fast = refused(now);
    assert!(matches!(too_fast, TicketError::TooFast { got: 600, left } if left < 600), "{too_fast}");
    assert_eq!(
        refused(now + Duration::from_secs(2)),
        TicketError::Signature,
        "a second makes room for another payment"
    );
}

fn clocked(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// node.md §10 row 2: "ticket faceValue > max faceValue", a deposit that is never enough, and nobody says why.
#[test]
fn pain_02_who_gets_no_terms_is_told_what_would_do_and_it_does() {
    let desk = desk();
    let poor = SenderFunds { deposit: wei(10 * EV), reserve: wei(3 * EV), pool_size: 100, ..SenderFunds::default() };
    let Err(QuoteError::LowPmBalance(missing)) = ask(&desk, &Backing::from(&poor), &chain(), price()) else {
        panic!("a share of 30,000 wei covers no ticket")
    };
    let told = QuoteError::LowPmBalance(missing.clone()).to_string();
    assert_eq!(
        told,
        "LowPMBalance: insufficient sender reserve: a winning ticket of this sender is covered up to 30000 wei, 1000000 wei \
         are needed, and 0 wei won from it are not redeemed yet: what would do is 97000000 wei more reserve, or 970000 wei \
         committed to this recipient"
    );
    let funded = SenderFunds { reserve: poor.reserve + missing.more_reserve.unwrap(), ..poor };
    assert!(ask(&desk, &Backing::from(&funded), &chain(), price()).is_ok());
    // A quote follows the float: it is never more than what the sender has, however much the cost of gas would want.
    let some = SenderFunds { reserve: wei(150 * EV), ..poor };
    assert_eq!(ask(&desk, &Backing::from(&some), &chain(), price()).unwrap().face_value, wei(3 * EV / 2));
}

/// node.md §10 row 4: nonces drift when segments run side by side, after a restart, and at the cap of 600.
#[test]
fn pain_04_numbers_are_unique_side_by_side_and_after_a_restart_and_params_change_before_the_cap() {
    let desk = desk();
    let params = quote(&desk);
    let limits = SenderLimits { max_total_ev: U256::MAX, ..SenderLimits::default() };
    let now = Instant::now();
    let first = Sender::new(Arc::new(key()), limits.clone());
    let session = first.start_session(params, now).unwrap();
    let side_by_side: Vec<Payment> = std::thread::scope(|threads| {
        let pay = || first.pay(session, 50, price(), &rich(), &chain(), now).unwrap();
        let running: Vec<_> = (0..8).map(|_| threads.spawn(pay)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let last = side_by_side.iter().filter_map(Payment::last_nonce).max().unwrap();
    for payment in side_by_side {
        assert_eq!(receive(&desk, &payment).credited, 50);
    }
    let restarted = Sender::new(Arc::new(key()), limits);
    restarted.start_session_with_nonce(params, last, now).unwrap();
    let pay = |count| restarted.pay(session, count, price(), &rich(), &chain(), now);
    assert_eq!(receive(&desk, &pay(150).unwrap()).credited, 150);
    let used_up = pay(51).unwrap_err();
    assert!(matches!(used_up, SenderError::UsedUp { left: 50, wanted: 51, .. }));
    assert_eq!(used_up.remedy(), Some(Remedy::Refresh));
    assert_eq!(receive(&desk, &pay(50).unwrap()).credited, 50);
}

/// Quotes of the secret before are valid to their end, and no longer.
#[test]
fn a_quote_outlives_the_secret_that_made_it_by_one_generation() {
    let desk = desk();
    let params = quote(&desk);
    let secret = |byte| QuoteSecret::new([byte; 32]);
    desk.set_secrets(QuoteSecrets { current: secret(8), previous: Some(secret(7)) });
    assert_eq!(receive(&desk, &pay(&params, 1..=5)).credited, 5);
    assert_eq!(receive(&desk, &pay(&quote(&desk), 1..=5)).credited, 5);
    desk.set_secrets(QuoteSecrets { current: secret(9), previous: Some(secret(8)) });
    assert_eq!(receive(&desk, &pay(&params, [6])).error, Some(TicketError::NotQuoted));
}

/// The face value follows what redemption takes.
#[test]
fn a_cheaper_redemption_makes_a_smaller_face_value() {
    let desk = Recipient::new(
        RecipientConfig::new(Address::repeat_byte(0x0c), DOMAIN, TicketPolicy { redeem_gas: 350_000, ..policy() }),
        QuoteSecret::new([7; 32]),
    );
    let face = || quote(&desk).face_value;
    assert_eq!(face(), wei(350_000 * 10_000 * 200));
    desk.set_redeem_gas(84_000);
    assert_eq!(face(), wei(84_000 * 10_000 * 200));
}
