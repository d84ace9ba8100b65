//! `streamflow orchestrator`
use std::{sync::Arc, time::Duration};

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    signers::local::PrivateKeySigner,
};
use anyhow::Context as _;
use futures::FutureExt;
use serde_json::{Value, json};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{Chain, ChainError, ChainProfile, SenderMonitor};
use streamflow_orchestrator::{
    ChainDeps, Clock, Deps, FundsFuture, FundsUnavailable, Handle, JobSource, Orchestrator, RoundFacts,
    SenderFundsSource, StartError, Transcode, unquotable,
};
use streamflow_pm::{KeySigner, QuoteDomain, SessionBalance};
use streamflow_redeemer::{Floats, covered_by};
use streamflow_store::{Store, TicketStatus};
use streamflow_transcoder::LocalTranscoder;
use streamflow_types::{ChainView, Expiration, Price, Round};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Node,
    chain_link::{ChainLink, unless_stopped},
    jobs,
    media::{self, LocalWorkers},
    price_feed, redeemer,
};
use crate::{
    admin::{Status, listen_error},
    clock,
    config::{Config, Transcoders},
    quote_secret::{self, QuoteSecretFile},
};

/// File with the secret of the session tokens.
const TOKEN_SECRET: &str = "orchestrator-secret";
/// Name of the remote transcoders among the needs of the role.
const NEED_TRANSCODERS: &str = "transcoders";
/// Name of the place in the active set among them.
const NEED_ACTIVE: &str = "active";
/// Time between two looks at how many there are.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before asking again what the chain did not tell about a round.
const RETRY: Duration = Duration::from_secs(2);
/// Ethereum and its lasting test networks.
const ETHEREUM: [u64; 3] = [1, 11_155_111, 560_048];
/// Blocks upon the first of a round there: one more than the longest reorganisation of the last years.
const ETHEREUM_DEPTH: u64 = 8;
/// The broker takes tickets of a round in the next one too, if its validity period is at least this.
const TWO_ROUNDS: U256 = U256::from_limbs([2, 0, 0, 0]);

pub(super) async fn run(node: &mut Node) -> anyhow::Result<()> {
    super::check_port("orchestrator.listen", node.config.orchestrator.listen)?;
    // Quotes were bound to it before they had a secret of their own.
    let earlier = node.data.known_secret(TOKEN_SECRET)?;
    let secret = node.data.secret(TOKEN_SECRET)?;
    let local = local_transcoder(node).await?;
    let outcome = serve(node, secret, earlier, local.clone()).await;
    if let Some(local) = local {
        local.shutdown().await;
    }
    outcome
}

async fn local_transcoder(node: &Node) -> anyhow::Result<Option<LocalTranscoder>> {
    match node.config.transcoding.transcoders {
        Transcoders::Local => Ok(Some(media::start_transcoder(&node.config.transcoding, &node.readiness).await?)),
        Transcoders::Remote => Ok(None),
    }
}

