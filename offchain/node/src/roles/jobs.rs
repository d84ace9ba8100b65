//! Jobs of the protocol of 2018, from the chain to the orchestrator.
use std::sync::Arc;

use streamflow_chain::{Chain, ChainError, JobReader};
use streamflow_orchestrator::{JobFuture, JobSource, JobUnavailable};

use super::Node;

/// Jobs as this node's chain knows them.
#[derive(Debug)]
struct OnChain(JobReader);

impl JobSource for OnChain {
    fn job(&self, id: u64) -> JobFuture<'_> {
        Box::pin(async move { self.0.job(id).await.map_err(|err| JobUnavailable(Box::new(err))) })
    }
}

/// Where the orchestrator looks jobs up; none if it does none.
///
/// # Errors
/// The node is asked to stop, or the deployment has no jobs.
pub(super) async fn source(node: &Node, chain: &Chain) -> Result<Option<Arc<dyn JobSource>>, ChainError> {
    let settings = &node.config.orchestrator.jobs_2018;
    if !settings.enabled {
        return Ok(None);
    }
    let jobs = streamflow_chain::wait_for_node(&node.config.chain, &node.stop, || JobReader::find(chain)).await?;
    tracing::info!(contract = %jobs.contract(), accounts = settings.broadcasters.len(), "jobs of 2018 are done, without tickets");
    Ok(Some(Arc::new(OnChain(jobs))))
}
