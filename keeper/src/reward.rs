//! Calling `reward` once per round for an active orchestrator. A round missed cannot be made up for.

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    rpc::types::Log,
    sol_types::SolEvent,
};
use streamflow_bindings::BondingManager;
use streamflow_chain::{Chain, IntentId, Revert, TxError, TxHandle, TxIntent};
use streamflow_store::{RewardRecord, Store};
use streamflow_types::{ChainView, Round};

use crate::{KeeperError, duty::Progress, number::to_u64};

/// An orchestrator, and the key that calls `reward` for it: its own, or one that it named its reward caller.
#[derive(Clone, Debug)]
pub struct Rewarder {
    /// Account of the orchestrator.
    pub orchestrator: Address,
    /// Sends with the calling key.
    pub tx: TxHandle,
}

impl Rewarder {
    /// For an orchestrator that calls with its own key.
    pub const fn own(tx: TxHandle) -> Self {
        Self { orchestrator: tx.address(), tx }
    }

    /// Calls `reward` if it is due in this round.
    pub(crate) async fn pass(
        self,
        chain: Chain,
        store: Store,
        view: ChainView,
        attempt: u32,
    ) -> Result<Progress, KeeperError> {
        let (orchestrator, round) = (self.orchestrator, view.round);
        if !is_due(&chain, orchestrator, round).await? {
            return Ok(Progress::Settled);
        }
        let id = IntentId::new(format!("reward/{orchestrator}/{round}/{attempt}"));
        let bonding = chain.contracts.bonding_manager;
        let intent = if self.tx.address() == orchestrator {
            TxIntent::call("reward", bonding, &BondingManager::rewardCall {})
        } else {
            TxIntent::call("reward", bonding, &BondingManager::rewardForTranscoderCall { transcoder_: orchestrator })
        };
        match self.tx.send(intent.with_id(id)).await {
            Ok(outcome) => {
                let amount = minted(bonding, orchestrator, &outcome.logs);
                tracing::info!(%orchestrator, %round, %amount, "reward called");
                crate::metrics::rewarded();
                let record = RewardRecord { orchestrator, round, amount, tx_hash: outcome.hash, block: outcome.block };
                store.record_reward(&record).await?;
                Ok(Progress::Settled)
            }
            Err(TxError::WouldRevert { reason, .. } | TxError::Reverted { reason, .. }) if already_called(&reason) => {
                Ok(Progress::Settled)
            }
            Err(err) => Err(err.into()),
        }
    }
}

/// Active in this round, and not rewarded in it yet.
async fn is_due(chain: &Chain, transcoder: Address, round: Round) -> Result<bool, KeeperError> {
    let bonding = chain.contracts.bonding_manager;
    let (active, record) = tokio::try_join!(
        chain.rpc.view(bonding, BondingManager::isActiveTranscoderCall { transcoder_: transcoder }, BlockId::latest()),
        chain.rpc.view(bonding, BondingManager::getTranscoderCall { transcoder_: transcoder }, BlockId::latest()),
    )?;
    Ok(active && to_u64(record.lastRewardRound, "the last reward round")? < round.0)
}

fn already_called(reason: &Revert) -> bool {
    reason.decode::<BondingManager::RewardAlreadyCalled>().is_some()
        || reason
            .decode::<alloy::sol_types::Revert>()
            .is_some_and(|text| text.reason == "caller has already called reward for the current round")
}

/// LPT minted, from the event; zero if the deployment mints nothing.
fn minted(bonding: Address, orchestrator: Address, logs: &[Log]) -> U256 {
    let rewards = logs.iter().filter(|log| log.address() == bonding);
    let mut rewards = rewards.filter_map(|log| BondingManager::Reward::decode_log(&log.inner).ok());
    rewards.find(|event| event.transcoder == orchestrator).map_or(U256::ZERO, |event| event.amount)
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolError;

    use super::*;

    #[test]
    fn the_amount_is_that_of_the_orchestrators_own_event() {
        let bonding = Address::repeat_byte(0xb0);
        let log = |address, transcoder, amount: u64| {
            let event = BondingManager::Reward { transcoder, amount: U256::from(amount) };
            Log { inner: alloy::primitives::Log { address, data: event.encode_log_data() }, ..Log::default() }
        };
        let us = Address::repeat_byte(1);
        let logs = [log(Address::ZERO, us, 1), log(bonding, Address::repeat_byte(2), 2), log(bonding, us, 3)];
        assert_eq!(minted(bonding, us, &logs), U256::from(3));
        assert_eq!(minted(bonding, us, &logs[..2]), U256::ZERO);
    }

    #[test]
    fn a_reward_called_before_is_a_success() {
        let called = BondingManager::RewardAlreadyCalled { transcoder: Address::ZERO, round: U256::from(1) };
        assert!(already_called(&Revert::new(called.abi_encode().into())));
        assert!(!already_called(&Revert::default()));
    }
}
