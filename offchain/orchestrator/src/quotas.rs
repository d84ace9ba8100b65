//! What one sender may ask of this node, so that none keeps the others from it.
use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::Address;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::intake::ByteBudget;

/// Senders that are told apart. More share one set of quotas.
const MAX_SENDERS: usize = 65_536;
/// Time between two looks for senders that have all their quotas again.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// What one sender may ask of this node. The defaults are far above what a stream needs: they stop abuse, not work.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaConfig {
    /// Segments of one sender in a second, in the long run.
    pub segments_per_second: u32,
    /// Segments of one sender at once, after a pause.
    pub segment_burst: u32,
    /// Bytes of one sender in a second, in the long run.
    pub bytes_per_second: u64,
    /// Bytes of one sender at once, after a pause.
    pub byte_burst: u64,
    /// Segments of one sender that are uploaded at a time.
    pub max_uploads: usize,
    /// Bytes of streamed renditions that one sender leaves unfetched at a time.
    pub max_unfetched_bytes: u64,
    /// Quotes given to one IP address in a second, in the long run.
    pub quotes_per_second: u32,
    /// Quotes given to one IP address at once, after a pause.
    pub quote_burst: u32,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            segments_per_second: 1000,
            segment_burst: 4000,
            bytes_per_second: 500_000_000,
            byte_burst: 2_000_000_000,
            max_uploads: 1024,
            max_unfetched_bytes: 500_000_000,
            quotes_per_second: 100,
            quote_burst: 2000,
        }
    }
}

impl QuotaConfig {
    /// Settings that must not be 0.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("quotas.segments_per_second", self.segments_per_second.into()),
            ("quotas.segment_burst", self.segment_burst.into()),
            ("quotas.bytes_per_second", self.bytes_per_second),
            ("quotas.byte_burst", self.byte_burst),
            ("quotas.max_uploads", self.max_uploads as u64),
            ("quotas.max_unfetched_bytes", self.max_unfetched_bytes),
            ("quotas.quotes_per_second", self.quotes_per_second.into()),
            ("quotas.quote_burst", self.quote_burst.into()),
        ]
    }
}

/// Whom a quota is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// An account, by its signature.
    Account(Address),
    /// Somebody who did not sign.
    Peer(IpAddr),
    /// Those who are too many to be told apart.
    Others,
}

impl Sender {
    /// The account that signed, or the address where none signs.
    pub(crate) fn of(account: Address, peer: Option<IpAddr>) -> Self {
        match peer {
            Some(peer) if account.is_zero() => Self::Peer(peer),
            _ => Self::Account(account),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "{account}"),
            Self::Peer(address) => write!(f, "{address}"),
            Self::Others => f.write_str("new senders together"),
        }
    }
}

/// What comes at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// Segments that are uploaded.
    Segments,
    /// Bytes of segments.
    Bytes,
    /// Questions for terms.
    Quotes,
}

impl Metered {
    /// Setting of the rate, below `orchestrator`.
    const fn setting(self) -> &'static str {
        match self {
            Self::Segments => "quotas.segments_per_second",
            Self::Bytes => "quotas.bytes_per_second",
            Self::Quotes => "quotas.quotes_per_second",
        }
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Segments => "segments",
            Self::Bytes => "bytes",
            Self::Quotes => "quotes",
        })
    }
}

/// A sender asks for too much at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaExceeded {
    /// Too often.
    #[error(
        "{sender} asks for {asked} {what} and has {left} left; {limit} a second are allowed (orchestrator.{}): \
         try again in {} ms",
        what.setting(), retry_after.as_millis()
    )]
    Rate {
        /// Who.
        sender: Sender,
        /// Of these.
        what: Metered,
        /// Now.
        asked: u64,
        /// Of the burst.
        left: u64,
        /// A second.
        limit: u64,
        /// When there is enough again.
        retry_after: Duration,
    },
    /// Too much side by side.
    #[error("{sender} uploads {open} segments, orchestrator.quotas.max_uploads is {max}: send fewer at a time")]
    Uploads {
        /// Who.
        sender: Sender,
        /// Now.
        open: usize,
        /// As set.
        max: usize,
    },
}

/// Fills at a rate up to a burst.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    /// Negative after more was taken than was there.
    left: f64,
    told: Instant,
}

