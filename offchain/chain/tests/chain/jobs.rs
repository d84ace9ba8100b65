//! Jobs of the protocol of 2018, read from the deployed contract.
use std::time::Duration;

use alloy::{
    primitives::{Address, FixedBytes, U256, keccak256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use anyhow::{Context, Result};
use streamflow_bindings::{Controller, JobsManager};
use streamflow_chain::{ChainError, JobReader};
use streamflow_testkit::{Deployment, key};
use streamflow_types::Job;

use crate::fixture::chain;

const LPT: u128 = 1_000_000_000_000_000_000;
/// A job is not older than this.
const FRESH: Duration = Duration::from_secs(5);

fn create(orchestrator: Address, end_block: u64) -> JobsManager::createJobCall {
    JobsManager::createJobCall {
        streamId: "stream-1".into(),
        transcodingOptions: "P240p30fps16x9".into(),
        maxPricePerUnit: U256::from(7),
        endBlock: U256::from(end_block),
        orchestrator,
    }
}

#[tokio::test]
async fn a_job_is_read_and_its_end_is_seen_in_a_moment() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (orchestrator, broadcaster) = (key(1)?, key(2)?);
    deployment.initialize_round().await?;
    deployment.register(&orchestrator, U256::from(10 * LPT), "https://o.example").await?;
    deployment.next_round().await?;
    let (chain, _) = chain(&deployment).await?;
    let jobs = JobReader::find(&chain).await?;
    assert_eq!(jobs.job(1).await?, None);

    let end = deployment.anvil.block_number().await? + 100;
    let created = deployment
        .call(&broadcaster, jobs.contract(), create(orchestrator.address(), end), U256::ZERO)
        .await?
        .block_number
        .context("not mined")?;
    let expected = Job {
        id: 1,
        broadcaster: broadcaster.address(),
        orchestrator: orchestrator.address(),
        creation_block: created,
        end_block: end,
        max_price_per_unit: U256::from(7),
        stream_id: "stream-1".into(),
        transcoding_options: "P240p30fps16x9".into(),
    };
    // It was asked for before it existed: that is not remembered.
    assert_eq!(jobs.job(1).await?.as_ref(), Some(&expected));
    assert_eq!(jobs.job(2).await?, None);

    let call = JobsManager::endJobCall { jobId: U256::ONE };
    let ended = deployment.call(&broadcaster, jobs.contract(), call, U256::ZERO).await?;
    tokio::time::sleep(FRESH).await;
    let end_block = ended.block_number.context("not mined")?;
    assert_eq!(jobs.job(1).await?, Some(Job { end_block, ..expected }));
    Ok(())
}

#[tokio::test]
async fn a_deployment_without_jobs_is_named_with_the_setting() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (chain, _) = chain(&deployment).await?;
    let controller = deployment.contracts.controller;
    let owner = deployment.view(controller, Controller::ownerCall {}).await?;
    let provider = deployment.anvil.provider();
    deployment.anvil.set_balance(owner, U256::from(LPT)).await?;
    provider.raw_request::<_, ()>("anvil_impersonateAccount".into(), (owner,)).await?;
    let forget = Controller::setContractInfoCall {
        id: keccak256("TranscodingJobs"),
        contractAddress: Address::ZERO,
        gitCommitHash: FixedBytes::ZERO,
    };
    let request = TransactionRequest::default().from(owner).to(controller).input(forget.abi_encode().into());
    assert!(provider.send_transaction(request).await?.get_receipt().await?.status());
    let err = JobReader::find(&chain).await.err().context("found")?;
    assert!(matches!(err, ChainError::NoJobs { .. }), "{err}");
    let text = err.to_string();
    assert!(text.contains(&controller.to_string()) && text.contains("orchestrator.jobs_2018.enabled"), "{text}");
    Ok(())
}
