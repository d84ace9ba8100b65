//! The command line: picks a role or an operation; settings stay in the configuration.
mod contracts;
mod delegator;
mod devnet;
mod simulate;
mod transcode;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use streamflow_broadcaster::FileInput;
use streamflow_types::ManifestId;
use url::Url;

pub use contracts::{
    ChainCommand, DeployArgs, FundArgs, RedeemerArgs, RegisterArgs, ReleaseArgs, Spend, StakeCommand, TicketsCommand,
    WithdrawArgs,
};
pub use delegator::{DelegatorCommand, EarningsArgs, FeeRatioArgs, WhatIfArgs};
pub use devnet::{
    BenchCommand, BenchNetworkArgs, BenchRedeemArgs, BenchTicketsArgs, DevnetArgs, StoredTranscoderArgs,
    StoredWorkerArgs,
};
pub use simulate::SimulateArgs;
pub use transcode::{BenchTranscodeArgs, Versus};

/// Live-video transcoding, paid with probabilistic micropayments settled on Ethereum.
#[derive(Debug, Parser)]
#[command(name = "streamflow", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Configuration file (TOML). Environment variables STREAMFLOW_SECTION__KEY come on top
    #[arg(long, global = true, value_name = "FILE", env = "STREAMFLOW_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one JSON document on stdout; text for people goes to stderr in any case
    #[arg(long, global = true)]
    pub json: bool,
    /// Add N to every port that a role listens on
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// Log level: error, warn, info, debug, trace, or per module [default: log.level for a role, else warn]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole network on this machine: a chain, the contracts, every role, a clip through, tickets redeemed
    Devnet(DevnetArgs),
    /// Take streams in, have them transcoded and paid, serve HLS
    #[command(alias = "gateway")]
    Broadcaster(BroadcasterArgs),
    /// Quote prices, take paid segments, hand them to transcoders
    Orchestrator,
    /// Transcode for an orchestrator
    Transcoder(TranscoderArgs),
    /// Redeem winning tickets, call reward, initialise rounds
    Keeper(KeeperArgs),
    /// Make payments for broadcasters that hold no key
    Signer,
    /// Contracts, deposit and registration
    #[command(subcommand)]
    Chain(ChainCommand),
    /// Deposit and reserve ETH to pay orchestrators from (short for `chain fund`)
    Fund(FundArgs),
    /// Start unlocking deposit and reserve (short for `chain unlock`)
    Unlock(Spend),
    /// Take unlocked deposit and reserve back (short for `chain withdraw`)
    Withdraw(WithdrawArgs),
    /// Stake as an orchestrator and publish where it listens (short for `chain register`)
    Register(RegisterArgs),
    /// Stake, and fees turned into ETH
    #[command(subcommand)]
    Stake(StakeCommand),
    /// Figures for delegators
    #[command(subcommand)]
    Delegator(DelegatorCommand),
    /// Winning tickets of this node
    #[command(subcommand)]
    Tickets(TicketsCommand),
    /// The project's own figures, beside a peer in the same run
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Play senders, orchestrators, delegators and attackers over the contracts in process; write a report with plots
    Simulate(SimulateArgs),
    /// Check the configuration, or print the default one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check keys, RPC, contracts, stake, encoders, ports, disk; say what to do
    Doctor,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages, one for each command, into a directory
    Man {
        /// Where to; made if it is not there
        directory: PathBuf,
    },
    /// Run one media worker on stdin and stdout; started by the roles
    #[command(hide = true)]
    MediaWorker,
}

