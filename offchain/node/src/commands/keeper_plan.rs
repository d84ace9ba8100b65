//! `keeper --dry-run`: what the keeper would do now with every winner that is not paid, why, and what it would cost.
use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use anyhow::Context as _;
use serde::Serialize;
use streamflow_chain::{BlockFollower, MemoryJournal, RoundFollower, TxManager};
use streamflow_keeper::{DryRun, Keeper, KeeperChain, PlannedBatch, PlannedTicket};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    amount::{Eth, gwei},
    data_dir::DataDir,
    database,
    output::{Report, Table},
};

#[derive(Debug, Serialize)]
struct Plan {
    block: u64,
    round: u64,
    account: Address,
    /// Wei per gas.
    gas_price: u128,
    /// Median of the recent blocks, wei per gas.
    #[serde(skip_serializing_if = "Option::is_none")]
    usual_gas_price: Option<u128>,
    transactions: Vec<Transaction>,
    tickets: Vec<Ticket>,
    /// Unpaid winners beyond `--limit`.
    unlisted: u64,
}

#[derive(Debug, Serialize)]
struct Transaction {
    call: &'static str,
    tickets: usize,
    set_aside: usize,
    pays: Eth,
    gas: u64,
    cost: Eth,
    /// Wei per gas that it would offer at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fee_per_gas: Option<u128>,
    because: String,
}

/// One winner. The secret number is left out: it is worth the face value until the ticket is redeemed.
#[derive(Debug, Serialize)]
struct Ticket {
    hash: B256,
    sender: Address,
    recipient: Address,
    face_value: Eth,
    creation_round: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<u64>,
    action: &'static str,
    cost: Eth,
    reason: String,
}

/// Reads the database and the chain. The keeper may run meanwhile; nothing is sent and nothing is stored.
///
/// # Errors
/// When the database or the chain cannot be read.
pub async fn run(context: &Context, limit: u32) -> anyhow::Result<()> {
    let config = &context.config;
    let key = config.keys.load()?;
    let chain = context.connect().await?;
    let store = database::open(&config.data, &DataDir::open(&config.data)?).await?;
    // Never run: the follower keeps still, and the manager only estimates gas where the node alone can.
    let (_follower, feed) = BlockFollower::new(&chain, &config.chain);
    let (_rounds, view) = RoundFollower::new(&chain, &config.chain, &feed);
    let journal = Arc::new(MemoryJournal::default());
    let (manager, tx) = TxManager::new(&chain, &config.chain, key, journal, &feed);
    let priority_fee = config.chain.tx.priority_fee_per_gas.into();
    let chain = KeeperChain { chain, view, tx, rewarders: Vec::new(), priority_fee };
    let keeper = Keeper::new(config.keeper.clone(), store.clone(), chain);
    let stop = CancellationToken::new();
    let plan = tokio::select! { biased;
        plan = keeper.dry_run(limit) => plan.context("cannot plan")?,
        ended = manager.run(stop.clone()) => {
            ended?;
            anyhow::bail!("the estimate of gas ended early");
        }
    };
    store.close().await;
    context.output.result(&Plan::from(plan))?;
    Ok(())
}

impl From<DryRun> for Plan {
    fn from(plan: DryRun) -> Self {
        Self {
            block: plan.block,
            round: plan.round.0,
            account: plan.account,
            gas_price: plan.gas_price,
            usual_gas_price: plan.usual_gas_price,
            transactions: plan.batches.into_iter().map(Transaction::from).collect(),
            tickets: plan.tickets.into_iter().map(Ticket::from).collect(),
            unlisted: plan.unlisted,
        }
    }
}

impl From<PlannedBatch> for Transaction {
    fn from(batch: PlannedBatch) -> Self {
        Self {
            call: if batch.in_order { "ordered" } else { "any order" },
            tickets: batch.tickets,
            set_aside: batch.aside,
            pays: Eth(batch.worth),
            gas: batch.gas,
            cost: Eth(batch.cost),
            max_fee_per_gas: batch.max_fee,
            because: batch.because,
        }
    }
}

impl From<PlannedTicket> for Ticket {
    fn from(ticket: PlannedTicket) -> Self {
        Self {
            hash: ticket.hash,
            sender: ticket.sender,
            recipient: ticket.recipient,
            face_value: Eth(ticket.face_value),
            creation_round: ticket.creation_round.0,
            serial: ticket.serial,
            action: ticket.action.as_str(),
            cost: Eth(ticket.cost),
            reason: ticket.reason,
        }
    }
}

