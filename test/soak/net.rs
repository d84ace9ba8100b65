//! The network: chain, sites, broadcaster, encoder, and the blows that fall.
use std::{fmt, path::Path, time::Duration};

use alloy::{hex, primitives::U256};
use futures::future::join_all;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use serde_json::Value;
use streamflow_store::TicketStatus;
use tokio::time::{Instant, sleep};

use crate::{
    balances::{self, Compared},
    namespace::Namespace,
    network::{
        audit::{paid_in_full, unpaid},
        chain::{Chain, Plan},
        role::{Role, free_port},
    },
    publisher::{self, Publisher},
    recording::{self, Recorded},
    schedule::{Blow, Kind, Target},
    site::{FINALITY, GAS_PRICE, Place, Site, TICKET_EV, chain_section},
    status,
};

const SITES: usize = 3;
const BLOCK_TIME: Duration = Duration::from_millis(500);
const STREAM: &str = "soak";
/// Renditions: small, since three orchestrators share the machine's cores.
const LADDER: [(&str, (u32, u32)); 2] = [("144p", (256, 144)), ("108p", (192, 108))];
/// How long the network may take to come up, to come to rest, and to redeem. A busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// An encoder that sends nothing for longer is dropped, and its sessions with it.
const REST: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

pub(crate) struct Net {
    chain: Chain,
    sites: Vec<Site>,
    partitions: bool,
    broadcaster: Role,
    admin: u16,
    page: u16,
    publisher: Option<Publisher>,
    dir: tempfile::TempDir,
}

/// What was redeemed.
#[derive(Debug, Default)]
pub(crate) struct Paid {
    tickets: usize,
    wei: U256,
    transactions: u64,
}

impl fmt::Display for Paid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tickets, wei, transactions } = self;
        write!(f, "{tickets} winners stored and redeemed, {wei} wei in {transactions} transactions")
    }
}

impl Net {
    /// Returns when the first segments are out.
    pub(crate) async fn start() -> Self {
        let namespaces: Result<Vec<_>, _> = (0..SITES).map(Namespace::create).collect();
        if let Err(error) = &namespaces {
            eprintln!("soak: goes on without partitions: {error}");
        }
        let partitions = namespaces.is_ok();
        let places: Vec<_> = match namespaces {
            Ok(namespaces) => namespaces.into_iter().map(|namespace| Place::new(Some(namespace))).collect(),
            Err(_) => (0..SITES).map(|_| Place::new(None)).collect(),
        };
        let service_uris = places.iter().map(Place::service_uri).collect();
        let plan = Plan { service_uris, senders: 1, block_time: BLOCK_TIME, base_fee: Some(GAS_PRICE.into()) };
        let chain = Chain::start(plan).await;
        let dir = tempfile::tempdir().unwrap();
        let starting =
            places.into_iter().enumerate().map(|(index, place)| Site::start(&chain, index, place, dir.path()));
        let sites = join_all(starting).await;
        let [admin, page, rtmp] = std::array::from_fn(|_| free_port());
        let config = broadcaster_config(&chain, dir.path(), admin, page, rtmp);
        let key = hex::encode(chain.senders[0].to_bytes());
        let mut broadcaster = Role::new(&dir.path().join("broadcaster"), "broadcaster", &config, &key);
        broadcaster.start();
        let mut net = Self { chain, sites, partitions, broadcaster, admin, page, publisher: None, dir };
        net.wait("the network", PATIENCE, async |net| {
            let ready = status::text(&[], format!("http://127.0.0.1:{}/readyz", net.admin)).await.is_some();
            ready && join_all(net.sites.iter().map(Site::is_up)).await.into_iter().all(|up| up)
        })
        .await;
        let url = format!("rtmp://127.0.0.1:{rtmp}/stream/{STREAM}");
        net.publisher = Some(Publisher::start(net.dir.path(), &url));
        net.wait("the first segment", PATIENCE, async |net| net.segments().await.is_some_and(|s| s.transcoded > 0))
            .await;
        net
    }

