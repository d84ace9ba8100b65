//! Views of the contracts, and those that only some deployments have.
use alloy::{
    eips::BlockId,
    primitives::{Address, B256, U256, keccak256},
    sol_types::SolCall,
};
use serde::Serialize;
use streamflow_bindings::{BondingManager, Controller};
use streamflow_types::{Ppm, Round};

use super::factors::Pool;
use crate::{Chain, ChainError, number::to_u64};

mod deployed {
    alloy::sol! {
        /// Of the deployed network: parts of 10^27 of each reward that go to a treasury.
        #[derive(Debug)]
        function treasuryRewardCutRate() external view returns (uint256);
    }
}

/// Commissions of an orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// What it keeps of LPT rewards.
    pub reward_cut: Ppm,
    /// What delegators get of ETH fees.
    pub fee_share: Ppm,
}

/// Commissions that were announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Announced {
    /// In force from this round on.
    pub effective_round: Round,
    /// All of them then.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What the contracts say about changes of commissions to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Pending {
    /// No change waits.
    None,
    /// A change waits.
    Announced(Announced),
    /// This deployment announces none: commissions may change in any round.
    NotAnnounced,
}

impl Pending {
    /// The change that waits.
    pub const fn announced(&self) -> Option<&Announced> {
        match self {
            Self::Announced(change) => Some(change),
            Self::None | Self::NotAnnounced => None,
        }
    }
}

/// Views of BondingManager at one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Views<'a> {
    pub(super) chain: &'a Chain,
    pub(super) at: BlockId,
}

impl Views<'_> {
    pub(super) async fn staking<C: SolCall>(&self, call: C) -> Result<C::Return, ChainError> {
        self.chain.rpc.view(self.chain.contracts.bonding_manager, call, self.at).await
    }

    /// A view that this deployment may lack.
    async fn optional<C: SolCall>(&self, call: C) -> Result<Option<C::Return>, ChainError> {
        match self.staking(call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ChainError::Reverted { .. } | ChainError::BadContract { .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub(super) async fn pool(&self, transcoder: Address, round: u64) -> Result<Pool, ChainError> {
        let round = U256::from(round);
        self.staking(BondingManager::getTranscoderEarningsPoolForRoundCall { transcoder_: transcoder, round }).await
    }

    pub(super) async fn pending(&self, transcoder: Address) -> Result<Pending, ChainError> {
        let call = BondingManager::getPendingCommissionsCall { transcoder_: transcoder };
        let Some(change) = self.optional(call).await? else { return Ok(Pending::NotAnnounced) };
        if change.effectiveRound.is_zero() {
            return Ok(Pending::None);
        }
        Ok(Pending::Announced(Announced {
            effective_round: Round(to_u64(change.effectiveRound, "the round of a commission change")?),
            terms: terms(change.rewardCut, change.feeShare)?,
        }))
    }

    /// Rounds after unbonding in which stake cannot go to another orchestrator, where there is such a rule.
    pub(super) async fn challenge_window(&self) -> Result<Option<u64>, ChainError> {
        let name: B256 = keccak256("Verifier");
        let lookup = Controller::getContractCall { id: name };
        if self.chain.rpc.view(self.chain.contracts.controller, lookup, self.at).await?.is_zero() {
            return Ok(None);
        }
        self.optional(BondingManager::challengeWindowCall {}).await
    }

    /// Parts of 10^27 of each reward that a treasury takes; none where there is no treasury.
    pub(super) async fn treasury_cut(&self) -> Result<U256, ChainError> {
        Ok(self.optional(deployed::treasuryRewardCutRateCall {}).await?.unwrap_or_default())
    }
}

/// # Errors
///
/// A commission is more than the whole.
pub(super) fn terms(reward_cut: U256, fee_share: U256) -> Result<Terms, ChainError> {
    let ppm = |parts: U256| {
        let parts = u32::try_from(parts).map_err(|_| ChainError::OutOfRange { what: "a commission" })?;
        Ppm::new(parts).map_err(|_| ChainError::OutOfRange { what: "a commission" })
    };
    Ok(Terms { reward_cut: ppm(reward_cut)?, fee_share: ppm(fee_share)? })
}
