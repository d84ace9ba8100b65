//! `bench redeem`: how fast the keeper plans with many winners, and what a redemption costs on the contracts themselves.
//!
//! Everything runs on a chain of its own. The plan is timed in memory; the restart with everything that it does: the
//! database is opened, the chain read, the first transaction tried out.
use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, U256, keccak256},
    providers::ext::AnvilApi as _,
    signers::local::PrivateKeySigner,
};
use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use streamflow_chain::{BlockFollower, MemoryJournal, RoundFollower, TxManager};
use streamflow_keeper::{
    Keeper, KeeperChain, KeeperConfig, PlannedBatch,
    ordered::{
        fit,
        plan::{passable, rough_gas},
    },
    planner::{Market, SenderCover, Situation, weigh},
};
use streamflow_pm::{KeySigner, commitment, ordered, sign_ticket};
use streamflow_store::{Store, TicketRecord, TicketState, TicketStatus};
use streamflow_types::{Signature65, SignedTicket, Ticket, WinProb, WinningTicket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    bench_market::{BenchMarket, ETHER, ROUND_LENGTH},
    cli::BenchRedeemArgs,
    commands::{Context, deploy::find_project},
    output::{Report, Table},
};

const SENDERS: usize = 100;
/// Pending winners of the plan.
const PLANNED: u32 = 10_000;
/// Stored winners at the restart.
const STORED: u32 = 100_000;
/// Plans; the median counts.
const RUNS: usize = 9;
/// Tickets and senders of the measured batch, as in the gas figure of the contracts.
const BATCH: u32 = 50;
const BATCH_SENDERS: u32 = 10;
/// Fills as many bytes as in practice.
const FACE_VALUE: u64 = 0x11_2233_4455_6677;
const POLL: Duration = Duration::from_millis(50);
/// How long a redemption may take here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Winners that are stored at once.
const CHUNK: usize = 1_000;

#[derive(Debug, Serialize)]
struct RedeemReport {
    /// Milliseconds for a plan over 10,000 pending winners of 100 senders.
    plan_10000_ms: f64,
    /// Seconds from opening a database with 100,000 winners to the first plan, tried out.
    restart_100000_s: f64,
    /// Gas of a keeper's transaction in order, 50 tickets of 10 senders, per ticket.
    gas_per_ticket: u64,
    /// Tickets in the first transaction after the restart.
    restart_batch: usize,
}

/// A deployment with an orchestrator that redeems for itself, and senders with funds.
struct World {
    market: BenchMarket,
    recipient: PrivateKeySigner,
    /// A block at which all params of the winners have expired.
    expired: u64,
}

/// Runs all of it.
///
/// # Errors
/// The chain cannot be started, or the keeper does not redeem on it.
pub async fn run(context: &Context, args: &BenchRedeemArgs) -> anyhow::Result<()> {
    let project = find_project(args.project_dir.as_deref())?;
    context.output.note("starting a chain with the contracts and funded senders");
    let world = World::start(&project).await?;
    let directory = tempfile::tempdir()?;
    context.output.note(format_args!("planning over {PLANNED} winners"));
    let plan_10000_ms = plan_time(&world)?.as_secs_f64() * 1e3;
    context.output.note(format_args!("redeeming {BATCH} tickets of {BATCH_SENDERS} senders"));
    let gas_per_ticket = gas_per_ticket(&world, &directory.path().join("gas.sqlite")).await?;
    context.output.note(format_args!("restarting with {STORED} winners"));
    let (restart, first) = restart_time(&world, &directory.path().join("restart.sqlite")).await?;
    context.output.result(&RedeemReport {
        plan_10000_ms,
        restart_100000_s: restart.as_secs_f64(),
        gas_per_ticket,
        restart_batch: first.tickets,
    })?;
    Ok(())
}

