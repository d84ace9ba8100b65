//! The `streamflow` program: command line, configuration, wiring of the roles.
//!
//! `main` is thin; tests and other commands call [`run`] and the functions below it.

pub mod admin;
pub mod amount;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod data_dir;
pub mod devnet;
pub mod exit;
pub mod keys;
pub mod output;
pub mod roles;
pub mod stop;
pub mod telemetry;

use anyhow::Context as _;

use crate::{
    cli::{BenchCommand, ChainCommand, Cli, Command, DelegatorCommand, Global},
    commands::{Context, chain_ops, chain_status, completions, config_file, deploy, doctor, fee_ratio, stake, tickets},
    config::{Config, Role},
    output::Output,
};

/// Runs one command line to its end.
///
/// # Errors
/// What failed; [`exit::code`] says how the process should end.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let output = Output::new(cli.global.json);
    match cli.command {
        Command::Broadcaster => run_role(Role::Broadcaster, load(&cli.global)?, &cli.global).await,
        Command::Orchestrator => run_role(Role::Orchestrator, load(&cli.global)?, &cli.global).await,
        Command::Transcoder(args) => {
            let mut config = load(&cli.global)?;
            if args.orchestrator.is_some() {
                config.transcoder.orchestrator = args.orchestrator;
            }
            run_role(Role::Transcoder, config, &cli.global).await
        }
        Command::Keeper => run_role(Role::Keeper, load(&cli.global)?, &cli.global).await,
        Command::Devnet(args) => {
            let config = load(&cli.global)?;
            telemetry::start_logs(&config.log)?;
            let stop = stop::on_signals()?;
            devnet::run(&Context { config, output }, &args, cli.global.port_offset, stop).await
        }
        Command::Completions { shell } => {
            completions::run(shell);
            Ok(())
        }
        Command::Config(command) => config_file::run(&command, cli.global.config, output),
        command => {
            let config = load(&cli.global)?;
            telemetry::start_logs(&config.log)?;
            run_command(command, &Context { config, output }).await
        }
    }
}

async fn run_command(command: Command, context: &Context) -> anyhow::Result<()> {
    match command {
        Command::Chain(ChainCommand::Deploy(args)) => deploy::run(context, &args).await,
        Command::Chain(ChainCommand::Status) => chain_status::run(context).await,
        Command::Chain(ChainCommand::Fund(args)) | Command::Fund(args) => chain_ops::fund(context, &args).await,
        Command::Chain(ChainCommand::Unlock(spend)) | Command::Unlock(spend) => chain_ops::unlock(context, spend).await,
        Command::Chain(ChainCommand::Withdraw(spend)) | Command::Withdraw(spend) => {
            chain_ops::withdraw(context, spend).await
        }
        Command::Chain(ChainCommand::Register(args)) | Command::Register(args) => {
            chain_ops::register(context, &args).await
        }
        Command::Stake(command) => stake::run(context, &command).await,
        Command::Delegator(DelegatorCommand::FeeRatio(args)) => fee_ratio::run(context, &args).await,
        Command::Tickets(command) => tickets::run(context, &command).await,
        Command::Bench(BenchCommand::Transcode(args)) => bench::transcode(context, &args).await,
        Command::Doctor => doctor::run(context).await,
        // roles and the commands without configuration are dispatched before
        other => unreachable!("{other:?} is handled by run"),
    }
}

fn load(global: &Global) -> anyhow::Result<Config> {
    let mut config = Config::load(global.config.as_deref())?;
    if let Some(level) = &global.log_level {
        config.log.level.clone_from(level);
    }
    Ok(config)
}

async fn run_role(role: Role, mut config: Config, global: &Global) -> anyhow::Result<()> {
    config.offset_ports(role, global.port_offset)?;
    telemetry::start_logs(&config.log)?;
    let stop = stop::on_signals()?;
    roles::run(role, config, stop).await.with_context(|| format!("{} failed", role.name()))
}

/// Runs one media worker on stdin and stdout until stdin ends. Only for a process that does nothing else.
///
/// # Errors
/// When the pool that started it is gone.
pub fn media_worker() -> anyhow::Result<()> {
    streamflow_media::worker::run(std::io::stdin(), std::io::stdout().lock()).context("media worker failed")
}
