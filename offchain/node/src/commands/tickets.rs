//! `tickets list`: what this node has won and what became of it.
use alloy::primitives::{Address, B256};
use anyhow::Context as _;
use serde::Serialize;
use streamflow_pm::ordered;
use streamflow_store::{Finality, TicketRecord, TicketState, TicketStatus};

use super::Context;
use crate::{
    amount::Eth,
    cli::TicketsCommand,
    data_dir::DataDir,
    database,
    exit::Usage,
    output::{Report, Table},
};

#[derive(Debug, Serialize)]
struct Tickets {
    tickets: Vec<Row>,
}

/// One winner. The secret number is left out: it is worth the face value until the ticket is redeemed.
#[derive(Debug, Default, Serialize)]
struct Row {
    hash: B256,
    state: &'static str,
    sender: Address,
    recipient: Address,
    face_value: Eth,
    creation_round: u64,
    /// Place among the recipient's quotes; without it, the ticket is redeemed by the calls of existing networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<u64>,
    params_expiration_block: u64,
    attempts: u32,
    /// Wei that moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    payout: Option<Eth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    /// How sure the payout is: included, safe or finalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    finality: Option<&'static str>,
    /// What stopped the last attempt, or made the ticket worthless.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Reads the database; it need not belong to a running node.
///
/// # Errors
/// When the database cannot be read.
pub async fn run(context: &Context, command: &TicketsCommand) -> anyhow::Result<()> {
    let TicketsCommand::List { state, limit } = command;
    let status = state.as_deref().map(parse_state).transpose()?;
    let data = DataDir::open(&context.config.data)?;
    let store = database::open(&context.config.data, &data).await?;
    let records = store.tickets(status, *limit).await.context("cannot read the tickets")?;
    let mut tickets = Vec::with_capacity(records.len());
    for record in records {
        let finality = match record.state {
            TicketState::Redeemed(_) => store.payout_finality(record.hash).await.context("cannot read the payouts")?,
            _ => None,
        };
        tickets.push(Row { finality: finality.map(Finality::as_str), ..Row::from(record) });
    }
    store.close().await;
    context.output.result(&Tickets { tickets })?;
    Ok(())
}

fn parse_state(word: &str) -> Result<TicketStatus, Usage> {
    [TicketStatus::Pending, TicketStatus::Submitted, TicketStatus::Redeemed, TicketStatus::Dead]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| Usage(format!("--state {word:?} is none of pending, submitted, redeemed, dead")))
}

impl From<TicketRecord> for Row {
    fn from(record: TicketRecord) -> Self {
        let (ticket, rand) = (&record.ticket.signed.ticket, record.ticket.recipient_rand);
        let row = Self {
            hash: record.hash,
            state: record.state.status().as_str(),
            sender: ticket.sender,
            recipient: ticket.recipient,
            face_value: Eth(ticket.face_value),
            creation_round: ticket.creation_round.0,
            serial: ordered::is_marked(rand).then(|| ordered::serial(rand)),
            params_expiration_block: record.ticket.params_expiration_block,
            attempts: record.attempts,
            ..Self::default()
        };
        match record.state {
            TicketState::Pending { reason, .. } => Self { reason, ..row },
            TicketState::Submitted { .. } => row,
            TicketState::Redeemed(payout) => Self {
                payout: Some(Eth(payout.amount)),
                transaction: Some(payout.tx_hash),
                block: Some(payout.block),
                ..row
            },
            TicketState::Dead { reason } => Self { reason: Some(reason), ..row },
        }
    }
}

impl Report for Tickets {
    fn text(&self) -> String {
        if self.tickets.is_empty() {
            return "no winning tickets".into();
        }
        let mut table = Table::new(["ticket", "state", "round", "serial", "face value", "outcome"]);
        for row in &self.tickets {
            let outcome = match (&row.payout, &row.reason) {
                (Some(payout), _) => format!("paid {payout}, {}", row.finality.unwrap_or_default()),
                (None, Some(reason)) => reason.clone(),
                (None, None) => format!("params live to block {}", row.params_expiration_block),
            };
            table.row([
                format!("{:.10}", row.hash.to_string()),
                row.state.to_owned(),
                row.creation_round.to_string(),
                row.serial.map_or_else(String::new, |serial| serial.to_string()),
                row.face_value.to_string(),
                outcome,
            ]);
        }
        table.to_string()
    }
}
