//! One operation on contracts: planned, simulated as a whole, then sent step by step.
use alloy::{
    eips::BlockId,
    network::TransactionBuilder,
    primitives::{Address, Bytes, TxHash, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use streamflow_chain::{
    BlockFollower, Calls, Chain, ChainConfig, MemoryJournal, Revert, TxError, TxHandle, TxIntent, TxManager, TxOutcome,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Context;
use crate::{
    amount::{Eth, as_decimal, gwei},
    cli::Spend,
    exit::Refused,
    output::{Output, Report, Table},
};

/// What an operation will do, in words and as transactions.
#[derive(Clone, Debug)]
pub struct Plan {
    operation: &'static str,
    steps: Vec<TxIntent>,
    changes: Vec<Change>,
}

/// A figure before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    what: &'static str,
    before: String,
    after: String,
}

impl Plan {
    /// An operation without steps.
    pub const fn new(operation: &'static str) -> Self {
        Self { operation, steps: Vec::new(), changes: Vec::new() }
    }

    /// Adds a transaction.
    pub fn step(mut self, step: TxIntent) -> Self {
        self.steps.push(step);
        self
    }

    /// States a figure that will change; one that stays is left out.
    pub fn change(mut self, what: &'static str, before: impl ToString, after: impl ToString) -> Self {
        let (before, after) = (before.to_string(), after.to_string());
        if before != after {
            self.changes.push(Change { what, before, after });
        }
        self
    }
}

/// An account on a deployment.
#[derive(Debug)]
pub struct Account {
    pub chain: Chain,
    pub address: Address,
    signer: PrivateKeySigner,
    config: ChainConfig,
}

/// What an operation did, or would do.
#[derive(Debug, Serialize)]
pub struct Outcome {
    operation: &'static str,
    account: Address,
    dry_run: bool,
    steps: Vec<StepOutcome>,
    changes: Vec<Change>,
    /// Wei for gas: paid, or in a dry run at most to pay.
    #[serde(serialize_with = "as_decimal")]
    cost: U256,
}

#[derive(Debug, Serialize)]
struct StepOutcome {
    what: &'static str,
    to: Address,
    #[serde(serialize_with = "as_decimal")]
    value: U256,
    /// Used, or in a dry run simulated.
    gas: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TxHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
}

/// Wei per gas.
#[derive(Clone, Copy, Debug)]
struct Fees {
    max: u128,
}

impl Account {
    /// Reads the key and connects.
    pub(crate) async fn open(context: &Context) -> anyhow::Result<Self> {
        let signer = context.config.keys.load()?;
        let chain = context.connect().await?;
        Ok(Self { chain, address: signer.address(), signer, config: context.config.chain.clone() })
    }

    /// Builds transactions for this deployment.
    pub(crate) const fn calls(&self) -> Calls {
        Calls::new(self.chain.contracts)
    }

    /// Reads a view in the newest state.
    pub(crate) async fn view<C: SolCall>(&self, to: Address, call: C) -> anyhow::Result<C::Return> {
        Ok(self.chain.rpc.view(to, call, BlockId::latest()).await?)
    }

    /// Simulates `plan`, and unless this is a dry run sends it; prints what happened.
    ///
    /// # Errors
    /// [`Refused`] before anything is sent when a step would revert, funds are short or gas is too expensive.
    pub(crate) async fn carry_out(&self, plan: Plan, spend: Spend, output: Output) -> anyhow::Result<()> {
        let outcome = self.perform(plan, spend, output).await?;
        output.result(&outcome)?;
        Ok(())
    }

    async fn perform(&self, plan: Plan, spend: Spend, output: Output) -> anyhow::Result<Outcome> {
        let fees = self.fees().await?;
        // Before the simulation, whose answer to missing funds depends on the node and names no figures.
        self.require_funds(&plan, &[], fees).await?;
        let gas = self.simulate(&plan).await?;
        self.require_funds(&plan, &gas, fees).await?;
        if spend.dry_run { Ok(self.foresee(plan, &gas, fees)) } else { self.send_all(plan, output).await }
    }

    async fn fees(&self) -> anyhow::Result<Fees> {
        let base = self.chain.rpc.head().await?.base_fee;
        let settings = &self.config.tx;
        let (limit, tip) = (u128::from(settings.max_fee_per_gas), u128::from(settings.priority_fee_per_gas));
        if base + tip > limit {
            let (now, limit) = (gwei(base + tip), gwei(limit));
            bail!(Refused(format!("gas costs {now}, more than chain.tx.max_fee_per_gas of {limit}")));
        }
        Ok(Fees { max: (base * u128::from(settings.base_fee_percent) / 100 + tip).min(limit) })
    }

    /// Runs all steps in order on the newest state, without sending them. Returns the gas of each.
    async fn simulate(&self, plan: &Plan) -> anyhow::Result<Vec<u64>> {
        if plan.steps.is_empty() {
            return Ok(Vec::new());
        }
        let requests: Vec<_> = plan.steps.iter().map(|step| self.request(step)).collect();
        let payload = serde_json::json!({ "blockStateCalls": [{ "calls": requests }] });
        let provider = self.chain.rpc.provider();
        let simulated: Result<Vec<SimulatedBlock>, _> =
            provider.raw_request("eth_simulateV1".into(), (payload, "latest")).await;
        let blocks = simulated.map_err(|e| match e.as_error_resp().map(|refusal| refusal.message.to_string()) {
            Some(message) if message.to_lowercase().contains("insufficient") => Refused(message).into(),
            _ => anyhow::Error::new(e).context("cannot simulate: the node must support eth_simulateV1"),
        })?;
        let results: Vec<_> = blocks.into_iter().flat_map(|block| block.calls).collect();
        anyhow::ensure!(results.len() == plan.steps.len(), "the node simulated {} steps", results.len());
        let judged = plan.steps.iter().zip(results).map(|(step, result)| {
            if result.status.is_zero() {
                bail!(Refused(format!("{} would revert: {}", step.label, result.reason())));
            }
            Ok(result.gas_used.saturating_to())
        });
        judged.collect()
    }

    async fn require_funds(&self, plan: &Plan, gas: &[u64], fees: Fees) -> anyhow::Result<()> {
        let balance = self.chain.rpc.balance(self.address, BlockId::latest()).await?;
        let value = plan.steps.iter().fold(U256::ZERO, |sum, step| sum.saturating_add(step.value));
        let needed = value.saturating_add(self.cost(gas, fees));
        if balance < needed {
            let account = self.address;
            let (gas, has, needed) = (if gas.is_empty() { "and gas" } else { "with gas" }, Eth(balance), Eth(needed));
            bail!(Refused(format!("{account} has {has}, and needs up to {needed} {gas}")));
        }
        Ok(())
    }

    /// Wei that `gas` costs at most, with the headroom that is added to each step.
    fn cost(&self, gas: &[u64], fees: Fees) -> U256 {
        let percent = 100 + u64::from(self.config.tx.gas_headroom_percent);
        let total: u64 = gas.iter().map(|gas| gas.saturating_mul(percent) / 100).sum();
        U256::from(total) * U256::from(fees.max)
    }

    fn foresee(&self, plan: Plan, gas: &[u64], fees: Fees) -> Outcome {
        let steps = plan.steps.iter().zip(gas).map(|(step, gas)| StepOutcome::foreseen(step, *gas)).collect();
        let cost = self.cost(gas, fees);
        Outcome { operation: plan.operation, account: self.address, dry_run: true, steps, changes: plan.changes, cost }
    }

    async fn send_all(&self, plan: Plan, output: Output) -> anyhow::Result<Outcome> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let _end = stop.clone().drop_guard();
        let (follower, feed) = BlockFollower::new(&self.chain, &self.config);
        tasks.spawn(follower.run(stop.clone()));
        // in memory: the journal on disk belongs to a keeper that may be running with this key
        let journal = MemoryJournal::default();
        let (manager, handle) = TxManager::new(&self.chain, &self.config, self.signer.clone(), journal, &feed);
        tasks.spawn(manager.run(stop));

        let mut steps = Vec::with_capacity(plan.steps.len());
        let mut cost = U256::ZERO;
        for step in &plan.steps {
            let (done, paid) = send(&handle, step, output).await?;
            steps.push(done);
            cost += paid;
        }
        let Plan { operation, changes, .. } = plan;
        Ok(Outcome { operation, account: self.address, dry_run: false, steps, changes, cost })
    }

    fn request(&self, step: &TxIntent) -> TransactionRequest {
        TransactionRequest::default()
            .with_from(self.address)
            .with_to(step.to)
            .with_value(step.value)
            .with_input(step.data.clone())
    }
}

async fn send(handle: &TxHandle, step: &TxIntent, output: Output) -> anyhow::Result<(StepOutcome, U256)> {
    output.note(format_args!("sending: {}", step.label));
    let outcome = match handle.send(step.clone()).await {
        Ok(outcome) => outcome,
        Err(e @ (TxError::WouldRevert { .. } | TxError::FeeTooHigh { .. } | TxError::InsufficientFunds { .. })) => {
            bail!(Refused(e.to_string()))
        }
        Err(e) => return Err(e).with_context(|| format!("cannot {}", step.label)),
    };
    let cost = U256::from(outcome.gas_used) * U256::from(outcome.gas_price);
    Ok((StepOutcome::done(step, &outcome), cost))
}

impl StepOutcome {
    fn foreseen(step: &TxIntent, gas: u64) -> Self {
        Self { what: step.label, to: step.to, value: step.value, gas, transaction: None, block: None }
    }

    fn done(step: &TxIntent, outcome: &TxOutcome) -> Self {
        let (transaction, block) = (Some(outcome.hash), Some(outcome.block));
        Self { transaction, block, ..Self::foreseen(step, outcome.gas_used) }
    }
}

impl Report for Outcome {
    fn text(&self) -> String {
        let mut table = Table::new(["step", "gas", "sends"]);
        for step in &self.steps {
            let sends = if step.value.is_zero() { String::new() } else { Eth(step.value).to_string() };
            table.row([step.what.to_owned(), step.gas.to_string(), sends]);
        }
        let mut changes = Table::facts();
        for change in &self.changes {
            changes.fact(change.what, format_args!("{} -> {}", change.before, change.after));
        }
        let (did, cost) = if self.dry_run { ("would", "at most") } else { ("did", "paid") };
        let changes = if self.changes.is_empty() { String::new() } else { format!("\n\n{changes}") };
        format!(
            "{did} {} as {}\n\n{table}{changes}\n\ngas: {cost} {}{}",
            self.operation,
            self.account,
            Eth(self.cost),
            if self.dry_run { "; dry run, nothing was sent" } else { "" },
        )
    }
}

/// The part of an `eth_simulateV1` answer that is read; nodes of different chains differ in the rest.
#[derive(Debug, Deserialize)]
struct SimulatedBlock {
    calls: Vec<SimulatedCall>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedCall {
    #[serde(default)]
    return_data: Bytes,
    gas_used: U256,
    status: U256,
    error: Option<SimulatedError>,
}

#[derive(Debug, Deserialize)]
struct SimulatedError {
    #[serde(default)]
    message: String,
    data: Option<Bytes>,
}

impl SimulatedCall {
    /// Nodes put the revert data in either of two places.
    fn reason(&self) -> String {
        let data = self.error.as_ref().and_then(|error| error.data.clone()).filter(|data| !data.is_empty());
        let data = data.unwrap_or_else(|| self.return_data.clone());
        match &self.error {
            Some(error) if data.is_empty() => error.message.clone(),
            _ => Revert::new(data).to_string(),
        }
    }
}
