//! What is wrong with tickets, prices and funds.
use alloy_primitives::{B256, U256};
use streamflow_orchestrator::OrchestratorConfig;
use streamflow_pm::{Payment, TicketError, TicketSigner};
use streamflow_types::{Price, Round, Signature65};
use streamflow_wire::{Code, Refusal, header, payment_to_proto, proto, refusal::of_ticket};

use super::expect;
use crate::{
    checks::{BODY, Case},
    fixture::{Draft, config, orchestrator_key, view},
};

pub(super) async fn provoke() -> Vec<Code> {
    let case = Case::new().await;
    let mut met = malformed(&case).await;
    met.extend(wrong(&case).await);
    met.extend(funds().await);
    met.extend(seen(&case).await);
    met.extend(of_the_rules());
    met
}

async fn with_proto(case: &Case, change: impl FnOnce(&mut proto::Payment)) -> Option<Refusal> {
    let mut payment = payment_to_proto(&case.broadcaster.pay(&case.offer, 1));
    change(&mut payment);
    case.refusal(&Draft { payment: header::encode_payment(&payment), ..case.good() }, BODY).await
}

async fn with_payment(case: &Case, change: impl FnOnce(&mut Payment)) -> Option<Refusal> {
    let mut payment = case.broadcaster.pay(&case.offer, 1);
    change(&mut payment);
    case.refusal(&case.draft(&payment, &case.request()), BODY).await
}

async fn malformed(case: &Case) -> Vec<Code> {
    let price = "0 wei or more for 1 pixel or more";
    let incomplete = Code::PaymentIncomplete;
    vec![
        expect(
            with_proto(case, |p| p.expiration_params = None).await,
            incomplete,
            "no expiration_params",
            "expiration_params",
        ),
        expect(with_proto(case, |p| p.ticket_params = None).await, incomplete, "no ticket_params", "ticket_params"),
        expect(
            with_proto(case, |p| p.ticket_params.as_mut().unwrap().recipient_rand_hash.truncate(31)).await,
            Code::PaymentFieldInvalid,
            "recipient_rand_hash of 31 bytes",
            "recipient_rand_hash of 32 bytes",
        ),
        expect(
            with_proto(case, |p| p.ticket_params.as_mut().unwrap().face_value = vec![1; 33]).await,
            Code::PaymentFieldInvalid,
            "face_value out of range",
            "face_value within its type",
        ),
        expect(
            with_proto(case, |p| p.expected_price.as_mut().unwrap().pixels_per_unit = 0).await,
            Code::PriceInvalid,
            "pixels per unit is 0",
            price,
        ),
        expect(with_proto(case, |p| p.expected_price = None).await, Code::PriceInvalid, "no price", price),
        expect(
            with_proto(case, |p| p.ticket_sender_params = vec![p.ticket_sender_params[0].clone(); 601]).await,
            Code::TooManyTickets,
            "601 tickets",
            "600 tickets",
        ),
    ]
}

async fn wrong(case: &Case) -> Vec<Code> {
    let forge = |p: &mut Payment| {
        let mut sig = *p.tickets[0].sig.as_bytes();
        sig[40] ^= 1;
        p.tickets[0].sig = Signature65::new(sig);
    };
    let unpaid = Payment::without_tickets(case.broadcaster.address(), case.offer.price);
    let unpaid = case.refusal(&case.draft(&unpaid, &case.request()), BODY).await;
    vec![
        expect(
            with_payment(case, |p| p.params.as_mut().unwrap().recipient.0[0] ^= 1).await,
            Code::TicketRecipientWrong,
            "another recipient",
            "the recipient of the quote",
        ),
        expect(
            with_payment(case, |p| p.params.as_mut().unwrap().deployment = Some(B256::repeat_byte(1))).await,
            Code::TicketDeploymentWrong,
            "another deployment",
            "the deployment of the quote",
        ),
        expect(
            with_payment(case, |p| p.params.as_mut().unwrap().expiration_block += 1).await,
            Code::TicketNotQuoted,
            "other terms than were quoted",
            "terms of a quote of this node to this sender",
        ),
        expect(
            with_payment(case, forge).await,
            Code::TicketSignatureInvalid,
            "a signature of somebody else, or none",
            "a signature of the sender",
        ),
        expect(unpaid, Code::InsufficientBalance, "0 wei", "315000000000000 wei"),
    ]
}