impl Bucket {
    fn full(rate: u64, burst: u64, now: Instant) -> Self {
        Self { rate: rate as f64, burst: burst as f64, left: burst as f64, told: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.duration_since(self.told).as_secs_f64();
        self.told = now;
        self.left = (self.left + passed * self.rate).min(self.burst);
    }

    fn is_full(&self, now: Instant) -> bool {
        let mut later = *self;
        later.fill(now);
        later.left >= later.burst
    }

    /// Time until `amount` is there.
    fn wait(&self, amount: f64) -> Duration {
        Duration::try_from_secs_f64((amount - self.left).max(0.0) / self.rate).unwrap_or(Duration::MAX)
    }

    fn refusal(&self, sender: Sender, what: Metered, asked: f64) -> QuotaExceeded {
        QuotaExceeded::Rate {
            sender,
            what,
            asked: asked as u64,
            left: self.left.max(0.0) as u64,
            limit: self.rate as u64,
            retry_after: self.wait(asked),
        }
    }
}

#[derive(Debug)]
struct Account {
    segments: Bucket,
    bytes: Bucket,
    quotes: Bucket,
    uploads: usize,
    max_uploads: usize,
    unfetched: ByteBudget,
}

impl Account {
    fn new(config: &QuotaConfig, now: Instant) -> Self {
        let of = |rate: u64, burst: u64| Bucket::full(rate, burst.max(1), now);
        Self {
            segments: of(config.segments_per_second.into(), config.segment_burst.into()),
            bytes: of(config.bytes_per_second, config.byte_burst),
            quotes: of(config.quotes_per_second.into(), config.quote_burst.into()),
            uploads: 0,
            max_uploads: config.max_uploads,
            unfetched: ByteBudget::new(config.max_unfetched_bytes),
        }
    }

    /// Other rates and bounds, with the same use so far.
    fn hold_to(&mut self, config: &QuotaConfig, now: Instant) {
        let new = Self::new(config, now);
        for (bucket, new) in
            [(&mut self.segments, new.segments), (&mut self.bytes, new.bytes), (&mut self.quotes, new.quotes)]
        {
            bucket.fill(now);
            let used = bucket.burst - bucket.left;
            *bucket = Bucket { left: new.burst - used, ..new };
        }
        self.max_uploads = config.max_uploads;
        self.unfetched = self.unfetched.with_max(config.max_unfetched_bytes);
    }

    /// Whether it is as a new one would be.
    fn is_whole(&self, now: Instant) -> bool {
        let idle = self.uploads == 0 && self.unfetched.is_unused();
        idle && [self.segments, self.bytes, self.quotes].iter().all(|bucket| bucket.is_full(now))
    }
}

/// The quotas of all senders. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Quotas {
    accounts: Arc<Mutex<Accounts>>,
}

#[derive(Debug)]
struct Accounts {
    config: QuotaConfig,
    by_sender: HashMap<Sender, Account>,
    pruned: Instant,
}

impl Quotas {
    pub(crate) fn new(config: QuotaConfig) -> Self {
        let accounts = Accounts { config, by_sender: HashMap::new(), pruned: Instant::now() };
        Self { accounts: Arc::new(Mutex::new(accounts)) }
    }

    /// Holds everybody to these from now on; what was used before counts.
    pub(crate) fn set(&self, config: QuotaConfig) {
        let now = Instant::now();
        let mut accounts = self.lock();
        accounts.config = config;
        for account in accounts.by_sender.values_mut() {
            account.hold_to(&config, now);
        }
    }

    /// One quote for this address.
    pub(crate) fn quote(&self, peer: IpAddr) -> Result<(), QuotaExceeded> {
        let now = Instant::now();
        self.with(Sender::Peer(peer), now, |sender, account| {
            account.quotes.fill(now);
            if account.quotes.left < 1.0 {
                return Err(account.quotes.refusal(sender, Metered::Quotes, 1.0));
            }
            account.quotes.left -= 1.0;
            Ok(())
        })
    }

    /// One segment of this sender begins to be uploaded.
    pub(crate) fn upload(&self, sender: Sender) -> Result<Upload, QuotaExceeded> {
        let now = Instant::now();
        let counted = self.with(sender, now, |sender, account| {
            let max = account.max_uploads;
            account.segments.fill(now);
            account.bytes.fill(now);
            if account.uploads >= max {
                return Err(QuotaExceeded::Uploads { sender, open: account.uploads, max });
            }
            if account.segments.left < 1.0 {
                return Err(account.segments.refusal(sender, Metered::Segments, 1.0));
            }
            if account.bytes.left < 1.0 {
                return Err(account.bytes.refusal(sender, Metered::Bytes, 1.0));
            }
            account.segments.left -= 1.0;
            account.uploads += 1;
            Ok((sender, account.unfetched.clone()))
        })?;
        let (sender, unfetched) = counted;
        Ok(Upload { quotas: self.clone(), sender, unfetched })
    }

    fn with<T>(&self, sender: Sender, now: Instant, ask: impl FnOnce(Sender, &mut Account) -> T) -> T {
        let mut accounts = self.lock();
        if accounts.by_sender.len() >= MAX_SENDERS && now.duration_since(accounts.pruned) >= PRUNE_INTERVAL {
            accounts.pruned = now;
            accounts.by_sender.retain(|_, account| !account.is_whole(now));
        }
        let is_new = !accounts.by_sender.contains_key(&sender);
        let sender = if is_new && accounts.by_sender.len() >= MAX_SENDERS { Sender::Others } else { sender };
        let config = accounts.config;
        ask(sender, accounts.by_sender.entry(sender).or_insert_with(|| Account::new(&config, now)))
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // No code panics half-way through a change.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment that is uploaded; ends when dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    quotas: Quotas,
    sender: Sender,
    unfetched: ByteBudget,
}

impl Upload {
    /// What answers to its sender may hold.
    pub(crate) fn unfetched(&self) -> &ByteBudget {
        &self.unfetched
    }

