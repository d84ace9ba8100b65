//! The body of a result: one part per rendition (node.md §3).
use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, stream};

/// One rendition on its way to the orchestrator.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) content_type: &'static str,
    /// Encoded pixels.
    pub(crate) pixels: u64,
    pub(crate) data: Bytes,
}

/// A `multipart/mixed` body that can be sent again: its pieces are shared, not copied.
#[derive(Clone, Debug)]
pub(crate) struct MixedBody {
    boundary: String,
    pieces: Vec<Bytes>,
}

impl MixedBody {
    /// `nonce` makes the boundary: it must not occur in the data, so take it at random.
    pub(crate) fn new(nonce: u128, parts: Vec<Part>) -> Self {
        let boundary = format!("{nonce:032x}");
        let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
        for part in parts {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Length: {}\r\nPixels: {}\r\n\r\n",
                part.content_type,
                part.data.len(),
                part.pixels
            );
            pieces.push(head.into());
            pieces.push(part.data);
        }
        pieces.push(format!("\r\n--{boundary}--\r\n").into());
        // The first boundary starts the body: no line end before it.
        if let Some(first) = pieces.first_mut() {
            *first = first.slice(2..);
        }
        Self { boundary, pieces }
    }

    pub(crate) fn content_type(&self) -> String {
        format!("multipart/mixed; boundary={}", self.boundary)
    }

    pub(crate) fn stream(&self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
        stream::iter(self.pieces.clone().into_iter().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn parts_are_framed_as_the_orchestrator_reads_them() {
        let part = |data: &'static [u8]| Part { content_type: "video/mp2t", pixels: 7, data: Bytes::from_static(data) };
        let body = MixedBody::new(0xab, vec![part(b"one"), part(b"two")]);
        let bytes: Vec<Bytes> = body.stream().try_collect().await.unwrap();
        let b = "000000000000000000000000000000ab";
        assert_eq!(body.content_type(), format!("multipart/mixed; boundary={b}"));
        let expected = format!(
            "--{b}\r\nContent-Type: video/mp2t\r\nContent-Length: 3\r\nPixels: 7\r\n\r\none\r\n\
             --{b}\r\nContent-Type: video/mp2t\r\nContent-Length: 3\r\nPixels: 7\r\n\r\ntwo\r\n--{b}--\r\n"
        );
        assert_eq!(String::from_utf8(bytes.concat()).unwrap(), expected);
    }
}