/// What a session has done counts against it.
async fn seen(case: &Case) -> Vec<Code> {
    let draft = case.good();
    assert_eq!(case.broadcaster.send(&draft, BODY).await.status, 200);
    let again = case.refusal(&draft, BODY).await;
    let number = again.as_ref().unwrap().got.clone();
    assert!(number.starts_with("number ") && number.ends_with(" again"), "{number}");
    let cheap = with_payment(case, |p| p.expected_price = Price::new(9_999_999, 1).ok()).await;
    let inactive = case.draft(&case.broadcaster.pay(&case.offer, 1), &case.request());
    case.world.active.send_replace(false);
    let inactive = case.refusal(&inactive, BODY).await;
    case.world.active.send_replace(true);
    let late = case.good();
    case.world.chain.send_modify(|chain| chain.as_mut().unwrap().block = view().block + 40);
    let late = case.refusal(&late, BODY).await;
    let quick = Case::with(quick()).await;
    let first = quick.draft(&quick.broadcaster.pay(&quick.offer, 400), &quick.request());
    assert_eq!(quick.broadcaster.send(&first, BODY).await.status, 200);
    let next = quick.broadcaster.offer(&quick.orchestrator).await;
    let second = quick.draft(&quick.broadcaster.pay(&next, 300), &quick.request());
    let fast = quick
        .refusal(&second, BODY)
        .await
        .map(|refusal| Refusal { limit: refusal.limit.replace(char::is_numeric, ""), ..refusal });
    vec![
        expect(again, Code::TicketNonceSeen, &number, "each number once"),
        expect(cheap, Code::PriceBelowPinned, "9999999/1 wei per pixel", "10000000/1 wei per pixel"),
        expect(
            inactive,
            Code::OrchestratorInactive,
            &format!("{} is not in the active set of round 10", orchestrator_key().address()),
            "a place in the active set",
        ),
        expect(late, Code::ParamsExpired, "params that are over", "params of a later block, made by this run"),
        // How many are left depends on the time between the two payments.
        expect(fast, Code::TicketsTooFast, "300 signatures", " signatures"),
    ]
}

fn quick() -> OrchestratorConfig {
    let mut config = config();
    (config.tickets.max_per_second, config.tickets.max_burst) = (1, 600);
    config
}

async fn funds() -> Vec<Code> {
    let case = Case::new().await;
    let draft = case.good();
    case.world.funds.set(|funds| funds.reserve = U256::ZERO);
    let low = case.refusal(&draft, BODY).await.unwrap();
    assert_eq!(
        low.advice,
        "`streamflow fund` adds to deposit and reserve; what would do is 350000000000000 wei more reserve, or \
         350000000000000 wei committed to this recipient"
    );
    let low = Some(Refusal { advice: Code::LowPMBalance.advice().into(), ..low });
    let case = Case::new().await;
    let draft = case.good();
    case.world.funds.set(|funds| funds.withdraw_round = Round(11));
    let unlocking = case.refusal(&draft, BODY).await;
    let who = format!("{} withdraws in the next round or sooner", case.broadcaster.address());
    let case = Case::new().await;
    // Only winners are stored, and one ticket of ten does not win.
    let draft = case.draft(&case.broadcaster.pay(&case.offer, 32), &case.request());
    case.world.store.close().await;
    let store = case.refusal(&draft, BODY).await;
    vec![
        expect(low, Code::LowPMBalance, "0 wei", "350000000000000 wei"),
        expect(unlocking, Code::SenderUnlocking, &who, "2 rounds or more"),
        expect(store, Code::StoreFailed, "tickets that cannot be stored", "a store that takes them"),
    ]
}

/// Two that take tens of thousands of tickets to meet: as the rules tell them.
fn of_the_rules() -> Vec<Code> {
    vec![
        expect(
            Some(of_ticket(&TicketError::TooManyNonces { nonce: 601 })),
            Code::TooManyNonces,
            "number 601",
            "600 numbers for one quote",
        ),
        expect(
            Some(of_ticket(&TicketError::TooManySessions)),
            Code::TooManyPaymentSessions,
            "one session more",
            "the sessions that can be remembered",
        ),
    ]
}
