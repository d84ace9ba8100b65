//! Two keepers of one account on one Postgres.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{primitives::U256, providers::Provider};
use streamflow_chain::{BlockFollower, RoundFollower, TxManager};
use streamflow_keeper::{Journal, Keeper, KeeperChain, KeeperConfig, Standing};
use streamflow_store::{Claim, Store, TicketStatus};
use streamflow_testkit::{Database, key};
use streamflow_types::WinningTicket;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::world::{Order, Running, World, ether, eventually, face_value};

const LEASE: Duration = Duration::from_secs(3);
const CHAIN_ID: u64 = 31_337;
/// Longest that a process paused inside a transaction can hold the write lock, and what the machine may add.
const PAUSED_WRITER: Duration = Duration::from_secs(7);

const RPC_URL: &str = "STREAMFLOW_KEEPER_TEST_RPC_URL";
const CONTROLLER: &str = "STREAMFLOW_KEEPER_TEST_CONTROLLER";
const DATABASE: &str = "STREAMFLOW_KEEPER_TEST_DATABASE";

fn config() -> KeeperConfig {
    KeeperConfig { lease: LEASE, ..World::config() }
}

/// Not a test by itself: the process that others kill or pause. Says where it stands, and ends with whoever started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_keeps_and_says_whether_it_leads() {
    let variable = |name| std::env::var(name);
    let Ok(rpc_url) = variable(RPC_URL) else { return };
    let order = Order {
        rpc_url: rpc_url.parse().unwrap(),
        controller: variable(CONTROLLER).unwrap().parse().unwrap(),
        database: variable(DATABASE).unwrap(),
        name: "child".to_owned(),
    };
    let running = Running::start(order, config()).await;
    let mut standing = running.standing.clone();
    let told = async {
        while standing.changed().await.is_ok() {
            println!("standing {:?}", *standing.borrow_and_update());
        }
    };
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        () = told => {}
        _ = orphaned => {}
    }
}

/// A keeper in a process of its own. Killed when dropped.
struct Process {
    child: Child,
    told: mpsc::UnboundedReceiver<String>,
}

