//! Where lists of orchestrators come from, and how they reach the book.
use std::{sync::Arc, time::Duration};

use streamflow_types::with_causes;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Candidate, webhook::Webhook};
use crate::{broadcaster::Core, config::BroadcasterConfig, remote::RemotePayer};

/// How often a webhook or a signer is asked, at most.
const INTERVAL: Duration = Duration::from_secs(60);

/// Those that the settings name.
pub(crate) fn named(config: &BroadcasterConfig) -> Vec<Candidate> {
    config.orchestrators.iter().cloned().map(Candidate::own).collect()
}

/// Keeps the list new, from the first source that is set: webhook, signer, chain. Those that are named come before.
pub(crate) async fn discover(core: Arc<Core>, chain: watch::Receiver<Vec<Candidate>>, stop: CancellationToken) {
    let run = async {
        match (&core.config.discovery.webhook, &core.remote) {
            (Some(url), _) => match Webhook::new(url.clone()) {
                Ok(webhook) => ask_webhook(&core, &webhook).await,
                Err(error) => tracing::error!(error = with_causes(&error), "no list of orchestrators"),
            },
            _ if !core.config.wants_market() => {}
            (None, Some(signer)) => ask_signer(&core, signer).await,
            (None, None) => follow_chain(&core, chain).await,
        }
    };
    tokio::select! { biased;
        () = stop.cancelled() => {}
        () = run => {}
    }
}

async fn ask_webhook(core: &Core, webhook: &Webhook) {
    loop {
        match webhook.read().await {
            Ok(list) => take(core, &list),
            // The last good list stays.
            Err(error) => tracing::warn!(error = with_causes(&error), "the list of orchestrators is not renewed"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn ask_signer(core: &Core, signer: &RemotePayer) {
    loop {
        match signer.discover().await {
            Ok(list) => take(core, &list),
            Err(error) => tracing::warn!(error = with_causes(&error), "signer lists no orchestrators"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn follow_chain(core: &Core, mut chain: watch::Receiver<Vec<Candidate>>) {
    // An empty list at first only says that nothing was read yet.
    let mut first = true;
    loop {
        let list = chain.borrow_and_update().clone();
        if !(first && list.is_empty()) {
            take(core, &list);
        }
        first = false;
        if chain.changed().await.is_err() {
            return;
        }
    }
}

fn take(core: &Core, list: &[Candidate]) {
    let mut all = named(&core.config);
    all.extend_from_slice(list);
    core.orchestrators.update(&all, Instant::now());
}
