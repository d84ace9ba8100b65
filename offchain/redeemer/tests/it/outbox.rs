//! Winners on their way: none is lost, none holds up the others.
use alloy_primitives::U256;
use streamflow_pm::{commitment, ordered, sign_ticket};
use streamflow_redeemer::RedeemerConfig;
use streamflow_store::{Store, TicketState};
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::{Round, SenderFunds, WinningTicket};

use crate::fixture::{Desk, World, config, eventually, hash, link, sender, winner, winner_with};

async fn desk(database: &Database, winners: &[WinningTicket], address: std::net::SocketAddr) -> Desk {
    let store = Store::open_url(database.url()).await.unwrap();
    store.insert_winners(winners).await.unwrap();
    store.close().await;
    Desk::start(database.url(), link(address, None)).await
}

async fn winners_leave_once_the_redeemer_has_them(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    let winners: Vec<_> = (0..150).map(winner).collect();
    let desk = desk(&database, &winners, service.address).await;
    eventually("the outbox is empty", || async { desk.left().await == 0 }).await;
    assert_eq!(world.count().await, winners.len());
    desk.stopped().await;
}

async fn winners_of_an_outage_wait_for_the_redeemer(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    let address = service.address;
    service.stopped().await;
    let desk = desk(&database, &[winner(1), winner(2)], address).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(desk.left().await, 2);

    let service = world.start_with(RedeemerConfig { listen: Some(address), ..config() }).await;
    eventually("the outbox is empty", || async { desk.left().await == 0 }).await;
    assert_eq!(world.count().await, 2);
    desk.stopped().await;
    service.stopped().await;
}

/// The redeemer stored it, but the orchestrator died before it heard so.
async fn a_winner_that_was_handed_over_before_is_handed_over_again(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    service.queue(&winner(1)).await.unwrap();
    let desk = desk(&database, &[winner(1)], service.address).await;
    eventually("the outbox is empty", || async { desk.left().await == 0 }).await;
    assert_eq!(world.count().await, 1);
    desk.stopped().await;
}

async fn a_winner_that_is_refused_is_kept_and_holds_up_no_other(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    let early = winner_with(1, |ticket| ticket.creation_round = Round(12));
    let mut lowest = winner_with(2, |ticket| ticket.creation_round = Round(9));
    lowest.recipient_rand += U256::from(1);
    let desk = desk(&database, &[early, lowest, winner(3), winner(4)], service.address).await;
    eventually("the good ones left", || async { desk.left().await == 2 }).await;
    assert_eq!(world.count().await, 2);
    let kept = || async {
        let reason = |record: streamflow_store::TicketRecord| match record.state {
            TicketState::Pending { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        let mut reasons: Vec<_> = desk.store.tickets(None, 9).await.unwrap().into_iter().map(reason).collect();
        reasons.sort();
        reasons
    };
    eventually("both have a reason", || async { kept().await.iter().all(Option::is_some) }).await;
    let expected = [
        "the redeemer refuses it: invalid recipientRand for ticket recipientRandHash",
        "the redeemer refuses it: ticket is of round 12, which has not begun here",
    ];
    assert_eq!(kept().await.into_iter().flatten().collect::<Vec<_>>(), expected);

    // Round 12 comes for both, and with it the next try.
    for chain in [&world.chain, &desk.chain] {
        chain.send_modify(|view| {
            let view = view.as_mut().unwrap();
            (view.round, view.block) = (Round(11), view.block + 100);
        });
    }
    eventually("the early one left", || async { world.count().await == 3 }).await;
    desk.stopped().await;
}

async fn winners_stay_when_the_redeemer_works_for_somebody_else(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    let other = |n| winner_with(n, |ticket| ticket.recipient = alloy_primitives::Address::repeat_byte(1));
    let desk = desk(&database, &[other(1), other(2), winner(3)], service.address).await;
    // Taken first, then told to the desk, which only then lets it go.
    eventually("the third is taken", || async { world.count().await == 1 && desk.left().await < 3 }).await;
    assert_eq!(desk.left().await, 2);
    desk.stopped().await;
}

async fn winners_stay_when_another_certificate_is_shown(database: Database) {
    let (world, impostor) = (World::beside(&database).await, World::beside(&database).await);
    let (service, wrong) = (world.start().await, impostor.start().await);
    let store = Store::open_url(database.url()).await.unwrap();
    store.insert_winners(&[winner(1)]).await.unwrap();
    let desk = Desk::start(database.url(), link(wrong.address, Some(world.certificate()))).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!((desk.left().await, impostor.count().await), (1, 0));
    desk.stopped().await;

    let desk = Desk::start(database.url(), link(service.address, Some(world.certificate()))).await;
    eventually("the outbox is empty", || async { desk.left().await == 0 }).await;
    assert_eq!(world.count().await, 1);
    desk.stopped().await;
}

/// A keeper may pass what lies below a key that it has seen.
async fn the_lowest_key_goes_first(database: Database) {
    let world = World::on(database).await;
    let numbered = |serial: u64, n: u32| {
        let plain = winner(n);
        let recipient_rand = ordered::numbered(serial, plain.recipient_rand);
        let mut ticket = plain.signed.ticket;
        ticket.recipient_rand_hash = commitment(recipient_rand);
        WinningTicket { signed: sign_ticket(ticket, &sender()).unwrap(), recipient_rand, ..plain }
    };
    let winners = [numbered(3, 1), numbered(1, 7), numbered(2, 5), numbered(1, 4)];
    world.store.insert_winners(&winners).await.unwrap();
    let order: Vec<_> = world.store.undelivered(0, 9).await.unwrap().into_iter().map(|record| record.hash).collect();
    let by_serial = order.iter().map(|hash| winners.iter().position(|w| crate::fixture::hash(w) == *hash).unwrap());
    let by_serial: Vec<_> = by_serial.collect();
    assert_eq!((by_serial[2], by_serial[3]), (2, 0), "{by_serial:?}");
}

async fn winners_are_given_up_only_when_their_round_is_past_for_good(database: Database) {
    let world = World::beside(&database).await;
    let service = world.start().await;
    world.funds.set(|funds| *funds = SenderFunds::default());
    let desk = desk(&database, &[winner(1)], service.address).await;
    let state = || async { desk.store.ticket(hash(&winner(1))).await.unwrap().unwrap().state };
    let created = winner(1).signed.ticket.creation_round;
    desk.chain.send_modify(|view| view.as_mut().unwrap().round = Round(created.0 + 1_000));
    desk.oldest.send_replace(Some(created));
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(matches!(state().await, TicketState::Pending { .. }));
    desk.oldest.send_replace(Some(created.next()));
    eventually("it is given up", || async { matches!(state().await, TicketState::Dead { .. }) }).await;
    desk.stopped().await;
}

on_both_engines! {
    winners_leave_once_the_redeemer_has_them,
    winners_of_an_outage_wait_for_the_redeemer,
    a_winner_that_was_handed_over_before_is_handed_over_again,
    a_winner_that_is_refused_is_kept_and_holds_up_no_other,
    winners_stay_when_the_redeemer_works_for_somebody_else,
    winners_stay_when_another_certificate_is_shown,
    the_lowest_key_goes_first,
    winners_are_given_up_only_when_their_round_is_past_for_good,
}
