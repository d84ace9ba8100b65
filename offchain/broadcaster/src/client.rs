//! Calls to an orchestrator: gRPC for quotes, HTTP for segments and renditions.
//!
//! Certificates are self-signed and made anew at each start, so none is verified, here as in every peer (node.md §2.1):
//! whom we talk to is known by Ethereum signatures alone.
use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use streamflow_wire::{
    AnyCertificate, Code, Refusal as Coded, header,
    proto::{
        AuthToken, EndTranscodingSessionRequest, OrchestratorInfo, OrchestratorRequest, TranscodeResult,
        orchestrator_client::OrchestratorClient as GrpcClient,
    },
    refusal,
    stream::StreamError,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use url::Url;

/// A TranscodeResult holds URLs and a signature, never media.
const MAX_RESULT_BYTES: usize = 1 << 20;
/// Text of a refusal that is kept.
const MAX_REFUSAL_BYTES: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a call to an orchestrator failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The TLS library has no usable cipher suites.
    #[error("cannot set up tls")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be built.
    #[error("cannot set up the http client")]
    Client(#[source] reqwest::Error),
    /// Its URL cannot be dialled.
    #[error("orchestrator url {0} cannot be used")]
    Url(Url),
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    /// It answered a gRPC call with an error.
    #[error("orchestrator refused the quote: {}{}", .0.message(), told(Coded::of_status(.0).as_ref()))]
    Refused(Box<tonic::Status>),
    /// No quote in time.
    #[error("no quote within {0:?}")]
    QuoteTimeout(Duration),
    /// No status line in time: the upload is too slow.
    #[error("header timeout: no answer within {0:?}")]
    HeaderTimeout(Duration),
    /// Accepted, but not done in time.
    #[error("body timeout: no result within {0:?}")]
    BodyTimeout(Duration),
    /// The connection broke before the status line.
    #[error("segment was not sent")]
    Send(#[source] reqwest::Error),
    /// The connection broke after it.
    #[error("answer was cut off")]
    Receive(#[source] reqwest::Error),
    /// It refused the segment.
    #[error("orchestrator answered {status}: {text}{}", told(refusal.as_deref()))]
    Status {
        /// HTTP status.
        status: u16,
        /// Body, trimmed.
        text: String,
        /// Terms for another try, if it sent any.
        info: Option<Box<OrchestratorInfo>>,
        /// Code, figures and advice, if it sent any.
        refusal: Option<Box<Coded>>,
    },
    /// The body has no end.
    #[error("answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The body is not protobuf.
    #[error("answer is not a TranscodeResult")]
    Decode(#[source] prost::DecodeError),
    /// The answer to a stream is none.
    #[error("answer cannot be read")]
    Stream(#[source] StreamError),
    /// It has no end.
    #[error("answer ended without a result")]
    Unfinished,
    /// Nobody can have done what is not over.
    #[error("answer has a result before the end of the segment")]
    Premature,
    /// Pieces were void again and again.
    #[error("renditions began anew more than {0} times")]
    Restarts(u32),
}

fn told(refusal: Option<&Coded>) -> String {
    refusal.map(|refusal| format!(": {refusal}")).unwrap_or_default()
}

impl CallError {
    /// The code that the orchestrator gave; deployed peers give none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(status) => Coded::of_status(status).map(|refusal| refusal.code),
            Self::Status { refusal, .. } => refusal.as_ref().map(|refusal| refusal.code),
            _ => None,
        }
    }

    /// Whether the orchestrator may have counted the tickets of the payment: it did if it answered at all (node.md §2.5).
    pub(crate) fn payment_arrived(&self) -> bool {
        matches!(
            self,
            Self::BodyTimeout(_)
                | Self::Receive(_)
                | Self::Status { .. }
                | Self::TooLarge(_)
                | Self::Decode(_)
                | Self::Stream(_)
                | Self::Unfinished
                | Self::Premature
                | Self::Restarts(_)
        )
    }

    /// Whether the payment may have left us: it is in the headers, so once the connection stood nobody can tell. Who holds
    /// its tickets may redeem them, whether it answered or not.
    pub(crate) fn payment_may_have_left(&self) -> bool {
        !matches!(self, Self::Send(error) if error.is_connect())
    }
}

/// Calls any orchestrator. Clones share connections.
#[derive(Clone, Debug)]
pub struct OrchestratorClient {
    http: reqwest::Client,
    tls: Arc<ClientConfig>,
}

impl OrchestratorClient {
    /// A client with connections of its own.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new() -> Result<Self, CallError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = AnyCertificate::new(provider.clone());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CallError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(CallError::Client)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { http, tls: Arc::new(tls) })
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// GetOrchestrator: price, ticket params and an auth token.
    pub async fn quote(
        &self,
        url: &Url,
        request: OrchestratorRequest,
        limit: Duration,
    ) -> Result<OrchestratorInfo, CallError> {
        let call = async {
            let mut grpc = GrpcClient::new(self.channel(url).await?);
            let info = grpc.get_orchestrator(request).await.map_err(|status| CallError::Refused(Box::new(status)))?;
            Ok(info.into_inner())
        };
        timeout(limit, call).await.map_err(|_| CallError::QuoteTimeout(limit))?
    }

    /// EndTranscodingSession: frees the session.
    pub(crate) async fn end_session(&self, url: &Url, token: AuthToken, limit: Duration) -> Result<(), CallError> {
        let call = async {
            let mut grpc = GrpcClient::new(self.channel(url).await?);
            let request = EndTranscodingSessionRequest { auth_token: Some(token) };
            grpc.end_transcoding_session(request).await.map_err(|status| CallError::Refused(Box::new(status)))?;
            Ok(())
        };
        timeout(limit, call).await.map_err(|_| CallError::QuoteTimeout(limit))?
    }

    async fn channel(&self, url: &Url) -> Result<Channel, CallError> {
        let unusable = || CallError::Url(url.clone());
        let host = url.host_str().ok_or_else(unusable)?;
        let port = url.port_or_known_default().ok_or_else(unusable)?;
        // tonic refuses https with a connector of our own, so the connection is named http and the origin https.
        let dialled: Uri = format!("http://{host}:{port}").parse().map_err(|_| unusable())?;
        let origin: Uri = format!("{}://{host}:{port}", url.scheme()).parse().map_err(|_| unusable())?;
        let endpoint = Endpoint::from(dialled).origin(origin).connect_timeout(CONNECT_TIMEOUT);
        if url.scheme() == "http" {
            return endpoint.connect().await.map_err(CallError::Connect);
        }
        let address = format!("{host}:{port}");
        let name = server_name(url).ok_or_else(unusable)?;
        let tls = TlsConnector::from(self.tls.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, name, address) = (tls.clone(), name.clone(), address.clone());
            async move {
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, TcpStream::connect(address).await?).await?))
            }
        });
        endpoint.connect_with_connector(connector).await.map_err(CallError::Connect)
    }

    /// POST /segment. Tells `accepted` how long the upload took, and returns the result once the orchestrator is done.
    pub async fn submit(
        &self,
        request: Submission,
        limit: Duration,
        accepted: impl FnOnce(Duration),
    ) -> Result<TranscodeResult, CallError> {
        let start = Instant::now();
        let url = join(&request.base, "segment");
        let sent = self
            .http
            .post(url)
            .header("Livepeer-Segment", request.segment)
            .header("Livepeer-Payment", request.payment)
            .header(reqwest::header::CONTENT_TYPE, "video/MP2T")
            .body(request.media)
            .send();
        let reply = timeout_at(start + limit, sent)
            .await
            .map_err(|_| CallError::HeaderTimeout(limit))?
            .map_err(CallError::Send)?;
        let status = reply.status();
        if status.is_success() {
            accepted(start.elapsed());
        }
        if !status.is_success() {
            let refused = timeout_at(start + limit, refused(reply)).await;
            return Err(refused.unwrap_or(CallError::BodyTimeout(limit)));
        }
        let body = timeout_at(start + limit, collect(reply.bytes_stream(), MAX_RESULT_BYTES))
            .await
            .map_err(|_| CallError::BodyTimeout(limit))?;
        prost::Message::decode(body?).map_err(CallError::Decode)
    }

    /// Fetches a rendition of at most `limit` bytes.
    pub async fn fetch(&self, url: &Url, limit: usize, deadline: Duration) -> Result<Bytes, CallError> {
        let call = async {
            let reply = self.http.get(url.clone()).send().await.map_err(CallError::Receive)?;
            let status = reply.status();
            if !status.is_success() {
                let text = collect(reply.bytes_stream(), MAX_REFUSAL_BYTES).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                return Err(CallError::Status { status: status.as_u16(), text, info: None, refusal: None });
            }
            collect(reply.bytes_stream(), limit).await
        };
        timeout(deadline, call).await.map_err(|_| CallError::BodyTimeout(deadline))?
    }
}