impl Process {
    fn start(order: &Order) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "leadership::child_keeps_and_says_whether_it_leads", "--nocapture", "--test-threads=1"])
            .env(RPC_URL, order.rpc_url.as_str())
            .env(CONTROLLER, order.controller.to_string())
            .env(DATABASE, &order.database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (tell, told) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in lines {
                if let Some((_, standing)) = line.split_once("standing ") {
                    let _ = tell.send(standing.to_owned());
                }
            }
        });
        Self { child, told }
    }

    /// Waits until it says so.
    async fn says(&mut self, expected: &str) {
        let saying = async {
            while let Some(standing) = self.told.recv().await {
                if standing == expected {
                    return;
                }
            }
            panic!("the child ended before it said {expected}");
        };
        tokio::time::timeout(Duration::from_secs(40), saying).await.unwrap_or_else(|_| panic!("never said {expected}"));
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn ready_winners(world: &World, nonces: std::ops::RangeInclusive<u32>) -> Vec<WinningTicket> {
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for nonce in nonces {
        winners.push(world.winner(&world.sender, nonce, expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    winners
}

async fn total(world: &World, status: TicketStatus) -> u64 {
    world.store.ticket_total(status).await.unwrap().count
}

async fn paid(world: &World, tickets: u64) {
    eventually("all are redeemed", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        total(world, TicketStatus::Redeemed).await == tickets
    })
    .await;
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(tickets));
}

/// Returns how long it took.
async fn leads(keeper: &mut Running) -> Duration {
    let asked = Instant::now();
    let leads = keeper.standing.wait_for(|standing| matches!(standing, Standing::Leads { .. }));
    tokio::time::timeout(Duration::from_secs(40), leads).await.unwrap().unwrap();
    asked.elapsed()
}

async fn follows(keeper: &mut Running, leader: &str) {
    let follows = keeper.standing.wait_for(|standing| *standing == Standing::Follows { leader: leader.to_owned() });
    tokio::time::timeout(Duration::from_secs(40), follows).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_when_the_leader_is_killed_the_other_redeems_within_the_lease() {
    let world = World::on(Database::postgres().unwrap()).await;
    let mut first = Process::start(&world.order("child"));
    first.says("Leads { token: 1 }").await;
    let mut second = Running::start(world.order("second"), config()).await;
    follows(&mut second, "child").await;

    // It dies between broadcast and receipt.
    world.deployment.anvil.set_automine(false).await.unwrap();
    ready_winners(&world, 1..=3).await;
    let pool = || async {
        world.deployment.anvil.provider().get_transaction_count(world.keeper_key.address()).pending().await
    };
    eventually("the first has sent a transaction", || async { pool().await.unwrap() == 1 }).await;
    assert_eq!(total(&world, TicketStatus::Submitted).await, 3);
    first.signal("-KILL");

    let took = leads(&mut second).await;
    assert!(took <= LEASE + Duration::from_secs(1), "it took {took:?} to take over");
    world.deployment.anvil.set_automine(true).await.unwrap();
    paid(&world, 3).await;
    assert_eq!(world.store.redemption_summary().await.unwrap().transactions, 1);
    assert_eq!(world.nonce(&world.keeper_key).await, 1, "sent once");
    second.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_paused_leader_that_wakes_is_fenced_off() {
    let world = World::on(Database::postgres().unwrap()).await;
    let mut first = Process::start(&world.order("child"));
    first.says("Leads { token: 1 }").await;
    let mut second = Running::start(world.order("second"), config()).await;
    follows(&mut second, "child").await;

    first.signal("-STOP");
    ready_winners(&world, 1..=3).await;
    let took = leads(&mut second).await;
    assert!(took <= LEASE + PAUSED_WRITER, "it took {took:?} to take over");
    assert_eq!(*second.standing.borrow(), Standing::Leads { token: 2 });
    paid(&world, 3).await;

    first.signal("-CONT");
    ready_winners(&world, 4..=6).await;
    first.says("Follows { leader: \"second\" }").await;
    paid(&world, 6).await;
    assert_eq!(*second.standing.borrow(), Standing::Leads { token: 2 });
    let sent = world.store.redemption_summary().await.unwrap();
    assert_eq!((sent.transactions, sent.redeemed), (2, 6));
    assert_eq!(world.nonce(&world.keeper_key).await, 2, "only the second has sent");
    second.stop().await;

    // A leader that stops hands over at once.
    first.says("Leads { token: 3 }").await;
    ready_winners(&world, 7..=7).await;
    paid(&world, 7).await;
    drop(first);
    world.close().await;
}

/// The worst of the paused: it never learns that it leads no more, and goes on with all its duties.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_keeper_with_an_old_lease_writes_and_sends_nothing() {
    let world = World::on(Database::postgres().unwrap()).await;
    let account = world.keeper_key.address();
    let store = Store::open_url(&world.order("old").database).await.unwrap();
    let claimed = store.claim_lead(CHAIN_ID, account, "old", Duration::ZERO).await.unwrap();
    let Claim::Leads(old_lease) = claimed else { panic!("nobody else was there") };
    let claimed = world.store.claim_lead(CHAIN_ID, account, "test", LEASE).await.unwrap();
    assert!(matches!(claimed, Claim::Leads(_)));

    let chain_config = world.order("old").chain_config();
    let chain = streamflow_chain::connect(&chain_config).await.unwrap();
    let (follower, feed) = BlockFollower::new(&chain, &chain_config);
    let (rounds, view) = RoundFollower::new(&chain, &chain_config, &feed);
    let stale = store.fenced(old_lease);
    let journal = Journal::new(stale.clone());
    let (manager, tx) = TxManager::new(&chain, &chain_config, key(3).unwrap(), journal, &feed);
    let chain = KeeperChain { chain, view, tx, rewarders: Vec::new(), priority_fee: 0 };
    let stop = CancellationToken::new();
    let tasks = [
        tokio::spawn({
            let stop = stop.clone();
            async move { follower.run(stop).await }
        }),
        tokio::spawn({
            let stop = stop.clone();
            async move { rounds.run(stop).await }
        }),
        tokio::spawn({
            let stop = stop.clone();
            async move { Keeper::new(config(), stale, chain).run_with([manager], stop).await.unwrap() }
        }),
    ];
    ready_winners(&world, 1..=3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(total(&world, TicketStatus::Pending).await, 3);
    assert_eq!(world.store.open_transactions(CHAIN_ID, account).await.unwrap(), []);
    assert_eq!(world.nonce(&world.keeper_key).await, 0);

    let mut second = Running::start(world.order("second"), config()).await;
    leads(&mut second).await;
    paid(&world, 3).await;
    assert_eq!(world.nonce(&world.keeper_key).await, 1);
    second.stop().await;
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    store.close().await;
    world.close().await;
}