async fn serve(
    node: &mut Node,
    secret: [u8; 32],
    earlier: Option<[u8; 32]>,
    local: Option<LocalTranscoder>,
) -> anyhow::Result<()> {
    let (publish, prices) = watch::channel(None);
    let (chain, jobs) = match node.config.chain.controller {
        None => {
            tracing::warn!("chain.controller is not set: segments are transcoded for free");
            (None, None)
        }
        Some(_) => match chain_deps(node, earlier, publish).await? {
            Some((deps, jobs)) => (Some(deps), jobs),
            None => return Ok(()),
        },
    };
    let store = chain.as_ref().map(|deps| deps.store.clone());
    let account = chain.as_ref().map(|deps| deps.signer.address());
    let active = chain.as_ref().map(|deps| deps.active.clone());
    let remote = local.is_none();
    let deps = Deps {
        chain,
        local: local.map(|local| LocalWorkers::new(local, node.config.transcoding.workers) as Arc<dyn Transcode>),
        secret,
        data_dir: node.data.path().to_owned(),
        clock: Arc::new(clock::unix_seconds) as Clock,
    };
    let mut orchestrator = Orchestrator::bind(node.config.orchestrator.clone(), deps).await.map_err(named)?;
    if let Some(jobs) = jobs {
        orchestrator = orchestrator.with_jobs(jobs).map_err(named)?;
    }
    let handle = orchestrator.handle();
    tracing::info!(address = %orchestrator.local_addr(), service_uri = %orchestrator.service_uri(), "orchestrator listens");
    if remote {
        node.spawn_quiet(
            "transcoder count",
            watch_transcoders(handle.clone(), node.readiness.clone(), node.end.clone()),
        );
    }
    let facts = json!({
        "account": account,
        "service_uri": orchestrator.service_uri(),
        "listen": orchestrator.local_addr(),
    });
    let (configure, configured) = watch::channel(node.config.orchestrator.price);
    node.spawn_quiet("price", follow_price(handle.clone(), prices, configured, node.end.clone()));
    let live = handle.clone();
    node.live.on(&["orchestrator.price", "orchestrator.tickets.max_face_value"], move |config| {
        configure.send_replace(config.orchestrator.price);
        live.set_max_face_value(config.orchestrator.tickets.max_face_value);
    });
    let live = handle.clone();
    node.live.on(
        &["orchestrator.prices", "orchestrator.quotas", "orchestrator.admission.max_ratio"],
        move |Config { orchestrator, .. }| {
            live.set_prices(orchestrator.prices.clone());
            live.set_quotas(orchestrator.quotas);
            live.set_max_ratio(orchestrator.admission.max_ratio);
        },
    );
    if let (Some(account), Some(active)) = (account, active.clone()) {
        let (readiness, end) = (node.readiness.clone(), node.end.clone());
        node.spawn_quiet("active set", watch_activity(account, active, readiness, end));
    }
    node.status.set(status(facts, handle, store, active));
    node.works();
    orchestrator.run(node.stop.clone()).await;
    Ok(())
}

/// What is needed to be paid; `None` when stopped before the chain was there.
async fn chain_deps(
    node: &mut Node,
    earlier: Option<[u8; 32]>,
    prices: watch::Sender<Option<Price>>,
) -> anyhow::Result<Option<(ChainDeps, Option<Arc<dyn JobSource>>)>> {
    let key = node.config.keys.load()?;
    let account = key.address();
    let file = QuoteSecretFile::new(&node.data, &key, node.config.orchestrator.tickets.secret_life)?;
    let (secrets, follow) = quote_secret::follow(file, earlier, node.end.clone())?;
    node.spawn_quiet("quote secret", follow);
    let store = node.open_store().await?;
    let Some(link) = ChainLink::open(node).await? else { return Ok(None) };
    let Some(deployment) = unless_stopped(link.deployment_tag(node).await)? else { return Ok(None) };
    let Some(jobs) = unless_stopped(jobs::source(node, &link.chain).await)? else { return Ok(None) };
    let Some(receipts) = unless_stopped(link.receipt_domain(node).await)? else { return Ok(None) };
    let feed = node.config.orchestrator.price_feed.clone();
    if feed.contract.is_some() {
        let reading = price_feed::follow(link.chain.rpc.clone(), feed, clock::unix_seconds, prices, node.end.clone());
        node.spawn_quiet("price feed", reading);
    }
    let active = link.activity_of(account, node);
    let own = Funds { senders: link.senders.clone(), account };
    let funds: Arc<dyn SenderFundsSource> = match redeemer::outbox(node, &link, &store).await? {
        redeemer::Handed::ToKeeper => Arc::new(own),
        redeemer::Handed::ToRedeemer(floats) => Arc::new(RemoteFunds { own, floats }),
    };
    let deps = ChainDeps {
        view: quotable_rounds(node, &link),
        active,
        funds,
        signer: Arc::new(ticket_signer(&key)?),
        domain: QuoteDomain { chain_id: link.chain.chain_id, broker: link.chain.contracts.ticket_broker },
        secrets,
        deployment,
        late_blocks: node.config.keeper.expiry_margin_blocks,
        receipts,
        store,
        rpc: link.chain.rpc.host().to_owned(),
    };
    Ok(Some((deps, jobs)))
}

/// The chain with the round that quotes may name.
fn quotable_rounds(node: &mut Node, link: &ChainLink) -> watch::Receiver<Option<ChainView>> {
    let depth = round_depth(&node.config, link.chain.chain_id);
    if depth == 0 {
        return link.view.clone();
    }
    let config = &node.config;
    // A quote lives for twice its blocks at most, and the keeper wants this much before the end.
    let life = config.orchestrator.tickets.params_life_blocks.saturating_mul(2);
    let wait = config.keeper.expiry_margin_blocks.saturating_add(config.keeper.deadline_blocks);
    let (publish, quotable) = watch::channel(None);
    let rounds = Rounds { chain: link.chain.clone(), depth, needed: life.saturating_add(wait) };
    node.spawn_quiet("round depth", rounds.follow(link.view.clone(), publish, node.end.clone()));
    quotable
}

