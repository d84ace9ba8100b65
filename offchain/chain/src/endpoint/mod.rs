//! Several nodes of one chain, as one. One of them leads: it is asked until it fails, lies, lags or limits; then it is left,
//! looked at again with growing pauses, and the best of the others leads.
mod agreement;
mod client;
mod fault;
#[cfg(test)]
mod fuzz;
mod header;
mod health;
mod proof;
mod survey;
mod transport;
mod witness;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    primitives::{B256, Bytes, U64},
    transports::{TransportError, TransportErrorKind},
};
use alloy_json_rpc::{RequestPacket, ResponsePacket, ResponsePayload};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::fault::Fault;
use self::{
    client::{Client, Failure, payload, request},
    header::{Checked, Commitment},
    health::Health,
};
pub(crate) use self::{
    fault::{EndpointError, Unusable},
    health::Recheck,
    transport::Route,
    witness::NonceUse,
};
use crate::{BlockHeader, ChainConfig, ChainError, clock::since_1970, metrics, profile::Profile};

/// Headers whose commitments are kept.
const KNOWN_HEADERS: usize = 512;
/// Longest wait for an endpoint that limits the rate, where there is no other.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Which endpoints a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The one that leads, then the others.
    Any,
    /// This one: what is read belongs together.
    Only(usize),
    /// All of them, and more than half must say the same.
    Agreed,
}

#[derive(Debug)]
struct Endpoint {
    client: Client,
    /// Never held over an await.
    health: Mutex<Health>,
}

impl Endpoint {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The endpoints of one chain.
pub(crate) struct Endpoints {
    list: Vec<Endpoint>,
    leader: AtomicUsize,
    chain_id: OnceLock<u64>,
    known: Mutex<VecDeque<Commitment>>,
    /// Receipts of types that only this chain has are hashed as we do it.
    hashes_own_types: AtomicBool,
    config: ChainConfig,
}

impl std::fmt::Debug for Endpoints {
    /// Without the settings: URLs carry keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints").field("list", &self.list).field("leader", &self.leader).finish_non_exhaustive()
    }
}

impl Endpoints {
    pub(crate) fn new(config: &ChainConfig) -> Result<Self, ChainError> {
        let http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .build()
            .map_err(ChainError::Client)?;
        let now = Instant::now();
        let endpoint = |url| {
            let health = Health::new(config.poll_interval, config.max_backoff, now);
            Ok(Endpoint { client: Client::new(http.clone(), url)?, health: Mutex::new(health) })
        };
        let list = config.endpoints().into_iter().map(endpoint).collect::<Result<_, ChainError>>()?;
        Ok(Self {
            list,
            leader: AtomicUsize::new(0),
            chain_id: config.chain_id.map_or_else(OnceLock::new, OnceLock::from),
            known: Mutex::default(),
            hashes_own_types: AtomicBool::new(false),
            config: config.clone(),
        })
    }

    /// The endpoint that leads.
    pub(crate) fn leader(&self) -> usize {
        self.leader.load(Ordering::Relaxed)
    }

    /// Host and port of an endpoint.
    pub(crate) fn host(&self, index: usize) -> &str {
        self.list.get(index).map_or("", |endpoint| endpoint.client.host.as_str())
    }

    /// Endpoints that must agree.
    fn quorum(&self) -> usize {
        match self.config.quorum {
            0 => self.list.len() / 2 + 1,
            quorum => quorum.min(self.list.len()),
        }
    }

    fn profile(&self) -> Profile {
        Profile::new(self.config.profile, self.chain_id.get().copied().unwrap_or_default())
    }

    /// Reads a header that was checked when it was answered.
    pub(crate) fn header(&self, block: &str) -> Result<Option<BlockHeader>, TransportError> {
        let header = header::read(block, self.profile().contract_number(), false);
        header.map(|checked| checked.map(|checked| checked.header)).map_err(TransportErrorKind::custom)
    }

