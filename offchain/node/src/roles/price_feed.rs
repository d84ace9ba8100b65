//! The price of work in another currency, by a contract that tells what an ether is worth.
use alloy::{eips::BlockId, sol};
use streamflow_chain::{ChainError, Rpc};
use streamflow_orchestrator::{PriceFeed, PriceFeedConfig, Reading, Unbelievable};
use streamflow_types::{Price, with_causes};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

sol! {
    function decimals() external view returns (uint8);
    function latestRoundData() external view returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}

/// Why there is no new price.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("orchestrator.price_feed.contract cannot be read")]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Unbelievable(#[from] Unbelievable),
}

/// Reads the feed again and again until `end`. What is not believed is told in the log, once for each reason; the last good
/// price stays.
pub(super) async fn follow(
    rpc: Rpc,
    config: PriceFeedConfig,
    clock: fn() -> u64,
    prices: watch::Sender<Option<Price>>,
    end: CancellationToken,
) {
    let Some(contract) = config.contract else { return end.cancelled().await };
    let mut tick = interval(config.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut feed, mut told) = (PriceFeed::new(config), None);
    loop {
        tokio::select! { biased;
            () = end.cancelled() => return,
            _ = tick.tick() => {}
        }
        let read = tokio::select! { biased;
            () = end.cancelled() => return,
            read = read(&rpc, contract) => read,
        };
        match read.map_err(Unread::from).and_then(|reading| Ok(feed.take(&reading, clock())?)) {
            Ok(price) => {
                told = None;
                let is_news = prices.send_if_modified(|last| last.replace(price) != Some(price));
                if is_news {
                    tracing::info!(%price, "price by the feed, wei per pixel");
                }
            }
            Err(error) => {
                let reason = with_causes(&error);
                if told.as_ref() != Some(&reason) {
                    let price = prices.borrow().map(|price| price.to_string());
                    tracing::warn!(error = reason, kept = price, "the price feed is not believed, the price stays");
                    told = Some(reason);
                }
            }
        }
    }
}

async fn read(rpc: &Rpc, contract: alloy::primitives::Address) -> Result<Reading, ChainError> {
    // Both of one block of one node.
    let (rpc, latest) = (rpc.pinned(), BlockId::latest());
    let (decimals, data) = tokio::try_join!(
        rpc.view(contract, decimalsCall {}, latest),
        rpc.view(contract, latestRoundDataCall {}, latest),
    )?;
    Ok(Reading {
        round: alloy::primitives::U256::from(data.roundId),
        answer: data.answer,
        decimals,
        // One of after the end of time is one of now.
        updated_at: data.updatedAt.saturating_to(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy::{
        primitives::{Address, B256, U256, hex},
        providers::ext::AnvilApi as _,
    };
    use streamflow_chain::{ChainConfig, connect};
    use streamflow_testkit::{DeployOptions, Deployment};

    use super::*;

    const FEED: Address = Address::repeat_byte(0xfe);
    const NOW: u64 = 1_700_000_000;
    /// Answers `decimals()` with 8, and anything else with these words. All of them change at once, as in a transaction.
    fn code(words: [u64; 5]) -> Vec<u8> {
        // Whether the call is decimals(): if so, on to byte 0xc6.
        let mut code = hex!("5f3560e01c63313ce5671460c657").to_vec();
        for (position, word) in (0_u8..).zip(words) {
            code.push(0x7f); // PUSH32
            code.extend(B256::from(U256::from(word)));
            code.extend([0x60, 32 * position, 0x52]); // PUSH1, MSTORE
        }
        code.extend(hex!("60a05ff3" "5b60085f5260205ff3"));
        code
    }

    fn now() -> u64 {
        NOW
    }

    /// Says that an ether is worth so many dollars.
    async fn tell(deployment: &Deployment, round: u64, dollars: u64, updated_at: u64) {
        let words = [round, dollars * 100_000_000, updated_at, updated_at, round];
        deployment.anvil.provider().anvil_set_code(FEED, code(words).into()).await.unwrap();
        deployment.anvil.mine(1).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn price_follows_the_contract_and_stays_when_that_is_not_believed() {
        let deployment = Deployment::start_with(DeployOptions::default()).await.unwrap();
        tell(&deployment, 1, 2500, NOW).await;
        let chain = ChainConfig {
            rpc_url: deployment.anvil.url(),
            controller: Some(deployment.contracts.controller),
            poll_interval: Duration::from_millis(40),
            ..ChainConfig::default()
        };
        let rpc = connect(&chain).await.unwrap().rpc;
        let config =
            PriceFeedConfig { contract: Some(FEED), interval: Duration::from_millis(40), ..PriceFeedConfig::default() };
        let (publish, mut prices) = watch::channel(None);
        let end = CancellationToken::new();
        let following = tokio::spawn(follow(rpc, config, now, publish, end.clone()));
        let mut becomes = async |wei: u64| {
            let price = Some(Price::new(wei, 1).unwrap());
            let seen = prices.wait_for(|seen| *seen == price);
            tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
        };
        becomes(20).await;
        tell(&deployment, 2, 2000, NOW - 100_000).await;
        tell(&deployment, 3, 0, NOW).await;
        tell(&deployment, 4, 100, NOW).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        // Old, nothing, and too large a change: it is still what it was, and follows the next that can be believed.
        becomes(20).await;
        tell(&deployment, 5, 3125, NOW).await;
        becomes(16).await;
        end.cancel();
        following.await.unwrap();
    }
}
