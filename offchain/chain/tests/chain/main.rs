//! Chain access against a real node: anvil with the contracts deployed by the Solidity script.

mod delegator;
mod fixture;
mod follower;
mod money;
mod state;
mod transactions;
