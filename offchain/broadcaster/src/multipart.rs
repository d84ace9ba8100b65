//! The `multipart/mixed` reply to a push (node.md §4.3).
use std::fmt::Write as _;

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use streamflow_types::Profile;

/// One rendition to send back.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) seq: u64,
    pub(crate) data: Bytes,
}

/// A boundary of 20 hex digits that no video contains by accident.
pub(crate) fn boundary() -> String {
    let random: [u8; 10] = rand::random();
    random.iter().fold(String::with_capacity(20), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// The reply with one part per rendition, in their order. The media is not copied.
pub(crate) fn reply(parts: &[Part<'_>], boundary: &str) -> Response {
    let mut chunks = Vec::with_capacity(2 * parts.len() + 1);
    for (index, part) in parts.iter().enumerate() {
        let line_end = if index == 0 { "" } else { "\r\n" };
        chunks.push(Bytes::from(format!("{line_end}--{boundary}\r\n{}\r\n", part_headers(part))));
        chunks.push(part.data.clone());
    }
    chunks.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    let length: usize = chunks.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::convert::Infallible>)));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("multipart/mixed; boundary={boundary}")) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Profile names hold only `A-Z a-z 0-9 . _ -`, so nothing needs quoting.
fn part_headers(part: &Part<'_>) -> String {
    let Part { profile, seq, data } = part;
    let file = format!("{}_{seq}.{}", profile.name, profile.format.extension());
    format!(
        "Content-Disposition: attachment; filename=\"{file}\"\r\n\
         Content-Length: {}\r\n\
         Content-Type: {}; name=\"{file}\"\r\n\
         Rendition-Name: {}\r\n",
        data.len(),
        profile.format.content_type(),
        profile.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn renditions_come_back_as_the_format_says() {
        let small = Profile::new("240p", 426, 240, 400_000).unwrap();
        let large = Profile::new("720p", 1280, 720, 3_000_000).unwrap();
        let parts = [
            Part { profile: &large, seq: 12, data: Bytes::from_static(b"large") },
            Part { profile: &small, seq: 12, data: Bytes::from_static(b"\r\nsmall") },
        ];
        let reply = reply(&parts, "00112233445566778899");
        assert_eq!(reply.headers()[header::CONTENT_TYPE], "multipart/mixed; boundary=00112233445566778899");
        let length = reply.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse::<usize>().unwrap();
        let body = axum::body::to_bytes(reply.into_body(), 10_000).await.unwrap();
        assert_eq!(body.len(), length);
        let expected = "--00112233445566778899\r\n\
            Content-Disposition: attachment; filename=\"720p_12.ts\"\r\n\
            Content-Length: 5\r\n\
            Content-Type: video/mp2t; name=\"720p_12.ts\"\r\n\
            Rendition-Name: 720p\r\n\r\n\
            large\r\n--00112233445566778899\r\n\
            Content-Disposition: attachment; filename=\"240p_12.ts\"\r\n\
            Content-Length: 7\r\n\
            Content-Type: video/mp2t; name=\"240p_12.ts\"\r\n\
            Rendition-Name: 240p\r\n\r\n\
            \r\nsmall\r\n--00112233445566778899--\r\n";
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }

    #[test]
    fn a_boundary_has_twenty_hex_digits() {
        let boundary = boundary();
        assert_eq!(boundary.len(), 20);
        assert!(boundary.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(boundary, super::boundary());
    }
}