/// One POST /segment.
#[derive(Debug)]
pub struct Submission {
    /// From OrchestratorInfo.transcoder.
    pub base: Url,
    /// Header Livepeer-Segment.
    pub segment: String,
    /// Header Livepeer-Payment.
    pub payment: String,
    /// The source.
    pub media: Bytes,
}

/// What a refusal says.
pub(crate) async fn refused(reply: reqwest::Response) -> CallError {
    let status = reply.status().as_u16();
    let info = reply.headers().get(header::ORCHESTRATOR_INFO).and_then(|value| value.to_str().ok());
    let info = info.and_then(header::decode_info).map(Box::new);
    let refusal = reply.headers().get(refusal::HEADER).and_then(|value| value.to_str().ok());
    let refusal = refusal.and_then(Coded::from_header).map(Box::new);
    let body = collect(reply.bytes_stream(), MAX_REFUSAL_BYTES).await;
    let text = body.map(|body| String::from_utf8_lossy(&body).trim().to_owned()).unwrap_or_default();
    CallError::Status { status, text, info, refusal }
}

/// `base` with a path below its own.
pub(crate) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        url::Host::Domain(name) => ServerName::try_from(name.to_owned()).ok(),
        url::Host::Ipv4(ip) => Some(ServerName::from(std::net::IpAddr::V4(ip))),
        url::Host::Ipv6(ip) => Some(ServerName::from(std::net::IpAddr::V6(ip))),
    }
}

pub(crate) async fn collect(
    stream: impl Stream<Item = Result<Bytes, reqwest::Error>>,
    limit: usize,
) -> Result<Bytes, CallError> {
    let mut stream = std::pin::pin!(stream);
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(CallError::Receive)?;
        if body.len() + chunk.len() > limit {
            return Err(CallError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_below_the_service_uri() {
        let base = |text: &str| join(&text.parse().unwrap(), "segment").to_string();
        assert_eq!(base("https://a:8935"), "https://a:8935/segment");
        assert_eq!(base("https://a:8935/x/"), "https://a:8935/x/segment");
    }
}