/// The plan as the keeper makes it, without what it asks of the chain in between.
fn plan_time(world: &World) -> anyhow::Result<Duration> {
    let mut records = Vec::with_capacity(PLANNED as usize);
    for number in 0..PLANNED {
        let ticket = world.winner(number, 1_000_000, false)?;
        records.push(TicketRecord {
            hash: streamflow_pm::ticket_hash(&ticket.signed.ticket),
            ticket,
            state: TicketState::Pending { not_before: 0, reason: None },
            attempts: 0,
        });
    }
    let addresses = || world.market.senders.iter().map(PrivateKeySigner::address);
    let marks: HashMap<Address, U256> = addresses().map(|sender| (sender, U256::ZERO)).collect();
    let cover = SenderCover { deposit: U256::from(ETHER), ..SenderCover::default() };
    let covers: HashMap<Address, SenderCover> = addresses().map(|sender| (sender, cover.clone())).collect();
    let (config, recipient) = (KeeperConfig::default(), world.recipient.address());
    let situation = Situation {
        block: world.expired + config.expiry_margin_blocks,
        round: world.market.round,
        round_start: 0,
        round_length: ROUND_LENGTH,
        validity: 2,
    };
    let market = Market { gas_price: 1, usual_gas_price: Some(1), income: U256::from(ETHER), recipient_leaves: false };
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let records = records.clone();
        let started = Instant::now();
        let groups = passable(records.clone(), &marks, u64::MAX, &situation, &config);
        let groups = fit(groups, recipient, &covers, market.gas_price, config.max_batch);
        let batch: Vec<&TicketRecord> = groups.iter().flat_map(|group| &group.tickets).collect();
        let outlook = weigh((&batch, &records), &covers, rough_gas(&groups), market, &situation, &config);
        let timing = outlook.timing(streamflow_keeper::economics::Patience { blocks: 300, round_length: ROUND_LENGTH });
        times.push(started.elapsed());
        ensure!(batch.len() == config.max_batch as usize, "planned {} tickets, {timing:?}", batch.len());
    }
    times.sort();
    Ok(times[RUNS / 2])
}

/// Redeems one ticket of each sender, so that every mark has been written once, and then measures a batch.
async fn gas_per_ticket(world: &World, path: &Path) -> anyhow::Result<u64> {
    let store = Store::open(path).await?;
    let mut gas = 0;
    let mut paid = 0;
    for (tickets, serial) in [(BATCH_SENDERS, 1), (BATCH, 1_000)] {
        let winners: Vec<WinningTicket> = (0..tickets)
            .map(|number| world.winner(number % BATCH_SENDERS + number / BATCH_SENDERS * SENDERS as u32, serial, true))
            .collect::<Result<_, _>>()?;
        let before = store.redemption_summary().await?;
        store.insert_winners(&winners).await?;
        paid += u64::from(tickets);
        world.redeem(&store, paid).await?;
        let after = store.redemption_summary().await?;
        ensure!(after.transactions == before.transactions + 1, "more than one transaction");
        gas = after.gas_used - before.gas_used;
    }
    store.close().await;
    Ok(gas.div_ceil(u64::from(BATCH)))
}

async fn restart_time(world: &World, path: &Path) -> anyhow::Result<(Duration, PlannedBatch)> {
    let store = Store::open(path).await?;
    let numbers: Vec<u32> = (0..STORED).collect();
    for chunk in numbers.chunks(CHUNK) {
        // Only what can be in the first transaction must be signed; the rest is as large.
        let is_low = |number: u32| (number as usize) < SENDERS * BATCH as usize;
        let winners: Vec<WinningTicket> =
            chunk.iter().map(|number| world.winner(*number, 2_000_000, is_low(*number))).collect::<Result<_, _>>()?;
        store.insert_winners(&winners).await?;
    }
    store.close().await;

    let started = Instant::now();
    let store = Store::open(path).await?;
    let plan = world.with_keeper(&store, async |keeper| Ok(keeper.dry_run(0).await?)).await?;
    let took = started.elapsed();
    store.close().await;
    let first = plan.batches.into_iter().next().context("nothing would be redeemed after the restart")?;
    ensure!(plan.unlisted == u64::from(STORED), "{} winners are pending", plan.unlisted);
    Ok((took, first))
}

