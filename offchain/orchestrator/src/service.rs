//! What all requests share.
use std::{fmt, sync::Arc, time::Duration};

use alloy_primitives::Address;
use streamflow_types::{Keccak256, Price, Secret};
use streamflow_wire::{
    AuthTokens, Offer, SegmentRequest, WireError,
    capability::{self, Capability, Incompatibility},
    proto, stream, verify_segment,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Demand,
    config::OrchestratorConfig,
    gatekeeper::Gatekeeper,
    intake::Intake,
    payments::{PaymentError, Payments},
    pool::TranscoderPool,
    quotas::{Quotas, Sender},
    refusal::Refusal,
    sessions::{Claim, Sessions},
    storage::RenditionCache,
    upload::SenderStore,
};

/// Reads the time, in Unix seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What all requests share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Service(Arc<Parts>);

/// Parts of a [`Service`].
pub(crate) struct Parts {
    pub(crate) config: OrchestratorConfig,
    /// Without a slash at the end.
    pub(crate) service_uri: String,
    /// None without a chain: work is free then.
    pub(crate) payments: Option<Payments>,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    pub(crate) tokens: AuthTokens,
    pub(crate) clock: Clock,
    pub(crate) sessions: Sessions,
    pub(crate) pool: TranscoderPool,
    pub(crate) cache: RenditionCache,
    pub(crate) intake: Intake,
    pub(crate) quotas: Quotas,
    pub(crate) transcoder_secret: Secret,
    /// Fetches segments that are sent as URLs.
    pub(crate) http: reqwest::Client,
    /// Cancelled when no more work is taken.
    pub(crate) intake_closed: CancellationToken,
    /// Segments whose results are on their way.
    pub(crate) deliveries: TaskTracker,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("service_uri", &self.0.service_uri).finish_non_exhaustive()
    }
}

/// Key of the session tokens, which says nothing about other uses of the node's secret.
pub(crate) fn token_key(secret: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    hasher.update(b"streamflow/auth-token/v1");
    hasher.update(secret);
    hasher.finalize().0
}

/// What transcoders can do that have these of [`capability::CODECS`], with room for so many sessions more.
pub(crate) fn capabilities(sessions: usize, has: impl Fn(Capability) -> bool) -> proto::Capabilities {
    let offered = capability::offered(has);
    capability::describe(&offered, u32::try_from(sessions).unwrap_or(u32::MAX), env!("CARGO_PKG_VERSION"))
}

/// What a segment's session asks of a device.
pub(crate) fn demand(segment: &SegmentRequest) -> Demand {
    Demand::of(&segment.profiles, Duration::from_millis(segment.duration_ms.into()))
}

impl Service {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn config(&self) -> &OrchestratorConfig {
        &self.0.config
    }

    pub(crate) fn service_uri(&self) -> &str {
        &self.0.service_uri
    }

