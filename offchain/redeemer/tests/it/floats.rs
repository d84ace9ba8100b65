//! What senders are good for, told once and told on every change.
use std::time::Duration;

use alloy_primitives::{Address, U256};
use streamflow_pm::TicketSigner as _;
use streamflow_redeemer::RedeemerConfig;
use streamflow_store::TicketOutcome;
use streamflow_testkit::Database;
use streamflow_wire::{max_float_from_proto, proto};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::fixture::{Desk, PATIENCE, World, config, eventually, hash, link, request, sender, winner, with_token};

async fn next(updates: &mut Streaming<proto::MaxFloatUpdate>) -> u64 {
    let update = timeout(PATIENCE, updates.message()).await.unwrap().unwrap().unwrap();
    max_float_from_proto(&update).unwrap().to()
}

/// Share of the reserve: 3,000. The deposit of 1 wei covers nothing.
#[tokio::test]
async fn every_change_is_told_and_nothing_below_zero() {
    let world = World::new().await;
    let service = world.start().await;
    let mut caller = service.caller().await.unwrap();
    let mut updates = caller.monitor_max_float(with_token(request())).await.unwrap().into_inner();
    assert_eq!(next(&mut updates).await, 3_000);

    service.queue(&winner(1)).await.unwrap();
    assert_eq!(next(&mut updates).await, 2_000, "a ticket is pending");

    world.funds.set(|funds| funds.reserve = U256::from(8_000));
    world.chain.send_modify(|view| view.as_mut().unwrap().block += 1);
    assert_eq!(next(&mut updates).await, 3_000, "more reserve");

    world.funds.set(|funds| funds.pool_size = 4);
    world.chain.send_modify(|view| view.as_mut().unwrap().pool_size = 4);
    assert_eq!(next(&mut updates).await, 1_000, "a larger pool");

    service.queue(&winner(2)).await.unwrap();
    assert_eq!(next(&mut updates).await, 0);
    service.queue(&winner(3)).await.unwrap();
    assert_eq!(service.max_float().await, U256::ZERO, "minus 1,000 has no sign to travel with");

    world.funds.set(|funds| funds.deposit = U256::from(9_000));
    assert_eq!(next(&mut updates).await, 2_000, "a deposit that covers what is pending, though no block came");
    world.funds.set(|funds| funds.deposit = U256::from(1));
    assert_eq!(next(&mut updates).await, 0);
    for n in 1..=3 {
        let dead = TicketOutcome::Dead { reason: "given up".to_owned() };
        world.store.settle(&[(hash(&winner(n)), dead)], None, 1).await.unwrap();
    }
    let mut last = next(&mut updates).await;
    while last != 2_000 {
        last = next(&mut updates).await;
    }
}

#[tokio::test]
async fn a_silent_stream_repeats_itself() {
    let world = World::new().await;
    let service = world.start_with(RedeemerConfig { heartbeat: Duration::from_millis(100), ..config() }).await;
    let mut caller = service.caller().await.unwrap();
    let mut updates = caller.monitor_max_float(with_token(request())).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(next(&mut updates).await, 3_000);
    }
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_are_used_again() {
    let world = World::new().await;
    let service = world.start_with(RedeemerConfig { max_subscribers: 2, ..config() }).await;
    let mut caller = service.caller().await.unwrap();
    let first = caller.monitor_max_float(with_token(request())).await.unwrap();
    let _second = caller.monitor_max_float(with_token(request())).await.unwrap();
    let third = caller.monitor_max_float(with_token(request())).await;
    assert_eq!(third.unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    eventually("the place is free", || async {
        service.caller().await.unwrap().monitor_max_float(with_token(request())).await.is_ok()
    })
    .await;
}

/// More than a connection usually takes.
#[tokio::test]
async fn streams_keep_no_ticket_waiting() {
    const STREAMS: usize = 300;
    let world = World::new().await;
    let slow = Duration::from_secs(3_600);
    let service = world.start_with(RedeemerConfig { max_subscribers: STREAMS, refresh: slow, ..config() }).await;
    let mut caller = service.caller().await.unwrap();
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(caller.monitor_max_float(with_token(request())).await.unwrap());
    }
    let more = caller.monitor_max_float(with_token(request())).await;
    assert_eq!(more.unwrap_err().code(), Code::ResourceExhausted);
    let ticket = with_token(streamflow_wire::winner_to_proto(&winner(1)));
    timeout(PATIENCE, caller.queue_ticket(ticket)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_ends_streams_in_the_words_of_peers() {
    let world = World::new().await;
    let service = world.start().await;
    let mut caller = service.caller().await.unwrap();
    let mut updates = caller.monitor_max_float(with_token(request())).await.unwrap().into_inner();
    assert_eq!(next(&mut updates).await, 3_000);
    service.stop.cancel();
    let last = timeout(PATIENCE, updates.message()).await.unwrap().unwrap_err();
    assert_eq!((last.code(), last.message()), (Code::Cancelled, "subscription closed"));
    service.stopped().await;
}

#[tokio::test]
async fn a_sender_that_is_no_address_is_refused() {
    let world = World::new().await;
    let service = world.start().await;
    let mut caller = service.caller().await.unwrap();
    for sender in [vec![], vec![1; 19], vec![1; 21]] {
        let answer = caller.max_float(with_token(proto::MaxFloatReq { sender: sender.clone() })).await;
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
        let answer = caller.monitor_max_float(with_token(proto::MaxFloatReq { sender })).await;
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn an_orchestrator_follows_the_float_and_outlives_an_outage() {
    let world = World::new().await;
    let service = world.start().await;
    let database = Database::sqlite().unwrap();
    let desk = Desk::start(database.url(), link(service.address, None)).await;
    let floats = desk.floats.clone();
    let of_sender = || async { floats.of(sender().address()).await.unwrap() };
    assert_eq!(of_sender().await, U256::from(3_000));
    world.funds.set(|funds| funds.reserve = U256::from(8_000));
    eventually("the stream tells", || async { of_sender().await == U256::from(4_000) }).await;

    service.stopped().await;
    assert_eq!(of_sender().await, U256::from(4_000), "what was told last");
    let stranger = Address::repeat_byte(3);
    assert!(desk.floats.of(stranger).await.is_err(), "nothing was ever told");
    desk.stopped().await;
}
