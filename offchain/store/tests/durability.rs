//! What survives a crash, and what several processes may do to one database.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    str::FromStr,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use streamflow_pm::{LeaseTerms, QuoteDomain};
use streamflow_store::{Leased, Store, TicketState, TicketStatus};
use streamflow_testkit::{Database, on_both_engines};
use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

/// URL of the database for a test that runs as another process.
const CHILD_DATABASE: &str = "STREAMFLOW_STORE_TEST_DATABASE";
/// First nonce such a process uses.
const CHILD_START: &str = "STREAMFLOW_STORE_TEST_START";

fn winner(n: u32) -> WinningTicket {
    let rand = U256::from(n);
    let ticket = Ticket {
        recipient: Address::repeat_byte(0xaa),
        sender: Address::repeat_byte(0xbb),
        face_value: U256::from(1_000_u64),
        win_prob: WinProb(U256::MAX >> 2),
        sender_nonce: n,
        recipient_rand_hash: keccak256(rand.to_be_bytes::<32>()),
        creation_round: Round(7),
        creation_round_block_hash: B256::repeat_byte(0xcc),
        deployment: None,
    };
    WinningTicket {
        signed: SignedTicket { ticket, sig: Signature65::new([9; 65]) },
        recipient_rand: rand,
        params_expiration_block: 100,
    }
}

async fn open(database: &Database) -> Store {
    Store::open_url(database.url()).await.unwrap()
}

fn hash(n: u32) -> B256 {
    streamflow_pm::ticket_hash(&winner(n).signed.ticket)
}