/// Blocks upon the first one of a round before it is named.
fn round_depth(config: &Config, chain_id: u64) -> u64 {
    let usual = match config.chain.profile {
        ChainProfile::Arbitrum => 0,
        ChainProfile::Auto if !ETHEREUM.contains(&chain_id) => 0,
        ChainProfile::Auto | ChainProfile::L1 => ETHEREUM_DEPTH,
    };
    config.orchestrator.tickets.round_depth_blocks.unwrap_or(usual)
}

/// Shows the round before a new one until the hash of that is deep enough.
struct Rounds {
    chain: Chain,
    depth: u64,
    /// Blocks in which what is quoted must be redeemed.
    needed: u64,
}

impl Rounds {
    async fn follow(
        self,
        mut view: watch::Receiver<Option<ChainView>>,
        publish: watch::Sender<Option<ChainView>>,
        end: CancellationToken,
    ) {
        let mut facts: Option<RoundFacts> = None;
        loop {
            let newest = *view.borrow_and_update();
            let hashed = newest.filter(|view| !view.round_block_hash.is_zero());
            if let Some(now) = hashed.filter(|now| !facts.is_some_and(|facts| facts.are_of(now))) {
                facts = tokio::select! { biased;
                    () = end.cancelled() => return,
                    read = self.read(&now) => read.map_err(|err| tracing::debug!(%err, "cannot read the round")).ok(),
                };
            }
            let shown = newest.map(|now| match facts.filter(|facts| facts.are_of(&now)) {
                Some(facts) => facts.quotable(now, self.needed),
                None => unquotable(now),
            });
            publish.send_if_modified(|known| std::mem::replace(known, shown) != shown);
            let failed = hashed.is_some() && facts.is_none();
            tokio::select! { biased;
                () = end.cancelled() => return,
                changed = view.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }

    /// A round that is seen for the first time, or with another hash. It is deep if the state so many blocks ago had the hash
    /// already; if no node tells, as many blocks have to come.
    async fn read(&self, view: &ChainView) -> Result<RoundFacts, ChainError> {
        let (rpc, contracts) = (self.chain.rpc.pinned(), self.chain.contracts);
        let (rounds, latest) = (contracts.rounds_manager, BlockId::latest());
        let hash_of = |round: Round| RoundsManager::blockHashForRoundCall { round: U256::from(round.0) };
        let before = Round(view.round.0.saturating_sub(1));
        let (previous, start, length, validity) = tokio::try_join!(
            rpc.view(rounds, hash_of(before), latest),
            rpc.view(rounds, RoundsManager::currentRoundStartBlockCall {}, latest),
            rpc.view(rounds, RoundsManager::roundLengthCall {}, latest),
            rpc.view(contracts.ticket_broker, TicketBroker::ticketValidityPeriodCall {}, latest),
        )?;
        let then = BlockId::number(view.block.saturating_sub(self.depth));
        let deep = rpc.view(rounds, hash_of(view.round), then).await.is_ok_and(|hash| hash == view.round_block_hash);
        if !deep {
            tracing::info!(round = %view.round, depth = self.depth, "quotes name the round before until this one is deep");
        }
        Ok(RoundFacts {
            current: Expiration { creation_round: view.round, creation_round_block_hash: view.round_block_hash },
            previous: Expiration {
                creation_round: before,
                creation_round_block_hash: if validity >= TWO_ROUNDS { previous } else { Default::default() },
            },
            end_block: start.saturating_add(length).saturating_to(),
            deep_from: if deep { 0 } else { view.block.saturating_add(self.depth) },
        })
    }
}

/// The key, in the library that signs and recovers tickets.
pub(super) fn ticket_signer(key: &PrivateKeySigner) -> anyhow::Result<KeySigner> {
    KeySigner::from_bytes(key.to_bytes().0).context("the configured key cannot sign tickets")
}

/// A port that is taken names its setting in full.
fn named(error: StartError) -> anyhow::Error {
    match error {
        StartError::Bind { address, source } => listen_error("orchestrator.listen", address, source),
        other => other.into(),
    }
}

/// Senders' funds, as this orchestrator may claim them.
#[derive(Debug)]
struct Funds {
    senders: SenderMonitor,
    account: Address,
}

impl SenderFundsSource for Funds {
    fn funds(&self, sender: Address) -> FundsFuture<'_> {
        self.senders.funds(sender, self.account).map(|funds| funds.map_err(|e| FundsUnavailable(Box::new(e)))).boxed()
    }
}

/// Senders' funds when another node redeems: it alone knows what still waits there.
#[derive(Debug)]
struct RemoteFunds {
    own: Funds,
    floats: Floats,
}

impl SenderFundsSource for RemoteFunds {
    fn funds(&self, sender: Address) -> FundsFuture<'_> {
        let told = async move {
            let funds = self.own.funds(sender).await?;
            let float = self.floats.of(sender).await.map_err(|e| FundsUnavailable(Box::new(e)))?;
            Ok(covered_by(&funds, float))
        };
        told.boxed()
    }
}

