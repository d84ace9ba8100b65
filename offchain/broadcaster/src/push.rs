//! What a push request says: path and headers (node.md §4.3).
use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::StreamExt as _;
use streamflow_types::{Container, ManifestId, ManifestIdError, Profile, Secret};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    arriving::Arriving,
    webhook::{OrdersError, parse_header},
};

/// A sender that is silent for this long has gone.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// Longest segment that peers take (node.md §1.1).
const MAX_DURATION_MILLIS: u64 = 300_000;
/// Time for a whole segment, which may come as it is encoded.
const BODY_TIME: Duration = Duration::from_millis(MAX_DURATION_MILLIS + 30_000);

/// Asks for renditions (node.md §4.3).
const TRANSCODE_CONFIGURATION: &str = "livepeer-transcode-configuration";

/// Why a push is refused before anything is done with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("the path is not /live/<stream>/<number>.ts or .mp4")]
    Path,
    #[error("the stream's name cannot be used")]
    Name(#[source] ManifestIdError),
    #[error("only .ts and .mp4 segments are taken")]
    Extension,
    #[error("segment file name {0:?} is not a number")]
    Sequence(String),
    #[error("header {name} is not {expected}")]
    Header { name: &'static str, expected: &'static str },
    #[error("header Livepeer-Transcode-Configuration cannot be used")]
    Configuration(#[source] OrdersError),
    #[error("header {0} is not supported")]
    Unsupported(&'static str),
    #[error("pages of other sites may not push")]
    CrossSite,
    #[error("segment is larger than {0} bytes")]
    TooLarge(u64),
    #[error("too many uploads at once")]
    Memory,
    #[error("no more of the segment came within {0:?}")]
    Silence(Duration),
    #[error("the segment was not there after {0:?}")]
    Slow(Duration),
    #[error("segment was cut off")]
    CutOff(#[source] axum::Error),
}

/// Stream, sequence number and container. Path parts between them are allowed and mean nothing.
pub(crate) fn parse_path(path: &str) -> Result<(ManifestId, u64, Container), PushError> {
    let (name, rest) = path.split_once('/').ok_or(PushError::Path)?;
    let file = rest.rsplit('/').next().unwrap_or(rest);
    let name = ManifestId::new(name).map_err(PushError::Name)?;
    let (stem, extension) = file.rsplit_once('.').ok_or(PushError::Extension)?;
    let container = [Container::MpegTs, Container::Mp4].into_iter().find(|known| known.extension() == extension);
    let container = container.ok_or(PushError::Extension)?;
    // The number is an int64 on the wire; "+1" and "01" would be second names of the same segment.
    match stem.parse::<i64>() {
        Ok(seq) if stem == seq.to_string() => match u64::try_from(seq) {
            Ok(seq) => Ok((name, seq, container)),
            Err(_) => Err(PushError::Sequence(stem.to_owned())),
        },
        _ => Err(PushError::Sequence(stem.to_owned())),
    }
}

/// What the headers ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PushHeaders {
    /// None where the header is absent or bad: then the segment itself tells.
    pub(crate) duration: Option<Duration>,
    /// Width and height that the encoder claims.
    pub(crate) resolution: Option<(u32, u32)>,
    /// Whether the renditions go into the reply.
    pub(crate) multipart: bool,
    /// The stream's key.
    pub(crate) key: Option<Secret>,
    /// Renditions asked for; none: those of the settings or of the webhook.
    pub(crate) profiles: Option<Vec<Profile>>,
}

impl PushHeaders {
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, PushError> {
        // A page of another site can make a browser on this machine push, and so spend our deposit.
        let cross_site = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
        let foreign = headers.get(header::ORIGIN).is_some_and(|origin| !is_own_origin(origin.as_bytes(), headers));
        if cross_site || foreign {
            return Err(PushError::CrossSite);
        }
        for name in ["content-slice-from", "content-slice-to"] {
            if headers.contains_key(name) {
                return Err(PushError::Unsupported(name));
            }
        }
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        Ok(Self {
            duration: headers.get("content-duration").and_then(|value| parse_duration(value.to_str().ok()?)),
            resolution: match headers.get("content-resolution") {
                None => None,
                Some(value) => Some(
                    value
                        .to_str()
                        .ok()
                        .and_then(parse_resolution)
                        .ok_or(PushError::Header { name: "Content-Resolution", expected: "WIDTHxHEIGHT" })?,
                ),
            },
            multipart: accept.flat_map(|value| value.split(',')).any(is_multipart),
            key: headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?)),
            profiles: match headers.get(TRANSCODE_CONFIGURATION) {
                None => None,
                Some(text) => parse_header(text.as_bytes()).map_err(PushError::Configuration)?,
            },
        })
    }
}

