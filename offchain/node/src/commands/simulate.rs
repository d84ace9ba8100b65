//! `simulate`: agents over the contracts in process, and a report.
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use streamflow_simulator::{Attack, DeployScript, Settings, Simulation, Size, Wei, write_report};

use super::Context;
use crate::{
    cli::SimulateArgs,
    output::{Report, Table},
};

#[derive(Debug, Serialize)]
struct Simulated {
    /// The page first.
    files: Vec<PathBuf>,
    #[serde(flatten)]
    simulation: Simulation,
}

/// Simulates and writes the report.
///
/// # Errors
/// When the contracts are not compiled, the agents' books and the contracts differ, or the report cannot be written.
pub async fn run(context: &Context, args: SimulateArgs) -> anyhow::Result<()> {
    let artifacts = match args.artifacts {
        Some(folder) => folder,
        None => DeployScript::default_folder(&std::env::current_dir().context("no current directory")?),
    };
    let script = DeployScript::load(&artifacts)?;
    context.output.note(format_args!("simulating with seed {}, which takes some tens of seconds", args.seed));
    let settings = Settings { seed: args.seed, size: Size::default() };
    let simulated = tokio::task::spawn_blocking(move || {
        let simulation = streamflow_simulator::simulate(&script, &settings)?;
        let files = write_report(&simulation, &args.out)?;
        Ok::<_, streamflow_simulator::SimulatorError>(Simulated { files, simulation })
    });
    context.output.result(&simulated.await??)?;
    Ok(())
}

impl Report for Simulated {
    fn text(&self) -> String {
        let Simulation { trace_hash, transactions, income, defaults, keeper, attacks, .. } = &self.simulation;
        let [low, high] = income.interval_99.map(eth);
        let side = if income.inside { "inside" } else { "outside" };
        let mut table = Table::facts();
        table
            .fact("trace", trace_hash)
            .fact("transactions", transactions)
            .fact("payout", format_args!("{}, {side} the 99 % interval {low} to {high}", eth(income.paid)));
        if let Some(worst) = defaults.bursts.iter().max_by_key(|burst| burst.lost) {
            let (lost, pool) = (eth(worst.lost), worst.pool);
            table.fact("worst default", format_args!("{lost} lost by {pool} orchestrators that ask nothing"));
        }
        if let Some(best) = keeper.policies.iter().min_by_key(|cost| cost.gas_cost + cost.waiting_cost) {
            let cost = best.gas_cost + best.waiting_cost;
            table.fact(
                "cheapest policy",
                format_args!("{:?}, {:?}: {} for {}", best.policy, best.path, eth(cost), eth(best.paid)),
            );
        }
        let failed: Vec<_> =
            attacks.iter().filter(|attack| !attack.is_held()).map(|attack: &Attack| attack.id).collect();
        let held = attacks.len() - failed.len();
        table.fact("attacks held", format_args!("{held} of {} {}", attacks.len(), failed.join(" ")));
        if let Some(page) = self.files.first() {
            table.fact("report", page.display());
        }
        table.to_string()
    }
}

/// For people: four digits behind the point.
fn eth(wei: Wei) -> String {
    format!("{:.4} ETH", wei.eth())
}
