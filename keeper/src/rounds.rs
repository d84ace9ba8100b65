//! Initialising rounds. Anybody may; orchestrators take turns so that they do not all pay for the same call.

use alloy::{
    eips::BlockId,
    primitives::{Address, U256, keccak256},
    sol_types::{Revert as RevertString, SolValue},
};
use streamflow_bindings::RoundsManager;
use streamflow_chain::{Chain, IntentId, Revert, TxError, TxHandle, TxIntent};
use streamflow_types::ChainView;

use crate::{KeeperConfig, KeeperError, duty::Progress, number::to_u64};

/// Turns per round at most: with more orchestrators several share one, so that a round does not wait for long.
const MOST_TURNS: u64 = 10;

/// Block at which `account` should initialise `round`: a turn drawn from round and account among the active orchestrators.
pub fn turn(round: U256, round_start: u64, account: Address, pool_size: u64, slot_blocks: u64) -> u64 {
    let turns = U256::from(pool_size.clamp(1, MOST_TURNS));
    let draw = U256::from_be_bytes(keccak256((round, account).abi_encode()).0) % turns;
    round_start.saturating_add(draw.saturating_to::<u64>().saturating_mul(slot_blocks))
}

/// Initialises rounds with one key.
#[derive(Clone, Debug)]
pub(crate) struct RoundInitializer {
    pub(crate) chain: Chain,
    pub(crate) tx: TxHandle,
    pub(crate) slot_blocks: u64,
}

impl RoundInitializer {
    pub(crate) fn new(chain: &Chain, tx: &TxHandle, config: &KeeperConfig) -> Self {
        Self { chain: chain.clone(), tx: tx.clone(), slot_blocks: config.initialize_slot_blocks }
    }

    /// Initialises the current round if it is due and nobody has. `attempt` makes a call after one that reverted a new one.
    pub(crate) async fn pass(self, view: ChainView, attempt: u32) -> Result<Progress, KeeperError> {
        let rounds = self.chain.contracts.rounds_manager;
        let latest = BlockId::latest();
        let (round, start, initialized) = tokio::try_join!(
            self.chain.rpc.view(rounds, RoundsManager::currentRoundCall {}, latest),
            self.chain.rpc.view(rounds, RoundsManager::currentRoundStartBlockCall {}, latest),
            self.chain.rpc.view(rounds, RoundsManager::currentRoundInitializedCall {}, latest),
        )?;
        let start = to_u64(start, "the start of the round")?;
        if initialized {
            return Ok(Progress::Settled);
        }
        if view.block < turn(round, start, self.tx.address(), view.pool_size, self.slot_blocks) {
            return Ok(Progress::NotYet);
        }
        let id = IntentId::new(format!("initialize-round/{round}/{attempt}"));
        let intent = TxIntent::call("initialize round", rounds, &RoundsManager::initializeRoundCall {}).with_id(id);
        match self.tx.send(intent).await {
            Ok(outcome) => {
                tracing::info!(%round, block = outcome.block, "round initialised");
                crate::metrics::round_initialized();
                Ok(Progress::Settled)
            }
            Err(TxError::WouldRevert { reason, .. } | TxError::Reverted { reason, .. })
                if already_initialized(&reason) =>
            {
                tracing::debug!(%round, "somebody else initialised the round");
                Ok(Progress::Settled)
            }
            Err(err) => Err(err.into()),
        }
    }
}

/// Somebody was faster: what we wanted is done.
fn already_initialized(reason: &Revert) -> bool {
    reason.decode::<RoundsManager::RoundAlreadyInitialized>().is_some()
        || reason.decode::<RevertString>().is_some_and(|text| text.reason == "round already initialized")
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolError;

    use super::*;

    #[test]
    fn turns_are_spread_over_the_active_orchestrators() {
        let blocks: std::collections::BTreeSet<u64> =
            (0..50).map(|n| turn(U256::from(7), 100, Address::with_last_byte(n), 4, 3)).collect();
        assert_eq!(blocks.into_iter().collect::<Vec<_>>(), [100, 103, 106, 109]);
    }

    #[test]
    fn a_turn_is_the_same_every_time_and_differs_by_round() {
        let of = |round| turn(U256::from(round), 0, Address::repeat_byte(9), 10, 1);
        assert_eq!(of(3), of(3));
        assert!((0..20).map(of).any(|block| block != of(3)));
    }

    #[test]
    fn alone_or_without_slots_the_turn_is_at_once() {
        assert_eq!(turn(U256::from(7), 100, Address::repeat_byte(9), 0, 5), 100);
        assert_eq!(turn(U256::from(7), 100, Address::repeat_byte(9), 1, 5), 100);
        assert_eq!(turn(U256::from(7), 100, Address::repeat_byte(9), 1_000, 0), 100);
        assert!(turn(U256::from(7), 100, Address::repeat_byte(9), u64::MAX, 5) <= 145);
    }

    #[test]
    fn a_round_initialised_by_somebody_else_is_a_success() {
        let custom = RoundsManager::RoundAlreadyInitialized { round: U256::from(1) }.abi_encode();
        assert!(already_initialized(&Revert::new(custom.into())));
        let text = RevertString::from("round already initialized").abi_encode();
        assert!(already_initialized(&Revert::new(text.into())));
        assert!(!already_initialized(&Revert::new(RevertString::from("system is paused").abi_encode().into())));
    }
}
