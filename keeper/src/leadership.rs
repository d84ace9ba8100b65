//! One keeper of an account works, the others wait until it is gone.
//!
//! The lease is kept by the database's clock and renewed at a third of its length. Whoever does not hold it does not work. One
//! that was paused and goes on before it knows what it missed is stopped by its store: every write carries the lease, and is
//! refused once another has followed ([`Store::fenced`]). What it had recorded before, and may still broadcast, is in the
//! journal that the new leader works from.

use std::time::Duration;

use alloy::primitives::Address;
use streamflow_store::{Claim, KeeperLease, Store, StoreError};
use streamflow_types::with_causes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::KeeperError;

/// Least time between two questions who leads.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// Whether this keeper leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The database has not been asked yet, or did not answer.
    #[default]
    Unknown,
    /// Another leads.
    Follows {
        /// Who, in its own words.
        leader: String,
    },
    /// This one does.
    Leads {
        /// Number of its lease.
        token: u64,
    },
}

/// A keeper that would lead.
#[derive(Debug)]
pub struct Candidate {
    store: Store,
    chain_id: u64,
    account: Address,
    holder: String,
    length: Duration,
    standing: watch::Sender<Standing>,
}

impl Candidate {
    /// For the account of a chain. `holder` names this process to people; `length` is [`crate::KeeperConfig::lease`].
    pub fn new(store: Store, chain_id: u64, account: Address, holder: String, length: Duration) -> Self {
        Self { store, chain_id, account, holder, length, standing: watch::Sender::default() }
    }

    /// Whether it leads, from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Waits for the lead and does `work` with the store it gets, which writes only as long as it leads. When the lead is
    /// lost, the work is dropped where it stands, and begun anew when the lead is back. Ends with the work, which has to
    /// heed `stop` itself.
    ///
    /// # Errors
    /// Those of the work. A database that does not answer is logged and asked again.
    pub async fn run<W, F>(self, stop: CancellationToken, mut work: W) -> Result<(), KeeperError>
    where
        W: FnMut(Store) -> F,
        F: Future<Output = Result<(), KeeperError>>,
    {
        loop {
            let (lease, since) = tokio::select! { biased;
                () = stop.cancelled() => return Ok(()),
                led = self.lead() => led,
            };
            let ended = tokio::select! { biased;
                () = self.keep(&lease, since) => None,
                ended = work(self.store.fenced(lease)) => Some(ended),
            };
            self.standing.send_replace(Standing::Unknown);
            if let Some(ended) = ended {
                if let Err(err) = self.store.release_lead(&lease).await {
                    tracing::debug!(%err, "cannot release the lead, it ends by itself");
                }
                return ended;
            }
        }
    }

    /// Asks until it leads. Returns the lease, and a time before it began.
    async fn lead(&self) -> (KeeperLease, Instant) {
        loop {
            let asked = Instant::now();
            let pause = match self.store.claim_lead(self.chain_id, self.account, &self.holder, self.length).await {
                Ok(Claim::Leads(lease)) => {
                    tracing::info!(account = %self.account, token = lease.token(), "this keeper leads");
                    self.standing.send_replace(Standing::Leads { token: lease.token() });
                    return (lease, asked);
                }
                Ok(Claim::Follows { holder, remaining }) => {
                    self.follow(holder);
                    remaining
                }
                Err(err) => {
                    tracing::warn!(err = with_causes(&err), "cannot ask who leads, trying again");
                    self.standing.send_replace(Standing::Unknown);
                    self.length
                }
            };
            tokio::time::sleep(pause.clamp(LEAST_PAUSE, self.renewal().max(LEAST_PAUSE))).await;
        }
    }

    fn follow(&self, leader: String) {
        let standing = Standing::Follows { leader };
        self.standing.send_if_modified(|known| {
            let news = *known != standing;
            if news {
                tracing::info!(account = %self.account, ?standing, "another keeper leads, this one waits");
                *known = standing;
            }
            news
        });
    }

    /// Renews the lease; returns when it is lost, or may be by now: what counts is the database's clock, and ours only
    /// for how long ago it was asked.
    async fn keep(&self, lease: &KeeperLease, since: Instant) {
        let mut until = since + self.length;
        while Instant::now() < until {
            sleep_until(until.min(Instant::now() + self.renewal())).await;
            let asked = Instant::now();
            match timeout_at(until, self.store.renew_lead(lease, self.length)).await {
                Ok(Ok(())) => until = asked + self.length,
                Ok(Err(err @ StoreError::Fenced { .. })) => {
                    tracing::warn!(%err, "another keeper has taken over, this one stops its work");
                    return;
                }
                Ok(Err(err)) => tracing::warn!(err = with_causes(&err), "cannot renew the lead, trying again"),
                Err(_) => break,
            }
        }
        tracing::warn!(account = %self.account, "the lead was not renewed in time, this keeper stops its work");
    }

    fn renewal(&self) -> Duration {
        self.length / 3
    }
}
