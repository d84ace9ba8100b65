//! `chain status`: the deployment, the round, and where an account stands.
use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    sol_types::SolCall,
};
use serde::Serialize;
use streamflow_bindings::{
    AddressBook, BondingManager, ContractName, Controller, LivepeerToken, RoundsManager, ServiceRegistry, TicketBroker,
};
use streamflow_chain::{Chain, ChainError};

use super::Context;
use crate::{
    amount::{Eth, Lpt, gwei, percent},
    output::{Report, Table},
};

/// What `chain status` prints.
#[derive(Debug, Serialize)]
pub struct ChainStatus {
    rpc: String,
    chain_id: u64,
    block: u64,
    base_fee: u128,
    paused: bool,
    contracts: AddressBook,
    round: RoundStatus,
    orchestrators: u64,
    /// Absent when no key is configured.
    account: Option<AccountStatus>,
}

#[derive(Debug, Serialize)]
struct RoundStatus {
    current: u64,
    initialized: bool,
    last_initialized: u64,
    start_block: u64,
    length: u64,
    locked: bool,
}

/// An account: wallet, deposit, stake. Amounts in the smallest unit.
#[derive(Debug, Serialize)]
pub struct AccountStatus {
    pub address: Address,
    pub eth: Eth,
    pub lpt: Lpt,
    pub deposit: Eth,
    pub reserve: Eth,
    /// Reserve committed to single orchestrators, all together.
    pub committed: Eth,
    /// 0 while deposit and reserve are locked.
    pub withdraw_round: u64,
    /// Own stake with rewards so far.
    pub stake: Lpt,
    pub fees: Eth,
    pub delegate: Address,
    pub registered: bool,
    pub active: bool,
    /// Own and delegated stake; 0 unless registered.
    pub total_stake: Lpt,
    /// ppm
    pub reward_cut: u64,
    /// ppm
    pub fee_share: u64,
    pub last_reward_round: u64,
    pub service_uri: String,
}

/// Reads and prints it.
///
/// # Errors
/// When the node or the deployment cannot be reached.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    let account = match context.config.keys.source()? {
        Some(_) => Some(context.config.keys.load()?.address()),
        None => None,
    };
    let chain = context.connect().await?;
    let status = read(&chain, account).await?;
    context.output.result(&status)?;
    Ok(())
}

async fn read(chain: &Chain, account: Option<Address>) -> anyhow::Result<ChainStatus> {
    let contracts = chain.contracts;
    let view = View { chain };
    let head = chain.rpc.head().await?;
    let rounds = contracts.rounds_manager;
    let round = RoundStatus {
        current: view.read(rounds, RoundsManager::currentRoundCall {}).await?.saturating_to(),
        initialized: view.read(rounds, RoundsManager::currentRoundInitializedCall {}).await?,
        last_initialized: view.read(rounds, RoundsManager::lastInitializedRoundCall {}).await?.saturating_to(),
        start_block: view.read(rounds, RoundsManager::currentRoundStartBlockCall {}).await?.saturating_to(),
        length: view.read(rounds, RoundsManager::roundLengthCall {}).await?.saturating_to(),
        locked: view.read(rounds, RoundsManager::currentRoundLockedCall {}).await?,
    };
    Ok(ChainStatus {
        rpc: chain.rpc.host().to_owned(),
        chain_id: chain.chain_id,
        block: head.number,
        base_fee: head.base_fee,
        paused: view.read(contracts.controller, Controller::pausedCall {}).await?,
        contracts,
        round,
        orchestrators: view
            .read(contracts.bonding_manager, BondingManager::getTranscoderPoolSizeCall {})
            .await?
            .saturating_to(),
        account: match account {
            Some(account) => Some(read_account(chain, account).await?),
            None => None,
        },
    })
}

