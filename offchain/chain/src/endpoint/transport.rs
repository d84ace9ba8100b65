//! The endpoints as a transport of alloy's.
use std::{
    sync::Arc,
    task::{Context, Poll},
};

use alloy::transports::{TransportError, TransportFut};
use alloy_json_rpc::{RequestPacket, ResponsePacket};
use tower::Service;

use super::{Endpoints, Mode};

/// A way to the endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) mode: Mode,
}

impl Service<RequestPacket> for Route {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let Self { endpoints, mode } = self.clone();
        Box::pin(async move { endpoints.route(mode, packet).await.map(|(_, answer)| answer) })
    }
}
