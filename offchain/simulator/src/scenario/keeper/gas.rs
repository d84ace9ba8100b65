//! Gas of batches, as a receipt would say.
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::{Path, winners};
use crate::{
    SimulatorError, Size, Wei,
    world::{Desk, Payer, World},
};

/// What one transaction costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GasOfBatch {
    /// By which calls.
    pub path: Path,
    /// Winners in it.
    pub tickets: usize,
    /// Senders of them.
    pub senders: usize,
    /// Gas of the transaction.
    pub gas: u64,
    /// Gas of each winner, rounded down.
    pub per_ticket: u64,
}

/// Cost of a transaction as a line: a fixed part, and one per ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) fixed: u64,
    pub(crate) per_ticket: u64,
}

impl Shape {
    /// Through the smallest and the largest batch of one sender.
    pub(crate) fn of(measured: &[GasOfBatch], path: Path) -> Self {
        let mut line = measured.iter().filter(|batch| batch.path == path && batch.senders == 1);
        let (Some(first), last) = (line.next(), line.next_back()) else { return Self { fixed: 0, per_ticket: 0 } };
        let last = last.unwrap_or(first);
        let per_ticket = (last.gas - first.gas) / (last.tickets - first.tickets).max(1) as u64;
        Self { fixed: first.gas.saturating_sub(per_ticket * first.tickets as u64), per_ticket }
    }
}

/// Redeems batches of all sizes, each on a fork.
pub(crate) fn measure(
    world: &mut World,
    desk: &mut Desk,
    payers: &[Payer],
    size: &Size,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<GasOfBatch>, SimulatorError> {
    let mut measured = Vec::new();
    for path in [Path::Deployed, Path::Ordered] {
        for senders in [1, payers.len()] {
            for tickets in size.batches.iter().copied().filter(|tickets| tickets % senders == 0) {
                let mut fork = world.fork();
                let mut batch = Vec::new();
                for payer in &payers[..senders] {
                    batch.extend(winners(&mut fork, desk, payer, path, tickets / senders, rng)?);
                }
                fork.advance(50);
                let paid = redeem(&mut fork, path, &batch)?;
                let expected = super::FACE_VALUE as i128 * tickets as i128;
                if paid.wei != Wei(expected) {
                    return Err(SimulatorError::Books { what: "a batch", expected: Wei(expected), got: paid.wei });
                }
                world.absorb(&fork);
                let per_ticket = paid.gas / tickets.max(1) as u64;
                measured.push(GasOfBatch { path, tickets, senders, gas: paid.gas, per_ticket });
            }
        }
    }
    Ok(measured)
}

/// One transaction; one ticket alone goes by the call for one.
pub(crate) fn redeem(
    world: &mut World,
    path: Path,
    batch: &[streamflow_types::WinningTicket],
) -> Result<crate::world::Paid, SimulatorError> {
    match (path, batch) {
        (Path::Ordered, _) => world.redeem_in_order(batch),
        (Path::Deployed, [winner]) => Ok(world.must_redeem(winner)?),
        (Path::Deployed, _) => Ok(world.redeem_batch(batch)?),
    }
}
