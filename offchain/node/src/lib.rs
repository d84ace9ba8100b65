//! The `streamflow` program: command line, configuration, wiring of the roles.
//!
//! `main` is thin; tests and other commands call [`run`] and the functions below it.

pub mod admin;
pub mod amount;
mod bench_market;
pub mod bench_network;
pub mod bench_redeem;
pub mod bench_tickets;
pub mod bench_transcode;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod data_dir;
pub mod database;
pub mod devnet;
pub mod exit;
mod gpu;
pub mod health;
pub mod keys;
pub mod monitoring;
pub mod output;
pub mod quote_secret;
pub mod readiness;
pub mod reload;
pub mod roles;
pub mod stop;
pub mod telemetry;

use std::sync::Arc;

use anyhow::Context as _;

use crate::{
    cli::{BenchCommand, BroadcasterArgs, BroadcasterCommand, ChainCommand, Cli, Command, Global},
    commands::{
        Context, chain_status, completions, config_file, delegator, deploy, doctor, explain, funds, keeper_plan, man,
        receipts, registration, simulate, stake, tickets,
    },
    config::{Config, Role},
    exit::Usage,
    output::Output,
    reload::Loaded,
    telemetry::LogConfig,
};

/// Runs one command line to its end.
///
/// # Errors
/// What failed; [`exit::code`] says how the process should end.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    match command {
        Command::Broadcaster(BroadcasterArgs { command: Some(BroadcasterCommand::Explain(args)), .. }) => {
            explain::run(&context(&global)?, &args, global.port_offset).await
        }
        Command::Broadcaster(BroadcasterArgs { command: Some(BroadcasterCommand::Receipts(args)), .. }) => {
            receipts::run(&context(&global)?, &args).await
        }
        Command::Broadcaster(args) => {
            let overrides = move |config: &mut Config| {
                if let Some(signer) = &args.signer {
                    config.broadcaster.signer = Some(signer.clone());
                }
                if let Some(input) = args.file_input() {
                    config.broadcaster.input = Some(input);
                }
            };
            run_role(Role::Broadcaster, &global, overrides).await
        }
        Command::Orchestrator => run_role(Role::Orchestrator, &global, |_| {}).await,
        Command::Transcoder(args) => {
            let orchestrator = move |config: &mut Config| {
                if let Some(orchestrator) = &args.orchestrator {
                    config.transcoder.orchestrator = Some(orchestrator.clone());
                }
            };
            run_role(Role::Transcoder, &global, orchestrator).await
        }
        Command::Keeper(args) if args.dry_run => keeper_plan::run(&context(&global)?, args.limit).await,
        Command::Keeper(_) => run_role(Role::Keeper, &global, |_| {}).await,
        Command::Signer => run_role(Role::Signer, &global, |_| {}).await,
        Command::Devnet(args) => devnet::run(&context(&global)?, &args, global.port_offset, stop::on_signals()?).await,
        Command::Chain(command) => run_chain(&context(&global)?, command).await,
        Command::Fund(args) => funds::fund(&context(&global)?, &args).await,
        Command::Unlock(spend) => funds::unlock(&context(&global)?, spend).await,
        Command::Withdraw(args) => funds::withdraw(&context(&global)?, args).await,
        Command::Register(args) => registration::register(&context(&global)?, &args).await,
        Command::Stake(command) => stake::run(&context(&global)?, &command).await,
        Command::Delegator(command) => delegator::run(&context(&global)?, &command).await,
        Command::Tickets(command) => tickets::run(&context(&global)?, &command).await,
        Command::Bench(BenchCommand::Tickets(args)) => bench_tickets::run(&context(&global)?, args).await,
        Command::Bench(BenchCommand::Transcode(args)) => bench_transcode::run(&context(&global)?, &args).await,
        Command::Bench(BenchCommand::Redeem(args)) => bench_redeem::run(&context(&global)?, &args).await,
        Command::Bench(BenchCommand::Network(args)) => bench_network::run(&context(&global)?, &args).await,
        Command::Bench(BenchCommand::StoredTranscoder(args)) => {
            bench_network::transcoder(&context(&global)?, &args).await
        }
        Command::Bench(BenchCommand::StoredWorker(args)) => bench_network::worker(&args),
        Command::Simulate(args) => simulate::run(&context(&global)?, args).await,
        Command::Doctor => doctor::run(&context(&global)?, global.port_offset).await,
        Command::Config(command) => config_file::run(&command, global.config, Output::new(global.json)),
        Command::Completions { shell } => Ok(completions::run(shell)?),
        Command::Man { directory } => man::run(&directory, Output::new(global.json)),
        Command::MediaWorker => media_worker(),
    }
}

async fn run_chain(context: &Context, command: ChainCommand) -> anyhow::Result<()> {
    match command {
        ChainCommand::Deploy(args) => deploy::run(context, &args).await,
        ChainCommand::Status => chain_status::run(context).await,
        ChainCommand::Fund(args) => funds::fund(context, &args).await,
        ChainCommand::Unlock(spend) => funds::unlock(context, spend).await,
        ChainCommand::Release(args) => funds::release(context, &args).await,
        ChainCommand::Withdraw(args) => funds::withdraw(context, args).await,
        ChainCommand::Register(args) => registration::register(context, &args).await,
        ChainCommand::SetRedeemer(args) => registration::set_redeemer(context, args).await,
    }
}

/// Log level of commands that are no role: what they do stands in their result.
const COMMAND_LOG_LEVEL: &str = "warn";

/// What a command that is no role gets: settings, and logging started. `log.level` is for roles.
fn context(global: &Global) -> anyhow::Result<Context> {
    let config = load(global)?;
    let level = global.log_level.as_deref().unwrap_or(COMMAND_LOG_LEVEL).to_owned();
    telemetry::start_logs(&LogConfig { level, ..config.log.clone() })?;
    Ok(Context { config, output: Output::new(global.json) })
}

fn load(global: &Global) -> anyhow::Result<Config> {
    let mut config = Config::load(global.config.as_deref())?;
    if let Some(level) = &global.log_level {
        config.log.level.clone_from(level);
    }
    Ok(config)
}

/// Runs a role; `adjust` puts what the command line says into what was read, now and whenever it is read again.
async fn run_role(
    role: Role,
    global: &Global,
    adjust: impl Fn(&mut Config) + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let from = global.clone();
    let source: reload::Source = Arc::new(move || {
        let written = Config::as_written(from.config.as_deref())?;
        let mut config = load(&from).map_err(|error| Usage(error.to_string()))?;
        adjust(&mut config);
        config.offset_ports(role, from.port_offset)?;
        config.validate_for(role)?;
        Ok(Loaded { config, written })
    });
    let started = source()?;
    telemetry::start_logs(&started.config.log)?;
    let stop = stop::on_signals()?;
    roles::run(role, started, source, stop).await.with_context(|| format!("{} failed", role.name()))
}

/// Runs one media worker on stdin and stdout until stdin ends. Only for a process that does nothing else.
///
/// # Errors
/// When the pool that started it is gone.
pub fn media_worker() -> anyhow::Result<()> {
    streamflow_media::worker::run(std::io::stdin(), std::io::stdout()).context("media worker failed")
}
