//! `devnet`: a chain, the contracts, every role as its own process, a clip through, tickets redeemed.
//!
//! What a person would do by hand on a fresh network, in the same order: deploy, stake and register the orchestrators,
//! fund the broadcaster, wait for the round in which the stake counts, start the roles, play. Nothing in a role knows that
//! it runs here; every difference from production is a setting in the files that this module writes.
mod accounts;
mod anvil;
mod directory;
mod input;
pub(crate) mod processes;
mod progress;
mod roles;
mod setup;
mod summary;

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use streamflow_store::{Store, TicketStatus};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    accounts::Accounts, anvil::Anvil, directory::Directory, processes::Processes, progress::Progress, roles::Plan,
    summary::Summary,
};
use crate::{
    cli::DevnetArgs,
    commands::{Context, deploy},
    exit::Reported,
};

/// Blocks per round: two minutes at one block a second.
const ROUND_LENGTH: u64 = 120;
/// Time between two looks at a role.
const POLL: Duration = Duration::from_millis(250);
/// How long roles may take to be ready, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// How long redemption may take after the stream: params expire after some blocks, then one or two transactions follow.
const REDEMPTION: Duration = Duration::from_secs(120);

/// Runs the network until the job is done (`--once`) or until `stop`.
///
/// # Errors
/// Whatever part of the network cannot be started, or the main job failing: a segment lost, a winner not paid.
pub async fn run(
    context: &Context,
    args: &DevnetArgs,
    port_offset: u16,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let project = deploy::find_project(args.project_dir.as_deref())?;
    let plan = Plan::new(&project, args, port_offset)?;
    if args.input.is_some() {
        input::require_playable(&context.config.transcoding, &plan.input).await?;
    }
    plan.require_free_ports()?;
    let directory = Directory::prepare(args.data_dir.as_deref(), port_offset)?;
    let mut processes = Processes::new(directory.logs());
    let progress = Progress::new(context.output);
    let outcome = tokio::select! { biased;
        () = stop.cancelled() => Err(anyhow!("stopped before the clip was through and paid")),
        outcome = main_job(context, &plan, &directory, &mut processes, &progress) => outcome,
    };
    let outcome = match outcome {
        Ok(()) if !args.once => {
            progress.stays_up(&plan, &directory);
            stay_up(&processes, &stop).await
        }
        ended => ended,
    };
    progress.step("stopping");
    processes.stop().await;
    outcome
}

/// Returns when `stop` says so, or when a process is gone that the network cannot do without.
async fn stay_up(processes: &Processes, stop: &CancellationToken) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        processes.check()?;
        tokio::select! { biased;
            () = stop.cancelled() => {}
            () = sleep(POLL) => {}
        }
    }
    Ok(())
}

async fn main_job(
    context: &Context,
    plan: &Plan,
    directory: &Directory,
    processes: &mut Processes,
    progress: &Progress,
) -> anyhow::Result<()> {
    let started = Instant::now();
    progress.step("starting anvil");
    let anvil = Anvil::start(plan, processes).await?;

    let accounts = Accounts::create(directory)?;
    progress.step("deploying the contracts");
    let contracts = setup::deploy(plan, &anvil, &accounts).await?;
    progress.step("staking, registering and funding; waiting for the round in which the stake counts");
    setup::populate(plan, &anvil, &accounts, contracts).await?;

    progress.step("starting the roles");
    roles::start(plan, directory, &accounts, contracts.controller, processes)?;
    directory.describe(plan, &accounts, contracts, processes)?;
    processes.on_restart(directory.describer(plan, &accounts, contracts));
    for role in &plan.roles {
        wait_until_ready(role, processes).await?;
    }

    let store = Store::open(directory.database()).await.context("cannot open the operator's database")?;
    let stream = play(plan, processes, progress).await?;
    roles::played(directory)?;
    let (won, dead) = redeem(&store, processes, progress).await?;
    let summary = Summary::gather(plan, directory, &stream, &store, won, contracts, started.elapsed()).await?;
    store.close().await;
    progress.finish();
    context.output.result(&summary)?;
    let failed = summary.segments.failed;
    if dead > 0 || failed > 0 {
        let logs = directory.logs();
        context.output.note(format_args!(
            "failed: {failed} segments lost, {dead} winning tickets that cannot be paid; see {}",
            logs.display()
        ));
        bail!(Reported);
    }
    Ok(())
}

async fn wait_until_ready(role: &roles::Role, processes: &mut Processes) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        processes.check()?;
        let why = match roles::get(&role.admin_url("readyz")).await {
            Ok(_) => return Ok(()),
            Err(why) => why,
        };
        if Instant::now() >= deadline {
            bail!("{} is not ready after {READY:?}: {why:#}; see its log", role.name);
        }
        sleep(POLL).await;
    }
}

/// Follows the stream to its end.
async fn play(plan: &Plan, processes: &mut Processes, progress: &Progress) -> anyhow::Result<roles::BroadcasterStatus> {
    // A stream in real time, and as much again for a machine that cannot keep up.
    let deadline = Instant::now() + plan.duration * 4 + READY;
    progress.stream(plan);
    loop {
        processes.check()?;
        match roles::broadcaster_status(plan).await {
            Ok(status) => {
                progress.playing(&status);
                if let Some(why) = &status.input_error {
                    bail!("the broadcaster's input failed: {why}");
                }
                if status.streams.first().is_some_and(|stream| !stream.live && stream.segments.received > 0) {
                    return Ok(status);
                }
            }
            Err(error) => tracing::debug!("no status of the broadcaster: {error:#}"),
        }
        if Instant::now() >= deadline {
            bail!("the stream of {:?} has not ended in time; see the log of the broadcaster", plan.duration);
        }
        sleep(POLL).await;
    }
}

/// Waits until every winner is paid or known to be unpayable. Returns how many were won, and how many are lost.
async fn redeem(store: &Store, processes: &mut Processes, progress: &Progress) -> anyhow::Result<(u64, u64)> {
    let deadline = Instant::now() + REDEMPTION;
    progress.step("waiting until the params expire and the keeper redeems");
    loop {
        processes.check()?;
        let open = store.ticket_total(TicketStatus::Pending).await?.count
            + store.ticket_total(TicketStatus::Submitted).await?.count;
        let redeemed = store.ticket_total(TicketStatus::Redeemed).await?.count;
        let dead = store.ticket_total(TicketStatus::Dead).await?.count;
        progress.redeeming(redeemed, open);
        if open == 0 {
            return Ok((redeemed + dead, dead));
        }
        if Instant::now() >= deadline {
            bail!("{open} winning tickets are not redeemed after {REDEMPTION:?}; see the log of the keeper");
        }
        sleep(POLL).await;
    }
}