    /// Counts what comes, whatever becomes of it.
    pub(crate) fn counting<E>(
        &self,
        stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> impl Stream<Item = Result<Bytes, E>> + Unpin {
        stream.inspect(|chunk| {
            if let Ok(chunk) = chunk {
                self.took(chunk.len());
            }
        })
    }

    /// So many bytes came.
    fn took(&self, bytes: usize) {
        if let Some(account) = self.quotas.lock().by_sender.get_mut(&self.sender) {
            account.bytes.left -= bytes as f64;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(account) = self.quotas.lock().by_sender.get_mut(&self.sender) {
            account.uploads = account.uploads.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Sender = Sender::Account(Address::repeat_byte(1));
    const BOB: Sender = Sender::Account(Address::repeat_byte(2));

    fn quotas() -> Quotas {
        Quotas::new(QuotaConfig {
            segments_per_second: 2,
            segment_burst: 3,
            bytes_per_second: 100,
            byte_burst: 200,
            max_uploads: 2,
            max_unfetched_bytes: 100,
            quotes_per_second: 1,
            quote_burst: 2,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn segments_beyond_the_rate_are_refused_with_figures_and_others_are_not() {
        let quotas = quotas();
        for _ in 0..3 {
            quotas.upload(ALICE).unwrap();
        }
        let refused = quotas.upload(ALICE).unwrap_err();
        let QuotaExceeded::Rate { asked: 1, left: 0, limit: 2, what, retry_after, .. } = refused.clone() else {
            panic!("{refused:?}")
        };
        assert_eq!((what.setting(), retry_after), ("quotas.segments_per_second", Duration::from_millis(500)));
        assert!(refused.to_string().ends_with("try again in 500 ms"), "{refused}");
        assert!(quotas.upload(BOB).is_ok());
        tokio::time::sleep(retry_after).await;
        assert!(quotas.upload(ALICE).is_ok());
        assert!(quotas.upload(ALICE).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_came_are_paid_off_before_more_may_come() {
        let quotas = quotas();
        quotas.upload(ALICE).unwrap().took(300);
        let refused = quotas.upload(ALICE).unwrap_err();
        assert!(matches!(refused, QuotaExceeded::Rate { what: Metered::Bytes, limit: 100, .. }), "{refused}");
        tokio::time::sleep(Duration::from_millis(1020)).await;
        assert!(quotas.upload(ALICE).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_side_by_side_are_bounded_and_their_end_is_noticed() {
        let quotas = quotas();
        let (first, _second) = (quotas.upload(ALICE).unwrap(), quotas.upload(ALICE).unwrap());
        assert_eq!(quotas.upload(ALICE).unwrap_err(), QuotaExceeded::Uploads { sender: ALICE, open: 2, max: 2 });
        drop(first);
        assert!(quotas.upload(ALICE).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn other_quotas_hold_at_once_and_do_not_forget_what_was_used() {
        let quotas = quotas();
        let first = quotas.upload(ALICE).unwrap();
        first.took(150);
        let config = QuotaConfig { segments_per_second: 1, segment_burst: 2, byte_burst: 400, ..quotas.lock().config };
        quotas.set(QuotaConfig { max_uploads: 1, ..config });
        assert_eq!(quotas.upload(ALICE).unwrap_err(), QuotaExceeded::Uploads { sender: ALICE, open: 1, max: 1 });
        quotas.set(QuotaConfig { max_uploads: 9, ..config });
        // One of two was used before.
        let _second = quotas.upload(ALICE).unwrap();
        let refused = quotas.upload(ALICE).unwrap_err();
        assert!(matches!(refused, QuotaExceeded::Rate { what: Metered::Segments, limit: 1, .. }), "{refused}");
        assert_eq!(quotas.lock().by_sender[&ALICE].bytes.left, 250.0);
    }

    #[tokio::test(start_paused = true)]
    async fn quotes_are_bounded_by_address() {
        let quotas = quotas();
        let peer = |last| IpAddr::from([10, 0, 0, last]);
        assert!(quotas.quote(peer(1)).is_ok() && quotas.quote(peer(1)).is_ok());
        assert!(matches!(quotas.quote(peer(1)), Err(QuotaExceeded::Rate { what: Metered::Quotes, .. })));
        assert!(quotas.quote(peer(2)).is_ok());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(quotas.quote(peer(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn senders_are_bounded_and_forgotten() {
        let quotas = quotas();
        let address = |number: usize| IpAddr::from((number as u128).to_be_bytes());
        for number in 0..MAX_SENDERS + 10 {
            drop(quotas.quote(address(number)));
        }
        assert!(quotas.lock().by_sender.len() <= MAX_SENDERS + 1);
        assert!(quotas.quote(address(MAX_SENDERS + 20)).is_err(), "too many to be told apart");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(quotas.quote(address(MAX_SENDERS + 20)).is_ok());
        assert!(quotas.lock().by_sender.len() < 10);
    }
}