/// Asks what the feed makes of the price from its first good reading on, and what is configured until then. Nobody else sets the
/// price, so that a reload does not undo what the feed said.
async fn follow_price(
    handle: Handle,
    mut feed: watch::Receiver<Option<Price>>,
    mut configured: watch::Receiver<Price>,
    end: CancellationToken,
) {
    loop {
        let (told, set) = (*feed.borrow_and_update(), *configured.borrow_and_update());
        handle.set_price(told.unwrap_or(set));
        tokio::select! { biased;
            () = end.cancelled() => return,
            // Without a feed its channel is closed.
            Ok(()) = feed.changed() => {}
            Ok(()) = configured.changed() => {}
        }
    }
}

/// Without a transcoder there is nothing to sell.
async fn watch_transcoders(handle: Handle, readiness: crate::admin::Readiness, end: CancellationToken) {
    loop {
        match (handle.transcoders(), handle.sound_transcoders()) {
            (0, _) => readiness.missing(
                NEED_TRANSCODERS,
                "no transcoder is connected: start one with --orchestrator and the secret of this node, or set \
                 transcoding.transcoders to local",
            ),
            (connected, 0) => {
                let told = format!("{connected} transcoders are connected, and all of them leave, are silent or hang");
                readiness.missing(NEED_TRANSCODERS, told);
            }
            _ => readiness.met(NEED_TRANSCODERS),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Outside of the active set payments are refused, as they could not be redeemed.
async fn watch_activity(
    account: Address,
    mut active: watch::Receiver<bool>,
    readiness: crate::admin::Readiness,
    end: CancellationToken,
) {
    loop {
        match *active.borrow_and_update() {
            true => readiness.met(NEED_ACTIVE),
            false => readiness.missing(
                NEED_ACTIVE,
                format_args!(
                    "account {account} is not in the active set, so payments are refused: `streamflow chain status` \
                     tells its stake, `streamflow register` stakes; a stake counts from the next round on"
                ),
            ),
        }
        tokio::select! { biased;
            () = end.cancelled() => return,
            changed = active.changed() => if changed.is_err() { return end.cancelled().await },
        }
    }
}

fn status(facts: Value, handle: Handle, store: Option<Store>, active: Option<watch::Receiver<bool>>) -> Status {
    Arc::new(move || {
        let (mut document, handle, store) = (facts.clone(), handle.clone(), store.clone());
        document["sessions"] = handle.open_sessions().into();
        document["sessions_with_work"] = handle.active_sessions().into();
        document["room_for_sessions"] = handle.spare_sessions().into();
        document["transcoders"] = handle.transcoders().into();
        document["transcoders_at_work"] = handle.sound_transcoders().into();
        document["balances"] = handle.balances().map(|held| held.iter().map(balance).collect::<Vec<_>>()).into();
        document["active"] = active.as_ref().map(|active| *active.borrow()).into();
        Box::pin(async move {
            if let Some(store) = store {
                document["winners"] = winners(&store).await.into();
            }
            document
        })
    })
}

/// Exact wei, a reduced fraction.
fn balance(held: &SessionBalance) -> Value {
    json!({ "sender": held.account, "session": held.session, "balance": held.balance.to_ratio() })
}

/// Tickets won so far, whatever became of them.
async fn winners(store: &Store) -> Option<u64> {
    let mut count = 0;
    for status in [TicketStatus::Pending, TicketStatus::Submitted, TicketStatus::Redeemed, TicketStatus::Dead] {
        count += store.ticket_total(status).await.ok()?.count;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use streamflow_chain::{BlockFollower, ChainConfig, RoundFollower, connect};
    use streamflow_testkit::{DeployOptions, Deployment};
    use tokio_util::sync::DropGuard;

    use super::*;

    const DEPTH: u64 = 5;
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn rounds_are_deep_at_once_where_no_block_is_taken_back() {
        let mut config = Config::default();
        assert_eq!([1, 11_155_111, 42_161, 31_337].map(|id| round_depth(&config, id)), [8, 8, 0, 0]);
        config.chain.profile = ChainProfile::L1;
        assert_eq!(round_depth(&config, 31_337), 8);
        config.chain.profile = ChainProfile::Arbitrum;
        assert_eq!(round_depth(&config, 1), 0);
        config.orchestrator.tickets.round_depth_blocks = Some(3);
        assert_eq!(round_depth(&config, 42_161), 3);
    }

    /// What quotes name on a chain, as a process sees it that starts now.
    struct Quoting {
        rounds: watch::Receiver<Option<ChainView>>,
        _stop: DropGuard,
    }

    impl Quoting {
        async fn start(deployment: &Deployment) -> Self {
            let config = ChainConfig {
                rpc_url: deployment.anvil.url(),
                controller: Some(deployment.contracts.controller),
                poll_interval: Duration::from_millis(40),
                ..ChainConfig::default()
            };
            let chain = connect(&config).await.unwrap();
            let end = CancellationToken::new();
            let (blocks, feed) = BlockFollower::new(&chain, &config);
            let (follower, view) = RoundFollower::new(&chain, &config, &feed);
            let (publish, rounds) = watch::channel(None);
            tokio::spawn(blocks.run(end.clone()));
            tokio::spawn(follower.run(end.clone()));
            tokio::spawn(Rounds { chain, depth: DEPTH, needed: 30 }.follow(view, publish, end.clone()));
            Self { rounds, _stop: end.drop_guard() }
        }

        /// Round and hash at the block that is newest now.
        async fn named(&mut self, deployment: &Deployment) -> (u64, B256) {
            let head = deployment.anvil.block_number().await.unwrap();
            let seen = self
                .rounds
                .wait_for(|view| view.is_some_and(|view| view.block == head && !view.round_block_hash.is_zero()));
            let view = tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap().unwrap();
            (view.round.0, view.round_block_hash)
        }
    }

    async fn hash(deployment: &Deployment, round: u64) -> B256 {
        let call = RoundsManager::blockHashForRoundCall { round: U256::from(round) };
        deployment.view(deployment.contracts.rounds_manager, call).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_quote_names_a_hash_that_a_reorganisation_takes_back() {
        let deployment =
            Deployment::start_with(DeployOptions { round_length: 100, ..Default::default() }).await.unwrap();
        let first = deployment.next_round().await.unwrap();
        let kept = hash(&deployment, first).await;
        deployment.anvil.mine(DEPTH).await.unwrap();
        let mut quoting = Quoting::start(&deployment).await;
        assert_eq!(quoting.named(&deployment).await, (first, kept), "it was deep when the process started");

        let before = deployment.anvil.snapshot().await.unwrap();
        let second = deployment.next_round().await.unwrap();
        let lost = hash(&deployment, second).await;
        assert_eq!(quoting.named(&deployment).await, (first, kept));
        deployment.anvil.mine(DEPTH - 2).await.unwrap();
        assert_eq!(quoting.named(&deployment).await, (first, kept));

        // Other blocks take the place of those since the last round: the contract stores another hash.
        deployment.anvil.revert(before).await.unwrap();
        deployment.give_lpt(Address::repeat_byte(1), U256::from(1)).await.unwrap();
        assert_eq!(deployment.next_round().await.unwrap(), second);
        let stored = hash(&deployment, second).await;
        assert!(stored != lost && !stored.is_zero(), "tickets that named the lost hash are worthless");
        assert_eq!(hash(&deployment, first).await, kept);
        assert_eq!(quoting.named(&deployment).await, (first, kept));
        deployment.anvil.mine(DEPTH).await.unwrap();
        assert_eq!(quoting.named(&deployment).await, (second, stored));
        assert_eq!(Quoting::start(&deployment).await.named(&deployment).await, (second, stored));
    }
}
