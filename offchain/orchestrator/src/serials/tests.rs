use std::ops::RangeInclusive;

use alloy_primitives::{B256, U256};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use streamflow_pm::{QuoteRequest, QuoteSecret, Recipient, RecipientConfig, ordered};
use streamflow_types::{Price, SenderFunds, TicketParams};

use super::*;

const DOMAIN: QuoteDomain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
const RECIPIENT: Address = Address::repeat_byte(0xaa);
const SENDER: Address = Address::repeat_byte(0x55);
const LIFE: u64 = 8;

fn chain(block: u64, round: u64) -> ChainView {
    ChainView {
        block,
        round: Round(round),
        round_block_hash: B256::repeat_byte(1),
        round_initialized: true,
        pool_size: 1,
        base_fee: 0,
    }
}

fn secret() -> QuoteSecret {
    QuoteSecret::new([7; 32])
}

/// A process that quotes.
struct Replica {
    recipient: Recipient,
    serials: Serials,
    chain: ChainView,
}

/// What a quote says that matters for the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Issued {
    serial: u64,
    round: Round,
    expiration_block: u64,
}

impl Replica {
    fn new(store: &Store, chain: ChainView) -> Self {
        let policy = TicketPolicy {
            ev: U256::from(1_000_000),
            redeem_gas: 1,
            min_gas_price: 10_000,
            params_life_blocks: LIFE,
            ..TicketPolicy::default()
        };
        let config = RecipientConfig::new(RECIPIENT, DOMAIN, policy);
        let serials = Serials::new(store.clone(), DOMAIN, RECIPIENT);
        Self { recipient: Recipient::new(config, secret()), serials, chain }
    }

    async fn params(&self) -> TicketParams {
        let wealth = U256::ONE << 80;
        let funds = SenderFunds { deposit: wealth, reserve: wealth, pool_size: 1, ..SenderFunds::default() };
        let request = QuoteRequest {
            sender: SENDER,
            price: Price::new(1, 1).unwrap(),
            funds: &funds,
            pending: U256::ZERO,
            gas_price: 0,
            chain: &self.chain,
        };
        let slot = self.serials.draw(self.recipient.policy(), &self.chain).await.unwrap();
        self.recipient.quote(&request, slot, &mut StdRng::seed_from_u64(1)).unwrap()
    }

    /// None if the quote is out of the order.
    async fn quote(&self) -> Option<Issued> {
        let params = self.params().await;
        let rand = secret().quoted_rand(&DOMAIN, SENDER, &params, Price::new(1, 1).unwrap()).unwrap();
        ordered::is_marked(rand).then_some(Issued {
            serial: ordered::serial(rand),
            round: params.expiration.creation_round,
            expiration_block: params.expiration_block,
        })
    }
}

/// The rule that lets a keeper pass a key: what comes before it has died before it.
fn check_order(mut issued: Vec<Issued>) -> Result<(), TestCaseError> {
    issued.sort();
    for pair in issued.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        prop_assert!(before.serial < after.serial, "one serial twice: {before:?} {after:?}");
        prop_assert!(before.round <= after.round, "{before:?} {after:?}");
        prop_assert!(before.expiration_block <= after.expiration_block, "{before:?} {after:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_replica_does_not_quote_late_deaths_under_low_serials() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sqlite");
    let (one, two) = (Store::open(&path).await.unwrap(), Store::open(&path).await.unwrap());
    let mut slow = Replica::new(&one, chain(100, 7));
    let mut quick = Replica::new(&two, chain(100, 7));
    let mut issued = vec![slow.quote().await.unwrap(), quick.quote().await.unwrap()];
    quick.chain.block = 104;
    issued.push(quick.quote().await.unwrap());
    slow.chain.block = 110;
    let late = slow.quote().await.unwrap();
    issued.push(late);
    assert!(issued[..3].iter().all(|before| before.serial < late.serial));
    check_order(issued).unwrap();
}

#[tokio::test]
async fn a_quote_within_a_lease_costs_no_write() {
    let store = Store::in_memory().await.unwrap();
    let replica = Replica::new(&store, chain(100, 7));
    let first = replica.quote().await.unwrap();
    store.close().await;
    for n in 1..LEASE {
        assert_eq!(replica.quote().await.unwrap().serial, first.serial + n);
    }
    let used_up = replica.serials.draw(replica.recipient.policy(), &replica.chain).await;
    assert!(used_up.is_err(), "a store that gives no serials is an error");
}