fn bearer(value: &str) -> Option<Secret> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(key.trim()))
}

fn is_own_origin(origin: &[u8], headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(axum::http::HeaderValue::as_bytes);
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some() && authority == host
}

fn parse_duration(text: &str) -> Option<Duration> {
    let millis = text.trim().parse().ok().filter(|millis| (1..=MAX_DURATION_MILLIS).contains(millis))?;
    Some(Duration::from_millis(millis))
}

fn parse_resolution(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.trim().split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=65_536).contains(side));
    Some((side(width)?, side(height)?))
}

fn is_multipart(media_range: &str) -> bool {
    media_range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("multipart/mixed")
}

/// Takes what media will need, if there is so much left.
pub(crate) fn take(memory: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, PushError> {
    let bytes = u32::try_from(bytes).map_err(|_| PushError::Memory)?;
    memory.clone().try_acquire_many_owned(bytes).map_err(|_| PushError::Memory)
}

/// Reads the body into `arriving`, at most `limit` bytes. Its bytes count against `memory` until the permit is dropped.
pub(crate) async fn read_body(
    body: axum::body::Body,
    headers: &HeaderMap,
    limit: u64,
    memory: &Arc<Semaphore>,
    arriving: &Arriving,
) -> Result<(Bytes, OwnedSemaphorePermit), PushError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(PushError::TooLarge(limit));
    }
    let (mut held, end) = (take(memory, 0)?, Instant::now() + BODY_TIME);
    let mut chunks = body.into_data_stream();
    let mut length = 0;
    loop {
        let waited = timeout_at(end.min(Instant::now() + BODY_SILENCE), chunks.next()).await;
        let late = if Instant::now() < end { PushError::Silence(BODY_SILENCE) } else { PushError::Slow(BODY_TIME) };
        let chunk = waited.map_err(|_| late)?;
        let Some(chunk) = chunk else { return Ok((arriving.complete(), held)) };
        let chunk = chunk.map_err(PushError::CutOff)?;
        length += chunk.len() as u64;
        if length > limit {
            return Err(PushError::TooLarge(limit));
        }
        held.merge(take(memory, chunk.len())?);
        arriving.put(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn path_gives_stream_and_number() {
        let parsed = |path: &str| parse_path(path).map(|(name, seq, kind)| (name.to_string(), seq, kind)).unwrap();
        assert_eq!(parsed("movie/12.ts"), ("movie".into(), 12, Container::MpegTs));
        assert_eq!(parsed("movie/camera/left/0.mp4"), ("movie".into(), 0, Container::Mp4));
    }

    #[test]
    fn other_paths_are_refused() {
        assert!(matches!(parse_path("movie"), Err(PushError::Path)));
        assert!(matches!(parse_path("/1.ts"), Err(PushError::Name(_))));
        assert!(matches!(parse_path("../1.ts"), Err(PushError::Name(_))));
        assert!(matches!(parse_path("movie/index.m3u8"), Err(PushError::Extension)));
        assert!(matches!(parse_path("movie/1"), Err(PushError::Extension)));
        for bad in ["a", "-1", "+1", "01", "1.5", "9223372036854775808", ""] {
            assert!(matches!(parse_path(&format!("movie/{bad}.ts")), Err(PushError::Sequence(_))), "{bad}");
        }
    }

    #[test]
    fn bad_duration_is_as_none_and_bad_resolution_is_refused() {
        let parse = |pairs: &[_]| PushHeaders::parse(&headers(pairs));
        assert_eq!(parse(&[("content-duration", "1500")]).unwrap().duration, Some(Duration::from_millis(1500)));
        for bad in ["0", "-1", "x", "300001"] {
            assert_eq!(parse(&[("content-duration", bad)]).unwrap().duration, None);
        }
        assert_eq!(parse(&[("content-resolution", "1280x720")]).unwrap().resolution, Some((1280, 720)));
        for bad in ["1280", "1280x", "0x720", "1280x720x3", "a b"] {
            assert!(matches!(parse(&[("content-resolution", bad)]), Err(PushError::Header { .. })), "{bad}");
        }
    }

    #[test]
    fn only_multipart_mixed_asks_for_parts() {
        let asks = |accept: &'static str| PushHeaders::parse(&headers(&[("accept", accept)])).unwrap().multipart;
        assert!(asks("multipart/mixed"));
        assert!(asks("text/plain, Multipart/Mixed;q=0.9"));
        assert!(!asks("*/*"));
        assert!(!PushHeaders::parse(&HeaderMap::new()).unwrap().multipart);
    }

    #[test]
    fn pages_of_other_sites_may_not_push() {
        let refused = |pairs: &[_]| matches!(PushHeaders::parse(&headers(pairs)), Err(PushError::CrossSite));
        assert!(refused(&[("sec-fetch-site", "cross-site")]));
        assert!(refused(&[("origin", "https://evil.example"), ("host", "127.0.0.1:9935")]));
        assert!(refused(&[("origin", "null"), ("host", "127.0.0.1:9935")]));
        assert!(!refused(&[("origin", "http://127.0.0.1:9935"), ("host", "127.0.0.1:9935")]));
    }

    async fn read(body: Body, headers: &HeaderMap, limit: u64, memory: usize) -> Result<Bytes, PushError> {
        let memory = Arc::new(Semaphore::new(memory));
        read_body(body, headers, limit, &memory, &Arriving::default()).await.map(|(segment, _)| segment)
    }

    #[tokio::test]
    async fn body_above_the_limit_is_refused_early_and_late() {
        let large = headers(&[("content-length", "400000000")]);
        assert!(matches!(read(Body::empty(), &large, 300_000_000, 1).await, Err(PushError::TooLarge(300_000_000))));
        let none = HeaderMap::new();
        assert!(matches!(read(Body::from(vec![0; 11]), &none, 10, 100).await, Err(PushError::TooLarge(10))));
        assert_eq!(read(Body::from(vec![7; 10]), &none, 10, 100).await.unwrap(), vec![7; 10]);
    }

    #[tokio::test]
    async fn uploads_share_a_bounded_memory() {
        let memory = Arc::new(Semaphore::new(15));
        let none = HeaderMap::new();
        let read = async || {
            read_body(Body::from(vec![0; 10]), &none, 100, &memory, &Arriving::default()).await.map(|(_, held)| held)
        };
        let held = read().await.unwrap();
        let second = read().await;
        assert!(matches!(second, Err(PushError::Memory)));
        drop(held);
        assert!(read().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert!(matches!(read(body, &HeaderMap::new(), 10, 10).await, Err(PushError::Silence(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_of_one_byte_a_second_is_given_up_in_the_end() {
        let start = Instant::now();
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        let given_up = read(Body::from_stream(drip), &HeaderMap::new(), 1 << 20, 1 << 20).await;
        assert!(matches!(given_up, Err(PushError::Slow(_))));
        assert_eq!(start.elapsed(), BODY_TIME);
    }
}
