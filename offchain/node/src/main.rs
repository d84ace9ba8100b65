//! The `streamflow` binary.
use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use streamflow_node::{
    bench_network,
    cli::{BenchCommand, Cli, Command},
    exit,
};

/// Time that blocking work gets to end after the program is done.
const LAST_CALL: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error, json),
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Command::MediaWorker) {
        return streamflow_node::media_worker();
    }
    if let Command::Bench(BenchCommand::StoredWorker(args)) = &cli.command {
        return bench_network::worker(args);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    let outcome = runtime.block_on(streamflow_node::run(cli));
    runtime.shutdown_timeout(LAST_CALL);
    outcome
}
