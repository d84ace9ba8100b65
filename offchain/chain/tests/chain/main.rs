//! Chain access against a real node: anvil with the contracts deployed by the Solidity script.

mod delegator;
mod endpoints;
mod fixture;
mod follower;
mod jobs;
mod money;
mod orders;
mod profiles;
mod registry;
mod state;
mod transactions;