#[tokio::test]
async fn a_replica_that_lags_by_a_round_quotes_out_of_the_order() {
    let store = Store::in_memory().await.unwrap();
    let ahead = Replica::new(&store, chain(101, 8));
    let mut behind = Replica::new(&store, chain(100, 7));
    assert!(ahead.quote().await.is_some());
    assert_eq!(behind.quote().await, None);
    assert_eq!(behind.params().await.expiration_block, 100 + LIFE);
    behind.chain = chain(101, 8);
    assert!(behind.quote().await.is_some());
}

/// One names the round before until the new one is deep, another does not wait.
#[tokio::test]
async fn a_replica_that_waits_for_a_round_to_be_deep_keeps_the_order() {
    let store = Store::in_memory().await.unwrap();
    let mut patient = Replica::new(&store, chain(100, 7));
    let mut hasty = Replica::new(&store, chain(100, 7));
    let mut issued = vec![patient.quote().await.unwrap(), hasty.quote().await.unwrap()];
    // Alone, it stays in the order while the chain is in round 8.
    patient.chain = chain(104, 7);
    issued.push(patient.quote().await.unwrap());
    hasty.chain = chain(104, 8);
    issued.push(hasty.quote().await.unwrap());
    // What it holds of its lease is of round 7, with lower serials; it gets no more of that round.
    issued.extend(patient.quote().await);
    patient.chain = chain(107, 7);
    assert_eq!(patient.quote().await, None);
    assert_eq!(patient.params().await.expiration.creation_round, Round(7));
    patient.chain = chain(108, 8);
    issued.push(patient.quote().await.unwrap());
    check_order(issued).unwrap();
}

#[tokio::test]
async fn a_replica_that_lags_by_blocks_lifts_its_expiration() {
    let store = Store::in_memory().await.unwrap();
    let ahead = Replica::new(&store, chain(100 + LIFE, 7));
    let behind = Replica::new(&store, chain(100, 7));
    let far_behind = Replica::new(&store, chain(99, 7));
    let expiration = ahead.quote().await.unwrap().expiration_block;
    assert_eq!(behind.quote().await.unwrap().expiration_block, expiration);
    assert_eq!(far_behind.quote().await, None);
}

#[tokio::test]
async fn quotes_made_at_once_have_serials_of_their_own() {
    let store = Store::in_memory().await.unwrap();
    let replica = Replica::new(&store, chain(100, 7));
    let quotes = futures::future::join_all((0..LEASE + 5).map(|_| replica.quote())).await;
    check_order(quotes.into_iter().map(Option::unwrap).collect()).unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Quote(usize),
    /// Quotes that nobody accepts, until hardly any serial is left.
    Waste(usize),
    /// The chain as this replica sees it from now on: late, early, or after a reorganisation.
    See(usize, u64, u64),
    /// A process is killed and another one takes its place.
    Restart(usize),
}

const REPLICAS: usize = 3;
const BLOCKS: RangeInclusive<u64> = 100..=130;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..REPLICAS).prop_map(Step::Quote),
        1 => (0..REPLICAS).prop_map(Step::Waste),
        4 => (0..REPLICAS, BLOCKS, 7..10_u64).prop_map(|(replica, block, round)| Step::See(replica, block, round)),
        1 => (0..REPLICAS).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_replicas_see_and_do_serials_follow_the_order_in_which_quotes_die(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::in_memory().await.unwrap();
            let mut replicas: Vec<_> = (0..REPLICAS).map(|_| Replica::new(&store, chain(100, 7))).collect();
            let mut issued = Vec::new();
            for step in steps {
                match step {
                    Step::Quote(replica) => issued.extend(replicas[replica].quote().await),
                    Step::Waste(replica) => {
                        let Replica { recipient, serials, chain } = &replicas[replica];
                        for _ in 2..LEASE {
                            serials.draw(recipient.policy(), chain).await.unwrap();
                        }
                    }
                    Step::See(replica, block, round) => replicas[replica].chain = chain(block, round),
                    Step::Restart(replica) => replicas[replica] = Replica::new(&store, replicas[replica].chain),
                }
            }
            check_order(issued)
        })?;
    }
}