    /// Deals blows for so long, one after the other. Returns how many.
    pub(crate) async fn suffer(&mut self, seed: u64, time: Duration) -> usize {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let (end, mut number) = (Instant::now() + time, 0);
        loop {
            let Blow { calm, struck, lasts } = Blow::draw(&mut rng, SITES, self.partitions);
            sleep(calm).await;
            if Instant::now() >= end {
                return number;
            }
            self.publisher.as_mut().unwrap().check();
            number += 1;
            let at_work = self.at_work().await;
            let struck = aim(&struck, at_work);
            eprintln!("soak: blow {number}: {struck:?} for {lasts:?}, {at_work} at work; {:?}", self.segments().await);
            for (site, kind) in &struck {
                self.sites[*site].strike(*kind).await;
            }
            sleep(lasts).await;
            for (site, kind) in &struck {
                self.sites[*site].mend(*kind);
            }
        }
    }

    /// Lets the network come to rest, the stream still open, and compares both sides' books.
    pub(crate) async fn compare_balances(&mut self) -> Compared {
        self.wait("all sites", PATIENCE, async |net| {
            join_all(net.sites.iter().map(Site::is_up)).await.into_iter().all(|up| up)
        })
        .await;
        // What piled up is worked off first: there is not much time once the encoder is silent.
        self.wait("the backlog", PATIENCE, async |net| net.segments().await.is_some_and(|s| s.waiting() <= 1)).await;
        self.publisher.as_ref().unwrap().freeze();
        let mut last = None;
        let mut same = 0;
        self.wait("the last segment", REST, async |net| {
            // An attempt that another overtook is settled too.
            let idle = net.status().await.is_some_and(|status| {
                status["sessions"].as_array().into_iter().flatten().all(|session| session["in_flight"] == 0)
            });
            let now = net.segments().await.filter(|segments| idle && segments.waiting() == 0);
            same = if now.is_some() && now == last { same + 1 } else { 0 };
            last = now;
            // The worker that cuts may still have one to hand over.
            same >= 10
        })
        .await;
        balances::compare(&self.status().await.unwrap(), &self.sites).await
    }

    /// Ends the encoder, and looks at what viewers got.
    pub(crate) async fn end_stream(&mut self) -> Recorded {
        let sent = self.publisher.take().unwrap().end().await;
        self.wait("the end of the stream", PATIENCE, async |net| {
            net.status().await.is_some_and(|status| stream(&status).is_some_and(|stream| stream["live"] == false))
        })
        .await;
        let segments = self.segments().await.unwrap();
        assert_eq!((segments.failed, segments.waiting()), (0, 0), "{segments:?}");
        let mut playlists = Vec::new();
        for (name, size) in [("source", publisher::SIZE)].into_iter().chain(LADDER) {
            let url = format!("http://127.0.0.1:{}/recordings/{STREAM}/{name}.m3u8", self.page);
            playlists.push((name, status::text(&[], url).await.unwrap(), size));
        }
        let dir = self.dir.path().join("streams").join(STREAM);
        tokio::task::block_in_place(|| recording::check(&dir, &playlists, sent))
    }

    /// Lets everything be redeemed, and looks into the books of all keepers and of the chain.
    pub(crate) async fn settle(mut self) -> Paid {
        self.wait("redemptions", PATIENCE, async |net| net.is_settled().await).await;
        // What was paid is looked up once more.
        self.chain.blocks(2 * FINALITY + 2).await;
        assert!(self.is_settled().await, "a payout was taken back though the chain was calm");
        let mut all = Paid::default();
        for site in &self.sites {
            let paid = paid_in_full(&site.store).await;
            assert_eq!(self.chain.transferred(site.account).await, paid.wei, "the transfers on chain");
            all.tickets += paid.tickets.len();
            all.wei += paid.wei;
            all.transactions += paid.transactions;
        }
        assert_eq!(self.chain.spent().await, all.wei, "what left the sender's deposit and reserve");
        assert!(all.tickets > 0, "nothing was won: the redemptions tested nothing");
        all
    }

    async fn is_settled(&self) -> bool {
        let mut waiting = 0;
        for site in &self.sites {
            for status in [TicketStatus::Pending, TicketStatus::Submitted] {
                waiting += site.store.ticket_total(status).await.unwrap().count;
            }
        }
        waiting == 0
    }