/// An amount in few characters, rounded down: the document has it exactly.
fn short(Eth(wei): Eth) -> String {
    const MICRO_ETHER: u64 = 1_000_000_000_000;
    const MILLI_GWEI: u64 = 1_000_000;
    let parts = |unit: u64, whole: u64| {
        let units = wei / U256::from(unit);
        (units / U256::from(whole), (units % U256::from(whole)).saturating_to::<u64>())
    };
    if wei >= U256::from(100 * MICRO_ETHER) {
        let (whole, rest) = parts(MICRO_ETHER, 1_000_000);
        format!("{whole}.{rest:06} ETH")
    } else if wei >= U256::from(MILLI_GWEI) {
        let (whole, rest) = parts(MILLI_GWEI, 1_000);
        format!("{whole}.{rest:03} gwei")
    } else {
        format!("{wei} wei")
    }
}

impl Report for Plan {
    fn text(&self) -> String {
        let usual = self.usual_gas_price.map_or_else(String::new, |price| format!(", {} as a rule", gwei(price)));
        let head = format!("block {}, round {}, gas {}{usual}", self.block, self.round, gwei(self.gas_price));
        if self.tickets.is_empty() && self.unlisted == 0 {
            return format!("{head}\nno winning ticket waits to be paid");
        }
        let mut batches = Table::new(["", "call", "tickets", "pays", "gas", "cost", "because"]);
        for (number, batch) in (1..).zip(&self.transactions) {
            batches.row([
                number.to_string(),
                batch.call.to_owned(),
                batch.tickets.to_string(),
                short(batch.pays),
                batch.gas.to_string(),
                short(batch.cost),
                batch.because.clone(),
            ]);
        }
        let mut tickets = Table::new(["ticket", "round", "face value", "action", "cost", "reason"]);
        for ticket in &self.tickets {
            tickets.row([
                format!("{:.10}", ticket.hash.to_string()),
                ticket.creation_round.to_string(),
                short(ticket.face_value),
                ticket.action.to_owned(),
                short(ticket.cost),
                ticket.reason.clone(),
            ]);
        }
        let sent = match self.transactions.len() {
            0 => "nothing would be sent now".to_owned(),
            _ => format!("would be sent now:\n{batches}"),
        };
        let rest = match self.unlisted {
            0 => String::new(),
            more => format!("\n{more} more: --limit lists more"),
        };
        format!("{head}\n\n{sent}\n\n{tickets}{rest}")
    }
}

#[cfg(test)]
mod tests {
    use streamflow_keeper::Action;
    use streamflow_types::Round;

    use super::*;
    use crate::output::WIDTH;

    fn plan(batches: Vec<PlannedBatch>) -> Plan {
        let ticket = |n: u8, action, reason: &str| PlannedTicket {
            hash: B256::repeat_byte(n),
            sender: Address::repeat_byte(1),
            recipient: Address::repeat_byte(2),
            face_value: U256::from(12_345_678_901_234_567_u64),
            creation_round: Round(4_321),
            serial: Some(u64::MAX),
            action,
            reason: reason.to_owned(),
            cost: U256::from(1_234_567_890_123_u64),
        };
        DryRun {
            block: 22_000_000,
            round: Round(4_321),
            account: Address::repeat_byte(3),
            gas_price: 1_234_567_890,
            usual_gas_price: Some(12_000_000),
            batches,
            tickets: vec![
                ticket(7, Action::Redeem, "in transaction 1"),
                ticket(
                    8,
                    Action::Wait,
                    "sender's funds do not cover the face value; looked at again in block 22000005",
                ),
            ],
            unlisted: 5,
        }
        .into()
    }

    fn batch() -> PlannedBatch {
        PlannedBatch {
            in_order: true,
            tickets: 50,
            aside: 1,
            worth: U256::from(1_234_567_890_123_456_789_u64),
            gas: 561_450,
            cost: U256::from(693_148_141_840_500_u64),
            max_fee: Some(7),
            because: "a sender unlocks its funds or owes more than its deposit".to_owned(),
        }
    }

    #[test]
    fn the_tables_fit_a_terminal_and_say_what_why_and_at_what_cost() {
        let text = plan(vec![batch()]).text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for part in ["561450", "in transaction 1", "redeem", "do not cover", "5 more", "a sender unlocks"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(plan(Vec::new()).text().contains("nothing would be sent now"));
    }

    #[test]
    fn short_amounts_are_rounded_down() {
        let shown = |wei: u64| short(Eth(U256::from(wei)));
        assert_eq!(shown(1_234_567_890_123_456_789), "1.234567 ETH");
        assert_eq!(shown(99_999_999_999_999), "99999.999 gwei");
        assert_eq!(
            (shown(100_000_000_000_000), shown(999_999), shown(0)),
            ("0.000100 ETH".into(), "999999 wei".into(), "0 wei".into())
        );
    }

    #[test]
    fn the_document_has_what_a_program_needs_and_no_secret() {
        let document = serde_json::to_value(plan(vec![batch()])).unwrap();
        assert_eq!(document["transactions"][0]["call"], "ordered");
        assert_eq!(document["transactions"][0]["cost"], "693148141840500");
        assert_eq!(document["tickets"][1]["action"], "wait");
        assert!(!document.to_string().contains("rand"));
    }
}
