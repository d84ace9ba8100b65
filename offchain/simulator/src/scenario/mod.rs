//! What is asked of the contracts and the agents, one question per file.
mod attack;
mod defaults;
mod delegators;
mod income;
mod keeper;

pub(crate) use self::{attack::attacks, defaults::defaults, delegators::delegators, income::income, keeper::keeper};
pub use self::{
    attack::{Attack, AttackOutcome, Switch},
    defaults::{Burst, DefaultLosses},
    delegators::{Delegators, Schedule},
    income::{Income, IncomePoint},
    keeper::{GasOfBatch, KeeperCosts, Policy, PolicyCost, PriceStep},
};
pub use crate::world::{Cover, Path};
