//! What tickets cost, beside the bare curve arithmetic in the same run: for `streamflow bench tickets`.
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use rand::{SeedableRng, rngs::StdRng};
use secp256k1::{
    Message, SECP256K1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use streamflow_types::{ChainView, Price, Round, SenderFunds, TicketParams};

use crate::{
    KeySigner, Payment, QuoteDomain, QuoteError, QuoteRequest, QuoteSecret, QuoteSecrets, Recipient, RecipientConfig,
    RecoveryQuota, Sender, SenderError, SenderLimits, TicketPolicy, eip191_digest, payment::ticket_from_params,
    ticket_hash,
};

const KEY: [u8; 32] = [0x11; 32];
const SESSION: &str = "00c0ffee";
const RECIPIENT: Address = Address::repeat_byte(0x0c);
/// Tickets of each kind in a round: few enough for two milliseconds, in which the thread is seldom interrupted.
const TICKETS: u32 = 60;

/// Time for one ticket.
#[derive(Clone, Copy, Debug, Default)]
pub struct TicketTimes {
    /// Recovering the key of a signature, nothing else.
    pub recover: Duration,
    /// Receiving a payment of one valid ticket.
    pub receive: Duration,
    /// Receiving one of the valid tickets of a large payment.
    pub receive_batched: Duration,
    /// Signing a digest, nothing else.
    pub sign: Duration,
    /// Making a payment of one ticket.
    pub create: Duration,
    /// Making one of the tickets of a large payment.
    pub create_batched: Duration,
    /// Refusing a ticket on terms that were not quoted.
    pub refuse_unquoted: Duration,
    /// Refusing a ticket whose number was seen.
    pub refuse_seen: Duration,
}

/// Figures of all rounds, on one core.
#[derive(Clone, Debug)]
pub struct TicketFigures {
    rounds: Vec<TicketTimes>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// A constant of the benchmark itself.
    #[error("the benchmark's own key, price or signature is not usable")]
    Setup,
    /// No quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// No tickets.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// Good tickets were refused, or bad ones taken.
    #[error("{got} of {expected} tickets were credited")]
    Credited {
        /// Tickets.
        got: usize,
        /// Tickets.
        expected: usize,
    },
}

impl TicketFigures {
    /// Tickets of each kind in all rounds.
    pub fn tickets(&self) -> u64 {
        self.rounds.len() as u64 * u64::from(TICKETS)
    }

    /// Median of all rounds.
    pub fn median(&self, time: impl Fn(&TicketTimes) -> Duration) -> Duration {
        let mut times: Vec<_> = self.rounds.iter().map(time).collect();
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// How much of the time to receive a ticket is the recovery of its signer: 1 would be checks that cost nothing.
    pub fn receive_ratio(&self) -> f64 {
        self.ratio(|times| (times.recover, times.receive))
    }

    /// How much of the time to make a ticket is its signature.
    pub fn create_ratio(&self) -> f64 {
        self.ratio(|times| (times.sign, times.create))
    }

    /// Time for a ticket that is refused, of the dearer kind.
    pub fn refused(&self) -> Duration {
        self.median(|times| times.refuse_unquoted).max(self.median(|times| times.refuse_seen))
    }

    /// Median of the ratios within each round, whose two halves met the same disturbances.
    fn ratio(&self, halves: impl Fn(&TicketTimes) -> (Duration, Duration)) -> f64 {
        let ratio = |times: &TicketTimes| {
            let (bare, whole) = halves(times);
            bare.as_secs_f64() / whole.as_secs_f64()
        };
        let mut ratios: Vec<f64> = self.rounds.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or_default()
    }
}

/// Measures so many rounds, after one for nothing.
///
/// # Errors
/// When the tickets of the benchmark are not taken, or taken where they must not be.
pub fn run(rounds: usize) -> Result<TicketFigures, BenchmarkError> {
    let mut bench = Bench::new()?;
    bench.round()?;
    let rounds = (0..rounds.max(1)).map(|_| bench.round());
    Ok(TicketFigures { rounds: rounds.collect::<Result<_, _>>()? })
}

struct Bench {
    key: SecretKey,
    sender: Sender,
    recipient: Recipient,
    price: Price,
    funds: SenderFunds,
    chain: ChainView,
    rng: StdRng,
}

impl Bench {
    fn new() -> Result<Self, BenchmarkError> {
        let wealth = U256::ONE << 120;
        let domain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
        let policy = TicketPolicy { min_gas_price: 10_000_000, ..TicketPolicy::default() };
        let recoveries = RecoveryQuota { per_second: u32::MAX, burst: u32::MAX };
        let config = RecipientConfig { recoveries, ..RecipientConfig::new(RECIPIENT, domain, policy) };
        // Both secrets are there: what is not quoted is looked for under each.
        let secrets = QuoteSecrets { current: QuoteSecret::new([7; 32]), previous: Some(QuoteSecret::new([8; 32])) };
        let signer = KeySigner::from_bytes(KEY).map_err(|_| BenchmarkError::Setup)?;
        let limits = SenderLimits { max_total_ev: U256::MAX, ..SenderLimits::default() };
        Ok(Self {
            key: SecretKey::from_byte_array(KEY).map_err(|_| BenchmarkError::Setup)?,
            sender: Sender::new(Arc::new(signer), limits),
            recipient: Recipient::new(config, secrets),
            price: Price::new(1200, 1).map_err(|_| BenchmarkError::Setup)?,
            funds: SenderFunds { deposit: wealth, reserve: wealth, pool_size: 2, ..SenderFunds::default() },
            chain: ChainView {
                block: 100,
                round: Round(7),
                round_block_hash: B256::repeat_byte(0x41),
                round_initialized: true,
                pool_size: 2,
                base_fee: 10_000_000,
            },
            rng: StdRng::seed_from_u64(1),
        })
    }

    fn quote(&mut self) -> Result<TicketParams, BenchmarkError> {
        let request = QuoteRequest {
            sender: self.sender.address(),
            price: self.price,
            funds: &self.funds,
            pending: U256::ZERO,
            gas_price: 0,
            chain: &self.chain,
        };
        Ok(self.recipient.quote(&request, None, &mut self.rng)?)
    }

    /// Payments of `tickets` each on one new quote.
    fn pay(&mut self, payments: u32, tickets: usize) -> Result<Vec<Payment>, BenchmarkError> {
        let (params, now) = (self.quote()?, Instant::now());
        let session = self.sender.start_session(params, now)?;
        let pay = |_| self.sender.pay(session, tickets, self.price, &self.funds, &self.chain, now);
        Ok((0..payments).map(pay).collect::<Result<_, _>>()?)
    }

    /// What one of the tickets takes that these payments have together, when as many as `credited` are good.
    fn receive(&self, payments: &[Payment], credited: usize) -> Result<Duration, BenchmarkError> {
        let started = Instant::now();
        let mut got = 0;
        for payment in payments {
            let now = Instant::now();
            got += self.recipient.receive(black_box(payment), SESSION, &self.funds, &self.chain, now).credited;
        }
        let took = started.elapsed() / TICKETS;
        if got == credited { Ok(took) } else { Err(BenchmarkError::Credited { got, expected: credited }) }
    }

    fn round(&mut self) -> Result<TicketTimes, BenchmarkError> {
        let now = Instant::now();
        let started = Instant::now();
        let single = self.pay(TICKETS, 1)?;
        let create = started.elapsed() / TICKETS;
        let digests: Vec<B256> = single.iter().flat_map(digests).collect();
        let sign = self.sign(&digests)?;
        let recover = recover(&single, &digests)?;
        let receive = self.receive(&single, TICKETS as usize)?;
        let refuse_seen = self.receive(&single, 0)?;
        let mut unquoted = single;
        for params in unquoted.iter_mut().filter_map(|payment| payment.params.as_mut()) {
            params.face_value += U256::ONE;
        }
        let refuse_unquoted = self.receive(&unquoted, 0)?;
        let started = Instant::now();
        let batch = self.pay(1, TICKETS as usize)?;
        let create_batched = started.elapsed() / TICKETS;
        let receive_batched = self.receive(&batch, TICKETS as usize)?;
        // The books of the next round are as empty as those of this one.
        self.recipient.end_session(self.sender.address(), SESSION);
        self.chain.block += self.recipient.policy().params_life_blocks;
        self.sender.prune(now, self.chain.block);
        self.recipient.prune(now, self.chain.block);
        Ok(TicketTimes {
            recover,
            receive,
            receive_batched,
            sign,
            create,
            create_batched,
            refuse_unquoted,
            refuse_seen,
        })
    }

    fn sign(&self, digests: &[B256]) -> Result<Duration, BenchmarkError> {
        let started = Instant::now();
        for digest in digests {
            black_box(SECP256K1.sign_ecdsa_recoverable(Message::from_digest(black_box(digest.0)), &self.key));
        }
        Ok(started.elapsed() / TICKETS)
    }
}

/// What the signatures of a payment are over.
fn digests(payment: &Payment) -> Vec<B256> {
    let Some(params) = &payment.params else { return Vec::new() };
    let digest = |nonce| eip191_digest(ticket_hash(&ticket_from_params(params, payment.sender, nonce)));
    payment.tickets.iter().map(|ticket| digest(ticket.sender_nonce)).collect()
}

fn recover(payments: &[Payment], digests: &[B256]) -> Result<Duration, BenchmarkError> {
    let tickets = payments.iter().flat_map(|payment| &payment.tickets);
    let parsed = tickets.map(|ticket| {
        let (compact, v) = ticket.sig.as_bytes().split_at(64);
        let id = if v == [27] { RecoveryId::Zero } else { RecoveryId::One };
        RecoverableSignature::from_compact(compact, id).map_err(|_| BenchmarkError::Setup)
    });
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    for (sig, digest) in parsed.iter().zip(digests) {
        let key = SECP256K1.recover_ecdsa(Message::from_digest(black_box(digest.0)), sig);
        black_box(key.map_err(|_| BenchmarkError::Setup)?);
    }
    Ok(started.elapsed() / TICKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_takes_good_tickets_and_refuses_the_rest() {
        let figures = run(1).unwrap();
        assert_eq!(figures.tickets(), 60);
        assert!(!figures.refused().is_zero(), "{figures:?}");
        assert!(figures.receive_ratio() > 0.0 && figures.create_ratio() > 0.0);
    }
}