#[derive(Clone, Debug, Args)]
pub struct KeeperArgs {
    /// Look once at the winning tickets and say what would be done with each, why, and what it would cost; send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// List at most so many tickets
    #[arg(long, value_name = "N", default_value_t = 100, requires = "dry_run")]
    pub limit: u32,
}

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BroadcasterArgs {
    #[command(subcommand)]
    pub command: Option<BroadcasterCommand>,
    /// Signer that pays, instead of the configured one; https where no scheme is given. No key is needed then
    #[arg(long, value_name = "URL", value_parser = signer_url)]
    pub signer: Option<Url>,
    /// Clip to play as a live stream, over and over; - is standard input, played as it comes
    #[arg(long, value_name = "FILE", requires = "stream")]
    pub input: Option<PathBuf>,
    /// Name of the stream that the input is played as
    #[arg(long, value_name = "NAME", requires = "input")]
    pub stream: Option<ManifestId>,
    /// When the input ends, such as 90s or 24h
    #[arg(long, value_name = "TIME", requires = "input", default_value = "24h", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

impl BroadcasterArgs {
    /// What is to be played, if anything is.
    pub fn file_input(&self) -> Option<FileInput> {
        let (path, stream) = (self.input.clone()?, self.stream.clone()?);
        Some(FileInput { stream, path, duration: self.duration })
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum BroadcasterCommand {
    /// Ask the running broadcaster which orchestrator a stream uses, and why none of the others
    Explain(ExplainArgs),
    /// List what orchestrators stand for with their stake: receipts of results, as a challenge needs them
    Receipts(ReceiptsArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The stream; without it, what keeps each orchestrator from being used by any
    #[arg(value_name = "STREAM")]
    pub stream: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ReceiptsArgs {
    /// Only those of this stream
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// List at most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
}

/// `signer.example:8935` means https, as for peers.
fn signer_url(text: &str) -> Result<Url, String> {
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("https://{text}")) };
    match url {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(_) => Err("not an http or https URL with a host".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Clone, Debug, Default, Args)]
pub struct TranscoderArgs {
    /// Orchestrator to work for, instead of the configured one
    #[arg(long, value_name = "URL")]
    pub orchestrator: Option<Url>,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read file and environment, check every setting
    Check,
    /// Print the default configuration with comments, as TOML on stdout
    PrintDefault,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_on_either_side() {
        for line in ["streamflow --json chain status", "streamflow chain status --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json, "{line}");
        }
        let cli = Cli::try_parse_from(["streamflow", "gateway", "--port-offset", "100"]).unwrap();
        assert!(matches!(cli.command, Command::Broadcaster(_)));
        assert_eq!(cli.global.port_offset, 100);
    }

    #[test]
    fn a_signer_without_a_scheme_is_reached_over_https() {
        let signer = |text: &str| {
            let cli = Cli::try_parse_from(["streamflow", "broadcaster", "--signer", text]).ok()?;
            let Command::Broadcaster(args) = cli.command else { panic!("{cli:?}") };
            args.signer.map(|url| url.to_string())
        };
        assert_eq!(signer("signer.example:8935").as_deref(), Some("https://signer.example:8935/"));
        assert_eq!(signer("http://127.0.0.1:1/a").as_deref(), Some("http://127.0.0.1:1/a"));
        assert_eq!(signer("ftp://a"), None);
    }

    #[test]
    fn an_input_needs_the_name_of_its_stream() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli = parse("streamflow broadcaster --input - --stream movie --duration 90s").unwrap();
        let Command::Broadcaster(args) = cli.command else { panic!("{cli:?}") };
        let input = args.file_input().unwrap();
        assert_eq!((input.stream.as_str(), input.duration), ("movie", Duration::from_secs(90)));
        for bad in ["--input a.mp4", "--stream movie", "--input a.mp4 --stream a/b", "--duration 5s"] {
            assert!(parse(&format!("streamflow broadcaster {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_option_takes_a_key() {
        fn visit(command: &clap::Command, found: &mut Vec<String>) {
            let names = command.get_arguments().filter_map(|argument| argument.get_long());
            found.extend(names.filter(|name| name.contains("key") || name.contains("password")).map(str::to_owned));
            command.get_subcommands().for_each(|inner| visit(inner, found));
        }
        let mut found = Vec::new();
        visit(&Cli::command(), &mut found);
        assert!(found.is_empty(), "secrets do not belong on the command line: {found:?}");
    }

    #[test]
    fn fund_reads_amounts_with_units() {
        let cli =
            Cli::try_parse_from("streamflow fund --deposit 1.5eth --reserve 10gwei --dry-run".split(' ')).unwrap();
        let Command::Fund(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.deposit.0.to_string(), "1500000000000000000");
        assert_eq!(args.reserve.0.to_string(), "10000000000");
        assert!(args.spend.dry_run);
        assert!(Cli::try_parse_from("streamflow fund --deposit 1lpt".split(' ')).is_err());
    }

    #[test]
    fn register_refuses_a_share_without_unit() {
        let line =
            "streamflow register --service-uri https://o.example:8935 --stake 100lpt --reward-cut 10 --fee-share 95%";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
        let line = line.replace("cut 10", "cut 10%");
        assert!(Cli::try_parse_from(line.split(' ')).is_ok());
    }
}
