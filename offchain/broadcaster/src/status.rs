//! What `/status` answers; `web/src/status.ts` reads it. Amounts are decimal strings in wei.
use std::path::PathBuf;

use alloy_primitives::Address;
use serde::Serialize;
use streamflow_pm::SessionBalance;
use streamflow_types::ManifestId;
use url::Url;

use crate::{discovery::Dropped, selection::ChoiceStatus, verification::Verdict};

/// State of the broadcaster.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// Whether orchestrators are paid.
    pub payments: PaymentMode,
    /// Why segments are refused now.
    pub refusing: Option<String>,
    /// Why the input that was to be played is not, or not to its end.
    pub input_error: Option<String>,
    /// Account that pays.
    pub sender: Option<Address>,
    /// What it has in TicketBroker.
    pub funds: Option<FundsStatus>,
    /// What is spent and how long the deposit lasts.
    pub budget: Option<BudgetStatus>,
    /// Newest block.
    pub block: Option<u64>,
    /// Last initialised round.
    pub round: Option<u64>,
    /// Segments of all streams since the start.
    pub segments: SegmentStatus,
    /// Tickets of all streams since the start.
    pub tickets: TicketStatus,
    /// Streams since the start, newest first.
    pub streams: Vec<StreamStatus>,
    /// What encoders do over RTMP; none where they may not.
    pub rtmp: Option<RtmpStatus>,
    /// Orchestrators that have a place: our own, and the shortlist of the market.
    pub sessions: Vec<SessionStatus>,
    /// What orchestrators hold for us, by session, those used last first; none where this node does not pay.
    pub balances: Option<Vec<BalanceStatus>>,
    /// The list as a whole.
    pub pool: PoolStatus,
}

/// What encoders do over RTMP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RtmpStatus {
    /// Open connections, players included.
    pub connections: usize,
    /// Streams that are published now.
    pub published: usize,
    /// Encoders that were refused or cut off since the start.
    pub refused: u64,
    /// Why the last of them was, with its code at the end.
    pub last_refusal: Option<String>,
}

/// What an orchestrator holds for one of our sessions, by our own book. Its own has the same in its `/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceStatus {
    /// Who is paid.
    pub orchestrator: Address,
    /// Name of the session.
    pub session: String,
    /// Exact wei, a reduced fraction: `10`, `125/7`, `-3/2`.
    pub balance: String,
}

impl BalanceStatus {
    pub(crate) fn new(held: SessionBalance) -> Self {
        Self { orchestrator: held.account, session: held.session, balance: held.balance.to_ratio() }
    }
}

/// The list of orchestrators as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// On the newest list.
    pub listed: usize,
    /// Of them asked for quotes and given work.
    pub places: usize,
    /// Of them not used, and why.
    pub dropped: Vec<DropStatus>,
}

/// Orchestrators that are not used for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropStatus {
    /// The reason in one word.
    pub code: &'static str,
    /// How many.
    pub count: usize,
    /// The reason of one of them, with both figures and the setting.
    pub example: String,
}

impl PoolStatus {
    pub(crate) fn new(listed: usize, places: usize, dropped: &Dropped) -> Self {
        let drops =
            dropped.entries().map(|(code, count, example)| DropStatus { code, count, example: example.to_owned() });
        Self { listed, places, dropped: drops.collect() }
    }
}

/// Whether orchestrators are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    /// With tickets.
    OnChain,
    /// Not at all.
    OffChain,
}

/// The payer's funds.
#[derive(Clone, Debug, Serialize)]
pub struct FundsStatus {
    /// Wei that any winning ticket may take.
    pub deposit: String,
    /// Wei that is left of the reserve.
    pub reserve: String,
    /// Round from which the funds may be withdrawn; 0 while locked.
    pub withdraw_round: u64,
}

/// What is spent, by the expected value of tickets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetStatus {
    /// Wei that one stream may spend.
    pub per_stream: Option<String>,
    /// Wei that all streams may spend in a day.
    pub per_day: Option<String>,
    /// Wei spent since the day began (UTC); with a limit for the day also by earlier runs and other processes, as of the
    /// last payment.
    pub spent_today: String,
    /// Wei in an hour, going by the last half.
    pub wei_per_hour: String,
    /// Hours for which the deposit lasts at this rate, rounded down; none while nothing is spent.
    pub runway_hours: Option<u64>,
}

/// What became of segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SegmentStatus {
    /// Accepted.
    pub received: u64,
    /// All renditions verified and published.
    pub transcoded: u64,
    /// No orchestrator could do them.
    pub failed: u64,
    /// Attempts that failed and were repeated.
    pub retried: u64,
    /// Attempts started beside one that was slow.
    pub hedged: u64,
    /// Of these, how many were first.
    pub hedges_won: u64,
}

/// Tickets sent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TicketStatus {
    /// How many.
    pub sent: u64,
    /// Their expected value in wei.
    pub value: String,
}

/// One stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    /// Its name.
    pub name: ManifestId,
    /// Whether more segments may come.
    pub live: bool,
    /// Path of the master playlist on this server.
    pub playlist: String,
    /// What became of its segments.
    pub segments: SegmentStatus,
    /// Expected value of its tickets, wei.
    pub spent: String,
    /// Who would get its next segment, and why not the others; none once it ended.
    pub choice: Option<ChoiceStatus>,
    /// The transcoded renditions.
    pub renditions: Vec<RenditionStatus>,
    /// File of the master playlist; not served.
    #[serde(skip)]
    pub master: PathBuf,
}

/// One rendition of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct RenditionStatus {
    /// Name of the profile.
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Published.
    pub segments: u64,
    /// Encoded, all segments together.
    pub pixels: u64,
    /// File of the media playlist; not served.
    #[serde(skip)]
    pub playlist: PathBuf,
}

/// One orchestrator.
#[derive(Clone, Debug, Serialize)]
pub struct SessionStatus {
    /// Its account.
    pub orchestrator: Option<Address>,
    /// Its service URI.
    pub url: Url,
    /// Whether it is one of our own.
    pub own: bool,
    /// LPT wei, where the chain told.
    pub stake: Option<String>,
    /// `usable`, or what keeps it from being used, in one word.
    pub code: &'static str,
    /// The same for people, with both figures and the setting.
    pub why: String,
    /// `wei/pixels` of its newest quote.
    pub price: Option<String>,
    /// Moving average of the time for one segment.
    pub latency_ms: Option<u64>,
    /// Segments it works on.
    pub in_flight: u32,
    /// Segments it did.
    pub segments: u64,
    /// Attempts it failed.
    pub failures: u64,
    /// How long it still rests after a failure.
    pub suspended_ms: u64,
    /// What it was convicted of last.
    pub verdict: Option<Verdict>,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Tickets it got.
    pub tickets: TicketStatus,
}