/// Where `address` stands.
pub(crate) async fn read_account(chain: &Chain, address: Address) -> anyhow::Result<AccountStatus> {
    let AddressBook { bonding_manager: bonding, .. } = chain.contracts;
    let view = View { chain };
    let token = chain.contracts.livepeer_token;
    let funds = view.read(chain.contracts.ticket_broker, TicketBroker::getSenderInfoCall { addr: address }).await?;
    let committed = TicketBroker::committedReserveOfCall { sender: address };
    // The deployed network's broker knows no commitments.
    let committed = match chain.rpc.view(chain.contracts.ticket_broker, committed, BlockId::latest()).await {
        Err(ChainError::Reverted { .. }) => U256::ZERO,
        committed => committed?,
    };
    let delegator = view.read(bonding, BondingManager::getDelegatorCall { delegator: address }).await?;
    let transcoder = view.read(bonding, BondingManager::getTranscoderCall { transcoder_: address }).await?;
    let (none, end_round) = (U256::ZERO, U256::ZERO);
    let registered = view.read(bonding, BondingManager::isRegisteredTranscoderCall { transcoder_: address }).await?;
    let total = view.read(bonding, BondingManager::transcoderTotalStakeCall { transcoder_: address }).await?;
    Ok(AccountStatus {
        address,
        eth: Eth(chain.rpc.balance(address, BlockId::latest()).await?),
        lpt: Lpt(view.read(token, LivepeerToken::balanceOfCall { account: address }).await?),
        deposit: Eth(funds.sender.deposit),
        reserve: Eth(funds.reserve.fundsRemaining),
        committed: Eth(committed),
        withdraw_round: funds.sender.withdrawRound.saturating_to(),
        stake: Lpt(view.read(bonding, BondingManager::pendingStakeCall { delegator: address, _1: end_round }).await?),
        fees: Eth(view.read(bonding, BondingManager::pendingFeesCall { delegator: address, _1: end_round }).await?),
        delegate: delegator.delegateAddress,
        registered,
        active: view.read(bonding, BondingManager::isActiveTranscoderCall { transcoder_: address }).await?,
        total_stake: Lpt(if registered { total } else { none }),
        reward_cut: transcoder.rewardCut.saturating_to(),
        fee_share: transcoder.feeShare.saturating_to(),
        last_reward_round: transcoder.lastRewardRound.saturating_to(),
        service_uri: view
            .read(chain.contracts.service_registry, ServiceRegistry::getServiceURICall { addr: address })
            .await?,
    })
}

struct View<'a> {
    chain: &'a Chain,
}

impl View<'_> {
    async fn read<C: SolCall>(&self, to: Address, call: C) -> anyhow::Result<C::Return> {
        Ok(self.chain.rpc.view(to, call, BlockId::latest()).await?)
    }
}

impl Report for ChainStatus {
    fn text(&self) -> String {
        let round = &self.round;
        let mut table = Table::facts();
        table
            .fact("chain", format_args!("{} at {}, block {}", self.chain_id, self.rpc, self.block))
            .fact("base fee", gwei(self.base_fee))
            .fact("protocol", if self.paused { "paused" } else { "running" })
            .fact(
                "round",
                format_args!("{}{}", round.current, if round.initialized { "" } else { " (not initialised)" }),
            )
            .fact("round blocks", format_args!("{} from block {}", round.length, round.start_block))
            .fact("orchestrators", self.orchestrators)
            .fact("Controller", self.contracts.controller);
        for name in ContractName::ALL {
            table.fact(name.as_str(), self.contracts.get(name));
        }
        match &self.account {
            Some(account) => account.add_to(&mut table),
            None => {
                table.fact("account", "no key is configured");
            }
        }
        table.to_string()
    }
}

impl AccountStatus {
    fn add_to(&self, table: &mut Table) {
        table
            .fact("account", self.address)
            .fact("wallet", format_args!("{}, {}", self.eth, self.lpt))
            .fact("deposit", self.deposit)
            .fact("reserve", self.reserve)
            .fact("committed", self.committed);
        if self.withdraw_round != 0 {
            table.fact("unlocking", format_args!("withdrawable from round {}", self.withdraw_round));
        }
        match self.delegate.is_zero() {
            true => table.fact("stake", "none"),
            false => table.fact("stake", format_args!("{} to {}", self.stake, self.delegate)),
        };
        table.fact("fees", self.fees);
        if self.registered {
            let state = if self.active { "active" } else { "registered, not active in this round" };
            table
                .fact("orchestrator", state)
                .fact("total stake", self.total_stake)
                .fact(
                    "shares",
                    format_args!("reward cut {}, fee share {}", percent(self.reward_cut), percent(self.fee_share)),
                )
                .fact("last reward", format_args!("round {}", self.last_reward_round))
                .fact("service URI", &self.service_uri);
        }
    }
}
