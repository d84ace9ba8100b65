//! A node that lacks methods: anvil behind a proxy that refuses them.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// Ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) url: Url,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Passes everything on but calls of these methods.
    pub(crate) async fn without(upstream: &Url, methods: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let upstream: SocketAddr = upstream.socket_addrs(|| None).unwrap()[0];
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, methods));
            }
        });
        Self { url, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, until either side closes it.
async fn serve(mut client: TcpStream, upstream: SocketAddr, methods: &[&str]) {
    let Ok(mut node) = TcpStream::connect(upstream).await else { return };
    while let Some((head, body)) = message(&mut client).await {
        let call: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let answer = if methods.iter().any(|method| call["method"] == *method) {
            let error = serde_json::json!({ "jsonrpc": "2.0", "id": call["id"],
                "error": { "code": -32601, "message": "the method does not exist/is not available" } })
            .to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", error.len());
            format!("{head}\r\n\r\n{error}").into_bytes()
        } else {
            if node.write_all(&[head, body].concat()).await.is_err() {
                return;
            }
            let Some((head, body)) = message(&mut node).await else { return };
            [head, body].concat()
        };
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Head and body of one HTTP message with a length.
async fn message(stream: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
