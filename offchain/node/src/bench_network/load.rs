//! A broadcaster reduced to what an orchestrator sees of it: quotes, tickets, segments, downloads.
use std::sync::Arc;

use alloy::primitives::{B256, U256};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use streamflow_broadcaster::{OrchestratorClient, Submission};
use streamflow_pm::{KeySigner, Sender, SenderLimits};
use streamflow_types::{ChainView, ManifestId, Profile, SenderFunds, VideoCodec};
use streamflow_wire::{
    Offer, SegmentRequest, capability, header, payment_to_proto, proto::transcode_result::Result as Answer,
    sign_request, sign_segment,
};
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};
use url::Url;

use super::media::SEGMENT;
use crate::bench_market::ETHER;

/// Largest rendition that is taken.
const MAX_RENDITION: usize = 64 << 20;
/// Time for an answer: late ones are counted, not given up.
const PATIENCE: Duration = Duration::from_secs(32);
/// Time for a quote.
const QUOTE: Duration = Duration::from_secs(10);

/// An account that pays.
#[derive(Clone)]
pub(super) struct Caller {
    key: Arc<KeySigner>,
    sender: Arc<Sender>,
    client: OrchestratorClient,
    view: watch::Receiver<Option<ChainView>>,
}

/// A session at an orchestrator.
pub(super) struct OpenSession {
    manifest: ManifestId,
    offer: Offer,
    seq: u64,
}

impl Caller {
    pub(super) fn new(key: [u8; 32], view: watch::Receiver<Option<ChainView>>) -> anyhow::Result<Self> {
        let key = Arc::new(KeySigner::from_bytes(key)?);
        let limits = SenderLimits { max_ticket_ev: U256::MAX, max_total_ev: U256::MAX, ..SenderLimits::default() };
        let sender = Arc::new(Sender::new(key.clone(), limits));
        Ok(Self { key, sender, client: OrchestratorClient::new()?, view })
    }

    /// The same account over connections of its own.
    pub(super) fn apart(&self) -> anyhow::Result<Self> {
        Ok(Self { client: OrchestratorClient::new()?, ..self.clone() })
    }

    pub(super) async fn open(&self, at: &Url, name: &str) -> anyhow::Result<OpenSession> {
        let request = sign_request(self.key.as_ref(), None)?;
        let info = self.client.quote(at, request, QUOTE).await?;
        Ok(OpenSession { manifest: name.parse()?, offer: Offer::from_proto(info)?, seq: 0 })
    }

    /// Pays with one ticket, sends a segment, takes every rendition. Returns how long that took.
    pub(super) async fn segment(
        &self,
        session: &mut OpenSession,
        profiles: &[Profile],
        (media, hash): (Bytes, B256),
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let offer = &session.offer;
        let mut request = SegmentRequest {
            auth_token: offer.auth_token.clone(),
            capabilities: Some(capability::job(VideoCodec::H264, profiles, false)),
            ..SegmentRequest::new(
                session.manifest.clone(),
                session.seq,
                hash,
                profiles.to_vec(),
                u32::try_from(SEGMENT.as_millis()).unwrap_or(u32::MAX),
            )
        };
        sign_segment(&mut request, self.key.as_ref())?;
        let params = offer.params.context("the orchestrator offers no ticket params")?;
        let price = offer.price.context("the orchestrator quotes no price")?;
        let view = (*self.view.borrow()).context("the chain is not known yet")?;
        let funds = SenderFunds {
            deposit: U256::from(10 * ETHER),
            reserve: U256::from(ETHER),
            pool_size: view.pool_size,
            ..SenderFunds::default()
        };
        let now = Instant::now().into_std();
        let quote = self.sender.start_session(params, now)?;
        let payment = self.sender.pay(quote, 1, price, &funds, &view, now)?;
        let base: Url = offer.service_uri.parse()?;
        let submission = Submission {
            base,
            segment: header::encode_segment(&request.to_proto()),
            payment: header::encode_payment(&payment_to_proto(&payment)),
            media,
        };
        let result = self.client.submit(submission, PATIENCE, |_| {}).await?;
        let data = match result.result {
            Some(Answer::Data(data)) => data,
            Some(Answer::Error(error)) => bail!("segment {} was not transcoded: {error}", session.seq),
            None => bail!("segment {} got an empty answer", session.seq),
        };
        let fetched = data.segments.iter().map(|segment| async {
            anyhow::Ok(self.client.fetch(&segment.url.parse()?, MAX_RENDITION, PATIENCE).await?)
        });
        futures::future::try_join_all(fetched).await?;
        session.seq += 1;
        if let Some(info) = result.info {
            session.offer = Offer::from_proto(info)?;
        }
        Ok(started.elapsed())
    }
}
