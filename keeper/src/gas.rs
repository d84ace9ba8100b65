//! What a redemption would do and how much gas it takes, asked before anything is sent.

use alloy::primitives::Bytes;
use streamflow_chain::{ChainError, Revert, Simulated, TxError, TxIntent};

use crate::{
    KeeperError,
    preflight::{Failure, MOST_GAS, PreflightError},
    redeem::Redeemer,
    snapshot::Snapshot,
};

/// Gas limit above what a trial run needed, in percent: state that changes until the transaction is mined, and the part of
/// the gas that a call must leave to its caller.
const HEADROOM_PERCENT: u64 = 20;

/// Gas of a transaction that has been tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gas {
    /// It goes through.
    Enough {
        /// What it would use.
        used: u64,
        /// A limit with headroom.
        limit: u64,
    },
    /// It needs more than there is room for.
    TooMuch,
    /// It would revert.
    Refused(Revert),
}

impl Redeemer {
    /// Most gas that a transaction may have: it must fit into a block, and no node takes more than 2^24.
    pub(crate) async fn gas_room(&self, snapshot: &Snapshot) -> Result<u64, KeeperError> {
        Ok(snapshot.rpc.block_gas_limit(snapshot.head.hash).await?.min(MOST_GAS))
    }

    /// Tries the transaction in revm on the state after the block. On a chain whose contracts see another chain's blocks the
    /// node estimates: it alone knows what the data cost there.
    pub(crate) async fn gas(&self, intent: &TxIntent, room: u64, snapshot: &Snapshot) -> Result<Gas, KeeperError> {
        let head = &snapshot.head;
        if head.number == head.contract_number {
            let preflight = self.preflight.through(snapshot.rpc.clone());
            match preflight.run(self.tx.address(), intent.to, intent.data.clone(), room, head).await {
                Ok(trial) => match trial.failure {
                    None => {
                        let limit = trial.gas_needed.saturating_add(trial.gas_needed / 100 * HEADROOM_PERCENT);
                        return Ok(Gas::Enough { used: trial.gas_used, limit });
                    }
                    Some(Failure::OutOfGas) => return Ok(Gas::TooMuch),
                    Some(Failure::Refused(reason)) => return Ok(Gas::Refused(reason)),
                    Some(Failure::Broken(reason)) => tracing::warn!(reason, "a trial run broke off, asking the node"),
                },
                Err(err) => tracing::debug!(err = &err as &dyn std::error::Error, "no trial run, asking the node"),
            }
        }
        match self.tx.dry_run(intent.clone()).await {
            Ok(run) => Ok(Gas::Enough { used: run.gas_limit, limit: run.gas_limit }),
            Err(TxError::WouldRevert { reason, .. }) => Ok(Gas::Refused(reason)),
            Err(err) => Err(err.into()),
        }
    }

    /// What the call would do on the state after the block, with its logs: as the node says, or found out in revm where the
    /// node has no `eth_simulateV1`.
    pub(crate) async fn simulate(&self, data: Bytes, snapshot: &Snapshot) -> Result<Simulated, KeeperError> {
        let (from, broker) = (self.tx.address(), self.chain.contracts.ticket_broker);
        match snapshot.rpc.simulate(from, broker, data.clone(), snapshot.at()).await {
            Err(err @ ChainError::Refused { .. }) => {
                tracing::debug!(%err, "the node simulates no blocks, trying in this process");
                let preflight = self.preflight.through(snapshot.rpc.clone());
                let trial = preflight.run(from, broker, data, MOST_GAS, &snapshot.head).await?;
                Ok(trial.into())
            }
            answer => Ok(answer?),
        }
    }
}

impl From<PreflightError> for KeeperError {
    fn from(err: PreflightError) -> Self {
        Self::Preflight(Box::new(err))
    }
}
