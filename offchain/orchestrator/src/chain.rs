//! What this role takes from the chain, and what it does when the chain is out of sight.
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use alloy_primitives::{Address, B256};
use streamflow_pm::{QuoteDomain, QuoteSecrets, ReceiptDomain, TicketSigner};
use streamflow_store::Store;
use streamflow_types::{ChainView, SenderFunds};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// What an orchestrator needs to be paid.
#[derive(Clone)]
pub struct ChainDeps {
    /// Newest state; `None` until it is known.
    pub view: watch::Receiver<Option<ChainView>>,
    /// Whether this orchestrator is in the active set of the current round. Only active ones can redeem.
    pub active: watch::Receiver<bool>,
    /// Deposits and reserves.
    pub funds: Arc<dyn SenderFundsSource>,
    /// The orchestrator's account: receives tickets, signs results.
    pub signer: Arc<dyn TicketSigner>,
    /// Chain and contract that tickets are for.
    pub domain: QuoteDomain,
    /// What quotes are bound to. All processes of a recipient quote under the same.
    pub secrets: watch::Receiver<QuoteSecrets>,
    /// Tag that tickets may be bound to; none if that contract takes no bound tickets.
    pub deployment: Option<B256>,
    /// Blocks after the expiry of params before the keeper shows their secrets to the chain (`keeper.expiry_margin_blocks`).
    pub late_blocks: u64,
    /// Where winners go.
    pub store: Store,
    /// Where receipts count; none while nobody judges challenges, and then none are signed.
    pub receipts: Option<ReceiptDomain>,
    /// Names the RPC endpoint in the log: without keys or passwords.
    pub rpc: String,
}

impl fmt::Debug for ChainDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainDeps")
            .field("account", &self.signer.address())
            .field("domain", &self.domain)
            .field("rpc", &self.rpc)
            .finish_non_exhaustive()
    }
}

/// What [`SenderFundsSource::funds`] returns.
pub type FundsFuture<'a> = Pin<Box<dyn Future<Output = Result<SenderFunds, FundsUnavailable>> + Send + 'a>>;

/// Knows what senders have in TicketBroker.
pub trait SenderFundsSource: Send + Sync + fmt::Debug {
    /// The funds of `sender` as this orchestrator sees them. An unknown sender has none, which is no error.
    fn funds(&self, sender: Address) -> FundsFuture<'_>;
}

/// The chain did not tell.
#[derive(Debug, thiserror::Error)]
#[error("funds of the sender cannot be read")]
pub struct FundsUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why no payment can be dealt with now. It says what the operator has to look at.
#[derive(Debug, thiserror::Error)]
pub enum ChainUnavailable {
    /// Since the start.
    #[error("chain state is not known yet: no answer from RPC {rpc}")]
    Unknown {
        /// Endpoint.
        rpc: String,
    },
    /// Not any more.
    #[error("chain state is {seconds} s old: no answer from RPC {rpc}")]
    Stale {
        /// Age.
        seconds: u64,
        /// Endpoint.
        rpc: String,
    },
    /// For this sender.
    #[error("funds of sender {sender} are not known: no answer from RPC {rpc}")]
    Funds {
        /// Whose.
        sender: Address,
        /// Endpoint.
        rpc: String,
        /// What went wrong.
        #[source]
        source: Option<FundsUnavailable>,
    },
}

/// Lookups of funds at a time: anyone can make accounts and ask for quotes.
const MAX_LOOKUPS: usize = 32;
/// A broadcaster waits 2.5 s for a quote (node.md §2.5).
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Chain state that is known to be recent.
#[derive(Debug)]
pub(crate) struct ChainWatch {
    view: watch::Receiver<Option<ChainView>>,
    changed: watch::Sender<Instant>,
    funds: Arc<dyn SenderFundsSource>,
    lookups: Semaphore,
    max_age: Duration,
    rpc: String,
}

impl ChainWatch {
    pub(crate) fn new(deps: &ChainDeps, max_age: Duration) -> Self {
        Self {
            view: deps.view.clone(),
            changed: watch::Sender::new(Instant::now()),
            funds: Arc::clone(&deps.funds),
            lookups: Semaphore::new(MAX_LOOKUPS),
            max_age,
            rpc: deps.rpc.clone(),
        }
    }

    /// Notes when the state changes.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut view = self.view.clone();
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                changed = view.changed() => match changed {
                    Ok(()) => drop(self.changed.send_replace(Instant::now())),
                    // Nobody follows the chain any more: the state will be too old in time.
                    Err(_) => return,
                },
            }
        }
    }

    /// The newest state, if it is recent.
    pub(crate) fn current(&self) -> Result<ChainView, ChainUnavailable> {
        let (view, outage) = self.newest()?;
        outage.map_or(Ok(view), Err)
    }

    /// The newest state, and whether it is too old.
    pub(crate) fn newest(&self) -> Result<(ChainView, Option<ChainUnavailable>), ChainUnavailable> {
        let view = *self.view.borrow();
        let view = view.ok_or_else(|| ChainUnavailable::Unknown { rpc: self.rpc.clone() })?;
        let age = self.changed.borrow().elapsed();
        let stale = || ChainUnavailable::Stale { seconds: age.as_secs(), rpc: self.rpc.clone() };
        Ok((view, (age > self.max_age).then(stale)))
    }

    /// A sender's funds.
    pub(crate) async fn funds(&self, sender: Address) -> Result<SenderFunds, ChainUnavailable> {
        let failed = |source| ChainUnavailable::Funds { sender, rpc: self.rpc.clone(), source };
        let lookup = async {
            // The semaphore is never closed.
            let _permit = self.lookups.acquire().await.ok();
            self.funds.funds(sender).await
        };
        let funds = timeout(LOOKUP_TIMEOUT, lookup).await.map_err(|_| failed(None))?;
        funds.map_err(|source| failed(Some(source)))
    }
}
