//! Looks at every endpoint from time to time: those that were left may have recovered, those in use may have fallen behind.
use std::time::Instant;

use alloy::primitives::{B256, U64};
use futures::future::join_all;
use serde_json::Value;

use super::{Endpoints, Fault, Recheck, client::Failure, client::payload, client::request, header::Checked};

/// Depth at which endpoints are compared: blocks above it may differ for a moment.
const COMPARED_DEPTH: u64 = 5;

impl Endpoints {
    /// Looks at all endpoints once.
    pub(crate) async fn survey(&self) {
        let now = Instant::now();
        let due = self.list.iter().enumerate().filter(|(_, endpoint)| endpoint.health().is_due(now));
        let looked = due.map(|(index, _)| async move { (index, self.probe(index).await) });
        let mut good = Vec::new();
        for (index, outcome) in join_all(looked).await {
            match outcome {
                Ok(head) => good.push((index, head)),
                Err(failure) => self.leave(index, failure.fault, None),
            }
        }
        if self.list.len() > 1 {
            good = self.leave_behind(good);
            good = self.leave_split(good).await;
        }
        for (index, _) in good {
            self.readmit(index);
        }
    }

    /// Looks at one endpoint that was left, where no other can be asked.
    pub(super) async fn look_again(&self, index: usize) {
        match self.probe(index).await {
            Ok(_) => self.readmit(index),
            Err(failure) => self.leave(index, failure.fault, None),
        }
    }

    fn readmit(&self, index: usize) {
        let Some(endpoint) = self.list.get(index) else { return };
        if endpoint.health().back(Instant::now()) {
            tracing::info!(host = endpoint.client.host, "using a chain RPC again");
            self.count_usable();
        }
    }

    /// Height of the endpoint's newest block, if it serves our chain, its head is in order, and it has put right what it was
    /// caught at.
    async fn probe(&self, index: usize) -> Result<u64, Failure> {
        if let Some(endpoint) = self.list.get(index) {
            endpoint.health().chain_checked = false;
        }
        self.admit(index).await?;
        let head = self.probe_header(index, "latest".into()).await?;
        let head = head.ok_or_else(|| self.caught(index, Fault::Unreadable))?.header.number;
        let recheck = self.list.get(index).and_then(|endpoint| endpoint.health().left()?.recheck.clone());
        match recheck {
            Some(Recheck::Logs(filter)) => self.probe_logs(index, &filter).await?,
            Some(Recheck::Receipt { transaction, block, block_hash }) => {
                // A transaction that left the chain has no receipt by right.
                let present = self.probe_header(index, format!("{block:#x}").into()).await?;
                if present.is_some_and(|present| present.header.hash == block_hash) {
                    self.probe_receipt(index, transaction, block).await?;
                }
            }
            None => {}
        }
        Ok(head)
    }

    pub(super) async fn probe_header(&self, index: usize, block: Value) -> Result<Option<Checked>, Failure> {
        let is_hash = block.as_str().is_some_and(|block| block.len() == 66);
        let method = if is_hash { "eth_getBlockByHash" } else { "eth_getBlockByNumber" };
        let packet = request(method, (&block, false)).map_err(unreadable)?;
        let answer = payload(self.post(index, &packet).await?).map_err(unreadable)?;
        self.checked_header(index, answer.get(), Some(&block)).map_err(|fault| self.caught(index, fault))
    }

    /// Leaves those that are far behind. With more than two, one that runs ahead alone does not make the others late.
    fn leave_behind(&self, mut good: Vec<(usize, u64)>) -> Vec<(usize, u64)> {
        let mut heads: Vec<u64> = good.iter().map(|(_, head)| *head).collect();
        heads.sort_unstable_by(|left, right| right.cmp(left));
        let reached = if heads.len() > 2 { heads.get(1) } else { heads.first() }.copied().unwrap_or_default();
        let max_lag = self.profile().max_lag(&self.config);
        good.retain(|(index, head)| {
            let blocks = reached.saturating_sub(*head);
            if blocks > max_lag {
                self.leave(*index, Fault::Behind { number: *head, blocks }, None);
            }
            blocks <= max_lag
        });
        good
    }

    /// Leaves those that have another block than most at a height that all have. Two that contradict each other are both
    /// kept: nobody can tell which is right, and nothing for ever is decided until they agree.
    async fn leave_split(&self, good: Vec<(usize, u64)>) -> Vec<(usize, u64)> {
        let Some(number) = good.iter().map(|(_, head)| head.saturating_sub(COMPARED_DEPTH)).min() else { return good };
        if good.len() < 2 {
            return good;
        }
        let looks = good.iter().map(|(index, _)| self.probe_header(*index, format!("{number:#x}").into()));
        let hashes: Vec<Option<B256>> =
            join_all(looks).await.into_iter().map(|look| Some(look.ok()??.header.hash)).collect();
        let voices = |hash: &B256| hashes.iter().flatten().filter(|other| *other == hash).count();
        let most = hashes.iter().flatten().copied().max_by_key(voices).filter(|hash| voices(hash) * 2 > hashes.len());
        let Some(most) = most else {
            if hashes.iter().flatten().count() > 1 {
                tracing::error!(
                    block = number,
                    "chain RPCs contradict each other: check chain.rpc_url and chain.rpc_urls"
                );
            }
            return good;
        };
        let judged = good.into_iter().zip(hashes).filter(|((index, _), hash)| {
            let differs = hash.is_some_and(|hash| hash != most);
            if differs {
                self.leave(*index, Fault::Split { number }, None);
            }
            !differs
        });
        judged.map(|(endpoint, _)| endpoint).collect()
    }
}

pub(super) fn unreadable(error: alloy::transports::TransportError) -> Failure {
    Failure { fault: Fault::Unreadable, error }
}

/// Hexadecimal without leading zeros, as nodes take it.
pub(super) fn quantity(number: u64) -> U64 {
    U64::from(number)
}
