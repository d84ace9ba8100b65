//! The running factors of an orchestrator, by which the contract pays delegators (docs/designs/003-staking.md).
use alloy::primitives::{Address, U256};
use streamflow_bindings::BondingManager;

use super::{Rate, views::Views};
use crate::ChainError;

/// Rounds before the first one that are searched for the factors with which it began.
const LOOK_BACK: u64 = 32;
/// A factor of nothing earned yet: 10^27, which is 1.
const ONE: U256 = U256::from_limbs([0x9fd0_803c_e800_0000, 0x033b_2e3c, 0, 0]);

/// A pool of one round, as the contract has it.
pub(super) type Pool = BondingManager::getTranscoderEarningsPoolForRoundReturn;

/// Both at the beginning of a round; `None` if not known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Factors {
    pub(super) reward: Option<U256>,
    pub(super) fee: Option<U256>,
}

impl Factors {
    /// Those that `round` began with, from the pools of the rounds before: a pool keeps a factor only if it moved.
    pub(super) async fn before(views: Views<'_>, orchestrator: Address, round: u64) -> Result<Self, ChainError> {
        let mut factors = Self::default();
        for age in 1..=LOOK_BACK {
            let Some(earlier) = round.checked_sub(age).filter(|earlier| *earlier > 0) else {
                return Ok(Self { reward: factors.reward.or(Some(ONE)), fee: factors.fee.or(Some(U256::ZERO)) });
            };
            let pool = views.pool(orchestrator, earlier).await?;
            factors.reward = factors.reward.or(some(pool.cumulativeRewardFactor));
            factors.fee = factors.fee.or(some(pool.cumulativeFeeFactor));
            if factors.reward.is_some() && factors.fee.is_some() {
                break;
            }
        }
        Ok(factors)
    }

    /// Fees of one staked unit in the round of `pool`: what its fee factor grew by, per unit as the round began.
    pub(super) fn paid(&self, pool: &Pool) -> Option<Rate> {
        let grown = pool.cumulativeFeeFactor.checked_sub(self.fee?)?;
        Rate::new(grown, self.reward?)
    }

    /// To the end of the round of `pool`.
    pub(super) fn advance(&mut self, pool: &Pool, is_slashed: bool) {
        self.reward = some(pool.cumulativeRewardFactor).or(self.reward);
        self.fee = some(pool.cumulativeFeeFactor).or(self.fee);
        if is_slashed {
            // It made the reward factor smaller, which no pool says.
            self.reward = None;
        }
    }
}

/// The contracts leave what they do not know at zero.
pub(super) fn some(value: U256) -> Option<U256> {
    Some(value).filter(|value| !value.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(reward_factor: U256, fee_factor: U256) -> Pool {
        Pool {
            totalStake: U256::ZERO,
            transcoderRewardCut: U256::ZERO,
            transcoderFeeShare: U256::ZERO,
            cumulativeRewardFactor: reward_factor,
            cumulativeFeeFactor: fee_factor,
        }
    }

    #[test]
    fn one_is_ten_to_the_27th() {
        assert_eq!(ONE, U256::from(10).pow(U256::from(27)));
    }

    #[test]
    fn fees_are_paid_on_stake_as_it_was_before_the_rounds_reward() {
        let mut factors = Factors { reward: Some(ONE), fee: Some(U256::ZERO) };
        let grown = pool(ONE + ONE, ONE);
        assert_eq!(factors.paid(&grown), Some(Rate::whole(U256::ONE)));
        factors.advance(&grown, false);
        assert_eq!(factors.paid(&pool(U256::ZERO, ONE + ONE)), Rate::new(U256::ONE, U256::from(2)));
        factors.advance(&pool(U256::ZERO, U256::ZERO), true);
        assert_eq!(factors.paid(&pool(U256::ZERO, ONE + ONE)), None, "after a slash no pool tells the factor");
    }
}
