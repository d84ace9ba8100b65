//! What the main job came to (design, section 6).
use std::{path::PathBuf, time::Duration};

use alloy::eips::BlockId;
use anyhow::Context as _;
use serde::Serialize;
use streamflow_bindings::{AddressBook, TicketBroker};
use streamflow_chain::{ChainConfig, Rpc};
use streamflow_store::{Store, TicketStatus};
use url::Url;

use super::{
    directory::Directory,
    roles::{self, BroadcasterStatus, Plan},
};
use crate::{
    amount::Eth,
    output::{Report, Table},
};

/// The document that `devnet --json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    rpc: Url,
    pub(super) segments: Segments,
    renditions: Vec<Rendition>,
    /// Master playlist on disk.
    playlist: PathBuf,
    tickets: Tickets,
    redemption: Redemption,
    contracts: AddressBook,
    /// From the start of the chain to the last redemption.
    seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Segments {
    source: u64,
    transcoded: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Serialize)]
struct Rendition {
    name: String,
    width: u32,
    height: u32,
    segments: u64,
    pixels: u64,
    playlist: PathBuf,
}

#[derive(Debug, Serialize)]
struct Tickets {
    sent: u64,
    won: u64,
    redeemed: u64,
}

#[derive(Debug, Serialize)]
struct Redemption {
    transactions: u64,
    gas_used: u64,
    gas_per_ticket: u64,
    /// Tickets that were paid in ordered batches.
    ordered: u64,
    /// Paid to the orchestrators and their delegators.
    wei: String,
}

impl Summary {
    pub(super) async fn gather(
        plan: &Plan,
        directory: &Directory,
        status: &BroadcasterStatus,
        store: &Store,
        won: u64,
        contracts: AddressBook,
        elapsed: Duration,
    ) -> anyhow::Result<Self> {
        let stream = status.streams.first().context("the broadcaster has no stream")?;
        let books = store.redemption_summary().await?;
        let ordered = paid_in_order(plan, store, contracts).await?;
        let streams = directory.own("streams").join(roles::STREAM);
        let renditions = stream.renditions.iter().map(|rendition| Rendition {
            name: rendition.name.clone(),
            width: rendition.width,
            height: rendition.height,
            segments: rendition.segments,
            pixels: rendition.pixels,
            playlist: streams.join(&rendition.name).join("index.m3u8"),
        });
        Ok(Self {
            rpc: plan.rpc_url.clone(),
            segments: Segments {
                source: stream.segments.received,
                transcoded: stream.segments.transcoded,
                failed: stream.segments.failed,
            },
            renditions: renditions.collect(),
            playlist: streams.join("master.m3u8"),
            tickets: Tickets { sent: status.tickets.sent, won, redeemed: books.redeemed },
            redemption: Redemption {
                transactions: books.transactions,
                gas_used: books.gas_used,
                gas_per_ticket: books.gas_used.checked_div(books.redeemed).unwrap_or(0),
                ordered,
                wei: books.payout.to_string(),
            },
            contracts,
            seconds: elapsed.as_secs_f64(),
        })
    }
}

/// How many of the tickets paid carry no flag: an ordered batch writes none.
async fn paid_in_order(plan: &Plan, store: &Store, contracts: AddressBook) -> anyhow::Result<u64> {
    let rpc = Rpc::new(&ChainConfig { rpc_url: plan.rpc_url.clone(), ..ChainConfig::default() })?;
    let mut ordered = 0;
    for record in store.tickets(Some(TicketStatus::Redeemed), u32::MAX).await? {
        let call = TicketBroker::usedTicketsCall { ticketHash: record.hash };
        ordered += u64::from(!rpc.view(contracts.ticket_broker, call, BlockId::latest()).await?);
    }
    Ok(ordered)
}

impl Report for Summary {
    fn text(&self) -> String {
        let mut renditions = Table::new(["rendition", "size", "segments", "megapixels", "playlist"]);
        for rendition in &self.renditions {
            renditions.row([
                rendition.name.clone(),
                format!("{}x{}", rendition.width, rendition.height),
                rendition.segments.to_string(),
                (rendition.pixels / 1_000_000).to_string(),
                rendition.playlist.display().to_string(),
            ]);
        }
        let mut facts = Table::facts();
        let Segments { source, transcoded, failed } = &self.segments;
        facts.fact("segments", format_args!("{source} in, {transcoded} transcoded, {failed} failed"));
        let Tickets { sent, won, redeemed } = &self.tickets;
        facts.fact("tickets", format_args!("{sent} sent, {won} won, {redeemed} redeemed"));
        let redemption = &self.redemption;
        facts.fact(
            "redemption",
            format_args!(
                "{} transactions, {} gas, {} per ticket; {} tickets in order",
                redemption.transactions, redemption.gas_used, redemption.gas_per_ticket, redemption.ordered
            ),
        );
        facts.fact("paid", Eth(redemption.wei.parse().unwrap_or_default()));
        facts.fact("master playlist", self.playlist.display());
        facts.fact("time", format_args!("{:.1} s", self.seconds));
        format!("\n{renditions}\n\n{facts}")
    }
}