    /// The site that has a segment, or had the last ones.
    async fn at_work(&mut self) -> usize {
        let status = self.status().await.unwrap_or_default();
        let mut busiest = (0, 0, 0);
        for (index, site) in self.sites.iter_mut().enumerate() {
            let account = format!("{:?}", site.account);
            let mut sessions = status["sessions"].as_array().into_iter().flatten();
            let Some(seen) = sessions.find(|seen| seen["orchestrator"].as_str() == Some(&account)) else { continue };
            let count = |what: &str| seen[what].as_u64().unwrap();
            let done = count("segments") - std::mem::replace(&mut site.segments, count("segments"));
            busiest = busiest.max((count("in_flight"), done, index));
        }
        busiest.2
    }

    async fn status(&self) -> Option<Value> {
        status::document(&[], format!("http://127.0.0.1:{}/status", self.admin)).await
    }

    async fn segments(&self) -> Option<Segments> {
        let status = self.status().await?;
        let segments = &stream(&status)?["segments"];
        let count = |what: &str| segments[what].as_u64().unwrap();
        let [received, transcoded, failed] = ["received", "transcoded", "failed"].map(count);
        Some(Segments { received, transcoded, failed, retried: count("retried") })
    }

    /// Polls until `met`; panics with the logs when that never comes.
    async fn wait(&mut self, what: &str, patience: Duration, mut met: impl AsyncFnMut(&Self) -> bool) {
        let end = Instant::now() + patience;
        while !met(self).await {
            if Instant::now() >= end {
                let mut told: Vec<_> = self.sites.iter().map(Site::log).collect();
                told.push(self.broadcaster.log());
                for site in &self.sites {
                    told.push(format!("{:?}", unpaid(&site.store).await));
                }
                panic!("waited {patience:?} for {what}; {:?}\n{}", self.status().await, told.join("\n"));
            }
            sleep(POLL).await;
        }
    }
}

/// Sites to strike: those of a blow, no two of them the same.
fn aim(struck: &[(Target, Kind)], at_work: usize) -> Vec<(usize, Kind)> {
    let mut aimed: Vec<(usize, Kind)> = Vec::new();
    for (target, kind) in struck {
        let mut site = match target {
            Target::AtWork => at_work,
            Target::Site(site) => *site,
        };
        if aimed.iter().any(|(other, _)| *other == site) {
            site = (site + 1) % SITES;
        }
        aimed.push((site, *kind));
    }
    aimed
}

/// What became of the stream's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segments {
    received: u64,
    transcoded: u64,
    failed: u64,
    retried: u64,
}

impl Segments {
    fn waiting(self) -> u64 {
        self.received - self.transcoded - self.failed
    }
}

fn stream(status: &Value) -> Option<&Value> {
    status["streams"].as_array()?.iter().find(|stream| stream["name"] == STREAM)
}

/// Deadlines are doubled and the queue is long: all roles share the machine's cores with each other, and perhaps with others.
fn broadcaster_config(chain: &Chain, dir: &Path, admin: u16, page: u16, rtmp: u16) -> String {
    let rpc = chain.deployment.anvil.url();
    let (section, streams) = (chain_section(chain, &rpc, &dir.join("broadcaster")), dir.join("streams"));
    let profiles = LADDER.map(|(name, (width, height))| {
        format!("{{ name = \"{name}\", width = {width}, height = {height}, bitrate = 150000 }}")
    });
    let (profiles, max_ev, max_total) = (profiles.join(", "), TICKET_EV * 10, u128::from(TICKET_EV) * 1_000);
    format!(
        r#"{section}
[admin]
listen = "127.0.0.1:{admin}"
[broadcaster]
listen = "127.0.0.1:{page}"
data_dir = {streams:?}
timeout_multiplier = 2
max_segments_waiting = 32
profiles = [{profiles}]
[broadcaster.rtmp]
listen = "127.0.0.1:{rtmp}"
[broadcaster.payment]
max_ticket_ev = "{max_ev}"
max_total_ev = "{max_total}"
"#
    )
}