/// Not a test by itself: the body of the process that others start, kill or race with.
#[tokio::test]
async fn child_inserts_winners_and_says_so() {
    let Ok(url) = std::env::var(CHILD_DATABASE) else { return };
    let start: u32 = std::env::var(CHILD_START).unwrap().parse().unwrap();
    let store = Store::open_url(&url).await.unwrap();
    for n in start.. {
        store.insert_winners(&[winner(n)]).await.unwrap();
        let mut out = std::io::stdout().lock();
        if writeln!(out, "stored {n}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// As above.
#[tokio::test]
async fn child_leases_serials_and_says_so() {
    let Ok(url) = std::env::var(CHILD_DATABASE) else { return };
    let store = Store::open_url(&url).await.unwrap();
    loop {
        let first = lease(&store).await;
        let mut out = std::io::stdout().lock();
        if writeln!(out, "stored {first}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// First of the ten serials of a lease.
async fn lease(store: &Store) -> u64 {
    let domain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
    let terms = LeaseTerms { round: Round(7), expiration_block: 140..=180 };
    match store.lease_serials(&domain, Address::repeat_byte(0xaa), &terms, 10).await.unwrap() {
        Leased::Lease(lease) => lease.first(),
        Leased::Behind { .. } => panic!("somebody is ahead"),
    }
}

fn spawn_child(database: &Database, start: u32) -> Child {
    spawn("child_inserts_winners_and_says_so", database, start)
}

fn spawn(test: &str, database: &Database, start: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD_DATABASE, database.url())
        .env(CHILD_START, start.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the child work until it reports `count` numbers, kills it with SIGKILL, and returns all it reported.
fn kill_after<N: FromStr>(mut child: Child, count: usize) -> Vec<N> {
    let number = |line: String| line.rsplit_once("stored ").and_then(|(_, n)| n.parse().ok());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter_map(number);
    let mut reported: Vec<N> = lines.by_ref().take(count).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    reported.extend(lines); // what it still said before it died
    reported
}

async fn what_was_stored_before_sigkill_is_there_afterwards(database: Database) {
    let mut reported = Vec::new();
    for run in 0..3 {
        let child = spawn_child(&database, run * 100_000);
        reported.extend(tokio::task::spawn_blocking(move || kill_after::<u32>(child, 20)).await.unwrap());
    }
    assert!(reported.len() >= 60);
    let store = open(&database).await;
    for n in &reported {
        let record = store.ticket(hash(*n)).await.unwrap().unwrap_or_else(|| panic!("ticket {n} was lost"));
        assert_eq!(record.ticket, winner(*n));
    }
    // at most the one that was being stored at each kill is there beyond those reported
    let stored = store.tickets(None, 1_000_000).await.unwrap().len();
    assert!((reported.len()..=reported.len() + 3).contains(&stored), "{stored} stored, {} reported", reported.len());
}

async fn several_processes_write_to_one_database(database: Database) {
    let children: Vec<_> = (0..3).map(|n| spawn_child(&database, n * 100_000)).collect();
    let store = open(&database).await;
    let ours = async {
        for n in 900_000..900_020 {
            store.insert_winners(&[winner(n)]).await.unwrap();
        }
    };
    let theirs =
        futures_join(children.into_iter().map(|c| tokio::task::spawn_blocking(move || kill_after::<u32>(c, 10))));
    let ((), reported) = tokio::join!(ours, theirs);
    for n in reported.into_iter().flatten().chain(900_000..900_020) {
        assert!(store.ticket(hash(n)).await.unwrap().is_some(), "ticket {n} was lost");
    }
}

async fn no_serial_is_leased_twice_by_processes_that_race_and_are_killed(database: Database) {
    let mut leased = Vec::new();
    for _ in 0..2 {
        let children: Vec<_> = (0..2).map(|_| spawn("child_leases_serials_and_says_so", &database, 0)).collect();
        let kills = children.into_iter().map(|c| tokio::task::spawn_blocking(move || kill_after::<u64>(c, 10)));
        leased.extend(futures_join(kills).await.into_iter().flatten());
    }
    leased.push(lease(&open(&database).await).await);
    assert!(leased.len() > 40);
    assert_eq!(leased.iter().max(), leased.last());
    leased.sort_unstable();
    assert!(leased.windows(2).all(|pair| pair[0] + 10 <= pair[1]), "leases overlap: {leased:?}");
}

async fn futures_join<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        done.push(task.await.unwrap());
    }
    done
}

async fn a_database_keeps_its_state_over_a_restart(database: Database) {
    let store = open(&database).await;
    store.insert_winners(&[winner(1), winner(2)]).await.unwrap();
    store.submit("batch", &[hash(1)], 110).await.unwrap();
    store.record_nonce(B256::repeat_byte(5), 140, 7).await.unwrap();
    store.set_setting("secret", &[3; 32]).await.unwrap();
    store.close().await;

    let store = open(&database).await;
    let record = store.ticket(hash(1)).await.unwrap().unwrap();
    assert_eq!(record.state, TicketState::Submitted { intent: "batch".to_owned() });
    assert_eq!(store.tickets(Some(TicketStatus::Pending), 9).await.unwrap().len(), 1);
    assert_eq!(store.last_nonce(B256::repeat_byte(5)).await.unwrap(), Some(7));
    assert_eq!(store.setting("secret").await.unwrap(), Some(vec![3; 32]));
}

async fn tasks_of_one_process_insert_the_same_winners_once(database: Database) {
    let (one, two) = (open(&database).await, open(&database).await);
    let tasks: Vec<_> = [&one, &two, &one, &two]
        .into_iter()
        .map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut new = 0;
                for n in 0..25 {
                    new += store.insert_winners(&[winner(n)]).await.unwrap();
                }
                new
            })
        })
        .collect();
    let new: u64 = futures_join(tasks.into_iter()).await.into_iter().sum();
    assert_eq!(new, 25);
    assert_eq!(two.tickets(None, 100).await.unwrap().len(), 25);
}

on_both_engines! {
    what_was_stored_before_sigkill_is_there_afterwards,
    several_processes_write_to_one_database,
    no_serial_is_leased_twice_by_processes_that_race_and_are_killed,
    a_database_keeps_its_state_over_a_restart,
    tasks_of_one_process_insert_the_same_winners_once,
}