impl World {
    async fn start(project: &Path) -> anyhow::Result<Self> {
        let market = BenchMarket::start(project, &["https://127.0.0.1:8935".parse()?], SENDERS).await?;
        let recipient = market.orchestrators.first().context("no orchestrator was registered")?.clone();
        let expired = market.chain.rpc.head().await?.number;
        // So that the params of that block have expired for the keeper, with its margin.
        market.provider.anvil_mine(Some(KeeperConfig::default().expiry_margin_blocks + 1), None).await?;
        Ok(Self { market, recipient, expired })
    }

    /// Winner number `number`: the senders take turns, and every ticket has a secret of its own.
    fn winner(&self, number: u32, first_serial: u64, signed: bool) -> anyhow::Result<WinningTicket> {
        let sender = &self.market.senders[number as usize % SENDERS];
        let serial = 1_700_000_000_000 + first_serial + u64::from(number) / SENDERS as u64;
        let secret =
            U256::from_be_bytes(keccak256([number.to_be_bytes(), (first_serial as u32).to_be_bytes()].concat()).0);
        let recipient_rand = ordered::numbered(serial, secret);
        let ticket = Ticket {
            recipient: self.recipient.address(),
            sender: sender.address(),
            face_value: U256::from(FACE_VALUE),
            win_prob: WinProb::MAX,
            sender_nonce: 3,
            recipient_rand_hash: commitment(recipient_rand),
            creation_round: self.market.round,
            creation_round_block_hash: self.market.block_hash,
            deployment: None,
        };
        let signed = if signed {
            sign_ticket(ticket, &KeySigner::from_bytes(sender.to_bytes().0)?)?
        } else {
            SignedTicket { ticket, sig: Signature65::new([27; 65]) }
        };
        Ok(WinningTicket { signed, recipient_rand, params_expiration_block: self.expired })
    }

    /// Runs a keeper until the store has this many redeemed tickets.
    async fn redeem(&self, store: &Store, count: u64) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        self.with_keeper(store, async |keeper| {
            let paid = async {
                let deadline = Instant::now() + PATIENCE;
                while store.ticket_total(TicketStatus::Redeemed).await?.count < count {
                    if Instant::now() > deadline {
                        let waiting = store.tickets(Some(TicketStatus::Pending), 1).await?;
                        bail!("not redeemed in time: {:?}", waiting.first().map(|record| &record.state));
                    }
                    tokio::time::sleep(POLL).await;
                }
                stop.cancel();
                Ok(())
            };
            let (paid, ended) = tokio::join!(paid, keeper.run(stop.clone()));
            ended?;
            paid
        })
        .await
    }

    /// A keeper with the tasks that it needs.
    async fn with_keeper<T>(
        &self,
        store: &Store,
        work: impl AsyncFnOnce(Keeper) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (follower, feed) = BlockFollower::new(&self.market.chain, &self.market.config);
        let (rounds, view) = RoundFollower::new(&self.market.chain, &self.market.config, &feed);
        let journal = Arc::new(MemoryJournal::default());
        let (manager, tx) =
            TxManager::new(&self.market.chain, &self.market.config, self.recipient.clone(), journal, &feed);
        let chain = KeeperChain { chain: self.market.chain.clone(), view, tx, rewarders: Vec::new(), priority_fee: 0 };
        let config = KeeperConfig {
            sweep_interval: POLL,
            gather_blocks: 0,
            defer_blocks: 0,
            reward: false,
            initialize_rounds: false,
            ..KeeperConfig::default()
        };
        let keeper = Keeper::new(config, store.clone(), chain);
        let end = CancellationToken::new();
        tokio::select! { biased;
            done = work(keeper) => done,
            _ = manager.run(end.clone()) => bail!("the transactions ended early"),
            () = rounds.run(end.clone()) => bail!("the rounds ended early"),
            () = follower.run(end.clone()) => bail!("the blocks ended early"),
        }
    }
}

impl Report for RedeemReport {
    fn text(&self) -> String {
        let mut table = Table::facts();
        table
            .fact("plan over 10,000 winners of 100 senders", format_args!("{:.1} ms", self.plan_10000_ms))
            .fact("restart with 100,000 winners to the first plan", format_args!("{:.2} s", self.restart_100000_s))
            .fact("gas per ticket, 50 tickets of 10 senders in order", self.gas_per_ticket);
        table.to_string()
    }
}
