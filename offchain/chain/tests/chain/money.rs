//! Senders' funds.
use alloy::{
    primitives::{Address, B256, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use anyhow::{Result, ensure};
use streamflow_bindings::{BondingManager, RoundsManager, TicketBroker};
use streamflow_chain::{Calls, ChainConfig, ChainError, SenderMonitor, send_all};
use streamflow_testkit::{Deployment, key};
use streamflow_types::{Round, SenderFunds, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

use crate::fixture::{Following, chain, eventually, follow, within};

const LPT: u128 = 1_000_000_000_000_000_000;
const GWEI: u64 = 1_000_000_000;

/// A deployment with an active orchestrator and a broadcaster.
struct Market {
    deployment: Deployment,
    chain: streamflow_chain::Chain,
    config: ChainConfig,
    following: Following,
    monitor: SenderMonitor,
    sender: PrivateKeySigner,
    recipient: Address,
    tickets: u32,
}

impl Market {
    async fn open() -> Result<Self> {
        let deployment = Deployment::start().await?;
        deployment.initialize_round().await?;
        deployment.register(&key(2)?, U256::from(5 * LPT), "https://o2.example:8935").await?;
        deployment.register(&key(3)?, U256::from(7 * LPT), "https://o3.example:8935").await?;
        deployment.next_round().await?;
        let (chain, config) = chain(&deployment).await?;
        let following = follow(&chain, &config);
        let (monitor, task) = SenderMonitor::new(&chain, &config, &following.feed);
        tokio::spawn(task.run(following.stop.clone()));
        let (sender, recipient) = (key(1)?, key(2)?.address());
        Ok(Self { deployment, chain, config, following, monitor, sender, recipient, tickets: 0 })
    }

    /// What the contract says, without any of our bookkeeping.
    async fn on_chain(&self) -> Result<SenderFunds> {
        let broker = self.deployment.contracts.ticket_broker;
        let sender = self.sender.address();
        let info = self.deployment.view(broker, TicketBroker::getSenderInfoCall { addr: sender }).await?;
        let claimed = TicketBroker::claimedReserveCall { reserveHolder: sender, claimant: self.recipient };
        let pool = BondingManager::currentRoundPoolSizeCall {};
        let commitment = TicketBroker::getCommittedReserveCall { sender, recipient: self.recipient };
        let commitment = self.deployment.view(broker, commitment).await?;
        Ok(SenderFunds {
            deposit: info.sender.deposit,
            withdraw_round: Round(info.sender.withdrawRound.to()),
            reserve: info.reserve.fundsRemaining,
            claimed_in_current_round: info.reserve.claimedInCurrentRound,
            claimed_by_recipient: self.deployment.view(broker, claimed).await?,
            pool_size: self.deployment.view(self.deployment.contracts.bonding_manager, pool).await?.to(),
            committed: commitment.funds - commitment.releasing,
        })
    }

    async fn funds(&self) -> Result<SenderFunds> {
        Ok(within("funds", self.monitor.funds(self.sender.address(), self.recipient)).await??)
    }

    /// Waits until the monitor has what the chain has, which is asserted to be `wanted`.
    async fn settled(&self, what: &str, wanted: impl Fn(&SenderFunds) -> bool) -> Result<SenderFunds> {
        let on_chain = self.on_chain().await?;
        ensure!(wanted(&on_chain), "{what}: the chain has {on_chain:?}");
        eventually(what, || async { Ok(self.funds().await? == on_chain) }).await?;
        Ok(on_chain)
    }

    /// A ticket that wins, signed by the sender for `recipient`. Every second one is bound to the deployment.
    async fn winner(&mut self, recipient: Address, face_value: U256) -> Result<WinningTicket> {
        let rounds = self.deployment.contracts.rounds_manager;
        let round = self.deployment.view(rounds, RoundsManager::currentRoundCall {}).await?;
        let hash = self.deployment.view(rounds, RoundsManager::blockHashForRoundCall { round }).await?;
        let recipient_rand = U256::from(42);
        self.tickets += 1;
        let tag =
            self.deployment.view(self.deployment.contracts.ticket_broker, TicketBroker::deploymentTagCall {}).await?;
        let ticket = Ticket {
            recipient,
            sender: self.sender.address(),
            face_value,
            win_prob: WinProb::MAX,
            sender_nonce: self.tickets,
            recipient_rand_hash: keccak256(B256::from(recipient_rand)),
            creation_round: Round(round.to()),
            creation_round_block_hash: hash,
            deployment: Some(tag).filter(|_| self.tickets.is_multiple_of(2)),
        };
        let packed = [
            ticket.recipient.as_slice(),
            ticket.sender.as_slice(),
            &ticket.face_value.to_be_bytes::<32>(),
            &ticket.win_prob.0.to_be_bytes::<32>(),
            &U256::from(ticket.sender_nonce).to_be_bytes::<32>(),
            ticket.recipient_rand_hash.as_slice(),
            &U256::from(ticket.creation_round.0).to_be_bytes::<32>(),
            ticket.creation_round_block_hash.as_slice(),
            ticket.deployment.as_ref().map_or(&[], B256::as_slice),
        ]
        .concat();
        let sig = self.sender.sign_message_sync(keccak256(packed).as_slice())?.as_bytes();
        let signed = SignedTicket { ticket, sig: Signature65::new(sig) };
        Ok(WinningTicket { signed, recipient_rand, params_expiration_block: 0 })
    }

    async fn redeem(&self, winners: &[WinningTicket]) -> Result<()> {
        let calls = Calls::new(self.chain.contracts);
        let intent = match winners {
            [winner] => calls.redeem(winner),
            winners => calls.redeem_batch(winners.iter()),
        };
        within("redemption", send_all(&self.chain, &self.config, key(5)?, vec![intent])).await??;
        Ok(())
    }
}

fn gwei(amount: u64) -> U256 {
    U256::from(amount) * U256::from(GWEI)
}

#[tokio::test]
async fn funds_follow_every_event_and_equal_the_contract() -> Result<()> {
    let mut market = Market::open().await?;
    eventually("the first answer", || async {
        match market.monitor.funds(market.sender.address(), market.recipient).await {
            Err(ChainError::NotSynced) => Ok(false),
            funds => Ok(funds? == SenderFunds { pool_size: 2, ..SenderFunds::default() }),
        }
    })
    .await?;

    market.deployment.fund_sender(&market.sender, gwei(100), gwei(60)).await?;
    market.settled("funding", |funds| funds.deposit == gwei(100) && funds.reserve == gwei(60)).await?;

    let winner = market.winner(market.recipient, gwei(70)).await?;
    market.redeem(&[winner]).await?;
    market.settled("a ticket", |funds| funds.deposit == gwei(30)).await?;

    let winner = market.winner(market.recipient, gwei(40)).await?;
    market.redeem(&[winner]).await?;
    let after = market.settled("a ticket on the reserve", |funds| funds.claimed_by_recipient == gwei(10)).await?;
    assert_eq!((after.deposit, after.reserve, after.claimed_in_current_round), (U256::ZERO, gwei(50), gwei(10)));

    let broker = market.deployment.contracts.ticket_broker;
    market.deployment.call(&market.sender, broker, TicketBroker::unlockCall {}, U256::ZERO).await?;
    market.settled("unlock", |funds| funds.withdraw_round > Round(0)).await?;
    market.deployment.call(&market.sender, broker, TicketBroker::cancelUnlockCall {}, U256::ZERO).await?;
    market.settled("lock", |funds| funds.withdraw_round == Round(0)).await?;

    market.deployment.call(&market.sender, broker, TicketBroker::unlockCall {}, U256::ZERO).await?;
    market.deployment.next_round().await?;
    market.settled("a new round", |funds| funds.claimed_in_current_round.is_zero()).await?;
    market.deployment.next_round().await?;
    market.deployment.call(&market.sender, broker, TicketBroker::withdrawCall {}, U256::ZERO).await?;
    market.settled("withdrawal", |funds| funds.reserve.is_zero() && funds.withdraw_round == Round(0)).await?;
    Ok(())
}

#[tokio::test]
async fn funds_follow_what_is_committed() -> Result<()> {
    let mut market = Market::open().await?;
    let (calls, stranger) = (Calls::new(market.chain.contracts), key(3)?.address());
    let send = async |intent| {
        within("a commitment", send_all(&market.chain, &market.config, market.sender.clone(), vec![intent])).await??;
        anyhow::Ok(())
    };
    market.deployment.fund_sender(&market.sender, gwei(10), gwei(60)).await?;
    send(calls.commit_reserve(market.recipient, gwei(50))).await?;
    send(calls.commit_reserve(stranger, gwei(7))).await?;
    market.settled("a commitment", |funds| funds.committed == gwei(50)).await?;
    send(calls.release_reserve(market.recipient, gwei(20))).await?;
    market.settled("what is being released does not count", |funds| funds.committed == gwei(30)).await?;
    let own = |wanted| {
        let (monitor, sender) = (&market.monitor, market.sender.address());
        eventually("the sender's own view", move || async move {
            Ok(monitor.funds(sender, sender).await.is_ok_and(|funds| funds.committed == wanted))
        })
    };
    own(gwei(57)).await?;

    let winner = market.winner(market.recipient, gwei(25)).await?;
    market.redeem(&[winner]).await?;
    let after = market.settled("a ticket on the commitment", |funds| funds.committed == gwei(15)).await?;
    assert_eq!((after.deposit, after.reserve), (U256::ZERO, gwei(60)), "deposit, then commitment, then reserve");
    let (monitor, sender) = (&market.monitor, market.sender.address());
    eventually("the sender's own view", || async {
        Ok(monitor.funds(sender, sender).await.is_ok_and(|funds| funds.committed == gwei(42)))
    })
    .await
}

#[tokio::test]
async fn funds_of_a_removed_block_are_taken_back() -> Result<()> {
    let market = Market::open().await?;
    market.deployment.fund_sender(&market.sender, gwei(100), gwei(60)).await?;
    eventually("the funding", || async { Ok(market.funds().await.is_ok_and(|funds| funds.deposit == gwei(100))) })
        .await?;
    market.deployment.fund_sender(&market.sender, gwei(1), gwei(1)).await?;
    market.settled("more funding", |funds| funds.deposit == gwei(101)).await?;
    market.deployment.anvil.reorg(1, Vec::new()).await?;
    market.settled("less funding", |funds| funds.deposit == gwei(100)).await?;
    assert!(market.following.feed.health().borrow().is_live());
    Ok(())
}