    /// Asks one endpoint, and tells which.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        mode: Mode,
        method: &'static str,
        params: impl Serialize + Clone,
    ) -> Result<(usize, T), TransportError> {
        let (index, answer) = self.route(mode, request(method, params)?).await?;
        let value = payload(answer)?;
        serde_json::from_str(value.get()).map(|value| (index, value)).map_err(|err| {
            let source = TransportError::deser_err(err, value.get().chars().take(200).collect::<String>());
            self.at(index, source)
        })
    }

    pub(crate) async fn route(
        &self,
        mode: Mode,
        packet: RequestPacket,
    ) -> Result<(usize, ResponsePacket), TransportError> {
        if mode == Mode::Agreed && self.list.len() > 1 {
            return self.agree(packet).await;
        }
        let mut tries = 0;
        loop {
            let failure = match self.pass(mode, &packet).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause = self.pause(mode);
            let is_limit = matches!(failure.fault, Fault::Limited { .. });
            if !is_limit || tries >= self.config.rate_limit_retries || pause > LONGEST_WAIT {
                return Err(failure.error);
            }
            tries += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks the endpoints in turn until one answers. One that does not have what is asked for leaves it to the others.
    async fn pass(&self, mode: Mode, packet: &RequestPacket) -> Result<(usize, ResponsePacket), Failure> {
        let (mut blank, mut last) = (None, None);
        for index in self.candidates(mode).await {
            match self.call(index, packet).await {
                Ok(answer) if agreement::is_blank(packet, &answer) => {
                    blank.get_or_insert((index, answer));
                }
                Ok(answer) => {
                    self.lead(index);
                    return Ok((index, answer));
                }
                Err(failure) => last = Some(failure),
            }
        }
        blank.ok_or_else(|| last.unwrap_or_else(|| self.unusable(mode)))
    }

    /// Asks all that may be asked until enough of them say the same.
    async fn agree(&self, packet: RequestPacket) -> Result<(usize, ResponsePacket), TransportError> {
        let needed = self.quorum();
        let now = Instant::now();
        let may_be_asked = |index: &usize| {
            let health = self.list.get(*index).map(Endpoint::health);
            health.is_some_and(|health| health.left().is_none_or(|left| !left.fault.is_untrue()) && health.is_due(now))
        };
        let mut asked: FuturesUnordered<_> = (0..self.list.len())
            .filter(may_be_asked)
            .map(|index| {
                let packet = &packet;
                async move { (index, self.call(index, packet).await) }
            })
            .collect();
        let mut said: Vec<(Value, Vec<(usize, ResponsePacket)>)> = Vec::new();
        let mut last = None;
        while let Some((index, answer)) = asked.next().await {
            let answer = match answer {
                Ok(answer) => answer,
                Err(failure) => {
                    last = Some(failure.error);
                    continue;
                }
            };
            let Some(essence) = agreement::essence(&packet, &answer) else { continue };
            let position = said.iter().position(|(known, _)| *known == essence).unwrap_or_else(|| {
                said.push((essence, Vec::new()));
                said.len() - 1
            });
            let Some((_, same)) = said.get_mut(position) else { continue };
            same.push((index, answer));
            if same.len() < needed {
                continue;
            }
            let agreed = same.swap_remove(0);
            let call = packet.as_single().map_or("", |request| request.method());
            for (index, _) in
                said.into_iter().enumerate().filter(|(at, _)| *at != position).flat_map(|(_, (_, same))| same)
            {
                self.leave(index, Fault::Outvoted { call: call.to_owned() }, None);
            }
            return Ok(agreed);
        }
        let agreed = said.iter().map(|(_, same)| same.len()).max().unwrap_or_default();
        match last {
            Some(err) if agreed == 0 => Err(err),
            _ => Err(TransportErrorKind::custom(Unusable::Disagree { agreed, needed })),
        }
    }

    /// Gives a signed transaction to every endpoint that may have it, and tells what each said.
    pub(crate) async fn broadcast(&self, raw: &Bytes) -> Vec<Result<B256, TransportError>> {
        let candidates = self.candidates(Mode::Any).await;
        if candidates.is_empty() {
            return vec![Err(self.unusable(Mode::Any).error)];
        }
        let packet = match request("eth_sendRawTransaction", (raw,)) {
            Ok(packet) => packet,
            Err(err) => return vec![Err(err)],
        };
        let packet = &packet;
        let sends = candidates.into_iter().map(|index| async move {
            let answer = self.call(index, packet).await.map_err(|failure| failure.error)?;
            let hash = payload(answer)?;
            serde_json::from_str(hash.get()).map_err(|err| TransportError::deser_err(err, hash.get()))
        });
        join_all(sends).await
    }

    /// Finds the chain that the endpoints serve.
    pub(crate) async fn chain_id(&self, expected: Option<u64>) -> Result<u64, ChainError> {
        let expected = expected.or_else(|| self.chain_id.get().copied());
        let mut asked: FuturesUnordered<_> =
            (0..self.list.len()).map(|index| async move { (index, self.served_chain(index).await) }).collect();
        let (mut other, mut error) = (None, None);
        while let Some((index, answer)) = asked.next().await {
            match (answer, expected) {
                (Ok(got), None) => return Ok(*self.chain_id.get_or_init(|| got)),
                (Ok(got), Some(expected)) if got == expected => return Ok(*self.chain_id.get_or_init(|| got)),
                (Ok(got), Some(expected)) => other = Some((index, got, expected)),
                (Err(failure), _) => error = Some(failure.error),
            }
        }
        if let Some((index, got, expected)) = other {
            return Err(ChainError::WrongChain { host: self.host(index).to_owned(), got, expected });
        }
        let error = error.unwrap_or_else(|| self.unusable(Mode::Any).error);
        Err(ChainError::from_transport(self.host(self.leader()), "eth_chainId", error))
    }

    async fn served_chain(&self, index: usize) -> Result<u64, Failure> {
        let unreadable = |error| Failure { fault: Fault::Unreadable, error };
        let (method, params): (_, [(); 0]) = ("eth_chainId", []);
        let answer = self.post(index, &request(method, params).map_err(unreadable)?).await?;
        let value = payload(answer).map_err(unreadable)?;
        let chain: Result<U64, _> = serde_json::from_str(value.get());
        chain
            .map(|chain| chain.to())
            .map_err(|err| unreadable(self.at(index, TransportError::deser_err(err, value.get()))))
    }

    /// Asks one endpoint, holds the answer against what can be known, and leaves the endpoint if anything is wrong.
    async fn call(&self, index: usize, packet: &RequestPacket) -> Result<ResponsePacket, Failure> {
        let outcome = async {
            self.admit(index).await?;
            let answer = self.post(index, packet).await?;
            self.inspect(index, packet, &answer).map_err(|fault| self.caught(index, fault))?;
            Ok(answer)
        };
        let outcome: Result<_, Failure> = outcome.await;
        match &outcome {
            Ok(_) => self.answers_again(index),
            Err(failure) => self.leave(index, failure.fault.clone(), None),
        }
        outcome
    }

    async fn post(&self, index: usize, packet: &RequestPacket) -> Result<ResponsePacket, Failure> {
        let Some(endpoint) = self.list.get(index) else { return Err(self.unusable(Mode::Any)) };
        match endpoint.client.post(packet).await {
            Ok((answer, took)) => {
                endpoint.health().answered(took);
                Ok(answer)
            }
            Err(Failure { fault: fault @ Fault::Limited { .. }, .. }) => Err(self.caught(index, fault)),
            Err(Failure { fault, error }) => Err(Failure { fault, error: self.at(index, error) }),
        }
    }

    /// Makes sure that the endpoint serves the chain that the others do, before it is asked anything else.
    async fn admit(&self, index: usize) -> Result<(), Failure> {
        if self.list.get(index).is_none_or(|endpoint| endpoint.health().chain_checked) {
            return Ok(());
        }
        let got = self.served_chain(index).await?;
        let expected = *self.chain_id.get_or_init(|| got);
        if got != expected {
            return Err(self.caught(index, Fault::WrongChain { got, expected }));
        }
        if let Some(endpoint) = self.list.get(index) {
            endpoint.health().chain_checked = true;
        }
        Ok(())
    }

    /// Holds an answer against what it must say.
    fn inspect(&self, index: usize, packet: &RequestPacket, answer: &ResponsePacket) -> Result<(), Fault> {
        let (Some(request), Some(response)) = (packet.as_single(), answer.as_single()) else { return Ok(()) };
        let ResponsePayload::Success(value) = &response.payload else { return Ok(()) };
        let asked = || -> Option<Value> {
            let params: Vec<Value> = serde_json::from_str(request.params()?.get()).ok()?;
            params.into_iter().next()
        };
        match request.method() {
            "eth_chainId" => match (serde_json::from_str::<U64>(value.get()), self.chain_id.get()) {
                (Ok(got), Some(expected)) if got.to::<u64>() != *expected => {
                    Err(Fault::WrongChain { got: got.to(), expected: *expected })
                }
                _ => Ok(()),
            },
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                self.checked_header(index, value.get(), asked().as_ref()).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Reads a header, and holds it against its hash, the question, and the clock.
    fn checked_header(&self, index: usize, block: &str, asked: Option<&Value>) -> Result<Option<Checked>, Fault> {
        let profile = self.profile();
        let Some(checked) = header::read(block, profile.contract_number(), self.config.verify)? else {
            return Ok(None);
        };
        let (number, hash) = (checked.header.number, checked.header.hash);
        match asked.and_then(Value::as_str) {
            Some("latest") => {
                if let Some(endpoint) = self.list.get(index) {
                    endpoint.health().head = Some(number);
                }
                let age = since_1970().saturating_sub(Duration::from_secs(checked.header.timestamp));
                if let Some(max) = profile.max_head_age(&self.config).filter(|max| age > *max) {
                    return Err(Fault::Stale { number, age: age.as_secs(), max: max.as_secs() });
                }
            }
            Some(asked) if asked.len() == 66 && asked.parse() != Ok(hash) => return Err(Fault::FalseHeader { number }),
            Some(asked) if asked.len() < 66 && asked.parse::<U64>().is_ok_and(|asked| asked.to::<u64>() != number) => {
                return Err(Fault::FalseHeader { number });
            }
            _ => {}
        }
        if let Some(commitment) = checked.commitment {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.iter().any(|known| known.hash == hash) {
                if known.len() == KNOWN_HEADERS {
                    known.pop_front();
                }
                known.push_back(commitment);
            }
        }
        Ok(Some(checked))
    }

    /// Endpoints to ask, best first. If nothing but liars is left, those that are due are looked at anew.
    async fn candidates(&self, mode: Mode) -> Vec<usize> {
        let found = self.asked_first(mode);
        if !found.is_empty() {
            return found;
        }
        let now = Instant::now();
        let due: Vec<usize> = match mode {
            Mode::Only(index) => vec![index],
            Mode::Any | Mode::Agreed => (0..self.list.len()).collect(),
        };
        let due = due.into_iter().filter(|index| {
            self.list.get(*index).is_some_and(|endpoint| {
                let mut health = endpoint.health();
                let is_due = health.is_due(now);
                if is_due {
                    health.looking(now, self.config.request_timeout);
                }
                is_due
            })
        });
        join_all(due.map(|index| self.look_again(index))).await;
        self.asked_first(mode)
    }

    fn asked_first(&self, mode: Mode) -> Vec<usize> {
        let now = Instant::now();
        let is_alone = self.list.len() == 1;
        let leader = self.leader();
        let mut usable = Vec::new();
        let mut last_resort = Vec::new();
        for (index, endpoint) in self.list.iter().enumerate() {
            if matches!(mode, Mode::Only(only) if only != index) {
                continue;
            }
            let health = endpoint.health();
            match health.left() {
                None => usable.push((index != leader, health.latency(), index)),
                Some(left) if left.fault.is_untrue() => {}
                // A limit is kept to; one that is silent may answer this time, and there is no other.
                Some(left) if health.is_due(now) || (is_alone && !matches!(left.fault, Fault::Limited { .. })) => {
                    last_resort.push((health.due_in(now), index));
                }
                Some(_) => {}
            }
        }
        usable.sort_unstable();
        last_resort.sort_unstable();
        if usable.is_empty() {
            return last_resort.into_iter().map(|(_, index)| index).collect();
        }
        usable.into_iter().map(|(_, _, index)| index).collect()
    }

    /// Why no endpoint is asked: that of the one that leads.
    fn unusable(&self, mode: Mode) -> Failure {
        let index = if let Mode::Only(index) = mode { index } else { self.leader() };
        let left = self.list.get(index).and_then(|endpoint| endpoint.health().left().cloned());
        match left {
            Some(left) => self.caught(index, left.fault),
            None => Failure::of(Fault::Silent { reason: "it was not asked".into() }),
        }
    }

    fn caught(&self, index: usize, fault: Fault) -> Failure {
        let error = Unusable::Left { host: self.host(index).to_owned(), fault: fault.clone() };
        Failure { fault, error: TransportErrorKind::custom(error) }
    }

    /// Time until an endpoint that may be asked can be asked again.
    fn pause(&self, mode: Mode) -> Duration {
        let now = Instant::now();
        let pauses = self.list.iter().enumerate().filter(|(index, endpoint)| {
            !matches!(mode, Mode::Only(only) if only != *index)
                && endpoint.health().left().is_none_or(|left| !left.fault.is_untrue())
        });
        pauses.map(|(_, endpoint)| endpoint.health().due_in(now)).min().unwrap_or(Duration::MAX)
    }

    /// The endpoint leads from now on, unless the one that does may be used.
    fn lead(&self, index: usize) {
        let leader = self.leader();
        let is_left = self.list.get(leader).is_none_or(|endpoint| endpoint.health().left().is_some());
        if index != leader && is_left {
            self.leader.store(index, Ordering::Relaxed);
            tracing::info!(host = self.host(index), "another chain RPC leads");
        }
    }

    /// Leaves an endpoint for a while. `recheck` says what must be right before it is used again.
    pub(crate) fn leave(&self, index: usize, fault: Fault, recheck: Option<Recheck>) {
        let Some(endpoint) = self.list.get(index) else { return };
        let is_new = endpoint.health().leave(fault.clone(), recheck, Instant::now());
        if is_new {
            metrics::endpoint_left(fault.as_str());
        }
        // Where there is no other, the follower tells.
        if is_new && (self.list.len() > 1 || fault.is_untrue()) {
            tracing::warn!(host = endpoint.client.host, %fault, "leaving a chain RPC");
        } else {
            tracing::debug!(host = endpoint.client.host, %fault, "a chain RPC fails");
        }
        self.count_usable();
    }

    /// An answer ends a fault that was only the lack of one.
    fn answers_again(&self, index: usize) {
        let Some(endpoint) = self.list.get(index) else { return };
        let mut health = endpoint.health();
        if health.left().is_some_and(|left| !left.fault.is_untrue()) {
            health.back(Instant::now());
            drop(health);
            self.count_usable();
        }
    }

    fn count_usable(&self) {
        let usable = self.list.iter().filter(|endpoint| endpoint.health().left().is_none()).count();
        metrics::endpoints_usable(usable);
    }

    fn at(&self, index: usize, source: TransportError) -> TransportError {
        TransportErrorKind::custom(EndpointError { host: self.host(index).to_owned(), source })
    }
}
