//! Arguments of the commands that work on contracts.
use std::path::PathBuf;

use alloy::primitives::Address;
use clap::{Args, Subcommand};
use url::Url;

use crate::amount::{Eth, Lpt, Share};

/// Options of every command that sends a transaction.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Spend {
    /// Simulate only: show gas and what would change, send nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Deploy the contracts with the deploy script, through forge
    Deploy(DeployArgs),
    /// Contracts, round, and this account's deposit, reserve, stake and balances
    Status,
    /// Deposit and reserve ETH to pay orchestrators from
    Fund(FundArgs),
    /// Start unlocking deposit and reserve; they can be withdrawn some rounds later
    Unlock(Spend),
    /// Start taking back what is committed to an orchestrator; it can be withdrawn some rounds later
    Release(ReleaseArgs),
    /// Take unlocked deposit and reserve back, or what was released of a commitment
    Withdraw(WithdrawArgs),
    /// Stake as an orchestrator, set its shares and publish where it listens
    Register(RegisterArgs),
    /// Name the keeper that may redeem this account's tickets in order, many at once
    SetRedeemer(RedeemerArgs),
}

#[derive(Clone, Debug, Args)]
pub struct DeployArgs {
    /// Project with foundry.toml and the deploy script; without it, searched from the working directory upwards
    #[arg(long, value_name = "DIR", env = "STREAMFLOW_PROJECT_DIR")]
    pub project_dir: Option<PathBuf>,
    /// Where to write the addresses, as JSON; without it, in the data directory
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub spend: Spend,
}

#[derive(Clone, Debug, Args)]
pub struct FundArgs {
    /// Added to the deposit, which any winning ticket may draw on: 1.5eth, 10gwei or wei
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub deposit: Eth,
    /// Added to the reserve, which pays when the deposit is empty: in equal parts committed to the orchestrators named by
    /// --commit-to or broadcaster.orchestrators; shared by all active ones if none is named
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub reserve: Eth,
    /// An orchestrator to commit reserve to; may be given several times
    #[arg(long, value_name = "ADDRESS", conflicts_with = "shared")]
    pub commit_to: Vec<Address>,
    /// Leave the reserve to all active orchestrators, as nodes of the deployed network expect it
    #[arg(long)]
    pub shared: bool,
    #[command(flatten)]
    pub spend: Spend,
}

#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    /// The orchestrator it is committed to
    #[arg(long, value_name = "ADDRESS")]
    pub orchestrator: Address,
    /// How much; without it, everything; 0 stops a release
    #[arg(long, value_name = "AMOUNT")]
    pub amount: Option<Eth>,
    #[command(flatten)]
    pub spend: Spend,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct WithdrawArgs {
    /// Withdraw what was released of the commitment to this orchestrator instead
    #[arg(long, value_name = "ADDRESS")]
    pub committed_to: Option<Address>,
    #[command(flatten)]
    pub spend: Spend,
}

#[derive(Clone, Debug, Args)]
pub struct RegisterArgs {
    /// Where broadcasters reach this orchestrator
    #[arg(long, value_name = "URL")]
    pub service_uri: Url,
    /// Staked to itself, on top of what is staked: 100lpt
    #[arg(long, value_name = "AMOUNT")]
    pub stake: Lpt,
    /// Kept of the LPT rewards, the rest goes to delegators: 10%
    #[arg(long, value_name = "SHARE")]
    pub reward_cut: Share,
    /// Given of the ETH fees to delegators: 95%
    #[arg(long, value_name = "SHARE")]
    pub fee_share: Share,
    /// Account that may call reward for this one, so that its key need not be online
    #[arg(long, value_name = "ADDRESS")]
    pub reward_caller: Option<Address>,
    /// Keeper that may redeem this account's tickets in order, to be trusted like an own key
    #[arg(long, value_name = "ADDRESS")]
    pub redeemer: Option<Address>,
    #[command(flatten)]
    pub spend: Spend,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct RedeemerArgs {
    /// The keeper's account, to be trusted like an own key; 0x0000000000000000000000000000000000000000 withdraws the right
    #[arg(long, value_name = "ADDRESS")]
    pub redeemer: Address,
    #[command(flatten)]
    pub spend: Spend,
}

#[derive(Debug, Subcommand)]
pub enum StakeCommand {
    /// Stake LPT to an orchestrator
    Bond {
        /// How much: 100lpt
        #[arg(long, value_name = "AMOUNT")]
        amount: Lpt,
        /// The orchestrator; without it, the present one, or this account itself
        #[arg(long, value_name = "ADDRESS")]
        to: Option<Address>,
        #[command(flatten)]
        spend: Spend,
    },
    /// Take stake back; it is free some rounds later
    Unbond {
        /// How much: 100lpt
        #[arg(long, value_name = "AMOUNT")]
        amount: Lpt,
        #[command(flatten)]
        spend: Spend,
    },
    /// Stake again what is being unbonded
    Rebond {
        /// Number of the lock, as unbond printed it
        #[arg(long, value_name = "N")]
        lock: u64,
        /// The orchestrator, when nothing is staked any more
        #[arg(long, value_name = "ADDRESS")]
        to: Option<Address>,
        #[command(flatten)]
        spend: Spend,
    },
    /// Withdraw LPT whose unbonding time is over
    Withdraw {
        /// Number of the lock, as unbond printed it
        #[arg(long, value_name = "N")]
        lock: u64,
        #[command(flatten)]
        spend: Spend,
    },
    /// Book rewards and fees earned so far
    Claim(Spend),
    /// Turn earned fees into ETH in a wallet
    WithdrawFees {
        /// How much; without it, everything
        #[arg(long, value_name = "AMOUNT")]
        amount: Option<Eth>,
        /// Who gets it; without it, this account
        #[arg(long, value_name = "ADDRESS")]
        to: Option<Address>,
        #[command(flatten)]
        spend: Spend,
    },
}

#[derive(Debug, Subcommand)]
pub enum TicketsCommand {
    /// Winning tickets and what became of them
    List {
        /// Only those in this state: pending, submitted, redeemed or dead
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// At most so many, newest first
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u32,
    },
}
