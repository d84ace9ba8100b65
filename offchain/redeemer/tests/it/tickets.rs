//! Handing over tickets: what is taken, what is not, and who may ask.
use alloy_primitives::{Address, U256};
use futures::future::join_all;
use streamflow_redeemer::RedeemerConfig;
use streamflow_store::Store;
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::{Round, SenderFunds};
use streamflow_wire::{proto, winner_to_proto};
use tonic::{Code, Request};

use crate::fixture::{World, config, hash, request, winner, winner_with, with_token};

async fn a_ticket_is_on_the_disk_when_the_answer_arrives(database: Database) {
    let world = World::on(database).await;
    let service = world.start().await;
    service.queue(&winner(1)).await.unwrap();
    let another_process = Store::open_url(world.database.url()).await.unwrap();
    let stored = another_process.ticket(hash(&winner(1))).await.unwrap().unwrap();
    assert_eq!(stored.ticket, winner(1));
}

async fn a_replay_is_acknowledged_and_stored_once(database: Database) {
    let world = World::on(database).await;
    let service = world.start().await;
    let replays = join_all((0..20).map(|_| async { service.queue(&winner(1)).await })).await;
    assert!(replays.iter().all(Result::is_ok), "{replays:?}");
    assert_eq!(world.count().await, 1);
    assert_eq!(service.max_float().await, U256::from(2_000), "counted once");
}

#[tokio::test]
async fn a_ticket_for_somebody_else_is_refused_in_the_words_of_peers() {
    let world = World::new().await;
    let service = world.start().await;
    let other = winner_with(1, |ticket| ticket.recipient = Address::repeat_byte(1));
    let refusal = service.queue(&other).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    let text = "invalid ticket recipient 0x0101010101010101010101010101010101010101, expected \
                0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa";
    assert_eq!(refusal.message(), text);
    assert_eq!(world.count().await, 0);
}

#[tokio::test]
async fn what_can_never_be_paid_is_not_stored() {
    let world = World::new().await;
    let service = world.start().await;
    let forged = winner_with(1, |ticket| ticket.sender = Address::repeat_byte(2));
    let expired = winner_with(2, |ticket| ticket.creation_round = Round(8));
    let mut shown = winner(3);
    shown.recipient_rand += U256::from(1);
    for bad in [forged, expired, shown] {
        assert_eq!(service.queue(&bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let empty = service.caller().await.unwrap().queue_ticket(with_token(proto::Ticket::default())).await;
    assert_eq!(empty.unwrap_err().code(), Code::InvalidArgument);
    let long = proto::Ticket { recipient_rand: vec![1; 8 * 1024], ..winner_to_proto(&winner(4)) };
    assert_eq!(
        service.caller().await.unwrap().queue_ticket(with_token(long)).await.unwrap_err().code(),
        Code::OutOfRange
    );
    assert_eq!(world.count().await, 0);
}

#[tokio::test]
async fn a_sender_without_funds_is_refused_until_it_has_some() {
    let world = World::new().await;
    let service = world.start().await;
    world.funds.set(|funds| *funds = SenderFunds::default());
    assert_eq!(service.queue(&winner(1)).await.unwrap_err().code(), Code::FailedPrecondition);
    world.funds.set(|funds| funds.deposit = U256::from(1));
    service.queue(&winner(1)).await.unwrap();
}

/// What cannot be told without the chain is left to the keeper.
#[tokio::test]
async fn a_winner_is_kept_before_the_chain_is_in_sight() {
    let world = World::new().await;
    world.chain.send_replace(None);
    let service = world.start().await;
    service.queue(&winner(1)).await.unwrap();
    assert_eq!(world.count().await, 1);
}

#[tokio::test]
async fn a_caller_without_the_token_gets_nothing() {
    let world = World::new().await;
    let service = world.start().await;
    let mut caller = service.caller().await.unwrap();
    let mut wrong = Request::new(request());
    wrong.metadata_mut().insert("authorization", "Bearer swordfis".parse().unwrap());
    let refusals = [
        caller.queue_ticket(winner_to_proto(&winner(1))).await.unwrap_err(),
        caller.max_float(request()).await.unwrap_err(),
        caller.max_float(wrong).await.unwrap_err(),
        caller.monitor_max_float(request()).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::Unauthenticated);
    }
    assert_eq!(world.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_keep_out_a_winner() {
    let world = World::new().await;
    let service = world.start_with(RedeemerConfig { max_tickets: 2, ..config() }).await;
    let flood = (0..4).map(|_| async {
        let caller = service.caller().await.unwrap();
        let tickets = (0..200).map(|n| {
            let forged = winner_with(n, |ticket| ticket.sender = Address::repeat_byte(2));
            let mut caller = caller.clone();
            async move { caller.queue_ticket(with_token(winner_to_proto(&forged))).await.unwrap_err().code() }
        });
        join_all(tickets).await
    });
    let good = winner(1);
    let (refused, taken) = tokio::join!(join_all(flood), service.queue(&good));
    taken.unwrap();
    let told = |code: &Code| matches!(code, Code::InvalidArgument | Code::ResourceExhausted | Code::DeadlineExceeded);
    assert!(refused.iter().flatten().all(told), "{refused:?}");
    assert_eq!(world.count().await, 1);
}

#[tokio::test]
async fn connections_are_bounded_and_their_places_are_used_again() {
    let world = World::new().await;
    let service = world.start_with(RedeemerConfig { max_connections: 1, ..config() }).await;
    let mut first = service.caller().await.unwrap();
    first.max_float(with_token(request())).await.unwrap();
    assert!(service.caller().await.is_err());
    drop(first);
    crate::fixture::eventually("the place is free", || async { service.caller().await.is_ok() }).await;
}

on_both_engines! { a_ticket_is_on_the_disk_when_the_answer_arrives, a_replay_is_acknowledged_and_stored_once }