    pub(crate) fn payments(&self) -> Option<&Payments> {
        self.0.payments.as_ref()
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn pool(&self) -> &TranscoderPool {
        &self.0.pool
    }

    pub(crate) fn cache(&self) -> &RenditionCache {
        &self.0.cache
    }

    pub(crate) fn intake(&self) -> &Intake {
        &self.0.intake
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.0.quotas
    }

    pub(crate) fn gatekeeper(&self) -> &Gatekeeper {
        &self.0.gatekeeper
    }

    pub(crate) fn tokens(&self) -> &AuthTokens {
        &self.0.tokens
    }

    pub(crate) fn transcoder_secret(&self) -> &Secret {
        &self.0.transcoder_secret
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn deliveries(&self) -> &TaskTracker {
        &self.0.deliveries
    }

    pub(crate) fn intake_closed(&self) -> &CancellationToken {
        &self.0.intake_closed
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from((self.0.clock)()).unwrap_or(i64::MAX)
    }

    /// This node's account, as it names itself to transcoders.
    pub(crate) fn name(&self) -> String {
        self.payments().map_or_else(|| "offchain".to_owned(), |payments| payments.address().to_string())
    }

    /// Refuses new work while the node stops.
    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        if self.intake_closed().is_cancelled() { Err(Refusal::Stopping) } else { Ok(()) }
    }

    /// Terms for the sender's session: price, ticket params, and the token again.
    pub(crate) async fn offer(&self, sender: Address, token: &proto::AuthToken) -> Result<Offer, PaymentError> {
        let mut offer = self.offer_without_params(sender, token);
        if let (Some(payments), Some(price)) = (self.payments(), offer.price) {
            offer.params = Some(payments.quote(sender, price).await?);
        }
        Ok(offer)
    }

    /// The same for a session that goes on without new tickets.
    pub(crate) fn offer_without_params(&self, sender: Address, token: &proto::AuthToken) -> Offer {
        let price = self.payments().map_or(Price::FREE, |payments| payments.price(sender, &token.session_id));
        self.offer_at(price, Some(token))
    }

    /// The same at a price that is known.
    pub(crate) fn offer_at(&self, price: Price, token: Option<&proto::AuthToken>) -> Offer {
        Offer {
            service_uri: self.service_uri().to_owned(),
            params: None,
            price: Some(price),
            address: self.payments().map_or(Address::ZERO, Payments::address),
            capabilities: Some(self.capabilities(self.sessions().spare_hint())),
            auth_token: token.cloned(),
            storage: Vec::new(),
            nodes: self.config().nodes.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect(),
            stream_version: stream::VERSION,
        }
    }

    /// What this node can do, with room for so many sessions more.
    fn capabilities(&self, sessions: usize) -> proto::Capabilities {
        let mut capabilities = capabilities(sessions, |codec| self.sessions().offers(codec));
        // Stores of its senders, where renditions are put into them.
        if self.config().deliver_to_sender_stores {
            for store in [Capability::StorageS3, Capability::StorageGcs] {
                let bits = capability::bits(&capabilities.bitstring).into_iter().chain([store.bit()]);
                capabilities.bitstring = capability::bitstring(bits.map(i64::from));
                capabilities.capacities.insert(store.bit(), u32::try_from(sessions).unwrap_or(u32::MAX));
            }
        }
        capabilities
    }

    /// Checks who asks for a segment and whether it can be done: signature, capabilities, token, room (node.md §2.4,
    /// steps 4 to 7).
    pub(crate) fn check_segment(
        &self,
        segment: &SegmentRequest,
        sender: Address,
        owner: Sender,
    ) -> Result<proto::AuthToken, Refusal> {
        if self.payments().is_some() && !verify_segment(segment, sender) {
            return Err(WireError::SegmentSignature.into());
        }
        self.check_job(segment, owner, |store| match self.config().deliver_to_sender_stores {
            true => SenderStore::read(store).map(drop),
            false => Err("not offered here"),
        })
    }

    /// The same for a segment that is streamed: its head is signed together with the text of the payment header, and its
    /// renditions come in the answer.
    pub(crate) fn check_stream(
        &self,
        segment: &SegmentRequest,
        payment: &str,
        sender: Address,
        owner: Sender,
    ) -> Result<proto::AuthToken, Refusal> {
        if self.payments().is_some() && !stream::verify_stream_head(segment, payment, sender) {
            return Err(WireError::SegmentSignature.into());
        }
        self.check_job(segment, owner, |_| Err("not with a stream"))
    }

    fn check_job(
        &self,
        segment: &SegmentRequest,
        owner: Sender,
        check_store: impl FnOnce(&proto::OsInfo) -> Result<(), &'static str>,
    ) -> Result<proto::AuthToken, Refusal> {
        let legacy = capability::legacy();
        let job = segment.capabilities.as_ref().unwrap_or(&legacy);
        // The slicing bit is offered because peers ask for it with whole segments; parts are not made.
        if let Some(clip) = segment.clip.filter(|clip| clip.from != 0 || clip.to != 0) {
            return Err(
                WireError::IncompatibleCapabilities(Incompatibility::Slice { from: clip.from, to: clip.to }).into()
            );
        }
        capability::check(&self.capabilities(1), job).map_err(WireError::IncompatibleCapabilities)?;
        if let Some(store) = segment.storage.first().filter(|store| store.storage_type != 0) {
            let refused = |fault| Incompatibility::Storage { kind: store.storage_type, fault };
            check_store(store).map_err(|fault| WireError::IncompatibleCapabilities(refused(fault)))?;
        }
        let session = self.tokens().check(segment.auth_token.as_ref(), self.now())?;
        self.sessions().admits(Claim { session, owner, stream: segment.manifest_id.as_str() }, demand(segment))?;
        Ok(segment.auth_token.clone().ok_or(WireError::MissingAuthToken)?)
    }
}
