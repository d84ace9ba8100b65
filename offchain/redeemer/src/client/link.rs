//! The connection to a redeemer. It is made when it is first used, and again whenever it broke.
use std::{sync::Arc, time::Duration};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject as _},
};
use streamflow_types::Secret;
use streamflow_wire::{AnyCertificate, proto::ticket_redeemer_client::TicketRedeemerClient};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::interceptor::InterceptedService,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use url::Url;

/// As peers set them (payments.md §1.1).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// No answer is longer than a number of 32 bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Where the redeemer is and how each knows the other.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// `https://host:port`.
    pub url: Url,
    /// What it wants to see. Empty: nothing.
    pub token: Secret,
    /// Its certificate, PEM. None: any is taken, as peers do; who sits in between then reads the token and the secrets of
    /// winners.
    pub certificate: Option<Vec<u8>>,
}

/// Why there can be no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Only these can be dialled.
    #[error("orchestrator.redeemer {0} is not an https URL with a host and no path, query or user")]
    Url(Url),
    /// Not printable ASCII.
    #[error("the redeemer's token has characters that cannot be sent")]
    Token,
    /// Not PEM.
    #[error("the redeemer's certificate cannot be read")]
    Certificate(#[source] pem::Error),
    /// TLS cannot be set up.
    #[error("cannot prepare the connection to the redeemer")]
    Transport(#[from] tonic::transport::Error),
}

/// A client with the token in it.
pub(crate) type Client = TicketRedeemerClient<InterceptedService<Channel, Bearer>>;

/// A redeemer, reached or not. Clones share the connection.
#[derive(Clone, Debug)]
pub struct RedeemerLink {
    client: Client,
}

impl RedeemerLink {
    /// Nothing is sent yet. Must be called within a runtime.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn new(config: &LinkConfig) -> Result<Self, LinkError> {
        let url = &config.url;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if url.scheme() != "https" || !url.has_host() || !plain || !matches!(url.path(), "" | "/") {
            return Err(LinkError::Url(url.clone()));
        }
        let channel = Endpoint::from_shared(url.to_string())?
            .tls_config_with_verifier(ClientTlsConfig::new(), verifier(config)?)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let service = InterceptedService::new(channel, Bearer::new(&config.token)?);
        let client = TicketRedeemerClient::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }
}

fn verifier(config: &LinkConfig) -> Result<Arc<dyn ServerCertVerifier>, LinkError> {
    let Some(pem) = &config.certificate else { return Ok(Arc::new(AnyCertificate::default())) };
    let known = CertificateDer::from_pem_slice(pem).map_err(LinkError::Certificate)?;
    Ok(Arc::new(OneCertificate { known, keys: AnyCertificate::default() }))
}

/// Puts the token on each request.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn new(token: &Secret) -> Result<Self, LinkError> {
        if token.is_empty() {
            return Ok(Self(None));
        }
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", token.expose()).parse().map_err(|_| LinkError::Token)?;
        // Neither logged nor compressed.
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Takes one certificate, whatever it says of names and times, and checks that the peer holds its key.
#[derive(Debug)]
struct OneCertificate {
    known: CertificateDer<'static>,
    keys: AnyCertificate,
}

impl ServerCertVerifier for OneCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.known {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the redeemer shows another certificate than the one configured".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.keys.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> LinkConfig {
        LinkConfig { url: url.parse().unwrap(), token: Secret::new("t"), certificate: None }
    }

    #[tokio::test]
    async fn what_cannot_be_dialled_is_named() {
        assert!(RedeemerLink::new(&config("https://r.example:8935")).is_ok());
        for url in ["http://r.example", "https://r.example/x", "https://r.example/?q", "https://me@r.example"] {
            assert!(matches!(RedeemerLink::new(&config(url)), Err(LinkError::Url(_))), "{url}");
        }
        let odd = LinkConfig { token: Secret::new("a\nb"), ..config("https://r.example") };
        assert!(matches!(RedeemerLink::new(&odd), Err(LinkError::Token)));
        let junk = LinkConfig { certificate: Some(b"junk".to_vec()), ..config("https://r.example") };
        assert!(matches!(RedeemerLink::new(&junk), Err(LinkError::Certificate(_))));
    }

    #[test]
    fn the_token_is_not_printed() {
        let bearer = Bearer::new(&Secret::new("swordfish")).unwrap();
        assert!(!format!("{bearer:?}").contains("swordfish"));
    }
}
